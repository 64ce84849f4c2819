//! One log line for each change of a request's state, once it is durable. What it takes are ids, names out of the configuration and words of the program by type:
//! a token, an applicant or a file's name cannot be given to it.

use crate::domain::document::ProviderName;
use crate::domain::id::RequestId;
use crate::domain::request::{DocumentRequest, RequestState};

/// Where a request came from and where it is now.
#[derive(Clone, Debug)]
pub(super) struct StateChange {
    request: RequestId,
    provider: ProviderName,
    from: Option<RequestState>,
    to: RequestState,
}

impl StateChange {
    pub(super) fn new(from: Option<RequestState>, to: RequestState, after: &DocumentRequest) -> Self {
        Self {
            request: after.id,
            provider: after.provider.clone(),
            from,
            to,
        }
    }

    /// Nothing where the state is as it was.
    pub(super) fn log(&self) {
        if self.from == Some(self.to) {
            return;
        }
        let from = self.from.map_or("new", RequestState::as_str);
        tracing::info!(event = "state", request = %self.request, provider = %self.provider, from, to = self.to.as_str());
    }
}
