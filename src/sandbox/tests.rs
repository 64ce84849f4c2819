//! The sandbox and its connector, together over real sockets: what the portal would see, and what the books say.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::connectors::fake::{Fake, NoProgressLog, Reply as FakeReply, Seen, outbound_of};
use crate::connectors::{Callback, CallbackRefused, Connector, Failure, Hint, Presence, Verdict, build};
use crate::domain::delivery::Receipt;
use crate::domain::id::DocumentId;

const WEBHOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct World {
    sandbox: Sandbox,
    connector: Arc<dyn Connector>,
    http: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        let settings = SandboxSettings {
            api_key: Secret::new("key"),
            webhook_secret: Secret::new(WEBHOOK),
            callback_url: None,
        };
        let sandbox = Sandbox::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
        let table = format!(
            "base_url='{}'\napi_key_file='key'\nwebhook_secret_file='{WEBHOOK}'\ntimeout='5s'",
            sandbox.url()
        );
        let connector = build("sandbox", &table.parse().unwrap(), &|s| Ok(Secret::new(s))).unwrap();
        Self {
            sandbox,
            connector,
            http: callback::client().unwrap(),
        }
    }

    async fn plan(&self, next: Value) {
        let answer = self
            .http
            .post(format!("{}/behaviour", self.sandbox.url()))
            .json(&json!({"next": next}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }

    async fn received(&self) -> Value {
        self.http
            .get(format!("{}/received", self.sandbox.url()))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn deliver(&self, applicant: &str) -> Result<crate::connectors::Delivered, Failure> {
        self.connector
            .deliver(
                &outbound_of(applicant, &[("front", &b"front"[..]), ("back", b"back")], 3),
                &NoProgressLog,
            )
            .await
    }
}

fn deliveries(received: &Value) -> Vec<u64> {
    received
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["deliveries"].as_u64().unwrap())
        .collect()
}

#[actix_web::test]
async fn the_whole_way_and_the_books_form() {
    let world = World::new().await;
    let outbound = outbound_of("james", &[("front", &b"front"[..]), ("back", b"back")], 3);
    let missing = world.connector.missing(&outbound.applicant).await.unwrap();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].parts.iter().map(|p| p.as_str()).collect::<Vec<_>>(), ["front", "back"]);
    assert_eq!(world.connector.reconcile(&outbound).await.unwrap(), Presence::Absent);
    let delivered = world.deliver("james").await.unwrap();
    assert_eq!(delivered.verdict, Verdict::Accepted);
    assert_eq!(world.connector.reconcile(&outbound).await.unwrap(), Presence::Present(delivered));
    assert!(world.connector.missing(&outbound.applicant).await.unwrap().is_empty());
    // The digests were calculated by `printf front | sha256sum`.
    let expected = json!([{"applicant": "james", "document": "government-id", "deliveries": 1, "parts": [
        {"part": "front", "sha256": "2d8d693177ac44895fc02c009ec3f6af32e51eb00783c17000d7051d1662b93a", "size": 5}, {"part": "back", "sha256": "3c482346f375027677fa8a0d6830a32714d4f13f9e94c2d9e215e0ac205ad4e5", "size": 4}]}]);
    assert_eq!(world.received().await, expected);
    assert!(world.connector.check().await.is_ok());
    world.sandbox.stop().await;
}

#[actix_web::test]
async fn misbehaviour_is_sorted_and_a_repeated_key_has_no_second_effect() {
    let ambiguous = |f: &Failure| matches!(f, Failure::Ambiguous { .. });
    let definite = |f: &Failure| matches!(f, Failure::Definite { .. });
    type Check<'a> = &'a dyn Fn(&Failure) -> bool;
    let table: [(&str, Check<'_>, usize); 11] = [
        ("500", &ambiguous, 0),
        ("503:7", &definite, 0),
        ("429:3", &definite, 0),
        ("400", &|f| matches!(f, Failure::Final { .. }), 0),
        ("401", &|f| matches!(f, Failure::Credentials { .. }), 0),
        ("drop", &ambiguous, 0),
        ("commit_then_drop", &ambiguous, 1),
        ("commit_then_500", &ambiguous, 1),
        ("garbage", &ambiguous, 1),
        ("endless", &ambiguous, 1),
        ("sticky_500", &ambiguous, 0),
    ];
    let world = World::new().await;
    for (n, (word, check, effect)) in table.into_iter().enumerate() {
        world.plan(json!([word])).await;
        let applicant = format!("person-{n}");
        let mut outbound = outbound_of(&applicant, &[("front", b"x")], 1);
        outbound.document = DocumentId([n as u8; 16]);
        outbound.keys = Arc::new(OwnKeys(n));
        let failure = world.connector.deliver(&outbound, &NoProgressLog).await.unwrap_err();
        assert!(check(&failure), "{word}: {failure:?}");
        if word == "503:7" {
            assert!(matches!(failure, Failure::Definite { after: Some(after), .. } if after == time::Duration::seconds(7)));
        }
        let present = matches!(world.connector.reconcile(&outbound).await.unwrap(), Presence::Present(_));
        assert_eq!(present, effect == 1, "{word}");
        let again = world.connector.deliver(&outbound, &NoProgressLog).await;
        let code = again.err().map(|f| f.problem().code);
        assert_eq!(
            code.as_deref(),
            (word == "sticky_500").then_some("provider.stored_failure"),
            "{word}"
        );
    }
    assert_eq!(deliveries(&world.received().await), [1; 10]);
    world.sandbox.stop().await;
}

struct OwnKeys(usize);

impl crate::connectors::Keys for OwnKeys {
    fn idempotency(&self, call: u8) -> String {
        format!("key-{}-{call}", self.0)
    }

    fn boundary(&self, call: u8) -> String {
        format!("nightdrop-{:032x}", self.0 * 256 + usize::from(call))
    }
}

#[actix_web::test]
async fn another_key_is_another_delivery_and_other_bytes_under_a_key_are_refused() {
    let world = World::new().await;
    let mut outbound = outbound_of("james", &[("front", b"x")], 1);
    world.connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    outbound.keys = Arc::new(OwnKeys(1));
    world.connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(deliveries(&world.received().await), [2]);
    let mut other = outbound_of("james", &[("front", b"y")], 1);
    other.keys = Arc::new(OwnKeys(1));
    assert!(matches!(
        world.connector.deliver(&other, &NoProgressLog).await,
        Err(Failure::Ambiguous { .. })
    ));
    world.plan(json!(["duplicate"])).await;
    other.keys = Arc::new(OwnKeys(2));
    other.document = DocumentId([9; 16]);
    assert_eq!(
        world.connector.deliver(&other, &NoProgressLog).await.unwrap().verdict,
        Verdict::Accepted
    );
    assert_eq!(deliveries(&world.received().await), [2, 1]);
    world.sandbox.stop().await;
}

#[actix_web::test]
async fn verdicts_come_late_are_rejected_or_hidden() {
    let world = World::new().await;
    world.plan(json!(["pending:2", {"verdict": "reject:expired"}, "hide:3600"])).await;
    let receipt = |d: crate::connectors::Delivered| Receipt {
        references: d.references,
        received_at: time::OffsetDateTime::UNIX_EPOCH,
    };
    let mut outbound = outbound_of("james", &[("front", b"x")], 1);
    let first = world.connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(first.verdict, Verdict::Pending);
    let first = receipt(first);
    for expected in [Verdict::Pending, Verdict::Pending, Verdict::Accepted, Verdict::Accepted] {
        assert_eq!(world.connector.verdict(&outbound, &first).await.unwrap(), expected);
    }
    outbound.keys = Arc::new(OwnKeys(1));
    let Verdict::Rejected(problem) = world.connector.deliver(&outbound, &NoProgressLog).await.unwrap().verdict else {
        panic!()
    };
    assert_eq!(problem.code, "document.expired");
    let mut hidden = outbound_of("jane", &[("front", b"x")], 1);
    hidden.keys = Arc::new(OwnKeys(2));
    let delivered = world.connector.deliver(&hidden, &NoProgressLog).await.unwrap();
    assert_eq!(world.connector.reconcile(&hidden).await.unwrap(), Presence::Absent);
    assert!(world.connector.verdict(&hidden, &receipt(delivered)).await.is_err());
    world.sandbox.stop().await;
}

#[actix_web::test]
async fn callbacks_are_signed_told_again_and_misbehave_when_told() {
    let (seen, mut callbacks) = mpsc::unbounded_channel::<Seen>();
    let portal = Fake::start(move |n, request| {
        seen.send(request.clone()).unwrap();
        FakeReply::json(if n == 0 { 500 } else { 200 }, json!({}))
    })
    .await;
    let world = World::new().await;
    world.sandbox.set_callback(Some(portal.url() + "/hooks/sandbox"));
    world
        .plan(json!(["ok", "callback_bad_signature", "no_callback", "callback_twice"]))
        .await;
    // The first is told again because the portal failed; the third never.
    for (n, tells) in [(0, 2), (1, 1), (2, 0), (3, 2)] {
        let mut outbound = outbound_of("james", &[("front", b"x")], 1);
        outbound.keys = Arc::new(OwnKeys(n));
        outbound.document = DocumentId([n as u8; 16]);
        world.connector.deliver(&outbound, &NoProgressLog).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..tells {
            let request = callbacks.recv().await.unwrap();
            let headers: Vec<_> = request.headers.clone().into_iter().collect();
            let now = request.header("webhook-timestamp").parse().unwrap();
            let answer = world.connector.callback(&Callback {
                headers: &headers,
                query: "",
                body: &request.body,
                now,
            });
            let expected = if n == 1 {
                Err(CallbackRefused::Signature)
            } else {
                Ok(vec![Hint::Reference(format!("sbx_{n:08}"))])
            };
            assert_eq!(answer, expected);
            ids.push(request.header("webhook-id").to_owned());
        }
        ids.dedup();
        assert!(ids.len() <= 1, "one event has one id");
    }
    assert!(callbacks.try_recv().is_err());
    world.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_uploads_at_once_are_counted_exactly() {
    let world = World::new().await;
    let script: Vec<&str> = (0..300).map(|n| if n % 5 == 0 { "commit_then_drop" } else { "ok" }).collect();
    world.plan(json!(script)).await;
    let uploads = (0..300).map(|n| {
        let connector = world.connector.clone();
        tokio::spawn(async move {
            let data = vec![n as u8; 20_000];
            let mut outbound = outbound_of(&format!("person-{n}"), &[("front", &data), ("back", &data)], 4_096);
            outbound.keys = Arc::new(OwnKeys(n));
            while connector.deliver(&outbound, &NoProgressLog).await.is_err() {}
        })
    });
    for upload in uploads.collect::<Vec<_>>() {
        upload.await.unwrap();
    }
    assert_eq!(deliveries(&world.received().await), [1; 300]);
    world.sandbox.stop().await;
}

#[actix_web::test]
async fn strangers_and_nonsense_are_refused() {
    let world = World::new().await;
    let url = |path: &str| format!("{}{path}", world.sandbox.url());
    for path in [
        "/v1/account",
        "/v1/applicants/a/missing",
        "/v1/applicants/a/documents",
        "/v1/documents/x",
    ] {
        assert_eq!(world.http.get(url(path)).send().await.unwrap().status(), 401, "{path}");
        assert_eq!(
            world.http.get(url(path)).bearer_auth("wrong").send().await.unwrap().status(),
            401,
            "{path}"
        );
    }
    let answer = world
        .http
        .post(url("/behaviour"))
        .json(&json!({"next": ["explode"]}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 422);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["accepted"].as_array().unwrap().len(), script::WORDS.len());
    world.sandbox.stop().await;
}
