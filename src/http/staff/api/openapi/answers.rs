//! The answers that follow from what an operation is: whoever needs a key can be refused, whoever sends a body can send a wrong one. They stand here once, so that an
//! operation's own annotation names only what is its own, and a new route cannot forget one.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::http::error::PROBLEM_JSON;
use crate::http::problems;

/// Each status of a problem, and the name of its answer among the components.
const NAMES: &[(u16, &str)] = &[
    (400, "BadRequest"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "NotFound"),
    (408, "RequestTimeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (413, "ContentTooLarge"),
    (415, "UnsupportedMediaType"),
    (421, "MisdirectedRequest"),
    (422, "UnprocessableContent"),
    (429, "TooManyRequests"),
    (431, "RequestHeaderFieldsTooLarge"),
    (500, "InternalServerError"),
    (502, "BadGateway"),
    (503, "ServiceUnavailable"),
];

/// What can go wrong with every request: its head, its host, the portal.
const ALWAYS: &[u16] = &[400, 421, 431, 500, 503];
const WITH_A_KEY: &[u16] = &[401, 403, 429];
const WITH_A_BODY: &[u16] = &[408, 413, 415, 422];

/// One answer for each status that an operation refers to.
pub(super) fn components(components: &mut Components, used: &BTreeSet<&str>) {
    for (status, name) in NAMES.iter().filter(|(_, name)| used.contains(name)) {
        components.responses.insert((*name).to_owned(), RefOr::T(answer(*status)));
    }
}

fn answer(status: u16) -> Response {
    let known: Vec<_> = problems::of_the_api().filter(|known| known.status == status).collect();
    let lines: Vec<_> = known.iter().map(|known| format!("* `{}`: {}", known.code, known.meaning)).collect();
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    if let Some(first) = known.first() {
        content = content.example(Some(example(first)));
    }
    let mut response = ResponseBuilder::new()
        .description(format!("A problem document.\n\n{}", lines.join("\n")))
        .content(PROBLEM_JSON, content.build());
    if status == 401 {
        response = response.header("WWW-Authenticate", text_header("`Bearer`."));
    }
    if [409, 429, 503].contains(&status) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let header = Header::new(seconds.build());
        response = response.header("Retry-After", described(header, "Seconds to wait, where that is known."));
    }
    response.build()
}

fn example(known: &problems::KnownProblem) -> Value {
    let mut example = json!({"type": problems::address(known.code), "title": "Problem", "status": known.status, "code": known.code, "detail": known.meaning});
    if known.status == 422 {
        example["errors"] = json!([{"field": "name", "detail": "is needed"}]);
    }
    example
}

fn described(header: Header, about: &str) -> Header {
    HeaderBuilder::from(header).description(Some(about)).build()
}

pub(super) fn text_header(about: &str) -> Header {
    described(Header::default(), about)
}

/// Adds to an operation what follows from its address and its arguments, and notes which answers it refers to. What it says itself stays.
pub(super) fn complete(path: &str, acts: bool, operation: &mut Operation, used: &mut BTreeSet<&'static str>) {
    let empty = Vec::new();
    let parameters = operation.parameters.as_ref().unwrap_or(&empty);
    let any = |wanted: &dyn Fn(&Parameter) -> bool| parameters.iter().any(|p| matches!(p, RefOr::T(parameter) if wanted(parameter)));
    let once = any(&|parameter| parameter.name == "Idempotency-Key");
    let mut statuses: BTreeSet<u16> = ALWAYS.iter().copied().collect();
    if operation.security.is_some() {
        statuses.extend(WITH_A_KEY);
    }
    if operation.request_body.is_some() {
        statuses.extend(WITH_A_BODY);
    }
    if any(&|parameter| matches!(parameter.parameter_in, ParameterIn::Query)) {
        statuses.insert(422);
    }
    if path.contains('{') {
        statuses.insert(404);
    }
    if once || (acts && path.contains('{')) {
        statuses.insert(409);
    }
    let responses = &mut operation.responses.responses;
    for status in statuses {
        let name = NAMES.iter().find(|(known, _)| *known == status).map(|(_, name)| *name);
        if let Some(name) = name {
            responses.entry(status.to_string()).or_insert_with(|| {
                used.insert(name);
                RefOr::Ref(Ref::from_response_name(name))
            });
        }
    }
    if once && let Some(RefOr::T(made)) = responses.get_mut("201") {
        let header = text_header("`true` when it is the answer to a repetition under the same Idempotency-Key.");
        made.headers.insert("Idempotency-Replayed".to_owned(), header.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_that_the_api_tells_has_an_answer() {
        let named: BTreeSet<_> = NAMES.iter().map(|(status, _)| *status).collect();
        // 405 is told of methods that the document does not name.
        let told: BTreeSet<_> = problems::of_the_api()
            .map(|known| known.status)
            .filter(|status| *status != 405)
            .collect();
        assert_eq!(named, told);
    }
}
