//! What is handed out once, when a link is issued: the address, the passcode, the QR code and the ready message.

use fast_qr::convert::Builder;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::{ECL, QRBuilder};

use crate::domain::agent::Actor;
use crate::domain::message::Template;
use crate::domain::request::DocumentRequest;
use crate::http::AppState;
use crate::words::{self, Words};
use crate::workflow::issue::{Code, Issued};
use crate::workflow::message::{self, Message};
use crate::workflow::outgoing::mail::{self, Kind, Queued};
use crate::workflow::terms;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError};

pub(crate) struct LinkMessage {
    pub url: String,
    pub passcode: Option<Code>,
    pub message: Message,
    /// The same link once more, shortly before it expires.
    pub reminder: Message,
    /// A whole `<svg>` element, black on white with its quiet zone.
    pub qr_svg: String,
}

pub(crate) async fn link_message(state: &AppState, issued: &Issued) -> Result<LinkMessage, WorkflowError> {
    let url = issued.url(&state.portal);
    let (message, reminder) = messages(state, &issued.request, &url).await?;
    Ok(LinkMessage {
        qr_svg: qr(&url)?,
        message,
        reminder,
        passcode: issued.passcode.clone(),
        url,
    })
}

/// The message and the reminder with the present link of a request, whose address the caller has in hand.
pub(crate) async fn messages(state: &AppState, request: &TrustedRequest, url: &str) -> Result<(Message, Message), WorkflowError> {
    let words = words(request);
    let template = template(state, request, words).await?;
    let note = terms::opened_message(&state.portal, request)?;
    let asked = state.portal.catalogue.asked(
        &request.document,
        &request.parts,
        request.locale.as_deref().unwrap_or(words.tag),
        words,
    );
    let facts = message::Facts {
        company: &state.company.name,
        support: state.company.support.as_deref(),
        document: &asked,
        url,
        portal: &state.portal.policy.public_url,
        expires_at: request.link.expires_at,
        passcode: request.link.passcode.is_some(),
        note: note.as_deref(),
        rejected: request.rejected_before().map(|p| p.code.as_str()),
    };
    Ok((
        message::ready(&facts, words, template.as_ref()),
        message::reminder(&facts, words, template.as_ref()),
    ))
}

/// The applicant's language as far as it is known, else English.
fn words(request: &DocumentRequest) -> &'static Words {
    request.locale.as_deref().and_then(words::of).unwrap_or_else(words::english)
}

/// The company's own words for this kind, else for every kind.
async fn template(state: &AppState, request: &DocumentRequest, words: &Words) -> Result<Option<Template>, WorkflowError> {
    let outbox = &state.portal.outbox;
    match outbox.template(Some(&request.document), words.tag).await? {
        Some(own) => Ok(Some(own)),
        None => Ok(outbox.template(None, words.tag).await?),
    }
}

/// By mail, as the caller wished it; `to` was checked before anything was issued. The same wish twice has its effect once.
pub(crate) async fn send(
    state: &AppState,
    request: &TrustedRequest,
    letters: (&Message, &Message),
    to: &str,
    remind: bool,
    by: Actor,
) -> Result<Sent, WorkflowError> {
    let link = mail::queue(&state.portal, request, to, Kind::Link, letters.0, by).await?;
    let reminder = match remind {
        true => Some(mail::queue(&state.portal, request, to, Kind::Reminder, letters.1, by).await?),
        false => None,
    };
    Ok(Sent { link, reminder })
}

/// What became of the mail with a link, and of the reminder that was wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub link: Queued,
    pub reminder: Option<Queued>,
}

impl Sent {
    pub(crate) fn reminder_word(self) -> Option<&'static str> {
        self.reminder.map(|queued| match queued {
            Queued::Now | Queued::Before => "queued",
            Queued::TooClose => "too_close",
        })
    }
}

/// A kind's label, or its name once it is no longer in the catalogue.
pub(crate) fn label<'a>(portal: &'a Portal, kind: &'a crate::domain::document::DocumentKind, language: &str) -> &'a str {
    portal.catalogue.get(kind).map_or(kind.as_str(), |entry| entry.label(language))
}

/// Medium error correction: read from a screen, not from a crumpled paper.
pub(crate) fn qr(text: &str) -> Result<String, WorkflowError> {
    let code = QRBuilder::new(text)
        .ecl(ECL::M)
        .build()
        .map_err(|_| WorkflowError::Internal("the address does not fit a QR code".into()))?;
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
