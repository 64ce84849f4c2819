//! Wakes the workers when something may have become due: those of the portal's own steps, and those of each provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::document::ProviderName;

#[derive(Clone, Default)]
pub struct Wake {
    own: Arc<Notify>,
    providers: BTreeMap<ProviderName, Arc<Notify>>,
}

impl Wake {
    /// For these providers; whoever waits for one that was known before is still woken.
    pub fn with(&self, providers: impl IntoIterator<Item = ProviderName>) -> Self {
        let of = |name: ProviderName| {
            let notify = self.providers.get(&name).cloned().unwrap_or_default();
            (name, notify)
        };
        Self {
            own: self.own.clone(),
            providers: providers.into_iter().map(of).collect(),
        }
    }

    /// What is due of the portal's own steps. Requests of a provider that is not configured are among them.
    pub fn own(&self) -> &Notify {
        &self.own
    }

    pub fn provider(&self, provider: &ProviderName) -> &Notify {
        self.providers.get(provider).unwrap_or(&self.own)
    }

    /// A request at this provider changed: its next step may be the portal's or the provider's.
    pub fn request_at(&self, provider: &ProviderName) {
        self.own.notify_one();
        self.provider(provider).notify_one();
    }

    /// Something changed for all requests.
    pub fn all(&self) {
        self.own.notify_one();
        self.providers.values().for_each(|provider| provider.notify_one());
    }
}
