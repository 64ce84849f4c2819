//! The OpenAPI document as others use it: their validators find nothing, and clients that their generators make of it go through the journey at a real portal.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Folder, TestApp, TestOptions, png};

fn parts() -> PathBuf {
    let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
    PathBuf::from(parts)
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A folder with the document that the portal serves, in which Node.js and Python find the installed parts.
async fn workshop(app: &TestApp) -> Folder {
    let folder = Folder::new();
    let document = app.http.get(app.staff("/api/v1/openapi.json")).send().await.unwrap();
    std::fs::write(folder.path().join("openapi.json"), document.bytes().await.unwrap()).unwrap();
    std::fs::write(folder.path().join("photo.png"), png(5, 20_000)).unwrap();
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    std::os::unix::fs::symlink(parts().join("node_modules"), folder.path().join("node_modules")).unwrap();
    folder
}

/// A program of the parts in that folder, with nothing but this machine to talk to.
fn program(folder: &Folder, name: &str, given: &[&str]) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(given)
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", parts().join("python/bin").display()))
        .env(
            "PYTHONPATH",
            format!("{}:{}", folder.path().display(), parts().join("python").display()),
        )
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .env("no_proxy", "*");
    command
}

fn runs(mut command: Command) -> String {
    let said = tokio::task::block_in_place(|| command.output()).unwrap_or_else(|e| panic!("{command:?}: {e}: run tests/run"));
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{command:?}: {text}");
    text
}

fn node(folder: &Folder, bin: &str, given: &[&str]) -> String {
    let script = format!("node_modules/.bin/{bin}");
    runs(program(folder, "node", &[&[script.as_str()], given].concat()))
}

fn python(folder: &Folder, given: &[&str]) -> String {
    runs(program(folder, "python3", given))
}

/// A portal that works by itself.
async fn portal() -> TestApp {
    TestApp::with_options(TestOptions {
        worker: true,
        more: "limits = { api_per_minute = 100000 }".to_owned(),
        ..TestOptions::default()
    })
    .await
}

/// Runs a client's journey.
fn travels(app: &TestApp, folder: &Folder, name: &str, given: &[&str]) {
    let mut journey = program(folder, name, given);
    journey
        .env("NIGHTDROP_URL", app.staff(""))
        .env("NIGHTDROP_PUBLIC", app.public(""))
        .env("NIGHTDROP_TOKEN", &app.api_key)
        .env("PHOTO", folder.path().join("photo.png"));
    assert!(runs(journey).ends_with("done\n"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node, python and validators of OpenAPI: run tests/run"]
async fn the_document_passes_the_validators_of_others() {
    let app = TestApp::new().await;
    let folder = workshop(&app).await;
    python(&folder, &["-m", "openapi_spec_validator", "--errors", "all", "openapi.json"]);
    let config = beside("redocly.yaml").display().to_string();
    node(&folder, "redocly", &["lint", "--config", &config, "openapi.json"]);
    let rules = beside("spectral.yaml").display().to_string();
    node(
        &folder,
        "spectral",
        &["lint", "--ruleset", &rules, "--fail-severity", "warn", "openapi.json"],
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node, openapi-typescript and openapi-fetch: run tests/run"]
async fn a_generated_typescript_client_makes_the_journey() {
    let app = portal().await;
    let folder = workshop(&app).await;
    node(&folder, "openapi-typescript", &["openapi.json", "--output", "schema.d.ts"]);
    std::fs::copy(beside("generated.ts"), folder.path().join("generated.ts")).unwrap();
    let options = [
        "--strict",
        "--noEmit",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--allowImportingTsExtensions",
        "--skipLibCheck",
    ];
    node(&folder, "tsc", &[&options[..], &["generated.ts"]].concat());
    travels(&app, &folder, "node", &["generated.ts"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python and openapi-python-client: run tests/run"]
async fn a_generated_python_client_makes_the_journey() {
    let app = portal().await;
    let folder = workshop(&app).await;
    let generate = [
        "-m",
        "openapi_python_client",
        "generate",
        "--path",
        "openapi.json",
        "--fail-on-warning",
    ];
    python(
        &folder,
        &[&generate[..], &["--meta", "none", "--output-path", "nightdrop_client"]].concat(),
    );
    python(&folder, &["-m", "compileall", "-q", "nightdrop_client"]);
    std::fs::copy(beside("generated.py"), folder.path().join("generated.py")).unwrap();
    travels(&app, &folder, "python3", &["generated.py"]);
}
