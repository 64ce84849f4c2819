//! The console from outside, as browsers and their enemies see it.

mod again;
mod asking;
mod browser;
mod bulk;
mod by_hand;
mod desk;
mod factor;
mod first_steps;
mod forms;
mod leaks;
mod live;
mod messages;
mod people;
mod refusals;
mod session;
mod sso;
mod team;
mod views;

use std::collections::BTreeSet;

use nightdrop::testing::domain::agent::{Actor, Agent, Role};
use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::http::{api, console};
use nightdrop::testing::workflow::sign_in;
use reqwest::{Method, Response};

use crate::support::{Link, TestApp, TestOptions, ask, client, png, without_request_id};

const PASSWORD: &str = "correct horse battery staple";
/// What must never come back as markup.
const PAYLOADS: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)//\"onfocus=alert(1) autofocus=\"",
];

/// A browser: its cookie and the headers that every browser sends.
struct Browser<'a> {
    app: &'a TestApp,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn stranger(app: &'a TestApp) -> Self {
        Self {
            app,
            cookie: String::new(),
        }
    }

    async fn signed_in(app: &'a TestApp, role: Role) -> Self {
        let email = format!("{}@example.com", role.as_str());
        if app.portal.directory.agent_by_email(&email).await.unwrap().is_none() {
            agent(app, &email, role).await;
        }
        let mut browser = Self::stranger(app);
        browser.sign_in(&email, PASSWORD).await;
        browser
    }

    async fn sign_in(&mut self, email: &str, password: &str) -> Response {
        self.submit("/sign-in", &[("email", email), ("password", password)]).await
    }

    /// Keeps cookies as browsers do: set, replaced, and thrown away when they are empty.
    fn keep(&mut self, response: &Response) {
        let pairs = |text: &str| text.split_once('=').map(|(n, v)| (n.trim().to_owned(), v.to_owned()));
        let mut jar: std::collections::BTreeMap<_, _> = self.cookie.split("; ").filter_map(pairs).collect();
        for line in response.headers().get_all("set-cookie") {
            jar.extend(line.to_str().unwrap().split(';').next().and_then(pairs));
        }
        jar.retain(|_, value| !value.is_empty());
        self.cookie = jar.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("; ");
    }

    /// Posts, keeps what comes back, and goes on to the page that answers.
    async fn submit(&mut self, path: &str, form: &[(&str, &str)]) -> Response {
        let response = self.send_form(path, form).await;
        self.keep(&response);
        match landing(&response) {
            Some(page) => self.get(&page).await,
            None => response,
        }
    }

    fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.app
            .http
            .request(method, self.app.staff(path))
            .header("cookie", &self.cookie)
            .header("accept", "text/html")
    }

    async fn get(&self, path: &str) -> Response {
        self.call(Method::GET, path).send().await.unwrap()
    }

    /// The page, which must be one.
    async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// Posts, and goes on to the page that answers, as browsers do.
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
        let response = self.send_form(path, form).await;
        let Some(page) = landing(&response) else { return response };
        let mut next = Self {
            app: self.app,
            cookie: self.cookie.clone(),
        };
        next.keep(&response);
        next.get(&page).await
    }

    /// Posts; the answer as it comes.
    async fn send_form(&self, path: &str, form: &[(&str, &str)]) -> Response {
        self.call(Method::POST, path)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encoded(form))
            .send()
            .await
            .unwrap()
    }

    /// Opens a page and sends its form number along.
    async fn send(&self, from: &str, to: &str, form: &[(&str, &str)]) -> (u16, String) {
        let page = self.page(from).await;
        let once = between(&page, "name=\"once\" value=\"", "\"").to_owned();
        let form: Vec<_> = form.iter().copied().chain([("once", once.as_str())]).collect();
        let response = self.post(to, &form).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// The page that a form was answered with.
fn landing(response: &Response) -> Option<String> {
    let to = response.headers().get("location")?.to_str().unwrap();
    (response.status() == 303 && to.contains("?shown=")).then(|| to.to_owned())
}

async fn agent(app: &TestApp, email: &str, role: Role) -> Agent {
    sign_in::add_agent(&app.portal, email, role.as_str(), role, PASSWORD, Actor::Operator)
        .await
        .unwrap()
}

fn encoded(form: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        text.bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect::<String>()
    };
    form.iter()
        .map(|(n, v)| format!("{}={}", escape(n), escape(v)))
        .collect::<Vec<_>>()
        .join("&")
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let start = text.find(before).unwrap_or_else(|| panic!("no {before} in {text}")) + before.len();
    &text[start..start + text[start..].find(after).unwrap()]
}

fn request_form<'f>(applicant: &'f str, document: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![("provider", "sandbox"), ("applicant", applicant), ("document", document)]
}

async fn issued(app: &TestApp) -> Link {
    app.known(
        nightdrop::testing::workflow::issue::issue(&app.portal, ask("acct_1", "passport"), Actor::Operator, None)
            .await
            .unwrap(),
    )
}

/// Entries of the audit log but for those that say that something was refused.
async fn audited(app: &TestApp) -> usize {
    let entries = app.portal.audit.entries(0, 10_000).await.unwrap();
    let refused = [AuditAction::AccessRefused, AuditAction::RequestCrossSite];
    entries.iter().filter(|e| !refused.contains(&e.event.action)).count()
}

/// Method → roles.
type Methods = &'static [(&'static str, &'static [Role])];
/// Every route with who may use it; a route that is missing here fails the test.
const PERMISSIONS: &[(&str, Methods)] = {
    use Role::{Admin, Agent, Auditor, ManualHandler};
    const ALL: &[Role] = &[Agent, ManualHandler, Admin, Auditor];
    const STAFF: &[Role] = &[Agent, ManualHandler, Admin];
    const AUDIT: &[Role] = &[Admin, Auditor];
    const ADMIN: &[Role] = &[Admin];
    &[
        ("/", &[("GET", ALL)]),
        ("/typed", &[("GET", ALL)]),
        ("/first-steps", &[("POST", ADMIN)]),
        ("/account", &[("GET", ALL), ("POST", ALL)]),
        ("/account/first-password", &[("GET", ALL), ("POST", ALL)]),
        ("/account/confirm", &[("GET", ALL), ("POST", ALL)]),
        ("/account/confirm/begin", &[("POST", ALL)]),
        ("/account/app", &[("GET", ALL), ("POST", ALL)]),
        ("/account/app/remove", &[("POST", ALL)]),
        ("/account/codes", &[("POST", ALL)]),
        ("/account/passkeys", &[("GET", ALL), ("POST", ALL)]),
        ("/account/passkeys/begin", &[("POST", ALL)]),
        ("/account/passkeys/remove", &[("POST", ALL)]),
        ("/account/sessions/end", &[("POST", ALL)]),
        (END_ALL, &[("POST", ALL)]),
        ("/requests", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/new", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/bulk", &[("POST", STAFF)]),
        ("/requests/export", &[("POST", STAFF)]),
        ("/requests/views", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/views/change", &[("POST", STAFF)]),
        ("/missing", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}", &[("GET", STAFF)]),
        ("/requests/{id}/extend", &[("POST", STAFF)]),
        ("/requests/{id}/reissue", &[("POST", STAFF)]),
        ("/requests/{id}/passcode", &[("POST", STAFF)]),
        ("/requests/{id}/send", &[("POST", STAFF)]),
        ("/requests/{id}/notes", &[("POST", STAFF)]),
        ("/requests/{id}/assign", &[("POST", STAFF)]),
        ("/requests/{id}/retry", &[("POST", STAFF)]),
        ("/requests/{id}/revoke", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}/purge", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}/mark-uploaded", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}/hand-over", &[("GET", &[ManualHandler])]),
        ("/requests/{id}/parts/{part}", &[("POST", &[ManualHandler])]),
        ("/requests/{id}/receipt", &[("GET", STAFF)]),
        ("/requests/{id}/receipt.txt", &[("GET", STAFF)]),
        ("/notices", &[("GET", STAFF), ("POST", STAFF)]),
        ("/audit", &[("GET", AUDIT)]),
        ("/audit/export", &[("GET", AUDIT)]),
        ("/docs", &[("GET", ALL)]),
        ("/docs/providers/{page}", &[("GET", ALL)]),
        ("/admin", &[("GET", ADMIN)]),
        ("/admin/messages", &[("GET", ADMIN)]),
        ("/admin/messages/edit", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/outgoing", &[("GET", ADMIN)]),
        ("/admin/outgoing/{id}/resend", &[("POST", ADMIN)]),
        ("/admin/unlock", &[("POST", ADMIN)]),
        ("/admin/clock", &[("POST", ADMIN)]),
        ("/admin/agents", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/agents/{id}", &[("GET", ADMIN)]),
        ("/admin/agents/{id}/password", &[("POST", ADMIN)]),
        ("/admin/agents/{id}/role", &[("POST", ADMIN)]),
        ("/admin/agents/{id}/second-factor", &[("POST", ADMIN)]),
        ("/admin/agents/invite", &[("POST", ADMIN)]),
        ("/admin/agents/{id}/link", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/agents/{id}/disable", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/agents/{id}/enable", &[("POST", ADMIN)]),
        ("/admin/agents/{id}/delete", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/agents/{id}/sessions/end", &[("POST", ADMIN)]),
        ("/admin/keys", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/keys/{id}/revoke", &[("GET", ADMIN), ("POST", ADMIN)]),
    ]
};
/// The only routes without a session.
const OPEN: [&str; 10] = [
    "/invitation/{agent}/{token}",
    "/invitation/{agent}/{token}/passkey",
    "/invitation/{agent}/{token}/passkey/begin",
    "/sign-in/sso",
    "/sign-in/sso/back",
    "/sign-in",
    "/sign-in/second",
    "/sign-in/passkey",
    "/sign-in/passkey/begin",
    "/sign-out",
];
const END_ALL: &str = "/account/sessions/end-all";

#[tokio::test]
async fn every_route_lets_in_whom_the_table_names_and_nobody_else() {
    let app = TestApp::new().await;
    let mut browsers = Vec::new();
    for role in Role::ALL {
        browsers.push((role, Browser::signed_in(&app, role).await));
    }
    let stranger = Browser::stranger(&app);
    for (path, methods) in console::TABLE {
        let real = path.replace("{id}", "req_00000000000000000000000000").replace("{part}", "front");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"] {
            let call = |browser: &Browser<'_>| {
                browser
                    .call(method.parse().unwrap(), &real)
                    .header("sec-fetch-site", "same-origin")
                    .send()
            };
            if !methods.contains(&method) {
                let response = call(&stranger).await.unwrap();
                assert_eq!(response.status(), 405, "{method} {path}");
                assert_eq!(response.headers()["allow"], methods.join(", "));
                continue;
            }
            if OPEN.contains(path) {
                continue;
            }
            let allowed = PERMISSIONS
                .iter()
                .find(|(p, _)| p == path)
                .and_then(|(_, m)| m.iter().find(|(m, _)| *m == method))
                .unwrap_or_else(|| panic!("{method} {path} stands in no table"))
                .1;
            let response = call(&stranger).await.unwrap();
            assert_eq!(response.status(), 303, "{method} {path}");
            assert!(response.headers()["location"].to_str().unwrap().starts_with("/sign-in"));
            for (role, browser) in &mut browsers {
                let response = call(browser).await.unwrap();
                let status = response.status().as_u16();
                assert_eq!(
                    status != 403,
                    allowed.contains(role),
                    "{method} {path} as {}: {status}",
                    role.as_str()
                );
                assert!(status < 500, "{method} {path}: {status}");
                if *path == END_ALL {
                    *browser = Browser::signed_in(&app, *role).await;
                }
            }
        }
    }
    let key = app.http.get(app.staff("/requests")).bearer_auth(&app.api_key).send().await.unwrap();
    assert_eq!(key.status(), 303, "an API key opens no page");
}

#[tokio::test]
async fn no_other_site_can_make_a_browser_act() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let before = audited(&app).await;
    let cases: [&[(&str, &str)]; 7] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", "ORIGIN")],
        &[],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("origin", "http://127.0.0.1:1")],
    ];
    let origin = app.staff("");
    for (path, methods) in console::TABLE {
        if !methods.contains(&"POST") {
            continue;
        }
        let real = path.replace("{id}", "req_00000000000000000000000000").replace("{part}", "front");
        for headers in cases {
            let mut call = admin
                .call(Method::POST, &real)
                .header("content-type", "application/x-www-form-urlencoded")
                .body("name=x&scope=admin");
            for (name, value) in headers {
                call = call.header(*name, value.replace("ORIGIN", &origin));
            }
            let status = call.send().await.unwrap().status();
            assert_eq!(status, 403, "{path} with {headers:?}");
        }
    }
    assert_eq!(audited(&app).await, before, "nothing happened but a refusal");
    assert_eq!(admin.get("/account").await.status(), 200, "nobody was signed out");
    let old = admin
        .call(Method::POST, "/sign-out")
        .header("origin", &origin)
        .send()
        .await
        .unwrap();
    assert_eq!(old.status(), 303, "an old browser's own form");
}

#[tokio::test]
async fn the_audit_log_pages_backwards_and_exports_a_chain() {
    let app = TestApp::new().await;
    for _ in 0..120 {
        issued(&app).await;
    }
    let auditor = Browser::signed_in(&app, Role::Auditor).await;
    assert_eq!(auditor.get("/").await.headers()["location"], "/audit");
    let newest = audited(&app).await;
    let page = auditor.page("/audit").await;
    assert_eq!(page.matches("<tr>").count(), 1 + 100);
    assert!(page.contains(&format!("<td data-label=\"No.\">{newest}</td>")));
    assert!(!page.contains("href=\"/requests"), "an auditor sees the log and nothing else");
    let older = between(&page, "href=\"/audit?before=", "\"");
    let second = auditor.page(&format!("/audit?before={older}")).await;
    assert_eq!(second.matches("<tr>").count(), 1 + newest - 100);
    let export = auditor.get("/audit/export").await;
    assert_eq!(export.headers()["content-type"], "application/x-ndjson");
    let text = export.text().await.unwrap();
    let mut previous = nightdrop::testing::domain::audit::GENESIS;
    for (n, line) in text.lines().enumerate() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["sequence"], n + 1);
        previous =
            nightdrop::testing::domain::audit::chain_hash("nightdrop/v1/audit", &previous, entry["line"].as_str().unwrap().as_bytes());
        assert_eq!(entry["hash"], data_encoding::HEXLOWER.encode(&previous));
    }
    assert_eq!(text.lines().count(), newest);
}

#[tokio::test]
async fn every_answer_of_the_staff_listener_carries_the_security_headers() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    for path in [
        "/",
        "/sign-in",
        "/nowhere",
        "/requests/req_0",
        "/admin",
        "/audit/export",
        "/assets/console.css",
        "/assets/console.js",
        "/assets/logo.svg",
    ] {
        for browser in [&admin, &Browser::stranger(&app)] {
            let response = browser.get(path).await;
            let headers = response.headers();
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers["x-frame-options"], "DENY");
            assert_eq!(headers["referrer-policy"], "same-origin");
            assert!(headers.contains_key("cache-control"));
            assert!(!headers.contains_key("server") && !headers.contains_key("x-powered-by"));
            if !path.starts_with("/assets") {
                assert_eq!(headers["cache-control"], "no-store", "{path}");
            }
        }
    }
    let page = admin.page("/").await;
    let style = between(&page, "rel=\"stylesheet\" href=\"", "\"");
    assert!(style.contains('?'));
    assert_eq!(
        admin.get(style).await.headers()["cache-control"],
        "public, max-age=31536000, immutable"
    );
    assert_eq!(admin.get("/nowhere").await.status(), 404);
    let machine = app.http.get(app.staff("/nowhere")).send().await.unwrap();
    assert_eq!(machine.headers()["content-type"], "application/problem+json");
}
