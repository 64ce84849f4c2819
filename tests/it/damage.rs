//! One damaged file of the data folder: the start refuses in words and destroys nothing, or nothing is lost but what the damaged bytes themselves held.
//!
//! A portal with held, half sent and purged documents is stopped. For each seed its folder is copied, one file of the copy is damaged (bits, a block, its end, all
//! of it), and the copy is started. Whatever happens:
//! * no panic reaches the caller;
//! * a refused start has destroyed no erasure secret: with the undamaged file put back everything is there;
//! * a start that succeeds has every held document whole, but for the one whose own file or slot was damaged, and no purge undone.
#![allow(clippy::unwrap_used)] // Tests.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use nightdrop::testing::app::App;
use nightdrop::testing::config::Config;
use nightdrop::testing::domain::request::Stage;
use nightdrop::testing::storage::BlobKey;
use nightdrop::testing::storage::clock::Source;

use crate::power_cut::writer::Random;
use crate::support::{Folder, Link, TestApp, TestOptions, png, walk};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: cargo test --test it damage -- --ignored"]
async fn a_damaged_file_is_refused_or_costs_nothing_else() {
    let long = std::env::var_os("NIGHTDROP_TEST_LONG").is_some();
    let seeds = std::env::var("NIGHTDROP_DAMAGE_SEEDS").map_or(if long { 300 } else { 60 }, |s| s.parse().unwrap());
    let first: u64 = std::env::var("NIGHTDROP_DAMAGE_FIRST").map_or(1, |s| s.parse().unwrap());
    let whole = Whole::make().await;
    let mut tally = BTreeMap::<(String, &str), u32>::new();
    for seed in first..first + seeds {
        let (file, outcome) = whole.damaged(seed).await;
        *tally.entry((kind_of(&file), outcome)).or_default() += 1;
    }
    for ((file, outcome), count) in tally {
        let _ = writeln!(std::io::stderr(), "{count:4} × {file}: {outcome}");
    }
}

/// What a document must look like after a start.
enum Must {
    Held { parts: u8 },
    Purged,
}

struct Whole {
    app: TestApp,
    links: Vec<(Link, Must)>,
    files: Vec<PathBuf>,
}

impl Whole {
    async fn make() -> Self {
        let mut app = TestApp::with_options(TestOptions {
            slots: 32,
            ..TestOptions::default()
        })
        .await;
        let mut links = Vec::new();
        for seed in 0..3 {
            let link = app.link_for("passport", None).await;
            assert_eq!(app.drop_files(&link, &[("front", &png(seed, 90_000))]).await.status(), 200);
            links.push((link, Must::Purged));
        }
        app.work().await;
        for seed in 3..6 {
            let link = app.link().await;
            let files: [(&str, &[u8]); 2] = [("front", &png(seed, 150_000)), ("back", &png(seed + 50, 40_000))];
            assert_eq!(app.drop_files(&link, &files).await.status(), 200);
            links.push((link, Must::Held { parts: 2 }));
        }
        for (link, must) in &links {
            let stage = app.request(link).await.stage;
            assert!(
                matches!(
                    (must, stage),
                    (Must::Purged, Stage::Purged) | (Must::Held { .. }, Stage::Held { .. })
                ),
                "the folder to damage is not as meant"
            );
        }
        app.stop().await;
        app.let_go().await;
        let files = walk(app.folder.path())
            .into_iter()
            .filter(|path| path.metadata().is_ok_and(|m| m.len() > 0) && !path.ends_with("nightdrop.toml"))
            .map(|path| path.strip_prefix(app.folder.path()).unwrap().to_owned())
            .filter(|path| !path.starts_with("sandbox-key") && !path.starts_with("webhook"))
            .collect();
        Self { app, links, files }
    }

    async fn damaged(&self, seed: u64) -> (PathBuf, &'static str) {
        let mut random = Random(seed << 16 | 1);
        let copy = Folder::new();
        let status = std::process::Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(format!("{}/.", self.app.folder.path().display()))
            .arg(copy.path())
            .status()
            .unwrap();
        assert!(status.success());
        let file = self.files[random.below(self.files.len() as u64) as usize].clone();
        let what = damage(&copy.path().join(&file), &mut random);
        let which = format!("seed {seed}: {} {what}", file.display());
        let outcome = match self.open(copy.path()).await {
            Ok(app) => {
                self.look(&app, &file, &which).await;
                "started, everything else is there"
            }
            Err(why) => {
                assert!(why.len() > 20 && !why.contains("panicked"), "{which}: refused with {why:?}");
                // The refusal destroyed nothing: with the file as it was, everything is there.
                std::fs::copy(self.app.folder.path().join(&file), copy.path().join(&file)).unwrap();
                let app = self
                    .open(copy.path())
                    .await
                    .unwrap_or_else(|again| panic!("{which}: refused with {why:?}, and with the file put back: {again}"));
                self.look(&app, Path::new("-"), &which).await;
                "refused in words, nothing destroyed"
            }
        };
        (file, outcome)
    }

    async fn open(&self, folder: &Path) -> Result<App, String> {
        let config = Config::parse(self.app.text(), folder, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"));
        // In a task of its own: a panic would be an answer, the wrong one.
        let opened = tokio::spawn(async move { App::open(config, Source::System).await.map_err(|e| e.to_string()) }).await;
        opened.unwrap_or_else(|panic| panic!("the start panicked: {panic}"))
    }

    async fn look(&self, app: &App, damaged: &Path, which: &str) {
        let portal = &app.portal;
        // At most one document may suffer, and only from damage to its own bytes.
        let private =
            damaged.starts_with("data/documents") || damaged.ends_with("erase.slots") || damaged.to_string_lossy().contains("slots");
        let mut suffering = 0;
        for (link, must) in &self.links {
            let request = portal
                .requests
                .request(link.id)
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("{which}: a request is lost"));
            match must {
                Must::Purged => assert!(
                    matches!(request.stage, Stage::Purged),
                    "{which}: a purge is undone: {:?}",
                    request.stage
                ),
                Must::Held { parts } => {
                    let Stage::Held { document, .. } = &request.stage else {
                        panic!("{which}: a held document is {:?}", request.stage);
                    };
                    let mut whole = portal.erasure.get(&document.id.0, &document.slot).is_ok();
                    assert_eq!(document.parts.len(), usize::from(*parts), "{which}");
                    for (index, part) in document.parts.iter().enumerate() {
                        for chunk in 0..part.chunks {
                            let key = BlobKey {
                                document: document.id,
                                file_index: index as u8,
                                chunk,
                            };
                            whole &= portal.blobs.get(key).await.is_ok_and(|chunk| chunk.is_some());
                        }
                    }
                    suffering += u32::from(!whole);
                }
            }
        }
        assert!(
            suffering == 0 || private && suffering == 1,
            "{which}: {suffering} held documents have lost their secret or bytes"
        );
    }
}

/// Files of a kind are counted together.
fn kind_of(file: &Path) -> String {
    let text = file.display().to_string();
    let folder = text.rsplit_once('/').map_or("", |(folder, _)| folder);
    match folder {
        "data/documents" => format!("{folder}/…"),
        _ => text,
    }
}

fn damage(path: &Path, random: &mut Random) -> String {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    let mode = path.metadata().unwrap().permissions();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let bytes = std::fs::read(path).unwrap();
    // Where something is written: a store's file is mostly air.
    let written: Vec<usize> = (0..bytes.len())
        .step_by(256)
        .filter(|at| bytes[*at..bytes.len().min(at + 256)].iter().any(|b| *b != 0))
        .collect();
    let place = |random: &mut Random| match written.is_empty() {
        true => random.below(bytes.len() as u64),
        false => written[random.below(written.len() as u64) as usize] as u64 + random.below(256),
    };
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let what = match random.below(5) {
        0 => {
            let (at, count) = (place(random), 1 + random.below(64));
            for offset in at..(at + count).min(bytes.len() as u64) {
                let byte = bytes[offset as usize] ^ (1 + random.below(255) as u8);
                file.write_all_at(&[byte], offset).unwrap();
            }
            format!("bytes {at} to {}", at + count)
        }
        1 => {
            let at = place(random).min(bytes.len() as u64 - 1);
            let byte = bytes[at as usize] ^ (1 << random.below(8));
            file.write_all_at(&[byte], at).unwrap();
            format!("a bit of byte {at}")
        }
        2 => {
            let at = place(random) / 4096 * 4096;
            let count = 4096.min(bytes.len() as u64 - at.min(bytes.len() as u64));
            file.write_all_at(&vec![0; count as usize], at).unwrap();
            format!("the block at {at}")
        }
        3 => {
            let length = place(random).min(bytes.len() as u64 - 1);
            file.set_len(length).unwrap();
            format!("cut to {length}")
        }
        _ => {
            drop(file);
            std::fs::remove_file(path).unwrap();
            return "removed".to_owned();
        }
    };
    std::fs::set_permissions(path, mode).unwrap();
    what
}
