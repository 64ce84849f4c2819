//! Whom the client believes to be the provider. What fails here failed before the request: definite, and not one byte of it was readable.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::tests::endpoint;
use super::*;

struct Server {
    address: SocketAddr,
    /// Requests that could be read.
    read: Arc<AtomicUsize>,
}

/// Accepts connections one after the other until the test process ends.
fn serve(certificate: CertificateDer<'static>, key: &KeyPair) -> Server {
    install_tls();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = Arc::new(
        rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap(),
    );
    let (listener, read) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::<AtomicUsize>::default());
    let server = Server {
        address: listener.local_addr().unwrap(),
        read: read.clone(),
    };
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), socket.unwrap());
            let mut buffer = [0; 4_096];
            if stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                read.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    server
}

/// An authority in a file of its own, removed when the test ends.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = std::env::temp_dir().join(format!("nightdrop-test-{}-{name}.pem", std::process::id()));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    fn issue(&self, names: &[&str], year: i32) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

async fn ask(host: &str, server: &Server, ca_file: Option<PathBuf>) -> Result<u16, Failure> {
    let url = format!("https://{host}:{}", server.address.port());
    let client = Client::new(&Endpoint { ca_file, ..endpoint(&url) }).unwrap();
    client
        .send(Call::sending(Method::POST, client.url("/")).body(Body::text("text/plain", "secret")))
        .await
        .map(|answer| answer.status)
}

#[tokio::test]
async fn only_a_valid_certificate_of_a_known_authority_for_this_host_is_believed() {
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let good = known.issue(&["localhost", "127.0.0.1"], 2090);
    let server = serve(good.0, &good.1);
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(ask(host, &server, Some(known.file.clone())).await, Ok(200), "{host}");
    }
    let self_signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let refused = [
        ("own authority not given", known.issue(&["localhost"], 2090), None),
        ("another authority", stranger.issue(&["localhost"], 2090), Some(known.file.clone())),
        (
            "self-signed",
            (self_signed.cert.der().clone(), self_signed.signing_key),
            Some(known.file.clone()),
        ),
        ("expired", known.issue(&["localhost"], 2020), Some(known.file.clone())),
        ("another host", known.issue(&["example.com"], 2090), Some(known.file.clone())),
    ];
    for (name, (certificate, key), ca_file) in refused {
        let server = serve(certificate, &key);
        let failure = ask("localhost", &server, ca_file).await.unwrap_err();
        assert!(matches!(failure, Failure::Definite { .. }), "{name}: {failure:?}");
        assert_eq!(failure.problem().code, "provider.unreachable", "{name}");
        assert_eq!(server.read.load(Ordering::SeqCst), 0, "{name}");
    }
}

#[tokio::test]
async fn an_old_tls_version_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        read: Arc::default(),
    };
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 4_096]);
            // A ServerHello that chooses TLS 1.1 with TLS_RSA_WITH_AES_128_CBC_SHA.
            let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
            hello.extend_from_slice(&[7; 32]);
            hello.extend_from_slice(&[0, 0, 0x2f, 0]);
            let _ = socket.write_all(&hello);
            let _ = socket.read(&mut [0; 4_096]);
        }
    });
    assert!(matches!(ask("127.0.0.1", &server, None).await, Err(Failure::Definite { .. })));
}

#[test]
fn a_ca_file_must_hold_certificates() {
    for path in ["/nonexistent/ca.pem", "Cargo.toml"] {
        let faults = Client::new(&Endpoint {
            ca_file: Some(path.into()),
            ..endpoint("https://127.0.0.1")
        })
        .err()
        .unwrap();
        assert_eq!(faults[0].key, "ca_file", "{path}");
    }
}
