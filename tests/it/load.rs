//! Many people at once, a provider that misbehaves, no crash: whatever was acknowledged arrives whole, and nothing of it stays here.
//!
//! Each person drops front and back by resumable uploads (in pieces, cut off and resumed, begun anew, from two devices at once, taken back and sent again) or by the form.
//! At the end every acknowledged byte is looked up at the provider by its digest. It prints its figures; `NIGHTDROP_TEST_LONG` makes it twenty minutes.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration as Wait, Instant};

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::workflow::issue;
use time::Duration;

use crate::raw::until_nothing_held;
use crate::resume::{Part, number};
use crate::support::{Link, TestApp, TestClock, TestOptions, ask, png, sha256};

const PEOPLE: u64 = 8;
const SHORT: Wait = Wait::from_secs(30);
/// Different photos: making one costs more than sending it.
const PHOTOS: u64 = 60;
const LONG: Wait = Wait::from_secs(20 * 60);
/// What the provider does beside what it should. None of it is a refusal for good.
const MISBEHAVIOUR: [&str; 9] = [
    "503:0",
    "500",
    "drop",
    "commit_then_drop",
    "commit_then_500",
    "garbage",
    "duplicate",
    "slow:300",
    "429:1",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What one person got acknowledged: the digests of both sides.
struct Acknowledged {
    link: Link,
    applicant: String,
    front: String,
    back: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute of load (twenty with NIGHTDROP_TEST_LONG)"]
async fn every_acknowledged_byte_arrives_and_nothing_stays() {
    let run = if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        LONG
    } else {
        SHORT
    };
    let (options, clock) = TestOptions {
        worker: true,
        slots: 4_096,
        more: "[limits]\nuploads = 200\nuploads_per_address = 200\n".into(),
        ..TestOptions::default()
    }
    .with_clock();
    let app = Arc::new(TestApp::with_options(options).await);
    let photos: Arc<Vec<_>> = Arc::new((0..PHOTOS).map(|n| png(n, 5_000 + n as usize * n as usize * 60)).collect());
    let (over, pace) = (AtomicBool::new(false), AtomicU64::new(1));
    let load = async {
        let deadline = Instant::now() + run;
        let people = (0..PEOPLE).map(|n| {
            let (app, photos) = (app.clone(), photos.clone());
            tokio::spawn(async move { person(&app, &photos, n, deadline).await })
        });
        let (mut acknowledged, mut unfinished) = (Vec::new(), 0);
        for person in people.collect::<Vec<_>>() {
            let (received, open) = person.await.unwrap();
            acknowledged.extend(received);
            // Sides that came while another device was sending wait for the rest, which nobody sends any more.
            unfinished += open.len();
            for link in open {
                issue::revoke(&app.portal, link.id, Actor::Operator).await.unwrap();
            }
        }
        // Waiting for a retry costs nobody anything any more: its time comes sooner.
        pace.store(40, Ordering::Relaxed);
        let lost = arrived(&app, &acknowledged).await;
        over.store(true, Ordering::Relaxed);
        (acknowledged.len(), unfinished, lost)
    };
    let ((count, unfinished, lost), (), ()) = tokio::join!(load, passing(&clock, &over, &pace), misbehaving(&app, &over, &pace));
    let _ = writeln!(
        std::io::stderr(),
        "{PEOPLE} people, {} s: {count} drops acknowledged, {} delivered whole, {} lost; {unfinished} stayed unfinished",
        run.as_secs(),
        count - lost.len(),
        lost.len()
    );
    assert!(unfinished * 10 <= count, "{unfinished} of {count} drops could not be finished");
    assert!(count as u64 >= PEOPLE, "only {count} drops: nothing was tested");
    assert!(lost.is_empty(), "lost: {lost:#?}");
    until_nothing_held(&app).await;
}

/// Time passes, at first as it does.
async fn passing(clock: &TestClock, over: &AtomicBool, pace: &AtomicU64) {
    const STEP: Wait = Wait::from_millis(50);
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(STEP).await;
        let by = STEP.as_millis() as i64 * pace.load(Ordering::Relaxed) as i64;
        clock.forward(Duration::milliseconds(by));
    }
}

async fn misbehaving(app: &TestApp, over: &AtomicBool, pace: &AtomicU64) {
    let mut random = Random(0x51ab_77d1);
    // A connection for each plan: one that waited may be closed by the other side just as it is used again.
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    while !over.load(Ordering::Relaxed) {
        if pace.load(Ordering::Relaxed) == 1 {
            let plan: Vec<&str> = (0..40)
                .map(|_| match random.below(5) {
                    0 => MISBEHAVIOUR[random.below(MISBEHAVIOUR.len() as u64) as usize],
                    _ => "ok",
                })
                .collect();
            replan(app, &http, &plan).await;
        } else {
            replan(app, &http, &[]).await;
        }
        tokio::time::sleep(Wait::from_millis(500)).await;
    }
}

/// What could not be told is told half a second later.
async fn replan(app: &TestApp, http: &reqwest::Client, next: &[&str]) {
    let body = serde_json::json!({ "next": next }).to_string();
    let plan = http.post(format!("{}/behaviour", app.sandbox.url()));
    if let Ok(answer) = plan.header("content-type", "application/json").body(body).send().await {
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

/// One drop after the other until the time is over.
async fn person(app: &TestApp, photos: &[Vec<u8>], n: u64, deadline: Instant) -> (Vec<Acknowledged>, Vec<Link>) {
    let mut random = Random((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (mut done, mut open) = (Vec::new(), Vec::new());
    let mut turn = 0;
    while Instant::now() < deadline {
        turn += 1;
        let applicant = format!("load-{n}-{turn}");
        let link = app.issue(ask(&applicant, "government-id")).await;
        let mut photo = || &photos[random.below(PHOTOS) as usize][..];
        let (front, back, other) = (photo(), photo(), photo());
        let (one, two) = (Part::of(app, &link, "front"), Part::of(app, &link, "back"));
        let (mut first, mut second) = (Random(random.below(u64::MAX) | 1), Random(random.below(u64::MAX) | 1));
        let received = match random.below(12) {
            0..4 => {
                let (a, b) = tokio::join!(send(&one, front, &mut first), send(&two, back, &mut second));
                a && b
            }
            // Begun with another photo, which is given up half-way.
            4 | 5 => {
                if one.begin(other.len()).await.status() == 201 {
                    one.patch(0, &other[..other.len() / 2]).await;
                }
                let (a, b) = tokio::join!(send_anew(&one, front, &mut first), send(&two, back, &mut second));
                a && b
            }
            // Taken back after it was sealed, and sent again, while the other side comes.
            6 => {
                let again = async {
                    send(&one, other, &mut first).await && one.delete().await.status() == 204 && send(&one, front, &mut first).await
                };
                // The back must not complete the drop with the photo that is to be taken back.
                again.await && send(&two, back, &mut second).await
            }
            // Two devices at once with the same photos: what one of them begins anew, the other side may be about to join.
            7 | 10 | 11 => {
                let mut third = Random(random.below(u64::MAX) | 1);
                let (a, b, c) = tokio::join!(
                    send(&one, front, &mut first),
                    send(&one, front, &mut third),
                    send(&two, back, &mut second)
                );
                (a || c) && b
            }
            // One side before, and the form brings both.
            8 => {
                let upload = send(&one, front, &mut first);
                let files: [(&str, &[u8]); 2] = [("front", front), ("back", back)];
                let (_, form) = tokio::join!(upload, app.drop_files(&link, &files));
                form.status() == 200
            }
            _ => app.drop_files(&link, &[("front", front), ("back", back)]).await.status() == 200,
        };
        if !app.request(&link).await.stage_is_past_open() {
            open.push(link);
        } else if received {
            done.push(Acknowledged {
                link,
                applicant,
                front: sha256(front),
                back: sha256(back),
            });
        }
    }
    (done, open)
}

trait PastOpen {
    fn stage_is_past_open(&self) -> bool;
}

impl PastOpen for nightdrop::testing::domain::request::DocumentRequest {
    fn stage_is_past_open(&self) -> bool {
        !matches!(self.stage, nightdrop::testing::domain::request::Stage::Open { .. })
    }
}

/// Replaces whatever was begun before.
async fn send_anew(part: &Part<'_>, file: &[u8], random: &mut Random) -> bool {
    match begun(part, file).await {
        Some(own) => pieces(&own, file, random).await == Sent::Sealed || send(part, file, random).await,
        None => send(part, file, random).await,
    }
}

/// As a patient client does: asks where it stands, goes on, and begins anew where there is nothing.
async fn send(part: &Part<'_>, file: &[u8], random: &mut Random) -> bool {
    for _ in 0..40 {
        let head = part.head().await;
        match head.status().as_u16() {
            200 if number(&head, "upload-offset") == file.len() as u64 => return true,
            200 | 404 => {}
            // Received by the other way, or with the other side.
            410 => return true,
            _ => {
                tokio::time::sleep(Wait::from_millis(20)).await;
                continue;
            }
        }
        if let Some(own) = begun(part, file).await
            && pieces(&own, file, random).await == Sent::Sealed
        {
            return true;
        }
    }
    false
}

async fn begun<'a>(part: &Part<'a>, file: &[u8]) -> Option<Part<'a>> {
    let begun = part.begin(file.len()).await;
    if begun.status() != 201 {
        tokio::time::sleep(Wait::from_millis(20)).await;
        return None;
    }
    let path = begun.headers()["location"].to_str().unwrap().to_owned();
    Some(Part { app: part.app, path })
}

#[derive(PartialEq)]
enum Sent {
    Sealed,
    Lost,
}

/// One upload in pieces; some of them break off and are resumed.
async fn pieces(own: &Part<'_>, file: &[u8], random: &mut Random) -> Sent {
    let mut at = 0;
    for _ in 0..40 {
        let left = file.len() - at;
        let size = if random.below(3) == 0 {
            left
        } else {
            (random.below(90_000) as usize + 1).min(left)
        };
        if random.below(6) == 0 {
            let raw = own.stalled(at as u64, &file[at..], size / 2).await;
            raw.vanish();
        } else {
            let answer = own.patch(at as u64, &file[at..at + size]).await;
            if answer.status() == 204 && at + size == file.len() {
                return Sent::Sealed;
            }
        }
        let head = own.head().await;
        match head.status().as_u16() {
            200 => at = number(&head, "upload-offset") as usize,
            410 => return Sent::Sealed,
            _ => return Sent::Lost,
        }
        if at == file.len() {
            return Sent::Sealed;
        }
    }
    Sent::Lost
}

/// Waits until every acknowledged drop has come to its end, and says what did not arrive as it was sent.
async fn arrived(app: &TestApp, acknowledged: &[Acknowledged]) -> Vec<String> {
    let mut lost = BTreeMap::new();
    let deadline = Instant::now() + Wait::from_secs(240);
    for drop in acknowledged {
        loop {
            match app.state(&drop.link).await {
                RequestState::Purged => break,
                RequestState::NeedsAttention => {
                    let request = app.request(&drop.link).await;
                    let problem = request.held().and_then(|(_, d)| d.last_problem.as_ref().map(|p| p.code.clone()));
                    lost.insert(drop.applicant.clone(), format!("needs attention: {problem:?}"));
                    break;
                }
                state if Instant::now() > deadline => {
                    lost.insert(drop.applicant.clone(), format!("still {state:?}"));
                    break;
                }
                _ => tokio::time::sleep(Wait::from_millis(20)).await,
            }
        }
    }
    let received = app.received().await;
    let mut by_applicant: BTreeMap<&str, Vec<&serde_json::Value>> = BTreeMap::new();
    for entry in &received {
        by_applicant.entry(entry["applicant"].as_str().unwrap()).or_default().push(entry);
    }
    for drop in acknowledged.iter() {
        let entries = by_applicant.get(drop.applicant.as_str()).map_or(&[][..], Vec::as_slice);
        let whole =
            |e: &&serde_json::Value| e["deliveries"] == 1 && e["parts"][0]["sha256"] == drop.front && e["parts"][1]["sha256"] == drop.back;
        if entries.len() != 1 || !entries.iter().all(whole) {
            lost.entry(drop.applicant.clone())
                .or_insert_with(|| format!("the provider has {entries:?}"));
        }
    }
    lost.into_iter().map(|(who, why)| format!("{who}: {why}")).collect()
}
