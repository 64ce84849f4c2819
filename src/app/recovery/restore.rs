//! What a recovery takes from a backup: the store, the portal's secrets, the keys; each only where it is lost, so that nothing newer is replaced.
//!
//! A restored store is never the newest: what was decided after the backup is not in it. So it is treated as an old copy of the store is.

use std::path::Path;

use super::aside::set_aside;
use super::note::Losses;
use super::{Part, PortalId, Recovery, Report, StartError, failed};
use crate::app::data_folder;
use crate::app::identity::LAYOUT;
use crate::app::{slots_growth, vault_key};
use crate::chain::chain;
use crate::crypto::private_file;
use crate::domain::audit::AuditAction;
use crate::storage::clock::Source;
use crate::storage::sled::SledStore;
use crate::storage::sled::durable::Options;
use crate::storage::{AuditLog, StorageError};
use crate::workflow::backup::read::{BackupFile, Contents};

/// Entries of the audit log among which that of this very recovery is looked for: it was the last, but for what a start adds.
const LOOK_BACK: u64 = 200;

/// A backup that was verified from end to end.
pub(super) struct Backup {
    file: BackupFile,
    contents: Contents,
}

impl Backup {
    pub(super) fn read(file: BackupFile) -> Result<Self, StartError> {
        let contents = file.verify().map_err(|e| failed("the backup cannot be used")(&e))?;
        if contents.head.layout != LAYOUT {
            return Err(StartError::Refused(format!(
                "{} has layout {}, and this version reads {LAYOUT}: use the version of nightdrop that wrote it",
                file.path().display(),
                contents.head.layout
            )));
        }
        Ok(Self { file, contents })
    }

    pub(super) fn portal(&self) -> PortalId {
        PortalId(self.contents.head.portal)
    }

    /// Whether there is a vault key in it.
    pub(super) fn has_keys(&self) -> bool {
        self.contents.keys().any(|(name, _)| name == "current")
    }

    fn holds(&self, part: Part) -> bool {
        match part {
            Part::Store | Part::Secrets => true,
            Part::Keys => self.has_keys(),
            Part::Documents | Part::Slots | Part::Mark => false,
        }
    }
}

/// Refuses a backup of another portal, and going on without the one that a cut-off run had.
pub(super) fn fits(backup: Option<&Backup>, portal: PortalId, losses: &Losses) -> Result<(), StartError> {
    match backup {
        None if losses.from => Err(StartError::Refused(
            "a recovery from a backup was cut off: run it again with the same --from".to_owned(),
        )),
        Some(backup) if backup.portal() != portal => Err(StartError::Refused(format!(
            "{} is of another portal ({}) than what is here ({portal}): restore it into an empty data_dir",
            backup.file.path().display(),
            backup.portal()
        ))),
        _ => Ok(()),
    }
}

impl Recovery {
    /// A part is gone: it comes from the backup, or is lost.
    pub(super) fn lose(&mut self, part: Part) {
        self.make.insert(part);
        if self.backup.as_ref().is_some_and(|backup| backup.holds(part)) {
            self.restore.insert(part);
            // What was decided after the backup is not in it.
            self.losses.doubt |= part == Part::Store;
        } else {
            self.losses.parts.insert(part);
        }
    }

    /// Where the store is an old one, the backup may be newer.
    pub(super) fn judge_backup(&mut self) -> Result<(), StartError> {
        let (Some(store), Some(backup)) = (&self.store, &self.backup) else {
            return Ok(());
        };
        let number = store.present().map_err(|e| failed("the store")(&e))?.number;
        if self.losses.doubt && number < backup.contents.head.decision {
            self.found.push("the backup is newer than the store, which is set aside".to_owned());
            self.store = None;
            self.relabel.remove(&Part::Store);
            self.lose(Part::Store);
        }
        Ok(())
    }

    /// When the backup was taken that something comes from.
    pub(super) fn taken_at(&self) -> Option<&str> {
        let backup = self.backup.as_ref().filter(|_| self.losses.from)?;
        Some(&backup.contents.head.taken_at)
    }

    pub(super) fn plan_of_backup(&self) -> Vec<String> {
        let Some(backup) = &self.backup else { return Vec::new() };
        let from = |what: &str| format!("{what} from the backup of {}", backup.contents.head.taken_at);
        let mut plan = Vec::new();
        if self.restore.contains(&Part::Store) {
            plan.push(format!(
                "{}: everything after it is gone (requests, decisions, audit entries, API keys made since), and what was revoked, disabled or changed since is as it was then",
                from("the store comes")
            ));
        }
        if self.restore.contains(&Part::Secrets) {
            plan.push(from("the portal's secrets come"));
        }
        if self.restore.contains(&Part::Keys) {
            plan.push(from("the vault keys that are missing come"));
        }
        plan.extend(backup.contents.faults.iter().map(|fault| format!("noted in the backup: {fault}")));
        plan
    }

    /// Puts the files of the keys folder back that are not there; one that is there may be newer.
    pub(super) fn restore_keys(&self, report: &mut Report) -> Result<(), StartError> {
        let Some(backup) = &self.backup else { return Ok(()) };
        // A keys folder that was set aside took them with it.
        let went = self.make.contains(&Part::Keys) && !self.layout.secrets.exists();
        let secrets = backup.contents.keys().find(|(name, _)| *name == "portal.secrets");
        if let Some((_, secrets)) = secrets.filter(|_| went || self.restore.contains(&Part::Secrets)) {
            let place = &self.layout.secrets;
            set_aside(place, report)?;
            private_file::put(place, secrets, 0o400).map_err(|e| failed_at(place)(&e))?;
        }
        if !self.restore.contains(&Part::Keys) {
            return Ok(());
        }
        // `current` last, as when a key is made: before it, nothing is sealed to what is here.
        let names = |last: bool| backup.contents.keys().filter(move |(name, _)| (*name == "current") == last);
        for (name, content) in names(false).chain(names(true)).filter(|(name, _)| *name != "portal.secrets") {
            let path = self.layout.keys.join(name);
            let unusable = name == "kek" && path.exists() && vault_key::read_kek(&path).is_err();
            if unusable {
                set_aside(&path, report)?;
            }
            if unusable || !path.try_exists().map_err(|e| failed_at(&path)(&e))? {
                let mode = if name == "current" || name.ends_with(".pub") {
                    0o444
                } else {
                    0o400
                };
                private_file::put(&path, content, mode).map_err(|e| failed_at(&path)(&e))?;
            }
        }
        if self.options.new_key.is_none()
            && let Err(error) = vault_key::open_keyring(&self.config, &self.layout)
        {
            return Err(StartError::Refused(format!(
                "the keys of the backup do not open the vault here: {}. What was kept apart from the keys folder is in no backup. Put it back, or run the same again with --new-key",
                chain(&error)
            )));
        }
        Ok(())
    }

    /// Makes the store out of the backup's rows; false where there is nothing to restore. It appears under its name when it is whole.
    pub(super) fn restore_store(&self, slots: [u8; 16]) -> Result<bool, StartError> {
        let Some(backup) = self.backup.as_ref().filter(|_| self.restore.contains(&Part::Store)) else {
            return Ok(false);
        };
        let fresh = self.layout.data.join("store.restored");
        match std::fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed_at(&fresh)(&error)),
            _ => {}
        }
        data_folder::private_folder(&fresh).map_err(|e| failed_at(&fresh)(&e))?;
        let broken = |e: &(dyn std::error::Error + 'static)| failed("the store cannot be restored")(e);
        let rows = backup.file.rows().map_err(|e| broken(&e))?;
        let restored = SledStore::restore(&fresh, rows).map_err(|e| broken(&e))?;
        restored.map_err(|e| broken(&e))?;
        let store = SledStore::open(&fresh, Options::default(), Source::System, data_folder::seal(&self.layout)).map_err(|e| broken(&e))?;
        slots_growth::bind_slots(&store, &slots).map_err(|e| broken(&e))?;
        drop(store);
        // What was in the way is set aside by now; an empty place of a mount is filled.
        let moved = match std::fs::rename(&fresh, &self.layout.store) {
            Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                return Err(StartError::Refused(format!(
                    "{} lies on another file system than {}: unmount it while recovering, and move the store there afterwards",
                    self.layout.store.display(),
                    self.layout.data.display()
                )));
            }
            other => other,
        };
        moved
            .and_then(|()| private_file::sync_parent(&self.layout.store))
            .map_err(|e| failed_at(&self.layout.store)(&e))?;
        data_folder::name_slots(&self.layout, self.portal, slots)?;
        Ok(true)
    }

    /// Whether the audit log has the entry of this recovery already: it was cut off behind it.
    pub(super) async fn is_told(&self, store: &SledStore) -> Result<bool, StartError> {
        let last = store.present().map_err(|e| failed("the store")(&e))?.audit;
        let look = usize::try_from(LOOK_BACK).unwrap_or(usize::MAX);
        let entries = store.entries(last.saturating_sub(LOOK_BACK), look).await;
        let entries = entries.map_err(|e: StorageError| failed("the audit log")(&e))?;
        let ours = |(name, value): &(String, String)| name == "recovery" && *value == self.losses.id && !value.is_empty();
        Ok(entries
            .iter()
            .any(|entry| entry.event.action == AuditAction::PortalRecovered && entry.event.detail.iter().any(ours)))
    }
}

fn failed_at(path: &Path) -> impl FnOnce(&(dyn std::error::Error + 'static)) -> StartError + '_ {
    move |error| StartError::Refused(format!("{}: {}", path.display(), chain(error)))
}
