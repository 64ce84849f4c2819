//! Providers over the API: what is configured, and what a provider still wants of an applicant.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::connectors::Missing;
use crate::domain::delivery::ConfirmAt;
use crate::domain::document::{ApplicantRef, ProviderName};
use crate::http::AppState;
use crate::http::error::{PROBLEM_JSON, Problem};
use crate::http::staff::auth::ApiCaller;
use crate::http::staff::permission::Read;

use super::Answer;
use crate::http::extract::{json, query};
use crate::http::staff::view::problem::ProblemSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderList {
    pub providers: Vec<Provider>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Provider {
    pub name: String,
    pub kind: &'static str,
    /// received or verdict: when a document counts as confirmed and is purged.
    pub confirm: &'static str,
    /// Whether it can say what is missing.
    pub lists_missing: bool,
    /// Nothing is sent: an agent uploads it in the provider's own dashboard.
    pub by_hand: bool,
    /// Sending pauses after failures in a row.
    pub paused: bool,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MissingList {
    pub missing: Vec<MissingDocument>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MissingDocument {
    /// A key of the catalogue; absent when the provider wants something that the catalogue does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    pub parts: Vec<String>,
    /// The provider's own word for it.
    pub provider_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reference to ask with, where it is not the one that was asked about: a company's representative, one of several documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applicant: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhoseMissing {
    /// The provider's own id of the person.
    pub applicant: String,
}

/// The configured providers.
#[utoipa::path(get, path = "/providers", tag = "providers",
    responses((status = 200, description = "All of them, by name.", body = ProviderList)), security(("api_key" = ["read"])))]
pub(crate) async fn list(_: ApiCaller<Read>, state: web::Data<AppState>) -> Answer {
    Ok(HttpResponse::Ok().json(ProviderList { providers: all(&state) }))
}

/// What the provider still wants of an applicant. The reference stands in the address: callers who care use `POST /providers/{provider}/missing`.
#[utoipa::path(get, path = "/providers/{provider}/applicants/{applicant}/missing", tag = "providers",
    params(("provider" = String, Path, description = "A provider's name."), ("applicant" = String, Path, description = "The applicant's reference.")),
    responses((status = 200, description = "What is missing.", body = MissingList),
        (status = 422, description = "`provider.applicant_reference`: not a reference of this provider.", body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 502, description = "The provider refuses or fails, under the code of what an agent sees: `provider.credentials`, `provider.refused` …",
            body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 503, description = "`provider.rate_limited`, `provider.unavailable`, `provider.busy`: ask later, after `Retry-After` where the provider said when.",
            body = ProblemSchema, content_type = PROBLEM_JSON)), security(("api_key" = ["read"])))]
pub(crate) async fn missing(_: ApiCaller<Read>, state: web::Data<AppState>, path: web::Path<(String, String)>) -> Answer {
    let (provider, applicant) = path.into_inner();
    answer(&state, &provider, &applicant).await
}

/// The same with the reference in the body, so that it stands in no address and no access log.
#[utoipa::path(post, path = "/providers/{provider}/missing", tag = "providers", request_body = WhoseMissing,
    params(("provider" = String, Path, description = "A provider's name.")),
    responses((status = 200, description = "What is missing.", body = MissingList),
        (status = 422, description = "`provider.applicant_reference`: not a reference of this provider.", body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 502, description = "The provider refuses or fails, under the code of what an agent sees: `provider.credentials`, `provider.refused` …",
            body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 503, description = "`provider.rate_limited`, `provider.unavailable`, `provider.busy`: ask later, after `Retry-After` where the provider said when.",
            body = ProblemSchema, content_type = PROBLEM_JSON)), security(("api_key" = ["read"])))]
pub(crate) async fn ask_missing(
    _: ApiCaller<Read>,
    state: web::Data<AppState>,
    provider: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Answer {
    let body = json::read::<WhoseMissing>(&request, payload).await?.body;
    answer(&state, &provider, &body.applicant).await
}

async fn answer(state: &AppState, provider: &str, applicant: &str) -> Answer {
    let missing = ask(state, provider, applicant).await?.into_iter().map(|m| MissingDocument {
        document: m.document.map(|d| d.to_string()),
        parts: m.parts.iter().map(ToString::to_string).collect(),
        provider_name: m.provider_name,
        reason: m.reason,
        applicant: m.applicant.map(|a| a.expose().to_owned()),
    });
    Ok(HttpResponse::Ok().json(MissingList {
        missing: missing.collect(),
    }))
}

/// Asks the provider itself.
pub(crate) async fn ask(state: &AppState, provider: &str, applicant: &str) -> Result<Vec<Missing>, Problem> {
    let connector = ProviderName::parse(provider)
        .and_then(|name| state.portal.providers.get(&name))
        .cloned();
    let connector = connector.ok_or_else(|| Problem::not_found("There is no such provider here."))?;
    let applicant = ApplicantRef::parse(applicant).ok_or_else(|| query::wrong("applicant", "an applicant's reference at this provider"))?;
    if !connector.profile().lists_missing {
        return Err(
            Problem::conflict("This provider cannot say what is missing. Pick the document from the catalogue.")
                .code("provider.cannot_list"),
        );
    }
    Ok(connector.missing(&applicant).await?)
}

pub(crate) fn all(state: &AppState) -> Vec<Provider> {
    let now = state.portal.now();
    let one = |(name, connector): (&ProviderName, &std::sync::Arc<dyn crate::connectors::Connector>)| {
        let profile = connector.profile();
        Provider {
            name: name.to_string(),
            kind: profile.kind,
            confirm: match profile.confirm {
                ConfirmAt::Received => "received",
                ConfirmAt::Verdict => "verdict",
            },
            lists_missing: profile.lists_missing,
            by_hand: profile.by_hand,
            paused: state.portal.delivery.breakers.paused(name, now),
        }
    };
    state.portal.providers.iter().map(one).collect()
}
