//! What lies on the disk, before and after the purge, for somebody who takes it all; and what a start finds after a stop or a crash.

use std::collections::HashMap;
use std::path::Path;

use nightdrop::app::Layout;
use nightdrop::config::Config;
use nightdrop::crypto::keyfile::Protector;
use nightdrop::crypto::keyring::Keyring;
use nightdrop::crypto::open::{DocumentOpener, OpenError};
use nightdrop::crypto::secret::SecretBytes;
use nightdrop::domain::agent::Actor;
use nightdrop::domain::request::{RequestState, Stage};
use nightdrop::worker::{self, Step};
use nightdrop::workflow::issue;
use sha2::{Digest, Sha256};
use time::Duration;

use crate::raw::{Half, assert_nothing_held, end, file, part, upload};
use crate::support::{Folder, House, Wish, ask, png, sha256, walk};

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

fn assert_no_plaintext(house: &House, canaries: &Canaries, when: &str) {
    for file in walk(house.folder.path()) {
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
    let (wish, hands) = Wish::default().with_hands();
    let house = House::wished(wish).await;
    let (front, back, lost, bad) = (png(11, 400_000), png(12, 70_000), png(13, 400_000), png(14, 200_000));
    let canaries = Canaries::of(&[&front, &back, &lost, &bad]);
    // The search finds what is there.
    let planted = house.folder.path().join("planted");
    std::fs::write(&planted, &front[1_000..1_100]).unwrap();
    assert!(canaries.hits(&planted) > 0);
    std::fs::remove_file(planted).unwrap();

    let (link, other, third) = (
        house.link().await,
        house.link_for("passport", None).await,
        house.link_for("passport", None).await,
    );
    let half = Half::of(&house, &other, &[file("front", &lost), end()].concat()).await;
    assert_no_plaintext(&house, &canaries, "while it is sent");
    drop(half);
    let broken = [&bad[..150_000], b"garbage"].concat();
    assert!(house.drop_files(&third, &[("front", &broken)]).await.status().is_client_error());
    assert_eq!(house.drop_files(&link, &[("front", &front), ("back", &back)]).await.status(), 200);
    assert_no_plaintext(&house, &canaries, "received");
    house.misbehave(&["500"]).await;
    worker::step(&house.portal).await.unwrap();
    assert_no_plaintext(&house, &canaries, "after a failed attempt");
    for _ in 0..10 {
        hands.forward(Duration::minutes(2));
        house.work().await;
    }
    assert_eq!(house.state(&link).await, RequestState::Purged);
    assert_eq!(house.received().await.len(), 1);
    assert_no_plaintext(&house, &canaries, "purged");
}

/// The vault's private key, as an attacker who has the whole folder opens it.
fn stolen_keyring(house: &House, folder: &Path) -> Keyring {
    let mut config = Config::parse("public_url = \"http://127.0.0.1\"\n", folder, std::iter::empty()).unwrap();
    config.data_dir = folder.join(house.data().file_name().unwrap());
    config.keys.folder = config.data_dir.join("keys");
    let layout = Layout::of(&config);
    let keyring = Keyring::open(&layout.keys).unwrap();
    let mut kek: [u8; 32] = std::fs::read(&layout.kek).unwrap().try_into().unwrap();
    keyring.unlock(&Protector::Kek(&SecretBytes::take(&mut kek))).unwrap();
    keyring
}

#[tokio::test]
async fn a_purged_document_opens_for_nobody_whatever_he_kept() {
    let house = House::new().await;
    let (link, other) = (house.link_for("passport", None).await, house.link_for("passport", None).await);
    for (link, seed) in [(&link, 21), (&other, 22)] {
        assert_eq!(house.drop_files(link, &[("front", &png(seed, 100_000))]).await.status(), 200);
    }
    let document = house.request(&link).await.document().unwrap().clone();
    let header = document.parts[0].header.clone();
    // The attacker copies everything before the purge, but the one page of the erasure slots.
    let copy = Folder::new();
    for file in walk(house.folder.path()) {
        let to = copy.path().join(file.strip_prefix(house.folder.path()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let keyring = stolen_keyring(&house, copy.path());
    assert!(
        DocumentOpener::open_stored(&header, &keyring, &*house.portal.erasure).is_ok(),
        "it opened before"
    );
    let foreign = house.request(&other).await.document().unwrap().clone();
    let foreign = house.portal.erasure.get(&foreign.id.0, &foreign.slot).unwrap();

    issue::request_purge(&house.portal, link.id, Actor::Operator).await.unwrap();
    house.work().await;
    assert_eq!(house.state(&link).await, RequestState::Purged);
    let failed = |opened: Result<DocumentOpener, OpenError>| opened.map(drop).unwrap_err();
    let now = stolen_keyring(&house, house.folder.path());
    for keyring in [&keyring, &now, &house.portal.keyring] {
        assert_eq!(
            failed(DocumentOpener::open_stored(&header, keyring, &*house.portal.erasure)),
            OpenError::Erased
        );
        assert_eq!(
            failed(DocumentOpener::open(&header, keyring, &foreign)),
            OpenError::WrongKey,
            "another secret"
        );
    }
    assert!(house.portal.erasure.get(&document.id.0, &document.slot).is_err());
    // Not one page of the slots names it any more.
    let slots = std::fs::read(house.data().join("erasure/erase.slots")).unwrap();
    assert!(!slots.windows(16).any(|w| w == document.id.0));
}

#[tokio::test]
async fn the_store_knows_no_token_no_code_and_no_person() {
    let house = House::wished(Wish {
        more: "[hosted]\nreturn_hosts = [\"app.example.com\"]\n".to_owned(),
        ..Wish::default()
    })
    .await;
    let mut asked = ask("maria-musterfrau-4712", "passport");
    asked.return_url = Some("https://app.example.com/onboarding/step-0817".into());
    asked.message = Some("Dear Mrs Musterfrau".into());
    asked.metadata = Some("{\"case\":\"case-0816\"}".into());
    let link = house.issue(asked).await;
    let body = [
        part(
            "Content-Disposition: form-data; name=\"front\"; filename=\"ausweis-4712.png\"",
            &png(1, 3_000),
        ),
        end(),
    ]
    .concat();
    let mut raw = crate::raw::Raw::to(&house).await;
    raw.send(upload(&link.path, &body)).await;
    assert_eq!(raw.answer().await.status, 200);
    house.misbehave(&["500"]).await;
    house.work().await;
    let token = nightdrop::domain::token::PlainToken::parse(&link.token).unwrap();
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
        ("the API key", house.api_key.clone().into_bytes()),
    ];
    for digest in &digests {
        secrets.push(("a plain digest of the token", digest.to_vec()));
        secrets.push((
            "a plain digest of the token, in hex",
            data_encoding::HEXLOWER.encode(digest).into_bytes(),
        ));
    }
    for path in house.files() {
        let bytes = std::fs::read(&path).unwrap();
        for (what, secret) in &secrets {
            let mut places = bytes.windows(secret.len());
            assert!(!places.any(|w| w[0] == secret[0] && w == secret), "{what} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn with_all_slots_used_nothing_is_taken_until_a_purge() {
    let house = House::wished(Wish {
        slots: 16,
        ..Wish::default()
    })
    .await;
    let mut links = Vec::new();
    let free = house.portal.erasure.free().unwrap();
    assert_eq!(free, 16);
    for seed in 0..free {
        let link = house.link_for("passport", None).await;
        assert_eq!(house.drop_files(&link, &[("front", &png(seed, 1_000))]).await.status(), 200);
        links.push(link);
    }
    let late = house.link_for("passport", None).await;
    let before = house.request(&late).await;
    let answer = house.drop_files(&late, &[("front", &png(99, 200_000))]).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert!(answer.text().await.unwrap().contains("no room"));
    assert_eq!(house.portal.blobs.documents().await.unwrap().len(), 16);
    assert_eq!(house.request(&late).await, before);
    assert_eq!(house.http.get(house.public("/readyz")).send().await.unwrap().status(), 503);
    issue::request_purge(&house.portal, links[3].id, Actor::Operator).await.unwrap();
    while !matches!(house.request(&links[3]).await.stage, Stage::Purged) {
        assert_eq!(worker::step(&house.portal).await.unwrap(), Step::Done);
    }
    let picture = png(99, 200_000);
    assert_eq!(house.drop_files(&late, &[("front", &picture)]).await.status(), 200);
    house.work().await;
    assert!(house.received().await.iter().any(|r| r["parts"][0]["sha256"] == sha256(&picture)));
    assert_nothing_held(&house, "all passed on").await;
}

#[tokio::test]
async fn a_stop_and_a_start_lose_nothing() {
    let mut house = House::wished(Wish {
        confirm: "verdict",
        ..Wish::default()
    })
    .await;
    let waiting = house.link_for("passport", None).await;
    let revoked = house.link_for("passport", None).await;
    issue::revoke(&house.portal, revoked.id, Actor::Operator).await.unwrap();
    let purged = house.link_for("passport", None).await;
    assert_eq!(house.drop_files(&purged, &[("front", &png(1, 2_000))]).await.status(), 200);
    issue::request_purge(&house.portal, purged.id, Actor::Operator).await.unwrap();
    house.work().await;
    house.misbehave(&["pending:1000"]).await;
    let pending = house.link_for("passport", None).await;
    assert_eq!(house.drop_files(&pending, &[("front", &png(2, 2_000))]).await.status(), 200);
    house.work().await;
    let held = house.link_for("passport", None).await;
    assert_eq!(house.drop_files(&held, &[("front", &png(3, 2_000))]).await.status(), 200);
    let states = [
        (&waiting, RequestState::Awaiting, 200, "<form"),
        (&revoked, RequestState::Revoked, 410, "withdrawn"),
        (&purged, RequestState::Purged, 200, "Deleted here on"),
        (&pending, RequestState::AwaitingConfirmation, 200, "Received. Thank you."),
        (&held, RequestState::Received, 200, "Received. Thank you."),
    ];
    for round in 0..3 {
        for (link, state, status, words) in &states {
            assert_eq!(house.state(link).await, *state, "start {round}");
            let page = house.http.get(house.public(&link.path)).send().await.unwrap();
            assert_eq!(page.status(), *status);
            assert!(page.text().await.unwrap().contains(words), "{state:?} after start {round}");
        }
        house.restart().await;
    }
    house.work().await;
    assert_ne!(house.state(&held).await, RequestState::Received, "it is passed on after the start");
    assert_eq!(house.drop_files(&waiting, &[("front", &png(4, 2_000))]).await.status(), 200);
    assert_eq!(house.drop_files(&held, &[("front", &png(4, 2_000))]).await.status(), 409);
}

#[tokio::test]
async fn an_upload_that_died_with_its_process_is_destroyed_at_the_start() {
    let house = House::new().await;
    let (link, held) = (house.link_for("passport", None).await, house.link_for("passport", None).await);
    assert_eq!(house.drop_files(&held, &[("front", &png(1, 100_000))]).await.status(), 200);
    let _half = Half::of(&house, &link, &[file("front", &png(2, 900_000)), end()].concat()).await;
    assert_eq!(house.portal.erasure.live().unwrap().len(), 2);
    let (app, _folder) = house.struck().await;
    let document = house.request(&held).await.document().unwrap().id;
    let live: Vec<_> = app.portal.erasure.live().unwrap().iter().map(|l| l.doc_id).collect();
    assert_eq!(live, [document.0], "only what was received");
    assert_eq!(app.portal.blobs.documents().await.unwrap(), [document]);
    let request = app.portal.records.request(link.id).await.unwrap().unwrap();
    assert!(request.receivings.is_empty());
    assert_eq!(request.state(app.portal.records.now()), RequestState::Awaiting);
    while worker::step(&app.portal).await.unwrap() == Step::Done {}
    assert_eq!(house.received().await.len(), 1, "what was received is passed on");
    assert_eq!(app.portal.erasure.live().unwrap(), vec![]);
}
