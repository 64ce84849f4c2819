//! The OpenAPI document, made from the list of routes and the handlers' own annotations. `nightdrop openapi` prints it, `GET /openapi.json` serves it, and a test compares it with the router.

mod answers;
mod events;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use actix_web::{HttpResponse, web};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{LicenseBuilder, RefOr};
use utoipa::{Modify, OpenApi};

use crate::http::staff::shapes::{
    ActorText, AuditFormatWord, DocumentKindText, HashText, ProviderNameText, PurgeCauseWord, RequestIdText, TicketText,
};
use crate::http::staff::view::problem::ProblemSchema;

const LICENSE: &str = "MIT OR Apache-2.0";

#[derive(OpenApi)]
#[openapi(
    info(title = "nightdrop", description = "Ask for an identity document, hand out a one-time link, follow it to the provider and to its purge.\n\n\
        Every failure is a problem document (RFC 9457) with a stable `code`; its `type` leads to a page that says what the code means and what to do. \
        All faults of a body or a query are told in one answer. Instants are RFC 3339 in UTC. Unknown fields and query names are refused.",
        license(name = "MIT OR Apache-2.0")),
    servers((url = "/api/v1", description = "The staff listener.")),
    tags((name = "requests", description = "Ask, follow, act."), (name = "providers", description = "Who gets the documents."),
        (name = "audit", description = "What happened."), (name = "admin", description = "Accounts, keys, the vault."),
        (name = "webhooks", description = "What the portal tells receivers that the configuration names.")),
    components(schemas(ProblemSchema, ActorText, AuditFormatWord, DocumentKindText, HashText, ProviderNameText, PurgeCauseWord, RequestIdText, TicketText))
)]
struct Api;

/// What is true of every operation stands once: the bearer scheme, the answers that follow from what an operation is, and what the annotations cannot say.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("ndk_…")
            .description(Some(
                "An API key. The scope that an operation needs stands with it; `requests` includes `read`, `admin` includes all.",
            ));
        api.info.license = Some(LicenseBuilder::new().name(LICENSE).identifier(Some(LICENSE)).build());
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(bearer.build()));
        let mut used = BTreeSet::new();
        for (path, item) in &mut api.paths.paths {
            for (acts, operation) in [(false, &mut item.get), (true, &mut item.post)] {
                if let Some(operation) = operation {
                    answers::complete(path, acts, operation, &mut used);
                    finish(operation);
                }
            }
        }
        answers::components(components, &used);
        api.webhooks = Some(events::webhooks());
    }
}

fn finish(operation: &mut Operation) {
    if operation.description.as_ref().is_none_or(String::is_empty) {
        operation.description.clone_from(&operation.summary);
    }
    // An operation without a key says so: an absent list would mean that nobody has thought of it.
    operation.security.get_or_insert_default();
    // `null` is a word like any other in an address.
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && !matches!(parameter.parameter_in, ParameterIn::Path)
            && let Some(schema) = parameter.schema.take()
        {
            parameter.schema = Some(without_null(schema));
        }
    }
}

/// The document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = Api::openapi();
    api.merge(super::operations());
    Common.modify(&mut api);
    api
}

/// The same without the choice of `null`.
fn without_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::OneOf(choices)) => {
            let is_null =
                |choice: &RefOr<Schema>| matches!(choice, RefOr::T(Schema::Object(object)) if object.schema_type == Type::Null.into());
            let mut rest: Vec<_> = choices.items.iter().filter(|choice| !is_null(choice)).cloned().collect();
            match (rest.pop(), rest.is_empty()) {
                (Some(only), true) => only,
                _ => RefOr::T(Schema::OneOf(choices)),
            }
        }
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let Some(only) = types.iter().find(|one| **one != Type::Null)
            {
                object.schema_type = SchemaType::Type(only.clone());
            }
            RefOr::T(Schema::Object(object))
        }
        other => other,
    }
}

static TEXT: LazyLock<String> = LazyLock::new(|| openapi().to_json().unwrap_or_default());

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "get_openapi", tag = "admin", responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json")))]
pub(crate) async fn document() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(web::Bytes::from_static(TEXT.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
    fn every_operation_but_the_document_needs_a_key_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
        let document = serde_json::to_value(openapi()).unwrap();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                let open = operation["security"].as_array().unwrap().is_empty();
                assert_eq!(open, path == "/openapi.json", "{path}");
                assert!(operation["responses"].get("default").is_none(), "{path}: every status is named");
                assert!(operation["summary"].is_string(), "{path}");
                let id = operation["operationId"].as_str().unwrap();
                assert!(
                    ids.insert(id.to_owned()),
                    "{id} is the name of two operations: give one of them an `operation_id` in its annotation"
                );
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
