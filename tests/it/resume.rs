//! Resumable uploads from outside: the protocol's every answer, and what stays when a connection, a device or the process goes.

use std::time::Duration as Wait;

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::http::body::BodyPace;
use nightdrop::testing::workflow::issue::{self, Expiry};
use reqwest::Response;
use time::Duration;

use crate::raw::{Answer, Raw, assert_nothing_held, until_nothing_held};
use crate::support::{Link, TestApp, TestOptions, ask, png, sha256, until};

mod clients;
mod crash;
mod refused;

/// One part of a link, as a tus client sees it.
pub struct Part<'a> {
    pub app: &'a TestApp,
    pub path: String,
}

impl<'a> Part<'a> {
    pub fn of(app: &'a TestApp, link: &Link, name: &str) -> Self {
        Self {
            app,
            path: format!("{}/parts/{name}", link.path),
        }
    }

    fn request(&self, method: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.app
            .http
            .request(method, self.app.public(&self.path))
            .header("Tus-Resumable", "1.0.0")
    }

    pub async fn begin(&self, length: usize) -> Response {
        self.request("POST")
            .header("Upload-Length", length)
            .header("Upload-Metadata", "filename cGFzcy5wbmc=,filetype aW1hZ2UvcG5n")
            .send()
            .await
            .unwrap()
    }

    /// The photos of a document's pages.
    pub async fn announce(&self, length: usize, lengths: &str) -> Response {
        let photos = data_encoding::BASE64.encode(lengths.as_bytes());
        let request = self.request("POST").header("Upload-Length", length);
        request.header("Upload-Metadata", format!("photos {photos}")).send().await.unwrap()
    }

    pub async fn head(&self) -> Response {
        self.request("HEAD").send().await.unwrap()
    }

    pub async fn patch(&self, offset: u64, bytes: &[u8]) -> Response {
        self.patch_with(offset, bytes, &[]).await
    }

    pub async fn patch_with(&self, offset: u64, bytes: &[u8], more: &[(&str, &str)]) -> Response {
        let mut request = self
            .request("PATCH")
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
            .body(bytes.to_vec());
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub async fn delete(&self) -> Response {
        self.request("DELETE").send().await.unwrap()
    }

    /// Where it stands.
    pub async fn offset(&self) -> u64 {
        let head = self.head().await;
        assert_eq!(head.status(), 200, "{head:?}");
        number(&head, "upload-offset")
    }

    /// Begins and sends all of it.
    pub async fn send(&self, bytes: &[u8]) -> Response {
        assert_eq!(self.begin(bytes.len()).await.status(), 201);
        self.patch(0, bytes).await
    }

    /// Asks where it stands and goes on from there with some more bytes, as often as a connection of before moves it meanwhile.
    pub async fn going_on(&self, file: &[u8], share: usize) -> (u64, Raw) {
        loop {
            let at = self.offset().await;
            let mut raw = self.stalled(at, &file[at as usize..], share).await;
            let said = raw.glance(Wait::from_millis(100)).await;
            if said.is_empty() {
                return (at, raw);
            }
            assert!(said.contains("409"), "{said}");
        }
    }

    /// A PATCH that stands still after some of its bytes.
    pub async fn stalled(&self, offset: u64, bytes: &[u8], sent: usize) -> Raw {
        let mut raw = Raw::to(self.app).await;
        let head = format!(
            "PATCH {} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
            self.path,
            bytes.len()
        );
        assert!(raw.send([head.as_bytes(), &bytes[..sent]].concat()).await);
        raw
    }
}

pub fn number(response: &Response, name: &str) -> u64 {
    response.headers()[name].to_str().unwrap().parse().unwrap()
}

pub async fn code(response: Response) -> String {
    response.headers()["problem-code"].to_str().unwrap().to_owned()
}

fn roomy() -> TestOptions {
    TestOptions {
        more: "[limits]\nuploads = 200\nuploads_per_address = 200\nuploads_per_link = 200\n".into(),
        ..TestOptions::default()
    }
}

/// Erasure secrets and documents with chunks.
async fn held(app: &TestApp) -> (usize, usize) {
    app.clean().await;
    let live = app.portal.erasure.live().unwrap().len();
    (live, app.portal.blobs.documents().await.unwrap().len())
}

#[tokio::test]
async fn a_part_in_pieces_arrives_whole_and_the_last_part_is_the_drop() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let (front, back) = (png(1, 3_000_000), png(2, 150_000));
    let part = Part::of(&app, &link, "front");
    let begun = part.begin(front.len()).await;
    assert_eq!(begun.status(), 201);
    assert_eq!(begun.headers()["tus-resumable"], "1.0.0");
    assert!(begun.headers()["location"].to_str().unwrap().starts_with(&part.path));
    assert!(begun.headers()["upload-expires"].to_str().unwrap().ends_with(" GMT"));
    assert_eq!(part.offset().await, 0);
    assert_eq!(app.state(&link).await, RequestState::Receiving);
    let mut at = 0;
    for size in [1usize, 70_000, 65_512, 10, 1_500_000, 0, 131_024, front.len()] {
        let piece = &front[at..front.len().min(at + size)];
        let answer = part.patch(at as u64, piece).await;
        assert_eq!(answer.status(), 204);
        at += piece.len();
        assert_eq!(number(&answer, "upload-offset"), at as u64);
        assert_eq!(part.offset().await, at as u64);
    }
    let head = part.head().await;
    assert_eq!(
        (number(&head, "upload-offset"), number(&head, "upload-length")),
        (front.len() as u64, front.len() as u64)
    );
    assert_eq!(head.headers()["cache-control"], "no-store");
    assert_eq!(
        held(&app).await,
        (1, 1),
        "what was staged died with its secret; the sealed part waits"
    );
    let page = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("✓ Received and encrypted") && page.contains("data-tus"), "{page}");
    assert!(!page.contains("pass.png"));

    let answer = Part::of(&app, &link, "back").send(&back).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(number(&answer, "upload-offset"), back.len() as u64);
    assert_eq!(app.state(&link).await, RequestState::Received);
    // Whoever lost the answer hears that it has arrived, and nothing more is taken.
    assert_eq!(part.offset().await, front.len() as u64);
    let gone = part.patch(0, &front).await;
    assert_eq!(gone.status(), 410);
    assert_eq!(code(gone).await, "link.already_received");
    let log = app.log(&link).await;
    assert!(log.contains(&"part.received part=front".to_owned()), "{log:?}");
    app.work().await;
    let received = app.received().await;
    assert_eq!(received[0]["parts"][0]["sha256"], sha256(&front));
    assert_eq!(received[0]["parts"][1]["sha256"], sha256(&back));
    assert_nothing_held(&app, "after the purge").await;
}

#[tokio::test]
async fn every_cut_leaves_an_offset_of_durable_bytes() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(3, 2_500_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let mut at = 0u64;
    for (round, share) in [1usize, 65_512, 200_001, 65_511, 1_048_576, 3, 700_000].into_iter().enumerate() {
        let whole = loop {
            let mut raw;
            (at, raw) = part.going_on(&file, share).await;
            let whole = at + share as u64;
            let mut said = String::new();
            if round % 2 == 0 {
                // Silent for a moment: everything that came is saved. Then the network is gone.
                until("what came is durable, or a connection of before was saved first", async || {
                    said = raw.glance(Wait::from_millis(1)).await;
                    !said.is_empty() || part.offset().await == whole
                })
                .await;
            }
            raw.vanish();
            if said.is_empty() {
                break whole;
            }
            assert!(said.contains("409"), "{said}");
        };
        let stands = part.offset().await;
        assert!(stands >= at && stands <= whole, "{stands} after {at} and {share} more");
        // What kill -9 would leave at this instant says the same, or more.
        let (crashed, _folder) = app.crash_copy().await;
        let request = crashed.portal.requests.request(link.id).await.unwrap().unwrap();
        let offset = request.intakes[0].staged().unwrap().offset;
        assert!(offset >= stands, "told {stands}, durable {offset}");
        at = stands;
    }
    assert!(at > 1_000_000, "the network cost {at}");
    loop {
        let answer = part.patch(at, &file[at as usize..]).await;
        match answer.status().as_u16() {
            204 => break,
            // A connection that broke off a moment ago may still have been saving.
            409 => at = part.offset().await,
            other => panic!("{other}"),
        }
    }
    app.work().await;
    assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)]);
}

#[tokio::test]
async fn a_second_device_takes_a_stalled_upload_over_at_once() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(4, 2_000_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let mut first = part.stalled(0, &file, 300_000).await;
    until("the first device stands", async || part.offset().await == 300_000).await;
    let wrong = part.patch(200_000, &file[200_000..]).await;
    assert_eq!(wrong.status(), 409);
    assert_eq!(number(&wrong, "upload-offset"), 300_000);
    assert_eq!(code(wrong).await, "upload.offset");
    let began = std::time::Instant::now();
    let answer = part.patch(300_000, &file[300_000..]).await;
    assert_eq!(answer.status(), 204);
    assert!(began.elapsed() < Wait::from_secs(60), "{:?}", began.elapsed());
    // The first one learns that it is late, and changes nothing.
    first.send(&file[300_000..400_000]).await;
    let late = first.answer().await;
    assert!([409, 410].contains(&late.status), "{late:?}");
    app.work().await;
    assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)]);
}

#[tokio::test]
async fn the_older_stream_stops_as_soon_as_a_newer_one_comes() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(5, 1_000_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let first = part.stalled(0, &file, 100_000).await;
    until("the first device stands", async || part.offset().await == 100_000).await;
    let second = part.stalled(100_000, &file[100_000..], 50_000).await;
    let late = first.answer().await;
    assert_eq!((late.status, late.headers["problem-code"].as_str()), (409, "upload.superseded"));
    until("the second one goes on", async || part.offset().await == 150_000).await;
    drop(second);
}

#[tokio::test]
async fn racing_patches_give_one_file() {
    let app = TestApp::with_options(roomy()).await;
    let link = app.link_for("passport", None).await;
    let file = png(6, 400_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let answers = futures_util::future::join_all((0..64).map(|_| part.patch(0, &file))).await;
    let statuses: Vec<_> = answers.iter().map(|a| a.status().as_u16()).collect();
    // Whoever sealed it was answered; if that one was overtaken while nobody else began, its bytes are here and one more PATCH ends it.
    assert!(statuses.iter().all(|s| [204, 409, 410].contains(s)), "{statuses:?}");
    if app.state(&link).await != RequestState::Received {
        let at = part.offset().await;
        assert_eq!(part.patch(at, &file[at as usize..]).await.status(), 204);
    }
    assert!(statuses.iter().filter(|s| **s == 204).count() <= 1, "{statuses:?}");
    assert_eq!(held(&app).await, (1, 1));
    app.work().await;
    assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)]);
    assert_nothing_held(&app, "after the purge").await;
}

#[tokio::test]
async fn both_parts_at_once_commit_once() {
    let app = TestApp::with_options(roomy()).await;
    for round in 0..12 {
        let link = app.link().await;
        let (front, back) = (png(100 + round, 90_000), png(200 + round, 90_000));
        let (one, other) = (Part::of(&app, &link, "front"), Part::of(&app, &link, "back"));
        let (a, b) = tokio::join!(one.send(&front), other.send(&back));
        assert_eq!((a.status().as_u16(), b.status().as_u16()), (204, 204), "round {round}");
        assert_eq!(app.state(&link).await, RequestState::Received);
        app.work().await;
    }
    let received = app.received().await;
    assert_eq!(received.len(), 12);
    assert!(received.iter().all(|r| r["deliveries"] == 1));
    assert_nothing_held(&app, "after the purges").await;
}

#[tokio::test]
async fn unfinished_bytes_end_after_an_hour_secret_first() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let link = app.link().await;
    let (front, back) = (png(7, 200_000), png(8, 900_000));
    assert_eq!(Part::of(&app, &link, "front").send(&front).await.status(), 204);
    clock.forward(Duration::minutes(59));
    let part = Part::of(&app, &link, "back");
    part.begin(back.len()).await;
    part.patch(0, &back[..500_000]).await;
    // What came last keeps the whole submission.
    clock.forward(Duration::minutes(59));
    app.work().await;
    assert_eq!(part.offset().await, 500_000);
    assert_eq!(held(&app).await, (2, 2));
    clock.forward(Duration::minutes(1));
    // A crash between the two: the secrets are gone, the rows still own the chunks.
    for live in app.portal.erasure.live().unwrap() {
        app.portal.erasure.destroy(&live.doc_id, &live.slot).unwrap();
    }
    assert_eq!(part.head().await.status(), 404, "without its secret there is no upload");
    app.work().await;
    assert_nothing_held(&app, "after an hour").await;
    assert_eq!(app.state(&link).await, RequestState::Awaiting);
    assert_eq!(app.drop_files(&link, &[("front", &front), ("back", &back)]).await.status(), 200);
}

#[tokio::test]
async fn the_worker_ends_what_is_too_old_and_only_that() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let link = app.link_for("passport", None).await;
    let part = Part::of(&app, &link, "front");
    part.begin(900_000).await;
    assert_eq!(app.work_due().await, 0, "nothing is due yet");
    clock.forward(Duration::minutes(60) - Duration::milliseconds(1));
    assert_eq!(app.work_due().await, 0);
    clock.forward(Duration::milliseconds(1));
    assert!(app.work_due().await > 0);
    assert_nothing_held(&app, "an hour later").await;
    assert_eq!(part.head().await.status(), 404);
    // With the link, and its grace, at the latest.
    let mut short = ask("applicant-2", "passport");
    short.expires = Expiry::In(Duration::minutes(20));
    let link = app.issue(short).await;
    Part::of(&app, &link, "front").begin(900_000).await;
    clock.forward(Duration::minutes(34));
    app.work_due().await;
    assert_eq!(held(&app).await.0, 1);
    clock.forward(Duration::minutes(1));
    app.work_due().await;
    assert_nothing_held(&app, "after the link's grace").await;
    assert_eq!(app.state(&link).await, RequestState::Expired);
}

#[tokio::test]
async fn a_patch_that_began_in_time_may_end_in_the_grace() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let mut short = ask("applicant-1", "passport");
    short.expires = Expiry::In(Duration::minutes(1));
    let link = app.issue(short).await;
    let file = png(9, 300_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let mut raw = part.stalled(0, &file, 100_000).await;
    until("it runs", async || part.offset().await == 100_000).await;
    clock.forward(Duration::minutes(15));
    assert_eq!(part.head().await.status(), 410);
    raw.send(&file[100_000..]).await;
    assert_eq!(raw.answer().await.status, 204);
    assert_eq!(app.state(&link).await, RequestState::Received);
}

#[tokio::test]
async fn a_revocation_destroys_what_is_on_its_way_and_stops_who_sends() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let (front, back) = (png(10, 100_000), png(11, 2_000_000));
    assert_eq!(Part::of(&app, &link, "front").send(&front).await.status(), 204);
    let part = Part::of(&app, &link, "back");
    part.begin(back.len()).await;
    let raw = part.stalled(0, &back, 1_200_000).await;
    until("it runs", async || part.offset().await == 1_200_000).await;
    issue::revoke(&app.portal, link.id, Actor::Operator).await.unwrap();
    let told = raw.answer().await;
    assert_eq!((told.status, told.headers["problem-code"].as_str()), (410, "link.revoked"));
    assert_eq!(part.head().await.status(), 410);
    assert_eq!(app.state(&link).await, RequestState::Revoked);
    until_nothing_held(&app).await;
    app.work_due().await;
}

#[tokio::test]
async fn a_reissued_link_begins_anew() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(12, 300_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    part.patch(0, &file[..200_000]).await;
    let again = issue::reissue(&app.portal, link.id, Expiry::Default, None, Actor::Operator, None)
        .await
        .unwrap();
    let again = app.known(again);
    assert_nothing_held(&app, "what came through the old link").await;
    assert_eq!(part.head().await.status(), 410);
    let part = Part::of(&app, &again, "front");
    assert_eq!(part.head().await.status(), 404);
    assert_eq!(part.send(&file).await.status(), 204);
}

#[tokio::test]
async fn taken_back_is_gone() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let (front, back) = (png(13, 300_000), png(14, 300_000));
    let (one, other) = (Part::of(&app, &link, "front"), Part::of(&app, &link, "back"));
    assert_eq!(one.delete().await.status(), 404);
    one.begin(front.len()).await;
    one.patch(0, &front[..200_000]).await;
    assert_eq!(one.delete().await.status(), 204);
    assert_nothing_held(&app, "an unfinished one").await;
    assert_eq!(one.head().await.status(), 404);
    assert_eq!(one.patch(200_000, &front[200_000..]).await.status(), 404);
    // A sealed part, alone in its submission.
    assert_eq!(one.send(&front).await.status(), 204);
    assert_eq!(one.delete().await.status(), 204);
    assert_nothing_held(&app, "a sealed one").await;
    // Somebody sends while it is taken back.
    one.begin(front.len()).await;
    let raw = one.stalled(0, &front, 200_000).await;
    until("it runs", async || one.offset().await == 200_000).await;
    assert_eq!(one.delete().await.status(), 204);
    assert_eq!(raw.answer().await.status, 409);
    until_nothing_held(&app).await;
    assert_eq!(app.state(&link).await, RequestState::Awaiting);
    assert_eq!(one.send(&front).await.status(), 204);
    assert_eq!(other.send(&back).await.status(), 204);
}

#[tokio::test]
async fn a_new_photo_takes_the_place_of_the_old_one() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let (bad, good, back) = (png(15, 900_000), png(16, 300_000), png(17, 100_000));
    let part = Part::of(&app, &link, "front");
    let first = part.begin(bad.len()).await;
    let first = first.headers()["location"].to_str().unwrap().to_owned();
    part.patch(0, &bad[..700_000]).await;
    let second = part.begin(good.len()).await;
    assert_ne!(second.headers()["location"], first.as_str());
    assert_eq!(held(&app).await.0, 1, "the old secret is gone");
    let old = Part { app: &app, path: first };
    assert_eq!(old.head().await.status(), 404, "the old address knows that it was replaced");
    assert_eq!(old.patch(0, &bad).await.status(), 404);
    assert_eq!(old.delete().await.status(), 404);
    assert_eq!(part.patch(0, &bad[..300_000]).await.status(), 204);
    // Sealed once, and then taken again.
    assert_eq!(part.send(&bad).await.status(), 204);
    assert_eq!(part.offset().await, bad.len() as u64);
    assert_eq!(part.send(&good).await.status(), 204);
    assert_eq!(Part::of(&app, &link, "back").send(&back).await.status(), 204);
    app.work().await;
    let received = app.received().await;
    assert_eq!(received[0]["parts"][0]["sha256"], sha256(&good));
    assert_eq!(received[0]["parts"][1]["sha256"], sha256(&back));
    assert_nothing_held(&app, "after the purge").await;
}

#[tokio::test]
async fn a_form_brings_what_is_missing_or_wins_as_a_whole() {
    let app = TestApp::new().await;
    let (front, back, other) = (png(18, 200_000), png(19, 300_000), png(20, 250_000));
    // Only the missing side.
    let link = app.link().await;
    assert_eq!(Part::of(&app, &link, "front").send(&front).await.status(), 204);
    let answer = app.drop_files(&link, &[("back", &back)]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    // Both, although one is here: the newer one counts.
    let both = app.link().await;
    assert_eq!(Part::of(&app, &both, "front").send(&front).await.status(), 204);
    assert_eq!(app.drop_files(&both, &[("front", &other), ("back", &back)]).await.status(), 200);
    // The form is first: what an upload has staged is destroyed with it.
    let beaten = app.link().await;
    let part = Part::of(&app, &beaten, "front");
    part.begin(front.len()).await;
    part.patch(0, &front[..100_000]).await;
    assert_eq!(app.drop_files(&beaten, &[("front", &other), ("back", &back)]).await.status(), 200);
    assert_eq!(part.patch(100_000, &front[100_000..]).await.status(), 410);
    assert_eq!(held(&app).await, (3, 3));
    // A form whose second file is refused leaves the side that was here before, and keeps what it brought well.
    let kept = app.link().await;
    assert_eq!(Part::of(&app, &kept, "front").send(&front).await.status(), 204);
    assert_eq!(app.drop_files(&kept, &[("back", b"<html>no photo</html>")]).await.status(), 415);
    assert_eq!(Part::of(&app, &kept, "front").offset().await, front.len() as u64);
    assert_eq!(app.drop_files(&kept, &[("back", &back)]).await.status(), 200);
    app.work().await;
    let received = app.received().await;
    let sides: Vec<_> = received
        .iter()
        .map(|r| (r["parts"][0]["sha256"].clone(), r["parts"][1]["sha256"].clone()))
        .collect();
    assert_eq!(sides.len(), 4);
    assert!(sides.iter().all(|(_, b)| *b == sha256(&back)));
    assert_eq!(sides.iter().filter(|(f, _)| *f == sha256(&front)).count(), 2);
    assert_eq!(sides.iter().filter(|(f, _)| *f == sha256(&other)).count(), 2);
    assert_nothing_held(&app, "after the purges").await;
}

#[tokio::test]
async fn the_beginning_may_come_with_the_creation() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(21, 300_000);
    let part = Part::of(&app, &link, "front");
    let with = |bytes: &[u8]| {
        part.request("POST")
            .header("Upload-Length", file.len())
            .header("Content-Type", "application/offset+octet-stream")
            .body(bytes.to_vec())
    };
    let answer = with(&file[..100_000]).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), number(&answer, "upload-offset")), (201, 100_000));
    assert_eq!(part.patch(100_000, &file[100_000..150_000]).await.status(), 204);
    let answer = with(&file).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), number(&answer, "upload-offset")),
        (201, file.len() as u64)
    );
    app.work().await;
    assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)]);
}

#[tokio::test]
async fn a_slow_sender_is_told_so_and_loses_nothing() {
    let pace = BodyPace {
        idle: Wait::from_secs(3),
        ..BodyPace::default()
    };
    let app = TestApp::with_options(TestOptions {
        pace,
        ..TestOptions::default()
    })
    .await;
    let link = app.link_for("passport", None).await;
    let file = png(22, 300_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let answer: Answer = part.stalled(0, &file, 123_456).await.answer().await;
    assert_eq!((answer.status, answer.headers["problem-code"].as_str()), (408, "request.too_slow"));
    assert_eq!(part.offset().await, 123_456);
    assert_eq!(part.patch(123_456, &file[123_456..]).await.status(), 204);
}

#[tokio::test]
async fn nothing_readable_is_on_the_disk_while_an_upload_waits() {
    let app = TestApp::new().await;
    let link = app.link().await;
    // Marks in the file itself and in its name, at rest in every stage.
    let mut file = png(23, 700_000);
    let mark = b"CANARY-of-the-applicant";
    file[200_000..200_000 + mark.len()].copy_from_slice(mark);
    file[650_000..650_000 + mark.len()].copy_from_slice(mark);
    let part = Part::of(&app, &link, "front");
    let name = data_encoding::BASE64.encode(b"CANARY-of-the-applicant.png");
    let begun = part
        .request("POST")
        .header("Upload-Length", file.len())
        .header("Upload-Metadata", format!("filename {name}"))
        .send()
        .await
        .unwrap();
    assert_eq!(begun.status(), 201);
    part.patch(0, &file[..660_000]).await;
    let raw = part.stalled(660_000, &file[660_000..], 20_000).await;
    until("it runs", async || part.offset().await == 680_000).await;
    let scan = || {
        for path in app.files() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(mark.len()).any(|w| w == mark), "{}", path.display());
            let token = link.token.as_bytes();
            assert!(!bytes.windows(token.len()).any(|w| w == token), "{}", path.display());
        }
    };
    scan();
    drop(raw);
    assert_eq!(part.delete().await.status(), 204);
    scan();
}
