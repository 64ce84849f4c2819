//! How a provider or receiver is reached: address, proxy, certificate authorities, patience. What of it may be connected to is the guard's question.

use std::path::PathBuf;

use time::Duration;

use crate::settings::Reader;

/// How a provider is reached.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub base_url: String,
    /// `http://` beyond this machine. For tests and for providers behind an own TLS proxy.
    pub allow_insecure: bool,
    /// Addresses of private networks. Link-local (cloud metadata), multicast and unspecified ones stay refused.
    pub allow_private: bool,
    /// Loopback, also over `http://`: the sandbox provider.
    pub allow_loopback: bool,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<String>,
    pub timeout: Duration,
}

impl Endpoint {
    /// Keys: `allow_insecure`, `allow_private`, `ca_file`, `proxy`, `timeout`. The address has a key of its own where it is read.
    pub(crate) fn read(reader: &mut Reader<'_>, base_url: String, allow_loopback: bool, timeout: Duration) -> Self {
        Self {
            base_url,
            allow_insecure: reader.flag("allow_insecure", false, "http:// beyond this machine"),
            allow_private: reader.flag("allow_private", false, "addresses of private networks"),
            allow_loopback,
            ca_file: reader.path("ca_file", "the path of a PEM file with certificate authorities"),
            proxy: reader.text("proxy", "a proxy's address, such as \"http://proxy.internal:3128\""),
            timeout: reader.span("timeout", timeout, "for a whole request"),
        }
    }
}
