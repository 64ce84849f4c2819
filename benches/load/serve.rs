//! The roles of a child: a portal (with its real store of documents, or with none), servers that only read, the sandbox provider, and single steps.

use std::io::{BufRead, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use actix_web::{App as Site, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use nightdrop::testing::app::{self, App, KeyProtection, Running, Store};
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::crypto::heap;
use nightdrop::testing::crypto::random;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::document::{ApplicantRef, DocumentKind, ProviderName, SlotRef};
use nightdrop::testing::domain::id::{DocumentId, RequestId};
use nightdrop::testing::domain::request::StagedPart;
use nightdrop::testing::domain::transition::{EndOf, IntakeStep, Transition};
use nightdrop::testing::http::applicant::multipart::{Multipart, boundary};
use nightdrop::testing::sandbox::{self, Sandbox};
use nightdrop::testing::settings::Secret;
use nightdrop::testing::storage::clock::Source;
use nightdrop::testing::storage::{BlobStore, Filter};
use nightdrop::testing::worker::{self, Step};
use nightdrop::testing::workflow::delivery::outbound;
use nightdrop::testing::workflow::issue::{self, Ask, Expiry};
use nightdrop::testing::workflow::trusted::TrustedRequest;
use nightdrop::testing::workflow::{Portal, sweep};
use serde_json::{Value, json};

use crate::alone;
use crate::layouts;
use crate::nowhere::Nowhere;
use crate::staff::Console;

const WORKERS: usize = 2;

/// CPU seconds of this process so far, user and system, all threads.
pub fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Plays a role until told to stop.
pub fn run(role: &str, settings: &Value) {
    heap::set_up();
    if role == "alone" {
        say(&alone::run(settings));
        return answer(|_, _| Value::Null);
    }
    if role == "layout" {
        say(&layouts::run(settings));
        return answer(|_, _| Value::Null);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    match role {
        "raw" | "multipart" => {
            let address = runtime.block_on(reader(role == "multipart"));
            say(&json!({ "address": address }));
            answer(|what, with| match what {
                "issue" => json!({ "paths": vec!["/d/anything"; with["count"].as_u64().unwrap() as usize] }),
                _ => Value::Null,
            });
        }
        "sandbox" => {
            let sandbox = runtime.block_on(provider());
            say(&json!({ "address": sandbox.url().trim_start_matches("http://") }));
            answer(|_, _| Value::Null);
        }
        "portal" => {
            let mut app = runtime.block_on(TestApp::open(settings));
            say(&json!({ "address": app.running.as_ref().unwrap().public.to_string(), "open_ms": app.open_ms }));
            answer(|what, with| runtime.block_on(app.answer(what, with)));
        }
        other => panic!("{other}?"),
    }
}

fn say(words: &Value) {
    println!("{words}");
    std::io::stdout().flush().unwrap();
}

fn answer(mut with: impl FnMut(&str, &Value) -> Value) {
    for line in std::io::stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match question["do"].as_str().unwrap() {
            "cpu" => say(&json!({ "seconds": cpu() })),
            "stop" => {
                with("stop", &Value::Null);
                return say(&Value::Null);
            }
            other => say(&with(other, &question["with"])),
        }
    }
}

/// What nobody can do without: bytes off the socket, with or without taking the form apart, and thrown away. It answers pages, too.
async fn reader(multipart: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = HttpServer::new(move || {
        let site = Site::new().route("/d/{any}", web::get().to(|| async { HttpResponse::Ok().body(vec![b'a'; 4096]) }));
        if multipart {
            site.route("/d/{any}", web::post().to(discard_form))
        } else {
            site.route("/d/{any}", web::post().to(discard))
        }
    });
    tokio::spawn(server.workers(WORKERS).disable_signals().listen(listener).unwrap().run());
    address
}

// A sender that hangs up in the middle ends the loops below.
async fn discard(mut body: web::Payload) -> HttpResponse {
    while let Some(Ok(piece)) = body.next().await {
        std::hint::black_box(piece);
    }
    HttpResponse::Ok().finish()
}

async fn discard_form(request: HttpRequest, body: web::Payload) -> HttpResponse {
    let kind = request.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap();
    let mut form = Multipart::new(&boundary(kind).unwrap().unwrap(), body);
    while let Ok(Some(_)) = form.next().await {
        while let Ok(Some(piece)) = form.piece().await {
            std::hint::black_box(piece);
        }
    }
    HttpResponse::Ok().finish()
}

const WEBHOOK_SECRET: &str = "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0";
const API_KEY: &str = "sandbox-key";

async fn provider() -> Sandbox {
    let settings = sandbox::SandboxSettings {
        api_key: Secret::new(API_KEY),
        webhook_secret: Secret::new(WEBHOOK_SECRET),
        callback_url: None,
    };
    Sandbox::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap()
}

pub struct TestApp {
    pub running: Option<Running>,
    pub portal: Arc<Portal>,
    issued: Vec<RequestId>,
    pub console: Option<Console>,
    open_ms: f64,
    folder: PathBuf,
}

impl TestApp {
    /// `folder`, `create`, `blobs` (files, none), `provider` (address of the sandbox).
    async fn open(settings: &Value) -> Self {
        nightdrop::testing::connectors::client::install_tls();
        let folder = PathBuf::from(settings["folder"].as_str().unwrap());
        let config = config(&folder, settings["provider"].as_str().unwrap_or("127.0.0.1:9"));
        if settings["create"] != json!(false) {
            app::create(&config, &KeyProtection::KekFile, Suite::XWing).unwrap();
        }
        let start = Instant::now();
        let mut app = App::open(config, Source::System).await.unwrap();
        let open_ms = start.elapsed().as_secs_f64() * 1e3;
        let blobs: Option<Arc<dyn BlobStore>> = match settings["blobs"].as_str() {
            Some("none") => Some(Arc::new(Nowhere)),
            _ => None,
        };
        if let Some(blobs) = blobs {
            let mut portal = Arc::into_inner(app.portal).unwrap();
            portal.blobs = blobs;
            app.portal = Arc::new(portal);
        }
        let portal = app.portal.clone();
        let running = app.start_with(false).await.unwrap();
        Self {
            running: Some(running),
            portal,
            issued: Vec::new(),
            console: None,
            open_ms,
            folder,
        }
    }

    async fn answer(&mut self, what: &str, with: &Value) -> Value {
        let count = with["count"].as_u64().unwrap_or(0) as usize;
        match what {
            "issue" => self.issue(count, with["keep"].as_u64()).await,
            "metrics" => {
                let Store::Embedded(store) = &self.running.as_ref().unwrap().store else {
                    panic!("the bench is of the embedded store")
                };
                let metrics = store.metrics();
                json!({ "acknowledged": metrics.acknowledged, "flushes": metrics.flushes, "log_syncs": metrics.log_syncs })
            }
            "work" => {
                let mut steps = 0;
                while worker::step(&self.portal).await.unwrap() == Step::Done {
                    steps += 1;
                }
                json!({ "steps": steps })
            }
            "open all" => json!({ "bytes": self.open_all().await }),
            "send raw" => self.send_raw(with).await,
            "purge all" => {
                for id in std::mem::take(&mut self.issued) {
                    issue::request_purge(&self.portal, id, Actor::Operator).await.unwrap();
                }
                while worker::step(&self.portal).await.unwrap() == Step::Done {}
                Value::Null
            }
            // What the worker does every minute.
            "minute" => {
                worker::clean(&self.portal).await;
                sweep::sweep(&self.portal).await.unwrap();
                sweep::spare_memory().await;
                Value::Null
            }
            "time" => self.time(with["what"].as_str().unwrap(), count).await,
            "time page" => {
                self.time_page(with["path"].as_str().unwrap(), with["applicant"].as_str(), count)
                    .await
            }
            "guess" => self.guess(count).await,
            "stop" => {
                if let Some(running) = self.running.take() {
                    running.stop().await;
                }
                Value::Null
            }
            other => panic!("{other}? {:?}", self.folder),
        }
    }

    /// Issues links, many at once; tells at most `keep` of them, evenly spread.
    async fn issue(&mut self, count: usize, keep: Option<u64>) -> Value {
        let start = Instant::now();
        let from = self.issued.len();
        let portal = &self.portal;
        let every = keep.map_or(1, |keep| (count as u64 / keep.max(1)).max(1)) as usize;
        let issued: Vec<(RequestId, Option<String>)> = stream::iter(0..count)
            .map(|n| async move {
                let issued = issue::issue(portal, ask(from + n), Actor::Operator, None).await.unwrap();
                let path = (n % every == 0).then(|| format!("/d/{}", issued.token.encode()));
                (issued.request.id, path)
            })
            .buffer_unordered(4_096)
            .collect()
            .await;
        let paths: Vec<&String> = issued.iter().filter_map(|(_, path)| path.as_ref()).collect();
        let answer = json!({ "paths": paths, "seconds": start.elapsed().as_secs_f64() });
        self.issued.extend(issued.into_iter().map(|(id, _)| id));
        answer
    }

    /// Opens every held document, as a delivery does, and throws the bytes away.
    async fn open_all(&self) -> u64 {
        let mut bytes = 0;
        for id in &self.issued {
            let request = TrustedRequest::load(&self.portal, *id).await.unwrap();
            let Some((document, delivery)) = request.held() else { continue };
            let outbound = outbound::open(&self.portal, &request, document, delivery.epoch)
                .map_err(|_| "closed")
                .unwrap();
            for part in 0..outbound.parts.len() {
                let mut chunks = outbound.source.open(part);
                while let Some(chunk) = chunks.try_next().await.unwrap() {
                    bytes += std::hint::black_box(chunk).len() as u64;
                }
            }
        }
        bytes
    }

    /// The same amount of bytes in the same form to the same provider, from memory: what sending costs without opening.
    async fn send_raw(&self, with: &Value) -> Value {
        let (bytes, times) = (with["bytes"].as_u64().unwrap(), with["times"].as_u64().unwrap());
        let url = format!("http://{}/v1/applicants/raw/documents", with["provider"].as_str().unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let piece = Bytes::from(vec![0x5a; 64 << 10]);
        for _ in 0..times {
            let head = "--b\r\nContent-Disposition: form-data; name=\"document\"\r\n\r\npassport\r\n--b\r\nContent-Disposition: form-data; name=\"front\"; filename=\"a.jpg\"\r\n\r\n";
            let tail = "\r\n--b--\r\n";
            let pieces = (0..bytes.div_ceil(piece.len() as u64))
                .map(|n| piece.slice(..(bytes - n * piece.len() as u64).min(piece.len() as u64) as usize));
            let parts: Vec<Bytes> = std::iter::once(Bytes::from(head))
                .chain(pieces)
                .chain([Bytes::from(tail)])
                .collect();
            let length: usize = parts.iter().map(Bytes::len).sum();
            let answer = client
                .post(&url)
                .bearer_auth(API_KEY)
                .header("content-type", "multipart/form-data; boundary=b")
                .header("content-length", length)
                .body(reqwest::Body::wrap_stream(stream::iter(
                    parts.into_iter().map(Ok::<_, std::io::Error>),
                )))
                .send()
                .await
                .unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
        }
        Value::Null
    }

    /// Microseconds of one operation inside the process: the median of `count`.
    async fn time(&self, what: &str, count: usize) -> Value {
        let requests = &self.portal.requests;
        let mut times = Vec::with_capacity(count);
        for n in 0..count {
            let start = Instant::now();
            match what {
                "list" => {
                    assert_eq!(requests.list(&Filter::default(), None, 50).await.unwrap().requests.len(), 50);
                }
                "claim" => {
                    let id = self.issued[(n * 7919) % self.issued.len()];
                    let document = DocumentId::new(random::array().unwrap(), requests.now());
                    let slot = SlotRef { index: 0, generation: 1 };
                    let started_at = requests.now();
                    let begin = IntakeStep::BeginUpload {
                        document,
                        slot,
                        started_at,
                        staged: StagedPart {
                            part: nightdrop::testing::domain::document::PartName::parse("front").unwrap(),
                            length: 1,
                            offset: 0,
                            state: Vec::new(),
                        },
                        generation: 1,
                    };
                    requests.transition(id, Transition::Intake(begin)).await.unwrap();
                    times.push(start.elapsed());
                    let end = EndOf::Withdrawn;
                    let end = Transition::Intake(IntakeStep::End { document, end });
                    requests.transition(id, end).await.unwrap();
                    worker::clean(&self.portal).await;
                    continue;
                }
                "nothing due" => assert_eq!(worker::step(&self.portal).await.unwrap(), Step::Idle),
                "sweep" => {
                    sweep::sweep(&self.portal).await.unwrap();
                }
                other => panic!("{other}?"),
            }
            times.push(start.elapsed());
        }
        json!({ "microseconds": crate::client::quantile(&times, 0.5).as_secs_f64() * 1e6 })
    }
}

fn ask(number: usize) -> Ask {
    Ask {
        provider: ProviderName::parse("sandbox").unwrap(),
        applicant: ApplicantRef::parse(&format!("applicant-{number}")).unwrap(),
        document: DocumentKind::parse("passport").unwrap(),
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

fn config(folder: &Path, provider: &str) -> Config {
    for (name, secret) in [("api-key", API_KEY), ("webhook", WEBHOOK_SECRET)] {
        private(&folder.join(name), secret);
    }
    let text = format!(
        "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = true\nworkers = {WORKERS}\n\
         listen = {{ public = \"127.0.0.1:0\", staff = \"127.0.0.1:0\" }}\n\
         erasure = {{ slots = 4096, accept_weak = true }}\n\
         limits = {{ max_file = \"100MiB\", uploads = 2000, uploads_per_address = 2000, connections_per_address = 100000, silent_per_address = 100000, pages_per_address = 4000000 }}\n\
         [providers.sandbox]\nkind = \"sandbox\"\nbase_url = \"http://{provider}\"\nmax_bytes = 104857600\n\
         api_key_file = \"api-key\"\nwebhook_secret_file = \"webhook\"\n"
    );
    Config::parse(&text, folder, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
