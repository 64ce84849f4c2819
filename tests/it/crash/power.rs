//! Power cuts of the whole portal: records, chunks, erasure slots, receipts and audit log on one disk that logs every write and flush (see [`crate::block_log`]).
//!
//! A portal takes drops by form and by tus and delivers them while its disk is watched; then the power is cut at many moments of the log. What comes back is
//! opened as the next start would, and for each cut:
//! * A: what was answered with success before the cut is held, whole, or further on;
//! * E: no erasure secret without an owner; a purge that had been shown stays a purge;
//! * nothing erased survives: no secret of a document whose purge had been shown stands anywhere on the raw disk, with everything that was ever written to a slot
//!   at hand to compare with.
//!
//! `NIGHTDROP_TEST_LONG` makes 200 cuts instead of 20; the figures are printed.

use nightdrop::testing::domain::id::DocumentId;
use sha2::Digest;

use super::*;
use crate::block_log::{Disk, Kind, Log, Unflushed, monotonic};
use crate::power_cut::Mounted;
use crate::power_cut::writer::Random as Dice;

/// Cuts made in the log of one run.
const CUTS_OF_A_RUN: usize = 10;

#[test]
#[ignore = "needs root, FUSE and loop devices: cargo test --test it crash::power -- --ignored"]
fn power_cuts_of_the_whole_portal_lose_nothing() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(&PathBuf::from(folder));
    }
    let long = std::env::var_os("NIGHTDROP_TEST_LONG").is_some();
    runtime().block_on(async {
        let seed = std::env::var("NIGHTDROP_POWER_CUT_SEED").map_or_else(
            |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1_000_000,
            |s| s.parse().unwrap(),
        );
        let _ = writeln!(std::io::stderr(), "NIGHTDROP_POWER_CUT_SEED={seed}");
        let mut sum = Sum::default();
        for run in 0..if long { 20 } else { 2 } {
            let kind = if run % 2 == 0 { Kind::Ext4 } else { Kind::Xfs };
            one_run(kind, seed + run, &mut sum).await;
        }
        let _ = writeln!(std::io::stderr(), "{sum:?}: none lost, none back");
        assert!(
            sum.acknowledged > 0 && sum.purged > 0 && sum.secrets_searched > 0,
            "nothing was tested: {sum:?}"
        );
    });
}

/// Obligations over all cuts.
#[derive(Debug, Default)]
struct Sum {
    cuts: usize,
    acknowledged: usize,
    purged: usize,
    secrets_searched: usize,
}

/// What the outside was told, with the moment.
#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<usize, u64>,
    purged: BTreeMap<usize, u64>,
}

async fn one_run(kind: Kind, seed: u64, sum: &mut Sum) {
    let scratch = Folder::new();
    let mut disk = None;
    let site = Site::prepared("received", |folder| {
        disk = Some(Disk::mount(kind, scratch.path(), &folder.join("data")));
    })
    .await;
    let links = site.links_for(60, |n| if n % 2 == 0 { "passport" } else { "government-id" }).await;
    let told = drop_and_deliver(&site, &links, seed).await;
    let mut log = disk.take().unwrap().stop();
    let secrets = secrets(&log);
    let mut dice = Dice(seed << 8 | 1);
    let mut moments: Vec<usize> = (0..CUTS_OF_A_RUN)
        .map(|_| {
            let first = log.until(*told.acknowledged.values().min().unwrap());
            first + dice.below((log.len() - first) as u64 + 1) as usize
        })
        .collect();
    moments.sort_unstable();
    let image = scratch.path().join("image");
    for cut in moments {
        let kept = Unflushed::any(&mut dice);
        let moment = log.moment(cut);
        let raw = log.cut(cut, kept, &mut dice, &image);
        let which = format!("seed {seed} {kind:?} cut {cut} {kept:?}");
        let before = |told: &BTreeMap<usize, u64>| {
            told.iter()
                .filter(|(_, when)| **when <= moment)
                .map(|(n, _)| *n)
                .collect::<Vec<_>>()
        };
        let (acknowledged, purged) = (before(&told.acknowledged), before(&told.purged));
        let mounted = Mounted::new(&image, &site.folder.path().join("data"));
        site.look_into(&[], &[], false).await;
        let gone = look(&site, &links, &acknowledged, &purged, &which).await;
        drop(mounted);
        // The raw disk as it came back, before the next start wrote anything to it.
        for document in &gone {
            for secret in secrets.get(&document.0).into_iter().flatten() {
                assert!(
                    memchr::memmem::find(&raw, secret).is_none(),
                    "{which}: the secret of a purged document stands on the disk"
                );
                sum.secrets_searched += 1;
            }
        }
        sum.cuts += 1;
        sum.acknowledged += acknowledged.len();
        sum.purged += purged.len();
    }
}

/// Runs a portal on the site for some seconds, with drops of every kind, and kills it.
async fn drop_and_deliver(site: &Site, links: &[Link], seed: u64) -> Told {
    let portal = Arc::new(site.start("").await);
    let told = Arc::new(std::sync::Mutex::new(Told::default()));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (portal, told) = (portal.clone(), told.clone());
            let mine: Vec<(usize, Link)> = links.iter().cloned().enumerate().filter(|(n, _)| n % 4 == sender).collect();
            tokio::spawn(async move {
                for (n, link) in mine {
                    let file = |side: u64| png(seed << 8 | (n as u64) << 1 | side, 20_000 + n * 9_000);
                    let status = match n % 4 {
                        0 => portal.send(&link, &file(0)).await,
                        2 => portal.tus(&link, "front", &file(0)).await,
                        _ => {
                            let front = portal.tus(&link, "front", &file(0)).await;
                            let back = portal.tus(&link, "back", &file(1)).await;
                            front.and(back)
                        }
                    };
                    if !status.is_some_and(|status| (200..300).contains(&status)) {
                        return;
                    }
                    told.lock().unwrap().acknowledged.insert(n, monotonic());
                }
            })
        })
        .collect();
    let watching = tokio::spawn(watch_purges(portal.clone(), links.to_vec(), told.clone()));
    for sender in senders {
        sender.await.unwrap();
    }
    watching.abort();
    portal.signal();
    drop(portal);
    std::mem::take(&mut *told.lock().unwrap())
}

/// A purge counts from the moment at which somebody saw it.
async fn watch_purges(portal: Arc<site::Portal>, links: Vec<Link>, told: Arc<std::sync::Mutex<Told>>) {
    loop {
        let open: Vec<usize> = {
            let told = told.lock().unwrap();
            told.acknowledged.keys().filter(|n| !told.purged.contains_key(n)).copied().collect()
        };
        for n in open {
            if portal.page(&links[n]).await.contains("deleted from this site on") {
                told.lock().unwrap().purged.insert(n, monotonic());
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Checks the obligations of one cut; returns the documents that must be gone for good.
async fn look(site: &Site, links: &[Link], acknowledged: &[usize], purged: &[usize], which: &str) -> Vec<DocumentId> {
    let app = site.open().await;
    let mut gone = Vec::new();
    for n in acknowledged {
        let request = app.portal.requests.request(links[*n].id).await.unwrap();
        let request = request.unwrap_or_else(|| panic!("{which}: request {n} is lost"));
        assert!(
            request.document().is_some() || matches!(request.stage, Stage::Purged),
            "{which}: drop {n} was acknowledged and is lost: {:?}",
            request.stage
        );
        if purged.contains(n) {
            assert!(
                matches!(request.stage, Stage::Purged),
                "{which}: purge {n} is undone: {:?}",
                request.stage
            );
            gone.extend(request.tombstones.iter().map(|t| t.document));
        }
    }
    gone
}

/// Every erasure secret that was ever written to the disk, by document: the pages of the slots file in the log.
fn secrets(log: &Log) -> BTreeMap<[u8; 16], Vec<[u8; 32]>> {
    let mut secrets = BTreeMap::<[u8; 16], Vec<[u8; 32]>>::new();
    for page in log.writes().flat_map(|data| data.chunks(nightdrop::testing::crypto::slots::PAGE)) {
        if page.first() != Some(&0xA5) || page.len() < 96 {
            continue;
        }
        let check = sha2::Sha256::new()
            .chain_update(b"nightdrop/v1/slot-check\0")
            .chain_update(&page[..64])
            .finalize();
        if check[..] == page[64..96] {
            let known = secrets.entry(page[16..32].try_into().unwrap()).or_default();
            known.push(page[32..64].try_into().unwrap());
        }
    }
    secrets
}
