//! Who may check the running portal: `nightdrop doctor` on the same machine, for a test upload ([`super::applicant::check_upload`]) and for how the portal stands
//! ([`super::standing`]).
//!
//! * Whoever asks shows a pass made with the portal's own secrets ([`crate::crypto::check`]): no API key is needed and no store is opened twice. A pass is taken once.
//! * Nothing is stored or changed by a check, and what is answered names no request and no person.
//! * Bounded: so many passes in their lifetime, and one test upload at a time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use super::error::Problem;
use crate::crypto::check::{CHECK_LIFE, CheckPass, CheckPurpose};
use crate::crypto::secrets::PortalSecrets;

/// Passes that are taken within the life of one: a doctor needs about ten, and whoever mends a proxy asks again and again.
const PASSES: usize = 256;

/// The passes that were taken, and the one test upload that may run.
#[derive(Default)]
pub(crate) struct Checks {
    taken: Mutex<VecDeque<CheckPass>>,
    uploading: AtomicBool,
}

/// Why a pass is not taken.
pub(crate) enum NotLetIn {
    /// There is none, or one of other secrets.
    Stranger,
    /// This portal's, and no longer or not yet good, used, or one too many.
    Refused(Problem),
}

/// The turn of one test upload; given back when dropped.
pub(crate) struct Turn<'a>(&'a Checks);

impl Checks {
    /// Takes the pass of a request. `now`: seconds since 1970.
    pub(crate) fn enter(
        &self,
        headers: &HeaderMap,
        secrets: &PortalSecrets,
        purpose: CheckPurpose,
        now: i64,
    ) -> Result<CheckPass, NotLetIn> {
        let line = headers.get(AUTHORIZATION).and_then(|line| line.to_str().ok());
        let sealed = line.and_then(|line| line.strip_prefix("Bearer ")).unwrap_or_default();
        let pass = CheckPass::open(sealed, secrets, purpose).ok_or(NotLetIn::Stranger)?;
        self.take(pass, now).map_err(NotLetIn::Refused)?;
        Ok(pass)
    }

    /// Both clocks may be off by the life of a pass.
    fn take(&self, pass: CheckPass, now: i64) -> Result<(), Problem> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|before| before.end > now);
        if pass.end <= now || pass.end > now + 2 * CHECK_LIFE {
            let text =
                "The time of whoever asks and the portal's own differ by more than five minutes. Compare `date` with `nightdrop status`.";
            return Err(Problem::forbidden(text).code("check.time"));
        }
        if taken.len() >= PASSES || taken.iter().any(|before| before.nonce == pass.nonce) {
            return Err(busy());
        }
        taken.push_back(pass);
        Ok(())
    }

    pub(crate) fn turn(&self) -> Result<Turn<'_>, Problem> {
        match self.uploading.swap(true, Ordering::AcqRel) {
            true => Err(busy()),
            false => Ok(Turn(self)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.uploading.store(false, Ordering::Release);
    }
}

fn busy() -> Problem {
    Problem::too_many("Another check runs, or many ran just now. Try again in five minutes.")
        .code("check.busy")
        .after(300)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pass(n: u8, end: i64) -> CheckPass {
        CheckPass { end, nonce: [n; 16] }
    }

    fn code(outcome: Result<(), Problem>) -> String {
        outcome.err().map_or_else(String::new, |problem| problem.code.into_owned())
    }

    #[test]
    fn a_pass_is_taken_once_within_its_time_and_only_so_many_are() {
        let checks = Checks::default();
        let now = 10_000;
        assert_eq!(code(checks.take(pass(1, now + CHECK_LIFE), now)), "");
        assert_eq!(code(checks.take(pass(1, now + CHECK_LIFE), now)), "check.busy", "used");
        assert_eq!(code(checks.take(pass(2, now), now)), "check.time");
        assert_eq!(code(checks.take(pass(2, now + 2 * CHECK_LIFE + 1), now)), "check.time");
        for n in 1..PASSES {
            let mut other = pass(0, now + CHECK_LIFE);
            other.nonce[..8].copy_from_slice(&n.to_be_bytes());
            assert_eq!(code(checks.take(other, now)), "");
        }
        assert_eq!(code(checks.take(pass(2, now + CHECK_LIFE), now)), "check.busy", "too many");
        let later = now + CHECK_LIFE;
        assert_eq!(code(checks.take(pass(2, later + 1), later)), "", "those before have ended");
    }

    #[test]
    fn one_test_upload_runs_at_a_time() {
        let checks = Checks::default();
        let turn = checks.turn().unwrap();
        assert!(checks.turn().is_err());
        drop(turn);
        assert!(checks.turn().is_ok());
    }
}
