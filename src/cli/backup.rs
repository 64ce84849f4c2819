//! `nightdrop backup`: one encrypted file with everything of a portal that a backup may hold; and checking such a file.
//!
//! A running portal is asked through its API and goes on meanwhile; a stopped one is read from its folder. The file appears under its name when it is whole, for its
//! owner alone, and replaces nothing unless that is said.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::client::{Api, Remote};
use super::output::{self, Failure, Outcome};
use super::{ask, process};
use crate::app::{Layout, StartError, data_folder};
use crate::chain::chain;
use crate::config::{Config, StoreSettings};
use crate::crypto::archive::{Lock, Opener};
use crate::crypto::private_file;
use crate::domain::agent::Actor;
use crate::storage::clock::Source;
use crate::storage::{AuditLog, RequestStore};
use crate::workflow::WorkflowError;
use crate::workflow::backup;
use crate::workflow::backup::read::BackupFile;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop backup /mnt/backup/portal.age --recipient age1…
  nightdrop backup - --recipient age1… | ssh vault 'cat > portal.age'
  nightdrop backup portal.age --config /etc/nightdrop/nightdrop.toml
  nightdrop backup --verify portal.age --identity identity.txt

With NIGHTDROP_URL (or --url) and NIGHTDROP_TOKEN, a key with the scope admin, a running portal is asked; with --config, or without an address, the folder of a
stopped one is read. Documents and erasure secrets are never in a backup: what is held when a portal is lost is asked for again.
docs/operations/backup.md says what, how often and where, and how to try it.")]
pub(super) struct Backup {
    /// Where to write it; `-` for standard output
    #[arg(required_unless_present_any = ["verify", "show_configuration"])]
    file: Option<PathBuf>,
    /// Check a backup from end to end, and say what it holds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "recipient", "overwrite"])]
    verify: Option<PathBuf>,
    /// Print the configuration that a backup holds, after checking it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "verify", "recipient", "overwrite"])]
    show_configuration: Option<PathBuf>,
    /// Whom it is for: an age recipient, age1…; again for more [default: backup.recipients of the configuration]
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// A file with the passphrase, `-` for standard input [default: asked for, where there are no recipients]
    #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
    passphrase_file: Option<PathBuf>,
    /// The age identity that opens it, as age-keygen writes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "passphrase_file"])]
    identity: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    /// The configuration of a stopped portal [default: NIGHTDROP_CONFIG, else ./nightdrop.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(given: &Backup) -> Outcome {
    let opener = || opener(given.identity.as_deref(), given.passphrase_file.as_deref());
    if let Some(file) = &given.verify {
        return verify(&read(file, opener()?), given.remote.json());
    }
    if let Some(file) = &given.show_configuration {
        return show_configuration(&read(file, opener()?));
    }
    let Some(file) = &given.file else {
        return Err(Failure::new("where to? Name a file, or - for standard output"));
    };
    if given.identity.is_some() {
        return Err(Failure::new(
            "--identity opens a backup: it goes with --verify; whom a new one is for, --recipient says",
        ));
    }
    let target = Target::new(file, given.overwrite)?;
    process::block_on(async {
        match given.config.is_none() && given.remote.is_named() {
            true => running(given, target).await,
            false => stopped(given, target).await,
        }
    })
}

/// A backup that shows how far it was read.
pub(super) fn read(file: &Path, opener: Opener) -> BackupFile {
    BackupFile::new(file, opener, output::Progress::telling("reading the backup"))
}

async fn running(given: &Backup, mut target: Target) -> Outcome {
    let api = Api::of(&given.remote)?;
    let mut body = Map::new();
    if !given.recipient.is_empty() {
        body.insert("recipients".to_owned(), json!(given.recipient));
    } else if let Some(passphrase) = passphrase(given.passphrase_file.as_deref())? {
        body.insert("passphrase".to_owned(), json!(&*passphrase));
    }
    let body = Value::Object(body);
    let done = api.download(&["backup"], &body, |piece| target.write_all(piece).map_err(|e| target_failed(&e)));
    done.await?;
    target.finish(given.remote.json())
}

async fn stopped(given: &Backup, target: Target) -> Outcome {
    let config = process::load(given.config.as_deref())?;
    if let StoreSettings::Postgres(_) = &config.store {
        return Err(Failure::new(format!(
            "{}; docs/operations/postgresql.md says how, and what to keep of the data folder",
            WorkflowError::BackedUpByDatabase
        )));
    }
    let lock = lock(given, &config)?;
    let layout = Layout::of(&config);
    let portal = data_folder::check(&layout)?;
    let secrets = data_folder::load_secrets(&layout)?;
    let store = data_folder::open_store(&layout, portal, Source::System, &secrets).map_err(|error| match error {
        StartError::InUse(why) | StartError::Unavailable(why) => Failure::new(format!(
            "{why}; if a portal runs here, set NIGHTDROP_URL and NIGHTDROP_TOKEN: it gives the backup itself"
        )),
        other => other.into(),
    })?;
    let sources = data_folder::sources(&config, &layout, portal);
    let files = backup::files(&sources)?;
    store.append(backup::taken(store.now(), Actor::Operator, &lock)).await?;
    let prepared = backup::prepare(&sources, files, &store, store.now())?;
    let at = prepared.at;
    let target = backup::write(prepared, &lock, target).map_err(|e| target_failed(&e))?;
    target.finish(given.remote.json())?;
    backup::note_last(&store, at);
    Ok(())
}

fn target_failed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new("whoever reads the backup has gone away before its end"),
        _ => Failure::new(format!("the backup cannot be written: {}", chain(error))),
    }
}

/// Whom a backup of a stopped portal is for.
fn lock(given: &Backup, config: &Config) -> Outcome<Lock> {
    let asks = given.recipient.is_empty() && config.backup_recipients.is_empty();
    let passphrase = match (asks, &given.passphrase_file) {
        (_, Some(file)) => Some(ask::from_file(file)?),
        (true, None) if ask::somebody() => Some(ask::new_secret("A passphrase for the backup")?),
        (_, None) => None,
    };
    backup::allowed(&config.backup_recipients, passphrase, &given.recipient).map_err(|error| {
        let hint = if asks { "; give --recipient or --passphrase-file" } else { "" };
        Failure::new(format!("{}{hint}", chain(&error)))
    })
}

/// For a running portal, which may know recipients itself.
fn passphrase(file: Option<&Path>) -> Outcome<Option<Zeroizing<String>>> {
    if let Some(file) = file {
        return ask::from_file(file).map(Some);
    }
    if !ask::somebody() {
        return Ok(None);
    }
    loop {
        let first = ask::secret("A passphrase for the backup (empty: the recipients of the portal's configuration)")?;
        if first.is_empty() {
            return Ok(None);
        }
        if *first == *ask::secret("The same again")? {
            return Ok(Some(first));
        }
        ask::say("These two differ.\n")?;
    }
}

/// What opens a backup: an identity file, or a passphrase from a file or a person.
pub(super) fn opener(identity: Option<&Path>, passphrase_file: Option<&Path>) -> Outcome<Opener> {
    if let Some(file) = identity {
        let text = ask::from_file(file)?;
        let none = || Failure::new(format!("{} holds no age identity (AGE-SECRET-KEY-1…)", file.display()));
        return Opener::identities(&text).ok_or_else(none);
    }
    let passphrase = match passphrase_file {
        Some(file) => ask::from_file(file)?,
        None if ask::somebody() => ask::secret("The backup's passphrase")?,
        None => {
            return Err(Failure::new(
                "nobody can be asked what opens the backup: give --identity or --passphrase-file",
            ));
        }
    };
    Ok(Opener::Passphrase(passphrase))
}

fn verify(file: &BackupFile, as_json: bool) -> Outcome {
    let contents = file.verify().map_err(|e| Failure::new(chain(&e).to_string()))?;
    let (head, counts) = (&contents.head, &contents.counts);
    let portal = data_encoding::HEXLOWER.encode(&head.portal);
    let fit = head.layout == crate::app::identity::LAYOUT;
    if as_json {
        output::json(&json!({
            "verified": contents.faults.is_empty(), "faults": contents.faults,
            "portal": portal, "layout": head.layout, "taken_at": head.taken_at,
            "audit": {"sequence": head.audit, "hash": data_encoding::HEXLOWER.encode(&head.audit_hash)},
            "rows": counts.rows, "requests": counts.requests, "receipts": counts.receipts,
            "accounts": counts.accounts, "api_keys": counts.api_keys, "files": contents.files.keys().collect::<Vec<_>>(),
        }))?;
    } else {
        output::line(format_args!(
            "✓ read to its end: portal {portal}, taken at {}",
            output::plain(&head.taken_at)
        ))?;
        output::line(format_args!(
            "  {} requests, {} accounts, {} API keys, {} deletion receipts, audit log up to entry {}",
            counts.requests, counts.accounts, counts.api_keys, counts.receipts, head.audit
        ))?;
        let names: Vec<&str> = contents.files.keys().map(String::as_str).collect();
        output::line(format_args!("  {}", names.join(", ")))?;
        if !fit {
            output::line(format_args!(
                "  It has layout {}: use the version of nightdrop that wrote it",
                head.layout
            ))?;
        }
    }
    match contents.faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "the backup is as it was taken, but what it holds was changed in the portal before: {}",
            contents.faults.join("; ")
        ))),
    }
}

fn show_configuration(file: &BackupFile) -> Outcome {
    let contents = file.verify().map_err(|e| Failure::new(chain(&e).to_string()))?;
    let text = contents.configuration().and_then(|text| std::str::from_utf8(text).ok());
    output::write(text.ok_or_else(|| Failure::new("the backup holds no configuration"))?)
}

/// Where a backup goes.
struct Target {
    out: Out,
    length: u64,
    /// How long it will be, nobody knows before its end.
    progress: output::Progress,
}

enum Out {
    Standard(io::Stdout),
    File(NewFile),
}

/// A file under another name until it is whole; gone if it never is.
struct NewFile {
    file: File,
    fresh: PathBuf,
    path: PathBuf,
    overwrite: bool,
    kept: bool,
}

impl Target {
    fn new(path: &Path, overwrite: bool) -> Outcome<Self> {
        let out = match path == Path::new("-") {
            true if io::stdout().is_terminal() => {
                return Err(Failure::new(
                    "a backup is no text for a terminal: send standard output to a file or a command",
                ));
            }
            true => Out::Standard(io::stdout()),
            false => Out::File(NewFile::new(path, overwrite)?),
        };
        Ok(Self {
            out,
            length: 0,
            progress: output::Progress::alone(),
        })
    }

    fn finish(mut self, as_json: bool) -> Outcome {
        self.flush().map_err(|e| target_failed(&e))?;
        drop(self.progress);
        let length = self.length;
        let Out::File(file) = self.out else { return Ok(()) };
        let path = file.path.clone();
        file.finish()?;
        if as_json {
            return output::json(&json!({"file": path, "bytes": length}));
        }
        output::line(format_args!("✓ {} ({} KiB)", path.display(), length.div_ceil(1024)))?;
        output::line(format_args!(
            "  Check it where it is kept: nightdrop backup --verify {}",
            path.display()
        ))
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.out {
            Out::Standard(out) => out.write(bytes)?,
            Out::File(new) => new.file.write(bytes)?,
        };
        self.length += written as u64;
        self.progress.at(format_args!("{} KiB", self.length >> 10));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Standard(out) => out.flush(),
            Out::File(new) => new.file.flush(),
        }
    }
}

impl NewFile {
    fn new(path: &Path, overwrite: bool) -> Outcome<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| Failure::new(format!("{} is no file's name", path.display())))?;
        if !overwrite && std::fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
        let mut fresh = std::ffi::OsString::from(".");
        fresh.push(name);
        fresh.push(format!(".{}.part", std::process::id()));
        let fresh = path.with_file_name(fresh);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
        Ok(Self {
            file: file.map_err(|e| Failure::new(format!("{}: {e}", fresh.display())))?,
            fresh,
            path: path.to_owned(),
            overwrite,
            kept: false,
        })
    }

    fn finish(mut self) -> Outcome {
        let failed = |e: io::Error| Failure::new(format!("{}: {e}", self.path.display()));
        self.file.sync_all().map_err(failed)?;
        match self.rename() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&self.path)),
            Err(error) => return Err(failed(error)),
            Ok(()) => {}
        }
        private_file::sync_parent(&self.path).map_err(failed)?;
        self.kept = true;
        Ok(())
    }

    fn rename(&self) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if self.overwrite {
            return std::fs::rename(&self.fresh, &self.path);
        }
        match renameat_with(CWD, &self.fresh, CWD, &self.path, RenameFlags::NOREPLACE) {
            // A file system that cannot do both at once: somebody else's file was looked for before.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if std::fs::symlink_metadata(&self.path).is_err() => {
                std::fs::rename(&self.fresh, &self.path)
            }
            other => other.map_err(Into::into),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.fresh);
        }
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(format!(
        "{} exists already and is not overwritten: choose another name, or say --overwrite",
        path.display()
    ))
}
