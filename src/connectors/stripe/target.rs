//! Whom a document is for and where it goes: applicant references, slots, and the names of both in requests and requirements.

use crate::connectors::Unsupported;
use crate::domain::document::{ApplicantRef, DocumentKind, PartName};
use crate::settings::Reader;

/// Whose document it is, within an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The account itself: an individual, or documents of the account.
    Account,
    Person(String),
    Company,
}

/// `acct_…`, `acct_…,person_…` or `acct_…,company`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub account: String,
    pub holder: Holder,
}

impl Target {
    pub(crate) fn parse(applicant: &ApplicantRef) -> Option<Self> {
        let (account, holder) = match applicant.expose().split_once(',') {
            None => (applicant.expose(), Holder::Account),
            Some((account, "company")) => (account, Holder::Company),
            Some((account, person)) => (account, Holder::Person(id(person, "person_")?)),
        };
        Some(Self {
            account: id(account, "acct_")?,
            holder,
        })
    }

    pub(crate) fn reference(account: &str, holder: &Holder) -> Option<ApplicantRef> {
        ApplicantRef::parse(&match holder {
            Holder::Account => account.to_owned(),
            Holder::Company => format!("{account},company"),
            Holder::Person(person) => format!("{account},{person}"),
        })
    }

    /// Whether an object is the one that [`Self::path`] leads to.
    pub(crate) fn is_named_by(&self, object: &serde_json::Value) -> bool {
        let (id, kind) = match &self.holder {
            Holder::Person(person) => (person, "person"),
            Holder::Account | Holder::Company => (&self.account, "account"),
        };
        let of_kind = object["object"].as_str().is_none_or(|named| named == kind);
        let of_account = kind == "account" || object["account"].as_str().is_none_or(|account| account == self.account);
        object["id"].as_str() == Some(id) && of_kind && of_account
    }

    /// The object that holds the document and its requirements.
    pub(crate) fn path(&self) -> String {
        match &self.holder {
            Holder::Person(person) => format!("/v1/accounts/{}/persons/{person}", self.account),
            Holder::Account | Holder::Company => format!("/v1/accounts/{}", self.account),
        }
    }
}

/// An id as Stripe makes them, so that nothing of it needs to be escaped.
pub(crate) fn id(text: &str, prefix: &str) -> Option<String> {
    let rest = text.strip_prefix(prefix)?;
    (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then(|| text.to_owned())
}

/// The `documents[…]` that a person has; all others are an account's.
const PERSON_FILES: [&str; 3] = ["company_authorization", "passport", "visa"];

/// A place for a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Document,
    Additional,
    CompanyDocument,
    /// `documents[<name>][files]`
    Files(String),
}

impl Slot {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "verification.document" => Some(Self::Document),
            "verification.additional_document" => Some(Self::Additional),
            "company.verification.document" => Some(Self::CompanyDocument),
            _ => text
                .strip_prefix("documents.")
                .filter(|name| is_word(name))
                .map(|name| Self::Files(name.to_owned())),
        }
    }

    fn fits(&self, holder: &Holder) -> bool {
        match self {
            Self::Document | Self::Additional => *holder != Holder::Company,
            Self::CompanyDocument => *holder == Holder::Company,
            Self::Files(name) => PERSON_FILES.contains(&name.as_str()) == matches!(holder, Holder::Person(_)),
        }
    }

    /// The `purpose` of an uploaded file. From the API description of the fields that take the file.
    pub(crate) fn purpose(&self) -> &'static str {
        match self {
            Self::Document | Self::Additional => "identity_document",
            Self::CompanyDocument => "additional_verification",
            Self::Files(_) => "account_requirement",
        }
    }

    /// Sides have a name of their own; files are numbered.
    pub(crate) fn takes(&self, part: &PartName) -> bool {
        matches!(self, Self::Files(_)) || ["front", "back"].contains(&part.as_str())
    }

    /// The form field of the n-th part.
    pub(crate) fn field(&self, holder: &Holder, part: &PartName, n: usize) -> String {
        let owner = |slot: &str| match holder {
            Holder::Person(_) => format!("verification[{slot}][{part}]"),
            _ => format!("individual[verification][{slot}][{part}]"),
        };
        match self {
            Self::Document => owner("document"),
            Self::Additional => owner("additional_document"),
            Self::CompanyDocument => format!("company[verification][document][{part}]"),
            Self::Files(name) => format!("documents[{name}][files][{n}]"),
        }
    }

    /// JSON pointers, in the target's object, to the verification's status and to the document's own entry.
    pub(crate) fn pointers(&self, holder: &Holder) -> (Option<String>, Option<String>) {
        let root = if matches!(holder, Holder::Person(_)) { "" } else { "/individual" };
        match self {
            Self::Document => (
                Some(format!("{root}/verification/status")),
                Some(format!("{root}/verification/document")),
            ),
            Self::Additional => (
                Some(format!("{root}/verification/status")),
                Some(format!("{root}/verification/additional_document")),
            ),
            Self::CompanyDocument => (None, Some("/company/verification/document".to_owned())),
            Self::Files(_) => (None, None),
        }
    }

    /// Whether a requirement of the target's object speaks of this slot.
    pub(crate) fn is_meant_by(&self, requirement: &str, holder: &Holder) -> bool {
        let own = match self {
            Self::Document => "verification.document",
            Self::Additional => "verification.additional_document",
            Self::CompanyDocument => return requirement == "company.verification.document",
            Self::Files(name) => {
                let own = match holder {
                    Holder::Person(person) => requirement.strip_prefix(person.as_str()).and_then(|r| r.strip_prefix('.')),
                    _ => None,
                };
                let rest = own.unwrap_or(requirement).strip_prefix("documents.");
                return rest.map(|rest| rest.strip_suffix(".files").unwrap_or(rest)) == Some(name);
            }
        };
        match holder {
            Holder::Person(person) => {
                requirement == own || requirement.strip_prefix(person.as_str()).and_then(|r| r.strip_prefix('.')) == Some(own)
            }
            _ => requirement.strip_prefix("individual.") == Some(own),
        }
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Which kind goes where: as configured, else as built in.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Vec<(DocumentKind, Slot)>);

/// In the order in which a kind's slots are tried against the holder.
const KNOWN: [(&str, &str); 8] = [
    ("government-id", "verification.document"),
    ("passport", "verification.document"),
    ("drivers-license", "verification.document"),
    ("proof-of-address", "verification.additional_document"),
    ("proof-of-address", "documents.proof_of_address"),
    ("bank-statement", "documents.bank_account_ownership_verification"),
    ("company-registration", "company.verification.document"),
    ("company-registration", "documents.company_registration_verification"),
];

impl Slots {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        const WANTED: &str = "a table from document kinds to verification.document, verification.additional_document, company.verification.document or documents.<name>";
        let configured = reader.pairs("slots", WANTED);
        let own: Vec<String> = configured.iter().map(|(kind, _)| kind.clone()).collect();
        let known = KNOWN
            .iter()
            .filter(|(kind, _)| !own.iter().any(|o| o == kind))
            .map(|(k, s)| ((*k).to_owned(), (*s).to_owned()));
        let mut slots = Vec::new();
        for (kind, slot) in configured.into_iter().chain(known) {
            match DocumentKind::parse(&kind).zip(Slot::parse(&slot)) {
                Some(pair) => slots.push(pair),
                None => reader.must_be("slots", WANTED),
            }
        }
        Self(slots)
    }

    pub(crate) fn of(&self, kind: &DocumentKind, holder: &Holder) -> Option<&Slot> {
        self.0.iter().find(|(k, slot)| k == kind && slot.fits(holder)).map(|(_, slot)| slot)
    }

    /// Before the applicant is known: whether any of the kind's slots takes these parts.
    pub(crate) fn accepts(&self, kind: &DocumentKind, parts: &[PartName]) -> Result<(), Unsupported> {
        let mut of_kind = self.0.iter().filter(|(k, _)| k == kind).map(|(_, slot)| slot).peekable();
        if of_kind.peek().is_none() {
            let mut kinds: Vec<&str> = self.0.iter().map(|(kind, _)| kind.as_str()).collect();
            kinds.dedup();
            return Err(Unsupported(format!("This provider takes these documents: {}.", kinds.join(", "))));
        }
        let sound = !parts.is_empty() && of_kind.any(|slot| parts.iter().all(|part| slot.takes(part)));
        if sound {
            Ok(())
        } else {
            Err(Unsupported(
                "This provider takes the parts front and back of this document.".to_owned(),
            ))
        }
    }

    /// A requirement in the portal's words: kind and holder. `Err` for a document that no slot knows; `Ok(None)` for what is no document.
    pub(crate) fn read_requirement(&self, requirement: &str, asked: &Holder) -> Result<Option<(DocumentKind, Holder)>, Holder> {
        let (holder, rest) = match requirement.split_once('.') {
            Some(("individual", rest)) => (Holder::Account, rest),
            Some(("company", _)) => (Holder::Company, requirement),
            Some(("documents", _)) => (asked.clone(), requirement),
            Some((person, rest)) if person.starts_with("person_") => (Holder::Person(person.to_owned()), rest),
            _ => (asked.clone(), requirement),
        };
        let rest = rest.strip_suffix(".files").unwrap_or(rest);
        let Some(slot) = Slot::parse(rest) else { return Ok(None) };
        // A kind may have two slots; the requirement names one of them, and the holder must be one to whom it leads.
        let holders = [holder.clone(), Holder::Company];
        let leads_here =
            |(kind, candidate): &&(DocumentKind, Slot), holder: &Holder| *candidate == slot && self.of(kind, holder) == Some(&slot);
        let found = holders.iter().find_map(|h| {
            self.0
                .iter()
                .find(|entry| leads_here(entry, h))
                .map(|(kind, _)| (kind.clone(), h.clone()))
        });
        found.map(Some).ok_or(holder)
    }
}
