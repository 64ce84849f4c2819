//! The settings of `[scan]`: whether documents are shown to a virus scanner before they leave, and to which one. There is no "if available".

use time::Duration;

use super::Address;
use crate::settings::Reader;

/// Where Debian's clamd listens.
const DEFAULT: &str = "unix:/run/clamav/clamd.ctl";

/// A scanner that every document must pass.
#[derive(Clone, Debug)]
pub struct ScanSettings {
    pub address: Address,
    /// Signatures older than this are no scan; `None`: whatever their age.
    pub signatures_within: Option<Duration>,
}

impl ScanSettings {
    /// `None` with `av = "off"`.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let choices = [("required", true), ("off", false)];
        let is_required = reader.choice("av", &choices, "off", "whether documents must pass a scan before they leave");
        let text = reader.text_with("clamd", DEFAULT, "where clamd listens");
        let address = Address::parse(&text);
        if address.is_none() {
            reader.must_be("clamd", format!("a socket, such as \"{DEFAULT}\" or \"tcp:127.0.0.1:3310\""));
        }
        let signatures_within = reader.span_or(
            "signatures_within",
            "any age",
            Duration::hours(48),
            "older signatures are no scan; or \"any age\"",
        );
        address.filter(|_| is_required).map(|address| Self {
            address,
            signatures_within,
        })
    }
}
