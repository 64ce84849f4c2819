//! How a problem document looks to whoever reads the OpenAPI document.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::staff::shapes::ProblemCodeWord;

/// RFC 9457, as every failure is told.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemSchema {
    /// The page about the code, at the portal that answered; relative to the address that was asked.
    #[schema(format = "uri-reference", example = "/problems/request.invalid")]
    pub r#type: String,
    #[schema(example = "Unprocessable Entity")]
    pub title: String,
    #[schema(minimum = 400, maximum = 599, example = 422)]
    pub status: u16,
    #[schema(value_type = ProblemCodeWord)]
    pub code: String,
    /// One sentence with what to do.
    #[schema(example = "name is needed. locale must be a string.")]
    pub detail: String,
    /// The id of this HTTP request, as the header X-Request-Id and the log have it: quote it when you ask for help.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = "7xk2-9qpm-4t0c")]
    pub request_id: Option<String>,
    /// Fields that are not acceptable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The name of the member of the body, or of the query, that does not fit.
    #[schema(example = "locale")]
    pub field: String,
    /// What is accepted there.
    #[schema(example = "must be a string")]
    pub detail: String,
}
