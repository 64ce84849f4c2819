//! Why a provider did not accept a document, in the portal's words. Providers have dozens of reasons; an agent and an applicant need one sentence and what to do.

use crate::domain::delivery::DeliveryProblem;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Unreadable,
    Glare,
    Cropped,
    Expired,
    WrongType,
    WrongSide,
    Incomplete,
    Mismatch,
    NotOriginal,
    Corrupted,
    TooLarge,
    CountryUnsupported,
    FraudSuspected,
    TooOld,
    Rejected,
}

impl Reason {
    pub(crate) const ALL: [Reason; 15] = [
        Self::Unreadable,
        Self::Glare,
        Self::Cropped,
        Self::Expired,
        Self::WrongType,
        Self::WrongSide,
        Self::Incomplete,
        Self::Mismatch,
        Self::NotOriginal,
        Self::Corrupted,
        Self::TooLarge,
        Self::CountryUnsupported,
        Self::FraudSuspected,
        Self::TooOld,
        Self::Rejected,
    ];

    /// The stable word, also in configurations.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Glare => "glare",
            Self::Cropped => "cropped",
            Self::Expired => "expired",
            Self::WrongType => "wrong_type",
            Self::WrongSide => "wrong_side",
            Self::Incomplete => "incomplete",
            Self::Mismatch => "mismatch",
            Self::NotOriginal => "not_original",
            Self::Corrupted => "corrupted",
            Self::TooLarge => "too_large",
            Self::CountryUnsupported => "country_unsupported",
            Self::FraudSuspected => "fraud_suspected",
            Self::TooOld => "too_old",
            Self::Rejected => "rejected",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }

    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Unreadable => "The provider cannot read the document. Ask for a sharp, well-lit and complete picture.",
            Self::Glare => "Light is reflected in the picture. Ask for a photo without flash and glare.",
            Self::Cropped => "A part of the document is cut off in the picture. Ask for a photo that shows all four corners.",
            Self::Expired => "The document has expired. Ask for a valid one.",
            Self::WrongType => "This is not the kind of document that the provider wants, or it does not take this kind.",
            Self::WrongSide => "The picture shows the wrong side of the document. Ask for the side that is wanted.",
            Self::Incomplete => "A side or a page of the document is missing. Ask for all of it.",
            Self::Mismatch => {
                "The document does not match what the provider knows about this person. Check the person's data, then ask again."
            }
            Self::NotOriginal => "The provider wants a photo of the original in colour, not a copy.",
            Self::Corrupted => "The provider could not open the file. Ask for another photo or file.",
            Self::TooLarge => "The provider finds the file too large. Ask for a smaller one.",
            Self::CountryUnsupported => "The provider does not take documents of this country.",
            Self::FraudSuspected => "The provider suspects that the document was altered. Follow your own procedure before asking again.",
            Self::TooOld => "The document was issued too long ago. Ask for a recent one.",
            Self::Rejected => "The provider rejected the document without a reason that could be understood.",
        }
    }

    /// `document.<word>` and the sentence.
    pub(crate) fn problem(self) -> DeliveryProblem {
        DeliveryProblem::new(format!("document.{}", self.as_str()), self.sentence())
    }

    /// The best guess from a provider's own code or sentence. Only for reasons that no table knows.
    pub(crate) fn guess(text: &str) -> Self {
        let text = text.to_lowercase().replace([' ', '-'], "_");
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        // The order matters: "photo_mismatch" is no unreadable photo, "not_readable_expiry_date" is no expired document.
        if any(&["fraud", "manipulat", "tamper", "fake", "forge", "alter", "blacklist"]) {
            Self::FraudSuspected
        } else if any(&["mismatch", "not_match", "doesnt_match", "does_not_match"]) {
            Self::Mismatch
        } else if any(&["glare", "reflection"]) {
            Self::Glare
        } else if any(&["cropped", "cut_off", "corners", "out_of_frame"]) {
            Self::Cropped
        } else if any(&["blur", "readab", "illegib", "legible", "quality", "dark", "obscured", "unclear"]) {
            Self::Unreadable
        } else if any(&["wrong_side", "same_side", "side_mismatch"]) {
            Self::WrongSide
        } else if any(&["expired", "expiration"]) {
            Self::Expired
        } else if any(&["older_than", "issued_greater", "too_old", "outdated"]) {
            Self::TooOld
        } else if any(&["corrupt"]) {
            Self::Corrupted
        } else if any(&["too_large", "file_size", "too_big"]) {
            Self::TooLarge
        } else if any(&["copy", "greyscale", "grayscale", "screenshot", "black_and_white", "not_original"]) {
            Self::NotOriginal
        } else if any(&["country"]) {
            Self::CountryUnsupported
        } else if any(&["incomplete", "missing", "back_side", "front_side", "partial"]) {
            Self::Incomplete
        } else if any(&["type", "unsupported", "not_supported", "wrong", "not_accepted", "invalid_document"]) {
            Self::WrongType
        } else {
            Self::Rejected
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_reason_has_its_word_and_a_plain_sentence() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            let problem = reason.problem();
            assert!(problem.code.starts_with("document.") && problem.text.ends_with('.') && problem.text.is_ascii());
        }
    }

    #[test]
    fn guesses() {
        let table = [
            ("Image is too blurry", Reason::Unreadable),
            ("DOCUMENT_EXPIRED", Reason::Expired),
            ("photo mismatch", Reason::Mismatch),
            ("DOCUMENT_ISSUED_GREATER_THAN_30_DAYS", Reason::TooOld),
            ("document_manipulated", Reason::FraudSuspected),
            ("type not supported", Reason::WrongType),
            ("back side absent", Reason::Incomplete),
            ("wrong side of the card", Reason::WrongSide),
            ("strong glare", Reason::Glare),
            ("image cropped", Reason::Cropped),
            ("computer says no", Reason::Rejected),
        ];
        for (text, reason) in table {
            assert_eq!(Reason::guess(text), reason, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_providers_own_text_never_comes_through(text in ".{0,200}") {
            let problem = Reason::guess(&text).problem();
            prop_assert!(Reason::ALL.iter().any(|r| r.problem() == problem));
        }
    }
}
