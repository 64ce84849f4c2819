//! The console at `/`: pages for people, rendered here, working without JavaScript. Every POST goes through [`Csrf`](super::auth::Csrf), and every page that answers one
//! is shown by a GET ([`again`]): Back and Reload send nothing twice.
//!
//! An applicant's reference never stands in an address: searching for one is a POST.

pub(crate) mod frame;
pub(crate) mod spans;
pub(crate) mod widgets;

// A module for each screen: its handlers, and its pages as functions of what they show.
pub(crate) mod account {
    pub(crate) mod factors;
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod admin {
    pub(crate) mod handlers;
    pub(crate) mod page;
    pub(crate) mod people_handlers;
    pub(crate) mod people_page;
}
pub(crate) mod again {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod ask {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod audit {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod bulk {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod desk {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod docs {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod export {
    pub(crate) mod handlers;
}
pub(crate) mod invitation {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod manual_download {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod messages {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod outgoing {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod requests {
    pub(crate) mod handlers;
    pub(crate) mod page;
}
pub(crate) mod sign_in {
    pub(crate) mod handlers;
    pub(crate) mod page;
    pub(crate) mod sso;
}
pub(crate) mod start {
    pub(crate) mod handlers;
    pub(crate) mod page;
    pub(crate) mod steps;
}
pub(crate) mod views {
    pub(crate) mod handlers;
    pub(crate) mod page;
}

use actix_web::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use data_encoding::HEXLOWER;
use maud::Markup;
use sha2::{Digest, Sha256};

use super::auth::AuthRedirect;
use crate::http::assets;
use crate::http::error::Problem;
use crate::http::table::table;

/// Every handler's answer.
pub(crate) type Page = Result<HttpResponse, AuthRedirect>;

table! { AuthRedirect;
    "/" { get: start::handlers::start }
    "/first-steps" { post: start::handlers::first_steps }
    "/sign-in" { get: sign_in::handlers::form, post: sign_in::handlers::sign_in }
    "/sign-in/second" { get: sign_in::handlers::second_form, post: sign_in::handlers::second }
    "/sign-in/passkey" { post: sign_in::handlers::passkey }
    "/sign-in/passkey/begin" { post: sign_in::handlers::begin_passkey }
    "/sign-in/sso" { get: sign_in::sso::depart }
    "/sign-in/sso/back" { get: sign_in::sso::arrive }
    "/invitation/{agent}/{token}" { get: invitation::handlers::form, post: invitation::handlers::set_password }
    "/invitation/{agent}/{token}/passkey" { post: invitation::handlers::set_passkey }
    "/invitation/{agent}/{token}/passkey/begin" { post: invitation::handlers::begin_passkey }
    "/sign-out" { post: sign_in::handlers::sign_out }
    "/typed" { get: again::handlers::typed }
    "/account" { get: account::handlers::page, post: account::handlers::change_password }
    "/account/first-password" { get: account::handlers::first_password_form, post: account::handlers::set_first_password }
    "/account/confirm" { get: account::handlers::confirm_form, post: account::handlers::confirm }
    "/account/confirm/begin" { post: account::handlers::begin_confirm }
    "/account/app" { get: account::handlers::app_form, post: account::handlers::enrol_app }
    "/account/app/remove" { post: account::handlers::remove_app }
    "/account/codes" { post: account::handlers::new_codes }
    "/account/passkeys" { get: account::handlers::passkey_form, post: account::handlers::add_passkey }
    "/account/passkeys/begin" { post: account::handlers::begin_passkey }
    "/account/passkeys/remove" { post: account::handlers::remove_passkey }
    "/account/sessions/end" { post: account::handlers::end_session }
    "/account/sessions/end-all" { post: account::handlers::end_all }
    "/requests" { get: requests::handlers::list, post: requests::handlers::search }
    "/requests/new" { get: ask::handlers::form, post: ask::handlers::issue }
    "/requests/bulk" { post: bulk::handlers::act }
    "/requests/export" { post: export::handlers::list }
    "/requests/views" { get: views::handlers::list, post: views::handlers::save }
    "/requests/views/change" { post: views::handlers::change }
    "/missing" { get: ask::handlers::missing_form, post: ask::handlers::missing }
    "/requests/{id}" { get: requests::handlers::show }
    "/requests/{id}/extend" { post: requests::handlers::extend }
    "/requests/{id}/reissue" { post: ask::handlers::reissue }
    "/requests/{id}/passcode" { post: ask::handlers::passcode }
    "/requests/{id}/send" { post: ask::handlers::send }
    "/requests/{id}/notes" { post: desk::handlers::add_note }
    "/requests/{id}/assign" { post: desk::handlers::assign }
    "/requests/{id}/retry" { post: requests::handlers::retry }
    "/requests/{id}/revoke" { get: requests::handlers::revoke_page, post: requests::handlers::revoke }
    "/requests/{id}/purge" { get: requests::handlers::purge_page, post: requests::handlers::purge }
    "/requests/{id}/mark-uploaded" { get: requests::handlers::uploaded_page, post: requests::handlers::mark_uploaded }
    "/requests/{id}/hand-over" { get: manual_download::handlers::page }
    "/requests/{id}/parts/{part}" { post: manual_download::handlers::download }
    "/requests/{id}/receipt" { get: requests::handlers::receipt }
    "/requests/{id}/receipt.txt" { get: requests::handlers::receipt_text }
    "/notices" { get: outgoing::handlers::notices, post: outgoing::handlers::set_notices }
    "/audit" { get: audit::handlers::page }
    "/audit/export" { get: audit::handlers::export }
    "/docs" { get: docs::handlers::index }
    "/docs/providers/{page}" { get: docs::handlers::provider }
    "/admin" { get: admin::handlers::overview }
    "/admin/messages" { get: messages::handlers::list }
    "/admin/messages/edit" { get: messages::handlers::form, post: messages::handlers::keep }
    "/admin/outgoing" { get: outgoing::handlers::list }
    "/admin/outgoing/{id}/resend" { post: outgoing::handlers::resend }
    "/admin/unlock" { post: admin::handlers::unlock }
    "/admin/clock" { post: admin::handlers::accept_clock }
    "/admin/agents" { get: admin::people_handlers::agents, post: admin::people_handlers::add_agent }
    "/admin/agents/invite" { post: admin::people_handlers::invite }
    "/admin/agents/{id}" { get: admin::people_handlers::agent }
    "/admin/agents/{id}/password" { post: admin::people_handlers::reset_password }
    "/admin/agents/{id}/role" { post: admin::people_handlers::change_role }
    "/admin/agents/{id}/second-factor" { post: admin::people_handlers::reset_factors }
    "/admin/agents/{id}/link" { get: admin::people_handlers::link_page, post: admin::people_handlers::new_link }
    "/admin/agents/{id}/disable" { get: admin::people_handlers::disable_page, post: admin::people_handlers::disable }
    "/admin/agents/{id}/enable" { post: admin::people_handlers::enable }
    "/admin/agents/{id}/delete" { get: admin::people_handlers::delete_page, post: admin::people_handlers::delete }
    "/admin/agents/{id}/sessions/end" { post: admin::people_handlers::end_session }
    "/admin/keys" { get: admin::handlers::keys, post: admin::handlers::add_key }
    "/admin/keys/{id}/revoke" { get: admin::handlers::revoke_page, post: admin::handlers::revoke_key }
}

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    assets::staff_routes(routes);
    let nothing = || AuthRedirect::from(Problem::not_found("There is nothing at this address."));
    let scope = web::scope("").app_data(web::PathConfig::default().error_handler(move |_, _| nothing().into()));
    routes.service(resources(scope).wrap(from_fn(again::handlers::land)));
}

/// Nothing lives at this address of the staff listener: a page for browsers, a problem document for everything else.
pub(crate) async fn no_such_page(request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get("accept").and_then(|a| a.to_str().ok());
    let problem = Problem::not_found("There is nothing at this address.");
    if accept.is_some_and(|a| a.contains("text/html")) {
        frame::failure(&problem)
    } else {
        problem.error_response()
    }
}

pub(crate) fn html(page: Markup) -> HttpResponse {
    frame::landing(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page.into_string()))
}

/// A page that its script asks for again and again: with a tag of its content, and without the content where the browser has it. `random` is what differs in each
/// drawing and changes nothing.
pub(crate) fn live(request: &HttpRequest, page: Markup, random: &str) -> HttpResponse {
    let page = page.into_string();
    let seen = if random.is_empty() {
        page.clone()
    } else {
        page.replace(random, "")
    };
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(seen)[..16]));
    let known = request.headers().get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known == Some(tag.as_str()) {
        return HttpResponse::NotModified().insert_header((ETAG, tag)).finish();
    }
    let mut answer = HttpResponse::Ok();
    frame::landing(
        answer
            .insert_header((ETAG, tag))
            .content_type("text/html; charset=utf-8")
            .body(page),
    )
}

/// A page in the place of a problem document, with the problem's status.
pub(crate) fn html_of(problem: &Problem, page: Markup) -> HttpResponse {
    frame::landing(problem.page().content_type("text/html; charset=utf-8").body(page.into_string()))
}

pub(crate) fn see(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

#[cfg(test)]
mod tests;
