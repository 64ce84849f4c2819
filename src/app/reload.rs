//! The configuration read again while the portal runs: all of it or nothing. What is new is put together beside what is in use, checked as at a start, and then put in its place
//! at once. Whatever has begun (an upload, a delivery, a page) ends with the configuration that it began with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::layout::{Layout, StoreKind};
use super::{Running, StartError, concurrencies, outgoing, pace, policy, providers, scanner};
use crate::chain::chain;
use crate::config::{Config, Network};
use crate::http;
use crate::http::settings::ListenerTls;
use crate::settings::ConfigError;
use crate::workflow::Portal;
use crate::workflow::delivery::DeliveryState;
use crate::workflow::outgoing::{self as telling, Checkpoints, Outgoing};
use crate::workflow::sign_in::sso::SingleSignOn;
use crate::workflow::sign_in::sso::settings::SsoSettings;

/// How long a connection is kept for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What came of reading the configuration again.
#[derive(Debug)]
pub struct Reloaded {
    /// Keys whose new values wait for the next start.
    pub at_next_start: Vec<&'static str>,
}

impl Running {
    /// Puts another configuration in the place of the present one. When anything is wrong with it, nothing has changed.
    pub async fn reload(&mut self, config: Config) -> Result<Reloaded, StartError> {
        let (config, at_next_start) = kept(&self.config, config);
        let certificates = self.certificates.renew(&config)?;
        self.sandboxes.begin(&config, self.public).await?;
        let portal = Arc::new(portal(&self.portal, &config));
        let configured = configured(&config, &portal, self.staff, pace(&config), self.certificates.observed())?;
        telling::begin(&portal)
            .await
            .map_err(|e| StartError::Unavailable(format!("the log of what was told: {}", chain(&e))))?;
        // Nothing from here on can fail.
        certificates.take();
        self.certificates.adapt(&config);
        self.front.replace(configured);
        self.live.replace(portal.clone());
        self.portal = portal;
        self.config = config;
        if let Some(worker) = &self.worker {
            worker.adapt();
        }
        Ok(Reloaded { at_next_start })
    }
}

/// The new configuration with the old values of what cannot change while the portal runs, and the names of those that differ.
fn kept(old: &Config, mut new: Config) -> (Config, Vec<&'static str>) {
    let mut differ = Vec::new();
    macro_rules! keep {
        ($($name:literal: $($field:ident).+),+ $(,)?) => {
            $(if new.$($field).+ != old.$($field).+ {
                differ.push($name);
                new.$($field).+ = old.$($field).+.clone();
            })+
        };
    }
    keep!(
        "data_dir": data_dir,
        "database": store,
        "public_url": public_url,
        "staff_url": staff_url,
        "listen.public": public.address,
        "listen.staff": staff.address,
        "keys": keys,
        "erasure.slots": erasure_slots,
        "erasure.folder": erasure_folder,
        "erasure.accept_weak": accept_weak_erasure,
        "accept_volatile_data": accept_volatile_data,
        "accept_readable_swap": accept_readable_swap,
        "audit.checkpoint_file": outgoing.checkpoint_file,
        "limits.head_timeout": limits.head_timeout,
        "workers": workers,
    );
    for (name, old, new) in [
        ("listen.public_tls", &old.public.tls, &mut new.public.tls),
        ("listen.staff_tls", &old.staff.tls, &mut new.staff.tls),
    ] {
        // Other files are taken; a listener that speaks TLS goes on speaking it, and one that does not, does not.
        match (old, &*new) {
            (ListenerTls::Off, ListenerTls::Off) | (ListenerTls::Files(_), ListenerTls::Files(_)) => {}
            // The name follows from an address that stays.
            (ListenerTls::Acme(_), ListenerTls::Acme(_)) => new.clone_from(old),
            _ => {
                differ.push(name);
                new.clone_from(old);
            }
        }
    }
    match (&old.acme, &mut new.acme) {
        (Some(old), Some(new)) if old.directory != new.directory => {
            differ.push("acme.directory");
            new.directory.clone_from(&old.directory);
        }
        (Some(_), Some(_)) | (None, None) => {}
        (old, new) => {
            differ.push("acme");
            new.clone_from(old);
        }
    }
    (new, differ)
}

/// The portal with another configuration. What lasts is shared with the one before.
fn portal(before: &Portal, config: &Config) -> Portal {
    let told = outgoing(config);
    Portal {
        providers: providers(config),
        catalogue: config.catalogue.clone(),
        policy: policy(config),
        wake: before.wake.with(concurrencies(config).map(|(name, _)| name)),
        delivery: DeliveryState {
            breakers: before.delivery.breakers.clone(),
            bulkheads: Arc::new(before.delivery.bulkheads.with(concurrencies(config))),
            scanner: scanner(config).map(Arc::new),
        },
        outgoing: Outgoing {
            checkpoints: Checkpoints {
                due: before.outgoing.checkpoints.due.clone(),
                ..told.checkpoints
            },
            outbox_signal: before.outgoing.outbox_signal.clone(),
            slow: before.outgoing.slow.clone(),
            ..told
        },
        backups: before.backups.to(config.backup_recipients.clone()),
        ..before.clone()
    }
}

/// What the listeners show of a configuration. `staff`: where the staff listener is bound.
pub(super) fn configured(
    config: &Config,
    portal: &Arc<Portal>,
    staff: SocketAddr,
    pace: http::body::BodyPace,
    certificates: Vec<http::ObservedCertificate>,
) -> Result<http::Configured, StartError> {
    let limits = config.limits;
    let settings = http::ServerSettings {
        staff_tls: config.staff.tls.is_on(),
        staff_url: config.staff_url.clone(),
        staff_hosts: config.staff_hosts.clone(),
        ..http::ServerSettings::of(&config.public_url, staff)
    };
    Ok(http::Configured {
        portal: portal.clone(),
        sso: config.sso.as_ref().map(|sso| single_sign_on(sso, &settings)).transpose()?,
        settings,
        company: http::Company {
            name: config.company.name.clone(),
            support: config.company.support.clone(),
            purpose: config.company.purpose.clone(),
            legal: config.company.legal.clone(),
            theme: theme(&config.company.brand),
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
            proxies: http::forwarded::Proxies::new(config.trusted_proxies.iter().copied().map(trust).collect(), config.forwarded_header),
            pace,
            api_per_minute: limits.api_per_minute,
        },
        observed: observed(config, certificates),
        request_log: config.request_log,
    })
}

/// What the metrics tell of files and disks.
fn observed(config: &Config, certificates: Vec<http::ObservedCertificate>) -> http::Observed {
    let layout = Layout::of(config);
    http::Observed {
        access: config.metrics.clone(),
        connections: http::listen::at_most(config.workers),
        certificates,
        disks: vec![("data", layout.data), ("erasure", layout.erasure)],
        folders: match layout.kind {
            StoreKind::Embedded => vec![("records", layout.store), ("documents", layout.documents)],
            StoreKind::Postgres => Vec::new(),
        },
    }
}

fn trust(network: Network) -> http::forwarded::Trusted {
    Box::new(move |address| network.contains(address))
}

fn single_sign_on(sso: &SsoSettings, server: &http::ServerSettings) -> Result<SingleSignOn, StartError> {
    let wrong = |key: &str, why: String| StartError::Configuration(vec![ConfigError::new(key, why)]);
    let console = server
        .console()
        .ok_or_else(|| wrong("staff_url", "is needed: single sign-on leads back to it".to_owned()))?;
    SingleSignOn::new(sso.clone(), &console).map_err(|why| wrong("sso.issuer", why))
}

/// How the company's pages look, from what the configuration checked.
fn theme(brand: &crate::config::brand::Brand) -> http::assets::Theme {
    let logo = brand.logo.as_ref().map(|logo| http::assets::Logo {
        media_type: logo.media_type,
        content: logo.content.clone(),
    });
    http::assets::Theme::new(&brand.rules, logo)
}
