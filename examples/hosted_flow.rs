//! A company's own application around nightdrop, as small as it can be: it asks for a document by API, sends its user to the one-time link, takes them back with a
//! signed state, and is told by webhook what became of the document.
//!
//! ```text
//! NIGHTDROP_URL=http://127.0.0.1:8081 NIGHTDROP_TOKEN=ndk_… WEBHOOK_SECRET=whsec_… cargo run --example hosted_flow
//! ```
//! with `[hosted] return_hosts = ["127.0.0.1:3000"]` and `[webhooks.app] url = "http://127.0.0.1:3000/events"`, `allow_insecure = true`, `allow_private = true` and the
//! same secret in its `secret_file`. Then open <http://127.0.0.1:3000/>. `LISTEN` is another address to listen on; `PROVIDER` and `APPLICANT` another person.
//!
//! Whoever writes this in another language needs three things: [`ask`], [`came_back`] and [`told`].

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Older signatures are not believed.
const TOLERANCE: u64 = 300;

fn main() -> Outcome<()> {
    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3000"))?;
    let app = App {
        own: format!("http://{}", listener.local_addr()?),
        portal: variable("NIGHTDROP_URL", "http://127.0.0.1:8081"),
        key: variable("NIGHTDROP_TOKEN", ""),
        webhook_secret: variable("WEBHOOK_SECRET", ""),
    };
    println!("open {}/", app.own);
    for visitor in listener.incoming() {
        if let Err(error) = app.serve(visitor?) {
            println!("a visit failed: {error}");
        }
    }
    Ok(())
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

struct App {
    own: String,
    portal: String,
    key: String,
    webhook_secret: String,
}

impl App {
    /// Step 1: ask for the document. The answer's `url` is for this user alone.
    fn ask(&self) -> Outcome<Value> {
        let body = json!({
            "provider": variable("PROVIDER", "sandbox"),
            "applicant": variable("APPLICANT", "james"),
            "document": "passport",
            "return_url": format!("{}/back", self.own),
        });
        self.call("POST", "/api/v1/requests", Some(&body))
    }

    /// Step 2: the user is back. Whether it was nightdrop that sent them, the signature says.
    fn came_back(&self, query: &BTreeMap<String, String>) -> Outcome<String> {
        let get = |name: &str| query.get(name).map(String::as_str).ok_or("a name is missing in the query");
        let (request, state, at) = (get("nightdrop_request")?, get("nightdrop_state")?, get("nightdrop_at")?);
        let key = self.call("GET", "/api/v1/return-key", None)?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key["key"].as_str().unwrap_or_default().as_bytes())?;
        mac.update(["nightdrop/v1/return", request, state, at].join("\n").as_bytes());
        // Compared in constant time.
        mac.verify_slice(&data_encoding::HEXLOWER.decode(get("nightdrop_signature")?.as_bytes())?)
            .map_err(|_| "this did not come from nightdrop")?;
        fresh(at)?;
        Ok(format!("{request} is {state}"))
    }

    /// Step 3: a webhook, by the Standard Webhooks specification.
    fn told(&self, headers: &BTreeMap<String, String>, body: &[u8]) -> Outcome<Value> {
        let get = |name: &str| headers.get(name).map(String::as_str).ok_or("a header is missing");
        let (id, at, signatures) = (get("webhook-id")?, get("webhook-timestamp")?, get("webhook-signature")?);
        let key = data_encoding::BASE64.decode(self.webhook_secret.trim_start_matches("whsec_").as_bytes())?;
        let good = signatures.split(' ').filter_map(|s| s.strip_prefix("v1,")).any(|signature| {
            let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&key) else {
                return false;
            };
            for piece in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
                mac.update(piece);
            }
            data_encoding::BASE64
                .decode(signature.as_bytes())
                .is_ok_and(|given| mac.verify_slice(&given).is_ok())
        });
        if !good {
            return Err("this did not come from nightdrop".into());
        }
        fresh(at)?;
        // A real application keeps the ids that it has seen: an event may come twice.
        Ok(serde_json::from_slice(body)?)
    }

    fn serve(&self, mut visitor: TcpStream) -> Outcome<()> {
        let (method, path, headers, body) = read(&visitor)?;
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let (status, more, text) = match (method.as_str(), path) {
            ("GET", "/") => {
                let issued = self.ask()?;
                println!("asked for {}", issued["id"]);
                let url = issued["url"].as_str().ok_or("no link came back")?;
                ("303 See Other", format!("Location: {url}\r\n"), String::new())
            }
            ("GET", "/back") => match self.came_back(&pairs(query)) {
                Ok(said) => {
                    println!("back: {said}");
                    ("200 OK", String::new(), format!("Thank you. {said}"))
                }
                Err(why) => ("403 Forbidden", String::new(), why.to_string()),
            },
            ("POST", "/events") => match self.told(&headers, &body) {
                Ok(event) => {
                    println!("event: {} {}", event["type"], event["data"]["request"]);
                    ("204 No Content", String::new(), String::new())
                }
                Err(why) => ("403 Forbidden", String::new(), why.to_string()),
            },
            _ => ("404 Not Found", String::new(), "nothing here".to_owned()),
        };
        let length = text.len();
        write!(
            visitor,
            "HTTP/1.1 {status}\r\n{more}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
        )?;
        Ok(())
    }

    /// One call of the API. A real application uses its HTTP client, and https.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Value> {
        let host = self.portal.strip_prefix("http://").ok_or("this example speaks plain http only")?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut portal = TcpStream::connect(host)?;
        write!(
            portal,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.key,
            body.len()
        )?;
        let mut answer = String::new();
        portal.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        if !head.starts_with("HTTP/1.1 2") {
            return Err(format!("the portal refused: {body}").into());
        }
        Ok(serde_json::from_str(body)?)
    }
}

fn fresh(at: &str) -> Outcome<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    if at.parse::<u64>()?.abs_diff(now) > TOLERANCE {
        return Err("this is too old".into());
    }
    Ok(())
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    // Nothing of nightdrop's needs unescaping.
    let split = |pair: &str| pair.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    query.split('&').filter_map(split).collect()
}

type Visit = (String, String, BTreeMap<String, String>, Vec<u8>);

fn read(visitor: &TcpStream) -> Outcome<Visit> {
    let mut reader = BufReader::new(visitor);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; std::cmp::min(length, 1 << 20)];
    reader.read_exact(&mut body)?;
    Ok((method, path, headers, body))
}
