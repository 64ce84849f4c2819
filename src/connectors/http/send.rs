//! Requests as the table wants them signed in and signed.

use reqwest::{Method, Url};
use serde_json::Value;
use time::OffsetDateTime;

use super::settings::{Auth, SignedText};
use super::{Http, answer};
use crate::connectors::Failure;
use crate::connectors::body::Body;
use crate::connectors::client::{Answer, Call};
use crate::connectors::sign::Signer;

/// A request that may leave something behind.
pub(super) struct Outgoing<'a> {
    pub method: &'a Method,
    pub url: Url,
    pub body: Option<Body>,
    /// The idempotency header and its value.
    pub key: Option<(&'a str, String)>,
}

impl Http {
    fn authenticate(&self, mut call: Call) -> Call {
        call = match &self.settings.auth {
            Auth::None | Auth::OAuth(_) => call,
            Auth::Bearer(secret) => call.bearer(secret.expose()),
            Auth::Basic { user, secret } => {
                let pair = data_encoding::BASE64.encode(format!("{user}:{}", secret.expose()).as_bytes());
                call.header("authorization", &format!("Basic {pair}"))
            }
            Auth::Header { name, secret } => call.header(name, secret.expose()),
        };
        self.settings
            .headers
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value))
    }

    /// Signs and sends what `call` makes. With OAuth once more after a refused token.
    async fn signed(&self, method: &Method, url: &Url, body: Option<Body>, call: impl Fn() -> Call) -> Result<Answer, Failure> {
        let signature = self.signature(method, url, body.as_ref()).await?;
        let whole = || {
            let call = signature
                .iter()
                .fold(self.authenticate(call()), |call, (name, value)| call.header(name, value));
            match &body {
                Some(body) => call.body(body.clone()),
                None => call,
            }
        };
        match &self.settings.auth {
            Auth::OAuth(oauth) => oauth.send(&self.client, |token| whole().bearer(token)).await,
            _ => self.client.send(whole()).await,
        }
    }

    pub(super) async fn send(&self, request: Outgoing<'_>) -> Result<Answer, Failure> {
        let Outgoing { method, url, body, key } = request;
        let call = || {
            let call = Call::sending(method.clone(), url.clone());
            match &key {
                Some((name, value)) => call.header(name, value),
                None => call,
            }
        };
        self.signed(method, &url, body, call).await
    }

    /// The JSON that a question is answered with.
    pub(super) async fn ask(&self, url: Url) -> Result<Value, Failure> {
        let call = || Call::asking(Method::GET, url.clone());
        let answer = self.signed(&Method::GET, &url, None, call).await?;
        if !(200..300).contains(&answer.status) {
            return Err(answer.failure());
        }
        answer::json(&answer).ok_or_else(|| answer.unreadable())
    }

    /// The headers of a signature over the request, whose body is read once for it.
    async fn signature(&self, method: &Method, url: &Url, body: Option<&Body>) -> Result<Vec<(String, String)>, Failure> {
        let Some(signing) = &self.settings.signing else {
            return Ok(Vec::new());
        };
        let mut signer = Signer::new(signing.algorithm, signing.secret.expose().as_bytes());
        let mut headers = Vec::new();
        if signing.signs != SignedText::Body {
            let now = signing_time();
            signer.update(now.as_bytes());
            headers.push((signing.timestamp_header.clone(), now));
        }
        match signing.signs {
            SignedText::Body => {}
            SignedText::TimestampAndBody => signer.update(b"."),
            SignedText::Request => {
                let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
                signer.update(format!("{method}{}{query}", url.path()).as_bytes());
            }
        }
        if let Some(body) = body {
            body.read(|bytes| signer.update(bytes)).await?;
        }
        headers.push((signing.header.clone(), signing.encoding.encode(&signer.finish())));
        Ok(headers)
    }
}

/// Seconds since 1970 for a signature. A door to the outside: the provider compares it with its own clock, so that it cannot be a parameter
/// that stood still while a request waited for its turn.
pub(crate) fn signing_time() -> String {
    OffsetDateTime::now_utc().unix_timestamp().to_string()
}
