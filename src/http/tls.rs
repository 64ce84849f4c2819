//! TLS for a listener that has no proxy in front: certificate and key from PEM files, TLS 1.2 and 1.3.

use std::path::Path;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::crypto::private_file::{self, Privacy};

/// More than any chain of keys takes.
const KEY_MAX: usize = 64 * 1024;

/// The error names the file and what it should hold. A private key that others may read is refused, as every other secret is.
pub fn server(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: not a PEM certificate chain: {e}", cert.display()))?;
    // Tools that renew certificates keep a link to the newest one: what it leads to is checked.
    let real = key.canonicalize().map_err(|e| format!("{}: {e}", key.display()))?;
    let pem = private_file::read(&real, KEY_MAX, Privacy::Credential).map_err(|e| e.to_string())?;
    let key_der = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| format!("{}: not a PEM private key: {e}", key.display()))?;
    ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| format!("{} and {} do not belong together: {e}", cert.display(), key.display()))
}
