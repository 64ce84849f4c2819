//! Why something could not be reached, read out of the sources of an error: for an operator who asks, not for the log of deliveries.

use std::error::Error;
use std::fmt;

use rustls::CertificateError;

use super::guard::NotAllowed;

/// The first source of this type, also where an I/O error holds it.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(here) = next {
        if let Some(found) = here.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = here.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inside.and_then(|inside| find::<E>(inside)) {
            return Some(found);
        }
        next = here.source();
    }
    None
}

/// What is wrong with a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateFault {
    Ended,
    NotYet,
    OtherName,
    UnknownIssuer,
    Other(String),
}

impl CertificateFault {
    /// `None`: that was not it.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let rustls::Error::InvalidCertificate(fault) = find::<rustls::Error>(error)? else {
            return None;
        };
        Some(match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Ended,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            other => Self::Other(other.to_string()),
        })
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("its certificate has ended"),
            Self::NotYet => f.write_str("its certificate is not valid yet"),
            Self::OtherName => f.write_str("its certificate is for another name"),
            Self::UnknownIssuer => f.write_str("its certificate leads to no authority that is known here"),
            Self::Other(why) => write!(f, "its certificate is not accepted ({why})"),
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    Name,
    /// The name leads to an address that this portal does not connect to.
    NotAllowed,
    Certificate(CertificateFault),
    InTime,
    Connection,
}

impl Unreached {
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if find::<NotAllowed>(error).is_some() {
            return Self::NotAllowed;
        }
        match CertificateFault::of(error) {
            Some(fault) => Self::Certificate(fault),
            None if error.is_dns() => Self::Name,
            None if error.is_timeout() => Self::InTime,
            None => Self::Connection,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("its name cannot be resolved"),
            Self::NotAllowed => f.write_str("its name leads to an address that is not allowed"),
            Self::Certificate(fault) => fault.fmt(f),
            Self::InTime => f.write_str("it does not answer in time"),
            Self::Connection => f.write_str("no connection can be made"),
        }
    }
}
