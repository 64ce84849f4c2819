//! Sending a held document to its provider, and what follows until the provider's verdict: the worker's side of a request.
//!
//! [`step`] routes a leased request by its stage, and [`lease`] is what every step has; [`send`] makes one attempt; [`uncertain`] asks the provider before anything is sent again; [`confirm`] asks for
//! the verdict. [`outbound`] decrypts, [`breaker`] is the circuit breaker of each provider and [`bulkhead`] its limit of requests at once, [`scan`] the virus
//! scanner before a document leaves.

pub(crate) mod breaker;
pub(crate) mod bulkhead;
pub(crate) mod confirm;
mod lease;
pub(crate) mod outbound;
pub(crate) mod scan;
pub(crate) mod send;
mod step;
mod uncertain;

use std::sync::Arc;

pub use lease::LEASE;
pub use step::step;
pub(crate) use step::step_alone;

/// What deliveries of this process share.
#[derive(Clone)]
pub struct DeliveryState {
    pub breakers: Arc<breaker::Breakers>,
    pub bulkheads: Arc<bulkhead::Bulkheads>,
    /// Whom a document must pass before it leaves; `None` when the configuration wants no scan.
    pub scanner: Option<Arc<scan::Scanner>>,
}
