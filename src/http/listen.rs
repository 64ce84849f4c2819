//! A listener: TCP or TLS, HTTP/1.1, with slowloris limits on its connections.
//!
//! actix ends a connection whose *first* head does not come in time and nothing else: one address may open as many as there are, unfinished TLS handshakes
//! fill a pool of their own, and half a head behind an answered request stays for ever. So each accepted socket is counted before anything is read from it,
//! closed at once when its address has enough of them ([`super::connections`]), and closed when it is silent for too long. What is closed here is never
//! answered: there is no request yet.

mod bursts;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::{AppConfig, Server as ActixServer, ServerHandle, Service, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use futures_util::future::LocalBoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::connections::{Connections, Due, Held, Serving};
use super::front::Front;
use super::tls;
use crate::workflow::warning::{self, Warning};
use bursts::Bursts;

/// Open at once in each worker, whoever they are of.
const PER_WORKER: usize = 1_024;
const TLS_HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(5);

/// The threads of each listener; 0 in the configuration is one for each core.
pub(crate) fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        some => some,
    }
}

/// Connections that both listeners together hold at most.
pub(crate) fn at_most(configured: usize) -> usize {
    2 * threads(configured) * PER_WORKER
}

/// One listener before it runs.
pub(crate) struct Server {
    pub name: &'static str,
    pub socket: (TcpListener, Option<rustls::ServerConfig>),
    pub connections: Arc<Connections>,
    pub front: Arc<Front>,
    pub workers: usize,
    /// Seconds that requests in progress get when the process stops.
    pub shutdown: u64,
}

impl Server {
    /// `app` is made once for each worker; [`counted`] must be its outermost middleware.
    pub(crate) fn run<F, I, S, B>(self, app: F) -> io::Result<ServerHandle>
    where
        F: Fn(web::Data<Connections>, web::Data<Front>) -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error> + 'static,
        S::InitError: std::fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        S::Service: 'static,
        <S::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let builder = ActixServer::build()
            .workers(self.workers)
            .max_concurrent_connections(PER_WORKER)
            .shutdown_timeout(self.shutdown)
            .disable_signals();
        let stopping = builder.graceful_shutdown_signal();
        let (connections, front) = (self.connections, self.front);
        let limited = Limit {
            connections: connections.clone(),
            front: front.clone(),
        };
        let limits = connections.limits();
        macro_rules! service {
            () => {{
                let app = app(web::Data::from(connections.clone()), web::Data::from(front.clone())).into_factory();
                let app = app.map_err(|error| error.into().error_response());
                let stopping = stopping.clone();
                HttpService::build()
                    .graceful_shutdown_signal(move || {
                        let stopping = stopping.clone();
                        async move { stopping.notified().await }
                    })
                    .client_request_timeout(limits.head)
                    .client_disconnect_timeout(std::time::Duration::from_secs(1))
                    .keep_alive(limits.keep_alive)
                    .finish(map_config(app, |()| AppConfig::default()))
            }};
        }
        let builder = match self.socket {
            (listener, None) => builder.listen(self.name, listener, move || Limited {
                inner: fn_service(|socket: TcpStream| async move {
                    let peer = socket.peer_addr().ok();
                    Ok((Bursts::of(socket), Protocol::Http1, peer))
                })
                .and_then(service!()),
                limit: limited.clone(),
            })?,
            (listener, Some(mut config)) => {
                config.alpn_protocols.insert(0, b"http/1.1".to_vec());
                let acceptor = TlsAcceptor::from(Arc::new(config));
                builder.listen(self.name, listener, move || {
                    let acceptor = acceptor.clone();
                    Limited {
                        inner: fn_service(move |socket: TcpStream| {
                            let acceptor = acceptor.clone();
                            async move {
                                let peer = socket.peer_addr().ok();
                                let shaken = timeout(TLS_HANDSHAKE, acceptor.accept(socket)).await;
                                let mut socket = shaken.unwrap_or_else(|late| Err(late.into())).map_err(DispatchError::Io)?;
                                if tls::is_challenge(socket.get_ref().1) {
                                    let _ = timeout(TLS_HANDSHAKE, socket.shutdown()).await;
                                    return Err(DispatchError::Io(io::ErrorKind::ConnectionAborted.into()));
                                }
                                Ok((Bursts::of(socket), Protocol::Http1, peer))
                            }
                        })
                        .and_then(service!()),
                        limit: limited.clone(),
                    }
                })?
            }
        };
        let server = builder.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(handle)
    }
}

#[derive(Clone)]
struct Limit {
    connections: Arc<Connections>,
    front: Arc<Front>,
}

impl Limit {
    fn enter(&self, peer: SocketAddr) -> Option<Held> {
        let address: IpAddr = peer.ip();
        let seen = self.front.seen();
        let held = self.connections.enter(peer, seen.state.proxies.trusts(address));
        if held.is_none() {
            Warning::Limited(warning::Limited::Connections).write();
            seen.state.proxies.refused(address);
        }
        held
    }
}

/// Everything that happens on one socket, the handshake included, under the limits.
struct Limited<T> {
    inner: T,
    limit: Limit,
}

impl<T> ServiceFactory<TcpStream> for Limited<T>
where
    T: ServiceFactory<TcpStream, Config = (), Response = ()>,
    T::Future: 'static,
    T::Service: 'static,
    <T::Service as Service<TcpStream>>::Future: 'static,
{
    type Response = ();
    type Error = T::Error;
    type Config = ();
    type Service = Limited<T::Service>;
    type InitError = T::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let inner = self.inner.new_service(());
        let limit = self.limit.clone();
        Box::pin(async move {
            Ok(Limited {
                inner: inner.await?,
                limit,
            })
        })
    }
}

impl<T> Service<TcpStream> for Limited<T>
where
    T: Service<TcpStream, Response = ()>,
    T::Future: 'static,
{
    type Response = ();
    type Error = T::Error;
    type Future = LocalBoxFuture<'static, Result<(), T::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, socket: TcpStream) -> Self::Future {
        // Without a peer it is closed already.
        let Some(held) = socket.peer_addr().ok().and_then(|peer| self.limit.enter(peer)) else {
            return Box::pin(async { Ok(()) });
        };
        let served = self.inner.call(socket);
        Box::pin(async move {
            let mut served = pin!(served);
            loop {
                let Due::At(end) = held.due(Instant::now()) else {
                    return Ok(());
                };
                if let Ok(done) = tokio::time::timeout_at(end, &mut served).await {
                    return done;
                }
            }
        })
    }
}

/// Tells the connection that a whole head came, and when its answer has gone. What the request sees of the configuration is taken here.
pub(crate) async fn counted(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let seen = request.app_data::<web::Data<Front>>().map(|front| front.seen());
    if let Some(seen) = seen {
        seen.show(&mut request);
    }
    let connections = request.app_data::<web::Data<Connections>>().cloned();
    let serving = connections.zip(request.peer_addr()).and_then(|(all, peer)| all.serve(peer));
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| Answer {
        body: body.boxed(),
        _serving: serving,
    }))
}

/// An answer's body, which is being served until it is gone.
struct Answer {
    body: BoxBody,
    _serving: Option<Serving>,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
