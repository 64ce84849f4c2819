//! The configuration is read again while the portal runs: what has begun ends as it began, what comes next has the new values, and a fault changes nothing.

use nightdrop::testing::domain::delivery::Phase;
use nightdrop::testing::domain::request::{RequestState, Stage};

use crate::raw::Raw;
use crate::support::{Link, TestApp, TestOptions, form, png, private, until};

async fn page(app: &TestApp, link: &Link) -> String {
    app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap()
}

async fn problem(app: &TestApp, link: &Link) -> Option<String> {
    match app.request(link).await.stage {
        Stage::Held { delivery, .. } => match delivery.phase {
            Phase::NeedsAttention { problem, .. } => Some(problem.code),
            _ => None,
        },
        _ => None,
    }
}

fn with(text: &str, before: &str, after: &str) -> String {
    assert!(text.contains(before), "{before} in {text}");
    text.replacen(before, after, 1)
}

fn with_company(text: &str, name: &str) -> String {
    with(
        text,
        "[providers.sandbox]",
        &format!("[company]\nname = \"{name}\"\n[providers.sandbox]"),
    )
}

#[tokio::test]
async fn an_upload_on_its_way_ends_as_it_began_and_the_next_page_has_the_new_values() {
    let mut app = TestApp::new().await;
    let (before, after) = (app.link().await, app.link().await);
    let files = png(1, 60_000);
    let (body, kind) = form(&[("front", &files), ("back", &png(2, 60_000))]);
    let mut upload = Raw::to(&app).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: drop\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        before.path,
        body.len()
    );
    upload.send(head).await;
    upload.send(&body[..70_000]).await;
    until("the upload has begun", async || app.state(&before).await == RequestState::Receiving).await;

    // Files of this size are refused from here on, and by nobody who has begun.
    let text = with(
        &with_company(app.text(), "Harbour Bank"),
        "workers = 2",
        "workers = 3\nlimits.max_file = \"20KiB\"",
    );
    let waits = app.reload(&text).await.unwrap();
    assert_eq!(waits, ["workers"], "what cannot change while it runs is said");
    assert!(page(&app, &after).await.contains("Harbour Bank"));

    upload.send(&body[70_000..]).await;
    let answer = upload.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(app.state(&before).await, RequestState::Received);
    let late = app.link().await;
    let refused = app.drop_files(&late, &[("front", &files), ("back", &files)]).await;
    assert_eq!(refused.status(), 413, "links issued from here on take less");
}

#[tokio::test]
async fn a_configuration_with_a_fault_changes_nothing() {
    let mut app = TestApp::new().await;
    let link = app.link().await;
    private(&app.folder.path().join("cert.pem"), "no certificate");
    for (more, key) in [
        ("limits.uploads = 0", "limits.uploads"),
        ("links = { passcode = 7 }", "links.passcode"),
    ] {
        let text = with(
            &with_company(app.text(), "Harbour Bank"),
            "workers = 2",
            &format!("workers = 2\n{more}"),
        );
        let why = app.reload(&text).await.unwrap_err();
        assert!(why.contains(key), "{why}");
        assert!(!page(&app, &link).await.contains("Harbour Bank"), "{key}");
    }
}

#[tokio::test]
async fn what_waits_for_a_provider_taken_away_says_so_and_goes_on_when_it_is_back() {
    let options = TestOptions {
        worker: true,
        ..TestOptions::default()
    };
    let mut app = TestApp::with_options(options).await;
    let whole = app.text().to_owned();
    let link = app.link_at("sandbox", "applicant-9").await;
    let table = whole.find("[providers.sandbox]").unwrap();
    let other = format!("{}[providers.other]\nkind = \"sandbox\"\nconfirm = \"received\"\n", &whole[..table]);
    app.reload(&other).await.unwrap();
    app.drop_front(&link, 3).await;
    until("it says that its provider is gone", async || {
        problem(&app, &link).await.as_deref() == Some("provider.unknown")
    })
    .await;
    // The one that was added has workers of its own.
    let added = app.link_at("other", "applicant-10").await;
    app.drop_front(&added, 4).await;
    until("the new provider has it", async || app.state(&added).await == RequestState::Purged).await;

    app.reload(&whole).await.unwrap();
    let again = format!("/api/v1/requests/{}/retry", link.id);
    let answer = app.http.post(app.staff(&again)).bearer_auth(&app.api_key).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    until("it has arrived", async || app.state(&link).await == RequestState::Purged).await;
    assert_eq!(app.has("applicant-9").await.len(), 1);
}

#[tokio::test]
async fn a_delivery_on_its_way_ends_at_the_provider_that_it_began_with() {
    let options = TestOptions {
        worker: true,
        ..TestOptions::default()
    };
    let mut app = TestApp::with_options(options).await;
    app.misbehave(&["slow:1500"]).await;
    let link = app.link_at("sandbox", "applicant-7").await;
    app.drop_front(&link, 5).await;
    until("it is being sent", async || app.planned().await == 0).await;
    // From here on nobody answers at the provider's address.
    let address = app.sandbox.url().to_owned();
    let text = with(app.text(), &address, "http://127.0.0.1:9");
    app.reload(&text).await.unwrap();
    until("it has arrived", async || app.state(&link).await == RequestState::Purged).await;
    let next = app.link_at("sandbox", "applicant-8").await;
    app.drop_front(&next, 6).await;
    let tried = async || matches!(app.request(&next).await.stage, Stage::Held { delivery, .. } if delivery.attempts > 0);
    until("the next one is tried at the new address", tried).await;
    assert!(app.has("applicant-8").await.is_empty());
}

struct Pair {
    cert: String,
    key: String,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    Pair {
        cert: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

/// Whether a new connection is shown this certificate.
async fn shows(app: &TestApp, pair: &Pair) -> bool {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(pair.cert.as_bytes()).unwrap()])
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/healthz", app.running.as_ref().unwrap().public.port());
    client.get(url).send().await.is_ok()
}

#[tokio::test]
async fn renewed_certificates_are_taken_without_a_signal_and_half_a_renewal_is_not() {
    let mut app = TestApp::new().await;
    let (old, new) = (pair(), pair());
    app.speak_tls(&old.cert, &old.key).await;
    assert!(shows(&app, &old).await && !shows(&app, &new).await);
    let (cert, key) = (app.folder.path().join("cert.pem"), app.folder.path().join("key.pem"));
    private(&cert, &new.cert);
    let files = format!(
        "listen = {{ public_tls = {{ cert = \"{}\", key = \"{}\" }}, public",
        cert.display(),
        key.display()
    );
    let text = with(app.text(), "listen = { public", &files);
    let why = app.reload(&text).await.unwrap_err();
    assert!(why.contains("listen.public_tls") && why.contains("do not belong together"), "{why}");
    assert!(shows(&app, &old).await, "the certificate before goes on");
    private(&key, &new.key);
    until("the new one is shown", async || shows(&app, &new).await).await;
    assert!(!shows(&app, &old).await);
}
