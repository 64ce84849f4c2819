//! Passkeys (WebAuthn): adding one, signing in with nothing else, and proving oneself with it a second time. The ceremonies are webauthn-rs's; here is who may
//! begin one, that each ends once, and that what is stored can only have been stored by this portal.
//!
//! The authenticator must have verified its user (PIN, finger, face), which is why a passkey counts as both factors. Attestation is not asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, Passkey as Credential, PasskeyAuthentication, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn, WebauthnBuilder,
};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::domain::account::Change;
use crate::domain::agent::{Actor, Agent, AuthMethod};
use crate::domain::audit::AuditAction;
use crate::domain::document::SealedText;
use crate::domain::factors::{PASSKEYS, Passkey};
use crate::domain::id::AgentId;

use super::account::event;
use super::factor::{Codes, Second, context, first_codes};
use super::{Live, Portal, WorkflowError, audit, confirmed, open, seal};

/// How long a person has at the authenticator.
const PATIENCE: Duration = Duration::minutes(5);
/// Ceremonies at once; the oldest makes room.
const AT_ONCE: usize = 1_024;

/// The relying party: the console's own address, and the ceremonies that have begun.
pub(crate) struct Passkeys {
    webauthn: Webauthn,
    begun: Arc<Mutex<HashMap<String, (OffsetDateTime, Ceremony)>>>,
}

enum Ceremony {
    Add(AgentId, Box<PasskeyRegistration>),
    Find(Box<DiscoverableAuthentication>),
    Prove(AgentId, Box<PasskeyAuthentication>),
}

/// What the browser gets: options for its authenticator, and the number to answer under.
pub(crate) struct Begun {
    pub ceremony: String,
    pub options: Value,
}

impl Passkeys {
    /// `origin`: how browsers reach the console. Passkeys need a name, not a bare address.
    pub(crate) fn new(origin: &str, company: &str) -> Result<Self, String> {
        let url = Url::parse(origin).map_err(|_| "is not an address".to_owned())?;
        let host = url.domain().ok_or("passkeys need a host name, not an IP address")?.to_owned();
        let webauthn = WebauthnBuilder::new(&host, &url)
            .and_then(|b| b.rp_name(company).build())
            .map_err(|e| format!("passkeys cannot be used at this address: {e}"))?;
        Ok(Self {
            webauthn,
            begun: Arc::default(),
        })
    }

    /// Ceremonies that have begun with `before` can be ended here.
    pub(crate) fn after(self, before: &Self) -> Self {
        let begun = before.begun.clone();
        Self { begun, ..self }
    }

    fn keep(&self, now: OffsetDateTime, ceremony: Ceremony) -> Result<String, WorkflowError> {
        let name = HEXLOWER.encode(&random::array::<16>()?);
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, (at, _)| now < *at + PATIENCE);
        if begun.len() >= AT_ONCE
            && let Some(oldest) = begun.iter().min_by_key(|(_, (at, _))| *at).map(|(name, _)| name.clone())
        {
            begun.remove(&oldest);
        }
        begun.insert(name.clone(), (now, ceremony));
        Ok(name)
    }

    /// Each ceremony is taken once, whatever comes of it.
    fn take(&self, now: OffsetDateTime, name: &str) -> Option<Ceremony> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.remove(name).filter(|(at, _)| now < *at + PATIENCE).map(|(_, c)| c)
    }
}

/// Begins adding a passkey to one's own account.
pub(crate) fn begin_add(portal: &Portal, passkeys: &Passkeys, agent: &Agent) -> Result<Begun, WorkflowError> {
    let known = credentials(portal, agent)?;
    let exclude = known.iter().map(|c| c.cred_id().clone()).collect();
    let (options, state) = passkeys
        .webauthn
        .start_passkey_registration(Uuid::from_bytes(agent.id.0), &agent.email, &agent.name, Some(exclude))
        .map_err(failed)?;
    let mut options = serde_json::to_value(options).map_err(failed)?;
    // Kept in the authenticator, so that it can be found without a name being typed.
    options["publicKey"]["authenticatorSelection"]["residentKey"] = "required".into();
    options["publicKey"]["authenticatorSelection"]["requireResidentKey"] = true.into();
    let ceremony = passkeys.keep(portal.now(), Ceremony::Add(agent.id, Box::new(state)))?;
    Ok(Begun { ceremony, options })
}

/// Adds the passkey: the new cookie, and recovery codes to show once where there were none. `None` when the answer does not fit.
pub(crate) async fn add(
    portal: &Portal,
    passkeys: &Passkeys,
    live: &Live,
    ceremony: &str,
    answer: &str,
    name: &str,
) -> Result<Option<(Zeroizing<String>, Codes)>, WorkflowError> {
    let agent = &live.agent;
    let Some(passkey) = made(portal, passkeys, agent, ceremony, answer, name)? else {
        return Ok(None);
    };
    let event = event(portal, Actor::Agent(agent.id), AuditAction::SecondFactorEnrolled, agent).with("kind", "passkey");
    if portal
        .directory
        .alter_agent(agent.id, Change::AddPasskey(passkey), event)
        .await?
        .is_none()
    {
        return Err(WorkflowError::Invalid {
            field: "name",
            fix: format!("account has {PASSKEYS} passkeys already; remove one first"),
        });
    }
    let codes = first_codes(portal, agent).await?;
    let cookie = confirmed(portal, live, AuthMethod::Passkey).await?;
    Ok(cookie.map(|cookie| (cookie, codes)))
}

/// The passkey that an authenticator's answer makes, not stored yet. `None` when the answer does not fit.
pub(super) fn made(
    portal: &Portal,
    passkeys: &Passkeys,
    agent: &Agent,
    ceremony: &str,
    answer: &str,
    name: &str,
) -> Result<Option<Passkey>, WorkflowError> {
    let now = portal.now();
    let (Some(Ceremony::Add(whose, state)), Ok(answer)) = (
        passkeys.take(now, ceremony),
        serde_json::from_str::<RegisterPublicKeyCredential>(answer),
    ) else {
        return Ok(None);
    };
    if whose != agent.id {
        return Ok(None);
    }
    let Ok(credential) = passkeys.webauthn.finish_passkey_registration(&answer, &state) else {
        return Ok(None);
    };
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(60).collect();
    Ok(Some(Passkey {
        id: credential.cred_id().to_vec(),
        name: if name.is_empty() { "Passkey".to_owned() } else { name },
        credential: sealed(portal, agent.id, &credential)?,
        made_at: now,
        used_at: None,
    }))
}

pub(crate) async fn remove(portal: &Portal, agent: &Agent, id: &str) -> Result<bool, WorkflowError> {
    let Ok(id) = HEXLOWER.decode(id.as_bytes()) else { return Ok(false) };
    let event = event(portal, Actor::Agent(agent.id), AuditAction::SecondFactorRemoved, agent).with("kind", "passkey");
    Ok(portal
        .directory
        .alter_agent(agent.id, Change::RemovePasskey(id), event)
        .await?
        .is_some())
}

/// Begins a sign-in without a name: the authenticator knows whose passkey it has.
pub(crate) fn begin_sign_in(portal: &Portal, passkeys: &Passkeys) -> Result<Begun, WorkflowError> {
    let (options, state) = passkeys.webauthn.start_discoverable_authentication().map_err(failed)?;
    let mut options = serde_json::to_value(options).map_err(failed)?;
    // Begun by a button, not by filling a field.
    if let Some(all) = options.as_object_mut() {
        all.remove("mediation");
    }
    let ceremony = passkeys.keep(portal.now(), Ceremony::Find(Box::new(state)))?;
    Ok(Begun { ceremony, options })
}

/// A whole session for the agent whose passkey answered.
pub(crate) async fn sign_in(
    portal: &Portal,
    passkeys: &Passkeys,
    ceremony: &str,
    answer: &str,
    program: &str,
) -> Result<Option<Zeroizing<String>>, WorkflowError> {
    let now = portal.now();
    let found = match (passkeys.take(now, ceremony), serde_json::from_str::<PublicKeyCredential>(answer)) {
        (Some(Ceremony::Find(state)), Ok(answer)) => recognise(portal, passkeys, *state, &answer).await?,
        _ => None,
    };
    let Some((agent, credential, result)) = found else {
        audit(portal, Actor::Portal, AuditAction::SignInPasskeyRefused).await?;
        return Ok(None);
    };
    if !used(portal, &agent, credential, &result).await? {
        return Ok(None);
    }
    Ok(Some(open(portal, &agent, AuthMethod::Passkey, Some(now), now, program).await?))
}

async fn recognise(
    portal: &Portal,
    passkeys: &Passkeys,
    state: DiscoverableAuthentication,
    answer: &PublicKeyCredential,
) -> Result<Option<(Agent, Credential, AuthenticationResult)>, WorkflowError> {
    let Ok((whose, id)) = passkeys.webauthn.identify_discoverable_authentication(answer) else {
        return Ok(None);
    };
    let Some(agent) = seal::trusted(portal, portal.directory.agent(AgentId(*whose.as_bytes())).await)
        .await?
        .filter(|a| a.disabled_at.is_none())
    else {
        return Ok(None);
    };
    let Some(credential) = credentials(portal, &agent)?.into_iter().find(|c| c.cred_id().as_slice() == id) else {
        return Ok(None);
    };
    let result = passkeys.webauthn.finish_discoverable_authentication_v2(answer, state, &credential);
    Ok(result.ok().map(|result| (agent, credential, result)))
}

/// Begins a proof by one of this agent's own passkeys.
pub(crate) fn begin_proof(portal: &Portal, passkeys: &Passkeys, agent: &Agent) -> Result<Option<Begun>, WorkflowError> {
    let known = credentials(portal, agent)?;
    if known.is_empty() {
        return Ok(None);
    }
    let (options, state) = passkeys.webauthn.start_passkey_authentication(&known).map_err(failed)?;
    let options = serde_json::to_value(options).map_err(failed)?;
    let ceremony = passkeys.keep(portal.now(), Ceremony::Prove(agent.id, Box::new(state)))?;
    Ok(Some(Begun { ceremony, options }))
}

/// The second half of a sign-in, or a confirmation within a session.
pub(crate) async fn prove(
    portal: &Portal,
    passkeys: &Passkeys,
    live: &Live,
    ceremony: &str,
    answer: &str,
) -> Result<Second, WorkflowError> {
    let right = match (
        passkeys.take(portal.now(), ceremony),
        serde_json::from_str::<PublicKeyCredential>(answer),
    ) {
        (Some(Ceremony::Prove(whose, state)), Ok(answer)) if whose == live.agent.id => {
            passkeys.webauthn.finish_passkey_authentication(&answer, &state).ok()
        }
        _ => None,
    };
    if let Some(result) = right {
        let credential = credentials(portal, &live.agent)?
            .into_iter()
            .find(|c| c.cred_id() == result.cred_id());
        if let Some(credential) = credential
            && used(portal, &live.agent, credential, &result).await?
            && let Some(cookie) = confirmed(portal, live, AuthMethod::Passkey).await?
        {
            return Ok(Second::Welcome { cookie });
        }
    }
    audit(portal, Actor::Agent(live.agent.id), AuditAction::SecondFactorRefused).await?;
    Ok(Second::Wrong)
}

/// Stores the counter; refused for a passkey that was removed meanwhile, and without user verification.
async fn used(portal: &Portal, agent: &Agent, mut credential: Credential, result: &AuthenticationResult) -> Result<bool, WorkflowError> {
    if !result.user_verified() {
        return Ok(false);
    }
    credential.update_credential(result);
    let change = Change::UsePasskey {
        id: credential.cred_id().to_vec(),
        credential: sealed(portal, agent.id, &credential)?,
    };
    let event = event(portal, Actor::Agent(agent.id), AuditAction::SecondFactorUsed, agent).with("kind", "passkey");
    Ok(portal.directory.alter_agent(agent.id, change, event).await?.is_some())
}

fn sealed(portal: &Portal, agent: AgentId, credential: &Credential) -> Result<SealedText, WorkflowError> {
    let plain = serde_json::to_vec(credential).map_err(failed)?;
    Ok(SealedText(portal.secrets.seal_field(&context("passkey", agent), &plain)?))
}

fn credentials(portal: &Portal, agent: &Agent) -> Result<Vec<Credential>, WorkflowError> {
    let one = |passkey: &Passkey| {
        let plain = portal
            .secrets
            .open_field(&context("passkey", agent.id), &passkey.credential.0)
            .map_err(|_| WorkflowError::Tampered)?;
        serde_json::from_slice(&plain).map_err(|_| WorkflowError::Tampered)
    };
    agent.factors.passkeys.iter().map(one).collect()
}

fn failed(error: impl std::fmt::Display) -> WorkflowError {
    WorkflowError::Internal(format!("passkeys: {error}").into())
}
