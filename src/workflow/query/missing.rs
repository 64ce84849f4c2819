//! What a provider still wants of an applicant.

use crate::connectors::{Failure, Missing};
use crate::domain::document::{ApplicantRef, ProviderName};
use crate::workflow::Portal;

/// Why a provider was not asked, or did not answer.
#[derive(Debug)]
pub(crate) enum NotAnswered {
    NoSuchProvider,
    NoReference,
    /// It has no way to say it.
    CannotList,
    Failed(Failure),
}

/// Asks the provider itself.
pub(crate) async fn ask(portal: &Portal, provider: &str, applicant: &str) -> Result<Vec<Missing>, NotAnswered> {
    let connector = ProviderName::parse(provider).and_then(|name| portal.providers.get(&name)).cloned();
    let connector = connector.ok_or(NotAnswered::NoSuchProvider)?;
    let applicant = ApplicantRef::parse(applicant).ok_or(NotAnswered::NoReference)?;
    if !connector.profile().lists_missing {
        return Err(NotAnswered::CannotList);
    }
    connector.missing(&applicant).await.map_err(NotAnswered::Failed)
}
