//! Reads a TOML table key by key, remembers what was asked for, and collects every fault instead of stopping at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use time::Duration;

/// What is wrong with one key, and what it takes instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    pub mend: String,
}

impl Fault {
    pub fn new(key: impl fmt::Display, mend: impl Into<String>) -> Self {
        Self {
            key: key.to_string(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.mend)
    }
}

/// Variables that are not configuration keys.
const RESERVED: [&str; 5] = ["URL", "TOKEN", "CONFIG", "LOG", "TEST_PARTS"];

/// Keys whose environment name cannot be guessed from a table in the file, because the file may not have that table.
const SCALARS: &[&str] = &[
    "sso.issuer",
    "sso.client_id",
    "sso.client_secret_file",
    "sso.label",
    "sso.scopes",
    "sso.role_claim",
    "sso.roles",
    "sso.create",
    "sso.second_factor",
    "data_dir",
    "staff_hosts",
    "staff_url",
    "accounts.require_second_factor",
    "limits.api_per_minute",
    "public_url",
    "workers",
    "trusted_proxies",
    "listen.public",
    "listen.staff",
    "listen.public_tls.cert",
    "listen.public_tls.key",
    "listen.staff_tls.cert",
    "listen.staff_tls.key",
    "company.name",
    "company.support",
    "company.purpose",
    "company.legal",
    "company.colour",
    "company.logo",
    "keys.folder",
    "keys.passphrase_file",
    "keys.kek_file",
    "keys.credential_file",
    "retention.link",
    "retention.link_max",
    "retention.undelivered",
    "retention.history",
    "limits.max_file",
    "limits.uploads",
    "limits.pages_per_address",
    "limits.uploads_per_address",
    "limits.uploads_per_link",
    "limits.upload_idle",
    "limits.upload_rate",
    "limits.connections_per_address",
    "limits.silent_per_address",
    "limits.head_timeout",
    "links.passcode",
    "erasure.slots",
    "erasure.accept_weak",
    "accept_volatile_data",
    "accept_readable_swap",
    "erasure.folder",
    "forwarding.attempts",
    "mail.from",
    "mail.host",
    "mail.port",
    "mail.tls",
    "mail.username",
    "mail.password_file",
    "mail.reply_to",
    "mail.timeout",
    "mail.ca_file",
    "hosted.return_hosts",
    "notices.digest_at",
    "audit.checkpoint_file",
    "audit.checkpoint_every",
    "scan.av",
    "scan.clamd",
    "scan.signatures_within",
];

/// Lays `NIGHTDROP_…` variables over the file: `NIGHTDROP_LISTEN_PUBLIC` is `listen.public`, `NIGHTDROP_PROVIDERS_STRIPE_API_KEY_FILE` is `providers.stripe.api_key_file`.
pub fn overlay(table: &mut toml::Table, environment: impl Iterator<Item = (String, String)>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix("NIGHTDROP_") else {
            continue;
        };
        if RESERVED.contains(&name) || name.starts_with("TEST_") {
            continue;
        }
        match SCALARS
            .iter()
            .find(|key| environment_name(key) == name)
            .map(|key| (*key).to_owned())
            .or_else(|| nested_key(table, name))
        {
            Some(key) => set(table, &key, scalar(&value)),
            None => faults.push(Fault::new(
                &variable,
                "is not a configuration key; see the comments in nightdrop.toml",
            )),
        }
    }
    faults
}

fn environment_name(key: &str) -> String {
    key.to_ascii_uppercase().replace(['.', '-'], "_")
}

/// `PROVIDERS_<NAME>_<KEY>` and `DOCUMENTS_<NAME>_<KEY>` for names that the file has.
fn nested_key(table: &toml::Table, name: &str) -> Option<String> {
    ["providers", "documents", "webhooks"].into_iter().find_map(|section| {
        let rest = name.strip_prefix(&section.to_ascii_uppercase())?.strip_prefix('_')?;
        let names = table.get(section)?.as_table()?.keys();
        let owner = names
            .filter(|n| rest.strip_prefix(&environment_name(n)).is_some_and(|r| r.starts_with('_')))
            .max_by_key(|n| n.len())?;
        let key = &rest[owner.len() + 1..];
        Some(format!("{section}.{owner}.{}", key.to_ascii_lowercase()))
    })
}

fn scalar(text: &str) -> toml::Value {
    match text {
        "true" => toml::Value::Boolean(true),
        "false" => toml::Value::Boolean(false),
        _ => text
            .parse()
            .map_or_else(|_| toml::Value::String(text.to_owned()), toml::Value::Integer),
    }
}

fn set(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = table
                .entry(head.to_owned())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if !inner.is_table() {
                *inner = toml::Value::Table(toml::Table::new());
            }
            if let Some(inner) = inner.as_table_mut() {
                set(inner, rest, value);
            }
        }
    }
}

pub struct Reader {
    table: toml::Table,
    base: PathBuf,
    seen: BTreeSet<String>,
    faults: Vec<Fault>,
}

impl Reader {
    pub fn new(table: toml::Table, base: &Path) -> Self {
        Self {
            table,
            base: base.to_path_buf(),
            seen: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    pub fn fault(&mut self, key: &str, mend: impl Into<String>) {
        self.faults.push(Fault::new(key, mend));
    }

    fn get(&mut self, key: &str) -> Option<toml::Value> {
        self.seen.insert(key.to_owned());
        let mut at = toml::Value::Table(self.table.clone());
        for step in key.split('.') {
            at = at.as_table_mut()?.remove(step)?;
        }
        Some(at)
    }

    pub fn string(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            toml::Value::String(text) if !text.trim().is_empty() => Some(text),
            toml::Value::Integer(number) => Some(number.to_string()),
            _ => {
                self.fault(key, "must be a text that is not empty");
                None
            }
        }
    }

    pub fn required(&mut self, key: &str, what: &str) -> Option<String> {
        let value = self.get(key);
        if value.is_none() {
            self.fault(key, format!("is needed: {what}"));
        }
        value.and_then(|_| self.string(key))
    }

    /// Relative paths are relative to the configuration file.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.string(key)?;
        Some(self.base.join(text))
    }

    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(toml::Value::Boolean(value)) => value,
            Some(_) => {
                self.fault(key, "must be true or false");
                default
            }
        }
    }

    pub fn number(&mut self, key: &str, default: u64) -> u64 {
        match self.get(key) {
            None => default,
            Some(toml::Value::Integer(value)) if value >= 0 => value.unsigned_abs(),
            Some(_) => {
                self.fault(key, "must be a whole number that is not negative");
                default
            }
        }
    }

    /// A whole number between two others.
    pub fn within(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let number = self.number(key, default.into());
        u32::try_from(number).ok().filter(|n| range.contains(n)).unwrap_or_else(|| {
            self.fault(key, format!("must be between {} and {}", range.start(), range.end()));
            default
        })
    }

    pub fn duration(&mut self, key: &str, default: Duration) -> Duration {
        let Some(text) = self.get(key) else { return default };
        text.as_str().and_then(parse_duration).unwrap_or_else(|| {
            self.fault(key, "must be a whole number with s, m, h or d, such as \"72h\" or \"14d\"");
            default
        })
    }

    pub fn bytes(&mut self, key: &str, default: u64) -> u64 {
        let parsed = match self.get(key) {
            None => return default,
            Some(toml::Value::Integer(value)) => u64::try_from(value).ok(),
            Some(toml::Value::String(text)) => parse_bytes(&text),
            Some(_) => None,
        };
        parsed.unwrap_or_else(|| {
            self.fault(key, "must be a size, such as \"20MiB\" or 20971520");
            default
        })
    }

    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        match self.get(key)? {
            toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                Some(items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect())
            }
            toml::Value::String(text) => Some(text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()),
            _ => {
                self.fault(key, "must be a list of texts");
                None
            }
        }
    }

    pub fn string_map(&mut self, key: &str) -> BTreeMap<String, String> {
        match self.get(key) {
            None => BTreeMap::new(),
            Some(toml::Value::Table(table)) if table.values().all(toml::Value::is_str) => {
                for inner in table.keys() {
                    self.seen.insert(format!("{key}.{inner}"));
                }
                table
                    .iter()
                    .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                    .collect()
            }
            Some(toml::Value::String(text)) => BTreeMap::from([("en".to_owned(), text)]),
            Some(_) => {
                self.fault(
                    key,
                    "must be a text, or texts by language such as { en = \"Passport\", de = \"Reisepass\" }",
                );
                BTreeMap::new()
            }
        }
    }

    pub fn networks(&mut self, key: &str) -> Vec<Network> {
        let texts = if self.get(key).is_some() {
            self.strings(key).unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut networks = Vec::new();
        for text in texts {
            match Network::parse(&text) {
                Some(network) => networks.push(network),
                None => self.fault(key, "must be addresses or networks, such as [\"10.0.0.0/8\", \"::1\"]"),
            }
        }
        networks
    }

    /// Names of the tables below a key.
    pub fn tables(&mut self, key: &str) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(toml::Value::Table(table)) => table.keys().cloned().collect(),
            Some(_) => {
                self.fault(key, format!("must be tables, such as [{key}.name]"));
                Vec::new()
            }
        }
    }

    /// A whole table whose keys somebody else checks.
    pub fn take_table(&mut self, key: &str) -> toml::Table {
        match self.get(key) {
            Some(toml::Value::Table(table)) => {
                self.seen.insert(format!("{key}.*"));
                table
            }
            _ => {
                self.fault(key, "must be a table");
                toml::Table::new()
            }
        }
    }

    /// All faults, unknown keys among them.
    pub fn finish(mut self) -> Vec<Fault> {
        let mut unknown = Vec::new();
        leaves("", &self.table, &mut |key| {
            let covered = self.seen.contains(key)
                || self
                    .seen
                    .iter()
                    .any(|s| s.strip_suffix('*').is_some_and(|prefix| key.starts_with(prefix)));
            if !covered {
                unknown.push(Fault::new(key, "is not a configuration key"));
            }
        });
        self.faults.extend(unknown);
        self.faults
    }
}

fn leaves(prefix: &str, table: &toml::Table, visit: &mut impl FnMut(&str)) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => leaves(&key, inner, visit),
            _ => visit(&key),
        }
    }
}

/// `72h`, `14d`, `30m`, `90s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.trim().split_at_checked(text.trim().len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|n| (1..=100_000_000).contains(n))?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::seconds(number.checked_mul(seconds)?))
}

/// `20MiB`, `512KiB`, `1000`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `https://host[:port]`, or `http://` for this machine only.
pub fn is_origin(url: &str) -> bool {
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

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(longest), |b| b.parse().ok().filter(|b| *b <= longest))?;
        Some(Self { address, bits })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => prefix_equal(&net.octets(), &ip.octets(), self.bits),
            (IpAddr::V6(net), IpAddr::V6(ip)) => prefix_equal(&net.octets(), &ip.octets(), self.bits),
            _ => false,
        }
    }
}

fn prefix_equal(a: &[u8], b: &[u8], bits: u8) -> bool {
    let (whole, rest) = (usize::from(bits / 8), bits % 8);
    a[..whole] == b[..whole] && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0)
}
