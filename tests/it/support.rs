//! A portal of its own for each test: real server on a free port, real store in a temporary folder, the sandbox provider beside it. The worker is driven by hand unless told otherwise.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nightdrop::testing::app::{self, App, FetchPace, KeyProtection, Running, Store};
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::domain::agent::{Actor, Scope};
use nightdrop::testing::domain::document::{ApplicantRef, DocumentKind, PartName, ProviderName};
use nightdrop::testing::domain::request::{DocumentRequest, RequestState};
use nightdrop::testing::http::body::BodyPace;
use nightdrop::testing::http::settings::{ListenerTls, TlsFiles};
use nightdrop::testing::sandbox::{self, Sandbox};
use nightdrop::testing::settings::Secret;
use nightdrop::testing::storage::WorkQueues;
use nightdrop::testing::storage::clock::{Manual, Source};
use nightdrop::testing::storage::sled::SledStore;
use nightdrop::testing::worker::{self, Step};
use nightdrop::testing::workflow::issue::{self, Ask, Expiry, Issued};
use nightdrop::testing::workflow::{Portal, sign_in};
use serde_json::Value;
use time::Duration;

const WEBHOOK_SECRET: &str = "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0";

/// A folder that goes away with its owner.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        // A portal may still be stopping on other threads when its folder goes. Children that play a portal make no folder: they end as a portal does.
        nightdrop::testing::storage::sled::durable::outlive_dead_stores();
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("nightdrop-it-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a test wants otherwise.
#[derive(Clone)]
pub struct TestOptions {
    pub confirm: &'static str,
    /// More lines of `nightdrop.toml`, tables included.
    pub more: String,
    pub worker: bool,
    pub clock: Source,
    pub suite: Suite,
    pub passphrase: Option<&'static str>,
    pub slots: u64,
    /// More lines of the sandbox provider's table.
    pub provider: String,
    /// How slow a sender may be.
    pub pace: BodyPace,
    /// How often something is done about certificates that are fetched.
    pub fetch_pace: FetchPace,
}

impl Default for TestOptions {
    fn default() -> Self {
        Self {
            confirm: "received",
            more: String::new(),
            worker: false,
            clock: Source::System,
            suite: Suite::XWing,
            passphrase: None,
            slots: 64,
            provider: String::new(),
            pace: BodyPace::default(),
            fetch_pace: FetchPace::default(),
        }
    }
}

impl TestOptions {
    /// A clock that stands still until the test moves it.
    pub fn with_clock(mut self) -> (Self, TestClock) {
        let clock = Arc::new(Manual::new(time::OffsetDateTime::now_utc()));
        self.clock = Source::Manual(clock.clone());
        (self, TestClock(clock))
    }
}

/// Moves a test's clock.
pub struct TestClock(Arc<Manual>);

impl TestClock {
    /// Time passes.
    pub fn forward(&self, by: Duration) {
        self.0.pass(i64::try_from(by.whole_milliseconds()).unwrap());
    }

    /// Only the wall clock is set, ahead or back.
    pub fn jump(&self, by: Duration) {
        self.0.jump(i64::try_from(by.whole_milliseconds()).unwrap());
    }

    /// The machine, not only the portal, is about to start again.
    pub fn reboot(&self) {
        self.0.reboot();
    }
}

/// The portal's inside, which a restart has to let go of before it opens the store again.
pub struct Lent(Option<Arc<Portal>>);

impl std::ops::Deref for Lent {
    type Target = Arc<Portal>;
    fn deref(&self) -> &Arc<Portal> {
        self.0.as_ref().unwrap()
    }
}

/// A running portal with its sandbox provider.
pub struct TestApp {
    pub running: Option<Running>,
    pub portal: Lent,
    pub sandbox: Sandbox,
    pub folder: Folder,
    pub http: reqwest::Client,
    pub api_key: String,
    config: Config,
    text: String,
    options: TestOptions,
}

impl TestApp {
    pub async fn new() -> Self {
        Self::with_options(TestOptions::default()).await
    }

    pub async fn with_options(options: TestOptions) -> Self {
        nightdrop::testing::connectors::client::install_tls();
        let folder = Folder::new();
        let settings = sandbox::SandboxSettings {
            api_key: Secret::new("sandbox-key"),
            webhook_secret: Secret::new(WEBHOOK_SECRET),
            callback_url: None,
        };
        let sandbox = Sandbox::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
        private(&folder.path().join("sandbox-key"), "sandbox-key");
        private(&folder.path().join("webhook"), WEBHOOK_SECRET);
        let text = format!(
            "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = true\nlisten = {{ public = \"127.0.0.1:0\", staff = \"127.0.0.1:0\" }}\n\
             erasure = {{ slots = {}, accept_weak = true }}\nworkers = 2\n{}\n\
             [providers.sandbox]\nkind = \"sandbox\"\nbase_url = \"{}\"\napi_key_file = \"sandbox-key\"\nwebhook_secret_file = \"webhook\"\nconfirm = \"{}\"\n{}",
            options.slots,
            options.more,
            sandbox.url(),
            options.confirm,
            options.provider
        );
        let config = parsed(&text, folder.path()).unwrap_or_else(|f| panic!("{f}\n{text}"));
        let protection = match options.passphrase {
            None => KeyProtection::KekFile,
            Some(phrase) => KeyProtection::Passphrase(
                zeroize::Zeroizing::new(phrase.as_bytes().to_vec()),
                nightdrop::testing::crypto::keyfile::Argon2Cost::smallest(),
            ),
        };
        app::create(&config, &protection, options.suite).unwrap();
        app::bind_database(&config).await.unwrap();
        let app = App::open(config.clone(), options.clock.clone()).await.unwrap();
        let portal = app.portal.clone();
        let (_, secret) = sign_in::add_api_key(&portal, "tests", Scope::ALL.to_vec(), None, Actor::Operator)
            .await
            .unwrap();
        let running = start(app, &options).await;
        sandbox.set_callback(Some(format!("http://{}/hooks/sandbox", running.public)));
        let http = client(IpAddr::from([127, 0, 0, 1]));
        Self {
            portal: Lent(Some(portal)),
            running: Some(running),
            sandbox,
            folder,
            http,
            api_key: secret.to_string(),
            config,
            text,
            options,
        }
    }

    /// Stops the process part and starts it again on the same folder.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.let_go().await;
        self.open_again().await;
    }

    /// After a stop: nothing of this process holds the folder any more.
    pub async fn let_go(&mut self) {
        let gone = Arc::downgrade(&self.portal.0.take().unwrap());
        until("the old portal is let go", async || gone.strong_count() == 0).await;
    }

    /// Starts on a folder that was let go.
    pub async fn open_again(&mut self) {
        // The last owner may still be closing the store on a thread of its own.
        let mut opened = None;
        until("the store is free", async || {
            match App::open(self.config.clone(), self.options.clock.clone()).await {
                Ok(app) => opened = Some(app),
                Err(error) if error.to_string().contains("holds this directory") => {}
                Err(error) => panic!("{error}"),
            }
            opened.is_some()
        })
        .await;
        let app = opened.unwrap();
        self.portal = Lent(Some(app.portal.clone()));
        let running = start(app, &self.options).await;
        self.sandbox.set_callback(Some(format!("http://{}/hooks/sandbox", running.public)));
        self.running = Some(running);
    }

    /// Reads this text as its configuration while it runs. `Ok`: the keys that wait for the next start; `Err`: what is wrong, and nothing has changed.
    pub async fn reload(&mut self, text: &str) -> Result<Vec<&'static str>, String> {
        let config = parsed(text, self.folder.path())?;
        let running = self.running.as_mut().unwrap();
        let reloaded = running.reload(config.clone()).await.map_err(|error| error.to_string())?;
        self.portal = Lent(Some(running.portal.clone()));
        self.config = config;
        self.text = text.to_owned();
        Ok(reloaded.at_next_start)
    }

    /// Its configuration, as another process may read it beside the folder's files.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Stops and starts at the same public address, for a browser that knows only that one.
    pub async fn restart_in_place(&mut self) {
        let public = self.running.as_ref().unwrap().public;
        let listen = std::mem::replace(&mut self.config.public.address, public);
        self.restart().await;
        self.config.public.address = listen;
    }

    /// The public listener speaks TLS from here on: certificate and key as PEM.
    pub async fn speak_tls(&mut self, cert: &str, key: &str) {
        let (cert_file, key_file) = (self.folder.path().join("cert.pem"), self.folder.path().join("key.pem"));
        private(&cert_file, cert);
        private(&key_file, key);
        self.config.public.tls = ListenerTls::Files(TlsFiles {
            cert: cert_file,
            key: key_file,
        });
        self.restart().await;
    }

    /// What `kill -9` at this instant leaves: a copy of the folder as the kernel has it, opened as the next start would.
    pub async fn crash_copy(&self) -> (App, Folder) {
        let folder = Folder::new();
        for file in walk(self.folder.path()) {
            let copy = folder.path().join(file.strip_prefix(self.folder.path()).unwrap());
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            // Copying keeps the mode, which the portal looks at.
            std::fs::copy(&file, copy).unwrap();
        }
        let config = Config::parse(&self.text, folder.path(), std::iter::empty()).unwrap();
        (App::open(config, self.options.clock.clone()).await.unwrap(), folder)
    }

    /// The embedded store itself, for a test that looks into it.
    pub fn embedded(&self) -> Arc<SledStore> {
        match &self.running.as_ref().unwrap().store {
            Store::Embedded(store) => store.clone(),
            Store::Postgres(_) => panic!("the records are in a database"),
        }
    }

    pub fn public(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.as_ref().unwrap().public)
    }

    pub fn staff(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.as_ref().unwrap().staff)
    }

    pub fn data(&self) -> &Path {
        &self.config.data_dir
    }

    /// A link for a government ID, both sides.
    pub async fn link(&self) -> Link {
        self.link_for("government-id", None).await
    }

    pub async fn link_for(&self, document: &str, parts: Option<&[&str]>) -> Link {
        let mut ask = ask("applicant-1", document);
        ask.parts = parts.map(|p| p.iter().map(|n| PartName::parse(n).unwrap()).collect());
        self.issue(ask).await
    }

    pub async fn issue(&self, ask: Ask) -> Link {
        let issued = issue::issue(&self.portal, ask, Actor::Operator, None).await.unwrap();
        self.known(issued)
    }

    pub fn known(&self, issued: Issued) -> Link {
        Link {
            id: issued.request.id,
            token: issued.token.encode(),
            path: format!("/d/{}", issued.token.encode()),
            passcode: issued.passcode.as_ref().and_then(|code| code.shown()).map(str::to_owned),
        }
    }

    pub async fn request(&self, link: &Link) -> DocumentRequest {
        self.portal.requests.request(link.id).await.unwrap().unwrap()
    }

    pub async fn state(&self, link: &Link) -> RequestState {
        self.request(link).await.state(self.portal.now())
    }

    /// Sends files as the form does. The answer is whatever the portal says.
    pub async fn drop_files(&self, link: &Link, files: &[(&str, &[u8])]) -> reqwest::Response {
        let (body, kind) = form(files);
        self.http
            .post(self.public(&link.path))
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Works until nothing is due any more.
    pub async fn work(&self) {
        while worker::step(&self.portal).await.unwrap() == Step::Done {}
    }

    pub async fn received(&self) -> Vec<Value> {
        let body = self
            .http
            .get(format!("{}/received", self.sandbox.url()))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        serde_json::from_str::<Value>(&body).unwrap().as_array().unwrap().clone()
    }

    pub async fn misbehave(&self, next: &[&str]) {
        let body = serde_json::json!({ "next": next }).to_string();
        let answer = self
            .http
            .post(format!("{}/behaviour", self.sandbox.url()))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Every file below the data folder.
    pub fn files(&self) -> Vec<PathBuf> {
        walk(self.data())
    }
}

/// The configuration of a test, all of whose requests come from one address.
fn parsed(text: &str, folder: &Path) -> Result<Config, String> {
    let mut config = Config::parse(text, folder, std::iter::empty()).map_err(|faults| format!("{faults:?}"))?;
    if !text.contains("pages_per_address") {
        config.limits.pages_per_address = 100_000;
    }
    if !text.contains("uploads_per_address") {
        config.limits.uploads_per_address = 8;
    }
    if !text.contains("silent_per_address") {
        config.limits.silent_per_address = 100_000;
        config.limits.connections_per_address = 100_000;
    }
    Ok(config)
}

async fn start(mut app: App, options: &TestOptions) -> Running {
    app.pace = options.pace;
    app.fetch_pace = options.fetch_pace;
    app.start_with(options.worker).await.unwrap()
}

/// Looks again and again until it is so; fails after a minute and a half: busy machines stand still for seconds.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(90);
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
}

#[derive(Clone)]
pub struct Link {
    pub id: nightdrop::testing::domain::id::RequestId,
    pub token: String,
    pub path: String,
    pub passcode: Option<String>,
}

pub fn ask(applicant: &str, document: &str) -> Ask {
    Ask {
        provider: ProviderName::parse("sandbox").unwrap(),
        applicant: ApplicantRef::parse(applicant).unwrap(),
        document: DocumentKind::parse(document).unwrap(),
        parts: None,
        expires: Expiry::Default,
        passcode: false,
        locale: None,
        message: None,
        return_url: None,
        metadata: None,
        ticket: None,
    }
}

pub fn client(from: IpAddr) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .local_address(from)
        .redirect(reqwest::redirect::Policy::none())
        // Well before a server hangs up on an idle connection: a request on its way at that moment would fail.
        .pool_idle_timeout(std::time::Duration::from_secs(1))
        .build()
        .unwrap()
}

/// A form as browsers write it: its bytes and its content type.
pub fn form(files: &[(&str, &[u8])]) -> (Vec<u8>, String) {
    let boundary = "----WebKitFormBoundaryHx7nightdrop";
    let mut body = Vec::new();
    for (name, bytes) in files {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"IMG 0001.png\"\r\nContent-Type: image/png\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (body, format!("multipart/form-data; boundary={boundary}"))
}

/// A whole PNG of about the with_options size: one stored (uncompressed) zlib stream of noise, so that it has no repetition to hide behind.
pub fn png(seed: u64, bytes: usize) -> Vec<u8> {
    picture(seed, 1000, bytes)
}

/// The same with as many pixels in a row.
pub fn picture(seed: u64, width: u32, bytes: usize) -> Vec<u8> {
    let row = width as usize * 3 + 1;
    let height = u32::try_from(bytes.div_ceil(row).max(1)).unwrap();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut raw = Vec::with_capacity(row * height as usize);
    for place in 0..row * height as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Each row starts with its filter, here "none".
        raw.push(if place % row == 0 { 0 } else { (state >> 32) as u8 });
    }
    let mut zlib = vec![0x78, 0x01];
    let blocks: Vec<&[u8]> = raw.chunks(65_535).collect();
    for (i, block) in blocks.iter().enumerate() {
        zlib.push(u8::from(i + 1 == blocks.len()));
        let length = u16::try_from(block.len()).unwrap();
        zlib.extend_from_slice(&length.to_le_bytes());
        zlib.extend_from_slice(&(!length).to_le_bytes());
        zlib.extend_from_slice(block);
    }
    zlib.extend_from_slice(&adler(&raw).to_be_bytes());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    chunk(&mut png, b"IHDR", &header);
    for piece in zlib.chunks(1 << 20) {
        chunk(&mut png, b"IDAT", piece);
    }
    chunk(&mut png, b"IEND", &[]);
    png
}

pub fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    let start = png.len();
    png.extend_from_slice(kind);
    png.extend_from_slice(data);
    let crc = crc32(&png[start..]);
    png.extend_from_slice(&crc.to_be_bytes());
}

fn crc32(data: &[u8]) -> u32 {
    static TABLE: std::sync::LazyLock<[u32; 256]> = std::sync::LazyLock::new(|| {
        std::array::from_fn(|i| (0..8).fold(i as u32, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }))
    });
    !data.iter().fold(!0, |c, b| TABLE[((c ^ u32::from(*b)) & 255) as usize] ^ (c >> 8))
}

fn adler(data: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for chunk in data.chunks(5_000) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        a %= 65_521;
        b %= 65_521;
    }
    (b << 16) | a
}

pub fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(walk(&entry.path()))
        } else {
            files.push(entry.path())
        }
    }
    files
}

pub fn private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

// ---- Driving the worker through time ----

impl TestApp {
    /// Restarts with another configuration.
    pub async fn restart_as(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.restart().await;
    }

    /// Changes the configuration of the next start.
    pub fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// As [`TestApp::misbehave`], with entries of any form.
    pub async fn plan(&self, next: Value) {
        let answer = self
            .http
            .post(format!("{}/behaviour", self.sandbox.url()))
            .header("content-type", "application/json")
            .body(serde_json::json!({ "next": next }).to_string())
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Planned misbehaviour that is left.
    pub async fn planned(&self) -> u64 {
        let body = self.http.get(format!("{}/behaviour", self.sandbox.url())).send().await.unwrap();
        let body: Value = serde_json::from_str(&body.text().await.unwrap()).unwrap();
        body["left"].as_u64().unwrap()
    }

    /// Destroys what was given up so far, as the worker does, and nothing else.
    pub async fn clean(&self) {
        worker::clean(&self.portal).await;
    }

    /// One step of the worker.
    pub async fn one_step(&self) -> Step {
        worker::step(&self.portal).await.unwrap()
    }

    /// Works on what is due now; a portal that never comes to rest fails. Returns the steps it took.
    pub async fn work_due(&self) -> usize {
        for steps in 0..500 {
            if self.one_step().await == Step::Idle {
                return steps;
            }
        }
        panic!("500 steps without a rest: something is always due");
    }

    /// Moves the clock from one due instant to the next and works, until `so` or until `limit` has passed. Returns the time that went by.
    pub async fn work_until(&self, clock: &TestClock, limit: Duration, mut so: impl AsyncFnMut(&TestApp) -> bool) -> Duration {
        let start = self.portal.now();
        loop {
            self.work_due().await;
            let now = self.portal.now();
            if so(self).await || now - start >= limit {
                return now - start;
            }
            let requests = &self.portal.requests;
            let queues = [
                requests.next_due(WorkQueues::All).await.unwrap(),
                requests.next_cleanup().await.unwrap(),
            ];
            let Some(due) = queues.into_iter().flatten().min() else {
                return now - start;
            };
            clock.forward((due - now).clamp(Duration::milliseconds(1), limit - (now - start)));
        }
    }

    /// Drops one small front; panics unless it was received. Returns the SHA-256 of what was sent.
    pub async fn drop_front(&self, link: &Link, seed: u64) -> String {
        let front = png(seed, 4_000);
        let answer = self.drop_files(link, &[("front", &front)]).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        sha256(&front)
    }

    /// A link for one front of a passport, for this applicant at this provider.
    pub async fn link_at(&self, provider: &str, applicant: &str) -> Link {
        let mut ask = ask(applicant, "passport");
        ask.provider = ProviderName::parse(provider).unwrap();
        self.issue(ask).await
    }

    /// What the sandbox has of an applicant: `(sha256 of the first part, deliveries with effect)`, oldest first.
    pub async fn has(&self, applicant: &str) -> Vec<(String, u64)> {
        let all = self.received().await;
        all.iter()
            .filter(|entry| entry["applicant"] == applicant)
            .map(|entry| {
                let sha = entry["parts"][0]["sha256"].as_str().unwrap().to_owned();
                (sha, entry["deliveries"].as_u64().unwrap())
            })
            .collect()
    }

    /// The request's log, each entry as `action key=value …`.
    pub async fn log(&self, link: &Link) -> Vec<String> {
        let entries = self.portal.audit.timeline(link.id).await.unwrap();
        entries
            .into_iter()
            .map(|e| {
                let detail: String = e.event.detail.iter().map(|(k, v)| format!(" {k}={v}")).collect();
                format!("{}{detail}", e.event.action)
            })
            .collect()
    }
}

/// A page or problem document without what differs from one request to the next: the id of the request, `7xk2-9qpm-4t0c`.
pub fn without_request_id(text: &str) -> String {
    let in_an_id = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase();
    let is_id = |at: &[u8]| {
        at.len() == 14
            && at
                .iter()
                .enumerate()
                .all(|(n, c)| if n == 4 || n == 9 { *c == b'-' } else { in_an_id(*c) })
    };
    let bytes = text.as_bytes();
    match (0..bytes.len()).find(|from| is_id(&bytes[*from..bytes.len().min(from + 14)])) {
        Some(from) => format!("{}{}", &text[..from], &text[from + 14..]),
        None => text.to_owned(),
    }
}

/// A figure that a test measured, for whoever looks at its output.
pub fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
