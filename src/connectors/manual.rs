//! No provider API: an agent with the right role downloads each part once, uploads it in the provider's own dashboard and marks it as uploaded.
//! Nothing is ever sent from here, and every method says so.

use async_trait::async_trait;
use time::Duration;

use super::settings::{Defaults, read_limits};
use super::{
    Callback, CallbackRefused, Connector, Delivered, Failure, Hint, Limits, Missing, OutboundDocument, Presence, Profile, ProgressLog,
    Unsupported, Verdict,
};
use crate::domain::delivery::{BY_HAND, ConfirmAt, DeliveryProblem, ProviderClass, Receipt};
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName, PictureLimits};
use crate::settings::Reader;

#[derive(Clone, Debug)]
pub(crate) struct ManualSettings {
    pub limits: Limits,
}

impl ManualSettings {
    /// Keys: `accepted`, `min_bytes`, `max_bytes`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let defaults = Defaults {
            base_url: "",
            allow_loopback: false,
            accepted: &FileType::ALL,
            min_bytes: 1,
            max_bytes: 20 << 20,
            pictures: PictureLimits::default(),
            poll_first: Duration::ZERO,
            poll_longest: Duration::ZERO,
        };
        let limits = read_limits(reader, &defaults);
        Self { limits }
    }
}

pub(crate) struct Manual {
    settings: ManualSettings,
}

impl Manual {
    pub(crate) fn new(settings: ManualSettings) -> Self {
        Self { settings }
    }
}

fn by_hand() -> Failure {
    Failure::Final {
        problem: DeliveryProblem::new(
            BY_HAND,
            "This provider is served by hand: download the parts, upload them there, and mark the request as uploaded.",
        ),
    }
}

#[async_trait]
impl Connector for Manual {
    fn profile(&self) -> Profile {
        Profile {
            kind: "manual",
            confirm: ConfirmAt::Received,
            key_window: Duration::ZERO,
            lists_missing: false,
            by_hand: true,
            poll_first: Duration::ZERO,
            poll_longest: Duration::ZERO,
        }
    }

    fn class(&self, _: &OutboundDocument) -> ProviderClass {
        ProviderClass::NoRepeat
    }

    fn accepts(&self, _: &DocumentKind, _: &[PartName]) -> Result<Limits, Unsupported> {
        Ok(self.settings.limits.clone())
    }

    async fn missing(&self, _: &ApplicantRef) -> Result<Vec<Missing>, Failure> {
        Err(super::cannot_list())
    }

    async fn deliver(&self, _: &OutboundDocument, _: &dyn ProgressLog) -> Result<Delivered, Failure> {
        Err(by_hand())
    }

    async fn reconcile(&self, _: &OutboundDocument) -> Result<Presence, Failure> {
        Ok(Presence::Unknown)
    }

    async fn verdict(&self, _: &OutboundDocument, _: &Receipt) -> Result<Verdict, Failure> {
        Err(by_hand())
    }

    fn callback(&self, _: &Callback<'_>) -> Result<Vec<Hint>, CallbackRefused> {
        Err(CallbackRefused::NotUsed)
    }

    async fn check(&self) -> Result<String, Failure> {
        Ok("served by hand, nothing to reach".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::connectors::fake::{NoProgressLog, outbound_of, settings_of};

    #[tokio::test]
    async fn nothing_is_sent_and_everything_says_so() {
        let table = "accepted=['application/pdf']".parse().unwrap();
        let manual = Manual::new(settings_of(&table, ManualSettings::read).unwrap());
        let outbound = outbound_of("a", &[("front", b"x")], 1);
        assert!(manual.profile().by_hand);
        assert_eq!(
            manual.deliver(&outbound, &NoProgressLog).await.unwrap_err().problem().code,
            "provider.by_hand"
        );
        assert_eq!(
            manual.missing(&outbound.applicant).await.unwrap_err().problem().code,
            "provider.cannot_list"
        );
        assert_eq!(manual.accepts(&outbound.kind, &[]).unwrap().accepted, [FileType::Pdf]);
        assert!(settings_of(&"api_key_file='x'".parse().unwrap(), ManualSettings::read).is_err());
    }
}
