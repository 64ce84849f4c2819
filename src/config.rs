//! The configuration: `nightdrop.toml`, then `NIGHTDROP_…` from the environment. Resolved at start, and again when the service is told to; refused with every error at once.
//!
//! This file composes: each module reads its own section (see [`crate::settings`]), and what only two sections together can get wrong is checked here.
//! Secrets stand in files only (`…_file`, not readable by others) or in systemd credentials, never in the file or the environment itself.

mod acme;
pub(crate) mod brand;
pub(crate) mod company;
mod database;
mod network;
mod providers;
mod secret_file;
pub(crate) mod template;

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::Level;

use crate::connectors;
use crate::crypto::archive::Lock;
use crate::http::acme::settings::AcmeSettings;
use crate::http::forwarded::AddressHeader;
use crate::http::settings::{LimitSettings, ListenerSettings, MetricsAccess, RequestLog};
use crate::inspect::scan::settings::ScanSettings;
use crate::inspect::settings::PdfSettings;
#[cfg(test)]
use crate::settings::Setting;
use crate::settings::{ConfigError, Environment, Reader};
use crate::workflow::catalogue::Catalogue;
use crate::workflow::outgoing::settings::OutgoingSettings;
use crate::workflow::settings::{self, RetentionSettings};
use crate::workflow::sign_in::sso::settings::SsoSettings;
use company::Company;
pub use database::StoreSettings;
pub(crate) use network::Network;
pub(crate) use providers::Provider;
pub(crate) use secret_file::privacy_of;

#[derive(Clone, Debug)]
pub struct Config {
    /// Where the file was; relative paths in it are relative to its folder.
    pub path: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub store: StoreSettings,
    /// What applicants see, without a trailing slash: `https://drop.example.com`.
    pub public_url: String,
    pub public: ListenerSettings,
    pub staff: ListenerSettings,
    /// How the portal fetches certificates; `None`: it does not.
    pub acme: Option<AcmeSettings>,
    pub company: Company,
    pub keys: Keys,
    pub retention: RetentionSettings,
    pub limits: LimitSettings,
    pub metrics: MetricsAccess,
    pub pdf: PdfSettings,
    pub passcode_required: bool,
    pub trusted_proxies: Vec<Network>,
    pub forwarded_header: AddressHeader,
    pub accept_weak_erasure: bool,
    /// The data folder may lie in memory, where a restart of the machine ends everything.
    pub accept_volatile_data: bool,
    /// Pages of this process may be swapped out to a disk that is not encrypted.
    pub accept_readable_swap: bool,
    pub erasure_slots: u64,
    /// Of the slots file and the store's high-water mark: in no backup, and possibly on a file system of its own.
    pub erasure_folder: PathBuf,
    pub catalogue: Catalogue,
    pub providers: Vec<Provider>,
    pub outgoing: OutgoingSettings,
    pub workers: usize,
    /// How much the log says.
    pub log: Level,
    pub request_log: RequestLog,
    /// Failed attempts before a person is asked.
    pub attempts: u32,
    /// How browsers reach the console, such as `https://console.example.com`.
    pub staff_url: Option<String>,
    /// More hosts under which the staff listener may be asked, such as a container's name or that of a proxy's upstream.
    pub staff_hosts: Vec<String>,
    pub require_second_factor: bool,
    /// Whom backups are for, whoever takes them; empty: for whom it is said then.
    pub backup_recipients: Vec<String>,
    pub sso: Option<SsoSettings>,
    /// `None`: documents leave unscanned.
    pub scan: Option<ScanSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub folder: PathBuf,
    /// Opens the key file at start; without it the portal starts locked when the key has a passphrase.
    pub passphrase_file: Option<PathBuf>,
    pub kek_file: Option<PathBuf>,
    /// The vault key itself, as a service manager hands it over.
    pub credential_file: Option<PathBuf>,
}

/// A configuration that was read to its end, whatever is wrong in it.
pub(crate) struct Resolved {
    /// With a stand-in for everything that is wrong.
    pub config: Config,
    pub errors: Vec<ConfigError>,
    /// Everything that was asked for.
    #[cfg(test)]
    pub settings: Vec<Setting>,
}

/// The variable with the folder in which systemd hands secrets over.
pub(crate) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The vault key's name there, unless `keys.credential_file` says otherwise.
pub(crate) const VAULT_CREDENTIAL: &str = "nightdrop-key";

impl Resolved {
    /// Reads a file and the environment. Fails where there is no table to read.
    pub(crate) fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<ConfigError>> {
        let (text, mode) = read(path).map_err(|error| {
            vec![ConfigError::new(
                path.display(),
                format!("cannot be read ({error}); `nightdrop init` writes one"),
            )]
        })?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut resolved = Self::parse(&text, &base, environment)?;
        resolved.config.path = Some(path.to_path_buf());
        if mode & 0o022 != 0 {
            // Whoever writes this file says where documents go.
            let place = path.display();
            let exposed = ConfigError::new(
                format!("others may change {place} (mode {:04o})", mode & 0o7777),
                format!("chmod go-w {place}"),
            );
            resolved.errors.insert(0, exposed);
        }
        Ok(resolved)
    }

    pub(crate) fn parse(text: &str, base: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<ConfigError>> {
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| vec![ConfigError::new("nightdrop.toml", format!("is not TOML: {}", error.message()))])?;
        let environment: Vec<_> = environment.collect();
        let credential = environment.iter().find(|(name, folder)| name == CREDENTIALS && !folder.is_empty());
        let credential = credential.map(|(_, folder)| Path::new(folder).join(VAULT_CREDENTIAL));
        let read_secret = |path: &str| secret_file::read(&base.join(path));
        let mut reader = Reader::new(&table, &read_secret)
            .relative_to(base)
            .with_environment(Environment::new(environment.into_iter()));
        let config = Config::read(&mut reader, base, credential.filter(|file| file.exists()));
        let (errors, _settings) = reader.finish_with_settings();
        Ok(Self {
            config,
            errors,
            #[cfg(test)]
            settings: _settings,
        })
    }

    /// The configuration, if nothing is wrong in it.
    pub(crate) fn sound(self) -> Result<Config, Vec<ConfigError>> {
        if self.errors.is_empty() {
            Ok(self.config)
        } else {
            Err(self.errors)
        }
    }
}

impl Config {
    /// Reads a file and the environment. All errors at once, each with its key and what is accepted.
    pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<ConfigError>> {
        Resolved::load(path, environment)?.sound()
    }

    pub fn parse(text: &str, base: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<ConfigError>> {
        Resolved::parse(text, base, environment)?.sound()
    }

    fn read(reader: &mut Reader<'_>, base: &Path, credential: Option<PathBuf>) -> Self {
        connectors::client::install_tls();
        let data_dir = reader.path("data_dir", "the folder of records and documents; data unless given");
        let data_dir = data_dir.unwrap_or_else(|| base.join("data"));
        let (erasure_slots, erasure_folder, accept_weak_erasure) = reader.section("erasure", |reader| {
            let folder = reader.path("folder", "the folder of the slots file; erasure in data_dir unless given");
            (
                reader.number(
                    "slots",
                    16_384,
                    16..=1_048_576,
                    "submissions that can be held at once; with more the file grows at the next start, it never gets less",
                ),
                folder.unwrap_or_else(|| data_dir.join("erasure")),
                reader.flag("accept_weak", false, "runs on a file system that keeps overwritten blocks"),
            )
        });
        let public_url = read_public_url(reader);
        let staff_url = reader.text("staff_url", ORIGIN).map(|url| origin(reader, "staff_url", &url));
        let (mut public, mut staff) = reader.section("listen", |reader| {
            (
                ListenerSettings::read(reader, "public", "0.0.0.0:8080"),
                ListenerSettings::read(reader, "staff", "127.0.0.1:8081"),
            )
        });
        let acme = reader.optional_section("acme", AcmeSettings::read);
        if let Some(acme) = &acme {
            acme::fetch(reader, acme, (public_url.as_str(), &mut public), (staff_url.as_deref(), &mut staff));
        }
        let config = Self {
            path: None,
            public_url,
            public,
            staff,
            acme,
            company: reader.section("company", Company::read),
            store: reader.section("database", StoreSettings::read),
            keys: reader.section("keys", |reader| Keys::read(reader, &data_dir, credential)),
            retention: reader.section("retention", RetentionSettings::read),
            limits: reader.section("limits", LimitSettings::read),
            metrics: reader.section("metrics", MetricsAccess::read),
            pdf: reader.section("pdf", PdfSettings::read),
            passcode_required: reader.section("links", settings::read_passcode_required),
            trusted_proxies: read_networks(reader),
            forwarded_header: reader.choice(
                "forwarded_header",
                &AddressHeader::CHOICES,
                "x-forwarded-for",
                "where trusted proxies write the client's address",
            ),
            accept_weak_erasure,
            accept_volatile_data: reader.flag("accept_volatile_data", false, "runs on a data folder in memory"),
            accept_readable_swap: reader.flag("accept_readable_swap", false, "runs with swap that is not known to be encrypted"),
            erasure_slots,
            erasure_folder,
            catalogue: reader.section("documents", Catalogue::read),
            providers: reader.section("providers", Provider::read_all),
            outgoing: OutgoingSettings::read(reader, &data_dir),
            workers: reader.number("workers", 0, 0..=1_024, "threads of each listener; 0 takes one for each core"),
            log: reader.choice("log", &LEVELS, "info", "how much the log says"),
            request_log: RequestLog::read(reader),
            scan: reader.section("scan", ScanSettings::read),
            attempts: reader.section("forwarding", settings::read_attempts),
            staff_url,
            staff_hosts: read_staff_hosts(reader),
            require_second_factor: reader.section("accounts", |reader| {
                reader.flag(
                    "require_second_factor",
                    false,
                    "a password alone opens nothing but one's own account page",
                )
            }),
            backup_recipients: reader.section("backup", read_recipients),
            sso: reader.section("sso", SsoSettings::read),
            data_dir,
        };
        if config.public.address == config.staff.address && config.public.address.port() != 0 {
            reader.error("listen.staff", "must be another address than listen.public");
        }
        if config.sso.is_some() && config.staff_url.is_none() && !config.staff.address.ip().is_loopback() {
            reader.is_needed("staff_url", "single sign-on leads back to it");
        }
        config
    }
}

impl Keys {
    fn read(reader: &mut Reader<'_>, data_dir: &Path, credential: Option<PathBuf>) -> Self {
        Self {
            folder: reader
                .path("folder", "the folder of the keys; keys in data_dir unless given")
                .unwrap_or_else(|| data_dir.join("keys")),
            passphrase_file: reader.path("passphrase_file", "the path of a file with the vault key's passphrase"),
            kek_file: reader.path("kek_file", "the path of a file with the key of the vault key"),
            credential_file: reader
                .path("credential_file", "the path of the vault key as a systemd credential")
                .or(credential),
        }
    }
}

/// A file's text and mode, both of the same opened file.
fn read(path: &Path) -> std::io::Result<(String, u32)> {
    let mut file = std::fs::File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, mode))
}

/// By their names in the file.
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

const ORIGIN: &str = "https://host or https://host:port without a path (http only for localhost)";

fn read_public_url(reader: &mut Reader<'_>) -> String {
    let url = reader.required(
        "public_url",
        "the https address that applicants see, such as \"https://drop.example.com\"",
    );
    match url.as_str() {
        "" => url,
        url => origin(reader, "public_url", url),
    }
}

/// Without a trailing slash.
fn origin(reader: &mut Reader<'_>, key: &str, url: &str) -> String {
    if !is_origin(url) {
        reader.must_be(key, ORIGIN);
    }
    url.trim_end_matches('/').to_owned()
}

fn read_staff_hosts(reader: &mut Reader<'_>) -> Vec<String> {
    const HOSTS: &str = "a list of host names or addresses such as [\"console.internal\"], without scheme and path";
    let hosts = reader.texts_with("staff_hosts", &[], HOSTS);
    let fits = |host: &String| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    if !hosts.iter().all(fits) {
        reader.must_be("staff_hosts", HOSTS);
    }
    hosts
}

fn read_recipients(reader: &mut Reader<'_>) -> Vec<String> {
    const RECIPIENTS: &str = "a list of age recipients such as [\"age1…\"]: backups are for these alone";
    let recipients = reader.texts_with("recipients", &[], RECIPIENTS);
    if Lock::to(recipients.iter().map(String::as_str)).is_err() {
        reader.must_be("recipients", RECIPIENTS);
    }
    recipients
}

fn read_networks(reader: &mut Reader<'_>) -> Vec<Network> {
    const NETWORKS: &str = "a list of addresses or networks, such as [\"10.0.0.0/8\", \"::1\"]";
    let texts = reader.texts_with("trusted_proxies", &[], NETWORKS);
    let networks: Vec<_> = texts.iter().filter_map(|text| Network::parse(text)).collect();
    if networks.len() < texts.len() {
        reader.must_be("trusted_proxies", NETWORKS);
    }
    networks
}

/// `https://host[:port]`, or `http://` for this machine only.
fn is_origin(url: &str) -> bool {
    let url = url.trim_end_matches('/');
    let local = |host: &str| {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(host, |(name, _)| name);
        matches!(name, "localhost" | "127.0.0.1" | "[::1]")
    };
    let plain = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '\\']);
    url.strip_prefix("https://").is_some_and(plain) || url.strip_prefix("http://").is_some_and(|host| plain(host) && local(host))
}

#[cfg(test)]
mod tests;
