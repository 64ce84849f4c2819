//! The configuration: `nightdrop.toml`, then `NIGHTDROP_…` from the environment. Resolved once and refused at start with every fault at once; never asked again.
//!
//! Secrets stand in files only (`…_file`, not readable by others) or in systemd credentials, never in the file or the environment itself.

pub mod brand;
pub mod outgoing;
pub mod reader;
pub mod scan;
pub mod sso;
pub mod template;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use time::Duration;

use crate::connectors::KINDS;
use crate::domain::document::{DocumentKind, FileType, PartName, ProviderName};
use crate::words;
use crate::workflow::catalogue::{Catalogue, CatalogueEntry, Strip};
use reader::{Fault, Reader};

#[derive(Clone, Debug)]
pub struct Config {
    /// Where the file was; relative paths in it are relative to its folder.
    pub path: Option<PathBuf>,
    pub data_dir: PathBuf,
    /// What applicants see, without a trailing slash: `https://drop.example.com`.
    pub public_url: String,
    pub public: Listener,
    pub staff: Listener,
    pub company: Company,
    pub keys: Keys,
    pub retention: Retention,
    pub limits: UploadLimits,
    pub passcode_required: bool,
    pub trusted_proxies: Vec<reader::Network>,
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
    pub outgoing: outgoing::Outgoing,
    pub workers: usize,
    /// Failed attempts before a person is asked.
    pub attempts: u32,
    /// How browsers reach the console, such as `https://console.example.com`.
    pub staff_url: Option<String>,
    /// More hosts under which the staff listener may be asked, such as a container's name or that of a proxy's upstream.
    pub staff_hosts: Vec<String>,
    pub require_second_factor: bool,
    /// Requests of one API key in a minute.
    pub api_per_minute: u32,
    pub sso: Option<sso::SsoConfig>,
    /// `None`: documents leave unscanned.
    pub scan: Option<scan::Scan>,
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Company {
    pub name: String,
    /// Whom an applicant may ask: an e-mail address, telephone number or web address.
    pub support: Option<String>,
    /// Why documents are asked for, in the company's words, by language.
    pub purpose: Labels,
    /// Imprint, privacy notice and the like, by language; web addresses become links.
    pub legal: Labels,
    pub brand: brand::Brand,
}

#[derive(Clone, Debug)]
pub struct Keys {
    pub folder: PathBuf,
    /// Opens the key file at start; without it the portal starts locked when the key has a passphrase.
    pub passphrase_file: Option<PathBuf>,
    pub kek_file: Option<PathBuf>,
    /// The vault key itself, as a service manager hands it over.
    pub credential_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub link: Duration,
    pub link_max: Duration,
    pub undelivered: Duration,
    /// How long the row of a finished request (no document, no name of a person) is kept.
    pub history: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Bytes of one part.
    pub max_file: u64,
    /// Uploads at once over all links.
    pub uploads: usize,
    /// Uploads at once from one address (IPv6: from one /64; so are all limits by address).
    pub uploads_per_address: usize,
    /// Uploads at once through one link.
    pub uploads_per_link: usize,
    /// An upload that sends no byte for this long is ended.
    pub upload_idle: std::time::Duration,
    /// And so is one that sends fewer bytes a second over half a minute.
    pub upload_rate: u64,
    /// Connections of one address to one listener.
    pub connections_per_address: usize,
    /// Those of them that have not sent a whole request yet.
    pub silent_per_address: usize,
    /// A request's head must be here by then.
    pub head_timeout: std::time::Duration,
    /// Applicants' pages in a minute to one address (IPv6: to one /64).
    pub pages_per_address: u32,
}

#[derive(Clone, Debug)]
pub struct Provider {
    pub name: ProviderName,
    pub kind: String,
    pub table: toml::Table,
    /// Folder that `…_file` values are relative to.
    pub base: PathBuf,
}

/// The variable with the folder in which systemd hands secrets over.
pub const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The vault key's name there, unless `keys.credential_file` says otherwise.
pub const VAULT_CREDENTIAL: &str = "nightdrop-key";

/// The largest part that any configuration may allow.
const HARD_MAX_FILE: u64 = 100 << 20;

impl Config {
    /// Reads a file and the environment. All faults at once, each with its key and what is accepted.
    pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<Fault>> {
        let (text, mode) = read(path).map_err(|error| {
            vec![Fault::new(
                path.display(),
                format!("cannot be read ({error}); `nightdrop init` writes one"),
            )]
        })?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let parsed = Self::parse(&text, &base, environment);
        if mode & 0o022 == 0 {
            return parsed.map(|config| Self {
                path: Some(path.to_path_buf()),
                ..config
            });
        }
        // Whoever writes this file says where documents go.
        let place = path.display();
        let exposed = Fault::new(
            format!("others may change {place} (mode {:04o})", mode & 0o7777),
            format!("chmod go-w {place}"),
        );
        let others = parsed.err().unwrap_or_default();
        Err(std::iter::once(exposed).chain(others).collect())
    }

    pub fn parse(text: &str, base: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<Fault>> {
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| vec![Fault::new("nightdrop.toml", format!("is not TOML: {}", error.message()))])?;
        let environment: Vec<_> = environment.collect();
        let credential = environment.iter().find(|(name, folder)| name == CREDENTIALS && !folder.is_empty());
        let credential = credential.map(|(_, folder)| Path::new(folder).join(VAULT_CREDENTIAL));
        let mut faults = reader::overlay(&mut table, environment.into_iter());
        let mut r = Reader::new(table, base);
        let config = Self::resolve(&mut r, base, credential.filter(|file| file.exists()));
        faults.extend(r.finish());
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }

    fn resolve(r: &mut Reader, base: &Path, credential: Option<PathBuf>) -> Option<Self> {
        let data_dir = r.path("data_dir").unwrap_or_else(|| base.join("data"));
        let public_url = r
            .required(
                "public_url",
                "the https address that applicants see, such as \"https://drop.example.com\"",
            )
            .and_then(|url| {
                let fits = reader::is_origin(&url);
                if !fits {
                    r.fault(
                        "public_url",
                        "must be https://host or https://host:port without a path (http only for localhost)",
                    );
                }
                fits.then(|| url.trim_end_matches('/').to_owned())
            });
        let keys_folder = r.path("keys.folder").unwrap_or_else(|| data_dir.join("keys"));
        let retention = Retention {
            link: r.duration("retention.link", Duration::hours(72)),
            link_max: r.duration("retention.link_max", Duration::days(14)),
            undelivered: r.duration("retention.undelivered", Duration::days(7)),
            history: r.duration("retention.history", Duration::days(180)),
        };
        if retention.link > retention.link_max {
            r.fault("retention.link", "must not be longer than retention.link_max");
        }
        if retention.undelivered < Duration::seconds(1) || retention.undelivered > Duration::days(90) {
            r.fault("retention.undelivered", "must be between \"1s\" and \"90d\"");
        }
        let max_file = r.bytes("limits.max_file", 20 << 20);
        if max_file == 0 || max_file > HARD_MAX_FILE {
            r.fault("limits.max_file", "must be between 1 byte and 100 MiB, such as \"20MiB\"");
        }
        let passcode_required = match r.string("links.passcode").as_deref() {
            None | Some("optional") => false,
            Some("required") => true,
            Some(_) => {
                r.fault("links.passcode", "must be \"optional\" or \"required\"");
                false
            }
        };
        let erasure_slots = r.within("erasure.slots", 16..=1_048_576, 16_384).into();
        let erasure_folder = r.path("erasure.folder").unwrap_or_else(|| data_dir.join("erasure"));
        let staff_url = staff_url(r);
        let config = Self {
            path: None,
            public: listener(r, "public", "0.0.0.0:8080"),
            staff: listener(r, "staff", "127.0.0.1:8081"),
            company: Company {
                name: r.string("company.name").unwrap_or_else(|| "Document drop".to_owned()),
                support: r.string("company.support"),
                purpose: texts(r, "company.purpose"),
                legal: texts(r, "company.legal"),
                brand: brand_of(r),
            },
            keys: Keys {
                folder: keys_folder,
                passphrase_file: r.path("keys.passphrase_file"),
                kek_file: r.path("keys.kek_file"),
                credential_file: r.path("keys.credential_file").or(credential),
            },
            retention,
            limits: UploadLimits {
                max_file,
                uploads: r.within("limits.uploads", 1..=100_000, 64) as usize,
                uploads_per_address: r.within("limits.uploads_per_address", 1..=100_000, 4) as usize,
                uploads_per_link: r.within("limits.uploads_per_link", 1..=100_000, 3) as usize,
                upload_idle: seconds(r, "limits.upload_idle", 20),
                upload_rate: upload_rate(r),
                connections_per_address: r.within("limits.connections_per_address", 1..=100_000, 128) as usize,
                silent_per_address: r.within("limits.silent_per_address", 1..=100_000, 32) as usize,
                head_timeout: seconds(r, "limits.head_timeout", 10),
                pages_per_address: r.within("limits.pages_per_address", 1..=10_000_000, 30),
            },
            passcode_required,
            trusted_proxies: r.networks("trusted_proxies"),
            accept_weak_erasure: r.boolean("erasure.accept_weak", false),
            accept_volatile_data: r.boolean("accept_volatile_data", false),
            accept_readable_swap: r.boolean("accept_readable_swap", false),
            erasure_slots,
            erasure_folder,
            catalogue: catalogue(r),
            providers: providers(r, base),
            outgoing: outgoing::read(r, base, &data_dir, staff_url.clone()),
            workers: r.within("workers", 0..=1_024, 0) as usize,
            scan: scan::read(r),
            attempts: r.within("forwarding.attempts", 1..=10_000, 40),
            staff_url,
            staff_hosts: staff_hosts(r),
            require_second_factor: r.boolean("accounts.require_second_factor", false),
            api_per_minute: r.within("limits.api_per_minute", 1..=1_000_000, 600),
            sso: sso::read(r),
            public_url: public_url?,
            data_dir,
        };
        Some(config)
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

fn staff_hosts(r: &mut Reader) -> Vec<String> {
    let hosts = r.strings("staff_hosts").unwrap_or_default();
    let fits = |host: &String| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    if !hosts.iter().all(fits) {
        r.fault(
            "staff_hosts",
            "must be host names or addresses such as \"console.internal\", without scheme and path",
        );
    }
    hosts
}

/// A patience of network clients.
fn seconds(r: &mut Reader, key: &str, default: i64) -> std::time::Duration {
    let found = r.duration(key, Duration::seconds(default)).whole_seconds();
    if !(1..=600).contains(&found) {
        r.fault(key, "must be between \"1s\" and \"10m\"");
    }
    std::time::Duration::from_secs(found.clamp(1, 600).unsigned_abs())
}

fn upload_rate(r: &mut Reader) -> u64 {
    let found = r.bytes("limits.upload_rate", 2 << 10);
    if found > 1 << 20 {
        r.fault("limits.upload_rate", "must be between 0 and \"1MiB\", in bytes a second");
    }
    found
}

fn staff_url(r: &mut Reader) -> Option<String> {
    let url = r.string("staff_url")?;
    if !reader::is_origin(&url) {
        r.fault(
            "staff_url",
            "must be https://host or https://host:port without a path (http only for localhost)",
        );
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// A text, or texts by languages that the pages speak.
fn texts(r: &mut Reader, key: &str) -> Labels {
    let texts = r.string_map(key);
    if let Some(tag) = texts.keys().find(|tag| words::of(tag).is_none_or(|w| w.tag != tag.as_str())) {
        let known: Vec<&str> = words::LANGUAGES.iter().map(|w| w.tag).collect();
        r.fault(key, format!("has the language \"{tag}\"; the pages speak {}", known.join(", ")));
    }
    texts
}

fn brand_of(r: &mut Reader) -> brand::Brand {
    let rules = r.string("company.colour").map_or_else(String::new, |colour| {
        brand::rules(&colour).unwrap_or_else(|why| {
            r.fault("company.colour", why);
            String::new()
        })
    });
    let logo = r.path("company.logo").and_then(|path| match brand::logo(&path) {
        Ok(logo) => Some(logo),
        Err(why) => {
            r.fault("company.logo", why);
            None
        }
    });
    brand::Brand { rules, logo }
}

fn listener(r: &mut Reader, name: &str, default: &str) -> Listener {
    let key = format!("listen.{name}");
    let text = r.string(&key).unwrap_or_else(|| default.to_owned());
    let address = text.parse().unwrap_or_else(|_| {
        r.fault(&key, "must be an address and port, such as \"127.0.0.1:8081\" or \"[::]:8080\"");
        SocketAddr::from(([127, 0, 0, 1], 0))
    });
    let (cert, certificate_key) = (
        r.path(&format!("listen.{name}_tls.cert")),
        r.path(&format!("listen.{name}_tls.key")),
    );
    let tls = match (cert, certificate_key) {
        (Some(cert), Some(key)) => Some(Tls { cert, key }),
        (None, None) => None,
        _ => {
            r.fault(&format!("listen.{name}_tls"), "needs both cert and key (PEM files)");
            None
        }
    };
    Listener { address, tls }
}

const PARTS: &str = "names of 1–32 characters of a-z, 0-9 and -, such as [\"front\", \"back\"]";
const TYPES: &str = "image/jpeg, image/png, application/pdf, image/heic";

/// All entries of a list; one that means nothing is a fault, and never just left out.
fn parsed<T>(r: &mut Reader, key: &str, entries: &[String], parse: impl Fn(&str) -> Option<T>, takes: &str) -> Vec<T> {
    let mut found = Vec::new();
    for entry in entries {
        match parse(entry) {
            Some(value) => found.push(value),
            None => r.fault(key, format!("has \"{entry}\"; it takes {takes}")),
        }
    }
    found
}

fn catalogue(r: &mut Reader) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for name in r.tables("documents") {
        let key = |field: &str| format!("documents.{name}.{field}");
        let Some(kind) = DocumentKind::parse(&name) else {
            r.fault(&format!("documents.{name}"), "names are 1–64 characters of a-z, 0-9 and -");
            continue;
        };
        let known = catalogue.get(&kind).cloned();
        let labels = r.string_map(&key("label"));
        let parts = r.strings(&key("parts"));
        let accepted = r.strings(&key("accepted"));
        let parts: Vec<PartName> = match parts {
            Some(names) => parsed(r, &key("parts"), &names, PartName::parse, PARTS),
            None => known.as_ref().map(|k| k.parts.clone()).unwrap_or_default(),
        };
        if !(1..=2).contains(&parts.len()) || parts.first() == parts.get(1) {
            r.fault(&key("parts"), format!("needs one or two {PARTS}, each once"));
        }
        let accepted: Vec<FileType> = match accepted {
            Some(types) => parsed(r, &key("accepted"), &types, FileType::from_mime, TYPES),
            None => known.as_ref().map_or_else(|| FileType::ALL[..3].to_vec(), |k| k.accepted.clone()),
        };
        if accepted.is_empty() {
            r.fault(&key("accepted"), format!("needs at least one of {TYPES}"));
        }
        let strip = match r.string(&key("strip")).as_deref() {
            None => known.as_ref().map_or(Strip::Gps, |k| k.strip),
            Some("gps") => Strip::Gps,
            Some("all") => Strip::All,
            Some("none") => Strip::None,
            Some(_) => {
                r.fault(&key("strip"), "must be \"gps\", \"all\" or \"none\"");
                Strip::Gps
            }
        };
        // A label of the company's own may mean another document: the built-in ones of other languages must not stand beside it.
        let all_labels = match labels.is_empty() {
            true => known.map(|k| k.labels).unwrap_or_default(),
            false => labels,
        };
        if !all_labels.contains_key("en") {
            r.fault(&key("label"), "needs at least an English label, such as { en = \"Government ID\" }");
        }
        catalogue.insert(CatalogueEntry {
            kind,
            labels: all_labels,
            parts,
            accepted,
            strip,
        });
    }
    catalogue
}

fn providers(r: &mut Reader, base: &Path) -> Vec<Provider> {
    let mut providers = Vec::new();
    for name in r.tables("providers") {
        let mut table = r.take_table(&format!("providers.{name}"));
        let Some(provider) = ProviderName::parse(&name) else {
            r.fault(&format!("providers.{name}"), "names are 1–64 characters of a-z, 0-9 and -");
            continue;
        };
        match table.remove("kind") {
            Some(toml::Value::String(kind)) => providers.push(Provider {
                name: provider,
                kind,
                table,
                base: base.to_path_buf(),
            }),
            _ => r.fault(&format!("providers.{name}.kind"), format!("is needed, one of {}", KINDS.join(", "))),
        }
    }
    providers
}

/// Labels by language, for tests and pages.
pub type Labels = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
