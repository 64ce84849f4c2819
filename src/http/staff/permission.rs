//! Who may do what: one type for each permission, which a handler's signature names.
//!
//! | permission | API key with scope | agent | manual-handler | admin | auditor |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Own`]: own account | – | ✓ | ✓ | ✓ | ✓ |
//! | [`Anyone`]: the first page | – | ✓ | ✓ | ✓ | ✓ |
//! | [`Read`]: see requests, ask providers what is missing | read, requests, admin | ✓ | ✓ | ✓ | |
//! | [`Requests`]: issue, extend, reissue, revoke, retry, purge, write notes, assign | requests, admin | ✓ | ✓ | ✓ | |
//! | [`Manual`]: say that a by-hand provider has it | requests, admin | | ✓ | ✓ | |
//! | [`ManualDownload`]: download a part for a by-hand provider | – | | ✓ | | |
//! | [`Audit`]: read and export the log | audit, admin | | | ✓ | ✓ |
//! | [`Admin`]: agents, keys, vault, clock | admin | | | ✓ | |

use crate::domain::agent::{Role, Scope};

/// What an API key must hold.
pub(crate) trait InScope: 'static {
    const SCOPE: Scope;
}

/// Which roles may do it in the console.
pub(crate) trait ForRoles: 'static {
    const ROLES: &'static [Role];
    /// Who gets there before the account is complete.
    const UNFINISHED: Unfinished = Unfinished::Nobody;
}

/// What an account may still lack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    Nobody,
    /// A second factor that is demanded of everybody.
    SecondFactor,
    /// A password that nobody else knows, and what comes after it.
    OwnPassword,
}

/// One's own account; also before a demanded second factor is set up.
pub(crate) struct Own;

impl ForRoles for Own {
    const ROLES: &'static [Role] = &Role::ALL;
    const UNFINISHED: Unfinished = Unfinished::SecondFactor;
}

/// The page that sets the first password of one's own.
pub(crate) struct FirstPassword;

impl ForRoles for FirstPassword {
    const ROLES: &'static [Role] = &Role::ALL;
    const UNFINISHED: Unfinished = Unfinished::OwnPassword;
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: [$($role:ident)*] $(, $scope:ident)?;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;
            impl ForRoles for $name {
                const ROLES: &'static [Role] = &[$(Role::$role),*];
            }
            $(impl InScope for $name {
                const SCOPE: Scope = Scope::$scope;
            })?
        )*
    };
}

permissions! {
    /// A whole session, whatever its role.
    Anyone: [Agent ManualHandler Admin Auditor];
    /// Looking at requests.
    Read: [Agent ManualHandler Admin], Read;
    /// Issuing and acting.
    Requests: [Agent ManualHandler Admin], Requests;
    /// Answering for a by-hand provider.
    Manual: [ManualHandler Admin];
    /// Taking a part out by hand: nobody who could have given themselves the right without a trace, so not admins.
    ManualDownload: [ManualHandler];
    /// The audit log.
    Audit: [Admin Auditor], Audit;
    /// Accounts, keys, the vault and the clock.
    Admin: [Admin], Admin;
}

/// Whether a role has a permission; what pages show depends on it.
pub(crate) fn may<P: ForRoles>(role: Role) -> bool {
    P::ROLES.contains(&role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_hold_exactly_what_the_table_says() {
        let table: [(Role, [bool; 8]); 4] = [
            (Role::Agent, [true, true, true, true, false, false, false, false]),
            (Role::ManualHandler, [true, true, true, true, true, true, false, false]),
            (Role::Admin, [true, true, true, true, true, false, true, true]),
            (Role::Auditor, [true, true, false, false, false, false, true, false]),
        ];
        for (role, expected) in table {
            let held = [
                may::<Own>(role),
                may::<Anyone>(role),
                may::<Read>(role),
                may::<Requests>(role),
                may::<Manual>(role),
                may::<ManualDownload>(role),
                may::<Audit>(role),
                may::<Admin>(role),
            ];
            assert_eq!(held, expected, "{role:?}");
        }
    }
}
