//! Where the database is, and how it is spoken to: encrypted and with a verified certificate unless it is on this machine, with times after which the server gives up.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::OpenError;
use super::error::{mend, told};
use crate::chain::Cause;

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an operation waits for a connection to be free.
const WAIT: Duration = Duration::from_secs(2);
/// What every session is told. The server ends what waits or idles for longer, also of a portal that is gone without a word.
const SESSION: &str = "-c lock_timeout=5s -c statement_timeout=10s -c idle_in_transaction_session_timeout=5s \
    -c default_transaction_isolation=read\\ committed -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 \
    -c client_min_messages=warning";

/// A database and how to reach it. Its address holds a password, and is shown nowhere as a whole.
#[derive(Clone)]
pub struct Database {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    authority: Option<PathBuf>,
    connections: usize,
}

impl PartialEq for Database {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.authority == other.authority && self.connections == other.connections
    }
}

impl Eq for Database {}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Host, port and name: what may be shown of it.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, host) in self.config.get_hosts().iter().enumerate() {
            let port = self.config.get_ports().get(n).or(self.config.get_ports().first()).unwrap_or(&5432);
            let comma = if n == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(folder) => write!(f, "{comma}{}:{port}", folder.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

/// Why an address cannot be used. It repeats no part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("is not an address like postgres://user:password@host/database")]
    Address,
    #[error("names no host, user or database")]
    Incomplete,
    #[error(
        "names a host that is not this machine: its certificate must be verified, so ca_file is needed (the certificate of the authority that signed the server's)"
    )]
    NoAuthority,
    #[error("{0}")]
    Authority(String),
}

impl Database {
    /// `address`: `postgres://user:password@host/database`; more hosts are divided by commas. `authority`: certificates in PEM that the server's is verified by; on this
    /// machine it may be missing, and then nothing is encrypted.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn parse(address: &str, authority: Option<&Path>, connections: usize) -> Result<Self, Unusable> {
        // Nothing less than these is ever done, whatever is said: the client only lacks the words.
        let address = address
            .trim()
            .replace("sslmode=verify-full", "sslmode=require")
            .replace("sslmode=verify-ca", "sslmode=require");
        if !address.starts_with("postgres://") && !address.starts_with("postgresql://") {
            return Err(Unusable::Address);
        }
        let mut config: Config = address.parse().map_err(|_| Unusable::Address)?;
        if config.get_hosts().is_empty() || config.get_user().is_none() || config.get_dbname().is_none() {
            return Err(Unusable::Incomplete);
        }
        let near = config.get_hosts().iter().all(is_this_machine) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        let tls = match authority {
            Some(file) => Some(MakeRustlsConnect::new(trusting(file)?)),
            None if near => None,
            None => return Err(Unusable::NoAuthority),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        config.application_name("nightdrop").options(SESSION).connect_timeout(CONNECT);
        config
            .tcp_user_timeout(Duration::from_secs(15))
            .keepalives_idle(Duration::from_secs(10));
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self {
            config,
            tls,
            authority: authority.map(Path::to_path_buf),
            connections,
        })
    }

    pub(super) fn pool(&self) -> Result<Pool, Cause> {
        let how = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match &self.tls {
            Some(tls) => Manager::from_config(self.config.clone(), tls.clone(), how),
            None => Manager::from_config(self.config.clone(), NoTls, how),
        };
        Pool::builder(manager)
            .max_size(self.connections)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(Cause::new)
    }

    /// A connection beside the pool.
    pub(super) async fn connect(&self) -> Result<Client, Unreachable> {
        let client = match &self.tls {
            Some(tls) => {
                let connecting = tokio::time::timeout(CONNECT, self.config.connect(tls.clone()));
                let (client, connection) = connecting.await.map_err(|_| Unreachable::in_time())??;
                tokio::spawn(connection);
                client
            }
            None => {
                let connecting = tokio::time::timeout(CONNECT, self.config.connect(NoTls));
                let (client, connection) = connecting.await.map_err(|_| Unreachable::in_time())??;
                tokio::spawn(connection);
                client
            }
        };
        Ok(client)
    }
}

/// Why there is no connection.
pub(super) enum Unreachable {
    /// With the mend; the same again is refused again.
    Refused(String),
    Away(Cause),
}

impl Unreachable {
    fn in_time() -> Self {
        Self::Away("nothing answers in time".into())
    }
}

impl From<tokio_postgres::Error> for Unreachable {
    fn from(error: tokio_postgres::Error) -> Self {
        mend(&error).map_or_else(|| Self::Away(told(&error)), Self::Refused)
    }
}

impl From<Unreachable> for OpenError {
    fn from(why: Unreachable) -> Self {
        match why {
            Unreachable::Refused(mend) => Self::Refused(vec![mend]),
            Unreachable::Away(why) => Self::Away(why),
        }
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    }
}

fn trusting(file: &Path) -> Result<rustls::ClientConfig, Unusable> {
    let failed = |why: String| Unusable::Authority(format!("{}: {why}", file.display()));
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| failed(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| failed(e.to_string()))?;
        roots.add(certificate).map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(e.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_off_this_machine_needs_an_authority_and_says_nothing_of_itself() {
        let parse = |address: &str| Database::parse(address, None, 4).err();
        assert_eq!(parse("postgres://u:secret@127.0.0.1/db"), None);
        assert_eq!(parse("postgres://u:secret@localhost:5433/db?sslmode=verify-full"), None);
        assert_eq!(parse("postgres://u:secret@[::1]/db"), None);
        assert_eq!(parse("postgres://u:secret@db.example.net/db"), Some(Unusable::NoAuthority));
        assert_eq!(
            parse("postgres://u:secret@127.0.0.1,db.example.net/db"),
            Some(Unusable::NoAuthority)
        );
        assert_eq!(
            parse("postgres://u:secret@localhost/db?hostaddr=192.0.2.1"),
            Some(Unusable::NoAuthority)
        );
        assert_eq!(parse("host=127.0.0.1 user=u"), Some(Unusable::Address));
        assert_eq!(parse("postgres://127.0.0.1"), Some(Unusable::Incomplete));
        let shown =
            Database::parse("postgres://u:secret@127.0.0.1,[::1]:5433/db", None, 4).map(|database| format!("{database} {database:?}"));
        assert_eq!(shown.as_deref(), Ok("127.0.0.1:5432,::1:5433/db [redacted]"));
        let wrong = parse("postgres://u:secret@127.0.0.1/db?no=such").map(|why| why.to_string());
        assert!(wrong.is_some_and(|why| !why.contains("secret")));
    }
}
