//! Time, guarded: a wrong wall clock may neither revive a link, nor stop the portal's work, nor destroy a document early.
//!
//! * `now` never runs backwards, not over a restart either, and never stands still: it goes on at the pace of the boot clock (`CLOCK_BOOTTIME`), whatever the wall does.
//! * The *anchor* is wall − uptime when the wall clock was last trusted. While the wall is within five minutes of anchor + uptime it is believed and followed: forward
//!   at once, backward by going slower ([`SLOW_NUM`]/[`SLOW_DEN`] of the pace) until both agree. Further off, in either direction, it is *not* believed: `now` goes on at
//!   the true pace, an alarm is raised ([`Standing`]), and the alarm ends by itself when the wall is back within the tolerance, or when an admin accepts the wall as it is.
//! * While the wall is ahead, purging by deadline waits: it may be right, and what it calls overdue is looked at by a person first. While it is behind, purging goes on:
//!   the deadlines were set on this time, and a clock that is never put right must not keep documents for ever.
//! * A restart is judged alike: the store keeps the latest answer to the minute, and what was trusted ([`GuardedClock::base`]). Within one boot of the machine the
//!   uptime goes on. After a reboot with an earlier wall time `now` goes on from the latest answer, with the alarm.
//!
//! What it cannot know: while the machine is off, no uptime counts. After a reboot a clock that is ahead of the latest answer is believed, because the machine
//! may have been off for that long, unless it was not believed for being ahead before: then time goes on from the latest answer, and somebody has to accept it. A machine
//! that comes up with an earlier time and is then put right (no battery, then NTP) counts as such a reboot. A clock
//! that was wrong from the first start on is believed too. Sleep counts as uptime as the kernel measures it; a virtual
//! machine that its host has held looks like a clock that jumped. Small steps add up: the five minutes are for a whole boot, or since the last acceptance.
//! After an acceptance of an earlier time `now` goes slower until the wall has caught up, and is ahead of it until then.
//! While a right clock is not believed, the codes of an authenticator app do not fit: an admin comes in by passkey, recovery code, API key or a session they have.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

/// A difference between wall and guarded time beyond this is not believed.
const JUMP_MS: i64 = 5 * 60 * 1000;
/// How fast time goes while it is ahead of a wall clock that is believed: seven eighths.
const SLOW_NUM: i64 = 7;
const SLOW_DEN: i64 = 8;
/// The lead is written down in steps of this, rounded up, so that slowing down does not write all the time.
const LEAD_STEP_MS: i64 = 1_000;
/// The two clocks tick apart by a millisecond or so; less than any restart takes.
const JITTER_MS: i64 = 10;
/// Another text in each boot of the machine, as Linux writes it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where raw time comes from: the operating system, or a test that sets it.
#[derive(Clone)]
pub enum Source {
    System,
    /// A clock elsewhere, such as a database's.
    Sampled(Arc<Sampled>),
    Manual(Arc<Manual>),
}

/// Both clocks at one instant, in milliseconds.
#[derive(Clone, Copy)]
struct Reading {
    /// Since 1970.
    wall: i64,
    /// Since boot, sleep included.
    uptime: i64,
}

impl Source {
    pub fn manual(start: OffsetDateTime) -> Self {
        Self::Manual(Arc::new(Manual::new(start)))
    }

    fn read(&self) -> Reading {
        match self {
            Self::Sampled(sampled) => sampled.reading(),
            Self::System => {
                // A pause between the readings (a machine that sleeps, a process that is stopped) must not look like a jump.
                let mut before = uptime();
                loop {
                    let wall = to_ms(OffsetDateTime::now_utc());
                    let after = uptime();
                    if after - before <= 1_000 {
                        return Reading { wall, uptime: after };
                    }
                    before = after;
                }
            }
            Self::Manual(manual) => manual.machine().reading,
        }
    }

    /// Empty when it cannot be told.
    fn boot(&self) -> String {
        match self {
            Self::System | Self::Sampled(_) => std::fs::read_to_string(BOOT_ID).map_or_else(|_| String::new(), |id| id.trim().to_owned()),
            Self::Manual(manual) => format!("manual {}", manual.machine().boots),
        }
    }
}

/// Milliseconds since this machine started, sleep included.
pub(crate) fn uptime() -> i64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    t.tv_sec * 1000 + i64::from(t.tv_nsec as u32 / 1_000_000)
}

/// A wall clock elsewhere: what it said when it was last asked, carried on by this machine's uptime until it is asked again.
pub struct Sampled(AtomicI64);

impl Sampled {
    /// `wall`: what it said at this uptime, both in milliseconds.
    pub(crate) fn new(wall: i64, uptime: i64) -> Self {
        Self(AtomicI64::new(wall - uptime))
    }

    pub(crate) fn set(&self, wall: i64, uptime: i64) {
        self.0.store(wall - uptime, Ordering::Relaxed);
    }

    fn reading(&self) -> Reading {
        let uptime = uptime();
        Reading {
            wall: self.0.load(Ordering::Relaxed) + uptime,
            uptime,
        }
    }
}

/// A machine whose time stands still until a test moves it.
pub struct Manual(Mutex<Machine>);

struct Machine {
    reading: Reading,
    boots: u64,
}

impl Manual {
    /// Two machines started like this are in the same boot, up since 1970.
    pub fn new(start: OffsetDateTime) -> Self {
        let start = to_ms(start);
        Self(Mutex::new(Machine {
            reading: Reading {
                wall: start,
                uptime: start,
            },
            boots: 0,
        }))
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.machine().reading.wall
    }

    /// Time passes: milliseconds, on every clock.
    pub fn pass(&self, ms: i64) {
        let mut machine = self.machine();
        machine.reading.uptime += ms;
        machine.reading.wall += ms;
    }

    /// Somebody sets the wall clock, ahead or back.
    pub fn jump(&self, ms: i64) {
        self.machine().reading.wall += ms;
    }

    pub fn reboot(&self) {
        let mut machine = self.machine();
        machine.boots += 1;
        machine.reading.uptime = 0;
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the wall clock stands to the time that the portal goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Within the tolerance: the wall is believed.
    Agrees,
    /// Too far ahead, and not believed. Purging by deadline waits.
    Ahead,
    /// Too far behind, and not believed. Everything goes on.
    Behind,
}

impl Standing {
    /// Of a wall clock that is so many milliseconds ahead.
    fn of(ahead: i64) -> Self {
        match ahead {
            _ if ahead > JUMP_MS => Self::Ahead,
            _ if ahead < -JUMP_MS => Self::Behind,
            _ => Self::Agrees,
        }
    }
}

pub(crate) struct GuardedClock {
    source: Source,
    boot: String,
    state: Mutex<State>,
}

struct State {
    /// The latest answer; never fed by a wall clock that is not believed.
    highest: i64,
    /// The uptime at the latest answer.
    uptime: i64,
    /// What slowing down has cut off the milliseconds, in [`SLOW_DEN`]ths.
    rest: i64,
    /// wall − uptime when the clock was last trusted.
    anchor: i64,
    trust: Trust,
    standing: Standing,
}

/// What the anchor is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// The wall clock said so when it was trusted.
    Measured,
    /// The machine came up with an earlier time than was known, and may have been off for any time: the anchor is a lower bound, and the next
    /// wall clock that is not below it is believed.
    AtLeast,
    /// The machine was started again while the wall was ahead and not believed: nothing but an acceptance moves it.
    Doubted,
}

impl GuardedClock {
    /// `highest`: the latest answer that the store remembers; `base`: what [`Self::base`] gave it. Bytes of another form are taken for none.
    pub(crate) fn new(source: Source, highest: Option<OffsetDateTime>, base: Option<&[u8]>) -> Self {
        let boot = source.boot();
        let highest = highest.map(to_ms);
        let Reading { wall, uptime } = source.read();
        let base = base.and_then(Base::decode);
        let same_boot = base.as_ref().filter(|base| !boot.is_empty() && base.boot == boot);
        let (anchor, trust) = match (same_boot, highest) {
            (Some(base), _) => (base.anchor, base.trust),
            (None, None) => (wall - uptime, Trust::Measured),
            (None, Some(highest)) => {
                let doubted = base
                    .as_ref()
                    .is_some_and(|base| base.standing == Standing::Ahead || base.trust == Trust::Doubted);
                match Standing::of(wall - highest) {
                    Standing::Agrees => (wall - uptime, Trust::Measured),
                    _ if doubted => (highest - uptime, Trust::Doubted),
                    Standing::Behind => (highest - uptime, Trust::AtLeast),
                    Standing::Ahead => (wall - uptime, Trust::Measured),
                }
            }
        };
        let went_on = same_boot.map(|base| uptime + base.anchor + base.lead);
        let state = State {
            highest: highest.max(went_on).unwrap_or(uptime + anchor),
            uptime,
            rest: 0,
            anchor,
            trust,
            // Told again by every start, as long as it lasts.
            standing: Standing::Agrees,
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
    pub(crate) fn now(&self) -> OffsetDateTime {
        from_ms(self.read().highest)
    }

    pub(crate) fn standing(&self) -> Standing {
        self.read().standing
    }

    /// An admin says that the wall clock is right as it is now.
    pub(crate) fn accept(&self) {
        let mut state = self.read();
        state.anchor = self.source.read().wall - state.uptime;
        state.trust = Trust::Measured;
        drop(state);
        self.now();
    }

    /// What the next start needs to judge the wall clock by; as long as nothing happens to the clock, it stays the same.
    pub(crate) fn base(&self) -> Vec<u8> {
        let state = self.state();
        let lead = state.highest - (state.uptime + state.anchor);
        Base {
            anchor: state.anchor,
            // Up: an answer is never taken back.
            lead: -(JITTER_MS - lead).div_euclid(LEAD_STEP_MS) * LEAD_STEP_MS,
            trust: state.trust,
            standing: state.standing,
            boot: &self.boot,
        }
        .encode()
    }

    /// Looks at both clocks and moves on.
    fn read(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        let reading = self.source.read();
        state.move_on(reading);
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn move_on(&mut self, Reading { wall, uptime }: Reading) {
        let elapsed = (uptime - self.uptime).max(0);
        self.uptime = self.uptime.max(uptime);
        if self.trust == Trust::AtLeast && wall - (uptime + self.anchor) >= -JUMP_MS {
            self.anchor = wall - uptime;
            self.trust = Trust::Measured;
        }
        let off = wall - (uptime + self.anchor);
        let standing = Standing::of(off);
        if standing == Standing::Agrees {
            self.trust = Trust::Measured;
        }
        if standing != self.standing {
            tell(standing, off.abs() / 1000);
            self.standing = standing;
        }
        let at_pace = self.highest + elapsed;
        self.highest = if standing != Standing::Agrees {
            at_pace
        } else if wall >= at_pace {
            self.rest = 0;
            wall
        } else {
            let eighths = elapsed * SLOW_NUM + self.rest;
            self.rest = eighths % SLOW_DEN;
            (self.highest + eighths / SLOW_DEN).max(wall)
        };
    }
}

fn tell(standing: Standing, seconds: i64) {
    match standing {
        Standing::Agrees => tracing::info!("the machine's clock is right again and is believed"),
        Standing::Ahead => tracing::error!(
            seconds,
            "the machine's clock jumped ahead and is not believed; purging by deadline waits until it is put right, or until an admin says that it is right"
        ),
        Standing::Behind => tracing::error!(
            seconds,
            "the machine's clock was set back and is not believed; time goes on as before until it is put right, or until an admin says that it is right"
        ),
    }
}

/// `anchor (8, big endian) ‖ lead (8) ‖ trust (1) ‖ standing (1) ‖ boot id (text, the rest)`.
struct Base<'a> {
    anchor: i64,
    /// How far the latest answer was from anchor + uptime.
    lead: i64,
    trust: Trust,
    standing: Standing,
    boot: &'a str,
}

impl<'a> Base<'a> {
    fn encode(&self) -> Vec<u8> {
        let words = [self.trust as u8, self.standing as u8];
        [
            &self.anchor.to_be_bytes()[..],
            &self.lead.to_be_bytes(),
            &words,
            self.boot.as_bytes(),
        ]
        .concat()
    }

    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (anchor, rest) = bytes.split_first_chunk()?;
        let (lead, rest) = rest.split_first_chunk()?;
        let (words, boot) = rest.split_first_chunk::<2>()?;
        Some(Self {
            anchor: i64::from_be_bytes(*anchor),
            lead: i64::from_be_bytes(*lead),
            trust: [Trust::Measured, Trust::AtLeast, Trust::Doubted]
                .get(usize::from(words[0]))
                .copied()?,
            standing: [Standing::Agrees, Standing::Ahead, Standing::Behind]
                .get(usize::from(words[1]))
                .copied()?,
            boot: std::str::from_utf8(boot).ok()?,
        })
    }
}

/// Milliseconds since 1970.
pub(crate) fn to_ms(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The inverse; instants out of range become 1970.
pub fn from_ms(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
