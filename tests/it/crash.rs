//! `kill -9` at any moment: what was answered with 200 is delivered exactly once with effect and purged with a receipt, and nothing is left behind.
//!
//! The portal with its worker is a child process (this binary again) on a folder; the provider stays in the test. Once at random moments while the
//! provider misbehaves, once at each of the named points of [`nightdrop::crash`]. The invariants are those of the design:
//! A acknowledged ⇒ not lost · E no secret without an owner · O at most one document per link · D at most one delivery with effect · P nothing readable on disk.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use nightdrop::app::{self, App, KeyProtection};
use nightdrop::config::Config;
use nightdrop::connectors::settings::Secret;
use nightdrop::crypto::envelope::Suite;
use nightdrop::domain::agent::Actor;
use nightdrop::domain::request::Stage;
use nightdrop::sandbox::{self, Sandbox};
use nightdrop::storage::clock::Source;
use nightdrop::workflow::issue;
use serde_json::{Value, json};

use crate::forwarding::Random;
use crate::support::{Folder, Link, ask, client, form, png, private, until, walk};

const FOLDER: &str = "NIGHTDROP_CRASH_FOLDER";
const START: &str = "NIGHTDROP_CRASH_CLOCK";
/// The child's clock runs this much faster, so that backoffs do not make the test wait.
const HASTE: i64 = 40;

#[test]
fn every_point_of_a_crash_is_survived() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(&PathBuf::from(folder));
    }
    runtime().block_on(async {
        let mut table = Vec::new();
        for case in POINTS {
            let start = Instant::now();
            let hit = one_point(case).await;
            table.push(format!(
                "{:<6} {:<44} {} {} ms",
                case.name,
                case.what,
                if hit { "hit" } else { "NEVER HIT" },
                start.elapsed().as_millis()
            ));
        }
        for (name, why) in NOT_HERE {
            table.push(format!("{name:<6} {why}"));
        }
        let table = table.join("\n");
        let _ = writeln!(std::io::stderr(), "{table}");
        assert!(!table.contains("NEVER HIT"), "{table}");
    });
}

#[test]
fn random_crashes_lose_nothing_and_send_nothing_twice() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(&PathBuf::from(folder));
    }
    let rounds = if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        100
    } else {
        20
    };
    runtime().block_on(random_crashes(rounds));
}

/// Where the process ends, what the provider does, and whether the test itself kills at the right moment.
struct Case {
    name: &'static str,
    what: &'static str,
    /// As `NIGHTDROP_CRASH_AT` wants it; the canary at start passes some points once.
    at: &'static str,
    plan: &'static [&'static str],
}

const POINTS: &[Case] = &[
    Case {
        name: "C4",
        what: "slot page written, not synced",
        at: "C4#2",
        plan: &[],
    },
    Case {
        name: "C5",
        what: "slot synced",
        at: "C5",
        plan: &[],
    },
    Case {
        name: "C6",
        what: "one chunk stored",
        at: "C6",
        plan: &[],
    },
    Case {
        name: "C6b",
        what: "some chunks stored",
        at: "C6#3",
        plan: &[],
    },
    Case {
        name: "C7",
        what: "all chunks, no commit",
        at: "C7",
        plan: &[],
    },
    Case {
        name: "C8",
        what: "commit decided, not synced",
        at: "C8",
        plan: &[],
    },
    Case {
        name: "C10",
        what: "commit synced, 200 not sent",
        at: "C10",
        plan: &[],
    },
    Case {
        name: "C11",
        what: "200 sent",
        at: "",
        plan: &[],
    },
    Case {
        name: "C12",
        what: "lease taken",
        at: "C12",
        plan: &[],
    },
    Case {
        name: "C13",
        what: "decrypted into memory",
        at: "C13",
        plan: &[],
    },
    Case {
        name: "C15",
        what: "intent durable, no byte sent",
        at: "C15",
        plan: &[],
    },
    Case {
        name: "C16",
        what: "half of the bytes sent",
        at: "C16",
        plan: &[],
    },
    Case {
        name: "C17",
        what: "provider committed, answer on its way",
        at: "",
        plan: &["endless"],
    },
    Case {
        name: "C18",
        what: "answer received, not stored",
        at: "C18",
        plan: &[],
    },
    Case {
        name: "C18b",
        what: "answer received after an unknown first try",
        at: "C19",
        plan: &["commit_then_drop"],
    },
    Case {
        name: "C19",
        what: "Received stored, not synced",
        at: "C19",
        plan: &[],
    },
    Case {
        name: "C20",
        what: "callback verified, not stored",
        at: "C20",
        plan: &["pending:1"],
    },
    Case {
        name: "C21",
        what: "purge begun, secret live",
        at: "C21",
        plan: &[],
    },
    Case {
        name: "C21b",
        what: "purge begun after a rejection",
        at: "C21",
        plan: &["reject:expired"],
    },
    Case {
        name: "C22",
        what: "zeros written, not synced",
        at: "C22#2",
        plan: &[],
    },
    Case {
        name: "C23",
        what: "zeros synced, not read back",
        at: "C23#2",
        plan: &[],
    },
    Case {
        name: "C24",
        what: "chunks partly deleted",
        at: "C24",
        plan: &[],
    },
    Case {
        name: "C25",
        what: "purge stored, slot not free yet",
        at: "C25",
        plan: &[],
    },
];

const NOT_HERE: &[(&str, &str)] = &[
    (
        "C9",
        "no such moment: every write of the log is synced as it is written (power_cut tests it)",
    ),
    ("C14", "no such moment: no scanner stands between decrypting and sending"),
];

async fn one_point(case: &Case) -> bool {
    let site = Site::new(if case.plan == ["pending:1"] { "verdict" } else { "received" }).await;
    let link = site.links(1).await.remove(0);
    site.plan(case.plan).await;
    let file = png(case.name.len() as u64 + 5, 400_000);
    let mut portal = site.start(case.at).await;
    site.sandbox.set_callback(Some(format!("http://{}/hooks/sandbox", portal.address)));
    let acknowledged = portal.send(&link, &file).await == Some(200);
    match case.name {
        "C11" => assert!(acknowledged),
        "C17" => until("the provider has it", async || !site.received().await.is_empty()).await,
        _ => {}
    }
    let hit = if case.at.is_empty() {
        portal.kill();
        true
    } else {
        portal.ended().await
    };
    // The moment of recovery, before any worker turns: E and O; and P at any time.
    site.look_into(&[&link], &[&file], false).await;
    let mut portal = site.start("").await;
    site.sandbox.set_callback(Some(format!("http://{}/hooks/sandbox", portal.address)));
    if !acknowledged {
        // The applicant tries again. Either the first try counts after all, or this one does.
        let again = portal.send(&link, &file).await;
        assert!(matches!(again, Some(200 | 409)), "{}: {again:?}", case.name);
    }
    portal.purged(&link).await;
    portal.kill();
    site.look_into(&[&link], &[&file], true).await;
    let received = site.received().await;
    assert_eq!(received.len(), 1, "{}: {received:?}", case.name);
    assert_eq!(received[0]["deliveries"], 1, "{}", case.name);
    assert_eq!(received[0]["parts"][0]["sha256"], crate::support::sha256(&file), "{}", case.name);
    hit
}

async fn random_crashes(rounds: u64) {
    let seed = std::env::var("NIGHTDROP_CRASH_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1_000_000,
        |s| s.parse().unwrap(),
    );
    let _ = writeln!(std::io::stderr(), "NIGHTDROP_CRASH_SEED={seed}");
    let mut random = Random(seed << 8 | 1);
    let site = Site::new("received").await;
    let links = site.links(rounds as usize * 6).await;
    let bad = [
        "commit_then_drop",
        "commit_then_500",
        "500",
        "503:0",
        "drop",
        "garbage",
        "duplicate",
        "slow:150",
        "sticky_500",
        "429:1",
    ];
    let plan: Vec<&str> = (0..rounds * 40)
        .map(|_| {
            if random.below(5) == 0 {
                bad[random.below(bad.len() as u64) as usize]
            } else {
                "ok"
            }
        })
        .collect();
    site.plan(&plan).await;
    let mut acknowledged = Vec::new();
    for (round, mine) in links.chunks(6).enumerate() {
        let portal = Arc::new(site.start("").await);
        let uploads: Vec<_> = mine
            .chunks(3)
            .enumerate()
            .map(|(lane, links)| {
                let portal = portal.clone();
                let paths: Vec<String> = links.iter().map(|l| l.path.clone()).collect();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for (n, path) in paths.into_iter().enumerate() {
                        let file = png((round * 6 + lane * 3 + n) as u64, 3_000 + n * 120_000);
                        if portal.post(&path, &file).await != Some(200) {
                            break;
                        }
                        done.push(path);
                    }
                    done
                })
            })
            .collect();
        // The moment itself is what is random here, not a state that is waited for.
        tokio::time::sleep(std::time::Duration::from_millis(random.below(900))).await;
        portal.signal();
        for lane in uploads {
            acknowledged.extend(lane.await.unwrap());
        }
        drop(portal);
        if round % 10 == 9 {
            site.look_into(&[], &[], false).await;
        }
    }
    assert!(
        acknowledged.len() > rounds as usize / 2,
        "only {} uploads got through: nothing was tested",
        acknowledged.len()
    );
    let mut portal = site.start("").await;
    for link in links.iter().filter(|l| acknowledged.contains(&l.path)) {
        portal.purged(link).await;
    }
    // Some were stored whose answer was cut off; they are delivered as well.
    portal.quiet(&links).await;
    portal.kill();
    let known: Vec<&Link> = links.iter().filter(|l| acknowledged.contains(&l.path)).collect();
    let purged = site.look_into(&known, &[], true).await;
    let received = site.received().await;
    assert!(received.iter().all(|r| r["deliveries"] == 1), "{received:?}");
    let twice: BTreeMap<&str, usize> = received.iter().fold(BTreeMap::new(), |mut all, r| {
        *all.entry(r["applicant"].as_str().unwrap()).or_default() += 1;
        all
    });
    assert!(twice.values().all(|n| *n == 1), "{twice:?}");
    assert_eq!(received.len(), purged, "delivered and purged are the same documents");
    let _ = writeln!(
        std::io::stderr(),
        "{rounds} rounds: {} acknowledged, {purged} delivered once and purged, {} provider answers misbehaved",
        acknowledged.len(),
        plan.iter().filter(|p| **p != "ok").count()
    );
}

// ---- The provider and the folder ----

struct Site {
    folder: Folder,
    sandbox: Sandbox,
    http: reqwest::Client,
    born: Instant,
    start: i64,
}

impl Site {
    async fn new(confirm: &str) -> Self {
        nightdrop::connectors::client::install_tls();
        let secret = "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0";
        let settings = sandbox::Settings {
            api_key: Secret::new("sandbox-key"),
            webhook_secret: Secret::new(secret),
            callback_url: None,
        };
        let sandbox = Sandbox::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
        let folder = Folder::new();
        private(&folder.path().join("sandbox-key"), "sandbox-key");
        private(&folder.path().join("webhook"), secret);
        let text = format!(
            "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\nlisten = {{ public = \"127.0.0.1:0\", staff = \"127.0.0.1:0\" }}\n\
             erasure = {{ slots = 256, accept_weak = true }}\nworkers = 1\nlimits = {{ uploads_per_address = 16 }}\n\
             [providers.sandbox]\nkind = \"sandbox\"\nbase_url = \"{}\"\napi_key_file = \"sandbox-key\"\nwebhook_secret_file = \"webhook\"\nconfirm = \"{confirm}\"\n",
            sandbox.url(),
        );
        private(&folder.path().join("nightdrop.toml"), &text);
        app::create(&config(folder.path()), &KeyProtection::KekFile, Suite::XWing).unwrap();
        Self {
            folder,
            sandbox,
            http: client([127, 0, 0, 1].into()),
            born: Instant::now(),
            start: i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap(),
        }
    }

    /// What the children's clock shows now.
    fn clock(&self) -> i64 {
        self.start + i64::try_from(self.born.elapsed().as_millis()).unwrap() * HASTE
    }

    async fn open(&self) -> App {
        App::open(config(self.folder.path()), Source::Manual(Arc::new(AtomicI64::new(self.clock()))))
            .await
            .unwrap()
    }

    async fn links(&self, count: usize) -> Vec<Link> {
        let app = self.open().await;
        let mut links = Vec::new();
        for n in 0..count {
            let mut ask = ask(&format!("applicant-{n}"), "passport");
            ask.expires = issue::Expiry::In(time::Duration::days(13));
            let issued = issue::issue(&app.portal, ask, Actor::Operator, None).await.unwrap();
            let token = issued.token.encode();
            links.push(Link {
                id: issued.request.id,
                path: format!("/d/{token}"),
                token,
                passcode: None,
            });
        }
        links
    }

    async fn plan(&self, next: &[&str]) {
        let url = format!("{}/behaviour", self.sandbox.url());
        let answer = self.http.post(url).body(json!({ "next": next }).to_string()).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    async fn received(&self) -> Vec<Value> {
        let answer = self
            .http
            .get(format!("{}/received", self.sandbox.url()))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        serde_json::from_str::<Value>(&answer).unwrap().as_array().unwrap().clone()
    }

    async fn start(&self, crash_at: &str) -> Portal {
        Portal::start(self, crash_at).await
    }

    /// Opens what a dead process left, as the next start does, and checks the invariants. `done`: every given link's document is purged by now.
    /// Returns how many documents were purged.
    async fn look_into(&self, links: &[&Link], files: &[&[u8]], done: bool) -> usize {
        for file in files {
            // Any 16 KiB of it in one piece would hold one of these at a multiple of 8 KiB.
            let marks: std::collections::HashSet<&[u8]> = file[20_000..36_400].windows(16).collect();
            for path in walk(&self.folder.path().join("data")) {
                let bytes = std::fs::read(&path).unwrap();
                let shown = bytes.chunks(8_192).any(|piece| piece.len() >= 16 && marks.contains(&piece[..16]));
                assert!(!shown, "P: plaintext in {}", path.display());
            }
        }
        let app = self.open().await;
        let (records, portal) = (&app.portal.records, &app.portal);
        let owners: BTreeMap<_, _> = records.live_documents().await.unwrap().into_iter().collect();
        for slot in portal.erasure.live().unwrap() {
            let document = nightdrop::domain::id::DocumentId(slot.doc_id);
            assert!(owners.contains_key(&document), "E: a secret without an owner");
        }
        for document in portal.blobs.documents().await.unwrap() {
            assert!(owners.contains_key(&document), "chunks without an owner");
        }
        for (document, owner) in &owners {
            let request = records.request(*owner).await.unwrap().unwrap();
            let held = request.document().expect("a stream of a dead process is noted");
            assert_eq!(held.id, *document, "O: one document per link");
            if matches!(request.stage, Stage::Held { .. }) {
                assert!(portal.erasure.get(&held.id.0, &held.slot).is_ok(), "A: a held document's secret");
                for (index, part) in held.parts.iter().enumerate() {
                    for chunk in 0..part.chunks {
                        let key = nightdrop::storage::BlobKey {
                            document: held.id,
                            file_index: index as u8,
                            chunk,
                        };
                        assert!(portal.blobs.get(key).await.unwrap().is_some(), "A: chunk {chunk}");
                    }
                }
            }
        }
        if done {
            for link in links {
                let request = records.request(link.id).await.unwrap().unwrap();
                assert_eq!(request.stage, Stage::Purged);
                assert_eq!(request.tombstones.len(), 1);
            }
        }
        let (entries, receipts) = crate::audit::verified(records).await;
        let purged = entries.iter().filter(|e| e.event.action == "document.purged").count();
        assert_eq!(purged, receipts.len(), "a receipt for each purge");
        purged
    }
}

fn config(folder: &Path) -> Config {
    let text = std::fs::read_to_string(folder.join("nightdrop.toml")).unwrap();
    Config::parse(&text, folder, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

// ---- The child ----

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Runs the portal on the folder until it is killed, or its parent dies.
fn child(folder: &Path) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let start: i64 = std::env::var(START).unwrap().parse().unwrap();
    let hands = Arc::new(AtomicI64::new(start));
    let turning = hands.clone();
    std::thread::spawn(move || {
        let born = Instant::now();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(2));
            turning.store(start + i64::try_from(born.elapsed().as_millis()).unwrap() * HASTE, Ordering::SeqCst);
        }
    });
    runtime().block_on(async {
        let app = App::open(config(folder), Source::Manual(hands)).await.unwrap();
        let running = app.start().await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\npublic={}", running.public).unwrap();
        out.flush().unwrap();
        std::future::pending::<()>().await;
    });
}

/// A running child; killed on drop.
struct Portal {
    child: std::sync::Mutex<Child>,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Portal {
    async fn start(site: &Site, crash_at: &str) -> Self {
        // The child comes back to the test that started it, which sends it to `child`.
        let name = std::thread::current()
            .name()
            .map(str::to_owned)
            .filter(|n| n.starts_with("crash::"));
        let name = name.unwrap_or_else(|| "crash::every_point_of_a_crash_is_survived".to_owned());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&name, "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, site.folder.path())
            .env(START, site.clock().to_string())
            .env("NIGHTDROP_CRASH_AT", crash_at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = out.lines().map_while(Result::ok);
            let address = lines.find_map(|line| line.strip_prefix("public=").map(str::to_owned));
            let _ = tell.send(address);
            lines.for_each(drop);
        });
        let address = told.await.unwrap().expect("the portal starts").parse().unwrap();
        Self {
            child: std::sync::Mutex::new(child),
            address,
            http: client([127, 0, 0, 1].into()),
        }
    }

    async fn send(&self, link: &Link, file: &[u8]) -> Option<u16> {
        self.post(&link.path, file).await
    }

    async fn post(&self, path: &str, file: &[u8]) -> Option<u16> {
        let (body, kind) = form(&[("front", file)]);
        let url = format!("http://{}{path}", self.address);
        let answer = self.http.post(url).header("content-type", kind).body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        // An answer counts once it is whole.
        answer.text().await.ok().map(|_| status)
    }

    /// Waits for the end that the point brings; false when it never came.
    async fn ended(&mut self) -> bool {
        let patience = Instant::now();
        while patience.elapsed().as_secs() < 20 {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                return status.signal() == Some(9);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        self.kill();
        false
    }

    async fn page(&self, link: &Link) -> String {
        let url = format!("http://{}{}", self.address, link.path);
        self.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    async fn purged(&mut self, link: &Link) {
        until("the document is purged", async || self.page(link).await.contains("deleted here on")).await;
    }

    /// Waits until no link shows a document on its way.
    async fn quiet(&mut self, links: &[Link]) {
        for link in links {
            until("nothing is on its way", async || {
                let page = self.page(link).await;
                page.contains("deleted here on") || page.contains("<form")
            })
            .await;
        }
    }

    fn signal(&self) {
        self.child.lock().unwrap().kill().unwrap();
    }

    fn kill(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        child.wait().unwrap();
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.kill();
    }
}
