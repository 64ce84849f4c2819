//! `nightdrop audit export` and `verify`. An export is one JSON object per line, as the API gives them; verifying it needs nothing but the file.
//!
//! Each entry's hash is `SHA-256("nightdrop/v1/audit" ‖ 00 ‖ hash of the entry before ‖ line)`, where `line` is the entry's canonical text. The readable fields
//! beside it must say the same as that line, so that nobody can be shown another story than the one that is chained.

mod checkpoints;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::client::{Api, Remote};
use super::output::{self, Failure, Format, Outcome};
use super::process;
use crate::domain::audit::{GENESIS, chain_hash};

const DOMAIN: &str = "nightdrop/v1/audit";
const PAGE: &str = "1000";

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop audit export > audit.jsonl
  nightdrop audit verify audit.jsonl
  nightdrop audit verify audit.jsonl --checkpoint checkpoints.jsonl --public-key 1f…")]
pub(super) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Print the log, one JSON object per line
    #[command(
        after_help = "Examples:\n  nightdrop audit export --after 1200 >> audit.jsonl\n  nightdrop audit export --request req_… --csv > request.csv\n  nightdrop audit export --from 2026-11-01 --to 2026-11-30 > november.jsonl\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope audit), or --url and --token-file."
    )]
    Export(Export),
    /// Check an export offline: every entry, that none is missing between them, and against a checkpoint that none is missing behind them
    #[command(
        after_help = "Example:\n  nightdrop audit verify audit.jsonl\n\nAn export that does not begin with entry 1 is checked from its first entry on.\nWhat was cut off at the end, or a log that was written anew as a whole, shows only against checkpoints that were copied to another machine\n(the portal appends them to DATA_DIR/checkpoints.jsonl, or where audit.checkpoint_file says):\n  nightdrop audit verify audit.jsonl --checkpoint checkpoints.jsonl --public-key KEY\nKEY is the portal's public key: nightdrop receipt key, or GET /api/v1/receipt-key."
    )]
    Verify(Verify),
}

#[derive(Args, Debug)]
struct Export {
    /// Only entries with a higher number
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["request", "from", "to", "csv"])]
    after: u64,
    /// Only entries about this request, also when it was forgotten
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Only entries from this day (UTC) or instant on, such as 2026-11-27 or 2026-11-27T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only entries up to the end of this day (UTC), or before this instant
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// A table for spreadsheets instead of JSON
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Verify {
    /// The export, `-` for standard input
    file: PathBuf,
    /// Signed checkpoints, one JSON object per line, that the export must agree with
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The portal's public key in hex; without it a checkpoint proves only that its signer did not change it
    #[arg(long, value_name = "HEX", requires = "checkpoint")]
    public_key: Option<String>,
    #[command(flatten)]
    format: Format,
}

impl Export {
    /// What it is cut down to; empty for the whole log.
    fn query(&self) -> Vec<(&str, &str)> {
        let given = [("request", &self.request), ("from", &self.from), ("to", &self.to)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        given.chain(self.csv.then_some(("format", "csv"))).collect()
    }
}

pub(super) fn run(audit: Audit) -> Outcome {
    match audit.action {
        Action::Export(export) => process::block_on(print(export)),
        Action::Verify(given) => verify(&given),
    }
}

async fn print(export: Export) -> Outcome {
    let api = Api::of(&export.remote)?;
    let query = export.query();
    if !query.is_empty() {
        return api.stream(&["audit", "export"], &query, output::bytes).await;
    }
    let mut after = Some(export.after);
    let mut progress = output::Progress::beside_output();
    while let Some(from) = after {
        let page = api.get(&["audit"], &[("after", &from.to_string()), ("limit", PAGE)]).await?;
        let entries = page["entries"]
            .as_array()
            .ok_or_else(|| Failure::new("the portal's audit log cannot be read"))?;
        entries.iter().try_for_each(output::json)?;
        progress.at(format_args!("entry {from}"));
        after = page["next_after"].as_u64().filter(|next| *next > from);
    }
    Ok(())
}

fn verify(given: &Verify) -> Outcome {
    // Of standard input nobody knows how much there is.
    let mut whole = 0;
    let file: Box<dyn BufRead> = if given.file == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = std::fs::File::open(&given.file).map_err(|e| Failure::new(format!("{}: {e}", given.file.display())))?;
        whole = file.metadata().map_or(0, |found| found.len());
        Box::new(BufReader::new(file))
    };
    let points = given
        .checkpoint
        .as_deref()
        .map(|path| checkpoints::read(path, given.public_key.as_deref()))
        .transpose()?;
    let mut chain = Chain {
        wanted: points.iter().flat_map(|p| p.sequences()).collect(),
        ..Chain::default()
    };
    let mut progress = output::Progress::alone();
    let mut read = 0;
    for (n, line) in file.lines().enumerate() {
        let line = line.map_err(|e| Failure::new(format!("{}: {e}", given.file.display())))?;
        read += line.len() as u64 + 1;
        match whole {
            0 => progress.at(format_args!("line {}", n + 1)),
            whole => progress.of("verifying", read, whole),
        }
        if !line.trim().is_empty() {
            chain
                .take(&line)
                .map_err(|why| Failure::new(format!("line {} of {}: {why}", n + 1, given.file.display())))?;
        }
    }
    drop(progress);
    let (Some(first), Some((last, hash))) = (chain.first, chain.last) else {
        return Err(Failure::new(format!("{} holds no entry", given.file.display())));
    };
    let agreed = points.map(|points| points.agree(&chain.found, first, last)).transpose()?;
    let hash = HEXLOWER.encode(&hash);
    let whole = first == 1;
    if given.format.json {
        return output::json(
            &json!({"verified": true, "first": first, "last": last, "from_the_beginning": whole, "complete_to": agreed.as_ref().map(|a| a.newest), "last_hash": hash,
            "checkpoints": agreed.as_ref().map(|a| json!({"agree": a.agree, "before_the_export": a.before, "newest": a.newest, "key_given": given.public_key.is_some()}))}),
        );
    }
    verdict(first, last, agreed.as_ref().map(|a| a.newest))?;
    if !whole {
        output::line(format_args!(
            "  entry {first} itself is taken as given: the entry before it is not in this file"
        ))?;
    }
    if let Some(agreed) = agreed {
        output::line(format_args!(
            "✓ {}, the newest with entry {}{}",
            output::count(agreed.agree as u64, "checkpoint agrees", "checkpoints agree"),
            agreed.newest,
            if given.public_key.is_some() {
                ""
            } else {
                "; whose signature it is was not checked: give --public-key"
            }
        ))?;
    }
    output::line(format_args!("  hash of entry {last}: {hash}"))
}

/// What was proven, and no more: a chain alone does not show where it was cut off.
fn verdict(first: u64, last: u64, checkpoint: Option<u64>) -> Outcome {
    let Some(proven) = checkpoint else {
        output::line(format_args!(
            "✓ entries {first} to {last}: the chain is whole as far as it goes; nothing shows that entries were not cut off at its end"
        ))?;
        return output::line("  A checkpoint that was kept on another machine does: --checkpoint FILE");
    };
    output::line(format_args!("✓ complete up to entry {proven} of the checkpoint given"))?;
    if last > proven {
        let from = proven + 1;
        output::line(format_args!(
            "  entries {from} to {last}: the chain is whole as far as it goes; nothing shows that entries were not cut off at its end"
        ))?;
    }
    Ok(())
}

/// The entries so far.
#[derive(Default)]
struct Chain {
    first: Option<u64>,
    last: Option<(u64, [u8; 32])>,
    /// Entries whose hashes are looked at later.
    wanted: BTreeSet<u64>,
    found: BTreeMap<u64, [u8; 32]>,
}

impl Chain {
    fn take(&mut self, text: &str) -> Result<(), String> {
        let entry: Value = serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())?;
        let sequence = entry["sequence"].as_u64().ok_or("has no number")?;
        let line = entry["line"].as_str().ok_or("has no canonical line")?;
        let hash: [u8; 32] = entry["hash"]
            .as_str()
            .and_then(|h| HEXLOWER.decode(h.as_bytes()).ok()?.try_into().ok())
            .ok_or("has no hash of 32 bytes in hex")?;
        says_the_same(&entry, line)?;
        let previous = match self.last {
            Some((before, hash)) if before.checked_add(1) == Some(sequence) => Some(hash),
            Some((before, _)) => {
                return Err(format!(
                    "entry {sequence} follows entry {before}: what stood between is missing or in another order"
                ));
            }
            None => (sequence == 1).then_some(GENESIS),
        };
        if previous.is_some_and(|previous| chain_hash(DOMAIN, &previous, line.as_bytes()) != hash) {
            return Err(format!("entry {sequence} was changed, or the one before it"));
        }
        self.first.get_or_insert(sequence);
        if self.wanted.contains(&sequence) {
            self.found.insert(sequence, hash);
        }
        self.last = Some((sequence, hash));
        Ok(())
    }
}

/// Whether the readable fields are those of the canonical line.
fn says_the_same(entry: &Value, line: &str) -> Result<(), String> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    let number = entry["sequence"].as_u64().map(|n| n.to_string()).unwrap_or_default();
    let mut fields = line.split('\t');
    let mut next = || fields.next().unwrap_or_default();
    let head = next() == number
        && next() == text("at")
        && next() == text("actor")
        && next() == escaped(text("action"))
        && next() == text("request");
    let mut written: Vec<&str> = fields.collect();
    let mut shown: Vec<String> = match &entry["detail"] {
        Value::Object(detail) => detail
            .iter()
            .map(|(k, v)| format!("{}={}", escaped(k), escaped(v.as_str().unwrap_or_default())))
            .collect(),
        _ => Vec::new(),
    };
    written.sort_unstable();
    shown.sort_unstable();
    if head && written == shown {
        Ok(())
    } else {
        Err("says something else than its canonical line".to_owned())
    }
}

/// As the canonical line has it.
fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::agent::Actor;
    use crate::domain::audit::{AuditAction, AuditEntry, AuditEvent, canonical};
    use crate::domain::id::RequestId;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    fn export(count: u64) -> Vec<Value> {
        let mut previous = GENESIS;
        (1..=count)
            .map(|n| {
                let event = AuditEvent::new(OffsetDateTime::UNIX_EPOCH, Actor::Operator, AuditAction::LinkIssued)
                    .on(RequestId([7; 16]))
                    .with("provider", "a\tb\\c")
                    .with("document", n);
                let entry = AuditEntry::chain(n, &previous, event);
                previous = entry.hash;
                let event = &entry.event;
                let detail: serde_json::Map<String, Value> = event.detail.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
                json!({
                    "sequence": n, "at": event.at.format(&Rfc3339).unwrap(), "action": event.action.as_str(), "actor": event.actor.to_string(),
                    "request": event.request.unwrap().to_string(), "detail": detail, "line": canonical(n, event), "hash": HEXLOWER.encode(&entry.hash),
                })
            })
            .collect()
    }

    fn check(entries: &[Value]) -> Result<Chain, String> {
        let mut chain = Chain::default();
        entries.iter().try_for_each(|e| chain.take(&e.to_string()))?;
        Ok(chain)
    }

    #[test]
    fn a_true_export_verifies_from_anywhere() {
        let entries = export(4);
        assert_eq!(check(&entries).unwrap().last.unwrap().0, 4);
        assert_eq!(check(&entries[2..]).unwrap().first, Some(3));
    }

    #[test]
    fn any_change_is_seen() {
        let entries = export(4);
        for field in ["at", "action", "actor", "request", "line", "hash"] {
            let mut changed = entries.clone();
            changed[1][field] = json!(format!("{}x", changed[1][field].as_str().unwrap()));
            assert!(check(&changed).is_err(), "{field}");
        }
        let mut changed = entries.clone();
        changed[1]["detail"]["document"] = json!("9");
        assert!(check(&changed).is_err());
        let mut forged = entries.clone();
        forged[1]["detail"]["document"] = json!("9");
        forged[1]["line"] = json!(forged[1]["line"].as_str().unwrap().replace("document=2", "document=9"));
        assert!(check(&forged).is_err());
        let mut missing = entries.clone();
        missing.remove(1);
        assert!(check(&missing).is_err());
        let mut swapped = entries;
        swapped.swap(1, 2);
        assert!(check(&swapped).is_err());
    }
}
