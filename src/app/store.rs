//! The store that the configuration names, opened: everything else of the portal knows its seams alone. A database is bound to its portal and its slots file by values of
//! its own, as an embedded store is by its label, and nothing of it is changed before they fit.

use std::sync::Arc;
use std::time::Duration;

use super::data_folder::{self, PORTAL_ROW, SLOTS_ROW};
use super::identity::PortalId;
use super::layout::Layout;
use super::{StartError, refused, store_failed};
use crate::chain::chain;
use crate::config::{Config, StoreSettings};
use crate::crypto::secrets::PortalSecrets;
use crate::crypto::slots::SlotsFile;
use crate::storage::backend::{Backend, Records};
use crate::storage::clock::Source;
use crate::storage::postgres::{Database, OpenError, PostgresStore};
use crate::storage::sled::SledStore;
use crate::storage::{BlobStore, StorageError};
use crate::workflow::backup::BackedUpBy;
use crate::workflow::seal::RowSeal;

/// How long a start waits for a database that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whether the portal of a database was finished.
const INIT_ROW: &str = "init";
const UNFINISHED: &[u8] = b"unfinished";
const FINISHED: &[u8] = b"finished";

/// An open store.
#[derive(Clone)]
pub enum Store {
    Embedded(Arc<SledStore>),
    Postgres(Arc<PostgresStore>),
}

impl Store {
    /// Opens the store of a data folder that was checked.
    pub(crate) async fn open(
        config: &Config,
        layout: &Layout,
        portal: PortalId,
        source: Source,
        secrets: &Arc<PortalSecrets>,
    ) -> Result<Self, StartError> {
        match &config.store {
            StoreSettings::Embedded => {
                let store = data_folder::open_store(layout, portal, source, secrets)?;
                Ok(Self::Embedded(Arc::new(store)))
            }
            StoreSettings::Postgres(database) => {
                let store = hold(database, source, secrets).await?;
                is_ours(database, &store, layout, portal).await?;
                store.end_leases().await.map_err(|e| store_failed("the database", e))?;
                Ok(Self::Postgres(Arc::new(store)))
            }
        }
    }

    pub(crate) fn records(&self) -> Arc<dyn Records> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    pub(super) fn documents(&self, layout: &Layout) -> Result<Arc<dyn BlobStore>, StartError> {
        match self {
            Self::Embedded(_) => Ok(Arc::new(data_folder::open_documents(&layout.documents)?)),
            Self::Postgres(store) => Ok(store.clone()),
        }
    }

    pub(super) fn backed_up_by(&self) -> BackedUpBy {
        match self {
            Self::Embedded(store) => BackedUpBy::Portal(store.clone()),
            Self::Postgres(_) => BackedUpBy::Database,
        }
    }

    /// Notes that the portal is made: from here on nobody begins anew in its database.
    pub(crate) async fn finish(&self) -> Result<(), StartError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Postgres(store) => store
                .set_meta(INIT_ROW, FINISHED)
                .await
                .map_err(|e| store_failed("the database", e)),
        }
    }

    /// Takes everything of the portal out of its database; what the data folder holds is not touched.
    pub(crate) async fn clear(&self) -> Result<(), StartError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Postgres(store) => store.clear().await.map_err(|e| store_failed("the database", e)),
        }
    }
}

/// Binds an empty database to the portal that [`data_folder::create`] has made; what a making that was cut off has left in it is taken away first. An embedded store
/// was made with the folder.
///
/// # Errors
/// That the database holds a portal already, or cannot be used.
pub async fn bind_database(config: &Config) -> Result<(), StartError> {
    let StoreSettings::Postgres(database) = &config.store else {
        return Ok(());
    };
    let layout = Layout::of(config);
    let secrets = data_folder::load_secrets(&layout)?;
    let broken = |e: StorageError| store_failed("the database", e);
    let store = hold(database, Source::System, &secrets).await?;
    if let Some(there) = store.meta(PORTAL_ROW).await.map_err(broken)? {
        if store.meta(INIT_ROW).await.map_err(broken)?.as_deref() != Some(UNFINISHED) {
            let there = PortalId(there.try_into().unwrap_or_default());
            return Err(StartError::Refused(format!(
                "the database {database} holds a portal already ({there}): name an empty one in database.url_file, or drop and create this one if that portal is to be lost"
            )));
        }
        store.clear().await.map_err(broken)?;
    }
    let (slots, _) = SlotsFile::look(&layout.slots).map_err(|e| refused("the erasure slots")(&e))?;
    for (name, value) in [(INIT_ROW, UNFINISHED), (SLOTS_ROW, &slots), (PORTAL_ROW, &secrets.portal())] {
        store.set_meta(name, value).await.map_err(broken)?;
    }
    Ok(())
}

async fn hold(database: &Database, source: Source, secrets: &Arc<PortalSecrets>) -> Result<PostgresStore, StartError> {
    let seal = Arc::new(RowSeal(secrets.clone()));
    PostgresStore::hold(database, source, seal, PATIENCE)
        .await
        .map_err(|error| of_opening(database, error))
}

/// What a start says of a database that was not opened.
pub(crate) fn of_opening(database: &Database, error: OpenError) -> StartError {
    match error {
        OpenError::Refused(why) => StartError::Refused(format!("the database {database} cannot be used: {}", why.join("; "))),
        OpenError::Held => StartError::Unavailable(format!("{database}: {error}")),
        OpenError::Away(why) => StartError::Unavailable(format!(
            "the database {database} cannot be reached: {}; start it, or set database.url_file right",
            chain(&why)
        )),
        OpenError::Storage(error) => store_failed("the database", error),
    }
}

/// Whether a database is the one that the portal was made with.
async fn is_ours(database: &Database, store: &PostgresStore, layout: &Layout, portal: PortalId) -> Result<(), StartError> {
    let row = async |name: &str| store.meta(name).await.map_err(|e| store_failed("the database", e));
    let other = |what: &str| {
        StartError::Refused(format!(
            "{what}; nothing was changed. Set database.url_file to the database of the portal in {}, or data_dir to the folder of the portal in {database} \
            (docs/operations/postgresql.md)",
            layout.data.display()
        ))
    };
    let Some(found) = row(PORTAL_ROW).await? else {
        return Err(other(&format!("the database {database} holds no portal")));
    };
    if found != portal.0 {
        return Err(other(&format!("the database {database} belongs to another portal")));
    }
    let (slots, _) = SlotsFile::look(&layout.slots).map_err(|e| refused("the erasure slots")(&e))?;
    if row(SLOTS_ROW).await?.as_deref() != Some(&slots[..]) {
        return Err(other(&format!(
            "the documents in the database {database} have their erasure secrets in another slots file than {}",
            layout.slots.display()
        )));
    }
    Ok(())
}
