//! `POST /d/{token}/opened`: the page's script says, once, that somebody touched the page or pressed a key on it.
//!
//! Fetching a link changes nothing, since mail scanners and chat previews do it; only they do not act on the page. Stored is the time of the first such note of a
//! link: no address and nothing of the browser. The answer is the same whatever came of it, as nobody waits for it; only what is nobody's link is answered as
//! everywhere, and counts as a guess.

use actix_web::{HttpRequest, HttpResponse, web};

use super::link_address;
use super::refused::{crowded, unknown};
use crate::http::body;
use crate::http::error::Problem;
use crate::http::{AppState, guard};
use crate::workflow::intake::{DeadLink, link};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(
        web::resource("/d/{token}/opened")
            .route(web::post().to(opened))
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("POST")) })),
    );
}

async fn opened(
    state: web::Data<AppState>,
    request: HttpRequest,
    token: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    body::drain(payload).await;
    let address = guard::client_address(&request, &state);
    if !state.gate.may_look(address) {
        state.proxies.refused(address);
        return Ok(crowded(&state, &request));
    }
    guard::require_same_origin(&request, &state, false).await?;
    let Some(token) = link_address::token(&token) else {
        return Ok(unknown(&state, &request));
    };
    match link::note_opened(&state.portal, &token).await {
        Ok(Err(DeadLink::Unknown)) => Ok(unknown(&state, &request)),
        // A note that could not be written is not missed by whoever sent it; the store's own failures are told where they matter.
        Ok(_) | Err(_) => Ok(HttpResponse::NoContent().finish()),
    }
}
