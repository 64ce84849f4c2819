//! `GET /check` on the staff listener: how the portal stands, as only its own process knows it, for `nightdrop doctor` ([`super::check`] says who that is).

use actix_web::{HttpRequest, HttpResponse, web};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::check::NotLetIn;
use super::error::Problem;
use super::{AppState, health};
use crate::crypto::check::CheckPurpose;
use crate::crypto::memory;
use crate::storage::clock::Standing;
use crate::workflow::query::portal::{self, GoneProvider};

pub(crate) fn staff_routes(routes: &mut web::ServiceConfig) {
    routes.service(
        web::resource("/check")
            .route(web::get().to(standing))
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET")) })),
    );
}

async fn standing(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let now = state.portal.now().unix_timestamp();
    let entered = state
        .checks
        .enter(request.headers(), &state.portal.secrets, CheckPurpose::Standing, now);
    let pass = match entered {
        Ok(pass) => pass,
        Err(NotLetIn::Refused(problem)) => return Err(problem),
        Err(NotLetIn::Stranger) => {
            return Err(Problem::unauthorized("This is for `nightdrop doctor` on the portal's own machine."));
        }
    };
    let status = portal::status(&state.portal).await?;
    let gone = portal::gone_providers(&state.portal).await?;
    let not_ready = health::ready(state.clone()).await.err();
    let clock = match status.clock {
        Standing::Agrees => "right",
        Standing::Ahead => "ahead",
        Standing::Behind => "behind",
    };
    let gone = gone.iter().map(|gone: &GoneProvider| -> Value {
        json!({ "provider": gone.provider.as_str(), "requests": gone.requests, "more": gone.more })
    });
    Ok(HttpResponse::Ok().json(json!({
        "nonce": pass.name(),
        "clock": clock,
        "locked": status.locked,
        "not_ready": not_ready.map(|problem| problem.detail),
        "open_files": getrlimit(Resource::Nofile).current,
        "connections": state.observed.connections,
        "memory": memory::limit(),
        "gone_providers": gone.collect::<Vec<_>>(),
    })))
}
