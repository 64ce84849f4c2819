//! Who may use the staff listener. Permission stands in a handler's signature: [`ApiCaller`] for machines, [`SignedIn`] for people, [`Csrf`] for every form.
//! A handler without one of them is open to everybody, and the tests list those by name.
//!
//! | permission | API key with scope | agent | manual-handler | admin | auditor |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Own`]: own account | – | ✓ | ✓ | ✓ | ✓ |
//! | [`Anyone`]: the first page | – | ✓ | ✓ | ✓ | ✓ |
//! | [`Read`]: see requests, ask providers what is missing | read, requests, admin | ✓ | ✓ | ✓ | |
//! | [`Requests`]: issue, extend, reissue, revoke, retry, purge | requests, admin | ✓ | ✓ | ✓ | |
//! | [`Manual`]: say that a by-hand provider has it | requests, admin | | ✓ | ✓ | |
//! | [`ManualDownload`]: download a part for a by-hand provider | – | | ✓ | | |
//! | [`Audit`]: read and export the log | audit, admin | | | ✓ | ✓ |
//! | [`Admin`]: agents, keys, vault, clock | admin | | | ✓ | |
//!
//! Where the address names a request, these same types look whose team it is of: somebody else's request is not there, on no route that will ever be written.
//! [`RecentlyVerified`] is the gate before what must not happen in an unattended browser: a proof within the last ten minutes. Where `require_second_factor` is set,
//! a session without one leads to the account's own pages and nowhere else.
//!
//! The API knows no cookie and the console no bearer secret, so neither can be used to ride on the other.

pub(crate) mod api;
pub(crate) mod console;
pub(crate) mod link_message;
pub(crate) mod view;

use std::marker::PhantomData;

use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, LOCATION};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures_util::future::LocalBoxFuture;
use zeroize::Zeroizing;

use crate::domain::agent::{Actor, Agent, ApiKey, AuthMethod, Role, Scope, Session, Team};
use crate::domain::audit::AuditAction;
use crate::domain::id::{ApiKeyId, RequestId};
use crate::workflow::WorkflowError;
use crate::workflow::sign_in::{self, Live};

use super::error::Problem;
use super::{AppState, ServerSettings, guard};

/// What an API key must hold.
pub(crate) trait InScope: 'static {
    const SCOPE: Scope;
}

/// Which roles may do it in the console.
pub(crate) trait ForRoles: 'static {
    const ROLES: &'static [Role];
    /// Whether somebody gets there who has yet to set up a second factor.
    const UNFINISHED: bool = false;
}

/// One's own account; also before a demanded second factor is set up.
pub(crate) struct Own;

impl ForRoles for Own {
    const ROLES: &'static [Role] = &Role::ALL;
    const UNFINISHED: bool = true;
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: [$($role:ident)*] $(, $scope:ident)?;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;
            impl ForRoles for $name {
                const ROLES: &'static [Role] = &[$(Role::$role),*];
            }
            $(impl InScope for $name {
                const SCOPE: Scope = Scope::$scope;
            })?
        )*
    };
}

permissions! {
    /// A whole session, whatever its role.
    Anyone: [Agent ManualHandler Admin Auditor];
    /// Looking at requests.
    Read: [Agent ManualHandler Admin], Read;
    /// Issuing and acting.
    Requests: [Agent ManualHandler Admin], Requests;
    /// Answering for a by-hand provider.
    Manual: [ManualHandler Admin];
    /// Taking a part out by hand: nobody who could have given themselves the right without a trace, so not admins.
    ManualDownload: [ManualHandler];
    /// The audit log.
    Audit: [Admin Auditor], Audit;
    /// Accounts, keys, the vault and the clock.
    Admin: [Admin], Admin;
}

/// Whether a role has a permission; what pages show depends on it.
pub(crate) fn may<P: ForRoles>(role: Role) -> bool {
    P::ROLES.contains(&role)
}

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

    pub(crate) fn key_id(&self) -> ApiKeyId {
        self.key.id
    }

    /// What it signed in with; only its hash is stored.
    pub(crate) fn secret(&self) -> Zeroizing<String> {
        self.secret.clone()
    }

    /// Whose idempotency keys these are.
    pub(crate) fn name(&self) -> String {
        self.key.id.to_string()
    }

    async fn find(state: &AppState, secret: Option<Zeroizing<String>>, about: Option<RequestId>) -> Result<Self, Problem> {
        let secret = secret.ok_or_else(|| Problem::unauthorized("Send an API key as \"Authorization: Bearer ndk_…\"."))?;
        // One answer for an unknown, an expired and a revoked key.
        let Some(key) = sign_in::api_key(&state.portal, &secret).await? else {
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

impl<S: InScope> FromRequest for ApiCaller<S> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (state, secret, about) = (state(request), bearer(request), about(request));
        Box::pin(async move { Self::find(&*state?, secret, about?).await })
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
    match state.portal.requests.request(id).await? {
        Some(found) if !sees(found.team.as_ref()) => {
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
        let Some(Live { agent, session, key }) = sign_in::session(&state.portal, &cookie).await? else {
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
        if state.portal.policy.require_second_factor && single && !agent.factors.any() && !R::UNFINISHED {
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

/// What the extractors read off a request before they wait for anything.
struct Asked {
    cookie: Option<Zeroizing<String>>,
    back: Option<String>,
    about: Result<Option<RequestId>, Problem>,
}

impl Asked {
    fn of(request: &HttpRequest, state: &AppState) -> Self {
        Self {
            cookie: session_cookie(request, &state.settings),
            // Only a page that was asked for is worth coming back to; a form's target is not.
            back: (request.method() == actix_web::http::Method::GET).then(|| request.path().to_owned()),
            about: about(request),
        }
    }
}

/// Somebody who has shown the best proof they have within the last ten minutes.
pub(crate) struct RecentlyVerified<R>(pub SignedIn<R>);

impl<R: ForRoles> FromRequest for RecentlyVerified<R> {
    type Error = AuthRedirect;
    type Future = LocalBoxFuture<'static, Result<Self, AuthRedirect>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let signed_in = SignedIn::<R>::from_request(request, payload);
        let state = state(request);
        let back = (request.method() == actix_web::http::Method::GET).then(|| request.path().to_owned());
        Box::pin(async move {
            let who = signed_in.await?;
            if who.session.fresh(state?.portal.now()) {
                Ok(Self(who))
            } else {
                Err(AuthRedirect::Confirm(back))
            }
        })
    }
}

impl<R: ForRoles> FromRequest for SignedIn<R> {
    type Error = AuthRedirect;
    type Future = LocalBoxFuture<'static, Result<Self, AuthRedirect>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let asked = state(request).map(|state| (Asked::of(request, &state), state));
        Box::pin(async move {
            let (asked, state) = asked?;
            Self::find(&state, asked).await
        })
    }
}

/// Why the console does not let somebody through.
#[derive(Debug)]
pub(crate) enum AuthRedirect {
    /// Nobody is signed in: to the sign-in page, and back to this path afterwards.
    SignIn(Option<String>),
    /// A fresh proof is wanted: to the page that takes it, and back to this path.
    Confirm(Option<String>),
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
            Self::SetUp => to("/account", None),
            Self::Shown(problem) => console::frame::failure(problem),
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
pub(crate) struct Csrf;

impl FromRequest for Csrf {
    type Error = AuthRedirect;
    type Future = LocalBoxFuture<'static, Result<Self, AuthRedirect>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (state, request) = (state(request), request.clone());
        Box::pin(async move {
            guard::require_same_origin(&request, &*state?, true).await?;
            Ok(Self)
        })
    }
}

pub(crate) fn session_cookie(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("s"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

/// The cookie of a session just opened. Lax, so that a link in a ticket opens the console signed in; no GET changes anything.
pub(crate) fn new_session_cookie(settings: &ServerSettings, value: &str) -> Cookie<'static> {
    let age = CookieAge::seconds(Session::ABSOLUTE.whole_seconds());
    base(settings, value).max_age(age).finish()
}

pub(crate) fn half_cookie(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("h"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

/// The cookie of half a session: of use for one page, and for minutes.
pub(crate) fn pending_cookie(settings: &ServerSettings, value: &str) -> Cookie<'static> {
    named(settings, "h", value)
        .max_age(CookieAge::seconds(Session::HALF.whole_seconds()))
        .finish()
}

pub(crate) fn half_farewell(settings: &ServerSettings) -> Cookie<'static> {
    named(settings, "h", "").max_age(CookieAge::ZERO).finish()
}

/// Binds the way back from the company's sign-in to the browser that left.
pub(crate) fn sso_state_cookie(settings: &ServerSettings, value: &str) -> Cookie<'static> {
    named(settings, "o", value).max_age(CookieAge::minutes(10)).finish()
}

pub(crate) fn sso_state_cookie_value(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("o"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

pub(crate) fn sso_state_farewell(settings: &ServerSettings) -> Cookie<'static> {
    named(settings, "o", "").max_age(CookieAge::ZERO).finish()
}

/// Says that this browser has signed in before. Opens nothing.
pub(crate) fn trusted_browser_cookie(settings: &ServerSettings, mark: &str) -> Cookie<'static> {
    named(settings, "k", mark).max_age(CookieAge::days(180)).finish()
}

pub(crate) fn known_cookie(request: &HttpRequest, settings: &ServerSettings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("k"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

/// Takes the cookie away.
pub(crate) fn farewell(settings: &ServerSettings) -> Cookie<'static> {
    base(settings, "").max_age(CookieAge::ZERO).finish()
}

fn base(settings: &ServerSettings, value: &str) -> actix_web::cookie::CookieBuilder<'static> {
    named(settings, "s", value)
}

fn named(settings: &ServerSettings, name: &str, value: &str) -> actix_web::cookie::CookieBuilder<'static> {
    Cookie::build(settings.cookie(name), value.to_owned())
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(settings.secure)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn roles_hold_exactly_what_the_table_says() {
        let table: [(Role, [bool; 8]); 4] = [
            (Role::Agent, [true, true, true, true, false, false, false, false]),
            (Role::ManualHandler, [true, true, true, true, true, true, false, false]),
            (Role::Admin, [true, true, true, true, true, false, true, true]),
            (Role::Auditor, [true, true, false, false, false, false, true, false]),
        ];
        for (role, expected) in table {
            let held = [
                may::<Own>(role),
                may::<Anyone>(role),
                may::<Read>(role),
                may::<Requests>(role),
                may::<Manual>(role),
                may::<ManualDownload>(role),
                may::<Audit>(role),
                may::<Admin>(role),
            ];
            assert_eq!(held, expected, "{role:?}");
        }
    }

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

    #[test]
    fn cookies_are_for_this_host_and_no_script() {
        let secure = ServerSettings::of("https://drop.example.com", "127.0.0.1:1".parse().unwrap());
        assert_eq!(
            new_session_cookie(&secure, "x").to_string(),
            "__Host-s=x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=43200"
        );
        let local = ServerSettings::of("http://localhost:8080", "127.0.0.1:1".parse().unwrap());
        assert_eq!(
            farewell(&local).to_string(),
            "nightdrop-s=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }
}
