//! A wrong wall clock destroys nothing early, revives nothing and stops nothing: not while it is wrong, and by none of the ways in which somebody puts it right. Time that
//! really passes still counts.

use nightdrop::domain::agent::Actor;
use nightdrop::domain::document::Document;
use nightdrop::domain::request::RequestState;
use nightdrop::storage::key;
use nightdrop::storage::sled::records::Batch;
use nightdrop::workflow::vault;
use time::{Duration, OffsetDateTime};

use crate::resume::Part;
use crate::retention::gone_for;
use crate::support::{Hands, House, Link, Wish, png};

const JUMP: Duration = Duration::days(60);
const MINUTE: Duration = Duration::minutes(1);
const KEPT: Duration = Duration::hours(2);
const MORE: &str = "[retention]\nundelivered = \"2h\"\nhistory = \"24h\"\n[providers.gone]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:9\"\n\
                    api_key_file = \"sandbox-key\"\n[providers.desk]\nkind = \"manual\"\n";

/// One of everything that time can end.
struct Scene {
    house: House,
    hands: Hands,
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
        let wish = Wish {
            more: MORE.to_owned(),
            ..Wish::default()
        };
        let (wish, hands) = wish.with_hands();
        let house = House::wished(wish).await;
        let mut held = Vec::new();
        for provider in ["gone", "desk"] {
            let link = house.link_at(provider, provider).await;
            house.drop_front(&link, 1).await;
            let document = house.request(&link).await.document().unwrap().clone();
            held.push((link, document));
        }
        let purged = house.link_at("sandbox", "purged").await;
        house.drop_front(&purged, 2).await;
        let unused = house.link_at("sandbox", "unused").await;
        let unfinished = house.link_at("sandbox", "unfinished").await;
        let front = png(3, 200_000);
        let part = Part::of(&house, &unfinished, "front");
        assert_eq!(part.begin(front.len()).await.status(), 201);
        assert_eq!(part.patch(0, &front[..100_000]).await.status(), 204);
        house.work_due().await;
        let began = house.portal.records.now();
        let scene = Self {
            house,
            hands,
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
        self.house.work_until(&self.hands, time, async |_| false).await;
        self.house.work_due().await;
        nightdrop::workflow::sweep::sweep(&self.house.portal).await.unwrap();
    }

    async fn unharmed(&self, suspect: bool) {
        let (house, records) = (&self.house, &self.house.portal.records);
        assert_eq!(records.clock_suspect(), suspect);
        for (link, document) in &self.held {
            assert_eq!(
                house.request(link).await.document().map(|d| d.id),
                Some(document.id),
                "{:#?}",
                house.log(link).await
            );
            assert!(house.portal.erasure.get(&document.id.0, &document.slot).is_ok());
        }
        for (link, state) in [(&self.unused, RequestState::Awaiting), (&self.unfinished, RequestState::Receiving)] {
            assert_eq!(house.state(link).await, state, "{:#?}", house.log(link).await);
        }
        assert_eq!(Part::of(house, &self.unfinished, "front").offset().await, 100_000);
        assert_eq!(house.state(&self.purged).await, RequestState::Purged);
        assert_eq!(house.portal.erasure.live().unwrap().len(), 3);
    }

    async fn jumped() -> Self {
        let scene = Self::new().await;
        scene.hands.jump(JUMP);
        scene.pass(MINUTE * 10).await;
        scene.unharmed(true).await;
        assert_eq!(
            scene.house.portal.records.now() - scene.began,
            MINUTE * 10,
            "time goes on as before"
        );
        scene
    }

    /// What is really overdue is purged, when it is and not before.
    async fn ends_in_time(&self) {
        let due = self.held.iter().map(|(_, d)| d.purge_at).max().unwrap();
        let left = due - self.house.portal.records.now();
        assert!(left > KEPT - MINUTE * 30, "{left}");
        self.pass(left - MINUTE).await;
        for (link, document) in &self.held {
            assert_eq!(self.house.request(link).await.document().map(|d| d.id), Some(document.id));
        }
        self.pass(MINUTE).await;
        self.ended().await;
    }

    async fn ended(&self) {
        for (link, document) in &self.held {
            gone_for(&self.house, link, document, "deadline").await;
        }
    }
}

#[tokio::test]
async fn a_clock_put_right_before_a_restart_has_destroyed_nothing() {
    let mut scene = Scene::jumped().await;
    scene.hands.jump(-JUMP);
    scene.house.restart().await;
    scene.pass(MINUTE).await;
    scene.unharmed(false).await;
    scene.ends_in_time().await;
}

#[tokio::test]
async fn a_clock_put_right_needs_nobody_and_has_destroyed_nothing() {
    let mut scene = Scene::jumped().await;
    scene.hands.jump(-JUMP);
    scene.pass(MINUTE).await;
    scene.unharmed(false).await;
    // Whoever says so all the same changes nothing.
    vault::accept_clock(&scene.house.portal, Actor::Operator).await.unwrap();
    scene.pass(MINUTE).await;
    scene.unharmed(false).await;
    scene.house.restart().await;
    scene.unharmed(false).await;
    scene.ends_in_time().await;
}

#[tokio::test]
async fn a_restart_under_a_wrong_clock_destroys_nothing() {
    let mut scene = Scene::jumped().await;
    scene.house.restart().await;
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
    // Nor does one of the whole machine.
    scene.house.stop().await;
    scene.house.let_go().await;
    scene.hands.reboot();
    scene.house.open_again().await;
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
    // A link can be used as if nothing were.
    scene.house.drop_front(&scene.unused, 4).await;
    // While nobody says what time it is, not even what is really overdue goes.
    scene.pass(KEPT).await;
    for (link, document) in &scene.held {
        assert_eq!(scene.house.request(link).await.document().map(|d| d.id), Some(document.id));
    }
    scene.hands.jump(-JUMP);
    vault::accept_clock(&scene.house.portal, Actor::Operator).await.unwrap();
    scene.pass(MINUTE * 2).await;
    scene.ended().await;
}

#[tokio::test]
async fn a_jump_that_nobody_saw_before_the_restart_is_seen_after_it() {
    let mut scene = Scene::new().await;
    // The machine starts again; nothing is written since, and the clock jumps in the portal's absence.
    for reboot in [true, false] {
        scene.house.stop().await;
        scene.house.let_go().await;
        if reboot {
            scene.hands.reboot();
        } else {
            scene.hands.jump(JUMP);
        }
        scene.house.open_again().await;
    }
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
    scene.hands.jump(-JUMP);
    scene.house.restart().await;
    scene.unharmed(false).await;
}

#[tokio::test]
async fn a_time_that_an_admin_calls_right_is_the_time() {
    let mut scene = Scene::jumped().await;
    vault::accept_clock(&scene.house.portal, Actor::Operator).await.unwrap();
    // And stays it: what was accepted is known to the next start.
    scene.house.restart().await;
    assert!(!scene.house.portal.records.clock_suspect());
    assert_eq!(scene.house.portal.records.now() - scene.began, JUMP + MINUTE * 10);
    scene.pass(MINUTE).await;
    scene.ended().await;
    let front = png(4, 4_000);
    let answer = scene.house.drop_files(&scene.unused, &[("front", &front)]).await;
    assert_eq!(answer.status(), 404, "its link has expired, and its row is forgotten");
}

#[tokio::test]
async fn a_store_of_an_earlier_version_is_read_and_completed() {
    let mut scene = Scene::new().await;
    let store = scene.house.running.as_ref().unwrap().store.clone();
    assert_eq!(store.meta("clock").unwrap().unwrap().len(), 8, "as earlier versions read it");
    let mut batch = Batch::new();
    batch.remove(key::meta("clock-base"));
    store.store().settled(store.store().apply(batch).unwrap()).await.unwrap();
    drop(store);
    scene.house.restart().await;
    scene.unharmed(false).await;
    assert!(scene.house.running.as_ref().unwrap().store.meta("clock-base").unwrap().is_some());
    // Nothing but that has been written, and it is enough.
    scene.house.stop().await;
    scene.house.let_go().await;
    scene.hands.jump(JUMP);
    scene.house.open_again().await;
    scene.pass(MINUTE).await;
    scene.unharmed(true).await;
}

const BACK: Duration = Duration::hours(-1);

/// What the metrics and the API say of the clock.
async fn alarm(house: &House) -> (bool, bool) {
    let text = |path: &str| house.http.get(house.staff(path)).bearer_auth(&house.api_key).send();
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
    let attempts = async || scene.house.request(&scene.held[0].0).await.held().unwrap().1.attempts;
    let before = attempts().await;
    assert_eq!(alarm(&scene.house).await, (false, false));
    scene.hands.jump(BACK);
    assert_eq!(alarm(&scene.house).await, (true, true));
    scene.pass(MINUTE * 10).await;
    scene.unharmed(true).await;
    assert_eq!(
        scene.house.portal.records.now() - scene.began,
        MINUTE * 10,
        "time goes on as before"
    );
    assert!(attempts().await > before, "what failed is tried again");
    // What is overdue is purged although nobody has put the clock right.
    scene.ends_in_time().await;
    assert_eq!(alarm(&scene.house).await, (true, true));
    // A link ends when it was said to end.
    let link = scene.house.request(&scene.unused).await.link;
    scene.pass(link.expires_at - scene.house.portal.records.now() - MINUTE).await;
    assert_eq!(scene.house.state(&scene.unused).await, RequestState::Awaiting);
    scene.pass(MINUTE).await;
    assert_eq!(scene.house.state(&scene.unused).await, RequestState::Expired);
    scene.hands.jump(-BACK);
    assert_eq!(alarm(&scene.house).await, (false, false), "put right, and nobody had to say so");
}

#[tokio::test]
async fn a_verdict_is_asked_for_with_the_clock_set_back() {
    let wish = Wish {
        confirm: "verdict",
        ..Wish::default()
    };
    let (wish, hands) = wish.with_hands();
    let house = House::wished(wish).await;
    let link = house.link_at("sandbox", "judged").await;
    house.misbehave(&["pending:1"]).await;
    house.drop_front(&link, 7).await;
    house.work_due().await;
    assert_eq!(house.state(&link).await, RequestState::AwaitingConfirmation);
    hands.jump(BACK);
    house
        .work_until(&hands, Duration::hours(1), async |h| h.state(&link).await == RequestState::Purged)
        .await;
    assert_eq!(house.state(&link).await, RequestState::Purged, "{:#?}", house.log(&link).await);
}

#[tokio::test]
async fn an_expired_link_stays_dead_over_every_restart_with_the_clock_set_back() {
    let (wish, hands) = Wish::default().with_hands();
    let mut house = House::wished(wish).await;
    let dead = async |house: &House, link: &Link| {
        let answer = house.http.get(house.public(&link.path)).send().await.unwrap();
        let status = answer.status();
        let body = answer.text().await.unwrap();
        let front = png(8, 4_000);
        (
            status.as_u16(),
            body,
            house.drop_files(link, &[("front", &front)]).await.status().as_u16(),
        )
    };
    let (noted, shown) = (house.link_at("sandbox", "noted").await, house.link_at("sandbox", "shown").await);
    let expires_at = house.request(&noted).await.link.expires_at;
    hands.forward(expires_at - house.portal.records.now() - MINUTE);
    // The store has no reason to write anything from here on but for what the tests ask.
    assert_eq!(house.state(&shown).await, RequestState::Awaiting);
    hands.forward(MINUTE * 2);
    let floor = |house: &House| {
        let row = house.running.as_ref().unwrap().store.meta("clock").unwrap().unwrap();
        nightdrop::storage::clock::from_ms(i64::from_be_bytes(row.try_into().unwrap()))
    };
    assert!(floor(&house) < expires_at);
    let told = dead(&house, &shown).await;
    assert!(floor(&house) >= expires_at, "what was shown is durable, whatever happens next");
    assert!(told.0 >= 400 && told.2 >= 400, "{told:?}");
    for reboot in [false, true, true] {
        house.stop().await;
        house.let_go().await;
        hands.jump(BACK);
        if reboot {
            hands.reboot();
        }
        house.open_again().await;
        assert!(house.portal.records.clock_suspect());
        assert_eq!(dead(&house, &shown).await, told);
        assert_eq!(house.state(&shown).await, RequestState::Expired);
        house.work_due().await;
        assert_eq!(house.state(&noted).await, RequestState::Expired);
    }
    // Noted is final, even for a time before it.
    let request = house.request(&noted).await;
    assert_eq!(request.state(expires_at - Duration::hours(1)), RequestState::Expired);
}
