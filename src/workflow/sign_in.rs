//! Who may ask: agents with passwords and sessions, machines with API keys. Secrets are shown once and stored as hashes; an unknown name costs what a known one costs.

use std::net::IpAddr;
use std::num::NonZeroU32;

use data_encoding::HEXLOWER;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::domain::agent::{Actor, Agent, ApiKey, PasswordHash, Role, Scope, Session};
use crate::domain::audit::AuditEvent;
use crate::domain::id::{AgentId, ApiKeyId, CROCKFORD};

use super::{Portal, WorkflowError, blocking};

/// NIST SP 800-63B-4: at least 15 characters where the password is the only factor.
pub const PASSWORD_MIN: usize = 15;
/// Long enough for every passphrase, short enough to hash.
pub const PASSWORD_MAX: usize = 256;
/// Tries for one account from one address: ten at once, then one each 90 s (ten in 15 minutes).
const TRIES: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
const TRY_EVERY: std::time::Duration = std::time::Duration::from_secs(90);
/// A session's last use is written down at most this often.
const TOUCH_EVERY: Duration = Duration::seconds(30);

/// Tries by (account, address). Another address's tries never lock the real user out.
pub struct Throttle(DefaultKeyedRateLimiter<[u8; 32]>);

impl Default for Throttle {
    fn default() -> Self {
        let quota = Quota::with_period(TRY_EVERY).expect("90 seconds is not zero").allow_burst(TRIES);
        Self(RateLimiter::keyed(quota))
    }
}

impl Throttle {
    fn allows(&self, account: &str, address: IpAddr) -> bool {
        if self.0.len() > 100_000 {
            self.0.retain_recent();
        }
        let key = Sha256::digest(format!("{account}\0{address}").as_bytes()).into();
        self.0.check_key(&key).is_ok()
    }
}

pub enum SignIn {
    /// The cookie's value: shown to the browser, stored as a hash.
    Welcome {
        agent: Box<Agent>,
        cookie: Zeroizing<String>,
    },
    /// One answer for an unknown name, a wrong password and a disabled account.
    Refused,
    TooManyTries,
}

pub async fn sign_in(portal: &Portal, email: &str, password: &str, address: IpAddr) -> Result<SignIn, WorkflowError> {
    let email = normal_email(email);
    if !portal.throttle.allows(&email, address) {
        let event = AuditEvent::new(portal.records.now(), Actor::Portal, "sign_in.throttled");
        portal.records.append(event).await?;
        return Ok(SignIn::TooManyTries);
    }
    let found = portal.records.agent_by_email(&email).await?;
    let stored = found.as_ref().filter(|a| a.disabled_at.is_none()).and_then(|a| a.password.clone());
    let permit = portal.hashing.acquire().await.map_err(|_| WorkflowError::Busy)?;
    let (passwords, given) = (
        portal.passwords.clone(),
        Zeroizing::new(password.chars().take(PASSWORD_MAX).collect::<String>()),
    );
    let right = blocking(move || match stored {
        Some(hash) => passwords.verify_password(&given, &hash.0),
        None => passwords.verify_nobody(&given),
    })
    .await?;
    drop(permit);
    let now = portal.records.now();
    let Some(agent) = found.filter(|_| right) else {
        portal
            .records
            .append(AuditEvent::new(now, Actor::Portal, "sign_in.refused"))
            .await?;
        return Ok(SignIn::Refused);
    };
    let cookie = open_session(portal, &agent, now).await?;
    Ok(SignIn::Welcome {
        agent: Box::new(agent),
        cookie,
    })
}

/// A fresh session for an agent who has proven who they are; every sign-in gets a new cookie.
pub async fn open_session(portal: &Portal, agent: &Agent, now: OffsetDateTime) -> Result<Zeroizing<String>, WorkflowError> {
    let cookie = Zeroizing::new(HEXLOWER.encode(&random::array::<32>()?));
    let session = Session {
        agent: agent.id,
        created_at: now,
        seen_at: now,
    };
    let event = AuditEvent::new(now, Actor::Agent(agent.id), "sign_in.accepted");
    portal.records.open_session(hash(&cookie), session, event).await?;
    Ok(cookie)
}

/// The agent behind a session cookie, if the session lives.
pub async fn session(portal: &Portal, cookie: &str) -> Result<Option<Agent>, WorkflowError> {
    let key = hash(cookie);
    let Some(session) = portal.records.session(&key).await? else {
        return Ok(None);
    };
    let Some(agent) = portal.records.agent(session.agent).await? else {
        return Ok(None);
    };
    let now = portal.records.now();
    if !session.live(&agent, now) {
        return Ok(None);
    }
    if now - session.seen_at > TOUCH_EVERY {
        portal.records.touch_session(&key, now).await?;
    }
    Ok(Some(agent))
}

pub async fn sign_out(portal: &Portal, cookie: &str) -> Result<(), WorkflowError> {
    Ok(portal.records.end_session(&hash(cookie)).await?)
}

/// Adds an agent with a password.
pub async fn add_agent(portal: &Portal, email: &str, name: &str, role: Role, password: &str, by: Actor) -> Result<Agent, WorkflowError> {
    let email = normal_email(email);
    let (local, host) = email.split_once('@').unwrap_or_default();
    if local.is_empty() || host.is_empty() || email.len() > 254 || email.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(WorkflowError::Invalid {
            field: "email",
            mend: "must be an e-mail address".to_owned(),
        });
    }
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(WorkflowError::Invalid {
            field: "name",
            mend: "must have 1 to 100 characters".to_owned(),
        });
    }
    let now = portal.records.now();
    let agent = Agent {
        id: AgentId::new(random::array()?, now),
        password: Some(hash_password(portal, password, &email).await?),
        email,
        name: name.to_owned(),
        role,
        created_at: now,
        disabled_at: None,
        sessions_valid_from: now,
    };
    let event = AuditEvent::new(now, by, "agent.added")
        .with("agent", agent.id)
        .with("role", role.as_str());
    portal.records.add_agent(agent.clone(), event).await?;
    Ok(agent)
}

/// A new password ends every session.
pub async fn reset_password(portal: &Portal, mut agent: Agent, password: &str, by: Actor) -> Result<(), WorkflowError> {
    let now = portal.records.now();
    agent.password = Some(hash_password(portal, password, &agent.email).await?);
    agent.sessions_valid_from = now;
    let event = AuditEvent::new(now, by, "agent.password_changed").with("agent", agent.id);
    Ok(portal.records.change_agent(agent, event).await?)
}

/// Ends an agent's access at once, sessions included.
pub async fn disable_agent(portal: &Portal, mut agent: Agent, by: Actor) -> Result<(), WorkflowError> {
    let now = portal.records.now();
    agent.disabled_at = Some(now);
    agent.sessions_valid_from = now;
    let event = AuditEvent::new(now, by, "agent.disabled").with("agent", agent.id);
    Ok(portal.records.change_agent(agent, event).await?)
}

async fn hash_password(portal: &Portal, password: &str, email: &str) -> Result<PasswordHash, WorkflowError> {
    check_password(password, email)?;
    let _permit = portal.hashing.acquire().await.map_err(|_| WorkflowError::Busy)?;
    let (passwords, password) = (portal.passwords.clone(), Zeroizing::new(password.to_owned()));
    let hash = blocking(move || passwords.hash_password(&password)).await?;
    hash.map(PasswordHash).map_err(|e| WorkflowError::Internal(e.to_string()))
}

/// Length decides, not composition (NIST SP 800-63B-4, ASVS 5 6.2).
fn check_password(password: &str, email: &str) -> Result<(), WorkflowError> {
    let length = password.chars().count();
    let mend = if length < PASSWORD_MIN {
        format!("must have at least {PASSWORD_MIN} characters; a few words are fine")
    } else if length > PASSWORD_MAX {
        format!("must have at most {PASSWORD_MAX} characters")
    } else if password.to_lowercase().contains(email) || password.chars().collect::<std::collections::BTreeSet<_>>().len() < 5 {
        "is too easy to guess; a few words that do not belong together are fine".to_owned()
    } else {
        return Ok(());
    };
    Err(WorkflowError::Invalid { field: "password", mend })
}

/// Makes an API key; its secret is returned this once.
pub async fn add_api_key(
    portal: &Portal,
    name: &str,
    scopes: Vec<Scope>,
    expires_at: Option<OffsetDateTime>,
    by: Actor,
) -> Result<(ApiKey, Zeroizing<String>), WorkflowError> {
    if name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(WorkflowError::Invalid {
            field: "name",
            mend: "must have 1 to 100 characters".to_owned(),
        });
    }
    if scopes.is_empty() {
        return Err(WorkflowError::Invalid {
            field: "scopes",
            mend: "needs at least one of read, requests, audit, admin".to_owned(),
        });
    }
    let now = portal.records.now();
    let secret = Zeroizing::new(format!("ndk_{}", CROCKFORD.encode(&random::array::<32>()?)));
    let key = ApiKey {
        id: ApiKeyId::new(random::array()?, now),
        name: name.trim().to_owned(),
        scopes,
        created_at: now,
        expires_at,
        revoked_at: None,
    };
    let event = AuditEvent::new(now, by, "api_key.added").with("key", key.id);
    portal.records.add_api_key(hash(&secret), key.clone(), event).await?;
    Ok((key, secret))
}

/// The live key behind a bearer secret.
pub async fn api_key(portal: &Portal, secret: &str) -> Result<Option<ApiKey>, WorkflowError> {
    if !secret.starts_with("ndk_") || secret.len() > 100 {
        return Ok(None);
    }
    let now = portal.records.now();
    Ok(portal.records.api_key(&hash(secret)).await?.filter(|k| k.live(now)))
}

/// 256 random bits need no pepper and no slow hash.
fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn normal_email(email: &str) -> String {
    email.trim().to_lowercase()
}
