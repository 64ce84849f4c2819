//! `kill -9` between any two steps of a delivery, at each provider's connector: the portal with its worker is a child process (this binary again),
//! the vendor stays in the test. What was answered with 200 arrives exactly once with effect and is purged; where a provider must never be tried twice
//! without a person, nothing is sent again before one has decided.
//!
//! One folder and one vendor for each connector, one child for each kill: the one that recovers is the next to die.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::StreamExt;
use nightdrop::testing::app::{self, App, KeyProtection};
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::document::PartName;
use nightdrop::testing::domain::id::RequestId;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::storage::clock::{Manual, Source, from_ms};
use nightdrop::testing::worker::{self, Step};
use nightdrop::testing::workflow::{self, issue};
use tokio::sync::mpsc;

use super::server::{Effect, Review, Server, Twist};
use super::{Case, side, tables, web};
use crate::support::{Folder, ask, client, form, private, until, walk};

const FOLDER: &str = "NIGHTDROP_PROVIDERS_FOLDER";
const CLOCK: &str = "NIGHTDROP_PROVIDERS_CLOCK";

#[derive(Clone, Copy)]
enum At {
    /// Where the process is told to end.
    Point(&'static str),
    /// The vendor has a request (the first that carries something, or the last) and is silent: its answer is lost with the process.
    First,
    Last,
    /// A callback of the vendor is verified.
    Callback,
    /// The vendor's verdict is here.
    Verdict,
}

struct Kill {
    what: &'static str,
    at: At,
    /// Where the process that recovers ends as well.
    again: &'static str,
}

const fn kill(what: &'static str, at: At) -> Kill {
    Kill { what, at, again: "" }
}

const KILLS: &[Kill] = &[
    kill("lease taken", At::Point("delivery.leased")),
    kill("decrypted into memory", At::Point("delivery.decrypted")),
    kill("intent durable, no byte sent", At::Point("delivery.intent_stored")),
    kill("half of the first part read", At::Point("delivery.piece_sent")),
    kill("half of the last part read", At::Point("last delivery.piece_sent")),
    kill("first request stored, answer lost", At::First),
    kill("last request stored, answer lost", At::Last),
    Kill {
        what: "the same, and again while finding out",
        at: At::First,
        again: "delivery.reconciled",
    },
    Kill {
        what: "the last, and again while finding out",
        at: At::Last,
        again: "delivery.reconciled",
    },
    kill("first step noted", At::Point("delivery.progress_noted")),
    kill("last step noted", At::Point("last delivery.progress_noted")),
    kill("answer received, not stored", At::Point("delivery.answered")),
    kill("Received stored, not synced", At::Point("delivery.receipt_decided")),
    kill("callback verified, not stored", At::Callback),
    kill("verdict received, not stored", At::Verdict),
];

/// The purge speaks to no provider: each connector's own ends in one of these, the first one's in all.
const PURGE: &[Kill] = &[
    kill("purge begun, secret live", At::Point("purge.started")),
    kill("zeros written, not synced", At::Point("erasure.zeros_written")),
    kill("zeros synced, not read back", At::Point("erasure.zeros_synced")),
    kill("chunks partly deleted", At::Point("purge.file_deleted")),
    kill("purge stored, slot not free yet", At::Point("purge.receipt_stored")),
];

/// A connector, and how often an undisturbed delivery passes the points that it passes more than once.
struct Subject {
    name: &'static str,
    case: Case,
    half_read: u32,
    notes: u32,
    /// Never sent a second time without a person.
    once: bool,
}

fn subjects() -> Vec<Subject> {
    let subject = |name, case, half_read, notes| Subject {
        name,
        case,
        half_read,
        notes,
        once: false,
    };
    let web = |name, shape, half_read, notes| subject(name, web::case(shape), half_read, notes);
    vec![
        subject("stripe", super::stripe::case(), 4, 2),
        subject("dwolla", super::dwolla::case(), 4, 3),
        subject("adyen", super::adyen::case(), 4, 0),
        subject("bridge", super::bridge::case(), 4, 0),
        subject("sumsub", super::sumsub::case(), 8, 3),
        subject("unit", super::unit::case(true), 4, 1),
        subject("onfido", super::onfido::case(true), 4, 3),
        subject("synapse", super::synapse::case(), 4, 2),
        Subject {
            once: true,
            ..subject("lithic", super::lithic::case(), 4, 2)
        },
        web("http, a list", web::Shape::Multipart, 4, 2),
        web("http, signed", web::Shape::DataUri, 8, 0),
        Subject {
            once: true,
            ..web("http, address", web::Shape::Presigned, 4, 2)
        },
    ]
}

/// The failpoints at which a connector's delivery is ended.
pub fn failpoints() -> Vec<&'static str> {
    let kills = KILLS.iter().chain(PURGE);
    let at = kills.flat_map(|kill| match kill.at {
        At::Point(point) => [point.trim_start_matches("last "), kill.again],
        At::Callback => ["callback.verified", kill.again],
        At::Verdict => ["delivery.verdict_received", kill.again],
        At::First | At::Last => ["", kill.again],
    });
    at.collect()
}

#[test]
fn every_connector_survives_a_kill_at_every_point() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(Path::new(&folder));
    }
    let only = std::env::var("NIGHTDROP_PROVIDERS_ONLY").ok();
    let chosen = subjects()
        .into_iter()
        .enumerate()
        .filter(|(_, s)| only.as_deref().is_none_or(|name| s.name.contains(name)));
    crate::crash::runtime().block_on(async {
        let lines: Vec<String> = futures_util::stream::iter(chosen).map(all_kills).buffered(4).concat().await;
        let table = lines.join("\n");
        let _ = writeln!(std::io::stderr(), "{table}");
        assert!(!table.contains("NEVER HIT"), "{table}");
    });
}

async fn all_kills((number, subject): (usize, Subject)) -> Vec<String> {
    let born = std::time::Instant::now();
    let (name, notes, judged) = (subject.name, subject.notes, subject.case.lines.contains("webhook"));
    let site = Site::new(subject).await;
    let mut portal = site.start().await;
    let carried = site.undisturbed(&mut portal).await;
    let mut lines = Vec::new();
    let purge = if number == 0 {
        PURGE
    } else {
        std::slice::from_ref(&PURGE[number % PURGE.len()])
    };
    for kill in KILLS.iter().chain(purge) {
        let absent = match kill.at {
            At::Point(point) => point.ends_with("delivery.progress_noted") && notes == 0,
            At::Last => carried == 1,
            At::First => false,
            At::Callback | At::Verdict => !judged,
        };
        if absent {
            lines.push(format!("{name:<14} {:<42} no such moment", kill.what));
            continue;
        }
        let (next, end) = site.killed(portal, kill, carried).await;
        portal = next;
        lines.push(format!("{name:<14} {:<42} {end}", kill.what));
    }
    drop(portal);
    site.holds_nothing().await;
    lines.push(format!("{name:<14} {} ms", born.elapsed().as_millis()));
    lines
}

struct Site {
    folder: Folder,
    server: Server,
    subject: &'static str,
    applicant: &'static str,
    document: &'static str,
    half_read: u32,
    notes: u32,
    once: bool,
    clock: Arc<AtomicI64>,
    http: reqwest::Client,
}

const SIDES: [&str; 2] = ["front", "back"];

impl Site {
    async fn new(subject: Subject) -> Self {
        nightdrop::testing::connectors::client::install_tls();
        let (folder, case) = (Folder::new(), subject.case);
        for (name, content) in &case.secrets {
            private(&folder.path().join(name), content);
        }
        let server = Server::start(case.vendor).await;
        let text = format!(
            "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = true\nlisten = {{ public = \"127.0.0.1:0\", staff = \"127.0.0.1:0\" }}\n\
             erasure = {{ slots = 64, accept_weak = true }}\nworkers = 1\n{}",
            tables(case.kind, &case.lines, &server, folder.path()),
        );
        private(&folder.path().join("nightdrop.toml"), &text);
        app::create(&config(folder.path()), &KeyProtection::KekFile, Suite::XWing).unwrap();
        let now = time::OffsetDateTime::now_utc().unix_timestamp() * 1_000;
        Self {
            folder,
            server,
            subject: subject.name,
            applicant: case.applicant,
            document: case.two_sides.unwrap(),
            half_read: subject.half_read,
            notes: subject.notes,
            once: subject.once,
            clock: Arc::new(AtomicI64::new(now)),
            http: client([127, 0, 0, 1].into()),
        }
    }

    async fn start(&self) -> Portal {
        Portal::start(self.folder.path(), self.clock.clone()).await
    }

    /// A document of both sides, answered with 200.
    async fn dropped(&self, portal: &mut Portal, provider: &str) -> String {
        let words = format!("ask {provider} {} {}", self.document, self.applicant);
        let (id, token) = portal
            .tell(&words)
            .await
            .and_then(|t| t.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
            .unwrap();
        let files = SIDES.map(|name| (name, side(name)));
        let files = files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice()));
        let (body, kind) = form(&files);
        let url = format!("http://{}/d/{token}", portal.public);
        let answer = self.http.post(url).header("content-type", kind).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        id
    }

    /// How many requests carry something when nothing goes wrong.
    async fn undisturbed(&self, portal: &mut Portal) -> usize {
        let id = self.dropped(portal, "received").await;
        assert_eq!(
            portal.settled(&id).await.0,
            "purged",
            "{}: {:#?}",
            self.subject,
            self.server.complaints()
        );
        self.assert_one("undisturbed");
        self.carried().len()
    }

    fn carried(&self) -> Vec<String> {
        let seen = self.server.seen();
        let carrying = seen.into_iter().filter(|r| self.server.vendor(|v| v.carries(r)));
        carrying
            .map(|r| format!("{} {}", r.line(), crate::support::sha256(&r.body)))
            .collect()
    }

    /// Brings a document to the moment of the kill, kills, starts again and looks at what became of it.
    async fn killed(&self, mut portal: Portal, kill: &Kill, carried: usize) -> (Portal, String) {
        let what = format!("{} {}", self.subject, kill.what);
        self.server.clear();
        let waits = matches!(kill.at, At::Callback | At::Verdict);
        self.server
            .vendor(|v| v.decide(if waits { Review::Open } else { Review::Accepted }));
        let id = self.dropped(&mut portal, if waits { "verdict" } else { "received" }).await;
        let mut hit = match kill.at {
            At::Point(point) => {
                let point = match point {
                    "last delivery.piece_sent" => format!("delivery.piece_sent#{}", self.half_read),
                    "last delivery.progress_noted" => format!("delivery.progress_noted#{}", self.notes),
                    point => point.to_owned(),
                };
                portal.ends_at(&point, "work").await
            }
            At::First | At::Last => {
                let before = if matches!(kill.at, At::Last) { carried - 1 } else { 0 };
                let twists: Vec<Twist> = std::iter::repeat_n(Twist::None, before).chain([Twist::CommitThenSilence]).collect();
                self.server.twist(&twists);
                portal.say("work");
                until(&what, async || self.server.planned() == 0).await;
                portal.kill();
                true
            }
            At::Callback | At::Verdict => {
                assert_eq!(portal.tell("work").await.as_deref(), Some("done"), "{what}");
                assert_eq!(portal.state(&id).await.0, "waits", "{what}");
                self.server.vendor(|v| v.decide(Review::Accepted));
                if matches!(kill.at, At::Verdict) {
                    portal.forward(3_600).await;
                    portal.ends_at("delivery.verdict_received", "work").await
                } else {
                    assert_eq!(portal.tell("arm callback.verified").await.as_deref(), Some("done"));
                    let (headers, body) = self.server.vendor(|v| v.callback(self.clock.load(Ordering::SeqCst) / 1_000));
                    let call = self.http.post(format!("http://{}/hooks/verdict", portal.public)).body(body);
                    let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
                    assert!(call.send().await.is_err(), "{what}: it answered");
                    portal.ended()
                }
            }
        };
        drop(portal);
        let mut portal = self.start().await;
        if !kill.again.is_empty() {
            hit &= portal.ends_while_settling(kill.again, &id).await;
            portal = self.start().await;
        }
        let end = self.end(&mut portal, &id, &what).await;
        (portal, if hit { end } else { format!("NEVER HIT ({end})") })
    }

    /// Exactly one effect and purged; or, where nothing may be tried twice, a person who decides.
    async fn end(&self, portal: &mut Portal, id: &str, what: &str) -> String {
        let (state, why) = portal.settled(id).await;
        if state == "purged" {
            self.assert_one(what);
            return "once".to_owned();
        }
        assert!(self.once, "{what}: {state} {why}");
        assert_eq!(state, "attention", "{what}");
        assert!(!why.is_empty(), "{what}: a person is told why");
        let mut sent = self.carried();
        let count = sent.len();
        sent.sort();
        sent.dedup();
        assert_eq!(sent.len(), count, "{what}: sent twice without a person: {sent:#?}");
        assert!(self.server.vendor(|v| v.effects()).len() <= 1, "{what}");
        // The person looks it up there: what is there is marked, what is not is sent once more, what is there by half is given up.
        let there = self.server.vendor(|v| v.effects()) == [expected()];
        let word = if there { "mark" } else { "retry" };
        assert_eq!(portal.tell(&format!("{word} {id}")).await.as_deref(), Some("done"));
        let (state, again) = portal.settled(id).await;
        if state == "purged" {
            self.assert_one(what);
            return format!("person: {word} ({why})");
        }
        assert!(self.server.vendor(|v| v.effects()).len() <= 1, "{what}");
        assert_eq!(portal.tell(&format!("purge {id}")).await.as_deref(), Some("done"));
        assert_eq!(portal.settled(id).await.0, "purged", "{what}");
        format!("person: {word}, purge ({why}, {again})")
    }

    fn assert_one(&self, what: &str) {
        let effects = self.server.vendor(|v| v.effects());
        let short: Vec<Vec<(&str, usize)>> = effects
            .iter()
            .map(|e| e.iter().map(|(s, b)| (s.as_str(), b.len())).collect())
            .collect();
        assert!(effects == [expected()], "{} {what}: {short:?}", self.subject);
        assert!(self.server.complaints().is_empty(), "{what}: {:#?}", self.server.complaints());
    }

    /// Nothing is left of any document, and no byte of one was ever readable on the disk that is left.
    async fn holds_nothing(&self) {
        let marks: std::collections::HashSet<Vec<u8>> = SIDES
            .iter()
            .flat_map(|name| side(name)[20_000..36_400].windows(16).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect();
        for path in walk(&self.folder.path().join("data")) {
            let bytes = std::fs::read(&path).unwrap();
            let shown = bytes.chunks(8_192).any(|piece| piece.len() >= 16 && marks.contains(&piece[..16]));
            assert!(!shown, "plaintext in {}", path.display());
        }
        let app = App::open(
            config(self.folder.path()),
            Source::manual(from_ms(self.clock.load(Ordering::SeqCst))),
        )
        .await
        .unwrap();
        let portal = &app.portal;
        assert!(portal.requests.live_documents().await.unwrap().is_empty());
        assert!(portal.blobs.documents().await.unwrap().is_empty());
        assert!(portal.erasure.live().unwrap().is_empty());
        let (entries, receipts) = crate::audit::verified(portal).await;
        let purged = entries.iter().filter(|e| e.event.action == AuditAction::DocumentPurged).count();
        assert_eq!(purged, receipts.len(), "a receipt for each purge");
    }
}

fn expected() -> Effect {
    SIDES.iter().map(|s| ((*s).to_owned(), side(s))).collect()
}

fn config(folder: &Path) -> Config {
    let text = std::fs::read_to_string(folder.join("nightdrop.toml")).unwrap();
    Config::parse(&text, folder, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// A portal in a process of its own that does what it is told, line by line; killed on drop.
struct Portal {
    process: Child,
    orders: ChildStdin,
    answers: mpsc::UnboundedReceiver<String>,
    public: SocketAddr,
    clock: Arc<AtomicI64>,
}

impl Portal {
    async fn start(folder: &Path, clock: Arc<AtomicI64>) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "providers::crash::every_connector_survives_a_kill_at_every_point",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(FOLDER, folder)
            .env(CLOCK, clock.load(Ordering::SeqCst).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (heard, mut answers) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            let told = lines.filter_map(|line| line.strip_prefix("= ").map(str::to_owned));
            told.for_each(|line| drop(heard.send(line)));
        });
        let public = answers.recv().await.expect("the portal starts").parse().unwrap();
        Self {
            orders: process.stdin.take().unwrap(),
            process,
            answers,
            public,
            clock,
        }
    }

    fn say(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).unwrap();
    }

    /// `None`: it died of it.
    async fn tell(&mut self, order: &str) -> Option<String> {
        self.say(order);
        self.answers.recv().await
    }

    async fn forward(&mut self, seconds: i64) {
        let to = self.clock.fetch_add(seconds * 1_000, Ordering::SeqCst) + seconds * 1_000;
        assert_eq!(self.tell(&format!("clock {to}")).await.as_deref(), Some("done"));
    }

    /// The request's state, and why it waits for a person.
    async fn state(&mut self, id: &str) -> (String, String) {
        let told = self.tell(&format!("state {id}")).await.unwrap();
        told.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()
    }

    async fn settled(&mut self, id: &str) -> (String, String) {
        for _ in 0..60 {
            assert_eq!(self.tell("work").await.as_deref(), Some("done"));
            let (state, why) = self.state(id).await;
            if ["purged", "attention"].contains(&state.as_str()) {
                return (state, why);
            }
            self.forward(70).await;
        }
        self.state(id).await
    }

    async fn ends_at(&mut self, point: &str, order: &str) -> bool {
        assert_eq!(self.tell(&format!("arm {point}")).await.as_deref(), Some("done"));
        self.tell(order).await.is_none() && self.ended()
    }

    async fn ends_while_settling(&mut self, point: &str, id: &str) -> bool {
        assert_eq!(self.tell(&format!("arm {point}")).await.as_deref(), Some("done"));
        for _ in 0..5 {
            if self.tell("work").await.is_none() {
                return self.ended();
            }
            if self.state(id).await.0 == "purged" {
                return false;
            }
            self.forward(70).await;
        }
        false
    }

    /// Of the signal, and of nothing else.
    fn ended(&mut self) -> bool {
        self.process.wait().unwrap().signal() == Some(9)
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the portal on the folder and does what the lines on its input say, until it is killed or its parent dies.
fn child(folder: &Path) {
    let (told, mut orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.for_each(|line| drop(told.send(line)));
        std::process::exit(0);
    });
    let answer = |text: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n= {text}").unwrap();
        out.flush().unwrap();
    };
    let clock = Arc::new(Manual::new(from_ms(std::env::var(CLOCK).unwrap().parse().unwrap())));
    crate::crash::runtime().block_on(async {
        let app = App::open(config(folder), Source::Manual(clock.clone())).await.unwrap();
        let portal = app.portal.clone();
        let running = app.start_with(false).await.unwrap();
        answer(running.public.to_string());
        while let Some(order) = orders.recv().await {
            answer(obey(&portal, &clock, &order).await);
        }
    });
}

async fn obey(portal: &Arc<workflow::Portal>, clock: &Manual, order: &str) -> String {
    let words: Vec<&str> = order.split(' ').collect();
    let id = || RequestId::parse(words[1]).unwrap();
    match words[0] {
        "work" => while worker::step(portal).await.unwrap() == Step::Done {},
        "arm" => nightdrop::testing::failpoint::arm(words[1]),
        "clock" => clock.pass(words[1].parse::<i64>().unwrap() - clock.wall_ms()),
        "retry" => drop(issue::retry(portal, id(), Actor::Operator).await.unwrap()),
        "mark" => drop(issue::mark_uploaded(portal, id(), Actor::Operator).await.unwrap()),
        "purge" => drop(issue::request_purge(portal, id(), Actor::Operator).await.unwrap()),
        "ask" => {
            let mut ask = ask(words[3], words[2]);
            ask.provider = nightdrop::testing::domain::document::ProviderName::parse(words[1]).unwrap();
            ask.parts = Some(SIDES.map(|side| PartName::parse(side).unwrap()).to_vec());
            let issued = issue::issue(portal, ask, Actor::Operator, None).await.unwrap();
            return format!("{} {}", issued.request.id, issued.token.encode());
        }
        "state" => {
            let request = portal.requests.request(id()).await.unwrap().unwrap();
            let problem = request.held().and_then(|(_, delivery)| delivery.last_problem.clone());
            let state = match request.state(portal.now()) {
                RequestState::Purged => "purged",
                RequestState::NeedsAttention => "attention",
                RequestState::AwaitingConfirmation => "waits",
                _ => "works",
            };
            return format!("{state} {}", problem.map_or_else(String::new, |p| p.code));
        }
        other => panic!("{other}"),
    }
    "done".to_owned()
}
