//! Who asks: [`ApiCaller`] for machines, [`SignedIn`] for people, [`Csrf`] for every form. Each looks also whose team the request in the address is of.
//!
//! [`RecentlyVerified`] is the gate before what must not happen in an unattended browser: a proof within the last ten minutes. Where `require_second_factor` is set,
//! a session without one leads to the account's own pages and nowhere else; one that a password of an admin's choice opened leads to the page that sets another.

use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, LOCATION};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures_util::future::LocalBoxFuture;
use zeroize::Zeroizing;

use crate::domain::agent::{Actor, Agent, ApiKey, AuthMethod, Role, Session, Team};
use crate::domain::audit::AuditAction;
use crate::domain::id::{AgentId, ApiKeyId, RequestId};
use crate::workflow::WorkflowError;
use crate::workflow::issue::ClientKey;
use crate::workflow::query::requests::team_of;
use crate::workflow::sign_in::{self, Live};
use crate::workflow::warning::{Limited, Refused, Warning};

use super::console::frame;
use super::cookies::{known_cookie, session_cookie};
use super::permission::{ForRoles, InScope, Unfinished, may};
use crate::http::access_log;
use crate::http::context::AppState;
use crate::http::error::Problem;
use crate::http::extract::Take;
use crate::http::extract::form::Form;
use crate::http::extract::json::IdempotencyKey;
use crate::http::guard;
use crate::http::kept::KeptForm;

/// Who may ask, as a type.
pub(crate) trait LetIn: 'static {
    /// What a handler gets of them.
    type Who;
    type Refused: From<Problem> + Into<actix_web::Error>;

    async fn let_in(request: &HttpRequest) -> Result<Self::Who, Self::Refused>;

    /// What else is done for whoever was refused. `keeps`: which fields of a form are kept for them.
    async fn refused(refused: Self::Refused, _: &HttpRequest, _: &mut Payload, _keeps: fn(&str) -> bool) -> Self::Refused {
        refused
    }
}

/// A handler's argument: somebody who was let in, with what was read off the request afterwards.
pub(crate) struct After<G: LetIn, T> {
    pub who: G::Who,
    pub with: T,
}

impl<G: LetIn, T: Take + 'static> FromRequest for After<G, T> {
    type Error = G::Refused;
    type Future = LocalBoxFuture<'static, Result<Self, G::Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let who = match G::let_in(&request).await {
                Ok(who) => who,
                Err(refused) => return Err(G::refused(refused, &request, &mut payload, T::keeps).await),
            };
            Ok(Self {
                who,
                with: T::take(&request, &mut payload).await?,
            })
        })
    }
}

/// A page.
pub(crate) type Get<P, T = ()> = After<SignedIn<P>, T>;
/// A form of ours.
pub(crate) type Post<P, T = ()> = After<Csrf<SignedIn<P>>, T>;
/// A page that an unattended browser must not show.
pub(crate) type FreshGet<P, T = ()> = After<RecentlyVerified<P>, T>;
/// A form that an unattended browser must not send.
pub(crate) type FreshPost<P, T = ()> = After<Csrf<RecentlyVerified<P>>, T>;
/// A form of somebody who has no session yet.
pub(crate) type OpenPost<T = ()> = After<Csrf<Stranger>, T>;
/// An operation of the API.
pub(crate) type Call<S, T = ()> = After<ApiCaller<S>, T>;

/// A machine with a live API key of the scope `S`. Reads `Authorization: Bearer ndk_…` and nothing else.
pub(crate) struct ApiCaller<S> {
    key: ApiKey,
    secret: Zeroizing<String>,
    scope: PhantomData<S>,
}

impl<S: InScope> ApiCaller<S> {
    pub(crate) fn actor(&self) -> Actor {
        Actor::ApiKey(self.key.id)
    }

    /// The teams that a list is cut down to.
    pub(crate) fn teams(&self) -> Option<Vec<Team>> {
        self.key.team.clone().map(|team| vec![team])
    }

    /// The agent who made the key: whom it means by "me".
    pub(crate) fn made_by(&self) -> Option<AgentId> {
        self.key.made_by
    }

    pub(crate) fn key_id(&self) -> ApiKeyId {
        self.key.id
    }

    /// The key under which an operation has its effect once, for this caller.
    pub(crate) fn once(&self, key: Option<IdempotencyKey>) -> Option<ClientKey> {
        key.map(|IdempotencyKey { key, digest }| ClientKey {
            caller: self.key.id.to_string(),
            key,
            body: digest,
            // What it signed in with; only its hash is stored.
            secret: self.secret.clone(),
        })
    }

    async fn find(state: &AppState, request: &HttpRequest, about: Option<RequestId>) -> Result<Self, Problem> {
        let secret = bearer(request).ok_or_else(|| Problem::unauthorized("Send an API key as \"Authorization: Bearer ndk_…\"."))?;
        // One answer for an unknown, an expired and a revoked key.
        let Some(key) = sign_in::api_key(&state.portal, &secret).await? else {
            access_log::refused(Refused::ApiKey, request, state);
            refused_key(state, &secret).await?;
            return Err(Problem::unauthorized("This API key is not valid here."));
        };
        let actor = Actor::ApiKey(key.id);
        if !key.may(S::SCOPE) {
            let detail = [("what", "scope"), ("needed", S::SCOPE.as_str())];
            state.refused(actor, AuditAction::AccessRefused, &detail).await;
            return Err(Problem::forbidden(format!(
                "This API key lacks the scope \"{}\".",
                S::SCOPE.as_str()
            )));
        }
        if let Err(wait) = state.keys.enter(key.id) {
            Warning::Limited(Limited::ApiKey).write();
            state.refused(actor, AuditAction::ApiKeyThrottled, &[]).await;
            return Err(Problem::too_many("This API key asks too often.").after(wait));
        }
        within(state, about, actor, |team| key.sees(team)).await?;
        Ok(Self {
            key,
            secret,
            scope: PhantomData,
        })
    }
}

impl<S: InScope> LetIn for ApiCaller<S> {
    type Who = Self;
    type Refused = Problem;

    async fn let_in(request: &HttpRequest) -> Result<Self, Problem> {
        Self::find(&*state(request)?, request, about(request)?).await
    }
}

/// Tells the log of a key that opens nothing: which one, where it was one of ours.
async fn refused_key(state: &AppState, secret: &str) -> Result<(), Problem> {
    let was = sign_in::account::ended_key(&state.portal, secret).await?;
    let (key, why) = match &was {
        Some(key) => (key.id.to_string(), if key.revoked_at.is_some() { "revoked" } else { "expired" }),
        None => (String::new(), "unknown"),
    };
    let detail = [("why", why), ("key", key.as_str())];
    let known = if was.is_some() { &detail[..] } else { &detail[..1] };
    state.refused(Actor::Portal, AuditAction::ApiKeyRefused, known).await;
    Ok(())
}

/// The one bearer secret; a doubled header is nobody's.
fn bearer(request: &HttpRequest) -> Option<Zeroizing<String>> {
    let mut lines = request.headers().get_all(AUTHORIZATION);
    let line = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
    let (scheme, secret) = line.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Zeroizing::new(secret.trim().to_owned()))
}

fn state(request: &HttpRequest) -> Result<web::Data<AppState>, Problem> {
    request
        .app_data::<web::Data<AppState>>()
        .cloned()
        .ok_or_else(|| Problem::internal("The listener was opened without its state."))
}

/// The request that the address names. What still has an escape in it would be decoded once more for its handler, and be another one there: no id has any.
fn about(request: &HttpRequest) -> Result<Option<RequestId>, Problem> {
    match request.match_info().get("id") {
        Some(id) if id.contains('%') => Err(WorkflowError::NotFound.into()),
        id => Ok(id.and_then(RequestId::parse)),
    }
}

/// A request of another team is not there; that somebody asked for it is written down.
async fn within(state: &AppState, about: Option<RequestId>, by: Actor, sees: impl Fn(Option<&Team>) -> bool) -> Result<(), Problem> {
    let Some(id) = about else { return Ok(()) };
    match team_of(&state.portal, id).await? {
        Some(team) if !sees(team.as_ref()) => {
            state.refused(by, AuditAction::AccessRefused, &[("what", "team")]).await;
            Err(WorkflowError::NotFound.into())
        }
        _ => Ok(()),
    }
}

/// A person whose session lives and whose role has the permission `R`.
pub(crate) struct SignedIn<R> {
    pub agent: Agent,
    pub session: Session,
    key: [u8; 32],
    role: PhantomData<R>,
}

impl<R: ForRoles> SignedIn<R> {
    pub(crate) fn actor(&self) -> Actor {
        Actor::Agent(self.agent.id)
    }

    pub(crate) fn may<P: ForRoles>(&self) -> bool {
        may::<P>(self.agent.role)
    }

    /// The teams that a list is cut down to; an empty list means what belongs to none.
    pub(crate) fn teams(&self) -> Option<Vec<Team>> {
        (self.agent.role != Role::Admin).then(|| self.agent.teams.clone())
    }

    pub(crate) fn live(&self) -> Live {
        Live {
            agent: self.agent.clone(),
            session: self.session.clone(),
            key: self.key,
        }
    }

    async fn find(state: &AppState, asked: Asked) -> Result<Self, AuthRedirect> {
        let Some(cookie) = asked.cookie else {
            return Err(AuthRedirect::SignIn(asked.back));
        };
        let live = match asked.by_itself {
            true => sign_in::unattended(&state.portal, &cookie).await?,
            false => sign_in::session(&state.portal, &cookie).await?,
        };
        let Some(Live { agent, session, key }) = live else {
            return Err(AuthRedirect::SignIn(asked.back));
        };
        // A session from before there was a second factor has shown none: what it may do now, it has to earn again.
        let trusted = state.sso.as_ref().is_some_and(|sso| sso.trusts_second_factor());
        let unproven = session.how == AuthMethod::Password || (session.how == AuthMethod::SingleSignOn && !trusted);
        if agent.factors.any() && unproven {
            return Err(AuthRedirect::SignIn(asked.back));
        }
        let actor = Actor::Agent(agent.id);
        if !may::<R>(agent.role) {
            let detail = [("what", "role"), ("has", agent.role.as_str())];
            state.refused(actor, AuditAction::AccessRefused, &detail).await;
            return Err(Problem::forbidden("Your role does not include this. Ask an admin if you need it.").into());
        }
        let single = session.how == AuthMethod::Password || session.how == AuthMethod::SingleSignOn;
        if agent.must_set_password(&session) && R::UNFINISHED != Unfinished::OwnPassword {
            return Err(AuthRedirect::OwnPassword);
        }
        if state.portal.policy.require_second_factor && single && !agent.factors.any() && R::UNFINISHED == Unfinished::Nobody {
            return Err(AuthRedirect::SetUp);
        }
        within(state, asked.about?, actor, |team| agent.sees(team)).await?;
        Ok(Self {
            agent,
            session,
            key,
            role: PhantomData,
        })
    }
}

/// The header of a page's script that looks whether something has changed.
const LOOKS_AGAIN: &str = "nightdrop-look";

/// What the extractors read off a request before they wait for anything.
struct Asked {
    cookie: Option<Zeroizing<String>>,
    back: Option<String>,
    about: Result<Option<RequestId>, Problem>,
    /// A script asks whether the page has changed.
    by_itself: bool,
}

impl Asked {
    fn of(request: &HttpRequest, state: &AppState) -> Self {
        Self {
            cookie: session_cookie(request, &state.settings),
            back: back(request),
            about: about(request),
            by_itself: request.headers().contains_key(LOOKS_AGAIN),
        }
    }
}

impl<R: ForRoles> LetIn for SignedIn<R> {
    type Who = Self;
    type Refused = AuthRedirect;

    async fn let_in(request: &HttpRequest) -> Result<Self, AuthRedirect> {
        let state = state(request)?;
        Self::find(&state, Asked::of(request, &state)).await
    }
}

/// Somebody who has shown the best proof they have within the last ten minutes.
pub(crate) struct RecentlyVerified<R>(PhantomData<R>);

impl<R: ForRoles> LetIn for RecentlyVerified<R> {
    type Who = SignedIn<R>;
    type Refused = AuthRedirect;

    async fn let_in(request: &HttpRequest) -> Result<SignedIn<R>, AuthRedirect> {
        let who = SignedIn::<R>::let_in(request).await?;
        match who.session.fresh(state(request)?.portal.now()) {
            true => Ok(who),
            false => Err(AuthRedirect::Confirm(back(request))),
        }
    }
}

/// Only a page that was asked for is come back to; a form is kept, and shown again ([`Csrf`]).
fn back(request: &HttpRequest) -> Option<String> {
    (request.method() == actix_web::http::Method::GET).then(|| request.path().to_owned())
}

/// Why the console does not let somebody through.
#[derive(Debug)]
pub(crate) enum AuthRedirect {
    /// Nobody is signed in: to the sign-in page, and back to this path afterwards.
    SignIn(Option<String>),
    /// A fresh proof is wanted: to the page that takes it, and back to this path.
    Confirm(Option<String>),
    /// A password that nobody else knows must be set first.
    OwnPassword,
    /// A second factor must be set up first.
    SetUp,
    Shown(Problem),
}

impl From<Problem> for AuthRedirect {
    fn from(problem: Problem) -> Self {
        Self::Shown(problem)
    }
}

impl From<WorkflowError> for AuthRedirect {
    fn from(error: WorkflowError) -> Self {
        Self::Shown(error.into())
    }
}

impl From<crate::storage::StorageError> for AuthRedirect {
    fn from(error: crate::storage::StorageError) -> Self {
        Self::Shown(error.into())
    }
}

impl std::fmt::Display for AuthRedirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SignIn(_) => f.write_str("sign in first"),
            Self::Confirm(_) => f.write_str("confirm that it is you first"),
            Self::OwnPassword => f.write_str("set your own password first"),
            Self::SetUp => f.write_str("set up a second factor first"),
            Self::Shown(problem) => problem.fmt(f),
        }
    }
}

impl ResponseError for AuthRedirect {
    fn error_response(&self) -> HttpResponse {
        match self {
            Self::SignIn(back) => to("/sign-in", back.as_deref()),
            Self::Confirm(back) => to("/account/confirm", back.as_deref()),
            Self::OwnPassword => to("/account/first-password", None),
            Self::SetUp => to("/account", None),
            Self::Shown(problem) => frame::failure(problem),
        }
    }
}

/// To a page that leads back.
fn to(page: &str, back: Option<&str>) -> HttpResponse {
    let path = match back {
        None | Some("/") => page.to_owned(),
        Some(back) => format!("{page}?next={}", back.replace('%', "%25").replace('&', "%26").replace('+', "%2B")),
    };
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// The request was started by our own page. `Sec-Fetch-Site` decides; a browser without it must send our own `Origin`; the session cookie is `SameSite=Lax` besides,
/// and no GET changes anything. Three independent walls, which is why forms carry no token of their own.
pub(crate) struct Csrf<G>(PhantomData<G>);

impl<G: LetIn<Refused = AuthRedirect>> LetIn for Csrf<G> {
    type Who = G::Who;
    type Refused = AuthRedirect;

    async fn let_in(request: &HttpRequest) -> Result<G::Who, AuthRedirect> {
        guard::require_same_origin(request, &*state(request)?, true).await?;
        G::let_in(request).await
    }

    /// A form that came too late is kept for its sender, who finds it again after signing in. It is read although nobody is signed in: it came from our own page, and
    /// is no longer than any other form.
    async fn refused(refused: AuthRedirect, request: &HttpRequest, payload: &mut Payload, keeps: fn(&str) -> bool) -> AuthRedirect {
        match refused {
            AuthRedirect::SignIn(None) => AuthRedirect::SignIn(keep_form(request, payload, keeps).await),
            AuthRedirect::Confirm(None) => AuthRedirect::Confirm(keep_form(request, payload, keeps).await),
            other => other,
        }
    }
}

/// Where the form is shown again; `None` for a browser that nobody has signed in at.
async fn keep_form(request: &HttpRequest, payload: &mut Payload, keeps: fn(&str) -> bool) -> Option<String> {
    let state = state(request).ok()?;
    let mark = known_cookie(request, &state.settings)?.to_string();
    let (path, pairs) = Form::take(request, payload).await.ok()?.kept(keeps);
    let form = KeptForm { path, pairs, mark };
    let id = state.kept.keep_form(&state.portal.secrets, &form, state.portal.now()).ok()?;
    Some(format!("/typed?form={id}"))
}

/// Whoever comes: for the pages before a session.
pub(crate) struct Stranger;

impl LetIn for Stranger {
    type Who = Self;
    type Refused = AuthRedirect;

    async fn let_in(_: &HttpRequest) -> Result<Self, AuthRedirect> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn one_bearer_secret_or_none() {
        let of = |lines: &[&str]| {
            let mut request = TestRequest::default();
            for line in lines {
                request = request.append_header((AUTHORIZATION, *line));
            }
            bearer(&request.to_http_request()).map(|s| s.to_string())
        };
        assert_eq!(of(&["Bearer ndk_x"]).as_deref(), Some("ndk_x"));
        assert_eq!(of(&["bearer ndk_x"]).as_deref(), Some("ndk_x"));
        for refused in [&[][..], &["Basic ndk_x"], &["ndk_x"], &["Bearer ndk_x", "Bearer ndk_y"]] {
            assert_eq!(of(refused), None, "{refused:?}");
        }
    }
}
