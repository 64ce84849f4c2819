//! The second factor by code: enrolling an authenticator app, codes at sign-in, confirming within a session, recovery codes.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::crypto::totp::TotpSecret;
use crate::domain::account::Change;
use crate::domain::agent::{Actor, Agent, AuthMethod};
use crate::domain::audit::AuditAction;
use crate::domain::document::SealedText;
use crate::domain::factors::RECOVERY_CODES;
use crate::domain::id::{AgentId, CROCKFORD};

use super::account::event;
use super::{Live, Portal, Proof, WorkflowError, audit, confirmed};

/// What came of a code.
pub(crate) enum Second {
    /// Right; the session has this new cookie.
    Welcome {
        cookie: Zeroizing<String>,
    },
    Wrong,
    TooManyTries,
    /// So many codes were wrong in a row that none of the app is looked at any more.
    Closed,
}

/// A secret that an agent may take into an app. Nothing is stored until a code of it comes back.
pub(crate) struct Offer {
    pub secret: TotpSecret,
    /// The secret, sealed to this agent: comes back with the form.
    pub sealed: String,
}

pub(crate) fn offer(portal: &Portal, agent: &Agent) -> Result<Offer, WorkflowError> {
    let secret = TotpSecret::generate()?;
    let sealed = portal.secrets.seal_field(&context("totp-offer", agent.id), secret.expose())?;
    Ok(Offer {
        secret,
        sealed: BASE64URL_NOPAD.encode(&sealed),
    })
}

/// The offer of a form that came back.
pub(crate) fn offered(portal: &Portal, agent: &Agent, sealed: &str) -> Option<Offer> {
    let bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
    let plain = portal.secrets.open_field(&context("totp-offer", agent.id), &bytes).ok()?;
    Some(Offer {
        secret: TotpSecret::from_bytes(&plain)?,
        sealed: sealed.to_owned(),
    })
}

/// Enrols the app that gave this code. The new cookie, and recovery codes to show once where there were none.
pub(crate) async fn enrol(
    portal: &Portal,
    live: &Live,
    offer: &Offer,
    code: &str,
) -> Result<Option<(Zeroizing<String>, Codes)>, WorkflowError> {
    let Some(step) = offer.secret.step_of(code, portal.now()) else {
        return Ok(None);
    };
    let agent = &live.agent;
    let secret = SealedText(portal.secrets.seal_field(&context("totp", agent.id), offer.secret.expose())?);
    let event = event(portal, Actor::Agent(agent.id), AuditAction::SecondFactorEnrolled, agent).with("kind", "totp");
    if portal
        .directory
        .alter_agent(agent.id, Change::EnrolTotp { secret, step }, event)
        .await?
        .is_none()
    {
        return Ok(None);
    }
    let codes = first_codes(portal, agent).await?;
    let cookie = confirmed(portal, live, AuthMethod::Code).await?;
    Ok(cookie.map(|cookie| (cookie, codes)))
}

/// Recovery codes to be shown once; none when the agent has some already.
pub(crate) type Codes = Vec<Zeroizing<String>>;

/// Codes for somebody who got a second factor and has none yet.
pub(crate) async fn first_codes(portal: &Portal, agent: &Agent) -> Result<Codes, WorkflowError> {
    if agent.factors.recovery.is_empty() {
        new_codes(portal, agent).await
    } else {
        Ok(Vec::new())
    }
}

/// Ten new recovery codes; all older ones are dead.
pub(crate) async fn new_codes(portal: &Portal, agent: &Agent) -> Result<Codes, WorkflowError> {
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let text = Zeroizing::new(CROCKFORD.encode(&random::array::<10>()?));
        let groups: Vec<&str> = (0..text.len()).step_by(4).map(|i| &text[i..i + 4]).collect();
        codes.push(Zeroizing::new(groups.join("-")));
    }
    let hashes = codes.iter().map(|c| hashed(portal, agent.id, c)).collect();
    let event = event(portal, Actor::Agent(agent.id), AuditAction::RecoveryCodesMade, agent);
    portal.directory.alter_agent(agent.id, Change::RecoveryCodes(hashes), event).await?;
    Ok(codes)
}

pub(crate) async fn remove_totp(portal: &Portal, agent: &Agent) -> Result<bool, WorkflowError> {
    let event = event(portal, Actor::Agent(agent.id), AuditAction::SecondFactorRemoved, agent).with("kind", "totp");
    Ok(portal.directory.alter_agent(agent.id, Change::RemoveTotp, event).await?.is_some())
}

/// A code in half a session, or to confirm a whole one. Recovery codes let somebody in and confirm nothing afterwards; they cannot be guessed, so wrong
/// codes do not close them.
pub(crate) async fn by_code(portal: &Portal, live: &Live, code: &str) -> Result<Second, WorkflowError> {
    let actor = Actor::Agent(live.agent.id);
    if !portal.auth.throttle.allows_code(&live.agent) {
        audit(portal, actor, AuditAction::SecondFactorThrottled).await?;
        return Ok(Second::TooManyTries);
    }
    let half = live.session.how == AuthMethod::PasswordVerified;
    let closed = live.agent.misses.close_codes();
    let spent = match !closed && spend_code(portal, &live.agent, code).await? {
        true => Some(AuthMethod::Code),
        false if half && spend_recovery(portal, &live.agent, code).await? => Some(AuthMethod::RecoveryCode),
        false => None,
    };
    let cookie = match spent {
        Some(how) => confirmed(portal, live, how).await?,
        None => None,
    };
    match cookie {
        Some(cookie) => Ok(Second::Welcome { cookie }),
        None if closed => {
            audit(portal, actor, AuditAction::SecondFactorClosed).await?;
            Ok(Second::Closed)
        }
        None => {
            let refused = event(portal, actor, AuditAction::SecondFactorRefused, &live.agent);
            portal.directory.alter_agent(live.agent.id, Change::WrongCode, refused).await?;
            Ok(Second::Wrong)
        }
    }
}

/// The password again, for an agent who has nothing else.
pub(crate) async fn by_password(portal: &Portal, live: &Live, password: &str, address: std::net::IpAddr) -> Result<Second, WorkflowError> {
    if live.agent.factors.any() {
        return Ok(Second::Wrong);
    }
    let visitor = super::Visitor {
        address,
        browser: super::Browser::SignedIn,
    };
    match super::prove_password(portal, &live.agent.email, password, visitor).await? {
        Proof::Right(agent) if agent.id == live.agent.id => Ok(confirmed(portal, live, AuthMethod::Password)
            .await?
            .map_or(Second::Wrong, |cookie| Second::Welcome { cookie })),
        Proof::TooManyTries => Ok(Second::TooManyTries),
        _ => Ok(Second::Wrong),
    }
}

async fn spend_code(portal: &Portal, agent: &Agent, code: &str) -> Result<bool, WorkflowError> {
    let Some(totp) = &agent.factors.totp else { return Ok(false) };
    let plain = portal
        .secrets
        .open_field(&context("totp", agent.id), &totp.secret.0)
        .map_err(|_| WorkflowError::Tampered)?;
    let secret = TotpSecret::from_bytes(&plain).ok_or(WorkflowError::Tampered)?;
    let Some(step) = secret.step_of(code, portal.now()) else {
        return Ok(false);
    };
    let event = event(portal, Actor::Agent(agent.id), AuditAction::SecondFactorUsed, agent).with("kind", "totp");
    Ok(portal
        .directory
        .alter_agent(agent.id, Change::SpendStep(step), event)
        .await?
        .is_some())
}

async fn spend_recovery(portal: &Portal, agent: &Agent, code: &str) -> Result<bool, WorkflowError> {
    let hash = hashed(portal, agent.id, code);
    if !agent.factors.recovery.contains(&hash) {
        return Ok(false);
    }
    let event = event(portal, Actor::Agent(agent.id), AuditAction::SecondFactorUsed, agent).with("kind", "recovery-code");
    Ok(portal
        .directory
        .alter_agent(agent.id, Change::SpendRecovery(hash), event)
        .await?
        .is_some())
}

/// As typed by hand: case, spaces and dashes do not matter, and letters that look like digits are read as those.
fn hashed(portal: &Portal, agent: AgentId, code: &str) -> [u8; 32] {
    let plain: Zeroizing<String> = Zeroizing::new(
        code.chars()
            .filter(|c| c.is_ascii_alphanumeric())
            .take(64)
            .map(|c| match c.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                c => c,
            })
            .collect(),
    );
    let bound = Zeroizing::new(format!("{}\0{}", HEXLOWER.encode(&agent.0), *plain));
    portal.secrets.index("recovery-code", bound.as_bytes())
}

pub(super) fn context(what: &str, agent: AgentId) -> Vec<u8> {
    [what.as_bytes(), &[0], &agent.0].concat()
}
