//! TLS for a listener that has no proxy in front: certificate and key from PEM files or fetched by the portal itself, TLS 1.2 and 1.3.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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
/// What a certificate authority says instead of `http/1.1` when it comes to look whether a name leads here (RFC 8737).
const CHALLENGE: &[u8] = b"acme-tls/1";

/// From when to when a certificate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub begin: OffsetDateTime,
    pub end: OffsetDateTime,
}

/// When the first of a chain's certificates ends.
pub(crate) fn expires(cert: &Path) -> Result<OffsetDateTime, String> {
    let ends = validity(&chain(cert)?).map_err(|why| format!("{}: {why}", cert.display()))?;
    Ok(ends.end)
}

/// The time in which every certificate of a chain is taken.
pub(crate) fn validity(chain: &[CertificateDer<'_>]) -> Result<Validity, String> {
    let mut all: Option<Validity> = None;
    for der in chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|e| format!("not a certificate: {e}"))?;
        let (begin, end) = (
            parsed.validity().not_before.to_datetime(),
            parsed.validity().not_after.to_datetime(),
        );
        let before = all.unwrap_or(Validity { begin, end });
        all = Some(Validity {
            begin: before.begin.max(begin),
            end: before.end.min(end),
        });
    }
    all.ok_or_else(|| "holds no certificate".to_owned())
}

/// The certificates of a file, the server's own first.
pub(crate) fn chain(cert: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("{}: not a PEM certificate chain: {e}", cert.display()))
}

/// Certificate and key of a listener. Each handshake takes the present one, so that a renewed one needs no restart and ends no connection. Before there is one, handshakes end
/// with an alert.
#[derive(Debug)]
pub(crate) struct Certificate(Current<Option<Arc<CertifiedKey>>>);

impl Certificate {
    pub(crate) fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(Current::new(Arc::new(Some(Arc::new(key))))))
    }

    /// One that is still to be fetched.
    pub(crate) fn awaited() -> Arc<Self> {
        Arc::new(Self(Current::new(Arc::new(None))))
    }

    pub(crate) fn replace(&self, key: CertifiedKey) {
        self.0.replace(Arc::new(Some(Arc::new(key))));
    }

    pub(crate) fn shown(&self) -> Option<Arc<CertifiedKey>> {
        (*self.0.get()).clone()
    }

    /// Of the certificate that is shown.
    pub(crate) fn validity(&self) -> Option<Validity> {
        validity(&self.shown()?.cert).ok()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown()
    }
}

/// Certificates that prove to an authority that a name leads here. They are shown to whoever asks for nothing but that proof, and to nobody else.
#[derive(Debug, Default)]
pub(crate) struct Challenges(Mutex<BTreeMap<String, Arc<CertifiedKey>>>);

impl Challenges {
    /// Until what is returned is dropped.
    pub(crate) fn show(self: &Arc<Self>, name: &str, answer: CertifiedKey) -> ShownChallenge {
        self.all().insert(name.to_owned(), Arc::new(answer));
        ShownChallenge {
            of: self.clone(),
            name: name.to_owned(),
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A challenge that is answered as long as this lives.
pub(crate) struct ShownChallenge {
    of: Arc<Challenges>,
    name: String,
}

impl Drop for ShownChallenge {
    fn drop(&mut self) {
        self.of.all().remove(&self.name);
    }
}

/// A listener's certificate, and the proofs that any listener gives for any name.
#[derive(Debug)]
struct WithChallenges {
    certificate: Arc<Certificate>,
    challenges: Arc<Challenges>,
}

impl ResolvesServerCert for WithChallenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offers = hello.alpn().into_iter().flatten();
        if offers.next() == Some(CHALLENGE) && offers.next().is_none() {
            let name = hello.server_name()?.to_ascii_lowercase();
            return self.challenges.all().get(&name).cloned();
        }
        self.certificate.shown()
    }
}

/// Whether a handshake was made for a challenge: it has told everything, and nothing follows.
pub(crate) fn is_challenge(connection: &rustls::ServerConnection) -> bool {
    connection.alpn_protocol() == Some(CHALLENGE)
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

/// Key and chain out of one PEM text.
pub(crate) fn parse(pem: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("not a PEM certificate chain: {e}"))?;
    validity(&chain)?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|e| format!("not a PEM private key: {e}"))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|e| format!("key and certificate do not belong together: {e}"))
}

/// The certificate of a proof. Its extension is one that nobody may pass over, so that no client takes it for a certificate of a site, and the check of [`parse`] does not either.
pub(crate) fn proof(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, String> {
    let key = provider().key_provider.load_private_key(key).map_err(|e| e.to_string())?;
    Ok(CertifiedKey::new(vec![certificate], key))
}

/// What answers a handshake besides showing the listener's certificate.
pub(crate) enum Proofs {
    None,
    Challenges(Arc<Challenges>),
}

pub(crate) fn server(certificate: Arc<Certificate>, proofs: &Proofs) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth();
    Ok(match proofs {
        Proofs::None => builder.with_cert_resolver(certificate),
        Proofs::Challenges(challenges) => {
            let challenges = challenges.clone();
            let mut server = builder.with_cert_resolver(Arc::new(WithChallenges { certificate, challenges }));
            server.alpn_protocols.push(CHALLENGE.to_vec());
            server
        }
    })
}
