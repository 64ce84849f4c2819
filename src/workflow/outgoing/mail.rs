//! Mail with a one-time link, to applicants and to agents who are invited: it holds an address and the link, so it waits sealed under an erasure secret of its own, and that is destroyed as soon as the mail was
//! sent, has failed, or is not needed any more.
//!
//! The link's token is in memory when a mail is queued, and nowhere else in the open; what is stored opens only with the secret in its slot and the portal's secrets.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::{Zeroize, Zeroizing};

use crate::chain::{Cause, chain};
use crate::connectors::mail::address;
use crate::crypto::erase::EraseError;
use crate::crypto::secret::ErasureSecret;
use crate::domain::agent::{Actor, Agent, Invitation};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::dispatch::{Body, Channel, Dispatch, Progress};
use crate::domain::document::SealedText;
use crate::domain::id::{AgentId, DispatchId, DocumentId, RequestId};
use crate::domain::link::LinkState;
use crate::domain::request::{DocumentRequest, Stage};
use crate::storage::StorageError;
use crate::words;
use crate::workflow::message::Message;
use crate::workflow::trusted::TrustedRequest;
use crate::workflow::{Portal, WorkflowError, blocking, seal};

/// A reminder comes this long before the link expires.
const REMIND_BEFORE: Duration = Duration::hours(24);
/// A reminder that would follow the first mail this closely is none.
const REMIND_AFTER: Duration = Duration::hours(12);
/// Erasure slots that mail leaves to documents.
const SLOTS_LEFT: u64 = 16;

/// What is sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Content {
    pub to: String,
    pub subject: String,
    pub text: String,
    /// The expiry as the text says it, and in which language: a link may be given more time before a reminder is sent.
    expires: String,
    pub language: String,
    /// Of an invitation: the account, and the hash that its link has there.
    invitation: Option<([u8; 16], [u8; 32])>,
}

impl Drop for Content {
    fn drop(&mut self) {
        for text in [&mut self.to, &mut self.subject, &mut self.text] {
            text.zeroize();
        }
    }
}

/// Which mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Link,
    Reminder,
    /// To an agent, with the link that sets a password or a passkey.
    Invitation,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Link => "mail.link",
            Self::Reminder => "mail.reminder",
            Self::Invitation => "mail.invitation",
        }
    }
}

/// Refuses what is no address before anything is issued.
pub(crate) fn check_address(portal: &Portal, to: &str) -> Result<(), WorkflowError> {
    let refuse = |fix: &str| {
        Err(WorkflowError::Invalid {
            field: "email",
            fix: fix.to_owned(),
        })
    };
    if portal.outgoing.mailer.is_none() {
        return refuse("cannot be used: no mail server is configured ([mail] in nightdrop.toml)");
    }
    if address(to).is_none() {
        return refuse("must be one e-mail address such as james@example.com");
    }
    Ok(())
}

/// What became of a mail that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    Now,
    /// The same one to the same address was queued for this link before.
    Before,
    /// A reminder that would follow the first mail too closely: the link ends within 36 hours.
    TooClose,
}

/// Queues a mail with the present link.
pub(crate) async fn queue(
    portal: &Portal,
    request: &TrustedRequest,
    to: &str,
    kind: Kind,
    message: &Message,
    by: Actor,
) -> Result<Queued, WorkflowError> {
    check_address(portal, to)?;
    let now = portal.now();
    let due = match kind {
        Kind::Link | Kind::Invitation => now,
        Kind::Reminder => request.link.expires_at - REMIND_BEFORE,
    };
    if kind == Kind::Reminder && due < now + REMIND_AFTER {
        return Ok(Queued::TooClose);
    }
    let names = [&request.id.0[..], &request.link.generation.to_be_bytes()].concat();
    let parcel = Parcel {
        id: id_of(portal, &names, to, kind),
        kind,
        due,
        request: Some(request.id),
        generation: request.link.generation,
        give_up_at: now + portal.policy.link_max,
    };
    let language = request.locale.clone().unwrap_or_default();
    let content = Content {
        to: to.to_owned(),
        subject: message.subject.clone(),
        text: message.body.clone(),
        expires: words_of(&language).moment(request.link.expires_at),
        language,
        invitation: None,
    };
    post(portal, &parcel, &content, by).await
}

/// Queues a mail with the link of an invitation.
pub(crate) async fn queue_invitation(
    portal: &Portal,
    agent: &Agent,
    invitation: &Invitation,
    link: &str,
    by: Actor,
) -> Result<Queued, WorkflowError> {
    check_address(portal, &agent.email)?;
    let company = &portal.outgoing.company;
    let until = words::english().moment(invitation.expires_at);
    let text = format!(
        "{},\n\nthis link is your way into the document portal of {company}. Open it to set a password or a passkey of your own:\n\n{link}\n\n\
         It works once, until {until}. If you did not expect this mail, leave the link alone and tell whoever runs the portal.\n",
        agent.name
    );
    let names = [&agent.id.0[..], &invitation.hash].concat();
    let parcel = Parcel {
        id: id_of(portal, &names, &agent.email, Kind::Invitation),
        kind: Kind::Invitation,
        due: portal.now(),
        request: None,
        generation: 0,
        give_up_at: invitation.expires_at,
    };
    let content = Content {
        to: agent.email.clone(),
        subject: format!("{company}: your access to the document portal"),
        text,
        expires: String::new(),
        language: String::new(),
        invitation: Some((agent.id.0, invitation.hash)),
    };
    post(portal, &parcel, &content, by).await
}

/// What is queued, but for its content.
struct Parcel {
    id: DispatchId,
    kind: Kind,
    due: OffsetDateTime,
    request: Option<RequestId>,
    /// Of the request's link.
    generation: u32,
    give_up_at: OffsetDateTime,
}

async fn post(portal: &Portal, parcel: &Parcel, content: &Content, by: Actor) -> Result<Queued, WorkflowError> {
    // The sweep destroys secrets that belong to nobody; until the row stands, this is whose it is.
    let owner = DocumentId(parcel.id.0);
    let in_flight = portal.intake.in_flight.enter(owner);
    let queued = sealed(portal, parcel, content, by).await;
    drop(in_flight);
    if !queued? {
        return Ok(Queued::Before);
    }
    portal.outgoing.outbox_signal.notify_one();
    Ok(Queued::Now)
}

async fn sealed(portal: &Portal, parcel: &Parcel, content: &Content, by: Actor) -> Result<bool, WorkflowError> {
    let (id, kind) = (parcel.id, parcel.kind);
    if portal.outbox.dispatch(id).await?.is_some() {
        return Ok(false);
    }
    let now = portal.now();
    let secret = ErasureSecret::generate()?;
    let plain = Zeroizing::new(serde_json::to_vec(content).map_err(|e| WorkflowError::Internal(Cause::new(e)))?);
    let sealed = portal.secrets.seal_erasable_field(&secret, &context(id), &plain)?;
    let erasure = portal.erasure.clone();
    let slot = blocking(move || match erasure.free() {
        Ok(free) if free <= SLOTS_LEFT => Err(EraseError::SlotsFull),
        _ => erasure.put(&id.0, &secret),
    })
    .await??;
    let dispatch = Dispatch {
        id,
        channel: Channel::Mail,
        ordering_key: id.0,
        order: 0,
        kind: kind.as_str().to_owned(),
        request: parcel.request,
        generation: parcel.generation,
        created_at: now,
        give_up_at: parcel.give_up_at,
        attempts: 0,
        fence: 0,
        last: None,
        body: Body::Sealed {
            slot,
            sealed: SealedText(sealed),
        },
        progress: Progress::Waiting(parcel.due),
    };
    let event = AuditEvent::new(now, by, AuditAction::MailQueued).with("kind", kind.as_str());
    let event = match parcel.request {
        Some(request) => event.on(request),
        None => event,
    };
    let posted = portal.outbox.post(dispatch.clone(), event).await;
    match posted {
        Ok(true) => {}
        // It may have been written: then the mail is sent and its secret dies with it. Otherwise the sweep finds that nobody owns it.
        Err(StorageError::Indeterminate(_)) => {}
        Ok(false) | Err(_) => erase(portal, &dispatch).await,
    }
    Ok(posted?)
}

/// The same mail to the same person with the same link is the same dispatch, however often it is asked for. `link`: whatever names the link.
fn id_of(portal: &Portal, link: &[u8], to: &str, kind: Kind) -> DispatchId {
    let of = [link, kind.as_str().as_bytes(), &[0], to.to_ascii_lowercase().as_bytes()].concat();
    let mut id = [0; 16];
    id.copy_from_slice(&portal.secrets.index("dispatch", &of)[..16]);
    DispatchId(id)
}

fn context(id: DispatchId) -> Vec<u8> {
    [&b"dispatch\0"[..], &id.0].concat()
}

/// The tag and the direction of a mail's language; English where none is said.
pub(crate) fn language(language: &str) -> (&'static str, &'static str) {
    let words = words_of(language);
    (words.tag, words.direction)
}

fn words_of(language: &str) -> &'static words::Words {
    words::of(language).unwrap_or_else(words::english)
}

/// What a mail that is due has become.
pub(crate) enum Opened {
    Ready(Content),
    /// The link it carries is dead or used.
    Stale,
    /// The link was given more time; the reminder waits until then.
    NotYet(OffsetDateTime),
    Lost,
}

pub(crate) async fn open(portal: &Portal, dispatch: &Dispatch) -> Result<Opened, WorkflowError> {
    let now = portal.now();
    if dispatch.kind == Kind::Invitation.as_str() {
        let Some(content) = unsealed(portal, dispatch).await? else {
            return Ok(Opened::Lost);
        };
        return Ok(match content.invitation {
            Some((agent, hash)) if invites(portal, AgentId(agent), &hash, now).await? => Opened::Ready(content),
            _ => Opened::Stale,
        });
    }
    let request = match dispatch.request {
        Some(id) => portal.requests.request(id).await?,
        None => None,
    };
    // No link is sent whose expiry or target somebody wrote over.
    let request = request.and_then(|request| TrustedRequest::prove(portal, request).ok());
    let Some(request) = request.filter(|r| carries_a_living_link(r, dispatch.generation, now)) else {
        return Ok(Opened::Stale);
    };
    let due = request.link.expires_at - REMIND_BEFORE;
    if dispatch.kind == Kind::Reminder.as_str() && now < due {
        return Ok(Opened::NotYet(due));
    }
    let Some(mut content) = unsealed(portal, dispatch).await? else {
        return Ok(Opened::Lost);
    };
    let expires = words_of(&content.language).moment(request.link.expires_at);
    if expires != content.expires {
        content.text = content.text.replace(&content.expires, &expires);
    }
    Ok(Opened::Ready(content))
}

/// Whether this is still the account's link.
async fn invites(portal: &Portal, agent: AgentId, hash: &[u8; 32], now: OffsetDateTime) -> Result<bool, WorkflowError> {
    let agent = seal::trusted(portal, portal.directory.agent(agent).await).await?;
    let invitation = agent.filter(|a| a.disabled_at.is_none()).and_then(|a| a.invitation);
    Ok(invitation.is_some_and(|i| i.hash == *hash && now < i.expires_at))
}

/// The content, while its secret lives.
async fn unsealed(portal: &Portal, dispatch: &Dispatch) -> Result<Option<Content>, WorkflowError> {
    let Body::Sealed { slot, sealed } = &dispatch.body else {
        return Ok(None);
    };
    let (erasure, id, slot) = (portal.erasure.clone(), dispatch.id, *slot);
    let secret = match blocking(move || erasure.get(&id.0, &slot)).await? {
        Ok(secret) => secret,
        Err(EraseError::Erased | EraseError::OtherOwner | EraseError::Damaged | EraseError::NoSuchSlot) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let plain = portal.secrets.open_erasable_field(&secret, &context(dispatch.id), &sealed.0);
    Ok(plain.ok().and_then(|plain| serde_json::from_slice(&plain).ok()))
}

fn carries_a_living_link(request: &DocumentRequest, generation: u32, now: OffsetDateTime) -> bool {
    let usable = matches!(request.link_state(now), LinkState::Active | LinkState::Locked);
    matches!(request.stage, Stage::Open { .. }) && request.link.generation == generation && usable
}

/// Drops the mails of a request whose link they carry is dead or used by now.
pub(crate) async fn drop_stale(portal: &Portal, request: &DocumentRequest) -> Result<(), WorkflowError> {
    let now = portal.now();
    let present = request.link.generation;
    let up_to = if carries_a_living_link(request, present, now) {
        present.saturating_sub(1)
    } else {
        present
    };
    for dropped in portal.outbox.drop_mail(request.id, up_to).await? {
        erase(portal, &dropped).await;
    }
    Ok(())
}

/// Destroys the secret of a mail. One that could not be destroyed belongs to nobody any more, and the sweep tries again.
pub(crate) async fn erase(portal: &Portal, dispatch: &Dispatch) {
    let Body::Sealed { slot, .. } = &dispatch.body else { return };
    let (erasure, id, slot) = (portal.erasure.clone(), dispatch.id, *slot);
    match blocking(move || erasure.destroy(&id.0, &slot)).await {
        Ok(Ok(_) | Err(EraseError::Erased | EraseError::OtherOwner)) => {}
        Ok(Err(error)) => {
            tracing::error!(dispatch = %id, error = %chain(&error), "the secret of a mail could not be destroyed; the sweep tries again")
        }
        Err(error) => {
            tracing::error!(dispatch = %id, error = %chain(&error), "the secret of a mail could not be destroyed; the sweep tries again")
        }
    }
}

/// Whether a live erasure secret belongs to a mail that waits.
pub(crate) async fn owns(portal: &Portal, owner: DocumentId) -> Result<bool, WorkflowError> {
    let found = portal.outbox.dispatch(DispatchId(owner.0)).await?;
    Ok(found.is_some_and(|d| matches!(d.body, Body::Sealed { .. })))
}
