//! What an operator asks from the shell: `nightdrop doctor` of every provider, with credentials that are right, revoked, of the wrong place, and while it is away;
//! and `nightdrop missing` of every provider, with a list or without.

use std::process::Output;

use nightdrop::testing::app::{self, App, KeyProtection};
use nightdrop::testing::config::Config;
use nightdrop::testing::connectors::KINDS;
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::domain::agent::{Actor, Role};
use nightdrop::testing::storage::clock::Source;
use nightdrop::testing::workflow::{WorkflowError, issue, sign_in};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Server, Vendor};
use super::{Case, Stage, web};
use crate::cli::nightdrop;
use crate::support::{Folder, TestApp, TestOptions, ask, png, private, walk};

/// One harmless question: what a provider is asked, how it knows the portal, and what it answers.
struct Question {
    name: &'static str,
    /// Its table, behind `kind` and the address.
    lines: &'static str,
    line: &'static str,
    header: (&'static str, &'static str),
    status: u16,
    answer: &'static str,
    /// Settings that a refusal must point at.
    settings: &'static [&'static str],
}

const QUESTIONS: [Question; 11] = [
    Question {
        name: "stripe",
        lines: "api_key_file = \"secret\"",
        line: "GET /stripe/v1/account",
        header: ("authorization", "Bearer good"),
        status: 200,
        answer: r#"{"id": "acct_1"}"#,
        settings: &["api_key_file"],
    },
    Question {
        name: "unit",
        lines: "api_key_file = \"secret\"",
        line: "GET /unit/applications?page[limit]=1",
        header: ("authorization", "Bearer good"),
        status: 200,
        answer: r#"{"data": []}"#,
        settings: &["api_key_file", "base_url"],
    },
    Question {
        name: "sumsub",
        lines: "app_token_file = \"secret\"\nsecret_key_file = \"secret\"\ncountry = \"USA\"",
        line: "GET /sumsub/resources/applicants/000000000000000000000000/requiredIdDocsStatus",
        header: ("x-app-token", "good"),
        status: 404,
        answer: r#"{"code": 404}"#,
        settings: &["app_token_file", "secret_key_file"],
    },
    Question {
        name: "dwolla",
        lines: "environment = \"sandbox\"\nclient_id = \"id\"\nclient_secret_file = \"secret\"",
        line: "GET /dwolla/",
        header: ("authorization", "Bearer token"),
        status: 200,
        answer: r#"{"_links": {}}"#,
        settings: &["client_id", "client_secret_file", "environment"],
    },
    Question {
        name: "onfido",
        lines: "region = \"eu\"\napi_token_file = \"secret\"",
        line: "GET /onfido/webhooks",
        header: ("authorization", "Token token=good"),
        status: 200,
        answer: r#"{"webhooks": []}"#,
        settings: &["api_token_file", "region"],
    },
    Question {
        name: "adyen",
        lines: "environment = \"test\"\napi_key_file = \"secret\"",
        line: "GET /adyen/legalEntities/LE00000000000000000000000",
        header: ("x-api-key", "good"),
        status: 422,
        answer: r#"{"errorCode": "30_031"}"#,
        settings: &["api_key_file", "environment"],
    },
    Question {
        name: "lithic",
        lines: "environment = \"live\"\napi_key_file = \"secret\"\nupload_hosts = [\"uploads.example.com\"]",
        line: "GET /lithic/v1/event_subscriptions?page_size=1",
        header: ("authorization", "good"),
        status: 200,
        answer: r#"{"data": []}"#,
        settings: &["api_key_file", "environment"],
    },
    Question {
        name: "bridge",
        lines: "environment = \"live\"\napi_key_file = \"secret\"\ncountry = \"USA\"",
        line: "GET /bridge/customers?limit=1",
        header: ("api-key", "good"),
        status: 200,
        answer: r#"{"count": 0, "data": []}"#,
        settings: &["api_key_file", "environment"],
    },
    Question {
        name: "synapse",
        lines: "client_id = \"id\"\nclient_secret_file = \"secret\"\nfingerprint_file = \"secret\"\nuser_ip = \"1.2.3.4\"",
        line: "GET /synapse/users/document-types",
        header: ("x-sp-gateway", "id|good"),
        status: 200,
        answer: r#"{"physical_docs": []}"#,
        settings: &["client_id", "client_secret_file", "fingerprint_file"],
    },
    Question {
        name: "http",
        lines: "auth = \"bearer\"\napi_key_file = \"secret\"\ncheck_path = \"/ping\"\nupload = { path = \"/up/{applicant}\", answer_names = { \"/who\" = \"{applicant}\" } }",
        line: "GET /http/ping",
        header: ("authorization", "Bearer good"),
        status: 200,
        answer: "{}",
        settings: &["api_key_file", "base_url"],
    },
    Question {
        name: "sandbox",
        lines: "api_key_file = \"secret\"",
        line: "GET /sandbox/v1/account",
        header: ("authorization", "Bearer good"),
        status: 200,
        answer: "{}",
        settings: &["api_key_file", "base_url"],
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Away,
    /// Something else answers at its address.
    Another,
}

struct Desk(Mood);

impl Vendor for Desk {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        if self.0 != Mood::Well {
            return Ok(match self.0 {
                Mood::Away => Reply::empty(503),
                _ => Reply::json(200, json!({"message": "welcome to nginx"})),
            });
        }
        if request.line() == "POST /dwolla/token" {
            // Basic id:good
            let good = request.header("authorization") == "Basic aWQ6Z29vZA==";
            return Ok(if good {
                Reply::json(200, json!({"access_token": "token", "expires_in": 3600}))
            } else {
                Reply::json(401, json!({"error": "invalid_client", "who": "Jane"}))
            });
        }
        let asked = QUESTIONS.iter().find(|q| q.line == request.line());
        let question = asked.ok_or_else(|| format!("{} is not harmless", request.line()))?;
        if request.header(question.header.0) != question.header.1 {
            return Ok(Reply::json(401, json!({"message": "Jane"})));
        }
        let answer: Value = serde_json::from_str(question.answer).unwrap();
        Ok(Reply::json(question.status, answer))
    }

    fn carries(&self, _: &Request) -> bool {
        false
    }

    fn effects(&self) -> Vec<Effect> {
        Vec::new()
    }

    fn decide(&mut self, review: Review) {
        self.0 = match review {
            Review::Open => Mood::Away,
            Review::Accepted => Mood::Well,
            Review::Rejected => Mood::Another,
        };
    }

    fn callback(&self, _: i64) -> (Vec<(String, String)>, Vec<u8>) {
        (Vec::new(), Vec::new())
    }

    fn clear(&mut self) {}

    fn has_keys(&self) -> bool {
        false
    }

    fn hide(&mut self, _: bool) {}
}

struct Office {
    folder: Folder,
    server: Server,
}

impl Office {
    async fn open() -> Self {
        let (folder, server) = (Folder::new(), Server::start(Box::new(Desk(Mood::Well))).await);
        let mut text = "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = true\n".to_owned();
        for question in &QUESTIONS {
            let name = question.name;
            text.push_str(&format!(
                "[providers.{name}]\nkind = \"{name}\"\nbase_url = \"http://{}/{name}\"\nallow_insecure = true\nallow_private = true\n{}\n",
                server.address, question.lines
            ));
        }
        text.push_str("[providers.by-hand]\nkind = \"manual\"\n");
        private(&folder.path().join("nightdrop.toml"), &text);
        private(&folder.path().join("secret"), "good");
        Self { folder, server }
    }

    /// (level, text, fix) of what is said about each provider.
    async fn findings(&self, more: &'static [&'static str]) -> Vec<(String, String, String)> {
        let config = self.folder.path().join("nightdrop.toml");
        let run = move || {
            nightdrop(&["doctor", "--json"])
                .args(more)
                .arg("--config")
                .arg(config)
                .output()
                .unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let all = report["findings"].as_array().unwrap().iter().filter(|f| f["area"] == "providers");
        all.map(|f| (text(f, "level"), text(f, "text"), text(f, "fix"))).collect()
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
async fn the_doctor_asks_every_provider_and_says_what_it_answered() {
    let asked: Vec<&str> = QUESTIONS.iter().map(|q| q.name).chain(["manual"]).collect();
    assert!(KINDS.iter().all(|kind| asked.contains(kind)), "a kind has no question");
    let office = Office::open().await;

    let well = office.findings(&[]).await;
    assert_eq!(well.len(), QUESTIONS.len() + 1, "{well:?}");
    assert!(well.iter().all(|(level, ..)| level == "good"), "{well:?}");
    assert!(office.server.complaints().is_empty(), "{:?}", office.server.complaints());
    let one = office.findings(&["--provider", "lithic"]).await;
    assert!(
        matches!(&one[..], [(level, text, _)] if level == "good" && text.starts_with("lithic: ")),
        "{one:?}"
    );

    // A table of kind http is shown as the requests that it makes.
    let table = office.findings(&["--provider", "http"]).await;
    let shown: Vec<&str> = table.iter().map(|(_, text, _)| text.as_str()).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    let expected = format!(
        "http: sends POST http://{}/http/up/{{applicant}}: authorization: Bearer <api_key_file>; multipart with {{part}} = <file {{file_name}}>; believed with /who = {{applicant}}",
        office.server.address
    );
    assert_eq!(shown[0], expected);
    assert!(shown[1].starts_with("http: the provider answers"), "{shown:?}");

    private(&office.folder.path().join("secret"), "revoked");
    let unasked = office.findings(&["--provider", "http"]).await;
    assert_eq!(unasked[0].1, expected, "also when the provider refuses");
    let revoked = office.findings(&[]).await;
    for question in &QUESTIONS {
        let (level, text, fix) = revoked
            .iter()
            .find(|(_, t, _)| t.starts_with(&format!("{}: ", question.name)))
            .unwrap();
        assert_eq!(level, "wrong", "{text}");
        assert!(text.contains("401") && text.contains("(provider.credentials)"), "{text}");
        assert!(fix.contains(&format!("[providers.{}]", question.name)), "{fix}");
        for setting in question.settings {
            assert!(fix.contains(setting), "{}: {fix}", question.name);
        }
        assert!(!text.contains("Jane") && !text.contains("revoked"), "{text}");
    }

    private(&office.folder.path().join("secret"), "good");
    office.server.vendor(|v| v.decide(Review::Open));
    let away = office.findings(&[]).await;
    let wrong: Vec<_> = away.iter().filter(|(level, ..)| level == "wrong").collect();
    assert_eq!(wrong.len(), QUESTIONS.len());
    assert!(
        wrong
            .iter()
            .all(|(_, text, fix)| text.contains("not available") && fix.contains("status page")),
        "{wrong:?}"
    );

    // A proxy's page, a moved address. What needs no particular answer cannot tell.
    office.server.vendor(|v| v.decide(Review::Rejected));
    let another = office.findings(&[]).await;
    for (level, text, fix) in &another {
        let cannot_tell = ["by-hand", "http", "sandbox"].iter().any(|name| text.starts_with(name));
        assert!(
            cannot_tell || (level == "wrong" && fix.contains("base_url") && fix.contains("something answers there")),
            "{text} {fix}"
        );
    }

    let Office { folder, server } = office;
    drop(server);
    let office = Office {
        folder,
        ..Office::open().await
    };
    let gone = office.findings(&["--provider", "stripe"]).await;
    assert!(
        gone[0].1.contains("(provider.unreachable)") && gone[0].2.contains("firewall"),
        "{gone:?}"
    );
}

/// With no provider at all nobody is told to choose from an empty list.
#[tokio::test]
async fn without_a_provider_the_words_say_whose_turn_it_is() {
    let folder = Folder::new();
    let text = "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = true\nerasure = { slots = 64, accept_weak = true }\n";
    let config = Config::parse(text, folder.path(), std::iter::empty()).unwrap();
    app::create(&config, &KeyProtection::KekFile, Suite::X25519).unwrap();
    let app = App::open(config, Source::System).await.unwrap();
    let refused = issue::issue(&app.portal, ask("a1", "passport"), Actor::Operator, None)
        .await
        .err()
        .unwrap();
    let WorkflowError::Invalid { field, fix } = refused else {
        panic!("{refused}")
    };
    assert_eq!(field, "provider");
    assert!(fix.contains("[providers.NAME]") && !fix.contains("there is:"), "{fix}");
}

#[tokio::test]
async fn missing_is_answered_for_every_provider() {
    let cases: Vec<(Case, &str)> = vec![
        (super::stripe::case(), "Nothing is missing, says received."),
        (super::unit::case(true), "government-id  front, back  IdDocument"),
        (super::sumsub::case(), "government-id"),
        (super::dwolla::case(), "government-id"),
        (super::adyen::case(), "Nothing is missing, says received."),
        (super::lithic::case(), "passport"),
        (super::bridge::case(), "Nothing is missing, says received."),
        (super::synapse::case(), "government-id"),
        (
            super::onfido::case(false),
            "cannot say what is missing. Pick the document from the catalogue",
        ),
        (
            web::case(web::Shape::Raw),
            "cannot say what is missing. Pick the document from the catalogue",
        ),
    ];
    for (case, expected) in cases {
        let (kind, applicant) = (case.kind, case.applicant);
        let stage = Stage::of(&mut Some(case)).await;
        let (url, key) = (stage.app.staff(""), stage.app.api_key.clone());
        let run = move || {
            nightdrop(&["missing", "--provider", "received", "--applicant", applicant])
                .env("NIGHTDROP_URL", url)
                .env("NIGHTDROP_TOKEN", key)
                .output()
                .unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = said(&output);
        assert!(said.contains(expected), "{kind}: {said} {:?}", stage.server.complaints());
        assert_eq!(output.status.success(), !expected.starts_with("cannot"), "{kind}: {said}");
        assert!(stage.server.complaints().is_empty(), "{kind}: {:?}", stage.server.complaints());
        // Where one document is asked for under a reference of its own, it is said, and nowhere else.
        let own = ["unit", "lithic"].contains(&kind);
        assert_eq!(said.contains("ASK WITH"), own, "{kind}: {said}");
        assert_eq!(said.contains(&format!("{applicant},")), own, "{kind}: {said}");
    }
}

/// Every problem that an agent can meet has its line on the page of all providers.
#[test]
fn every_code_says_what_to_do() {
    let page = include_str!("../../../assets/docs/providers/README.md");
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut codes = std::collections::BTreeSet::new();
    for room in ["connectors", "workflow"] {
        for file in walk(&source.join(room)) {
            let text = std::fs::read_to_string(file).unwrap();
            for quoted in text.split('"').skip(1) {
                let of_ours = quoted.starts_with("provider.") || quoted.starts_with("delivery.");
                if of_ours && quoted.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b)) {
                    codes.insert(quoted.to_owned());
                }
            }
        }
    }
    // "Another worker continued" is no state of a request.
    codes.remove("delivery.superseded");
    assert!(codes.len() > 20, "{codes:?}");
    let unknown: Vec<&String> = codes.iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn pages_about_providers_and_minima_in_a_browser() {
    let app = TestApp::with_options(TestOptions {
        provider: "min_bytes = 1024\nmin_image_bytes = 150000\n".into(),
        ..TestOptions::default()
    })
    .await;
    let (email, password) = ("reader@example.com", "correct horse battery staple");
    sign_in::add_agent(&app.portal, email, "Reader", Role::Agent, password, Actor::Operator)
        .await
        .unwrap();
    let file = |name: &str, bytes: usize| {
        let path = app.folder.path().join(name);
        std::fs::write(&path, png(3, bytes)).unwrap();
        path
    };
    let given = json!({
        "staff": app.staff(""), "email": email, "password": password,
        "link": app.public(&app.link_for("passport", None).await.path),
        "small": file("small.png", 60_000), "good": file("good.png", 400_000),
    });
    tokio::task::spawn_blocking(move || crate::browser::script("providers.mjs", &given))
        .await
        .unwrap();
}
