//! The legal changes of an account. Every change of a stored account is one [`Change`], applied by [`Agent::apply`] inside one transaction of the store: two codes that arrive together
//! are judged one after the other, so that none is good twice. Secrets are here only sealed or hashed.

use time::OffsetDateTime;

use super::agent::{Agent, PasswordHash, Role, Team};
use super::document::SealedText;
use super::factors::{Factors, PASSKEYS, Passkey, Totp};

/// One change of one account.
#[derive(Clone, Debug)]
pub enum Change {
    Password(PasswordHash),
    /// The same password under today's parameters; legal while the one it was computed from is stored.
    Rehash {
        old: PasswordHash,
        new: PasswordHash,
    },
    /// The password was given, or was not; legal only where it ends or adds to a count.
    RightPassword,
    WrongPassword,
    WrongCode,
    Disable,
    Role(Role),
    Teams(Vec<Team>),
    EnrolTotp {
        secret: SealedText,
        /// The step of the code that proved the enrolment.
        step: u64,
    },
    RemoveTotp,
    /// A code of that step was given.
    SpendStep(u64),
    RecoveryCodes(Vec<[u8; 32]>),
    SpendRecovery([u8; 32]),
    AddPasskey(Passkey),
    /// An assertion was verified; the credential with its counter as it is now.
    UsePasskey {
        id: Vec<u8>,
        credential: SealedText,
    },
    RemovePasskey(Vec<u8>),
    /// By an admin, for somebody who has lost everything.
    ResetFactors,
    /// The identity at the company's own sign-in; bound once.
    BindSubject(String),
    SignOutEverywhere,
}

impl Change {
    /// Whether every session that exists ends with it.
    pub fn ends_sessions(&self) -> bool {
        matches!(
            self,
            Self::Password(_) | Self::Disable | Self::Role(_) | Self::Teams(_) | Self::ResetFactors | Self::SignOutEverywhere
        )
    }
}

impl Agent {
    /// Applies one change; `false` when it is not legal now, and then nothing changed.
    pub fn apply(&mut self, change: Change, now: OffsetDateTime) -> bool {
        if change.ends_sessions() {
            self.sessions_valid_from = now;
        }
        let factors = &mut self.factors;
        match change {
            Change::Password(hash) => {
                self.password = Some(hash);
                self.misses.password = 0;
            }
            Change::Rehash { old, new } => {
                if self.password.as_ref() != Some(&old) {
                    return false;
                }
                self.password = Some(new);
            }
            Change::RightPassword => return std::mem::take(&mut self.misses.password) > 0,
            Change::WrongPassword => self.misses.password = self.misses.password.saturating_add(1),
            Change::WrongCode => self.misses.code = self.misses.code.saturating_add(1),
            Change::Disable => self.disabled_at = Some(now),
            Change::Role(role) => self.role = role,
            Change::Teams(teams) => self.teams = teams,
            Change::EnrolTotp { secret, step } => {
                if factors.totp.is_some() {
                    return false;
                }
                factors.totp = Some(Totp {
                    secret,
                    last_step: step,
                    since: now,
                });
            }
            Change::RemoveTotp => {
                self.misses.code = 0;
                return factors.totp.take().is_some();
            }
            Change::SpendStep(step) => match &mut factors.totp {
                Some(totp) if totp.last_step < step => {
                    totp.last_step = step;
                    self.misses.code = 0;
                }
                _ => return false,
            },
            Change::RecoveryCodes(codes) => factors.recovery = codes,
            Change::SpendRecovery(code) => {
                let before = factors.recovery.len();
                factors.recovery.retain(|known| *known != code);
                return factors.recovery.len() < before;
            }
            Change::AddPasskey(passkey) => {
                if factors.passkeys.len() >= PASSKEYS || factors.passkeys.iter().any(|p| p.id == passkey.id) {
                    return false;
                }
                factors.passkeys.push(passkey);
            }
            Change::UsePasskey { id, credential } => match factors.passkeys.iter_mut().find(|p| p.id == id) {
                Some(passkey) => {
                    passkey.credential = credential;
                    passkey.used_at = Some(now);
                }
                None => return false,
            },
            Change::RemovePasskey(id) => {
                let before = factors.passkeys.len();
                factors.passkeys.retain(|p| p.id != id);
                return factors.passkeys.len() < before;
            }
            Change::ResetFactors => {
                *factors = Factors::default();
                self.misses.code = 0;
            }
            Change::BindSubject(subject) => match &self.subject {
                Some(known) => return *known == subject,
                None => self.subject = Some(subject),
            },
            Change::SignOutEverywhere => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::factors::{Factors, FailedAttempts, PASSKEYS, WRONG_CODES, WRONG_FROM_STRANGERS, WRONG_PASSWORDS};
    use crate::domain::id::AgentId;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-05-01 12:00 UTC);

    fn agent() -> Agent {
        Agent {
            id: AgentId([1; 16]),
            email: "ana@example.com".into(),
            name: "Ana".into(),
            role: Role::Agent,
            password: None,
            created_at: NOW,
            disabled_at: None,
            sessions_valid_from: NOW,
            factors: Factors::default(),
            teams: Vec::new(),
            subject: None,
            misses: FailedAttempts::default(),
        }
    }

    fn enrolled(step: u64) -> Agent {
        let mut agent = agent();
        let secret = SealedText(vec![1]);
        assert!(agent.apply(Change::EnrolTotp { secret, step }, NOW));
        agent
    }

    #[test]
    fn a_code_is_good_once_and_no_older_one_after_it() {
        let mut agent = enrolled(10);
        assert!(!agent.apply(Change::SpendStep(10), NOW), "the code of the enrolment");
        assert!(agent.apply(Change::SpendStep(12), NOW));
        for spent in [12, 11, 0] {
            assert!(!agent.apply(Change::SpendStep(spent), NOW), "{spent}");
        }
        assert!(agent.apply(Change::SpendStep(13), NOW));
        let secret = SealedText(vec![2]);
        assert!(
            !agent.apply(Change::EnrolTotp { secret, step: 99 }, NOW),
            "nobody swaps it silently"
        );
    }

    #[test]
    fn wrong_tries_are_counted_until_a_right_one() {
        let mut agent = enrolled(10);
        assert!(!agent.apply(Change::RightPassword, NOW), "nothing to forget");
        for _ in 0..WRONG_FROM_STRANGERS {
            assert!(!agent.misses.close_password(false));
            assert!(agent.apply(Change::WrongPassword, NOW));
        }
        assert!(agent.misses.close_password(false) && !agent.misses.close_password(true));
        assert!(agent.apply(Change::RightPassword, NOW) && !agent.misses.close_password(false));
        for _ in 0..WRONG_PASSWORDS {
            assert!(!agent.misses.close_password(true));
            agent.apply(Change::WrongPassword, NOW);
        }
        assert!(agent.misses.close_password(true));
        assert!(agent.apply(Change::Password(PasswordHash("new".into())), NOW) && agent.misses.password == 0);
        for _ in 0..WRONG_CODES {
            assert!(!agent.misses.close_codes());
            agent.apply(Change::WrongCode, NOW);
        }
        assert!(agent.misses.close_codes());
        assert!(
            !agent.apply(Change::SpendStep(10), NOW) && agent.misses.close_codes(),
            "a spent code is no right one"
        );
        assert!(agent.apply(Change::ResetFactors, NOW) && !agent.misses.close_codes());
    }

    #[test]
    fn a_recovery_code_is_good_once() {
        let mut agent = agent();
        agent.apply(Change::RecoveryCodes(vec![[1; 32], [2; 32]]), NOW);
        assert!(agent.apply(Change::SpendRecovery([1; 32]), NOW));
        assert!(!agent.apply(Change::SpendRecovery([1; 32]), NOW));
        assert!(!agent.apply(Change::SpendRecovery([3; 32]), NOW));
        assert_eq!(agent.factors.recovery, [[2; 32]]);
    }

    #[test]
    fn passkeys_are_bounded_distinct_and_removable() {
        let mut agent = agent();
        let key = |n: u8| Passkey {
            id: vec![n],
            name: n.to_string(),
            credential: SealedText(vec![n]),
            made_at: NOW,
            used_at: None,
        };
        for n in 0..PASSKEYS {
            assert!(agent.apply(Change::AddPasskey(key(u8::try_from(n).unwrap())), NOW));
        }
        assert!(!agent.apply(Change::AddPasskey(key(200)), NOW), "one too many");
        assert!(agent.apply(Change::RemovePasskey(vec![3]), NOW));
        assert!(!agent.apply(Change::RemovePasskey(vec![3]), NOW));
        assert!(!agent.apply(Change::AddPasskey(key(4)), NOW), "twice the same");
        let credential = SealedText(vec![9]);
        assert!(!agent.apply(Change::UsePasskey { id: vec![3], credential }, NOW));
        assert!(agent.factors.any());
        assert!(agent.apply(Change::ResetFactors, NOW) && !agent.factors.any());
    }

    #[test]
    fn an_identity_is_bound_once() {
        let mut agent = agent();
        assert!(agent.apply(Change::BindSubject("a".into()), NOW));
        assert!(agent.apply(Change::BindSubject("a".into()), NOW));
        assert!(!agent.apply(Change::BindSubject("b".into()), NOW));
    }

    #[test]
    fn a_password_is_stored_anew_only_while_it_is_the_same() {
        let hash = |text: &str| PasswordHash(text.to_owned());
        let rehash = Change::Rehash {
            old: hash("old"),
            new: hash("new"),
        };
        let mut agent = agent();
        assert!(!agent.apply(rehash.clone(), NOW), "there is none");
        assert!(agent.apply(Change::Password(hash("another")), NOW));
        assert!(!agent.apply(rehash.clone(), NOW), "changed meanwhile");
        assert!(agent.apply(Change::Password(hash("old")), NOW));
        assert!(agent.apply(rehash, NOW + time::Duration::HOUR));
        assert!(agent.password == Some(hash("new")) && agent.sessions_valid_from == NOW);
    }
}
