//! Backups through the real binary: what is in one and what never is, and the drill: a portal that is lost comes back from one, and goes the whole way again.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use age::x25519::Identity;
use nightdrop::testing::crypto::receipt;
use nightdrop::testing::crypto::secrets::PortalSecrets;
use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::delivery::PurgeCause;
use nightdrop::testing::domain::request::RequestState;
use serde_json::{Value, json};

use super::recovery::{copy, kill_everywhere, refused};
use super::{Made, complaint, done, fails, json, nightdrop, out};
use crate::support::{Folder, Link, TestApp, TestOptions, png, private, sha256, walk};

/// An age identity in a file, and its recipient.
struct Keeper {
    identity: Identity,
    file: PathBuf,
    recipient: String,
}

impl Keeper {
    fn new(folder: &Path) -> Self {
        use age::secrecy::ExposeSecret;
        let identity = Identity::generate();
        let file = folder.join("identity.txt");
        private(&file, &format!("# made for a test\n{}\n", identity.to_string().expose_secret()));
        let recipient = identity.to_public().to_string();
        Self { identity, file, recipient }
    }

    /// What is inside, by the format's own implementation.
    fn open(&self, backup: &Path) -> Vec<u8> {
        let file = std::fs::File::open(backup).unwrap();
        let reader = age::Decryptor::new(file).unwrap();
        let mut inside = Vec::new();
        let identity: &dyn age::Identity = &self.identity;
        reader.decrypt(std::iter::once(identity)).unwrap().read_to_end(&mut inside).unwrap();
        inside
    }

    fn verify(&self, backup: &Path) -> Command {
        let mut command = nightdrop(&["backup", "--json", "--verify"]);
        command.arg(backup).arg("--identity").arg(&self.file);
        command
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// A command that speaks to a portal of this process, run beside it.
async fn asking(app: &TestApp, arguments: &[&str]) -> Output {
    let mut command = nightdrop(arguments);
    command.env("NIGHTDROP_URL", app.staff("")).env("NIGHTDROP_TOKEN", &app.api_key);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn backed_up(app: &TestApp, keeper: &Keeper, name: &str) -> PathBuf {
    let file = app.folder.path().join(name);
    let output = asking(app, &["backup", file.to_str().unwrap(), "--json", "--recipient", &keeper.recipient]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(json(&out(&output))["bytes"], std::fs::metadata(&file).unwrap().len());
    file
}

/// A new folder with the portal's configuration and the secrets that it names, and nothing else of it.
fn elsewhere(app: &TestApp) -> Folder {
    let folder = Folder::new();
    for name in ["sandbox-key", "webhook"] {
        copy(&app.folder.path().join(name), &folder.path().join(name));
    }
    std::fs::write(folder.path().join("nightdrop.toml"), app.text()).unwrap();
    folder
}

fn recover(folder: &Path, keeper: &Keeper, backup: &Path, more: &[&str]) -> Command {
    let mut command = nightdrop(&["recover", "--yes", "--json", "--from"]);
    command.arg(backup).arg("--identity").arg(&keeper.file).args(more);
    command.arg("--config").arg(folder.join("nightdrop.toml"));
    command
}

/// The portal of this process goes on in another folder.
async fn move_to(app: &mut TestApp, folder: &Path) {
    let data = folder.join("data");
    app.restart_as(|config| {
        config.keys.folder = data.join("keys");
        config.erasure_folder = data.join("erasure");
        config.data_dir = data;
    })
    .await;
}

async fn dropped(app: &TestApp, link: &Link, seed: u64) {
    assert_eq!(app.drop_files(link, &[("front", &png(seed, 60_000))]).await.status(), 200);
}

async fn goes_the_whole_way(app: &TestApp) {
    let (link, picture) = (app.link_for("passport", None).await, png(77, 50_000));
    assert_eq!(app.drop_files(&link, &[("front", &picture)]).await.status(), 200);
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged);
    let received = app.received().await;
    assert_eq!(received.last().unwrap()["parts"][0]["sha256"], sha256(&picture));
}

/// The drill of docs/operations/backup.md: serve, receive, back up, go on and purge; then everything is lost but the backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_portal_comes_back_from_its_backup_and_goes_the_whole_way_again() {
    let mut app = TestApp::new().await;
    let keeper = Keeper::new(app.folder.path());
    let [purged, held, open, later] = [
        app.link_for("passport", None).await,
        app.link_for("passport", None).await,
        app.link_for("passport", None).await,
        app.link_for("passport", None).await,
    ];
    dropped(&app, &purged, 1).await;
    app.work().await;
    let revoked = asking(&app, &["api-key", "create", "--name", "revoked later", "--scope", "read", "--json"]).await;
    let revoked = json(&out(&revoked))["key"]["id"].as_str().unwrap().to_owned();
    dropped(&app, &held, 2).await;
    let backup = backed_up(&app, &keeper, "portal.age").await;
    let checked = json(&done(&mut keeper.verify(&backup)));
    assert_eq!(
        (&checked["verified"], &checked["receipts"], &checked["requests"]),
        (&true.into(), &1.into(), &4.into())
    );

    // What the backup knows nothing of.
    app.work().await;
    dropped(&app, &later, 3).await;
    app.work().await;
    assert!(asking(&app, &["api-key", "revoke", &revoked]).await.status.success());
    let made = asking(&app, &["api-key", "create", "--name", "made later", "--scope", "read", "--json"]).await;
    assert!(made.status.success());
    let received = app.received().await.len();
    assert_eq!(received, 3);

    let (place, kept) = (elsewhere(&app), elsewhere(&app));
    let output = run(recover(place.path(), &keeper, &backup, &[])).await;
    assert!(output.status.success(), "{}", complaint(&output));
    let said = json(&out(&output));
    assert_eq!(
        (&said["documents_lost"], &said["links_withdrawn"]),
        (&1.into(), &2.into()),
        "{said:#}"
    );
    let names: Vec<&str> = said["api_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"revoked later") && !names.contains(&"made later"), "{names:?}");
    assert_eq!(said["api_key"], Value::Null, "accounts and keys are there");
    let output = run(recover(kept.path(), &keeper, &backup, &["--keep-links"])).await;
    assert_eq!(json(&out(&output))["links_withdrawn"], 0, "{}", complaint(&output));

    for (folder, links) in [(place.path(), RequestState::Revoked), (kept.path(), RequestState::Awaiting)] {
        move_to(&mut app, folder).await;
        let before = app.received().await.len();
        app.work().await;
        assert_eq!(app.received().await.len(), before, "nothing is delivered twice");
        let request = app.request(&held).await;
        let stone = request.tombstones.last().unwrap();
        assert_eq!((&stone.cause, stone.passed_on.as_str()), (&PurgeCause::Lost, "unknown"));
        assert_eq!(app.state(&purged).await, RequestState::Purged);
        for link in [&open, &later] {
            assert_eq!(app.state(link).await, links);
        }
        assert_eq!(app.portal.erasure.live().unwrap(), vec![], "nothing can be read");
        let sealed: Vec<_> = walk(&folder.join("data/documents"))
            .into_iter()
            .filter(|f| !f.ends_with("portal.id"))
            .collect();
        assert!(sealed.is_empty(), "{sealed:?}");
        let (entries, receipts) = crate::audit::verified(&app.portal).await;
        let count = |action| entries.iter().filter(|e| e.event.action == action).count();
        assert_eq!((count(AuditAction::BackupTaken), count(AuditAction::PortalRecovered)), (1, 1));
        let secrets = PortalSecrets::load(&folder.join("data/keys/portal.secrets")).unwrap();
        let first = app.portal.requests.deletion_receipt(1).await.unwrap().unwrap();
        assert!(receipt::verify(&first.text, Some(&receipt::public_key(&secrets))).is_ok());
        assert_eq!(receipts.len(), 2, "of the document that was purged, and of the one that is lost");
        goes_the_whole_way(&app).await;
        if links == RequestState::Awaiting {
            dropped(&app, &open, 9).await;
            app.work().await;
            assert_eq!(app.state(&open).await, RequestState::Purged, "a link that was kept works");
        } else {
            let page = app.http.get(app.public(&open.path)).send().await.unwrap();
            assert!(page.status().is_client_error());
        }
        let whole = nightdrop(&["recover", "--json", "--config", folder.join("nightdrop.toml").to_str().unwrap()]);
        assert!(complaint(&run(whole).await).contains("is in use"), "the portal runs");
    }
}

/// The portal receives, delivers and purges all the time; every backup that is taken meanwhile is one point of it.
#[tokio::test(flavor = "multi_thread")]
async fn backups_of_a_busy_portal_are_each_one_point_of_its_audit_log() {
    let app = TestApp::with_options(TestOptions {
        worker: true,
        ..TestOptions::default()
    })
    .await;
    let keeper = Keeper::new(app.folder.path());
    let busy = async {
        for seed in 0..24 {
            let link = app.link_for("passport", None).await;
            dropped(&app, &link, seed).await;
        }
    };
    let backups = async {
        let mut last = 0;
        for number in 0..4 {
            let file = backed_up(&app, &keeper, &format!("{number}.age")).await;
            let said = json(&out(&run(keeper.verify(&file)).await));
            assert_eq!(said["verified"], true, "{said:#}");
            let point = said["audit"]["sequence"].as_u64().unwrap();
            assert!(point > last);
            last = point;
        }
    };
    tokio::join!(busy, backups);
    let status = asking(&app, &["status", "--json"]).await;
    assert!(json(&out(&status))["last_backup"].is_string());
    let metrics = app.http.get(app.staff("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("nightdrop_last_backup_timestamp_seconds "))
        .unwrap();
    assert_ne!(line.split(' ').nth(1), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_keys_and_rows_and_never_an_erasure_secret_or_a_chunk() {
    let app = TestApp::new().await;
    let keeper = Keeper::new(app.folder.path());
    // One that is whole, one of which a part is here, one that is staged.
    let (whole, half, staged) = (app.link_for("passport", None).await, app.link().await, app.link().await);
    dropped(&app, &whole, 1).await;
    let side = png(2, 60_000);
    assert_eq!(crate::resume::Part::of(&app, &half, "front").send(&side).await.status(), 204);
    let part = crate::resume::Part::of(&app, &staged, "front");
    assert!(part.begin(side.len()).await.status().is_success());
    assert!(part.patch(0, &side[..50_000]).await.status().is_success());
    let inside = keeper.open(&backed_up(&app, &keeper, "portal.age").await);
    for name in ["keys/portal.secrets", "keys/kek", "keys/current"] {
        let content = std::fs::read(app.data().join(name)).unwrap();
        assert!(holds(&inside, &content), "{name}");
    }
    assert!(holds(&inside, whole.id.0.as_slice()), "rows are looked for in the right place");
    let slots = std::fs::read(app.data().join("erasure/erase.slots")).unwrap();
    let live: Vec<&[u8]> = slots.chunks(4_096).skip(1).filter(|page| page[0] == 0xa5).collect();
    assert!(live.len() >= 3, "{}", live.len());
    for page in live {
        for window in page[32..64].windows(16).chain([&page[64..96]]) {
            assert!(!holds(&inside, window), "an erasure secret");
        }
    }
    let chunks: Vec<_> = walk(&app.data().join("documents"))
        .into_iter()
        .filter(|f| !f.ends_with("portal.id"))
        .collect();
    assert!(chunks.len() >= 3, "{chunks:?}");
    for file in chunks {
        let bytes = std::fs::read(&file).unwrap();
        for place in (0..bytes.len().saturating_sub(24)).step_by(997) {
            let piece = &bytes[place..place + 24];
            assert!(
                piece.iter().all(|b| *b == 0) || !holds(&inside, piece),
                "a chunk of {}",
                file.display()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_take_a_backup_and_for_whom() {
    let place = Folder::new();
    let pinned = Keeper::new(place.path());
    let app = TestApp::with_options(TestOptions {
        more: format!("backup = {{ recipients = [\"{}\"] }}", pinned.recipient),
        ..TestOptions::default()
    })
    .await;
    let other = Keeper::new(app.folder.path());
    let ask = |key: String, body: Value| {
        let request = app.http.post(app.staff("/api/v1/backup")).bearer_auth(key);
        request.header("content-type", "application/json").body(body.to_string()).send()
    };
    let key = || app.api_key.clone();
    let read = asking(&app, &["api-key", "create", "--name", "reader", "--scope", "read", "--json"]).await;
    let read = json(&out(&read))["secret"].as_str().unwrap().to_owned();
    assert_eq!(ask(read, json!({})).await.unwrap().status(), 403);
    let refused = ask(key(), json!({"recipients": [other.recipient]})).await.unwrap();
    assert_eq!(refused.status(), 422, "the configuration says whom backups are for");
    let refused = ask(key(), json!({"passphrase": "seven slow tides turn over"})).await.unwrap();
    assert_eq!(refused.status(), 422);
    let given = ask(key(), json!({})).await.unwrap();
    assert_eq!(given.status(), 200);
    let file = app.folder.path().join("given.age");
    std::fs::write(&file, given.bytes().await.unwrap()).unwrap();
    assert!(holds(&pinned.open(&file), b"nightdrop backup v1\n"));
    let (entries, _) = crate::audit::verified(&app.portal).await;
    let taken: Vec<_> = entries.iter().filter(|e| e.event.action == AuditAction::BackupTaken).collect();
    assert_eq!(taken.len(), 1, "who took one stands in the log, and who was refused took none");
    assert!(taken[0].event.actor.to_string().contains("key"), "{}", taken[0].event.actor);
}

#[test]
fn a_stopped_portal_gives_a_backup_that_opens_with_its_passphrase_and_is_checked_to_its_end() {
    let made = Made::new(&[]);
    let phrase = made.path("phrase");
    private(&phrase, "seven slow tides turn over\n");
    let file = made.path("portal.age");
    let take = |more: &[&str]| {
        let mut command = made.with_config(&["backup", file.to_str().unwrap(), "--passphrase-file", phrase.to_str().unwrap()]);
        command.args(more);
        command
    };
    let said = done(&mut take(&[]));
    assert!(said.contains("nightdrop backup --verify"), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let first = std::fs::read(&file).unwrap();
    assert!(first.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert!(fails(&mut take(&[])).contains("--overwrite"));
    assert_eq!(std::fs::read(&file).unwrap(), first);
    done(&mut take(&["--overwrite"]));
    assert_ne!(std::fs::read(&file).unwrap(), first);
    let names: Vec<_> = std::fs::read_dir(made.folder.path())
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains(".part")), "{names:?}");

    let check = |file: &Path, phrase: &Path| {
        let mut command = nightdrop(&["backup", "--json", "--verify"]);
        command.arg(file).arg("--passphrase-file").arg(phrase);
        command
    };
    let whole = json(&done(&mut check(&file, &phrase)));
    assert_eq!(
        (&whole["verified"], &whole["accounts"], &whole["api_keys"]),
        (&true.into(), &1.into(), &1.into())
    );
    let mut shown = nightdrop(&["backup", "--show-configuration"]);
    shown.arg(&file).arg("--passphrase-file").arg(&phrase);
    assert_eq!(done(&mut shown), std::fs::read_to_string(&made.config).unwrap());
    let wrong = made.path("wrong");
    private(&wrong, "seven slow tides turn back");
    assert!(fails(&mut check(&file, &wrong)).contains("does not open"));
    let bytes = std::fs::read(&file).unwrap();
    let damaged = made.path("damaged.age");
    for cut in [bytes.len() - 1, bytes.len() / 2, 100] {
        std::fs::write(&damaged, &bytes[..cut]).unwrap();
        fails(&mut check(&damaged, &phrase));
    }
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    std::fs::write(&damaged, changed).unwrap();
    assert!(fails(&mut check(&damaged, &phrase)).contains("damaged"));

    // On standard output nothing but the backup.
    let piped = made
        .with_config(&["backup", "-", "--passphrase-file", phrase.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(piped.status.success(), "{}", complaint(&piped));
    std::fs::write(&damaged, piped.stdout).unwrap();
    done(&mut check(&damaged, &phrase));
    // A portal that runs says how it is asked.
    let serving = made.serve();
    assert!(fails(&mut take(&["--overwrite"])).contains("NIGHTDROP_URL"));
    serving.stop();
    let short = made.path("short");
    private(&short, "too short");
    let mut weak = made.with_config(&[
        "backup",
        made.path("weak.age").to_str().unwrap(),
        "--passphrase-file",
        short.to_str().unwrap(),
    ]);
    assert!(fails(&mut weak).contains("15 characters"));
    assert!(!made.path("weak.age").exists());
}

/// Only what is lost comes from the backup; what is here is newer.
#[tokio::test(flavor = "multi_thread")]
async fn lost_keys_and_secrets_come_from_the_backup_and_held_documents_live_on() {
    for lost in ["portal.secrets", "kek", "key", "folder"] {
        let mut app = TestApp::new().await;
        std::fs::write(app.folder.path().join("nightdrop.toml"), app.text()).unwrap();
        let keeper = Keeper::new(app.folder.path());
        let backup = backed_up(&app, &keeper, "portal.age").await;
        let held = app.link_for("passport", None).await;
        dropped(&app, &held, 4).await;
        app.stop().await;
        app.let_go().await;
        let keys = app.data().join("keys");
        match lost {
            "folder" => std::fs::remove_dir_all(&keys).unwrap(),
            "key" => walk(&keys)
                .iter()
                .filter(|f| f.extension().is_some_and(|e| e == "key"))
                .for_each(|f| std::fs::remove_file(f).unwrap()),
            file => std::fs::remove_file(keys.join(file)).unwrap(),
        }
        let mut output = None;
        crate::support::until("the store is free", async || {
            let said = run(recover(app.folder.path(), &keeper, &backup, &[])).await;
            let free = !complaint(&said).contains("holds this directory");
            output = Some(said);
            free
        })
        .await;
        let output = output.unwrap();
        assert!(output.status.success(), "{lost}: {}", complaint(&output));
        let said = json(&out(&output));
        assert_eq!(
            (&said["documents_lost"], &said["links_withdrawn"]),
            (&0.into(), &0.into()),
            "{lost}: {said:#}"
        );
        app.open_again().await;
        app.work().await;
        let request = app.request(&held).await;
        assert_eq!(request.tombstones.last().unwrap().cause, PurgeCause::Confirmed, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_another_portal_is_refused() {
    let (app, other) = (TestApp::new().await, TestApp::new().await);
    let keeper = Keeper::new(app.folder.path());
    let backup = backed_up(&app, &keeper, "portal.age").await;
    let folder = other.folder.path().to_owned();
    std::fs::write(folder.join("nightdrop.toml"), other.text()).unwrap();
    let mut other = other;
    other.stop().await;
    other.let_go().await;
    std::fs::remove_dir_all(folder.join("data/store")).unwrap();
    let before: Vec<_> = walk(&folder);
    refused(
        &run(recover(&folder, &keeper, &backup, &[])).await,
        &["another portal", "empty data_dir"],
    );
    assert_eq!(walk(&folder), before);
}

/// Cut off anywhere, it goes on with the same command, comes to the same end, and is told once.
#[test]
#[ignore = "needs strace: run tests/run"]
fn a_restoration_that_was_killed_goes_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut app = runtime.block_on(TestApp::new());
    let keeper = Keeper::new(app.folder.path());
    let (held, open, backup) = runtime.block_on(async {
        let (held, open) = (app.link_for("passport", None).await, app.link_for("passport", None).await);
        dropped(&app, &held, 5).await;
        let backup = backed_up(&app, &keeper, "portal.age").await;
        app.work().await;
        (held, open, backup)
    });
    let place = elsewhere(&app);
    let data = place.path().join("data");
    let config = place.path().join("nightdrop.toml");
    let fresh = || {
        let _ = std::fs::remove_dir_all(&data);
        recover(place.path(), &keeper, &backup, &[])
    };
    let mut moved = false;
    let kills = kill_everywhere(7, fresh, |when, killed| {
        if killed {
            if data.join("unfinished").exists() {
                let serve = nightdrop(&["serve", "--config", config.to_str().unwrap()]).output().unwrap();
                refused(&serve, &["nightdrop recover", "run it again"]);
            }
            let again = recover(place.path(), &keeper, &backup, &[]).output().unwrap();
            assert!(again.status.success(), "{when}: {}", complaint(&again));
        }
        runtime.block_on(async {
            if std::mem::replace(&mut moved, true) {
                app.open_again().await;
            } else {
                move_to(&mut app, place.path()).await;
            }
            app.work().await;
            let request = app.request(&held).await;
            assert_eq!(request.tombstones.last().unwrap().cause, PurgeCause::Lost, "{when}");
            assert_eq!(app.state(&open).await, RequestState::Revoked, "{when}");
            assert_eq!(app.received().await.len(), 1, "{when}");
            let (entries, _) = crate::audit::verified(&app.portal).await;
            let told = entries.iter().filter(|e| e.event.action == AuditAction::PortalRecovered).count();
            assert_eq!(told, 1, "{when}");
            app.stop().await;
            app.let_go().await;
        });
    });
    assert!(kills > 20, "{kills}");
}

/// The lines under "The drill", as they stand there.
#[test]
fn the_drill_of_the_documentation_runs() {
    let text = include_str!("../../../docs/operations/backup.md");
    let section = text.split("## The drill\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    let made = Made::new(&[]);
    let keeper = Keeper::new(made.folder.path());
    let serving = made.serve();
    let mut shell = Command::new("sh");
    let program = Path::new(env!("CARGO_BIN_EXE_nightdrop")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    shell
        .args(["-euc", &lines.join("\n")])
        .current_dir(made.folder.path())
        .env_clear()
        .env("PATH", path);
    shell
        .env("RECIPIENT", &keeper.recipient)
        .env("NIGHTDROP_URL", &serving.staff)
        .env("NIGHTDROP_TOKEN", &made.api_key)
        .env("NIGHTDROP_ACCEPT_VOLATILE_DATA", "true")
        .env("NIGHTDROP_ACCEPT_READABLE_SWAP", "true");
    let said = done(&mut shell);
    assert!(said.contains("✓ recovered: 0 documents are lost"), "{said}");
    assert!(!made.path("drill").exists());
    serving.stop();
}
