//! Putting the portal together: folders, keys, erasure slots, store, providers; then the listeners and the worker. Everything that can be wrong is found here, at start.

pub(crate) mod beginning;
mod checkpoints;
pub(crate) mod data_folder;
pub(crate) mod identity;
mod inside;
mod layout;
pub(crate) mod recovery;
mod vault_key;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::sync::Notify;

use crate::chain::chain;
use crate::config::{Config, Network};
use crate::crypto::password::{self, Passwords};
use crate::http;
use crate::http::settings::TlsFiles;
use crate::inspect::scan::Clamd;
use crate::sandbox::Sandbox;
use crate::settings::ConfigError;
use crate::storage::RequestStore;
use crate::storage::clock::Source;
use crate::storage::sled::SledStore;
use crate::worker::{self, Worker};
use crate::workflow::delivery::DeliveryState;
use crate::workflow::delivery::breaker::Breakers;
use crate::workflow::delivery::bulkhead::Bulkheads;
use crate::workflow::delivery::scan::Scanner;
use crate::workflow::intake::IntakeState;
use crate::workflow::outgoing::{self, Outgoing};
use crate::workflow::seal;
use crate::workflow::sign_in::AuthState;
use crate::workflow::sign_in::sso::SingleSignOn;
use crate::workflow::sign_in::sso::settings::SsoSettings;
use crate::workflow::wake::Wake;
use crate::workflow::{Counters, Policy, Portal, sweep};

pub use data_folder::create;
use data_folder::{load_secrets, open_documents, open_slots, open_store, refuse_memory};
use identity::PortalId;
pub use layout::Layout;
pub use vault_key::KeyProtection;
use vault_key::{keys_are_here, open_keyring};

/// How long a stopping process waits for uploads and deliveries in progress, in seconds.
const SHUTDOWN_PATIENCE: u64 = 25;
/// How long a connection is kept for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a listener's thread may need to notice that it accepts nothing more.
const ACCEPTOR_PATIENCE: Duration = Duration::from_millis(50);

/// Why the portal does not start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration has {} error(s):{}", .0.len(), .0.iter().map(|error| format!("\n  {error}")).collect::<String>())]
    Configuration(Vec<ConfigError>),
    /// What is wrong and what to do about it; starting again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// Another process holds the data folder.
    #[error("{0}")]
    InUse(String),
    /// The storage cannot be used at the moment (full, an I/O error); starting again later may help.
    #[error("{0}")]
    Unavailable(String),
}

fn refused(what: &str) -> impl FnOnce(&(dyn Error + 'static)) -> StartError + '_ {
    move |error| StartError::Refused(format!("{what}: {}", chain(error)))
}

/// Everything opened and checked, nothing running yet.
pub struct App {
    pub config: Config,
    pub portal: Arc<Portal>,
    pub store: Arc<SledStore>,
    /// How slow a sender may be; tests are less patient.
    pub pace: http::body::BodyPace,
}

impl App {
    /// Opens a portal that `create` has made. Nothing is written or destroyed before every part is known to be here and this portal's; left-overs of an earlier process are
    /// destroyed before this returns.
    pub async fn open(config: Config, source: Source) -> Result<Self, StartError> {
        let layout = Layout::of(&config);
        let portal = data_folder::check(&layout)?;
        refuse_memory(&config)?;
        Self::open_checked(config, &layout, portal, source).await
    }

    /// The same while `init` is not finished yet.
    pub async fn open_new(config: Config, source: Source) -> Result<Self, StartError> {
        let layout = Layout::of(&config);
        let survey = identity::Survey::of(&layout);
        let portal = survey
            .portal()
            .ok_or_else(|| StartError::Refused(survey.faults(&layout).join("; ")))?;
        Self::open_checked(config, &layout, portal, source).await
    }

    async fn open_checked(config: Config, layout: &Layout, portal: PortalId, source: Source) -> Result<Self, StartError> {
        let providers = config.providers.iter().map(|p| (p.name.clone(), p.connector.clone())).collect();
        let bulkheads = Bulkheads::new(config.providers.iter().map(|p| (p.name.clone(), p.concurrency)));
        let secrets = load_secrets(layout)?;
        let keyring = Arc::new(open_keyring(&config, layout)?);
        let store = Arc::new(open_store(layout, portal, source, &secrets)?);
        checkpoints::check_against_checkpoints(&config, &secrets, &store)?;
        keys_are_here(&keyring, &store).await?;
        let (slots, assurance) = open_slots(&config, layout, &store)?;
        let passwords = Passwords::new(&secrets, password::DEFAULT_COST).map_err(|e| refused("passwords")(&e))?;
        let hashing = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 2);
        let portal = Arc::new(Portal {
            requests: store.clone(),
            directory: store.clone(),
            audit: store.clone(),
            outbox: store.clone(),
            blobs: Arc::new(open_documents(&layout.documents)?),
            erasure: Arc::new(slots),
            assurance: Arc::new(assurance),
            keyring,
            secrets,
            providers,
            catalogue: config.catalogue.clone(),
            policy: policy(&config),
            intake: IntakeState::default(),
            auth: AuthState::new(passwords, hashing),
            tasks: tokio::runtime::Handle::current(),
            wake: Wake::new(config.providers.iter().map(|p| p.name.clone())),
            delivery: DeliveryState {
                breakers: Breakers::default(),
                bulkheads,
                scanner: scanner(&config),
            },
            outgoing: outgoing(&config),
            counters: Counters::default(),
            altered: seal::Found::default(),
        });
        seal::look(&portal)
            .await
            .map_err(|e| refused("accounts and API keys cannot be verified")(&e))?;
        let swept = sweep::sweep(&portal)
            .await
            .map_err(|e| StartError::Unavailable(format!("left-overs cannot be destroyed: {}", chain(&e))))?;
        // What the process before had given up, before anything new comes.
        worker::clean(&portal).await;
        outgoing::begin(&portal)
            .await
            .map_err(|e| StartError::Unavailable(format!("the log of what was told: {}", chain(&e))))?;
        if swept != sweep::Swept::default() {
            tracing::info!(?swept, "left-overs of the process before destroyed");
        }
        let window = http::body::BodyPace::default().window;
        let pace = http::body::BodyPace {
            idle: config.limits.upload_idle,
            window_bytes: config.limits.upload_rate * window.as_secs(),
            ..http::body::BodyPace::default()
        };
        Ok(Self {
            config,
            portal,
            store,
            pace,
        })
    }

    /// Opens the listeners and starts the worker. Returns when both listeners are bound.
    pub async fn start(self) -> Result<Running, StartError> {
        self.start_with(true).await
    }

    /// Without the worker nothing turns until somebody calls [`crate::worker::step`].
    pub async fn start_with(self, worker: bool) -> Result<Running, StartError> {
        let public = bind(self.config.public.address)?;
        let staff = bind(self.config.staff.address)?;
        self.start_on(public, staff, worker).await
    }

    /// The same on sockets that are bound already, for a portal whose address must be known before it opens.
    pub async fn start_on(self, public: TcpListener, staff: TcpListener, worker: bool) -> Result<Running, StartError> {
        let addresses = (local(&public)?, local(&staff)?);
        let limits = self.config.limits;
        let settings = http::ServerSettings {
            staff_tls: self.config.staff.tls.is_some(),
            staff_url: self.config.staff_url.clone(),
            staff_hosts: self.config.staff_hosts.clone(),
            ..http::ServerSettings::of(&self.config.public_url, addresses.1)
        };
        let sandboxes = inside::start(&self.config, addresses.0).await?;
        let sso = self.config.sso.as_ref().map(|sso| single_sign_on(sso, &settings)).transpose()?;
        let listeners = http::open(http::Servers {
            portal: self.portal.clone(),
            store: self.store.clone(),
            settings,
            sso,
            company: http::Company {
                name: self.config.company.name.clone(),
                support: self.config.company.support.clone(),
                purpose: self.config.company.purpose.clone(),
                legal: self.config.company.legal.clone(),
                theme: theme(&self.config.company.brand),
            },
            limits: http::Limits {
                uploads: http::permits::UploadLimits {
                    at_once: limits.uploads,
                    per_address: limits.uploads_per_address,
                    per_link: limits.uploads_per_link,
                },
                connections: http::connections::ConnectionLimits {
                    per_address: limits.connections_per_address,
                    silent_per_address: limits.silent_per_address,
                    head: limits.head_timeout,
                    keep_alive: KEEP_ALIVE,
                },
                pages_per_address: limits.pages_per_address,
                proxies: http::forwarded::Proxies::new(
                    self.config.trusted_proxies.iter().copied().map(trust).collect(),
                    self.config.forwarded_header,
                ),
                pace: self.pace,
                api_per_minute: limits.api_per_minute,
            },
            public: (public, tls(self.config.public.tls.as_ref())?),
            staff: (staff, tls(self.config.staff.tls.as_ref())?),
            workers: self.config.workers,
            shutdown: SHUTDOWN_PATIENCE,
        })
        .map_err(|e| refused("the listeners cannot be opened")(&e))?;
        let worker = worker.then(|| Worker::start(&self.portal));
        Ok(Running {
            portal: self.portal,
            store: self.store,
            public: addresses.0,
            staff: addresses.1,
            listeners,
            worker,
            sandboxes,
        })
    }
}

/// A running portal.
pub struct Running {
    pub portal: Arc<Portal>,
    pub store: Arc<SledStore>,
    pub public: SocketAddr,
    pub staff: SocketAddr,
    listeners: Vec<ServerHandle>,
    worker: Option<Worker>,
    /// Providers that run in here.
    sandboxes: Vec<Sandbox>,
}

impl Running {
    /// Stops accepting, lets uploads and deliveries in progress finish (at most 30 s), flushes, and returns.
    pub async fn stop(self) {
        // First nothing more is accepted, then the workers end: in the other order a connection that comes in between finds none, and is reported as a
        // fault. The acceptor does not say when it has heard.
        futures_util::future::join_all(self.listeners.iter().map(ServerHandle::pause)).await;
        tokio::time::sleep(ACCEPTOR_PATIENCE).await;
        let listeners = self.listeners.iter().map(|listener| listener.stop(true));
        futures_util::future::join_all(listeners).await;
        if let Some(worker) = self.worker {
            worker.stop(Duration::from_secs(5)).await;
            // What the last uploads gave up; at the latest the next start destroys it.
            let _ = tokio::time::timeout(Duration::from_secs(5), worker::clean(&self.portal)).await;
        }
        futures_util::future::join_all(self.sandboxes.into_iter().map(Sandbox::stop)).await;
        let now = RequestStore::now(&*self.store);
        if let Err(error) = self.store.note_time(now).await {
            tracing::error!(error = %chain(&error), "the time could not be written down");
        }
        if let Err(error) = self.store.store().durable().await {
            tracing::error!(error = %chain(&error), "the store could not be flushed");
        }
    }
}

fn trust(network: Network) -> http::forwarded::Trusted {
    Box::new(move |address| network.contains(address))
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|e| StartError::Refused(format!("cannot listen on {address}: {e}; is another process using it?")))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|e| refused("a listener")(&e))
}

fn tls(files: Option<&TlsFiles>) -> Result<Option<rustls::ServerConfig>, StartError> {
    let Some(files) = files else { return Ok(None) };
    http::tls::server(&files.cert, &files.key).map(Some).map_err(StartError::Refused)
}

fn single_sign_on(sso: &SsoSettings, server: &http::ServerSettings) -> Result<SingleSignOn, StartError> {
    let wrong = |key: &str, why: String| StartError::Configuration(vec![ConfigError::new(key, why)]);
    let console = server
        .console()
        .ok_or_else(|| wrong("staff_url", "is needed: single sign-on leads back to it".to_owned()))?;
    SingleSignOn::new(sso.clone(), &console).map_err(|why| wrong("sso.issuer", why))
}

fn policy(config: &Config) -> Policy {
    Policy {
        public_url: config.public_url.clone(),
        link: config.retention.link,
        link_max: config.retention.link_max,
        undelivered: config.retention.undelivered,
        history: config.retention.history,
        max_file: config.limits.max_file,
        pdf: config.pdf,
        passcode_required: config.passcode_required,
        attempts: config.attempts,
        company: config.company.name.clone(),
        require_second_factor: config.require_second_factor,
    }
}

/// The scanner that the configuration requires, not asked anything yet.
pub(crate) fn scanner(config: &Config) -> Option<Scanner> {
    let scan = config.scan.as_ref()?;
    Some(Scanner::new(
        Clamd::new(scan.address.clone()),
        config.limits.max_file,
        scan.signatures_within,
    ))
}

/// Whom the portal tells, and how.
fn outgoing(config: &Config) -> Outgoing {
    let outgoing = &config.outgoing;
    Outgoing {
        hooks: outgoing.hooks.clone(),
        mailer: outgoing.mailer.clone(),
        company: config.company.name.clone(),
        staff_url: config.staff_url.clone(),
        digest_at: outgoing.digest_at,
        checkpoints: outgoing::Checkpoints {
            file: outgoing.checkpoint_file.clone(),
            every: outgoing.checkpoint_every,
            due: outgoing::checkpoint::Due::default(),
        },
        return_hosts: outgoing.return_hosts.clone(),
        outbox_signal: Notify::new(),
        slow: outgoing::dispatcher::Slow::default(),
    }
}

/// How the company's pages look, from what the configuration checked.
fn theme(brand: &crate::config::brand::Brand) -> http::assets::Theme {
    let logo = brand.logo.as_ref().map(|logo| http::assets::Logo {
        media_type: logo.media_type,
        content: logo.content.clone(),
    });
    http::assets::Theme::new(&brand.rules, logo)
}
