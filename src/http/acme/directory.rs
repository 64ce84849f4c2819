//! The connection to a certificate authority: HTTPS alone, no redirects, bounded answers. What is asked and signed is the library's; what the authority says about when to come
//! again is noted here, because the library drops it where a request was refused.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::{Certificate as Authorities, Proxy};

use crate::chain::chain;
use crate::connectors::client::{install_tls, retry_after_within};

/// More than any chain of certificates or answer takes.
const ANSWER_MAX: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(30);
/// Limits on certificates are counted in weeks: what an authority asks for within that is kept to.
const COME_AGAIN_MAX: time::Duration = time::Duration::WEEK;

/// How an authority is asked. Copies share the note of when to come again.
#[derive(Clone)]
pub(crate) struct DirectoryClient {
    http: reqwest::Client,
    come_again: Arc<Mutex<Option<Duration>>>,
}

impl DirectoryClient {
    /// The error is the rest of a sentence about the settings.
    pub(crate) fn new(ca_file: Option<&Path>, proxy: Option<&str>) -> Result<Self, String> {
        install_tls();
        let mut builder = reqwest::Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .user_agent(concat!("nightdrop/", env!("CARGO_PKG_VERSION")));
        builder = match proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy).map_err(|e| chain(&e).to_string())?),
            None => builder.no_proxy(),
        };
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let authorities = Authorities::from_pem_bundle(&pem).unwrap_or_default();
            if authorities.is_empty() {
                return Err(format!("{} holds no PEM certificate", path.display()));
            }
            builder = builder.tls_certs_merge(authorities);
        }
        let http = builder
            .build()
            .map_err(|_| "this system has no store of certificate authorities: install ca-certificates, or set acme.ca_file".to_owned())?;
        Ok(Self {
            http,
            come_again: Arc::default(),
        })
    }

    /// When the authority wants to be asked again, if the last refusal said so.
    pub(super) fn come_again(&self) -> Option<Duration> {
        *self.come_again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory's own answer, for whoever wants to know whether it can be reached.
    pub(crate) async fn look(&self, directory: &str) -> Result<(), String> {
        let failed = |e: reqwest::Error| chain(&e.without_url()).to_string();
        let answer = self.http.get(directory).send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(failed)?;
        let said: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        match said.is_some_and(|said| said["newOrder"].is_string()) {
            true => Ok(()),
            false => Err(format!("it answered {status}, and no ACME directory")),
        }
    }

    async fn send(self, request: ::http::Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let failed = |e: reqwest::Error| Error::Other(Box::new(e.without_url()));
        let request = request.map(reqwest::Body::wrap);
        let mut answer = self.http.execute(request.try_into().map_err(failed)?).await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(Error::Other("its answer is longer than any that was asked for".into()));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            let wait = text("retry-after").and_then(|value| retry_after_within(value, text("date"), COME_AGAIN_MAX));
            *self.come_again.lock().unwrap_or_else(PoisonError::into_inner) = wait.map(time::Duration::unsigned_abs);
            if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).is_err() {
                // A maintenance page, or whatever stands in between.
                return Err(Error::Other(format!("it answered {status}").into()));
            }
        }
        let mut parts = ::http::Response::new(()).into_parts().0;
        parts.status = status;
        parts.headers = headers;
        Ok(BytesResponse {
            parts,
            body: Box::new(Bytes::from(body)),
        })
    }
}

impl HttpClient for DirectoryClient {
    fn request(&self, request: ::http::Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}
