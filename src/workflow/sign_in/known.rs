//! Browsers that an account has signed in from: strangers who guess at a password shut the account to other strangers, and not to its owner.
//!
//! The mark is a cookie with a random number and a MAC over it, the account and the instant from which its sessions are good. Nothing about it is stored.
//! It opens nothing; it only lets a password be looked at where a stranger's would not be. A new password or "sign out everywhere" makes all marks worthless.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use crate::crypto::random;
use crate::domain::agent::Agent;

use super::{Portal, WorkflowError};

const NUMBER: usize = 16;
const MARK: usize = NUMBER + 32;

/// Who gives a password.
#[derive(Clone, Copy)]
pub struct Visitor<'a> {
    /// Of IPv6: its /64.
    pub address: IpAddr,
    pub browser: Browser<'a>,
}

/// What speaks for the browser before the password does.
#[derive(Clone, Copy)]
pub enum Browser<'a> {
    Stranger,
    /// It shows a mark, which may be anybody's.
    Marked(&'a str),
    /// It has a session of this very account.
    SignedIn,
}

impl Browser<'_> {
    pub(super) fn is_known(self, portal: &Portal, agent: &Agent) -> bool {
        match self {
            Self::Stranger => false,
            Self::SignedIn => true,
            Self::Marked(mark) => fits(portal, agent, mark),
        }
    }
}

/// The mark for a browser that has just signed in.
pub(crate) fn mark(portal: &Portal, agent: &Agent) -> Result<String, WorkflowError> {
    let number: [u8; NUMBER] = random::array()?;
    Ok(HEXLOWER.encode(&[&number[..], &mac(portal, agent, &number)].concat()))
}

/// Whether this browser's mark was made for this account.
pub(crate) fn fits(portal: &Portal, agent: &Agent, mark: &str) -> bool {
    let Some(bytes) = HEXLOWER.decode(mark.as_bytes()).ok().filter(|b| b.len() == MARK) else {
        return false;
    };
    let (number, given) = bytes.split_at(NUMBER);
    mac(portal, agent, number).ct_eq(given).into()
}

fn mac(portal: &Portal, agent: &Agent, number: &[u8]) -> [u8; 32] {
    let since = agent.sessions_valid_from.unix_timestamp_nanos() / 1_000_000;
    portal
        .secrets
        .index("known-browser", &[number, &agent.id.0, &since.to_be_bytes()].concat())
}
