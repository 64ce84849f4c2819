//! Somebody writes the store's files and holds no key: they gain no right, nobody else is hurt, and it is told.
//!
//! Each test edits rows as that attacker would (the MAC of before stays in front of a changed row, or a whole row is copied), starts the portal again and comes
//! in from outside.

use nightdrop::testing::domain::agent::{Actor, Agent, ApiKey, AuthMethod, Role, Scope, Session, Team};
use nightdrop::testing::domain::audit::{AuditAction, AuditEvent};
use nightdrop::testing::domain::document::SlotRef;
use nightdrop::testing::domain::receipt::SignedReceipt;
use nightdrop::testing::domain::request::{DocumentRequest, RequestState, Stage};
use nightdrop::testing::storage::record::Record;
use nightdrop::testing::storage::seal::MAC_LEN;
use nightdrop::testing::storage::sled::records::Batch;
use nightdrop::testing::storage::{BlobKey, key};
use nightdrop::testing::workflow::sign_in::{self, account};
use time::Duration;

use crate::support::{TestApp, ask, png};

const PASSWORD: &str = "correct horse battery staple";

impl TestApp {
    fn row(&self, k: &[u8]) -> Vec<u8> {
        let store = self.embedded();
        let store = store.store();
        store.records().get(k).unwrap().unwrap()
    }

    fn write(&self, k: Vec<u8>, row: Vec<u8>) {
        let store = self.embedded();
        let store = store.store();
        let mut batch = Batch::new();
        batch.put(k, row);
        let seq = store.apply(batch).unwrap();
        store.settled_blocking(seq).unwrap();
    }

    /// Changes a row that is kept under a MAC: all that somebody without the key can do is leave the old one in front.
    fn forge<R: Record>(&self, k: Vec<u8>, change: impl FnOnce(&mut R)) {
        let stored = self.row(&k);
        let (mac, row) = stored.split_at(MAC_LEN);
        let mut row = R::decode(row).unwrap();
        change(&mut row);
        self.write(k, [mac, &row.encode()].concat());
    }

    fn rewrite<R: Record>(&self, k: Vec<u8>, change: impl FnOnce(&mut R)) {
        let mut row = R::decode(&self.row(&k)).unwrap();
        change(&mut row);
        self.write(k, row.encode());
    }

    async fn someone(&self, email: &str, role: Role) -> Agent {
        sign_in::add_agent(&self.portal, email, "Someone", role, PASSWORD, Actor::Operator)
            .await
            .unwrap()
    }

    /// The cookies after a sign-in; nothing where it was refused.
    async fn cookie_of(&self, email: &str) -> Option<String> {
        let body = format!("email={}&password={}", email.replace('@', "%40"), PASSWORD.replace(' ', "+"));
        let answer = self
            .http
            .post(self.staff("/sign-in"))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "text/html")
            .body(body)
            .send()
            .await
            .unwrap();
        assert!(!answer.status().is_server_error(), "{}", answer.status());
        let lines: Vec<&str> = answer.headers().get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
        let pairs: Vec<&str> = lines
            .iter()
            .map(|l| l.split(';').next().unwrap())
            // The last one says only which page shows the refusal.
            .filter(|p| !p.ends_with('=') && !p.starts_with("nightdrop-r="))
            .collect();
        (answer.status() == 303 && !pairs.is_empty()).then(|| pairs.join("; "))
    }

    async fn console(&self, cookie: &str, path: &str) -> (u16, String) {
        let call = self
            .http
            .get(self.staff(path))
            .header("cookie", cookie)
            .header("accept", "text/html");
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn api(&self, secret: &str, path: &str) -> (u16, String) {
        let answer = self
            .http
            .get(self.staff(&format!("/api/v1{path}")))
            .bearer_auth(secret)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What the audit log says of altered rows: kind and which.
    async fn altered(&self) -> Vec<String> {
        let (entries, _) = crate::audit::verified(&self.portal).await;
        let told = entries.iter().filter(|e| e.event.action == AuditAction::RowAltered);
        told.map(|e| e.event.detail.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>().join(" "))
            .collect()
    }
}

/// What a cookie or an API key is stored under.
fn hashed(secret: &str) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(secret.as_bytes()).into()
}

/// A portal with an admin and an agent, both of whom can sign in.
async fn scene() -> (TestApp, Agent, Agent) {
    let app = TestApp::new().await;
    let admin = app.someone("ada@example.com", Role::Admin).await;
    let mallory = app.someone("mallory@example.com", Role::Agent).await;
    for who in [&admin, &mallory] {
        assert!(app.cookie_of(&who.email).await.is_some());
    }
    (app, admin, mallory)
}

/// Mallory does not get in, everybody else does, and the admin is shown why.
async fn refused(app: &mut TestApp, mallory: &Agent) {
    app.restart().await;
    assert_eq!(app.cookie_of(&mallory.email).await, None);
    assert_eq!(app.cookie_of(&mallory.email).await, None);
    let ada = app.cookie_of("ada@example.com").await.unwrap();
    let (status, page) = app.console(&ada, "/").await;
    assert!(status == 200 && page.contains("changed outside the portal"), "{status} {page}");
    assert!(page.contains(&mallory.id.to_string()));
    assert_eq!(app.altered().await, [format!("agent {}", mallory.id)], "told once");
    assert_eq!(app.api(&app.api_key, "/requests").await.0, 200);
    assert_eq!(app.console(&ada, "/admin/agents").await.0, 200);
}

#[tokio::test]
async fn a_role_that_was_written_into_the_store_opens_nothing() {
    let (mut app, _, mallory) = scene().await;
    app.forge::<Agent>(key::agent(mallory.id), |row| row.role = Role::Admin);
    refused(&mut app, &mallory).await;
    // Not for ever: somebody from outside the store makes the account anew.
    let again = app.someone("mallory@example.com", Role::Agent).await;
    assert_ne!(again.id, mallory.id);
    assert!(app.cookie_of(&mallory.email).await.is_some());
}

#[tokio::test]
async fn a_disabled_agent_who_was_enabled_in_the_store_stays_outside() {
    let (mut app, _, mallory) = scene().await;
    account::disable_agent(&app.portal, mallory.clone(), Actor::Operator).await.unwrap();
    assert_eq!(app.cookie_of(&mallory.email).await, None);
    app.forge::<Agent>(key::agent(mallory.id), |row| row.disabled_at = None);
    refused(&mut app, &mallory).await;
}

#[tokio::test]
async fn anothers_row_or_factors_are_nobodys_own() {
    let (mut app, admin, mallory) = scene().await;
    let whole = app.row(&key::agent(mallory.id));
    // The admin's password and factors become the attacker's own.
    let theirs = Agent::decode(&app.row(&key::agent(admin.id))[MAC_LEN..]).unwrap();
    app.forge::<Agent>(key::agent(mallory.id), |row| {
        row.password = theirs.password.clone();
        row.factors.recovery = vec![[7; 32]];
    });
    refused(&mut app, &mallory).await;
    // The whole row of the admin under the attacker's id.
    app.write(key::agent(mallory.id), app.row(&key::agent(admin.id)));
    app.restart().await;
    assert_eq!(app.cookie_of(&mallory.email).await, None);
    assert!(app.cookie_of(&admin.email).await.is_some());
    // The attacker's address leads to the admin's account, whose own row is whole.
    app.write(key::agent(mallory.id), whole);
    app.restart().await;
    assert!(app.cookie_of(&mallory.email).await.is_some(), "as it was");
    app.write(key::email(&mallory.email), admin.id.0.to_vec());
    app.restart().await;
    assert_eq!(app.cookie_of(&mallory.email).await, None);
    assert!(app.cookie_of(&admin.email).await.is_some());
    assert!(app.altered().await.contains(&format!("agent_email {}", admin.id)));
}

#[tokio::test]
async fn a_session_that_was_written_over_is_over() {
    let (mut app, admin, mallory) = scene().await;
    let cookie = app.cookie_of(&mallory.email).await.unwrap();
    let sessions = app.portal.directory.sessions_of(mallory.id).await.unwrap();
    let k = sessions
        .iter()
        .map(|(hash, _)| key::session(hash))
        .find(|k| {
            let mut values = cookie.split("; ").filter_map(|pair| pair.split_once('='));
            values.any(|(_, value)| k[1..] == hashed(value))
        })
        .unwrap();
    let before = app.row(&k);
    let changes: [fn(&mut Session, &Agent); 4] = [
        |row, _| row.created_at += Duration::hours(11),
        |row, admin| row.agent = admin.id,
        |row, _| row.factor_at = Some(row.created_at + Duration::hours(1)),
        |row, _| row.how = AuthMethod::Passkey,
    ];
    for change in changes {
        app.write(k.clone(), before.clone());
        assert_eq!(app.console(&cookie, "/account").await.0, 200, "as it was");
        app.forge::<Session>(k.clone(), |row| change(row, &admin));
        assert_eq!(app.console(&cookie, "/account").await.0, 303, "to the sign-in page");
    }
    // The admin's session under the attacker's cookie.
    assert!(app.cookie_of(&admin.email).await.is_some());
    let (theirs, _) = app.portal.directory.sessions_of(admin.id).await.unwrap()[0];
    app.write(k, app.row(&key::session(&theirs)));
    app.restart().await;
    assert_eq!(app.console(&cookie, "/account").await.0, 303);
    assert!(app.cookie_of(&mallory.email).await.is_some(), "nobody is kept out by it");
    assert!(app.altered().await.contains(&"session".to_owned()));
}

#[tokio::test]
async fn an_api_key_does_not_grow_in_the_store() {
    let mut app = TestApp::new().await;
    let end = app.portal.now() + Duration::hours(1);
    let (made, secret) = account::add_team_key(
        &app.portal,
        "k",
        vec![Scope::Read],
        Some(end),
        Team::parse("cards"),
        Actor::Operator,
    )
    .await
    .unwrap();
    assert_eq!(app.api(&secret, "/requests").await.0, 200);
    let hash = hashed(&secret);
    let before = app.row(&key::api_key(&hash));
    let changes: [fn(&mut ApiKey); 4] = [
        |row| row.scopes = vec![Scope::Admin],
        |row| row.expires_at = None,
        |row| row.team = None,
        |row| row.created_at += Duration::hours(1),
    ];
    for change in changes {
        app.write(key::api_key(&hash), before.clone());
        assert_eq!(app.api(&secret, "/requests").await.0, 200, "as it was");
        app.forge::<ApiKey>(key::api_key(&hash), change);
        assert_eq!(app.api(&secret, "/requests").await.0, 401);
    }
    app.restart().await;
    assert_eq!(app.api(&secret, "/requests").await.0, 401);
    assert_eq!(app.api(&app.api_key, "/requests").await.0, 200, "the other key works on");
    assert_eq!(app.altered().await.len(), 2, "once per start");
    // An admin ends it, altered as it is.
    let event = AuditEvent::new(app.portal.now(), Actor::Operator, AuditAction::ApiKeyRevoked);
    app.portal.directory.revoke_api_key(made.id, event).await.unwrap();
    assert!(app.portal.directory.altered().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_receipt_that_was_written_over_is_no_receipt() {
    let mut app = TestApp::new().await;
    let mut links = Vec::new();
    for n in 0..2 {
        let link = app.link_for("passport", None).await;
        assert_eq!(app.drop_files(&link, &[("front", &png(n, 4_000))]).await.status(), 200);
        app.work().await;
        assert_eq!(app.state(&link).await, RequestState::Purged);
        links.push(link);
    }
    app.someone("ada@example.com", Role::Admin).await;
    let cookie = app.cookie_of("ada@example.com").await.unwrap();
    let get = async |app: &TestApp, n: usize| app.api(&app.api_key, &format!("/requests/{}/deletion-receipt", links[n].id)).await;
    let (status, shown) = get(&app, 0).await;
    assert_eq!(status, 200, "{shown}");
    let signed: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let stored = SignedReceipt::decode(&app.row(&key::receipt(1))).unwrap();
    assert_eq!(signed["signed"], stored.text, "what was signed then, not anew");
    let before = app.row(&key::receipt(1));
    let other = app.row(&key::receipt(2));
    let changes: [fn(&mut SignedReceipt); 5] = [
        |row| row.receipt.erasure.purged_at -= Duration::days(3),
        |row| row.text = row.text.replace("cause: confirmed", "cause: deadline"),
        |row| row.receipt.previous = [9; 32],
        |row| row.receipt.erasure.slot = SlotRef { index: 9, generation: 9 },
        |row| {
            let row = &mut *row;
            row.receipt.erasure.erased_at -= Duration::days(3);
            row.receipt = nightdrop::testing::domain::receipt::DeletionReceipt::chain(1, row.receipt.previous, row.receipt.erasure.clone());
            let (_, signature) = row.text.split_once("signed-by").unwrap();
            row.text = format!("{}signed-by{signature}", row.receipt.body());
        },
    ];
    for change in changes {
        app.write(key::receipt(1), before.clone());
        assert_eq!(get(&app, 0).await.0, 200, "as it was");
        app.rewrite::<SignedReceipt>(key::receipt(1), change);
        let (status, problem) = get(&app, 0).await;
        assert!(status == 500 && problem.contains("\"receipt.altered\""), "{status} {problem}");
        for path in ["receipt", "receipt.txt"] {
            let (status, page) = app.console(&cookie, &format!("/requests/{}/{path}", links[0].id)).await;
            assert!(status == 500 && !page.contains("signature:"), "{status} {page}");
        }
    }
    // Another request's receipt, sound in itself.
    app.write(key::receipt(1), other);
    app.restart().await;
    assert_eq!(get(&app, 0).await.0, 500);
    assert_eq!(get(&app, 1).await.0, 200, "the other one is valid as before");
    app.write(key::receipt(1), b"no row".to_vec());
    assert_eq!(get(&app, 0).await.0, 500);
    assert_eq!(app.portal.altered.all().len(), 1);
    app.write(key::receipt(1), before);
    assert_eq!(app.altered().await, ["receipt 1", "receipt 1"], "once per start");
    // The count of receipts is set back: no receipt is written over.
    app.write(key::meta("last-receipt"), 0u64.to_be_bytes().to_vec());
    let link = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&link, &[("front", &png(9, 4_000))]).await.status(), 200);
    app.work().await;
    assert_eq!(app.request(&link).await.tombstones[0].receipt, 3);
    for n in 0..2 {
        assert_eq!(get(&app, n).await.0, 200);
    }
}

#[tokio::test]
async fn no_part_of_a_document_goes_to_somebody_else() {
    for (forged, name) in [(0, "front"), (1, "back")] {
        let mut app = TestApp::new().await;
        let mut made = Vec::new();
        for (n, applicant) in [(0, "victim"), (1, "attacker")] {
            let link = app.issue(ask(applicant, "government-id")).await;
            let (front, back) = (png(n, 4_000), png(n + 10, 4_000));
            assert_eq!(app.drop_files(&link, &[("front", &front), ("back", &back)]).await.status(), 200);
            made.push(link);
        }
        let victim = app.request(&made[0]).await;
        let attacker = app.request(&made[1]).await;
        let (from, to) = (victim.document().unwrap().clone(), attacker.document().unwrap().clone());
        // One part of the victim's document, chunks and all, in the place of the attacker's.
        let mut writer = app.portal.blobs.writer(to.id, forged, 0).await.unwrap();
        for chunk in 0..from.parts[usize::from(forged)].chunks {
            let k = BlobKey {
                document: from.id,
                file_index: forged,
                chunk,
            };
            let bytes = app.portal.blobs.get(k).await.unwrap().unwrap();
            writer.put(&bytes).await.unwrap();
        }
        writer.sync().await.unwrap();
        drop(writer);
        app.rewrite::<DocumentRequest>(key::request(attacker.id), |row| {
            if let Stage::Held { document, .. } = &mut row.stage {
                document.parts[usize::from(forged)] = from.parts[usize::from(forged)].clone();
            }
        });
        app.restart().await;
        app.work().await;
        assert!(app.has("attacker").await.is_empty(), "{name}");
        assert_eq!(app.has("victim").await.len(), 1, "the victim's own document is delivered");
        assert_ne!(app.state(&made[1]).await, RequestState::Purged);
    }
}

#[tokio::test]
async fn nobody_is_made_to_have_written_a_note() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let path = format!("/requests/{}", link.id);
    let write = |text: &'static str| {
        let call = app.http.post(app.staff(&format!("/api/v1{path}/notes"))).bearer_auth(&app.api_key);
        call.header("content-type", "application/json")
            .body(format!("{{\"text\":\"{text}\"}}"))
    };
    for text in ["one", "two"] {
        assert_eq!(write(text).send().await.unwrap().status(), 200);
    }
    app.rewrite::<DocumentRequest>(key::request(link.id), |request| request.notes[0].by = Actor::Operator);
    app.rewrite::<DocumentRequest>(key::request(link.id), |request| request.notes[1].at += Duration::HOUR);
    let (status, shown) = app.api(&app.api_key, &path).await;
    assert_eq!(status, 200);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    for note in shown["notes"].as_array().unwrap() {
        assert!(note.get("text").is_none(), "{note}");
    }
}
