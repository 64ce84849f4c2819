//! `/healthz`: the process answers and its store is not dead. `/readyz`: it can take uploads, proved by a write.

use actix_web::{HttpResponse, web};

use super::AppState;
use super::error::Problem;
use crate::chain::chain;
use crate::workflow::{blocking, vault};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(look_only("/healthz").route(web::get().to(healthy)).route(web::head().to(healthy)))
        .service(look_only("/readyz").route(web::get().to(ready)).route(web::head().to(ready)));
}

fn look_only(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) }))
}

async fn healthy(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    state.store.alive()?;
    Ok(HttpResponse::Ok().content_type("text/plain").body("ok\n"))
}

/// 200 once uploads can be taken: a free erasure slot, room on the disk, a store that reads and writes. A vault that waits for its passphrase is ready; one whose private key is not there is not.
pub(crate) async fn ready(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let portal = &state.portal;
    portal.requests.next_due(crate::storage::WorkQueues::All).await?;
    vault::can_take(portal)?;
    if portal.erasure.free().map_or(true, |free| free == 0) {
        return Err(Problem::full(
            "No erasure slot is free: documents are held and not delivered. See `nightdrop doctor`.",
        ));
    }
    let erasure = portal.erasure.clone();
    if let Err(error) = blocking(move || erasure.ready()).await? {
        tracing::error!(error = %chain(&error), "not ready: the slots file does not take a write");
        return Err(Problem::unavailable("The erasure slots cannot be written at the moment. See the log.").after(10));
    }
    if !portal.blobs.room_for(portal.policy.max_file) {
        return Err(Problem::full("The disk is nearly full. See `nightdrop doctor`."));
    }
    if let Err(why) = state.store.proves_writing().await {
        tracing::warn!(why = %chain(&why), "not ready: the store is not known to take writes");
        return Err(Problem::unavailable("The store does not take writes at the moment. See the log.").after(10));
    }
    let forwarding = if portal.keyring.is_locked() { "locked" } else { "open" };
    Ok(HttpResponse::Ok()
        .content_type("text/plain")
        .body(format!("ready\nforwarding: {forwarding}\n")))
}
