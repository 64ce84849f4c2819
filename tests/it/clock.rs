//! A wrong wall clock destroys nothing early, revives nothing and stops nothing: not while it is wrong, and by none of the ways in which somebody puts it right. Time that
//! really passes still counts.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::document::Document;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::storage::key;
use nightdrop::testing::storage::sled::records::Batch;
use nightdrop::testing::workflow::vault;
use time::{Duration, OffsetDateTime};

use crate::resume::Part;
use crate::retention::gone_for;
use crate::support::{Link, TestApp, TestClock, TestOptions, png, without_request_id};

const JUMP: Duration = Duration::days(60);
const MINUTE: Duration = Duration::minutes(1);
const KEPT: Duration = Duration::hours(2);
const MORE: &str = "[retention]\nundelivered = \"2h\"\nhistory = \"24h\"\n[providers.gone]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:9\"\n\
                    api_key_file = \"sandbox-key\"\n[providers.desk]\nkind = \"manual\"\n";

/// One of everything that time can end.
struct Scene {
    app: TestApp,
    clock: TestClock,
    began: OffsetDateTime,
    /// Undelivered: one is tried again and again, one waits for a person.
    held: Vec<(Link, Document)>,
    unused: Link,
    /// Half of its bytes are here.
    unfinished: Link,
    /// Its document is gone, its history is not.
    purged: Link,
}

impl Scene {
    async fn new() -> Self {
        let options = TestOptions {
            more: MORE.to_owned(),
            ..TestOptions::default()
        };
        let (options, clock) = options.with_clock();
        let app = TestApp::with_options(options).await;
        let mut held = Vec::new();
        for provider in ["gone", "desk"] {
            let link = app.link_at(provider, provider).await;
            app.drop_front(&link, 1).await;
            let document = app.request(&link).await.document().unwrap().clone();
            held.push((link, document));
        }
        let purged = app.link_at("sandbox", "purged").await;
        app.drop_front(&purged, 2).await;
        let unused = app.link_at("sandbox", "unused").await;
        let unfinished = app.link_at("sandbox", "unfinished").await;
        let front = png(3, 200_000);
        let part = Part::of(&app, &unfinished, "front");
        assert_eq!(part.begin(front.len()).await.status(), 201);
        assert_eq!(part.patch(0, &front[..100_000]).await.status(), 204);
        app.work_due().await;
        let began = app.portal.now();
        let scene = Self {
            app,
            clock,
            began,
            held,
            unused,
            unfinished,
            purged,
        };
        scene.unharmed(false).await;
        scene
    }

    /// Some true time passes, in which the worker does whatever is due.
    async fn pass(&self, time: Duration) {
        self.app.work_until(&self.clock, time, async |_| false).await;
        self.app.work_due().await;
        nightdrop::testing::workflow::sweep::sweep(&self.app.portal).await.unwrap();
    }

    async fn unharmed(&self, suspect: bool) {
        let (app, requests) = (&self.app, &self.app.portal.requests);
        assert_eq!(requests.clock_suspect(), suspect);
        for (link, document) in &self.held {
            assert_eq!(
                app.request(link).await.document().map(|d| d.id),
                Some(document.id),
                "{:#?}",
                app.log(link).await
            );
            assert!(app.portal.erasure.get(&document.id.0, &document.slot).is_ok());
        }
        for (link, state) in [(&self.unused, RequestState::Awaiting), (&self.unfinished, RequestState::Receiving)] {
            assert_eq!(app.state(link).await, state, "{:#?}", app.log(link).await);
        }
        assert_eq!(Part::of(app, &self.unfinished, "front").offset().await, 100_000);
        assert_eq!(app.state(&self.purged).await, RequestState::Purged);
        assert_eq!(app.portal.erasure.live().unwrap().len(), 3);
    }

    async fn jumped() -> Self {
        let scene = Self::new().await;
        scene.clock.jump(JUMP);
        scene.pass(MINUTE * 10).await;
        scene.unharmed(true).await;
        assert_eq!(scene.app.portal.now() - scene.began, MINUTE * 10, "time goes on as before");
        scene
    }

    /// What is really overdue is purged, when it is and not before.
    async fn ends_in_time(&self) {
        let due = self.held.iter().map(|(_, d)| d.purge_at).max().unwrap();
        let left = due - self.app.portal.now();
        assert!(left > KEPT - MINUTE * 30, "{left}");
        self.pass(left - MINUTE).await;
        for (link, document) in &self.held {
            assert_eq!(self.app.request(link).await.document().map(|d| d.id), Some(document.id));
        }
        self.pass(MINUTE).await;
        self.ended().await;
    }

    async fn ended(&self) {
        for (link, document) in &self.held {
            gone_for(&self.app, link, document, "deadline").await;
        }
    }
}

#[tokio::test]
async fn a_clock_put_right_before_a_restart_has_destroyed_nothing() {
    let mut scene = Scene::jumped().await;
    scene.clock.jump(-JUMP);
    scene.app.restart().await;
    scene.pass(MINUTE).await;
    scene.unharmed(false).await;
    scene.ends_in_time().await;
}

#[tokio::test]
async fn a_clock_put_right_needs_nobody_and_has_destroyed_nothing() {
    let mut scene = Scene::jumped().await;
    scene.clock.jump(-JUMP);
    scene.pass(MINUTE).await;
    scene.unharmed(false).await;
    // Whoever says so all the same changes nothing.
    vault::accept_clock(&scene.app.portal, Actor::Operator).await.unwrap();
    scene.pass(MINUTE).await;
    scene.unharmed(false).await;
    scene.app.restart().await;
    scene.unharmed(false).await;
    scene.ends_in_time().await;
}

#[tokio::test]
async fn a_restart_under_a_wrong_clock_destroys_nothing() {
    let mut scene = Scene::jumped().await;
    scene.app.restart().await;
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
    // Nor does one of the whole machine.
    scene.app.stop().await;
    scene.app.let_go().await;
    scene.clock.reboot();
    scene.app.open_again().await;
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
    // A link can be used as if nothing were.
    scene.app.drop_front(&scene.unused, 4).await;
    // While nobody says what time it is, not even what is really overdue goes.
    scene.pass(KEPT).await;
    for (link, document) in &scene.held {
        assert_eq!(scene.app.request(link).await.document().map(|d| d.id), Some(document.id));
    }
    scene.clock.jump(-JUMP);
    vault::accept_clock(&scene.app.portal, Actor::Operator).await.unwrap();
    scene.pass(MINUTE * 2).await;
    scene.ended().await;
}

#[tokio::test]
async fn a_jump_that_nobody_saw_before_the_restart_is_seen_after_it() {
    let mut scene = Scene::new().await;
    // The machine starts again; nothing is written since, and the clock jumps in the portal's absence.
    for reboot in [true, false] {
        scene.app.stop().await;
        scene.app.let_go().await;
        if reboot {
            scene.clock.reboot();
        } else {
            scene.clock.jump(JUMP);
        }
        scene.app.open_again().await;
    }
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
    scene.clock.jump(-JUMP);
    scene.app.restart().await;
    scene.unharmed(false).await;
}

#[tokio::test]
async fn a_time_that_an_admin_calls_right_is_the_time() {
    let mut scene = Scene::jumped().await;
    vault::accept_clock(&scene.app.portal, Actor::Operator).await.unwrap();
    // And stays it: what was accepted is known to the next start.
    scene.app.restart().await;
    assert!(!scene.app.portal.requests.clock_suspect());
    assert_eq!(scene.app.portal.now() - scene.began, JUMP + MINUTE * 10);
    scene.pass(MINUTE).await;
    scene.ended().await;
    let front = png(4, 4_000);
    let answer = scene.app.drop_files(&scene.unused, &[("front", &front)]).await;
    assert_eq!(answer.status(), 404, "its link has expired, and its row is forgotten");
}

#[tokio::test]
async fn a_store_of_an_earlier_version_is_read_and_completed() {
    let mut scene = Scene::new().await;
    let store = scene.app.embedded();
    assert_eq!(store.meta("clock").unwrap().unwrap().len(), 8, "as earlier versions read it");
    let mut batch = Batch::new();
    batch.remove(key::meta("clock-base"));
    store.store().settled(store.store().apply(batch).unwrap()).await.unwrap();
    drop(store);
    scene.app.restart().await;
    scene.unharmed(false).await;
    assert!(scene.app.embedded().meta("clock-base").unwrap().is_some());
    // Nothing but that has been written, and it is enough.
    scene.app.stop().await;
    scene.app.let_go().await;
    scene.clock.jump(JUMP);
    scene.app.open_again().await;
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
}

const BACK: Duration = Duration::hours(-1);

/// What the metrics and the API say of the clock.
async fn alarm(app: &TestApp) -> (bool, bool) {
    let text = |path: &str| app.http.get(app.staff(path)).bearer_auth(&app.api_key).send();
    let metrics = text("/metrics").await.unwrap().text().await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&text("/api/v1/status").await.unwrap().text().await.unwrap()).unwrap();
    (
        metrics.contains("\nnightdrop_clock_suspect 1\n"),
        status["clock_suspect"].as_bool().unwrap(),
    )
}

#[tokio::test]
async fn a_clock_set_back_stops_nothing() {
    let scene = Scene::new().await;
    let attempts = async || scene.app.request(&scene.held[0].0).await.held().unwrap().1.attempts;
    let before = attempts().await;
    assert_eq!(alarm(&scene.app).await, (false, false));
    scene.clock.jump(BACK);
    assert_eq!(alarm(&scene.app).await, (true, true));
    scene.pass(MINUTE * 10).await;
    scene.unharmed(true).await;
    assert_eq!(scene.app.portal.now() - scene.began, MINUTE * 10, "time goes on as before");
    assert!(attempts().await > before, "what failed is tried again");
    // What is overdue is purged although nobody has put the clock right.
    scene.ends_in_time().await;
    assert_eq!(alarm(&scene.app).await, (true, true));
    // A link ends when it was said to end.
    let link = scene.app.request(&scene.unused).await.link;
    scene.pass(link.expires_at - scene.app.portal.now() - MINUTE).await;
    assert_eq!(scene.app.state(&scene.unused).await, RequestState::Awaiting);
    scene.pass(MINUTE).await;
    assert_eq!(scene.app.state(&scene.unused).await, RequestState::Expired);
    scene.clock.jump(-BACK);
    assert_eq!(alarm(&scene.app).await, (false, false), "put right, and nobody had to say so");
}

#[tokio::test]
async fn a_verdict_is_asked_for_with_the_clock_set_back() {
    let options = TestOptions {
        confirm: "verdict",
        ..TestOptions::default()
    };
    let (options, clock) = options.with_clock();
    let app = TestApp::with_options(options).await;
    let link = app.link_at("sandbox", "judged").await;
    app.misbehave(&["pending:1"]).await;
    app.drop_front(&link, 7).await;
    app.work_due().await;
    assert_eq!(app.state(&link).await, RequestState::AwaitingConfirmation);
    clock.jump(BACK);
    app.work_until(&clock, Duration::hours(1), async |h| h.state(&link).await == RequestState::Purged)
        .await;
    assert_eq!(app.state(&link).await, RequestState::Purged, "{:#?}", app.log(&link).await);
}

#[tokio::test]
async fn an_expired_link_stays_dead_over_every_restart_with_the_clock_set_back() {
    let (options, clock) = TestOptions::default().with_clock();
    let mut app = TestApp::with_options(options).await;
    let dead = async |app: &TestApp, link: &Link| {
        let answer = app.http.get(app.public(&link.path)).send().await.unwrap();
        let status = answer.status();
        let body = answer.text().await.unwrap();
        let front = png(8, 4_000);
        (
            status.as_u16(),
            without_request_id(&body),
            app.drop_files(link, &[("front", &front)]).await.status().as_u16(),
        )
    };
    let (noted, shown) = (app.link_at("sandbox", "noted").await, app.link_at("sandbox", "shown").await);
    let expires_at = app.request(&noted).await.link.expires_at;
    clock.forward(expires_at - app.portal.now() - MINUTE);
    // The store has no reason to write anything from here on but for what the tests ask.
    assert_eq!(app.state(&shown).await, RequestState::Awaiting);
    clock.forward(MINUTE * 2);
    let floor = |app: &TestApp| {
        let row = app.embedded().meta("clock").unwrap().unwrap();
        nightdrop::testing::storage::clock::from_ms(i64::from_be_bytes(row.try_into().unwrap()))
    };
    assert!(floor(&app) < expires_at);
    let told = dead(&app, &shown).await;
    assert!(floor(&app) >= expires_at, "what was shown is durable, whatever happens next");
    assert!(told.0 >= 400 && told.2 >= 400, "{told:?}");
    for reboot in [false, true, true] {
        app.stop().await;
        app.let_go().await;
        clock.jump(BACK);
        if reboot {
            clock.reboot();
        }
        app.open_again().await;
        assert!(app.portal.requests.clock_suspect());
        assert_eq!(dead(&app, &shown).await, told);
        assert_eq!(app.state(&shown).await, RequestState::Expired);
        app.work_due().await;
        assert_eq!(app.state(&noted).await, RequestState::Expired);
    }
    // Noted is final, even for a time before it.
    let request = app.request(&noted).await;
    assert_eq!(request.state(expires_at - Duration::hours(1)), RequestState::Expired);
}
