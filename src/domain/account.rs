//! The legal changes of an account. Every change of a stored account is one [`Change`], applied by [`Agent::apply`] inside one transaction of the store: two codes that arrive together
//! are judged one after the other, so that none is good twice. Secrets are here only sealed or hashed.

use time::OffsetDateTime;

use super::agent::{Agent, Invitation, PasswordHash, PasswordKind, Role, Team};
use super::document::SealedText;
use super::factors::{Factors, FailedAttempts, PASSKEYS, Passkey, Totp};

/// One change of one account.
#[derive(Clone, Debug)]
pub enum Change {
    Password {
        hash: PasswordHash,
        kind: PasswordKind,
    },
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
    Enable,
    /// Takes every way to sign in, and the address; the name stays for the audit log.
    Delete {
        known_by: Vec<[u8; 32]>,
    },
    /// A new one-time link; the one before is dead.
    Invite(Invitation),
    /// Uses the link with this hash up.
    AcceptInvitation {
        hash: [u8; 32],
        with: Accepted,
    },
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

/// What somebody sets by a one-time link.
#[derive(Clone, Debug)]
pub enum Accepted {
    Password(PasswordHash),
    /// Only for an account without a second factor: a link alone replaces none.
    Passkey(Passkey),
}

impl Change {
    /// Whether every session that exists ends with it.
    pub fn ends_sessions(&self) -> bool {
        matches!(
            self,
            Self::Password { .. }
                | Self::Disable
                | Self::Delete { .. }
                | Self::AcceptInvitation { .. }
                | Self::Role(_)
                | Self::Teams(_)
                | Self::ResetFactors
                | Self::SignOutEverywhere
        )
    }
}

impl Agent {
    /// Applies one change; `false` when it is not legal now, and then nothing changed.
    pub fn apply(&mut self, change: Change, now: OffsetDateTime) -> bool {
        if self.deleted_at.is_some() {
            return false;
        }
        if change.ends_sessions() {
            self.sessions_valid_from = now;
        }
        let factors = &mut self.factors;
        match change {
            Change::Password { hash, kind } => {
                self.password = Some(hash);
                self.password_kind = kind;
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
            Change::Enable => return self.disabled_at.take().is_some(),
            Change::Delete { known_by } => {
                self.deleted_at = Some(now);
                self.known_by = known_by;
                self.disabled_at.get_or_insert(now);
                self.email.clear();
                (self.password, self.invitation, self.subject) = (None, None, None);
                self.teams.clear();
                *factors = Factors::default();
                self.misses = FailedAttempts::default();
            }
            Change::Invite(invitation) => {
                if self.disabled_at.is_some() {
                    return false;
                }
                self.invitation = Some(invitation);
            }
            Change::AcceptInvitation { hash, with } => {
                let open = |i: &Invitation| i.hash == hash && now < i.expires_at;
                if self.disabled_at.is_some() || !self.invitation.as_ref().is_some_and(open) {
                    return false;
                }
                match with {
                    Accepted::Password(hash) => {
                        self.password = Some(hash);
                        self.password_kind = PasswordKind::Own;
                        self.misses.password = 0;
                    }
                    Accepted::Passkey(_) if factors.any() => return false,
                    Accepted::Passkey(passkey) => factors.passkeys.push(passkey),
                }
                self.invitation = None;
            }
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
    use crate::domain::factors::{WRONG_CODES, WRONG_FROM_STRANGERS, WRONG_PASSWORDS};
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
            password_kind: PasswordKind::Own,
            invitation: None,
            created_at: NOW,
            signed_in_at: None,
            deleted_at: None,
            known_by: Vec::new(),
            disabled_at: None,
            sessions_valid_from: NOW,
            factors: Factors::default(),
            teams: Vec::new(),
            subject: None,
            misses: FailedAttempts::default(),
        }
    }

    fn own(text: &str) -> Change {
        Change::Password {
            hash: PasswordHash(text.to_owned()),
            kind: PasswordKind::Own,
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
        assert!(agent.apply(own("new"), NOW) && agent.misses.password == 0);
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
    fn a_link_is_good_once_until_it_ends_and_for_the_newest_alone() {
        let invitation = |n: u8| Invitation {
            hash: [n; 32],
            expires_at: NOW + time::Duration::HOUR,
        };
        let accept = |n: u8| Change::AcceptInvitation {
            hash: [n; 32],
            with: Accepted::Password(PasswordHash("own".into())),
        };
        let mut agent = agent();
        assert!(!agent.apply(accept(1), NOW), "there is none");
        assert!(agent.apply(Change::Invite(invitation(1)), NOW));
        assert!(agent.apply(Change::Invite(invitation(2)), NOW));
        assert!(!agent.apply(accept(1), NOW), "replaced");
        assert!(!agent.apply(accept(2), NOW + time::Duration::HOUR), "too late");
        assert!(agent.apply(Change::Disable, NOW) && !agent.apply(accept(2), NOW));
        assert!(agent.apply(Change::Enable, NOW) && !agent.apply(Change::Enable, NOW));
        assert!(agent.apply(accept(2), NOW) && agent.can_sign_in());
        assert!(!agent.apply(accept(2), NOW), "used");
    }

    #[test]
    fn nothing_but_the_name_is_left_of_a_deleted_account() {
        let mut agent = enrolled(10);
        assert!(agent.apply(own("password"), NOW) && agent.apply(Change::Delete { known_by: Vec::new() }, NOW));
        assert!(agent.name == "Ana" && agent.email.is_empty() && agent.password.is_none() && !agent.factors.any());
        assert!(!agent.can_sign_in() && !agent.apply(Change::Enable, NOW) && !agent.apply(own("again"), NOW));
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
        assert!(agent.apply(own("another"), NOW));
        assert!(!agent.apply(rehash.clone(), NOW), "changed meanwhile");
        assert!(agent.apply(own("old"), NOW));
        assert!(agent.apply(rehash, NOW + time::Duration::HOUR));
        assert!(agent.password == Some(hash("new")) && agent.sessions_valid_from == NOW);
    }
}
