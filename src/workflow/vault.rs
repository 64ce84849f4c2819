//! The vault key as staff see it: which keys there are, how many documents wait for each, and opening them with a passphrase. A passphrase is never stored, logged or shown.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::crypto::envelope::{KeyId, Suite};
use crate::crypto::header::Header;
use crate::crypto::keyfile::{Argon2Cost, Protection, Protector};
use crate::crypto::keyring::KeyringError;
use crate::domain::agent::Actor;
use crate::domain::audit::AuditEvent;

use super::{Portal, WorkflowError, blocking};

/// One vault key.
pub struct VaultKey {
    pub id: KeyId,
    pub suite: Suite,
    /// New documents are sealed to it.
    pub current: bool,
    pub unlocked: bool,
    /// What opens it; `None` when its private half is not here.
    pub protection: Option<Protection>,
    /// Documents that only this key opens.
    pub live_documents: u64,
}

/// All keys, by id. Cost grows with the documents that are held, not with what was ever received.
pub async fn keys(portal: &Portal) -> Result<Vec<VaultKey>, WorkflowError> {
    let mut live: BTreeMap<KeyId, u64> = BTreeMap::new();
    for (_, owner) in portal.records.live_documents().await? {
        let request = portal.records.request(owner).await?;
        let sealed_to = request
            .as_ref()
            .and_then(|r| r.document())
            .and_then(|d| d.parts.first())
            .and_then(|p| Header::parse(&p.header).ok());
        if let Some(header) = sealed_to {
            *live.entry(header.key_id).or_default() += 1;
        }
    }
    let all = portal.keyring.status().into_iter();
    Ok(all
        .map(|key| VaultKey {
            id: key.id,
            suite: key.suite,
            current: key.current,
            unlocked: key.unlocked,
            protection: key.protection,
            live_documents: live.get(&key.id).copied().unwrap_or(0),
        })
        .collect())
}

/// Opens every key that this passphrase opens; [`WorkflowError::Invalid`] when it opens none. Forwarding goes on at once.
pub async fn unlock(portal: &Portal, passphrase: Zeroizing<String>, by: Actor) -> Result<(), WorkflowError> {
    // One at a time: a key file may ask for gibibytes.
    let permit = portal.hashing.turn().await?;
    let keyring = portal.keyring.clone();
    let opened = blocking(move || {
        let _permit = permit;
        keyring.unlock(&Protector::Passphrase(passphrase.as_bytes(), Argon2Cost::smallest()))
    })
    .await?;
    let now = portal.records.now();
    match opened {
        Ok(_) => {
            portal.records.append(AuditEvent::new(now, by, "key.unlocked")).await?;
            portal.wake.notify_one();
            Ok(())
        }
        Err(KeyringError::DoesNotOpen) => {
            portal.records.append(AuditEvent::new(now, by, "key.unlock_refused")).await?;
            Err(WorkflowError::Invalid {
                field: "passphrase",
                mend: "opens no vault key".to_owned(),
            })
        }
        Err(error) => Err(WorkflowError::Internal(error.to_string())),
    }
}

/// Takes the machine's present time for right, after a jump: purging by deadline goes on. With a time that is still wrong, what that time says is due is destroyed.
pub async fn accept_clock(portal: &Portal, by: Actor) -> Result<(), WorkflowError> {
    portal.records.accept_clock();
    portal
        .records
        .append(AuditEvent::new(portal.records.now(), by, "clock.accepted"))
        .await?;
    portal.wake.notify_one();
    Ok(())
}
