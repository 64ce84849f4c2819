//! Whose answer is believed.

use super::*;

const BASE: &str = "api_key_file='sk'\n";

/// Answers that something in between, another applicant's question or a broken connection could give.
fn strangers() -> Vec<(&'static str, Reply)> {
    let text = |body: &str| Reply::with(200, &[("Content-Type", "application/json")], body.as_bytes());
    let html = "<html><title>Maintenance</title></html>";
    vec![
        ("object", text("{}")),
        ("list", text("[]")),
        ("null", text("null")),
        ("ok", text(r#"{"ok":true}"#)),
        ("an id", text(r#"{"id":"x"}"#)),
        ("an id and a null", text(r#"{"id":"x","who":null}"#)),
        ("another applicant's", text(r#"{"id":"x","who":"somebody-else"}"#)),
        ("a prefix of the applicant's", text(r#"{"id":"x","who":"per"}"#)),
        ("a list with it", text(r#"{"id":"x","who":["per,son"]}"#)),
        ("nested", text(r#"{"data":{"id":"x","who":"per,son"}}"#)),
        ("a list of it", text(r#"[{"id":"x","who":"per,son"}]"#)),
        ("page", Reply::with(200, &[("Content-Type", "text/html")], html.as_bytes())),
        ("page as JSON", text(html)),
        (
            "JSON as a page",
            Reply::with(
                200,
                &[("Content-Type", "text/html; charset=utf-8")],
                br#"{"id":"x","who":"per,son"}"#,
            ),
        ),
        ("empty", Reply::with(200, &[], b"")),
        ("no content", Reply::with(204, &[], b"")),
        ("truncated", text(r#"{"id":"x","who":"per,so"#)),
        ("string", text(r#""per,son""#)),
        ("number", text("7")),
        ("true", text("true")),
        ("no reference", text(r#"{"who":"per,son"}"#)),
        ("an empty reference", text(r#"{"id":" ","who":"per,son"}"#)),
        ("a reference of another sort", text(r#"{"id":"x","who":"per,son"}"#)),
    ]
}

#[tokio::test]
async fn no_strangers_answer_is_a_receipt() {
    let table = format!("{BASE}[upload]\npath='/d'\nreference='/id'\nreference_prefix='doc_'\nanswer_names={{'/who'='{{applicant}}'}}");
    for (what, reply) in strangers() {
        let fake = Fake::replies(vec![reply]).await;
        let outcome = connector(&fake, &table).deliver(&two_parts(), &NoProgressLog).await;
        assert!(matches!(outcome, Err(Failure::Ambiguous { .. })), "{what}: {outcome:?}");
    }
    let fake = Fake::replies(vec![Reply::json(200, json!({"id": "doc_1", "who": "per,son"}))]).await;
    assert!(connector(&fake, &table).deliver(&two_parts(), &NoProgressLog).await.is_ok());
}

#[tokio::test]
async fn where_the_answer_names_nothing_the_provider_is_asked_before_anything_counts() {
    let table = format!("{BASE}[upload]\npath='/d'\nreference='/id'\n[lookup]\npath='/d/{{reference}}'\nnames={{'/who'='{{applicant}}'}}");
    for (what, reply) in strangers().into_iter().filter(|(what, _)| !what.contains("reference")) {
        // Something in between that answers every question alike.
        let fake = Fake::replies(vec![reply]).await;
        let outcome = connector(&fake, &table).deliver(&two_parts(), &NoProgressLog).await;
        assert!(matches!(outcome, Err(Failure::Ambiguous { .. })), "{what}: {outcome:?}");
    }
    for refusal in [404, 401, 500, 503, 429] {
        let fake = Fake::replies(vec![Reply::json(200, json!({"id": "7"})), Reply::json(refusal, json!({}))]).await;
        let outcome = connector(&fake, &table).deliver(&two_parts(), &NoProgressLog).await;
        assert!(
            matches!(outcome, Err(Failure::Ambiguous { .. })),
            "{refusal}: it has been sent by then: {outcome:?}"
        );
    }
    let fake = Fake::replies(vec![
        Reply::json(200, json!({"id": "a/7"})),
        Reply::json(200, json!({"who": "per,son"})),
    ])
    .await;
    let delivered = connector(&fake, &table).deliver(&two_parts(), &NoProgressLog).await.unwrap();
    assert_eq!(delivered.references, ["a/7"]);
    assert_eq!(fake.seen()[1].line, "GET /d/a%2F7 HTTP/1.1");
}

#[tokio::test]
async fn a_list_proves_what_no_answer_names_and_gives_the_reference() {
    let table = format!("{BASE}[upload]\npath='/d'\nper_part=true\n[list]\npath='/d'\nitems=''\nfile_name='/name'\nreference='/id'");
    let outbound = two_parts();
    let entry = |n: usize| json!({"name": outbound.file_name(n), "id": n + 1});
    let list = |items: Vec<Value>| Reply::json(200, Value::Array(items));
    let accepted = || Reply::with(202, &[], b"");
    let fake = Fake::replies(vec![
        list(vec![]),
        accepted(),
        list(vec![entry(0)]),
        accepted(),
        list(vec![entry(1), entry(0)]),
    ])
    .await;
    let delivered = connector(&fake, &table).deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(delivered.references, ["1", "2"]);
    let fake = Fake::replies(vec![list(vec![]), accepted(), list(vec![])]).await;
    let outcome = connector(&fake, &table).deliver(&outbound, &NoProgressLog).await;
    assert!(
        matches!(outcome, Err(Failure::Ambiguous { .. })),
        "accepted, and not to be seen: {outcome:?}"
    );
}

#[tokio::test]
async fn a_list_of_another_applicant_proves_no_absence() {
    let table = format!(
        "{BASE}[upload]\npath='/d'\n[list]\npath='/a/{{applicant}}'\nitems='/docs'\nanswer_names={{'/id'='{{applicant}}'}}\nfile_name='/name'"
    );
    let fake = Fake::replies(vec![
        Reply::json(200, json!({"id": "other", "docs": []})),
        Reply::json(200, json!({"docs": []})),
        Reply::json(200, json!({"id": "per,son", "docs": []})),
    ])
    .await;
    let connector = connector(&fake, &table);
    for _ in 0..2 {
        let outcome = connector.reconcile(&two_parts()).await;
        assert!(matches!(outcome, Err(Failure::Definite { .. })), "{outcome:?}");
    }
    assert_eq!(connector.reconcile(&two_parts()).await, Ok(Presence::Absent));
}

#[tokio::test]
async fn a_verdict_about_something_else_decides_nothing() {
    let table = format!(
        "{BASE}[upload]\npath='/d'\nreference='/id'\nanswer_names={{'/who'='{{applicant}}'}}\n\
         [verdict]\npath='/d/{{reference}}'\nnames={{'/id'='{{reference}}'}}\nstatus='/status'\naccepted=['ok']\nrejected=['bad']"
    );
    let of = |id: &str, status: &str| Reply::json(200, json!({"id": id, "status": status}));
    let fake = Fake::replies(vec![of("2", "ok"), of("2", "bad"), of("1", "ok")]).await;
    let connector = connector(&fake, &table);
    let outbound = two_parts();
    for expected in [Verdict::Pending, Verdict::Pending, Verdict::Accepted] {
        assert_eq!(connector.verdict(&outbound, &receipt(&["1"])).await, Ok(expected));
    }
}

#[tokio::test]
async fn missing_documents_are_found_in_lists_inside_of_lists() {
    let table = format!(
        "{BASE}kinds={{government-id='ID_CARD'}}\n[upload]\npath='/d'\nanswer_names={{'/who'='{{applicant}}'}}\n\
         [missing]\npath='/c/{{applicant}}'\nitems='/*/requirements/due'\nname=''\nstatus=''\nwanted=['document.id','document.address']\nkinds={{government-id='document.id'}}"
    );
    let due = |due: Value| json!({"requirements": {"due": due}});
    let fake = Fake::replies(vec![
        Reply::json(
            200,
            json!([
                due(json!(["document.id", "individual.phone"])),
                due(json!(["document.id", "document.address"]))
            ]),
        ),
        Reply::json(200, json!([{}])),
        Reply::json(200, json!({})),
    ])
    .await;
    let connector = connector(&fake, &table);
    let outbound = two_parts();
    let missing = connector.missing(&outbound.applicant).await.unwrap();
    let names: Vec<_> = missing.iter().map(|m| (m.provider_name.as_str(), m.document.is_some())).collect();
    assert_eq!(names, [("document.id", true), ("document.address", false)]);
    assert!(
        connector.missing(&outbound.applicant).await.unwrap().is_empty(),
        "an entry without a list"
    );
    assert!(connector.missing(&outbound.applicant).await.is_err(), "no list at all");
}
