//! The examples of the hosted flow, as somebody would run them: each asks a real portal, sends its user there, takes them back, and believes its webhooks only.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nightdrop::testing::workflow::outgoing;

use crate::support::{Folder, TestApp, TestOptions, form, png};

/// What the portal's secret file `webhook` holds.
const SECRET: &str = "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0";

/// A child that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parts() -> String {
    std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run")
}

fn source(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// The whole flow with one example.
async fn runs(mut example: Command) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = TestApp::with_options(TestOptions {
        more: format!(
            "hosted = {{ return_hosts = [\"{free}\"] }}\n[webhooks.app]\nurl = \"http://{free}/events\"\nallow_insecure = true\nallow_private = true\nsecret_file = \"webhook\"\n"
        ),
        ..TestOptions::default()
    })
    .await;
    let mut process = example
        .env("NIGHTDROP_URL", app.staff(""))
        .env("NIGHTDROP_TOKEN", &app.api_key)
        .env("WEBHOOK_SECRET", SECRET)
        .env("LISTEN", free.to_string())
        .env("no_proxy", "*")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{example:?}: {e}"));
    let mut said = BufReader::new(process.stdout.take().unwrap());
    let _process = Ended(process);
    // Quotation marks around texts are a matter of the language.
    let mut line = || {
        let mut line = String::new();
        tokio::task::block_in_place(|| said.read_line(&mut line)).unwrap();
        line.replace('"', "")
    };
    let says = |line: String, words: &str| assert!(line.contains(words), "{words}: {line}");
    says(line(), "open http://");
    let sent = app.http.get(format!("http://{free}/")).send().await.unwrap();
    assert_eq!(sent.status(), 303);
    says(line(), "asked for req_");
    let path = sent.headers()["location"]
        .to_str()
        .unwrap()
        .split_once("127.0.0.1")
        .unwrap()
        .1
        .to_owned();
    let (body, kind) = form(&[("front", &png(3, 20_000))]);
    let dropped = app
        .http
        .post(app.public(&path))
        .header("content-type", kind)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(dropped.status(), 200);
    let page = app.http.get(app.public(&path)).send().await.unwrap().text().await.unwrap();
    let start = page.find(&format!("href=\"http://{free}/back")).unwrap() + 6;
    let back = page[start..].split('"').next().unwrap().replace("&amp;", "&");
    let thanks = app.http.get(&back).send().await.unwrap();
    assert_eq!(thanks.status(), 200);
    says(line(), "is received");
    for forged in [
        back.replace("state=received", "state=purged"),
        back.replace("signature=", "signature=0"),
    ] {
        assert_eq!(app.http.get(forged).send().await.unwrap().status(), 403);
    }
    while outgoing::step(&app.portal).await.unwrap() {}
    says(line(), "event: request.created");
    says(line(), "event: document.received");
    let unsigned = app.http.post(format!("http://{free}/events")).body("{}").send().await.unwrap();
    assert_eq!(unsigned.status(), 403);
    let forged = app
        .http
        .post(format!("http://{free}/events"))
        .header("webhook-id", "msg_1")
        .body("{}");
    let forged = forged.header("webhook-timestamp", app.portal.now().unix_timestamp().to_string());
    let forged = forged.header("webhook-signature", "v1,AAAA").send().await.unwrap();
    assert_eq!(forged.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosted_flow_in_rust() {
    let example = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/hosted_flow");
    if !example.exists() {
        // `cargo test` builds it; a run of this test binary alone does not.
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--example", "hosted_flow"])
            .status();
        assert!(built.unwrap().success());
    }
    runs(Command::new(example)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and standardwebhooks: run tests/run"]
async fn the_hosted_flow_in_python() {
    let mut example = Command::new("python3");
    example
        .arg(source("hosted_flow.py"))
        .env("PYTHONPATH", Path::new(&parts()).join("python"));
    runs(example).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node and standardwebhooks: run tests/run"]
async fn the_hosted_flow_in_node() {
    // Node.js looks for packages beside the script.
    let folder = Folder::new();
    std::os::unix::fs::symlink(Path::new(&parts()).join("node_modules"), folder.path().join("node_modules")).unwrap();
    let script = folder.path().join("hosted_flow.mjs");
    std::fs::copy(source("hosted_flow.mjs"), &script).unwrap();
    let mut example = Command::new("node");
    example.arg(script);
    runs(example).await;
}
