//! What API and console show of the portal as a whole: its state, its vault, its providers.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::crypto::keyfile::Protection;
use crate::domain::delivery::ConfirmAt;
use crate::http::staff::shapes::{AssuranceClassWord, ClockStateWord, ConfirmAtWord, ProtectionWord, ProviderNameText, VaultKeyStateWord};
use crate::http::staff::view::request::instant;
use crate::storage::clock::Standing;
use crate::version;
use crate::workflow::query::portal;

#[derive(Serialize, ToSchema)]
pub(crate) struct Vault {
    /// None is forwarded; documents are taken unless the key is absent.
    pub locked: bool,
    /// The current key's private half is not here: no document is taken.
    pub absent: bool,
    pub keys: Vec<VaultKey>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct VaultKey {
    pub id: String,
    pub suite: &'static str,
    /// current: new documents are sealed to it; retired: it only opens; destroyed: its private half is not here.
    #[schema(value_type = VaultKeyStateWord)]
    pub state: &'static str,
    pub unlocked: bool,
    /// passphrase, key-file or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProtectionWord>)]
    pub protection: Option<&'static str>,
    /// Documents that only this key opens.
    pub live_documents: u64,
}

/// The portal as a whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    pub version: &'static str,
    /// What it was built from; `development` or `unknown` where that was not said.
    pub commit: &'static str,
    /// The number of the data folder's layout: a program reads one alone.
    pub layout: u32,
    pub assurance: Assurance,
    /// The vault key is locked: nothing is forwarded.
    pub locked: bool,
    /// The machine's clock jumped and is not believed; time goes on without it. Ends by itself when the clock is right again, or with `POST /clock/accept`.
    pub clock_suspect: bool,
    /// `right`; `ahead`: purging by deadline is suspended; `behind`: everything goes on.
    #[schema(value_type = ClockStateWord)]
    pub clock: &'static str,
    /// Submissions that can still be taken.
    pub slots_free: u64,
    /// When the last complete backup was taken; absent when none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub last_backup: Option<String>,
    pub uploads_running: u64,
    /// Requests by state.
    pub requests: BTreeMap<&'static str, u64>,
}

/// What an erasure is worth on this machine.
#[derive(Serialize, ToSchema)]
pub(crate) struct Assurance {
    /// A, B or C.
    #[schema(value_type = AssuranceClassWord)]
    pub class: String,
    pub file_system: String,
    pub reasons: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Provider {
    #[schema(value_type = ProviderNameText)]
    pub name: String,
    pub kind: &'static str,
    /// received or verdict: when a document counts as confirmed and is purged.
    #[schema(value_type = ConfirmAtWord)]
    pub confirm: &'static str,
    /// Whether it can say what is missing.
    pub lists_missing: bool,
    /// Nothing is sent: an agent uploads it in the provider's own dashboard.
    pub by_hand: bool,
    /// Sending pauses after failures in a row.
    pub paused: bool,
}

pub(crate) fn vault(found: portal::Vault) -> Vault {
    let keys = found.keys.into_iter().map(|key| VaultKey {
        id: key.id.to_string(),
        suite: key.suite.name(),
        state: match (key.current, key.protection.is_some() || key.unlocked) {
            (true, _) => "current",
            (false, true) => "retired",
            (false, false) => "destroyed",
        },
        unlocked: key.unlocked,
        protection: key.protection.map(|p| match p {
            Protection::Passphrase => "passphrase",
            Protection::Kek => "key-file",
            Protection::None => "none",
        }),
        live_documents: key.live_documents,
    });
    Vault {
        locked: found.locked,
        absent: found.absent,
        keys: keys.collect(),
    }
}

/// `uploads_running` is the listeners' own.
pub(crate) fn status(found: portal::Status, uploads_running: u64) -> Status {
    Status {
        version: version::VERSION,
        commit: version::COMMIT,
        layout: found.layout,
        assurance: Assurance {
            class: found.assurance.class.to_string(),
            file_system: found.assurance.file_system,
            reasons: found.assurance.reasons,
        },
        locked: found.locked,
        clock_suspect: found.clock_suspect,
        clock: match found.clock {
            Standing::Agrees => "right",
            Standing::Ahead => "ahead",
            Standing::Behind => "behind",
        },
        slots_free: found.slots_free,
        last_backup: found.last_backup.map(instant),
        uploads_running,
        requests: found.requests.into_iter().map(|(s, n)| (s.as_str(), n)).collect(),
    }
}

pub(crate) fn provider(found: portal::Provider) -> Provider {
    Provider {
        name: found.name,
        kind: found.kind,
        confirm: match found.confirm {
            ConfirmAt::Received => "received",
            ConfirmAt::Verdict => "verdict",
        },
        lists_missing: found.lists_missing,
        by_hand: found.by_hand,
        paused: found.paused,
    }
}
