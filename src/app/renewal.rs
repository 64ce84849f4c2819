//! Certificates that are renewed while the portal runs: their files are looked at every second, and what has changed is taken for the handshakes that come. Files that do not
//! belong together (yet) change nothing: the certificate before goes on, and the log says so once. What the portal fetches itself is seen to by [`super::fetching`].

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use tokio::task::JoinHandle;

use super::StartError;
use super::fetching::{FetchPace, FetchedCertificate, Fetching};
use crate::config::Config;
use crate::http;
use crate::http::settings::{ListenerSettings, ListenerTls, TlsFiles};
use crate::http::tls::{self, Certificate, Proofs};
use crate::settings::ConfigError;
use crate::storage::RequestStore;

/// Looking costs four calls that read no file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The certificates of both listeners, and the tasks that see to them; dropped, they end.
pub(super) struct Certificates {
    public: Shown,
    staff: Shown,
    watching: JoinHandle<()>,
    fetching: Option<Fetching>,
}

/// Where a listener's certificate comes from.
enum Shown {
    /// It speaks no TLS.
    None,
    Watched(Arc<Watched>),
    Fetched(FetchedCertificate),
}

impl Shown {
    fn certificate(&self) -> Option<&Arc<Certificate>> {
        match self {
            Self::None => None,
            Self::Watched(watched) => Some(&watched.certificate),
            Self::Fetched(fetched) => Some(&fetched.certificate),
        }
    }
}

/// Certificates that were read for another configuration and are not in use yet.
pub(super) struct Renewed(Vec<(Arc<Watched>, TlsFiles, Stamps, CertifiedKey)>);

struct Watched {
    listener: &'static str,
    certificate: Arc<Certificate>,
    files: Mutex<Files>,
}

struct Files {
    paths: TlsFiles,
    /// Of the files that were read last.
    stamps: Stamps,
    fault: FileFault,
}

/// Whether these files cannot be used, and whether the log has said so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileFault {
    None,
    /// Certificate and key are written one after the other: only what is still wrong at the next look is logged.
    Unconfirmed,
    Logged,
}

/// What changes when a file is replaced or written; `None` where it cannot be looked at.
type Stamps = [Option<(u64, u64, i64, i64, u64)>; 2];

fn stamps(files: &TlsFiles) -> Stamps {
    let of = |path: &Path| {
        let seen = |m: Metadata| (m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.size());
        std::fs::metadata(path).ok().map(seen)
    };
    [of(&files.cert), of(&files.key)]
}

fn read(listener: &str, files: &TlsFiles) -> Result<(Stamps, CertifiedKey), StartError> {
    // Before they are read: what is written in between is read again.
    let stamps = stamps(files);
    let key = tls::read(&files.cert, &files.key).map_err(|why| {
        let error = ConfigError::new(format!("listen.{listener}_tls"), format!("cannot be used: {why}"));
        StartError::Configuration(vec![error])
    })?;
    Ok((stamps, key))
}

impl Certificates {
    /// `clock`: by which certificates that are fetched are renewed.
    pub(super) fn open(config: &Config, clock: Arc<dyn RequestStore>, pace: FetchPace) -> Result<Self, StartError> {
        let fetching = config.acme.as_ref().map(|acme| Fetching::begin(config, acme, clock, pace));
        let shown = |listener: &'static str, settings: &ListenerSettings| {
            let files = match &settings.tls {
                ListenerTls::Off => return Ok(Shown::None),
                ListenerTls::Files(files) => files,
                ListenerTls::Acme(name) => {
                    let fetched = fetching.as_ref().and_then(|fetching| fetching.of(name));
                    return Ok(fetched.cloned().map_or(Shown::None, Shown::Fetched));
                }
            };
            let (stamps, key) = read(listener, files)?;
            Ok(Shown::Watched(Arc::new(Watched {
                listener,
                certificate: Certificate::new(key),
                files: Mutex::new(Files {
                    paths: files.clone(),
                    stamps,
                    fault: FileFault::None,
                }),
            })))
        };
        let (public, staff) = (shown("public", &config.public)?, shown("staff", &config.staff)?);
        let watched = |shown: &Shown| match shown {
            Shown::Watched(watched) => Some(watched.clone()),
            Shown::None | Shown::Fetched(_) => None,
        };
        let all: Vec<_> = [&public, &staff].into_iter().filter_map(watched).collect();
        let watching = tokio::spawn(async move {
            while !all.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
                let turn = all.clone();
                // A file system that hangs holds up this look and nothing else.
                let looked = tokio::task::spawn_blocking(move || turn.iter().for_each(|watched| watched.look())).await;
                if looked.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            public,
            staff,
            watching,
            fetching,
        })
    }

    /// What each listener speaks; `None`: no TLS.
    pub(super) fn servers(&self) -> Result<(Option<ServerConfig>, Option<ServerConfig>), StartError> {
        // An authority that looks for one listener's name may come to the other one.
        let proofs = match &self.fetching {
            Some(fetching) => Proofs::Challenges(fetching.challenges.clone()),
            None => Proofs::None,
        };
        let of = |shown: &Shown| {
            let server = shown.certificate().map(|certificate| tls::server(certificate.clone(), &proofs));
            server.transpose().map_err(StartError::Refused)
        };
        Ok((of(&self.public)?, of(&self.staff)?))
    }

    /// Reads what another configuration names. Nothing is in use before [`Renewed::take`].
    pub(super) fn renew(&self, config: &Config) -> Result<Renewed, StartError> {
        let mut renewed = Vec::new();
        for (watched, settings) in [(&self.public, &config.public), (&self.staff, &config.staff)] {
            let (Shown::Watched(watched), ListenerTls::Files(files)) = (watched, &settings.tls) else {
                continue;
            };
            let (stamps, key) = read(watched.listener, files)?;
            renewed.push((watched.clone(), files.clone(), stamps, key));
        }
        Ok(Renewed(renewed))
    }

    /// Certificates that are fetched go by this configuration from here on.
    pub(super) fn adapt(&self, config: &Config) {
        if let (Some(fetching), Some(acme)) = (&self.fetching, &config.acme) {
            fetching.adapt(acme);
        }
    }

    /// What the metrics tell of them.
    pub(super) fn observed(&self) -> Vec<http::ObservedCertificate> {
        let listeners = [("public", &self.public), ("staff", &self.staff)];
        let observed = |(listener, shown): (&'static str, &Shown)| {
            Some(http::ObservedCertificate {
                listener,
                certificate: shown.certificate()?.clone(),
                failures: match shown {
                    Shown::Fetched(fetched) => Some(fetched.failures.clone()),
                    Shown::None | Shown::Watched(_) => None,
                },
            })
        };
        listeners.into_iter().filter_map(observed).collect()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Renewed {
    pub(super) fn take(self) {
        for (watched, paths, stamps, key) in self.0 {
            let mut files = watched.files.lock().unwrap_or_else(PoisonError::into_inner);
            watched.certificate.replace(key);
            *files = Files {
                paths,
                stamps,
                fault: FileFault::None,
            };
        }
    }
}

impl Watched {
    fn look(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = stamps(&files.paths);
        if seen == files.stamps && files.fault != FileFault::Unconfirmed {
            return;
        }
        match read(self.listener, &files.paths) {
            Ok((stamps, key)) => {
                self.certificate.replace(key);
                files.stamps = stamps;
                files.fault = FileFault::None;
                tracing::info!(
                    event = "certificate_renewed",
                    listener = self.listener,
                    "its files have changed and are in use from here on"
                );
            }
            Err(error) => {
                // Another change is waited for once more.
                let again = seen == files.stamps && files.fault == FileFault::Unconfirmed;
                files.stamps = seen;
                files.fault = if again { FileFault::Logged } else { FileFault::Unconfirmed };
                if again {
                    tracing::error!(
                        event = "certificate_refused",
                        listener = self.listener,
                        %error,
                        "its files have changed and cannot be used: the certificate before goes on"
                    );
                }
            }
        }
    }
}
