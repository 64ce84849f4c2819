//! Putting the portal together: folders, keys, erasure slots, store, providers; then the listeners and the worker. Everything that can be wrong is found here, at start.

pub(crate) mod beginning;
mod checkpoints;
pub(crate) mod data_folder;
mod fetching;
pub(crate) mod identity;
mod inside;
mod layout;
pub(crate) mod recovery;
mod reload;
mod renewal;
mod slots_growth;
mod store;
mod vault_key;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;

use crate::chain::chain;
use crate::config::Config;
use crate::connectors::Connector;
use crate::crypto::password::{self, Passwords};
use crate::current::Current;
use crate::domain::document::ProviderName;
use crate::http;
use crate::inspect::scan::Clamd;
use crate::settings::ConfigError;
use crate::storage::StorageError;
use crate::storage::backend::Records;
use crate::storage::clock::Source;
use crate::storage::probe::Unproved;
use crate::worker::{self, Worker};
use crate::workflow::backup::Backups;
use crate::workflow::delivery::DeliveryState;
use crate::workflow::delivery::bulkhead::Bulkheads;
use crate::workflow::delivery::scan::Scanner;
use crate::workflow::intake::IntakeState;
use crate::workflow::outgoing::{self, Outgoing};
use crate::workflow::seal;
use crate::workflow::sign_in::AuthState;
use crate::workflow::wake::Wake;
use crate::workflow::{Policy, Portal, sweep};

pub use data_folder::create;
use data_folder::{load_secrets, open_slots, refuse_memory};
pub use fetching::FetchPace;
use identity::PortalId;
use inside::Insides;
pub use layout::Layout;
pub(crate) use layout::StoreKind;
use renewal::Certificates;
pub use store::{Store, bind_database};
pub use vault_key::KeyProtection;
use vault_key::{keys_are_here, open_keyring};

/// How long a stopping process waits for uploads and deliveries in progress, in seconds.
const SHUTDOWN_PATIENCE: u64 = 25;

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

/// An outage may pass; everything else needs a person.
fn store_failed(what: &str, error: StorageError) -> StartError {
    let text = format!("{what}: {}", chain(&error));
    match error {
        StorageError::Busy(_) | StorageError::Full | StorageError::Indeterminate(_) => StartError::Unavailable(text),
        _ => StartError::Refused(text),
    }
}

/// Everything opened and checked, nothing running yet.
pub struct App {
    pub config: Config,
    pub portal: Arc<Portal>,
    /// What the configuration names, and all of its seams.
    pub store: Store,
    pub(crate) records: Arc<dyn Records>,
    /// How slow a sender may be; tests are less patient.
    pub pace: http::body::BodyPace,
    /// How often something is done about certificates; tests wait less.
    pub fetch_pace: FetchPace,
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
        let secrets = load_secrets(layout)?;
        let keyring = Arc::new(open_keyring(&config, layout)?);
        let store = Store::open(&config, layout, portal, source, &secrets).await?;
        let records = store.records();
        checkpoints::check_against_checkpoints(&config, &secrets, &*records).await?;
        keys_are_here(layout, &keyring, &*records).await?;
        let (slots, assurance) = open_slots(&config, layout, &*records).await?;
        let passwords = Passwords::new(&secrets, password::DEFAULT_COST).map_err(|e| refused("passwords")(&e))?;
        let hashing = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 2);
        let portal = Arc::new(Portal {
            requests: records.clone(),
            directory: records.clone(),
            audit: records.clone(),
            outbox: records.clone(),
            blobs: store.documents(layout)?,
            erasure: Arc::new(slots),
            assurance: Arc::new(assurance),
            keyring,
            secrets,
            providers: providers(&config),
            catalogue: config.catalogue.clone(),
            policy: policy(&config),
            intake: Arc::new(IntakeState::default()),
            auth: Arc::new(AuthState::new(passwords, hashing)),
            tasks: tokio::runtime::Handle::current(),
            wake: Wake::default().with(config.providers.iter().map(|p| p.name.clone())),
            delivery: DeliveryState {
                breakers: Arc::default(),
                bulkheads: Arc::new(Bulkheads::new(concurrencies(&config))),
                scanner: scanner(&config).map(Arc::new),
            },
            outgoing: outgoing(&config),
            counters: Arc::default(),
            backups: Backups::new(
                store.backed_up_by(),
                data_folder::sources(&config, layout, portal),
                config.backup_recipients.clone(),
            )
            .map_err(|e| refused("the time of the last backup")(&e))?,
            altered: Arc::default(),
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
        let pace = pace(&config);
        Ok(Self {
            config,
            portal,
            store,
            records,
            pace,
            fetch_pace: FetchPace::default(),
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
        let mut sandboxes = Insides::default();
        sandboxes.begin(&self.config, addresses.0).await?;
        let certificates = Certificates::open(&self.config, self.portal.requests.clone(), self.fetch_pace)?;
        let configured = reload::configured(&self.config, &self.portal, addresses.1, self.pace, certificates.observed())?;
        let front = http::Front::new(configured, self.records.clone());
        let (public_tls, staff_tls) = certificates.servers()?;
        let listeners = http::open(http::Servers {
            front: front.clone(),
            public: (public, public_tls),
            staff: (staff, staff_tls),
            workers: self.config.workers,
            shutdown: SHUTDOWN_PATIENCE,
        })
        .map_err(|e| refused("the listeners cannot be opened")(&e))?;
        let live = Arc::new(Current::new(self.portal.clone()));
        let worker = worker.then(|| Worker::start(&live));
        Ok(Running {
            portal: self.portal,
            live,
            store: self.store,
            records: self.records,
            public: addresses.0,
            staff: addresses.1,
            config: self.config,
            front,
            certificates,
            listeners,
            worker,
            sandboxes,
        })
    }
}

/// A running portal.
pub struct Running {
    /// As the configuration that was read last has it.
    pub portal: Arc<Portal>,
    /// The same, for whatever takes it again and again.
    pub(crate) live: Arc<Current<Portal>>,
    pub store: Store,
    pub(crate) records: Arc<dyn Records>,
    pub public: SocketAddr,
    pub staff: SocketAddr,
    /// What is in effect.
    config: Config,
    front: Arc<http::Front>,
    certificates: Certificates,
    listeners: Vec<ServerHandle>,
    worker: Option<Worker>,
    /// Providers that run in here.
    sandboxes: Insides,
}

impl Running {
    /// How many turns the worker has made; `None` where none was started here.
    pub(crate) fn turns(&self) -> Option<u64> {
        self.worker.as_ref().map(Worker::turns)
    }

    /// Whether the store answers a write, be it with a refusal: a full disk is no dead portal.
    pub(crate) async fn writes_are_answered(&self) -> bool {
        !matches!(self.records.proves_writing().await, Err(Unproved::Hangs))
    }

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
        self.sandboxes.stop().await;
        let now = self.records.now();
        if let Err(error) = self.records.note_time(now).await {
            tracing::error!(error = %chain(&error), "the time could not be written down");
        }
        if let Err(error) = self.records.flush().await {
            tracing::error!(error = %chain(&error), "the store could not be flushed");
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|e| StartError::Refused(format!("cannot listen on {address}: {e}; is another process using it?")))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|e| refused("a listener")(&e))
}

fn providers(config: &Config) -> BTreeMap<ProviderName, Arc<dyn Connector>> {
    config.providers.iter().map(|p| (p.name.clone(), p.connector.clone())).collect()
}

fn concurrencies(config: &Config) -> impl Iterator<Item = (ProviderName, usize)> {
    config.providers.iter().map(|p| (p.name.clone(), p.concurrency))
}

fn pace(config: &Config) -> http::body::BodyPace {
    let usual = http::body::BodyPace::default();
    http::body::BodyPace {
        idle: config.limits.upload_idle,
        window_bytes: config.limits.upload_rate * usual.window.as_secs(),
        ..usual
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        public_url: config.public_url.clone(),
        link: config.retention.link,
        link_max: config.retention.link_max,
        undelivered: config.retention.undelivered,
        history: config.retention.history,
        receipts: config.retention.receipts,
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
            due: Arc::default(),
        },
        return_hosts: outgoing.return_hosts.clone(),
        outbox_signal: Arc::default(),
        slow: Arc::default(),
    }
}
