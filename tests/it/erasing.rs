//! What an erasure is worth on real file systems, each on a disk image: what is in effect decides, and whoever moves the slots file is noticed.
//!
//! They need root and loop devices, and `mkfs.xfs`, `mkfs.btrfs`, `e4defrag` where they are there:
//!
//!     cargo test --test it erasing:: -- --ignored

use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nightdrop::testing::app::{self, App, KeyProtection, Layout};
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::assurance::{AssuranceClass, Watch};
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::crypto::erase::{EraseError, ErasureStore, LiveSlot, ReadBack, SlotRef};
use nightdrop::testing::crypto::secret::ErasureSecret;
use nightdrop::testing::crypto::slots::SlotsFile;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::receipt::DeletionReceipt;
use nightdrop::testing::sandbox::Sandbox;
use nightdrop::testing::storage::clock::Source;
use nightdrop::testing::worker::{self, Step};
use nightdrop::testing::workflow::{Portal, issue};

use crate::support::{Folder, ask, client, form, png, private};

const MIB: u64 = 1 << 20;

/// A file system in an image, mounted; unmounted with its owner.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// `make` is a program with its arguments, the image at the end.
    fn new(folder: &Path, name: &str, size: u64, make: &[&[&str]]) -> Self {
        let disk = Self {
            image: folder.join(format!("{name}.image")),
            at: folder.join(name),
        };
        std::fs::File::create(&disk.image).unwrap().set_len(size).unwrap();
        for program in make {
            run(program[0], &[&program[1..], &[disk.image.to_str().unwrap()]].concat());
        }
        std::fs::create_dir_all(&disk.at).unwrap();
        disk.mount();
        disk
    }

    fn ext4(folder: &Path, name: &str, more: &[&[&str]]) -> Self {
        let make: &[&str] = &["mkfs.ext4", "-q", "-F"];
        Self::new(folder, name, 64 * MIB, &[&[make], more].concat())
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", self.image.to_str().unwrap(), self.at.to_str().unwrap()]);
    }

    fn unmount(&self) {
        run("umount", &[self.at.to_str().unwrap()]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.at)
            .stderr(std::process::Stdio::null())
            .status();
    }
}

/// Another mount, undone with its owner.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

fn has(program: &str) -> bool {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

/// Says what is not tested here; a test that only passes over things in silence would look like one that tested them.
fn skip(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "not tested here: {what}");
}

fn slots(path: &Path) -> (SlotsFile, Watch) {
    SlotsFile::create(path, 64).unwrap();
    let store = SlotsFile::open(path, None).unwrap();
    let watch = Watch::begin(path, &store, None).unwrap();
    (store, watch)
}

fn class(path: &Path) -> (AssuranceClass, String) {
    let judged = slots(path).1.current();
    (judged.class, judged.reasons.join(" "))
}

#[test]
#[ignore = "needs root and loop devices: cargo test --test it erasing:: -- --ignored"]
fn ext4_is_judged_by_what_is_in_effect() {
    use AssuranceClass::{B, C};
    let folder = Folder::new();
    let at = folder.path();
    let plain = Disk::ext4(at, "plain", &[]);
    let (found, why) = class(&plain.path("slots"));
    assert_eq!(found, B, "{why}");

    // The attribute of one file, set while the portal runs.
    let (_store, watch) = slots(&plain.path("marked"));
    assert_eq!(watch.current().class, B);
    if Command::new("chattr")
        .arg("+j")
        .arg(plain.path("marked"))
        .status()
        .unwrap()
        .success()
    {
        let look = watch.look();
        assert_eq!((look.assurance.class, look.fresh), (C, true));
        run("chattr", &["-j", plain.path("marked").to_str().unwrap()]);
        assert_eq!(watch.look().assurance.class, C, "what was journalled meanwhile is still there");
    } else {
        skip("attribute +j: setting it needs the capability CAP_SYS_RESOURCE");
    }

    // The default of the superblock stands in no mount table.
    let hidden = Disk::ext4(at, "hidden", &[&["tune2fs", "-o", "journal_data"]]);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(hidden.at.to_str().unwrap())).unwrap();
    assert!(!line.contains("data="), "{line}");
    let (found, why) = class(&hidden.path("slots"));
    assert!(found == C && why.contains("journals file data"), "{found} {why}");

    let without = Disk::ext4(at, "without", &[&["tune2fs", "-O", "^has_journal"]]);
    let (found, why) = class(&without.path("slots"));
    assert_eq!(found, B, "{why}");
}

/// Why it matters: with all data in the journal the erased secrets are in the image, without it none is.
#[test]
#[ignore = "needs root and loop devices: cargo test --test it erasing:: -- --ignored"]
fn erased_secrets_stay_in_an_image_that_journals_data_and_in_no_other() {
    let folder = Folder::new();
    let mut figures = Vec::new();
    for (name, more) in [("plain", &[][..]), ("journalled", &[&["tune2fs", "-o", "journal_data"][..]][..])] {
        let disk = Disk::ext4(folder.path(), name, more);
        let mut secrets = Vec::new();
        {
            let (store, _) = slots(&disk.path("slots"));
            for number in 0..48u8 {
                let secret = ErasureSecret::generate().unwrap();
                let slot = store.put(&[number; 16], &secret).unwrap();
                secrets.push((*secret.expose(), number, slot));
            }
            // They were on the disk: one is looked for while it lives.
            run("sync", &["-f", disk.at.to_str().unwrap()]);
            assert_eq!(count(&disk.image, &[secrets[0].0]), 1, "the search finds a living secret");
            for (_, number, slot) in &secrets {
                store.destroy(&[*number; 16], slot).unwrap();
            }
        }
        disk.unmount();
        let secrets: Vec<[u8; 32]> = secrets.into_iter().map(|(secret, ..)| secret).collect();
        figures.push(count(&disk.image, &secrets));
    }
    assert_eq!(figures[0], 0, "plain ext4 keeps nothing");
    assert!(figures[1] > 0, "the journal keeps erased secrets, or this search sees nothing");
}

/// How many of these stand somewhere in the raw image.
fn count(image: &Path, secrets: &[[u8; 32]]) -> usize {
    let bytes = std::fs::read(image).unwrap();
    let known: std::collections::HashMap<[u8; 4], Vec<&[u8; 32]>> = secrets.iter().fold(Default::default(), |mut map, secret| {
        map.entry(secret[..4].try_into().unwrap()).or_insert_with(Vec::new).push(secret);
        map
    });
    let mut found = std::collections::HashSet::new();
    for page in bytes.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0)) {
        for window in page.windows(32) {
            for secret in known.get(&window[..4]).into_iter().flatten() {
                if secret[..] == *window {
                    found.insert(**secret);
                }
            }
        }
    }
    found.len()
}

#[test]
#[ignore = "needs root and loop devices: cargo test --test it erasing:: -- --ignored"]
fn xfs_is_good_until_somebody_shares_the_blocks() {
    if !has("mkfs.xfs") {
        return skip("XFS: there is no mkfs.xfs");
    }
    let folder = Folder::new();
    let disk = Disk::new(folder.path(), "xfs", 512 * MIB, &[&["mkfs.xfs", "-q", "-m", "reflink=1"]]);
    let path = disk.path("slots");
    let (store, watch) = slots(&path);
    assert_eq!(watch.current().class, AssuranceClass::B, "{:?}", watch.current());
    let slot = store.put(&[1; 16], &ErasureSecret::generate().unwrap()).unwrap();
    store.destroy(&[1; 16], &slot).unwrap();
    assert!(watch.look().weakened.is_none(), "our own writes move nothing");
    run(
        "cp",
        &["--reflink=always", path.to_str().unwrap(), disk.path("copy").to_str().unwrap()],
    );
    let look = watch.look();
    assert!(look.fresh && look.assurance.class == AssuranceClass::C, "{look:?}");
    assert!(look.assurance.reasons.join(" ").contains("shares blocks"), "{look:?}");
}

#[test]
#[ignore = "needs root and loop devices: cargo test --test it erasing:: -- --ignored"]
fn btrfs_is_good_without_copy_on_write_until_a_snapshot_is_taken() {
    if !has("mkfs.btrfs") {
        return skip("btrfs: there is no mkfs.btrfs");
    }
    let folder = Folder::new();
    let disk = Disk::new(folder.path(), "btrfs", 512 * MIB, &[&["mkfs.btrfs", "-q"]]);
    assert_eq!(class(&disk.path("slots")).0, AssuranceClass::C);
    let inside = disk.path("inside");
    run("btrfs", &["-q", "subvolume", "create", inside.to_str().unwrap()]);
    run("chattr", &["+C", inside.to_str().unwrap()]);
    let (_store, watch) = slots(&inside.join("slots"));
    assert_eq!(watch.current().class, AssuranceClass::B, "{:?}", watch.current());
    run(
        "btrfs",
        &[
            "-q",
            "subvolume",
            "snapshot",
            inside.to_str().unwrap(),
            disk.path("snapshot").to_str().unwrap(),
        ],
    );
    let look = watch.look();
    assert!(look.fresh && look.assurance.class == AssuranceClass::C, "{look:?}");
}

#[test]
#[ignore = "needs root: mounts file systems"]
fn layers_and_memory_are_no_place_to_erase_in() {
    let folder = Folder::new();
    let part = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let (lower, upper, work, merged) = (part("lower"), part("upper"), part("work"), part("merged"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let overlay = Command::new("mount")
        .args(["-t", "overlay", "-o", &options, "overlay"])
        .arg(&merged)
        .status()
        .unwrap();
    if overlay.success() {
        let _mounted = Mounted(merged.clone());
        assert_eq!(class(&merged.join("slots")).0, AssuranceClass::C);
    } else {
        skip("overlayfs: it cannot be mounted here");
    }

    let data = part("data");
    run(
        "mount",
        &["-t", "tmpfs", "-o", "size=1g,mode=0700", "tmpfs", data.to_str().unwrap()],
    );
    let _mounted = Mounted(data.clone());
    let (_, why) = class(&data.join("slots"));
    assert!(why.contains("in memory only"), "{why}");
    std::fs::remove_file(data.join("slots")).unwrap();
    let config = |accepted: bool| {
        let text = format!(
            "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = {accepted}\nerasure = {{ slots = 16, accept_weak = true }}\n"
        );
        Config::parse(&text, folder.path(), std::iter::empty()).unwrap()
    };
    let refused = app::create(&config(false), &KeyProtection::KekFile, Suite::XWing)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("data_dir") && refused.contains("accept_volatile_data"),
        "{refused}"
    );
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "nothing was made");
    app::create(&config(true), &KeyProtection::KekFile, Suite::XWing).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let opened = runtime.block_on(App::open(config(false), Source::System));
    assert!(opened.err().unwrap().to_string().contains("lies in memory"));
    runtime.block_on(App::open(config(true), Source::System)).unwrap();
}

/// A portal in this process, on a disk of its own, driven by hand.
struct Site {
    config: Config,
    sandbox: Sandbox,
}

impl Site {
    async fn new(folder: &Path, data: &Path) -> Self {
        nightdrop::testing::connectors::client::install_tls();
        let settings = nightdrop::testing::sandbox::SandboxSettings {
            api_key: nightdrop::testing::settings::Secret::new("sandbox-key"),
            webhook_secret: nightdrop::testing::settings::Secret::new("whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0"),
            callback_url: None,
        };
        let sandbox = Sandbox::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
        private(&folder.join("sandbox-key"), "sandbox-key");
        private(&folder.join("webhook"), "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0");
        let text = format!(
            "public_url = \"http://127.0.0.1\"\ndata_dir = \"{}\"\nlisten = {{ public = \"127.0.0.1:0\", staff = \"127.0.0.1:0\" }}\n\
             erasure = {{ slots = 4096 }}\nlimits = {{ pages_per_address = 100000 }}\n\
             [providers.sandbox]\nkind = \"sandbox\"\nbase_url = \"{}\"\napi_key_file = \"sandbox-key\"\nwebhook_secret_file = \"webhook\"\nconfirm = \"received\"\n",
            data.display(),
            sandbox.url()
        );
        let config = Config::parse(&text, folder, std::iter::empty()).unwrap();
        Self { config, sandbox }
    }

    async fn drop_document(&self, portal: &Portal, public: SocketAddr) {
        let issued = issue::issue(portal, ask("applicant-1", "passport"), Actor::Operator, None)
            .await
            .unwrap();
        let (body, kind) = form(&[("front", &png(3, 40_000))]);
        let url = format!("http://{public}/d/{}", issued.token.encode());
        let http = client([127, 0, 0, 1].into());
        let answer = http.post(url).header("content-type", kind).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

async fn receipt(portal: &std::sync::Arc<Portal>, number: u64) -> DeletionReceipt {
    while worker::step(portal).await.unwrap() == Step::Done {}
    portal
        .requests
        .deletion_receipt(number)
        .await
        .unwrap()
        .expect("the document is purged")
        .receipt
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and loop devices: cargo test --test it erasing:: -- --ignored"]
async fn a_defragmenter_under_a_running_portal_is_noticed_and_said() {
    if !has("e4defrag") {
        return skip("e4defrag: it is not there");
    }
    let folder = Folder::new();
    let disk = Disk::new(folder.path(), "disk", 512 * MIB, &[&["mkfs.ext4", "-q", "-F", "-m", "0"]]);
    // Free space in pieces, so that the slots file (16 MiB) has many, and there is something to put together afterwards.
    let piece = |number: u64| disk.path(&format!("piece-{number}"));
    let mut pieces = 0;
    while let Ok(file) = std::fs::File::create(piece(pieces)) {
        if file.write_all_at(&[1; 128 << 10], 0).is_err() {
            break;
        }
        pieces += 1;
    }
    run("sync", &["-f", disk.at.to_str().unwrap()]);
    for number in (0..pieces).step_by(2) {
        std::fs::remove_file(piece(number)).unwrap();
    }
    run("sync", &["-f", disk.at.to_str().unwrap()]);
    let site = Site::new(folder.path(), &disk.path("data")).await;
    app::create(&site.config, &KeyProtection::KekFile, Suite::XWing).unwrap();
    for number in (1..pieces).step_by(2) {
        std::fs::remove_file(piece(number)).unwrap();
    }
    run("sync", &["-f", disk.at.to_str().unwrap()]);

    let app = App::open(site.config.clone(), Source::System).await.unwrap();
    let portal = app.portal.clone();
    let running = app.start_with(false).await.unwrap();
    let text = async |path: &str| {
        let url = format!("http://{}{path}", running.staff);
        client([127, 0, 0, 1].into()).get(url).send().await.unwrap().text().await.unwrap()
    };
    site.drop_document(&portal, running.public).await;
    let first = receipt(&portal, 1).await.erasure;
    assert_eq!((first.class.as_str(), first.method.contains("moved")), ("B", false), "{first:?}");
    assert!(!portal.assurance.is_weakened());

    // The document is held, its secret is in its slot; then somebody tidies the disk up.
    site.drop_document(&portal, running.public).await;
    let slots = Layout::of(&site.config).slots;
    let live = portal.erasure.live().unwrap();
    let page = (live[0].slot.index + 1) * 4096;
    let mut secret = [0; 32];
    std::fs::File::open(&slots).unwrap().read_exact_at(&mut secret, page + 32).unwrap();
    run("e4defrag", &[slots.to_str().unwrap()]);
    let second = receipt(&portal, 2).await.erasure;
    assert_eq!(second.class, "C", "{second:?}");
    assert!(second.method.contains("moved on its disk"), "{second:?}");
    assert_eq!(portal.assurance.current().class, AssuranceClass::C);
    let metrics = text("/metrics").await;
    assert!(metrics.contains("nightdrop_erasure_weakened 1"), "{metrics}");
    assert!(text("/readyz").await.starts_with("ready"));
    // It was worth saying: the erased secret is in the image.
    run("sync", &["-f", disk.at.to_str().unwrap()]);
    assert_eq!(count(&disk.image, &[secret]), 1, "the earlier block still holds it");
    running.stop().await;
    let gone = std::sync::Arc::downgrade(&portal);
    drop(portal);
    crate::support::until("the portal is let go", async || gone.strong_count() == 0).await;

    // The next start knows where the file was, refuses, and takes the new place for good once it is accepted.
    let open = async |accept: bool| {
        let config = Config {
            accept_weak_erasure: accept,
            ..site.config.clone()
        };
        let mut opened = None;
        crate::support::until("the store is free", async || {
            match App::open(config.clone(), Source::System).await {
                Err(error) if error.to_string().contains("holds this directory") => false,
                other => {
                    opened = Some(other.map(|app| app.portal.assurance.current()));
                    true
                }
            }
        })
        .await;
        opened.unwrap()
    };
    let refused = open(false).await.unwrap_err().to_string();
    assert!(
        refused.contains("other blocks than before") && refused.contains("accept_weak"),
        "{refused}"
    );
    assert_eq!(open(true).await.unwrap().class, AssuranceClass::C);
    assert_eq!(open(false).await.unwrap().class, AssuranceClass::B);
    drop(site.sandbox);
}

/// Erasure slots whose disk refuses everything for a while.
struct Faulty {
    inner: std::sync::Arc<dyn ErasureStore>,
    refuses: AtomicBool,
}

impl Faulty {
    fn fault<T>(&self, work: impl FnOnce() -> Result<T, EraseError>) -> Result<T, EraseError> {
        match self.refuses.load(Ordering::SeqCst) {
            true => Err(std::io::Error::from_raw_os_error(5).into()),
            false => work(),
        }
    }
}

impl ErasureStore for Faulty {
    fn put(&self, doc_id: &[u8; 16], secret: &ErasureSecret) -> Result<SlotRef, EraseError> {
        self.fault(|| self.inner.put(doc_id, secret))
    }
    fn get(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ErasureSecret, EraseError> {
        self.fault(|| self.inner.get(doc_id, slot))
    }
    fn destroy(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ReadBack, EraseError> {
        self.fault(|| self.inner.destroy(doc_id, slot))
    }
    fn live(&self) -> Result<Vec<LiveSlot>, EraseError> {
        self.inner.live()
    }
    fn damaged(&self) -> Result<Vec<LiveSlot>, EraseError> {
        self.inner.damaged()
    }
    fn destroy_damaged(&self, slot: &LiveSlot) -> Result<ReadBack, EraseError> {
        self.fault(|| self.inner.destroy_damaged(slot))
    }
    fn ready(&self) -> Result<(), EraseError> {
        self.fault(|| self.inner.ready())
    }
    fn free(&self) -> Result<u64, EraseError> {
        self.inner.free()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slots_file_that_takes_no_write_is_an_outage_and_ends_with_it() {
    let folder = Folder::new();
    let site = Site::new(folder.path(), &folder.path().join("data")).await;
    let config = Config {
        accept_weak_erasure: true,
        accept_volatile_data: true,
        ..site.config.clone()
    };
    app::create(&config, &KeyProtection::KekFile, Suite::XWing).unwrap();
    let mut app = App::open(config, Source::System).await.unwrap();
    let portal = std::sync::Arc::get_mut(&mut app.portal).expect("nobody has the portal yet");
    let faulty = std::sync::Arc::new(Faulty {
        inner: portal.erasure.clone(),
        refuses: AtomicBool::new(false),
    });
    portal.erasure = faulty.clone();
    let portal = app.portal.clone();
    let running = app.start_with(false).await.unwrap();
    let http = client([127, 0, 0, 1].into());
    let issued = issue::issue(&portal, ask("applicant-1", "passport"), Actor::Operator, None)
        .await
        .unwrap();
    let path = format!("http://{}/d/{}", running.public, issued.token.encode());
    let ready = async || {
        http.get(format!("http://{}/readyz", running.public))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let drop = async || {
        let (body, kind) = form(&[("front", &png(3, 40_000))]);
        http.post(&path).header("content-type", kind).body(body).send().await.unwrap()
    };
    assert_eq!(ready().await, 200);
    faulty.refuses.store(true, Ordering::SeqCst);
    let free = portal.erasure.free().unwrap();
    for _ in 0..3 {
        let answer = drop().await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let begun = http
            .post(format!("{path}/parts/front"))
            .header("Tus-Resumable", "1.0.0")
            .header("Upload-Length", 40_000);
        let answer = begun.send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(ready().await, 503);
    }
    assert_eq!(portal.erasure.free().unwrap(), free);
    faulty.refuses.store(false, Ordering::SeqCst);
    assert_eq!(ready().await, 200);
    assert_eq!(drop().await.status(), 200);
    // A purge that is refused for a while is one that comes later.
    faulty.refuses.store(true, Ordering::SeqCst);
    let refused = worker::step(&portal).await;
    faulty.refuses.store(false, Ordering::SeqCst);
    assert!(portal.requests.deletion_receipt(1).await.unwrap().is_none(), "{refused:?}");
    running.stop().await;
    std::mem::drop(site.sandbox);
}
