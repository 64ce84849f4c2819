//! What a backup reads of a store, and what a recovery changes in the store of a stopped portal: many requests at once, every session, and the word that it happened. Each change is the transition that
//! the domain allows, with its audit events; repeating it changes nothing.

use std::path::Path;

use time::OffsetDateTime;

use super::durable::{Compacted, Compacting, DurableSled, Options, Snapshot};
use super::error::MarkStanding;
use super::error::StoreError;
use super::mark::Mark;
use super::records::{Batch, Row};
use super::{Failed, SledStore, load, map_store_error};
use crate::chain::chain;
use crate::domain::audit::AuditEntry;
use crate::domain::id::RequestId;
use crate::domain::request::{DocumentRequest, RequestState};
use crate::domain::transition::Transition;
use crate::storage::backup::{BackupPoint, BackupStore, RowReader};
use crate::storage::clock::{from_ms, to_ms};
use crate::storage::record::Record;
use crate::storage::{StorageError, key};

/// Where the store notes when the last backup was complete.
const LAST_BACKUP: &str = "last-backup";
/// Requests looked at between two waits for the disk.
const STEP: usize = 200;

impl SledStore {
    /// Makes a store out of a backup's rows in a folder where none is; returns how many there are, or what reading them failed with.
    pub fn restore<E>(folder: &Path, mut next: impl FnMut() -> Result<Vec<Row>, E>) -> Result<Result<u64, E>, StoreError> {
        let mut failed = None;
        let filled = DurableSled::open(folder, Options::default())?.fill(|| {
            next().map_err(|error| {
                failed = Some(error);
                StoreError::Unknown("the rows cannot be read".into())
            })
        });
        match failed {
            Some(error) => Ok(Err(error)),
            None => filled.map(Ok),
        }
    }

    /// Rewrites the database without what its log holds of rows that changed or went, and closes it. See [`DurableSled::compact`].
    pub fn compact(self, at: impl FnMut(Compacting)) -> Result<Compacted, StoreError> {
        self.store.compact(at)
    }

    /// How far this store has come.
    pub fn present(&self) -> Result<Mark, StoreError> {
        Mark::of(&self.store.records())
    }

    /// How this store stands to a mark.
    pub fn standing(&self, mark: &Mark) -> Result<MarkStanding, StoreError> {
        MarkStanding::of(&self.store.records(), mark)
    }

    /// The hash of one audit entry, if it is there.
    pub fn audit_hash(&self, sequence: u64) -> Result<Option<[u8; 32]>, StoreError> {
        let row = self.store.records().get(&key::audit(sequence))?;
        Ok(row.and_then(|row| AuditEntry::decode(&row).ok()).map(|entry| entry.hash))
    }

    /// Applies what `choose` wants to every request that rests in one of these states; returns how many it wanted something of. Durable when it returns. A request that
    /// cannot be read is left alone and logged.
    pub fn change_all(&self, states: &[RequestState], choose: impl Fn(&DocumentRequest) -> Vec<Transition>) -> Result<u64, StoreError> {
        let mut changed = 0;
        for state in states {
            let prefix = key::state_prefix(*state);
            let mut behind: Option<Vec<u8>> = None;
            loop {
                let step = self.store.records().scan_prefix(&prefix, behind.as_deref(), STEP)?;
                let Some((last, _)) = step.last() else { break };
                behind = Some(last.clone());
                // The id ends the key.
                let ids = step
                    .iter()
                    .filter_map(|(k, _)| k.get(k.len().checked_sub(16)?..)?.try_into().ok().map(RequestId));
                for id in ids {
                    changed += u64::from(self.change_one(id, &choose)?);
                }
                self.store.durable_blocking()?;
            }
        }
        Ok(changed)
    }

    fn change_one(&self, id: RequestId, choose: impl Fn(&DocumentRequest) -> Vec<Transition>) -> Result<bool, StoreError> {
        let request = match load(&self.store.records(), id) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(false),
            Err(Failed::Store(error)) => return Err(error),
            Err(Failed::Storage(error)) => {
                tracing::error!(request = %id, error = %chain(&error), "a stored request cannot be read and is left as it is");
                return Ok(false);
            }
        };
        let wanted = choose(&request);
        let any = !wanted.is_empty();
        for transition in wanted {
            let now = self.clock.now();
            let decided = self.store.decide(|rows| {
                let mut batch = Batch::new();
                Self::change(rows, &mut batch, id, transition, now)?;
                batch.frees_space();
                Ok::<_, Failed>((batch, ()))
            });
            match decided {
                // Durable with its step; the next one reads what this one wrote.
                Ok(((), _)) => {}
                Err(Failed::Storage(StorageError::Refused(_) | StorageError::NotFound)) => return Ok(false),
                Err(error) => return Err(error.into_store()),
            }
        }
        Ok(any)
    }

    /// Ends every session; returns how many there were.
    pub fn end_all_sessions(&self) -> Result<u64, StoreError> {
        self.remove_all(&[key::SESSION])
    }

    /// Removes every account, session and API key: without the portal's secrets none of them can be believed. Returns how many rows there were.
    pub fn end_all_accounts(&self) -> Result<u64, StoreError> {
        self.remove_all(&[key::AGENT, key::EMAIL, key::SESSION, key::API_KEY, key::API_KEY_BY_ID])
    }

    fn remove_all(&self, kinds: &[u8]) -> Result<u64, StoreError> {
        let decided = self.store.decide(|rows| {
            let mut batch = Batch::new();
            let mut ended = 0;
            for kind in kinds {
                let found = rows.scan_prefix(&[*kind], None, usize::MAX)?;
                ended += found.len() as u64;
                for (row, _) in found {
                    batch.remove(row);
                }
            }
            batch.frees_space();
            Ok::<_, StoreError>((batch, ended))
        });
        let (ended, seq) = decided?;
        self.store.settled_blocking(seq)?;
        Ok(ended)
    }
}

impl BackupStore for SledStore {
    fn kind(&self) -> &'static str {
        "sled"
    }

    fn begin_backup(&self) -> Result<(BackupPoint, Box<dyn RowReader>), StorageError> {
        let begun = self.store.snapshot().map_err(map_store_error)?;
        let (mark, snapshot) = begun.ok_or_else(|| StorageError::Busy("another backup is being taken".into()))?;
        let point = BackupPoint {
            decision: mark.number,
            sequence: mark.audit,
            hash: mark.head,
            at: from_ms(mark.at),
        };
        Ok((point, Box::new(snapshot)))
    }

    fn last_backup(&self) -> Result<Option<OffsetDateTime>, StorageError> {
        let row = self.meta(LAST_BACKUP).map_err(map_store_error)?;
        Ok(row.and_then(|row| row.try_into().ok()).map(|row| from_ms(i64::from_be_bytes(row))))
    }

    fn note_backup(&self, at: OffsetDateTime) -> Result<(), StorageError> {
        self.set_meta(LAST_BACKUP, &to_ms(at).to_be_bytes()).map_err(map_store_error)
    }
}

impl RowReader for Snapshot {
    fn next_rows(&mut self) -> Result<Vec<Row>, StorageError> {
        Snapshot::next_rows(self).map_err(map_store_error)
    }
}
