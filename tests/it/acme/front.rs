//! Stands before an authority and passes everything on, but for what a test wants said instead: pauses that are asked for, and advice on renewals, which Pebble does not give.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use data_encoding::BASE64URL_NOPAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::authority::{Pebble, own_certificate};
use crate::support::Folder;

/// What is said instead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Nothing else.
    Everything,
    /// Orders are refused for so many seconds.
    TooMany(u64),
    /// A page for people.
    Maintenance,
    /// Whatever certificate is asked about first should be renewed at once, others in a year.
    RenewTheFirst,
}

pub struct Front {
    pub port: u16,
    says: Arc<Mutex<Says>>,
    seen: Arc<Mutex<Seen>>,
    folder: Folder,
}

#[derive(Default)]
struct Seen {
    orders: usize,
    /// Certificates that were asked about, as the protocol names them.
    asked_about: Vec<String>,
    /// What the last order said that it stands in for.
    replaces: Option<String>,
}

impl Front {
    pub async fn before(pebble: &Pebble, says: Says) -> Self {
        let folder = Folder::new();
        let (cert, key) = own_certificate(&folder);
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(cert).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (says, seen) = (Arc::new(Mutex::new(says)), Arc::<Mutex<Seen>>::default());
        let passes = Passes {
            to: pebble.port,
            port,
            says: says.clone(),
            seen: seen.clone(),
            http: reqwest::Client::builder()
                .no_proxy()
                .http1_only()
                .tls_danger_accept_invalid_certs(true)
                .build()
                .unwrap(),
        };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(passes.clone().serve(acceptor.clone(), socket));
            }
        });
        Self { port, says, seen, folder }
    }

    pub fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    pub fn orders(&self) -> usize {
        self.seen.lock().unwrap().orders
    }

    pub fn asked_about(&self) -> Vec<String> {
        self.seen.lock().unwrap().asked_about.clone()
    }

    pub fn replaces(&self) -> Option<String> {
        self.seen.lock().unwrap().replaces.clone()
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("own.pem")
    }
}

#[derive(Clone)]
struct Passes {
    to: u16,
    port: u16,
    says: Arc<Mutex<Says>>,
    seen: Arc<Mutex<Seen>>,
    http: reqwest::Client,
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, headers: &[(&str, &str)], body: &Value) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            status,
            headers: headers.collect(),
            body: body.to_string().into_bytes(),
        }
    }
}

impl Passes {
    /// One request on each connection.
    async fn serve(self, acceptor: TlsAcceptor, socket: TcpStream) -> Option<()> {
        let mut socket = acceptor.accept(socket).await.ok()?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            (socket.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok())
            .unwrap_or(0);
        while bytes.len() < end + length {
            (socket.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
        }
        let mut words = head.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let reply = self.reply(&method, &path, &bytes[end..]).await;
        let mut answer = format!(
            "HTTP/1.1 {} x\r\nConnection: close\r\nContent-Length: {}\r\n",
            reply.status,
            reply.body.len()
        );
        for (name, value) in &reply.headers {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
        answer.push_str("\r\n");
        socket.write_all(answer.as_bytes()).await.ok()?;
        socket.write_all(&reply.body).await.ok()?;
        socket.shutdown().await.ok()
    }

    async fn reply(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let says = *self.says.lock().unwrap();
        let is_order = path.starts_with("/order-plz");
        if is_order {
            let mut seen = self.seen.lock().unwrap();
            let signed: Value = serde_json::from_slice(body).unwrap();
            let payload = BASE64URL_NOPAD.decode(signed["payload"].as_str().unwrap().as_bytes()).unwrap();
            let order: Value = serde_json::from_slice(&payload).unwrap();
            seen.replaces = order["replaces"].as_str().map(str::to_owned);
        }
        match says {
            Says::Maintenance => {
                return Reply {
                    status: 503,
                    headers: vec![("Retry-After".to_owned(), "1800".to_owned())],
                    body: b"<h1>Back soon</h1>".to_vec(),
                };
            }
            Says::TooMany(seconds) if is_order => {
                self.seen.lock().unwrap().orders += 1;
                let problem = json!({ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates already issued for drop.example.com" });
                return Reply::json(429, &[("Retry-After", &seconds.to_string())], &problem);
            }
            Says::RenewTheFirst if path.starts_with("/advice/") => return self.advice(path),
            Says::Everything | Says::TooMany(_) | Says::RenewTheFirst => {}
        }
        let mut reply = self.pass(method, path, body).await;
        // Pebble refuses some good requests, to have them repeated: those are no orders.
        if is_order && reply.status == 201 {
            self.seen.lock().unwrap().orders += 1;
        }
        if says == Says::RenewTheFirst
            && let Ok(mut said) = serde_json::from_slice::<Value>(&reply.body)
        {
            if path == "/dir" {
                said["renewalInfo"] = json!(format!("https://localhost:{}/advice", self.port));
            } else if said.get("finalize").is_some()
                && let Some(replaces) = &self.seen.lock().unwrap().replaces
            {
                said["replaces"] = json!(replaces);
            }
            reply.body = said.to_string().into_bytes();
        }
        reply
    }

    fn advice(&self, path: &str) -> Reply {
        let about = path.trim_start_matches("/advice/").to_owned();
        let mut seen = self.seen.lock().unwrap();
        seen.asked_about.push(about.clone());
        let window = match seen.asked_about[0] == about {
            true => json!({ "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z" }),
            false => json!({ "start": "2100-01-01T00:00:00Z", "end": "2100-01-02T00:00:00Z" }),
        };
        Reply::json(200, &[("Retry-After", "21600")], &json!({ "suggestedWindow": window }))
    }

    async fn pass(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        // Its addresses are made from the host that it was asked by.
        let answer = self
            .http
            .request(method, format!("https://localhost:{}{path}", self.to))
            .header("host", format!("localhost:{}", self.port))
            .header("content-type", "application/jose+json")
            .body(body.to_vec())
            .send()
            .await
            .unwrap();
        let kept = ["replay-nonce", "location", "content-type", "retry-after", "link"];
        let headers = answer.headers().iter().filter(|(name, _)| kept.contains(&name.as_str()));
        Reply {
            status: answer.status().as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            body: answer.bytes().await.unwrap().to_vec(),
        }
    }
}
