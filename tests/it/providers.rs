//! Every provider's connector through the whole portal, against a vendor that plays its documentation byte by byte and misbehaves when told to.
//! The worker is driven by hand and the clock is moved, so that minutes and days pass at once.

mod adyen;
mod asked;
mod bridge;
pub mod crash;
mod doctor;
mod dwolla;
mod lithic;
mod onfido;
mod recipes;
pub mod server;
mod stripe;
mod sumsub;
mod synapse;
mod unit;
mod web;

use nightdrop::testing::domain::document::{ApplicantRef, DocumentKind, ProviderName};
use nightdrop::testing::domain::request::RequestState;
use time::Duration;

use crate::support::{Folder, Link, TestApp, TestClock, TestOptions, ask, picture, private};
use server::{Effect, Review, Server, Twist, Vendor};

/// A provider under test.
pub struct Case {
    pub kind: &'static str,
    pub vendor: Box<dyn Vendor>,
    /// Lines of its table; `{base}` and `{secrets}` are filled in. Tables inside it begin with `[{name}.`.
    pub lines: String,
    /// (file, content)
    pub secrets: Vec<(&'static str, String)>,
    pub applicant: &'static str,
    /// The document with one side and the one with two, if there is one.
    pub one_side: &'static str,
    pub two_sides: Option<&'static str>,
}

struct Stage {
    app: TestApp,
    clock: TestClock,
    server: Server,
    applicant: &'static str,
    _secrets: Folder,
}

/// The bytes of a side: different for every side, larger than every minimum in bytes and pixels, more than one chunk.
pub fn side(name: &str) -> Vec<u8> {
    static SIDES: std::sync::LazyLock<[Vec<u8>; 2]> = std::sync::LazyLock::new(|| [picture(1, 208, 130_000), picture(2, 208, 130_000)]);
    SIDES[usize::from(name != "front")].clone()
}

/// The provider under three names: confirmed by the upload, by a verdict (where one can be had), and with little patience.
fn tables(kind: &str, lines: &str, server: &Server, secrets: &std::path::Path) -> String {
    let judges = kind != "http" || lines.contains("{name}.verdict]");
    // Patience is short only where a provider is to keep silent: a busy machine is no misbehaviour.
    let names = [("received", "60s"), ("verdict", "60s"), ("impatient", "1s")];
    let table = |(name, timeout): (&str, &str)| {
        let confirm = if name == "verdict" { "verdict" } else { "received" };
        let table = format!("providers.{name}");
        let lines = lines
            .replace("{base}", &format!("http://{}", server.address))
            .replace("{host}", "127.0.0.1")
            .replace("{secrets}", &secrets.to_string_lossy())
            .replace("{name}", &table);
        format!(
            "[{table}]\nkind = \"{kind}\"\nallow_insecure = true\nallow_private = true\ntimeout = \"{timeout}\"\nconfirm = \"{confirm}\"\n{lines}\n"
        )
    };
    names
        .into_iter()
        .filter(|(name, _)| judges || *name != "verdict")
        .map(table)
        .collect()
}

impl Stage {
    async fn of(case: &mut Option<Case>) -> Self {
        let case = case.take().unwrap();
        let secrets = Folder::new();
        for (name, content) in &case.secrets {
            private(&secrets.path().join(name), content);
        }
        let server = Server::start(case.vendor).await;
        let more = tables(case.kind, &case.lines, &server, secrets.path());
        let (options, clock) = TestOptions {
            more,
            ..TestOptions::default()
        }
        .with_clock();
        Self {
            app: TestApp::with_options(options).await,
            clock,
            server,
            applicant: case.applicant,
            _secrets: secrets,
        }
    }

    async fn dropped(&self, provider: &str, document: &str, sides: &[&str]) -> Link {
        let mut ask = ask(self.applicant, document);
        ask.provider = ProviderName::parse(provider).unwrap();
        ask.document = DocumentKind::parse(document).unwrap();
        ask.applicant = ApplicantRef::parse(self.applicant).unwrap();
        ask.parts = Some(
            sides
                .iter()
                .map(|s| nightdrop::testing::domain::document::PartName::parse(s).unwrap())
                .collect(),
        );
        let link = self.app.issue(ask).await;
        let files: Vec<(&str, Vec<u8>)> = sides.iter().map(|s| (*s, side(s))).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        let answer = self.app.drop_files(&link, &files).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        link
    }

    /// Works and lets time pass until nothing changes any more.
    async fn settle(&self, link: &Link) -> RequestState {
        for _ in 0..60 {
            self.app.work().await;
            let state = self.app.state(link).await;
            if matches!(state, RequestState::Purged | RequestState::NeedsAttention) {
                return state;
            }
            self.clock.forward(Duration::seconds(70));
        }
        self.app.state(link).await
    }

    async fn cause(&self, link: &Link) -> String {
        let request = self.app.request(link).await;
        let receipt = self
            .app
            .portal
            .requests
            .deletion_receipt(request.tombstones[0].receipt)
            .await
            .unwrap()
            .unwrap()
            .receipt;
        receipt.erasure.cause.clone()
    }

    /// Exactly one submission with exactly these bytes.
    fn assert_one(&self, sides: &[&str], what: &str) {
        let expected: Effect = sides.iter().map(|s| ((*s).to_owned(), side(s))).collect();
        let effects = self.server.vendor(|v| v.effects());
        let short: Vec<Vec<(&str, usize)>> = effects
            .iter()
            .map(|e| e.iter().map(|(s, b)| (s.as_str(), b.len())).collect())
            .collect();
        assert!(effects == [expected], "{what}: {short:?}");
        assert!(self.server.complaints().is_empty(), "{what}: {:#?}", self.server.complaints());
    }

    async fn problem(&self, link: &Link) -> String {
        let request = self.app.request(link).await;
        let problem = request.held().and_then(|(_, delivery)| delivery.last_problem.clone());
        problem.map_or_else(String::new, |p| p.code)
    }

    async fn call_back(&self, provider: &str) -> reqwest::StatusCode {
        let now = self.app.portal.now().unix_timestamp();
        let (headers, body) = self.server.vendor(|v| v.callback(now));
        self.post_callback(provider, &headers, body).await
    }

    async fn post_callback(&self, provider: &str, headers: &[(String, String)], body: Vec<u8>) -> reqwest::StatusCode {
        let mut call = self.app.http.post(self.app.public(&format!("/hooks/{provider}"))).body(body);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.send().await.unwrap().status()
    }
}

/// Where no verdict can be had: one side and, where it takes them, two, confirmed by the upload.
pub async fn only_received(case: Case) {
    let one = (case.one_side, &["front"][..]);
    let documents: Vec<_> = [one]
        .into_iter()
        .chain(case.two_sides.map(|kind| (kind, &["front", "back"][..])))
        .collect();
    let stage = Stage::of(&mut Some(case)).await;
    for (document, sides) in documents {
        stage.server.clear();
        let link = stage.dropped("received", document, sides).await;
        assert_eq!(
            stage.settle(&link).await,
            RequestState::Purged,
            "{}: {:#?}",
            stage.problem(&link).await,
            stage.server.complaints()
        );
        stage.assert_one(sides, document);
    }
}

/// Front only and both sides; confirmed by the upload, by asking, and by a callback; accepted and rejected.
pub async fn all_ways(case: Case) {
    ways(case, &[false, true]).await;
}

/// The same where the provider does not call.
pub async fn ways_without_callbacks(case: Case) {
    ways(case, &[false]).await;
}

async fn ways(case: Case, callbacks: &[bool]) {
    let documents: Vec<(&str, Vec<&str>)> = Some((case.one_side, vec!["front"]))
        .filter(|(kind, _)| !kind.is_empty())
        .into_iter()
        .chain(case.two_sides.map(|kind| (kind, vec!["front", "back"])))
        .collect();
    let stage = Stage::of(&mut Some(case)).await;
    for (document, sides) in &documents {
        let what = format!("{document} received");
        stage.server.clear();
        let link = stage.dropped("received", document, sides).await;
        assert_eq!(
            stage.settle(&link).await,
            RequestState::Purged,
            "{what}: {}",
            stage.problem(&link).await
        );
        assert_eq!(stage.cause(&link).await, "confirmed", "{what}");
        stage.assert_one(sides, &what);

        for (review, cause) in [(Review::Accepted, "confirmed"), (Review::Rejected, "rejected")] {
            for by_callback in callbacks.iter().copied() {
                let what = format!("{document} {review:?} callback {by_callback}");
                stage.server.clear();
                stage.server.vendor(|v| v.decide(Review::Open));
                let link = stage.dropped("verdict", document, sides).await;
                stage.app.work().await;
                assert_eq!(
                    stage.app.state(&link).await,
                    RequestState::AwaitingConfirmation,
                    "{what}: {}",
                    stage.problem(&link).await
                );
                stage.server.vendor(|v| v.decide(review));
                if by_callback {
                    stage.app.work().await;
                    assert_eq!(
                        stage.app.state(&link).await,
                        RequestState::AwaitingConfirmation,
                        "{what}: nobody asked yet"
                    );
                    let now = stage.app.portal.now().unix_timestamp();
                    let (headers, body) = stage.server.vendor(|v| v.callback(now));
                    let forged: Vec<_> = headers.iter().map(|(n, v)| (n.clone(), flipped(n, v))).collect();
                    assert_eq!(stage.post_callback("verdict", &forged, body.clone()).await, 401, "{what}: forged");
                    assert_eq!(stage.post_callback("verdict", &[], body).await, 401, "{what}: unsigned");
                    assert_eq!(stage.call_back("verdict").await, 200, "{what}");
                    stage.app.work().await;
                    assert_eq!(stage.app.state(&link).await, RequestState::Purged, "{what}");
                    assert_eq!(stage.call_back("verdict").await, 200, "{what}: again");
                } else {
                    assert_eq!(stage.settle(&link).await, RequestState::Purged, "{what}");
                }
                assert_eq!(stage.cause(&link).await, cause, "{what}");
                stage.assert_one(sides, &what);
                // Dedupe of callbacks is by content: the next one must differ.
                stage.clock.forward(Duration::seconds(1));
            }
        }
        stage.server.vendor(|v| v.decide(Review::Accepted));
    }
}

/// A signature with another end; other headers stay.
fn flipped(name: &str, value: &str) -> String {
    let signs = (name.contains("signature") || name.contains("digest")) && !name.ends_with("-alg");
    if !signs {
        return value.to_owned();
    }
    let kept = &value[..value.len() - 8];
    format!("{kept}{}", if value.ends_with('=') { "AAAAAAA=" } else { "00000000" })
}

/// What may come of a twist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Passed on with exactly one effect.
    Once,
    /// Handed to a person, with one effect or none; never two.
    Person,
    /// One of the two, by where it happened; never two effects.
    Either,
}

/// Each twist at the first and at the last request that carries something.
pub async fn misbehaving(case: Case, ends: &[(Twist, End)]) {
    let (document, sides) = match case.two_sides {
        Some(kind) => (kind, vec!["front", "back"]),
        None => (case.one_side, vec!["front"]),
    };
    let requests = case.kind;
    let stage = Stage::of(&mut Some(case)).await;
    // How many requests of an undisturbed delivery carry something.
    let link = stage.dropped("received", document, &sides).await;
    assert_eq!(
        stage.settle(&link).await,
        RequestState::Purged,
        "{requests}: {}",
        stage.problem(&link).await
    );
    let carried = stage.server.seen().into_iter().filter(|r| stage.server.vendor(|v| v.carries(r)));
    let carrying = carried.map(|r| (r.line(), r.body)).collect::<std::collections::BTreeSet<_>>().len();
    let places: Vec<usize> = if carrying > 1 { vec![0, carrying - 1] } else { vec![0] };
    for (twist, end) in ends {
        for place in &places {
            let what = format!("{twist:?} at {place} of {carrying}");
            stage.server.clear();
            let twists: Vec<Twist> = std::iter::repeat_n(Twist::None, *place).chain([*twist]).collect();
            stage.server.twist(&twists);
            let patience = if *twist == Twist::CommitThenSilence {
                "impatient"
            } else {
                "received"
            };
            let link = stage.dropped(patience, document, &sides).await;
            let state = stage.settle(&link).await;
            let code = stage.problem(&link).await;
            let once = *end == End::Once || (*end == End::Either && state == RequestState::Purged);
            match once {
                true => {
                    assert_eq!(state, RequestState::Purged, "{what}: {code}");
                    assert_eq!(stage.cause(&link).await, "confirmed", "{what}");
                    stage.assert_one(&sides, &what);
                }
                false => {
                    assert_eq!(state, RequestState::NeedsAttention, "{what}");
                    assert!(!code.is_empty(), "{what}: a person is told why");
                    let effects = stage.server.vendor(|v| v.effects());
                    assert!(effects.len() <= 1, "{what}");
                    assert!(stage.server.complaints().is_empty(), "{what}: {:#?}", stage.server.complaints());
                }
            }
        }
    }
}

/// A list that shows a new document five minutes late doubles nothing: until then nothing is sent again.
pub async fn late_list(case: Case) {
    let (document, sides) = match case.two_sides {
        Some(kind) => (kind, vec!["front", "back"]),
        None => (case.one_side, vec!["front"]),
    };
    let stage = Stage::of(&mut Some(case)).await;
    let carried = || {
        let seen = stage.server.seen().into_iter();
        seen.filter(|r| stage.server.vendor(|v| v.carries(r))).count()
    };
    stage.server.twist(&[Twist::CommitThenDrop]);
    let link = stage.dropped("received", document, &sides).await;
    stage.app.work().await;
    stage.server.vendor(|v| v.hide(true));
    let sent = carried();
    for _ in 0..29 {
        stage.clock.forward(Duration::seconds(10));
        stage.app.work().await;
        assert_eq!(carried(), sent, "{}: sent again before its list can be up to date", stage.applicant);
    }
    assert!(
        stage.server.seen().iter().filter(|r| r.method == "GET").count() > 2,
        "it was asked meanwhile"
    );
    stage.server.vendor(|v| v.hide(false));
    assert_eq!(stage.settle(&link).await, RequestState::Purged, "{}", stage.problem(&link).await);
    stage.assert_one(&sides, "a late list");
}

/// What is proven absent goes again as it was: the vendor does not promise to honour the key, and may.
pub async fn again_under_one_key(case: Case) {
    let (document, sides) = (case.two_sides.unwrap(), ["front", "back"]);
    let stage = Stage::of(&mut Some(case)).await;
    stage.server.twist(&[Twist::DropBefore]);
    let link = stage.dropped("received", document, &sides).await;
    assert_eq!(stage.settle(&link).await, RequestState::Purged, "{}", stage.problem(&link).await);
    stage.assert_one(&sides, "absent, and sent again");
    let seen: Vec<_> = stage
        .server
        .seen()
        .into_iter()
        .filter(|r| stage.server.vendor(|v| v.carries(r)))
        .collect();
    assert_eq!(
        (&seen[0].body, seen[0].header("idempotency-key")),
        (&seen[1].body, seen[1].header("idempotency-key"))
    );
    let asked = stage
        .server
        .seen()
        .iter()
        .position(|r| r.body == seen[1].body && r.method == "POST")
        .unwrap();
    let between = &stage.server.seen()[asked + 1..];
    assert!(
        between.iter().take_while(|r| r.body != seen[1].body).any(|r| r.method == "GET"),
        "its list was asked first"
    );
}

/// What goes well at every provider: nothing was stored, or the refusal is about the moment.
pub const HARMLESS: [(Twist, End); 3] = [(Twist::None, End::Once), (Twist::Pause, End::Once), (Twist::Revoked, End::Once)];

/// After which a document may be there; all of them must end with one effect.
pub fn all_once(more: &[(Twist, End)]) -> Vec<(Twist, End)> {
    let mut ends = HARMLESS.to_vec();
    ends.extend(
        [
            Twist::Maintenance,
            Twist::DropBefore,
            Twist::CommitThenDrop,
            Twist::CommitThenSilence,
            Twist::CommitThenEndless,
            Twist::CommitThenError,
            Twist::LostAndGarbled,
        ]
        .map(|twist| (twist, End::Once)),
    );
    ends.retain(|(twist, _)| !more.iter().any(|(other, _)| other == twist));
    ends.extend_from_slice(more);
    ends
}
