//! A fresh erasure secret and whose it is. From the moment it lies in its slot somebody owes it an end: a row takes it over, or the request is told to have it destroyed.
//!
//! Nothing here destroys anything. What is given up becomes a fact of the request's row; only the worker destroys, under the request's cleanup lease.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use crate::crypto::erase::EraseError;
use crate::crypto::secret::ErasureSecret;
use crate::domain::document::SlotRef;
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::transition::{Refusal as Illegal, Transition};
use crate::storage::StorageError;

use super::in_flight::{Writer, Writing};
use super::receive::ReceiveError;
use super::{Portal, WorkflowError, blocking};

/// What a request is told to have destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    pub request: RequestId,
    pub document: DocumentId,
    pub slot: SlotRef,
    pub started_at: OffsetDateTime,
}

/// A secret that no row owns for good yet. Consumed once: [`FreshSlot::owned`], [`FreshSlot::give_up`] or [`FreshSlot::leave_to_row`]; dropped, it is given up by a
/// task of its own.
pub struct FreshSlot(Option<Fresh>);

struct Fresh {
    portal: Arc<Portal>,
    of: GivenUp,
    open: OpenSlot,
}

/// The secret of a submission that a row owns, to be written under: nothing is owed for it.
pub struct OpenSlot {
    slot: SlotRef,
    secret: Arc<ErasureSecret>,
    writer: Writer,
}

impl FreshSlot {
    /// Puts a secret into a slot of its own.
    pub async fn put(
        portal: Arc<Portal>,
        request: RequestId,
        document: DocumentId,
        started_at: OffsetDateTime,
        secret: ErasureSecret,
    ) -> Result<Self, ReceiveError> {
        // Until a row names it, the sweep knows it by this.
        let writer = portal.in_flight.enter(document);
        // Whoever waits may go away: then what was put is dropped on the thread that put it, and given up.
        let put = blocking(move || {
            let slot = portal.erasure.put(&document.0, &secret)?;
            Ok(Self(Some(Fresh {
                of: GivenUp {
                    request,
                    document,
                    slot,
                    started_at,
                },
                open: OpenSlot {
                    slot,
                    secret: Arc::new(secret),
                    writer,
                },
                portal,
            })))
        });
        let fresh = put.await?.map_err(|error| match error {
            EraseError::SlotsFull => ReceiveError::Full,
            error => WorkflowError::from(error).into(),
        })?;
        crate::crash::point("C5");
        Ok(fresh)
    }

    /// A row owns it from here on.
    pub fn owned(mut self) -> Option<OpenSlot> {
        self.0.take().map(|fresh| fresh.open)
    }

    /// Returns when the request's row says that it is to be destroyed, or when the sweep knows of it.
    pub async fn give_up(mut self) {
        if let Some(fresh) = self.0.take() {
            let tasks = fresh.portal.tasks.clone();
            // To its end, even if nobody waits any more. It says by itself what it could not do.
            let _ = tasks.spawn(fresh.give_up()).await;
        }
    }

    /// Whether a row owns it is unknown, since the store could not say whether it wrote: the row is asked later, and nothing is destroyed now.
    pub fn leave_to_row(mut self) {
        if let Some(fresh) = self.0.take() {
            fresh.portal.cleanup.leftovers.note(fresh.of);
        }
    }

    pub fn open(&self) -> Option<&OpenSlot> {
        self.0.as_ref().map(|fresh| &fresh.open)
    }
}

impl Drop for FreshSlot {
    fn drop(&mut self) {
        if let Some(fresh) = self.0.take() {
            fresh.portal.counters.abandoned.fetch_add(1, Ordering::Relaxed);
            // While the process ends it may not run any more; the sweep at the next start does the same.
            let tasks = fresh.portal.tasks.clone();
            drop(tasks.spawn(fresh.give_up()));
        }
    }
}

impl Fresh {
    async fn give_up(self) {
        give_up(&self.portal, self.of).await;
        // Only now: until the row or the left-overs name it, it is known as being in flight.
        drop(self.open);
    }
}

/// Makes it a fact of the request's row that this is to be destroyed, or notes it for the sweep.
async fn give_up(portal: &Portal, of: GivenUp) {
    match told(portal, of).await {
        Ok(Told::Noted | Told::Owned) => {}
        // Its request was forgotten meanwhile.
        Ok(Told::Nobody) => portal.cleanup.leftovers.note(of),
        Err(error) => {
            tracing::warn!(document = %of.document, request = %of.request, %error, "an upload that was given up could not be noted for its destruction; this is tried again within a minute");
            portal.cleanup.leftovers.note(of);
        }
    }
}

/// What a request says to what is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The worker destroys it.
    Noted,
    /// A row owns it, in another way than as something that is given up.
    Owned,
    /// There is no such request.
    Nobody,
}

pub(super) async fn told(portal: &Portal, of: GivenUp) -> Result<Told, StorageError> {
    let give_up = Transition::GiveUpReceive {
        document: of.document,
        slot: of.slot,
        started_at: of.started_at,
    };
    match portal.records.transition(of.request, give_up).await {
        Ok(_) => {
            portal.cleanup.bell.notify_one();
            Ok(Told::Noted)
        }
        Err(StorageError::Refused(_)) => Ok(Told::Owned),
        Err(StorageError::NotFound) => Ok(Told::Nobody),
        Err(error) => Err(error),
    }
}

impl OpenSlot {
    /// Opens the slot of a submission whose first part was kept. The caller asks the row afterwards whether it still stands.
    pub async fn join(portal: &Arc<Portal>, document: DocumentId, slot: SlotRef) -> Result<Self, ReceiveError> {
        let writer = portal.in_flight.enter(document);
        let erasure = portal.erasure.clone();
        let secret = match blocking(move || erasure.get(&document.0, &slot)).await? {
            Ok(secret) => Arc::new(secret),
            Err(EraseError::Erased | EraseError::OtherOwner) => return Err(WorkflowError::Refused(Illegal::Superseded).into()),
            Err(error) => return Err(WorkflowError::from(error).into()),
        };
        Ok(Self { slot, secret, writer })
    }

    pub fn slot(&self) -> SlotRef {
        self.slot
    }

    pub fn secret(&self) -> &Arc<ErasureSecret> {
        &self.secret
    }

    /// Before each write of a chunk; `None` when it is being destroyed.
    pub async fn hold(&self) -> Option<Writing> {
        self.writer.hold().await
    }
}

/// What this process could not tell a row, for the sweep.
#[derive(Default)]
pub struct Leftovers(Mutex<BTreeMap<DocumentId, GivenUp>>);

impl Leftovers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<DocumentId, GivenUp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, of: GivenUp) {
        self.all().insert(of.document, of);
    }

    pub(super) fn list(&self) -> Vec<GivenUp> {
        self.all().values().copied().collect()
    }

    pub(super) fn settled(&self, document: DocumentId) {
        self.all().remove(&document);
    }

    pub fn contains(&self, document: DocumentId) -> bool {
        self.all().contains_key(&document)
    }
}
