//! Disks that fail, hang or fill up under a running portal: what was acknowledged is there after the next start, and no process stays that answers nothing.

use super::*;

/// A small ext4 on a loop device; unmounted on drop.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let image = at.with_extension("image");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
            assert!(status.success(), "{program}");
        };
        run(
            "/sbin/mkfs.ext4",
            &["-q".as_ref(), "-F".as_ref(), "-m".as_ref(), "0".as_ref(), image.as_os_str()],
        );
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()]);
        Self(at.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Another program takes everything that is left.
    pub fn fill(&self) {
        use std::io::Write;
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        for block in [1 << 20, 4096] {
            while filler.write_all(&vec![7; block]).is_ok() && filler.sync_data().is_ok() {}
        }
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Links that are open in a site's folder, for drops into the real program.
async fn with_open_links(documents: usize, open: usize) -> (Site, Vec<Link>) {
    let mut site = Site::new(documents).await;
    site.app.open_again().await;
    let mut links = Vec::new();
    for n in 0..open {
        links.push(site.app.issue(ask(&format!("open-{n}"), "passport")).await);
    }
    site.app.stop().await;
    site.app.let_go().await;
    (site, links)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace and takes a minute: tests/run"]
async fn a_store_that_cannot_write_ends_the_process_and_loses_nothing_acknowledged() {
    let (site, links) = with_open_links(1, 60).await;
    let faults = ["pwrite64 EIO", "pwrite64 ENOSPC", "fdatasync EIO"];
    let rounds = if long() { 24 } else { 5 };
    for round in 0..rounds * faults.len() {
        let (call, error) = faults[round % faults.len()].split_once(' ').unwrap();
        // A disk that fails for good from some call on, or once.
        let nth = round / faults.len() + 1;
        let when = if round % 2 == 0 { format!("{nth}+") } else { nth.to_string() };
        let what = format!("{call} {error} when={when}");
        let folder = Folder::new();
        copy(site.folder(), folder.path());
        let mut portal = Served::start(folder.path());
        assert_eq!(portal.status("/readyz").await, Some(200), "{what}");
        let log = folder.path().join("data/store/sled/db");
        let tampering = Tampering::with(portal.id(), call, &format!("error={error}:when={when}"), Some(&log));
        let mut acknowledged = Vec::new();
        for (n, link) in links.iter().enumerate() {
            match portal.drop_front(link, n as u64).await {
                Some(200) => acknowledged.push(link),
                Some(_) => {}
                None => break,
            }
        }
        let code = portal.ended(Duration::from_secs(10));
        assert_eq!(code, Some(Some(74)), "{what}: {} were acknowledged", acknowledged.len());
        drop(tampering);
        holds(folder.path(), site.links.iter().chain(acknowledged), &what).await;
    }
}

/// Bytes that a process has handed to the kernel, sockets included. Not `write_bytes`: that counts whole folios of the page cache for each small write into
/// them, hundreds of kilobytes on a new kernel, of which a few reach the disk.
fn handed_over(id: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{id}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_drop_writes_a_small_multiple_of_itself() {
    const DROPS: usize = 40;
    let (site, links) = with_open_links(1, DROPS + 5).await;
    let portal = Served::start(site.folder());
    let (warm, measured) = links.split_at(5);
    for (n, link) in warm.iter().enumerate() {
        assert_eq!(portal.drop_front(link, n as u64).await, Some(200));
    }
    let before = handed_over(portal.id());
    for (n, link) in measured.iter().enumerate() {
        assert_eq!(portal.drop_front(link, n as u64).await, Some(200));
    }
    let each = (handed_over(portal.id()) - before) / DROPS as u64;
    crate::support::say(&format!("{} KiB are written for a drop of 4 KB", each >> 10));
    assert!(each < 64 << 10, "{each} bytes");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: tests/run"]
async fn a_failure_of_the_background_thread_ends_a_portal_that_nobody_asks() {
    let site = Site::new(1).await;
    let mut portal = Served::start(site.folder());
    let log = site.folder().join("data/store/sled/db");
    // The worker, and nobody else, writes now and then: the failure is found without a visitor.
    let _tampering = Tampering::with(portal.id(), "pwrite64", "error=EIO", Some(&log));
    assert_eq!(portal.ended(Duration::from_secs(60)), Some(Some(74)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: tests/run"]
async fn a_disk_that_hangs_is_not_ready_and_comes_back() {
    let site = Site::new(1).await;
    let portal = Served::start(site.folder());
    let log = site.folder().join("data/store/sled/db");
    assert_eq!(portal.status("/readyz").await, Some(200));
    let tampering = Tampering::with(portal.id(), "fdatasync", "delay_enter=15000000", Some(&log));
    let asked = Instant::now();
    until("the portal is not ready", async || portal.status("/readyz").await == Some(503)).await;
    // The last proof counts for five seconds, the next one gives up after three; the tracer adds a little.
    assert!(asked.elapsed() < Duration::from_secs(14), "{:?}", asked.elapsed());
    assert_eq!(portal.status("/healthz").await, Some(200), "slow is not dead");
    let asked = Instant::now();
    assert_eq!(portal.status("/readyz").await, Some(503));
    assert!(asked.elapsed() < Duration::from_secs(5), "bounded: {:?}", asked.elapsed());
    drop(tampering);
    until("the portal is ready again", async || portal.status("/readyz").await == Some(200)).await;
    assert_eq!(portal.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and loop devices: tests/run"]
async fn a_full_disk_is_started_on_with_leases_purged_and_its_ballast_taken_back() {
    let site = Site::new(3).await;
    let base = Folder::new();
    let disk = SmallDisk::mount(&base.path().join("disk"), 400 << 20);
    copy(site.folder(), disk.path());
    let ballast = disk.path().join("data/store/ballast");
    let portal = Served::start(disk.path());
    until("the ballast is taken", async || ballast.exists()).await;
    assert_eq!(portal.status("/readyz").await, Some(200));
    drop(portal);
    disk.fill();
    // Killed on a full disk, with leased requests in the store: it starts, shows everything and takes nothing in.
    for _ in 0..3 {
        let portal = Served::start(disk.path());
        assert_eq!(portal.status("/healthz").await, Some(200));
        assert_eq!(portal.status("/readyz").await, Some(503));
        assert_eq!(portal.status(&site.links[0].path).await, Some(200), "its page is shown");
        drop(portal);
        holds(disk.path(), site.links.iter(), "on a full disk").await;
    }
    assert!(!ballast.exists(), "given up for the start");
    let portal = Served::start(disk.path());
    disk.make_room();
    until("the ballast is taken back by the running portal", async || ballast.exists()).await;
    until("the portal is ready again", async || portal.status("/readyz").await == Some(200)).await;
    let (code, log) = portal.stop();
    assert_eq!(code, Some(0), "{log:?}");
}

/// A start that cannot succeed at the moment says so, with the code that has it tried again; one that needs a person has another.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_by_its_code_whether_trying_again_can_help() {
    let site = Site::new(1).await;
    let said = |folder: &Path| {
        let output = serve(folder).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let held = Served::start(site.folder());
    let (code, why) = said(site.folder());
    assert_eq!(code, Some(74), "{why}");
    assert!(why.contains("another nightdrop holds this directory"), "{why}");
    let (code, log) = held.stop();
    assert_eq!(code, Some(0), "{log:?}");
    let sled = site.folder().join("data/store/sled");
    let snapshot = walk(&sled)
        .into_iter()
        .find(|path| path.to_string_lossy().contains("snap."))
        .unwrap();
    let mut bytes = std::fs::read(&snapshot).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    let (code, why) = said(site.folder());
    assert_eq!(code, Some(78), "{why}");
    assert!(why.contains("sled/snap."), "it says which file: {why}");
}

/// A clean stop reports no fault, also while visitors keep coming.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_under_visitors_logs_no_error() {
    let site = Site::new(1).await;
    for _ in 0..5 {
        let portal = Served::start(site.folder());
        let address = portal.public.strip_prefix("http://").unwrap().to_owned();
        let over = Arc::new(AtomicBool::new(false));
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                let (address, over) = (address.clone(), over.clone());
                std::thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        drop(std::net::TcpStream::connect(&address));
                    }
                })
            })
            .collect();
        until("it answers", async || portal.status("/healthz").await == Some(200)).await;
        let (code, log) = portal.stop();
        over.store(true, Ordering::Relaxed);
        visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        assert_eq!(code, Some(0));
        let errors: Vec<_> = log.iter().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
