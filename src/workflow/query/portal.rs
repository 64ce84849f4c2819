//! The portal as a whole: what it is worth on this machine, and what it is connected to.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::crypto::assurance::Assurance;
use crate::domain::delivery::ConfirmAt;
use crate::domain::document::ProviderName;
use crate::domain::request::RequestState;
use crate::storage::Filter;
use crate::storage::clock::Standing;
use crate::workflow::vault::{self, VaultKey};
use crate::workflow::{Portal, WorkflowError};

/// How the portal stands.
pub(crate) struct Status {
    /// The number of the data folder's layout.
    pub layout: u32,
    pub assurance: Assurance,
    pub locked: bool,
    pub clock_suspect: bool,
    pub clock: Standing,
    pub slots_free: u64,
    /// When the last complete backup was taken.
    pub last_backup: Option<OffsetDateTime>,
    pub requests: Vec<(RequestState, u64)>,
}

pub(crate) async fn status(portal: &Portal) -> Result<Status, WorkflowError> {
    Ok(Status {
        layout: portal.backups.layout(),
        assurance: portal.assurance.current(),
        locked: portal.keyring.is_locked(),
        clock_suspect: portal.requests.clock_suspect(),
        clock: portal.requests.clock(),
        slots_free: portal.erasure.free().unwrap_or(0),
        last_backup: portal.backups.last(),
        requests: portal.requests.counts().await?,
    })
}

/// A provider that the configuration does not name any more, and that requests wait for.
pub(crate) struct GoneProvider {
    pub provider: ProviderName,
    pub requests: usize,
    /// Only so many were looked through.
    pub more: bool,
}

/// What is looked through in each state.
const LOOK: usize = 1_000;
/// Requests that still have something to do with their provider.
const WAITING: [RequestState; 6] = [
    RequestState::Awaiting,
    RequestState::Receiving,
    RequestState::Received,
    RequestState::Forwarding,
    RequestState::AwaitingConfirmation,
    RequestState::NeedsAttention,
];

pub(crate) async fn gone_providers(portal: &Portal) -> Result<Vec<GoneProvider>, WorkflowError> {
    let mut found: BTreeMap<ProviderName, usize> = BTreeMap::new();
    let mut more = false;
    for state in WAITING {
        let filter = Filter {
            state: Some(state),
            ..Filter::default()
        };
        let page = portal.requests.list(&filter, None, LOOK).await?;
        more |= page.next.is_some();
        for request in page.requests {
            if !portal.providers.contains_key(&request.provider) {
                *found.entry(request.provider).or_default() += 1;
            }
        }
    }
    let gone = found
        .into_iter()
        .map(|(provider, requests)| GoneProvider { provider, requests, more });
    Ok(gone.collect())
}

/// The vault keys, and whether forwarding waits for a passphrase.
pub(crate) struct Vault {
    pub locked: bool,
    /// The private half is not here: no passphrase opens it.
    pub absent: bool,
    pub keys: Vec<VaultKey>,
}

pub(crate) async fn vault(portal: &Portal) -> Result<Vault, WorkflowError> {
    Ok(Vault {
        keys: vault::keys(portal).await?,
        locked: portal.keyring.is_locked(),
        absent: portal.keyring.is_absent(),
    })
}

/// A configured provider.
pub(crate) struct Provider {
    pub name: String,
    pub kind: &'static str,
    pub confirm: ConfirmAt,
    pub lists_missing: bool,
    pub by_hand: bool,
    /// Sending pauses after failures in a row.
    pub paused: bool,
}

pub(crate) fn providers(portal: &Portal) -> Vec<Provider> {
    let now = portal.now();
    let all = portal.providers.iter().map(|(name, connector)| {
        let profile = connector.profile();
        Provider {
            name: name.to_string(),
            kind: profile.kind,
            confirm: profile.confirm,
            lists_missing: profile.lists_missing,
            by_hand: profile.by_hand,
            paused: portal.delivery.breakers.paused(name, now),
        }
    });
    all.collect()
}
