//! What opens the vault, changed; a key that is not there; and refusals at start whose command line does what it says.

use std::path::Path;
use std::process::{Command, Output};

use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::request::RequestState;
use serde_json::Value;

use super::recovery::{copy, refused};
use super::{Made, complaint, done, fails, json, nightdrop, out};
use crate::resume::Part;
use crate::support::{Folder, TestApp, png, private, walk};

async fn get(url: &str) -> (u16, String) {
    let answer = super::http().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Starts it, says whether its vault is open, tries a passphrase, and stops it.
fn opens(made: &Made, environment: &[(&str, &Path)], passphrase: Option<&Path>) -> (bool, bool) {
    let serving = made.serve_with(environment);
    let status = json(&done(&mut made.asking(&serving, &["key", "status", "--json"])));
    let open = status["locked"] == false;
    let unlocked = passphrase.is_some_and(|file| {
        let mut unlock = made.asking(&serving, &["key", "unlock", "--passphrase-file"]);
        unlock.arg(file).output().unwrap().status.success()
    });
    serving.stop();
    (open, unlocked)
}

#[test]
fn the_protection_of_the_vault_changes_and_the_old_way_opens_nothing() {
    let made = Made::new(&[]);
    let (first, second) = (made.path("first"), made.path("second"));
    private(&first, "seven slow tides turn over");
    private(&second, "eight fast rivers run under");
    let kek = made.path("data/keys/kek");
    assert!(kek.exists());
    let key = |arguments: &[&str], files: &[(&str, &Path)]| {
        let mut command = made.with_config(arguments);
        files.iter().for_each(|(name, file)| {
            command.arg(name).arg(file);
        });
        command
    };
    let said = done(&mut key(
        &["key", "protect", "--with", "passphrase"],
        &[("--new-passphrase-file", &first)],
    ));
    assert!(said.contains("starts locked"), "{said}");
    assert!(!kek.exists(), "what opens nothing any more is gone");
    assert_eq!(opens(&made, &[], Some(&first)), (false, true));

    let change = &["key", "passphrase"];
    let wrong = [("--passphrase-file", second.as_path()), ("--new-passphrase-file", &second)];
    assert!(fails(&mut key(change, &wrong)).contains("does not open"));
    done(&mut key(
        change,
        &[("--passphrase-file", &first), ("--new-passphrase-file", &second)],
    ));
    assert_eq!(opens(&made, &[], Some(&first)), (false, false));
    assert_eq!(opens(&made, &[], Some(&second)), (false, true));
    // A setting that the start opens the vault with.
    let setting = [("NIGHTDROP_KEYS_PASSPHRASE_FILE", second.as_path())];
    assert_eq!(opens(&made, &setting, None), (true, false));

    let credential = made.path("credential");
    let said = done(&mut key(
        &["key", "protect", "--with", "credential"],
        &[("--passphrase-file", &second), ("--credential-file", &credential)],
    ));
    assert!(said.contains("systemd-creds encrypt"), "{said}");
    assert!(
        !walk(&made.path("data/keys"))
            .iter()
            .any(|f| f.extension().is_some_and(|e| e == "key")),
        "it is nowhere else"
    );
    let setting = [("NIGHTDROP_KEYS_CREDENTIAL_FILE", credential.as_path())];
    assert_eq!(opens(&made, &setting, None), (true, false));
    assert_eq!(
        opens(&made, &[], Some(&second)),
        (false, false),
        "no passphrase opens what is not there"
    );

    let mut back = key(&["key", "protect", "--with", "file"], &[]);
    done(back.envs(setting));
    assert_eq!(opens(&made, &[], None), (true, false));
    let serving = made.serve();
    let mut status = made.asking(&serving, &["audit", "export"]);
    let log = done(&mut status);
    assert_eq!(log.matches("\"action\":\"key.protection_changed\"").count(), 4);
    assert!(!log.contains("tides") && !log.contains("rivers"));
    // It needs the portal to be stopped.
    assert!(fails(&mut key(&["key", "protect", "--with", "file"], &[])).contains("stop the portal"));
    serving.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_private_key_the_portal_takes_no_document_and_says_so() {
    let mut app = TestApp::new().await;
    let config = app.folder.path().join("nightdrop.toml");
    std::fs::write(&config, app.text()).unwrap();
    let link = app.link_for("passport", None).await;
    app.stop().await;
    app.let_go().await;
    let credential = app.folder.path().join("credential");
    crate::support::until("the store is free", async || {
        let mut protect = nightdrop(&["key", "protect", "--with", "credential", "--credential-file"]);
        protect.arg(&credential).arg("--config").arg(&config);
        let output = tokio::task::spawn_blocking(move || protect.output().unwrap()).await.unwrap();
        assert!(
            output.status.success() || complaint(&output).contains("holds this directory"),
            "{}",
            complaint(&output)
        );
        output.status.success()
    })
    .await;
    app.open_again().await;
    for side in [app.public("/readyz"), app.staff("/readyz")] {
        assert_eq!(get(&side).await.0, 503);
    }
    let (body, kind) = crate::support::form(&[("front", &png(1, 60_000))]);
    let send = |language: &str| {
        let request = app.http.post(app.public(&link.path)).header("content-type", kind.clone());
        request
            .header("accept-language", language.to_owned())
            .header("accept", "text/html")
            .body(body.clone())
            .send()
    };
    for (language, words) in [("en", "something is missing on our side"), ("de", "Auf unserer Seite fehlt etwas")] {
        let answer = send(language).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()),
            (503, "300")
        );
        let page = answer.text().await.unwrap();
        assert!(page.contains(words), "{page}");
    }
    assert_eq!(Part::of(&app, &link, "front").begin(60_000).await.status(), 503);
    assert_eq!(app.state(&link).await, RequestState::Awaiting, "the link is as good as before");
    assert_eq!(app.portal.erasure.live().unwrap(), vec![]);
    let status = app
        .http
        .get(app.staff("/api/v1/key"))
        .bearer_auth(&app.api_key)
        .send()
        .await
        .unwrap();
    assert_eq!(json(&status.text().await.unwrap())["absent"], true);
    let metrics = get(&app.staff("/metrics")).await.1;
    assert!(metrics.contains("nightdrop_vault_absent 1"));

    app.restart_as(|config| config.keys.credential_file = Some(credential)).await;
    assert_eq!(get(&app.public("/readyz")).await.0, 200);
    assert_eq!(app.drop_files(&link, &[("front", &png(1, 60_000))]).await.status(), 200);
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged);
    let (entries, _) = crate::audit::verified(&app.portal).await;
    assert!(entries.iter().any(|e| e.event.action == AuditAction::KeyProtectionChanged));
}

/// What takes a part of a portal away.
type Loss<'l> = &'l dyn Fn(&Made);

/// The command line in a refusal, as a person would copy it, and `--yes` behind it.
fn as_told(refusal: &str) -> Command {
    let told = refusal.split('`').find(|part| part.starts_with("nightdrop recover")).unwrap();
    let mut arguments: Vec<&str> = told.split(' ').skip(1).collect();
    arguments.extend(["--yes", "--json"]);
    nightdrop(&arguments)
}

#[test]
fn every_refusal_that_names_recover_names_a_command_line_that_works() {
    let losses: &[(&str, Loss)] = &[
        ("slots", &|made| {
            std::fs::remove_file(made.path("data/erasure/erase.slots")).unwrap()
        }),
        ("mark", &|made| std::fs::remove_file(made.path("data/erasure/mark")).unwrap()),
        ("erasure", &|made| std::fs::remove_dir_all(made.path("data/erasure")).unwrap()),
        ("documents", &|made| std::fs::remove_dir_all(made.path("data/documents")).unwrap()),
        ("secrets", &|made| {
            std::fs::remove_file(made.path("data/keys/portal.secrets")).unwrap()
        }),
        ("keys", &|made| std::fs::remove_dir_all(made.path("data/keys")).unwrap()),
        ("kek", &|made| std::fs::remove_file(made.path("data/keys/kek")).unwrap()),
        ("another kek", &|made| {
            std::fs::remove_file(made.path("data/keys/kek")).unwrap();
            private(&made.path("data/keys/kek"), &"k".repeat(32));
        }),
        ("current", &|made| std::fs::remove_file(made.path("data/keys/current")).unwrap()),
        ("private key", &|made| {
            let all = walk(&made.path("data/keys"));
            all.iter()
                .filter(|f| f.extension().is_some_and(|e| e == "key"))
                .for_each(|f| std::fs::remove_file(f).unwrap());
        }),
        ("store", &|made| std::fs::remove_dir_all(made.path("data/store")).unwrap()),
        ("database", &|made| std::fs::remove_file(made.path("data/store/sled/db")).unwrap()),
        ("another portal's database", &|made| {
            let other = Made::new(&[]);
            std::fs::remove_dir_all(made.path("data/store/sled")).unwrap();
            copy(&other.path("data/store/sled"), &made.path("data/store/sled"));
        }),
    ];
    for (what, lose) in losses {
        let made = Made::new(&[]);
        lose(&made);
        // One that starts after all would run for ever.
        let mut serve = Command::new("timeout");
        serve
            .arg("30")
            .arg(env!("CARGO_BIN_EXE_nightdrop"))
            .args(["serve", "--config"])
            .arg(&made.config);
        serve.env_clear().env("PATH", std::env::var("PATH").unwrap());
        serve
            .env("NIGHTDROP_ACCEPT_VOLATILE_DATA", "true")
            .env("NIGHTDROP_ACCEPT_READABLE_SWAP", "true");
        let refusal: Output = serve.output().unwrap();
        assert_ne!(refusal.status.code(), Some(124), "{what}: it starts");
        let said = refused(&refusal, &["nightdrop recover --config "]);
        let output = as_told(&said).output().unwrap();
        assert!(output.status.success(), "{what}: {said}{}", complaint(&output));
        let recovered: Value = json(&out(&output));
        assert_eq!(recovered["recovered"], true, "{what}");
        made.serve().stop();
    }
    // Nothing is there at all, or it is another one's: no loss, and nothing to recover.
    let folder = Folder::new();
    let made = Made::new(&[]);
    std::fs::rename(made.path("data/nightdrop.toml"), folder.path().join("nightdrop.toml")).unwrap();
    std::fs::remove_dir_all(made.path("data")).unwrap();
    let config = folder.path().join("nightdrop.toml");
    let output = nightdrop(&["serve", "--config", config.to_str().unwrap()]).output().unwrap();
    assert!(!refused(&output, &["holds no portal"]).contains("nightdrop recover"));
    let output = nightdrop(&["recover", "--config", config.to_str().unwrap()]).output().unwrap();
    refused(&output, &["--from FILE"]);
}
