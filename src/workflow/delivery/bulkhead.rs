//! A bulkhead for each provider: how many requests may wait for it at once. One that does not answer keeps its own permits busy and nobody else's.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::document::ProviderName;

pub struct Bulkheads {
    providers: Vec<ProviderName>,
    of: BTreeMap<ProviderName, Bulkhead>,
}

#[derive(Clone)]
struct Bulkhead {
    concurrency: usize,
    permits: Arc<Semaphore>,
}

impl Bulkheads {
    /// With the concurrency of each configured provider.
    pub fn new(providers: impl IntoIterator<Item = (ProviderName, usize)>) -> Self {
        let bulkhead = |concurrency| Bulkhead {
            concurrency,
            permits: Arc::new(Semaphore::new(concurrency)),
        };
        let of: BTreeMap<_, _> = providers.into_iter().map(|(name, n)| (name, bulkhead(n))).collect();
        let providers = of.keys().cloned().collect();
        Self { providers, of }
    }

    /// For another configuration. A provider whose concurrency stays keeps its permits, those that are taken included; one whose concurrency changes gets new ones,
    /// and what is on its way to it ends under the old ones.
    pub fn with(&self, providers: impl IntoIterator<Item = (ProviderName, usize)>) -> Self {
        let mut fresh = Self::new(providers);
        for (name, bulkhead) in &mut fresh.of {
            if let Some(before) = self.of.get(name).filter(|before| before.concurrency == bulkhead.concurrency) {
                *bulkhead = before.clone();
            }
        }
        fresh
    }

    /// Those that have a bulkhead: every other name is no longer configured, and nobody stands behind it who could be waited for.
    pub fn providers(&self) -> &[ProviderName] {
        &self.providers
    }

    pub fn concurrency(&self, provider: &ProviderName) -> usize {
        self.of.get(provider).map_or(0, |bulkhead| bulkhead.concurrency)
    }

    /// How many requests wait for this provider now.
    pub fn in_progress(&self, provider: &ProviderName) -> usize {
        let of = self.of.get(provider);
        of.map_or(0, |bulkhead| bulkhead.concurrency - bulkhead.permits.available_permits())
    }

    /// Waits for a permit. Whoever asks holds no lease yet: it would run out meanwhile. `None` for a provider that is not configured.
    pub async fn permit(&self, provider: &ProviderName) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.of.get(provider)?.permits.clone().acquire_owned().await.ok()
    }

    /// A permit, if one is free at this moment.
    pub fn free_permit(&self, provider: &ProviderName) -> Option<OwnedSemaphorePermit> {
        self.of.get(provider)?.permits.clone().try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn each_provider_has_its_own_permits() {
        let [full, other, gone] = ["full", "other", "gone"].map(|name| ProviderName::parse(name).unwrap());
        let bulkheads = Bulkheads::new([(full.clone(), 2), (other.clone(), 1)]);
        let held = (bulkheads.permit(&full).await.unwrap(), bulkheads.permit(&full).await.unwrap());
        assert_eq!((bulkheads.in_progress(&full), bulkheads.in_progress(&other)), (2, 0));
        assert!(bulkheads.free_permit(&full).is_none());
        assert!(bulkheads.free_permit(&other).is_some(), "another one's is free");
        drop(held);
        assert!(bulkheads.free_permit(&full).is_some());
        assert!(bulkheads.permit(&gone).await.is_none() && bulkheads.concurrency(&gone) == 0);
    }

    #[tokio::test]
    async fn another_configuration_keeps_the_permits_that_are_taken() {
        let [kept, changed, fresh] = ["kept", "changed", "fresh"].map(|name| ProviderName::parse(name).unwrap());
        let before = Bulkheads::new([(kept.clone(), 1), (changed.clone(), 1)]);
        let _held = (before.permit(&kept).await.unwrap(), before.permit(&changed).await.unwrap());
        let after = before.with([(kept.clone(), 1), (changed.clone(), 2), (fresh.clone(), 1)]);
        assert!(after.free_permit(&kept).is_none(), "still taken");
        assert_eq!((after.in_progress(&changed), after.concurrency(&changed)), (0, 2));
        assert!(after.free_permit(&fresh).is_some());
    }
}
