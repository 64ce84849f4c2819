//! Who may enter by the staff door. Permission stands in a handler's signature: [`ApiCaller`] for machines, [`SignedIn`] for people, [`Csrf`] for every form.
//! A handler without one of them is open to everybody, and the tests list those by name.
//!
//! | permission | API key with scope | agent | manual-handler | admin | auditor |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Anyone`]: own session only | – | ✓ | ✓ | ✓ | ✓ |
//! | [`Read`]: see requests, ask providers what is missing | read, requests, admin | ✓ | ✓ | ✓ | |
//! | [`Requests`]: issue, extend, reissue, revoke, retry, purge | requests, admin | ✓ | ✓ | ✓ | |
//! | [`Manual`]: say that a by-hand provider has it | requests, admin | | ✓ | ✓ | |
//! | [`Audit`]: read and export the log | audit, admin | | | ✓ | ✓ |
//! | [`Admin`]: agents, keys, vault, clock | admin | | | ✓ | |
//!
//! The API knows no cookie and the console no bearer secret, so neither can be used to ride on the other.

use std::future::{Ready, ready};
use std::marker::PhantomData;

use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, LOCATION};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures_util::future::LocalBoxFuture;
use zeroize::Zeroizing;

use crate::domain::agent::{Actor, Agent, ApiKey, Role, Scope, Session};
use crate::domain::id::ApiKeyId;
use crate::workflow::{WorkflowError, sign_in};

use super::error::Problem;
use super::{Settings, State, guard};

/// What an API key must hold.
pub trait InScope: 'static {
    const SCOPE: Scope;
}

/// Which roles may do it in the console.
pub trait ForRoles: 'static {
    const ROLES: &'static [Role];
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: [$($role:ident)*] $(, $scope:ident)?;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;
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
    /// A session, whatever its role.
    Anyone: [Agent ManualHandler Admin Auditor];
    /// Looking at requests.
    Read: [Agent ManualHandler Admin], Read;
    /// Issuing and acting.
    Requests: [Agent ManualHandler Admin], Requests;
    /// Answering for a by-hand provider.
    Manual: [ManualHandler Admin];
    /// The audit log.
    Audit: [Admin Auditor], Audit;
    /// Accounts, keys, the vault and the clock.
    Admin: [Admin], Admin;
}

/// Whether a role has a permission; what pages show depends on it.
pub fn may<P: ForRoles>(role: Role) -> bool {
    P::ROLES.contains(&role)
}

/// A machine with a live API key of the scope `S`. Reads `Authorization: Bearer ndk_…` and nothing else.
pub struct ApiCaller<S> {
    key: ApiKey,
    scope: PhantomData<S>,
}

impl<S: InScope> ApiCaller<S> {
    pub fn actor(&self) -> Actor {
        Actor::ApiKey(self.key.id)
    }

    pub fn key_id(&self) -> ApiKeyId {
        self.key.id
    }

    /// Whose idempotency keys these are.
    pub fn name(&self) -> String {
        self.key.id.to_string()
    }

    async fn find(state: &State, secret: Option<Zeroizing<String>>) -> Result<Self, Problem> {
        let secret = secret.ok_or_else(|| Problem::unauthorized("Send an API key as \"Authorization: Bearer ndk_…\"."))?;
        // One answer for an unknown, an expired and a revoked key.
        let key = sign_in::api_key(&state.portal, &secret)
            .await?
            .ok_or_else(|| Problem::unauthorized("This API key is not valid here."))?;
        if !key.may(S::SCOPE) {
            return Err(Problem::forbidden(format!(
                "This API key lacks the scope \"{}\".",
                S::SCOPE.as_str()
            )));
        }
        Ok(Self { key, scope: PhantomData })
    }
}

impl<S: InScope> FromRequest for ApiCaller<S> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (state, secret) = (state(request), bearer(request));
        Box::pin(async move { Self::find(&*state?, secret).await })
    }
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

fn state(request: &HttpRequest) -> Result<web::Data<State>, Problem> {
    request
        .app_data::<web::Data<State>>()
        .cloned()
        .ok_or_else(|| Problem::internal("The door was opened without its state."))
}

/// A person whose session lives and whose role has the permission `R`.
pub struct SignedIn<R> {
    pub agent: Agent,
    role: PhantomData<R>,
}

impl<R: ForRoles> SignedIn<R> {
    pub fn actor(&self) -> Actor {
        Actor::Agent(self.agent.id)
    }

    pub fn may<P: ForRoles>(&self) -> bool {
        may::<P>(self.agent.role)
    }

    async fn find(state: &State, cookie: Option<Zeroizing<String>>, back: Option<String>) -> Result<Self, Turned> {
        let Some(cookie) = cookie else { return Err(Turned::SignIn(back)) };
        let Some(agent) = sign_in::session(&state.portal, &cookie).await? else {
            return Err(Turned::SignIn(back));
        };
        if !may::<R>(agent.role) {
            return Err(Problem::forbidden("Your role does not include this. Ask an admin if you need it.").into());
        }
        Ok(Self { agent, role: PhantomData })
    }
}

impl<R: ForRoles> FromRequest for SignedIn<R> {
    type Error = Turned;
    type Future = LocalBoxFuture<'static, Result<Self, Turned>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let state = state(request);
        let cookie = state.as_ref().ok().and_then(|s| session_cookie(request, &s.settings));
        // Only a page that was asked for is worth coming back to; a form's target is not.
        let back = (request.method() == actix_web::http::Method::GET).then(|| request.path().to_owned());
        Box::pin(async move { Self::find(&*state?, cookie, back).await })
    }
}

/// Why the console does not let somebody through.
#[derive(Debug)]
pub enum Turned {
    /// Nobody is signed in: to the sign-in page, and back to this path afterwards.
    SignIn(Option<String>),
    Shown(Problem),
}

impl From<Problem> for Turned {
    fn from(problem: Problem) -> Self {
        Self::Shown(problem)
    }
}

impl From<WorkflowError> for Turned {
    fn from(error: WorkflowError) -> Self {
        Self::Shown(error.into())
    }
}

impl From<crate::storage::StorageError> for Turned {
    fn from(error: crate::storage::StorageError) -> Self {
        Self::Shown(error.into())
    }
}

impl std::fmt::Display for Turned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SignIn(_) => f.write_str("sign in first"),
            Self::Shown(problem) => problem.fmt(f),
        }
    }
}

impl ResponseError for Turned {
    fn error_response(&self) -> HttpResponse {
        match self {
            Self::SignIn(back) => {
                let path = match back.as_deref() {
                    None | Some("/") => "/sign-in".to_owned(),
                    Some(path) => format!("/sign-in?next={}", path.replace('%', "%25").replace('&', "%26").replace('+', "%2B")),
                };
                HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
            }
            Self::Shown(problem) => super::pages::console::frame::failure(problem),
        }
    }
}

/// The request was started by our own page. `Sec-Fetch-Site` decides; a browser without it must send our own `Origin`; the session cookie is `SameSite=Lax` besides,
/// and no GET changes anything. Three independent walls, which is why forms carry no token of their own.
pub struct Csrf;

impl FromRequest for Csrf {
    type Error = Turned;
    type Future = Ready<Result<Self, Turned>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(guard::same_site(request, true).map(|()| Self).map_err(Turned::Shown))
    }
}

pub fn session_cookie(request: &HttpRequest, settings: &Settings) -> Option<Zeroizing<String>> {
    let cookie = request.cookie(&settings.cookie("s"))?;
    Some(Zeroizing::new(cookie.value().to_owned()))
}

/// The cookie of a session just opened. Lax, so that a link in a ticket opens the console signed in; no GET changes anything.
pub fn welcome(settings: &Settings, value: &str) -> Cookie<'static> {
    let age = CookieAge::seconds(Session::ABSOLUTE.whole_seconds());
    base(settings, value).max_age(age).finish()
}

/// Takes the cookie away.
pub fn farewell(settings: &Settings) -> Cookie<'static> {
    base(settings, "").max_age(CookieAge::ZERO).finish()
}

fn base(settings: &Settings, value: &str) -> actix_web::cookie::CookieBuilder<'static> {
    Cookie::build(settings.cookie("s"), value.to_owned())
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
        let table: [(Role, [bool; 6]); 4] = [
            (Role::Agent, [true, true, true, false, false, false]),
            (Role::ManualHandler, [true, true, true, true, false, false]),
            (Role::Admin, [true; 6]),
            (Role::Auditor, [true, false, false, false, true, false]),
        ];
        for (role, expected) in table {
            let held = [
                may::<Anyone>(role),
                may::<Read>(role),
                may::<Requests>(role),
                may::<Manual>(role),
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
        let secure = Settings::of("https://drop.example.com", "127.0.0.1:1".parse().unwrap());
        assert_eq!(
            welcome(&secure, "x").to_string(),
            "__Host-s=x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=43200"
        );
        let local = Settings::of("http://localhost:8080", "127.0.0.1:1".parse().unwrap());
        assert_eq!(
            farewell(&local).to_string(),
            "nightdrop-s=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }
}
