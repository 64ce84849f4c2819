//! What is handed out once, when a link is issued: the address, the passcode, the QR code and the ready message.

use fast_qr::convert::Builder;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::{ECL, QRBuilder};

use crate::chain::chain;
use crate::domain::agent::Actor;
use crate::domain::request::DocumentRequest;
use crate::domain::token::PlainToken;
use crate::words::{self, Words};
use crate::workflow::issue::{Code, Issued};
use crate::workflow::message::{self, Message};
use crate::workflow::outgoing::mail::{self, Kind, Queued};
use crate::workflow::terms;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, templates};

/// Who asks, as messages name them.
pub(crate) struct Sender<'a> {
    pub company: &'a str,
    /// Whom to ask: an e-mail address, telephone number or web address.
    pub support: Option<&'a str>,
}

pub(crate) struct LinkMessage {
    pub url: String,
    pub passcode: Option<Code>,
    pub message: Message,
    /// The same link once more, shortly before it expires.
    pub reminder: Message,
    /// A whole `<svg>` element, black on white with its quiet zone.
    pub qr_svg: String,
}

async fn link_message(portal: &Portal, from: &Sender<'_>, issued: &Issued) -> Result<LinkMessage, WorkflowError> {
    let url = issued.url(portal);
    let (message, reminder) = messages(portal, from, &issued.request, &url).await?;
    Ok(LinkMessage {
        qr_svg: qr(&url)?,
        message,
        reminder,
        passcode: issued.passcode.clone(),
        url,
    })
}

/// What is shown once of a link that was just issued, and what became of the wish to mail it.
pub(crate) struct HandedOver {
    pub message: LinkMessage,
    pub mailed: Option<Mailed>,
}

/// Writes the message of a link just issued, and queues it where that was wished.
pub(crate) async fn hand_over(
    portal: &Portal,
    from: &Sender<'_>,
    issued: &Issued,
    wish: &MailWish,
    by: Actor,
) -> Result<HandedOver, WorkflowError> {
    let message = link_message(portal, from, issued).await?;
    Ok(HandedOver {
        mailed: wish.send(portal, issued, &message, by).await,
        message,
    })
}

/// The message and the reminder with the present link of a request, whose address the caller has in hand.
async fn messages(portal: &Portal, from: &Sender<'_>, request: &TrustedRequest, url: &str) -> Result<(Message, Message), WorkflowError> {
    let words = words(request);
    let template = templates::fitting(portal, &request.document, words.tag).await?;
    let note = terms::opened_message(portal, request)?;
    let asked = portal.catalogue.asked(
        &request.document,
        &request.parts,
        request.locale.as_deref().unwrap_or(words.tag),
        words,
    );
    let facts = message::Facts {
        company: from.company,
        support: from.support,
        document: &asked,
        url,
        portal: &portal.policy.public_url,
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

/// By mail, as the caller wished it; `to` was checked before anything was issued. The same wish twice has its effect once.
async fn send(
    portal: &Portal,
    request: &TrustedRequest,
    letters: (&Message, &Message),
    to: &str,
    remind: bool,
    by: Actor,
) -> Result<Sent, WorkflowError> {
    let link = mail::queue(portal, request, to, Kind::Link, letters.0, by).await?;
    let reminder = match remind {
        true => Some(mail::queue(portal, request, to, Kind::Reminder, letters.1, by).await?),
        false => None,
    };
    Ok(Sent { link, reminder })
}

/// Mails the present link of a request again, whose token the caller has in hand; `None` where no address was given.
pub(crate) async fn send_again(
    portal: &Portal,
    from: &Sender<'_>,
    request: &TrustedRequest,
    token: &PlainToken,
    wish: &MailWish,
    by: Actor,
) -> Result<Option<Sent>, WorkflowError> {
    let Some(to) = &wish.to else { return Ok(None) };
    let url = address(portal, token);
    let (message, reminder) = messages(portal, from, request, &url).await?;
    send(portal, request, (&message, &reminder), to, wish.remind, by).await.map(Some)
}

/// Where a link leads, whole.
pub(crate) fn address(portal: &Portal, token: &PlainToken) -> String {
    format!("{}/d/{}", portal.policy.public_url, token.encode())
}

/// The token of a request's present link, if this is it.
pub(crate) fn present_token(portal: &Portal, request: &TrustedRequest, text: &str) -> Option<PlainToken> {
    PlainToken::parse(text).filter(|token| portal.secrets.hash_token(token) == request.link.hashed)
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

/// What became of the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mailed {
    Queued(Sent),
    Failed,
}

impl Mailed {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued(_) => "queued",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn reminder(self) -> Option<&'static str> {
        match self {
            Self::Queued(sent) => sent.reminder_word(),
            Self::Failed => None,
        }
    }
}

/// Whether and where a link is to be mailed; checked before it is issued.
#[derive(Default)]
pub(crate) struct MailWish {
    pub to: Option<String>,
    pub remind: bool,
}

impl MailWish {
    /// Queues what was wished. The link is issued by now and must be shown, so what fails here is told beside it.
    async fn send(&self, portal: &Portal, issued: &Issued, link_message: &LinkMessage, by: Actor) -> Option<Mailed> {
        let letters = (&link_message.message, &link_message.reminder);
        match send(portal, &issued.request, letters, self.to.as_ref()?, self.remind, by).await {
            Ok(sent) => Some(Mailed::Queued(sent)),
            Err(error) => {
                tracing::error!(request = %issued.request.id, error = %chain(&error), "a mail could not be queued");
                Some(Mailed::Failed)
            }
        }
    }
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
