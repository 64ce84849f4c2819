//! Time, guarded: a wrong wall clock may neither revive a link nor destroy a document.
//!
//! * `now` never runs backwards, not over a restart either: the store keeps the latest answer, to the minute. A wall clock set back makes time stand still.
//! * While the wall clock is more than five minutes ahead of what the machine's own uptime makes of the last trusted time, it is not believed: `now` goes on
//!   from the trusted time at its true pace, so nothing expires early, and nothing of the jump is remembered. The clock is *suspect* from then on, and purging
//!   by deadline is suspended, until an admin accepts the present time, whatever it is by then, or the portal starts again and finds it right.
//! * A restart is judged alike: the store keeps what was trusted ([`GuardedClock::base`]), and within one boot of the machine the uptime goes on.
//!
//! What it cannot know: while the machine is off, no uptime counts. After a reboot a clock that is ahead of the latest answer is believed, because the machine
//! may have been off for that long, unless the clock was suspect already: then time goes on from the latest answer, and somebody has to accept it. A clock
//! that was wrong from the first start on is believed too, and what it has pushed ahead stays ahead. Sleep counts as uptime as the kernel measures it; a virtual
//! machine that its host has held looks like a clock that jumped. Small steps add up: the five minutes are for a whole boot, or since the last acceptance.
//! While a right clock is not believed, the codes of an authenticator app do not fit: an admin comes in by passkey, recovery code, API key or a session they have.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

/// A forward jump beyond this, against the time since boot, is suspect.
const JUMP_MS: i64 = 5 * 60 * 1000;
/// Another text in each boot of the machine, as Linux writes it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where raw time comes from: the operating system, or a test's own hands.
#[derive(Clone)]
pub enum Source {
    System,
    Manual(Arc<Manual>),
}

impl Source {
    pub fn manual(start: OffsetDateTime) -> Self {
        Self::Manual(Arc::new(Manual::new(start)))
    }

    fn wall_ms(&self) -> i64 {
        match self {
            Self::System => to_ms(OffsetDateTime::now_utc()),
            Self::Manual(hands) => hands.wall_ms(),
        }
    }

    /// Milliseconds since boot, sleep included.
    fn uptime_ms(&self) -> i64 {
        match self {
            Self::System => {
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                t.tv_sec * 1000 + i64::from(t.tv_nsec as u32 / 1_000_000)
            }
            Self::Manual(hands) => hands.uptime.load(Ordering::SeqCst),
        }
    }

    /// Empty when it cannot be told.
    fn boot(&self) -> String {
        match self {
            Self::System => std::fs::read_to_string(BOOT_ID).map_or_else(|_| String::new(), |id| id.trim().to_owned()),
            Self::Manual(hands) => format!("manual {}", hands.boots.load(Ordering::SeqCst)),
        }
    }
}

/// A machine whose time stands still until a test moves it.
pub struct Manual {
    wall: AtomicI64,
    uptime: AtomicI64,
    boots: AtomicI64,
}

impl Manual {
    /// Two machines started like this are in the same boot, up since 1970.
    pub fn new(start: OffsetDateTime) -> Self {
        let start = to_ms(start);
        Self {
            wall: AtomicI64::new(start),
            uptime: AtomicI64::new(start),
            boots: AtomicI64::new(0),
        }
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }

    /// Time passes: milliseconds, on every clock.
    pub fn pass(&self, ms: i64) {
        // The uptime first: nobody may see a jump between the two.
        self.uptime.fetch_add(ms, Ordering::SeqCst);
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock, ahead or back.
    pub fn jump(&self, ms: i64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn reboot(&self) {
        self.boots.fetch_add(1, Ordering::SeqCst);
        self.uptime.store(0, Ordering::SeqCst);
    }
}

pub struct GuardedClock {
    source: Source,
    boot: String,
    state: Mutex<State>,
}

struct State {
    /// The latest answer; never fed by a wall clock that is not believed.
    highest: i64,
    /// wall − uptime when the clock was last trusted.
    offset: i64,
    suspect: bool,
}

impl GuardedClock {
    /// `highest`: the latest answer that the store remembers; `base`: what [`Self::base`] gave it. Bytes of another form are taken for none.
    pub fn new(source: Source, highest: Option<OffsetDateTime>, base: Option<&[u8]>) -> Self {
        let boot = source.boot();
        let highest = highest.map_or(0, to_ms);
        let uptime = source.uptime_ms();
        let present = source.wall_ms() - uptime;
        let trusted = base.and_then(Base::decode).and_then(|base| base.trusted(&boot, highest, uptime));
        let state = State {
            highest,
            // A restart is no way to move on by less than a jump each time. A clock that was set back meanwhile is measured from where it is.
            offset: trusted.map_or(present, |trusted| trusted.min(present)),
            suspect: false,
        };
        let clock = Self {
            source,
            boot,
            state: Mutex::new(state),
        };
        clock.now();
        clock
    }

    /// To the millisecond; never earlier than any answer before.
    pub fn now(&self) -> OffsetDateTime {
        let mut state = self.state();
        // The wall first: a pause between the two readings must not look like a jump.
        let wall = self.source.wall_ms();
        let expected = self.source.uptime_ms() + state.offset;
        let believed = if wall - expected > JUMP_MS {
            if !state.suspect {
                let seconds = (wall - expected) / 1000;
                tracing::error!(
                    seconds,
                    "the machine's clock jumped ahead and is not believed; purging by deadline waits until an admin says that the time is right"
                );
            }
            state.suspect = true;
            expected
        } else {
            wall
        };
        state.highest = state.highest.max(believed);
        from_ms(state.highest)
    }

    pub fn suspect(&self) -> bool {
        self.now();
        self.state().suspect
    }

    /// An admin says that the wall clock is right as it is now.
    pub fn accept(&self) {
        let mut state = self.state();
        state.offset = self.source.wall_ms() - self.source.uptime_ms();
        state.suspect = false;
    }

    /// What the next start needs to judge the wall clock by; as long as nothing happens to the clock, it stays the same.
    pub fn base(&self) -> Vec<u8> {
        let state = self.state();
        Base {
            offset: state.offset,
            suspect: state.suspect,
            boot: &self.boot,
        }
        .encode()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `offset (8, big endian) ‖ suspect (1) ‖ boot id (text, the rest)`.
struct Base<'a> {
    offset: i64,
    suspect: bool,
    boot: &'a str,
}

impl<'a> Base<'a> {
    fn encode(&self) -> Vec<u8> {
        [&self.offset.to_be_bytes()[..], &[u8::from(self.suspect)], self.boot.as_bytes()].concat()
    }

    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (suspect, boot) = rest.split_first()?;
        Some(Self {
            offset: i64::from_be_bytes(*offset),
            suspect: *suspect != 0,
            boot: std::str::from_utf8(boot).ok()?,
        })
    }

    /// wall − uptime as far as it can be trusted now; `None`: nothing is known of this boot.
    fn trusted(&self, boot: &str, highest: i64, uptime: i64) -> Option<i64> {
        if !boot.is_empty() && self.boot == boot {
            Some(self.offset)
        } else {
            // Restarting the machine does not make a suspect clock right.
            self.suspect.then_some(highest - uptime)
        }
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
    use super::*;
    use time::{Duration, macros::datetime};

    const NOON: OffsetDateTime = datetime!(2026-05-01 12:00 UTC);
    const MINUTE: i64 = 60_000;
    const DAY: i64 = 24 * 60 * MINUTE;

    fn started() -> (Arc<Manual>, GuardedClock) {
        let hands = Arc::new(Manual::new(NOON));
        let clock = GuardedClock::new(Source::Manual(hands.clone()), None, None);
        (hands, clock)
    }

    fn restarted(hands: &Arc<Manual>, clock: GuardedClock) -> GuardedClock {
        restarted_after(hands, clock, || {})
    }

    /// What the store remembers, and nothing else, comes over a restart.
    fn restarted_after(hands: &Arc<Manual>, clock: GuardedClock, meanwhile: impl FnOnce()) -> GuardedClock {
        let (highest, base) = (clock.now(), clock.base());
        drop(clock);
        meanwhile();
        GuardedClock::new(Source::Manual(hands.clone()), Some(highest), Some(&base))
    }

    fn after(ms: i64) -> OffsetDateTime {
        NOON + Duration::milliseconds(ms)
    }

    #[test]
    fn a_clock_set_back_stands_still() {
        let (hands, clock) = started();
        let noon = clock.now();
        hands.jump(-3_600_000);
        assert_eq!(clock.now(), noon);
        hands.pass(3_600_001);
        assert_eq!(clock.now(), noon + Duration::milliseconds(1));
        assert!(!clock.suspect());
    }

    #[test]
    fn what_the_store_remembers_is_a_floor() {
        let clock = GuardedClock::new(Source::manual(NOON), Some(datetime!(2027-01-01 0:00 UTC)), None);
        assert_eq!(clock.now(), datetime!(2027-01-01 0:00 UTC));
        assert!(!clock.suspect());
    }

    #[test]
    fn a_small_step_is_believed_and_small_steps_add_up() {
        let (hands, clock) = started();
        hands.jump(JUMP_MS);
        assert_eq!((clock.now(), clock.suspect()), (after(JUMP_MS), false));
        // Nor does a restart between two steps make them small.
        let clock = restarted(&hands, clock);
        assert_eq!((clock.now(), clock.suspect()), (after(JUMP_MS), false));
        hands.jump(1);
        assert_eq!((clock.now(), clock.suspect()), (after(JUMP_MS), true));
    }

    #[test]
    fn a_jump_is_not_believed_and_time_goes_on() {
        let (hands, clock) = started();
        hands.jump(60 * DAY);
        assert_eq!((clock.now(), clock.suspect()), (after(0), true));
        hands.pass(90 * MINUTE);
        assert_eq!((clock.now(), clock.suspect()), (after(90 * MINUTE), true));
        // Back by itself: still somebody has to look, and nothing was lost.
        hands.jump(-60 * DAY);
        hands.pass(1);
        assert_eq!((clock.now(), clock.suspect()), (after(90 * MINUTE + 1), true));
    }

    #[test]
    fn a_jump_that_only_the_question_sees_is_seen() {
        let (hands, clock) = started();
        hands.jump(60 * DAY);
        assert!(clock.suspect());
    }

    #[test]
    fn a_clock_put_right_and_accepted_has_lost_nothing() {
        let (hands, clock) = started();
        hands.jump(60 * DAY);
        clock.now();
        hands.pass(MINUTE);
        hands.jump(-60 * DAY);
        clock.accept();
        assert_eq!((clock.now(), clock.suspect()), (after(MINUTE), false));
        hands.jump(60 * DAY);
        assert_eq!((clock.now(), clock.suspect()), (after(MINUTE), true), "the next jump counts again");
    }

    #[test]
    fn a_jump_that_is_accepted_is_the_time() {
        let (hands, clock) = started();
        hands.jump(60 * DAY);
        clock.now();
        clock.accept();
        assert_eq!((clock.now(), clock.suspect()), (after(60 * DAY), false));
        let clock = restarted(&hands, clock);
        assert_eq!((clock.now(), clock.suspect()), (after(60 * DAY), false));
        // It never runs backwards, whatever is accepted next.
        hands.jump(-60 * DAY);
        clock.accept();
        assert_eq!((clock.now(), clock.suspect()), (after(60 * DAY), false));
    }

    #[test]
    fn a_restart_with_the_clock_put_right_starts_anew() {
        let (hands, clock) = started();
        hands.jump(60 * DAY);
        clock.now();
        hands.pass(MINUTE);
        let clock = restarted_after(&hands, clock, || hands.jump(-60 * DAY));
        assert_eq!((clock.now(), clock.suspect()), (after(MINUTE), false));
    }

    #[test]
    fn a_restart_does_not_make_a_jump_right() {
        let (hands, clock) = started();
        hands.jump(60 * DAY);
        // Nobody has asked for the time since.
        let base = clock.base();
        let clock = GuardedClock::new(Source::Manual(hands.clone()), Some(NOON), Some(&base));
        assert_eq!((clock.now(), clock.suspect()), (after(0), true));
        hands.pass(MINUTE);
        let clock = restarted(&hands, clock);
        assert_eq!((clock.now(), clock.suspect()), (after(MINUTE), true));
    }

    #[test]
    fn a_clock_set_back_over_a_restart_is_measured_from_there() {
        let (hands, clock) = started();
        clock.now();
        hands.jump(-DAY);
        let clock = restarted(&hands, clock);
        assert_eq!((clock.now(), clock.suspect()), (after(0), false));
        hands.jump(DAY);
        hands.pass(MINUTE);
        assert_eq!((clock.now(), clock.suspect()), (after(0), true));
        clock.accept();
        assert_eq!((clock.now(), clock.suspect()), (after(MINUTE), false));
    }

    #[test]
    fn after_a_reboot_a_clock_ahead_is_believed_unless_it_was_suspect() {
        let (hands, clock) = started();
        let clock = restarted_after(&hands, clock, || {
            hands.reboot();
            hands.jump(DAY);
        });
        assert_eq!((clock.now(), clock.suspect()), (after(DAY), false), "the machine may have been off");
        hands.jump(60 * DAY);
        assert!(clock.suspect());
        let clock = restarted_after(&hands, clock, || hands.reboot());
        hands.pass(MINUTE);
        assert_eq!((clock.now(), clock.suspect()), (after(DAY + MINUTE), true));
        let clock = restarted_after(&hands, clock, || {
            hands.reboot();
            hands.jump(-60 * DAY);
        });
        assert_eq!((clock.now(), clock.suspect()), (after(DAY + MINUTE), false), "put right meanwhile");
    }

    #[test]
    fn what_cannot_be_read_counts_for_nothing() {
        let hands = Arc::new(Manual::new(NOON));
        for base in [&b""[..], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]] {
            let clock = GuardedClock::new(Source::Manual(hands.clone()), None, Some(base));
            assert_eq!((clock.now(), clock.suspect()), (NOON, false));
        }
    }

    #[test]
    fn the_system_tells_its_boot_apart_and_its_clock_is_not_suspect() {
        let clock = GuardedClock::new(Source::System, None, None);
        assert!(!clock.suspect());
        assert_eq!(clock.boot, Source::System.boot());
        assert!(!cfg!(target_os = "linux") || clock.boot.len() == 36, "{}", clock.boot);
    }
}
