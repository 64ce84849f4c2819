//! The tables in the documents are read from there and run: against a vendor that checks every request as its description has it, with lost answers, and with
//! answers that are not the vendor's.

mod vendors;

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, iter};
use nightdrop::testing::connectors::{self, Delivered, Failure, Keys, OutboundDocument, OutboundPart, ProgressLog, Source, SourceError};
use nightdrop::testing::domain::document::{ApplicantRef, DocumentKind, FileType, PartName};
use nightdrop::testing::domain::id::DocumentId;
use nightdrop::testing::settings::{Reader, Secret};
use serde_json::{Value, json};

use super::server::{Reply, Server, Twist};
use super::{Case, End, HARMLESS, all_ways, misbehaving, only_received, side, ways_without_callbacks};
use crate::support::walk;
use vendors::{Between, Said, Scripted};

const PAGE: &str = include_str!("../../../docs/operations/provider-recipes.md");
const NAMES: [&str; 6] = ["increase", "moov", "checkout", "modern-treasury", "column", "alpaca"];

fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

/// The lines of a recipe as a test takes them: its addresses are `{base}`, its secrets are in `{secrets}`, and its table is `{name}`.
fn lines_of(name: &str) -> String {
    let table = format!("providers.{name}");
    let head = format!("[{table}]");
    let recipe = blocks(PAGE)
        .find(|block| block.starts_with(&head))
        .unwrap_or_else(|| panic!("{name} has no recipe"));
    let line = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        match key {
            "kind" => None,
            _ if line == head => None,
            "base_url" => Some("base_url = \"{base}\"".to_owned()),
            _ if key.ends_with("_file") => Some(line.replace("\"secrets/", "\"{secrets}/")),
            _ => Some(line.replace(&table, "{name}")),
        }
    };
    recipe.lines().filter_map(line).collect::<Vec<_>>().join("\n")
}

fn case(name: &'static str) -> Case {
    let secrets = match name {
        "increase" => vec![("increase", "key".into()), ("increase-webhook", vendors::WEBHOOK.into())],
        "modern-treasury" => vec![("modern-treasury", "key".into()), ("modern-treasury-webhook", "hook".into())],
        _ => vec![(name, "key".into())],
    };
    Case {
        kind: "http",
        vendor: Box::new(Scripted::new(name)),
        lines: lines_of(name),
        secrets,
        applicant: vendors::applicant(name),
        one_side: "passport",
        two_sides: (name != "checkout").then_some("government-id"),
    }
}

/// Nothing in the documents is a table that nobody runs.
#[test]
fn every_table_of_kind_http_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let pages = ["docs", "assets/docs"].into_iter().flat_map(|folder| walk(&root.join(folder)));
    for page in pages
        .chain([root.join("README.md")])
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let text = std::fs::read_to_string(page).unwrap();
        for block in blocks(&text).filter(|block| block.contains("kind = \"http\"")) {
            let head = block.lines().next().unwrap().to_owned();
            found.push(head.trim_start_matches("[providers.").trim_end_matches(']').to_owned());
        }
    }
    let mut known = NAMES.map(str::to_owned);
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

/// Whatever of this happens, the document is there once in the end.
const ONCE: [(Twist, End); 7] = [
    HARMLESS[0],
    HARMLESS[1],
    HARMLESS[2],
    (Twist::DropBefore, End::Once),
    (Twist::CommitThenDrop, End::Once),
    (Twist::CommitThenError, End::Once),
    (Twist::LostAndGarbled, End::Once),
];

#[tokio::test]
async fn increase() {
    all_ways(case("increase")).await;
    // Each at the first file and at the last attachment.
    misbehaving(case("increase"), &ONCE).await;
}

#[tokio::test]
async fn moov() {
    ways_without_callbacks(case("moov")).await;
    misbehaving(case("moov"), &ONCE).await;
}

#[tokio::test]
async fn checkout() {
    only_received(case("checkout")).await;
    // A requirement that was answered cannot be asked for; everything before it is repeated by itself.
    misbehaving(
        case("checkout"),
        &[
            HARMLESS[0],
            HARMLESS[1],
            (Twist::CommitThenDrop, End::Either),
            (Twist::DropBefore, End::Either),
        ],
    )
    .await;
}

#[tokio::test]
async fn modern_treasury() {
    all_ways(case("modern-treasury")).await;
    misbehaving(case("modern-treasury"), &ONCE).await;
}

#[tokio::test]
async fn column() {
    only_received(case("column")).await;
    misbehaving(
        case("column"),
        &[
            HARMLESS[0],
            HARMLESS[1],
            (Twist::CommitThenDrop, End::Person),
            (Twist::CommitThenError, End::Person),
        ],
    )
    .await;
}

#[tokio::test]
async fn alpaca() {
    ways_without_callbacks(case("alpaca")).await;
    misbehaving(case("alpaca"), &ONCE).await;
}

/// Whatever answers one of a delivery's requests instead of the vendor: a document is reported as delivered only when the vendor has all of it.
#[tokio::test]
async fn no_recipe_believes_a_stranger() {
    for name in NAMES {
        let undisturbed = deliver(name, None).await;
        assert!(
            undisturbed.delivered.is_ok(),
            "{name}: {:?} {:?}",
            undisturbed.delivered,
            undisturbed.complaints
        );
        assert!(undisturbed.complete && undisturbed.requests >= 1, "{name}");
        for at in 0..undisturbed.requests {
            for (what, said) in strangers() {
                let end = deliver(name, Some(Between { at: Some(at), said })).await;
                let believed = end.delivered.is_ok() && !end.complete;
                assert!(!believed, "{name} believes {what} at request {at}: {:?}", end.delivered);
            }
        }
        // Something in between that answers everything, also the questions that should tell.
        for (what, said) in strangers() {
            let end = deliver(name, Some(Between { at: None, said })).await;
            assert!(end.delivered.is_err(), "{name} believes {what}: {:?}", end.delivered);
        }
    }
}

/// Of one delivery straight through the connector.
struct Ended {
    delivered: Result<Delivered, Failure>,
    complete: bool,
    requests: usize,
    complaints: Vec<String>,
}

fn strangers() -> Vec<(&'static str, Said)> {
    let json = |value: Value| Said::Reply(Reply::json(200, value));
    let text = |kind: &str, body: &str| {
        let mut reply = Reply::empty(200).with("content-type", kind);
        reply.body = body.as_bytes().to_vec();
        Said::Reply(reply)
    };
    vec![
        ("an object", json(json!({}))),
        ("a list", json(json!([]))),
        ("null", json(Value::Null)),
        ("true", json(json!(true))),
        ("a number", json(json!(7))),
        ("a string", json(json!("ok"))),
        ("ok", json(json!({"ok": true}))),
        ("a status", json(json!({"status": "success"}))),
        ("an id", json(json!({"id": "x"}))),
        ("a file id", json(json!({"id": "file_x", "fileID": "x"}))),
        ("a list of ids", json(json!([{"id": "x", "fileID": "x"}]))),
        ("data", json(json!({"data": []}))),
        ("data with an id", json(json!({"data": [{"id": "x", "file_id": "x"}]}))),
        ("documents", json(json!({"id": "x", "documents": [{"id": "x"}]}))),
        ("evidence", json(json!({"evidence": [{"id": "evid_x", "entity_id": "enti_x"}]}))),
        (
            "a page",
            text("text/html; charset=utf-8", "<html><title>Maintenance</title></html>"),
        ),
        ("a page that says JSON", text("application/json", "<html></html>")),
        ("an empty page", text("text/plain", "")),
        ("no content", Said::Reply(Reply::empty(204))),
        ("accepted", Said::Reply(Reply::empty(202))),
        ("created, and nothing", Said::Reply(Reply::empty(201))),
        ("truncated JSON", text("application/json", "{\"id\": \"x\", \"accountID\": \"")),
        ("the right answer cut off", Said::CutOff),
        ("the right answer as a page", Said::AsPage),
        ("another applicant's right answer", Said::Another),
    ]
}

async fn deliver(name: &'static str, between: Option<Between>) -> Ended {
    let server = Server::start(Box::new(Scripted::new(name).with(between))).await;
    let base = format!("http://{}", server.address);
    let lines = lines_of(name)
        .replace("{base}", &base)
        .replace("{name}", "x")
        .replace("{secrets}/", "");
    let text = format!("allow_insecure = true\nallow_private = true\ntimeout = \"5s\"\n{lines}");
    // The tables inside are named as in a whole configuration.
    let mut own: toml::Table = text.parse().unwrap();
    if let Some(toml::Value::Table(nested)) = own.remove("x") {
        own.extend(nested);
    }
    let secret = |path: &str| Ok(Secret::new(if path.ends_with("webhook") { vendors::WEBHOOK } else { "key" }));
    let mut reader = Reader::new(&own, &secret);
    let connector = connectors::read("http", &mut reader);
    let (connector, _) = reader.finish(connector).unwrap().unwrap();
    let sides = if name == "checkout" { vec!["front"] } else { vec!["front", "back"] };
    let outbound = outbound(name, &sides);
    let delivered = connector.deliver(&outbound, &Notes::default()).await;
    let wanted: super::Effect = sides.iter().map(|s| ((*s).to_owned(), side(s))).collect();
    Ended {
        delivered,
        complete: server.vendor(|v| v.effects()) == [wanted],
        requests: server.seen().len(),
        complaints: server.complaints(),
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<(String, String)>>);

#[async_trait::async_trait]
impl ProgressLog for Notes {
    async fn note(&self, step: &str, value: &str) -> Result<(), Failure> {
        self.0.lock().unwrap().push((step.to_owned(), value.to_owned()));
        Ok(())
    }
}

struct Fixed;

impl Keys for Fixed {
    fn idempotency(&self, call: u8) -> String {
        format!("{call:0>32}")
    }

    fn boundary(&self, call: u8) -> String {
        format!("nightdrop-{call:0>32}")
    }
}

struct Sides(Vec<Vec<u8>>);

impl Source for Sides {
    fn open(&self, part: usize) -> BoxStream<'static, Result<Bytes, SourceError>> {
        let chunks: Vec<_> = self.0[part].chunks(50_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        iter(chunks).boxed()
    }
}

fn outbound(name: &str, sides: &[&str]) -> OutboundDocument {
    let part = |name: &&str| OutboundPart {
        name: PartName::parse(name).unwrap(),
        file_type: FileType::Png,
        size: side(name).len() as u64,
        digest: [0; 32],
    };
    OutboundDocument {
        document: DocumentId([7; 16]),
        epoch: 0,
        applicant: ApplicantRef::parse(vendors::applicant(name)).unwrap(),
        kind: DocumentKind::parse("passport").unwrap(),
        parts: sides.iter().map(part).collect(),
        progress: Vec::new(),
        keys: Arc::new(Fixed),
        source: Arc::new(Sides(sides.iter().map(|s| side(s)).collect())),
    }
}
