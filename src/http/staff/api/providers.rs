//! Providers over the API: what is configured, and what a provider still wants of an applicant.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::context::{AppState, State};
use crate::http::error::PROBLEM_JSON;
use crate::http::extract::json::Json;
use crate::http::staff::auth::Call;
use crate::http::staff::permission::Read;
use crate::http::staff::shapes::{ApplicantText, DocumentKindText, PartNameText, ProviderNameText};
use crate::http::staff::view::portal::{self as view, Provider};
use crate::http::staff::view::problem::ProblemSchema;
use crate::workflow::query::{missing, portal};

use super::Answer;

#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderList {
    pub providers: Vec<Provider>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MissingList {
    pub missing: Vec<MissingDocument>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MissingDocument {
    /// A key of the catalogue; absent when the provider wants something that the catalogue does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DocumentKindText>)]
    pub document: Option<String>,
    #[schema(value_type = Vec<PartNameText>)]
    pub parts: Vec<String>,
    /// The provider's own word for it.
    pub provider_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reference to ask with, where it is not the one that was asked about: a company's representative, one of several documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ApplicantText>)]
    pub applicant: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"applicant": "cus_4711"})))]
pub(crate) struct WhoseMissing {
    /// The provider's own id of the person.
    #[schema(value_type = ApplicantText)]
    pub applicant: String,
}

/// The configured providers.
#[utoipa::path(get, path = "/providers", operation_id = "list_providers", tag = "providers",
    responses((status = 200, description = "All of them, by name.", body = ProviderList)), security(("api_key" = ["read"])))]
pub(crate) async fn list(_: Call<Read>, state: State) -> Answer {
    Ok(HttpResponse::Ok().json(ProviderList {
        providers: portal::providers(&state.portal).into_iter().map(view::provider).collect(),
    }))
}

/// What the provider still wants of an applicant. The reference stands in the address: callers who care use `POST /providers/{provider}/missing`.
#[utoipa::path(get, path = "/providers/{provider}/applicants/{applicant}/missing", operation_id = "get_missing_documents", tag = "providers",
    params(("provider" = ProviderNameText, Path, description = "A provider's name."), ("applicant" = ApplicantText, Path, description = "The applicant's reference.")),
    responses((status = 200, description = "What is missing.", body = MissingList),
        (status = 409, description = "`provider.cannot_list`: this provider cannot say what is missing.", body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 422, description = "`provider.applicant_reference`: not a reference of this provider.", body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 502, description = "The provider refuses or fails, under the code of what an agent sees: `provider.credentials`, `provider.refused` …",
            body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 503, description = "`provider.rate_limited`, `provider.unavailable`, `provider.busy`: ask later, after `Retry-After` where the provider said when.",
            body = ProblemSchema, content_type = PROBLEM_JSON)), security(("api_key" = ["read"])))]
pub(crate) async fn missing(_: Call<Read>, state: State, path: web::Path<(String, String)>) -> Answer {
    let (provider, applicant) = path.into_inner();
    answer(&state, &provider, &applicant).await
}

/// The same with the reference in the body, so that it stands in no address and no access log.
#[utoipa::path(post, path = "/providers/{provider}/missing", operation_id = "ask_missing_documents", tag = "providers", request_body = WhoseMissing,
    params(("provider" = ProviderNameText, Path, description = "A provider's name.")),
    responses((status = 200, description = "What is missing.", body = MissingList),
        (status = 422, description = "`provider.applicant_reference`: not a reference of this provider.", body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 502, description = "The provider refuses or fails, under the code of what an agent sees: `provider.credentials`, `provider.refused` …",
            body = ProblemSchema, content_type = PROBLEM_JSON),
        (status = 503, description = "`provider.rate_limited`, `provider.unavailable`, `provider.busy`: ask later, after `Retry-After` where the provider said when.",
            body = ProblemSchema, content_type = PROBLEM_JSON)), security(("api_key" = ["read"])))]
pub(crate) async fn ask_missing(
    Call { with: Json(body), .. }: Call<Read, Json<WhoseMissing>>,
    state: State,
    provider: web::Path<String>,
) -> Answer {
    answer(&state, &provider, &body.applicant).await
}

async fn answer(state: &AppState, provider: &str, applicant: &str) -> Answer {
    let missing = missing::ask(&state.portal, provider, applicant)
        .await?
        .into_iter()
        .map(|m| MissingDocument {
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
