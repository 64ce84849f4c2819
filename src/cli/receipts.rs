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

/// A receipt in JSON is far smaller.
const LONGEST: u64 = 64 * 1024;

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
    /// Check a receipt offline: the text, or the JSON that the API gives
    #[command(
        after_help = "Example:\n  nightdrop receipt verify receipt.txt --public-key 5f3a…\n\nThe public key is what `nightdrop receipt key` prints; keep a copy apart from the portal.\nWithout it this only shows that the receipt was not changed since somebody signed it."
    )]
    Verify(Verify),
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
        Action::Verify(given) => verify(&given),
    }
}

fn verify(given: &Verify) -> Outcome {
    let expected = given.public_key.as_deref().map(public_key).transpose()?;
    let text = signed_text(&read(&given.file)?);
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
    if known {
        return output::line("  The signer is the portal whose public key you gave.");
    }
    output::line("  Whose key that is, this file cannot say: compare it with the portal's, or give it with --public-key.")
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
