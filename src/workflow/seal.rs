//! What an attacker who writes the store, and holds no key, has changed: the portal's MAC over rows that grant rights, and the report when a row is not as the
//! portal wrote it.
//!
//! A row that does not verify counts as absent for the one it belongs to, so that sign-in fails closed for that account and for nobody else. It is
//! reported once per process: an error in the log, the audit entry `row.altered`, and a notice on the console's first page until the next start.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::crypto::secrets::PortalSecrets;
use crate::domain::agent::Actor;
use crate::domain::audit::AuditEvent;
use crate::storage::StorageError;
use crate::storage::seal::{Altered, MAC_LEN, Seal};

use super::{Portal, WorkflowError};

/// Rows that are remembered; beyond it they are refused all the same.
const AT_MOST: usize = 1_000;

/// The portal's key behind the store's [`Seal`].
pub struct RowSeal(pub Arc<PortalSecrets>);

impl Seal for RowSeal {
    fn mac(&self, place: &[u8], row: &[u8]) -> [u8; MAC_LEN] {
        self.0.store_row_mac(place, row)
    }

    fn fits(&self, place: &[u8], row: &[u8], found: &[u8]) -> bool {
        self.0.store_row_mac_fits(place, row, found)
    }
}

/// Altered rows that this process has met.
#[derive(Default)]
pub struct Found(Mutex<BTreeSet<Altered>>);

impl Found {
    pub fn all(&self) -> Vec<Altered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether it is the first time.
    fn note(&self, row: &Altered) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.len() < AT_MOST && found.insert(row.clone())
    }
}

/// Looks at every account and key at start, so that a change is told before somebody meets it.
pub async fn look(portal: &Portal) -> Result<(), WorkflowError> {
    for row in portal.records.altered().await? {
        report(portal, row).await;
    }
    Ok(())
}

/// What was read, or nothing where the row was altered; then that is reported.
pub async fn trusted<T>(portal: &Portal, read: Result<Option<T>, StorageError>) -> Result<Option<T>, WorkflowError> {
    match read {
        Err(StorageError::Altered(row)) => {
            report(portal, row).await;
            Ok(None)
        }
        other => Ok(other?),
    }
}

/// Tells the log, the audit log and the console of an altered row, once. What was refused stays refused when the audit log cannot be written.
pub async fn report(portal: &Portal, row: Altered) {
    if !portal.altered.note(&row) {
        return;
    }
    tracing::error!(row = %row, "a stored row was changed outside the portal and is refused: somebody can write the store; see docs/threat-model.md");
    let mut event = AuditEvent::new(portal.records.now(), Actor::Portal, "row.altered").with("kind", row.kind);
    if let Some(id) = &row.id {
        event = event.with("row", id);
    }
    if let Err(error) = portal.records.append(event).await {
        tracing::error!(%error, "an altered row could not be written to the audit log");
    }
}
