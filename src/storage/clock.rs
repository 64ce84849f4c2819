//! Time, guarded. `now = max(wall clock, highest seen)`: a clock set back cannot revive a link. A clock that jumps more than five minutes ahead of the
//! machine's own uptime may let links expire early, but must not destroy documents: that is reported as *suspect* until somebody confirms it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use time::OffsetDateTime;

/// A forward jump beyond this, against the time since boot, is suspect.
const JUMP_MS: i64 = 5 * 60 * 1000;

/// Where raw time comes from: the operating system, or a test's own hands.
#[derive(Clone)]
pub enum Source {
    System,
    /// Milliseconds since 1970, moved by the test.
    Manual(Arc<AtomicI64>),
}

impl Source {
    pub fn manual(start: OffsetDateTime) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(to_ms(start))))
    }

    fn wall_ms(&self) -> i64 {
        match self {
            Self::System => to_ms(OffsetDateTime::now_utc()),
            Self::Manual(ms) => ms.load(Ordering::SeqCst),
        }
    }

    /// Milliseconds since boot, sleep included.
    fn uptime_ms(&self) -> i64 {
        match self {
            Self::System => {
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                t.tv_sec * 1000 + i64::from(t.tv_nsec as u32 / 1_000_000)
            }
            Self::Manual(ms) => ms.load(Ordering::SeqCst),
        }
    }
}

pub struct GuardedClock {
    source: Source,
    highest: AtomicI64,
    /// wall − uptime when the clock was last trusted.
    offset: AtomicI64,
    suspect: AtomicBool,
}

impl GuardedClock {
    /// `highest`: the latest instant that the store remembers.
    pub fn new(source: Source, highest: Option<OffsetDateTime>) -> Self {
        let offset = source.wall_ms() - source.uptime_ms();
        Self {
            highest: AtomicI64::new(highest.map_or(0, to_ms)),
            offset: AtomicI64::new(offset),
            suspect: AtomicBool::new(false),
            source,
        }
    }

    /// To the millisecond; never earlier than any answer before.
    pub fn now(&self) -> OffsetDateTime {
        let wall = self.source.wall_ms();
        let expected = self.source.uptime_ms() + self.offset.load(Ordering::SeqCst);
        if wall - expected > JUMP_MS {
            self.suspect.store(true, Ordering::SeqCst);
        }
        let before = self.highest.fetch_max(wall, Ordering::SeqCst);
        from_ms(before.max(wall))
    }

    pub fn suspect(&self) -> bool {
        self.suspect.load(Ordering::SeqCst)
    }

    /// An admin says that the present time is right.
    pub fn accept(&self) {
        self.offset.store(self.source.wall_ms() - self.source.uptime_ms(), Ordering::SeqCst);
        self.suspect.store(false, Ordering::SeqCst);
    }
}

/// Milliseconds since 1970.
pub fn to_ms(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The inverse; instants out of range become 1970.
pub fn from_ms(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::{Duration, macros::datetime};

    #[test]
    fn a_clock_set_back_stands_still() {
        let hands = Arc::new(AtomicI64::new(to_ms(datetime!(2026-05-01 12:00 UTC))));
        let clock = GuardedClock::new(Source::Manual(hands.clone()), None);
        let noon = clock.now();
        hands.fetch_sub(3_600_000, Ordering::SeqCst);
        assert_eq!(clock.now(), noon);
        hands.fetch_add(3_600_001, Ordering::SeqCst);
        assert_eq!(clock.now(), noon + Duration::milliseconds(1));
    }

    #[test]
    fn what_the_store_remembers_is_a_floor() {
        let clock = GuardedClock::new(
            Source::manual(datetime!(2026-05-01 12:00 UTC)),
            Some(datetime!(2027-01-01 0:00 UTC)),
        );
        assert_eq!(clock.now(), datetime!(2027-01-01 0:00 UTC));
    }
}
