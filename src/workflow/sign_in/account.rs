//! Accounts and API keys: making, changing and ending them.

use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::chain::Cause;
use crate::crypto::random;
use crate::domain::account::Change;
use crate::domain::agent::{Actor, Agent, ApiKey, PasswordHash, PasswordKind, Role, Scope, Team};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::factors::{Factors, FailedAttempts};
use crate::domain::id::{AgentId, ApiKeyId, CROCKFORD};
use crate::storage::{Claim, Made};
use crate::workflow::issue::{ClientKey, claim_of_secret};
use crate::workflow::seal;

use super::{Portal, WorkflowError, blocking, hash, normal_email, password_strength};

/// NIST SP 800-63B-4: at least 15 characters where the password is the only factor.
pub(crate) const PASSWORD_MIN: usize = 15;
/// And at least 8 where the configuration demands a second one of everybody.
pub(crate) const PASSWORD_MIN_SECOND: usize = 8;
/// Long enough for every passphrase, short enough to hash.
pub(crate) const PASSWORD_MAX: usize = 256;
/// A key's last use is written down at most this often.
const TOUCH_EVERY: Duration = Duration::minutes(1);
/// The most teams of one agent.
pub(crate) const TEAMS: usize = 20;
/// The longest name of an account or a key, in characters.
pub(crate) const NAME_MAX: usize = 100;

/// The fewest characters that a password may have here.
pub(crate) fn shortest_password(portal: &Portal) -> usize {
    if portal.policy.require_second_factor {
        PASSWORD_MIN_SECOND
    } else {
        PASSWORD_MIN
    }
}

/// Somebody to be added.
pub(crate) struct NewAgent<'a> {
    pub email: &'a str,
    pub name: &'a str,
    pub role: Role,
    pub teams: Vec<Team>,
}

/// Adds an agent with a password.
pub async fn add_agent(portal: &Portal, email: &str, name: &str, role: Role, password: &str, by: Actor) -> Result<Agent, WorkflowError> {
    let teams = Vec::new();
    let new = NewAgent { email, name, role, teams };
    Ok(add_agent_once(portal, new, password, by, None).await?.0)
}

/// The same, once under a client's key: then the agent who was added by it before, and `true`.
pub(crate) async fn add_agent_once(
    portal: &Portal,
    new: NewAgent<'_>,
    password: &str,
    by: Actor,
    client: Option<ClientKey>,
) -> Result<(Agent, bool), WorkflowError> {
    let claim = client.as_ref().map(|client| claim_of_secret(portal, client));
    if let Some(claim) = &claim
        && let Some(made) = portal.directory.made(claim).await?
    {
        return added_before(portal, made).await;
    }
    let (email, name) = checked_names(new.email, new.name)?;
    let hash = hash_password(portal, password, &email, &name).await?;
    let mut agent = fresh_agent(portal, email, name, new.role, new.teams)?;
    agent.password = Some(PasswordHash(hash));
    agent.password_kind = kind_of(by, &agent);
    match store_agent(portal, &agent, by, claim).await? {
        Made::Fresh => Ok((agent, false)),
        made => added_before(portal, made).await,
    }
}

async fn added_before(portal: &Portal, made: Made) -> Result<(Agent, bool), WorkflowError> {
    let Made::Before(id) = made else {
        return Err(WorkflowError::KeyReused);
    };
    let agent = portal.directory.agent(AgentId(id)).await?.ok_or(WorkflowError::KeyReused)?;
    Ok((agent, true))
}

/// Adds an agent who signs in elsewhere and has no password here.
pub(crate) async fn add_agent_without_password(
    portal: &Portal,
    email: &str,
    name: &str,
    role: Role,
    by: Actor,
) -> Result<Agent, WorkflowError> {
    let (email, name) = checked_names(email, name)?;
    let agent = fresh_agent(portal, email, name, role, Vec::new())?;
    store_agent(portal, &agent, by, None).await?;
    Ok(agent)
}

pub(crate) fn checked_names(email: &str, name: &str) -> Result<(String, String), WorkflowError> {
    let email = normal_email(email);
    let (local, host) = email.split_once('@').unwrap_or_default();
    if local.is_empty() || host.is_empty() || email.len() > 254 || email.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(WorkflowError::Invalid {
            field: "email",
            fix: "must be an e-mail address".to_owned(),
        });
    }
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(WorkflowError::Invalid {
            field: "name",
            fix: "must have 1 to 100 characters".to_owned(),
        });
    }
    Ok((email, name.to_owned()))
}

/// Somebody who has no way to sign in yet.
pub(super) fn fresh_agent(portal: &Portal, email: String, name: String, role: Role, teams: Vec<Team>) -> Result<Agent, WorkflowError> {
    let now = portal.now();
    Ok(Agent {
        id: AgentId::new(random::array()?, now),
        password: None,
        password_kind: PasswordKind::Own,
        invitation: None,
        signed_in_at: None,
        deleted_at: None,
        known_by: Vec::new(),
        email,
        name,
        role,
        created_at: now,
        disabled_at: None,
        sessions_valid_from: now,
        factors: Factors::default(),
        teams,
        subject: None,
        misses: FailedAttempts::default(),
    })
}

/// A password that somebody else chose is good for one sign-in; with a shell on the machine one sets up one's own.
fn kind_of(by: Actor, agent: &Agent) -> PasswordKind {
    match by {
        Actor::Operator => PasswordKind::Own,
        by if by == Actor::Agent(agent.id) => PasswordKind::Own,
        _ => PasswordKind::Temporary,
    }
}

pub(super) async fn store_agent(portal: &Portal, agent: &Agent, by: Actor, claim: Option<Claim>) -> Result<Made, WorkflowError> {
    let mut event = event(portal, by, AuditAction::AgentAdded, agent).with("role", agent.role.as_str());
    if !agent.teams.is_empty() {
        event = event.with("teams", team_names(&agent.teams));
    }
    Ok(portal.directory.add_agent(agent.clone(), claim, event).await?)
}

fn team_names(teams: &[Team]) -> String {
    teams.iter().map(Team::as_str).collect::<Vec<_>>().join(" ")
}

/// A new password ends every session.
pub async fn reset_password(portal: &Portal, agent: Agent, password: &str, by: Actor) -> Result<(), WorkflowError> {
    let hash = hash_password(portal, password, &agent.email, &agent.name).await?;
    let event = event(portal, by, AuditAction::AgentPasswordChanged, &agent);
    let change = Change::Password {
        hash: PasswordHash(hash),
        kind: kind_of(by, &agent),
    };
    alter(portal, &agent, change, event).await
}

/// One's own password in the place of one that an admin chose. That very one is refused.
pub(crate) async fn replace_temporary(portal: &Portal, agent: &Agent, password: &str) -> Result<(), WorkflowError> {
    let known = agent.password.clone();
    let (passwords, given) = (portal.auth.passwords.clone(), Zeroizing::new(password.to_owned()));
    check_password(portal, password, &agent.email, &agent.name)?;
    let permit = portal.auth.hashing.turn().await?;
    let same = blocking(move || {
        let _permit = permit;
        known.is_some_and(|known| passwords.verify_password(&given, &known.0))
    });
    if same.await? {
        return Err(WorkflowError::Invalid {
            field: "password",
            fix: "must be another one than you were given".to_owned(),
        });
    }
    reset_password(portal, agent.clone(), password, Actor::Agent(agent.id)).await
}

/// Ends an agent's access at once, sessions included.
pub async fn disable_agent(portal: &Portal, agent: Agent, by: Actor) -> Result<(), WorkflowError> {
    let event = event(portal, by, AuditAction::AgentDisabled, &agent);
    alter(portal, &agent, Change::Disable, event).await
}

/// Lets somebody in again who was disabled, with the role, password and second factor of before.
pub(crate) async fn enable_agent(portal: &Portal, agent: &Agent, by: Actor) -> Result<(), WorkflowError> {
    if agent.disabled_at.is_some() {
        let event = event(portal, by, AuditAction::AgentEnabled, agent);
        portal.directory.alter_agent(agent.id, Change::Enable, event).await?;
    }
    Ok(())
}

/// Deletes an account: sessions and the API keys that it made end, its address is free for whoever an admin adds. The name stays, because the audit log names it, and
/// keyed hashes of what it was known by: at the next single sign-on nobody gets back in whom an admin has put out.
pub(crate) async fn delete_agent(portal: &Portal, agent: &Agent, by: Actor) -> Result<(), WorkflowError> {
    let event = event(portal, by, AuditAction::AgentDeleted, agent);
    let known_by = std::iter::once(agent.email.as_str()).chain(agent.subject.as_deref());
    let known_by = known_by.map(|known| known_by_hash(portal, known)).collect();
    alter(portal, agent, Change::Delete { known_by }, event).await
}

fn known_by_hash(portal: &Portal, known: &str) -> [u8; 32] {
    portal.secrets.index("deleted-account", known.as_bytes())
}

/// Whether an account with this address or this identity was deleted.
pub(super) async fn was_deleted(portal: &Portal, email: &str, identity: &str) -> Result<bool, WorkflowError> {
    let known = [known_by_hash(portal, email), known_by_hash(portal, identity)];
    let agents = portal.directory.agents().await?;
    Ok(agents.iter().any(|agent| agent.known_by.iter().any(|hash| known.contains(hash))))
}

/// The live API keys that an agent made, which end with the account.
pub(crate) async fn keys_of(portal: &Portal, agent: &Agent) -> Result<Vec<ApiKey>, WorkflowError> {
    let (all, now) = (api_keys(portal).await?, portal.now());
    Ok(all.into_iter().filter(|k| k.made_by == Some(agent.id) && k.live(now)).collect())
}

/// Another role and other teams; every session of theirs ends where something changed.
pub async fn change_agent(portal: &Portal, agent: &Agent, role: Role, teams: Vec<Team>, by: Actor) -> Result<(), WorkflowError> {
    if agent.role != role {
        let event = event(portal, by, AuditAction::AgentRoleChanged, agent).with("role", role.as_str());
        alter(portal, agent, Change::Role(role), event).await?;
    }
    if agent.teams != teams {
        let event = event(portal, by, AuditAction::AgentTeamsChanged, agent).with("teams", team_names(&teams));
        alter(portal, agent, Change::Teams(teams), event).await?;
    }
    Ok(())
}

/// Team names as people type them: separated by commas or spaces, in their order, each once.
pub fn parse_teams(text: &str) -> Result<Vec<Team>, WorkflowError> {
    let mut teams = Vec::new();
    for word in text.split([',', ' ', ';']).map(str::trim).filter(|w| !w.is_empty()) {
        let team = Team::parse(word)
            .filter(|_| teams.len() < TEAMS)
            .ok_or_else(|| WorkflowError::Invalid {
                field: "teams",
                fix: format!("must be at most {TEAMS} names of a-z, 0-9 and -, separated by spaces"),
            })?;
        if !teams.contains(&team) {
            teams.push(team);
        }
    }
    Ok(teams)
}

/// For somebody who has lost everything: no second factor and no recovery code is left, and every session ends.
pub(crate) async fn reset_factors(portal: &Portal, agent: &Agent, by: Actor) -> Result<(), WorkflowError> {
    let event = event(portal, by, AuditAction::AgentSecondFactorReset, agent);
    alter(portal, agent, Change::ResetFactors, event).await
}

pub async fn sign_out_everywhere(portal: &Portal, agent: &Agent, by: Actor) -> Result<(), WorkflowError> {
    let event = event(portal, by, AuditAction::AgentSignedOutEverywhere, agent);
    alter(portal, agent, Change::SignOutEverywhere, event).await
}

pub(super) fn event(portal: &Portal, by: Actor, action: AuditAction, agent: &Agent) -> AuditEvent {
    AuditEvent::new(portal.now(), by, action).with("agent", agent.id)
}

/// A change that is legal for everybody but the last admin.
async fn alter(portal: &Portal, agent: &Agent, change: Change, event: AuditEvent) -> Result<(), WorkflowError> {
    match portal.directory.alter_agent(agent.id, change, event).await? {
        Some(_) => Ok(()),
        None => Err(WorkflowError::LastAdmin),
    }
}

pub(super) async fn hash_password(portal: &Portal, password: &str, email: &str, name: &str) -> Result<String, WorkflowError> {
    check_password(portal, password, email, name)?;
    let permit = portal.auth.hashing.turn().await?;
    let (passwords, password) = (portal.auth.passwords.clone(), Zeroizing::new(password.to_owned()));
    let hash = blocking(move || {
        let _permit = permit;
        passwords.hash_password(&password)
    })
    .await?;
    hash.map_err(|e| WorkflowError::Internal(Cause::new(e)))
}

/// Length and a list decide, not composition (NIST SP 800-63B-4, ASVS 5 6.2).
fn check_password(portal: &Portal, password: &str, email: &str, name: &str) -> Result<(), WorkflowError> {
    let context = [email, name, portal.policy.company.as_str()];
    match password_fault(password, shortest_password(portal), &context) {
        None => Ok(()),
        Some(fix) => Err(WorkflowError::Invalid { field: "password", fix }),
    }
}

/// What is wrong with a password; `context`: words that make no good one here.
pub(crate) fn password_fault(password: &str, shortest: usize, context: &[&str]) -> Option<String> {
    let length = password.chars().count();
    let context: Vec<&str> = context.iter().copied().chain(["nightdrop"]).collect();
    Some(if length < shortest {
        format!("must have at least {shortest} characters; a few words are fine")
    } else if length > PASSWORD_MAX {
        format!("must have at most {PASSWORD_MAX} characters")
    } else if password_strength::is_weak(password, &context) {
        "is too easy to guess; a few words that do not belong together are fine".to_owned()
    } else {
        return None;
    })
}

/// Everybody who has an account, disabled ones too.
pub(crate) async fn agents(portal: &Portal) -> Result<Vec<Agent>, WorkflowError> {
    let all = portal.directory.agents().await?.into_iter();
    Ok(all.filter(|a| a.deleted_at.is_none()).collect())
}

pub(crate) async fn agent(portal: &Portal, id: AgentId) -> Result<Option<Agent>, WorkflowError> {
    Ok(portal.directory.agent(id).await?.filter(|a| a.deleted_at.is_none()))
}

/// All API keys, dead ones too.
pub(crate) async fn api_keys(portal: &Portal) -> Result<Vec<ApiKey>, WorkflowError> {
    Ok(portal.directory.api_keys().await?)
}

/// Ends a key; it is dead when this answers. `None` where there is no such key.
pub(crate) async fn revoke_api_key(portal: &Portal, id: ApiKeyId, by: Actor) -> Result<Option<ApiKey>, WorkflowError> {
    let event = AuditEvent::new(portal.now(), by, AuditAction::ApiKeyRevoked).with("key", id);
    portal.directory.revoke_api_key(id, event).await?;
    Ok(api_keys(portal).await?.into_iter().find(|key| key.id == id))
}

/// Makes an API key; its secret is returned this once.
pub async fn add_api_key(
    portal: &Portal,
    name: &str,
    scopes: Vec<Scope>,
    expires_at: Option<OffsetDateTime>,
    by: Actor,
) -> Result<(ApiKey, Zeroizing<String>), WorkflowError> {
    add_team_key(portal, name, scopes, expires_at, None, by).await
}

/// The same, for one team only.
pub async fn add_team_key(
    portal: &Portal,
    name: &str,
    scopes: Vec<Scope>,
    expires_at: Option<OffsetDateTime>,
    team: Option<Team>,
    by: Actor,
) -> Result<(ApiKey, Zeroizing<String>), WorkflowError> {
    let (key, secret, _) = add_key_once(portal, name, scopes, expires_at, team, by, None).await?;
    Ok((key, secret))
}

/// The same, once under a client's key: then the key that was made by it before with the same secret, and `true`.
pub(crate) async fn add_key_once(
    portal: &Portal,
    name: &str,
    scopes: Vec<Scope>,
    expires_at: Option<OffsetDateTime>,
    team: Option<Team>,
    by: Actor,
    client: Option<ClientKey>,
) -> Result<(ApiKey, Zeroizing<String>, bool), WorkflowError> {
    let claim = client.as_ref().map(|client| claim_of_secret(portal, client));
    if let Some(claim) = &claim
        && let Some(made) = portal.directory.made(claim).await?
    {
        return made_before(portal, made, client.as_ref()).await;
    }
    let invalid = |field, fix: &str| {
        Err(WorkflowError::Invalid {
            field,
            fix: fix.to_owned(),
        })
    };
    if name.trim().is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return invalid("name", "must have 1 to 100 characters");
    }
    if scopes.is_empty() {
        return invalid("scopes", "needs at least one of read, requests, audit, admin");
    }
    if team.is_some() && (scopes.contains(&Scope::Admin) || scopes.contains(&Scope::Audit)) {
        return invalid(
            "team",
            "cannot be given to a key with the scope admin or audit, which sees everything",
        );
    }
    let now = portal.now();
    let id = ApiKeyId::new(random::array()?, now);
    let secret = key_secret(portal, id, client.as_ref())?;
    let key = ApiKey {
        id,
        name: name.trim().to_owned(),
        scopes,
        created_at: now,
        expires_at,
        revoked_at: None,
        used_at: None,
        team,
        made_by: match by {
            Actor::Agent(agent) => Some(agent),
            _ => None,
        },
    };
    let event = AuditEvent::new(now, by, AuditAction::ApiKeyAdded).with("key", key.id);
    match portal.directory.add_api_key(hash(&secret), key.clone(), claim, event).await? {
        Made::Fresh => Ok((key, secret, false)),
        made => made_before(portal, made, client.as_ref()).await,
    }
}

async fn made_before(portal: &Portal, made: Made, client: Option<&ClientKey>) -> Result<(ApiKey, Zeroizing<String>, bool), WorkflowError> {
    let Made::Before(id) = made else {
        return Err(WorkflowError::KeyReused);
    };
    let key = portal
        .directory
        .api_key_by_id(ApiKeyId(id))
        .await?
        .ok_or(WorkflowError::KeyReused)?;
    let secret = key_secret(portal, key.id, client)?;
    Ok((key, secret, true))
}

/// 256 bits: random, or with a client's key a keyed function of (the new key's random id, caller, client's key, the caller's secret), so that a repetition shows
/// the same secret although nothing that the portal holds can.
fn key_secret(portal: &Portal, id: ApiKeyId, client: Option<&ClientKey>) -> Result<Zeroizing<String>, WorkflowError> {
    let mut bytes = Zeroizing::new([0; 32]);
    match client {
        None => *bytes = random::array()?,
        Some(client) => {
            // A derived token has 20 bytes.
            for (half, place) in bytes.chunks_mut(16).enumerate() {
                let name = client.derivation(&format!("api-key {half}"));
                let token = portal.secrets.derive_token(&id.0, &name);
                place.copy_from_slice(&token.as_bytes()[..16]);
            }
        }
    }
    Ok(Zeroizing::new(format!("ndk_{}", CROCKFORD.encode(&*bytes))))
}

/// The key behind a bearer secret that was one of ours and lives no more.
pub(crate) async fn ended_key(portal: &Portal, secret: &str) -> Result<Option<ApiKey>, WorkflowError> {
    if !like_a_key(secret) {
        return Ok(None);
    }
    let now = portal.now();
    let found = seal::trusted(portal, portal.directory.api_key(&hash(secret)).await).await?;
    Ok(found.filter(|k| !k.live(now)))
}

fn like_a_key(secret: &str) -> bool {
    secret.starts_with("ndk_") && secret.len() <= 100
}

/// The live key behind a bearer secret; notes its use.
pub(crate) async fn api_key(portal: &Portal, secret: &str) -> Result<Option<ApiKey>, WorkflowError> {
    if !like_a_key(secret) {
        return Ok(None);
    }
    let now = portal.now();
    let hash = hash(secret);
    let found = seal::trusted(portal, portal.directory.api_key(&hash).await).await?;
    let Some(key) = found.filter(|k| k.live(now)) else {
        return Ok(None);
    };
    if key.used_at.is_none_or(|at| now - at > TOUCH_EVERY) {
        portal.directory.touch_api_key(&hash, now).await?;
    }
    Ok(Some(key))
}
