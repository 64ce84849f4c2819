//! Part 3: does anything get slower with what exists, and is room given back?

use std::time::Instant;

use nightdrop::testing::domain::id::DocumentId;
use nightdrop::testing::storage::BlobStore;
use nightdrop::testing::storage::files::FileStore;
use serde_json::json;

use crate::Plan;
use crate::child::{Child, Folder};
use crate::client::{self, quantile};
use crate::report::{Report, median};
use crate::samples::Noise;

const MIB: f64 = 1024.0 * 1024.0;

/// Times with few and with many requests, each in microseconds.
const TIMES: [&str; 4] = ["claim", "list", "nothing due", "sweep"];

/// Pages of the console: what a day begins with, filters of which nothing matches, and the search for one applicant.
const CONSOLE: [(&str, &str, Option<&str>); 6] = [
    ("overview", "/", None),
    ("requests", "/requests", None),
    ("requests, none revoked", "/requests?state=revoked", None),
    ("requests, none purged", "/requests?state=purged&agent=operator", None),
    ("audit log", "/audit", None),
    ("search by applicant", "/requests", Some("applicant-77")),
];

struct Looks {
    page: f64,
    start_ms: f64,
    inside: Vec<f64>,
    console: Vec<f64>,
    rss: f64,
    disk: f64,
}

/// Claim, page, list and start-up with a thousand requests and with many.
pub fn requests(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "growth";
    let many = if plan.quick { 20_000 } else { plan.requests };
    let few = look(1_000, report);
    let lots = look(many, report);
    let ratio = |name: String, report: &mut Report, few: f64, lots: f64| {
        report.at_most(GROUP, format!("{name}: {many} ÷ 1000 requests"), lots / few, "", 2.0);
    };
    report.figure(GROUP, "page, 1000 requests", few.page, "µs");
    ratio("page".into(), report, few.page, lots.page);
    for (n, what) in TIMES.iter().enumerate() {
        report.figure(GROUP, format!("{what}, 1000 requests"), few.inside[n], "µs");
        ratio((*what).into(), report, few.inside[n], lots.inside[n]);
    }
    for (n, (what, _, _)) in CONSOLE.iter().enumerate() {
        report.figure(GROUP, format!("console: {what}, 1000 requests"), few.console[n], "µs");
        ratio(format!("console: {what}"), report, few.console[n], lots.console[n]);
    }
    report.figure(GROUP, "start-up, 1000 requests", few.start_ms, "ms");
    ratio("start-up".into(), report, few.start_ms, lots.start_ms);
    report.figure(GROUP, format!("memory after start-up, {many} requests"), lots.rss, "MiB");
    report.figure(GROUP, format!("disk, {many} requests"), lots.disk, "MiB");
    Ok(())
}

fn look(count: usize, report: &mut Report) -> Looks {
    let folder = Folder::new();
    let mut settings = json!({ "folder": folder.path() });
    let mut child = Child::start("portal", &settings);
    let issued = child.ask("issue", json!({ "count": count, "keep": 400 }));
    report.figure(
        "growth",
        format!("issuing {count} requests"),
        count as f64 / issued["seconds"].as_f64().unwrap(),
        "/s",
    );
    let paths: Vec<String> = issued["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_str().unwrap().to_owned())
        .collect();
    client::pages(child.address(), &paths[..50]);
    let page = quantile(&client::pages(child.address(), &paths), 0.5).as_secs_f64() * 1e6;
    let inside = TIMES
        .iter()
        .map(|what| child.ask("time", json!({ "what": what, "count": if *what == "sweep" { 5 } else { 200 } })))
        .map(|answer| answer["microseconds"].as_f64().unwrap())
        .collect();
    let console = CONSOLE
        .iter()
        .map(|(_, path, applicant)| child.ask("time page", json!({ "path": path, "applicant": applicant, "count": 50 })))
        .map(|answer| answer["microseconds"].as_f64().unwrap())
        .collect();
    child.stop();
    settings["create"] = json!(false);
    let start_ms = median(&[(); 3].map(|()| {
        let child = Child::start("portal", &settings);
        let taken = child.ready["open_ms"].as_f64().unwrap();
        child.stop();
        taken
    }));
    let child = Child::start("portal", &settings);
    let rss = child.rss() as f64 / MIB;
    child.stop();
    Looks {
        page,
        start_ms,
        inside,
        console,
        rss,
        disk: folder.disk() as f64 / MIB,
    }
}

/// 200 MB written and purged, again and again: the files must stop growing.
pub fn cycles(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "write 200 MB and purge, again and again";
    let cycles = if plan.quick { 5 } else { 20 };
    let folder = Folder::new();
    let documents = folder.path().join("documents");
    FileStore::create(&documents).map_err(|e| e.to_string())?;
    let store = FileStore::open(&documents).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    let empty = folder.disk();
    let chunk = Noise::new(3).bytes((64 << 10) + 16);
    let (mut sizes, start) = (Vec::new(), Instant::now());
    for cycle in 0..cycles {
        let documents: Vec<DocumentId> = (0..10u128)
            .map(|n| DocumentId((u128::from(cycle as u64) * 100 + n + 1).to_be_bytes()))
            .collect();
        let turn = async {
            for document in &documents {
                let mut writer = store.writer(*document, 0, 0).await?;
                for _ in 0..305 {
                    writer.put(&chunk).await?;
                }
                writer.sync().await?;
            }
            for document in documents {
                store.delete(document).await?;
            }
            Ok::<(), nightdrop::testing::storage::StorageError>(())
        };
        runtime.block_on(turn).map_err(|e| e.to_string())?;
        sizes.push(folder.disk().saturating_sub(empty) as f64 / MIB);
    }
    // Written, deleted and free again: nothing may be left but the folder.
    let last = sizes.last().copied().unwrap_or_default();
    let highest = sizes.iter().copied().fold(0.0, f64::max);
    report.at_most(GROUP, format!("disk after {cycles} cycles"), last, "MiB", 1.0);
    report.figure(GROUP, "highest in between", highest, "MiB");
    report.figure(GROUP, "a cycle", start.elapsed().as_secs_f64() / f64::from(cycles), "s");
    Ok(())
}
