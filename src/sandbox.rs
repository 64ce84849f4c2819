//! A provider to try the portal with: a real HTTP server on this machine that keeps books of what it received, and misbehaves when told to.
//!
//! * It never stores a byte of a document: each part is hashed as it passes, and only digest, size and file name are kept, in memory.
//! * Its books are exact under any number of concurrent uploads: each upload with effect is counted once, under one lock.
//! * It speaks the API that `connectors::sandbox` describes. Beside it, for demonstrations and tests, without a key:
//!   `GET /received` and `GET|POST /behaviour` (the words are in [`script`]). Never let it face a network.

mod book;
mod callback;
mod routes;
pub(crate) mod script;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, RwLock};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};

use crate::settings::Secret;
use book::Book;

#[derive(Clone, Debug)]
pub struct SandboxSettings {
    pub api_key: Secret,
    /// `whsec_<base64>`; signs the callbacks.
    pub webhook_secret: Secret,
    /// Where verdicts are told, if anywhere; `http://`.
    pub callback_url: Option<String>,
}

/// The running provider. Stops when told; its books go with it.
pub struct Sandbox {
    url: String,
    server: ServerHandle,
    state: web::Data<State>,
}

struct State {
    api_key: Secret,
    webhook_key: Vec<u8>,
    callback_url: RwLock<Option<String>>,
    book: Arc<Book>,
    http: reqwest::Client,
}

impl Sandbox {
    /// Binds and serves. Port 0 lets the system choose. Must be called inside a tokio runtime.
    pub async fn start(bind: SocketAddr, settings: SandboxSettings) -> io::Result<Self> {
        let wrong_secret = || io::Error::new(io::ErrorKind::InvalidInput, "the webhook secret is whsec_ and base64");
        let webhook_key = crate::connectors::sign::standard_key(settings.webhook_secret.expose()).ok_or_else(wrong_secret)?;
        let listener = TcpListener::bind(bind)?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = web::Data::new(State {
            api_key: settings.api_key,
            webhook_key,
            callback_url: RwLock::new(settings.callback_url),
            book: Arc::default(),
            http: callback::client().map_err(io::Error::other)?,
        });
        let shared = state.clone();
        let server = HttpServer::new(move || App::new().app_data(shared.clone()).configure(routes::configure))
            .listen(listener)?
            .workers(2)
            .disable_signals()
            .shutdown_timeout(1)
            .run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self {
            url,
            server: handle,
            state,
        })
    }

    /// `http://<address>`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Tells later verdicts here: for a portal whose own address is known only after this provider's.
    pub fn set_callback(&self, url: Option<String>) {
        *self.state.callback_url.write().unwrap_or_else(|e| e.into_inner()) = url;
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}

#[cfg(test)]
mod tests;
