//! What is kept, and for how long: deadlines, purges in every phase, locked vaults, lost secrets, damaged bytes, providers that are gone. Nothing is lost, and nothing stays.

use nightdrop::testing::crypto::keyfile::{Argon2Cost, Protector};
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::delivery::Phase;
use nightdrop::testing::domain::document::{Document, ProviderName};
use nightdrop::testing::domain::request::{DocumentRequest, RequestState, SENDING_GRACE, Stage};
use nightdrop::testing::domain::transition::{AgentAction, Transition, WorkerStep};
use nightdrop::testing::storage::WorkQueues;
use nightdrop::testing::storage::key;
use nightdrop::testing::storage::record::Record;
use nightdrop::testing::storage::sled::records::Batch;
use nightdrop::testing::workflow::{delivery, issue};
use serde_json::json;
use time::Duration;

use crate::support::{Link, TestApp, TestClock, TestOptions};

const HOUR: Duration = Duration::hours(1);
/// A provider that nobody answers for.
const GONE: &str = "[retention]\nundelivered = \"2h\"\n[providers.gone]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:9\"\napi_key_file = \"sandbox-key\"\n\
                    [providers.desk]\nkind = \"manual\"\n";

fn options(confirm: &'static str) -> (TestOptions, TestClock) {
    let options = TestOptions {
        confirm,
        more: GONE.to_owned(),
        ..TestOptions::default()
    };
    options.with_clock()
}

async fn document(app: &TestApp, link: &Link) -> Document {
    app.request(link).await.document().unwrap().clone()
}

fn code(request: &DocumentRequest) -> String {
    match &request.held().unwrap().1.phase {
        Phase::NeedsAttention { problem, .. } => problem.code.clone(),
        other => panic!("{other:?}"),
    }
}

/// The request is purged for `cause`, with a chained receipt, and nothing of the document is left.
pub async fn gone_for(app: &TestApp, link: &Link, document: &Document, cause: &str) {
    let request = app.request(link).await;
    assert_eq!(request.stage, Stage::Purged, "{:#?}", app.log(link).await);
    let stone = request.tombstones.last().unwrap();
    assert_eq!(stone.cause.code(), cause, "{:#?}", app.log(link).await);
    let receipt = app.portal.requests.deletion_receipt(stone.receipt).await.unwrap().unwrap().receipt;
    assert_eq!((receipt.erasure.cause.as_str(), receipt.erasure.document), (cause, document.id));
    assert!(receipt.erasure.erased_at <= receipt.erasure.purged_at);
    assert!(
        app.portal.erasure.get(&document.id.0, &document.slot).is_err(),
        "the secret is gone"
    );
    assert!(
        !app.portal.blobs.documents().await.unwrap().contains(&document.id),
        "the chunks are gone"
    );
    assert_eq!(app.portal.requests.by_document(document.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_provider_that_stays_down_does_not_keep_a_document_beyond_its_deadline() {
    let (options, clock) = options("received");
    let app = TestApp::with_options(options).await;
    let link = app.link_at("gone", "applicant-1").await;
    app.drop_front(&link, 1).await;
    let document = document(&app, &link).await;
    let took = app
        .work_until(&clock, HOUR * 5, async |h| h.state(&link).await == RequestState::Purged)
        .await;
    assert_eq!(took, HOUR * 2);
    gone_for(&app, &link, &document, "deadline").await;
    let log = app.log(&link).await;
    let failed = log
        .iter()
        .filter(|l| l.starts_with("delivery.failed code=provider.unreachable"))
        .count();
    assert!((8..60).contains(&failed), "{failed} tries in two hours");
}

#[tokio::test]
async fn an_agent_may_purge_in_every_phase() {
    let (options, clock) = options("verdict");
    let app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    for phase in ["pending", "sending", "uncertain", "awaiting", "attention"] {
        let link = app.link_at("sandbox", &format!("applicant-{phase}")).await;
        app.drop_front(&link, 1).await;
        let document = document(&app, &link).await;
        let plan = match phase {
            "uncertain" => json!(["drop"]),
            "awaiting" => json!(["pending:9"]),
            "attention" => json!(["400"]),
            _ => json!([]),
        };
        app.plan(plan).await;
        match phase {
            "pending" => {}
            "sending" => {
                lease_and_start(&app, &link).await;
                let refused = app
                    .portal
                    .requests
                    .transition(
                        link.id,
                        Transition::Agent {
                            by: Actor::Operator,
                            action: AgentAction::MarkUploaded,
                        },
                    )
                    .await;
                assert!(refused.is_err(), "not while bytes may be on their way");
            }
            _ => drop(app.work_due().await),
        }
        issue::request_purge(&app.portal, link.id, Actor::Operator).await.unwrap();
        if phase == "sending" {
            assert_eq!(app.work_due().await, 0, "whoever sends finishes first");
            clock.forward(delivery::LEASE);
        }
        app.work_due().await;
        gone_for(&app, &link, &document, "agent").await;
        let sent = usize::from(phase == "awaiting");
        assert_eq!(app.has(&format!("applicant-{phase}")).await.len(), sent, "{phase}");
        assert!(issue::request_purge(&app.portal, link.id, Actor::Operator).await.is_err());
    }
}

/// A worker takes the request, starts sending, and dies.
async fn lease_and_start(app: &TestApp, link: &Link) {
    let until = app.portal.now() + delivery::LEASE;
    let request = app.portal.requests.claim_due(WorkQueues::All, until).await.unwrap().unwrap();
    assert_eq!(request.id, link.id);
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
}

#[tokio::test]
async fn a_deadline_while_the_outcome_is_unknown_asks_first() {
    for (provider, plan, cause) in [
        ("sandbox", "commit_then_drop", "confirmed"),
        ("sandbox", "drop", "deadline"),
        ("gone", "", "deadline"),
    ] {
        let (options, clock) = options("received");
        let app = TestApp::with_options(options).await;
        let link = app.link_at(provider, "applicant-1").await;
        app.drop_front(&link, 1).await;
        let document = document(&app, &link).await;
        if provider == "gone" {
            lease_and_start(&app, &link).await;
        } else {
            app.misbehave(&[plan]).await;
            app.work_due().await;
            assert_eq!(app.state(&link).await, RequestState::Forwarding);
        }
        let started = app.log(&link).await.len();
        clock.forward(document.purge_at - app.portal.now() + Duration::seconds(1));
        let waited = app
            .work_until(&clock, HOUR, async |h| h.state(&link).await == RequestState::Purged)
            .await;
        gone_for(&app, &link, &document, cause).await;
        if provider == "gone" {
            // No answer at all: the grace is waited for, and not a moment longer.
            assert_eq!(waited + Duration::seconds(1), SENDING_GRACE);
            assert!(app.log(&link).await.len() - started <= 20);
        } else {
            assert_eq!(waited, Duration::ZERO, "one clear answer decides");
        }
        assert_eq!(app.has("applicant-1").await.len(), usize::from(cause == "confirmed"));
    }
}

#[tokio::test]
async fn what_is_served_by_hand_waits_for_a_person() {
    let (options, clock) = options("received");
    let app = TestApp::with_options(options).await;
    let link = app.link_at("desk", "applicant-1").await;
    app.drop_front(&link, 1).await;
    let document = document(&app, &link).await;
    app.work_due().await;
    assert_eq!(code(&app.request(&link).await), "provider.by_hand");
    clock.forward(Duration::minutes(30));
    assert_eq!(app.work_due().await, 0);
    let marked = app
        .portal
        .requests
        .transition(
            link.id,
            Transition::Agent {
                by: Actor::Operator,
                action: AgentAction::MarkUploaded,
            },
        )
        .await
        .unwrap();
    assert_eq!(marked.state(app.portal.now()), RequestState::Confirmed);
    assert!(
        app.portal
            .requests
            .transition(
                link.id,
                Transition::Agent {
                    by: Actor::Operator,
                    action: AgentAction::MarkUploaded
                }
            )
            .await
            .is_err()
    );
    app.work_due().await;
    gone_for(&app, &link, &document, "confirmed").await;
}

#[tokio::test]
async fn a_provider_that_is_not_configured_any_more_costs_nothing() {
    let (options, clock) = options("verdict");
    let mut app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    let links = [
        app.link_at("sandbox", "applicant-0").await,
        app.link_at("sandbox", "applicant-1").await,
        app.link_at("sandbox", "applicant-2").await,
    ];
    // One is delivered and waits for its verdict, one is stored there without an answer, one has not been sent yet.
    app.misbehave(&["pending:1", "commit_then_drop"]).await;
    for (n, link) in links.iter().enumerate() {
        if n == 2 {
            app.drop_front(link, 2).await;
        } else {
            app.drop_front(link, n as u64).await;
            app.work_due().await;
        }
    }
    let config = app.config().providers.clone();
    app.restart_as(|c| c.providers.retain(|p| p.name.as_str() != "sandbox")).await;
    app.work_until(&clock, HOUR, async |_| false).await;
    assert_eq!(app.state(&links[0]).await, RequestState::AwaitingConfirmation);
    assert_eq!(app.state(&links[1]).await, RequestState::Forwarding);
    let request = app.request(&links[1]).await;
    assert_eq!(request.held().unwrap().1.last_problem.as_ref().unwrap().code, "provider.unknown");
    assert_eq!(code(&app.request(&links[2]).await), "provider.unknown");

    app.restart_as(|c| c.providers = config).await;
    issue::retry(&app.portal, links[2].id, Actor::Operator).await.unwrap();
    for (n, link) in links.iter().enumerate() {
        app.work_until(&clock, HOUR, async |h| h.state(link).await == RequestState::Purged)
            .await;
        let request = app.request(link).await;
        assert_eq!(
            request.tombstones.last().map(|t| t.cause.code()),
            Some("confirmed"),
            "{:#?}",
            app.log(link).await
        );
        assert_eq!(
            app.has(&format!("applicant-{n}")).await.iter().map(|(_, n)| n).collect::<Vec<_>>(),
            [&1]
        );
    }
}

#[tokio::test]
async fn the_applicant_is_told_truly_whether_a_document_was_passed_on() {
    let (options, clock) = options("verdict");
    let mut app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    // One waits for its verdict, of one nobody knows whether it arrived, one was never taken.
    app.misbehave(&["pending:1000", "commit_then_drop"]).await;
    let mut links = Vec::new();
    for (n, provider) in ["sandbox", "sandbox", "gone"].into_iter().enumerate() {
        let link = app.link_at(provider, &format!("applicant-{n}")).await;
        app.drop_front(&link, n as u64).await;
        app.work_due().await;
        links.push(link);
    }
    assert_eq!(app.state(&links[0]).await, RequestState::AwaitingConfirmation);
    app.restart_as(|c| c.providers.retain(|p| p.name.as_str() != "sandbox")).await;
    let told = [
        ("yes", "Your document was sent to the identity check."),
        ("unknown", "It is not known whether it reached"),
        ("no", "It could not be sent in time."),
    ];
    for (link, (passed_on, sentence)) in links.iter().zip(told) {
        app.work_until(&clock, HOUR * 5, async |h| h.state(link).await == RequestState::Purged)
            .await;
        let stone = app.request(link).await.tombstones[0].clone();
        assert_eq!((stone.cause.code(), stone.passed_on.as_str()), ("deadline", passed_on));
        let page = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
        assert!(page.contains(sentence), "{page}");
        assert_eq!(page.contains("was not sent"), passed_on == "no");
        assert!(
            page.contains("It was deleted from this site on") && !page.contains("ncrypted"),
            "{page}"
        );
        let api = app.staff(&format!("/api/v1/requests/{}", link.id));
        let answer = app.http.get(api).bearer_auth(&app.api_key).send().await.unwrap();
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["passed_on"], passed_on);
    }
}

#[tokio::test]
async fn a_locked_vault_takes_everything_in_and_lets_nothing_out() {
    let (options, clock) = options("received");
    let options = TestOptions {
        passphrase: Some("correct horse"),
        ..options
    };
    let mut app = TestApp::with_options(options).await;
    let mut links = Vec::new();
    for n in 0..10 {
        let link = app.link_at("sandbox", &format!("applicant-{n}")).await;
        app.drop_front(&link, n).await;
        links.push(link);
    }
    app.work_until(&clock, Duration::minutes(5), async |_| false).await;
    app.restart().await;
    app.work_until(&clock, Duration::minutes(5), async |_| false).await;
    assert_eq!(app.received().await.len(), 0);
    for link in &links {
        let request = app.request(link).await;
        assert_eq!(request.state(app.portal.now()), RequestState::Received);
        assert_eq!(request.held().unwrap().1.last_problem.as_ref().unwrap().code, "key.locked");
        assert!(app.log(link).await.len() < 5, "waiting is not worth a line each time");
    }
    let key = Protector::Passphrase(b"correct horse", Argon2Cost::smallest());
    assert!(
        app.portal
            .keyring
            .unlock(&Protector::Passphrase(b"wrong", Argon2Cost::smallest()))
            .is_err()
    );
    app.portal.keyring.unlock(&key).unwrap();
    for link in &links {
        app.work_until(&clock, HOUR, async |h| h.state(link).await == RequestState::Purged)
            .await;
    }
    let received = app.received().await;
    assert!(received.len() == 10 && received.iter().all(|r| r["deliveries"] == 1));
}

#[tokio::test]
async fn a_locked_vault_does_not_hide_that_a_document_arrived() {
    let (options, clock) = options("received");
    let options = TestOptions {
        passphrase: Some("correct horse"),
        ..options
    };
    let mut app = TestApp::with_options(options).await;
    app.portal
        .keyring
        .unlock(&Protector::Passphrase(b"correct horse", Argon2Cost::smallest()))
        .unwrap();
    let link = app.link_at("sandbox", "applicant-1").await;
    app.drop_front(&link, 1).await;
    let document = document(&app, &link).await;
    app.misbehave(&["commit_then_drop"]).await;
    app.work_due().await;
    app.restart().await;
    assert!(app.portal.keyring.is_locked());
    app.work_until(&clock, Duration::minutes(5), async |h| h.state(&link).await == RequestState::Purged)
        .await;
    gone_for(&app, &link, &document, "confirmed").await;
    assert_eq!(app.has("applicant-1").await.len(), 1);
}

#[tokio::test]
async fn one_damaged_document_among_twenty_stops_nobody() {
    let (options, clock) = options("received");
    let app = TestApp::with_options(options).await;
    let mut links = Vec::new();
    for n in 0..20 {
        let link = app.link_at("sandbox", &format!("applicant-{n}")).await;
        app.drop_front(&link, n).await;
        links.push(link);
    }
    let damaged = document(&app, &links[7]).await;
    let file = app
        .data()
        .join(format!("documents/{}.0", data_encoding::HEXLOWER.encode(&damaged.id.0)));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let took = app
        .work_until(&clock, HOUR, async |h| h.state(&links[7]).await == RequestState::NeedsAttention)
        .await;
    assert!(took < Duration::minutes(1), "{took}");
    assert_eq!(code(&app.request(&links[7]).await), "document.cannot_be_opened");
    for (n, link) in links.iter().enumerate() {
        let expected = if n == 7 {
            RequestState::NeedsAttention
        } else {
            RequestState::Purged
        };
        assert_eq!(app.state(link).await, expected, "{n}");
        assert_eq!(app.has(&format!("applicant-{n}")).await.len(), usize::from(n != 7), "{n}");
    }
    issue::request_purge(&app.portal, links[7].id, Actor::Operator).await.unwrap();
    app.work_due().await;
    gone_for(&app, &links[7], &damaged, "agent").await;
}

#[tokio::test]
async fn a_document_whose_secret_is_gone_is_purged_as_lost() {
    let (options, clock) = options("received");
    let app = TestApp::with_options(options).await;
    let link = app.link_at("sandbox", "applicant-1").await;
    app.drop_front(&link, 1).await;
    let lost = document(&app, &link).await;
    app.portal.erasure.destroy(&lost.id.0, &lost.slot).unwrap();
    app.work_due().await;
    gone_for(&app, &link, &lost, "lost").await;
    let again = issue::reissue(&app.portal, link.id, issue::Expiry::Default, None, Actor::Operator, None).await;
    assert!(again.is_ok(), "it can be asked for again");
    // Lost after its bytes arrived: the provider knows better than we do.
    let link = app.link_at("sandbox", "applicant-2").await;
    app.drop_front(&link, 2).await;
    let arrived = document(&app, &link).await;
    app.misbehave(&["commit_then_drop"]).await;
    app.work_due().await;
    app.portal.erasure.destroy(&arrived.id.0, &arrived.slot).unwrap();
    app.work_until(&clock, HOUR, async |h| h.state(&link).await == RequestState::Purged)
        .await;
    gone_for(&app, &link, &arrived, "confirmed").await;
}

#[tokio::test]
async fn a_row_changed_behind_the_portals_back_is_not_forwarded() {
    let (options, clock) = options("received");
    let app = TestApp::with_options(options).await;
    let other = app.request(&app.link_at("sandbox", "somebody-else").await).await;
    let changes: [fn(&mut DocumentRequest, &DocumentRequest); 4] = [
        |r, other| r.applicant = other.applicant.clone(),
        |r, _| r.keep = Duration::days(900),
        |r, _| r.provider = ProviderName::parse("gone").unwrap(),
        |r, _| r.parts[0].max_bytes += 1,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        // Before the first try, and while the outcome of one is unknown.
        for open in [false, true] {
            let applicant = format!("applicant-{n}-{open}");
            let link = app.link_at("sandbox", &applicant).await;
            app.drop_front(&link, n as u64).await;
            let document = document(&app, &link).await;
            if open {
                app.misbehave(&["drop"]).await;
                app.work_due().await;
            }
            let mut request = app.request(&link).await;
            change(&mut request, &other);
            write(&app, &request).await;
            let took = app
                .work_until(&clock, HOUR, async |h| h.state(&link).await == RequestState::NeedsAttention)
                .await;
            let code = code(&app.request(&link).await);
            assert!(
                code == "request.tampered" || code == "document.unreadable_here",
                "{n} {open} {code} after {took}"
            );
            assert_eq!(app.received().await.len(), 0);
            issue::request_purge(&app.portal, link.id, Actor::Operator).await.unwrap();
            app.work_due().await;
            gone_for(&app, &link, &document, "agent").await;
        }
    }
}

/// Whoever writes the store has no other provider asked and believed, and no verdict on another applicant.
#[tokio::test]
async fn a_request_altered_while_its_verdict_is_awaited_is_asked_of_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (counted, port) = (asked.clone(), listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let options = TestOptions {
        confirm: "verdict",
        more: format!(
            "[retention]\nundelivered = \"7d\"\n[providers.other]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:{port}\"\napi_key_file = \"sandbox-key\"\n\
             confirm = \"verdict\"\n"
        ),
        ..TestOptions::default()
    };
    let (options, clock) = options.with_clock();
    let app = TestApp::with_options(options).await;
    let other = app.request(&app.link_at("sandbox", "somebody-else").await).await;
    type Alter = fn(&mut DocumentRequest, &DocumentRequest);
    let changes: [Alter; 4] = [
        |r, _| r.provider = ProviderName::parse("other").unwrap(),
        |r, other| r.applicant = other.applicant.clone(),
        // The provider's receipt shall be enough.
        |r, _| r.confirm = nightdrop::testing::domain::delivery::ConfirmAt::Received,
        |r, _| r.keep = time::Duration::days(700),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let link = app.link_at("sandbox", &format!("judged-{n}")).await;
        app.misbehave(&["pending:3"]).await;
        app.drop_front(&link, 40 + n as u64).await;
        app.work_due().await;
        assert_eq!(app.state(&link).await, RequestState::AwaitingConfirmation);
        let document = document(&app, &link).await;
        let mut request = app.request(&link).await;
        change(&mut request, &other);
        write(&app, &request).await;
        app.work_until(&clock, HOUR, async |h| h.state(&link).await != RequestState::AwaitingConfirmation)
            .await;
        assert_eq!(
            app.state(&link).await,
            RequestState::NeedsAttention,
            "{n} {:#?}",
            app.log(&link).await
        );
        assert_eq!(code(&app.request(&link).await), "request.tampered", "{n}");
        assert!(
            issue::retry(&app.portal, link.id, Actor::Operator).await.is_err(),
            "and it is never sent again"
        );
        issue::request_purge(&app.portal, link.id, Actor::Operator).await.unwrap();
        app.work_due().await;
        gone_for(&app, &link, &document, "agent").await;
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 0, "nobody else was asked");
}

/// Writes a row as somebody with the database and without the portal's secrets can.
async fn write(app: &TestApp, request: &DocumentRequest) {
    let store = app.embedded();
    let store = store.store();
    let mut batch = Batch::new();
    batch.put(key::request(request.id), request.encode());
    let seq = store.apply(batch).unwrap();
    store.settled(seq).await.unwrap();
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_neither_the_start_nor_the_others() {
    let (options, clock) = options("received");
    let mut app = TestApp::with_options(options).await;
    let bad = app.link_at("sandbox", "applicant-0").await;
    app.drop_front(&bad, 0).await;
    let good = app.link_at("sandbox", "applicant-1").await;
    app.drop_front(&good, 1).await;
    let mut row = app.request(&bad).await.encode();
    row.truncate(row.len() / 2);
    {
        let embedded = app.embedded();
        let store = embedded.store();
        let mut batch = Batch::new();
        batch.put(key::request(bad.id), row);
        store.settled(store.apply(batch).unwrap()).await.unwrap();
    }
    app.restart().await;
    app.work_until(&clock, Duration::minutes(1), async |h| h.state(&good).await == RequestState::Purged)
        .await;
    assert_eq!(app.state(&good).await, RequestState::Purged);
    assert!(app.portal.requests.request(bad.id).await.is_err(), "and it is not taken for absent");
    assert_eq!(
        app.portal.erasure.live().unwrap().len(),
        1,
        "what may be a document is not destroyed"
    );
}

#[tokio::test]
async fn a_row_is_forgotten_after_its_history_and_its_link_stays_dead() {
    let (mut options, clock) = options("received");
    options.more = options.more.replace("undelivered", "history = \"24h\"\nundelivered");
    let app = TestApp::with_options(options).await;
    let used = app.link_at("sandbox", "applicant-0").await;
    app.drop_front(&used, 1).await;
    let unused = app.link_at("sandbox", "applicant-1").await;
    app.work_until(&clock, Duration::days(8), async |h| {
        h.portal.requests.next_due(WorkQueues::All).await.unwrap().is_none()
    })
    .await;
    for link in [&used, &unused] {
        assert_eq!(app.portal.requests.request(link.id).await.unwrap(), None);
        let answer = app.drop_files(link, &[("front", &crate::support::png(1, 4_000))]).await;
        assert_eq!(answer.status(), 404);
    }
    let counts = app.portal.requests.counts().await.unwrap();
    assert!(counts.iter().all(|(_, count)| *count == 0), "{counts:?}");
    let (forgotten, _) = crate::audit::verified(&app.portal).await;
    assert_eq!(
        forgotten.iter().filter(|e| e.event.action == AuditAction::RequestForgotten).count(),
        2
    );
}
