//! The commands that speak to a running portal, and what the command line tells of itself.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::{done, fails, json, nightdrop};
use crate::support::{Folder, TestApp, TestOptions, png};

/// Each act of the API, and the command that does it.
const ACTS: [(&str, &str, &str); 51] = [
    ("get", "/openapi.json", "openapi"),
    ("get", "/requests", "request list"),
    ("post", "/requests/search", "request list"),
    ("post", "/requests", "request new"),
    ("get", "/requests/{id}", "request show"),
    ("post", "/requests/{id}/extend", "request extend"),
    ("post", "/requests/{id}/reissue", "request reissue"),
    ("post", "/requests/{id}/passcode", "request passcode"),
    ("post", "/requests/{id}/revoke", "request revoke"),
    ("post", "/requests/{id}/retry", "request retry"),
    ("post", "/requests/{id}/purge", "request purge"),
    ("post", "/requests/{id}/mark-uploaded", "request mark-uploaded"),
    ("post", "/requests/{id}/notes", "request note"),
    ("post", "/requests/{id}/assign", "request assign"),
    ("get", "/requests/{id}/deletion-receipt", "receipt get"),
    ("get", "/receipt-key", "receipt key"),
    ("get", "/return-key", "api-key return-key"),
    ("get", "/dispatches", "dispatch list"),
    ("post", "/dispatches/{id}/resend", "dispatch resend"),
    ("get", "/audit", "audit export"),
    ("get", "/audit/export", "audit export"),
    ("get", "/deletion-receipts", "receipt list"),
    ("post", "/person/export", "person export"),
    ("post", "/person/erase", "person erase"),
    ("get", "/providers", "provider list"),
    ("get", "/providers/{provider}/applicants/{applicant}/missing", "missing"),
    ("post", "/providers/{provider}/missing", "missing"),
    ("get", "/agents", "agent list"),
    ("post", "/agents", "agent add"),
    ("post", "/agents/invite", "agent invite"),
    ("post", "/agents/{id}/invite", "agent new-link"),
    ("post", "/agents/{id}/enable", "agent enable"),
    ("post", "/agents/{id}/delete", "agent delete"),
    ("get", "/agents/{id}/sessions", "agent sessions"),
    ("post", "/agents/{id}/end-session", "agent end-session"),
    ("post", "/agents/{id}/disable", "agent disable"),
    ("post", "/agents/{id}/role", "agent change"),
    ("post", "/agents/{id}/reset-second-factor", "agent reset-second-factor"),
    ("post", "/agents/{id}/password", "agent reset-password"),
    ("get", "/api-keys", "api-key list"),
    ("post", "/api-keys", "api-key create"),
    ("post", "/api-keys/{id}/revoke", "api-key revoke"),
    ("post", "/backup", "backup"),
    ("get", "/key", "key status"),
    ("post", "/key/unlock", "key unlock"),
    ("get", "/status", "status"),
    ("get", "/first-steps", "first-steps list"),
    ("post", "/first-steps", "first-steps done"),
    ("post", "/clock/accept", "clock accept"),
    // The same acts for assistants.
    ("get", "/requests/{id}", "mcp"),
    ("post", "/requests", "mcp"),
];

#[test]
fn every_act_of_the_api_has_a_command() {
    let document = json(&done(&mut nightdrop(&["openapi"])));
    let mut acts = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        acts.extend(item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let known = ACTS
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(acts, known);
    for (_, _, command) in ACTS {
        let words: Vec<&str> = std::iter::once("help").chain(command.split(' ')).collect();
        assert!(
            done(&mut nightdrop(&words)).contains(&format!("Usage: nightdrop {command}")),
            "{command}"
        );
    }
    assert!(fails(&mut nightdrop(&["help", "request", "forget"])).contains("no command `nightdrop request forget`"));
}

#[test]
fn shells_and_man_learn_every_command() {
    for (shell, words) in [
        ("bash", "complete -F _nightdrop"),
        ("zsh", "#compdef nightdrop"),
        ("fish", "complete -c nightdrop"),
    ] {
        let script = done(&mut nightdrop(&["completions", shell]));
        assert!(
            script.contains(words) && script.contains("mark-uploaded") && script.contains("older-than"),
            "{shell}"
        );
    }
    let folder = Folder::new();
    let path = folder.path().to_str().unwrap();
    let said = done(&mut nightdrop(&["man", path]));
    assert!(said.contains(" pages written to "), "{said}");
    for name in [
        "nightdrop.1",
        "nightdrop-request-new.1",
        "nightdrop-api-key-create.1",
        "nightdrop-mcp.1",
    ] {
        let page = folder.path().join(name);
        assert!(std::fs::read_to_string(&page).unwrap().contains(".SH SYNOPSIS"), "{name}");
        // Everybody reads manuals, whatever else this program keeps to itself.
        assert_eq!(std::fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o644, "{name}");
    }
    assert!(fails(&mut nightdrop(&["man", "/nowhere"])).contains("/nowhere cannot be written to"));
}

pub(super) fn asking(app: &TestApp, token: &str, arguments: &[&str]) -> Command {
    let mut command = nightdrop(arguments);
    command.env("NIGHTDROP_URL", app.staff("")).env("NIGHTDROP_TOKEN", token);
    command
}

pub(super) async fn portal(more: &str) -> TestApp {
    TestApp::with_options(TestOptions {
        more: more.to_owned(),
        ..TestOptions::default()
    })
    .await
}

/// No line is wider than a terminal has been for ever.
fn fits(table: &str) {
    for line in table.lines() {
        assert!(line.chars().count() <= 80, "{line}\n{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_its_ticket_and_old_ones_are_found() {
    let app = portal("").await;
    let run = |arguments: &[&str]| done(&mut asking(&app, &app.api_key, arguments));
    let new = [
        "request",
        "new",
        "--provider",
        "sandbox",
        "--applicant",
        "applicant-with-a-long-reference-0123456789",
        "--document",
        "passport",
    ];
    let said = run(&[&new[..], &["--ticket", "ZD-4711"]].concat());
    assert!(said.contains("\nTicket    ZD-4711\n"), "{said}");
    let refused = fails(&mut asking(&app, &app.api_key, &[&new[..], &["--ticket", "a b"]].concat()));
    assert!(refused.contains("ticket must be"), "{refused}");
    let list = run(&["request", "list"]);
    fits(&list);
    assert!(
        list.starts_with("REQUEST ") && list.contains("CREATED (UTC)") && list.contains("0123456789"),
        "{list}"
    );
    let ids = |arguments: &[&str]| json(&run(arguments))["requests"].as_array().unwrap().len();
    assert_eq!(ids(&["request", "list", "--json"]), 1);
    assert_eq!(ids(&["request", "list", "--json", "--older-than", "1h"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_uploaded_by_hand_is_marked() {
    let app = portal("[providers.desk]\nkind = \"manual\"\n").await;
    let link = app.link_at("desk", "applicant-1").await;
    app.drop_front(&link, 3).await;
    app.work().await;
    let said = done(&mut asking(&app, &app.api_key, &["request", "mark-uploaded", &link.id.to_string()]));
    assert!(said.contains("Outcome   confirmed"), "{said}");
    app.work().await;
    let again = fails(&mut asking(&app, &app.api_key, &["request", "mark-uploaded", &link.id.to_string()]));
    assert!(again.contains('('), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_invited_disabled_enabled_and_deleted() {
    let app = portal("").await;
    let run = |arguments: &[&str]| done(&mut asking(&app, &app.api_key, arguments));
    let agent = |action: &str| run(&["agent", action, "ana@example.com"]);
    let said = run(&["agent", "invite", "--email", "ana@example.com", "--name", "Ana"]);
    let link = |said: &str| said.lines().find(|l| l.contains("/invitation/agt_")).unwrap().to_owned();
    assert!(said.contains("shown this once") && said.contains("No mail is configured"), "{said}");
    let again = agent("new-link");
    assert_ne!(link(&said), link(&again), "{again}");
    assert!(agent("disable").contains("can no longer sign in"));
    assert!(fails(&mut asking(&app, &app.api_key, &["agent", "new-link", "ana@example.com"])).contains("enabled first"));
    assert!(agent("enable").contains("can sign in again"));
    assert!(agent("sessions").starts_with("SESSION "));
    fits(&run(&["agent", "list"]));
    let unsure = fails(&mut asking(&app, &app.api_key, &["agent", "delete", "ana@example.com"]));
    assert!(unsure.contains("--yes"), "{unsure}");
    assert!(run(&["agent", "delete", "ana@example.com", "--yes"]).contains("keeps the name"));
    assert!(fails(&mut asking(&app, &app.api_key, &["agent", "enable", "ana@example.com"])).contains("there is no agent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_and_revoked() {
    let app = portal("").await;
    let run = |arguments: &[&str]| done(&mut asking(&app, &app.api_key, arguments));
    let said = run(&[
        "api-key",
        "create",
        "--name",
        "helpdesk",
        "--scope",
        "requests",
        "--expires-in",
        "90d",
    ]);
    assert!(said.contains("shown this once"), "{said}");
    let field = |name: &str| said.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    let (id, secret) = (field("Key"), field("Secret"));
    let with = |arguments: &[&str]| asking(&app, &secret, arguments);
    done(&mut with(&["request", "list"]));
    assert!(done(&mut with(&["api-key", "return-key"])).len() > 32);
    assert!(fails(&mut with(&["api-key", "list"])).contains("Use a key with that scope"));
    let list = run(&["api-key", "list"]);
    fits(&list);
    assert!(list.contains("helpdesk") && !list.contains(&secret), "{list}");
    let whole: Value = json(&run(&["api-key", "list", "--json"]));
    assert_eq!(whole["api_keys"].as_array().unwrap().len(), 2);
    assert!(run(&["api-key", "revoke", &id]).contains("helpdesk was revoked"));
    assert!(fails(&mut with(&["request", "list"])).contains("Check NIGHTDROP_TOKEN"));
    assert!(
        fails(&mut asking(
            &app,
            &app.api_key,
            &["api-key", "create", "--name", "x", "--scope", "all"]
        ))
        .contains("read, requests, audit, admin")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_portal_fits_a_terminal() {
    let app = portal(
        "[webhooks.app]\nurl = \"http://127.0.0.1:1/events\"\nallow_insecure = true\nallow_private = true\nsecret_file = \"webhook\"\n",
    )
    .await;
    let run = |arguments: &[&str]| done(&mut asking(&app, &app.api_key, arguments));
    let link = app.link_for("passport", None).await;
    app.drop_files(&link, &[("front", &png(1, 20_000))]).await;
    let _ = nightdrop::testing::workflow::outgoing::step(&app.portal).await.unwrap();
    let status = run(&["status"]);
    assert!(status.contains("Vault     open") && status.contains(" 1 request\n"), "{status}");
    assert!(run(&["provider", "list"]).contains("sandbox"));
    let list = run(&["dispatch", "list", "--request", &link.id.to_string()]);
    for table in [&list, &status, &run(&["provider", "list"])] {
        fits(table);
    }
    assert!(list.contains("request.created") && list.contains("hook:app"), "{list}");
    let nobody = fails(&mut asking(&app, &app.api_key, &["dispatch", "resend", "msg_nothing"]));
    assert!(nobody.contains("no webhook with this id"), "{nobody}");
    assert!(run(&["clock", "accept"]).contains("Clock     right"));
}
