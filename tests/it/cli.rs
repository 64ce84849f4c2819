//! The real binary from outside: init, serve, doctor and the commands that speak to a running portal.

mod backup;
pub mod capacity;
mod commands;
mod database;
mod desk;
mod doctor;
mod logs;
mod person;
mod protection;
mod recovery;
mod rotation;
mod service;
mod terminal;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nightdrop::testing::crypto::receipt;
use nightdrop::testing::crypto::secrets::PortalSecrets;
use nightdrop::testing::domain::document::SlotRef;
use nightdrop::testing::domain::id::{DocumentId, RequestId};
use nightdrop::testing::domain::receipt::{DeletionReceipt, Erasure};
use serde_json::Value;
use time::OffsetDateTime;

use crate::support::{self, Folder, TestApp, TestOptions, private, walk};

const PASSWORD: &str = "harbour lantern copper violet";
const PASSPHRASE: &str = "seven slow tides turn over";

/// The binary with nothing of this process's environment.
pub fn nightdrop(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightdrop"));
    command
        .args(arguments)
        .env_clear()
        .env("TMPDIR", std::env::temp_dir())
        // Whatever the machine that the tests run on is like.
        .env("NIGHTDROP_ACCEPT_VOLATILE_DATA", "true")
        .env("NIGHTDROP_ACCEPT_READABLE_SWAP", "true")
        .stdin(Stdio::null());
    command
}

/// Standard output of a command that must succeed.
pub fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}{}", out(&output), complaint(&output));
    out(&output)
}

/// The one sentence of a command that must fail.
fn fails(command: &mut Command) -> String {
    // A start that needs a person has a code of its own, by which a service manager leaves it alone.
    let serve = command.get_args().next() == Some("serve".as_ref());
    fails_with(if serve { 78 } else { 1 }, command)
}

fn fails_with(code: i32, command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{}{}",
        out(&output),
        complaint(&output)
    );
    complaint(&output)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A child that prints lines, ended with the test.
pub struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(Result::unwrap)
    }

    pub fn json(&mut self) -> Value {
        json(&self.line().expect("another line"))
    }

    pub fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([name, &self.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The rest of the lines, and the exit code.
    pub fn end(mut self) -> (Vec<String>, Option<i32>) {
        let rest = self.lines.by_ref().map(Result::unwrap).collect();
        (rest, self.child.wait().unwrap().code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a portal that `init` has made.
struct Made {
    folder: Folder,
    config: PathBuf,
    api_key: String,
}

impl Made {
    fn new(more: &[&str]) -> Self {
        let folder = Folder::new();
        let output = init(&folder, more).output().unwrap();
        assert!(output.status.success(), "{}", complaint(&output));
        let printed = json(&out(&output));
        let names: Vec<&String> = printed.as_object().unwrap().keys().collect();
        assert_eq!(names, ["api_key", "config"]);
        let config = PathBuf::from(printed["config"].as_str().unwrap());
        Self {
            folder,
            config,
            api_key: printed["api_key"].as_str().unwrap().to_owned(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with_config(&self, arguments: &[&str]) -> Command {
        let mut command = nightdrop(arguments);
        command.arg("--config").arg(&self.config);
        command
    }

    fn serve(&self) -> Serving {
        self.serve_with(&[])
    }

    fn serve_with(&self, environment: &[(&str, &Path)]) -> Serving {
        let mut command = self.with_config(&["serve", "--log", "json"]);
        let mut process = Process::start(command.envs(environment.iter().copied()));
        let first = process.json();
        assert_eq!(first["event"], "listening");
        let url = |name: &str| first[name].as_str().unwrap().to_owned();
        Serving {
            public: url("public"),
            staff: url("staff"),
            process,
        }
    }

    /// A command that speaks to the portal.
    fn asking(&self, serving: &Serving, arguments: &[&str]) -> Command {
        let mut command = nightdrop(arguments);
        command.env("NIGHTDROP_URL", &serving.staff).env("NIGHTDROP_TOKEN", &self.api_key);
        command
    }
}

struct Serving {
    public: String,
    staff: String,
    process: Process,
}

impl Serving {
    fn stop(self) {
        self.process.signal("-TERM");
        let (rest, code) = self.process.end();
        assert_eq!(code, Some(0), "{rest:?}");
        assert_eq!(json(rest.last().unwrap())["event"], "stopped");
    }
}

fn init(folder: &Folder, more: &[&str]) -> Command {
    let password = folder.path().join("password");
    if !password.exists() {
        private(&password, &format!("{PASSWORD}\n"));
    }
    let mut command = nightdrop(&[
        "init",
        "--yes",
        "--json",
        "--public-url",
        "http://127.0.0.1:8080",
        "--erasure-slots",
        "64",
        "--accept-weak-erasure",
    ]);
    command.args([
        "--listen-public",
        "127.0.0.1:0",
        "--listen-staff",
        "127.0.0.1:0",
        "--admin-email",
        "ana@example.com",
    ]);
    command
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .arg("--admin-password-file")
        .arg(password)
        .args(more);
    command
}

/// An HTTP client on this machine.
pub fn http() -> reqwest::Client {
    nightdrop::testing::connectors::client::install_tls();
    support::client("127.0.0.1".parse().unwrap())
}

async fn status(url: &str) -> u16 {
    http().get(url).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn init_unattended_then_serve_until_told_to_stop() {
    let made = Made::new(&[]);
    assert_eq!(
        made.config,
        made.path("data/nightdrop.toml"),
        "an absolute data folder holds its configuration"
    );
    let serving = made.serve();
    assert!(serving.staff.starts_with("http://localhost:"), "{}", serving.staff);
    assert_eq!(status(&format!("{}/readyz", serving.public)).await, 200);
    assert_eq!(status(&format!("{}/readyz", serving.staff)).await, 200);
    // Not for a person: the other one may end.
    let sentence = fails_with(74, &mut made.with_config(&["serve"]));
    assert!(
        sentence.contains("one process at a time") && sentence.lines().count() == 1,
        "{sentence}"
    );
    serving.stop();
}

#[test]
fn files_are_private_whatever_the_umask() {
    let folder = Folder::new();
    let command = init(&folder, &[]);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("umask 000; exec \"$0\" \"$@\"")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    done(&mut shell);
    for file in walk(&folder.path().join("data")) {
        let mode = std::fs::metadata(&file).unwrap().mode() & 0o777;
        let public = file.extension().is_some_and(|e| e == "pub") || file.ends_with("current");
        let expected: &[u32] = if public { &[0o444] } else { &[0o400, 0o600] };
        assert!(expected.contains(&mode), "{} has mode {mode:o}", file.display());
    }
    for name in ["data", "data/keys", "data/store"] {
        assert_eq!(std::fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777, 0o700, "{name}");
    }
}

#[test]
fn no_secret_stands_in_the_command_line_or_the_environment_of_a_portal() {
    let made = Made::new(&[]);
    let serving = made.serve();
    let id = serving.process.id();
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap();
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains("serve"), "{line}");
    for secret in [made.api_key.as_str(), PASSWORD] {
        assert!(!line.contains(secret));
    }
    serving.stop();
    for command in [
        vec!["request", "list", "--token", "x"],
        vec!["init", "--admin-password", "x"],
        vec!["key", "unlock", "--passphrase", "x"],
    ] {
        assert_eq!(
            nightdrop(&command).output().unwrap().status.code(),
            Some(2),
            "{command:?} is no option"
        );
    }
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let made = Made::new(&[]);
    let before = snapshot(made.folder.path());
    assert!(fails(&mut init(&made.folder, &[])).contains("exists already"));
    let other = made.path("other.toml");
    assert!(fails(&mut init(&made.folder, &["--config", other.to_str().unwrap()])).contains("already holds a portal"));
    assert!(!other.exists());
    assert_eq!(snapshot(made.folder.path()), before);
}

#[test]
fn a_failed_init_leaves_nothing_behind() {
    for (more, sentence) in [
        (&["--admin-email", "nobody"][..], "e-mail address"),
        (&["--public-url", "http://drop.example.com"], "public_url"),
        (&["--listen-public", "here"], "listen.public"),
        (&["--erasure-slots", "3"], "erasure.slots"),
    ] {
        let folder = Folder::new();
        let mut command = init(&folder, &[]);
        // The last of two equal options is refused by the parser, so the wrong one replaces the right one.
        let arguments: Vec<_> = command.get_args().map(|a| a.to_str().unwrap().to_owned()).collect();
        let place = arguments.iter().position(|a| a == more[0]).unwrap();
        let mut arguments = arguments;
        arguments[place + 1] = more[1].to_owned();
        command = nightdrop(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let said = fails(&mut command);
        assert!(said.contains(sentence), "{said}");
        assert_eq!(names(folder.path()), ["password"], "{more:?}");
    }
    let folder = Folder::new();
    private(&folder.path().join("password"), "too short");
    assert!(fails(&mut init(&folder, &[])).contains("15 characters"));
    assert_eq!(names(folder.path()), ["password"]);
}

#[test]
fn init_prints_the_address_at_which_passkeys_work() {
    let lines = |more: &[&str], staff: &str| {
        let folder = Folder::new();
        let mut command = init(&folder, more);
        let arguments: Vec<_> = command.get_args().map(|a| a.to_str().unwrap().to_owned()).collect();
        let place = arguments.iter().position(|a| a == "--listen-staff").unwrap();
        let mut arguments = arguments;
        arguments[place + 1] = staff.to_owned();
        arguments.retain(|a| a != "--json");
        command = nightdrop(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let said = done(&mut command);
        let text = std::fs::read_to_string(folder.path().join("data/nightdrop.toml")).unwrap();
        (said, text)
    };
    let (said, text) = lines(&[], "127.0.0.1:8081");
    assert!(said.contains("Console         http://localhost:8081\n"), "{said}");
    assert!(text.contains("\n# staff_url ="));
    let (said, text) = lines(&["--staff-url", "https://console.bank.example"], "127.0.0.1:8081");
    assert!(said.contains("Console         https://console.bank.example\n"), "{said}");
    assert!(text.contains("\nstaff_url = \"https://console.bank.example\"\n"));
    let folder = Folder::new();
    assert!(fails(&mut init(&folder, &["--staff-url", "console.bank.example"])).contains("staff_url: must be"));
}

#[test]
fn unattended_init_says_everything_that_is_missing() {
    let said = fails(&mut nightdrop(&["init", "--yes"]));
    for option in ["--public-url", "--admin-email", "--admin-password-file"] {
        assert!(said.contains(option), "{said}");
    }
}

#[test]
fn unattended_init_tells_all_faults_together_and_leaves_nothing() {
    let folder = Folder::new();
    private(&folder.path().join("password"), "too short");
    let mut command = nightdrop(&["init", "--yes", "--public-url", "http://drop.example.com", "--listen-staff", "here"]);
    command.args(["--erasure-slots", "3", "--admin-email", "nobody", "--company", ""]);
    command.arg("--data-dir").arg(folder.path().join("data"));
    let said = fails(command.arg("--admin-password-file").arg(folder.path().join("password")));
    for fault in [
        "6 answers do not fit",
        "--public-url: public_url: must",
        "--listen-staff: listen.staff: must",
        "--erasure-slots: erasure.slots: must",
        "--admin-email: must be an e-mail address",
        "--company: must not be empty",
        "must have at least 15 characters",
    ] {
        assert!(said.contains(fault), "{fault}\n{said}");
    }
    assert_eq!(names(folder.path()), ["password"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_tried_with_the_sandbox_before_there_is_a_contract() {
    let made = Made::new(&["--company", "Harbour Bank", "--support", "help@bank.example", "--sandbox"]);
    let text = std::fs::read_to_string(&made.config).unwrap();
    assert!(text.contains("name = \"Harbour Bank\"") && text.contains("support = \"help@bank.example\""));
    let findings = done(&mut made.with_config(&["doctor"]));
    assert!(
        findings.contains("sandbox: a sandbox inside the portal: nothing leaves this machine"),
        "{findings}"
    );
    let serving = made.serve();
    let ask = [
        "request",
        "new",
        "--provider",
        "sandbox",
        "--applicant",
        "james",
        "--document",
        "passport",
        "--json",
    ];
    let issued = json(&done(&mut made.asking(&serving, &ask)));
    let url = issued["url"].as_str().unwrap();
    let path = &url[url.find("/d/").unwrap()..];
    let (body, kind) = support::form(&[("front", &support::png(1, 20_000))]);
    let target = format!("{}{path}", serving.public);
    let answer = http().post(target).header("content-type", kind).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = issued["id"].as_str().or(issued["request"]["id"].as_str()).unwrap().to_owned();
    support::until("the document is deleted", async || {
        let shown = json(&done(&mut made.asking(&serving, &["request", "show", &id, "--json"])));
        shown["state"] == "purged"
    })
    .await;
    let receipt = done(&mut made.asking(&serving, &["receipt", "get", &id]));
    assert!(receipt.contains("confirmed"), "{receipt}");
    serving.stop();
}

#[test]
fn a_password_file_that_others_can_read_is_refused() {
    let folder = Folder::new();
    let password = folder.path().join("password");
    private(&password, PASSWORD);
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(fails(&mut init(&folder, &[])).contains("lets others in"));
}

#[test]
fn a_configuration_that_others_may_change_is_refused() {
    let made = Made::new(&[]);
    for mode in [0o620, 0o602, 0o666] {
        std::fs::set_permissions(&made.config, PermissionsExt::from_mode(mode)).unwrap();
        let said = fails(&mut made.with_config(&["serve"]));
        assert!(said.contains("others may change") && said.contains("chmod go-w"), "{mode:o} {said}");
    }
    // What others may only read is no secret.
    std::fs::set_permissions(&made.config, PermissionsExt::from_mode(0o644)).unwrap();
    made.serve().stop();
}

#[test]
fn a_tls_key_that_others_can_read_is_refused() {
    let made = Made::new(&[]);
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(made.path("cert.pem"), pair.cert.pem()).unwrap();
    let key = made.path("key.pem");
    private(&key, &pair.signing_key.serialize_pem());
    // As tools that renew certificates leave it.
    std::os::unix::fs::symlink(&key, made.path("live.pem")).unwrap();
    let serve = || {
        let mut serve = made.with_config(&["serve", "--log", "json"]);
        serve.env("NIGHTDROP_LISTEN_STAFF_TLS_CERT", made.path("cert.pem"));
        serve.env("NIGHTDROP_LISTEN_STAFF_TLS_KEY", made.path("live.pem"));
        serve
    };
    for mode in [0o644, 0o604, 0o660] {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let said = fails(&mut serve());
        assert!(said.contains("lets others in") && said.contains("key.pem"), "{mode:o} {said}");
    }
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o400)).unwrap();
    let mut process = Process::start(&mut serve());
    assert!(process.json()["staff"].as_str().unwrap().starts_with("https://localhost:"));
    process.signal("-TERM");
    assert_eq!(process.end().1, Some(0));
}

#[test]
fn all_faults_of_a_configuration_are_told_at_once() {
    let made = Made::new(&[]);
    let text = std::fs::read_to_string(&made.config).unwrap();
    let text = text
        .replace("http://127.0.0.1:8080", "http://drop.example.com")
        .replace("link = \"72h\"", "link = \"soon\"");
    std::fs::write(
        &made.config,
        format!("colour = \"red\"\n{text}\n[providers.x]\nkind = \"sandbox\"\n"),
    )
    .unwrap();
    let mut serve = made.with_config(&["serve"]);
    serve.env("NIGHTDROP_LIMITS_MAX_FILE", "huge").env("NIGHTDROP_API_KEY", "x");
    let said = fails(&mut serve);
    for key in ["public_url", "retention.link", "colour", "limits.max_file", "NIGHTDROP_API_KEY"] {
        assert!(said.contains(&format!("\n  {key}: ")), "{key}\n{said}");
    }
    let output = made.with_config(&["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found = json(&out(&output));
    assert_eq!(found["ok"], false);
    let wrong: Vec<&str> = wrong(&found).iter().map(|f| f["text"].as_str().unwrap()).collect();
    for key in ["public_url", "retention.link", "colour"] {
        assert!(wrong.contains(&key), "{key}\n{wrong:?}");
    }
}

fn wrong(found: &Value) -> Vec<&Value> {
    found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["level"] == "wrong")
        .collect()
}

#[test]
fn roles_of_their_own_need_another_store() {
    let made = Made::new(&[]);
    assert!(fails(&mut made.with_config(&["serve", "--role", "public,staff"])).contains("leave --role away"));
    assert!(fails(&mut made.with_config(&["serve", "--role", "worker"])).contains("leave --role away"));
}

#[test]
fn doctor_says_what_is_good_and_finds_planted_faults() {
    let made = Made::new(&[]);
    let healthy = json(&done(&mut made.with_config(&["doctor", "--json"])));
    assert_eq!(healthy["ok"], true);
    assert!(wrong(&healthy).is_empty());
    let finds = |area: &str, text: &str| {
        let output = made.with_config(&["doctor", "--json"]).output().unwrap();
        let found = json(&out(&output));
        assert_eq!(output.status.code(), Some(1));
        let hit = wrong(&found)
            .iter()
            .any(|f| f["area"] == area && f["text"].as_str().unwrap().contains(text) && f["fix"].is_string());
        assert!(hit, "{area}: {text}\n{found:#}");
    };
    let chmod = |name: &str, mode: u32| std::fs::set_permissions(made.path(name), PermissionsExt::from_mode(mode)).unwrap();

    chmod("data", 0o755);
    finds("folders", "others may look in");
    chmod("data", 0o700);
    chmod("data/keys/kek", 0o444);
    finds("keys", "lets others in");
    chmod("data/keys/kek", 0o400);
    chmod("data/keys/portal.secrets", 0o644);
    finds("keys", "portal.secrets");
    chmod("data/keys/portal.secrets", 0o400);
    chmod("data/nightdrop.toml", 0o622);
    finds("configuration", "others may change");
    chmod("data/nightdrop.toml", 0o600);

    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(7_200);
    let slots = std::fs::File::options()
        .write(true)
        .open(made.path("data/erasure/erase.slots"))
        .unwrap();
    slots.set_modified(future).unwrap();
    finds("clock", "younger than now");
    slots.set_modified(std::time::SystemTime::now()).unwrap();

    let text = std::fs::read_to_string(&made.config).unwrap();
    private(&made.path("key"), "sbx_nobody");
    let key = made.path("key");
    let provider = format!(
        "[providers.sandbox]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:1\"\napi_key_file = {:?}\n",
        key.to_str().unwrap()
    );
    std::fs::write(&made.config, format!("{text}\n{provider}")).unwrap();
    finds("providers", "sandbox: ");
    let said = fails(made.with_config(&["doctor"]).args(["--provider", "other"]));
    assert!(said.contains("there is: sandbox"), "{said}");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    finds("providers", "providers.sandbox.api_key_file");
    std::fs::write(&made.config, &text).unwrap();

    std::fs::rename(made.path("data/erasure/erase.slots"), made.path("slots")).unwrap();
    finds("erasure", "missing");
    std::fs::rename(made.path("slots"), made.path("data/erasure/erase.slots")).unwrap();
    done(&mut made.with_config(&["doctor"]));
}

#[test]
fn doctor_sees_a_certificate_end() {
    let made = Made::new(&[]);
    let level = |days: i64| {
        let own = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = OffsetDateTime::now_utc() + time::Duration::days(days);
        private(&made.path("cert.pem"), &params.self_signed(&own).unwrap().pem());
        private(&made.path("key.pem"), &own.serialize_pem());
        let mut doctor = made.with_config(&["doctor", "--json"]);
        doctor.env("NIGHTDROP_LISTEN_PUBLIC_TLS_CERT", made.path("cert.pem"));
        doctor.env("NIGHTDROP_LISTEN_PUBLIC_TLS_KEY", made.path("key.pem"));
        let found = json(&out(&doctor.output().unwrap()));
        let all = found["findings"].as_array().unwrap().clone();
        assert!(
            all.iter().any(|f| f["text"].as_str().unwrap().contains("belong together")),
            "{found:#}"
        );
        let end = |f: &&Value| f["text"].as_str().unwrap().contains("cert.pem end");
        all.iter().find(end).unwrap()["level"].as_str().unwrap().to_owned()
    };
    assert_eq!((level(-1), level(20), level(22)), ("wrong".into(), "note".into(), "good".into()));
}

#[test]
fn doctor_sees_few_descriptors_and_a_running_portal() {
    let made = Made::new(&[]);
    let serving = made.serve();
    let command = made.with_config(&["doctor", "--json"]);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("ulimit -n 256; exec \"$0\" \"$@\"")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    let output = shell.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    let found = json(&out(&output));
    assert!(wrong(&found).iter().any(|f| f["area"] == "open files"));
    let all = found["findings"].as_array().unwrap();
    assert!(all.iter().any(|f| f["area"] == "store" && f["text"] == "a running portal holds it"));
    let mut ready = made.with_config(&["doctor", "--ready"]);
    let port = serving.staff.strip_prefix("http://localhost:").unwrap();
    ready.env("NIGHTDROP_LISTEN_STAFF", format!("127.0.0.1:{port}"));
    assert!(done(&mut ready).contains("ready for uploads"));
    serving.stop();
    let output = ready.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "what a health check acts on");
    assert!(out(&output).contains("it does not run"), "{}", complaint(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_vault_is_said_and_opened_through_the_api() {
    let app = TestApp::with_options(TestOptions {
        passphrase: Some(PASSPHRASE),
        ..TestOptions::default()
    })
    .await;
    let asking = |arguments: &[&str]| {
        let mut command = nightdrop(arguments);
        command.env("NIGHTDROP_URL", app.staff("")).env("NIGHTDROP_TOKEN", &app.api_key);
        command
    };
    assert_eq!(json(&done(&mut asking(&["key", "status", "--json"])))["locked"], true);
    let file = |name: &str, text: &str| {
        let path = app.folder.path().join(name);
        private(&path, text);
        path.to_str().unwrap().to_owned()
    };
    let said = fails(&mut asking(&["key", "unlock", "--passphrase-file", &file("wrong", "not it")]));
    assert!(said.contains("opens no vault key"), "{said}");
    assert!(fails(&mut asking(&["key", "unlock"])).contains("nobody can be asked"));
    let opened = json(&done(&mut asking(&[
        "key",
        "unlock",
        "--json",
        "--passphrase-file",
        &file("right", PASSPHRASE),
    ])));
    assert_eq!(opened["locked"], false);
}

#[test]
fn a_noted_passphrase_file_opens_the_vault_at_start() {
    let folder = Folder::new();
    let passphrase = folder.path().join("passphrase");
    private(&passphrase, &format!("{PASSPHRASE}\r\n"));
    let printed = json(&done(&mut init(&folder, &["--passphrase-file", passphrase.to_str().unwrap()])));
    let made = Made {
        config: PathBuf::from(printed["config"].as_str().unwrap()),
        api_key: printed["api_key"].as_str().unwrap().to_owned(),
        folder,
    };
    let serving = made.serve();
    assert_eq!(
        json(&done(&mut made.asking(&serving, &["key", "status", "--json"])))["locked"],
        false
    );
    serving.stop();
}

#[test]
fn a_vault_key_that_the_service_manager_hands_over_opens_at_start() {
    let outside = Folder::new();
    let credential = outside.path().join("nightdrop-key");
    let made = Made::new(&["--key-protection", "credential", "--credential-file", credential.to_str().unwrap()]);
    let in_keys = names(&made.path("data/keys"));
    assert!(!in_keys.iter().any(|n| n.ends_with(".key") || n == "kek"), "{in_keys:?}");
    assert_eq!(std::fs::metadata(&credential).unwrap().mode() & 0o777, 0o400);
    let locked = |serving: &Serving| json(&done(&mut made.asking(serving, &["key", "status", "--json"])))["locked"].clone();
    let serving = made.serve();
    assert_eq!(locked(&serving), true, "nothing in the data folder opens it");
    serving.stop();

    // systemd's access lists show as bits of the group.
    let handed = [("CREDENTIALS_DIRECTORY", outside.path())];
    let mode = |mode: u32| std::fs::set_permissions(&credential, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o440);
    let serving = made.serve_with(&handed);
    assert_eq!(locked(&serving), false);
    serving.stop();
    let mut doctor = made.with_config(&["doctor", "--json"]);
    assert!(done(doctor.envs(handed)).contains("handed over by the service manager"));
    let named = [("NIGHTDROP_KEYS_CREDENTIAL_FILE", credential.as_path())];
    let serving = made.serve_with(&named);
    assert_eq!(locked(&serving), false);
    serving.stop();
    mode(0o444);
    let said = fails(made.with_config(&["serve"]).envs(handed));
    assert!(said.contains("keys.credential_file") && said.contains("lets others in"), "{said}");
    assert!(fails(&mut made.with_config(&["key", "rotate"])).contains("service manager"));
}

#[test]
fn a_failed_init_takes_the_credential_away_and_never_another_file() {
    let folder = Folder::new();
    let key = folder.path().join("key");
    let credential = ["--key-protection", "credential", "--credential-file", key.to_str().unwrap()];
    assert!(fails(&mut init(&folder, &["--key-protection", "credential"])).contains("needs --credential-file"));
    assert!(fails(&mut init(&folder, &credential[2..])).contains("goes with"));
    // The keys are made before the admin's name is looked at.
    let mut command = init(&folder, &credential);
    let arguments: Vec<_> = command
        .get_args()
        .map(|a| a.to_str().unwrap().replace("ana@example.com", "nobody"))
        .collect();
    command = nightdrop(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(fails(&mut command).contains("e-mail address"));
    assert_eq!(names(folder.path()), ["password"]);
    private(&key, "precious");
    assert!(fails(&mut init(&folder, &credential)).contains("not overwritten"));
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "precious");
}

#[test]
fn a_secret_that_the_service_manager_hands_over_may_show_its_access_list() {
    let folder = Folder::new();
    let passphrase = folder.path().join("passphrase");
    private(&passphrase, PASSPHRASE);
    let printed = json(&done(&mut init(&folder, &["--passphrase-file", passphrase.to_str().unwrap()])));
    let made = Made {
        config: PathBuf::from(printed["config"].as_str().unwrap()),
        api_key: printed["api_key"].as_str().unwrap().to_owned(),
        folder,
    };
    std::fs::set_permissions(&passphrase, PermissionsExt::from_mode(0o440)).unwrap();
    assert!(fails(&mut made.with_config(&["serve"])).contains("lets others in"));
    made.serve_with(&[("CREDENTIALS_DIRECTORY", made.folder.path())]).stop();
}

#[test]
fn a_rotation_waits_for_the_portal_to_stop_and_is_audited() {
    let made = Made::new(&[]);
    let serving = made.serve();
    assert!(fails(&mut made.with_config(&["key", "rotate"])).contains("stop the portal first"));
    serving.stop();
    let said = done(&mut made.with_config(&["key", "rotate"]));
    assert!(
        said.contains("is the current vault key") && said.contains("was destroyed: nothing is sealed to it any more"),
        "{said}"
    );
    let serving = made.serve();
    let vault = json(&done(&mut made.asking(&serving, &["key", "status", "--json"])));
    let states: Vec<(&Value, &Value)> = vault["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| (&k["state"], &k["unlocked"]))
        .collect();
    assert_eq!(states.len(), 2);
    for expected in [("current", true), ("destroyed", false)] {
        assert!(
            states.iter().any(|(state, open)| **state == expected.0 && **open == expected.1),
            "{vault}"
        );
    }
    let log = done(&mut made.asking(&serving, &["audit", "export"]));
    assert!(log.contains("key.rotated") && log.contains("vault_key.destroyed"), "{log}");
    serving.stop();
}

#[test]
fn agents_and_the_audit_log_through_the_api() {
    let made = Made::new(&[]);
    let serving = made.serve();
    let password = made.path("password");
    let password = password.to_str().unwrap();
    let add = [
        "agent",
        "add",
        "--email",
        "Bo@Example.com",
        "--name",
        "Bo",
        "--role",
        "auditor",
        "--password-file",
        password,
        "--team",
        "cards",
        "--team",
        "loans",
        "--json",
    ];
    let bo = json(&done(&mut made.asking(&serving, &add)));
    assert_eq!((&bo["email"], &bo["role"]), (&"bo@example.com".into(), &"auditor".into()));
    assert!(fails(&mut made.asking(&serving, &add)).contains("(exists)"));
    done(&mut made.asking(
        &serving,
        &["agent", "reset-password", "bo@example.com", "--password-file", password],
    ));
    done(&mut made.asking(&serving, &["agent", "disable", "BO@example.com"]));
    let table = done(&mut made.asking(&serving, &["agent", "list"]));
    assert!(table.lines().any(|l| l.contains("bo@example.com") && !l.ends_with('-')), "{table}");
    assert!(
        table.starts_with("ID ") && table.contains("  TEAMS") && table.contains("  SECOND FACTOR"),
        "{table}"
    );
    let cells = |who: &str| {
        let line = table.lines().find(|l| l.contains(who)).unwrap();
        line.split("  ")
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(cells("bo@example.com")[3..5], ["auditor", "cards, loans"]);
    assert_eq!(cells("ana@example.com")[3..5], ["admin", "-"]);
    assert!(fails(&mut made.asking(&serving, &["agent", "disable", "ana@example.com"])).contains("last admin"));

    let export = done(&mut made.asking(&serving, &["audit", "export"]));
    for action in ["agent.added", "api_key.added", "agent.password_changed", "agent.disabled"] {
        assert!(export.contains(action), "{action}");
    }
    assert!(!export.contains(&made.api_key) && !export.contains(PASSWORD) && !export.contains("ana@example.com"));
    serving.stop();

    let file = made.path("audit.jsonl");
    std::fs::write(&file, &export).unwrap();
    let verify = |what: &str| {
        std::fs::write(&file, what).unwrap();
        nightdrop(&["audit", "verify", "--json", file.to_str().unwrap()])
    };
    assert_eq!(json(&done(&mut verify(&export)))["from_the_beginning"], true);
    assert!(fails(&mut verify(&export.replace("agent.disabled", "agent.pardoned"))).contains("changed"));
    assert!(fails(&mut verify(&export.replace("\"role\":\"auditor\"", "\"role\":\"admin\""))).contains("says something else"));
    let gap: Vec<&str> = export.lines().enumerate().filter(|(n, _)| *n != 2).map(|(_, l)| l).collect();
    assert!(fails(&mut verify(&gap.join("\n"))).contains("missing"));
    assert!(fails(&mut verify("")).contains("no entry"));
}

#[test]
fn commands_that_need_a_portal_say_how_to_name_it() {
    assert!(fails(&mut nightdrop(&["request", "list"])).contains("NIGHTDROP_URL"));
    let mut command = nightdrop(&["request", "list", "--url", "http://127.0.0.1:1"]);
    assert!(fails(&mut command).contains("NIGHTDROP_TOKEN"));
    assert!(fails(command.env("NIGHTDROP_TOKEN", "ndk_x")).contains("cannot be reached"));
    let folder = Folder::new();
    let token = folder.path().join("token");
    private(&token, "ndk_x");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o604)).unwrap();
    let mut exposed = nightdrop(&["request", "list", "--url", "http://127.0.0.1:1", "--token-file"]);
    assert!(fails(exposed.arg(&token)).contains("lets others in"));
}

#[test]
fn receipts_verify_offline_and_not_when_touched() {
    let folder = Folder::new();
    let place = |name: &str| folder.path().join(name);
    PortalSecrets::create(&place("secrets"), &[1; 16]).unwrap();
    let secrets = PortalSecrets::load(&place("secrets")).unwrap();
    let at = OffsetDateTime::UNIX_EPOCH;
    let erasure = Erasure {
        request: RequestId([1; 16]),
        document: DocumentId([2; 16]),
        slot: SlotRef { index: 3, generation: 4 },
        cause: "confirmed".to_owned(),
        class: "B".to_owned(),
        method: "slot overwritten in place".to_owned(),
        parts: 2,
        received_at: at,
        erased_at: at,
        purged_at: at,
    };
    let text = receipt::sign(&secrets, &DeletionReceipt::chain(1, DeletionReceipt::genesis(), erasure));
    let key = data_encoding::HEXLOWER.encode(&receipt::public_key(&secrets));
    let verify = |content: &str, more: &[&str]| {
        std::fs::write(place("receipt"), content).unwrap();
        let mut command = nightdrop(&["receipt", "verify", "--json", place("receipt").to_str().unwrap()]);
        command.args(more);
        command
    };
    let known = json(&done(&mut verify(&text, &["--public-key", &key])));
    assert_eq!(
        (&known["signer_known"], &known["number"], &known["class"]),
        (&true.into(), &1.into(), &"B".into())
    );
    let unknown = json(&done(&mut verify(
        &serde_json::json!({"number": 1, "signed": text}).to_string(),
        &[],
    )));
    assert_eq!(
        (&unknown["signer_known"], &unknown["signed_by"]),
        (&false.into(), &key.as_str().into())
    );
    assert!(fails(&mut verify(&text.replace("class: B", "class: A"), &[])).contains("changed after it was signed"));
    assert!(fails(&mut verify(&text, &["--public-key", &"00".repeat(32)])).contains("another portal"));
    assert!(fails(&mut verify(&text, &["--public-key", "zz"])).contains("32 bytes in hex"));
    assert!(fails(&mut verify("hello", &[])).contains("not a deletion receipt"));
}

#[test]
fn every_command_has_help_with_an_example() {
    let help = done(&mut nightdrop(&["--help"]));
    let listed = |text: &str| -> Vec<String> {
        let commands = text
            .split("Commands:\n")
            .nth(1)
            .unwrap_or_default()
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .to_owned();
        commands
            .lines()
            .filter_map(|l| l.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    };
    let mut checked = 0;
    for command in listed(&help) {
        let text = done(&mut nightdrop(&[&command, "--help"]));
        assert!(text.contains("Example"), "{command}");
        for inner in listed(&text) {
            let text = done(&mut nightdrop(&[&command, &inner, "--help"]));
            assert!(
                (text.contains("Example:") || text.contains("Examples:")) && text.contains("--json"),
                "{command} {inner}"
            );
            checked += 1;
        }
        checked += 1;
    }
    assert!(checked > 25, "{checked}");
    let version = done(&mut nightdrop(&["--version"]));
    let names: Vec<&str> = version.lines().skip(1).filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(
        names.iter().map(|name| name.trim()).collect::<Vec<_>>(),
        ["commit", "target", "data layout", "compiler"],
        "{version}"
    );
    let short = done(&mut nightdrop(&["-V"]));
    assert_eq!(short.lines().collect::<Vec<_>>(), [version.lines().next().unwrap()]);
    assert!(short.starts_with(concat!("nightdrop ", env!("CARGO_PKG_VERSION"))), "{short}");
    assert_eq!(nightdrop(&[]).output().unwrap().status.code(), Some(2));
    let document = json(&done(&mut nightdrop(&["openapi"])));
    assert!(document["paths"]["/requests"]["post"].is_object());
}

/// Every file with its content, so that a change is seen.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = walk(folder).into_iter().map(|f| (f.clone(), std::fs::read(f).unwrap())).collect();
    files.sort();
    files
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
