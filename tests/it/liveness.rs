//! The store starts after any death, and never lives on dead: starts killed at every system call, disks that fail or fill up under a running portal, and
//! outages that must not become verdicts. System calls are made to fail by `strace`; a test without it needs nothing.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nightdrop::testing::app::App;
use nightdrop::testing::config::Config;
use nightdrop::testing::domain::id::DocumentId;
use nightdrop::testing::domain::request::Stage;
use nightdrop::testing::storage::clock::Source;
use nightdrop::testing::storage::{BlobKey, BlobStore, ReadError, StorageError, WorkQueues};

use crate::support::{Folder, Link, TestApp, TestOptions, ask, client, form, png, private, until, walk};

mod disk;
mod killed;
mod outage;

/// A portal's folder with documents in it, and what has to be in it after every accident.
pub struct Site {
    pub app: TestApp,
    pub links: Vec<Link>,
}

impl Site {
    /// Documents are held, since the vault key is locked; one of them is leased, as when its worker dies.
    async fn new(documents: usize) -> Self {
        let options = TestOptions {
            passphrase: Some("a passphrase of the tests"),
            ..TestOptions::default()
        };
        let mut app = TestApp::with_options(options).await;
        let mut links = Vec::new();
        for n in 0..documents {
            let link = app.issue(ask(&format!("applicant-{n}"), "passport")).await;
            app.drop_front(&link, n as u64).await;
            links.push(link);
        }
        let until = app.portal.now() + time::Duration::hours(1);
        assert!(app.portal.requests.claim_due(WorkQueues::All, until).await.unwrap().is_some());
        let text = format!(
            "limits = {{ uploads_per_address = 1000, pages_per_address = 100000 }}\n{}",
            app.text()
        );
        private(&app.folder.path().join("nightdrop.toml"), &text);
        app.stop().await;
        app.let_go().await;
        Self { app, links }
    }

    fn folder(&self) -> &Path {
        self.app.folder.path()
    }
}

/// A copy of everything but the ballast, which a start makes again.
fn copy(from: &Path, to: &Path) {
    for file in walk(from).iter().filter(|file| !file.ends_with("ballast")) {
        let place = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(file, place).unwrap();
    }
}

/// Opens a folder as the next start does, and looks whether all of it is there.
async fn holds(folder: &Path, links: impl Iterator<Item = &Link>, what: &str) {
    let text = std::fs::read_to_string(folder.join("nightdrop.toml")).unwrap();
    let config = Config::parse(&text, folder, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut opened = None;
    until("the folder is free", async || {
        match App::open(config.clone(), Source::System).await {
            Ok(app) => opened = Some(app),
            Err(error) => assert!(
                error.to_string().contains("holds this directory") || error.to_string().contains("in use by another process"),
                "{what}: {error}"
            ),
        }
        opened.is_some()
    })
    .await;
    let app = opened.unwrap();
    let portal = &app.portal;
    for link in links {
        let request = portal
            .requests
            .request(link.id)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{what}: a request is gone"));
        let Stage::Held { document, .. } = &request.stage else {
            panic!("{what}: a document is not held any more: {:?}", request.state(portal.now()));
        };
        assert!(request.lease.is_none(), "{what}: a lease of a dead process is left");
        assert!(
            portal.erasure.get(&document.id.0, &document.slot).is_ok(),
            "{what}: a secret is gone"
        );
        for (index, part) in document.parts.iter().enumerate() {
            for chunk in 0..part.chunks {
                let key = BlobKey {
                    document: document.id,
                    file_index: index as u8,
                    chunk,
                };
                assert!(portal.blobs.get(key).await.unwrap().is_some(), "{what}: chunk {chunk} is gone");
            }
        }
    }
}

fn serve(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightdrop"));
    command
        .args(["serve", "--log", "json", "--config"])
        .arg(folder.join("nightdrop.toml"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// The real program on a folder.
struct Served {
    child: Child,
    pub public: String,
    log: std::sync::mpsc::Receiver<String>,
}

impl Served {
    fn start(folder: &Path) -> Self {
        let mut child = serve(folder).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let first: serde_json::Value = serde_json::from_str(&lines.next().expect("the portal starts")).unwrap();
        let (tell, log) = std::sync::mpsc::channel();
        std::thread::spawn(move || lines.for_each(|line| drop(tell.send(line))));
        Self {
            child,
            public: first["public"].as_str().unwrap().to_owned(),
            log,
        }
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    async fn status(&self, path: &str) -> Option<u16> {
        let url = format!("{}{path}", self.public);
        let answer = client([127, 0, 0, 1].into()).get(url).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Whether a dropped document was acknowledged. `None`: no answer came.
    async fn drop_front(&self, link: &Link, seed: u64) -> Option<u16> {
        let (body, kind) = form(&[("front", &png(seed, 4_000))]);
        let url = format!("{}{}", self.public, link.path);
        let answer = client([127, 0, 0, 1].into())
            .post(url)
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .ok()?;
        let status = answer.status().as_u16();
        answer.text().await.ok().map(|_| status)
    }

    /// The exit code, once it has ended by itself.
    fn ended(&mut self, patience: Duration) -> Option<Option<i32>> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Tells it to stop; the exit code and the rest of its log.
    fn stop(mut self) -> (Option<i32>, Vec<String>) {
        signal(self.id(), "-TERM");
        let code = self.child.wait().unwrap().code();
        (code, self.log.iter().collect())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(id: u32, name: &str) {
    assert!(Command::new("kill").args([name, &id.to_string()]).status().unwrap().success());
}

/// `strace` on a running process: what it makes of system calls holds until it is dropped.
struct Tampering(Child);

impl Tampering {
    /// `inject` as strace has it; only for calls on `path`, if given.
    fn with(id: u32, calls: &str, inject: &str, path: Option<&Path>) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e"]);
        command.arg(format!("inject={calls}:{inject}"));
        if let Some(path) = path {
            command.arg("-P").arg(path);
        }
        command.args(["-p", &id.to_string()]).stdin(Stdio::null());
        let strace = command.spawn().unwrap();
        // Traced once every thread says so.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !traced(id) {
            assert!(Instant::now() < deadline, "strace does not attach");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self(strace)
    }
}

impl Drop for Tampering {
    fn drop(&mut self) {
        // Asked to end, it lets go of the process.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn traced(id: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{id}/task")) else {
        return true;
    };
    let statuses = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("status")));
    statuses.flatten().all(|status| !status.contains("TracerPid:\t0\n"))
}

fn long() -> bool {
    std::env::var_os("NIGHTDROP_TEST_LONG").is_some()
}
