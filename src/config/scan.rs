//! `[scan]`: whether documents are shown to a virus scanner before they leave, and to which one. There is no "if available".

use time::Duration;

use super::reader::Reader;
use crate::inspect::scan::Address;

/// Where Debian's clamd listens.
const DEFAULT: &str = "unix:/run/clamav/clamd.ctl";

/// A scanner that every document must pass.
#[derive(Clone, Debug)]
pub struct Scan {
    pub address: Address,
    /// Signatures older than this are no scan; `None`: whatever their age.
    pub signatures_within: Option<Duration>,
}

/// `None` with `av = "off"`.
pub fn read(r: &mut Reader) -> Option<Scan> {
    let required = match r.string("scan.av").as_deref() {
        None | Some("off") => false,
        Some("required") => true,
        Some(_) => {
            r.fault("scan.av", "must be \"required\" (nothing leaves unscanned) or \"off\"");
            false
        }
    };
    let text = r.string("scan.clamd").unwrap_or_else(|| DEFAULT.to_owned());
    let address = Address::parse(&text);
    if address.is_none() {
        r.fault(
            "scan.clamd",
            format!("must be a socket, such as \"{DEFAULT}\" or \"tcp:127.0.0.1:3310\""),
        );
    }
    let signatures_within = match r.string("scan.signatures_within").as_deref() {
        Some("any age") => None,
        Some(_) => Some(r.duration("scan.signatures_within", Duration::hours(48))),
        None => Some(Duration::hours(48)),
    };
    address.filter(|_| required).map(|address| Scan {
        address,
        signatures_within,
    })
}
