//! What lies on the disk, before and after the purge, for somebody who takes it all; and what a start finds after a stop or a crash.

use std::collections::HashMap;
use std::path::Path;

use nightdrop::testing::app::Layout;
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::keyfile::Protector;
use nightdrop::testing::crypto::keyring::Keyring;
use nightdrop::testing::crypto::open::{DocumentOpener, OpenError};
use nightdrop::testing::crypto::secret::SecretBytes;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::{RequestState, Stage};
use nightdrop::testing::worker::{self, Step};
use nightdrop::testing::workflow::issue;
use sha2::{Digest, Sha256};
use time::Duration;

use crate::raw::{Half, assert_nothing_held, end, file, part, upload};
use crate::support::{Folder, TestApp, TestOptions, ask, png, sha256, walk};

const WINDOW: usize = 32;

/// Every 32nd window of some documents: a run of 63 of their bytes cannot be missed.
struct Canaries {
    windows: HashMap<[u8; WINDOW], usize>,
    /// The first three bytes of each, for speed.
    starts: Vec<bool>,
}

impl Canaries {
    fn of(documents: &[&[u8]]) -> Self {
        let mut windows = HashMap::new();
        let mut starts = vec![false; 1 << 24];
        for document in documents {
            for (number, window) in document.chunks_exact(WINDOW).enumerate() {
                starts[start(window)] = true;
                windows.insert(window.try_into().unwrap(), number);
            }
        }
        Self { windows, starts }
    }

    fn hits(&self, file: &Path) -> usize {
        let bytes = std::fs::read(file).unwrap_or_default();
        let at = |place: &[u8]| self.starts[start(place)] && self.windows.contains_key(place);
        bytes.windows(WINDOW).filter(|place| at(place)).count()
    }
}

fn start(window: &[u8]) -> usize {
    usize::from(window[0]) << 16 | usize::from(window[1]) << 8 | usize::from(window[2])
}

fn assert_no_plaintext(app: &TestApp, canaries: &Canaries, when: &str) {
    for file in walk(app.folder.path()) {
        assert_eq!(canaries.hits(&file), 0, "{when}: plaintext in {}", file.display());
    }
    // Temporary files that have no name any more would be found among the open ones.
    for open in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(target) = std::fs::read_link(open.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if target.ends_with("(deleted)") && !target.contains("nightdrop-it-") && target.starts_with('/') {
            assert_eq!(canaries.hits(&open.path()), 0, "{when}: plaintext in {target}");
        }
    }
}

#[tokio::test]
async fn no_plaintext_lies_on_the_disk() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let (front, back, lost, bad) = (png(11, 400_000), png(12, 70_000), png(13, 400_000), png(14, 200_000));
    let canaries = Canaries::of(&[&front, &back, &lost, &bad]);
    // The search finds what is there.
    let planted = app.folder.path().join("planted");
    std::fs::write(&planted, &front[1_000..1_100]).unwrap();
    assert!(canaries.hits(&planted) > 0);
    std::fs::remove_file(planted).unwrap();

    let (link, other, third) = (
        app.link().await,
        app.link_for("passport", None).await,
        app.link_for("passport", None).await,
    );
    let half = Half::of(&app, &other, &[file("front", &lost), end()].concat()).await;
    assert_no_plaintext(&app, &canaries, "while it is sent");
    drop(half);
    let broken = [&bad[..150_000], b"garbage"].concat();
    assert!(app.drop_files(&third, &[("front", &broken)]).await.status().is_client_error());
    assert_eq!(app.drop_files(&link, &[("front", &front), ("back", &back)]).await.status(), 200);
    assert_no_plaintext(&app, &canaries, "received");
    app.misbehave(&["500"]).await;
    worker::step(&app.portal).await.unwrap();
    assert_no_plaintext(&app, &canaries, "after a failed attempt");
    for _ in 0..10 {
        clock.forward(Duration::minutes(2));
        app.work().await;
    }
    assert_eq!(app.state(&link).await, RequestState::Purged);
    assert_eq!(app.received().await.len(), 1);
    assert_no_plaintext(&app, &canaries, "purged");
}

/// The vault's private key, as an attacker who has the whole folder opens it.
fn stolen_keyring(app: &TestApp, folder: &Path) -> Keyring {
    let mut config = Config::parse("public_url = \"http://127.0.0.1\"\n", folder, std::iter::empty()).unwrap();
    config.data_dir = folder.join(app.data().file_name().unwrap());
    config.keys.folder = config.data_dir.join("keys");
    let layout = Layout::of(&config);
    let keyring = Keyring::open(&layout.keys).unwrap();
    let mut kek: [u8; 32] = std::fs::read(&layout.kek).unwrap().try_into().unwrap();
    keyring.unlock(&Protector::Kek(&SecretBytes::take(&mut kek))).unwrap();
    keyring
}

#[tokio::test]
async fn a_purged_document_opens_for_nobody_whatever_he_kept() {
    let app = TestApp::new().await;
    let (link, other) = (app.link_for("passport", None).await, app.link_for("passport", None).await);
    for (link, seed) in [(&link, 21), (&other, 22)] {
        assert_eq!(app.drop_files(link, &[("front", &png(seed, 100_000))]).await.status(), 200);
    }
    let document = app.request(&link).await.document().unwrap().clone();
    let header = document.parts[0].header.clone();
    // The attacker copies everything before the purge, but the one page of the erasure slots.
    let copy = Folder::new();
    for file in walk(app.folder.path()) {
        let to = copy.path().join(file.strip_prefix(app.folder.path()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let keyring = stolen_keyring(&app, copy.path());
    assert!(
        DocumentOpener::open_stored(&header, &keyring, &*app.portal.erasure).is_ok(),
        "it opened before"
    );
    let foreign = app.request(&other).await.document().unwrap().clone();
    let foreign = app.portal.erasure.get(&foreign.id.0, &foreign.slot).unwrap();

    issue::request_purge(&app.portal, link.id, Actor::Operator).await.unwrap();
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged);
    let failed = |opened: Result<DocumentOpener, OpenError>| opened.map(drop).unwrap_err();
    let now = stolen_keyring(&app, app.folder.path());
    for keyring in [&keyring, &now, &app.portal.keyring] {
        assert_eq!(
            failed(DocumentOpener::open_stored(&header, keyring, &*app.portal.erasure)),
            OpenError::Erased
        );
        assert_eq!(
            failed(DocumentOpener::open(&header, keyring, &foreign)),
            OpenError::WrongKey,
            "another secret"
        );
    }
    assert!(app.portal.erasure.get(&document.id.0, &document.slot).is_err());
    // Not one page of the slots names it any more.
    let slots = std::fs::read(app.data().join("erasure/erase.slots")).unwrap();
    assert!(!slots.windows(16).any(|w| w == document.id.0));
}

#[tokio::test]
async fn the_store_knows_no_token_no_code_and_no_person() {
    let app = TestApp::with_options(TestOptions {
        more: "[hosted]\nreturn_hosts = [\"app.example.com\"]\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let mut asked = ask("maria-musterfrau-4712", "passport");
    asked.return_url = Some("https://app.example.com/onboarding/step-0817".into());
    asked.message = Some("Dear Mrs Musterfrau".into());
    asked.metadata = Some("{\"case\":\"case-0816\"}".into());
    let link = app.issue(asked).await;
    let body = [
        part(
            "Content-Disposition: form-data; name=\"front\"; filename=\"ausweis-4712.png\"",
            &png(1, 3_000),
        ),
        end(),
    ]
    .concat();
    let mut raw = crate::raw::Raw::to(&app).await;
    raw.send(upload(&link.path, &body)).await;
    assert_eq!(raw.answer().await.status, 200);
    app.misbehave(&["500"]).await;
    app.work().await;
    let token = nightdrop::testing::domain::token::PlainToken::parse(&link.token).unwrap();
    let digests = [Sha256::digest(token.as_bytes()), Sha256::digest(link.token.as_bytes())];
    let mut secrets: Vec<(&str, Vec<u8>)> = vec![
        ("the token", link.token.clone().into_bytes()),
        ("the token in capitals", link.token.to_uppercase().into_bytes()),
        ("the token's bytes", token.as_bytes().to_vec()),
        ("the applicant", b"maria-musterfrau-4712".to_vec()),
        ("the message", b"Musterfrau".to_vec()),
        ("the metadata", b"case-0816".to_vec()),
        ("the way back", b"step-0817".to_vec()),
        ("the file's name", b"ausweis-4712".to_vec()),
        ("the API key", app.api_key.clone().into_bytes()),
    ];
    for digest in &digests {
        secrets.push(("a plain digest of the token", digest.to_vec()));
        secrets.push((
            "a plain digest of the token, in hex",
            data_encoding::HEXLOWER.encode(digest).into_bytes(),
        ));
    }
    for path in app.files() {
        let bytes = std::fs::read(&path).unwrap();
        for (what, secret) in &secrets {
            let mut places = bytes.windows(secret.len());
            assert!(!places.any(|w| w[0] == secret[0] && w == secret), "{what} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn with_all_slots_used_nothing_is_taken_until_a_purge() {
    let app = TestApp::with_options(TestOptions {
        slots: 16,
        ..TestOptions::default()
    })
    .await;
    let mut links = Vec::new();
    let free = app.portal.erasure.free().unwrap();
    assert_eq!(free, 16);
    for seed in 0..free {
        let link = app.link_for("passport", None).await;
        assert_eq!(app.drop_files(&link, &[("front", &png(seed, 1_000))]).await.status(), 200);
        links.push(link);
    }
    let late = app.link_for("passport", None).await;
    let before = app.request(&late).await;
    let answer = app.drop_files(&late, &[("front", &png(99, 200_000))]).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert!(answer.text().await.unwrap().contains("no space for more documents"));
    assert_eq!(app.portal.blobs.documents().await.unwrap().len(), 16);
    assert_eq!(app.request(&late).await, before);
    assert_eq!(app.http.get(app.public("/readyz")).send().await.unwrap().status(), 503);
    issue::request_purge(&app.portal, links[3].id, Actor::Operator).await.unwrap();
    while !matches!(app.request(&links[3]).await.stage, Stage::Purged) {
        assert_eq!(worker::step(&app.portal).await.unwrap(), Step::Done);
    }
    let picture = png(99, 200_000);
    assert_eq!(app.drop_files(&late, &[("front", &picture)]).await.status(), 200);
    app.work().await;
    assert!(app.received().await.iter().any(|r| r["parts"][0]["sha256"] == sha256(&picture)));
    assert_nothing_held(&app, "all passed on").await;
}

#[tokio::test]
async fn a_stop_and_a_start_lose_nothing() {
    let mut app = TestApp::with_options(TestOptions {
        confirm: "verdict",
        ..TestOptions::default()
    })
    .await;
    let waiting = app.link_for("passport", None).await;
    let revoked = app.link_for("passport", None).await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    let purged = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&purged, &[("front", &png(1, 2_000))]).await.status(), 200);
    issue::request_purge(&app.portal, purged.id, Actor::Operator).await.unwrap();
    app.work().await;
    app.misbehave(&["pending:1000"]).await;
    let pending = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&pending, &[("front", &png(2, 2_000))]).await.status(), 200);
    app.work().await;
    let held = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&held, &[("front", &png(3, 2_000))]).await.status(), 200);
    let states = [
        (&waiting, RequestState::Awaiting, 200, "<form"),
        (&revoked, RequestState::Revoked, 410, "no longer valid"),
        (&purged, RequestState::Purged, 200, "It was deleted from this site on"),
        (&pending, RequestState::AwaitingConfirmation, 200, "Received. Thank you."),
        (&held, RequestState::Received, 200, "Received. Thank you."),
    ];
    for round in 0..3 {
        for (link, state, status, words) in &states {
            assert_eq!(app.state(link).await, *state, "start {round}");
            let page = app.http.get(app.public(&link.path)).send().await.unwrap();
            assert_eq!(page.status(), *status);
            assert!(page.text().await.unwrap().contains(words), "{state:?} after start {round}");
        }
        app.restart().await;
    }
    app.work().await;
    assert_ne!(app.state(&held).await, RequestState::Received, "it is passed on after the start");
    assert_eq!(app.drop_files(&waiting, &[("front", &png(4, 2_000))]).await.status(), 200);
    assert_eq!(app.drop_files(&held, &[("front", &png(4, 2_000))]).await.status(), 409);
}

#[tokio::test]
async fn an_upload_that_died_with_its_process_is_destroyed_at_the_start() {
    let app = TestApp::new().await;
    let (link, held) = (app.link_for("passport", None).await, app.link_for("passport", None).await);
    assert_eq!(app.drop_files(&held, &[("front", &png(1, 100_000))]).await.status(), 200);
    let _half = Half::of(&app, &link, &[file("front", &png(2, 900_000)), end()].concat()).await;
    assert_eq!(app.portal.erasure.live().unwrap().len(), 2);
    let (crashed, _folder) = app.crash_copy().await;
    let document = app.request(&held).await.document().unwrap().id;
    let live: Vec<_> = crashed.portal.erasure.live().unwrap().iter().map(|l| l.doc_id).collect();
    assert_eq!(live, [document.0], "only what was received");
    assert_eq!(crashed.portal.blobs.documents().await.unwrap(), [document]);
    let request = crashed.portal.requests.request(link.id).await.unwrap().unwrap();
    assert!(request.intakes.is_empty());
    assert_eq!(request.state(crashed.portal.now()), RequestState::Awaiting);
    while worker::step(&crashed.portal).await.unwrap() == Step::Done {}
    assert_eq!(app.received().await.len(), 1, "what was received is passed on");
    assert_eq!(crashed.portal.erasure.live().unwrap(), vec![]);
}
