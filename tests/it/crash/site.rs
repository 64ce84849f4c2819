//! The provider and the folder that outlive every crash, and the child process that does not.

use super::*;
use nightdrop::testing::domain::audit::AuditAction;

pub(super) struct Site {
    pub(super) folder: Folder,
    pub(super) sandbox: Sandbox,
    pub(super) http: reqwest::Client,
    born: Instant,
    start: i64,
}

impl Site {
    pub(super) async fn new(confirm: &str) -> Self {
        Self::prepared(confirm, |_| {}).await
    }

    /// `prepare` sees the folder before anything is in it.
    pub(super) async fn prepared(confirm: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::with_options(confirm, "", prepare).await
    }

    /// `more`: further tables of the configuration.
    pub(super) async fn with_options(confirm: &str, more: &str, prepare: impl FnOnce(&Path)) -> Self {
        nightdrop::testing::connectors::client::install_tls();
        let secret = "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0";
        let settings = sandbox::SandboxSettings {
            api_key: Secret::new("sandbox-key"),
            webhook_secret: Secret::new(secret),
            callback_url: None,
        };
        let sandbox = Sandbox::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
        let folder = Folder::new();
        prepare(folder.path());
        private(&folder.path().join("sandbox-key"), "sandbox-key");
        private(&folder.path().join("webhook"), secret);
        let text = format!(
            "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = true\nlisten = {{ public = \"127.0.0.1:0\", staff = \"127.0.0.1:0\" }}\n\
             erasure = {{ slots = 256, accept_weak = true }}\nworkers = 1\nlimits = {{ uploads_per_address = 16, pages_per_address = 100000 }}\n\
             [providers.sandbox]\nkind = \"sandbox\"\nbase_url = \"{}\"\napi_key_file = \"sandbox-key\"\nwebhook_secret_file = \"webhook\"\nconfirm = \"{confirm}\"\n{more}",
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
    pub(super) fn clock(&self) -> i64 {
        self.start + i64::try_from(self.born.elapsed().as_millis()).unwrap() * HASTE
    }

    pub(super) async fn open(&self) -> App {
        App::open(config(self.folder.path()), Source::manual(from_ms(self.clock())))
            .await
            .unwrap()
    }

    pub(super) async fn links(&self, count: usize) -> Vec<Link> {
        self.links_for(count, |_| "passport").await
    }

    pub(super) async fn links_for(&self, count: usize, document: impl Fn(usize) -> &'static str) -> Vec<Link> {
        let app = self.open().await;
        let mut links = Vec::new();
        for n in 0..count {
            let mut ask = ask(&format!("applicant-{n}"), document(n));
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

    pub(super) async fn plan(&self, next: &[&str]) {
        let url = format!("{}/behaviour", self.sandbox.url());
        let answer = self.http.post(url).body(json!({ "next": next }).to_string()).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    pub(super) async fn received(&self) -> Vec<Value> {
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

    pub(super) async fn start(&self, crash_at: &str) -> Portal {
        Portal::start(self, crash_at).await.expect("the portal starts")
    }

    /// Starts a portal that may end at its point while it starts; then as often as it takes without one.
    pub(super) async fn start_anyhow(&self, crash_at: &str) -> Portal {
        match Portal::start(self, crash_at).await {
            Some(portal) => portal,
            None => self.start("").await,
        }
    }

    /// Opens what a dead process left, as the next start does, and checks the invariants. `done`: every given link's document is purged by now.
    /// Returns how many documents were purged.
    pub(super) async fn look_into(&self, links: &[&Link], files: &[&[u8]], done: bool) -> usize {
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
        let portal = &app.portal;
        let owners: BTreeMap<_, _> = portal.requests.live_documents().await.unwrap().into_iter().collect();
        for slot in portal.erasure.live().unwrap() {
            let document = nightdrop::testing::domain::id::DocumentId(slot.doc_id);
            assert!(owners.contains_key(&document), "E: a secret without an owner");
        }
        for document in portal.blobs.documents().await.unwrap() {
            assert!(owners.contains_key(&document), "chunks without an owner");
        }
        for (document, owner) in &owners {
            let request = portal.requests.request(*owner).await.unwrap().unwrap();
            let Some(held) = request.document() else {
                // What waits between two connections is alive without any.
                let waits = |r: &Intake| r.document == *document && r.kind != IntakeKind::Discarding;
                assert!(request.intakes.iter().any(waits), "a stream of a dead process is noted");
                continue;
            };
            assert_eq!(held.id, *document, "O: one document per link");
            if matches!(request.stage, Stage::Held { .. }) {
                assert!(portal.erasure.get(&held.id.0, &held.slot).is_ok(), "A: a held document's secret");
                for (index, part) in held.parts.iter().enumerate() {
                    for chunk in 0..part.chunks {
                        let key = nightdrop::testing::storage::BlobKey {
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
                let request = portal.requests.request(link.id).await.unwrap().unwrap();
                assert_eq!(request.stage, Stage::Purged);
                assert_eq!(request.tombstones.len(), 1);
            }
        }
        let (entries, receipts) = crate::audit::verified(portal).await;
        let purged = entries.iter().filter(|e| e.event.action == AuditAction::DocumentPurged).count();
        assert_eq!(purged, receipts.len(), "a receipt for each purge");
        purged
    }
}

pub(super) fn config(folder: &Path) -> Config {
    let text = std::fs::read_to_string(folder.join("nightdrop.toml")).unwrap();
    Config::parse(&text, folder, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Runs the portal on the folder until it is killed, or its parent dies.
pub(super) fn child(folder: &Path) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let start: i64 = std::env::var(START).unwrap().parse().unwrap();
    let clock = Arc::new(Manual::new(from_ms(start)));
    let turning = clock.clone();
    std::thread::spawn(move || {
        let born = Instant::now();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(2));
            let shows = start + i64::try_from(born.elapsed().as_millis()).unwrap() * HASTE;
            turning.pass(shows - turning.wall_ms());
        }
    });
    runtime().block_on(async {
        let app = App::open(config(folder), Source::Manual(clock)).await.unwrap();
        let running = app.start().await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\npublic={}", running.public).unwrap();
        out.flush().unwrap();
        std::future::pending::<()>().await;
    });
}

/// A running child; killed on drop.
pub(super) struct Portal {
    child: std::sync::Mutex<Child>,
    pub(super) address: SocketAddr,
    pub(super) http: reqwest::Client,
}

impl Portal {
    pub(super) async fn start(site: &Site, crash_at: &str) -> Option<Self> {
        // The child comes back to the test that started it, which sends it to `child`.
        let name = std::thread::current()
            .name()
            .map(str::to_owned)
            .filter(|n| n.starts_with("crash::"));
        let name = name.unwrap_or_else(|| "crash::every_point_of_a_crash_is_survived".to_owned());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, site.folder.path())
            .env(START, site.clock().to_string())
            .env("NIGHTDROP_FAILPOINT", crash_at)
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
        let Some(address) = told.await.unwrap() else {
            child.wait().unwrap();
            return None;
        };
        Some(Self {
            child: std::sync::Mutex::new(child),
            address: address.parse().unwrap(),
            http: client([127, 0, 0, 1].into()),
        })
    }

    pub(super) async fn send(&self, link: &Link, file: &[u8]) -> Option<u16> {
        self.post(&link.path, file).await
    }

    /// One part by tus, in two pieces; the status of the last one.
    pub(super) async fn tus(&self, link: &Link, part: &str, file: &[u8]) -> Option<u16> {
        let url = format!("http://{}{}/parts/{part}", self.address, link.path);
        let begin = self
            .http
            .post(&url)
            .header("tus-resumable", "1.0.0")
            .header("upload-length", file.len());
        let begun = begin.send().await.ok()?;
        let (mut status, mut offset) = (begun.status().as_u16(), 0);
        for piece in file.chunks(file.len() / 2 + 1) {
            if !(200..300).contains(&status) {
                break;
            }
            let patch = self
                .http
                .patch(&url)
                .header("tus-resumable", "1.0.0")
                .header("upload-offset", offset);
            let patch = patch.header("content-type", "application/offset+octet-stream").body(piece.to_vec());
            status = patch.send().await.ok()?.status().as_u16();
            offset += piece.len();
        }
        Some(status)
    }

    pub(super) async fn post(&self, path: &str, file: &[u8]) -> Option<u16> {
        let (body, kind) = form(&[("front", file)]);
        let url = format!("http://{}{path}", self.address);
        let answer = self.http.post(url).header("content-type", kind).body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        // An answer counts once it is whole.
        answer.text().await.ok().map(|_| status)
    }

    /// Waits for the end that the point brings; false when it never came.
    pub(super) async fn ended(&mut self) -> bool {
        let ended = self.ends_within(std::time::Duration::from_secs(60)).await;
        self.kill();
        ended
    }

    /// Whether it ends by itself, as a kill would end it, before so much time is over.
    pub(super) async fn ends_within(&self, patience: std::time::Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                return status.signal() == Some(9);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        false
    }

    pub(super) async fn page(&self, link: &Link) -> String {
        let url = format!("http://{}{}", self.address, link.path);
        self.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    pub(super) async fn purged(&mut self, link: &Link) {
        until("the document is purged", async || {
            self.page(link).await.contains("deleted from this site on")
        })
        .await;
    }

    /// Waits until no link shows a document on its way.
    pub(super) async fn quiet(&mut self, links: &[Link]) {
        for link in links {
            until("nothing is on its way", async || {
                let page = self.page(link).await;
                page.contains("deleted from this site on") || page.contains("<form")
            })
            .await;
        }
    }

    pub(super) fn signal(&self) {
        self.child.lock().unwrap().kill().unwrap();
    }

    pub(super) fn kill(&mut self) {
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

/// A small file system in memory; unmounted on drop, before the folder that it is in goes.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"])
            .arg(at)
            .status()
            .unwrap();
        assert!(status.success(), "tmpfs cannot be mounted");
        Self(at.to_owned())
    }

    /// Takes space until only `left` bytes are free.
    pub(super) fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        loop {
            let status = rustix::fs::statvfs(&self.0).unwrap();
            if status.f_bavail * status.f_frsize <= left + (1 << 20) {
                return path;
            }
            file.write_all(&[7; 1 << 20]).unwrap();
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
