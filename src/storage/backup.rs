//! What a backup reads of a store, whichever it is: all rows of one point in its history, while the store goes on.

use time::OffsetDateTime;

use super::StorageError;

/// One row: key and value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// The point that a backup is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackupPoint {
    /// Decisions since the store was made.
    pub decision: u64,
    /// The last audit entry, its hash and its instant.
    pub sequence: u64,
    pub hash: [u8; 32],
    pub at: OffsetDateTime,
}

/// The rows of that point, in the order of their keys. Dropping it ends it.
pub(crate) trait RowReader: Send {
    /// The next ones; none at the end. Blocking.
    fn next_rows(&mut self) -> Result<Vec<Row>, StorageError>;
}

/// A store that can be backed up.
pub(crate) trait BackupStore: Send + Sync {
    /// The kind of store, in a word: rows of one kind are of no use to another.
    fn kind(&self) -> &'static str;
    /// All rows as they stand now, durable. `Busy` while another backup is taken. Blocking.
    fn begin_backup(&self) -> Result<(BackupPoint, Box<dyn RowReader>), StorageError>;
    /// When the last complete backup was taken.
    fn last_backup(&self) -> Result<Option<OffsetDateTime>, StorageError>;
    /// Notes that one is complete. Blocking.
    fn note_backup(&self, at: OffsetDateTime) -> Result<(), StorageError>;
}
