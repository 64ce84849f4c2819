//! What every handler can reach: the portal, how the listeners are reached, who the company is, and the limits. It knows no handler.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use actix_web::web;

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::backend::Backend;
use crate::words::Words;
use crate::workflow::Portal;
use crate::workflow::link_message::Sender;
use crate::workflow::refusals::Refusals;
use crate::workflow::sign_in::passkey::Passkeys;
use crate::workflow::sign_in::sso::SingleSignOn;

use super::connections::ConnectionLimits;
use super::forwarded::Proxies;
use super::gate::{Gate, Keys};
use crate::http::assets::Theme;
use crate::http::body::BodyPace;
use crate::http::check::Checks;
use crate::http::kept::Kept;
use crate::http::permits::UploadLimits;
use crate::http::settings::{MetricsAccess, RequestLog};
use crate::http::tls::Certificate;
use crate::http::traffic::Traffic;

#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    /// Cookies get `Secure` and the `__Host-` prefix: only without TLS on this very machine they do not.
    pub secure: bool,
    pub public_url: String,
    pub staff: SocketAddr,
    /// The staff listener speaks TLS itself.
    pub staff_tls: bool,
    /// How browsers reach the console, when the configuration says so.
    pub staff_url: Option<String>,
    /// More hosts that the staff listener answers to.
    pub staff_hosts: Vec<String>,
}

impl ServerSettings {
    pub(crate) fn of(public_url: &str, staff: SocketAddr) -> Self {
        Self {
            secure: public_url.starts_with("https://"),
            public_url: public_url.to_owned(),
            staff,
            staff_tls: false,
            staff_url: None,
            staff_hosts: Vec::new(),
        }
    }

    /// The console's own origin; on this machine alone it is reached by the machine's own name.
    pub(crate) fn console(&self) -> Option<String> {
        let here = || self.staff.ip().is_loopback().then(|| address_of(self.staff, self.staff_tls));
        self.staff_url.clone().or_else(here)
    }

    /// The name of a cookie that only this host may set and read.
    pub(crate) fn cookie(&self, name: &str) -> String {
        if self.secure {
            format!("__Host-{name}")
        } else {
            format!("nightdrop-{name}")
        }
    }
}

/// Where a browser finds the console that listens here. On this machine alone that is the machine's own name: passkeys know no bare addresses.
pub(crate) fn address_of(staff: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    match staff.ip().is_loopback() {
        true => format!("{scheme}://localhost:{}", staff.port()),
        false => format!("{scheme}://{staff}"),
    }
}

/// Who asks, as the applicant reads it. Texts stand by language tag.
#[derive(Clone, Debug, Default)]
pub struct Company {
    pub name: String,
    pub support: Option<String>,
    pub purpose: BTreeMap<String, String>,
    pub legal: BTreeMap<String, String>,
    pub theme: Theme,
}

impl Company {
    /// Why documents are asked for, in the company's words.
    pub fn purpose_in(&self, words: &Words) -> Option<&str> {
        in_language(&self.purpose, words)
    }

    pub fn legal_in(&self, words: &Words) -> Option<&str> {
        in_language(&self.legal, words)
    }
}

/// A company's text in the page's language, else in English, else in the first that there is.
fn in_language<'a>(texts: &'a BTreeMap<String, String>, words: &Words) -> Option<&'a str> {
    [words.tag, "en"]
        .into_iter()
        .find_map(|tag| texts.get(tag))
        .or_else(|| texts.values().next())
        .map(String::as_str)
}

pub(crate) struct Limits {
    pub uploads: UploadLimits,
    pub connections: ConnectionLimits,
    /// Pages that one address may ask for in a minute.
    pub pages_per_address: u32,
    pub proxies: Proxies,
    pub pace: BodyPace,
    /// Requests of one API key in a minute.
    pub api_per_minute: u32,
}

/// The certificate of a listener, as the metrics tell of it.
#[derive(Clone)]
pub(crate) struct ObservedCertificate {
    pub listener: &'static str,
    pub certificate: Arc<Certificate>,
    /// Tries that failed since the last one that did not, where the portal fetches it.
    pub failures: Option<Arc<AtomicU32>>,
}

/// What the metrics tell beside the portal's own counts.
pub(crate) struct Observed {
    pub access: MetricsAccess,
    /// Of the listeners that speak TLS.
    pub certificates: Vec<ObservedCertificate>,
    /// Folders whose file systems must not become full.
    pub disks: Vec<(&'static str, PathBuf)>,
    /// Connections that may be open at once.
    pub connections: usize,
    /// Folders that grow.
    pub folders: Vec<(&'static str, PathBuf)>,
}

/// What every handler can reach.
pub(crate) struct AppState {
    pub portal: Arc<Portal>,
    pub store: Arc<dyn Backend>,
    pub settings: ServerSettings,
    pub company: Company,
    pub gate: Gate,
    pub pace: BodyPace,
    pub proxies: Proxies,
    /// `None` where the console has no name of its own.
    pub passkeys: Option<Passkeys>,
    pub sso: Option<SingleSignOn>,
    pub keys: Arc<Keys>,
    pub refusals: Arc<Refusals>,
    pub checks: Arc<Checks>,
    pub kept: Arc<Kept>,
    pub observed: Observed,
    pub request_log: RequestLog,
    /// One for each listener.
    pub traffic: [Arc<Traffic>; 2],
}

/// As handlers get it.
pub(crate) type State = web::Data<AppState>;

impl AppState {
    /// Who asks, as messages name them.
    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender {
            company: &self.company.name,
            support: self.company.support.as_deref(),
        }
    }

    /// Tells the audit log that somebody was refused: at most once a minute for each kind.
    pub(crate) async fn refused(&self, by: Actor, action: AuditAction, detail: &[(&str, &str)]) {
        self.portal.counters.refusals.add([action.as_str()]);
        let event = AuditEvent::new(self.portal.now(), by, action);
        let event = detail.iter().fold(event, |event, (name, value)| event.with(name, value));
        self.refusals.note(&self.portal, event).await;
    }
}
