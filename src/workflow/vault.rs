//! The vault key as staff see it: which keys there are, how many documents wait for each, and opening them with a passphrase. A passphrase is never stored, logged or shown.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use crate::chain::Cause;
use crate::crypto::envelope::{KeyId, Suite};
use crate::crypto::header::Header;
use crate::crypto::keyfile::{Argon2Cost, Protection, Protector};
use crate::crypto::keyring::KeyringError;
use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::id::DocumentId;
use crate::domain::request::{DocumentRequest, Intake};
use crate::storage::{RequestStore, StorageError};

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

/// What is sealed to which key.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    /// Submissions, complete or not, with a part that this key opens.
    pub by_key: BTreeMap<KeyId, u64>,
    /// Submissions of which it cannot be said.
    pub unknown: u64,
}

/// Looks at every part of every submission whose bytes exist, those included that are finished in a submission which is not: a key may have been renewed
/// between two parts. Cost grows with the documents that are held, not with what was ever received.
pub(crate) async fn sealed<R: RequestStore + ?Sized>(requests: &R) -> Result<Sealed, StorageError> {
    let mut sealed = Sealed::default();
    for (id, owner) in requests.live_documents().await? {
        let Some(request) = requests.request(owner).await? else {
            sealed.unknown += 1;
            continue;
        };
        match keys_of(&request, id) {
            Ok(keys) => keys.into_iter().for_each(|key| *sealed.by_key.entry(key).or_default() += 1),
            Err(_) => sealed.unknown += 1,
        }
    }
    Ok(sealed)
}

/// The keys that the parts of one submission are sealed to.
pub(crate) fn keys_of(request: &DocumentRequest, document: DocumentId) -> Result<BTreeSet<KeyId>, &'static str> {
    let held = request.document().filter(|d| d.id == document).into_iter().flat_map(|d| &d.parts);
    // A staged part is sealed to its visitor's token, and what is discarded is opened by nobody.
    let finished = request.intakes.iter().filter(|r| r.document == document).flat_map(Intake::finished);
    held.chain(finished.map(|f| &f.part))
        .map(|part| Header::parse(&part.header).map(|header| header.key_id))
        .collect()
}

/// All keys, by id.
pub async fn keys(portal: &Portal) -> Result<Vec<VaultKey>, WorkflowError> {
    let live = sealed(&*portal.requests).await?.by_key;
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
pub(crate) async fn unlock(portal: &Portal, passphrase: Zeroizing<String>, by: Actor) -> Result<(), WorkflowError> {
    // No passphrase opens what is not there.
    can_take(portal)?;
    // One at a time, and not in the queue of those who sign in: a key file may ask for gibibytes and seconds.
    let permit = portal.auth.unlocking.turn().await?;
    let keyring = portal.keyring.clone();
    let opened = blocking(move || {
        let _permit = permit;
        keyring.unlock(&Protector::Passphrase(passphrase.as_bytes(), Argon2Cost::smallest()))
    })
    .await?;
    let now = portal.now();
    match opened {
        Ok(_) => {
            portal.audit.append(AuditEvent::new(now, by, AuditAction::KeyUnlocked)).await?;
            portal.wake.all();
            Ok(())
        }
        Err(KeyringError::DoesNotOpen) => {
            portal.audit.append(AuditEvent::new(now, by, AuditAction::KeyUnlockRefused)).await?;
            Err(WorkflowError::Invalid {
                field: "passphrase",
                fix: "opens no vault key".to_owned(),
            })
        }
        Err(error) => Err(WorkflowError::Internal(Cause::new(error))),
    }
}

/// Whether what comes in can ever be read. A vault that waits for its passphrase takes documents; one whose private key is not there does not.
pub(crate) fn can_take(portal: &Portal) -> Result<(), WorkflowError> {
    match portal.keyring.is_absent() {
        true => Err(WorkflowError::VaultAbsent),
        false => Ok(()),
    }
}

/// Takes the machine's present time for right, after a jump: purging by deadline goes on. With a time that is still wrong, what that time says is due is destroyed.
pub async fn accept_clock(portal: &Portal, by: Actor) -> Result<(), WorkflowError> {
    portal.requests.accept_clock();
    portal
        .audit
        .append(AuditEvent::new(portal.now(), by, AuditAction::ClockAccepted))
        .await?;
    portal.wake.all();
    Ok(())
}
