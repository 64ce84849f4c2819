//! One person's data: what an export holds and what it never does, and an erasure that leaves nothing but what its statement names.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::transition::Transition;
use nightdrop::testing::workflow::issue;
use serde_json::Value;
use time::Duration;

use super::commands::asking;
use super::{done, fails, json};
use crate::support::{Folder, Link, TestApp, TestOptions, ask, png, sha256};

const PERSON: &str = "acct_erika_4711";
const OTHER: &str = "acct_otto_0815";
const NOTE: &str = "She rang twice about this.";

/// A provider that nobody answers for.
const GONE: &str = "[providers.gone]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:9\"\napi_key_file = \"sandbox-key\"\n";

fn run(app: &TestApp, arguments: &[&str]) -> String {
    done(&mut asking(app, &app.api_key, arguments))
}

fn export(app: &TestApp, who: &[&str]) -> Value {
    json(&run(app, &[&["person", "export"], who].concat()))
}

async fn actions(app: &TestApp) -> Vec<String> {
    let entries = app.portal.audit.entries(0, 10_000).await.unwrap();
    entries.iter().map(|entry| entry.event.action.to_string()).collect()
}

/// One request that was delivered and purged, one that is held, and one whose upload has begun; all of them of one person.
async fn three(app: &TestApp) -> [Link; 3] {
    let delivered = app.link_at("sandbox", PERSON).await;
    app.drop_front(&delivered, 1).await;
    app.work().await;
    let held = app.link_at("gone", PERSON).await;
    app.drop_front(&held, 2).await;
    let mut open = ask(PERSON, "passport");
    open.message = Some("As we talked about.".to_owned());
    open.metadata = Some("{\"case\":7}".to_owned());
    let open = app.issue(open).await;
    let begun = app
        .http
        .post(app.public(&format!("{}/parts/front", open.path)))
        .header("Tus-Resumable", "1.0.0")
        .header("Upload-Length", "20000")
        .header("Upload-Metadata", "filename cGFzcy5wbmc=,filetype aW1hZ2UvcG5n")
        .header("Content-Type", "application/offset+octet-stream")
        .body(png(3, 20_000)[..5_000].to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(begun.status(), 201);
    [delivered, held, open]
}

async fn portal() -> TestApp {
    TestApp::with_options(TestOptions {
        more: GONE.to_owned(),
        ..TestOptions::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_everything_of_one_person_and_nothing_of_others() {
    let app = portal().await;
    let links = three(&app).await;
    let other = app.link_at("sandbox", OTHER).await;
    let [delivered, _, open] = &links;
    run(&app, &["request", "note", &open.id.to_string(), NOTE]);
    let exported = export(&app, &[PERSON]);
    assert_eq!(exported["applicant"], PERSON);
    let requests = exported["requests"].as_array().unwrap();
    let of = |link: &Link| {
        let id = link.id.to_string();
        requests
            .iter()
            .find(|one| one["request"]["id"] == id)
            .unwrap_or_else(|| panic!("{id} in {exported:#}"))
    };
    assert_eq!(requests.len(), 3);
    assert_eq!(of(delivered)["request"]["outcome"], "confirmed");
    let receipt = &of(delivered)["deletion_receipts"][0];
    assert_eq!((&receipt["number"], &receipt["cause"]), (&1.into(), &"confirmed".into()));
    assert_eq!(of(open)["message"], "As we talked about.");
    assert_eq!(of(open)["request"]["metadata"]["case"], 7);
    assert_eq!(of(open)["request"]["notes"][0]["text"], NOTE);
    assert!(of(delivered)["request"]["timeline"].to_string().contains("document.purged"));
    let text = exported.to_string();
    let secrets = links.iter().map(|link| link.token.as_str());
    for never in secrets.chain(["IMG 0001", OTHER, &other.id.to_string(), &sha256(&png(1, 4_000))]) {
        assert!(!text.contains(never), "{never}");
    }
    // The same by one of their requests, by provider, and to a file of its own.
    assert_eq!(export(&app, &["--request", &open.id.to_string()])["requests"], exported["requests"]);
    assert_eq!(
        export(&app, &[PERSON, "--provider", "gone"])["requests"].as_array().unwrap().len(),
        1
    );
    assert!(export(&app, &["acct_nobody"])["requests"].as_array().unwrap().is_empty());
    let folder = Folder::new();
    let file = folder.path().join("erika.json");
    let said = run(&app, &["person", "export", PERSON, "--out", file.to_str().unwrap()]);
    assert!(said.contains("3 requests written to"), "{said}");
    assert_eq!(json(&std::fs::read_to_string(&file).unwrap())["requests"], exported["requests"]);
    assert_eq!(actions(&app).await.iter().filter(|action| *action == "person.exported").count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_leaves_nothing_but_what_its_statement_names() {
    let app = portal().await;
    let links = three(&app).await;
    let other = app.link_at("sandbox", OTHER).await;
    let refused = fails(&mut asking(&app, &app.api_key, &["person", "erase", PERSON]));
    assert!(refused.contains("say --yes"), "{refused}");
    assert_eq!(export(&app, &[PERSON])["requests"].as_array().unwrap().len(), 3);

    let statement = run(&app, &["person", "erase", PERSON, "--yes"]);
    for link in &links {
        assert!(app.portal.requests.request(link.id).await.unwrap().is_none(), "{}", link.id);
        assert!(statement.contains(&format!("erased: {} ", link.id)), "{statement}");
        let page = app.http.get(app.public(&link.path)).send().await.unwrap();
        assert_eq!(page.status(), 404);
    }
    assert!(statement.contains("complete: yes\n") && !statement.contains(PERSON), "{statement}");
    assert!(
        statement.contains("provider sandbox passed-on yes receipts 1\n") && statement.contains("provider gone passed-on no receipts 2\n"),
        "{statement}"
    );
    // No document, no part of one, and no secret.
    assert_eq!(app.portal.erasure.free().unwrap(), 64);
    assert!(app.portal.requests.live_documents().await.unwrap().is_empty());
    assert!(export(&app, &[PERSON])["requests"].as_array().unwrap().is_empty());
    assert_eq!(app.state(&other).await.as_str(), "awaiting", "somebody else's stays");

    // What stays: receipts by number, and the log without a reference.
    let receipts = run(&app, &["receipt", "list"]);
    assert_eq!(receipts.lines().count(), 2);
    assert!(receipts.contains(&links[1].id.to_string()) && !receipts.contains(PERSON));
    let log = run(&app, &["audit", "export"]);
    assert!(log.contains("person.erased") && !log.contains(PERSON));

    // The statement verifies with the portal's key, and not when it was touched.
    let key = run(&app, &["receipt", "key"]);
    let folder = Folder::new();
    let file = folder.path().join("statement.txt");
    let verify = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = super::nightdrop(&["receipt", "verify", "--json", file.to_str().unwrap(), "--public-key"]);
        command.arg(key.trim());
        command
    };
    let verified = json(&done(&mut verify(&statement)));
    assert_eq!(verified["signer_known"], true);
    // Whoever knows the reference finds it in the statement.
    let subject = sha256(format!("nightdrop/v1/subject\0{PERSON}").as_bytes());
    assert!(statement.contains(&format!("subject: {subject}\n")), "{statement}");
    let touched = fails(&mut verify(&statement.replace("passed-on no", "passed-on yes")));
    assert!(touched.contains("changed after it was signed"), "{touched}");
    // And so does the log attest it.
    assert!(log.contains(&sha256(statement.as_bytes())), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_sent_waits_and_is_named_and_ends_the_next_time() {
    let (options, clock) = TestOptions {
        more: GONE.to_owned(),
        ..TestOptions::default()
    }
    .with_clock();
    let app = TestApp::with_options(options).await;
    let link = app.link_at("gone", PERSON).await;
    app.drop_front(&link, 1).await;
    // A worker has it, and its provider takes a minute.
    let until = app.portal.now() + Duration::seconds(60);
    app.portal.requests.transition(link.id, Transition::Lease { until }).await.unwrap();
    let mut command = asking(&app, &app.api_key, &["person", "erase", PERSON, "--yes"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (statement, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(
        statement.contains("complete: no\n") && statement.contains(&format!("pending: {} sending\n", link.id)),
        "{statement}"
    );
    assert!(complaint.contains("1 request is pending"), "{complaint}");
    assert!(app.portal.requests.request(link.id).await.unwrap().is_some());
    clock.forward(Duration::seconds(61));
    let statement = run(&app, &["person", "erase", PERSON, "--yes"]);
    assert!(statement.contains("complete: yes\n"), "{statement}");
    assert!(app.portal.requests.request(link.id).await.unwrap().is_none());
    assert_eq!(app.portal.erasure.free().unwrap(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_data_is_for_admins_and_every_fault_is_named() {
    let app = portal().await;
    let link = app.link_at("sandbox", PERSON).await;
    let said = run(&app, &["api-key", "create", "--name", "helpdesk", "--scope", "requests", "--json"]);
    let secret = json(&said)["secret"].as_str().unwrap().to_owned();
    for command in [&["person", "export", PERSON][..], &["person", "erase", PERSON, "--yes"]] {
        let refused = fails(&mut asking(&app, &secret, command));
        assert!(refused.contains("auth.forbidden"), "{refused}");
    }
    for (who, word) in [
        (&["--request", "req_nothing"][..], "request must be"),
        (&["a b"], "applicant must be"),
        (&["--request", "req_00000000000000000000000000"], "not_found"),
        (&[PERSON, "--provider", "No Name"], "provider must be"),
    ] {
        let refused = fails(&mut asking(&app, &app.api_key, &[&["person", "export"], who].concat()));
        assert!(refused.contains(word), "{refused}");
    }
    assert_eq!(app.state(&link).await.as_str(), "awaiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_exported_by_request_and_by_time() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let first = app.link_at("sandbox", PERSON).await;
    clock.forward(Duration::days(2));
    let middle = app.portal.now();
    clock.forward(Duration::days(2));
    let second = app.link_at("sandbox", OTHER).await;
    issue::revoke(&app.portal, second.id, Actor::Operator).await.unwrap();
    let at = middle.format(&time::format_description::well_known::Rfc3339).unwrap();
    let lines = |more: &[&str]| {
        let text = run(&app, &[&["audit", "export"], more].concat());
        text.lines().map(json).collect::<Vec<Value>>()
    };
    let whole = lines(&[]);
    let request = second.id.to_string();
    let of = lines(&["--request", &request]);
    assert!(of.iter().all(|entry| entry["request"] == request), "{of:#?}");
    let actions: Vec<_> = of.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["link.issued", "link.revoked"]);
    let (before, after) = (lines(&["--to", &at]), lines(&["--from", &at]));
    assert_eq!([before.clone(), after].concat(), whole);
    assert!(before.iter().any(|entry| entry["request"] == first.id.to_string()));
    let day = middle.date().to_string();
    assert!(lines(&["--from", &day, "--to", &day]).is_empty());
    let table = run(&app, &["audit", "export", "--csv", "--request", &request]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], "number,at,action,actor,request,detail,hash");
    assert!(
        rows.len() == 3 && rows[1].contains("\"link.issued\",\"operator\"") && rows[2].contains(&request),
        "{table}"
    );
    let nothing = run(&app, &["audit", "export", "--csv", "--from", "2100-01-01"]);
    assert_eq!(nothing.lines().count(), 1);
    let refused = fails(&mut asking(&app, &app.api_key, &["audit", "export", "--from", "yesterday"]));
    assert!(refused.contains("from must be"), "{refused}");
}
