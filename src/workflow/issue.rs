//! Issuing: a request with its one link; then extending, reissuing, revoking, and giving a fresh passcode. A token and a passcode leave this file once and are stored only as hashes.

use time::{Duration, OffsetDateTime};

use crate::chain::Cause;
use crate::connectors::Limits;
use crate::crypto::password::Passcode;
use crate::crypto::random;
use crate::domain::agent::{Actor, Team};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::ConfirmAt;
use crate::domain::document::{ApplicantRef, DocumentKind, PartName, PartSpec, ProviderName, SealedText, TicketRef};
use crate::domain::id::RequestId;
use crate::domain::link::{LinkState, PASSCODE_TRIES, PasscodeLock, UploadLink};
use crate::domain::request::{Cleanup, DocumentRequest, Stage};
use crate::domain::token::{HashedToken, PlainToken};
use crate::domain::transition::{AgentAction, Transition};
use crate::storage::{Claim, Claimed};
use zeroize::Zeroizing;

use super::catalogue::CatalogueEntry;
use super::trusted::TrustedRequest;
use super::{Portal, WorkflowError, blocking, hosted, intake::resumable, query::search, terms};

/// The longest note to an applicant, in bytes.
pub(crate) const MESSAGE_MAX: usize = 1_000;
/// The longest metadata, in bytes of JSON.
pub(crate) const METADATA_MAX: usize = 4_096;
const SHORTEST_LINK: Duration = Duration::seconds(1);

/// What an agent or a machine asks for.
pub struct Ask {
    pub provider: ProviderName,
    pub applicant: ApplicantRef,
    pub document: DocumentKind,
    /// `None`: all parts of the catalogue's kind.
    pub parts: Option<Vec<PartName>>,
    pub expires: Expiry,
    pub passcode: bool,
    pub locale: Option<String>,
    pub message: Option<String>,
    pub return_url: Option<String>,
    pub metadata: Option<String>,
    /// The help desk's case that it belongs to.
    pub ticket: Option<TicketRef>,
}

#[derive(Clone, Copy, Debug)]
pub enum Expiry {
    Default,
    In(Duration),
    At(OffsetDateTime),
}

/// An `Idempotency-Key` with who sent it and a digest of the body.
pub struct ClientKey {
    pub caller: String,
    pub key: String,
    pub body: [u8; 32],
    /// What the caller alone knows and nothing stored gives away: the API key's secret, or the random number of a form. Whatever is derived for a repetition
    /// needs it, because the key itself may be as easy to guess as `case-4711`.
    pub secret: Zeroizing<String>,
}

impl ClientKey {
    /// The name under which something is derived for this caller, key and purpose: `purpose ‖ 00 ‖ caller ‖ 00 ‖ key ‖ 00 ‖ the caller's secret`.
    pub(super) fn derivation(&self, purpose: &str) -> Zeroizing<Vec<u8>> {
        let parts = [purpose, self.caller.as_str(), self.key.as_str(), self.secret.as_str()];
        Zeroizing::new(parts.join("\0").into_bytes())
    }
}

/// A link just issued. `token` and `passcode` exist here and in the answer, nowhere else.
pub struct Issued {
    pub request: TrustedRequest,
    pub token: PlainToken,
    pub passcode: Option<Code>,
    /// The same Idempotency-Key had issued it before.
    pub replayed: bool,
}

/// The passcode of a link just issued.
#[derive(Clone)]
pub enum Code {
    Shown(String),
    /// A repetition: the code that was shown then does not open the link any more.
    Replaced,
}

impl Code {
    pub fn shown(&self) -> Option<&str> {
        match self {
            Self::Shown(code) => Some(code),
            Self::Replaced => None,
        }
    }
}

impl Issued {
    pub fn url(&self, portal: &Portal) -> String {
        format!("{}/d/{}", portal.policy.public_url, self.token.encode())
    }
}

pub async fn issue(portal: &Portal, ask: Ask, by: Actor, client: Option<ClientKey>) -> Result<Issued, WorkflowError> {
    let now = portal.now();
    let claim = client.as_ref().map(|c| claim(portal, c));
    if let Some(claim) = &claim
        && let Some(seen) = portal.requests.claimed(claim).await?
    {
        return replay(portal, seen, client.as_ref()).await;
    }
    let (entry, limits, confirm) = terms_of(portal, &ask)?;
    let parts = parts_of(portal, &ask, &entry, &limits)?;
    let expires_at = expiry(portal, ask.expires, now)?;
    let id = RequestId::new(random::array()?, now);
    let secret = LinkSecret::make(portal, client.as_ref(), None)?;
    let (lock, passcode) = passcode(portal, ask.passcode || portal.policy.passcode_required, &secret).await?;
    let link = secret.link(1, now, expires_at, lock);
    let mut request = DocumentRequest {
        id,
        created_at: now,
        created_by: by,
        team: team_of(portal, by).await?,
        provider: ask.provider,
        applicant: terms::seal(portal, id, "applicant", ask.applicant.expose())?,
        applicant_index: portal.secrets.index("applicant", ask.applicant.expose().as_bytes()),
        search_words: search::words(portal, &ask.applicant, ask.ticket.as_ref()),
        ticket: ask.ticket.map(|t| terms::seal(portal, id, "ticket", t.as_str())).transpose()?,
        document: ask.document,
        parts,
        locale: ask.locale.map(|l| locale(&l)).transpose()?,
        message: ask.message.map(|m| message(portal, id, &m)).transpose()?,
        metadata: ask.metadata.map(|m| metadata(portal, id, &m)).transpose()?,
        return_url: ask.return_url.map(|url| return_url(portal, id, url)).transpose()?,
        keep: portal.policy.undelivered,
        forget_after: portal.policy.history,
        confirm,
        link,
        terms_mac: [0; 32],
        intakes: Vec::new(),
        stage: Stage::Open { expiry_noted: false },
        cleanup: Cleanup::default(),
        lease: None,
        fence: 0,
        tombstones: Vec::new(),
        notes: Vec::new(),
        assigned: None,
    };
    request.terms_mac = portal.secrets.row_mac(&request.id.0, &request.terms());
    let event = AuditEvent::new(now, by, AuditAction::LinkIssued)
        .on(id)
        .with("provider", &request.provider)
        .with("document", &request.document)
        .with("parts", request.parts.len());
    match portal.requests.issue(request, claim, event).await? {
        crate::storage::Claimed::Fresh(request) => {
            portal.wake.request_at(&request.provider);
            Ok(Issued {
                request: TrustedRequest::prove(portal, *request)?,
                token: secret.token,
                passcode: passcode.map(Code::Shown),
                replayed: false,
            })
        }
        seen => replay(portal, seen, client.as_ref()).await,
    }
}

/// Whether this key has had its effect: what comes again is a repetition, and not another wish.
pub(crate) async fn was_issued(portal: &Portal, client: &ClientKey) -> Result<bool, WorkflowError> {
    Ok(portal.requests.claimed(&claim(portal, client)).await?.is_some())
}

/// A new link on the same request; the old one is dead from this instant on.
pub async fn reissue(
    portal: &Portal,
    id: RequestId,
    expires: Expiry,
    passcode_wanted: Option<bool>,
    by: Actor,
    client: Option<ClientKey>,
) -> Result<Issued, WorkflowError> {
    let now = portal.now();
    let claim = client.as_ref().map(|c| claim(portal, c));
    if let Some(claim) = &claim
        && let Some(seen) = portal.requests.claimed(claim).await?
    {
        return replay(portal, seen, client.as_ref()).await;
    }
    let mut request = terms::load(portal, id).await?.into_inner();
    let expires_at = expiry(portal, expires, now)?;
    let secret = LinkSecret::make(portal, client.as_ref(), None)?;
    let wanted = passcode_wanted.unwrap_or(request.link.passcode.is_some()) || portal.policy.passcode_required;
    let (lock, passcode) = passcode(portal, wanted, &secret).await?;
    request.link = secret.link(request.link.generation + 1, now, expires_at, lock);
    let terms_mac = portal.secrets.row_mac(&request.id.0, &request.terms());
    let transition = Transition::Agent {
        by,
        action: AgentAction::Reissue {
            link: request.link,
            terms_mac,
        },
    };
    let done = match claim {
        None => Claimed::Fresh(Box::new(portal.requests.transition(id, transition).await?)),
        Some(claim) => portal.requests.transition_once(id, transition, claim).await?,
    };
    match done {
        Claimed::Fresh(request) => {
            resumable::stop_writers(portal, &request).await;
            portal.wake.request_at(&request.provider);
            Ok(Issued {
                request: TrustedRequest::prove(portal, *request)?,
                token: secret.token,
                passcode: passcode.map(Code::Shown),
                replayed: false,
            })
        }
        seen => replay(portal, seen, client.as_ref()).await,
    }
}

/// Moves the expiry of the present link; the token stays.
pub async fn extend(portal: &Portal, id: RequestId, expires: Expiry, by: Actor) -> Result<DocumentRequest, WorkflowError> {
    let now = portal.now();
    let mut request = terms::load(portal, id).await?.into_inner();
    let until = match expires {
        Expiry::Default => request.link.expires_at.max(now) + portal.policy.link,
        other => expiry(portal, other, now)?,
    };
    let until = until.min(now + portal.policy.link_max);
    request.link.expires_at = until;
    let terms_mac = portal.secrets.row_mac(&request.id.0, &request.terms());
    act(portal, id, by, AgentAction::Extend { until, terms_mac }).await
}

/// What an agent decides about a request.
async fn act(portal: &Portal, id: RequestId, by: Actor, action: AgentAction) -> Result<DocumentRequest, WorkflowError> {
    Ok(portal.requests.transition(id, Transition::Agent { by, action }).await?)
}

/// Returns only when no upload can be committed any more. What was on its way is destroyed by the worker at once, not before this returns.
pub async fn revoke(portal: &Portal, id: RequestId, by: Actor) -> Result<DocumentRequest, WorkflowError> {
    let request = act(portal, id, by, AgentAction::Revoke).await?;
    resumable::stop_writers(portal, &request).await;
    Ok(request)
}

/// Fresh tries with a fresh code on the same link, for an applicant who was locked out.
pub async fn fresh_passcode(portal: &Portal, id: RequestId, by: Actor) -> Result<(DocumentRequest, String), WorkflowError> {
    let code = Passcode::generate()?.expose().to_owned();
    let lock = hash_passcode(portal, code.clone()).await?;
    let request = act(portal, id, by, AgentAction::RenewPasscode { lock }).await?;
    Ok((request, code))
}

/// Sends it again after a person has looked at it.
pub async fn retry(portal: &Portal, id: RequestId, by: Actor) -> Result<DocumentRequest, WorkflowError> {
    // What was altered in the store is never sent: it can be purged and asked for again.
    terms::load(portal, id).await?;
    let request = act(portal, id, by, AgentAction::Retry).await?;
    portal.wake.request_at(&request.provider);
    Ok(request)
}

pub async fn request_purge(portal: &Portal, id: RequestId, by: Actor) -> Result<DocumentRequest, WorkflowError> {
    let request = act(portal, id, by, AgentAction::RequestPurge).await?;
    portal.wake.request_at(&request.provider);
    Ok(request)
}

/// The provider has it by other means (the `manual` provider's dashboard): counts as confirmed, and is purged.
pub async fn mark_uploaded(portal: &Portal, id: RequestId, by: Actor) -> Result<DocumentRequest, WorkflowError> {
    let request = act(portal, id, by, AgentAction::MarkUploaded).await?;
    portal.wake.request_at(&request.provider);
    Ok(request)
}

/// What somebody issues belongs to their first team.
async fn team_of(portal: &Portal, by: Actor) -> Result<Option<Team>, WorkflowError> {
    Ok(match by {
        Actor::Agent(id) => portal.directory.agent(id).await?.and_then(|a| a.teams.into_iter().next()),
        Actor::ApiKey(id) => portal.directory.api_key_by_id(id).await?.and_then(|k| k.team),
        Actor::Applicant | Actor::Portal | Actor::Operator => None,
    })
}

/// A token with the salt it was derived by, when a client's key must find it again.
struct LinkSecret {
    token: PlainToken,
    hashed: HashedToken,
    salt: Option<[u8; 16]>,
    /// Entropy of a derived passcode, equal for equal (salt, client key).
    derived: Option<PlainToken>,
}

impl LinkSecret {
    /// With a client key the token is a keyed function of (salt, caller, key, the caller's secret): a replay gives the same link although nothing that the portal
    /// holds can, not even its store and its secrets together.
    fn make(portal: &Portal, client: Option<&ClientKey>, salt: Option<[u8; 16]>) -> Result<Self, WorkflowError> {
        let Some(client) = client else {
            let token = PlainToken::from_bytes(random::array()?);
            return Ok(Self {
                hashed: portal.secrets.hash_token(&token),
                token,
                salt: None,
                derived: None,
            });
        };
        let salt = match salt {
            Some(salt) => salt,
            None => random::array()?,
        };
        let token = portal.secrets.derive_token(&salt, &client.derivation("link"));
        let derived = portal.secrets.derive_token(&salt, &client.derivation("passcode"));
        Ok(Self {
            hashed: portal.secrets.hash_token(&token),
            token,
            salt: Some(salt),
            derived: Some(derived),
        })
    }

    fn link(&self, generation: u32, now: OffsetDateTime, expires_at: OffsetDateTime, passcode: Option<PasscodeLock>) -> UploadLink {
        UploadLink {
            hashed: self.hashed,
            generation,
            issued_at: now,
            expires_at,
            revoked_at: None,
            passcode,
            salt: self.salt,
            parts_received: 0,
            opened_at: None,
        }
    }

    fn passcode(&self) -> Result<String, WorkflowError> {
        match &self.derived {
            None => Ok(Passcode::generate()?.expose().to_owned()),
            // 64 of 160 derived bits over a million codes: the bias is below 2^-44.
            Some(token) => {
                let mut eight = [0; 8];
                eight.copy_from_slice(&token.as_bytes()[..8]);
                Ok(format!("{:06}", u64::from_be_bytes(eight) % 1_000_000))
            }
        }
    }
}

/// For a body that holds a password: its digest is kept under a key, so that nothing stored helps to guess.
pub(super) fn claim_of_secret(portal: &Portal, client: &ClientKey) -> Claim {
    Claim {
        body: portal.secrets.index("idempotent-body", &client.body),
        ..claim(portal, client)
    }
}

pub(super) fn claim(portal: &Portal, client: &ClientKey) -> Claim {
    let name = format!("{}\0{}", client.caller, client.key);
    Claim {
        key: portal.secrets.index("idempotency", name.as_bytes()),
        body: client.body,
    }
}

/// The same answer again, as far as it is still true: a token or a code that opens nothing any more is not shown as if it did.
async fn replay(portal: &Portal, seen: Claimed, client: Option<&ClientKey>) -> Result<Issued, WorkflowError> {
    let (Claimed::Fresh(request) | Claimed::Replayed(request)) = seen else {
        return Err(WorkflowError::KeyReused);
    };
    let request = TrustedRequest::prove(portal, *request)?;
    let secret = LinkSecret::make(portal, client, request.link.salt)?;
    let dead =
        matches!(request.stage, Stage::Open { .. }) && matches!(request.link_state(portal.now()), LinkState::Expired | LinkState::Revoked);
    if secret.hashed != request.link.hashed || dead {
        return Err(WorkflowError::LinkReplaced(request.id));
    }
    let passcode = match &request.link.passcode {
        None => None,
        Some(lock) => {
            let code = secret.passcode()?;
            let fits = lock.tries_left > 0 && passcode_fits(portal, code.clone(), lock.hash.clone()).await?;
            Some(if fits { Code::Shown(code) } else { Code::Replaced })
        }
    };
    Ok(Issued {
        request,
        token: secret.token,
        passcode,
        replayed: true,
    })
}

async fn passcode_fits(portal: &Portal, code: String, hash: String) -> Result<bool, WorkflowError> {
    let permit = portal.auth.hashing.turn().await?;
    let passwords = portal.auth.passwords.clone();
    blocking(move || {
        let _permit = permit;
        passwords.verify_passcode(&code, &hash)
    })
    .await
}

fn return_url(portal: &Portal, id: RequestId, url: String) -> Result<SealedText, WorkflowError> {
    terms::seal(portal, id, "return-url", &hosted::check(portal, url)?)
}

async fn passcode(portal: &Portal, wanted: bool, secret: &LinkSecret) -> Result<(Option<PasscodeLock>, Option<String>), WorkflowError> {
    if !wanted {
        return Ok((None, None));
    }
    let code = secret.passcode()?;
    Ok((Some(hash_passcode(portal, code.clone()).await?), Some(code)))
}

async fn hash_passcode(portal: &Portal, code: String) -> Result<PasscodeLock, WorkflowError> {
    let permit = portal.auth.hashing.turn().await?;
    let passwords = portal.auth.passwords.clone();
    let hash = blocking(move || {
        let _permit = permit;
        passwords.hash_passcode(&code)
    })
    .await?
    .map_err(|e| WorkflowError::Internal(Cause::new(e)))?;
    Ok(PasscodeLock {
        hash,
        tries_left: PASSCODE_TRIES,
    })
}

fn terms_of(portal: &Portal, ask: &Ask) -> Result<(CatalogueEntry, Limits, ConfirmAt), WorkflowError> {
    let provider = portal.providers.get(&ask.provider).ok_or_else(|| {
        let known = portal.providers.keys().map(ProviderName::as_str).collect::<Vec<_>>().join(", ");
        WorkflowError::Invalid {
            field: "provider",
            fix: if known.is_empty() {
                "is not configured, nor is any other: an operator adds a [providers.NAME] table to the configuration".to_owned()
            } else {
                format!("is not configured; there is: {known}")
            },
        }
    })?;
    let entry = portal.catalogue.get(&ask.document).cloned().ok_or_else(|| WorkflowError::Invalid {
        field: "document",
        fix: format!("is not in the catalogue; there is: {}", portal.catalogue.names()),
    })?;
    provider.check_reference(&ask.applicant).map_err(|wrong| WorkflowError::Invalid {
        field: "applicant",
        fix: format!("is not a reference of this provider: {}", wrong.0),
    })?;
    let names = ask.parts.as_ref().unwrap_or(&entry.parts);
    let limits = provider
        .accepts(&ask.document, names)
        .map_err(|unsupported| WorkflowError::Invalid {
            field: "document",
            fix: format!("cannot be asked for like this. {}", unsupported.0.trim_end_matches('.')),
        })?;
    Ok((entry, limits, provider.profile().confirm))
}

fn parts_of(portal: &Portal, ask: &Ask, entry: &CatalogueEntry, limits: &Limits) -> Result<Vec<PartSpec>, WorkflowError> {
    let names = ask.parts.as_ref().unwrap_or(&entry.parts);
    let known = entry.parts.iter().map(PartName::as_str).collect::<Vec<_>>().join(", ");
    let mut seen = std::collections::BTreeSet::new();
    if names.is_empty() || !names.iter().all(|n| entry.parts.contains(n) && seen.insert(n)) {
        return Err(WorkflowError::Invalid {
            field: "parts",
            fix: format!("must be some of: {known}, each once"),
        });
    }
    let accepted: Vec<_> = entry.accepted.iter().copied().filter(|t| limits.accepted.contains(t)).collect();
    if accepted.is_empty() {
        return Err(WorkflowError::Invalid {
            field: "document",
            fix: "cannot be asked for: no file type is accepted by both the catalogue and the provider".to_owned(),
        });
    }
    // In the catalogue's order, whatever order was asked for: front before back.
    Ok(entry
        .parts
        .iter()
        .filter(|name| names.contains(name))
        .map(|name| PartSpec {
            name: name.clone(),
            accepted: accepted.clone(),
            min_bytes: limits.min_bytes.max(1),
            max_bytes: limits.max_bytes.min(portal.policy.max_file),
            pictures: limits.pictures,
        })
        .collect())
}

fn expiry(portal: &Portal, expires: Expiry, now: OffsetDateTime) -> Result<OffsetDateTime, WorkflowError> {
    let at = match expires {
        Expiry::Default => now + portal.policy.link,
        Expiry::In(time) => now.checked_add(time).unwrap_or(now),
        // To the millisecond, like every stored instant.
        Expiry::At(at) => at
            .to_offset(time::UtcOffset::UTC)
            .replace_millisecond(at.millisecond())
            .unwrap_or(at),
    };
    if at < now + SHORTEST_LINK || at > now + portal.policy.link_max {
        let longest = portal.policy.link_max.whole_hours();
        return Err(WorkflowError::Invalid {
            field: "expires_at",
            fix: format!("must lie between now and {longest} hours from now"),
        });
    }
    Ok(at)
}

fn locale(text: &str) -> Result<String, WorkflowError> {
    let fits = (2..=35).contains(&text.len())
        && text
            .split('-')
            .all(|s| (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric()));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(WorkflowError::Invalid {
            field: "locale",
            fix: "must be a language tag such as \"en\" or \"pt-BR\"".into(),
        })
    }
}

fn message(portal: &Portal, id: RequestId, text: &str) -> Result<SealedText, WorkflowError> {
    if text.len() > MESSAGE_MAX || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(WorkflowError::Invalid {
            field: "message",
            fix: format!("must be plain text of at most {MESSAGE_MAX} bytes"),
        });
    }
    terms::seal(portal, id, "message", text)
}

fn metadata(portal: &Portal, id: RequestId, text: &str) -> Result<SealedText, WorkflowError> {
    if text.len() > METADATA_MAX {
        return Err(WorkflowError::Invalid {
            field: "metadata",
            fix: format!("must be at most {METADATA_MAX} bytes of JSON"),
        });
    }
    terms::seal(portal, id, "metadata", text)
}
