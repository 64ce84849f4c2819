//! Stored forms of accounts, sessions and API keys. What came later is optional: rows of an earlier version stay readable.

use super::*;
use crate::domain::agent::{Invitation, PasswordKind};
use crate::domain::factors::{Factors, FailedAttempts, Passkey, Totp};

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct AgentRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    email: String,
    #[n(2)]
    name: String,
    #[n(3)]
    role: String,
    #[n(4)]
    password: Option<String>,
    #[n(5)]
    created_at: i64,
    #[n(6)]
    disabled_at: Option<i64>,
    #[n(7)]
    sessions_valid_from: i64,
    #[n(8)]
    totp: Option<TotpRow>,
    #[n(9)]
    recovery: Option<Vec<Bytes>>,
    #[n(10)]
    passkeys: Option<Vec<PasskeyRow>>,
    #[n(11)]
    teams: Option<Vec<String>>,
    #[n(12)]
    subject: Option<String>,
    #[n(13)]
    wrong_passwords: Option<u32>,
    #[n(14)]
    wrong_codes: Option<u32>,
    #[n(15)]
    temporary: Option<bool>,
    #[n(16)]
    invitation: Option<InvitationRow>,
    #[n(17)]
    signed_in_at: Option<i64>,
    #[n(18)]
    deleted_at: Option<i64>,
    #[n(19)]
    known_by: Option<Vec<Bytes>>,
}

#[derive(Encode, Decode)]
struct InvitationRow {
    #[n(0)]
    hash: Bytes,
    #[n(1)]
    expires_at: i64,
}

#[derive(Encode, Decode)]
struct TotpRow {
    #[n(0)]
    secret: Bytes,
    #[n(1)]
    last_step: u64,
    #[n(2)]
    since: i64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct PasskeyRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    name: String,
    #[n(2)]
    credential: Bytes,
    #[n(3)]
    made_at: i64,
    #[n(4)]
    used_at: Option<i64>,
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|l| !l.is_empty())
}

impl From<&Agent> for AgentRow {
    fn from(a: &Agent) -> Self {
        let f = &a.factors;
        Self {
            id: bytes(&a.id.0),
            email: a.email.clone(),
            name: a.name.clone(),
            role: a.role.as_str().to_owned(),
            password: a.password.as_ref().map(|p| p.0.clone()),
            created_at: to_ms(a.created_at),
            disabled_at: a.disabled_at.map(to_ms),
            sessions_valid_from: to_ms(a.sessions_valid_from),
            totp: f.totp.as_ref().map(|t| TotpRow {
                secret: bytes(&t.secret.0),
                last_step: t.last_step,
                since: to_ms(t.since),
            }),
            recovery: some(f.recovery.iter().map(|c| bytes(c)).collect()),
            passkeys: some(
                f.passkeys
                    .iter()
                    .map(|p| PasskeyRow {
                        id: bytes(&p.id),
                        name: p.name.clone(),
                        credential: bytes(&p.credential.0),
                        made_at: to_ms(p.made_at),
                        used_at: p.used_at.map(to_ms),
                    })
                    .collect(),
            ),
            teams: some(a.teams.iter().map(|t| t.as_str().to_owned()).collect()),
            subject: a.subject.clone(),
            wrong_passwords: Some(a.misses.password).filter(|n| *n > 0),
            wrong_codes: Some(a.misses.code).filter(|n| *n > 0),
            temporary: (a.password_kind == PasswordKind::Temporary).then_some(true),
            invitation: a.invitation.as_ref().map(|i| InvitationRow {
                hash: bytes(&i.hash),
                expires_at: to_ms(i.expires_at),
            }),
            signed_in_at: a.signed_in_at.map(to_ms),
            deleted_at: a.deleted_at.map(to_ms),
            known_by: some(a.known_by.iter().map(|hash| bytes(hash)).collect()),
        }
    }
}

impl AgentRow {
    pub(super) fn into_domain(self) -> Read<Agent> {
        let totp = self.totp.map(|t| {
            Ok(Totp {
                secret: SealedText(t.secret.into()),
                last_step: t.last_step,
                since: instant(t.since)?,
            })
        });
        let passkeys = self.passkeys.unwrap_or_default().into_iter().map(|p| {
            Ok(Passkey {
                id: p.id.into(),
                name: p.name,
                credential: SealedText(p.credential.into()),
                made_at: instant(p.made_at)?,
                used_at: p.used_at.map(instant).transpose()?,
            })
        });
        let teams = self.teams.unwrap_or_default();
        let invitation = self.invitation.map(|i| {
            Ok(Invitation {
                hash: array(&i.hash)?,
                expires_at: instant(i.expires_at)?,
            })
        });
        Ok(Agent {
            id: AgentId(array(&self.id)?),
            email: self.email,
            name: self.name,
            role: word(Role::parse(&self.role))?,
            password: self.password.map(PasswordHash),
            password_kind: match self.temporary {
                Some(true) => PasswordKind::Temporary,
                _ => PasswordKind::Own,
            },
            invitation: invitation.transpose()?,
            created_at: from_ms(self.created_at),
            signed_in_at: self.signed_in_at.map(instant).transpose()?,
            deleted_at: self.deleted_at.map(instant).transpose()?,
            known_by: self.known_by.unwrap_or_default().iter().map(array).collect::<Read<_>>()?,
            disabled_at: self.disabled_at.map(from_ms),
            sessions_valid_from: from_ms(self.sessions_valid_from),
            factors: Factors {
                totp: totp.transpose()?,
                recovery: self.recovery.unwrap_or_default().iter().map(array).collect::<Read<_>>()?,
                passkeys: passkeys.collect::<Read<_>>()?,
            },
            teams: teams.iter().map(|t| word(Team::parse(t))).collect::<Read<_>>()?,
            subject: self.subject,
            misses: FailedAttempts {
                password: self.wrong_passwords.unwrap_or(0),
                code: self.wrong_codes.unwrap_or(0),
            },
        })
    }
}

#[derive(Encode, Decode)]
pub(super) struct SessionRow {
    #[n(0)]
    agent: Bytes,
    #[n(1)]
    created_at: i64,
    #[n(2)]
    seen_at: i64,
    #[n(3)]
    factor_at: Option<i64>,
    #[n(4)]
    how: Option<String>,
    #[n(5)]
    browser: Option<String>,
}

impl From<&Session> for SessionRow {
    fn from(s: &Session) -> Self {
        Self {
            agent: bytes(&s.agent.0),
            created_at: to_ms(s.created_at),
            seen_at: to_ms(s.seen_at),
            factor_at: s.factor_at.map(to_ms),
            how: Some(s.how.as_str().to_owned()),
            browser: Some(s.browser.clone()),
        }
    }
}

impl SessionRow {
    pub(super) fn into_domain(self) -> Read<Session> {
        Ok(Session {
            agent: AgentId(array(&self.agent)?),
            created_at: from_ms(self.created_at),
            seen_at: from_ms(self.seen_at),
            factor_at: self.factor_at.map(instant).transpose()?,
            how: match self.how {
                Some(how) => word(AuthMethod::parse(&how))?,
                None => AuthMethod::Password,
            },
            browser: self.browser.unwrap_or_default(),
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ApiKeyRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    name: String,
    #[n(2)]
    scopes: Vec<String>,
    #[n(3)]
    created_at: i64,
    #[n(4)]
    expires_at: Option<i64>,
    #[n(5)]
    revoked_at: Option<i64>,
    #[n(6)]
    used_at: Option<i64>,
    #[n(7)]
    team: Option<String>,
    #[n(8)]
    made_by: Option<Bytes>,
}

impl From<&ApiKey> for ApiKeyRow {
    fn from(k: &ApiKey) -> Self {
        Self {
            id: bytes(&k.id.0),
            name: k.name.clone(),
            scopes: k.scopes.iter().map(|s| s.as_str().to_owned()).collect(),
            created_at: to_ms(k.created_at),
            expires_at: k.expires_at.map(to_ms),
            revoked_at: k.revoked_at.map(to_ms),
            used_at: k.used_at.map(to_ms),
            team: k.team.as_ref().map(|t| t.as_str().to_owned()),
            made_by: k.made_by.map(|id| bytes(&id.0)),
        }
    }
}

impl ApiKeyRow {
    pub(super) fn into_domain(self) -> Read<ApiKey> {
        Ok(ApiKey {
            id: ApiKeyId(array(&self.id)?),
            name: self.name,
            scopes: self.scopes.iter().map(|s| word(Scope::parse(s))).collect::<Read<_>>()?,
            created_at: from_ms(self.created_at),
            expires_at: self.expires_at.map(from_ms),
            revoked_at: self.revoked_at.map(from_ms),
            used_at: self.used_at.map(instant).transpose()?,
            team: self.team.map(|t| word(Team::parse(&t))).transpose()?,
            made_by: self.made_by.map(|id| array(&id).map(AgentId)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn rows_of_the_version_before_are_read() {
        #[derive(Encode)]
        struct Old {
            #[n(0)]
            agent: Bytes,
            #[n(1)]
            created_at: i64,
            #[n(2)]
            seen_at: i64,
        }
        let old = write(&Old {
            agent: bytes(&[1; 16]),
            created_at: 1,
            seen_at: 2,
        });
        let session = Session::decode(&old).unwrap();
        assert_eq!((session.how, session.factor_at), (AuthMethod::Password, None));
        #[derive(Encode)]
        #[cbor(map)]
        struct OldKey {
            #[n(0)]
            id: Bytes,
            #[n(1)]
            name: String,
            #[n(2)]
            scopes: Vec<String>,
            #[n(3)]
            created_at: i64,
        }
        let old = write(&OldKey {
            id: bytes(&[1; 16]),
            name: "x".into(),
            scopes: vec!["read".into()],
            created_at: 1,
        });
        assert_eq!(ApiKey::decode(&old).unwrap().team, None);
    }

    #[test]
    fn an_account_comes_back_as_it_was() {
        let at = datetime!(2026-05-01 12:00 UTC);
        let agent = Agent {
            id: AgentId([1; 16]),
            email: "a@example.com".into(),
            name: "A".into(),
            role: Role::ManualHandler,
            password: None,
            password_kind: PasswordKind::Temporary,
            invitation: Some(Invitation {
                hash: [5; 32],
                expires_at: at,
            }),
            created_at: at,
            signed_in_at: Some(at),
            deleted_at: Some(at),
            known_by: vec![[6; 32], [7; 32]],
            disabled_at: None,
            sessions_valid_from: at,
            factors: Factors {
                totp: Some(Totp {
                    secret: SealedText(vec![1, 2]),
                    last_step: 7,
                    since: at,
                }),
                recovery: vec![[3; 32]],
                passkeys: vec![Passkey {
                    id: vec![9],
                    name: "laptop".into(),
                    credential: SealedText(vec![4]),
                    made_at: at,
                    used_at: Some(at),
                }],
            },
            teams: vec![Team::parse("cards").unwrap()],
            subject: Some("i s".into()),
            misses: FailedAttempts { password: 3, code: 90 },
        };
        assert_eq!(Agent::decode(&agent.encode()).unwrap(), agent);
    }
}
