//! The data folder of one portal: where its parts lie, how they are made, and how they are opened at start. Only `init` and `recover` make parts: a start that finds one
//! missing, foreign or behind refuses, and changes nothing.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::identity::{Condition, Label, Part, PortalId, Survey};
use super::layout::{Layout, StoreKind};
use super::slots_growth::{self, PLACE};
use super::vault_key::{KeyProtection, make_key};
use super::{StartError, refused, store_failed};
use crate::chain::chain;
use crate::config::Config;
use crate::crypto::assurance::{self, AssuranceClass, Watch};
use crate::crypto::envelope::Suite;
use crate::crypto::erase::EraseError;
use crate::crypto::keyring::Keyring;
use crate::crypto::private_file;
use crate::crypto::secrets::PortalSecrets;
use crate::crypto::slots::SlotsFile;
use crate::settings::ConfigError;
use crate::storage::backend::Backend;
use crate::storage::clock::Source;
use crate::storage::files::FileStore;
use crate::storage::seal::{MAC_LEN, Seal};
use crate::storage::sled::SledStore;
use crate::storage::sled::durable::Options;
use crate::storage::sled::error::{MarkStanding, StoreError};
use crate::storage::sled::mark::{Mark, MarkFile};
use crate::workflow::backup::Sources;
use crate::workflow::seal::RowSeal;

/// Rows of the store that bind it to its portal and to its slots file.
pub(super) const PORTAL_ROW: &str = "portal";
pub(super) use super::slots_growth::SLOTS_ROW;

/// What backup tools look for before they leave a folder out.
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# Erasure slots must be in no backup: a copy keeps documents readable that were purged since.
";

/// What to do about a part that is not there. `more`: what `recover` needs to be told.
fn way_out(layout: &Layout, more: &str) -> String {
    format!(
        "If a disk is not mounted or a copy is not complete, fix that and start again; if it is lost for good, `{}` says what that costs and makes the portal work \
        again; with a backup, add --from FILE (docs/operations/recovery.md)",
        layout.recover_with(more)
    )
}

/// The same where the records are in a database.
const IN_POSTGRES: &str = "If a disk is not mounted or a copy is not complete, fix that and start again; what is lost for good of this folder is not made anew \
    while the records are in PostgreSQL (docs/operations/postgresql.md says what that means)";

/// What to do about a store that is not at its mark. `more`: what `recover` needs to be told; a store that can be used is not given up for it.
pub(super) fn behind(layout: &Layout, more: &str) -> String {
    if layout.kind == StoreKind::Postgres {
        return "An older copy of the database was put in its place: restore a newer one and start again; if there is none, docs/operations/postgresql.md says what going on \
            from this one means"
            .to_owned();
    }
    format!(
        "Its log is damaged, or an older copy of it was put in its place: put the right one back and start again; if there is none, `{}` says what that costs and \
        goes on from what is here; with a newer backup, add --from FILE (docs/operations/recovery.md)",
        layout.recover_with(more)
    )
}

/// Makes every part of a new portal that is in its data folder. Refuses to touch what exists.
pub fn create(config: &Config, protection: &KeyProtection, suite: Suite) -> Result<(), StartError> {
    let layout = Layout::of(config);
    refuse_memory(config)?;
    let survey = Survey::of(&layout);
    if let Some(mismatch) = survey.mismatch(&layout) {
        return Err(StartError::Refused(mismatch));
    }
    if let Some((part, _)) = survey.parts.iter().find(|(part, condition)| !is_free(*part, condition)) {
        return Err(StartError::Refused(format!(
            "{} already holds a portal ({}); choose another data_dir, or start it with `nightdrop serve`",
            config.data_dir.display(),
            part.place(&layout).display()
        )));
    }
    private_folder(&layout.data).map_err(|e| refused(&layout.data.display().to_string())(&e))?;
    let portal = PortalId::random().map_err(|e| refused("the portal's id")(&e))?;
    make_keys_folder(&layout, portal)?;
    PortalSecrets::create(&layout.secrets, &portal.0).map_err(|e| refused("the portal's secrets cannot be made")(&e))?;
    make_key(config, &layout, protection, suite)?;
    if layout.kind == StoreKind::Postgres {
        return make_slots(config, &layout, portal).map(drop);
    }
    make_documents(&layout, portal)?;
    let slots = make_slots(config, &layout, portal)?;
    make_store(&layout, portal, slots, &load_secrets(&layout)?)?;
    MarkFile::create(&layout.mark, &portal.0, &Mark::default()).map_err(|e| refused(&layout.mark.display().to_string())(&e))
}

/// Whether a part can be made: a keys folder of somebody's own may be there already.
fn is_free(part: Part, condition: &Condition) -> bool {
    *condition == Condition::Missing || (part == Part::Keys && matches!(condition, Condition::Damaged(_)))
}

/// The label of a folder of this data folder's.
fn label(layout: &Layout, portal: PortalId) -> Label {
    Label {
        store: layout.kind,
        ..Label::of(portal)
    }
}

pub(super) fn make_keys_folder(layout: &Layout, portal: PortalId) -> Result<(), StartError> {
    labelled(&layout.keys, &label(layout, portal))
}

pub(super) fn make_documents(layout: &Layout, portal: PortalId) -> Result<(), StartError> {
    labelled(&layout.documents, &Label::of(portal))
}

fn labelled(folder: &Path, label: &Label) -> Result<(), StartError> {
    let failed = |e: &(dyn Error + 'static)| StartError::Refused(format!("{}: {}", folder.display(), chain(e)));
    private_folder(folder).map_err(|e| failed(&e))?;
    label.write(folder).map_err(|e| failed(&e))?;
    private_file::sync_parent(folder).map_err(|e| failed(&e))
}

/// A new slots file in a folder that backup tools leave out; returns its uuid. It appears under its name when it is whole.
pub(super) fn make_slots(config: &Config, layout: &Layout, portal: PortalId) -> Result<[u8; 16], StartError> {
    labelled(&layout.erasure, &label(layout, portal))?;
    let failed = |e: &(dyn Error + 'static)| StartError::Refused(format!("the erasure slots cannot be made: {}", chain(e)));
    private_file::put(&layout.erasure.join("CACHEDIR.TAG"), CACHE_TAG.as_bytes(), 0o400).map_err(|e| failed(&e))?;
    let fresh = layout.erasure.join("erase.slots.new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
        _ => {}
    }
    let uuid = SlotsFile::create(&fresh, config.erasure_slots).map_err(|e| failed(&e))?;
    std::fs::rename(&fresh, &layout.slots)
        .and_then(|()| private_file::sync_parent(&layout.slots))
        .map_err(|e| failed(&e))?;
    Ok(uuid)
}

/// A new empty store whose documents have their secrets in that slots file. Its label comes last: a half-made one is none.
pub(super) fn make_store(layout: &Layout, portal: PortalId, slots: [u8; 16], secrets: &Arc<PortalSecrets>) -> Result<(), StartError> {
    private_folder(&layout.store).map_err(|e| refused(&layout.store.display().to_string())(&e))?;
    let failed = |e: &(dyn Error + 'static)| StartError::Refused(format!("the store cannot be made: {}", chain(e)));
    let store = SledStore::open(
        &layout.store,
        Options::default(),
        Source::System,
        Arc::new(RowSeal(secrets.clone())),
    )
    .map_err(|e| failed(&e))?;
    store.set_meta(PORTAL_ROW, &portal.0).map_err(|e| failed(&e))?;
    store.set_meta(SLOTS_ROW, &slots).map_err(|e| failed(&e))?;
    drop(store);
    name_slots(layout, portal, slots)
}

/// Writes the store's label.
pub(super) fn name_slots(layout: &Layout, portal: PortalId, slots: [u8; 16]) -> Result<(), StartError> {
    let label = Label {
        slots: Some(slots),
        ..Label::of(portal)
    };
    labelled(&layout.store, &label)
}

/// What a backup of this data folder reads beside the store.
pub(crate) fn sources(config: &Config, layout: &Layout, portal: PortalId) -> Sources {
    Sources {
        layout: super::identity::LAYOUT,
        portal: portal.0,
        keys: layout.keys.clone(),
        configuration: config.path.clone(),
    }
}

pub(crate) fn load_secrets(layout: &Layout) -> Result<Arc<PortalSecrets>, StartError> {
    let secrets = PortalSecrets::load(&layout.secrets).map_err(|e| refused("the portal's secrets cannot be read")(&e))?;
    Ok(Arc::new(secrets))
}

pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Looks whether the data folder is whole and of one portal, and changes nothing. Every later step of a start may rely on it.
pub(crate) fn check(layout: &Layout) -> Result<PortalId, StartError> {
    if let Some(command) = unfinished(layout) {
        return Err(StartError::Refused(format!(
            "a `{}` of {} was cut off; run it again: it goes on, or begins anew",
            match command.as_str() {
                "recover" if recovers_from_backup(layout) => layout.recover_with(" --from FILE"),
                "recover" => layout.recover_with(""),
                other => format!("nightdrop {other}"),
            },
            layout.data.display()
        )));
    }
    let survey = Survey::of(layout);
    if let Some(mismatch) = survey.mismatch(layout) {
        return Err(StartError::Refused(format!("{mismatch}; nothing was changed")));
    }
    if survey.is_empty() {
        return Err(StartError::Refused(format!(
            "{} holds no portal: if its disk is not mounted, mount it; otherwise `nightdrop init` makes one",
            layout.data.display()
        )));
    }
    let faults = survey.faults(layout);
    match survey.portal() {
        Some(portal) if faults.is_empty() => Ok(portal),
        _ => {
            // Without the keys a new one is the only way on.
            let keyless = Keyring::open(&layout.keys).is_err();
            let way_out = match (survey.undecided(), layout.kind) {
                (true, _) => String::new(),
                (false, StoreKind::Embedded) => way_out(layout, if keyless { " --new-key" } else { "" }),
                (false, StoreKind::Postgres) => IN_POSTGRES.to_owned(),
            };
            Err(StartError::Refused(format!(
                "{}; nothing was changed. {way_out}",
                faults.join("; ")
            )))
        }
    }
}

/// Which command has not come to its end.
pub(crate) fn unfinished(layout: &Layout) -> Option<String> {
    note(layout)?["command"].as_str().map(str::to_owned)
}

fn recovers_from_backup(layout: &Layout) -> bool {
    note(layout).is_some_and(|note| note["from"] == true)
}

fn note(layout: &Layout) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(&layout.unfinished).ok()?;
    serde_json::from_str(&text).ok()
}

/// Opens the store of a data folder that was checked: it is not written to before it is known to be this portal's and at its high-water mark.
pub(crate) fn open_store(layout: &Layout, portal: PortalId, source: Source, secrets: &Arc<PortalSecrets>) -> Result<SledStore, StartError> {
    let mark = MarkFile::open(&layout.mark).map_err(|e| {
        StartError::Refused(format!(
            "the store's high-water mark ({}): {e}. {}",
            layout.mark.display(),
            way_out(layout, "")
        ))
    })?;
    let options = Options {
        mark: Some(Arc::new(mark)),
        ..Options::default()
    };
    let failed = |error: StoreError| {
        let text = format!("the store in {} cannot be opened: {}", layout.store.display(), chain(&error));
        match error {
            // One with another history may be another portal's, which goes on from nothing.
            StoreError::Behind(MarkStanding::Other) => {
                StartError::Refused(format!("{text}. Nothing was destroyed. {}", behind(layout, " --new-store")))
            }
            StoreError::Behind(_) => StartError::Refused(format!("{text}. Nothing was destroyed. {}", behind(layout, ""))),
            StoreError::Corrupt(_) | StoreError::Foreign => StartError::Refused(format!("{text}. {}", way_out(layout, " --new-store"))),
            StoreError::Full { .. } => StartError::Unavailable(format!("{text}; make room on its disk")),
            StoreError::Held => StartError::InUse(text),
            StoreError::Io(_) | StoreError::Unknown(_) => StartError::Unavailable(text),
            _ => StartError::Refused(text),
        }
    };
    let store = SledStore::open(&layout.store, options, source, Arc::new(RowSeal(secrets.clone()))).map_err(failed)?;
    let row = |name: &str| store.meta(name).map_err(failed);
    let named = Label::read(&layout.store).ok().flatten().and_then(|label| label.slots);
    if row(PORTAL_ROW)?.as_deref() != Some(&portal.0) || row(SLOTS_ROW)?.as_deref() != named.as_ref().map(|uuid| &uuid[..]) {
        return Err(failed(StoreError::Foreign));
    }
    Ok(store)
}

pub(super) fn open_documents(folder: &Path) -> Result<FileStore, StartError> {
    FileStore::open(folder).map_err(|e| {
        StartError::Refused(format!(
            "the documents in {} cannot be opened: {e}; put the folder back (is it mounted?): an empty one in its place would lose what it holds",
            folder.display()
        ))
    })
}

/// Opens the slots and judges the place where they lie. A place that is new is noted once it is good enough, or accepted.
pub(super) async fn open_slots(config: &Config, layout: &Layout, store: &dyn Backend) -> Result<(SlotsFile, Watch), StartError> {
    let noted = async |name: &str| store.meta(name).await.map_err(|e| store_failed("the store", e));
    let uuid: Option<[u8; 16]> = noted(SLOTS_ROW).await?.and_then(|u| u.try_into().ok());
    slots_growth::grow(config, layout, store, uuid.as_ref()).await?;
    let slots = SlotsFile::open(&layout.slots, uuid.as_ref()).map_err(|error| {
        let why = format!("the erasure slots cannot be opened: {}", chain(&error));
        match error {
            EraseError::Io(_) => StartError::Unavailable(why),
            _ => StartError::Refused(why),
        }
    })?;
    let place = slots_growth::noted_place(store).await?;
    let watch = Watch::begin(&layout.slots, &slots, place.as_deref()).map_err(|e| refused("the erasure self-test")(&e))?;
    let assurance = watch.current();
    if assurance.class == AssuranceClass::C && !config.accept_weak_erasure {
        let fix = match watch.is_weakened() {
            true => "Overwrite the free space of that disk if the earlier secrets matter, then start once with erasure.accept_weak = true.",
            false => "Move data_dir to ext4 or XFS, or set erasure.accept_weak = true.",
        };
        return Err(StartError::Refused(format!(
            "erasing is not shown to work on this file system ({}): {} {fix}",
            assurance.file_system,
            assurance.reasons.join(" ")
        )));
    }
    let report = slots.report();
    if report.damaged + report.repaired > 0 {
        tracing::warn!(
            event = "slots_damaged",
            damaged = report.damaged,
            repaired = report.repaired,
            "pages of the slots file were not as they were written; damaged ones that belong to a document are kept, look at the disk"
        );
    }
    if let Some(blocks) = watch.blocks().filter(|blocks| place.as_deref() != Some(&blocks[..])) {
        store.set_meta(PLACE, &blocks).await.map_err(|e| store_failed("the store", e))?;
        slots_growth::forget(store).await?;
    }
    Ok((slots, watch))
}

/// A store in memory loses every acknowledged document with the machine's next start.
pub(super) fn refuse_memory(config: &Config) -> Result<(), StartError> {
    // A folder that is not there yet is judged by the one that it will be made in.
    let there = config.data_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let volatile = assurance::is_volatile(there).map_err(|e| refused(&there.display().to_string())(&e))?;
    match volatile && !config.accept_volatile_data {
        true => Err(StartError::Configuration(vec![lies_in_memory()])),
        false => Ok(()),
    }
}

/// The same as an error beside those of the configuration, told before anything is opened. A folder that cannot be looked at is told when it is opened.
pub(crate) fn memory_fault(config: &Config) -> Option<ConfigError> {
    let refused = refuse_memory(config).err()?;
    matches!(refused, StartError::Configuration(_)).then(lies_in_memory)
}

fn lies_in_memory() -> ConfigError {
    ConfigError::new(
        "data_dir",
        "lies in memory (tmpfs), where the machine's next start ends every document and every record; choose a folder on a disk, or set accept_volatile_data = true",
    )
}

/// The seal of the portal's rows; without its secrets, one that nothing fits.
pub(super) fn seal(layout: &Layout) -> Arc<dyn Seal> {
    match load_secrets(layout) {
        Ok(secrets) => Arc::new(RowSeal(secrets)),
        Err(_) => Arc::new(NothingFits),
    }
}

struct NothingFits;

impl Seal for NothingFits {
    fn mac(&self, _place: &[u8], _row: &[u8]) -> [u8; MAC_LEN] {
        [0; MAC_LEN]
    }

    fn fits(&self, _place: &[u8], _row: &[u8], _found: &[u8]) -> bool {
        false
    }
}
