//! What a link tells after the drop, in every state: whether the document was sent, whether it is still here, and what comes next. An old link stays the receipt of
//! what came by it.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::domain::transition::{AgentAction, Transition};
use nightdrop::testing::words::LANGUAGES;
use nightdrop::testing::workflow::issue;
use serde_json::{Value, json};
use time::Duration;

use crate::support::{Link, TestApp, TestClock, TestOptions, png};

const HOUR: Duration = Duration::hours(1);
/// A provider that nobody answers for, and somebody to ask.
const GONE: &str = "[company]\nname = \"Harbour Bank\"\nsupport = \"help@harbour.example\"\n[retention]\nundelivered = \"2h\"\n\
    [providers.gone]\nkind = \"sandbox\"\nbase_url = \"http://127.0.0.1:9\"\napi_key_file = \"sandbox-key\"\n";

async fn portal() -> (TestApp, TestClock) {
    let options = TestOptions {
        confirm: "verdict",
        more: GONE.to_owned(),
        ..TestOptions::default()
    };
    let (options, clock) = options.with_clock();
    let app = TestApp::with_options(options).await;
    app.sandbox.set_callback(None);
    (app, clock)
}

async fn shown(app: &TestApp, link: &Link) -> String {
    let answer = app
        .http
        .get(app.public(&link.path))
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

async fn said(app: &TestApp, link: &Link) -> Value {
    let answer = app
        .http
        .get(app.public(&link.path))
        .header("accept", "application/json")
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

/// The page says all of this and none of that, and keeps its reference.
async fn tells(app: &TestApp, link: &Link, outcome: &str, all: &[&str], none: &[&str]) {
    let page = shown(app, link).await;
    for text in all {
        assert!(page.contains(text), "{outcome}: {text}\n{page}");
    }
    for text in none {
        assert!(!page.contains(text), "{outcome}: {text}\n{page}");
    }
    let facts = said(app, link).await;
    assert_eq!((&facts["state"], &facts["outcome"]), (&"received".into(), &outcome.into()));
    let reference = facts["reference"].as_str().unwrap();
    assert!(page.contains(reference), "{outcome}: {reference}\n{page}");
}

async fn dropped(app: &TestApp, provider: &str, applicant: &str) -> Link {
    let link = app.link_at(provider, applicant).await;
    app.drop_front(&link, 1).await;
    link
}

const DELETED: &str = "It was deleted from this site on <time";
const NOT_SENT: &str = "Your document was not sent to the identity check";

#[tokio::test]
async fn a_document_that_waits_is_encrypted_and_will_be_sent() {
    let (app, clock) = portal().await;
    let link = dropped(&app, "sandbox", "applicant-1").await;
    let all = [
        "Received. Thank you.",
        "received and encrypted. It will be sent",
        "It will be deleted from this site by <time",
        "You can close this page.",
    ];
    tells(&app, &link, "waiting", &all, &[DELETED, "was sent"]).await;
    // A provider that has it and has not judged it.
    app.misbehave(&["pending:1000"]).await;
    app.work_due().await;
    assert_eq!(app.state(&link).await, RequestState::AwaitingConfirmation);
    let all = [
        "Received. Thank you.",
        "Your document was sent to the identity check.",
        "It will be deleted from this site by <time",
    ];
    tells(&app, &link, "sent", &all, &[DELETED, "encrypted", "will be sent"]).await;
    // Its verdict never comes.
    app.work_until(&clock, HOUR * 5, async |h| h.state(&link).await == RequestState::Purged)
        .await;
    tells(
        &app,
        &link,
        "sent",
        &["Your document was sent to the identity check.", DELETED],
        &["encrypted", "will be"],
    )
    .await;
}

#[tokio::test]
async fn a_confirmed_document_was_sent_and_deleted() {
    let (app, clock) = portal().await;
    let link = dropped(&app, "sandbox", "applicant-1").await;
    app.work_until(&clock, HOUR, async |h| h.state(&link).await == RequestState::Purged)
        .await;
    let all = [
        "Received. Thank you.",
        "has arrived there",
        DELETED,
        "will contact you if anything else is needed",
    ];
    tells(&app, &link, "confirmed", &all, &["encrypted", "will be", NOT_SENT]).await;
}

#[tokio::test]
async fn what_an_agent_deletes_was_never_sent() {
    let (app, _) = portal().await;
    let link = dropped(&app, "gone", "applicant-1").await;
    issue::request_purge(&app.portal, link.id, Actor::Operator).await.unwrap();
    let all = [
        NOT_SENT,
        "cancelled this before the document was sent",
        "It is now being deleted from this site.",
    ];
    tells(&app, &link, "withdrawn", &all, &[DELETED, "encrypted", "Thank you"]).await;
    app.work_due().await;
    let all = [
        NOT_SENT,
        "cancelled this before the document was sent",
        DELETED,
        "will tell you what to do next",
    ];
    tells(&app, &link, "withdrawn", &all, &["being deleted", "encrypted", "Thank you"]).await;
}

#[tokio::test]
async fn what_was_lost_is_not_called_sent() {
    let (app, _) = portal().await;
    let link = dropped(&app, "gone", "applicant-1").await;
    let lose = Transition::Agent {
        by: Actor::Operator,
        action: AgentAction::Lose { passed_on: None },
    };
    app.portal.requests.transition(link.id, lose).await.unwrap();
    tells(
        &app,
        &link,
        "lost",
        &[NOT_SENT, "A technical fault", "It is now being deleted"],
        &[DELETED, "encrypted"],
    )
    .await;
    app.work_due().await;
    tells(
        &app,
        &link,
        "lost",
        &[NOT_SENT, "A technical fault", DELETED],
        &["encrypted", "Thank you"],
    )
    .await;
}

#[tokio::test]
async fn what_could_not_be_sent_in_time_says_so() {
    let (app, clock) = portal().await;
    let link = dropped(&app, "gone", "applicant-1").await;
    app.work_until(&clock, HOUR * 5, async |h| h.state(&link).await == RequestState::Purged)
        .await;
    tells(
        &app,
        &link,
        "late",
        &[NOT_SENT, "could not be sent in time", DELETED, "If you hear nothing, please ask."],
        &["encrypted", "Thank you"],
    )
    .await;
}

#[tokio::test]
async fn an_old_link_stays_the_receipt_of_what_came_by_it() {
    let (app, clock) = portal().await;
    let first = dropped(&app, "sandbox", "applicant-1").await;
    app.plan(json!([{"answer": "commit_then_drop", "verdict": "reject:expired"}])).await;
    app.work_until(&clock, HOUR, async |h| h.state(&first).await == RequestState::Purged)
        .await;
    const REJECTED: &str = "Your document could not be accepted";
    const NEW: &str = "A new link has been created for you.";
    tells(
        &app,
        &first,
        "rejected",
        &[REJECTED, DELETED, "will tell you what to do next"],
        &[NEW, "encrypted"],
    )
    .await;
    let reference = said(&app, &first).await["reference"].clone();

    let again = issue::reissue(&app.portal, first.id, issue::Expiry::Default, None, Actor::Operator, None)
        .await
        .unwrap();
    let second = app.known(again);
    tells(
        &app,
        &first,
        "rejected",
        &[REJECTED, DELETED, NEW],
        &["no longer valid", "will tell you", "encrypted"],
    )
    .await;
    assert!(
        shown(&app, &second).await.contains("The document has expired."),
        "the new link asks again and says why"
    );
    let refused = app.drop_files(&first, &[("front", &png(3, 4_000))]).await;
    assert_eq!(refused.status(), 409, "the old link takes nothing more");

    app.drop_front(&second, 2).await;
    tells(&app, &second, "waiting", &["received and encrypted"], &[REJECTED]).await;
    tells(&app, &first, "rejected", &[REJECTED, DELETED, NEW], &["encrypted"]).await;
    app.work_until(&clock, HOUR, async |h| h.state(&second).await == RequestState::Purged)
        .await;
    tells(&app, &second, "confirmed", &["has arrived there", DELETED], &[REJECTED]).await;
    tells(&app, &first, "rejected", &[REJECTED, DELETED, NEW], &["has arrived there"]).await;
    assert_eq!(said(&app, &first).await["reference"], reference);
    assert_ne!(said(&app, &second).await["reference"], reference);
}

#[tokio::test]
async fn an_old_link_by_which_nothing_came_is_a_dead_end() {
    let (app, _) = portal().await;
    let first = app.link_at("sandbox", "applicant-1").await;
    let again = issue::reissue(&app.portal, first.id, issue::Expiry::Default, None, Actor::Operator, None)
        .await
        .unwrap();
    let second = app.known(again);
    app.drop_front(&second, 1).await;
    let answer = app
        .http
        .get(app.public(&first.path))
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 410);
    let page = answer.text().await.unwrap();
    assert!(
        page.contains("This link is no longer valid") && page.contains("A newer message may contain a new link"),
        "{page}"
    );
    assert!(!page.contains("received"), "{page}");
}

#[tokio::test]
async fn every_receipt_is_told_in_every_language() {
    let (app, _) = portal().await;
    let link = dropped(&app, "gone", "applicant-1").await;
    issue::request_purge(&app.portal, link.id, Actor::Operator).await.unwrap();
    app.work_due().await;
    for words in LANGUAGES.iter() {
        let address = app.public(&format!("{}?language={}", link.path, words.tag));
        let page = app
            .http
            .get(address)
            .header("accept", "text/html")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        for key in ["receipt-title-not-sent", "receipt-ask", "receipt-deleted"] {
            let begin = words
                .say(key)
                .split('{')
                .find(|piece| !piece.contains('}'))
                .unwrap_or_default()
                .trim();
            assert!(page.contains(begin), "{}: {key}\n{page}", words.tag);
        }
        assert!(!page.contains("{company}") && !page.contains("{moment}"), "{}", words.tag);
    }
}
