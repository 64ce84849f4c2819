//! One-time links to an account: for somebody new, and for somebody who has lost the password. Whoever holds the link sets a password or a passkey of their own.
//!
//! The token is in memory when a link is made, in the mail or the answer that carries it, and nowhere else: the account keeps its keyed hash. A link is good once, for three
//! days, and only while it is the newest of its account. Looking at one changes nothing. It replaces no second factor: who has one shows it after the password.

use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::domain::account::{Accepted, Change};
use crate::domain::agent::{Actor, Agent, AuthMethod, Invitation, PasswordHash};
use crate::domain::audit::AuditAction;
use crate::domain::id::AgentId;
use crate::domain::token::PlainToken;
use crate::storage::Made;
use crate::workflow::issue::{ClientKey, claim_of_secret};
use crate::workflow::outgoing::mail;

use super::account::{self, NewAgent, event};
use super::factor::{Codes, first_codes};
use super::passkey::{self, Begun, Passkeys};
use super::{Portal, SignIn, WorkflowError, open, seal};

/// How long a link is good.
pub(crate) const GOOD_FOR: Duration = Duration::days(3);

/// How the link gets to whom it is for.
pub(crate) enum Handover {
    /// By mail; nobody else sees it.
    Mail,
    /// Nobody sends mail here: it is shown this once, to be handed over.
    Link(Zeroizing<String>),
}

/// A link that was just made.
pub(crate) struct Invited {
    pub agent: Agent,
    pub expires_at: OffsetDateTime,
    pub handover: Handover,
    /// The same Idempotency-Key had made it before.
    pub replayed: bool,
}

/// Where the console is, as links to it begin.
pub(crate) struct Console<'a>(pub Option<&'a str>);

impl Console<'_> {
    fn address(&self) -> Result<&str, WorkflowError> {
        self.0.ok_or_else(|| WorkflowError::Invalid {
            field: "staff_url",
            fix: "must be set in nightdrop.toml before links to the console can be made".to_owned(),
        })
    }
}

/// Adds somebody who sets their own way to sign in. Under a client's key once: then the same link is told again.
pub(crate) async fn invite(
    portal: &Portal,
    console: &Console<'_>,
    new: NewAgent<'_>,
    by: Actor,
    client: Option<ClientKey>,
) -> Result<Invited, WorkflowError> {
    let address = console.address()?;
    let claim = client.as_ref().map(|client| claim_of_secret(portal, client));
    if let Some(claim) = &claim
        && let Some(made) = portal.directory.made(claim).await?
    {
        return invited_before(portal, address, made, by, client.as_ref()).await;
    }
    let (email, name) = account::checked_names(new.email, new.name)?;
    mail_address(portal, &email)?;
    let mut agent = account::fresh_agent(portal, email, name, new.role, new.teams)?;
    let token = token(portal, agent.id, client.as_ref())?;
    let invitation = invitation(portal, agent.id, &token);
    agent.invitation = Some(invitation.clone());
    match account::store_agent(portal, &agent, by, claim).await? {
        Made::Fresh => {}
        made => return invited_before(portal, address, made, by, client.as_ref()).await,
    }
    hand_over(portal, address, agent, &invitation, &token, by).await
}

/// A new link for somebody who has an account; an older one is dead. What they sign in with now goes on until the link is used.
pub(crate) async fn invite_again(portal: &Portal, console: &Console<'_>, agent: &Agent, by: Actor) -> Result<Invited, WorkflowError> {
    let address = console.address()?;
    mail_address(portal, &agent.email)?;
    let token = token(portal, agent.id, None)?;
    let invitation = invitation(portal, agent.id, &token);
    let event = event(portal, by, AuditAction::AgentInvited, agent);
    let change = Change::Invite(invitation.clone());
    let agent = portal.directory.alter_agent(agent.id, change, event).await?;
    let agent = agent.ok_or_else(|| WorkflowError::Invalid {
        field: "agent",
        fix: "must be enabled first: a disabled account takes no link".to_owned(),
    })?;
    hand_over(portal, address, agent, &invitation, &token, by).await
}

/// Refused before anything is stored: an account whose link cannot be sent is of no use.
fn mail_address(portal: &Portal, email: &str) -> Result<(), WorkflowError> {
    match portal.outgoing.mailer {
        Some(_) => mail::check_address(portal, email),
        None => Ok(()),
    }
}

fn token(portal: &Portal, agent: AgentId, client: Option<&ClientKey>) -> Result<PlainToken, WorkflowError> {
    Ok(match client {
        None => PlainToken::from_bytes(random::array()?),
        Some(client) => portal.secrets.derive_token(&agent.0, &client.derivation("invitation")),
    })
}

fn invitation(portal: &Portal, agent: AgentId, token: &PlainToken) -> Invitation {
    Invitation {
        hash: hash(portal, agent, token),
        expires_at: portal.now() + GOOD_FOR,
    }
}

fn hash(portal: &Portal, agent: AgentId, token: &PlainToken) -> [u8; 32] {
    portal.secrets.index("invitation", &[&agent.0[..], token.as_bytes()].concat())
}

async fn hand_over(
    portal: &Portal,
    address: &str,
    agent: Agent,
    invitation: &Invitation,
    token: &PlainToken,
    by: Actor,
) -> Result<Invited, WorkflowError> {
    let link = link(address, agent.id, token);
    let handover = match portal.outgoing.mailer {
        Some(_) => {
            mail::queue_invitation(portal, &agent, invitation, &link, by).await?;
            Handover::Mail
        }
        None => Handover::Link(link),
    };
    Ok(Invited {
        expires_at: invitation.expires_at,
        agent,
        handover,
        replayed: false,
    })
}

fn link(address: &str, agent: AgentId, token: &PlainToken) -> Zeroizing<String> {
    Zeroizing::new(format!("{address}/invitation/{agent}/{}", &*Zeroizing::new(token.encode())))
}

/// What the same call answered before, while the link that it made is the account's present one.
async fn invited_before(
    portal: &Portal,
    address: &str,
    made: Made,
    by: Actor,
    client: Option<&ClientKey>,
) -> Result<Invited, WorkflowError> {
    let Made::Before(id) = made else {
        return Err(WorkflowError::KeyReused);
    };
    let agent = portal.directory.agent(AgentId(id)).await?.ok_or(WorkflowError::KeyReused)?;
    let token = token(portal, agent.id, client)?;
    let hash = hash(portal, agent.id, &token);
    let now = portal.now();
    let present = |known: &Invitation| known.hash == hash && now < known.expires_at && agent.disabled_at.is_none();
    let invitation = agent.invitation.clone().filter(present);
    let invitation = invitation.ok_or(WorkflowError::InvitationGone(agent.id))?;
    // A mail that was queued is queued once, however often this is asked.
    let invited = hand_over(portal, address, agent, &invitation, &token, by).await?;
    Ok(Invited { replayed: true, ..invited })
}

/// A link that is good now, and whose it is.
pub(crate) struct Good {
    pub agent: Agent,
    hash: [u8; 32],
}

/// Looks a link up; `None` for one that was never made, was used or replaced, or has ended: one answer for all.
pub(crate) async fn look(portal: &Portal, agent: AgentId, token: &str) -> Result<Option<Good>, WorkflowError> {
    let Some(token) = PlainToken::parse(token) else { return Ok(None) };
    let found = seal::trusted(portal, portal.directory.agent(agent).await).await?;
    let (hash, now) = (hash(portal, agent, &token), portal.now());
    let good = |agent: &Agent| {
        let open = |i: &Invitation| bool::from(i.hash.ct_eq(&hash)) && now < i.expires_at;
        agent.disabled_at.is_none() && agent.invitation.as_ref().is_some_and(open)
    };
    Ok(found.filter(good).map(|agent| Good { agent, hash }))
}

/// Sets a password by the link, and signs in with it; who has a second factor shows it next. `None`: the link was used meanwhile.
pub(crate) async fn accept_password(portal: &Portal, good: &Good, password: &str, program: &str) -> Result<Option<SignIn>, WorkflowError> {
    let agent = &good.agent;
    let hash = account::hash_password(portal, password, &agent.email, &agent.name).await?;
    let Some(agent) = accept(portal, good, Accepted::Password(PasswordHash(hash)), "password").await? else {
        return Ok(None);
    };
    let now = portal.now();
    Ok(Some(if agent.factors.any() {
        SignIn::SecondFactorWanted {
            cookie: open(portal, &agent, AuthMethod::PasswordVerified, None, now, program).await?,
        }
    } else {
        SignIn::Welcome {
            cookie: super::open_session(portal, &agent, now, program).await?,
        }
    }))
}

/// Begins to make a passkey for the link's account. `None` where the account has a second factor: a link replaces none.
pub(crate) fn begin_passkey(portal: &Portal, passkeys: &Passkeys, good: &Good) -> Result<Option<Begun>, WorkflowError> {
    if good.agent.factors.any() {
        return Ok(None);
    }
    passkey::begin_add(portal, passkeys, &good.agent).map(Some)
}

/// Adds the passkey and signs in with it: the cookie, and recovery codes to show once. `None` when the answer does not fit, or the link was used meanwhile.
pub(crate) async fn accept_passkey(
    portal: &Portal,
    passkeys: &Passkeys,
    good: &Good,
    ceremony: &str,
    answer: &str,
    program: &str,
) -> Result<Option<(Zeroizing<String>, Agent, Codes)>, WorkflowError> {
    let Some(passkey) = passkey::made(portal, passkeys, &good.agent, ceremony, answer, "First passkey")? else {
        return Ok(None);
    };
    let Some(agent) = accept(portal, good, Accepted::Passkey(passkey), "passkey").await? else {
        return Ok(None);
    };
    let codes = first_codes(portal, &agent).await?;
    let now = portal.now();
    let cookie = open(portal, &agent, AuthMethod::Passkey, Some(now), now, program).await?;
    Ok(Some((cookie, agent, codes)))
}

async fn accept(portal: &Portal, good: &Good, with: Accepted, kind: &str) -> Result<Option<Agent>, WorkflowError> {
    let by = Actor::Agent(good.agent.id);
    let event = event(portal, by, AuditAction::AgentInvitationAccepted, &good.agent).with("kind", kind);
    let change = Change::AcceptInvitation { hash: good.hash, with };
    Ok(portal.directory.alter_agent(good.agent.id, change, event).await?)
}
