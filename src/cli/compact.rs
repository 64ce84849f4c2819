//! `nightdrop compact`: gives the disk back what the store of a stopped portal takes for records that changed or went. Nothing is decided and no record changes; whatever
//! ends it, the store is as it was or as it should be.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::{self, Failure, Format, Outcome, Progress};
use super::process;
use crate::app::{Layout, StartError, StoreKind, data_folder};
use crate::chain::chain;
use crate::storage::clock::Source;
use crate::storage::sled::durable::Compacting;
use crate::storage::sled::error::StoreError;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop compact
  nightdrop compact --json --config /etc/nightdrop/nightdrop.toml

Stop the portal first. The records are written a second time beside the first, read back and compared; then the two change places at once. It needs room for both.
Nothing is lost when it is cut off: run it again, or start the portal. docs/operations/capacity.md says when it is worth it.")]
pub(super) struct Compact {
    /// The configuration [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(given: &Compact) -> Outcome {
    let config = process::load(given.config.as_deref())?;
    let layout = Layout::of(&config);
    if layout.kind == StoreKind::Postgres {
        return Err(Failure::new(
            "the records are in PostgreSQL, which gives room back by itself (autovacuum); there is nothing to compact in the data folder",
        ));
    }
    let portal = data_folder::check(&layout)?;
    let secrets = data_folder::load_secrets(&layout)?;
    let store = data_folder::open_store(&layout, portal, Source::System, &secrets).map_err(|error| match error {
        StartError::InUse(why) => Failure::new(format!("{why}; stop the portal first")),
        other => other.into(),
    })?;
    let mut progress = Progress::alone();
    let done = store.compact(|step| match step {
        Compacting::Counted(rows) => progress.at(format_args!("{rows} records")),
        Compacting::Written(rows, whole) => progress.of("writing records", rows, whole),
        Compacting::Compared(rows, whole) => progress.of("comparing them", rows, whole),
    });
    drop(progress);
    let done = done.map_err(|error| {
        let what = match error {
            StoreError::Full { .. } => "there is no room to write the records a second time: make room on the disk".to_owned(),
            error => chain(&error).to_string(),
        };
        Failure::new(format!("the store was not compacted and is as it was: {what}"))
    })?;
    if given.format.json {
        return output::json(&json!({"records": done.rows, "before_bytes": done.before, "after_bytes": done.after}));
    }
    output::line(format_args!(
        "✓ {}, all as they were; the store took {:.1} MiB and takes {:.1} MiB",
        output::count(done.rows, "record", "records"),
        mib(done.before),
        mib(done.after)
    ))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
