//! Forwarding over a provider that misbehaves: whatever it does, each document takes effect there exactly once, and ends in the right state with the right words.

use nightdrop::testing::connectors::sign;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::delivery::{DeliveryProblem, Phase};
use nightdrop::testing::domain::request::{DocumentRequest, RequestState, Stage};
use nightdrop::testing::domain::transition::{Transition, WorkerStep};
use nightdrop::testing::storage::WorkQueues;
use nightdrop::testing::workflow::{delivery, issue};
use serde_json::{Value, json};
use time::Duration;

use crate::support::{Link, TestApp, TestClock, TestOptions, until};

const HOUR: Duration = Duration::hours(1);

fn options(confirm: &'static str, more: &str) -> (TestOptions, TestClock) {
    let options = TestOptions {
        confirm,
        more: more.to_owned(),
        ..TestOptions::default()
    };
    options.with_clock()
}

fn phase(request: &DocumentRequest) -> &Phase {
    &request.held().expect("the request holds a document").1.phase
}

fn problem(request: &DocumentRequest) -> DeliveryProblem {
    match phase(request) {
        Phase::NeedsAttention { problem, .. } => problem.clone(),
        other => panic!("{other:?} needs no attention"),
    }
}

fn cause(request: &DocumentRequest) -> &'static str {
    assert_eq!(request.stage, Stage::Purged);
    request.tombstones.last().unwrap().cause.code()
}

/// The epochs of the attempts that were started.
fn epochs(log: &[String]) -> Vec<u32> {
    log.iter()
        .filter_map(|line| line.strip_prefix("delivery.started"))
        .map(|detail| detail.split("epoch=").nth(1).unwrap().parse().unwrap())
        .collect()
}

async fn rests(app: &TestApp, link: &Link) -> bool {
    matches!(app.state(link).await, RequestState::Purged | RequestState::NeedsAttention)
}

#[tokio::test]
async fn every_misbehaviour_ends_with_exactly_one_delivery() {
    // What the provider does, one entry for each upload; the epochs of the attempts; the shortest and the longest time it may take.
    let cases: &[(Value, &[u32], (i64, i64))] = &[
        (json!(["ok"]), &[0], (0, 0)),
        (json!(["slow:200"]), &[0], (0, 0)),
        (json!(["duplicate"]), &[0], (0, 0)),
        (json!(["503:30"]), &[0, 0], (30, 31)),
        (json!(["429:7"]), &[0, 0], (7, 8)),
        (json!(["429:1000000000"]), &[0, 0], (3600, 3601)),
        (json!(["503:0", "429:0", "503:20"]), &[0, 0, 0, 0], (20, 41)),
        (json!(["500"]), &[0], (0, 6)),
        (json!(["drop"]), &[0], (0, 6)),
        (json!(["commit_then_drop"]), &[0], (0, 6)),
        (json!(["commit_then_500"]), &[0], (0, 6)),
        (json!(["garbage"]), &[0], (0, 6)),
        (json!(["endless"]), &[0], (0, 6)),
        (json!(["401", "401"]), &[0, 0, 0], (0, 16)),
        // Unknown, and the repeat under the same key is put off: the pause that was asked for is kept.
        (json!(["commit_then_drop", "503:40"]), &[0], (40, 46)),
        (json!(["commit_then_drop", "503:0", "429:0"]), &[0], (0, 21)),
        // Unknown, and the repeat is refused for good: that says nothing of the first try.
        (json!(["commit_then_500", "400"]), &[0], (0, 6)),
        (json!(["drop", "drop", "drop"]), &[0, 1], (300, 360)),
        // The provider keeps its failure under our key: only a proven absence and a new key help.
        (json!(["sticky_500"]), &[0, 1], (300, 360)),
        (json!(["sticky_500", "500", "commit_then_drop"]), &[0, 1], (300, 370)),
        (json!([{"answer": "commit_then_drop"}, "garbage", "commit_then_500"]), &[0], (0, 21)),
        (json!([{"answer": "garbage", "slow": 100}, "endless"]), &[0], (0, 16)),
    ];
    let (options, clock) = options("received", "");
    let app = TestApp::with_options(options).await;
    for (number, (plan, attempts, (shortest, longest))) in cases.iter().enumerate() {
        let applicant = format!("applicant-{number}");
        let link = app.link_at("sandbox", &applicant).await;
        let sha = app.drop_front(&link, number as u64).await;
        app.plan(plan.clone()).await;
        let took = app.work_until(&clock, HOUR * 3, async |h| rests(h, &link).await).await;
        assert_eq!(cause(&app.request(&link).await), "confirmed", "{plan}");
        assert_eq!(app.has(&applicant).await, [(sha, 1)], "{plan}");
        assert_eq!(app.planned().await, 0, "{plan}: not everything happened");
        let log = app.log(&link).await;
        assert_eq!(epochs(&log), *attempts, "{plan}: {log:#?}");
        assert!(
            took.whole_seconds() >= *shortest && took.whole_seconds() <= *longest,
            "{plan} took {took}"
        );
    }
}

#[tokio::test]
async fn what_appears_late_is_not_sent_again() {
    let (options, clock) = options("received", "");
    let app = TestApp::with_options(options).await;
    let link = app.link_at("sandbox", "applicant-1").await;
    let sha = app.drop_front(&link, 1).await;
    // Stored at once, shown after two (real) seconds; the answers never say so.
    app.plan(json!([{"answer": "commit_then_drop", "hide": 2}, "commit_then_500", "commit_then_500"]))
        .await;
    let absent = async |h: &TestApp| matches!(phase(&h.request(&link).await), Phase::Uncertain { absent_since: Some(_), .. });
    app.work_until(&clock, HOUR, absent).await;
    assert!(absent(&app).await, "the first look must come before it is shown");
    let url = format!("{}/v1/applicants/applicant-1/documents", app.sandbox.url());
    until("the provider shows it", async || {
        let list = app
            .http
            .get(&url)
            .bearer_auth("sandbox-key")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        list.contains("sbx_")
    })
    .await;
    app.work_until(&clock, HOUR, async |h| rests(h, &link).await).await;
    assert_eq!(cause(&app.request(&link).await), "confirmed");
    assert_eq!(app.has("applicant-1").await, [(sha, 1)]);
    assert_eq!(epochs(&app.log(&link).await), [0]);
}

#[tokio::test]
async fn the_intent_is_the_same_over_all_tries_of_an_epoch() {
    let (options, clock) = options("received", "");
    let mut app = TestApp::with_options(options).await;
    let link = app.link_at("sandbox", "applicant-1").await;
    app.drop_front(&link, 1).await;
    app.misbehave(&["503:1", "503:1", "drop", "drop", "drop", "503:1", "drop"]).await;
    let mut seen: Vec<(u32, [u8; 32])> = Vec::new();
    for _ in 0..40 {
        let Some(due) = app.portal.requests.next_due(WorkQueues::All).await.unwrap() else {
            break;
        };
        clock.forward((due - app.portal.now()).max(Duration::ZERO));
        app.one_step().await;
        let request = app.request(&link).await;
        let Some((_, delivery)) = request.held() else { break };
        if let Phase::Uncertain { intent, .. } = &delivery.phase {
            seen.push((intent.epoch, intent.digest));
            if seen.len() == 2 {
                app.restart().await;
            }
        }
    }
    assert_eq!(cause(&app.request(&link).await), "confirmed");
    for epoch in [0, 1] {
        let mut digests: Vec<_> = seen.iter().filter(|(e, _)| *e == epoch).map(|(_, d)| d).collect();
        assert!(!digests.is_empty(), "{seen:?}");
        digests.dedup();
        assert_eq!(digests.len(), 1, "epoch {epoch}");
    }
    assert_ne!(seen.first().unwrap().1, seen.last().unwrap().1, "another epoch, other bytes");
}

#[tokio::test]
async fn five_failures_pause_a_provider_and_then_one_may_try() {
    let (options, clock) = options("received", "");
    let app = TestApp::with_options(options).await;
    let mut links = Vec::new();
    for n in 0..9 {
        let link = app.link_at("sandbox", &format!("applicant-{n}")).await;
        app.drop_front(&link, n).await;
        links.push(link);
    }
    app.plan(json!(vec!["503:0"; 7])).await;
    app.work_due().await;
    assert_eq!(app.planned().await, 2, "five tries, then the provider is left alone");
    let paused = |r: &DocumentRequest| {
        r.held()
            .unwrap()
            .1
            .last_problem
            .as_ref()
            .is_some_and(|p| p.code == "provider.paused")
    };
    let mut waiting = 0;
    for link in &links {
        waiting += usize::from(paused(&app.request(link).await));
    }
    assert_eq!(waiting, 4);
    clock.forward(Duration::seconds(59));
    app.work_due().await;
    assert_eq!(app.planned().await, 2);
    clock.forward(Duration::seconds(1));
    app.work_due().await;
    assert_eq!(app.planned().await, 1, "one tries and fails, and the others wait on");
    app.plan(json!([])).await;
    for link in &links {
        app.work_until(&clock, HOUR, async |h| rests(h, link).await).await;
        assert_eq!(cause(&app.request(link).await), "confirmed");
    }
    let received = app.received().await;
    assert!(received.len() == 9 && received.iter().all(|r| r["deliveries"] == 1), "{received:?}");
}

#[tokio::test]
async fn used_up_tries_ask_a_person_and_a_retry_delivers() {
    let (options, clock) = options("received", "[forwarding]\nattempts = 3");
    let app = TestApp::with_options(options).await;
    let cases = [
        (json!(["503:1", "503:1", "503:1"]), "provider.unavailable"),
        (json!(["401", "401", "401"]), "provider.credentials"),
        (json!(["400"]), "provider.refused"),
        // Never stored, never said so: absence is proven each time, and the tries are counted all the same.
        (json!(vec!["500"; 9]), "provider.failed"),
    ];
    for (n, (plan, code)) in cases.into_iter().enumerate() {
        let applicant = format!("applicant-{n}");
        let link = app.link_at("sandbox", &applicant).await;
        let sha = app.drop_front(&link, n as u64).await;
        app.plan(plan.clone()).await;
        app.work_until(&clock, HOUR * 2, async |h| rests(h, &link).await).await;
        let request = app.request(&link).await;
        assert_eq!(problem(&request).code, code, "{plan}");
        assert!(
            problem(&request).text.len() > 20 && problem(&request).text.ends_with(['.', ')']),
            "a sentence: {:?}",
            problem(&request)
        );
        assert_eq!(app.has(&applicant).await, [], "{plan}");
        // Nothing turns by itself any more.
        app.plan(json!([])).await;
        clock.forward(HOUR);
        assert_eq!(app.work_due().await, 0, "{plan}");
        issue::retry(&app.portal, link.id, Actor::Operator).await.unwrap();
        app.work_until(&clock, HOUR, async |h| rests(h, &link).await).await;
        assert_eq!(cause(&app.request(&link).await), "confirmed", "{plan}");
        assert_eq!(app.has(&applicant).await, [(sha, 1)], "{plan}");
    }
}

#[tokio::test]
async fn a_rejected_document_is_never_sent_again_and_a_better_one_is() {
    for confirm in ["received", "verdict"] {
        let (options, clock) = options(confirm, "");
        let app = TestApp::with_options(options).await;
        let link = app.link_at("sandbox", "applicant-1").await;
        let first = app.drop_front(&link, 1).await;
        app.plan(json!([{"answer": "commit_then_drop", "verdict": "reject:expired"}])).await;
        app.work_until(&clock, HOUR, async |h| rests(h, &link).await).await;
        let request = app.request(&link).await;
        let stone = request.tombstones.last().unwrap();
        let nightdrop::testing::domain::delivery::PurgeCause::Rejected(why) = &stone.cause else {
            panic!("{stone:?}")
        };
        assert_eq!(why.code, "document.expired");
        let receipt = app.portal.requests.deletion_receipt(stone.receipt).await.unwrap().unwrap().receipt;
        assert_eq!(receipt.erasure.cause, "rejected");
        clock.forward(HOUR);
        assert_eq!(app.work_due().await, 0);
        assert!(
            issue::retry(&app.portal, link.id, Actor::Operator).await.is_err(),
            "there is nothing to retry with"
        );

        let again = issue::reissue(&app.portal, link.id, issue::Expiry::Default, None, Actor::Operator, None)
            .await
            .unwrap();
        assert_eq!(again.request.link.generation, 2);
        let again = app.known(again);
        let old = app.drop_files(&link, &[("front", &crate::support::png(3, 4_000))]).await;
        assert_eq!(old.status(), 409, "the old link is a receipt and takes nothing more");
        let second = app.drop_front(&again, 2).await;
        app.work_until(&clock, HOUR, async |h| rests(h, &link).await).await;
        assert_eq!(cause(&app.request(&link).await), "confirmed");
        assert_eq!(app.has("applicant-1").await, [(first, 1), (second, 1)]);
        let refused = issue::reissue(&app.portal, link.id, issue::Expiry::Default, None, Actor::Operator, None).await;
        assert!(refused.is_err(), "what the provider took is not asked for again");
    }
}

#[tokio::test]
async fn a_verdict_is_asked_for_ever_more_rarely() {
    let (options, clock) = options("verdict", "");
    let app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    let link = app.link_at("sandbox", "applicant-1").await;
    app.drop_front(&link, 1).await;
    app.misbehave(&["pending:9"]).await;
    app.work_due().await;
    let mut pauses = Vec::new();
    while app.state(&link).await == RequestState::AwaitingConfirmation {
        let now = app.portal.now();
        let due = app.portal.requests.next_due(WorkQueues::All).await.unwrap().unwrap();
        pauses.push((due - now).whole_seconds());
        clock.forward(due - now);
        assert_eq!(app.work_due().await, 1);
    }
    assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 30, 30, 30, 30]);
    assert_eq!(cause(&app.request(&link).await), "confirmed");
    assert_eq!(app.has("applicant-1").await.len(), 1);
}

#[tokio::test]
async fn a_callback_makes_the_question_come_at_once_and_decides_nothing() {
    let (options, _clock) = options("verdict", "");
    let app = TestApp::with_options(options).await;
    let link = app.link_at("sandbox", "applicant-1").await;
    app.drop_front(&link, 1).await;
    app.misbehave(&["pending:2"]).await;
    app.work_due().await;
    let Phase::AwaitingConfirmation { receipt, .. } = phase(&app.request(&link).await).clone() else {
        panic!()
    };
    let id = receipt.references[0].clone();
    // It says "accepted"; the provider, asked, says "pending".
    assert_eq!(call(&app, &id, "evt_1", Sign::Right).await, 200);
    assert_eq!(app.work_due().await, 1);
    assert_eq!(app.state(&link).await, RequestState::AwaitingConfirmation);
    // The same event again costs the provider nothing.
    assert_eq!(call(&app, &id, "evt_1", Sign::Right).await, 200);
    assert_eq!(app.work_due().await, 0);
    for (sign, status) in [(Sign::Wrong, 401), (Sign::Stale, 401), (Sign::None, 401)] {
        assert_eq!(call(&app, &id, "evt_2", sign).await, status);
    }
    assert_eq!(app.work_due().await, 0);
    assert_eq!(call(&app, "sbx_99999999", "evt_3", Sign::Right).await, 200, "no oracle");
    assert_eq!(app.work_due().await, 0);
    assert_eq!(call(&app, &id, "evt_4", Sign::Right).await, 200);
    app.work_due().await;
    until("the sandbox's own callback", async || {
        app.work_due().await;
        app.state(&link).await == RequestState::Purged
    })
    .await;
    assert_eq!(cause(&app.request(&link).await), "confirmed");
}

#[derive(Clone, Copy)]
enum Sign {
    Right,
    Wrong,
    Stale,
    None,
}

/// A callback for a document; the answer's status.
async fn call(app: &TestApp, document: &str, event: &str, how: Sign) -> u16 {
    let key = sign::standard_key("whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0").unwrap();
    let body = json!({"type": "document.accepted", "document": document}).to_string();
    let at = app.portal.now().unix_timestamp() - if matches!(how, Sign::Stale) { 3600 } else { 0 };
    let key = if matches!(how, Sign::Wrong) { b"wrong".to_vec() } else { key };
    let mut request = app
        .http
        .post(app.public("/hooks/sandbox"))
        .header("webhook-id", event)
        .header("webhook-timestamp", at);
    if !matches!(how, Sign::None) {
        request = request.header("webhook-signature", sign::sign_standard(&key, event, at, body.as_bytes()));
    }
    request.body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn shuffled_callbacks_end_in_the_same_states() {
    let shuffles = if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        300
    } else {
        25
    };
    let (options, clock) = options("verdict", "");
    let app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    for round in 0..shuffles {
        let mut random = Random(round * 7919 + 1);
        let applicants: Vec<String> = (0..3).map(|n| format!("applicant-{round}-{n}")).collect();
        let mut links = Vec::new();
        for (n, applicant) in applicants.iter().enumerate() {
            let link = app.link_at("sandbox", applicant).await;
            app.drop_front(&link, round * 3 + n as u64).await;
            links.push(link);
        }
        app.plan(json!(["pending:1", {"answer": "commit_then_drop", "verdict": "reject:unreadable"}, {"answer": "commit_then_500"}]))
            .await;
        // The sandbox numbers its documents; these come before, while and after the portal knows them.
        let first = round * 3;
        for turn in 0..30 {
            let document = format!("sbx_{:08}", first + random.below(4));
            let how = [Sign::Right, Sign::Right, Sign::Right, Sign::Wrong, Sign::Stale][random.below(5) as usize];
            let event = format!("evt-{round}-{}", random.below(12));
            call(&app, &document, &event, how).await;
            match random.below(3) {
                0 => drop(app.one_step().await),
                1 if turn > 10 => clock.forward(Duration::seconds(2)),
                _ => {}
            }
        }
        for link in &links {
            app.work_until(&clock, HOUR, async |h| rests(h, link).await).await;
        }
        let mut causes = Vec::new();
        for link in &links {
            causes.push(cause(&app.request(link).await));
        }
        causes.sort_unstable();
        assert_eq!(causes, ["confirmed", "confirmed", "rejected"], "round {round}");
        for applicant in &applicants {
            assert_eq!(
                app.has(applicant).await.iter().map(|(_, n)| n).collect::<Vec<_>>(),
                [&1],
                "round {round}"
            );
        }
        // Signatures have five minutes; the sandbox and the callbacks above live by the portal's clock.
    }
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_does_nothing_more() {
    let (options, clock) = options("received", "");
    let app = TestApp::with_options(options).await;
    let link = app.link_at("sandbox", "applicant-1").await;
    let sha = app.drop_front(&link, 1).await;
    let until = app.portal.now() + delivery::LEASE;
    let paused = app.portal.requests.claim_due(WorkQueues::All, until).await.unwrap().unwrap();
    assert_eq!(app.work_due().await, 0, "one lease at a time");
    clock.forward(delivery::LEASE);
    app.work_due().await;
    assert_eq!(cause(&app.request(&link).await), "confirmed");
    delivery::step(&app.portal, paused).await.unwrap();
    assert_eq!(app.has("applicant-1").await, [(sha, 1)]);
    assert_eq!(app.request(&link).await.tombstones.len(), 1);
}

#[tokio::test]
async fn an_attempt_whose_worker_died_is_asked_about() {
    for arrived in [false, true] {
        let (options, clock) = options("received", "");
        let app = TestApp::with_options(options).await;
        let link = app.link_at("sandbox", "applicant-1").await;
        let sha = app.drop_front(&link, 1).await;
        let until = app.portal.now() + delivery::LEASE;
        let request = app.portal.requests.claim_due(WorkQueues::All, until).await.unwrap().unwrap();
        if arrived {
            // A second worker stands for the first one's bytes: same document, same epoch, and its answer is lost.
            app.misbehave(&["commit_then_drop", "503:0", "503:0"]).await;
            delivery::step(&app.portal, request).await.unwrap();
        } else {
            let intent = nightdrop::testing::domain::delivery::Intent {
                epoch: 0,
                started_at: app.portal.now(),
                digest: [0; 32],
            };
            let fence = request.fence;
            app.portal
                .requests
                .transition(
                    link.id,
                    Transition::Worker {
                        fence,
                        step: WorkerStep::StartSending { intent },
                    },
                )
                .await
                .unwrap();
            assert_eq!(app.work_due().await, 0);
            clock.forward(delivery::LEASE);
        }
        app.work_until(&clock, HOUR, async |h| rests(h, &link).await).await;
        assert_eq!(cause(&app.request(&link).await), "confirmed");
        assert_eq!(app.has("applicant-1").await, [(sha, 1)]);
        // An intent that fits no bytes of ours is never repeated under its key: absence is proven first.
        assert_eq!(epochs(&app.log(&link).await), if arrived { vec![0] } else { vec![0, 1] });
    }
}
