//! Who may ask: agents with passwords, second factors and sessions, machines with API keys. Secrets are shown once and stored as hashes;
//! an unknown name costs what a known one costs.
//!
//! Accounts, sessions and keys come verified from the store; one whose row was changed behind the portal's back counts as absent, see [`super::seal`].
//!
//! A password opens a session only where it is the only factor. Otherwise it opens half a one, which lives five minutes and leads nowhere but to the
//! page that asks for the rest. Every proof gets a new cookie, and the one before it is dead.

pub(crate) mod account;
pub(crate) mod factor;
pub(crate) mod invitation;
pub(crate) mod known;
pub(crate) mod passkey;
mod password_strength;
pub(crate) mod sso;

use std::sync::Arc;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use data_encoding::HEXLOWER;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::crypto::password::Passwords;
use crate::crypto::random;
use crate::domain::account::Change;
use crate::domain::agent::{Actor, Agent, AuthMethod, PasswordHash, Session};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::id::AgentId;

use super::pool::BoundedPool;
use super::{Portal, WorkflowError, blocking, seal};

pub use known::{Browser, Visitor};

pub(crate) use account::{PASSWORD_MAX, PASSWORD_MIN, api_key};
pub use account::{add_agent, add_api_key, disable_agent, reset_password};

/// What looks passwords, codes and passphrases up: argon2 with its memory, and how many may be judged at once.
pub struct AuthState {
    pub passwords: Arc<Passwords>,
    pub throttle: Throttle,
    /// Argon2 jobs of the staff listener.
    pub hashing: BoundedPool,
    /// The same for the applicants' codes: a flood of passwords must not shut theirs.
    pub checking: BoundedPool,
    /// Passphrases of the vault key, one at a time.
    pub unlocking: BoundedPool,
}

impl AuthState {
    /// `at_once`: argon2 jobs of each kind.
    pub fn new(passwords: Passwords, at_once: usize) -> Self {
        Self {
            passwords: Arc::new(passwords),
            throttle: Throttle::default(),
            hashing: BoundedPool::new(at_once),
            checking: BoundedPool::new(at_once),
            unlocking: BoundedPool::new(1),
        }
    }
}

/// Tries for one account from one address: ten at once, then one each 90 s (ten in 15 minutes).
const TRIES: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
const TRY_EVERY: std::time::Duration = std::time::Duration::from_secs(90);
/// A session's last use is written down at most this often.
const TOUCH_EVERY: Duration = Duration::seconds(30);

/// Tries from one address for whatever accounts, in a minute.
const TRIES_FROM_ADDRESS: NonZeroU32 = NonZeroU32::new(60).expect("sixty is not zero");
/// Accounts and addresses remembered before the idle ones are dropped.
const REMEMBERED: usize = 100_000;

/// Tries by (account, address), and by address. Another address's tries never lock the real user out. What these forget, an account's own count of
/// wrong tries in a row does not: see [`crate::domain::factors::FailedAttempts`].
pub struct Throttle {
    tries: DefaultKeyedRateLimiter<[u8; 32]>,
    from: DefaultKeyedRateLimiter<IpAddr>,
}

impl Default for Throttle {
    fn default() -> Self {
        let quota = Quota::with_period(TRY_EVERY).expect("90 seconds is not zero").allow_burst(TRIES);
        Self {
            tries: RateLimiter::keyed(quota),
            from: RateLimiter::keyed(Quota::per_minute(TRIES_FROM_ADDRESS)),
        }
    }
}

impl Throttle {
    fn allows(&self, account: &str, address: IpAddr) -> bool {
        if self.tries.len() > REMEMBERED {
            self.tries.retain_recent();
        }
        let key = Sha256::digest(format!("{account}\0{address}").as_bytes()).into();
        self.tries.check_key(&key).is_ok()
    }

    /// Whether this address (of IPv6: this /64) may try to sign in at all just now.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        if self.from.len() > REMEMBERED {
            self.from.retain_recent();
        }
        self.from.check_key(&address).is_ok()
    }

    /// Second factors are counted by account alone: whoever tries one has the password already, from wherever they come.
    fn allows_code(&self, agent: &Agent) -> bool {
        self.allows(&format!("code {}", agent.id), Ipv4Addr::UNSPECIFIED.into())
    }
}

pub(crate) enum SignIn {
    /// The cookie's value: shown to the browser, stored as a hash.
    Welcome {
        cookie: Zeroizing<String>,
    },
    /// The password was right; a second factor is wanted.
    SecondFactorWanted {
        cookie: Zeroizing<String>,
    },
    /// One answer for an unknown name, a wrong password and a disabled account.
    Refused,
    TooManyTries,
}

/// What came of a password.
pub enum Proof {
    Right(Box<Agent>),
    Wrong,
    TooManyTries,
}

/// `program`: the browser's family and system, for the list of open sessions.
pub(crate) async fn sign_in(
    portal: &Portal,
    email: &str,
    password: &str,
    visitor: Visitor<'_>,
    program: &str,
) -> Result<SignIn, WorkflowError> {
    // As of before the password was read: a session whose password was changed meanwhile is dead from its beginning.
    let now = portal.now();
    let agent = match prove_password(portal, email, password, visitor).await? {
        Proof::Right(agent) => agent,
        Proof::Wrong => return Ok(SignIn::Refused),
        Proof::TooManyTries => return Ok(SignIn::TooManyTries),
    };
    if agent.factors.any() {
        let cookie = open(portal, &agent, AuthMethod::PasswordVerified, None, now, program).await?;
        return Ok(SignIn::SecondFactorWanted { cookie });
    }
    let cookie = open_session(portal, &agent, now, program).await?;
    Ok(SignIn::Welcome { cookie })
}

/// Whether a password is that of an account that may sign in. Costs the same whatever the answer.
///
/// Where too many were wrong in a row, the right one is refused like a wrong one: no answer tells that there is such an account.
pub async fn prove_password(portal: &Portal, email: &str, password: &str, visitor: Visitor<'_>) -> Result<Proof, WorkflowError> {
    let (email, address) = (normal_email(email), visitor.address);
    // Nothing is written for somebody who floods: not even the log grows.
    if !portal.auth.throttle.allows_address(address) {
        return Ok(Proof::TooManyTries);
    }
    if !portal.auth.throttle.allows(&email, address) {
        audit(portal, Actor::Portal, AuditAction::SignInThrottled).await?;
        return Ok(Proof::TooManyTries);
    }
    // Looked up with the permit in hand: however many tries come at once, no more than are being judged can pass the count.
    let permit = portal.auth.hashing.turn().await?;
    let found = seal::trusted(portal, portal.directory.agent_by_email(&email).await)
        .await?
        .filter(|a| a.disabled_at.is_none());
    let closed = found
        .as_ref()
        .is_some_and(|a| a.misses.close_password(visitor.browser.is_known(portal, a)));
    let stored = found.as_ref().filter(|_| !closed).and_then(|a| a.password.clone());
    let (passwords, given) = (
        portal.auth.passwords.clone(),
        Zeroizing::new(password.chars().take(PASSWORD_MAX).collect::<String>()),
    );
    let (right, rehash) = blocking(move || {
        // The permit goes where the work is: a client that hangs up frees no place for the next one.
        let _permit = permit;
        let Some(old) = stored else {
            return (passwords.verify_nobody(&given), None);
        };
        let right = passwords.verify_password(&given, &old.0);
        let outdated = right && passwords.wants_rehash(&old.0);
        let new = outdated.then(|| passwords.hash_password(&given).ok()).flatten();
        let rehash = new.map(|new| Change::Rehash {
            old,
            new: PasswordHash(new),
        });
        (right, rehash)
    })
    .await?;
    let event = |action: AuditAction, agent: &Agent| AuditEvent::new(portal.now(), Actor::Portal, action).with("agent", agent.id);
    match found {
        Some(agent) if right => {
            let over = event(AuditAction::SignInWrongTriesOver, &agent).with("tries", agent.misses.password);
            portal.directory.alter_agent(agent.id, Change::RightPassword, over).await?;
            if let Some(rehash) = rehash {
                let renewed = event(AuditAction::AgentPasswordRehashed, &agent);
                portal.directory.alter_agent(agent.id, rehash, renewed).await?;
            }
            Ok(Proof::Right(Box::new(agent)))
        }
        Some(agent) if closed => {
            portal.audit.append(event(AuditAction::SignInClosed, &agent)).await?;
            Ok(Proof::Wrong)
        }
        Some(agent) => {
            portal
                .directory
                .alter_agent(agent.id, Change::WrongPassword, event(AuditAction::SignInRefused, &agent))
                .await?;
            Ok(Proof::Wrong)
        }
        None => {
            audit(portal, Actor::Portal, AuditAction::SignInRefused).await?;
            Ok(Proof::Wrong)
        }
    }
}

/// A fresh session for an agent who has proven who they are with a password alone.
pub(crate) async fn open_session(
    portal: &Portal,
    agent: &Agent,
    now: OffsetDateTime,
    program: &str,
) -> Result<Zeroizing<String>, WorkflowError> {
    open(portal, agent, AuthMethod::Password, Some(now), now, program).await
}

async fn open(
    portal: &Portal,
    agent: &Agent,
    how: AuthMethod,
    factor_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
    program: &str,
) -> Result<Zeroizing<String>, WorkflowError> {
    let cookie = fresh_cookie()?;
    let session = Session {
        agent: agent.id,
        created_at: now,
        seen_at: now,
        factor_at,
        how,
        browser: program.to_owned(),
    };
    let action = match how {
        AuthMethod::PasswordVerified => AuditAction::SignInPasswordAccepted,
        _ => AuditAction::SignInAccepted,
    };
    let event = AuditEvent::new(now, Actor::Agent(agent.id), action).with("how", how.as_str());
    portal.directory.open_session(hash(&cookie), session, event).await?;
    Ok(cookie)
}

/// A session that lives, and whose it is.
pub(crate) struct Live {
    pub agent: Agent,
    pub session: Session,
    /// The hash of its cookie.
    pub key: [u8; 32],
}

/// The session behind a cookie, if it lives and is whole.
pub(crate) async fn session(portal: &Portal, cookie: &str) -> Result<Option<Live>, WorkflowError> {
    let Some(live) = look(portal, cookie)
        .await?
        .filter(|l| l.session.how != AuthMethod::PasswordVerified)
    else {
        return Ok(None);
    };
    let now = portal.now();
    if now - live.session.seen_at > TOUCH_EVERY {
        portal.directory.touch_session(&live.key, now).await?;
    }
    Ok(Some(live))
}

/// The same for a page that looks by itself whether something has changed: an open tab is nobody who works, so the session's rest goes on.
pub(crate) async fn unattended(portal: &Portal, cookie: &str) -> Result<Option<Live>, WorkflowError> {
    Ok(look(portal, cookie)
        .await?
        .filter(|l| l.session.how != AuthMethod::PasswordVerified))
}

/// The half session behind a cookie: its password was right a moment ago.
pub(crate) async fn half(portal: &Portal, cookie: &str) -> Result<Option<Live>, WorkflowError> {
    Ok(look(portal, cookie)
        .await?
        .filter(|l| l.session.how == AuthMethod::PasswordVerified))
}

async fn look(portal: &Portal, cookie: &str) -> Result<Option<Live>, WorkflowError> {
    let key = hash(cookie);
    let Some(session) = seal::trusted(portal, portal.directory.session(&key).await).await? else {
        return Ok(None);
    };
    let Some(agent) = seal::trusted(portal, portal.directory.agent(session.agent).await).await? else {
        return Ok(None);
    };
    let lives = session.live(&agent, portal.now());
    Ok(lives.then_some(Live { agent, session, key }))
}

/// Notes a proof given within a session: a new cookie, and the old one is dead. `None` when the session is gone.
pub(crate) async fn confirmed(portal: &Portal, live: &Live, how: AuthMethod) -> Result<Option<Zeroizing<String>>, WorkflowError> {
    let now = portal.now();
    let cookie = fresh_cookie()?;
    let half = live.session.how == AuthMethod::PasswordVerified;
    let session = Session {
        agent: live.agent.id,
        // A confirmation never makes a session live longer than its sign-in allowed.
        created_at: if half { now } else { live.session.created_at },
        seen_at: now,
        factor_at: Some(now),
        // Whoever has just set a second factor up has shown it.
        how: if half || live.session.how == AuthMethod::Password || how != AuthMethod::Password {
            how
        } else {
            live.session.how
        },
        browser: live.session.browser.clone(),
    };
    let action = if half {
        AuditAction::SignInAccepted
    } else {
        AuditAction::SessionConfirmed
    };
    let event = AuditEvent::new(now, Actor::Agent(live.agent.id), action).with("how", how.as_str());
    let done = portal.directory.replace_session(&live.key, hash(&cookie), session, event).await?;
    Ok(done.then_some(cookie))
}

/// A session in the place of one that a password change has ended, with the proof that it had.
pub(crate) async fn reopen(portal: &Portal, live: &Live) -> Result<Zeroizing<String>, WorkflowError> {
    let agent = portal.directory.agent(live.agent.id).await?.ok_or(WorkflowError::NotFound)?;
    let Session {
        how, factor_at, browser, ..
    } = &live.session;
    open(portal, &agent, *how, *factor_at, portal.now(), browser).await
}

/// Why a session ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    SignOut,
    /// Its browser signs in anew.
    NewSignIn,
    /// Its owner ended it from another session.
    Elsewhere,
    /// An admin ended it.
    ByAdmin,
}

pub(crate) async fn sign_out(portal: &Portal, cookie: &str, why: End) -> Result<(), WorkflowError> {
    let key = hash(cookie);
    match seal::trusted(portal, portal.directory.session(&key).await).await? {
        Some(session) => end(portal, &key, Actor::Agent(session.agent), session.agent, why).await,
        None => Ok(()),
    }
}

async fn end(portal: &Portal, key: &[u8; 32], by: Actor, agent: AgentId, why: End) -> Result<(), WorkflowError> {
    let why = match why {
        End::SignOut => "sign_out",
        End::NewSignIn => "new_sign_in",
        End::Elsewhere => "elsewhere",
        End::ByAdmin => "admin",
    };
    let mut event = AuditEvent::new(portal.now(), by, AuditAction::SessionEnded).with("why", why);
    if by != Actor::Agent(agent) {
        event = event.with("agent", agent);
    }
    Ok(portal.directory.end_session(key, event).await?)
}

/// One open session, as its owner sees it.
pub(crate) struct OpenSession {
    /// Says which, and opens nothing.
    pub name: String,
    pub session: Session,
    pub here: bool,
}

/// What an agent has open, newest use first.
pub(crate) async fn open_sessions(portal: &Portal, live: &Live) -> Result<Vec<OpenSession>, WorkflowError> {
    sessions_of(portal, &live.agent, Some(&live.key)).await
}

/// The same, seen from outside: `here` is the hash of the cookie that asks, where it is the agent's own.
pub(crate) async fn sessions_of(portal: &Portal, agent: &Agent, here: Option<&[u8; 32]>) -> Result<Vec<OpenSession>, WorkflowError> {
    let now = portal.now();
    let mut all: Vec<OpenSession> = portal
        .directory
        .sessions_of(agent.id)
        .await?
        .into_iter()
        .filter(|(_, s)| s.how != AuthMethod::PasswordVerified && s.live(agent, now))
        .map(|(key, session)| OpenSession {
            name: name(&key),
            session,
            here: here == Some(&key),
        })
        .collect();
    all.sort_by_key(|open| (!open.here, std::cmp::Reverse(open.session.seen_at)));
    Ok(all)
}

/// Ends one session of this agent; somebody else's has no name here. `false`: it has ended already.
pub(crate) async fn end_one(portal: &Portal, agent: AgentId, which: &str, by: Actor) -> Result<bool, WorkflowError> {
    let why = if by == Actor::Agent(agent) { End::Elsewhere } else { End::ByAdmin };
    for (key, _) in portal.directory.sessions_of(agent).await? {
        if name(&key) == which {
            end(portal, &key, by, agent, why).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn name(key: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"nightdrop/v1/session-name\0");
    hash.update(key);
    HEXLOWER.encode(&hash.finalize()[..12])
}

fn fresh_cookie() -> Result<Zeroizing<String>, WorkflowError> {
    Ok(Zeroizing::new(HEXLOWER.encode(&random::array::<32>()?)))
}

async fn audit(portal: &Portal, by: Actor, action: AuditAction) -> Result<(), WorkflowError> {
    let event = AuditEvent::new(portal.now(), by, action);
    Ok(portal.audit.append(event).await?)
}

/// 256 random bits need no pepper and no slow hash.
fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn normal_email(email: &str) -> String {
    email.trim().to_lowercase()
}
