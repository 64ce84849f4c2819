//! The screens around messages: a link by e-mail, templates, the outgoing log, notices, the search in the audit log.

use super::*;
use nightdrop::testing::domain::audit::AuditAction;

const MAIL: &str = "[mail]\nfrom = \"drop@bank.example\"\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\n";

async fn with_mail() -> TestApp {
    TestApp::with_options(TestOptions {
        more: MAIL.to_owned(),
        ..TestOptions::default()
    })
    .await
}

#[tokio::test]
async fn a_link_is_mailed_from_the_form_or_from_the_page_that_shows_it() {
    let app = with_mail().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    let mut form = request_form("person-1", "passport");
    form.extend([("email", "no address"), ("locale", "fr")]);
    let (status, page) = browser.send("/requests/new", "/requests/new", &form).await;
    assert_eq!(status, 422);
    assert!(
        page.contains("This must be one e-mail address") && page.contains("value=\"no address\"") && page.contains("value=\"person-1\"")
    );
    let mut form = request_form("person-1", "passport");
    form.extend([("email", "james@applicant.example"), ("remind", "yes"), ("locale", "fr")]);
    let (status, page) = browser.send("/requests/new", "/requests/new", &form).await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("on its way by e-mail") && page.contains("Bonjour,") && page.contains("Open in Gmail") && !page.contains("/send\"")
    );
    let queued = app.portal.outbox.dispatches(None, None, 10).await.unwrap().dispatches;
    assert_eq!(queued.len(), 2);

    let (_, page) = browser
        .send("/requests/new", "/requests/new", &request_form("person-2", "passport"))
        .await;
    let action = between(&page, "<form method=\"post\" action=\"/requests/", "\"").to_owned();
    let action = format!("/requests/{action}");
    let token = between(&page, "name=\"token\" value=\"", "\"").to_owned();
    let refused = browser.post(&action, &[("token", &token), ("email", "x")]).await;
    assert_eq!(refused.status(), 422);
    let refused = refused.text().await.unwrap();
    assert!(
        refused.contains(&token) && refused.contains("must be one e-mail address"),
        "nothing is lost"
    );
    for wrong in ["", "00000000000000000000000000000000"] {
        let answer = browser.post(&action, &[("token", wrong), ("email", "a@example.com")]).await;
        assert_eq!(answer.status(), 409);
    }
    let sent = browser.post(&action, &[("token", &token), ("email", "a@example.com")]).await;
    assert_eq!(sent.status(), 303);
    let shown = browser.page(sent.headers()["location"].to_str().unwrap()).await;
    assert!(
        shown.contains("Link to the applicant") && shown.contains("E-mail on its way") && !shown.contains("a@example.com"),
        "{shown}"
    );
    browser.post(&action, &[("token", &token), ("email", "A@example.com")]).await;
    assert_eq!(
        app.portal.outbox.dispatches(None, None, 10).await.unwrap().dispatches.len(),
        3,
        "twice is once"
    );
}

#[tokio::test]
async fn without_a_mail_server_nothing_is_offered() {
    let app = TestApp::new().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    let (_, page) = browser
        .send("/requests/new", "/requests/new", &request_form("person-2", "passport"))
        .await;
    assert!(!page.contains("Send by e-mail") && page.contains("E-mail program"));
    let mut form = request_form("person-1", "passport");
    form.push(("email", "a@example.com"));
    let (status, page) = browser.send("/requests/new", "/requests/new", &form).await;
    assert_eq!(status, 422);
    assert!(page.contains("marked fields") || page.contains("no mail server"), "{page}");
}

#[tokio::test]
async fn an_admin_words_a_message_with_a_preview_and_takes_it_back() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let at = "/admin/messages/edit?document=passport&language=de";
    let page = admin.page(at).await;
    assert!(
        page.contains("Guten Tag,") && page.contains("{passcode}") && page.contains("No personal data"),
        "{page}"
    );
    let post = async |subject: &str, body: &str, what: &str| {
        let form = [
            ("document", "passport"),
            ("language", "de"),
            ("subject", subject),
            ("body", body),
            ("do", what),
        ];
        let answer = admin.post("/admin/messages/edit", &form).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, page) = post("Ihr {document}", "Hallo {name}", "save").await;
    assert_eq!(status, 422);
    assert!(
        page.contains("has “{name}”") && page.contains(">\nHallo {name}</textarea>"),
        "{page}"
    );
    assert!(post("Ihr {document}", "Hallo", "save").await.1.contains("exactly once"));
    for payload in PAYLOADS {
        let (status, page) = post(&payload[..payload.len().min(100)], &format!("{payload}\n\n{{url}}"), "preview").await;
        assert_eq!(status, 200);
        assert!(!page.contains(payload) || payload.starts_with("javascript:"), "{payload}");
    }
    let own = "Moin!\r\n\r\n{note}\r\n\r\n{url}\r\n\r\n{company}";
    let (status, page) = post("Ihr {document}", own, "preview").await;
    assert!(status == 200 && page.contains("Ihr Reisepass") && page.contains("/d/…"), "{page}");
    assert!(app.portal.outbox.templates().await.unwrap().is_empty(), "a preview keeps nothing");
    assert_eq!(post("Ihr {document}", own, "save").await.0, 303);
    let mut asked = ask("person-1", "passport");
    asked.locale = Some("de".to_owned());
    let issue = async |locale: &str| {
        let mut form = request_form("person-1", "passport");
        form.extend([("locale", locale), ("anyway", "yes")]);
        admin.send("/requests/new", "/requests/new", &form).await.1
    };
    let german = issue("de").await;
    assert!(german.contains("Moin!") && german.contains("Ihr Reisepass") && !german.contains("Guten Tag,"));
    let english = issue("en").await;
    assert!(english.contains("The link is ready") && !english.contains("Moin!"));
    assert!(admin.page("/admin/messages").await.contains("Ihr {document}"));
    assert_eq!(post("", "", "drop").await.0, 303);
    assert!(issue("de").await.contains("Guten Tag,"));
    let actions: Vec<_> = app
        .portal
        .audit
        .entries(0, 1000)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.event.action)
        .collect();
    assert!(actions.contains(&AuditAction::TemplateChanged) && actions.contains(&AuditAction::TemplateDropped));
}

#[tokio::test]
async fn notices_are_kept_for_each_agent() {
    let app = with_mail().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    assert!(browser.page("/").await.contains("href=\"/notices\""));
    assert_eq!(
        browser.post("/notices", &[("arrived", "yes"), ("digest", "yes")]).await.status(),
        303
    );
    let page = browser.page("/notices").await;
    let ticked: Vec<_> = ["arrived", "attention", "digest"]
        .into_iter()
        .filter(|name| {
            let start = page.find(&format!("name=\"{name}\"")).unwrap();
            page[start..start + 60].contains("checked")
        })
        .collect();
    assert_eq!(ticked, ["arrived", "digest"]);
    let other = Browser::signed_in(&app, Role::Admin).await;
    assert!(!other.page("/notices").await.contains("checked"));
}

#[tokio::test]
async fn the_audit_log_is_searched_backwards() {
    let app = TestApp::new().await;
    let auditor = Browser::signed_in(&app, Role::Auditor).await;
    let first = issued(&app).await;
    for _ in 0..150 {
        issued(&app).await;
    }
    let found = |page: &str| page.matches("data-label=\"No.\"").count();
    let all = auditor.page("/audit?action=link+issued").await;
    assert_eq!(found(&all), 100);
    let older = between(&all, "name=\"before\" value=\"", "\"").to_owned();
    assert!(all.contains("name=\"action\" value=\"link issued\""));
    assert_eq!(found(&auditor.page(&format!("/audit?action=link+issued&before={older}")).await), 51);
    assert_eq!(found(&auditor.page(&format!("/audit?request={}", first.id)).await), 1);
    assert!(found(&auditor.page("/audit?actor=auditor").await) >= 1);
    let none = auditor.page("/audit?action=nothing+like+this").await;
    assert!(none.contains("No entry fits."));
    assert_eq!(auditor.get("/audit?wrong=1").await.status(), 422);
    for payload in PAYLOADS {
        let page = auditor
            .page(&format!("/audit?actor={}", encoded(&[("x", payload)]).split_once('=').unwrap().1))
            .await;
        assert!(
            !page.contains(&payload.to_lowercase()) || payload.starts_with("javascript:"),
            "{payload}"
        );
    }
}

/// The lists of the overview, by the store's own indexes.
#[tokio::test]
async fn the_overview_lists_what_expires_next_however_many_there_are() {
    let app = TestApp::new().await;
    let browser = Browser::signed_in(&app, Role::Agent).await;
    let mut soon = ask("soon-1", "passport");
    soon.expires = nightdrop::testing::workflow::issue::Expiry::In(time::Duration::hours(25));
    app.issue(soon).await;
    for _ in 0..210 {
        issued(&app).await;
    }
    assert!(!browser.page("/").await.contains("soon-1"), "not within a day yet");
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let mut soon = ask("soon-1", "passport");
    soon.expires = nightdrop::testing::workflow::issue::Expiry::In(time::Duration::hours(25));
    app.issue(soon).await;
    for _ in 0..210 {
        issued(&app).await;
    }
    clock.forward(time::Duration::hours(2));
    let browser = Browser::signed_in(&app, Role::Agent).await;
    assert!(browser.page("/").await.contains("soon-1"), "the oldest of many is shown first");
}
