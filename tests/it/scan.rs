//! The virus scan before a document leaves: nothing unscanned, nothing infected, and nothing lost while nobody can scan. With a played clamd that can be unfit in
//! every way, and with the real one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::delivery::{Phase, PurgeCause};
use nightdrop::testing::domain::document::{PartName, ProviderName};
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::worker::{self, Step};
use nightdrop::testing::workflow::manual_download::manual_download;
use nightdrop::testing::workflow::{WorkflowError, issue};
use time::Duration;
use time::macros::format_description;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::raw::assert_nothing_held;
use crate::support::{Folder, Link, TestApp, TestClock, TestOptions, ask, chunk, png, sha256, until};

/// How the played clamd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Fit,
    /// Finds nothing, ever: no signatures.
    Blind,
    /// Looks at the first so many bytes of a stream and calls the rest clean, as with `MaxScanSize` set too low.
    NearSighted(usize),
    /// Hangs up in the middle.
    Faint,
    Says(&'static [u8]),
    /// Its signatures are so many hours old.
    Old(i64),
    /// Has no verdict on a document before it is in another mood.
    Slow,
}

/// A clamd that is played: finds the test file, and remembers what it was shown.
pub struct Played {
    pub mood: Mutex<Mood>,
    /// Digests of the streams that were no proof.
    pub seen: Mutex<Vec<String>>,
    now: Mutex<time::OffsetDateTime>,
}

impl Played {
    pub fn at(path: &Path) -> Arc<Self> {
        let listener = UnixListener::bind(path).unwrap();
        let played = Arc::new(Self {
            mood: Mutex::new(Mood::Fit),
            seen: Mutex::default(),
            now: Mutex::new(time::OffsetDateTime::now_utc()),
        });
        let serving = played.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let played = serving.clone();
                tokio::spawn(async move { played.serve(socket).await });
            }
        });
        played
    }

    fn become_(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// `None` when the other side is gone.
    async fn serve(&self, mut socket: UnixStream) -> Option<()> {
        let mut command = Vec::new();
        while !command.ends_with(b"\0") {
            command.push(socket.read_u8().await.ok()?);
        }
        let mood = *self.mood.lock().unwrap();
        if command == b"zVERSION\0" {
            let age = if let Mood::Old(hours) = mood { hours } else { 1 };
            let from = *self.now.lock().unwrap() - Duration::hours(age);
            let format = format_description!("[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]");
            let answer = format!("ClamAV 1.4.6/27500/{}\0", from.format(&format).unwrap());
            return socket.write_all(answer.as_bytes()).await.ok();
        }
        assert_eq!(command, b"zINSTREAM\0");
        let mut stream = Vec::new();
        loop {
            let length = socket.read_u32().await.ok()? as usize;
            if length == 0 {
                break;
            }
            let start = stream.len();
            stream.resize(start + length, 0);
            socket.read_exact(&mut stream[start..]).await.ok()?;
            if mood == Mood::Faint && stream.len() > 50_000 {
                return None;
            }
        }
        let looked_at = match mood {
            Mood::Blind => 0,
            Mood::NearSighted(limit) => stream.len().min(limit),
            _ => stream.len(),
        };
        let found = stream[..looked_at].windows(EICAR.len()).any(|w| w == EICAR);
        if !stream.starts_with(EICAR) && !stream.starts_with(b"PK") {
            self.seen.lock().unwrap().push(sha256(&stream));
        }
        if mood == Mood::Slow && !found {
            while *self.mood.lock().unwrap() == Mood::Slow {
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
        }
        let answer: &[u8] = match mood {
            Mood::Says(answer) if !found => answer,
            _ if found => b"stream: Win.Test.EICAR_HDB-1 FOUND\0",
            _ => b"stream: OK\0",
        };
        socket.write_all(answer).await.ok()
    }
}

/// The harmless file every scanner must report (eicar.org).
const EICAR: &[u8] = br"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*";

/// A picture with the test file among its pixels.
fn infected(seed: u64) -> Vec<u8> {
    let clean = png(seed, 200_000);
    let length = u32::from_be_bytes(clean[33..37].try_into().unwrap()) as usize;
    let mut pixels = clean[41..41 + length].to_vec();
    pixels[100_000..100_000 + EICAR.len()].copy_from_slice(EICAR);
    let mut file = clean[..33].to_vec();
    chunk(&mut file, b"IDAT", &pixels);
    file.extend_from_slice(&clean[45 + length..]);
    file
}

pub fn required(socket: &Path) -> String {
    format!("[scan]\nav = \"required\"\nclamd = \"unix:{}\"\n", socket.display())
}

async fn scanned() -> (TestApp, Arc<Played>, TestClock, Folder) {
    let folder = Folder::new();
    let socket = folder.path().join("clamd.ctl");
    let played = Played::at(&socket);
    let (options, clock) = TestOptions {
        more: required(&socket),
        ..TestOptions::default()
    }
    .with_clock();
    (TestApp::with_options(options).await, played, clock, folder)
}

async fn why(app: &TestApp, link: &Link) -> String {
    let request = app.request(link).await;
    let (_, delivery) = request.held().unwrap();
    assert!(matches!(delivery.phase, Phase::Pending { .. }), "{:?}", delivery.phase);
    assert_eq!(delivery.attempts, 0, "waiting for a scanner is no attempt");
    let problem = delivery.last_problem.clone().unwrap();
    assert_eq!(problem.code, "scan.unavailable");
    problem.text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_was_scanned_byte_for_byte() {
    let (app, played, _, _folder) = scanned().await;
    let link = app.link().await;
    let (front, back) = (png(1, 300_000), png(2, 70_000));
    assert_eq!(app.drop_files(&link, &[("front", &front), ("back", &back)]).await.status(), 200);
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged);
    assert_eq!(*played.seen.lock().unwrap(), [sha256(&front), sha256(&back)]);
    let received = app.received().await;
    assert_eq!(received[0]["parts"][0]["sha256"], sha256(&front));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_infected_never_leaves() {
    let (app, _played, _, _folder) = scanned().await;
    let link = app.link().await;
    // The second side: the first one must not have left either.
    assert_eq!(
        app.drop_files(&link, &[("front", &png(1, 90_000)), ("back", &infected(2))])
            .await
            .status(),
        200
    );
    app.work().await;
    assert_eq!(app.received().await.len(), 0);
    let request = app.request(&link).await;
    assert_eq!(request.state(app.portal.now()), RequestState::Purged);
    assert_eq!(request.tombstones[0].cause, PurgeCause::Infected);
    assert_nothing_held(&app, "an infected document is destroyed").await;
    let log = app.log(&link).await.join("\n");
    assert!(log.contains("infected"), "{log}");
    let page = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
    assert!(
        page.contains("was not sent to the identity check") && page.contains("virus scan"),
        "{page}"
    );
}

/// Also what a person is to download and pass on.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_by_hand_was_scanned_before() {
    let folder = Folder::new();
    let socket = folder.path().join("clamd.ctl");
    let played = Played::at(&socket);
    let (options, clock) = TestOptions {
        more: required(&socket),
        provider: "[providers.desk]\nkind = \"manual\"\n".into(),
        ..TestOptions::default()
    }
    .with_clock();
    let app = TestApp::with_options(options).await;
    let at_desk = async |file: &[u8]| {
        let mut wanted = ask("acct_7", "passport");
        wanted.provider = ProviderName::parse("desk").unwrap();
        let link = app.issue(wanted).await;
        assert_eq!(app.drop_files(&link, &[("front", file)]).await.status(), 200);
        app.work().await;
        link
    };
    let front = PartName::parse("front").unwrap();
    let bad = at_desk(&infected(1)).await;
    assert_eq!(app.request(&bad).await.tombstones[0].cause, PurgeCause::Infected);
    let clean = at_desk(&png(2, 60_000)).await;
    assert_eq!(app.state(&clean).await, RequestState::NeedsAttention);
    played.become_(Mood::Blind);
    clock.forward(Duration::hours(2));
    *played.now.lock().unwrap() = app.portal.now();
    let waiting = at_desk(&png(3, 60_000)).await;
    assert!(why(&app, &waiting).await.contains("EICAR"));
    let refused = manual_download(&app.portal, waiting.id, &front, Actor::Operator).await;
    assert!(matches!(refused, Err(WorkflowError::Refused(_))), "not before it was scanned");
    assert!(manual_download(&app.portal, clean.id, &front, Actor::Operator).await.is_ok());
}

/// A purge that is asked for while the scanner takes its time: the document stays here and is destroyed.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_during_the_scan_wins() {
    let (app, played, _, _folder) = scanned().await;
    let link = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&link, &[("front", &png(1, 120_000))]).await.status(), 200);
    played.become_(Mood::Slow);
    let working = async { while worker::step(&app.portal).await.unwrap() == Step::Done {} };
    let asking = async {
        until("it is being scanned", async || !played.seen.lock().unwrap().is_empty()).await;
        issue::request_purge(&app.portal, link.id, Actor::Operator).await.unwrap();
        played.become_(Mood::Fit);
    };
    tokio::join!(working, asking);
    app.work().await;
    assert_eq!(app.received().await.len(), 0);
    assert_eq!(app.request(&link).await.tombstones[0].cause, PurgeCause::Agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_can_scan_documents_stay_and_nothing_is_lost() {
    let (app, played, clock, _folder) = scanned().await;
    for (round, (mood, words)) in [
        (Mood::Blind, "EICAR"),
        (Mood::NearSighted(1 << 20), "MaxScanSize"),
        (Mood::Faint, "broke"),
        (Mood::Old(49), "freshclam"),
        (Mood::Says(b"stream: OK\0stream: OK\0"), "not understood"),
        (Mood::Says(b"stream: OK"), "broke"),
        (Mood::Says(b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0"), "MaxFileSize"),
        (Mood::Says(b"INSTREAM size limit exceeded. ERROR\0"), "StreamMaxLength"),
        (Mood::Says(b"stream: Can't allocate memory ERROR\0"), "error"),
    ]
    .into_iter()
    .enumerate()
    {
        played.become_(mood);
        // Past the last proof.
        clock.forward(Duration::hours(2));
        *played.now.lock().unwrap() = app.portal.now();
        let link = app.link_for("passport", None).await;
        let file = png(round as u64, 120_000);
        assert_eq!(
            app.drop_files(&link, &[("front", &file)]).await.status(),
            200,
            "{mood:?}: the applicant is not kept waiting"
        );
        app.work().await;
        assert_eq!(app.received().await.len(), round, "{mood:?}: nothing leaves");
        let text = why(&app, &link).await;
        assert!(text.contains(words), "{mood:?}: {text}");
        played.become_(Mood::Fit);
        clock.forward(Duration::minutes(1));
        app.work().await;
        assert_eq!(app.state(&link).await, RequestState::Purged, "{mood:?}: it goes on by itself");
        assert_eq!(app.received().await.len(), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_wins_over_a_scanner_that_is_not_there() {
    let (options, clock) = TestOptions {
        more: required(Path::new("/nonexistent/clamd.ctl")),
        ..TestOptions::default()
    }
    .with_clock();
    let app = TestApp::with_options(options).await;
    let link = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&link, &[("front", &png(1, 50_000))]).await.status(), 200);
    app.work().await;
    assert!(why(&app, &link).await.contains("unreachable"));
    let metrics = app.http.get(app.staff("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nightdrop_scans_missed_total 1"), "{metrics}");
    let gone = time_until_purged(&app, &clock, &link).await;
    assert_eq!(gone, PurgeCause::Deadline);
    assert_eq!(app.received().await.len(), 0);
}

async fn time_until_purged(app: &TestApp, clock: &TestClock, link: &Link) -> PurgeCause {
    for _ in 0..10 {
        clock.forward(Duration::days(1));
        app.work().await;
        if let Some(stone) = app.request(link).await.tombstones.last() {
            return stone.cause.clone();
        }
    }
    panic!("never purged");
}

/// clamd of the distribution with one signature: the test file, anywhere in anything.
struct Real {
    child: Child,
    _folder: Folder,
}

impl Real {
    async fn start(folder: Folder, socket: &Path) -> Self {
        let at = folder.path();
        let database = at.join("database");
        let scratch = at.join("scratch");
        std::fs::create_dir(&database).unwrap();
        std::fs::create_dir(&scratch).unwrap();
        let hex: String = EICAR.iter().map(|b| format!("{b:02x}")).collect();
        std::fs::write(database.join("eicar.ndb"), format!("Eicar-Test-Signature:0:*:{hex}\n")).unwrap();
        let config = format!(
            "Foreground yes\nLocalSocket {}\nDatabaseDirectory {}\nTemporaryDirectory {}\nStreamMaxLength 30M\nMaxFileSize 30M\nMaxScanSize 60M\n\
             AlertExceedsMax yes\nAlertEncrypted yes\nMaxThreads 2\n",
            socket.display(),
            database.display(),
            scratch.display(),
        );
        std::fs::write(at.join("clamd.conf"), config).unwrap();
        let child = Command::new("/usr/sbin/clamd")
            .arg(format!("--config-file={}", at.join("clamd.conf").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("clamd cannot be run: run tests/run");
        until("clamd listens", async || UnixStream::connect(socket).await.is_ok()).await;
        Self { child, _folder: folder }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs clamd: run tests/run"]
async fn the_real_clamd_lets_the_clean_one_pass_and_stops_the_other() {
    let folder = Folder::new();
    let socket = folder.path().join("clamd.ctl");
    let real = Real::start(folder, &socket).await;
    // Its one signature has no date.
    let more = format!("{}signatures_within = \"any age\"\n", required(&socket));
    let app = TestApp::with_options(TestOptions {
        more,
        ..TestOptions::default()
    })
    .await;
    let (clean, bad) = (app.link_for("passport", None).await, app.link_for("passport", None).await);
    // As large as a file may be, but for what the form itself needs.
    let file = png(1, (20 << 20) - 200_000);
    assert_eq!(app.drop_files(&clean, &[("front", &file)]).await.status(), 200);
    assert_eq!(app.drop_files(&bad, &[("front", &infected(2))]).await.status(), 200);
    app.work().await;
    assert_eq!(app.request(&clean).await.tombstones[0].cause, PurgeCause::Confirmed);
    assert_eq!(app.request(&bad).await.tombstones[0].cause, PurgeCause::Infected);
    let received = app.received().await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["parts"][0]["sha256"], sha256(&file));
    drop(real);
    let later = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&later, &[("front", &png(3, 50_000))]).await.status(), 200);
    app.work().await;
    assert!(why(&app, &later).await.contains("unreachable"));
}
