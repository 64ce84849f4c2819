//! One contract over all native kinds: an answer counts only when it is an answer about this document.
//!
//! Something in between (a proxy, a maintenance page, a captive portal) or the provider itself speaking of somebody else answers a request with what looks like
//! success. Nothing of that may be believed: the document would be purged as confirmed while the provider has nothing.
#![allow(clippy::unwrap_used)]

mod vendors;

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::fake::{Fake, Noted, Reply, Seen, no_secrets, outbound_of};
use super::{Connector, Delivered, Failure, OutboundDocument, Presence, Verdict, build};
use crate::domain::delivery::Receipt;

/// What a provider would answer.
#[derive(Clone)]
pub(super) struct Honest {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Honest {
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string(),
        }
    }

    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    fn reply(&self) -> Reply {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        Reply::with(self.status, &headers, self.body.as_bytes())
    }
}

/// A kind under the contract: how it is configured, and its provider.
pub(super) struct Subject {
    pub kind: &'static str,
    /// Lines of its table beside those that all have; `{url}` is filled in.
    pub lines: &'static str,
    pub applicant: &'static str,
    /// What the provider answers, given the requests that it has answered before.
    pub answer: fn(&[Seen], &Seen, Review) -> Honest,
    /// Ids in its answers, and what stands in the answers about another applicant and another document.
    pub other_applicant: &'static [(&'static str, &'static str)],
    pub other_document: &'static [(&'static str, &'static str)],
    /// Whether a lost answer can be found out by asking.
    pub lists: bool,
    /// Whether a verdict can be asked for.
    pub judges: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Review {
    Open,
    Accepted,
}

impl Subject {
    fn connector(&self, fake: &Fake) -> Arc<dyn Connector> {
        let url = fake.url();
        let insecure = if self.kind == "sandbox" {
            ""
        } else {
            "allow_insecure=true\nallow_private=true\n"
        };
        let table = format!("base_url='{url}'\n{insecure}timeout='5s'\n{}", self.lines.replace("{url}", &url));
        build(self.kind, &table.parse().unwrap(), no_secrets()).unwrap_or_else(|f| panic!("{}: {f:?}", self.kind))
    }

    fn outbound(&self) -> OutboundDocument {
        outbound_of(self.applicant, &[("front", &[1; 64]), ("back", &[2; 64])], 16)
    }
}

/// Whether a request leaves something behind at a provider.
fn carries(seen: &Seen) -> bool {
    !seen.line.starts_with("GET ") && !seen.line.contains("/token ") && !seen.line.contains("/oauth/")
}

/// An answer of something that is not the provider, or is not about this document. `honest`: what the provider would have answered.
type Stranger = fn(&Subject, &Honest) -> Option<Honest>;

fn page(body: &str, declared: Option<&str>) -> Honest {
    let page = Honest {
        body: body.to_owned(),
        ..Honest::empty(200)
    };
    match declared {
        Some(declared) => page.with("content-type", declared.to_owned()),
        None => page,
    }
}

macro_rules! json_strangers {
    ($($text:literal),+ $(,)?) => {
        [$(($text, (|_, _| Some(page($text, Some("application/json")))) as Stranger),)+]
    };
}

fn strangers() -> Vec<(&'static str, Stranger)> {
    const MAINTENANCE: &str = "<!doctype html><html><title>Scheduled maintenance</title><p>We will be back soon.</html>";
    const LOGIN: &str = "<html><form action='https://login.example.com/hotspot' method=post><input name=user></form></html>";
    let mut all = json_strangers![
        "{}",
        "[]",
        "null",
        "true",
        "1",
        "\"ok\"",
        "[[[{}]]]",
        "{\"ok\":true}",
        "{\"status\":\"success\"}",
        "{\"id\":\"x\"}",
        "{\"id\":17,\"status\":\"accepted\",\"result\":\"clear\"}",
        "{\"data\":{}}",
        "{\"data\":[]}",
        "{\"data\":{\"id\":\"x\",\"type\":\"document\",\"attributes\":{\"status\":\"Approved\"}}}",
        "{\"documents\":[]}",
        "{\"message\":\"scheduled maintenance\"}",
        "{\"error\":{\"type\":\"api_error\",\"message\":\"down\"},\"success\":false}",
        "{\"token\":\"x\",\"object\":\"account\",\"requirements\":{},\"verification\":{\"status\":\"verified\"}}",
    ]
    .to_vec();
    let more: [(&str, Stranger); 11] = [
        ("a maintenance page", |_, _| {
            Some(page(MAINTENANCE, Some("text/html; charset=utf-8")))
        }),
        ("a captive portal", |_, _| Some(page(LOGIN, None))),
        ("200 and nothing", |_, _| Some(Honest::empty(200))),
        ("204", |_, _| Some(Honest::empty(204))),
        ("a redirect to a login", |_, _| {
            Some(Honest::empty(302).with("location", "https://login.example.com/documents/17".to_owned()))
        }),
        ("201 and an address elsewhere", |_, _| {
            Some(
                Honest::empty(201)
                    .with("location", "https://login.example.com/documents/17".to_owned())
                    .with("x-image-id", "17".to_owned()),
            )
        }),
        ("half of the right answer", |_, honest| {
            let half = honest.body.len() / 2;
            (half > 0).then(|| Honest {
                body: honest.body[..half].to_owned(),
                ..honest.clone()
            })
        }),
        ("the right answer, declared as a page", |_, honest| {
            let mut other = honest.clone();
            other.headers.retain(|(name, _)| *name != "content-type");
            (!honest.body.is_empty()).then(|| other.with("content-type", "text/html".to_owned()))
        }),
        ("the answer about another applicant", |subject, honest| {
            replaced(honest, subject.other_applicant)
        }),
        ("the answer about another document", |subject, honest| {
            replaced(honest, subject.other_document)
        }),
        ("another's everything", |subject, honest| {
            replaced(&replaced(honest, subject.other_document)?, subject.other_applicant)
        }),
    ];
    all.extend(more);
    all
}

/// The same answer with other ids; `None` where it holds none of them.
fn replaced(honest: &Honest, ids: &[(&str, &str)]) -> Option<Honest> {
    let swap = |text: &str| ids.iter().fold(text.to_owned(), |text, (ours, theirs)| text.replace(ours, theirs));
    let other = Honest {
        status: honest.status,
        headers: honest.headers.iter().map(|(name, value)| (*name, swap(value))).collect(),
        body: swap(&honest.body),
    };
    (other.body != honest.body || other.headers != honest.headers).then_some(other)
}

/// Which requests of a conversation the stranger answers.
#[derive(Clone, Copy)]
enum At {
    Nowhere,
    Everywhere,
    /// The n-th.
    Only(usize),
}

struct Stage {
    fake: Fake,
    /// Whether the stranger had an answer of its own to give.
    met: Arc<Mutex<bool>>,
}

/// `before`: what the provider has seen of an earlier conversation.
async fn stage(subject: &'static Subject, stranger: Option<Stranger>, at: At, before: Vec<Seen>, review: Review) -> Stage {
    let (known, met) = (Arc::new(Mutex::new(before)), Arc::<Mutex<bool>>::default());
    let (answered, told) = (known, met.clone());
    let fake = Fake::start(move |n, seen| {
        let mut answered = answered.lock().unwrap();
        let honest = (subject.answer)(&answered, seen, review);
        let strange = match (stranger, at) {
            (Some(stranger), At::Everywhere) => stranger(subject, &honest),
            (Some(stranger), At::Only(only)) if only == n => stranger(subject, &honest),
            _ => None,
        };
        match strange {
            Some(strange) => {
                *told.lock().unwrap() = true;
                strange.reply()
            }
            None => {
                answered.push(seen.clone());
                honest.reply()
            }
        }
    })
    .await;
    Stage { fake, met }
}

impl Stage {
    fn met(&self) -> bool {
        *self.met.lock().unwrap()
    }
}

/// An undisturbed delivery: what came of it, what was noted, and the provider's memory of it.
async fn honest_delivery(subject: &'static Subject) -> (Delivered, OutboundDocument, Vec<Seen>) {
    let stage = stage(subject, None, At::Nowhere, Vec::new(), Review::Open).await;
    let (mut outbound, noted) = (subject.outbound(), Noted::default());
    let delivered = subject.connector(&stage.fake).deliver(&outbound, &noted).await;
    let delivered = delivered.unwrap_or_else(|failure| panic!("{}: the honest answers are believed: {failure:?}", subject.kind));
    outbound.progress = noted.steps.lock().unwrap().clone();
    (delivered, outbound, stage.fake.seen())
}

#[tokio::test]
async fn no_stranger_confirms_a_delivery() {
    for subject in vendors::SUBJECTS {
        let (_, _, seen) = honest_delivery(subject).await;
        let places = (0..seen.len()).filter(|n| carries(&seen[*n]) || n + 1 == seen.len()).map(At::Only);
        for at in std::iter::once(At::Everywhere).chain(places) {
            for (name, stranger) in strangers() {
                let stage = stage(subject, Some(stranger), at, Vec::new(), Review::Open).await;
                let outcome = subject.connector(&stage.fake).deliver(&subject.outbound(), &Noted::default()).await;
                let place = match at {
                    At::Only(n) => format!("to {}", seen[n].line),
                    _ => "to everything".to_owned(),
                };
                let what = format!("{}: {name} {place}", subject.kind);
                if !stage.met() {
                    assert!(outcome.is_ok(), "{what}: {outcome:?}");
                    continue;
                }
                let Err(failure) = outcome else {
                    panic!("{what}: believed: {outcome:?}")
                };
                // After bytes that may have arrived nothing is definite, unless the answer itself refuses them. (A check carries no document, and is found by
                // its tag.)
                let refused = name == "a redirect to a login";
                let sent = matches!(at, At::Only(n) if carries(&seen[n]) && !seen[n].line.contains("/checks"));
                let kept = matches!(failure, Failure::Ambiguous { .. });
                assert!(kept || refused || !sent, "{what}: {failure:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_stranger_makes_a_lost_document_present() {
    for subject in vendors::SUBJECTS {
        let (_, outbound, seen) = honest_delivery(subject).await;
        let honest = stage(subject, None, At::Nowhere, seen.clone(), Review::Open).await;
        let presence = subject.connector(&honest.fake).reconcile(&outbound).await.unwrap();
        assert_eq!(
            matches!(presence, Presence::Present(_)),
            subject.lists,
            "{}: {presence:?}",
            subject.kind
        );
        for (name, stranger) in strangers() {
            let stage = stage(subject, Some(stranger), At::Everywhere, seen.clone(), Review::Open).await;
            let presence = subject.connector(&stage.fake).reconcile(&outbound).await;
            let believed = matches!(presence, Ok(Presence::Present(_)));
            // What was noted of the provider's own answers needs no question.
            assert!(!believed || !stage.met(), "{}: {name}: {presence:?}", subject.kind);
        }
    }
}

#[tokio::test]
async fn no_stranger_accepts_a_document() {
    for subject in vendors::SUBJECTS.iter().filter(|subject| subject.judges) {
        let (delivered, outbound, seen) = honest_delivery(subject).await;
        let receipt = Receipt {
            references: delivered.references,
            received_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        let honest = stage(subject, None, At::Nowhere, seen.clone(), Review::Accepted).await;
        let verdict = subject.connector(&honest.fake).verdict(&outbound, &receipt).await;
        assert_eq!(verdict, Ok(Verdict::Accepted), "{}", subject.kind);
        for (name, stranger) in strangers() {
            let stage = stage(subject, Some(stranger), At::Everywhere, seen.clone(), Review::Accepted).await;
            let verdict = subject.connector(&stage.fake).verdict(&outbound, &receipt).await;
            assert!(verdict != Ok(Verdict::Accepted) || !stage.met(), "{}: {name}", subject.kind);
        }
    }
}

/// What a status means where the provider says no more, and that nothing of its own words comes through.
#[tokio::test]
async fn failures_are_sorted_by_status() {
    type Check = fn(&Failure) -> bool;
    let refused: Check = |f| matches!(f, Failure::Final { .. }) && !f.about_provider();
    let credentials: Check = |f| matches!(f, Failure::Credentials { .. }) && f.about_provider();
    let definite: Check = |f| matches!(f, Failure::Definite { .. }) && f.about_provider();
    let ambiguous: Check = |f| matches!(f, Failure::Ambiguous { .. }) && f.about_provider();
    let table = [
        (400, refused),
        (401, credentials),
        (403, credentials),
        (404, refused),
        (413, refused),
        (429, definite),
        (500, ambiguous),
        (504, ambiguous),
    ];
    for subject in vendors::SUBJECTS {
        let (_, _, seen) = honest_delivery(subject).await;
        let first = (0..seen.len()).find(|n| carries(&seen[*n])).unwrap();
        for (status, check) in table {
            let fake = Fake::start(move |n, seen| match n {
                n if n < first => (subject.answer)(&[], seen, Review::Open).reply(),
                _ => Honest::json(status, &serde_json::json!({"message": "Jane"})).reply(),
            })
            .await;
            let failure = subject
                .connector(&fake)
                .deliver(&subject.outbound(), &Noted::default())
                .await
                .unwrap_err();
            assert!(check(&failure), "{} {status}: {failure:?}", subject.kind);
            let problem = failure.problem();
            assert!(!format!("{failure:?}").contains("Jane"), "{failure:?}");
            assert!(problem.code.contains('.') && problem.text.len() > 20, "{problem:?}");
        }
    }
}
