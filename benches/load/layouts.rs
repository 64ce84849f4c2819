//! Which layout for the sealed chunks: a sled tree for each part, or a file for each part? `--layouts` measures both; docs/decisions/chunk-layout.md has the figures.
//!
//! A cell is a number of live documents and a size. The live ones hold one small chunk each: what a tree costs the others is its name, not its bytes. Beside
//! them documents of the size are made, one sync for each as an acknowledgement needs it, and deleted again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::child::{Child, Folder};
use crate::samples::Noise;

const CHUNK: usize = (64 << 10) + 16;
/// What is written in one cell, about, and the most documents.
const BYTES: usize = 200_000_000;
const MOST: usize = 200;
/// Live documents whose making is timed: the last ones.
const TIMED: usize = 100;

const LIVE: [usize; 3] = [100, 1_000, 10_000];
const SIZES: [usize; 3] = [200_000, 2_000_000, 10_000_000];

/// Prints the table. Each row is measured in a process of its own, so that its bytes and its memory are its own.
pub fn table() {
    println!("{HEAD}");
    for layout in ["files", "trees"] {
        for live in LIVE {
            for size in SIZES {
                let folder = Folder::new();
                let asked = json!({ "layout": layout, "live": live, "size": size, "folder": folder.path() });
                let child = Child::start("layout", &asked);
                println!("{}", child.ready.as_str().unwrap());
                child.stop();
            }
        }
    }
}

/// The row that [`table`] asks for.
pub fn run(settings: &Value) -> Value {
    let number = |name: &str| settings[name].as_u64().unwrap() as usize;
    let folder = Path::new(settings["folder"].as_str().unwrap());
    cell(settings["layout"].as_str().unwrap(), folder, number("live"), number("size")).into()
}

fn cell(layout: &str, folder: &Path, live: usize, size: usize) -> String {
    match layout {
        "trees" => measure(&mut Trees::open(folder), "a tree for each part", live, size),
        "files" => measure(&mut Files::open(folder), "a file for each part", live, size),
        other => panic!("{other}?"),
    }
}

const HEAD: &str = "| layout | live | MB | bytes written ÷ bytes | to make one of the live, ms, with … KB written | to write, MB/s | to delete, ms, with … KB written | memory, MiB |\n\
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

trait Layout {
    /// Puts the chunks of a document.
    fn put(&mut self, document: u64, chunks: &mut dyn Iterator<Item = &[u8]>);
    fn delete(&mut self, document: u64);
    /// Makes the last call durable.
    fn sync(&mut self);
}

fn measure(layout: &mut impl Layout, name: &str, live: usize, size: usize) -> String {
    let chunk = Noise::new(3).bytes(CHUNK);
    for number in 0..(live - TIMED) as u64 {
        layout.put(number, &mut std::iter::once(&chunk[..64]));
        if number % 64 == 0 {
            layout.sync();
        }
    }
    layout.sync();
    let (made, made_bytes) = timed(|| {
        for number in live - TIMED..live {
            layout.put(number as u64, &mut std::iter::once(&chunk[..64]));
            layout.sync();
        }
    });
    let count = (BYTES / size).clamp(8, MOST);
    let (wrote, wrote_bytes) = timed(|| {
        for number in 0..count {
            let whole = std::iter::repeat_n(&chunk[..], size / CHUNK);
            layout.put((live + number) as u64, &mut whole.chain(Some(&chunk[..size % CHUNK])));
            layout.sync();
        }
    });
    let (deleted, deleted_bytes) = timed(|| {
        for number in 0..count {
            layout.delete((live + number) as u64);
            layout.sync();
        }
    });
    let per = |value: f64, of: usize| value / of as f64;
    format!(
        "| {name} | {live} | {} | {:.2} | {:.1}, {:.0} | {:.0} | {:.1}, {:.0} | {:.0} |",
        size as f64 / 1e6,
        per(wrote_bytes, count * size),
        per(made, TIMED) * 1e3,
        per(made_bytes, TIMED) / 1e3,
        (count * size) as f64 / 1e6 / wrote,
        per(deleted, count) * 1e3,
        per(deleted_bytes, count) / 1e3,
        field("status", "VmHWM:") as f64 / 1024.0,
    )
}

/// Seconds, and bytes that this process caused to be written.
fn timed(what: impl FnOnce()) -> (f64, f64) {
    let (start, before) = (Instant::now(), field("io", "write_bytes:"));
    what();
    (start.elapsed().as_secs_f64(), (field("io", "write_bytes:") - before) as f64)
}

fn field(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// sled as the portal opens it, each tree named by document and part. sled rewrites a leaf when it splits (17 entries) and after 10 changes, so from the
/// eighth chunk on the leaves are made beforehand of 9 empty entries, 4 of which are filled: the shape with the fewest bytes that was found.
struct Trees(sled::Db);

impl Trees {
    fn open(folder: &Path) -> Self {
        let config = sled::Config::new().path(folder).cache_capacity(16 << 20).segment_size(16 << 20);
        Self(config.flush_every_ms(Some(500)).open().unwrap())
    }
}

fn tree(document: u64) -> Vec<u8> {
    [&b"t"[..], &u128::from(document).to_be_bytes(), &[0]].concat()
}

impl Layout for Trees {
    fn put(&mut self, document: u64, chunks: &mut dyn Iterator<Item = &[u8]>) {
        let tree = self.0.open_tree(tree(document)).unwrap();
        let key = |number: u32| number.to_be_bytes();
        let mut leaves = 0;
        for (number, chunk) in (0..).zip(chunks) {
            if number < 8 {
                tree.insert(key(number), chunk).unwrap();
                continue;
            }
            let (leaf, place) = ((number - 8) / 4, (number - 8) % 4);
            while leaves < leaf + 3 {
                for fence in 0..9 {
                    tree.insert(key(100 + leaves * 9 + fence), b"").unwrap();
                }
                leaves += 1;
            }
            tree.insert(key(100 + leaf * 9 + place), chunk).unwrap();
        }
    }

    fn delete(&mut self, document: u64) {
        self.0.drop_tree(tree(document)).unwrap();
    }

    fn sync(&mut self) {
        self.0.flush().unwrap();
    }
}

struct Files {
    folder: PathBuf,
    open: Option<File>,
}

impl Files {
    fn open(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { folder, open: None }
    }

    fn path(&self, document: u64) -> PathBuf {
        self.folder.join(format!("{document:032x}.0"))
    }
}

impl Layout for Files {
    fn put(&mut self, document: u64, chunks: &mut dyn Iterator<Item = &[u8]>) {
        let file = File::options().create_new(true).write(true).open(self.path(document)).unwrap();
        for (number, chunk) in (0..).zip(chunks) {
            file.write_all_at(chunk, number * CHUNK as u64).unwrap();
        }
        self.open = Some(file);
    }

    fn delete(&mut self, document: u64) {
        std::fs::remove_file(self.path(document)).unwrap();
    }

    fn sync(&mut self) {
        if let Some(file) = self.open.take() {
            file.sync_data().unwrap();
        }
        File::open(&self.folder).unwrap().sync_all().unwrap();
    }
}
