//! The OpenAPI document, made from the list of routes and the handlers' own annotations. `nightdrop openapi` prints it, `GET /openapi.json` serves it, and a test compares it with the router.

use std::sync::LazyLock;

use actix_web::{HttpResponse, web};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::http::error::PROBLEM_JSON;
use crate::http::staff::view::problem::ProblemSchema;

#[derive(OpenApi)]
#[openapi(
    info(title = "nightdrop", description = "Ask for an identity document, hand out a one-time link, follow it to the provider and to its purge.\n\n\
        Every failure is a problem document (RFC 9457) with a stable `code`. Instants are RFC 3339 in UTC. Unknown fields and query names are refused.",
        license(name = "MIT OR Apache-2.0")),
    servers((url = "/api/v1")),
    tags((name = "requests", description = "Ask, follow, act."), (name = "providers", description = "Who gets the documents."),
        (name = "audit", description = "What happened."), (name = "admin", description = "Accounts, keys, the vault.")),
    components(schemas(ProblemSchema))
)]
struct Api;

/// What is true of every operation stands once: the bearer scheme, and problem documents for everything that is not a success.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("ndk_…")
            .description(Some(
                "An API key. The scope that an operation needs stands with it; `requests` includes `read`, `admin` includes all.",
            ));
        api.components
            .get_or_insert_default()
            .add_security_scheme("api_key", SecurityScheme::Http(bearer.build()));
        for item in api.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                problems(operation);
            }
        }
    }
}

fn problems(operation: &mut Operation) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new()
        .description("A problem document.")
        .content(PROBLEM_JSON, content)
        .build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
}

/// The document.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = Api::openapi();
    api.merge(super::operations());
    Common.modify(&mut api);
    api
}

static TEXT: LazyLock<String> = LazyLock::new(|| openapi().to_json().unwrap_or_default());

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "admin", responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json")))]
pub(crate) async fn document() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(web::Bytes::from_static(TEXT.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::staff::api::TABLE;

    #[test]
    fn the_document_and_the_router_name_the_same_routes() {
        let document = serde_json::to_value(openapi()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                documented.insert((path.clone(), method.to_uppercase()));
            }
        }
        let routed: BTreeSet<_> = TABLE
            .iter()
            .flat_map(|(path, methods)| methods.iter().map(|m| ((*path).to_owned(), (*m).to_owned())))
            .collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn every_operation_but_the_document_needs_a_key_and_every_reference_leads_somewhere() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                let open = operation.get("security").is_none();
                assert_eq!(open, path == "/openapi.json", "{path}");
                assert!(operation["responses"]["default"]["content"][PROBLEM_JSON].is_object());
                assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{path}");
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
