//! The OpenAPI document against the portal: every answer of every API test is one that the document describes, every bound that it declares is kept to, and every code
//! of a problem has its page.

use std::sync::LazyLock;

use nightdrop::testing::http::api::openapi;
use nightdrop::testing::http::schema::Shape;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, ask};
use crate::support::{TestApp, TestOptions};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(openapi()).unwrap());

/// The operations of an address below `/api/v1`.
fn operations(path: &str) -> Vec<&'static Value> {
    let given: Vec<_> = path.split('/').collect();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let parts: Vec<_> = template.split('/').collect();
        parts.len() == given.len() && parts.iter().zip(&given).all(|(part, given)| part.starts_with('{') || part == given)
    };
    let literal = paths.get(path).into_iter();
    let by_template = paths.iter().filter(|(template, _)| fits(template)).map(|(_, item)| item);
    let item = literal.chain(by_template).next();
    item.map_or_else(Vec::new, |item| item.as_object().unwrap().values().collect())
}

fn response(operation: &'static Value, status: u16) -> Option<&'static Value> {
    let response = operation["responses"].get(status.to_string())?;
    match response["$ref"].as_str() {
        Some(to) => DOCUMENT.pointer(to.trim_start_matches('#')),
        None => Some(response),
    }
}

/// Fails for an answer that the document does not describe: its status, or anything of its body. (405 is told of methods that the document does not name.)
pub fn check(path: &str, status: u16, media_type: &str, body: &Value) {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let operations = operations(path);
    if status == 405 || operations.is_empty() || path == "/openapi.json" {
        return;
    }
    let mut why = Vec::new();
    for operation in operations {
        let Some(response) = response(operation, status) else {
            why.push(format!("{} has no {status}", operation["operationId"]));
            continue;
        };
        let media_type = media_type.split(';').next().unwrap();
        let faults = Shape::within(&DOCUMENT, &response["content"][media_type]["schema"]).faults(body);
        if faults.is_empty() && response["content"].get(media_type).is_some() {
            return;
        }
        why.push(format!("{}: {media_type} {faults:?}", operation["operationId"]));
    }
    panic!("{path} {status} is not described: {why:?}\n{body}");
}

/// Fails for an event that the document does not describe.
pub fn check_event(event: &Value) {
    let kind = event["type"].as_str().unwrap();
    let content = &DOCUMENT["webhooks"][kind]["post"]["requestBody"]["content"]["application/json"];
    assert!(content.is_object(), "{kind} is not described");
    let faults = Shape::within(&DOCUMENT, &content["schema"]).faults(event);
    assert!(faults.is_empty(), "{faults:?}\n{event}");
}

fn resolved(schema: &'static Value) -> &'static Value {
    let schema = match schema["oneOf"].as_array() {
        Some(choices) => choices.iter().find(|choice| choice["type"] != "null").unwrap_or(schema),
        None => schema,
    };
    match schema["$ref"].as_str() {
        Some(to) => resolved(DOCUMENT.pointer(to.trim_start_matches('#')).unwrap()),
        None => schema,
    }
}

/// Values at the bounds of a schema, and the nearest ones over them.
fn bounds(schema: &Value) -> Vec<(Value, Value)> {
    let mut pairs = Vec::new();
    let text = |length: usize| {
        let example = schema["examples"][0].as_str().unwrap_or("a");
        let end = if schema["format"] == "email" { "@example.com" } else { "" };
        // A form that ends with something cannot be filled up behind it.
        let first = example.chars().next().unwrap().to_string();
        json!(first.repeat(length.saturating_sub(end.len())) + end)
    };
    let size = |name: &str| schema[name].as_u64().map(|n| usize::try_from(n).unwrap());
    // Spans and ids have an end of their own; their forms are compared with the parsers elsewhere.
    let free = schema["pattern"]
        .as_str()
        .is_none_or(|pattern| pattern.ends_with("]*$") || pattern.ends_with("]+$"));
    if let Some(most) = size("maxLength").filter(|_| free) {
        pairs.push((text(most), text(most + 1)));
    }
    if let Some(least) = size("minLength").filter(|least| *least > 0 && free) {
        pairs.push((text(least), text(least - 1)));
    }
    if let Some(most) = schema["maximum"].as_i64().or_else(|| schema["maximum"].as_f64().map(|n| n as i64)) {
        pairs.push((json!(most), json!(most + 1)));
    }
    if let Some(least) = schema["minimum"]
        .as_i64()
        .or_else(|| schema["minimum"].as_f64().map(|n| n as i64))
        .filter(|n| *n > 0)
    {
        pairs.push((json!(least), json!(least - 1)));
    }
    if let Some(words) = schema["enum"].as_array() {
        pairs.push((words[words.len() - 1].clone(), json!("none-of-them")));
    }
    pairs
}

#[test]
fn an_answer_that_the_document_does_not_describe_is_noticed() {
    let noticed = |path: &str, status, media_type: &str, body: &Value| {
        let looked = std::panic::catch_unwind(|| check(path, status, media_type, body));
        looked.is_err()
    };
    let json = "application/json";
    let key = json!({"public_key": "5c".repeat(32)});
    assert!(!noticed("/api/v1/receipt-key", 200, json, &key));
    assert!(noticed("/api/v1/receipt-key", 201, json, &key), "a status");
    assert!(noticed("/api/v1/receipt-key", 200, "text/html", &key), "a media type");
    assert!(noticed("/api/v1/receipt-key", 200, json, &json!({})), "a member that is missing");
    assert!(noticed("/api/v1/receipt-key", 200, json, &json!({"public_key": "5c"})), "a form");
    let more = json!({"public_key": "5c".repeat(32), "more": 1});
    assert!(noticed("/api/v1/receipt-key", 200, json, &more), "a member that is not named");
}

#[tokio::test]
async fn every_bound_that_the_document_declares_is_kept_to() {
    let app = TestApp::with_options(TestOptions {
        more: "limits = { api_per_minute = 100000 }".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let api = Caller::of(&app);
    let mut tried = 0;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        let schema = resolved(schema);
        let Some(members) = schema["properties"].as_object() else {
            continue;
        };
        let real = path
            .replace("{id}", "req_00000000000000000000000000")
            .replace("{provider}", "sandbox");
        // What stands in the address is looked at first: these bodies are never read.
        if path.contains("{id}") && !path.starts_with("/requests/") {
            continue;
        }
        for (name, member) in members {
            let list = resolved(member)["type"] == "array" || resolved(member)["type"][0] == "array";
            let inner = if list {
                resolved(&resolved(member)["items"])
            } else {
                resolved(member)
            };
            for (at, over) in bounds(inner) {
                let fault = async |value: &Value| {
                    let mut body = schema["examples"][0].as_object().cloned().unwrap_or_default();
                    body.insert(name.clone(), if list { json!([value]) } else { value.clone() });
                    let (status, answer) = api.post(&real, Value::Object(body)).await;
                    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
                    let found = errors.iter().find(|error| error["field"] == name.as_str());
                    let found = found.map(|error| error["detail"].as_str().unwrap().to_owned());
                    assert!(found.is_none() || status == 422, "{path} {name}: {answer}");
                    found
                };
                let refused = fault(&over).await;
                assert!(refused.is_some(), "{path} {name} takes {over}");
                // At the bound the form is right; that there is no such provider and the like is another matter.
                assert_ne!(fault(&at).await, refused, "{path} {name} refuses {at}");
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
}

#[tokio::test]
async fn all_faults_of_a_body_are_told_in_one_answer() {
    let app = TestApp::new().await;
    let api = Caller::of(&app);
    let wrong = json!({"applicant": "a b", "document": 7, "parts": ["front", "Back"], "expires_in": "3 weeks", "expires_at": "tomorrow", "passcode": "yes",
        "message": "x".repeat(1_001), "metadata": [], "colour": "red"});
    let (status, problem) = api.post("/requests", wrong).await;
    assert_eq!(status, 422);
    let told = problem["errors"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|error| (error["field"].as_str().unwrap(), error["detail"].as_str().unwrap()))
        .collect();
    let fields: std::collections::BTreeSet<_> = told.iter().map(|(field, _)| *field).collect();
    let all = [
        "applicant",
        "colour",
        "document",
        "expires_at",
        "expires_in",
        "message",
        "metadata",
        "parts",
        "passcode",
        "provider",
    ];
    assert_eq!(fields, all.into(), "{problem}");
    assert_eq!(told.len(), all.len(), "each once");
    assert_eq!(told[0], ("provider", "is needed"));
    assert!(told.contains(&("colour", "is not known here")), "{problem}");
    let (_, problem) = api
        .post(
            "/agents",
            json!({"name": "", "role": "king", "teams": ["No Such"], "password": "short"}),
        )
        .await;
    assert_eq!(problem["errors"].as_array().unwrap().len(), 5, "{problem}");
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_its_page_on_either_listener_without_signing_in() {
    let app = TestApp::new().await;
    let (_, refused) = Caller::of(&app).post("/requests", json!({})).await;
    assert_eq!(refused["type"], "/problems/request.invalid");
    let dead = app
        .http
        .get(app.public("/d/0000"))
        .header("accept", "application/json")
        .send()
        .await
        .unwrap();
    let dead: Value = dead.json().await.unwrap();
    let kind = dead["type"].as_str().unwrap();
    let page = app.http.get(app.public(kind)).send().await.unwrap();
    assert_eq!(page.status(), 200, "{kind}");
    let codes = DOCUMENT["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap();
    assert!(codes.len() > 30, "{}", codes.len());
    for code in codes.iter().map(|code| code.as_str().unwrap()) {
        for base in [app.staff("/problems/"), app.public("/problems/")] {
            let answer = app.http.get(format!("{base}{code}")).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{code}");
            assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
            let page = answer.text().await.unwrap();
            assert!(
                page.contains(&format!("<code>{code}</code>")) && page.contains("What to do"),
                "{page}"
            );
            assert!(!page.contains("<script") && !page.contains("style=\""), "{page}");
        }
    }
    for base in [app.staff("/problems"), app.public("/problems")] {
        let list = app.http.get(&base).send().await.unwrap();
        assert_eq!(list.status(), 200);
        assert!(list.text().await.unwrap().contains("href=\"/problems/request.invalid\""));
        assert_eq!(app.http.get(format!("{base}/no.such")).send().await.unwrap().status(), 404);
        assert_eq!(app.http.request(Method::POST, &base).send().await.unwrap().status(), 405);
    }
    // The example of each body is one that is taken.
    assert_eq!(Caller::of(&app).post("/requests", ask()).await.0, 201);
}
