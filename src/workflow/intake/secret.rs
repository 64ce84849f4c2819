//! Whose an erasure secret is on its way in. From the moment it lies in its slot somebody owes it an end: a row takes it over, or the request is told to have it
//! destroyed.
//!
//! Nothing here destroys anything. What is discarded becomes a fact of the request's row; only the worker destroys, under the request's cleanup lease.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::IntakeError;
use super::in_flight::{Writer, Writing};
use crate::chain::chain;
use crate::crypto::erase::EraseError;
use crate::crypto::secret::ErasureSecret;
use crate::domain::document::SlotRef;
use crate::domain::id::{DocumentId, RequestId};
use crate::domain::transition::{IntakeStep, Refusal, Transition};
use crate::failpoint::{self, Failpoint};
use crate::storage::StorageError;
use crate::workflow::{Portal, WorkflowError, blocking};

/// A secret in its slot that no row owns, or perhaps none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub request: RequestId,
    pub document: DocumentId,
    pub slot: SlotRef,
    pub started_at: OffsetDateTime,
}

/// The secret that a submission seals under.
pub(super) enum Secret {
    /// Its own: discarded when it ends before a row owns it.
    Fresh(SlotGuard),
    /// Of the request's row, because a part is stored.
    Joined(OpenSlot),
}

impl Secret {
    pub(super) fn open(&self) -> Option<&OpenSlot> {
        match self {
            Self::Fresh(guard) => guard.0.as_ref().map(|armed| &armed.open),
            Self::Joined(open) => Some(open),
        }
    }

    /// A row owns it from here on.
    pub(super) fn owned(self) -> Result<Self, IntakeError> {
        match self {
            Self::Fresh(guard) => guard.disarm().map(Self::Joined).ok_or(IntakeError::CutOff),
            joined @ Self::Joined(_) => Ok(joined),
        }
    }

    /// The row that was to own it was not written, or perhaps was.
    pub(super) async fn refused(self, error: &StorageError) {
        if let Self::Fresh(guard) = self {
            guard.refused(error).await;
        }
    }
}

/// A secret that no row owns for good yet. Consumed once: [`SlotGuard::disarm`], [`SlotGuard::discard`] or [`SlotGuard::refused`]; dropped, it is discarded by a
/// task of its own.
pub struct SlotGuard(Option<Armed>);

struct Armed {
    portal: Arc<Portal>,
    orphan: Orphan,
    open: OpenSlot,
}

/// A secret to be written under: nothing is owed for it.
pub(super) struct OpenSlot {
    slot: SlotRef,
    secret: Arc<ErasureSecret>,
    writer: Writer,
}

impl SlotGuard {
    /// Puts a secret into a slot of its own.
    pub async fn put(
        portal: Arc<Portal>,
        request: RequestId,
        document: DocumentId,
        started_at: OffsetDateTime,
        secret: ErasureSecret,
    ) -> Result<Self, IntakeError> {
        // Until a row names it, the sweep knows it by this.
        let writer = portal.intake.in_flight.enter(document);
        // Whoever waits may go away: then what was put is dropped on the thread that put it, and discarded.
        let put = blocking(move || {
            let slot = portal.erasure.put(&document.0, &secret)?;
            let orphan = Orphan {
                request,
                document,
                slot,
                started_at,
            };
            writer.note(Some(orphan));
            Ok(Self(Some(Armed {
                orphan,
                open: OpenSlot {
                    slot,
                    secret: Arc::new(secret),
                    writer,
                },
                portal,
            })))
        });
        let guard = put.await?.map_err(|error| match error {
            EraseError::SlotsFull => IntakeError::Full,
            error => WorkflowError::from(error).into(),
        })?;
        failpoint::pass(Failpoint::SlotStored);
        Ok(guard)
    }

    pub(super) fn slot(&self) -> Option<SlotRef> {
        self.0.as_ref().map(|armed| armed.orphan.slot)
    }

    /// A row owns it from here on.
    pub(super) fn disarm(mut self) -> Option<OpenSlot> {
        let open = self.0.take()?.open;
        open.writer.note(None);
        Some(open)
    }

    /// Returns when the request's row says that it is to be destroyed, or when the sweep knows of it.
    pub async fn discard(mut self) {
        if let Some(armed) = self.0.take() {
            let tasks = armed.portal.tasks.clone();
            // To its end, even if nobody waits any more. It says by itself what it could not do.
            let _ = tasks.spawn(armed.discard()).await;
        }
    }

    /// Its row was not written. Where the store cannot say whether it was, the row is asked later, and nothing is destroyed now.
    pub async fn refused(mut self, error: &StorageError) {
        if !matches!(error, StorageError::Indeterminate(_)) {
            return self.discard().await;
        }
        if let Some(armed) = self.0.take() {
            armed.portal.intake.cleanup.orphans.note(armed.orphan);
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some(armed) = self.0.take() {
            armed.portal.counters.abandoned.fetch_add(1, Ordering::Relaxed);
            // While the process ends it may not run any more; the sweep at the next start does the same.
            let tasks = armed.portal.tasks.clone();
            drop(tasks.spawn(armed.discard()));
        }
    }
}

impl Armed {
    async fn discard(self) {
        match discard_orphan(&self.portal, self.orphan).await {
            Ok(DiscardOutcome::Noted | DiscardOutcome::Owned) => {}
            // Its request was forgotten meanwhile.
            Ok(DiscardOutcome::NoRequest) => self.portal.intake.cleanup.orphans.note(self.orphan),
            Err(error) => {
                let Orphan { document, request, .. } = self.orphan;
                tracing::warn!(%document, %request, error = %chain(&error), "an upload that was given up could not be noted for its destruction; this is tried again within a minute");
                self.portal.intake.cleanup.orphans.note(self.orphan);
            }
        }
        // Only now: until the row or the list of orphans names it, it is known as being in flight.
        drop(self.open);
    }
}

/// What a request says to an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::workflow) enum DiscardOutcome {
    /// The worker destroys it.
    Noted,
    /// A row owns it, in another way than as something that is discarded.
    Owned,
    NoRequest,
}

/// Has everything destroyed that forms of this process are still sending for a request that takes nothing any more. They notice at their next write.
pub(super) async fn discard_in_flight(portal: &Portal, request: RequestId) {
    for orphan in portal.intake.in_flight.orphans_of(request) {
        // Its form discards it as well, at its end.
        if let Err(error) = discard_orphan(portal, orphan).await {
            tracing::debug!(document = %orphan.document, error = %chain(&error), "a form that cannot win any more is destroyed when it ends");
        }
    }
}

/// Makes it a fact of the request's row that this is to be destroyed.
pub(in crate::workflow) async fn discard_orphan(portal: &Portal, orphan: Orphan) -> Result<DiscardOutcome, StorageError> {
    let discard = Transition::Intake(IntakeStep::Discard {
        document: orphan.document,
        slot: orphan.slot,
        started_at: orphan.started_at,
    });
    match portal.requests.transition(orphan.request, discard).await {
        Ok(_) => {
            portal.intake.cleanup.due.notify_one();
            Ok(DiscardOutcome::Noted)
        }
        Err(StorageError::Refused(_)) => Ok(DiscardOutcome::Owned),
        Err(StorageError::NotFound) => Ok(DiscardOutcome::NoRequest),
        Err(error) => Err(error),
    }
}

impl OpenSlot {
    /// Opens the slot of a document whose first part is stored. The caller asks the row afterwards whether it is still here.
    pub(super) async fn join(portal: &Arc<Portal>, document: DocumentId, slot: SlotRef) -> Result<Self, IntakeError> {
        let writer = portal.intake.in_flight.enter(document);
        let erasure = portal.erasure.clone();
        let secret = match blocking(move || erasure.get(&document.0, &slot)).await? {
            Ok(secret) => Arc::new(secret),
            Err(EraseError::Erased | EraseError::OtherOwner) => return Err(IntakeError::refused(Refusal::Superseded)),
            Err(error) => return Err(WorkflowError::from(error).into()),
        };
        Ok(Self { slot, secret, writer })
    }

    pub(super) fn slot(&self) -> SlotRef {
        self.slot
    }

    pub(super) fn secret(&self) -> &Arc<ErasureSecret> {
        &self.secret
    }

    /// Before each write of a chunk; `None` when it is being destroyed.
    pub(super) async fn writing(&self) -> Option<Writing> {
        self.writer.writing().await
    }
}

/// Orphans that no row could be told of, for the sweep.
#[derive(Default)]
pub struct Orphans(Mutex<BTreeMap<DocumentId, Orphan>>);

impl Orphans {
    fn all(&self) -> MutexGuard<'_, BTreeMap<DocumentId, Orphan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, orphan: Orphan) {
        self.all().insert(orphan.document, orphan);
    }

    pub(in crate::workflow) fn list(&self) -> Vec<Orphan> {
        self.all().values().copied().collect()
    }

    pub(in crate::workflow) fn settled(&self, document: DocumentId) {
        self.all().remove(&document);
    }

    pub fn contains(&self, document: DocumentId) -> bool {
        self.all().contains_key(&document)
    }
}
