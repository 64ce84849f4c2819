//! Failpoints: places between two steps at which a test ends the process as `kill -9` would.
//!
//! `NIGHTDROP_FAILPOINT=delivery.intent_stored` ends the process at the first passing of that point, `erasure.slot_written#2` at the second; [`arm`] says so to a
//! process that runs already. Only tests and debug builds have them; a release holds nothing of this. The crash tests iterate [`Failpoint::ALL`].

macro_rules! failpoints {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Failpoint {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Failpoint {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

failpoints! {
    /// The slot page with a fresh secret is written, and not synced.
    SlotWritten = "erasure.slot_written",
    /// The slot is durable, and no row names it.
    SlotStored = "erasure.slot_stored",
    /// A chunk of a part is written.
    ChunkWritten = "intake.chunk_written",
    /// Every chunk of a part is durable, and its row is not written.
    PartSealed = "intake.part_sealed",
    /// The row that names a part is applied, and not synced.
    PartDecided = "intake.part_decided",
    /// The part is stored, and nobody was told.
    PartStored = "intake.part_stored",
    /// A worker has taken a request.
    Leased = "delivery.leased",
    /// The first bytes of a document are decrypted in memory.
    Decrypted = "delivery.decrypted",
    /// The scanner has answered, and nothing followed.
    Scanned = "delivery.scanned",
    /// The intent to send is durable, and no byte has left.
    IntentStored = "delivery.intent_stored",
    /// A piece of a document went to the connection.
    PieceSent = "delivery.piece_sent",
    /// The provider has answered, and the answer is not stored.
    Answered = "delivery.answered",
    /// A step of an attempt is noted.
    ProgressNoted = "delivery.progress_noted",
    /// The provider has said what became of an attempt, and it is not stored.
    Reconciled = "delivery.reconciled",
    /// The row says that the provider has received it, and is not synced.
    ReceiptDecided = "delivery.receipt_decided",
    /// The verdict has come, and is not stored.
    VerdictReceived = "delivery.verdict_received",
    /// A callback is verified, and nothing followed.
    CallbackVerified = "callback.verified",
    /// The purge has begun, and the secret lives.
    PurgeStarted = "purge.started",
    /// The secret is overwritten, and not synced.
    ZerosWritten = "erasure.zeros_written",
    /// The overwritten secret is synced, and not read back.
    ZerosSynced = "erasure.zeros_synced",
    /// One file of a document is deleted.
    FileDeleted = "purge.file_deleted",
    /// The deletion receipt is stored, and the slot is not free yet.
    ReceiptStored = "purge.receipt_stored",
    /// Some rows of the store are written a second time.
    CompactionBegun = "store.compaction_begun",
    /// All of them are, durable and compared, and the old database has its name.
    CompactionWritten = "store.compaction_written",
    /// The new database has the name, and the old one is there.
    CompactionExchanged = "store.compaction_exchanged",
    /// The pages of new erasure slots are durable, and the file's head does not count them.
    SlotsAppended = "erasure.slots_appended",
    /// The head counts them, and the store has not noted their blocks.
    SlotsCounted = "erasure.slots_counted",
}

/// Passes a point, unless this is where the process is told to end.
#[inline]
pub(crate) fn pass(point: Failpoint) {
    #[cfg(any(test, debug_assertions))]
    armed::pass(point.name());
    #[cfg(not(any(test, debug_assertions)))]
    let _ = point;
}

/// From now on the process ends at this point (a name, or `name#2` for its second passing), and at no other.
pub fn arm(target: &str) {
    #[cfg(any(test, debug_assertions))]
    armed::arm(target);
    #[cfg(not(any(test, debug_assertions)))]
    let _ = target;
}

#[cfg(any(test, debug_assertions))]
mod armed {
    use std::sync::{LazyLock, Mutex, PoisonError};

    struct Target {
        name: String,
        passings: u32,
    }

    static TARGET: LazyLock<Mutex<Option<Target>>> =
        LazyLock::new(|| Mutex::new(std::env::var("NIGHTDROP_FAILPOINT").ok().and_then(|text| read(&text))));

    fn read(text: &str) -> Option<Target> {
        let (name, count) = text.split_once('#').unwrap_or((text, "1"));
        let passings = count.parse().unwrap_or(1);
        (!name.is_empty()).then(|| Target {
            name: name.to_owned(),
            passings,
        })
    }

    pub(super) fn arm(text: &str) {
        *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = read(text);
    }

    pub(super) fn pass(name: &str) {
        let mut target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = target.as_mut().filter(|t| t.name == name) else {
            return;
        };
        target.passings = target.passings.saturating_sub(1);
        if target.passings == 0 {
            // No destructor, no flush, no core file.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}
