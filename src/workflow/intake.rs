//! From the socket to encrypted chunks: the applicant's side of a request. No plaintext byte touches a disk, no document stands in memory whole, and nothing is
//! called received before it is durable.
//!
//! [`link`] looks a token up and [`passcode`] spends its tries. [`submission`] stores the parts of one document, one durable step each ([`part`]); [`resumable`]
//! brings a part over several connections through the same step. [`secret`] owns an erasure secret until a row does, [`discard`] destroys what did not arrive,
//! [`part_lock`] and [`in_flight`] say who may write.

pub(crate) mod discard;
mod error;
pub(crate) mod in_flight;
pub(crate) mod link;
pub(crate) mod part;
pub(crate) mod part_lock;
pub(crate) mod passcode;
pub(crate) mod resumable;
mod secret;
mod submission;

pub(crate) use error::IntakeError;
pub(crate) use link::{DeadLink, OpenedLink};
pub(crate) use secret::Orphan;
pub use secret::SlotGuard;
pub(super) use secret::{DiscardOutcome, discard_orphan};
pub(crate) use submission::receipt_mark;
pub use submission::{Source, Submission};

/// What uploads of this process share.
#[derive(Default)]
pub struct IntakeState {
    /// Whose chunks are being written: the sweep leaves them alone, and whoever destroys them ends their writers first.
    pub in_flight: in_flight::InFlight,
    pub cleanup: discard::Cleanup,
    /// Who writes which part now.
    pub part_locks: part_lock::PartLocks,
}
