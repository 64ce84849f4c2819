//! The console at `/`: pages for people, rendered here, working without JavaScript. Every POST goes through [`Csrf`](super::staff::Csrf) and answers with a redirect,
//! except the three pages that show a secret once.
//!
//! An applicant's reference never stands in an address: searching for one is a POST.

pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod ask;
pub(crate) mod audit;
pub(crate) mod docs;
pub(crate) mod form;
pub(crate) mod manual_download;
pub(crate) mod messages;
pub(crate) mod outgoing;
pub(crate) mod requests;
pub(crate) mod session;
pub(crate) mod sso;
pub(crate) mod start;

use std::collections::BTreeMap;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use maud::Markup;

use super::error::Problem;
use super::pages::assets;
use super::staff::AuthRedirect;
use super::table::table;
use super::{AppState, pages};
use crate::storage::StorageError;

/// Every handler's answer.
pub(crate) type Page = Result<HttpResponse, AuthRedirect>;

table! { AuthRedirect;
    "/" { get: start::start }
    "/sign-in" { get: session::form, post: session::sign_in }
    "/sign-in/second" { get: session::second_form, post: session::second }
    "/sign-in/passkey" { post: session::passkey }
    "/sign-in/passkey/begin" { post: session::begin_passkey }
    "/sign-in/sso" { get: sso::depart }
    "/sign-in/sso/back" { get: sso::arrive }
    "/sign-out" { post: session::sign_out }
    "/account" { get: account::page, post: account::change_password }
    "/account/confirm" { get: account::confirm_form, post: account::confirm }
    "/account/confirm/begin" { post: account::begin_confirm }
    "/account/app" { get: account::app_form, post: account::enrol_app }
    "/account/app/remove" { post: account::remove_app }
    "/account/codes" { post: account::new_codes }
    "/account/passkeys" { get: account::passkey_form, post: account::add_passkey }
    "/account/passkeys/begin" { post: account::begin_passkey }
    "/account/passkeys/remove" { post: account::remove_passkey }
    "/account/sessions/end" { post: account::end_session }
    "/account/sessions/end-all" { post: account::end_all }
    "/requests" { get: requests::list, post: requests::search }
    "/requests/new" { get: ask::form, post: ask::issue }
    "/missing" { get: ask::missing_form, post: ask::missing }
    "/requests/{id}" { get: requests::show }
    "/requests/{id}/extend" { post: requests::extend }
    "/requests/{id}/reissue" { post: ask::reissue }
    "/requests/{id}/passcode" { post: ask::passcode }
    "/requests/{id}/send" { post: ask::send }
    "/requests/{id}/retry" { post: requests::retry }
    "/requests/{id}/revoke" { get: requests::revoke_page, post: requests::revoke }
    "/requests/{id}/purge" { get: requests::purge_page, post: requests::purge }
    "/requests/{id}/mark-uploaded" { get: requests::uploaded_page, post: requests::mark_uploaded }
    "/requests/{id}/hand-over" { get: manual_download::page }
    "/requests/{id}/parts/{part}" { post: manual_download::download }
    "/requests/{id}/receipt" { get: requests::receipt }
    "/requests/{id}/receipt.txt" { get: requests::receipt_text }
    "/notices" { get: outgoing::notices, post: outgoing::set_notices }
    "/audit" { get: audit::page }
    "/audit/export" { get: audit::export }
    "/docs" { get: docs::index }
    "/docs/providers/{page}" { get: docs::provider }
    "/admin" { get: admin::overview }
    "/admin/messages" { get: messages::list }
    "/admin/messages/edit" { get: messages::form, post: messages::keep }
    "/admin/outgoing" { get: outgoing::list }
    "/admin/outgoing/{id}/resend" { post: outgoing::resend }
    "/admin/unlock" { post: admin::unlock }
    "/admin/clock" { post: admin::accept_clock }
    "/admin/agents" { get: admin::agents, post: admin::add_agent }
    "/admin/agents/{id}" { get: admin::agent }
    "/admin/agents/{id}/password" { post: admin::reset_password }
    "/admin/agents/{id}/role" { post: admin::change_role }
    "/admin/agents/{id}/second-factor" { post: admin::reset_factors }
    "/admin/agents/{id}/disable" { post: admin::disable }
    "/admin/keys" { get: admin::keys, post: admin::add_key }
    "/admin/keys/{id}/revoke" { get: admin::revoke_page, post: admin::revoke_key }
}

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    assets::staff_routes(routes);
    let nothing = || AuthRedirect::from(Problem::not_found("There is nothing at this address."));
    let scope = web::scope("").app_data(web::PathConfig::default().error_handler(move |_, _| nothing().into()));
    routes.service(resources(scope));
}

/// Nothing lives at this address of the staff listener: a page for browsers, a problem document for everything else.
pub(crate) async fn no_such_page(request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get("accept").and_then(|a| a.to_str().ok());
    let problem = Problem::not_found("There is nothing at this address.");
    if accept.is_some_and(|a| a.contains("text/html")) {
        pages::console::frame::failure(&problem)
    } else {
        problem.error_response()
    }
}

pub(crate) fn html(page: Markup) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page.into_string())
}

/// A page in the place of a problem document, with the problem's status.
pub(crate) fn html_of(problem: &Problem, page: Markup) -> HttpResponse {
    problem.page().content_type("text/html; charset=utf-8").body(page.into_string())
}

pub(crate) fn see(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// Who issued or did something, by the id that the log has.
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    pub(crate) async fn of(state: &AppState) -> Result<Self, StorageError> {
        let agents = state
            .portal
            .directory
            .agents()
            .await?
            .into_iter()
            .map(|a| (a.id.to_string(), a.name));
        let keys = state
            .portal
            .directory
            .api_keys()
            .await?
            .into_iter()
            .map(|k| (k.id.to_string(), format!("API key “{}”", k.name)));
        Ok(Self(agents.chain(keys).collect()))
    }

    /// Everybody, by id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn of_actor<'a>(&'a self, actor: &'a str) -> &'a str {
        match actor {
            "applicant" => "Applicant",
            "portal" => "nightdrop",
            "operator" => "Operator",
            id => self.0.get(id).map_or(id, String::as_str),
        }
    }
}
