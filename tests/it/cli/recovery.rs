//! What a start refuses, what `recover` makes of it, and what a kill of `init` or `key rotate` leaves: through the real binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::delivery::PurgeCause;
use nightdrop::testing::domain::request::{RequestState, Stage};
use serde_json::Value;

use super::{Made, complaint, done, init, json, nightdrop, out};
use crate::support::{Folder, Link, TestApp, TestOptions, png, sha256, walk};

const UNFIT: Option<i32> = Some(78);

/// Every file with its bytes and its time, for telling that nothing was touched.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let look = |path: PathBuf| {
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        (path, (bytes, time))
    };
    walk(folder).into_iter().map(look).collect()
}

pub(super) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

pub(super) fn refused(output: &Output, words: &[&str]) -> String {
    let said = complaint(output);
    assert_eq!(output.status.code(), UNFIT, "{said}{}", out(output));
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    said
}

#[test]
fn a_missing_part_refuses_the_start_names_itself_and_nothing_is_touched() {
    let made = Made::new(&[]);
    let aside = made.path("aside");
    for (part, name) in [
        ("store", "the store of records"),
        ("store/portal.id", "the store of records"),
        ("store/sled/db", "the store of records"),
        ("documents", "the folder of sealed documents"),
        ("erasure", "the file of erasure slots"),
        ("erasure/erase.slots", "the file of erasure slots"),
        ("erasure/portal.id", "the file of erasure slots"),
        ("erasure/mark", "the store's high-water mark"),
        ("keys", "the keys folder"),
        ("keys/portal.id", "the keys folder"),
        ("keys/portal.secrets", "the file of the portal's secrets"),
    ] {
        let place = made.path("data").join(part);
        std::fs::rename(&place, &aside).unwrap();
        let before = contents(made.folder.path());
        let output = made.with_config(&["serve", "--log", "json"]).output().unwrap();
        refused(&output, &[name, "nightdrop recover", "nothing was changed"]);
        assert_eq!(contents(made.folder.path()), before, "{part}");
        // A place where a disk is to be mounted is there, and empty.
        if aside.is_dir() {
            std::fs::create_dir(&place).unwrap();
            refused(&made.with_config(&["serve"]).output().unwrap(), &[name, "is missing"]);
            std::fs::remove_dir(&place).unwrap();
        }
        std::fs::rename(&aside, &place).unwrap();
    }
    std::fs::rename(made.path("data"), &aside).unwrap();
    let config = aside.join("nightdrop.toml");
    let output = nightdrop(&["serve", "--config", config.to_str().unwrap()]).output().unwrap();
    refused(&output, &["holds no portal", "mount it", "nightdrop init"]);
    assert!(!made.path("data").exists());
    std::fs::rename(&aside, made.path("data")).unwrap();
    made.serve().stop();
}

#[test]
fn a_part_of_another_portal_or_of_another_layout_refuses_the_start() {
    let (made, other) = (Made::new(&[]), Made::new(&[]));
    for (part, words) in [
        ("store", "another portal"),
        ("documents", "another portal"),
        ("erasure", "another portal"),
        (
            "erasure/erase.slots",
            "is not the one that the store's documents have their secrets in",
        ),
        ("erasure/mark", "another portal"),
        ("keys", "another portal"),
        ("keys/portal.secrets", "another portal"),
    ] {
        let (place, aside) = (made.path("data").join(part), made.path("aside"));
        std::fs::rename(&place, &aside).unwrap();
        copy(&other.path("data").join(part), &place);
        let before = contents(made.folder.path());
        let output = made.with_config(&["serve"]).output().unwrap();
        refused(&output, &[words, "nightdrop recover", "nothing was changed"]);
        assert_eq!(contents(made.folder.path()), before, "{part}");
        let _ = std::fs::remove_dir_all(&place).or_else(|_| std::fs::remove_file(&place));
        std::fs::rename(&aside, &place).unwrap();
    }
    // The database alone, under the right label: its own rows say whose it is.
    let (place, aside) = (made.path("data/store/sled"), made.path("aside"));
    std::fs::rename(&place, &aside).unwrap();
    copy(&other.path("data/store/sled"), &place);
    refused(&made.with_config(&["serve"]).output().unwrap(), &["nightdrop recover"]);
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&aside, &place).unwrap();

    let label = made.path("data/store/portal.id");
    let text = std::fs::read_to_string(&label).unwrap();
    for (layout, words) in [("7", "a later nightdrop (layout 7"), ("5", "an earlier nightdrop (layout 5")] {
        std::fs::remove_file(&label).unwrap();
        crate::support::private(&label, &text.replace("layout 6", &format!("layout {layout}")));
        let said = refused(&made.with_config(&["serve"]).output().unwrap(), &[words]);
        assert!(!said.contains("nightdrop recover"), "nothing is given up for a version: {said}");
        let way = if layout == "7" {
            "the data folder is not taken back"
        } else {
            "deliver and purge with that version"
        };
        assert!(said.contains(way), "{said}");
        let before = contents(made.folder.path());
        for command in [&["recover", "--yes"][..], &["compact"]] {
            refused(&made.with_config(command).output().unwrap(), &[words]);
        }
        assert_eq!(contents(made.folder.path()), before, "layout {layout}");
        let found = made.with_config(&["doctor"]).output().unwrap();
        assert!(!found.status.success() && out(&found).contains(words), "{}", out(&found));
    }
    std::fs::remove_file(&label).unwrap();
    crate::support::private(&label, &text);
    made.serve().stop();
}

/// A portal that holds one document, stopped, with its configuration beside it.
pub(super) struct Stopped {
    pub(super) app: TestApp,
    pub(super) held: Link,
    pub(super) open: Link,
}

impl Stopped {
    pub(super) async fn new() -> Self {
        Self::with_options(TestOptions::default()).await
    }

    async fn with_options(options: TestOptions) -> Self {
        let mut app = TestApp::with_options(options).await;
        std::fs::write(app.folder.path().join("nightdrop.toml"), app.text()).unwrap();
        let (held, open) = (app.link_for("passport", None).await, app.link_for("passport", None).await);
        assert_eq!(app.drop_files(&held, &[("front", &png(1, 60_000))]).await.status(), 200);
        app.stop().await;
        app.let_go().await;
        Self { app, held, open }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.app.data().join(name)
    }

    pub(super) async fn run(&self, arguments: &[&str]) -> Output {
        self.run_until(arguments, "").await
    }

    /// The same, ended at a failpoint if one is named.
    pub(super) async fn run_until(&self, arguments: &[&str], failpoint: &str) -> Output {
        let config = self.app.folder.path().join("nightdrop.toml");
        let mut command = nightdrop(arguments);
        command.arg("--config").arg(config);
        // The last owner in this process may still be closing the store.
        let mut output = None;
        crate::support::until("the store is free", async || {
            let mut again = nightdrop(&[]);
            again.args(command.get_args());
            if !failpoint.is_empty() {
                again.env("NIGHTDROP_FAILPOINT", failpoint);
            }
            let done = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
            let held = complaint(&done).contains("holds this directory");
            output = Some(done);
            !held
        })
        .await;
        output.unwrap()
    }

    /// `serve` refuses and names the way out; `recover` goes it, and a second one finds nothing.
    async fn recovered(&self, more: &[&str]) -> Value {
        refused(&self.run(&["serve"]).await, &["nightdrop recover"]);
        let asked = self.run(&[&["recover", "--json"], more].concat()).await;
        refused(&asked, &["--yes"]);
        let output = self.run(&[&["recover", "--json", "--yes"], more].concat()).await;
        assert!(output.status.success(), "{}", complaint(&output));
        let said = json(&out(&output));
        assert_eq!(said["recovered"], true, "{said:#}");
        let again = self.run(&["recover", "--json", "--yes"]).await;
        assert_eq!(json(&out(&again))["recovered"], false, "{}{}", out(&again), complaint(&again));
        said
    }

    /// The held document is shown as lost, a new link goes all the way, and one entry of the log says what was done.
    async fn works_again(&mut self) {
        self.app.open_again().await;
        self.app.work().await;
        let request = self.app.request(&self.held).await;
        assert_eq!(request.stage, Stage::Purged);
        let stone = request.tombstones.last().unwrap();
        assert_eq!(stone.cause, PurgeCause::Lost);
        assert_eq!(self.app.received().await.len(), 0, "what is lost is never sent");
        self.a_new_link_works().await;
        assert_eq!(self.app.portal.erasure.live().unwrap(), vec![]);
        let (entries, _) = crate::audit::verified(&self.app.portal).await;
        assert_eq!(entries.iter().filter(|e| e.event.action == AuditAction::PortalRecovered).count(), 1);
    }

    async fn a_new_link_works(&self) {
        let (link, picture) = (self.app.link_for("passport", None).await, png(7, 50_000));
        assert_eq!(self.app.drop_files(&link, &[("front", &picture)]).await.status(), 200);
        self.app.work().await;
        assert_eq!(self.app.state(&link).await, RequestState::Purged);
        let received = self.app.received().await;
        assert_eq!(received.last().unwrap()["parts"][0]["sha256"], sha256(&picture));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_slots_lose_the_held_documents_and_nothing_else() {
    let mut stopped = Stopped::new().await;
    // Kept elsewhere, so that the new file lies in other blocks.
    std::fs::rename(stopped.path("erasure/erase.slots"), stopped.path("elsewhere")).unwrap();
    let said = stopped.recovered(&[]).await;
    assert_eq!((&said["documents_lost"], &said["links_withdrawn"]), (&1.into(), &0.into()));
    stopped.works_again().await;
    let judged = format!("{:?}", stopped.app.portal.assurance.current());
    assert!(!judged.contains("other blocks"), "nothing was moved: {judged}");
    // The store was shown to be the newest: its links are as good as before.
    assert_eq!(stopped.app.state(&stopped.open).await, RequestState::Awaiting);
    let api = format!("/api/v1/requests/{}", stopped.held.id);
    let shown = stopped.app.http.get(stopped.app.staff(&api)).bearer_auth(&stopped.app.api_key);
    let shown = json(&shown.send().await.unwrap().text().await.unwrap());
    assert!(shown.to_string().contains("\"lost\""), "{shown:#}");
    let again = format!("{api}/reissue");
    let asked = stopped.app.http.post(stopped.app.staff(&again)).bearer_auth(&stopped.app.api_key);
    let status = asked
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .unwrap()
        .status();
    assert!(status.is_success(), "it can be asked for again: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_high_water_mark_the_store_is_not_believed() {
    let mut stopped = Stopped::new().await;
    std::fs::remove_dir_all(stopped.path("erasure")).unwrap();
    let said = stopped.recovered(&[]).await;
    assert_eq!((&said["documents_lost"], &said["links_withdrawn"]), (&1.into(), &1.into()));
    assert_eq!(said["api_keys"][0]["name"], "tests");
    stopped.works_again().await;
    assert_eq!(stopped.app.state(&stopped.open).await, RequestState::Revoked);
    assert!(stopped.path("erasure/CACHEDIR.TAG").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_secrets_withdraw_links_and_let_nobody_in_but_api_keys() {
    let mut stopped = Stopped::new().await;
    std::fs::remove_file(stopped.path("keys/portal.secrets")).unwrap();
    let said = stopped.recovered(&[]).await;
    assert_eq!((&said["documents_lost"], &said["links_withdrawn"]), (&1.into(), &1.into()));
    assert!(said["api_key"].as_str().unwrap().starts_with("ndk_"));
    stopped.works_again().await;
    let page = stopped.app.http.get(stopped.app.public(&stopped.open.path)).send().await.unwrap();
    assert!(page.status().is_client_error(), "an old token opens nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_vault_key_loses_what_is_sealed_to_it() {
    for lost in ["key", "kek", "folder"] {
        let mut stopped = Stopped::new().await;
        let keys = stopped.path("keys");
        match lost {
            "kek" => std::fs::remove_file(keys.join("kek")).unwrap(),
            "folder" => std::fs::remove_dir_all(&keys).unwrap(),
            _ => walk(&keys)
                .iter()
                .filter(|f| f.extension().is_some_and(|e| e == "key"))
                .for_each(|f| std::fs::remove_file(f).unwrap()),
        }
        refused(&stopped.run(&["recover", "--yes"]).await, &["add --new-key"]);
        let said = stopped.recovered(&["--new-key"]).await;
        assert_eq!(said["documents_lost"], 1, "{lost}");
        stopped.works_again().await;
        let links = if lost == "folder" {
            RequestState::Revoked
        } else {
            RequestState::Awaiting
        };
        assert_eq!(stopped.app.state(&stopped.open).await, links, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_passphrase_is_a_lost_key() {
    let mut stopped = Stopped::with_options(TestOptions {
        passphrase: Some(super::PASSPHRASE),
        ..TestOptions::default()
    })
    .await;
    // A portal that is merely locked starts, and has nothing to recover.
    let whole = stopped.run(&["recover", "--json"]).await;
    assert_eq!(json(&out(&whole))["recovered"], false);
    let output = stopped
        .run(&["recover", "--json", "--yes", "--new-key", "--key-protection", "file"])
        .await;
    assert_eq!(json(&out(&output))["documents_lost"], 1, "{}", complaint(&output));
    stopped.works_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_begins_anew_and_says_how_people_come_back() {
    let mut stopped = Stopped::new().await;
    std::fs::remove_dir_all(stopped.path("store")).unwrap();
    let said = stopped.recovered(&[]).await;
    let key = said["api_key"].as_str().unwrap().to_owned();
    stopped.app.open_again().await;
    assert!(stopped.app.portal.requests.request(stopped.held.id).await.unwrap().is_none());
    assert_eq!(
        stopped.app.portal.erasure.live().unwrap(),
        vec![],
        "secrets without a document are destroyed"
    );
    stopped.a_new_link_works().await;
    let password = stopped.app.folder.path().join("password");
    crate::support::private(&password, super::PASSWORD);
    let mut add = nightdrop(&["agent", "add", "--email", "ana@example.com", "--name", "Ana", "--role", "admin"]);
    add.arg("--password-file").arg(&password);
    add.env("NIGHTDROP_URL", stopped.app.staff("")).env("NIGHTDROP_TOKEN", key);
    tokio::task::spawn_blocking(move || done(&mut add)).await.unwrap();
}

/// Everything that an old store would do again, and what it would destroy.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_store_is_noticed_before_anything_is_swept() {
    let mut stopped = Stopped::new().await;
    let old = stopped.app.folder.path().join("old");
    copy(&stopped.path("store"), &old);
    stopped.app.open_again().await;
    stopped.app.work().await;
    assert_eq!(stopped.app.received().await.len(), 1);
    let newer = stopped.app.link_for("passport", None).await;
    assert_eq!(stopped.app.drop_files(&newer, &[("front", &png(3, 40_000))]).await.status(), 200);
    assert_eq!(
        stopped.app.drop_files(&stopped.open, &[("front", &png(4, 40_000))]).await.status(),
        200
    );
    stopped.app.stop().await;
    stopped.app.let_go().await;
    // Whether all of it is closed, the next command's lock says.
    stopped.run(&["recover"]).await;
    std::fs::remove_dir_all(stopped.path("store")).unwrap();
    copy(&old, &stopped.path("store"));

    let slots = std::fs::read(stopped.path("erasure/erase.slots")).unwrap();
    let said = refused(
        &stopped.run(&["serve"]).await,
        &[
            "ends before its high-water mark",
            "audit entries are missing",
            "Nothing was destroyed",
        ],
    );
    assert!(said.contains("behind 20"), "since when: {said}");
    assert_eq!(std::fs::read(stopped.path("erasure/erase.slots")).unwrap(), slots);
    let doctor = stopped.run(&["key", "rotate"]).await;
    refused(&doctor, &["ends before its high-water mark"]);

    let said = stopped.recovered(&[]).await;
    assert_eq!((&said["documents_lost"], &said["links_withdrawn"]), (&1.into(), &1.into()));
    stopped.app.open_again().await;
    stopped.app.work().await;
    assert_eq!(stopped.app.received().await.len(), 1, "nothing is delivered twice");
    let request = stopped.app.request(&stopped.held).await;
    assert_eq!(request.tombstones.last().unwrap().cause, PurgeCause::Lost);
    assert_eq!(request.tombstones.last().unwrap().passed_on.as_str(), "unknown");
    assert_eq!(stopped.app.state(&stopped.open).await, RequestState::Revoked);
    assert_eq!(stopped.app.portal.erasure.live().unwrap(), vec![]);
    stopped.a_new_link_works().await;
    let (entries, _) = crate::audit::verified(&stopped.app.portal).await;
    assert_eq!(entries.iter().filter(|e| e.event.action == AuditAction::PortalRecovered).count(), 1);
}

/// sled takes the first bad record for the end of its log. Wherever that is, either nothing was lost or the start refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_never_goes_back_in_time_silently() {
    let mut stopped = Stopped::new().await;
    stopped.app.open_again().await;
    let mut links = Vec::new();
    for seed in 0..12 {
        let link = stopped.app.link_for("passport", None).await;
        assert_eq!(stopped.app.drop_files(&link, &[("front", &png(seed, 3_000))]).await.status(), 200);
        links.push(link);
    }
    let last = stopped.app.portal.outbox.last_entry().await.unwrap().unwrap().sequence;
    stopped.app.stop().await;
    stopped.app.let_go().await;
    stopped.run(&["recover"]).await;
    let log = std::fs::read(stopped.path("store/sled/db")).unwrap();
    let written = log.iter().rposition(|byte| *byte != 0).unwrap();
    let whole = stopped.app.folder.path().join("whole");
    copy(stopped.app.data(), &whole);
    let (mut noticed, mut harmless) = (0, 0);
    for round in 0..16 {
        std::fs::remove_dir_all(stopped.app.data()).unwrap();
        copy(&whole, stopped.app.data());
        let place = written * (round * 2 + 1) / 32;
        let mut damaged = log.clone();
        damaged[place..(place + 16).min(written)].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(stopped.path("store/sled/db"), &damaged).unwrap();
        let before = std::fs::read(stopped.path("erasure/erase.slots")).unwrap();
        // The snapshot may hold what the log lost: then a start finds everything.
        let output = stopped.run(&["recover", "--json"]).await;
        if output.status.success() && json(&out(&output))["recovered"] == false {
            stopped.app.open_again().await;
            let found = stopped.app.portal.outbox.last_entry().await.unwrap().unwrap().sequence;
            assert!(
                found >= last,
                "round {round}: entries behind {found} of {last} are gone without a word"
            );
            harmless += 1;
            stopped.app.stop().await;
            stopped.app.let_go().await;
            stopped.run(&["recover"]).await;
        } else {
            refused(&stopped.run(&["serve"]).await, &["nightdrop recover"]);
            assert_eq!(std::fs::read(stopped.path("erasure/erase.slots")).unwrap(), before, "round {round}");
            noticed += 1;
        }
    }
    assert!(noticed >= 4, "{noticed} noticed, {harmless} harmless");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_older_than_its_checkpoint_file_refuses_although_the_mark_went_with_it() {
    let mut stopped = Stopped::with_options(TestOptions {
        more: "audit = { checkpoint_file = \"checkpoints.jsonl\", checkpoint_every = \"1m\" }".into(),
        ..TestOptions::default()
    })
    .await;
    let old = stopped.app.folder.path().join("old");
    copy(stopped.app.data(), &old);
    stopped.app.open_again().await;
    stopped.app.link_for("passport", None).await;
    stopped.app.work().await;
    nightdrop::testing::workflow::outgoing::checkpoint::step(&stopped.app.portal)
        .await
        .unwrap();
    assert!(stopped.app.folder.path().join("checkpoints.jsonl").exists());
    stopped.app.stop().await;
    stopped.app.let_go().await;
    stopped.run(&["recover"]).await;
    std::fs::remove_dir_all(stopped.app.data()).unwrap();
    copy(&old, stopped.app.data());
    refused(
        &stopped.run(&["serve"]).await,
        &["the checkpoint of audit entry", "nightdrop recover"],
    );
    stopped.recovered(&[]).await;
    stopped.app.open_again().await;
    stopped.a_new_link_works().await;
}

#[test]
fn backup_tools_that_honour_the_tag_leave_slots_and_mark_out() {
    let made = Made::new(&[]);
    let archive = made.path("backup.tar");
    let tar = |arguments: &[&str]| {
        let output = Command::new("tar").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", complaint(&output));
        out(&output)
    };
    let folder = made.folder.path().to_str().unwrap();
    tar(&["--exclude-caches", "-cf", archive.to_str().unwrap(), "-C", folder, "data"]);
    let listed = tar(&["-tf", archive.to_str().unwrap()]);
    assert!(
        listed.contains("data/store/sled/db") && listed.contains("data/erasure/CACHEDIR.TAG"),
        "{listed}"
    );
    assert!(!listed.contains("erase.slots") && !listed.contains("erasure/mark"), "{listed}");
    // The slots may lie elsewhere.
    let folder = Folder::new();
    let made = json(&done(
        init(&folder, &[]).env("NIGHTDROP_ERASURE_FOLDER", folder.path().join("elsewhere")),
    ));
    assert!(folder.path().join("elsewhere/erase.slots").exists() && !folder.path().join("data/erasure").exists());
    let output = nightdrop(&["serve", "--config", made["config"].as_str().unwrap()])
        .output()
        .unwrap();
    refused(&output, &["erase.slots"]);
}

/// Runs a command and kills it before its `number`-th call that changes something; false when it came to its end before that.
fn killed_at(command: &Command, number: usize) -> bool {
    const CALLS: &str = "openat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync,ftruncate,fchmod,chmod,fchmodat,sync_file_range";
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("inject={CALLS}:signal=KILL:when={number}"))
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .env("TMPDIR", std::env::temp_dir())
        .stdin(std::process::Stdio::null());
    let output = traced.output().unwrap();
    !output.status.success()
}

/// Runs a command and kills it after so long; false when it came to its end before that. The calls are counted for each thread alone, so that the later ones of several
/// threads are met by time.
fn killed_after(command: &Command, milliseconds: u64) -> bool {
    let mut child = Command::new(command.get_program())
        .args(command.get_args())
        .env_clear()
        .env("TMPDIR", std::env::temp_dir())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    let _ = child.kill();
    !child.wait().unwrap().success()
}

/// Kills a fresh command at every call and after every few milliseconds (in a short run at some of them); `look` sees each result.
pub(super) fn kill_everywhere(stride: usize, mut fresh: impl FnMut() -> Command, mut look: impl FnMut(&str, bool)) -> usize {
    let stride = if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        1
    } else {
        stride
    };
    let mut kills = 0;
    for number in (1..).step_by(stride) {
        let killed = killed_at(&fresh(), number);
        look(&format!("call {number}"), killed);
        if !killed {
            break;
        }
        kills += 1;
    }
    for milliseconds in (1..).step_by(stride * 3) {
        let killed = killed_after(&fresh(), milliseconds);
        look(&format!("after {milliseconds} ms"), killed);
        if !killed {
            break;
        }
        kills += 1;
    }
    kills
}

#[test]
#[ignore = "needs strace: run tests/run"]
fn an_init_that_was_killed_is_cleared_by_the_next_one() {
    let folder = std::cell::RefCell::new(Folder::new());
    let fresh = || {
        *folder.borrow_mut() = Folder::new();
        init(&folder.borrow(), &[])
    };
    let kills = kill_everywhere(3, fresh, |when, killed| {
        let folder = folder.replace(Folder::new());
        let config = folder.path().join("data/nightdrop.toml");
        let half = folder.path().join("data/unfinished").exists();
        if killed && half && config.exists() {
            let output = nightdrop(&["serve", "--config", config.to_str().unwrap()]).output().unwrap();
            refused(&output, &["nightdrop init", "run it again"]);
        }
        let output = init(&folder, &[]).output().unwrap();
        // Killed behind its last step, it has made a whole portal.
        assert!(
            output.status.success() || (!half && complaint(&output).contains("exists already")),
            "{when}: {}",
            complaint(&output)
        );
        assert!(!folder.path().join("data/unfinished").exists());
        let made = Made {
            config,
            api_key: String::new(),
            folder,
        };
        made.serve().stop();
    });
    assert!(kills > 30, "{kills}");
}

#[test]
#[ignore = "needs strace: run tests/run"]
fn a_rotation_that_was_killed_leaves_keys_that_every_start_accepts() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut stopped = runtime.block_on(Stopped::new());
    let config = stopped.app.folder.path().join("nightdrop.toml");
    let (data, whole) = (stopped.app.data().to_owned(), stopped.app.folder.path().join("whole"));
    runtime.block_on(stopped.run(&["recover"]));
    copy(&data, &whole);
    let fresh = || {
        std::fs::remove_dir_all(&data).unwrap();
        copy(&whole, &data);
        let mut rotate = nightdrop(&["key", "rotate", "--config"]);
        rotate.arg(&config);
        rotate
    };
    let kills = kill_everywhere(2, fresh, |when, _| {
        runtime.block_on(async {
            stopped.app.open_again().await;
            stopped.app.work().await;
            let request = stopped.app.request(&stopped.held).await;
            let end = request.tombstones.last().map(|stone| &stone.cause);
            assert_eq!(end, Some(&PurgeCause::Confirmed), "{when}: what was held is opened and delivered");
            stopped.app.stop().await;
            stopped.app.let_go().await;
            // A rotation after that one comes to its end.
            let again = stopped.run(&["key", "rotate", "--json"]).await;
            assert!(again.status.success(), "{when}: {}", complaint(&again));
        });
    });
    assert!(kills > 20, "{kills}");
}

/// A recovery may be cut off anywhere: what it has begun keeps every start away, and the next one brings it to its end.
#[test]
#[ignore = "needs strace: run tests/run"]
fn a_recovery_that_was_killed_goes_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut stopped = runtime.block_on(Stopped::new());
    let config = stopped.app.folder.path().join("nightdrop.toml");
    let (data, whole) = (stopped.app.data().to_owned(), stopped.app.folder.path().join("whole"));
    runtime.block_on(stopped.run(&["recover"]));
    std::fs::remove_dir_all(data.join("erasure")).unwrap();
    std::fs::remove_dir_all(data.join("keys")).unwrap();
    copy(&data, &whole);
    let fresh = || {
        std::fs::remove_dir_all(&data).unwrap();
        copy(&whole, &data);
        let mut recover = nightdrop(&["recover", "--yes", "--json", "--new-key", "--config"]);
        recover.arg(&config);
        recover
    };
    let kills = kill_everywhere(4, fresh, |when, killed| {
        runtime.block_on(async {
            if killed {
                let again = stopped.run(&["recover", "--yes", "--json", "--new-key"]).await;
                assert!(again.status.success(), "{when}: {}", complaint(&again));
            }
            stopped.app.open_again().await;
            stopped.app.work().await;
            let request = stopped.app.request(&stopped.held).await;
            let end = request.tombstones.last().map(|stone| &stone.cause);
            assert_eq!(end, Some(&PurgeCause::Lost), "{when}");
            assert_eq!(stopped.app.state(&stopped.open).await, RequestState::Revoked, "{when}");
            assert_eq!(stopped.app.received().await.len(), 0, "{when}");
            stopped.app.stop().await;
            stopped.app.let_go().await;
        });
    });
    assert!(kills > 20, "{kills}");
}
