//! The demo from outside, as everybody meets it first: `--once` keeps every promise, `--json` is the contract that others build on, and nothing stays behind.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cli::{Process, done, http, nightdrop};
use crate::support::{Folder, form, png, sha256, walk};

/// A demo that runs, in a temporary folder of its own.
struct Demo {
    process: Process,
    first: Value,
    folder: Folder,
}

impl Demo {
    fn start() -> Self {
        let folder = Folder::new();
        let mut command = nightdrop(&["demo", "--json"]);
        command.env("TMPDIR", folder.path());
        let mut process = Process::start(&mut command);
        let first = process.json();
        Self { process, first, folder }
    }

    fn url(&self, name: &str) -> &str {
        self.first[name].as_str().unwrap()
    }

    /// Events of one request up to a state.
    fn until(&mut self, request: &str, state: &str) -> Vec<String> {
        let mut states = Vec::new();
        while states.last().is_none_or(|s| s != state) {
            let event = self.process.json();
            assert!(event["at"].as_str().unwrap().ends_with('Z'));
            if event["request"] == request {
                states.push(event["state"].as_str().unwrap().to_owned());
            }
        }
        states
    }

    fn end(self, signal: &str) {
        self.process.signal(signal);
        let (_, code) = self.process.end();
        assert_eq!(code, Some(0));
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0, "nothing stays behind");
    }
}

async fn drop_photos(url: &str, photos: &[(&str, &[u8])]) {
    let (body, kind) = form(photos);
    let answer = http().post(url).header("content-type", kind).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn received(sandbox: &str) -> Value {
    let text = http()
        .get(format!("{sandbox}/received"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn once_keeps_every_promise_and_leaves_nothing() {
    let folder = Folder::new();
    let said = done(nightdrop(&["demo", "--once"]).env("TMPDIR", folder.path()));
    for promise in [
        "SHA-256 equal",
        "receipt 1 verified",
        "do not open any more",
        "no 32 bytes in a row",
        "Every promise was kept",
    ] {
        assert!(said.contains(promise), "{promise}\n{said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn once_for_machines_is_one_object_per_line() {
    let given = Folder::new();
    let text = done(nightdrop(&["demo", "--once", "--json", "--data-dir"]).arg(given.path()));
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["data_dir"], given.path().to_str().unwrap());
    let states: Vec<&str> = lines[1..].iter().map(|l| l["state"].as_str().unwrap()).collect();
    assert_eq!(
        states,
        [
            "awaiting",
            "received",
            "forwarding",
            "awaiting_confirmation",
            "confirmed",
            "purged",
            "purged"
        ]
    );
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["ok"]), (&"demo.proven".into(), &true.into()));
    assert_eq!(
        std::fs::read_dir(given.path()).unwrap().count(),
        0,
        "a given folder is left as it was found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telephone_opens_the_page_and_the_console_stays_here() {
    let folder = Folder::new();
    let mut command = nightdrop(&["demo", "--lan", "127.0.0.2"]);
    command.env("TMPDIR", folder.path());
    let mut process = Process::start(&mut command);
    let mut said = String::new();
    while !said.contains("Ctrl-C ends the demo") {
        said.push_str(&process.line().expect("another line"));
        said.push('\n');
    }
    let value = |name: &str| said.lines().find_map(|l| l.trim().strip_prefix(name)).unwrap().trim();
    let link = value("Upload link").split(' ').next().unwrap();
    assert!(link.starts_with("http://127.0.0.2:"), "{said}");
    assert!(value("Console").starts_with("http://localhost:"), "{said}");
    assert!(said.contains("Plain HTTP") && said.contains("▀") && said.contains("▄"), "{said}");
    // The page's own form passes the check of where it comes from.
    let (body, kind) = form(&[("front", &png(1, 5_000)), ("back", &png(2, 5_000))]);
    let origin = link[..link.find("/d/").unwrap()].to_owned();
    let call = http().post(link).header("content-type", kind).header("origin", &origin).body(body);
    assert_eq!(call.send().await.unwrap().status(), 200);
    loop {
        let line = process.line().expect("another line");
        if line.to_lowercase().contains("purged") || line.contains("destroyed") {
            break;
        }
    }
    process.signal("-INT");
    assert_eq!(process.end().1, Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for (address, why) in [("93.184.216.34", "private network"), ("my-laptop", "IP addresses")] {
        let refused = nightdrop(&["demo", "--lan", address]).output().unwrap();
        assert!(
            !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(why),
            "{address}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_events_is_what_others_build_on() {
    let mut demo = Demo::start();
    let names: Vec<&String> = demo.first.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["api_key", "data_dir", "public_url", "sandbox_url", "staff_url", "upload_url"]
    );
    assert!(
        demo.url("staff_url").starts_with("http://localhost:"),
        "passkeys know no bare addresses"
    );
    assert!(demo.url("upload_url").starts_with(demo.url("public_url")));
    assert!(Path::new(demo.url("data_dir")).starts_with(demo.folder.path()));

    let issued = demo.process.json();
    assert_eq!(issued["state"], "awaiting");
    let james = issued["request"].as_str().unwrap().to_owned();
    let (front, back) = (png(1, 30_000), png(2, 20_000));
    drop_photos(demo.url("upload_url"), &[("front", &front), ("back", &back)]).await;
    assert_eq!(
        demo.until(&james, "purged"),
        ["received", "forwarding", "awaiting_confirmation", "confirmed", "purged"]
    );
    let parts = json!([{"part": "front", "sha256": sha256(&front), "size": front.len()}, {"part": "back", "sha256": sha256(&back), "size": back.len()}]);
    let books = json!([{"applicant": "james", "document": "government-id", "parts": parts, "deliveries": 1}]);
    assert_eq!(received(demo.url("sandbox_url")).await, books);
    for file in walk(Path::new(demo.url("data_dir"))) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(32).any(|w| w == &front[1000..1032]), "{}", file.display());
    }

    // Requests that others make, through the API and with the command line, are told too.
    let (staff, key) = (demo.url("staff_url").to_owned(), demo.url("api_key").to_owned());
    let asking = |arguments: &[&str]| {
        let mut command = nightdrop(arguments);
        command.env("NIGHTDROP_URL", &staff).env("NIGHTDROP_TOKEN", &key);
        done(&mut command)
    };
    let missing = asking(&["missing", "--provider", "sandbox", "--applicant", "maria"]);
    assert!(missing.contains("government-id"), "{missing}");
    let new = [
        "request",
        "new",
        "--provider",
        "sandbox",
        "--applicant",
        "maria",
        "--document",
        "passport",
        "--json",
    ];
    let maria: Value = serde_json::from_str(&asking(&new)).unwrap();
    let id = maria["id"].as_str().unwrap().to_owned();
    assert_eq!(demo.until(&id, "awaiting"), ["awaiting"]);
    let extended: Value = serde_json::from_str(&asking(&["request", "extend", &id, "--expires-in", "96h", "--json"])).unwrap();
    assert!(extended["expires_at"].as_str() > maria["expires_at"].as_str());
    let again: Value = serde_json::from_str(&asking(&["request", "reissue", &id, "--json"])).unwrap();
    assert_ne!(again["url"], maria["url"]);
    drop_photos(again["url"].as_str().unwrap(), &[("front", &front)]).await;
    demo.until(&id, "purged");
    let shown = asking(&["request", "show", &id]);
    assert!(shown.contains("document.purged") && shown.contains("purged"), "{shown}");
    assert!(asking(&["request", "list", "--applicant", "maria"]).contains(&id));

    // Its receipt verifies offline, with the key that the portal publishes.
    let file = demo.folder.path().join("receipt");
    std::fs::write(&file, asking(&["receipt", "get", &id])).unwrap();
    let public = asking(&["receipt", "key"]);
    done(nightdrop(&["receipt", "verify", "--public-key", public.trim()]).arg(&file));
    std::fs::remove_file(&file).unwrap();
    demo.end("-TERM");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_rejects_is_told_and_purged_all_the_same() {
    let mut demo = Demo::start();
    let james = demo.process.json()["request"].as_str().unwrap().to_owned();
    let plan = json!({"next": ["reject:expired"]}).to_string();
    let behaviour = format!("{}/behaviour", demo.url("sandbox_url"));
    let answer = http()
        .post(behaviour)
        .header("content-type", "application/json")
        .body(plan)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    drop_photos(demo.url("upload_url"), &[("front", &png(1, 5_000)), ("back", &png(2, 5_000))]).await;
    assert_eq!(
        demo.until(&james, "purged"),
        ["received", "forwarding", "awaiting_confirmation", "rejected", "purged"]
    );
    demo.end("-INT");
}

#[test]
fn a_folder_with_something_in_it_is_not_touched() {
    let given = Folder::new();
    std::fs::write(given.path().join("mine"), "precious").unwrap();
    let output = nightdrop(&["demo", "--once", "--data-dir"])
        .arg(given.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not empty"));
    assert_eq!(std::fs::read_to_string(given.path().join("mine")).unwrap(), "precious");
}
