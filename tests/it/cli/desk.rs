//! What colleagues tell one another about a request, who of them sees to it, and the first steps of a portal, from a shell.

use std::process::Stdio;

use nightdrop::testing::domain::agent::{Actor, Role, Scope};
use nightdrop::testing::workflow::sign_in;

use super::commands::{asking, portal};
use super::{done, fails, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_given_as_a_word_or_by_standard_input() {
    let app = portal("").await;
    let id = app.link().await.id.to_string();
    let run = |arguments: &[&str]| done(&mut asking(&app, &app.api_key, arguments));
    run(&["request", "note", &id, "Called back: the new passport comes next week"]);
    let file = app.data().join("note.txt");
    std::fs::write(&file, "first line\nsecond \u{9}line\n").unwrap();
    let mut command = asking(&app, &app.api_key, &["request", "note", &id]);
    done(command.stdin(std::fs::File::open(&file).unwrap()));
    let shown = run(&["request", "show", &id]);
    assert!(
        shown.contains("          Called back: the new passport comes next week\n"),
        "{shown}"
    );
    assert!(shown.contains("          first line\n          second \u{fffd}line\n"), "{shown}");
    let whole = json(&run(&["request", "show", &id, "--json"]));
    assert_eq!(whole["notes"][1]["text"], "first line\nsecond \u{9}line");
    let empty = fails(asking(&app, &app.api_key, &["request", "note", &id]).stdin(Stdio::null()));
    assert!(empty.contains("1 to 1000 characters"), "{empty}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_assigned_from_a_shell() {
    let app = portal("").await;
    let ada = sign_in::add_agent(
        &app.portal,
        "ada@example.com",
        "Ada",
        Role::Agent,
        "three words or four",
        Actor::Operator,
    );
    let ada = ada.await.unwrap().id;
    let made = sign_in::add_api_key(&app.portal, "hers", vec![Scope::Requests], None, Actor::Agent(ada));
    let hers = made.await.unwrap().1.to_string();
    let id = app.link().await.id.to_string();
    let run = |token: &str, arguments: &[&str]| done(&mut asking(&app, token, arguments));
    let shown = run(&hers, &["request", "assign", &id, "--to-me"]);
    assert!(shown.contains("Assigned  Ada\n") && shown.contains("request.assigned"), "{shown}");
    assert!(run(&hers, &["request", "list", "--assigned", "me"]).contains(&id));
    assert!(!run(&app.api_key, &["request", "list", "--assigned", "none"]).contains(&id));
    let shown = run(&app.api_key, &["request", "assign", &id, "--nobody"]);
    assert!(!shown.contains("Assigned "), "{shown}");
    let ada = ada.to_string();
    let whole = json(&run(&app.api_key, &["request", "assign", &id, &ada, "--json"]));
    assert_eq!(whole["assigned"]["id"], ada.as_str());
    run(&app.api_key, &["agent", "disable", "ada@example.com"]);
    let shown = run(&app.api_key, &["request", "show", &id]);
    assert!(shown.contains("Assigned  nobody (formerly Ada)\n"), "{shown}");
    let mine = fails(&mut asking(&app, &app.api_key, &["request", "assign", &id, "--to-me"]));
    assert!(mine.contains("no agent made this one"), "{mine}");
    for wrong in [&["--to-me", "--nobody"][..], &[]] {
        let arguments = [&["request", "assign", &id][..], wrong].concat();
        let refused = asking(&app, &hers, &arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_steps_are_ticked_off_from_a_shell() {
    let app = portal("").await;
    let run = |arguments: &[&str]| done(&mut asking(&app, &app.api_key, arguments));
    assert!(run(&["first-steps", "list"]).contains("backup"));
    let list = json(&run(&["first-steps", "done", "backup", "--json"]));
    assert_eq!(list["steps"][5]["state"], "ticked_off");
    assert!(run(&["first-steps", "hide"]).contains("nightdrop first-steps show"));
    assert!(!run(&["first-steps", "show"]).contains("nightdrop first-steps show"));
    assert!(fails(&mut asking(&app, &app.api_key, &["first-steps", "done", "company"])).contains("one of"));
}
