//! The data folder: who may look into it, whether keys, slots and store are whole, what an erasure is worth there, and how much room is left.

use std::cmp::Ordering;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::Findings;
use super::codes::Code;
use crate::app::identity::Survey;
use crate::app::{Layout, data_folder};
use crate::chain::chain;
use crate::config::privacy_of;
use crate::config::{Config, StoreSettings};
use crate::crypto::assurance::{self, Assurance, AssuranceClass, Watch};
use crate::crypto::erase::ErasureStore;
use crate::crypto::keyfile::Protection;
use crate::crypto::keyring::Keyring;
use crate::crypto::private_file;
use crate::crypto::secrets::PortalSecrets;
use crate::crypto::slots::SlotsFile;
use crate::storage::files;
use crate::storage::sled::ballast::free_space;
use crate::storage::sled::durable::{DurableSled, Options};
use crate::storage::sled::error::StoreError;

/// Percent of the disk below which somebody should look.
const LITTLE: u8 = 10;
/// What a store may take beyond three times its records before the doctor speaks of it.
const REUSABLE: u64 = 128 << 20;
/// A file from so far in the future was written under another clock.
const AHEAD: i64 = 60;

/// `held`: whether a running portal has the database, where there is one.
pub(super) fn look(config: &Config, held: bool, findings: &mut Findings) {
    let layout = Layout::of(config);
    if !layout.secrets.exists() {
        findings.wrong(
            Code::NoPortal,
            format!("{} holds no portal", config.data_dir.display()),
            "run `nightdrop init`, or fix data_dir",
        );
        return;
    }
    let mut folders = vec![&config.data_dir, &layout.keys, &layout.erasure];
    let mend = match &config.store {
        StoreSettings::Embedded => {
            folders.push(&layout.documents);
            "put it back; if it is lost for good, `nightdrop recover` says what that costs"
        }
        StoreSettings::Postgres(_) => "put it back; docs/operations/postgresql.md says what its loss means",
    };
    for folder in folders {
        private(folder, findings);
    }
    for folder in [&config.data_dir, &layout.keys, &layout.erasure] {
        memory(folder, config.accept_volatile_data, findings);
    }
    if let Some(command) = data_folder::unfinished(&layout) {
        findings.wrong(
            Code::Unfinished,
            format!("a `nightdrop {command}` was cut off"),
            format!("run `nightdrop {command}` again"),
        );
    }
    let survey = Survey::of(&layout);
    if let Some(mismatch) = survey.mismatch(&layout) {
        let (text, fix) = mismatch.split_once(": ").unwrap_or((&mismatch, "look at data_dir and [database]"));
        return findings.wrong(Code::StoreMismatch, text, fix);
    }
    for fault in survey.faults(&layout) {
        findings.wrong(Code::PartMissing, fault, mend);
    }
    keys(config, &layout, findings);
    // Before the store and the slots are touched.
    times(&layout, findings);
    let held = match &config.store {
        StoreSettings::Embedded => store(&layout, findings),
        StoreSettings::Postgres(_) => held,
    };
    slots(config, &layout, held, findings);
    room(config, &layout, findings);
}

fn private(folder: &Path, findings: &mut Findings) {
    let Ok(status) = std::fs::metadata(folder) else {
        findings.wrong(
            Code::FolderUnseen,
            format!("{} cannot be looked at", folder.display()),
            "run the doctor as the user that the portal runs as",
        );
        return;
    };
    let us = rustix::process::geteuid().as_raw();
    if status.uid() != us {
        let text = format!("{} belongs to user {}, and this is user {us}", folder.display(), status.uid());
        findings.wrong(
            Code::FolderOwner,
            text,
            "run the doctor as the portal's user (runuser -u nightdrop -- nightdrop doctor …), or chown -R nightdrop: the folder",
        );
    } else if status.mode() & 0o077 != 0 {
        let text = format!("{} has mode {:04o}: others may look in", folder.display(), status.mode() & 0o7777);
        findings.wrong(Code::FolderOpen, text, format!("chmod 0700 {}", folder.display()));
    } else {
        findings.good("folders", format!("{} is private", folder.display()));
    }
}

/// A folder that the machine's next start empties: with its records, or with what opens the documents.
fn memory(folder: &Path, accepted: bool, findings: &mut Findings) {
    match assurance::is_volatile(folder) {
        Ok(true) if accepted => findings.note(
            Code::FolderInMemory,
            format!("{} lies in memory", folder.display()),
            "accepted by accept_volatile_data; move it to a disk to keep anything over a restart of the machine",
        ),
        Ok(true) => findings.wrong(
            Code::FolderInMemory,
            format!(
                "{} lies in memory (tmpfs): the machine's next start ends what is in it",
                folder.display()
            ),
            "move it to a disk (data_dir, keys.folder, erasure.folder), or set accept_volatile_data = true to try it all the same",
        ),
        // A folder that cannot be looked at is reported already.
        Ok(false) | Err(_) => {}
    }
}

fn keys(config: &Config, layout: &Layout, findings: &mut Findings) {
    match PortalSecrets::load(&layout.secrets) {
        Ok(_) => findings.good("keys", "the portal's secrets are whole and private"),
        Err(error) => findings.wrong(
            Code::KeysUnusable,
            chain(&error).to_string(),
            format!("chmod 0400 {}, or restore it", layout.secrets.display()),
        ),
    }
    let kek = config.keys.kek_file.clone().unwrap_or_else(|| layout.kek.clone());
    match Keyring::open(&layout.keys) {
        Err(error) => findings.wrong(
            Code::KeysUnusable,
            chain(&error).to_string(),
            format!("fix the files in {}", layout.keys.display()),
        ),
        Ok(keyring) => {
            if let Some(Err(error)) = config.keys.credential_file.as_ref().map(|file| keyring.attach_credential(file)) {
                findings.wrong(
                    Code::KeysUnusable,
                    format!("keys.credential_file: {}", chain(&error)),
                    "look at LoadCredentialEncrypted= in the unit, or fix keys.credential_file",
                );
            }
            let current = keyring.status().into_iter().find(|k| k.current);
            match current.and_then(|k| k.protection) {
                Some(Protection::Kek) => opener("keys.kek_file", &kek, findings),
                Some(Protection::Passphrase) => match &config.keys.passphrase_file {
                    Some(file) => opener("keys.passphrase_file", file, findings),
                    None => findings.note(
                        Code::KeysLocked,
                        "the vault key has a passphrase that no file holds: the portal starts locked",
                        "after each start, run `nightdrop key unlock`",
                    ),
                },
                Some(Protection::None) => findings.good("keys", "the vault key is handed over by the service manager"),
                None => findings.wrong(
                    Code::KeysAbsent,
                    "the current vault key's private half is not here",
                    "restore it: without it nothing can be forwarded. A key that systemd hands over is there in its service only: run the doctor with systemd-run and the same LoadCredentialEncrypted=",
                ),
            }
        }
    }
}

/// The file that opens the vault key by itself.
fn opener(key: &str, path: &Path, findings: &mut Findings) {
    match private_file::open_checked(path, privacy_of(path), std::fs::OpenOptions::new().read(true)) {
        Ok(_) => findings.good("keys", format!("{} opens the vault key at start", path.display())),
        Err(error) => findings.wrong(
            Code::KeysUnusable,
            format!("{key}: {}", chain(&error)),
            format!("chmod 0400 {}, or restore it", path.display()),
        ),
    }
}

/// Whether a running portal has it.
fn store(layout: &Layout, findings: &mut Findings) -> bool {
    if !layout.store.exists() {
        findings.wrong(
            Code::StoreMissing,
            format!("{} is missing", layout.store.display()),
            "restore it from a backup",
        );
        return false;
    }
    match DurableSled::open(&layout.store, Options::default()) {
        Ok(store) => {
            findings.good("store", "it opens, and its log writes reach the disk");
            reusable(&store, findings);
        }
        Err(StoreError::Held) => {
            findings.good("store", "a running portal holds it");
            return true;
        }
        Err(error) => {
            let fix = match error {
                StoreError::NotDurable(_) => "move data_dir to a local disk",
                StoreError::Full { .. } => "make room on the disk",
                _ => "look at the disk; restore from a backup if it is damaged",
            };
            findings.wrong(Code::StoreUnusable, chain(&error).to_string(), fix);
        }
    }
    false
}

/// A log that is far larger than what stands in it. Less is used again in time.
fn reusable(store: &DurableSled, findings: &mut Findings) {
    let Ok((bytes, taken)) = store.measure() else { return };
    if taken > REUSABLE.saturating_add(bytes.saturating_mul(3)) {
        findings.note(
            Code::StoreReusable,
            format!(
                "it takes {} MiB for {} MiB of records; the rest is used again",
                taken >> 20,
                bytes.div_ceil(1 << 20)
            ),
            "nothing to do; whoever wants the room back at once runs `nightdrop compact` before the next start",
        );
    }
}

fn slots(config: &Config, layout: &Layout, held: bool, findings: &mut Findings) {
    // The canary needs the file for itself; while a portal has it, that portal's own self-test has passed.
    let judged = if held {
        assurance::from_outside(&layout.slots)
    } else {
        SlotsFile::open(&layout.slots, None).and_then(|slots| {
            match slots.free()? {
                0 => findings.wrong(
                    Code::NoSlot,
                    "no slot is free: no document can be taken",
                    "deliver or purge what is held",
                ),
                free => findings.good("erasure", format!("{free} submissions can be taken")),
            }
            let report = slots.report();
            let wanted = config.erasure_slots;
            match wanted.cmp(&report.slots) {
                Ordering::Greater => findings.note(
                    Code::SlotsToCome,
                    format!("the file has {} slots, and erasure.slots is {wanted}", report.slots),
                    format!(
                        "nothing to do: the next start makes it longer, by {} MiB",
                        (wanted - report.slots).div_ceil(256)
                    ),
                ),
                Ordering::Less => findings.note(
                    Code::SlotsFewer,
                    format!("the file has {} slots, and erasure.slots is {wanted}", report.slots),
                    format!("it never gets shorter: set erasure.slots = {}", report.slots),
                ),
                Ordering::Equal => {}
            }
            if report.damaged > 0 {
                findings.wrong(
                    Code::SlotsDamaged,
                    format!("{} slots fail their check: what they belong to cannot be opened", report.damaged),
                    "look at the disk; the next start says which documents are lost",
                );
            }
            Watch::begin(&layout.slots, &slots, None).map(|watch| watch.current())
        })
    };
    match judged {
        Ok(assurance) => class(config, &assurance, findings),
        Err(error) => findings.wrong(
            Code::SlotsUnusable,
            chain(&error).to_string(),
            "restore the slots file's place and mode; a lost one is lost with the documents not yet delivered",
        ),
    }
}

fn class(config: &Config, assurance: &Assurance, findings: &mut Findings) {
    let text = format!(
        "class {} on {}: {}",
        assurance.class,
        assurance.file_system,
        assurance.reasons.join(" ")
    );
    match assurance.class {
        AssuranceClass::C if config.accept_weak_erasure => findings.note(
            Code::ErasureWeak,
            text,
            "accepted by erasure.accept_weak; move data_dir to ext4 or XFS for more",
        ),
        AssuranceClass::C => findings.wrong(
            Code::ErasureWeak,
            text,
            "move data_dir to ext4 or XFS, or set erasure.accept_weak = true",
        ),
        AssuranceClass::A | AssuranceClass::B => findings.good("erasure", text.trim_end_matches([':', ' '])),
    }
}

/// As the portal itself counts it when it says whether it is ready.
fn room(config: &Config, layout: &Layout, findings: &mut Findings) {
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let free = match free_space(&config.data_dir) {
        Err(error) => {
            let text = format!("{}: {error}", config.data_dir.display());
            return findings.wrong(Code::RoomUnknown, text, "look at the disk");
        }
        Ok(free) => free,
    };
    // The folder of the documents may be gone, which is told elsewhere.
    let documents = if layout.documents.exists() {
        &layout.documents
    } else {
        &config.data_dir
    };
    if !files::room_for(documents, config.limits.max_file) {
        findings.wrong(
            Code::NoRoom,
            format!(
                "{} are free, {} %: no document is taken, and the portal is not ready",
                gib(free.bytes),
                free.percent
            ),
            format!(
                "make room on the disk of {} (df -h), or move data_dir to a larger one",
                config.data_dir.display()
            ),
        );
    } else if free.percent < LITTLE {
        findings.note(
            Code::LittleRoom,
            format!("{} are free, {} %", gib(free.bytes), free.percent),
            format!("make room in time on the disk of {} (df -h)", config.data_dir.display()),
        );
    } else {
        findings.good("room", format!("{} are free", gib(free.bytes)));
    }
}

/// Files from the future mean that the clock has been set back, or was wrong then.
fn times(layout: &Layout, findings: &mut Findings) {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let sled = layout.store.join("sled");
    let files: Vec<PathBuf> = [&layout.slots, &layout.secrets]
        .into_iter()
        .cloned()
        .chain(children(&layout.store))
        .chain(children(&sled))
        .collect();
    let newest = files
        .iter()
        .filter_map(|f| std::fs::metadata(f).ok())
        .map(|m| m.mtime())
        .max()
        .unwrap_or(now);
    if newest > now + AHEAD {
        let text = format!(
            "files of the portal are {} s younger than now: the clock was set back, or was ahead",
            newest - now
        );
        findings.wrong(
            Code::ClockFuture,
            text,
            "set the clock and keep it right with NTP: until then the portal goes on from the latest time that it knew, and says so in its log",
        );
    }
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}
