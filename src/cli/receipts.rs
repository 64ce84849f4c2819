//! `nightdrop receipt get` and `verify`. A deletion receipt is checked offline, with nothing but the file and (better) the portal's public key from elsewhere.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::client::{Api, Remote};
use super::output::{self, Failure, Format, Outcome};
use super::process;
use crate::crypto::receipt::{self, VerifiedReceipt};
use crate::crypto::statement::{self, VerifiedStatement};

/// A receipt in JSON is far smaller, and a statement no larger.
const LONGEST: u64 = 512 * 1024;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop receipt get req_… > receipt.txt
  nightdrop receipt verify receipt.txt --public-key 5f3a…")]
pub(super) struct Receipts {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Print the receipt of a request's newest purge
    #[command(
        after_help = "Example:\n  nightdrop receipt get req_… > receipt.txt\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN, or --url and --token-file."
    )]
    Get(Get),
    /// Check a receipt, or a statement about erased data, offline: the text, or the JSON that the API gives
    #[command(
        after_help = "Example:\n  nightdrop receipt verify receipt.txt --public-key 5f3a…\n\nSo is what `nightdrop person erase` prints; its subject is SHA-256(\"nightdrop/v1/subject\" ‖ 00 ‖ reference) in hex.\nThe public key is what `nightdrop receipt key` prints; keep a copy apart from the portal.\nWithout it this only shows that the receipt was not changed since somebody signed it."
    )]
    Verify(Verify),
    /// Print the receipts that are kept, those of forgotten requests among them, one JSON object per line
    #[command(
        after_help = "Example:\n  nightdrop receipt list --after 1200 >> receipts.jsonl\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file."
    )]
    List(List),
    /// Print the public key that this portal's receipts are signed with
    #[command(
        after_help = "Example:\n  nightdrop receipt key > portal.pub\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN, or --url and --token-file."
    )]
    Key(Key),
}

#[derive(Args, Debug)]
struct Get {
    /// The request, req_…
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct List {
    /// Only receipts with a higher number
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Key {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Verify {
    /// The receipt, `-` for standard input
    file: PathBuf,
    /// The portal's public key, 32 bytes in hex
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(receipts: Receipts) -> Outcome {
    match receipts.action {
        Action::Get(get) => process::block_on(async {
            let receipt = Api::of(&get.remote)?.get(&["requests", &get.id, "deletion-receipt"], &[]).await?;
            let signed = receipt["signed"]
                .as_str()
                .ok_or_else(|| Failure::new("the portal's receipt has no signed text"))?;
            if get.remote.json() {
                output::json(&receipt)
            } else {
                output::write(signed)
            }
        }),
        Action::Key(key) => process::block_on(async {
            let answer = Api::of(&key.remote)?.get(&["receipt-key"], &[]).await?;
            let text = answer["public_key"]
                .as_str()
                .ok_or_else(|| Failure::new("the portal names no public key"))?;
            if key.remote.json() {
                output::json(&answer)
            } else {
                output::line(text)
            }
        }),
        Action::List(list) => process::block_on(all(&list)),
        Action::Verify(given) => verify(&given),
    }
}

async fn all(list: &List) -> Outcome {
    let api = Api::of(&list.remote)?;
    let mut after = Some(list.after);
    while let Some(from) = after {
        let page = api
            .get(&["deletion-receipts"], &[("after", &from.to_string()), ("limit", "1000")])
            .await?;
        page["receipts"].as_array().into_iter().flatten().try_for_each(output::json)?;
        after = page["next_after"].as_u64().filter(|next| *next > from);
    }
    Ok(())
}

fn verify(given: &Verify) -> Outcome {
    let expected = given.public_key.as_deref().map(public_key).transpose()?;
    let text = signed_text(&read(&given.file)?);
    if statement::is_statement(&text) {
        let verified = statement::verify(&text, expected.as_ref()).map_err(|e| Failure::new(format!("{}: {e}", given.file.display())))?;
        return report_statement(&verified, expected.is_some(), given.format.json);
    }
    let verified = receipt::verify(&text, expected.as_ref()).map_err(|e| Failure::new(format!("{}: {e}", given.file.display())))?;
    report(&verified, expected.is_some(), given.format.json)
}

fn public_key(text: &str) -> Outcome<[u8; 32]> {
    let bytes = HEXLOWER_PERMISSIVE
        .decode(text.trim().as_bytes())
        .ok()
        .and_then(|b| b.try_into().ok());
    bytes.ok_or_else(|| Failure::new("--public-key must be 32 bytes in hex, as `nightdrop receipt key` prints them"))
}

fn read(file: &Path) -> Outcome<String> {
    let failed = |e: std::io::Error| Failure::new(format!("{}: {e}", file.display()));
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(file)
            .and_then(|f| f.take(LONGEST).read_to_string(&mut text))
            .map_err(failed)?;
    }
    Ok(text)
}

/// The text itself, or the field of the API's JSON that holds it.
fn signed_text(text: &str) -> String {
    let json: Option<Value> = serde_json::from_str(text).ok();
    json.as_ref().and_then(|j| j["signed"].as_str()).unwrap_or(text).to_owned()
}

fn report(verified: &VerifiedReceipt, known: bool, as_json: bool) -> Outcome {
    let receipt = &verified.receipt;
    let erasure = &receipt.erasure;
    let at = |t: time::OffsetDateTime| t.format(&Rfc3339).unwrap_or_default();
    let signer = data_encoding::HEXLOWER.encode(&verified.signed_by);
    if as_json {
        return output::json(&json!({
            "verified": true,
            "signer_known": known,
            "signed_by": signer,
            "number": receipt.number,
            "request": erasure.request.to_string(),
            "document": erasure.document.to_string(),
            "cause": erasure.cause,
            "class": erasure.class,
            "method": erasure.method,
            "parts": erasure.parts,
            "received_at": at(erasure.received_at),
            "erased_at": at(erasure.erased_at),
            "purged_at": at(erasure.purged_at),
        }));
    }
    output::line(format_args!("✓ deletion receipt {} is as it was signed", receipt.number))?;
    let rows = [
        ("Request", erasure.request.to_string()),
        (
            "Document",
            format!(
                "{} ({})",
                erasure.document,
                output::count(u64::from(erasure.parts), "part", "parts")
            ),
        ),
        ("Received", at(erasure.received_at)),
        ("Erased", format!("{}  unreadable from here on", at(erasure.erased_at))),
        ("Purged", at(erasure.purged_at)),
        ("Cause", erasure.cause.clone()),
        ("Class", erasure.class.clone()),
        ("Method", erasure.method.clone()),
        ("Signed by", signer),
    ];
    for (name, value) in rows {
        output::line(format_args!("  {name:<11}{}", output::plain(&value)))?;
    }
    whose(known)
}

fn whose(known: bool) -> Outcome {
    if known {
        return output::line("  The signer is the portal whose public key you gave.");
    }
    output::line("  Whose key that is, this file cannot say: compare it with the portal's, or give it with --public-key.")
}

fn report_statement(verified: &VerifiedStatement, known: bool, as_json: bool) -> Outcome {
    let signer = data_encoding::HEXLOWER.encode(&verified.signed_by);
    if as_json {
        let lines: Vec<_> = verified
            .lines
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        return output::json(&json!({"verified": true, "signer_known": known, "signed_by": signer, "statement": lines}));
    }
    output::line("✓ the erasure statement is as it was signed")?;
    for (name, value) in &verified.lines {
        output::line(format_args!("  {:<11}{}", output::plain(name), output::plain(value)))?;
    }
    output::line(format_args!("  {:<11}{signer}", "signed-by"))?;
    whose(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_taken_out_of_json() {
        assert_eq!(signed_text("nightdrop deletion receipt v1\n"), "nightdrop deletion receipt v1\n");
        assert_eq!(signed_text("{\"signed\": \"a\\nb\\n\", \"number\": 1}"), "a\nb\n");
        assert_eq!(signed_text("{}"), "{}");
    }
}
