//! `nightdrop person export` and `erase`: one person's data, through the API of a running portal.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Api, Remote, text};
use super::output::{self, Failure, Outcome};
use super::process;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop person export cus_4711 > cus_4711.json
  nightdrop person erase cus_4711 --yes > statement.txt
  nightdrop receipt verify statement.txt --public-key 5f3a…

Needs NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file.")]
pub(super) struct People {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Print what the portal holds of one person, as JSON
    #[command(
        after_help = "Example:\n  nightdrop person export cus_4711 --out cus_4711.json\n\nRequests with their states and times, what was asked, notes, receipts, audit entries, webhooks and mails; no document and no secret. The audit log tells that it was taken."
    )]
    Export(Export),
    /// Withdraw, destroy and forget what the portal holds of one person, and print a signed statement
    #[command(
        after_help = "Example:\n  nightdrop person erase cus_4711 --yes > statement.txt\n\nWhat may be on its way to a provider at this moment cannot be torn away: the statement names it, the command ends with 1, and doing it again a quarter of an hour later ends it.\nWhat a provider has received is the provider's to erase. The portal does not keep the statement."
    )]
    Erase(Erase),
}

#[derive(Args, Debug)]
struct Who {
    /// The provider's own reference of the person
    #[arg(value_name = "REFERENCE", required_unless_present = "request", conflicts_with = "request")]
    reference: Option<String>,
    /// Whoever this request is for, in the place of the reference
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// At this provider only [default: at all of them]
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
}

#[derive(Args, Debug)]
struct Export {
    #[command(flatten)]
    who: Who,
    /// A file that does not exist yet, for its owner's eyes only [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Erase {
    #[command(flatten)]
    who: Who,
    /// Do it: nothing of it comes back
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Who {
    fn body(&self) -> Value {
        let given = [
            ("applicant", &self.reference),
            ("request", &self.request),
            ("provider", &self.provider),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

pub(super) fn run(people: People) -> Outcome {
    process::block_on(async {
        match people.action {
            Action::Export(given) => export(&given).await,
            Action::Erase(given) => erase(&given).await,
        }
    })
}

async fn export(given: &Export) -> Outcome {
    let answer = Api::of(&given.remote)?.post(&["person", "export"], &given.who.body()).await?;
    if answer["more"] == true {
        output::complain("nightdrop: there are more requests than one export holds; export by --provider, too");
    }
    let text = match given.remote.json() {
        true => answer.to_string(),
        false => serde_json::to_string_pretty(&answer).map_err(|e| Failure::new(format!("the answer cannot be written: {e}")))?,
    };
    match &given.out {
        None => output::line(text),
        Some(file) => {
            keep(file, &text)?;
            let count = answer["requests"].as_array().map_or(0, Vec::len) as u64;
            output::line(format_args!(
                "{} written to {}",
                output::count(count, "request", "requests"),
                file.display()
            ))
        }
    }
}

fn keep(file: &Path, text: &str) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = made.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(|error| Failure::new(format!("{}: {error}", file.display())))
}

async fn erase(given: &Erase) -> Outcome {
    if !given.yes {
        return Err(Failure::new(
            "this withdraws links and destroys documents and records for good; look at `nightdrop person export` first, then say --yes",
        ));
    }
    let answer = Api::of(&given.remote)?.post(&["person", "erase"], &given.who.body()).await?;
    match given.remote.json() {
        true => output::json(&answer)?,
        false => output::write(text(&answer, "signed"))?,
    }
    if answer["complete"] == true {
        return Ok(());
    }
    let pending = answer["requests"].as_array().into_iter().flatten();
    let pending = pending.filter(|one| one["state"] == "pending").count() as u64;
    Err(Failure::new(format!(
        "not everything is erased yet ({}{}): do it again in a quarter of an hour",
        output::count(pending, "request is pending", "requests are pending"),
        if answer["more"] == true { ", and there are more" } else { "" }
    )))
}
