//! The guarded clock on a machine whose clocks a test moves: every rule by itself, and all of them under random sequences.

use super::*;
use time::{Duration, macros::datetime};

const NOON: OffsetDateTime = datetime!(2026-05-01 12:00 UTC);
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn started() -> (Arc<Manual>, GuardedClock) {
    let manual = Arc::new(Manual::new(NOON));
    let clock = GuardedClock::new(Source::Manual(manual.clone()), None, None);
    (manual, clock)
}

fn restarted(manual: &Arc<Manual>, clock: GuardedClock) -> GuardedClock {
    restarted_after(manual, clock, || {})
}

/// What the store remembers, and nothing else, comes over a restart.
fn restarted_after(manual: &Arc<Manual>, clock: GuardedClock, meanwhile: impl FnOnce()) -> GuardedClock {
    let (highest, base) = (clock.now(), clock.base());
    drop(clock);
    meanwhile();
    GuardedClock::new(Source::Manual(manual.clone()), Some(highest), Some(&base))
}

fn after(ms: i64) -> OffsetDateTime {
    NOON + Duration::milliseconds(ms)
}

/// What is seen from outside.
fn seen(clock: &GuardedClock) -> (OffsetDateTime, Standing) {
    (clock.now(), clock.standing())
}

#[test]
fn a_clock_set_back_is_not_believed_and_time_goes_on() {
    let (manual, clock) = started();
    manual.jump(-60 * MINUTE);
    assert_eq!(seen(&clock), (after(0), Standing::Behind));
    manual.pass(90 * MINUTE);
    assert_eq!(seen(&clock), (after(90 * MINUTE), Standing::Behind));
    // Put right: nobody has to say so.
    manual.jump(60 * MINUTE);
    assert_eq!(seen(&clock), (after(90 * MINUTE), Standing::Agrees));
}

#[test]
fn a_small_step_back_is_followed_by_going_slower() {
    let (manual, clock) = started();
    manual.jump(-MINUTE);
    assert_eq!(seen(&clock), (after(0), Standing::Agrees));
    for passed in 1..=8 * MINUTE {
        manual.pass(1);
        assert_eq!(seen(&clock), (after(passed * SLOW_NUM / SLOW_DEN), Standing::Agrees));
    }
    manual.pass(MINUTE);
    assert_eq!(clock.now(), after(8 * MINUTE), "the wall has caught up");
}

#[test]
fn what_the_store_remembers_is_a_floor() {
    let clock = GuardedClock::new(Source::manual(NOON), Some(datetime!(2027-01-01 0:00 UTC)), None);
    assert_eq!(seen(&clock), (datetime!(2027-01-01 0:00 UTC), Standing::Behind));
}

#[test]
fn after_a_reboot_with_an_earlier_time_it_goes_on_from_the_latest_answer() {
    let (manual, clock) = started();
    manual.pass(10 * MINUTE);
    let clock = restarted_after(&manual, clock, || {
        manual.reboot();
        manual.jump(-20 * DAY);
    });
    assert_eq!(seen(&clock), (after(10 * MINUTE), Standing::Behind));
    manual.pass(MINUTE);
    // The process alone starts again.
    let clock = restarted(&manual, clock);
    assert_eq!(seen(&clock), (after(11 * MINUTE), Standing::Behind));
    // The machine was off for an hour; now it has heard what time it is.
    manual.jump(20 * DAY + 60 * MINUTE);
    assert_eq!(seen(&clock), (after(71 * MINUTE), Standing::Agrees));
    // From here on a jump is a jump.
    manual.jump(60 * MINUTE);
    assert_eq!(seen(&clock), (after(71 * MINUTE), Standing::Ahead));
}

#[test]
fn a_small_step_is_believed_and_small_steps_add_up() {
    let (manual, clock) = started();
    manual.jump(JUMP_MS);
    assert_eq!(seen(&clock), (after(JUMP_MS), Standing::Agrees));
    // Nor does a restart between two steps make them small.
    let clock = restarted(&manual, clock);
    assert_eq!(seen(&clock), (after(JUMP_MS), Standing::Agrees));
    manual.jump(1);
    assert_eq!(seen(&clock), (after(JUMP_MS), Standing::Ahead));
}

#[test]
fn a_jump_is_not_believed_and_time_goes_on() {
    let (manual, clock) = started();
    manual.jump(60 * DAY);
    assert_eq!(seen(&clock), (after(0), Standing::Ahead));
    manual.pass(90 * MINUTE);
    assert_eq!(seen(&clock), (after(90 * MINUTE), Standing::Ahead));
    // Put right: nobody has to say so, and nothing was lost.
    manual.jump(-60 * DAY);
    manual.pass(1);
    assert_eq!(seen(&clock), (after(90 * MINUTE + 1), Standing::Agrees));
}

#[test]
fn a_jump_that_only_the_question_sees_is_seen() {
    let (manual, clock) = started();
    manual.jump(60 * DAY);
    assert_eq!(clock.standing(), Standing::Ahead);
}

#[test]
fn a_clock_put_right_and_accepted_has_lost_nothing() {
    let (manual, clock) = started();
    manual.jump(60 * DAY);
    clock.now();
    manual.pass(MINUTE);
    manual.jump(-60 * DAY);
    clock.accept();
    assert_eq!(seen(&clock), (after(MINUTE), Standing::Agrees));
    manual.jump(60 * DAY);
    assert_eq!(seen(&clock), (after(MINUTE), Standing::Ahead), "the next jump counts again");
}

#[test]
fn a_jump_that_is_accepted_is_the_time() {
    let (manual, clock) = started();
    manual.jump(60 * DAY);
    clock.now();
    clock.accept();
    assert_eq!(seen(&clock), (after(60 * DAY), Standing::Agrees));
    let clock = restarted(&manual, clock);
    assert_eq!(seen(&clock), (after(60 * DAY), Standing::Agrees));
    // It never runs backwards, whatever is accepted next.
    manual.jump(-60 * DAY);
    clock.accept();
    assert_eq!(seen(&clock), (after(60 * DAY), Standing::Agrees));
}

#[test]
fn a_restart_with_the_clock_put_right_starts_anew() {
    let (manual, clock) = started();
    manual.jump(60 * DAY);
    clock.now();
    manual.pass(MINUTE);
    let clock = restarted_after(&manual, clock, || manual.jump(-60 * DAY));
    assert_eq!(seen(&clock), (after(MINUTE), Standing::Agrees));
}

#[test]
fn a_restart_does_not_make_a_jump_right() {
    let (manual, clock) = started();
    manual.jump(60 * DAY);
    // Nobody has asked for the time since.
    let base = clock.base();
    let clock = GuardedClock::new(Source::Manual(manual.clone()), Some(NOON), Some(&base));
    assert_eq!(seen(&clock), (after(0), Standing::Ahead));
    manual.pass(MINUTE);
    let clock = restarted(&manual, clock);
    assert_eq!(seen(&clock), (after(MINUTE), Standing::Ahead));
}

#[test]
fn a_clock_set_back_over_a_restart_is_seen_and_put_right() {
    let (manual, clock) = started();
    clock.now();
    manual.jump(-DAY);
    let clock = restarted(&manual, clock);
    assert_eq!(seen(&clock), (after(0), Standing::Behind));
    manual.jump(DAY);
    manual.pass(MINUTE);
    assert_eq!(seen(&clock), (after(MINUTE), Standing::Agrees));
}

#[test]
fn an_earlier_time_that_is_accepted_is_approached_and_never_jumped_to() {
    let (manual, clock) = started();
    manual.jump(-DAY);
    clock.accept();
    assert_eq!(seen(&clock), (after(0), Standing::Agrees));
    manual.pass(8 * MINUTE);
    assert_eq!(seen(&clock), (after(7 * MINUTE), Standing::Agrees));
    // The lead outlives a restart, also one from which the latest answer was lost.
    let base = clock.base();
    let clock = GuardedClock::new(Source::Manual(manual.clone()), Some(NOON), Some(&base));
    assert_eq!(seen(&clock), (after(7 * MINUTE), Standing::Agrees));
    manual.pass(8 * DAY);
    assert_eq!(clock.now(), from_ms(manual.wall_ms()));
}

#[test]
fn after_a_reboot_a_clock_ahead_is_believed_unless_it_was_suspect() {
    let (manual, clock) = started();
    let clock = restarted_after(&manual, clock, || {
        manual.reboot();
        manual.jump(DAY);
    });
    assert_eq!(seen(&clock), (after(DAY), Standing::Agrees), "the machine may have been off");
    manual.jump(60 * DAY);
    assert_eq!(clock.standing(), Standing::Ahead);
    let clock = restarted_after(&manual, clock, || manual.reboot());
    manual.pass(MINUTE);
    assert_eq!(seen(&clock), (after(DAY + MINUTE), Standing::Ahead));
    let clock = restarted_after(&manual, clock, || {
        manual.reboot();
        manual.jump(-60 * DAY);
    });
    assert_eq!(seen(&clock), (after(DAY + MINUTE), Standing::Agrees), "put right meanwhile");
}

#[test]
fn what_cannot_be_read_counts_for_nothing() {
    let manual = Arc::new(Manual::new(NOON));
    for base in [&b""[..], &[0; 17], &[9; 18], &[[0; 18].as_slice(), &[0xff]].concat()] {
        let clock = GuardedClock::new(Source::Manual(manual.clone()), None, Some(base));
        assert_eq!(seen(&clock), (NOON, Standing::Agrees));
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Elapse(i64),
    Jump(i64),
    /// Of the process; with what the store wrote last, which may be up to a minute old.
    Restart,
    /// Of the machine, off for so long, and with the wall clock moved meanwhile.
    Reboot(i64, i64),
    Accept,
}

fn event() -> impl proptest::strategy::Strategy<Value = Event> {
    use proptest::prelude::*;
    let small = || -JUMP_MS..=JUMP_MS;
    let wide = || prop_oneof![small(), -40 * DAY..=40 * DAY, -3 * MINUTE..=3 * MINUTE];
    prop_oneof![
        5 => (0..3 * DAY).prop_map(Event::Elapse),
        5 => (0..2_000i64).prop_map(Event::Elapse),
        4 => wide().prop_map(Event::Jump),
        2 => Just(Event::Restart),
        1 => (0..2 * DAY, prop_oneof![Just(0), wide()]).prop_map(|(off, jump)| Event::Reboot(off, jump)),
        1 => Just(Event::Accept),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2_000))]

    /// Monotone; at the true pace, or down to seven eighths of it after a step back that was believed; never fed by a jump that was not believed; and the alarm
    /// is there exactly while wall and anchor disagree.
    #[test]
    fn whatever_happens_to_the_wall_time_goes_on(events in proptest::collection::vec(event(), 1..60)) {
        let (manual, mut clock) = started();
        for event in events {
            let (before, stood) = (clock.now(), clock.standing());
            let wall_before = manual.wall_ms();
            match event {
                Event::Elapse(ms) => {
                    manual.pass(ms);
                    let went = to_ms(clock.now()) - to_ms(before);
                    if stood == Standing::Agrees {
                        // What it was behind the wall is none: it follows forward steps at once.
                        proptest::prop_assert!(went <= ms && went >= ms * SLOW_NUM / SLOW_DEN - 1, "{went} in {ms}");
                    } else {
                        proptest::prop_assert_eq!(went, ms);
                    }
                }
                Event::Jump(ms) => {
                    manual.jump(ms);
                    let went = to_ms(clock.now()) - to_ms(before);
                    let measured = clock.state().trust == Trust::Measured;
                    // Early by no more than the tolerance, unless the machine has just come up with no idea of the time.
                    proptest::prop_assert!(went == 0 || stood == Standing::Behind || went <= 2 * JUMP_MS || !measured, "{went} after {ms}");
                    if clock.standing() != Standing::Agrees {
                        proptest::prop_assert_eq!(went, 0);
                    }
                }
                Event::Restart => {
                    let (highest, base) = (clock.now() - Duration::seconds(60), clock.base());
                    clock = GuardedClock::new(Source::Manual(manual.clone()), Some(highest), Some(&base));
                    let went = to_ms(clock.now()) - to_ms(before);
                    proptest::prop_assert!((-JITTER_MS..LEAD_STEP_MS).contains(&went), "{went} over a restart");
                    proptest::prop_assert_eq!(clock.standing(), stood);
                    continue;
                }
                Event::Reboot(off, jump) => {
                    let doubted = stood == Standing::Ahead || clock.state().trust == Trust::Doubted;
                    let (highest, base) = (clock.now(), clock.base());
                    manual.reboot();
                    manual.pass(off);
                    manual.jump(jump);
                    // While it is off no uptime counts.
                    manual.reboot();
                    clock = GuardedClock::new(Source::Manual(manual.clone()), Some(highest), Some(&base));
                    let believed = to_ms(clock.now()) - to_ms(before);
                    let shown = manual.wall_ms() - to_ms(before);
                    if doubted && shown > JUMP_MS {
                        proptest::prop_assert_eq!(believed, 0, "a reboot makes no doubted clock right");
                    } else {
                        proptest::prop_assert_eq!(believed, shown.max(0));
                    }
                }
                Event::Accept => {
                    clock.accept();
                    proptest::prop_assert_eq!(clock.now(), before.max(from_ms(wall_before)));
                    proptest::prop_assert_eq!(clock.standing(), Standing::Agrees);
                }
            }
            proptest::prop_assert!(clock.now() >= before, "backwards: {event:?}");
            let off = {
                let state = clock.state();
                manual.wall_ms() - (state.uptime + state.anchor)
            };
            proptest::prop_assert_eq!(clock.standing() == Standing::Agrees, off.abs() <= JUMP_MS);
        }
    }
}

#[test]
fn the_system_tells_its_boot_apart_and_its_clock_is_not_suspect() {
    let clock = GuardedClock::new(Source::System, None, None);
    assert_eq!(clock.standing(), Standing::Agrees);
    assert_eq!(clock.boot, Source::System.boot());
    assert!(!cfg!(target_os = "linux") || clock.boot.len() == 36, "{}", clock.boot);
}
