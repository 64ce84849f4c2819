//! Speaking to a running portal through its API, as any other machine does. The key comes from the environment or a file, never from the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::ask;
use super::output::{self, Failure, Format, Outcome};
use crate::connectors::client::install_tls;

/// A provider may take its time when it is asked what is missing.
const PATIENCE: Duration = Duration::from_secs(150);

/// A backup takes as long as the portal is large.
const DOWNLOAD: Duration = Duration::from_secs(24 * 3600);

/// Which portal, and who asks.
#[derive(Args, Debug)]
pub(super) struct Portal {
    /// The portal's staff address, such as http://127.0.0.1:8081 [default: NIGHTDROP_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file with the API key, `-` for standard input [default: the key in NIGHTDROP_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Portal {
    /// Whether the key comes from standard input.
    pub(super) fn reads_input(&self) -> bool {
        self.token_file.as_deref() == Some(Path::new("-"))
    }
}

/// The same for a command that says something.
#[derive(Args, Debug)]
pub(super) struct Remote {
    #[command(flatten)]
    portal: Portal,
    #[command(flatten)]
    format: Format,
}

impl Remote {
    pub(super) fn json(&self) -> bool {
        self.format.json
    }

    /// Whether the API key comes from standard input.
    pub(super) fn reads_input(&self) -> bool {
        self.portal.reads_input()
    }

    /// Whether somebody said which portal.
    pub(super) fn is_named(&self) -> bool {
        self.portal.url.is_some() || variable("NIGHTDROP_URL").is_some()
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

pub(super) struct Api {
    http: Client,
    base: Url,
    token: HeaderValue,
}

impl Api {
    pub(super) fn of(remote: &Remote) -> Outcome<Self> {
        Self::at(&remote.portal)
    }

    pub(super) fn at(portal: &Portal) -> Outcome<Self> {
        let missing = || Failure::new("which portal? Set NIGHTDROP_URL (or --url) to its staff address, such as http://127.0.0.1:8081");
        let url = portal.url.clone().or_else(|| variable("NIGHTDROP_URL")).ok_or_else(missing)?;
        let base = base(&url)?;
        let token = match &portal.token_file {
            Some(file) => ask::from_file(file)?,
            None => variable("NIGHTDROP_TOKEN").map(zeroize::Zeroizing::new).ok_or_else(|| {
                Failure::new("who asks? Set NIGHTDROP_TOKEN to an API key, or name a file that holds one with --token-file")
            })?,
        };
        let mut token = HeaderValue::from_str(&format!("Bearer {}", &*token))
            .map_err(|_| Failure::new("the API key holds characters that no key has"))?;
        token.set_sensitive(true);
        install_tls();
        let mut builder = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
        if base.scheme() == "http" {
            // Plain HTTP needs no certificate store, and minimal images have none.
            builder = builder.tls_certs_only([]).no_proxy();
        }
        let http = builder
            .build()
            .map_err(|e| Failure::new(format!("no connection can be made: {e}")))?;
        Ok(Self { http, base, token })
    }

    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Outcome<Value> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.ask(self.http.request(Method::GET, url)).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Outcome<Value> {
        self.ask(self.posting(path, body)).await
    }

    /// The same under an `Idempotency-Key`: repeating it gives the same answer again.
    pub(super) async fn post_once(&self, path: &[&str], body: &Value, key: &str) -> Outcome<Value> {
        let key = HeaderValue::from_str(key).map_err(|_| Failure::new("an idempotency key is 1 to 255 visible ASCII characters"))?;
        self.ask(self.posting(path, body).header("idempotency-key", key)).await
    }

    /// The same for an answer that is a file: it is handed over in pieces, and an answer that was cut off is a failure.
    pub(super) async fn download(&self, path: &[&str], body: &Value, mut take: impl FnMut(&[u8]) -> Outcome) -> Outcome {
        self.pieces(self.posting(path, body), &mut take).await
    }

    /// The same for a question.
    pub(super) async fn stream(&self, path: &[&str], query: &[(&str, &str)], mut take: impl FnMut(&[u8]) -> Outcome) -> Outcome {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        self.pieces(self.http.request(Method::GET, url), &mut take).await
    }

    async fn pieces(&self, request: RequestBuilder, take: &mut dyn FnMut(&[u8]) -> Outcome) -> Outcome {
        let request = request
            .timeout(DOWNLOAD)
            .header(AUTHORIZATION, self.token.clone())
            .header(ACCEPT, "application/octet-stream, application/json");
        let mut answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return self.read(answer).await.map(drop);
        }
        while let Some(piece) = answer
            .chunk()
            .await
            .map_err(|_| Failure::new("the answer was cut off before its end; see the portal's log"))?
        {
            take(&piece)?;
        }
        Ok(())
    }

    fn posting(&self, path: &[&str], body: &Value) -> RequestBuilder {
        self.http
            .request(Method::POST, self.url(path))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string())
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http address has a path")
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        url
    }

    async fn ask(&self, request: RequestBuilder) -> Outcome<Value> {
        let request = request.header(AUTHORIZATION, self.token.clone()).header(ACCEPT, "application/json");
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.read(answer).await
    }

    async fn read(&self, answer: Response) -> Outcome<Value> {
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        let read: Option<Value> = serde_json::from_slice(&body).ok();
        match read {
            Some(value) if status.is_success() => Ok(value),
            Some(problem) if problem["detail"].is_string() => Err(failure_of(&problem)),
            _ => Err(Failure::new(format!(
                "{} does not answer like a portal's API (status {status}); is it the staff address?",
                self.base
            ))),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() {
            "it does not answer in time"
        } else {
            "no connection"
        };
        Failure::new(format!(
            "the portal at {} cannot be reached ({why}); is it running, and is this its staff address?",
            self.base
        ))
    }
}

/// A key in the clear over a network is nobody's secret: only this machine is spoken to without TLS unless the network is the operator's own.
fn base(text: &str) -> Outcome<Url> {
    let wrong = || Failure::new("the portal's address must be https://host[:port] or http://127.0.0.1:port");
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() || !url.username().is_empty() {
        return Err(wrong());
    }
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "http" && !here {
        output::complain("nightdrop: the API key travels without TLS; use https or a tunnel unless this network is your own");
    }
    Ok(url)
}

/// A problem document as one sentence.
fn failure_of(problem: &Value) -> Failure {
    let detail = output::plain(problem["detail"].as_str().unwrap_or_default());
    let code = output::plain(problem["code"].as_str().unwrap_or("unknown"));
    let fix = match code.as_str() {
        "auth.required" => " Check NIGHTDROP_TOKEN.",
        "auth.forbidden" => " Use a key with that scope.",
        _ => "",
    };
    Failure::new(format!("{detail}{fix} ({code})"))
}

/// A field's text; a dash where there is none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("-")
}

/// A table's rows from one of an answer's lists.
pub(super) fn rows(answer: &Value, list: &str, row: impl FnMut(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    answer[list].as_array().into_iter().flatten().map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_http_addresses_without_extras_are_portals() {
        for good in ["http://127.0.0.1:8081", "https://staff.example.com", "https://staff.example.com/"] {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "staff.example.com",
            "ftp://staff.example.com",
            "https://me:pw@staff.example.com",
            "https://x?y=z",
            "file:///etc",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
