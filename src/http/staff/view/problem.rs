//! How a problem document looks to whoever reads the OpenAPI document.

use serde::Serialize;
use utoipa::ToSchema;

/// RFC 9457, as every failure is told.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemSchema {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// Stable, for machines: `request.invalid`, `auth.forbidden`, `state.conflict` …
    pub code: String,
    /// One sentence with what to do.
    pub detail: String,
    /// Fields that are not acceptable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct FieldError {
    pub field: String,
    /// What is accepted there.
    pub detail: String,
}
