//! What an attacker who writes the store, and holds no key, has changed: the portal's MAC over rows that grant rights, and the report when a row is not as the
//! portal wrote it.
//!
//! A row that does not verify counts as absent for the one it belongs to, so that sign-in fails closed for that account and for nobody else. It is
//! reported once per process: an error in the log, the audit entry `row.altered`, and a notice on the console's first page until the next start.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chain::chain;
use crate::crypto::secrets::PortalSecrets;
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::StorageError;
use crate::storage::seal::{Altered, MAC_LEN, Seal};

use super::{Portal, WorkflowError};

/// Rows that are remembered; beyond it they are refused all the same.
const AT_MOST: usize = 1_000;

/// The portal's key behind the store's [`Seal`].
pub(crate) struct RowSeal(pub Arc<PortalSecrets>);

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
pub(crate) async fn look(portal: &Portal) -> Result<(), WorkflowError> {
    for row in portal.directory.altered().await? {
        report(portal, row).await;
    }
    Ok(())
}

/// What was read, or nothing where the row was altered; then that is reported.
pub(crate) async fn trusted<T>(portal: &Portal, read: Result<Option<T>, StorageError>) -> Result<Option<T>, WorkflowError> {
    match read {
        Err(StorageError::Altered(row)) => {
            report(portal, row).await;
            Ok(None)
        }
        other => Ok(other?),
    }
}

/// Tells the log, the audit log and the console of an altered row, once. What was refused stays refused when the audit log cannot be written.
pub(crate) async fn report(portal: &Portal, row: Altered) {
    if !portal.altered.note(&row) {
        return;
    }
    tracing::error!(row = %row, "a stored row was changed outside the portal and is refused: somebody can write the store; see docs/threat-model.md");
    let mut event = AuditEvent::new(portal.now(), Actor::Portal, AuditAction::RowAltered).with("kind", row.kind);
    if let Some(id) = &row.id {
        event = event.with("row", id);
    }
    if let Err(error) = portal.audit.append(event).await {
        tracing::error!(error = %chain(&error), "an altered row could not be written to the audit log");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::agent::{Agent, ApiKey, AuthMethod, Invitation, PasswordHash, PasswordKind, Role, Scope, Session, Team};
    use crate::domain::document::SealedText;
    use crate::domain::factors::{Factors, FailedAttempts, Passkey, Totp};
    use crate::domain::id::{AgentId, ApiKeyId};
    use crate::storage::key;
    use crate::storage::seal::Sealed;

    const AT: time::OffsetDateTime = time::macros::datetime!(2026-05-01 12:00 UTC);

    fn seals() -> [Arc<dyn Seal>; 2] {
        let folder = std::env::temp_dir().join(format!("nightdrop-seals-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = ["a", "b"].map(|name| {
            PortalSecrets::create(&folder.join(name), &[1; 16]).unwrap();
            Arc::new(RowSeal(Arc::new(PortalSecrets::load(&folder.join(name)).unwrap()))) as Arc<dyn Seal>
        });
        std::fs::remove_dir_all(&folder).unwrap();
        made
    }

    /// Nothing but the row as it was written, under the key it was written to, by this portal, opens.
    fn only_as_written<R: Sealed + PartialEq + std::fmt::Debug>(seals: &[Arc<dyn Seal>; 2], place: &[u8], other: &[u8], row: &R) {
        let [seal, strange] = seals;
        let stored = seal.close(place, row);
        assert_eq!(seal.open::<R>(place, &stored).unwrap(), *row);
        let refused = |place: &[u8], stored: &[u8]| matches!(seal.open::<R>(place, stored), Err(StorageError::Altered(_)));
        for byte in 0..stored.len() {
            for bit in 0..8 {
                let mut changed = stored.clone();
                changed[byte] ^= 1 << bit;
                assert!(refused(place, &changed), "bit {bit} of byte {byte}");
            }
        }
        for length in 0..stored.len() {
            assert!(refused(place, &stored[..length]), "cut off after {length}");
        }
        assert!(refused(other, &stored), "under another key");
        assert!(refused(place, &row.encode()), "without a MAC");
        assert!(refused(place, &strange.close(place, row)), "of another portal");
    }

    #[test]
    fn a_row_that_differs_in_one_bit_or_stands_elsewhere_is_refused() {
        let seals = seals();
        let agent = Agent {
            id: AgentId([1; 16]),
            email: "a@example.com".into(),
            name: "A".into(),
            role: Role::Agent,
            password: Some(PasswordHash("hash".into())),
            password_kind: PasswordKind::Temporary,
            invitation: Some(Invitation {
                hash: [6; 32],
                expires_at: AT,
            }),
            signed_in_at: Some(AT),
            deleted_at: None,
            known_by: Vec::new(),
            created_at: AT,
            disabled_at: Some(AT),
            sessions_valid_from: AT,
            factors: Factors {
                totp: Some(Totp {
                    secret: SealedText(vec![1, 2]),
                    last_step: 7,
                    since: AT,
                }),
                recovery: vec![[3; 32]],
                passkeys: vec![Passkey {
                    id: vec![9],
                    name: "laptop".into(),
                    credential: SealedText(vec![4]),
                    made_at: AT,
                    used_at: None,
                }],
            },
            teams: vec![Team::parse("cards").unwrap()],
            subject: None,
            misses: FailedAttempts::default(),
        };
        only_as_written(&seals, &key::agent(agent.id), &key::agent(AgentId([2; 16])), &agent);
        let session = Session {
            agent: agent.id,
            created_at: AT,
            seen_at: AT,
            factor_at: None,
            how: AuthMethod::PasswordVerified,
            browser: "Firefox on Linux".into(),
        };
        only_as_written(&seals, &key::session(&[1; 32]), &key::session(&[2; 32]), &session);
        let api_key = ApiKey {
            id: ApiKeyId([5; 16]),
            name: "k".into(),
            scopes: vec![Scope::Read],
            created_at: AT,
            expires_at: Some(AT),
            revoked_at: None,
            used_at: None,
            team: Team::parse("cards"),
            made_by: Some(agent.id),
        };
        only_as_written(&seals, &key::api_key(&[1; 32]), &key::api_key(&[2; 32]), &api_key);
    }
}
