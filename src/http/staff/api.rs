//! `/api/v1`: the JSON interface for machines and the command line. Bearer keys only, problem documents on every failure, nothing that is not in [`openapi`].
//!
//! * [`TABLE`] is the one list of routes: the router, the `Allow` headers, the OpenAPI document and the tests are made from it.
//! * No answer holds a token (but the one that issues it), a document byte or a file name.
//! * What comes in is read by [`json`](crate::http::extract::json), what goes out is written in [`view`](super::view); domain types know no JSON.

pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod desk;
pub(crate) mod first_steps;
pub(crate) mod openapi;
pub(crate) mod outgoing;
pub(crate) mod people;
pub(crate) mod person;
pub(crate) mod providers;
pub(crate) mod requests;

use actix_web::{HttpResponse, web};

use crate::http::error::Problem;
use crate::http::table::{operations, table};

pub use openapi::openapi;

/// Every handler's answer.
pub(crate) type Answer = Result<HttpResponse, Problem>;

/// Before every path of [`TABLE`].
pub(crate) const BASE: &str = "/api/v1";

macro_rules! routes {
    ($make:ident) => {
        $make! { Problem;
            "/openapi.json" { get: openapi::document }
            "/requests" { get: requests::list, post: requests::issue }
            "/requests/search" { post: requests::search }
            "/requests/{id}" { get: requests::show }
            "/requests/{id}/extend" { post: requests::extend }
            "/requests/{id}/reissue" { post: requests::reissue }
            "/requests/{id}/passcode" { post: requests::passcode }
            "/requests/{id}/revoke" { post: requests::revoke }
            "/requests/{id}/retry" { post: requests::retry }
            "/requests/{id}/purge" { post: requests::purge }
            "/requests/{id}/mark-uploaded" { post: requests::mark_uploaded }
            "/requests/{id}/notes" { post: desk::add_note }
            "/requests/{id}/assign" { post: desk::assign }
            "/requests/{id}/deletion-receipt" { get: audit::deletion_receipt }
            "/return-key" { get: outgoing::return_key }
            "/dispatches" { get: outgoing::dispatches }
            "/dispatches/{id}/resend" { post: outgoing::resend }
            "/receipt-key" { get: audit::receipt_key }
            "/audit" { get: audit::entries }
            "/audit/export" { get: audit::export }
            "/deletion-receipts" { get: audit::deletion_receipts }
            "/person/export" { post: person::export }
            "/person/erase" { post: person::erase }
            "/providers" { get: providers::list }
            "/providers/{provider}/applicants/{applicant}/missing" { get: providers::missing }
            "/providers/{provider}/missing" { post: providers::ask_missing }
            "/agents" { get: admin::agents, post: admin::add_agent }
            "/agents/invite" { post: people::invite }
            "/agents/{id}/invite" { post: people::invite_again }
            "/agents/{id}/enable" { post: people::enable }
            "/agents/{id}/delete" { post: people::delete }
            "/agents/{id}/sessions" { get: people::sessions }
            "/agents/{id}/end-session" { post: people::end_session }
            "/agents/{id}/disable" { post: admin::disable_agent }
            "/agents/{id}/role" { post: admin::change_role }
            "/agents/{id}/reset-second-factor" { post: admin::reset_factors }
            "/agents/{id}/password" { post: admin::reset_password }
            "/api-keys" { get: admin::api_keys, post: admin::add_api_key }
            "/api-keys/{id}/revoke" { post: admin::revoke_api_key }
            "/backup" { post: backup::take }
            "/key" { get: admin::key }
            "/key/unlock" { post: admin::unlock }
            "/status" { get: admin::status }
            "/first-steps" { get: first_steps::list, post: first_steps::change }
            "/clock/accept" { post: admin::accept_clock }
        }
    };
}

routes!(table);
routes!(operations);

/// The operations of [`TABLE`]; [`openapi`](openapi::openapi) adds what is true of all of them.
pub(crate) fn operations() -> utoipa::openapi::OpenApi {
    <Operations as utoipa::OpenApi>::openapi()
}

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    let nothing = || Problem::not_found("There is no such thing in this API. See /api/v1/openapi.json.");
    let scope = web::scope(BASE)
        .app_data(web::PathConfig::default().error_handler(move |_, _| nothing().into()))
        .default_service(web::to(move || async move { Err::<HttpResponse, _>(nothing()) }));
    routes.service(resources(scope));
}
