//! TLS for a listener that has no proxy in front: certificate and key from PEM files, TLS 1.2 and 1.3.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::crypto::private_file::{self, Privacy};
use crate::current::Current;

/// More than any chain of keys takes.
const KEY_MAX: usize = 64 * 1024;

/// When the first of a chain's certificates ends.
pub(crate) fn expires(cert: &Path) -> Result<OffsetDateTime, String> {
    let wrong = |why: String| format!("{}: {why}", cert.display());
    let mut first = None;
    for der in chain(cert)? {
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|e| wrong(format!("not a certificate: {e}")))?;
        let end = parsed.validity().not_after.to_datetime();
        first = Some(first.map_or(end, |first: OffsetDateTime| first.min(end)));
    }
    first.ok_or_else(|| wrong("holds no certificate".to_owned()))
}

/// The certificates of a file, the server's own first.
pub(crate) fn chain(cert: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: not a PEM certificate chain: {e}", cert.display()))
}

/// Certificate and key of a listener. Each handshake takes the present one, so that a renewed one needs no restart and ends no connection.
#[derive(Debug)]
pub(crate) struct Certificate(Current<CertifiedKey>);

impl Certificate {
    pub(crate) fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(Current::new(Arc::new(key))))
    }

    pub(crate) fn replace(&self, key: CertifiedKey) {
        self.0.replace(Arc::new(key));
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

fn provider() -> Arc<CryptoProvider> {
    ring::default_provider().into()
}

/// The error names the file and what it should hold. A private key that others may read is refused, as every other secret is.
pub(crate) fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let chain = chain(cert)?;
    // Tools that renew certificates keep a link to the newest one: what it leads to is checked.
    let real = key.canonicalize().map_err(|e| format!("{}: {e}", key.display()))?;
    let pem = private_file::read(&real, KEY_MAX, Privacy::Credential).map_err(|e| crate::chain::chain(&e).to_string())?;
    let key_der = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| format!("{}: not a PEM private key: {e}", key.display()))?;
    CertifiedKey::from_der(chain, key_der, &provider())
        .map_err(|e| format!("{} and {} do not belong together: {e}", cert.display(), key.display()))
}

pub(crate) fn server(certificate: Arc<Certificate>) -> Result<ServerConfig, String> {
    Ok(ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(certificate))
}
