//! The console from outside, as browsers and their enemies see it.

use std::collections::BTreeSet;

use nightdrop::domain::agent::{Actor, Agent, Role};
use nightdrop::domain::request::RequestState;
use nightdrop::http::{api, console};
use nightdrop::workflow::sign_in;
use reqwest::{Method, Response};

use crate::support::{House, Link, Wish, ask, png};

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
    house: &'a House,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn stranger(house: &'a House) -> Self {
        Self {
            house,
            cookie: String::new(),
        }
    }

    async fn signed_in(house: &'a House, role: Role) -> Self {
        let email = format!("{}@example.com", role.as_str());
        if house.portal.records.agent_by_email(&email).await.unwrap().is_none() {
            agent(house, &email, role).await;
        }
        let mut browser = Self::stranger(house);
        browser.sign_in(&email, PASSWORD).await;
        browser
    }

    async fn sign_in(&mut self, email: &str, password: &str) -> Response {
        let response = self.post("/sign-in", &[("email", email), ("password", password)]).await;
        if let Some(cookie) = response.headers().get("set-cookie") {
            self.cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        response
    }

    fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.house
            .http
            .request(method, self.house.staff(path))
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

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
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

async fn agent(house: &House, email: &str, role: Role) -> Agent {
    sign_in::add_agent(&house.portal, email, role.as_str(), role, PASSWORD, Actor::Operator)
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

async fn issued(house: &House) -> Link {
    house.known(
        nightdrop::workflow::issue::issue(&house.portal, ask("acct_1", "passport"), Actor::Operator, None)
            .await
            .unwrap(),
    )
}

async fn audited(house: &House) -> usize {
    house.portal.records.entries(0, 10_000).await.unwrap().len()
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
        ("/account", &[("GET", ALL), ("POST", ALL)]),
        ("/requests", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/new", &[("GET", STAFF), ("POST", STAFF)]),
        ("/missing", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}", &[("GET", STAFF)]),
        ("/requests/{id}/extend", &[("POST", STAFF)]),
        ("/requests/{id}/reissue", &[("POST", STAFF)]),
        ("/requests/{id}/passcode", &[("POST", STAFF)]),
        ("/requests/{id}/retry", &[("POST", STAFF)]),
        ("/requests/{id}/revoke", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}/purge", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}/mark-uploaded", &[("GET", STAFF), ("POST", STAFF)]),
        ("/requests/{id}/receipt", &[("GET", STAFF)]),
        ("/requests/{id}/receipt.txt", &[("GET", STAFF)]),
        ("/audit", &[("GET", AUDIT)]),
        ("/audit/export", &[("GET", AUDIT)]),
        ("/admin", &[("GET", ADMIN)]),
        ("/admin/unlock", &[("POST", ADMIN)]),
        ("/admin/clock", &[("POST", ADMIN)]),
        ("/admin/agents", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/agents/{id}", &[("GET", ADMIN)]),
        ("/admin/agents/{id}/password", &[("POST", ADMIN)]),
        ("/admin/agents/{id}/disable", &[("POST", ADMIN)]),
        ("/admin/keys", &[("GET", ADMIN), ("POST", ADMIN)]),
        ("/admin/keys/{id}/revoke", &[("GET", ADMIN), ("POST", ADMIN)]),
    ]
};
/// The only routes without a session.
const OPEN: [&str; 2] = ["/sign-in", "/sign-out"];

#[tokio::test]
async fn every_route_lets_in_whom_the_table_names_and_nobody_else() {
    let house = House::new().await;
    let mut browsers = Vec::new();
    for role in Role::ALL {
        browsers.push((role, Browser::signed_in(&house, role).await));
    }
    let stranger = Browser::stranger(&house);
    for (path, methods) in console::TABLE {
        let real = path.replace("{id}", "req_00000000000000000000000000");
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
            for (role, browser) in &browsers {
                let response = call(browser).await.unwrap();
                let status = response.status().as_u16();
                assert_eq!(
                    status != 403,
                    allowed.contains(role),
                    "{method} {path} as {}: {status}",
                    role.as_str()
                );
                assert!(status < 500, "{method} {path}: {status}");
            }
        }
    }
    let key = house
        .http
        .get(house.staff("/requests"))
        .bearer_auth(&house.api_key)
        .send()
        .await
        .unwrap();
    assert_eq!(key.status(), 303, "an API key opens no page");
}

#[tokio::test]
async fn no_other_site_can_make_a_browser_act() {
    let house = House::new().await;
    let admin = Browser::signed_in(&house, Role::Admin).await;
    let before = audited(&house).await;
    let cases: [&[(&str, &str)]; 7] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", "ORIGIN")],
        &[],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("origin", "http://127.0.0.1:1")],
    ];
    let origin = house.staff("");
    for (path, methods) in console::TABLE {
        if !methods.contains(&"POST") {
            continue;
        }
        let real = path.replace("{id}", "req_00000000000000000000000000");
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
    assert_eq!(audited(&house).await, before, "nothing happened");
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
async fn signing_in_tells_a_stranger_nothing() {
    let house = House::new().await;
    let ada = agent(&house, "ada@example.com", Role::Agent).await;
    let gone = agent(&house, "gone@example.com", Role::Agent).await;
    sign_in::disable_agent(&house.portal, gone, Actor::Operator).await.unwrap();
    let browser = Browser::stranger(&house);
    let mut answers = BTreeSet::new();
    for (email, password) in [
        ("ada@example.com", "wrong wrong wrong"),
        ("nobody@example.com", PASSWORD),
        ("gone@example.com", PASSWORD),
        ("ada@example.com", ""),
        ("ADA@example.com ", "x"),
    ] {
        let response = browser.post("/sign-in", &[("email", email), ("password", password)]).await;
        assert!(!response.headers().contains_key("set-cookie"));
        let status = response.status().as_u16();
        let page = response.text().await.unwrap();
        answers.insert((status, page.replace(email.trim(), "EMAIL")));
        assert!(!page.contains(PASSWORD) && !page.contains("wrong wrong"));
    }
    assert_eq!(answers.len(), 1);
    assert_eq!(answers.first().unwrap().0, 403);
    let _ = ada;
    // Ten tries on one account from one place; another account from the same place is another matter.
    for _ in 0..10 {
        browser.post("/sign-in", &[("email", "bob@example.com"), ("password", "x")]).await;
    }
    let throttled = browser.post("/sign-in", &[("email", "bob@example.com"), ("password", "x")]).await;
    assert_eq!(throttled.status(), 429);
    assert_eq!(throttled.headers()["retry-after"], "900");
    let mut fine = Browser::stranger(&house);
    assert_eq!(fine.sign_in("ada@example.com", PASSWORD).await.status(), 303);
}

#[tokio::test]
async fn a_session_is_fresh_at_every_sign_in_and_dead_after_signing_out() {
    let (wish, hands) = Wish::default().with_hands();
    let house = House::wished(wish).await;
    agent(&house, "ada@example.com", Role::Agent).await;
    let mut browser = Browser::stranger(&house);
    let planted = format!("nightdrop-s={}", "0".repeat(64));
    browser.cookie = planted.clone();
    let response = browser.sign_in("ada@example.com", PASSWORD).await;
    let set = response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax") && set.contains("Path=/"),
        "{set}"
    );
    assert_ne!(browser.cookie, planted);
    let first = browser.cookie.clone();
    browser.sign_in("ada@example.com", PASSWORD).await;
    assert_ne!(browser.cookie, first);
    let with = |cookie: &str| Browser {
        house: &house,
        cookie: cookie.to_owned(),
    };
    for dead in [&planted, &first] {
        assert_eq!(
            with(dead).get("/").await.status(),
            303,
            "a planted or replaced cookie opens nothing"
        );
    }
    assert_eq!(browser.get("/").await.status(), 200);
    let out = browser.post("/sign-out", &[]).await;
    assert_eq!(out.headers()["location"], "/sign-in");
    assert_eq!(browser.get("/").await.status(), 303);

    browser.sign_in("ada@example.com", PASSWORD).await;
    hands.forward(time::Duration::minutes(14));
    assert_eq!(browser.get("/").await.status(), 200);
    hands.forward(time::Duration::minutes(14));
    assert_eq!(browser.get("/").await.status(), 200, "use keeps it alive");
    hands.forward(time::Duration::minutes(16));
    assert_eq!(browser.get("/").await.status(), 303, "idle too long");

    let back = browser.get("/requests/new").await;
    assert_eq!(back.headers()["location"], "/sign-in?next=/requests/new");
    let sent = browser
        .post(
            "/sign-in",
            &[("email", "ada@example.com"), ("password", PASSWORD), ("next", "/requests/new")],
        )
        .await;
    assert_eq!(sent.headers()["location"], "/requests/new");
    let sent = browser
        .post(
            "/sign-in",
            &[("email", "ada@example.com"), ("password", PASSWORD), ("next", "//evil.example")],
        )
        .await;
    assert_eq!(sent.headers()["location"], "/");
}

#[tokio::test]
async fn changing_a_password_needs_the_old_one_and_ends_all_other_sessions() {
    let house = House::new().await;
    agent(&house, "ada@example.com", Role::Agent).await;
    let (mut here, mut there) = (Browser::stranger(&house), Browser::stranger(&house));
    here.sign_in("ada@example.com", PASSWORD).await;
    there.sign_in("ada@example.com", PASSWORD).await;
    let wrong = here
        .post("/account", &[("current", "x"), ("password", "a new password of mine")])
        .await;
    assert_eq!(wrong.status(), 422);
    let short = here.post("/account", &[("current", PASSWORD), ("password", "short")]).await;
    assert_eq!(short.status(), 422);
    assert_eq!(there.get("/").await.status(), 200, "nothing has changed yet");
    let changed = here
        .post("/account", &[("current", PASSWORD), ("password", "a new password of mine")])
        .await;
    assert_eq!(changed.status(), 303);
    here.cookie = changed.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(here.get("/").await.status(), 200);
    assert_eq!(there.get("/").await.status(), 303);
    assert_eq!(there.sign_in("ada@example.com", PASSWORD).await.status(), 403);
    assert_eq!(there.sign_in("ada@example.com", "a new password of mine").await.status(), 303);
}

#[tokio::test]
async fn a_form_issues_once_keeps_what_was_typed_and_shows_the_link_this_once() {
    let house = House::new().await;
    let browser = Browser::signed_in(&house, Role::Agent).await;
    let mut form = request_form("James Smith", "government-id:front");
    form.extend([("message", "As we\r\ntalked about."), ("expires_in", "24h"), ("locale", "de")]);
    let (status, page) = browser.send("/requests/new", "/requests/new", &form).await;
    assert_eq!(status, 422);
    for kept in [
        "value=\"James Smith\"",
        "<option value=\"government-id:front\" selected>",
        "talked about.</textarea>",
        "<option value=\"24h\" selected>",
        "aria-invalid=\"true\"",
        "id=\"applicant-fault\"",
    ] {
        assert!(page.contains(kept), "{kept} in {page}");
    }
    let page = browser.page("/requests/new").await;
    let once = between(&page, "name=\"once\" value=\"", "\"").to_owned();
    let mut form = request_form("acct_james", "government-id:front");
    form.extend([("passcode", "yes"), ("once", &once)]);
    let mut urls = BTreeSet::new();
    for _ in 0..3 {
        let response = browser.post("/requests/new", &form).await;
        assert_eq!(response.status(), 200);
        let page = response.text().await.unwrap();
        urls.insert((
            between(&page, "id=\"url\" readonly value=\"", "\"").to_owned(),
            between(&page, "<output class=\"digits\">", "<").to_owned(),
        ));
        assert!(page.contains("data:image/svg+xml;base64,") && page.contains("https://mail.google.com/") && page.contains("mailto:?"));
    }
    assert_eq!(urls.len(), 1, "an impatient finger issues one link");
    let all = house
        .portal
        .records
        .list(&nightdrop::storage::Filter::default(), None, 50)
        .await
        .unwrap();
    assert_eq!(all.requests.len(), 1);
    assert_eq!(all.requests[0].parts.len(), 1);
    form[1].1 = "acct_other";
    assert_eq!(
        browser.post("/requests/new", &form).await.status(),
        422,
        "the same form with other words"
    );
    form[4].1 = "x";
    assert_eq!(browser.post("/requests/new", &form).await.status(), 400);

    let path = format!("/requests/{}", all.requests[0].id);
    let (url, code) = urls.pop_first().unwrap();
    let token = url.rsplit('/').next().unwrap();
    for page in [browser.page(&path).await, browser.page("/requests").await, browser.page("/").await] {
        assert!(!page.contains(token) && !page.contains(&code));
    }
    let fresh = browser.post(&format!("{path}/passcode"), &[]).await.text().await.unwrap();
    assert_ne!(between(&fresh, "<output class=\"digits\">", "<"), code);
    let (status, page) = browser.send(&path, &format!("{path}/reissue"), &[]).await;
    assert_eq!(status, 200);
    assert_ne!(between(&page, "id=\"url\" readonly value=\"", "\""), url);
}

#[tokio::test]
async fn an_applicant_never_stands_in_an_address() {
    let house = House::new().await;
    let browser = Browser::signed_in(&house, Role::Agent).await;
    for n in 0..60 {
        let asked = ask(if n % 6 == 0 { "acct_other" } else { "acct_many" }, "passport");
        nightdrop::workflow::issue::issue(&house.portal, asked, Actor::Operator, None)
            .await
            .unwrap();
    }
    let plain = browser
        .post("/requests", &[("state", "awaiting"), ("provider", "sandbox"), ("applicant", "")])
        .await;
    assert_eq!(plain.status(), 303);
    assert_eq!(plain.headers()["location"], "/requests?state=awaiting&provider=sandbox");
    let found = browser.post("/requests", &[("applicant", "acct_other")]).await;
    assert_eq!(found.status(), 200);
    let page = found.text().await.unwrap();
    assert!(page.contains("acct_other") && !page.contains("acct_many"));
    let first = browser.page("/requests").await;
    assert_eq!(first.matches("<tr>").count(), 1 + 50);
    let cursor = between(&first, "name=\"cursor\" value=\"", "\"");
    let second = browser.page(&format!("/requests?cursor={cursor}")).await;
    assert_eq!(second.matches("<tr>").count(), 1 + 10);
    // No link and no GET form of any page names one.
    for page in [page, first, second] {
        for target in page.split("href=\"").skip(1).map(|r| r.split('"').next().unwrap()) {
            assert!(!target.contains("acct_"), "{target}");
        }
        for form in page.split("<form").skip(1).filter(|f| f.contains("method=\"get\"")) {
            assert!(!form.split("</form>").next().unwrap().contains("acct_"));
        }
    }
    assert_eq!(browser.get("/requests?applicant=acct_other").await.status(), 422);
    assert_eq!(browser.post("/requests", &[("state", "lost\r\nx")]).await.status(), 422);
}

#[tokio::test]
async fn asking_what_is_missing_leads_to_one_button() {
    let house = House::wished(Wish {
        more: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..Wish::default()
    })
    .await;
    let browser = Browser::signed_in(&house, Role::Agent).await;
    let page = browser
        .post("/missing", &[("provider", "sandbox"), ("applicant", "acct_1")])
        .await
        .text()
        .await
        .unwrap();
    assert!(page.contains("Government ID"));
    let once = between(&page, "name=\"once\" value=\"", "\"").to_owned();
    let mut form = request_form("acct_1", "government-id");
    form.extend([("part", "front"), ("part", "back"), ("once", &once)]);
    let issued = browser.post("/requests/new", &form).await;
    assert_eq!(issued.status(), 200);
    assert!(issued.text().await.unwrap().contains("/d/"));
    form.push(("prefill", "yes"));
    let prefilled = browser.post("/requests/new", &form).await.text().await.unwrap();
    assert!(prefilled.contains("value=\"acct_1\"") && prefilled.contains("Issue the link"));
    let by_hand = browser.post("/missing", &[("provider", "desk"), ("applicant", "acct_1")]).await;
    assert_eq!(by_hand.status(), 409);
    assert!(by_hand.text().await.unwrap().contains("Pick a document"));
    assert_eq!(
        browser
            .post("/missing", &[("provider", "x"), ("applicant", "acct_1")])
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn what_cannot_be_undone_is_asked_twice_and_looking_changes_nothing() {
    let house = House::wished(Wish {
        more: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..Wish::default()
    })
    .await;
    let browser = Browser::signed_in(&house, Role::Agent).await;
    let link = issued(&house).await;
    let path = format!("/requests/{}", link.id);
    let before = audited(&house).await;
    let asked = browser.page(&format!("{path}/revoke")).await;
    assert!(asked.contains(&format!("action=\"{path}/revoke\"")));
    browser.page(&path).await;
    browser.page("/").await;
    browser.page("/requests").await;
    assert_eq!(audited(&house).await, before, "nothing happened yet");
    let extended = browser.post(&format!("{path}/extend"), &[("expires_in", "7d")]).await;
    assert_eq!(extended.headers()["location"], format!("{path}?done=extended").as_str());
    assert!(browser.page(&format!("{path}?done=extended")).await.contains("lives longer"));
    assert!(!browser.page(&format!("{path}?done=%3Cb%3E")).await.contains("<b>"));
    assert_eq!(browser.post(&format!("{path}/revoke"), &[]).await.status(), 303);
    assert_eq!(house.state(&link).await, RequestState::Revoked);
    assert_eq!(browser.post(&format!("{path}/retry"), &[]).await.status(), 409);

    // A provider served by hand: only its handler may say that it has the document.
    let mut asked = ask("acct_2", "passport");
    asked.provider = nightdrop::domain::document::ProviderName::parse("desk").unwrap();
    let link = house.issue(asked).await;
    assert_eq!(house.drop_files(&link, &[("front", &png(1, 9_000))]).await.status(), 200);
    house.work().await;
    let path = format!("/requests/{}", link.id);
    assert_eq!(browser.post(&format!("{path}/mark-uploaded"), &[]).await.status(), 403);
    assert!(!browser.page(&path).await.contains("Mark as uploaded"));
    assert_eq!(browser.get(&format!("{path}/receipt")).await.status(), 404);
    let handler = Browser::signed_in(&house, Role::ManualHandler).await;
    assert!(handler.page(&path).await.contains("Mark as uploaded"));
    assert_eq!(handler.post(&format!("{path}/mark-uploaded"), &[]).await.status(), 303);
    house.work().await;
    assert_eq!(house.state(&link).await, RequestState::Purged);
    let receipt = browser.page(&format!("{path}/receipt")).await;
    assert!(receipt.contains("Deletion receipt no. 1"));
    let text = browser.page(&format!("{path}/receipt.txt")).await;
    assert!(nightdrop::crypto::receipt::verify(&text, None).is_ok());
}

#[tokio::test]
async fn nothing_that_anybody_types_comes_back_as_markup() {
    let house = House::wished(Wish {
        more: "company = { name = \"<script>alert(1)</script>\", support = \"\\\"><img src=x onerror=alert(1)>\" }\n".to_owned(),
        ..Wish::default()
    })
    .await;
    let admin = Browser::signed_in(&house, Role::Admin).await;
    let clean = |what: &str, page: &str| {
        for payload in PAYLOADS {
            assert!(!page.contains(payload), "{what}: {payload}");
        }
        assert!(
            !page.contains("<script>") && !page.contains("<img src=x") && !page.contains("<svg/"),
            "{what}"
        );
        // Nothing inline that a policy would have to stop.
        assert!(
            !page.contains(" style=\"") && !page.contains(" onclick=") && !page.contains("<style"),
            "{what}"
        );
    };
    let mut ids = Vec::new();
    for (n, payload) in PAYLOADS.iter().enumerate() {
        let mut asked = ask("acct_1", "passport");
        asked.message = Some((*payload).to_owned());
        asked.metadata = Some(serde_json::json!({ *payload: payload }).to_string());
        ids.push(house.issue(asked).await.id);
        let email = format!("x{n}@example.com");
        let form = [
            ("name", *payload),
            ("email", email.as_str()),
            ("role", "agent"),
            ("password", PASSWORD),
        ];
        assert_eq!(admin.post("/admin/agents", &form).await.status(), 303);
        let made = admin.post("/admin/keys", &[("name", payload), ("scope", "read")]).await;
        assert_eq!(made.status(), 200);
        clean("key made", &made.text().await.unwrap());
        let mut form = request_form("acct_2", "passport");
        form.push(("message", payload));
        let (status, page) = admin.send("/requests/new", "/requests/new", &form).await;
        assert_eq!(status, 200);
        clean("issued", &page);
        for (path, form) in [
            (
                "/requests/new",
                vec![
                    ("applicant", *payload),
                    ("message", payload),
                    ("document", payload),
                    ("provider", payload),
                    ("locale", payload),
                    ("expires_in", payload),
                    ("part", payload),
                    ("once", "0123456789abcdef0123456789abcdef"),
                ],
            ),
            (
                "/requests/new",
                vec![
                    ("applicant", *payload),
                    ("message", payload),
                    ("part", payload),
                    ("prefill", payload),
                ],
            ),
            ("/requests", vec![("applicant", *payload), ("agent", payload)]),
            ("/missing", vec![("applicant", *payload), ("provider", "sandbox")]),
            ("/missing", vec![("applicant", *payload), ("provider", payload)]),
            ("/sign-in", vec![("email", *payload), ("password", payload), ("next", payload)]),
            ("/account", vec![("current", *payload), ("password", payload)]),
            (
                "/admin/agents",
                vec![("name", *payload), ("email", payload), ("role", payload), ("password", payload)],
            ),
            ("/admin/keys", vec![("name", *payload), ("scope", payload), ("expires_in", payload)]),
            ("/admin/unlock", vec![("passphrase", *payload)]),
        ] {
            let page = admin.post(path, &form).await.text().await.unwrap();
            clean(path, &page);
            assert!(!page.contains(PASSWORD));
        }
        let query = encoded(&[("next", payload)]);
        clean("sign-in", &admin.page(&format!("/sign-in?{query}")).await);
        for path in [
            "/requests?state=",
            "/requests?cursor=",
            "/?done=",
            "/requests/",
            "/admin/agents/",
            "/audit?before=",
        ] {
            let path = format!("{path}{}", encoded(&[(payload, "")]).trim_end_matches('='));
            clean(&path, &admin.get(&path).await.text().await.unwrap());
        }
    }
    for agent in house.portal.records.agents().await.unwrap() {
        clean("agent", &admin.page(&format!("/admin/agents/{}", agent.id)).await);
    }
    for key in house.portal.records.api_keys().await.unwrap() {
        clean("key", &admin.page(&format!("/admin/keys/{}/revoke", key.id)).await);
    }
    for id in ids {
        for verb in ["", "/revoke", "/purge", "/mark-uploaded"] {
            clean(verb, &admin.page(&format!("/requests/{id}{verb}")).await);
        }
    }
    for path in [
        "/",
        "/requests",
        "/requests/new",
        "/missing",
        "/audit",
        "/admin",
        "/admin/agents",
        "/admin/keys",
        "/account",
        "/sign-in",
    ] {
        clean(path, &admin.page(path).await);
    }
}

/// T103: every GET of API and console, and every answer to an action, searched for windows of what was dropped.
#[tokio::test]
async fn no_route_gives_a_document_byte_or_file_name_back() {
    let house = House::wished(Wish {
        confirm: "verdict",
        ..Wish::default()
    })
    .await;
    house.misbehave(&["pending:100000", "400"]).await;
    let picture = png(9, 40_000);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let link = issued(&house).await;
        assert_eq!(house.drop_files(&link, &[("front", &picture)]).await.status(), 200);
        house.work().await;
        ids.push(link.id.to_string());
    }
    let admin = Browser::signed_in(&house, Role::Admin).await;
    let mut bodies = Vec::new();
    for id in &ids {
        for (path, _) in console::TABLE.iter().filter(|(_, m)| m.contains(&"GET")) {
            bodies.push(admin.get(&path.replace("{id}", id)).await.bytes().await.unwrap());
        }
        for (path, methods) in api::TABLE {
            let path = path
                .replace("{id}", id)
                .replace("{provider}", "sandbox")
                .replace("{applicant}", "acct_1");
            for method in *methods {
                let call = house.http.request(method.parse().unwrap(), house.staff(&format!("/api/v1{path}")));
                let call = call
                    .bearer_auth(&house.api_key)
                    .header("content-type", "application/json")
                    .body("{}");
                bodies.push(call.send().await.unwrap().bytes().await.unwrap());
            }
        }
        for verb in ["retry", "purge", "reissue"] {
            bodies.push(admin.post(&format!("/requests/{id}/{verb}"), &[]).await.bytes().await.unwrap());
        }
    }
    assert!(bodies.len() > 90);
    let windows: Vec<Vec<u8>> = (100..picture.len() - 64)
        .step_by(997)
        .flat_map(|at| {
            let raw = picture[at..at + 48].to_vec();
            let texts = [data_encoding::BASE64.encode(&raw), data_encoding::HEXLOWER.encode(&raw)];
            [raw, texts[0].clone().into_bytes(), texts[1].clone().into_bytes()]
        })
        .chain([b"IMG 0001".to_vec(), b"IMG%200001".to_vec()])
        .collect();
    for body in bodies {
        for window in &windows {
            assert!(!body.windows(window.len()).any(|w| w == &window[..]));
        }
    }
}

#[tokio::test]
async fn the_audit_log_pages_backwards_and_exports_a_chain() {
    let house = House::new().await;
    for _ in 0..120 {
        issued(&house).await;
    }
    let auditor = Browser::signed_in(&house, Role::Auditor).await;
    assert_eq!(auditor.get("/").await.headers()["location"], "/audit");
    let newest = audited(&house).await;
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
    let mut previous = nightdrop::domain::audit::GENESIS;
    for (n, line) in text.lines().enumerate() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["sequence"], n + 1);
        previous = nightdrop::domain::audit::chain_hash("nightdrop/v1/audit", &previous, entry["line"].as_str().unwrap().as_bytes());
        assert_eq!(entry["hash"], data_encoding::HEXLOWER.encode(&previous));
    }
    assert_eq!(text.lines().count(), newest);
}

#[tokio::test]
async fn every_answer_of_the_staff_door_carries_the_headers_of_the_house() {
    let house = House::new().await;
    let admin = Browser::signed_in(&house, Role::Admin).await;
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
        for browser in [&admin, &Browser::stranger(&house)] {
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
    let machine = house.http.get(house.staff("/nowhere")).send().await.unwrap();
    assert_eq!(machine.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn admins_run_the_house_from_the_console() {
    let house = House::wished(Wish {
        passphrase: Some("open the vault please"),
        ..Wish::default()
    })
    .await;
    let admin = Browser::signed_in(&house, Role::Admin).await;
    assert!(admin.page("/").await.contains("The vault is locked."));
    let wrong = admin.post("/admin/unlock", &[("passphrase", "sesame")]).await;
    assert_eq!(wrong.status(), 422);
    assert!(wrong.text().await.unwrap().contains("opens no vault key"));
    assert_eq!(
        admin
            .post("/admin/unlock", &[("passphrase", "open the vault please")])
            .await
            .status(),
        303
    );
    assert!(!house.portal.keyring.is_locked());

    let form = [
        ("name", "Bob"),
        ("email", "bob@example.com"),
        ("role", "agent"),
        ("password", PASSWORD),
    ];
    assert_eq!(admin.post("/admin/agents", &form).await.status(), 303);
    assert_eq!(admin.post("/admin/agents", &form).await.status(), 409, "the address is taken");
    let bob = house.portal.records.agent_by_email("bob@example.com").await.unwrap().unwrap();
    let mut his = Browser::stranger(&house);
    his.sign_in("bob@example.com", PASSWORD).await;
    assert_eq!(his.get("/").await.status(), 200);
    let path = |verb: &str| format!("/admin/agents/{}/{verb}", bob.id);
    assert_eq!(admin.post(&path("password"), &[("password", "short")]).await.status(), 422);
    assert_eq!(
        admin
            .post(&path("password"), &[("password", "some other four words")])
            .await
            .status(),
        303
    );
    assert_eq!(his.get("/").await.status(), 303, "his session has ended");
    his.sign_in("bob@example.com", "some other four words").await;
    assert_eq!(admin.post(&path("disable"), &[]).await.status(), 303);
    assert_eq!(his.get("/").await.status(), 303);
    let me = house.portal.records.agent_by_email("admin@example.com").await.unwrap().unwrap();
    assert_eq!(admin.post(&format!("/admin/agents/{}/disable", me.id), &[]).await.status(), 409);

    let made = admin
        .post("/admin/keys", &[("name", "ci"), ("scope", "read"), ("expires_in", "90d")])
        .await
        .text()
        .await
        .unwrap();
    let secret = between(&made, "id=\"secret\" readonly value=\"", "\"").to_owned();
    let works = async || {
        house
            .http
            .get(house.staff("/api/v1/providers"))
            .bearer_auth(&secret)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(works().await, 200);
    assert!(!admin.page("/admin/keys").await.contains(&secret));
    let keys = house.portal.records.api_keys().await.unwrap();
    let key = keys.iter().find(|k| k.name == "ci").unwrap();
    assert!(
        admin
            .page(&format!("/admin/keys/{}/revoke", key.id))
            .await
            .contains("Revoke this key?")
    );
    assert_eq!(admin.post(&format!("/admin/keys/{}/revoke", key.id), &[]).await.status(), 303);
    assert_eq!(works().await, 401);
    assert_eq!(
        admin.post("/admin/keys", &[("name", "ci")]).await.status(),
        422,
        "a key without a scope"
    );
}
