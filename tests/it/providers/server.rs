//! A provider made of a socket: it plays a vendor exactly, and can be told to misbehave at the next request that carries a document.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::sha256;

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Lower-case names.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `METHOD /path`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn fingerprint(&self) -> String {
        sha256(&[self.line().as_bytes(), self.header("content-type").as_bytes(), &self.body].concat())
    }

    /// The fields of a multipart body, which must be written exactly as the portal promises: our boundary, CRLF, quoted names, nothing else.
    pub fn form(&self) -> Result<Vec<Field>, String> {
        let boundary = self
            .header("content-type")
            .strip_prefix("multipart/form-data; boundary=")
            .ok_or("no multipart")?;
        let hex = boundary.strip_prefix("nightdrop-").ok_or("not our boundary")?;
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("boundary {boundary}"));
        }
        let mut fields = Vec::new();
        let open = format!("--{boundary}\r\n");
        let mut rest = self.body.as_slice();
        while let Some(after) = rest.strip_prefix(open.as_bytes()) {
            let head_end = find(after, b"\r\n\r\n").ok_or("no head")?;
            let head = String::from_utf8(after[..head_end].to_vec()).map_err(|e| e.to_string())?;
            let content = &after[head_end + 4..];
            let end = find(content, format!("\r\n--{boundary}").as_bytes()).ok_or("no end")?;
            fields.push(Field {
                head,
                bytes: content[..end].to_vec(),
            });
            rest = &content[end + 2..];
        }
        if rest != format!("--{boundary}--\r\n").as_bytes() {
            return Err("no closing boundary, or something behind it".to_owned());
        }
        Ok(fields)
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

#[derive(Clone, Debug)]
pub struct Field {
    head: String,
    pub bytes: Vec<u8>,
}

impl Field {
    pub fn is_text(&self, name: &str) -> bool {
        self.head == format!("Content-Disposition: form-data; name=\"{name}\"")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The file name, when this is a PNG under this field's name and our only file name for this part.
    pub fn file(&self, name: &str, part: &str) -> Option<String> {
        let rest = self
            .head
            .strip_prefix(&format!("Content-Disposition: form-data; name=\"{name}\"; filename=\""))?;
        let file = rest.strip_suffix("\"\r\nContent-Type: image/png")?;
        let id = file.strip_prefix("document-")?.strip_suffix(&format!("-{part}.png"))?;
        nightdrop::testing::domain::id::DocumentId::parse(id).map(|_| file.to_owned())
    }
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(status: u16, value: Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: value.to_string().into_bytes(),
        }
    }

    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Reads in a row that something in the way answers: more than the two that prove an absence.
const GARBLED: usize = 3;

/// What a vendor holds of one submission: (side, bytes), in the order of arrival.
pub type Effect = Vec<(String, Vec<u8>)>;

/// A vendor as its documentation has it. `Err` is a complaint about bytes that are not as promised.
pub trait Vendor: Send + 'static {
    fn answer(&mut self, request: &Request, base: &str) -> Result<Reply, String>;

    /// Whether this request may leave something behind.
    fn carries(&self, request: &Request) -> bool;

    /// Submissions with effect, whole or in part.
    fn effects(&self) -> Vec<Effect>;

    /// The review's result, from now on.
    fn decide(&mut self, verdict: Review);

    /// A signed callback about what was received: headers and body.
    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>);

    fn clear(&mut self);

    /// Whether a repeated `Idempotency-Key` is answered as the first time.
    fn has_keys(&self) -> bool;

    /// Of reads: show what was there before the last commit.
    fn hide(&mut self, hidden: bool);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    Open,
    Accepted,
    /// Unreadable, in the vendor's words.
    Rejected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    None,
    /// Nothing is stored, the connection closes.
    DropBefore,
    /// Stored, the connection closes without a word.
    CommitThenDrop,
    /// Stored, and no answer until the client has enough.
    CommitThenSilence,
    /// Stored, and an answer without end.
    CommitThenEndless,
    /// Stored, and "server error".
    CommitThenError,
    /// Not stored; "come again in 7 seconds".
    Pause,
    /// Not stored; "unavailable".
    Maintenance,
    /// Not stored; the failure is kept under the key and repeated for it.
    StoredFailure,
    /// Stored, dropped, and not to be seen by the next read.
    LateAndDropped,
    /// Stored, dropped; the next reads are answered by something else in the way, with 200 and JSON that says nothing.
    LostAndGarbled,
    /// The same, and the key repeats a failure.
    FailedAndGarbled,
    /// Stored, dropped, and the key is forgotten.
    ForgottenKey,
    /// The credentials are revoked.
    Revoked,
}

struct Shared {
    vendor: Box<dyn Vendor>,
    twists: VecDeque<Twist>,
    keys: BTreeMap<String, (String, Reply)>,
    complaints: Vec<String>,
    seen: Vec<Request>,
    hidden_reads: usize,
    garbled_reads: usize,
}

pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    task: tokio::task::JoinHandle<()>,
}

enum Ending {
    Answer(Reply),
    Drop,
    Silence,
    Endless,
}

impl Server {
    pub async fn start(vendor: Box<dyn Vendor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            vendor,
            twists: VecDeque::new(),
            keys: BTreeMap::new(),
            complaints: Vec::new(),
            seen: Vec::new(),
            hidden_reads: 0,
            garbled_reads: 0,
        }));
        let all = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, all.clone(), format!("http://{address}")));
            }
        });
        Self { address, shared, task }
    }

    pub fn twist(&self, twists: &[Twist]) {
        self.shared.lock().unwrap().twists = twists.iter().copied().collect();
    }

    /// Misbehaviour that is still to come.
    pub fn planned(&self) -> usize {
        self.shared.lock().unwrap().twists.len()
    }

    pub fn vendor<T>(&self, act: impl FnOnce(&mut dyn Vendor) -> T) -> T {
        act(self.shared.lock().unwrap().vendor.as_mut())
    }

    pub fn clear(&self) {
        let mut shared = self.shared.lock().unwrap();
        shared.vendor.clear();
        shared.vendor.hide(false);
        shared.keys.clear();
        shared.twists.clear();
        shared.seen.clear();
        shared.hidden_reads = 0;
        shared.garbled_reads = 0;
    }

    pub fn seen(&self) -> Vec<Request> {
        self.shared.lock().unwrap().seen.clone()
    }

    pub fn complaints(&self) -> Vec<String> {
        self.shared.lock().unwrap().complaints.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn take(&mut self, request: &Request, base: &str) -> Ending {
        self.seen.push(request.clone());
        if !self.vendor.carries(request) {
            if self.garbled_reads > 0 && request.method == "GET" {
                self.garbled_reads -= 1;
                return Ending::Answer(Reply::json(200, serde_json::json!({"message": "scheduled maintenance"})));
            }
            if self.hidden_reads > 0 {
                self.hidden_reads -= 1;
                if self.hidden_reads == 0 {
                    self.vendor.hide(false);
                }
            }
            return Ending::Answer(self.ask(request, base));
        }
        let twist = self.twists.pop_front().unwrap_or(Twist::None);
        match twist {
            Twist::DropBefore => return Ending::Drop,
            Twist::Pause => return Ending::Answer(Reply::empty(429).with("retry-after", "7")),
            Twist::Maintenance => return Ending::Answer(Reply::empty(503).with("retry-after", "7")),
            Twist::Revoked => return Ending::Answer(Reply::empty(401)),
            Twist::StoredFailure => {
                self.remember(request, Reply::empty(500).with("idempotent-replayed", "true"));
                return Ending::Answer(Reply::empty(500));
            }
            _ => {}
        }
        let reply = self.keyed(request, base);
        match twist {
            Twist::CommitThenDrop => Ending::Drop,
            Twist::CommitThenSilence => Ending::Silence,
            Twist::CommitThenEndless => Ending::Endless,
            Twist::CommitThenError => Ending::Answer(Reply::empty(502)),
            Twist::LateAndDropped => {
                self.vendor.hide(true);
                self.hidden_reads = 2;
                Ending::Drop
            }
            Twist::LostAndGarbled => {
                self.garbled_reads = GARBLED;
                Ending::Drop
            }
            Twist::FailedAndGarbled => {
                self.garbled_reads = GARBLED;
                self.remember(request, Reply::empty(500).with("idempotent-replayed", "true"));
                Ending::Drop
            }
            Twist::ForgottenKey => {
                self.keys.clear();
                Ending::Drop
            }
            _ => Ending::Answer(reply),
        }
    }

    fn ask(&mut self, request: &Request, base: &str) -> Reply {
        self.vendor.answer(request, base).unwrap_or_else(|complaint| {
            self.complaints.push(format!("{}: {complaint}", request.line()));
            Reply::empty(400)
        })
    }

    fn remember(&mut self, request: &Request, reply: Reply) {
        self.keys
            .insert(request.header("idempotency-key").to_owned(), (request.fingerprint(), reply));
    }

    /// The same key with the same bytes is answered as before; with other bytes it is a fault of the portal.
    fn keyed(&mut self, request: &Request, base: &str) -> Reply {
        if !self.vendor.has_keys() {
            return self.ask(request, base);
        }
        let key = request.header("idempotency-key");
        if key.len() != 32 {
            self.complaints.push(format!("{}: key {key:?}", request.line()));
        }
        if let Some((fingerprint, reply)) = self.keys.get(key) {
            if *fingerprint != request.fingerprint() {
                self.complaints.push(format!("{}: another request under one key", request.line()));
            }
            return reply.clone();
        }
        let reply = self.ask(request, base);
        self.remember(request, reply.clone());
        reply
    }
}

async fn serve(mut socket: TcpStream, shared: Arc<Mutex<Shared>>, base: String) {
    let Some(request) = read(&mut socket).await else { return };
    let ending = shared.lock().unwrap().take(&request, &base);
    match ending {
        Ending::Drop => {}
        Ending::Silence => {
            let _ = socket.read(&mut [0; 1]).await;
        }
        Ending::Endless => {
            let mut piece = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
            while socket.write_all(&piece).await.is_ok() {
                piece = vec![b' '; 65_536];
            }
        }
        Ending::Answer(reply) => {
            let mut head = format!(
                "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
                reply.status,
                reply.body.len()
            );
            reply.headers.iter().for_each(|(n, v)| head.push_str(&format!("{n}: {v}\r\n")));
            let _ = socket.write_all(format!("{head}\r\n").as_bytes()).await;
            let _ = socket.write_all(&reply.body).await;
            let _ = socket.shutdown().await;
        }
    }
}

pub async fn read(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut line = lines.next()?.split(' ');
    let (method, path) = (line.next()?.to_owned(), line.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |l| l.parse().unwrap_or(0));
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}
