//! What went wrong with PostgreSQL, sorted by what a caller may do next. An engine that is away, restarts or is overloaded is never damage.
//!
//! No text of the server is kept: it may quote values of a row. What is told is the SQLSTATE and, where there is one, the name of a constraint.

use tokio_postgres::error::SqlState;

use crate::chain::Cause;
use crate::storage::StorageError;
use crate::storage::record::Unreadable;

/// Why a transaction did not come to its commit.
#[derive(Debug)]
pub(super) enum Failed {
    /// Decided.
    Storage(StorageError),
    /// Rolled back because of others, or of a connection that broke: the same may succeed at once.
    Again(Cause),
}

impl Failed {
    /// Once there is no further try.
    pub(super) fn into_storage(self) -> StorageError {
        match self {
            Self::Storage(error) => error,
            Self::Again(why) => StorageError::Busy(why),
        }
    }
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Unreadable> for Failed {
    fn from(error: Unreadable) -> Self {
        Self::Storage(StorageError::Corrupt(Cause::new(error)))
    }
}

/// An error of the client or the server.
impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = told(&error);
        let Some(state) = error.code() else {
            return Self::Again(why);
        };
        match state {
            // Of others at the same rows: serialization, deadlock, lock timeout, two that insert the same.
            &SqlState::T_R_SERIALIZATION_FAILURE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::LOCK_NOT_AVAILABLE
            | &SqlState::UNIQUE_VIOLATION => Self::Again(why),
            &SqlState::DISK_FULL => Self::Storage(StorageError::Full),
            &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => Self::Storage(StorageError::Corrupt(why)),
            // The connection's end, said by the server: it stops, restarts or has crashed.
            &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => Self::Again(why),
            // A statement that does not fit the tables, or a value that does not fit a column: the schema was changed from outside.
            state if ["22", "23", "42"].iter().any(|class| state.code().starts_with(class)) => Self::Storage(StorageError::Corrupt(why)),
            _ => Self::Storage(StorageError::Busy(why)),
        }
    }
}

/// What may be said of an error.
pub(super) fn told(error: &tokio_postgres::Error) -> Cause {
    match error.as_db_error() {
        Some(db) => {
            let constraint = db.constraint().map(|name| format!(" ({name})")).unwrap_or_default();
            Cause::new(format!("PostgreSQL answered with SQLSTATE {}{constraint}", db.code().code()))
        }
        None if error.is_closed() => Cause::new("the connection to PostgreSQL is closed"),
        None => Cause::new("the connection to PostgreSQL failed"),
    }
}
