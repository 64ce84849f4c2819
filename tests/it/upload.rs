//! Uploads against each other, against the agent, against the clock, and clients that stop in the middle.

use std::net::IpAddr;
use std::time::Duration as Wait;

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::{RequestState, Stage};
use nightdrop::testing::domain::token::PlainToken;
use nightdrop::testing::http::body::BodyPace;
use nightdrop::testing::workflow::intake::{Source, Submission, link};
use nightdrop::testing::workflow::issue::{self, Expiry};
use time::Duration;

use crate::raw::{Half, Raw, assert_nothing_held, end, file, head, until_nothing_held, upload};
use crate::support::{Link, TestApp, TestOptions, ask, client, form, png, sha256, until};

mod cases;
mod files;
pub mod photos;
mod programs;
mod torture;

fn crowd() -> TestOptions {
    TestOptions {
        more: "[limits]\nuploads = 100\nuploads_per_address = 100\n".into(),
        ..TestOptions::default()
    }
}

async fn passport(app: &TestApp) -> Link {
    app.link_for("passport", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_racing_uploads_give_one_document() {
    let app = TestApp::with_options(crowd()).await;
    let link = passport(&app).await;
    let files: Vec<_> = (0..64).map(|seed| png(seed, 150_000)).collect();
    let answers = futures_util::future::join_all(files.iter().map(|file| async {
        let answer = app.drop_files(&link, &[("front", file)]).await;
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    }))
    .await;
    app.clean().await;
    let live = app.portal.erasure.live().unwrap();
    let request = app.request(&link).await;
    let document = request.document().unwrap();
    assert_eq!(live.iter().map(|l| l.doc_id).collect::<Vec<_>>(), [document.id.0]);
    assert_eq!(app.portal.blobs.documents().await.unwrap(), [document.id]);
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|a| matches!(a, (200 | 409, _) | (429, true))), "{answers:?}");
    app.work().await;
    let received = app.received().await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["deliveries"], 1);
    let winner = answers.iter().position(|(status, _)| *status == 200).unwrap();
    assert_eq!(received[0]["parts"][0]["sha256"], sha256(&files[winner]));
    assert_nothing_held(&app, "after the purge").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_and_a_commit_agree_on_who_was_first() {
    let app = TestApp::with_options(TestOptions { slots: 1_024, ..crowd() }).await;
    let picture = png(7, 2_000);
    let (mut stored, mut revoked) = (0, 0);
    // Kept at the moment where it may go either way, however quick the machine is.
    let mut late = Wait::from_millis(3);
    for _ in 0..300 {
        let link = passport(&app).await;
        let revoke = async {
            tokio::time::sleep(late).await;
            issue::revoke(&app.portal, link.id, Actor::Operator).await
        };
        let files = [("front", picture.as_slice())];
        let (answer, revoke) = tokio::join!(app.drop_files(&link, &files), revoke);
        let status = answer.status();
        match app.state(&link).await {
            RequestState::Received => {
                assert_eq!(status, 200);
                assert!(revoke.is_err(), "told to be withdrawn, and stored");
                stored += 1;
                late = late.mul_f64(0.9);
            }
            RequestState::Revoked => {
                assert_eq!(status, 410);
                assert!(revoke.is_ok());
                revoked += 1;
                late = late.mul_f64(1.1) + Wait::from_micros(10);
            }
            other => panic!("{other:?} after {status}"),
        }
    }
    assert!(stored > 10 && revoked > 10, "the race was none: {stored} stored, {revoked} revoked");
    app.clean().await;
    assert_eq!(app.portal.erasure.live().unwrap().len(), stored);
    assert_eq!(app.portal.blobs.documents().await.unwrap().len(), stored);
}

#[tokio::test]
async fn a_link_dies_at_its_instant_and_an_upload_that_began_has_a_quarter_of_an_hour() {
    let minute = Duration::minutes(1);
    let grace = Duration::minutes(15);
    let ms = Duration::milliseconds(1);
    let picture = png(1, 300_000);
    let body = [file("front", &picture), end()].concat();
    for (begun, moved, status) in [
        (false, minute - ms, 200),
        (false, minute, 410),
        (false, minute + ms, 410),
        (true, minute, 200),
        (true, minute + grace - ms, 200),
        (true, minute + grace, 410),
        (true, minute + grace + ms, 410),
    ] {
        let (options, clock) = TestOptions::default().with_clock();
        let app = TestApp::with_options(options).await;
        let mut ask = ask("applicant-1", "passport");
        ask.expires = Expiry::In(minute);
        let link = app.issue(ask).await;
        let answer = if begun {
            let half = Half::of(&app, &link, &body).await;
            clock.forward(moved);
            half.finish().await
        } else {
            clock.forward(moved);
            let mut raw = Raw::to(&app).await;
            raw.send(upload(&link.path, &body)).await;
            raw.answer().await
        };
        assert_eq!(answer.status, status, "begun before: {begun}, after {moved}: {}", answer.body);
        if status == 410 {
            assert_eq!(app.state(&link).await, RequestState::Expired);
            assert!(answer.body.contains("expired"), "{}", answer.body);
            assert_nothing_held(&app, "an expired link").await;
        } else {
            assert_eq!(app.state(&link).await, RequestState::Received);
        }
    }
}

#[tokio::test]
async fn an_upload_that_was_asked_for_in_time_may_begin_sealing_after_the_instant() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let mut ask = ask("applicant-1", "passport");
    ask.expires = Expiry::In(Duration::minutes(1));
    let link = app.issue(ask).await;
    let body = [file("front", &png(1, 300_000)), end()].concat();
    let mut raw = Raw::to(&app).await;
    raw.send([head(&link.path, body.len(), "").as_bytes(), &body[..1_000]].concat())
        .await;
    // The request has been looked at once its place is taken.
    until("the upload has a place", async || {
        metric(&app, "nightdrop_uploads_running").await == 1
    })
    .await;
    clock.forward(Duration::minutes(2));
    raw.send(&body[1_000..]).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn metric(app: &TestApp, name: &str) -> u64 {
    let text = app.http.get(app.staff("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(&format!("{name} ")).map(str::to_owned));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_link_withdrawn_under_an_upload_takes_nothing() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let half = Half::of(&app, &link, &[file("front", &png(1, 400_000)), end()].concat()).await;
    issue::revoke(&app.portal, link.id, Actor::Operator).await.unwrap();
    assert_eq!(app.state(&link).await, RequestState::Revoked);
    let answer = half.finish().await;
    assert_eq!(answer.status, 410, "{}", answer.body);
    assert_nothing_held(&app, "withdrawn").await;
}

#[tokio::test]
async fn a_link_replaced_under_an_upload_takes_nothing_through_the_old_one() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let half = Half::of(&app, &link, &[file("front", &png(1, 400_000)), end()].concat()).await;
    let fresh = issue::reissue(&app.portal, link.id, Expiry::Default, None, Actor::Operator, None)
        .await
        .unwrap();
    let fresh = app.known(fresh);
    let answer = half.finish().await;
    assert!((400..500).contains(&answer.status), "{}: {}", answer.status, answer.body);
    assert_nothing_held(&app, "replaced").await;
    assert_eq!(app.drop_files(&fresh, &[("front", &png(2, 1_000))]).await.status(), 200);
}

/// Looked at before the link was replaced, and its first byte comes after.
#[tokio::test]
async fn a_link_replaced_before_the_first_byte_takes_nothing_through_the_old_one() {
    let app = TestApp::new().await;
    let old = passport(&app).await;
    let token = PlainToken::parse(&old.token).unwrap();
    let opened = link::look_up(&app.portal, &token).await.unwrap().ok().unwrap();
    let reissued = issue::reissue(&app.portal, old.id, Expiry::Default, None, Actor::Operator, None);
    let fresh = app.known(reissued.await.unwrap());
    let mut late = Submission::new((*app.portal).clone(), opened, Source::Form, None).unwrap();
    let spec = late.spec("front").unwrap();
    let mut part = late.part(spec, "a.png", "image/png");
    part.push(&png(1, 1_000)).await.unwrap();
    assert!(part.finish().await.is_err(), "taken through a link that was replaced");
    late.discard().await;
    assert_eq!(app.state(&fresh).await, RequestState::Awaiting);
    assert_nothing_held(&app, "replaced").await;
    assert_eq!(app.drop_files(&fresh, &[("front", &png(2, 1_000))]).await.status(), 200);
}

/// The cookie that the form sets, as the browser sends it back.
async fn cookie(app: &TestApp, link: &Link) -> String {
    let answer = app.http.get(app.public(&link.path)).send().await.unwrap();
    let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite") && set.contains("Path=/"),
        "{set}"
    );
    set.split(';').next().unwrap().to_owned()
}

async fn drop_as(app: &TestApp, link: &Link, cookie: &str, seed: u64) -> (u16, String) {
    let (body, kind) = form(&[("front", &png(seed, 100_000))]);
    let post = app
        .http
        .post(app.public(&link.path))
        .header("content-type", kind)
        .header("cookie", cookie);
    let answer = post.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let mine = cookie(&app, &link).await;
    assert_eq!(drop_as(&app, &link, &mine, 1).await.0, 200);
    let (status, page) = drop_as(&app, &link, &mine, 1).await;
    assert_eq!(status, 200);
    assert!(page.contains("Received. Thank you."), "{page}");
    let other = "nightdrop-r=00112233445566778899aabbccddeeff";
    let (status, page) = drop_as(&app, &link, other, 2).await;
    assert_eq!(status, 409);
    assert!(page.contains("already been received"), "{page}");
    app.clean().await;
    assert_eq!(app.portal.erasure.live().unwrap().len(), 1);
    let page = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Received. Thank you."), "{page}");
    app.work().await;
    assert_eq!(app.received().await.len(), 1);
    // Also when the document has been passed on and purged meanwhile.
    assert_eq!(drop_as(&app, &link, &mine, 1).await.0, 200);
    assert_eq!(drop_as(&app, &link, other, 2).await.0, 409);
    assert_nothing_held(&app, "purged").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_sends_twice_at_once_is_told_twice_that_it_arrived() {
    let app = TestApp::with_options(crowd()).await;
    for round in 0..20 {
        let link = passport(&app).await;
        let mine = cookie(&app, &link).await;
        let (a, b) = tokio::join!(drop_as(&app, &link, &mine, round), drop_as(&app, &link, &mine, round));
        assert_eq!((a.0, b.0), (200, 200), "{}\n{}", a.1, b.1);
    }
    app.clean().await;
    assert_eq!(app.portal.erasure.live().unwrap().len(), 20);
}

#[tokio::test]
async fn looking_changes_nothing() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let before = app.request(&link).await;
    let log = app.portal.audit.entries(0, 1_000).await.unwrap().len();
    for method in ["GET", "HEAD", "OPTIONS"] {
        for _ in 0..100 {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let answer = app.http.request(method, app.public(&link.path)).send().await.unwrap();
            assert!(answer.status().is_success());
        }
    }
    assert_eq!(app.request(&link).await, before);
    assert_eq!(app.portal.audit.entries(0, 1_000).await.unwrap().len(), log);
    assert_nothing_held(&app, "looked at").await;
}

#[tokio::test]
async fn every_route_takes_its_methods_and_no_other() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let methods = [
        "GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "BREW",
    ];
    let routes = [
        (link.path.clone(), "GET, HEAD, POST, OPTIONS"),
        (format!("{}/passcode", link.path), "GET, HEAD, POST"),
        ("/".to_owned(), "GET, HEAD"),
        ("/assets/portal.css".to_owned(), "GET, HEAD"),
        ("/assets/upload.js".to_owned(), "GET, HEAD"),
        ("/assets/logo.svg".to_owned(), "GET, HEAD"),
        ("/healthz".to_owned(), "GET, HEAD"),
        ("/readyz".to_owned(), "GET, HEAD"),
        ("/hooks/sandbox".to_owned(), "POST"),
    ];
    for (path, allow) in &routes {
        for method in methods {
            let mut raw = Raw::to(&app).await;
            raw.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
            // The body of an answer to HEAD is only announced.
            let seen = if method == "HEAD" { head_of(raw).await } else { raw.answer().await };
            if allow.split(", ").any(|a| a == method) {
                assert!(!matches!(seen.status, 404 | 405), "{method} {path}: {}", seen.status);
            } else {
                assert_eq!(seen.status, 405, "{method} {path}");
                assert_eq!(seen.headers.get("allow").map(String::as_str), Some(*allow), "{method} {path}");
            }
        }
    }
    for method in methods {
        for path in ["/d", "/d/", "/nothing", "/metrics", "/api/v1/requests", "/d/x/y/z"] {
            let mut raw = Raw::to(&app).await;
            raw.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
            let seen = if method == "HEAD" { head_of(raw).await } else { raw.answer().await };
            assert_eq!(seen.status, 404, "{method} {path}");
        }
    }
}

async fn head_of(mut raw: Raw) -> crate::raw::Answer {
    // The portal closes behind it.
    let text = raw.glance(Wait::from_secs(30)).await;
    assert!(text.ends_with("\r\n\r\n"), "an answer to HEAD has no body: {text}");
    crate::raw::Answer::head(&text)
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_and_the_link_at_once() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let body = [file("front", &png(1, 500_000)), file("back", &png(2, 500_000)), end()].concat();
    for reset in [true, false] {
        let half = Half::of(&app, &link, &body).await;
        assert_eq!(app.portal.erasure.live().unwrap().len(), 1);
        if reset {
            half.raw.vanish()
        } else {
            drop(half)
        }
        until_nothing_held(&app).await;
        assert_eq!(app.state(&link).await, RequestState::Awaiting);
    }
    let files = [("front", png(1, 10_000)), ("back", png(2, 10_000))];
    let files: Vec<_> = files.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    assert_eq!(app.drop_files(&link, &files).await.status(), 200);
}

/// The worst moment to go: everything is sent, and the portal is deciding. Received must mean that it can be passed on; not received, that nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_at_the_commit_loses_no_document() {
    let app = TestApp::with_options(TestOptions { slots: 1_024, ..crowd() }).await;
    let body = [file("front", &png(5, 3_000)), end()].concat();
    let mut links = Vec::new();
    for round in 0..300u64 {
        let link = passport(&app).await;
        let mut raw = Raw::to(&app).await;
        assert!(raw.send(upload(&link.path, &body)).await);
        tokio::time::sleep(Wait::from_micros(round * 53 % 9_000)).await;
        raw.vanish();
        links.push(link);
    }
    until("every upload has ended", async || app.portal.intake.in_flight.is_empty()).await;
    app.clean().await;
    let mut held = Vec::new();
    for link in &links {
        let request = app.request(link).await;
        assert!(request.intakes.is_empty(), "an upload is still noted");
        if let Stage::Held { document, .. } = &request.stage {
            held.push(document.id.0);
        }
    }
    assert!(
        !held.is_empty() && held.len() < links.len(),
        "{} of {} arrived: no race",
        held.len(),
        links.len()
    );
    let mut live: Vec<_> = app.portal.erasure.live().unwrap().iter().map(|l| l.doc_id).collect();
    live.sort_unstable();
    held.sort_unstable();
    assert_eq!(live, held, "exactly the received documents can be opened");
    app.work().await;
    assert_eq!(app.received().await.len(), held.len(), "and are passed on");
    assert_nothing_held(&app, "passed on").await;
}

/// The same at the beginning: while the erasure secret is being put into its slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_at_the_first_chunk_leaves_no_secret() {
    let app = TestApp::with_options(TestOptions { slots: 1_024, ..crowd() }).await;
    let body = [file("front", &png(5, 140_000)), end()].concat();
    let links: Vec<_> = futures_util::future::join_all((0..4).map(|_| passport(&app))).await;
    for round in 0..200u64 {
        let link = &links[usize::try_from(round % 4).unwrap()];
        let mut raw = Raw::to(&app).await;
        // One chunk and a little: the portal begins to seal, and waits for more.
        assert!(
            raw.send([head(&link.path, body.len(), "").as_bytes(), &body[..75_000]].concat())
                .await
        );
        tokio::time::sleep(Wait::from_micros(round * 41 % 5_000)).await;
        raw.vanish();
    }
    until_nothing_held(&app).await;
    for link in &links {
        assert_eq!(app.state(link).await, RequestState::Awaiting);
    }
}

#[tokio::test]
async fn stalled_devices_keep_nobody_from_sending_and_whoever_is_late_is_told() {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let body = [file("front", &png(1, 300_000)), end()].concat();
    let stalled = Half::of(&app, &link, &body).await;
    let gone = Half::of(&app, &link, &body).await;
    assert_eq!(app.portal.erasure.live().unwrap().len(), 2);
    drop(gone);
    until("what was cut off is destroyed", async || {
        app.clean().await;
        app.portal.erasure.live().unwrap().len() == 1
    })
    .await;
    let picture = png(4, 300_000);
    assert_eq!(app.drop_files(&link, &[("front", &picture)]).await.status(), 200);
    app.clean().await;
    assert_eq!(
        app.portal.erasure.live().unwrap().len(),
        1,
        "what cannot win is not kept for its sender"
    );
    assert_eq!(stalled.finish().await.status, 409);
    app.work().await;
    assert_eq!(app.received().await[0]["parts"][0]["sha256"], sha256(&picture));
    assert_nothing_held(&app, "after the purge").await;
}

#[tokio::test]
async fn senders_that_are_too_slow_are_given_up() {
    let impatient = BodyPace {
        idle: Wait::from_secs(3),
        ..BodyPace::default()
    };
    let dragging = BodyPace {
        window: Wait::from_secs(3),
        window_bytes: 60 * 1024,
        ..BodyPace::default()
    };
    let short = BodyPace {
        whole: Wait::from_secs(4),
        ..BodyPace::default()
    };
    let body = [file("front", &png(1, 300_000)), end()].concat();
    for (name, pace) in [("idle", impatient), ("slow", dragging), ("long", short)] {
        let app = TestApp::with_options(TestOptions {
            pace,
            ..TestOptions::default()
        })
        .await;
        let link = passport(&app).await;
        let mut half = Half::of(&app, &link, &body).await;
        let answer = if name == "idle" {
            half.raw.answer().await
        } else {
            for byte in half.rest.chunks(64).take(600) {
                if !half.raw.send(byte).await {
                    break;
                }
                tokio::time::sleep(Wait::from_millis(20)).await;
                if app.portal.intake.in_flight.is_empty() {
                    break;
                }
            }
            half.raw.answer().await
        };
        assert_eq!(answer.status, 408, "{name}: {}", answer.body);
        assert!(answer.body.contains("too slow"), "{name}: {}", answer.body);
        assert_nothing_held(&app, name).await;
        assert_eq!(app.drop_files(&link, &[("front", &png(2, 10_000))]).await.status(), 200, "{name}");
    }
}

#[tokio::test]
async fn one_address_has_its_share_of_places_only() {
    let app = TestApp::with_options(TestOptions {
        more: "[limits]\nuploads = 3\nuploads_per_address = 2\n".into(),
        ..TestOptions::default()
    })
    .await;
    let body = [file("front", &png(1, 300_000)), end()].concat();
    let (a, b, c) = (passport(&app).await, passport(&app).await, passport(&app).await);
    let _first = Half::of(&app, &a, &body).await;
    let _second = Half::of(&app, &b, &body).await;
    let here = app.drop_files(&c, &[("front", &png(1, 1_000))]).await;
    assert_eq!((here.status().as_u16(), here.headers().contains_key("retry-after")), (429, true));
    let neighbour = client(IpAddr::from([127, 0, 0, 2]));
    let (form, kind) = form(&[("front", &png(1, 1_000))]);
    let post = neighbour.post(app.public(&c.path)).header("content-type", kind).body(form);
    assert_eq!(post.send().await.unwrap().status(), 200);
}
