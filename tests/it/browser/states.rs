//! The applicant's page in each of its states, looked at in Chromium in four languages; in all twelve when the tests are long.

use std::collections::BTreeMap;

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::domain::transition::{AgentAction, Transition};
use nightdrop::testing::words::LANGUAGES;
use nightdrop::testing::workflow::issue;
use serde_json::json;
use time::Duration;

use super::script;
use crate::support::{Link, TestApp, TestOptions, ask};

const HOUR: Duration = Duration::hours(1);
const BANK: &str = "[company]\nname = \"Harbour Bank\"\nsupport = \"support@harbour.example\"\n\
    legal = \"Harbour Bank plc, 1 Quay Street. https://harbour.example/privacy\"\n\
    [limits]\npages_per_address = 100000\n[retention]\nundelivered = \"2h\"\n\
    [providers.gone]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:9\"\napi_key_file = \"sandbox-key\"\n";
/// English that would be left over in another language.
const ENGLISH: [&str; 6] = ["document", "link", "Please", "received", "Questions", "deleted"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn every_state_of_the_page_fits_in_four_languages() {
    let options = TestOptions {
        confirm: "verdict",
        more: BANK.to_owned(),
        ..TestOptions::default()
    };
    let (options, clock) = options.with_clock();
    let app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    let mut pages: BTreeMap<&str, String> = BTreeMap::new();
    let dropped = async |provider: &str, applicant: &str| {
        let link = app.link_at(provider, applicant).await;
        app.drop_front(&link, 1).await;
        link
    };
    let purged = async |link: &Link| {
        app.work_until(&clock, HOUR * 5, async |h| h.state(link).await == RequestState::Purged)
            .await;
    };
    // What time does, before anything else is there that it could do something to.
    let expired = app.link_for("passport", None).await;
    clock.forward(Duration::days(4));
    pages.insert("dead-expired", app.public(&expired.path));

    let confirmed = dropped("sandbox", "applicant-1").await;
    purged(&confirmed).await;
    pages.insert("receipt-confirmed", app.public(&confirmed.path));
    let rejected = dropped("sandbox", "applicant-2").await;
    app.plan(json!([{"answer": "commit_then_drop", "verdict": "reject:expired"}])).await;
    purged(&rejected).await;
    pages.insert("receipt-rejected", app.public(&rejected.path));
    let replaced = dropped("sandbox", "applicant-3").await;
    app.plan(json!([{"answer": "commit_then_drop", "verdict": "reject:glare"}])).await;
    purged(&replaced).await;
    let again = issue::reissue(&app.portal, replaced.id, issue::Expiry::Default, None, Actor::Operator, None).await;
    pages.insert("receipt-replaced", app.public(&replaced.path));
    pages.insert("start-again", app.public(&app.known(again.unwrap()).path));
    let late = dropped("gone", "applicant-4").await;
    purged(&late).await;
    pages.insert("receipt-late", app.public(&late.path));
    let withdrawn = dropped("gone", "applicant-5").await;
    issue::request_purge(&app.portal, withdrawn.id, Actor::Operator).await.unwrap();
    purged(&withdrawn).await;
    pages.insert("receipt-withdrawn", app.public(&withdrawn.path));
    let lost = dropped("gone", "applicant-6").await;
    let lose = |passed_on| Transition::Agent {
        by: Actor::Operator,
        action: AgentAction::Lose { passed_on },
    };
    app.portal.requests.transition(lost.id, lose(None)).await.unwrap();
    purged(&lost).await;
    pages.insert("receipt-lost", app.public(&lost.path));
    let sent = dropped("sandbox", "applicant-7").await;
    app.misbehave(&["pending:1000"]).await;
    app.work_due().await;
    assert_eq!(app.state(&sent).await, RequestState::AwaitingConfirmation);
    pages.insert("receipt-sent", app.public(&sent.path));
    let deleting = dropped("gone", "applicant-8").await;
    issue::request_purge(&app.portal, deleting.id, Actor::Operator).await.unwrap();
    pages.insert("receipt-deleting", app.public(&deleting.path));
    let waiting = app.link().await;
    let both = crate::support::png(2, 60_000);
    assert!(
        app.drop_files(&waiting, &[("front", &both), ("back", &both)])
            .await
            .status()
            .is_success()
    );
    pages.insert("receipt-waiting", app.public(&waiting.path));

    let revoked = app.link().await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    pages.insert("dead-revoked", app.public(&revoked.path));
    pages.insert("dead-unknown", app.public(&format!("/d/{}", "0".repeat(32))));
    pages.insert("not-found", app.public("/nothing/here"));
    pages.insert("root", app.public("/"));
    let mut coded = ask("applicant-9", "passport");
    coded.passcode = true;
    pages.insert("passcode", app.public(&app.issue(coded).await.path));
    let mut locked = ask("applicant-10", "passport");
    locked.passcode = true;
    let locked = app.issue(locked).await;
    let code: u32 = locked.passcode.as_ref().unwrap().parse().unwrap();
    for n in 1..=5 {
        let wrong = format!("passcode={:06}", (code + n) % 1_000_000);
        let post = app.http.post(app.public(&format!("{}/passcode", locked.path)));
        let post = post.header("content-type", "application/x-www-form-urlencoded");
        post.body(wrong).send().await.unwrap();
    }
    pages.insert("dead-locked", app.public(&locked.path));
    pages.insert("start", app.public(&app.link().await.path));
    pages.insert(
        "start-front",
        app.public(&app.link_for("government-id", Some(&["front"])).await.path),
    );
    pages.insert("start-address", app.public(&app.link_for("proof-of-address", None).await.path));
    pages.insert("start-selfie", app.public(&app.link_for("selfie", None).await.path));
    let wrong = app.folder.path().join("wrong.jpg");
    std::fs::write(&wrong, "<html>this is no photo at all, whatever its name says</html>").unwrap();
    // English words that are of the language itself are no leftovers.
    let mut languages = BTreeMap::from([
        ("en", &ENGLISH[..0]),
        ("de", &ENGLISH[2..]),
        ("ar", &ENGLISH[..]),
        ("hi", &ENGLISH[..]),
    ]);
    if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        for words in LANGUAGES.iter() {
            languages.entry(words.tag).or_insert(&ENGLISH[2..]);
        }
        languages.insert("fr", &ENGLISH[5..]);
    }
    let given = json!({
        "pages": pages,
        "refused": app.public(&app.link_for("passport", None).await.path),
        "wrong": wrong,
        "languages": languages,
    });
    tokio::task::spawn_blocking(move || script("states.mjs", &given)).await.unwrap();
}
