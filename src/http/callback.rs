//! `POST /hooks/{provider}`: a provider calls. The raw body is read within a small limit, verified, and only then looked at.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;

use crate::connectors::{Callback, CallbackRefused};
use crate::domain::agent::Actor;
use crate::domain::audit::AuditAction;
use crate::domain::document::ProviderName;
use crate::workflow::callback::{self, Answer};

use super::AppState;
use super::error::Problem;

/// Every provider's callback is far smaller.
const BODY_MAX: usize = 256 * 1024;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(
        web::resource("/hooks/{provider}")
            .route(web::post().to(take))
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("POST")) })),
    );
}

async fn take(
    request: HttpRequest,
    state: web::Data<AppState>,
    provider: web::Path<String>,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let nobody = || Problem::not_found("No provider is called at this address.");
    let provider = ProviderName::parse(&provider).ok_or_else(nobody)?;
    if !state.portal.providers.contains_key(&provider) {
        return Err(nobody());
    }
    let body = tokio::time::timeout(PATIENCE, read(body))
        .await
        .map_err(|_| Problem::slow("The body came too slowly."))??;
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter_map(|(n, v)| Some((n.as_str().to_ascii_lowercase(), v.to_str().ok()?.to_owned())))
        .collect();
    let now = state.portal.now().unix_timestamp();
    let call = Callback {
        headers: &headers,
        query: request.query_string(),
        body: &body,
        now,
    };
    let answer = callback::take(&state.portal, &provider, &call).await?;
    if let Answer::Refused(why) = &answer {
        let why = match why {
            CallbackRefused::Signature => "signature",
            CallbackRefused::Malformed => "malformed",
            CallbackRefused::NotUsed => "not_used",
        };
        let detail = [("provider", provider.as_str()), ("why", why)];
        state.refused(Actor::Portal, AuditAction::CallbackRefused, &detail).await;
    }
    match answer {
        Answer::Taken => Ok(HttpResponse::Ok().finish()),
        Answer::Refused(CallbackRefused::Signature) => Err(Problem::unauthorized("The signature does not fit.").code("callback.signature")),
        Answer::Refused(CallbackRefused::Malformed) => {
            Err(Problem::malformed("The signed body cannot be read.").code("callback.malformed"))
        }
        Answer::Refused(CallbackRefused::NotUsed) => Err(nobody()),
    }
}

async fn read(mut body: web::Payload) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| Problem::malformed("The body was cut off."))?;
        if bytes.len() + piece.len() > BODY_MAX {
            return Err(Problem::too_large("A callback may have at most 256 KiB.").code("callback.too_large"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
