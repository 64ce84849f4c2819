//! `GET /d/{token}/qr.svg`: the link as a QR code, for whoever reads the page on a desktop and has the camera in a phone.
//!
//! The picture holds nothing but the address it was asked under. It is answered where the form would be, and refused where the page is, in the same words; like
//! the page it is counted for its address, kept by nobody, and changes nothing.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};

use super::refused::{crowded, dead, unknown};
use super::tus;
use super::upload::{Entry, Visit};
use crate::domain::transition::Refusal;
use crate::http::error::Problem;
use crate::http::{AppState, encoding, guard};
use crate::workflow::link_message;

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(
        web::resource("/d/{token}/qr.svg")
            .route(web::get().to(show))
            .route(web::head().to(show))
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) })),
    );
}

async fn show(state: web::Data<AppState>, request: HttpRequest, token: web::Path<String>) -> HttpResponse {
    let address = guard::client_address(&request, &state);
    if !state.gate.may_look(address) {
        state.proxies.refused(address);
        return crowded(&state, &request);
    }
    let Some(visit) = Visit::at(&state, &request, &token) else {
        return unknown(&state, &request);
    };
    let problem = match visit.entry().await {
        Ok(Entry::Open(_)) => match link_message::qr(&link_message::address(&state.portal, visit.token())) {
            Ok(svg) => {
                let mut response = HttpResponse::Ok();
                response.insert_header((CONTENT_TYPE, "image/svg+xml"));
                return encoding::answer(&request, response, svg);
            }
            Err(error) => error.into(),
        },
        Ok(Entry::Passcode(_)) => Problem::forbidden(visit.context().words.say("passcode-title")).code("passcode.required"),
        Ok(Entry::Locked) => Refusal::LinkLocked.into(),
        Ok(Entry::Done(_)) => tus::gone(Refusal::AlreadyReceived),
        Ok(Entry::Dead(why)) => dead(&state, &request, why),
        Err(error) => error.into(),
    };
    visit.answer_problem(problem, None)
}
