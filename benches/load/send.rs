//! Part 4: forwarding. The way out against its two halves: opening what is stored, and sending as much from memory.

use std::sync::Arc;

use serde_json::json;

use crate::Plan;
use crate::child::{Child, Folder};
use crate::client;
use crate::report::{Report, median};
use crate::samples::{Form, jpeg};

const MIB: f64 = 1024.0 * 1024.0;

pub fn forwarding(plan: &Plan, report: &mut Report) -> Result<(), String> {
    const GROUP: &str = "forwarding";
    let (count, size, rounds) = if plan.quick { (8, 5_000_000, 1) } else { (16, 20_000_000, 3) };
    let form = Arc::new(Form::of(&jpeg(size)));
    let bytes = form.file as f64 * count as f64;
    let provider = Child::start("sandbox", &json!({}));
    let (mut opened, mut sent, mut forwarded, mut peaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = Folder::new();
        let mut child = Child::start("portal", &json!({ "folder": folder.path(), "provider": provider.ready["address"] }));
        let paths = child.issue(count);
        client::uploads(child.address(), &paths, &form, 4)?;
        let start = child.cpu();
        let read = child.ask("open all", json!(null))["bytes"].as_u64().unwrap();
        assert_eq!(read as f64, bytes);
        opened.push((child.cpu() - start) * 1e9 / bytes);
        let start = child.cpu();
        child.ask(
            "send raw",
            json!({ "provider": provider.ready["address"], "bytes": form.file, "times": count }),
        );
        sent.push((child.cpu() - start) * 1e9 / bytes);
        let before = child.rss() as f64 / MIB;
        child.forget_peak();
        let start = child.cpu();
        let steps = child.ask("work", json!(null))["steps"].as_u64().unwrap();
        forwarded.push((child.cpu() - start) * 1e9 / bytes);
        peaks.push(child.peak() as f64 / MIB - before);
        assert!(steps >= count as u64, "only {steps} steps were due");
    }
    let [opened, sent, forwarded] = [&opened, &sent, &forwarded].map(|v| median(v));
    report.figure(GROUP, "opening alone", opened, "s/GB");
    report.figure(GROUP, "sending alone", sent, "s/GB");
    report.figure(GROUP, "forwarded and confirmed", forwarded, "s/GB");
    report.at_most(GROUP, "forwarded ÷ (opening + sending)", forwarded / (opened + sent), "", 1.2);
    report.figure(GROUP, "memory on top, whatever the size", median(&peaks), "MiB");
    Ok(())
}
