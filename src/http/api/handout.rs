//! What is handed out once, when a link is issued: the address, the passcode, the QR code and the ready message.

use fast_qr::convert::Builder;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::{ECL, QRBuilder};

use crate::http::State;
use crate::workflow::issue::{self, Issued};
use crate::workflow::message::{self, Message};
use crate::workflow::{Portal, WorkflowError};

pub struct Handout {
    pub url: String,
    pub passcode: Option<String>,
    pub message: Message,
    /// A whole `<svg>` element, black on white with its quiet zone.
    pub qr_svg: String,
}

pub fn handout(state: &State, issued: &Issued) -> Result<Handout, WorkflowError> {
    let url = issued.url(&state.portal);
    let language = issued.request.locale.as_deref().unwrap_or("en");
    let note = issue::opened_message(&state.portal, &issued.request)?;
    let facts = message::Facts {
        company: &state.company.name,
        support: state.company.support.as_deref(),
        document: label(&state.portal, &issued.request.document, language),
        url: &url,
        portal: &state.portal.policy.public_url,
        expires_at: issued.request.link.expires_at,
        passcode: issued.passcode.is_some(),
        note: note.as_deref(),
    };
    let message = message::ready(&facts, language);
    Ok(Handout {
        qr_svg: qr(&url)?,
        message,
        passcode: issued.passcode.clone(),
        url,
    })
}

/// A kind's label, or its name once it is no longer in the catalogue.
pub fn label<'a>(portal: &'a Portal, kind: &'a crate::domain::document::DocumentKind, language: &str) -> &'a str {
    portal.catalogue.get(kind).map_or(kind.as_str(), |entry| entry.label(language))
}

/// Medium error correction: read from a screen, not from a crumpled paper.
pub fn qr(text: &str) -> Result<String, WorkflowError> {
    let code = QRBuilder::new(text)
        .ecl(ECL::M)
        .build()
        .map_err(|_| WorkflowError::Internal("the address does not fit a QR code".to_owned()))?;
    Ok(SvgBuilder::default().margin(4).to_str(&code))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn a_qr_code_is_one_svg_without_styles_or_scripts() {
        let svg = super::qr("https://drop.example.com/d/041061050r3gg28a1c60t3gf208h44rm").unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
        for never in ["style", "script", "href", "<image"] {
            assert!(!svg.contains(never), "{never}");
        }
        assert!(super::qr(&"x".repeat(8_000)).is_err());
    }
}
