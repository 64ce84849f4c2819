//! The HTTP client that every connector speaks through, and the sorting of what can go wrong on the way.
//!
//! * No redirects, no decompression, no retries behind our back; the answer is read up to [`ANSWER_CAP`] and then cut off.
//! * A failure is sorted here by one question: can the provider have stored what we sent? (see [`Failure`])
//! * Texts for agents name what happened and what to do; they never hold a URL, a reference, a secret, or the provider's own words.

use std::sync::Once;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method, Proxy, Url};
use time::Duration;

use super::Failure;
use super::body::Body;
use super::causes::Unreached;
use super::endpoint::Endpoint;
use super::guard::{GuardedResolver, Reach, checked_url};
use crate::domain::delivery::DeliveryProblem;
use crate::settings::ConfigError;

/// Bytes of an answer's body that are read; what is longer counts as unreadable.
pub(crate) const ANSWER_CAP: usize = 1 << 20;
/// Header lines of an answer; more make it unreadable.
const HEADERS_CAP: usize = 64;
/// No provider makes us wait longer than this, whatever its Retry-After says.
pub(crate) const RETRY_AFTER_CAP: Duration = Duration::hours(1);
/// Shorter than the five seconds after which common servers close an idle connection, so that we do not write into a closing one.
const IDLE: std::time::Duration = std::time::Duration::from_secs(4);

/// Makes `ring` the process's TLS provider. Harmless to repeat; a provider that was installed before stays.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, Vec<ConfigError>> {
        install_tls();
        let wrong = |key: &str, takes: &str| vec![ConfigError::new(key, format!("must be {takes}"))];
        let base = checked_url(endpoint, &endpoint.base_url).map_err(|takes| wrong("base_url", takes))?;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .http1_max_headers(HEADERS_CAP)
            .connect_timeout(std::time::Duration::from_secs(5))
            .timeout(endpoint.timeout.unsigned_abs())
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("nightdrop/", env!("CARGO_PKG_VERSION")));
        builder = match &endpoint.proxy {
            Some(proxy) => {
                let wanted = || wrong("proxy", "a proxy's address, such as \"http://proxy.internal:3128\"");
                builder.proxy(Proxy::all(proxy).map_err(|_| wanted())?)
            }
            None => builder.no_proxy().dns_resolver(GuardedResolver(Reach::of(endpoint))),
        };
        builder = match &endpoint.ca_file {
            Some(path) => {
                let wanted = || wrong("ca_file", "a readable PEM file with certificates");
                let pem = std::fs::read(path).map_err(|_| wanted())?;
                let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| wanted())?;
                if certificates.is_empty() {
                    return Err(wanted());
                }
                builder.tls_certs_merge(certificates)
            }
            // Plain HTTP needs no certificate store, and minimal images have none.
            None if base.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        let http = builder
            .build()
            .map_err(|_| vec![ConfigError::new("base_url", "needs a system with a certificate store (or ca_file)")])?;
        Ok(Self { http, base })
    }

    /// The base address and `path`, which begins with `/`; what stands in it must be percent-encoded already.
    pub(crate) fn url(&self, path: &str) -> Url {
        join(&self.base, path)
    }

    /// Whether a connection can be made, with TLS where the address has it. Only the root is asked for, by HEAD: nothing is sent that means anything.
    pub(crate) async fn reach(&self) -> Result<(), Unreached> {
        let mut root = self.base.clone();
        root.set_path("/");
        match self.http.head(root).send().await {
            Err(error) if error.is_connect() || error.is_timeout() => Err(Unreached::of(&error)),
            // Whatever was answered, or that nothing was: somebody with the right name is there.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Sends and reads the answer, whatever its status.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Failure> {
        let asks = call.asks;
        let broken = call.body.clone();
        let Some(headers) = call.headers else {
            return Err(settings_failure());
        };
        let mut request = self.http.request(call.method, call.url).headers(headers);
        if let Some(body) = call.body {
            request = request
                .header("content-type", body.content_type())
                .header("content-length", body.content_length())
                .body(reqwest::Body::wrap_stream(futures_util::TryStreamExt::map_err(
                    body.stream(),
                    |e| std::io::Error::other(e.to_string()),
                )));
        }
        let sent = request.send().await;
        if let Some(error) = broken.and_then(|b| b.broken()) {
            return Err(error.into());
        }
        match sent {
            Ok(response) => Ok(Answer::read(response, asks).await),
            Err(error) => Err(sort_transport(&error, asks)),
        }
    }
}

fn settings_failure() -> Failure {
    Failure::Credentials {
        problem: DeliveryProblem::new(
            "provider.settings",
            "A header made of the provider's settings is not valid. Mend the provider's configuration.",
        ),
    }
}

pub(crate) fn join(base: &Url, path: &str) -> Url {
    let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).unwrap_or_else(|_| base.clone())
}

/// One request.
pub(crate) struct Call {
    method: Method,
    url: Url,
    /// `None` once a header was not valid.
    headers: Option<HeaderMap>,
    body: Option<Body>,
    asks: bool,
}

impl Call {
    /// A request that changes nothing about documents: whatever goes wrong, nothing was stored.
    pub(crate) fn asking(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Some(HeaderMap::new()),
            body: None,
            asks: true,
        }
    }

    /// A request that may leave a document behind.
    pub(crate) fn sending(method: Method, url: Url) -> Self {
        Self {
            asks: false,
            ..Self::asking(method, url)
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::from_str(value).ok());
        match (&mut self.headers, pair) {
            (Some(headers), Some((name, mut value))) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
            _ => self.headers = None,
        }
        self
    }

    pub(crate) fn bearer(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }
}

/// What a provider answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Whether the whole body was read.
    whole: bool,
    asks: bool,
}

impl Answer {
    async fn read(mut response: reqwest::Response, asks: bool) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let mut whole = response.content_length().is_none_or(|length| length <= ANSWER_CAP as u64);
        while whole {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_CAP => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => whole = false,
            }
        }
        Self {
            status,
            headers,
            body,
            whole,
            asks,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON, where it is whole, is JSON, and is not declared to be something else: a page of something in between is no provider's answer.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        if !self.whole || !self.declares_json() {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.whole && self.body.is_empty()
    }

    /// `application/json` and its kin (`application/vnd.api+json`), or nothing declared at all.
    fn declares_json(&self) -> bool {
        let Some(declared) = self.headers.get("content-type") else {
            return true;
        };
        let essence = declared.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
        subtype == "json" || subtype.ends_with("+json")
    }

    /// The body of a success, or the failure that the status stands for.
    pub(crate) fn success(&self) -> Result<serde_json::Value, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(self.failure());
        }
        self.json().ok_or_else(|| self.unreadable())
    }

    /// The body, where it is what was asked for. Something in between (a proxy, a maintenance page) may answer 200 with JSON of its own,
    /// and that proves nothing: neither that a document has arrived nor that it is absent.
    pub(crate) fn only(
        &self,
        body: serde_json::Value,
        is_it: impl FnOnce(&serde_json::Value) -> bool,
    ) -> Result<serde_json::Value, Failure> {
        if is_it(&body) { Ok(body) } else { Err(self.unreadable()) }
    }

    /// A success whose body does not say what it should.
    pub(crate) fn unreadable(&self) -> Failure {
        let text = if self.asks {
            "The provider's answer could not be read (something in between may have answered); it is asked again by itself."
        } else {
            "The provider's answer could not be read; whether it has the document is being found out."
        };
        maybe_stored(DeliveryProblem::new("provider.unreadable_answer", text), self.asks)
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header("retry-after")?, self.header("date"))
    }

    /// What a status that is no success means, unless the connector knows better.
    pub(crate) fn failure(&self) -> Failure {
        let status = self.status;
        match status {
            429 => self.definite(
                "provider.rate_limited",
                "The provider asks for a pause; it is tried again by itself.",
            ),
            503 => self.definite(
                "provider.unavailable",
                "The provider is not available right now; it is tried again by itself.",
            ),
            401 | 403 => Failure::Credentials {
                problem: DeliveryProblem::new(
                    "provider.credentials",
                    format!(
                        "The provider refuses this portal's credentials or permission (status {status}). Check the provider's settings."
                    ),
                ),
            },
            408 | 425 | 500.. => maybe_stored(
                DeliveryProblem::new("provider.failed", format!("The provider failed (status {status}).")),
                self.asks,
            ),
            200..300 => self.unreadable(),
            404 | 410 => self.refused("The provider does not know this applicant or document."),
            413 => self.refused("The provider finds the document too large."),
            300..=399 => self.refused("The provider answered with a redirect, which is never followed. Check base_url."),
            _ => self.refused("The provider refused the request."),
        }
    }

    /// Perhaps stored, unless the request only asked.
    pub(crate) fn uncertain(&self, code: &str, text: &str) -> Failure {
        maybe_stored(DeliveryProblem::new(code, text), self.asks)
    }

    /// A failure that the provider remembers under our key: the same key would be answered with it for ever, so the outcome must be asked for, and a
    /// later try needs another key. Code `provider.stored_failure`.
    pub(crate) fn stored_failure(&self) -> Option<Failure> {
        let replayed = self.header("idempotent-replayed") == Some("true");
        let text = "The provider repeats an earlier failure of this delivery; whether it has the document is being found out.";
        (replayed && self.status >= 500).then(|| self.uncertain("provider.stored_failure", text))
    }

    /// Surely not stored.
    pub(crate) fn definite(&self, code: &str, text: &str) -> Failure {
        Failure::Definite {
            problem: DeliveryProblem::new(code, text),
            after: self.retry_after(),
            new_key: false,
        }
    }

    /// Refused for good, with the status beside the sentence.
    pub(crate) fn refused(&self, sentence: &str) -> Failure {
        Failure::Final {
            problem: DeliveryProblem::new("provider.refused", format!("{sentence} (status {})", self.status)),
        }
    }
}

/// A failure after which the provider may have the document, unless the request only asked.
fn maybe_stored(problem: DeliveryProblem, asks: bool) -> Failure {
    if asks {
        Failure::Definite {
            problem,
            after: None,
            new_key: false,
        }
    } else {
        Failure::Ambiguous { problem }
    }
}

fn sort_transport(error: &reqwest::Error, asks: bool) -> Failure {
    let definite = |code: &str, text: &str| Failure::Definite {
        problem: DeliveryProblem::new(code, text),
        after: None,
        new_key: false,
    };
    if error.is_dns() {
        return definite(
            "provider.unreachable",
            "The provider's name cannot be resolved to an allowed address.",
        );
    }
    if error.is_connect() {
        return definite("provider.unreachable", "No secure connection to the provider could be made.");
    }
    if error.is_builder() {
        return settings_failure();
    }
    let problem = if error.is_timeout() {
        DeliveryProblem::new("provider.timeout", "The provider did not answer in time.")
    } else {
        DeliveryProblem::new(
            "provider.interrupted",
            "The connection to the provider broke before its answer was whole.",
        )
    };
    maybe_stored(problem, asks)
}

/// `Retry-After` in seconds or as an HTTP date, which is read against the provider's own `Date`. Capped at [`RETRY_AFTER_CAP`]; garbage is `None`.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    retry_after_within(value, date, RETRY_AFTER_CAP)
}

/// The same with another cap.
pub(crate) fn retry_after_within(value: &str, date: Option<&str>, cap: Duration) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse::<u32>().map_or(cap, |s| Duration::seconds(i64::from(s)))
    } else {
        http_date(value)? - http_date(date?)?
    };
    Some(wait.clamp(Duration::ZERO, cap))
}

fn http_date(text: &str) -> Option<time::PrimitiveDateTime> {
    let format = time::macros::format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    time::PrimitiveDateTime::parse(text.trim(), format).ok()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tls_tests;
