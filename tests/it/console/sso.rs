//! Single sign-on against a provider of our own on loopback, honest and misbehaving.

use nightdrop::testing::domain::audit::AuditAction;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::factor::enrol;
use super::*;

/// An RSA key of 2,048 bits, for tests only.
const RSA: &str = include_str!("../providers/bridge-key.txt");
const CLIENT: &str = "nightdrop-test";
const SECRET: &str = "s3cret:with/signs";

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Es256,
    Rs256,
    /// Its header says that nobody signed it.
    None,
    /// With the client secret, which the provider knows too.
    Hs256,
    /// By somebody else, under our key's name.
    Stranger,
    /// Under a name that nobody publishes.
    UnknownKey,
    /// Changed after it was signed.
    Tampered,
}

struct Provider {
    url: String,
    ec: EcdsaKeyPair,
    stranger: EcdsaKeyPair,
    rsa: RsaKeyPair,
    /// Code → (claims, how to sign, PKCE challenge, redirect).
    codes: Mutex<HashMap<String, (Value, Sign, String, String)>>,
    /// What was wrong with requests for tokens.
    complaints: Mutex<Vec<String>>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let rng = SystemRandom::new();
        let key = || {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng).unwrap()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            ec: key(),
            stranger: key(),
            rsa: RsaKeyPair::from_pkcs8(&BASE64.decode(RSA.trim().replace('\n', "").as_bytes()).unwrap()).unwrap(),
            codes: Mutex::default(),
            complaints: Mutex::default(),
        });
        let shared = web::Data::from(provider.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .route("/.well-known/openid-configuration", web::get().to(about))
                .route("/keys", web::get().to(keys))
                .route("/token", web::post().to(token))
        });
        tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
        provider
    }

    fn signed(&self, claims: &Value, how: Sign) -> String {
        let rng = SystemRandom::new();
        let (alg, kid) = match how {
            Sign::Rs256 => ("RS256", "rsa-1"),
            Sign::None => ("none", "ec-1"),
            Sign::Hs256 => ("HS256", "ec-1"),
            Sign::UnknownKey => ("ES256", "ec-9"),
            _ => ("ES256", "ec-1"),
        };
        let part = |v: &Value| BASE64URL_NOPAD.encode(v.to_string().as_bytes());
        let head = part(&json!({ "alg": alg, "kid": kid, "typ": "JWT" }));
        let mut text = format!("{head}.{}", part(claims));
        let bytes = text.as_bytes();
        let signature = match how {
            Sign::Rs256 => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &rng, bytes, &mut signature).unwrap();
                signature
            }
            Sign::None => Vec::new(),
            Sign::Hs256 => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
                ring::hmac::sign(&key, bytes).as_ref().to_vec()
            }
            Sign::Stranger => self.stranger.sign(&rng, bytes).unwrap().as_ref().to_vec(),
            _ => self.ec.sign(&rng, bytes).unwrap().as_ref().to_vec(),
        };
        if how == Sign::Tampered {
            let mut changed = claims.clone();
            changed["email"] = json!("admin@example.com");
            text = format!("{head}.{}", part(&changed));
        }
        format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

async fn about(provider: web::Data<Provider>) -> HttpResponse {
    let url = &provider.url;
    HttpResponse::Ok().json(json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
    }))
}

async fn keys(provider: web::Data<Provider>) -> HttpResponse {
    let point = provider.ec.public_key().as_ref();
    let rsa = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(provider.rsa.public());
    let text = |b: &[u8]| BASE64URL_NOPAD.encode(b);
    HttpResponse::Ok().json(json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "use": "sig", "kid": "ec-1", "x": text(&point[1..33]), "y": text(&point[33..]) },
        { "kty": "RSA", "use": "sig", "kid": "rsa-1", "n": text(&rsa.n), "e": text(&rsa.e) },
    ]}))
}

async fn token(provider: web::Data<Provider>, request: HttpRequest, body: String) -> HttpResponse {
    let fields: HashMap<String, String> = web::Query::<HashMap<_, _>>::from_query(&body).unwrap().into_inner();
    let complain = |what: &str| {
        provider.complaints.lock().unwrap().push(what.to_owned());
        HttpResponse::BadRequest().json(json!({ "error": what }))
    };
    let basic = format!("Basic {}", BASE64.encode(format!("{CLIENT}:s3cret%3Awith%2Fsigns").as_bytes()));
    if request.headers().get("authorization").is_none_or(|h| h != basic.as_str()) {
        return complain("client");
    }
    let Some((claims, how, challenge, redirect)) = provider.codes.lock().unwrap().remove(&fields["code"]) else {
        return complain("code");
    };
    if BASE64URL_NOPAD.encode(&Sha256::digest(fields["code_verifier"].as_bytes())) != challenge {
        return complain("verifier");
    }
    if fields["redirect_uri"] != redirect || fields["grant_type"] != "authorization_code" {
        return complain("redirect");
    }
    HttpResponse::Ok().json(json!({ "access_token": "x", "token_type": "Bearer", "id_token": provider.signed(&claims, how) }))
}

async fn app(provider: &Provider, more: &str) -> TestApp {
    let folder_secret = std::env::temp_dir().join(format!(
        "nightdrop-sso-{}-{}",
        std::process::id(),
        provider.url.replace([':', '/'], "-")
    ));
    crate::support::private(&folder_secret, SECRET);
    let app = TestApp::with_options(TestOptions {
        more: format!(
            "[sso]\nissuer = \"{}\"\nclient_id = \"{CLIENT}\"\nclient_secret_file = \"{}\"\n{more}",
            provider.url,
            folder_secret.display()
        ),
        ..TestOptions::default()
    })
    .await;
    std::fs::remove_file(folder_secret).unwrap();
    app
}

/// A sign-in on its way: what the provider was asked.
struct Asked {
    query: HashMap<String, String>,
}

async fn leave(browser: &mut Browser<'_>, next: &str) -> Asked {
    let answer = browser.get(&format!("/sign-in/sso?next={next}")).await;
    browser.keep(&answer);
    let address = reqwest::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    assert_eq!(address.path(), "/authorize");
    Asked {
        query: address.query_pairs().into_owned().collect(),
    }
}

impl Asked {
    fn claims(&self, provider: &Provider, app: &TestApp) -> Value {
        let now = app.portal.now().unix_timestamp();
        json!({
            "iss": provider.url, "aud": CLIENT, "sub": "user-1", "exp": now + 300, "iat": now, "auth_time": now, "nonce": self.query["nonce"],
            "email": "ana@example.com", "email_verified": true, "name": "Ana Lopez",
        })
    }

    /// The provider's code for these claims.
    fn code(&self, provider: &Provider, claims: Value, how: Sign) -> String {
        let code = format!("code-{}", provider.codes.lock().unwrap().len());
        let promise = (
            claims,
            how,
            self.query["code_challenge"].clone(),
            self.query["redirect_uri"].clone(),
        );
        provider.codes.lock().unwrap().insert(code.clone(), promise);
        code
    }

    async fn come_back(&self, browser: &mut Browser<'_>, code: &str) -> Response {
        let path = format!("/sign-in/sso/back?code={code}&state={}", self.query["state"]);
        let answer = browser.get(&path).await;
        browser.keep(&answer);
        answer
    }
}

async fn codes_of(app: &TestApp) -> Vec<String> {
    let log = app.portal.audit.entries(0, 10_000).await.unwrap();
    log.into_iter()
        .filter(|e| e.event.action == AuditAction::SignInSsoRefused)
        .map(|e| e.event.detail[0].1.clone())
        .collect()
}

#[tokio::test]
async fn a_verified_identity_signs_in_with_either_kind_of_key() {
    let provider = Provider::start().await;
    let app = app(&provider, "").await;
    let ana = agent(&app, "ana@example.com", Role::Agent).await;
    for how in [Sign::Es256, Sign::Rs256] {
        let mut browser = Browser::stranger(&app);
        assert!(browser.page("/sign-in").await.contains("Sign in with your company account"));
        let asked = leave(&mut browser, "/requests").await;
        assert_eq!(asked.query["response_type"], "code");
        assert_eq!(asked.query["code_challenge_method"], "S256");
        assert_eq!(asked.query["scope"], "openid email profile");
        let console = app.staff("").replace("127.0.0.1", "localhost");
        assert_eq!(asked.query["redirect_uri"], format!("{console}/sign-in/sso/back"));
        let code = asked.code(&provider, asked.claims(&provider, &app), how);
        let answer = asked.come_back(&mut browser, &code).await;
        assert_eq!(answer.headers()["location"], "/requests");
        assert_eq!(browser.get("/requests").await.status(), 200);
        assert!(browser.page("/account").await.contains("single sign-on"));
        assert!(!browser.cookie.contains("nightdrop-o"), "the cookie of the way is gone");
    }
    let bound = app.portal.directory.agent(ana.id).await.unwrap().unwrap().subject.unwrap();
    assert_eq!(bound, format!("{} user-1", provider.url));
    assert!(provider.complaints.lock().unwrap().is_empty());
    // A second factor of our own is still asked for.
    let mut own = Browser::stranger(&app);
    own.sign_in("ana@example.com", PASSWORD).await;
    enrol(&mut own).await;
    let mut browser = Browser::stranger(&app);
    let asked = leave(&mut browser, "/").await;
    let code = asked.code(&provider, asked.claims(&provider, &app), Sign::Es256);
    let answer = asked.come_back(&mut browser, &code).await;
    assert_eq!(answer.headers()["location"], "/sign-in/second?next=/");
    assert_eq!(browser.get("/").await.status(), 303);
}

#[tokio::test]
async fn nothing_that_does_not_fit_is_believed() {
    let provider = Provider::start().await;
    let app = app(&provider, "").await;
    agent(&app, "ana@example.com", Role::Agent).await;
    agent(&app, "admin@example.com", Role::Admin).await;
    let gone = agent(&app, "gone@example.com", Role::Agent).await;
    sign_in::disable_agent(&app.portal, gone, Actor::Operator).await.unwrap();
    let now = app.portal.now().unix_timestamp();
    let twins: Vec<(&str, Sign, Value)> = vec![
        ("nonce", Sign::Es256, json!({ "nonce": "another" })),
        ("nonce", Sign::Es256, json!({ "nonce": null })),
        ("audience", Sign::Es256, json!({ "aud": "somebody-else" })),
        ("audience", Sign::Es256, json!({ "aud": [CLIENT, "somebody-else"] })),
        ("audience", Sign::Es256, json!({ "azp": "somebody-else" })),
        ("issuer", Sign::Es256, json!({ "iss": "https://evil.example" })),
        ("expired", Sign::Es256, json!({ "exp": now - 61 })),
        ("expired", Sign::Es256, json!({ "iat": now + 3_600 })),
        ("expired", Sign::Es256, json!({ "iat": now - 3_600 })),
        ("expired", Sign::Es256, json!({ "nbf": now + 3_600 })),
        ("claims", Sign::Es256, json!({ "exp": null })),
        ("claims", Sign::Es256, json!({ "sub": null })),
        ("email_not_verified", Sign::Es256, json!({ "email_verified": false })),
        ("email_not_verified", Sign::Es256, json!({ "email_verified": null })),
        ("email_not_verified", Sign::Es256, json!({ "email_verified": "true" })),
        ("claims", Sign::Es256, json!({ "email": null })),
        ("no_account", Sign::Es256, json!({ "email": "stranger@example.com" })),
        ("disabled", Sign::Es256, json!({ "email": "gone@example.com" })),
        ("unreadable", Sign::None, json!({})),
        ("algorithm", Sign::Hs256, json!({})),
        ("signature", Sign::Stranger, json!({})),
        ("signature", Sign::Tampered, json!({})),
        ("key", Sign::UnknownKey, json!({})),
    ];
    let mut expected = Vec::new();
    let mut pages = BTreeSet::new();
    for (why, how, change) in twins {
        let mut browser = Browser::stranger(&app);
        let asked = leave(&mut browser, "/").await;
        let mut claims = asked.claims(&provider, &app);
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let code = asked.code(&provider, claims, how);
        let answer = asked.come_back(&mut browser, &code).await;
        assert_eq!(answer.status(), 403, "{why} {change}");
        assert!(browser.cookie.is_empty(), "{why}: {}", browser.cookie);
        pages.insert(answer.text().await.unwrap());
        expected.push(why.to_owned());
    }
    assert_eq!(codes_of(&app).await, expected);
    assert_eq!(pages.len(), 1, "one answer for all of them");
}

#[tokio::test]
async fn the_way_back_is_open_once_and_for_the_browser_that_left() {
    let provider = Provider::start().await;
    let app = app(&provider, "").await;
    agent(&app, "ana@example.com", Role::Agent).await;
    // Another browser brings the code: login by somebody else's link.
    let mut left = Browser::stranger(&app);
    let asked = leave(&mut left, "/").await;
    let code = asked.code(&provider, asked.claims(&provider, &app), Sign::Es256);
    let mut victim = Browser::stranger(&app);
    assert_eq!(asked.come_back(&mut victim, &code).await.status(), 403);
    let mut other = Browser::stranger(&app);
    leave(&mut other, "/").await;
    assert_eq!(asked.come_back(&mut other, &code).await.status(), 403, "with a cookie of its own");
    // A wrong state uses the way up.
    let cookie = left.cookie.clone();
    let wrong = left.get(&format!("/sign-in/sso/back?code={code}&state=x")).await;
    assert_eq!(wrong.status(), 403);
    assert_eq!(asked.come_back(&mut left, &code).await.status(), 403);
    // Once more honestly, and then again with everything the same.
    let mut browser = Browser::stranger(&app);
    let asked = leave(&mut browser, "/").await;
    let code = asked.code(&provider, asked.claims(&provider, &app), Sign::Es256);
    let before = browser.cookie.clone();
    assert_ne!(before, cookie);
    assert_eq!(asked.come_back(&mut browser, &code).await.status(), 303);
    let mut again = Browser { app: &app, cookie: before };
    assert_eq!(asked.come_back(&mut again, &code).await.status(), 403);
    // Another provider's answer mixed in.
    let mut mixed = Browser::stranger(&app);
    let asked = leave(&mut mixed, "/").await;
    let code = asked.code(&provider, asked.claims(&provider, &app), Sign::Es256);
    let path = format!(
        "/sign-in/sso/back?code={code}&state={}&iss=https%3A%2F%2Fevil.example",
        asked.query["state"]
    );
    assert_eq!(mixed.get(&path).await.status(), 403);
    // A code of another sign-in does not fit this one's verifier.
    let (mut one, mut two) = (Browser::stranger(&app), Browser::stranger(&app));
    let (first, second) = (leave(&mut one, "/").await, leave(&mut two, "/").await);
    let code = first.code(&provider, first.claims(&provider, &app), Sign::Es256);
    assert_eq!(second.come_back(&mut two, &code).await.status(), 403);
    assert_eq!(*provider.complaints.lock().unwrap(), ["verifier"]);
    // The same address with another identity behind it is somebody else.
    let mut recycled = Browser::stranger(&app);
    let asked = leave(&mut recycled, "/").await;
    let mut claims = asked.claims(&provider, &app);
    claims["sub"] = json!("user-2");
    let code = asked.code(&provider, claims, Sign::Es256);
    assert_eq!(asked.come_back(&mut recycled, &code).await.status(), 403);
    assert_eq!(codes_of(&app).await.last().unwrap(), "other_identity");
    // Nobody is sent elsewhere afterwards.
    let mut lured = Browser::stranger(&app);
    let asked = leave(&mut lured, "https%3A%2F%2Fevil.example").await;
    let code = asked.code(&provider, asked.claims(&provider, &app), Sign::Es256);
    assert_eq!(asked.come_back(&mut lured, &code).await.headers()["location"], "/");
}

#[tokio::test]
async fn roles_come_from_the_claim_at_every_sign_in() {
    let provider = Provider::start().await;
    let more =
        "create = true\nrole_claim = \"groups\"\nsecond_factor = \"theirs\"\n[sso.roles]\nnd-admins = \"admin\"\nnd-agents = \"agent\"\n";
    let app = app(&provider, more).await;
    let come = async |groups: Value| {
        let mut browser = Browser::stranger(&app);
        let asked = leave(&mut browser, "/").await;
        let mut claims = asked.claims(&provider, &app);
        claims["groups"] = groups;
        let code = asked.code(&provider, claims, Sign::Rs256);
        let answer = asked.come_back(&mut browser, &code).await;
        (answer.status().as_u16(), browser)
    };
    assert_eq!(come(json!(["others"])).await.0, 403);
    assert_eq!(come(Value::Null).await.0, 403);
    assert!(app.portal.directory.agent_by_email("ana@example.com").await.unwrap().is_none());
    let (status, first) = come(json!(["others", "nd-agents"])).await;
    assert_eq!(status, 303);
    assert_eq!(first.get("/requests").await.status(), 200);
    assert_eq!(first.get("/admin").await.status(), 403);
    let ana = app.portal.directory.agent_by_email("ana@example.com").await.unwrap().unwrap();
    assert_eq!((ana.name.as_str(), ana.role, ana.password), ("Ana Lopez", Role::Agent, None));
    let mut by_password = Browser::stranger(&app);
    assert_eq!(
        by_password.sign_in("ana@example.com", "").await.status(),
        403,
        "no password opens it"
    );
    let (_, second) = come(json!(["nd-admins", "nd-agents"])).await;
    assert_eq!(second.get("/admin").await.status(), 200);
    assert_eq!(first.get("/requests").await.status(), 303, "a changed role ends what was open");
    let (_, alone) = come(json!("nd-agents")).await;
    assert_eq!(alone.get("/admin").await.status(), 200, "the last admin stays one");
    Browser::signed_in(&app, Role::Admin).await;
    let (_, third) = come(json!("nd-agents")).await;
    assert_eq!(third.get("/admin").await.status(), 403);
}

#[tokio::test]
async fn a_deleted_account_does_not_come_back_by_itself() {
    let provider = Provider::start().await;
    let more = "create = true\nrole_claim = \"groups\"\n[sso.roles]\nnd-agents = \"agent\"\n";
    let app = app(&provider, more).await;
    let come = async |email: &str| {
        let mut browser = Browser::stranger(&app);
        let asked = leave(&mut browser, "/").await;
        let mut claims = asked.claims(&provider, &app);
        (claims["groups"], claims["email"]) = (json!("nd-agents"), json!(email));
        let code = asked.code(&provider, claims, Sign::Rs256);
        asked.come_back(&mut browser, &code).await.status().as_u16()
    };
    let of = async |email: &str| app.portal.directory.agent_by_email(email).await.unwrap();
    let admin = Browser::signed_in(&app, Role::Admin).await;
    assert_eq!(come("ana@example.com").await, 303);
    let ana = of("ana@example.com").await.unwrap();
    let deleted = admin.post(&format!("/admin/agents/{}/delete", ana.id), &[]).await;
    assert_eq!(deleted.headers()["location"], "/admin/agents?done=deleted");
    for email in ["ana@example.com", "ANA@example.com", "ana.lopez@example.com"] {
        assert_eq!(come(email).await, 403, "neither by the address nor by the identity: {email}");
        assert_eq!(codes_of(&app).await.last().unwrap(), "deleted");
    }
    agent(&app, "ana@example.com", Role::Agent).await;
    assert_eq!(come("ana@example.com").await, 303, "an admin has added them again");
    assert_eq!(of("ana@example.com").await.unwrap().role, Role::Agent);
}
