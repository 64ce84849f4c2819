//! What the tests of this module share: a document in memory, and a provider made of a socket that records every byte and answers as it is told.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, iter};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Connector, Failure, Keys, Missing, OutboundDocument, OutboundPart, ProgressLog, Source, SourceError};
use crate::domain::delivery::ProviderClass;
use crate::domain::document::{ApplicantRef, DocumentKind, FileType, PartName};
use crate::domain::id::DocumentId;
use crate::settings::{ConfigError, ReadSecret, Reader, Secret};

pub struct Memory {
    parts: Vec<Vec<u8>>,
    chunk: usize,
    fails: bool,
}

impl Memory {
    pub fn failing() -> Self {
        Self {
            parts: Vec::new(),
            chunk: 1,
            fails: true,
        }
    }
}

impl Source for Memory {
    fn open(&self, part: usize) -> BoxStream<'static, Result<Bytes, SourceError>> {
        if self.fails {
            return iter([Ok(Bytes::from_static(b"a")), Err(SourceError::Final("sealed part damaged"))]).boxed();
        }
        let chunks: Vec<_> = self.parts[part].chunks(self.chunk).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        iter(chunks).boxed()
    }
}

struct TestKeys;

impl Keys for TestKeys {
    fn idempotency(&self, call: u8) -> String {
        format!("0000000000000000000000000000000{call}")
    }

    fn boundary(&self, call: u8) -> String {
        format!("nightdrop-0123456789abcdef0123456789abcde{call}")
    }
}

/// A `government-id` of PNG parts, handed out in chunks of `chunk` bytes.
pub fn outbound_of(applicant: &str, parts: &[(&str, &[u8])], chunk: usize) -> OutboundDocument {
    let part = |(name, data): &(&str, &[u8])| OutboundPart {
        name: PartName::parse(name).unwrap(),
        file_type: FileType::Png,
        size: data.len() as u64,
        digest: Sha256::digest(data).into(),
    };
    OutboundDocument {
        document: DocumentId([7; 16]),
        epoch: 0,
        applicant: ApplicantRef::parse(applicant).unwrap(),
        kind: kind("government-id"),
        parts: parts.iter().map(part).collect(),
        progress: Vec::new(),
        keys: Arc::new(TestKeys),
        source: Arc::new(Memory {
            parts: parts.iter().map(|(_, d)| d.to_vec()).collect(),
            chunk,
            fails: false,
        }),
    }
}

pub fn failing_source(outbound: &mut OutboundDocument) {
    outbound.source = Arc::new(Memory::failing());
}

pub fn kind(text: &str) -> DocumentKind {
    DocumentKind::parse(text).unwrap()
}

pub fn names(parts: &[&str]) -> Vec<PartName> {
    parts.iter().map(|p| PartName::parse(p).unwrap()).collect()
}

pub struct NoProgressLog;

#[async_trait]
impl ProgressLog for NoProgressLog {
    async fn note(&self, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

/// Keeps what was noted; loses the lease at the n-th note.
#[derive(Default)]
pub struct Noted {
    pub steps: Mutex<Vec<(String, String)>>,
    pub lost_at: Option<usize>,
}

#[async_trait]
impl ProgressLog for Noted {
    async fn note(&self, step: &str, value: &str) -> Result<(), Failure> {
        let mut steps = self.steps.lock().unwrap();
        if self.lost_at == Some(steps.len()) {
            return Err(Failure::Lost);
        }
        steps.push((step.to_owned(), value.to_owned()));
        Ok(())
    }
}

/// What repeating the first step of a delivery does.
pub fn class_of(connector: &dyn Connector) -> ProviderClass {
    connector.class(&outbound_of("a", &[("front", b"x")], 1))
}

pub fn no_secrets() -> ReadSecret<'static> {
    &|path| Ok(Secret::new(path))
}

/// What a connector reads from a table alone.
pub fn settings_of<S>(table: &toml::Table, read: impl FnOnce(&mut Reader<'_>) -> S) -> Result<S, Vec<ConfigError>> {
    let mut reader = Reader::new(table, no_secrets());
    let settings = read(&mut reader);
    reader.finish(settings)
}

/// One request as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `POST /path HTTP/1.1`
    pub line: String,
    /// Lower-case names.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub enum Reply {
    /// Raw, then the connection is closed.
    Raw(Vec<u8>),
    /// Close without a word.
    Drop,
    /// The bytes, then the second ones until the client has enough.
    Endless(Vec<u8>, Vec<u8>),
    /// Say nothing and keep the connection.
    Silence,
}

impl Reply {
    pub fn json(status: u16, value: serde_json::Value) -> Self {
        Self::with(status, &[], value.to_string().as_bytes())
    }

    pub fn with(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
        headers.iter().for_each(|(n, v)| text.push_str(&format!("{n}: {v}\r\n")));
        let mut raw = (text + "\r\n").into_bytes();
        raw.extend_from_slice(body);
        Self::Raw(raw)
    }
}

type Script = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

pub struct Fake {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Bytes that an endless answer could get rid of.
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    /// `script` gets the number of the request and the request.
    pub async fn start(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let written = Arc::<AtomicU64>::default();
        let (script, log, count): (Arc<Script>, _, _) = (Arc::new(script), seen.clone(), written.clone());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, script.clone(), log.clone(), count.clone()));
            }
        });
        Self {
            address,
            seen,
            written,
            task,
        }
    }

    /// Answers in this order, and the last one for ever.
    pub async fn replies(replies: Vec<Reply>) -> Self {
        Self::start(move |n, _| replies[n.min(replies.len() - 1)].clone()).await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, script: Arc<Script>, log: Arc<Mutex<Vec<Seen>>>, written: Arc<AtomicU64>) {
    let Some(seen) = read_request(&mut socket).await else { return };
    let n = {
        let mut log = log.lock().unwrap();
        log.push(seen.clone());
        log.len() - 1
    };
    match script(n, &seen) {
        Reply::Raw(bytes) => {
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
        }
        Reply::Endless(head, again) => {
            if socket.write_all(&head).await.is_ok() {
                while let Ok(n @ 1..) = socket.write(&again).await {
                    written.fetch_add(n as u64, Ordering::SeqCst);
                }
            }
        }
        Reply::Silence => {
            let _ = socket.read(&mut [0; 16]).await;
        }
        Reply::Drop => {}
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<_, _> = lines
        .map(|l| l.split_once(": ").unwrap())
        .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
    let mut seen = Seen {
        line,
        headers,
        body: bytes.split_off(end + 4),
    };
    while seen.body.len() < length {
        if socket.read_buf(&mut seen.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(seen)
}

pub fn reference(text: &str) -> ApplicantRef {
    ApplicantRef::parse(text).unwrap()
}

/// `kind front+back @reference !` with the mark of a reason.
pub fn shown(missing: Vec<Missing>) -> Vec<String> {
    let one = |m: Missing| {
        let parts: Vec<_> = m.parts.iter().map(ToString::to_string).collect();
        let kind = m.document.map_or("?".to_owned(), |d| d.to_string());
        let holder = m.applicant.map_or(String::new(), |a| format!(" @{}", a.expose()));
        format!(
            "{}: {kind} {}{holder}{}",
            m.provider_name,
            parts.join("+"),
            if m.reason.is_some() { " !" } else { "" }
        )
    };
    missing.into_iter().map(one).collect()
}
