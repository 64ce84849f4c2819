//! The company's own sign-in: OpenID Connect by authorization code, with PKCE, state and nonce. What a token says is believed only after `token` has
//! verified it; then the verified e-mail address names the account, and the identity behind it is bound to that account for good.
//!
//! The e-mail address must be verified by the provider. Roles may be mapped from a claim; then the provider decides at every sign-in, and somebody without a
//! mapped role does not get in.

pub(crate) mod settings;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use reqwest::Url;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::connectors::causes::Unreached;
use crate::crypto::random;
use crate::domain::account::Change;
use crate::domain::agent::{Actor, Agent, AuthMethod, Role, Session};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::StorageError;

use super::account::{self, event};
use super::{Portal, WorkflowError, audit, open, seal};
use settings::SsoSettings;

/// How long a person has at the provider.
const PATIENCE: Duration = Duration::minutes(10);
/// Sign-ins on their way at once; the oldest makes room.
const AT_ONCE: usize = 1_024;
/// Bytes of any answer of the provider.
const ANSWER_CAP: usize = 256 << 10;
/// What the provider publishes is asked for again after this.
const FORGET: Duration = Duration::hours(1);
/// Keys that are not known yet are asked for at most this often.
const KEYS_EVERY: Duration = Duration::minutes(1);

/// One provider, and the sign-ins on their way through it.
pub(crate) struct SingleSignOn {
    settings: SsoSettings,
    back: String,
    http: reqwest::Client,
    begun: Arc<Mutex<HashMap<String, Begun>>>,
    known: tokio::sync::Mutex<Option<Known>>,
}

struct Begun {
    at: OffsetDateTime,
    state: String,
    nonce: String,
    verifier: Zeroizing<String>,
    next: String,
}

/// What the provider publishes about itself.
#[derive(Clone)]
struct Known {
    at: OffsetDateTime,
    authorize: Url,
    token: Url,
    keys: Url,
    basic: bool,
    set: jsonwebtoken::jwk::JwkSet,
    set_at: OffsetDateTime,
}

/// Why what the provider publishes cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDiscovered {
    #[error("{0}")]
    Unreached(Unreached),
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("what it publishes cannot be read")]
    Unreadable,
    #[error("it calls itself \"{0}\"")]
    Issuer(String),
    #[error("it publishes no https address as {0}")]
    Endpoint(&'static str),
}

/// To the provider, with the cookie that binds the way back to this browser.
pub(crate) struct Departure {
    pub cookie: String,
    pub address: String,
}

pub(crate) enum Arrival {
    Welcome {
        cookie: Zeroizing<String>,
        next: String,
    },
    /// Our own second factor is still wanted.
    SecondFactorWanted {
        cookie: Zeroizing<String>,
        next: String,
    },
    /// One answer for everything that does not fit; the reason stands in the log as a code.
    Refused,
}

impl SingleSignOn {
    /// Whether the provider's word counts as a second factor.
    pub(crate) fn trusts_second_factor(&self) -> bool {
        self.settings.trust_second_factor
    }

    /// `console`: how browsers reach the console.
    pub(crate) fn new(settings: SsoSettings, console: &str) -> Result<Self, String> {
        token::install();
        Ok(Self {
            back: format!("{console}/sign-in/sso/back"),
            http: settings
                .client()
                .map_err(|_| "needs a system with a certificate store".to_owned())?,
            settings,
            begun: Arc::default(),
            known: tokio::sync::Mutex::default(),
        })
    }

    /// Sign-ins that have begun with `before` can be ended here.
    pub(crate) fn after(self, before: &Self) -> Self {
        let begun = before.begun.clone();
        Self { begun, ..self }
    }

    pub(crate) fn label(&self) -> &str {
        &self.settings.label
    }

    fn keep(&self, begun: Begun) -> Result<String, WorkflowError> {
        let name = word()?;
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, b| begun.at < b.at + PATIENCE);
        if all.len() >= AT_ONCE
            && let Some(oldest) = all.iter().min_by_key(|(_, b)| b.at).map(|(n, _)| n.clone())
        {
            all.remove(&oldest);
        }
        all.insert(name.clone(), begun);
        Ok(name)
    }

    fn take(&self, now: OffsetDateTime, name: &str) -> Option<Begun> {
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(name).filter(|b| now < b.at + PATIENCE)
    }

    async fn get(&self, url: Url) -> Result<Value, NotDiscovered> {
        let sent = self.http.get(url).header("accept", "application/json").send().await;
        let response = sent.map_err(|error| NotDiscovered::Unreached(Unreached::of(&error)))?;
        match response.status().as_u16() {
            200 => read(response).await.ok_or(NotDiscovered::Unreadable),
            status => Err(NotDiscovered::Status(status)),
        }
    }

    async fn keys(&self, url: &Url) -> Result<jsonwebtoken::jwk::JwkSet, NotDiscovered> {
        serde_json::from_value(self.get(url.clone()).await?).map_err(|_| NotDiscovered::Unreadable)
    }

    /// Whether the provider is reached, says that it is who is configured, and shows its keys. Nobody signs in.
    pub(crate) async fn check(&self, now: OffsetDateTime) -> Result<(), NotDiscovered> {
        self.discover(now).await.map(drop)
    }

    /// What the provider publishes, fresh enough; with `wanted`, a key that is not known is asked for once more.
    async fn known(&self, now: OffsetDateTime, wanted: Option<&str>) -> Option<Known> {
        let mut known = self.known.lock().await;
        if known.as_ref().is_none_or(|k| now >= k.at + FORGET) {
            *known = self.discover(now).await.ok();
        }
        let found = known.as_mut()?;
        if wanted.is_some_and(|kid| found.set.find(kid).is_none()) && now >= found.set_at + KEYS_EVERY {
            found.set_at = now;
            if let Ok(set) = self.keys(&found.keys.clone()).await {
                found.set = set;
            }
        }
        Some(found.clone())
    }

    async fn discover(&self, now: OffsetDateTime) -> Result<Known, NotDiscovered> {
        let address = format!("{}/.well-known/openid-configuration", self.settings.issuer.trim_end_matches('/'));
        let document = self.get(Url::parse(&address).map_err(|_| NotDiscovered::Unreadable)?).await?;
        if document["issuer"] != self.settings.issuer.as_str() {
            return Err(NotDiscovered::Issuer(document["issuer"].as_str().unwrap_or_default().to_owned()));
        }
        let local = self.settings.issuer.starts_with("http://");
        let url = |name: &'static str| {
            let url = document[name].as_str().and_then(|text| Url::parse(text).ok());
            url.filter(|url| url.scheme() == "https" || (local && url.scheme() == "http"))
                .ok_or(NotDiscovered::Endpoint(name))
        };
        let methods = document["token_endpoint_auth_methods_supported"].as_array();
        let keys = url("jwks_uri")?;
        Ok(Known {
            at: now,
            authorize: url("authorization_endpoint")?,
            token: url("token_endpoint")?,
            set: self.keys(&keys).await?,
            set_at: now,
            keys,
            basic: methods.is_none_or(|m| m.iter().any(|m| m == "client_secret_basic")),
        })
    }

    /// The provider's ID token for a code.
    async fn redeem(&self, known: &Known, code: &str, verifier: &str) -> Option<String> {
        let s = &self.settings;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.back),
            ("code_verifier", verifier),
        ];
        let mut request = self.http.post(known.token.clone()).header("accept", "application/json");
        match &s.client_secret {
            Some(secret) if known.basic => {
                let pair = Zeroizing::new(format!("{}:{}", encoded(&s.client_id), encoded(secret.expose())));
                request = request.header("authorization", format!("Basic {}", BASE64.encode(pair.as_bytes())));
            }
            Some(secret) => fields.extend([("client_id", s.client_id.as_str()), ("client_secret", secret.expose())]),
            None => fields.push(("client_id", &s.client_id)),
        }
        let body = fields
            .iter()
            .map(|(n, v)| format!("{n}={}", encoded(v)))
            .collect::<Vec<_>>()
            .join("&");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = read(request.send().await.ok()?).await?;
        answer["id_token"].as_str().map(str::to_owned)
    }

    fn role(&self, claims: &Value) -> Option<Role> {
        let claim = &claims[&self.settings.role_claim];
        let has = |word: &str| claim == word || claim.as_array().is_some_and(|all| all.iter().any(|c| c == word));
        // Where several fit, the one that may do most.
        [Role::Admin, Role::ManualHandler, Role::Agent, Role::Auditor]
            .into_iter()
            .find(|role| self.settings.roles.iter().any(|(word, mapped)| mapped == role && has(word)))
    }
}

/// An answer of 200, as JSON, and not without end.
async fn read(mut response: reqwest::Response) -> Option<Value> {
    if response.status() != 200 {
        return None;
    }
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > ANSWER_CAP {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).ok()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

fn word() -> Result<String, WorkflowError> {
    Ok(HEXLOWER.encode(&random::array::<32>()?))
}

/// Sends a browser to the provider. `None` when the provider cannot be reached or does not say who it is.
pub(crate) async fn depart(portal: &Portal, sso: &SingleSignOn, next: &str) -> Result<Option<Departure>, WorkflowError> {
    let now = portal.now();
    let Some(known) = sso.known(now, None).await else {
        audit(portal, Actor::Portal, AuditAction::SignInSsoUnreachable).await?;
        return Ok(None);
    };
    let begun = Begun {
        at: now,
        state: word()?,
        nonce: word()?,
        verifier: Zeroizing::new(word()?),
        next: next.to_owned(),
    };
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(begun.verifier.as_bytes()));
    let mut address = known.authorize;
    address.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", &sso.settings.client_id),
        ("redirect_uri", &sso.back),
        ("scope", &sso.settings.scopes.join(" ")),
        ("state", &begun.state),
        ("nonce", &begun.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        // A provider that has seen the person longer ago asks again, and says when it has.
        ("max_age", &Session::FRESH.whole_seconds().to_string()),
    ]);
    Ok(Some(Departure {
        cookie: sso.keep(begun)?,
        address: address.into(),
    }))
}

/// What a browser brings back.
pub(crate) struct Return<'a> {
    pub cookie: &'a str,
    pub code: &'a str,
    pub state: &'a str,
    /// RFC 9207; checked where it is there.
    pub issuer: Option<&'a str>,
}

pub(crate) async fn arrive(portal: &Portal, sso: &SingleSignOn, back: Return<'_>, program: &str) -> Result<Arrival, WorkflowError> {
    match admitted(portal, sso, back).await? {
        Ok((agent, next, proven)) => {
            let now = portal.now();
            if agent.factors.any() && !sso.settings.trust_second_factor {
                let cookie = open(portal, &agent, AuthMethod::PasswordVerified, None, now, program).await?;
                return Ok(Arrival::SecondFactorWanted { cookie, next });
            }
            let cookie = open(portal, &agent, AuthMethod::SingleSignOn, proven, now, program).await?;
            Ok(Arrival::Welcome { cookie, next })
        }
        Err(why) => {
            let refused = AuditEvent::new(portal.now(), Actor::Portal, AuditAction::SignInSsoRefused).with("code", why);
            portal.audit.append(refused).await?;
            Ok(Arrival::Refused)
        }
    }
}

/// Who, where to, and when they last proved to the provider that it is them: a session that the provider remembered proves nothing about now.
type Admitted = Result<(Agent, String, Option<OffsetDateTime>), &'static str>;

async fn admitted(portal: &Portal, sso: &SingleSignOn, back: Return<'_>) -> Result<Admitted, WorkflowError> {
    let now = portal.now();
    let Some(begun) = sso.take(now, back.cookie) else {
        return Ok(Err("not_begun"));
    };
    if !bool::from(begun.state.as_bytes().ct_eq(back.state.as_bytes())) {
        return Ok(Err("state"));
    }
    if back.issuer.is_some_and(|issuer| issuer != sso.settings.issuer) {
        return Ok(Err("issuer"));
    }
    let Some(known) = sso.known(now, None).await else {
        return Ok(Err("unreachable"));
    };
    let Some(token) = sso.redeem(&known, back.code, &begun.verifier).await else {
        return Ok(Err("code"));
    };
    let set = match token::key_of(&token) {
        Some(kid) => sso.known(now, Some(&kid)).await.map(|k| k.set),
        None => Some(known.set),
    };
    let expected = token::Expected {
        issuer: &sso.settings.issuer,
        audience: &sso.settings.client_id,
        nonce: &begun.nonce,
        now,
    };
    let claims = match token::verify(&token, &set.unwrap_or(jsonwebtoken::jwk::JwkSet { keys: Vec::new() }), &expected) {
        Ok(claims) => claims,
        Err(why) => return Ok(Err(why)),
    };
    let proven = claims["auth_time"]
        .as_i64()
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let proven = proven.map(|at| at.min(now));
    Ok(account_of(portal, sso, &claims).await?.map(|agent| (agent, begun.next, proven)))
}

/// The account of a verified identity: found by its e-mail address, held to its subject, with the role that is mapped.
async fn account_of(portal: &Portal, sso: &SingleSignOn, claims: &Value) -> Result<Result<Agent, &'static str>, WorkflowError> {
    let (Some(email), Some(subject)) = (claims["email"].as_str(), claims["sub"].as_str()) else {
        return Ok(Err("claims"));
    };
    if claims["email_verified"] != true {
        return Ok(Err("email_not_verified"));
    }
    let role = sso.role(claims);
    if role.is_none() && !sso.settings.roles.is_empty() {
        return Ok(Err("no_role"));
    }
    let identity = format!("{} {subject}", sso.settings.issuer);
    let address = super::normal_email(email);
    let found = match portal.directory.agent_by_email(&address).await {
        // Never made anew in its place: an admin has to look first.
        Err(StorageError::Altered(row)) => {
            seal::report(portal, row).await;
            return Ok(Err("no_account"));
        }
        found => found?,
    };
    let agent = match (found, role) {
        (Some(agent), _) if agent.disabled_at.is_some() => return Ok(Err("disabled")),
        (Some(agent), _) => agent,
        (None, Some(role)) if sso.settings.create => {
            if account::was_deleted(portal, &address, &identity).await? {
                return Ok(Err("deleted"));
            }
            let name = claims["name"].as_str().filter(|n| !n.trim().is_empty()).unwrap_or(email);
            let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
            account::add_agent_without_password(portal, email, &name, role, Actor::Portal).await?
        }
        (None, _) => return Ok(Err("no_account")),
    };
    if agent.subject.as_deref().is_some_and(|known| known != identity) {
        return Ok(Err("other_identity"));
    }
    if agent.subject.is_none() {
        let bound = event(portal, Actor::Agent(agent.id), AuditAction::AgentIdentityBound, &agent);
        let change = Change::BindSubject(identity);
        if portal.directory.alter_agent(agent.id, change, bound).await?.is_none() {
            return Ok(Err("other_identity"));
        }
    }
    if let Some(role) = role.filter(|r| *r != agent.role) {
        match account::change_agent(portal, &agent, role, agent.teams.clone(), Actor::Portal).await {
            Err(WorkflowError::LastAdmin) => {
                tracing::warn!(agent = %agent.id, "single sign-on would leave no admin; the role stays as it is")
            }
            other => other?,
        }
    }
    Ok(portal.directory.agent(agent.id).await?.ok_or("no_account"))
}
