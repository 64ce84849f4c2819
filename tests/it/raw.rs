//! A client that does what browsers never do: bytes as they are, at the pace and up to the point that a test wants.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestApp, until};

const PATIENCE: Duration = Duration::from_secs(60);
pub const BOUNDARY: &str = "nightdrop-raw";

pub struct Raw(TcpStream);

/// One answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// Whatever followed: a second answer, if the portal saw a second request.
    pub rest: Vec<u8>,
}

impl Raw {
    pub async fn to(app: &TestApp) -> Self {
        Self::at(app.running.as_ref().unwrap().public).await
    }

    /// From another address of this machine: limits are counted by it.
    pub async fn from(app: &TestApp, address: IpAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address, 0)).unwrap();
        let public = app.running.as_ref().unwrap().public;
        Self(socket.connect(public).await.unwrap())
    }

    pub async fn at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends as much as is taken: a portal that has answered may have closed already.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await, Ok(Ok(())))
    }

    /// The next answer, and everything behind it until the portal closes or is silent.
    pub async fn answer(mut self) -> Answer {
        let mut bytes = self.next(None).await;
        let answer = Answer::read(&bytes);
        if answer.headers.get("connection").is_none_or(|c| c != "close") {
            bytes.extend(self.next(Some(Duration::from_millis(150))).await);
        }
        Answer::read(&bytes)
    }

    /// Reads one whole answer, or with a patience of its own whatever comes.
    async fn next(&mut self, patience: Option<Duration>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut piece = vec![0; 16 * 1024];
        loop {
            if patience.is_none() && Answer::is_whole(&bytes) {
                return bytes;
            }
            match tokio::time::timeout(patience.unwrap_or(PATIENCE), self.0.read(&mut piece)).await {
                Ok(Ok(some)) if some > 0 => bytes.extend_from_slice(&piece[..some]),
                Err(_) if patience.is_none() => panic!("no answer, only {:?}", String::from_utf8_lossy(&bytes)),
                _ => return bytes,
            }
        }
    }

    /// What is there within a moment, without waiting for a whole answer.
    pub async fn glance(&mut self, patience: Duration) -> String {
        String::from_utf8_lossy(&self.next(Some(patience)).await).into_owned()
    }

    /// Gone without a word: a reset, as of a phone that lost its network.
    #[allow(deprecated)] // Blocks only for a linger above zero.
    pub fn vanish(self) {
        self.0.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Answer {
    /// An answer of which only the head was sent.
    pub fn head(text: &str) -> Self {
        Self::read(text.as_bytes())
    }

    fn is_whole(bytes: &[u8]) -> bool {
        let Some(end) = find(bytes, b"\r\n\r\n") else { return false };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        if head.starts_with("http/1.1 100") {
            return find(&bytes[end + 4..], b"\r\n\r\n").is_some();
        }
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length:"))
            .map(|l| l.trim().parse::<usize>().unwrap());
        bytes.len() >= end + 4 + length.unwrap_or(0)
    }

    fn read(bytes: &[u8]) -> Self {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            return Self {
                status: 0,
                headers: BTreeMap::new(),
                body: String::new(),
                rest: bytes.to_vec(),
            };
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        if head.starts_with("HTTP/1.1 100") {
            return Self::read(&bytes[end + 4..]);
        }
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |l| l.parse::<usize>().unwrap());
        let body = &bytes[end + 4..];
        Self {
            status,
            headers,
            body: String::from_utf8_lossy(&body[..length.min(body.len())]).into_owned(),
            rest: body[length.min(body.len())..].to_vec(),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// One part of a form, with every line of its header as the test wants it.
pub fn part(header: &str, bytes: &[u8]) -> Vec<u8> {
    [format!("--{BOUNDARY}\r\n{header}\r\n\r\n").as_bytes(), bytes, b"\r\n"].concat()
}

pub fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    part(
        &format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\nContent-Type: image/png"),
        bytes,
    )
}

pub fn end() -> Vec<u8> {
    format!("--{BOUNDARY}--\r\n").into_bytes()
}

/// The head of an upload of `length` bytes; `more` are further header lines, each with its line end.
pub fn head(path: &str, length: usize, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// A whole upload.
pub fn upload(path: &str, body: &[u8]) -> Vec<u8> {
    [head(path, body.len(), "").as_bytes(), body].concat()
}

/// An upload that has begun and stands still: some of its file is sealed here already.
pub struct Half {
    pub raw: Raw,
    pub rest: Vec<u8>,
}

impl Half {
    /// Sends half of the body, and returns once some of it is stored.
    pub async fn of(app: &TestApp, link: &crate::support::Link, body: &[u8]) -> Self {
        let running = async || app.portal.blobs.documents().await.unwrap().len();
        let before = running().await;
        let mut raw = Raw::to(app).await;
        let (first, rest) = body.split_at(body.len() / 2);
        assert!(raw.send([head(&link.path, body.len(), "").as_bytes(), first].concat()).await);
        until("the upload runs", async || running().await == before + 1).await;
        Self { raw, rest: rest.to_vec() }
    }

    pub async fn finish(mut self) -> Answer {
        self.raw.send(&self.rest).await;
        self.raw.answer().await
    }
}

/// No erasure secret lives, no chunk lies here, no upload is noted anywhere, once the worker has destroyed what was given up.
pub async fn assert_nothing_held(app: &TestApp, why: &str) {
    app.clean().await;
    assert_eq!(app.portal.erasure.live().unwrap(), vec![], "{why}");
    assert_eq!(app.portal.blobs.documents().await.unwrap(), vec![], "{why}");
    assert_eq!(app.portal.requests.live_documents().await.unwrap(), vec![], "{why}");
    assert!(app.portal.intake.in_flight.is_empty(), "{why}");
}

/// The same, as soon as the portal has noticed that nobody is there any more.
pub async fn until_nothing_held(app: &TestApp) {
    until("everything is destroyed", async || {
        app.clean().await;
        app.portal.intake.in_flight.is_empty()
            && app.portal.erasure.live().unwrap().is_empty()
            && app.portal.blobs.documents().await.unwrap().is_empty()
            && app.portal.requests.live_documents().await.unwrap().is_empty()
    })
    .await;
}
