//! Lists in the embedded store: pages of requests by the narrowest index (keyset pagination).

use crate::storage::Cause;

use crate::domain::assignment::AssignedTo;
use crate::domain::id::RequestId;
use crate::domain::list_order::ListOrder;
use crate::storage::{Cursor, Filter, Page, StorageError, key};

use super::{Failed, SledStore, load};

/// Rows looked at at once.
const SCAN_STEP: usize = 200;
/// Rows looked at for one page at most: a page may be short, or empty, while more follow behind its cursor.
const PAGE_LOOK: usize = 5_000;

impl SledStore {
    pub(super) fn page(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, Failed> {
        let rows = self.store.records();
        let now = self.clock.now();
        // The narrowest index leads; what it does not cover is checked on the row.
        let prefix = if filter.order == ListOrder::Expiry {
            vec![key::EXPIRY]
        } else if let Some(index) = &filter.applicant_index {
            key::applicant_prefix(index)
        } else if let Some(reference) = &filter.receipt_reference {
            key::receipt_reference_prefix(reference)
        } else if let Some(word) = &filter.word {
            key::word_prefix(word)
        } else if let Some(state) = filter.state {
            key::state_prefix(state)
        } else if let Some(outcome) = filter.outcome {
            key::outcome_prefix(outcome)
        } else if let Some(AssignedTo::Agent(agent)) = filter.assigned {
            key::assigned_prefix(agent)
        } else if let Some(creator) = &filter.created_by {
            key::creator_prefix(creator)
        } else if let Some(provider) = &filter.provider {
            key::provider_prefix(provider)
        } else if let Some([team]) = filter.teams.as_deref() {
            key::team_prefix(team)
        } else {
            vec![key::ALL]
        };
        // What time has ended and nobody has noted yet is behind a list of what ends next.
        let start = (filter.order == ListOrder::Expiry).then(|| Cursor::at(now));
        let mut behind = after.or(start).map(|c| [&prefix[..], &c.0].concat());
        let mut found = Vec::with_capacity(limit);
        let mut looked = 0;
        loop {
            let step = match filter.order {
                ListOrder::Newest | ListOrder::Expiry => rows.scan_prefix(&prefix, behind.as_deref(), SCAN_STEP.max(limit))?,
                ListOrder::Oldest => rows.scan_prefix_back(&prefix, behind.as_deref(), SCAN_STEP.max(limit))?,
            };
            let exhausted = step.len() < SCAN_STEP.max(limit);
            for (k, _) in step {
                let place: [u8; 24] = k[prefix.len()..]
                    .try_into()
                    .map_err(|_| Failed::Storage(StorageError::Corrupt(Cause::new("an index entry"))))?;
                let id = RequestId(
                    place[8..]
                        .try_into()
                        .map_err(|_| Failed::Storage(StorageError::Corrupt(Cause::new("an index entry"))))?,
                );
                behind = Some(k);
                looked += 1;
                if let Some(request) = load(&rows, id)? {
                    if filter.order == ListOrder::Oldest && filter.made_before.is_some_and(|before| request.created_at >= before) {
                        // Only younger ones follow.
                        return Ok(Page {
                            requests: found,
                            next: None,
                        });
                    }
                    if filter.fits(&request, now) {
                        found.push(request);
                    }
                }
                if found.len() == limit || looked == PAGE_LOOK {
                    return Ok(Page {
                        requests: found,
                        next: Some(Cursor(place)),
                    });
                }
            }
            if exhausted {
                return Ok(Page {
                    requests: found,
                    next: None,
                });
            }
        }
    }
}
