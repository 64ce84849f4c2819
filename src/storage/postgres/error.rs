//! What went wrong with PostgreSQL, sorted by what a caller may do next. An engine that is away, restarts or is overloaded is never damage.
//!
//! No text of the server is kept: it may quote values of a row. What is told is the SQLSTATE and, where there is one, the name of a constraint.

use std::error::Error;

use tokio_postgres::error::SqlState;

use crate::chain::{Cause, chain};
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
        // These say what the system or TLS says, and nothing of the server's.
        None => match error.source() {
            Some(source) => Cause::new(format!("the connection to PostgreSQL failed: {}", chain(source))),
            None => Cause::new("the connection to PostgreSQL failed"),
        },
    }
}

/// What a person has to mend before trying again is of any use.
pub(super) fn mend(error: &tokio_postgres::Error) -> Option<String> {
    let mend = match *error.code()? {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the server does not let this user in: compare user and password in the file of database.url_file with the server's, and look at its pg_hba.conf"
        }
        SqlState::INVALID_CATALOG_NAME => {
            "the server has no such database: make it with CREATE DATABASE … OWNER … ENCODING 'UTF8' TEMPLATE template0"
        }
        SqlState::INSUFFICIENT_PRIVILEGE => "its user may not make tables in it: ALTER DATABASE … OWNER TO … that user",
        SqlState::DUPLICATE_TABLE => "it holds tables of something else: name a database of this portal alone",
        _ => return None,
    };
    Some(mend.to_owned())
}
