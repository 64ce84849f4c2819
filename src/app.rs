//! Putting the portal together: folders, keys, erasure slots, store, providers; then the doors and the worker. Everything that can be wrong is found here, at start.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::config::reader::Fault;
use crate::config::sso::SsoConfig;
use crate::config::{CREDENTIALS, Config, Provider};
use crate::connectors::hook::Hook;
use crate::connectors::mail::Mailer;
use crate::connectors::settings::Secret;
use crate::connectors::{self, Connector};
use crate::crypto::assurance::{self, Assurance, AssuranceClass};
use crate::crypto::envelope::Suite;
use crate::crypto::keyfile::{Argon2Cost, Protection, Protector};
use crate::crypto::keyring::Keyring;
use crate::crypto::password::{self, Passwords};
use crate::crypto::private_file::{self, Privacy};
use crate::crypto::secret::SecretBytes;
use crate::crypto::secrets::PortalSecrets;
use crate::crypto::slots::SlotsFile;
use crate::domain::document::ProviderName;
use crate::http;
use crate::inspect::scan::Clamd;
use crate::storage::clock::Source;
use crate::storage::sled::SledStore;
use crate::storage::sled::durable::Options;
use crate::storage::{BlobStore, Records};
use crate::worker::Worker;
use crate::workflow::lanes::Lanes;
use crate::workflow::outgoing::{self, Outgoing};
use crate::workflow::queue::Queue;
use crate::workflow::scan::Scanner;
use crate::workflow::sign_in::sso::{self, SingleSignOn};
use crate::workflow::{Counters, InFlight, Policy, Portal, forward, sign_in, sweep};

/// How long a stopping process waits for uploads and deliveries in progress, in seconds.
const SHUTDOWN_PATIENCE: u64 = 25;
/// How long a connection is kept for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Where everything of one data folder lies.
pub struct Layout {
    pub store: PathBuf,
    pub slots: PathBuf,
    pub keys: PathBuf,
    pub secrets: PathBuf,
    pub kek: PathBuf,
}

impl Layout {
    pub fn of(config: &Config) -> Self {
        let keys = config.keys.folder.clone();
        Self {
            store: config.data_dir.join("store"),
            slots: config.data_dir.join("erase.slots"),
            secrets: keys.join("portal.secrets"),
            kek: keys.join("kek"),
            keys,
        }
    }
}

/// Why the portal does not start, with the mend.
#[derive(Debug)]
pub enum StartError {
    Configuration(Vec<Fault>),
    /// What is wrong and what to do about it.
    Refused(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(faults) => {
                write!(f, "the configuration has {} fault(s):", faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

fn refused(what: &str) -> impl FnOnce(&dyn fmt::Display) -> StartError + '_ {
    move |error| StartError::Refused(format!("{what}: {error}"))
}

/// How a new vault key is protected on disk.
pub enum KeyProtection {
    Passphrase(Zeroizing<Vec<u8>>, Argon2Cost),
    /// 32 random bytes in a file of their own, beside the key.
    KekFile,
    /// Nothing: the private key goes to this file, and a service manager hands it back at start.
    Credential(PathBuf),
}

/// Makes folders, keys, secrets, erasure slots and an empty store. Refuses to touch what exists.
pub fn create(config: &Config, protection: &KeyProtection, suite: Suite) -> Result<(), StartError> {
    let layout = Layout::of(config);
    if layout.secrets.exists() || layout.slots.exists() || layout.store.exists() {
        return Err(StartError::Refused(format!(
            "{} already holds a portal; choose another data_dir, or start it with `nightdrop serve`",
            config.data_dir.display()
        )));
    }
    for folder in [&config.data_dir, &layout.keys] {
        private_folder(folder).map_err(|e| refused(&folder.display().to_string())(&e))?;
    }
    PortalSecrets::create(&layout.secrets).map_err(|e| refused("the portal's secrets cannot be made")(&e))?;
    let made = match protection {
        KeyProtection::Passphrase(passphrase, cost) => Keyring::create_key(&layout.keys, suite, &Protector::Passphrase(passphrase, *cost)),
        KeyProtection::KekFile => {
            let kek = crate::crypto::keyfile::generate_kek().map_err(|e| refused("the vault key")(&e))?;
            private_file::create(&layout.kek, kek.expose(), 0o400).map_err(|e| refused("the key-encrypting key")(&e))?;
            Keyring::create_key(&layout.keys, suite, &Protector::Kek(&kek))
        }
        KeyProtection::Credential(file) => Keyring::create_credential(&layout.keys, suite, file),
    };
    made.map_err(|e| refused("the vault key cannot be made")(&e))?;
    let uuid = SlotsFile::create(&layout.slots, config.erasure_slots).map_err(|e| refused("the erasure slots cannot be made")(&e))?;
    let store = open_store(&layout.store, Source::System)?;
    store.set_meta("slots", &uuid).map_err(|e| refused("the store")(&e))
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn open_store(folder: &Path, source: Source) -> Result<SledStore, StartError> {
    SledStore::open(folder, Options::default(), source)
        .map_err(|e| StartError::Refused(format!("the store in {} cannot be opened: {e}", folder.display())))
}

/// Everything opened and checked, nothing running yet.
pub struct App {
    pub config: Config,
    pub portal: Arc<Portal>,
    pub store: Arc<SledStore>,
    /// How slow a sender may be; tests are less patient.
    pub pace: http::body::Pace,
}

impl App {
    /// Opens a portal that `create` has made. Left-overs of an earlier process are destroyed before this returns.
    pub async fn open(config: Config, source: Source) -> Result<Self, StartError> {
        let layout = Layout::of(&config);
        if !layout.secrets.exists() {
            return Err(StartError::Refused(format!(
                "{} holds no portal; `nightdrop init` makes one",
                config.data_dir.display()
            )));
        }
        let providers = connect(&config.providers)?;
        let store = Arc::new(open_store(&layout.store, source)?);
        let secrets = Arc::new(PortalSecrets::load(&layout.secrets).map_err(|e| refused("the portal's secrets cannot be read")(&e))?);
        let keyring = Arc::new(Keyring::open(&layout.keys).map_err(|e| refused("the keyring cannot be opened")(&e))?);
        unlock_at_start(&config, &layout, &keyring)?;
        let (slots, assurance) = open_slots(&config, &layout, &store)?;
        let passwords = Passwords::new(&secrets, password::DEFAULT_COST).map_err(|e| refused("passwords")(&e))?;
        let hashing = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 2);
        let portal = Arc::new(Portal {
            records: store.clone() as Arc<dyn Records>,
            blobs: store.clone() as Arc<dyn BlobStore>,
            erasure: Arc::new(slots),
            assurance,
            keyring,
            secrets,
            passwords: Arc::new(passwords),
            throttle: sign_in::Throttle::default(),
            providers,
            catalogue: config.catalogue.clone(),
            policy: policy(&config),
            in_flight: InFlight::default(),
            lanes: Lanes::default(),
            hashing: Queue::new(hashing),
            checking: Queue::new(hashing),
            tasks: tokio::runtime::Handle::current(),
            wake: Notify::new(),
            breakers: forward::Breakers::default(),
            outgoing: outgoing(&config)?,
            scanner: scanner(&config),
            counters: Counters::default(),
        });
        let swept = sweep::sweep(&portal)
            .await
            .map_err(|e| refused("left-overs cannot be destroyed")(&e))?;
        outgoing::begin(&portal)
            .await
            .map_err(|e| refused("the log of what was told")(&e))?;
        if swept != sweep::Swept::default() {
            tracing::info!(?swept, "left-overs of the process before destroyed");
        }
        let window = http::body::Pace::default().window;
        let pace = http::body::Pace {
            idle: config.limits.upload_idle,
            window_bytes: config.limits.upload_rate * window.as_secs(),
            ..http::body::Pace::default()
        };
        Ok(Self {
            config,
            portal,
            store,
            pace,
        })
    }

    /// Opens the doors and starts the worker. Returns when both listeners are bound.
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
        let settings = http::Settings {
            staff_tls: self.config.staff.tls.is_some(),
            staff_url: self.config.staff_url.clone(),
            ..http::Settings::of(&self.config.public_url, addresses.1)
        };
        let sso = self.config.sso.as_ref().map(|sso| single_sign_on(sso, &settings)).transpose()?;
        let doors = http::open(http::Doors {
            portal: self.portal.clone(),
            store: self.store.clone(),
            settings,
            sso,
            company: http::Company {
                name: self.config.company.name.clone(),
                support: self.config.company.support.clone(),
                purpose: self.config.company.purpose.clone(),
                legal: self.config.company.legal.clone(),
                dress: dress(&self.config.company.brand),
            },
            limits: http::Limits {
                uploads: http::places::PlaceLimits {
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
                trusted: self.config.trusted_proxies.iter().copied().map(trust).collect(),
                pace: self.pace,
                api_per_minute: self.config.api_per_minute,
            },
            public: (public, tls(self.config.public.tls.as_ref())?),
            staff: (staff, tls(self.config.staff.tls.as_ref())?),
            workers: self.config.workers,
            shutdown: SHUTDOWN_PATIENCE,
        })
        .map_err(|e| refused("the doors cannot be opened")(&e))?;
        let worker = worker.then(|| Worker::start(&self.portal));
        Ok(Running {
            portal: self.portal,
            store: self.store,
            public: addresses.0,
            staff: addresses.1,
            doors,
            worker,
        })
    }
}

/// A running portal.
pub struct Running {
    pub portal: Arc<Portal>,
    pub store: Arc<SledStore>,
    pub public: SocketAddr,
    pub staff: SocketAddr,
    doors: Vec<ServerHandle>,
    worker: Option<Worker>,
}

impl Running {
    /// Stops accepting, lets uploads and deliveries in progress finish (at most 30 s), flushes, and returns.
    pub async fn stop(self) {
        let doors = self.doors.iter().map(|door| door.stop(true));
        futures_util::future::join_all(doors).await;
        if let Some(worker) = self.worker {
            worker.stop(Duration::from_secs(5)).await;
        }
        if let Err(error) = self.store.store().durable().await {
            tracing::error!(%error, "the store could not be flushed");
        }
    }
}

fn trust(network: crate::config::reader::Network) -> http::Trusted {
    Box::new(move |address| network.contains(address))
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|e| StartError::Refused(format!("cannot listen on {address}: {e}; is another process using it?")))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|e| refused("a listener")(&e))
}

fn tls(files: Option<&crate::config::Tls>) -> Result<Option<rustls::ServerConfig>, StartError> {
    let Some(files) = files else { return Ok(None) };
    http::tls::server(&files.cert, &files.key).map(Some).map_err(StartError::Refused)
}

fn single_sign_on(config: &SsoConfig, settings: &http::Settings) -> Result<SingleSignOn, StartError> {
    let console = settings
        .console()
        .ok_or_else(|| StartError::Refused("staff_url: is needed for single sign-on, which leads back to it".to_owned()))?;
    let secret = config.client_secret_file.as_deref().map(read_secret).transpose();
    let settings = sso::Settings {
        issuer: config.issuer.clone(),
        client_id: config.client_id.clone(),
        client_secret: secret.map_err(|e| StartError::Refused(format!("sso.client_secret_file: {e}")))?,
        label: config.label.clone(),
        scopes: config.scopes.clone(),
        role_claim: config.role_claim.clone(),
        roles: config.roles.clone(),
        create: config.create,
        trust_second_factor: config.trust_second_factor,
    };
    connectors::client::install_tls();
    SingleSignOn::new(settings, &console).map_err(|e| StartError::Refused(format!("sso: {e}")))
}

fn policy(config: &Config) -> Policy {
    Policy {
        public_url: config.public_url.clone(),
        link: config.retention.link,
        link_max: config.retention.link_max,
        undelivered: config.retention.undelivered,
        history: config.retention.history,
        max_file: config.limits.max_file,
        passcode_required: config.passcode_required,
        attempts: config.attempts,
        company: config.company.name.clone(),
        require_second_factor: config.require_second_factor,
    }
}

/// The scanner that the configuration requires, not asked anything yet.
pub fn scanner(config: &Config) -> Option<Scanner> {
    let scan = config.scan.as_ref()?;
    Some(Scanner::new(
        Clamd::new(scan.address.clone()),
        config.limits.max_file,
        scan.signatures_within,
    ))
}

/// Makes the connectors; every fault of every provider at once.
pub fn connect(providers: &[Provider]) -> Result<BTreeMap<ProviderName, Arc<dyn Connector>>, StartError> {
    connectors::client::install_tls();
    let mut made = BTreeMap::new();
    let mut faults = Vec::new();
    for provider in providers {
        let read = |path: &str| read_secret(&provider.base.join(path));
        match connectors::build(&provider.kind, &provider.table, &read) {
            Ok(connector) => {
                made.insert(provider.name.clone(), connector);
            }
            Err(wrong) => faults.extend(
                wrong
                    .into_iter()
                    .map(|f| Fault::new(format!("providers.{}.{}", provider.name, f.key), format!("needs {}", f.accepted))),
            ),
        }
    }
    if faults.is_empty() {
        Ok(made)
    } else {
        Err(StartError::Configuration(faults))
    }
}

/// Whom the portal tells, and how; every fault of every table at once.
pub fn outgoing(config: &Config) -> Result<Outgoing, StartError> {
    connectors::client::install_tls();
    let told = &config.outgoing;
    let read = |path: &str| read_secret(&told.base.join(path));
    let mut faults = Vec::new();
    let mut wrong = |table: &str, found: Vec<connectors::settings::Fault>| {
        faults.extend(
            found
                .into_iter()
                .map(|f| Fault::new(format!("{table}.{}", f.key), format!("needs {}", f.accepted))),
        );
    };
    let mailer = told
        .mail
        .as_ref()
        .and_then(|table| Mailer::from_table(table, &read).map_err(|f| wrong("mail", f)).ok());
    let mut hooks = BTreeMap::new();
    for (name, table) in &told.webhooks {
        match Hook::from_table(table, &read) {
            Ok(hook) => {
                hooks.insert(name.clone(), hook);
            }
            Err(found) => wrong(&format!("webhooks.{name}"), found),
        }
    }
    if !faults.is_empty() {
        return Err(StartError::Configuration(faults));
    }
    Ok(Outgoing {
        hooks,
        mailer,
        company: config.company.name.clone(),
        staff_url: told.staff_url.clone(),
        digest_at: told.digest_at,
        checkpoints: told.checkpoint_every.map(|every| outgoing::Checkpoints {
            file: told.checkpoint_file.clone(),
            every,
            due: outgoing::checkpoint::Due::default(),
        }),
        return_hosts: told.return_hosts.clone(),
        bell: Notify::new(),
        slow: outgoing::courier::Slow::default(),
    })
}

/// A secret's file must not be readable by others; what the service manager hands over is root's, with an access list for us.
pub fn privacy_of(path: &Path) -> Privacy {
    let folder = std::env::var_os(CREDENTIALS).filter(|folder| !folder.is_empty());
    let inside = |folder| path.starts_with(folder) && !path.components().any(|c| c == Component::ParentDir);
    match folder.is_some_and(|folder| inside(PathBuf::from(folder))) {
        true => Privacy::Credential,
        false => Privacy::Owner,
    }
}

fn read_secret(path: &Path) -> Result<Secret, String> {
    let bytes = private_file::read(path, 64 * 1024, privacy_of(path)).map_err(|e| e.to_string())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not text".to_owned())?;
    Ok(Secret::new(text))
}

/// Unlocks what needs no person: a key that the service manager hands over, a key-encrypting key or passphrase in a file. Otherwise the portal starts locked.
fn unlock_at_start(config: &Config, layout: &Layout, keyring: &Keyring) -> Result<(), StartError> {
    if let Some(path) = &config.keys.credential_file {
        let id = keyring.attach_credential(path).map_err(|e| refused("keys.credential_file")(&e))?;
        let bare = keyring
            .status()
            .iter()
            .any(|k| k.id == id && k.protection == Some(Protection::None));
        if bare {
            keyring
                .unlock(&Protector::None)
                .map_err(|e| refused("the vault key does not open with keys.credential_file")(&e))?;
        }
    }
    let kek = config
        .keys
        .kek_file
        .clone()
        .or_else(|| layout.kek.exists().then(|| layout.kek.clone()));
    if let Some(path) = kek {
        let bytes = private_file::read(&path, 64, privacy_of(&path)).map_err(|e| refused("keys.kek_file")(&e))?;
        let mut raw: [u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| StartError::Refused("keys.kek_file: must hold exactly 32 bytes".to_owned()))?;
        let kek = SecretBytes::take(&mut raw);
        keyring
            .unlock(&Protector::Kek(&kek))
            .map_err(|e| refused("the vault key does not open with keys.kek_file")(&e))?;
    }
    if let Some(path) = &config.keys.passphrase_file {
        let bytes = private_file::read(path, 4096, privacy_of(path)).map_err(|e| refused("keys.passphrase_file")(&e))?;
        // One line break at the end, of either kind, is the editor's.
        let passphrase = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let passphrase = passphrase.strip_suffix(b"\r").unwrap_or(passphrase);
        keyring
            .unlock(&Protector::Passphrase(passphrase, Argon2Cost::for_this_machine()))
            .map_err(|e| refused("the vault key does not open with keys.passphrase_file")(&e))?;
    }
    Ok(())
}

fn open_slots(config: &Config, layout: &Layout, store: &SledStore) -> Result<(SlotsFile, Assurance), StartError> {
    let uuid = store.meta("slots").map_err(|e| refused("the store")(&e))?;
    let uuid: Option<[u8; 16]> = uuid.and_then(|u| u.try_into().ok());
    let slots = SlotsFile::open(&layout.slots, uuid.as_ref()).map_err(|e| refused("the erasure slots cannot be opened")(&e))?;
    let assurance = assurance::self_test(&layout.slots, &slots).map_err(|e| refused("the erasure self-test")(&e))?;
    if assurance.class == AssuranceClass::C && !config.accept_weak_erasure {
        return Err(StartError::Refused(format!(
            "erasing is not shown to work on this file system ({}): {} Move data_dir to ext4 or XFS, or set erasure.accept_weak = true.",
            assurance.file_system,
            assurance.reasons.join(" ")
        )));
    }
    Ok((slots, assurance))
}

/// How the company's pages look, from what the configuration checked.
fn dress(brand: &crate::config::brand::Brand) -> http::pages::assets::Dress {
    let logo = brand.logo.as_ref().map(|logo| http::pages::assets::Logo {
        media_type: logo.media_type,
        content: logo.content.clone(),
    });
    http::pages::assets::Dress::new(&brand.rules, logo)
}
