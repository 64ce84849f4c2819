//! The listeners: the *public* listener (the applicant's page, callbacks) and the *staff* listener (console, API, metrics). actix types stop here.
//!
//! * No route returns a document byte, but for [`staff::console::manual_download`]. GET and HEAD change nothing; only the company's own sign-in comes back by a GET
//!   ([`staff::console::sign_in::sso`]), once, to the browser that left.
//! * `StatusCode` appears in [`error`] only; every answer carries the headers of [`guard`].

mod address;
pub(crate) mod body;
pub(crate) mod callback;
pub(crate) mod connections;
mod encoding;
pub(crate) mod error;
mod extract;
mod form;
pub(crate) mod forwarded;
pub(crate) mod gate;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod listen;
pub(crate) mod multipart;
pub(crate) mod pages;
pub(crate) mod permits;
pub(crate) mod settings;
pub(crate) mod staff;
mod table;
pub(crate) mod tls;
pub(crate) mod tus;
pub(crate) mod upload;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, web};

use connections::Connections;

use crate::domain::agent::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::storage::sled::SledStore;
use crate::words::Words;
use crate::workflow::Portal;
use crate::workflow::refusals::Refusals;
use crate::workflow::sign_in::passkey::Passkeys;
use crate::workflow::sign_in::sso::SingleSignOn;

/// Everything the listeners need, put together once.
pub(crate) struct Servers {
    pub portal: Arc<Portal>,
    pub store: Arc<SledStore>,
    pub settings: ServerSettings,
    pub sso: Option<SingleSignOn>,
    pub company: Company,
    pub limits: Limits,
    pub public: (TcpListener, Option<rustls::ServerConfig>),
    pub staff: (TcpListener, Option<rustls::ServerConfig>),
    /// Threads for each listener; 0: one for each core.
    pub workers: usize,
    /// Seconds that uploads in progress get when the process stops.
    pub shutdown: u64,
}

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
    pub theme: pages::assets::Theme,
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
    pub uploads: permits::UploadLimits,
    pub connections: connections::ConnectionLimits,
    /// Pages that one address may ask for in a minute.
    pub pages_per_address: u32,
    pub proxies: forwarded::Proxies,
    pub pace: body::BodyPace,
    /// Requests of one API key in a minute.
    pub api_per_minute: u32,
}

/// What every handler can reach.
pub(crate) struct AppState {
    pub portal: Arc<Portal>,
    pub store: Arc<SledStore>,
    pub settings: ServerSettings,
    pub company: Company,
    pub gate: gate::Gate,
    pub pace: body::BodyPace,
    pub proxies: forwarded::Proxies,
    /// `None` where the console has no name of its own.
    pub passkeys: Option<Passkeys>,
    pub sso: Option<SingleSignOn>,
    pub keys: gate::Keys,
    pub refusals: Refusals,
    /// What the staff listener answers to.
    pub staff_hosts: hosts::Known,
}

impl AppState {
    /// Tells the audit log that somebody was refused: at most once a minute for each kind.
    pub(crate) async fn refused(&self, by: Actor, action: AuditAction, detail: &[(&str, &str)]) {
        let event = AuditEvent::new(self.portal.now(), by, action);
        let event = detail.iter().fold(event, |event, (name, value)| event.with(name, value));
        self.refusals.note(&self.portal, event).await;
    }
}

/// Opens both listeners. Returns at once; the handles stop them.
pub(crate) fn open(listeners: Servers) -> io::Result<Vec<ServerHandle>> {
    let passkeys = listeners.settings.console().and_then(|origin| {
        let made = Passkeys::new(&origin, &listeners.company.name);
        made.inspect_err(|why| tracing::warn!(%why, "no passkeys: set staff_url to the name by which browsers reach the console"))
            .ok()
    });
    let state = web::Data::new(AppState {
        passkeys,
        sso: listeners.sso,
        keys: gate::Keys::new(listeners.limits.api_per_minute),
        refusals: Refusals::default(),
        staff_hosts: hosts::Known::of(&listeners.settings),
        portal: listeners.portal,
        store: listeners.store,
        settings: listeners.settings,
        company: listeners.company,
        gate: gate::Gate::new(listeners.limits.uploads, listeners.limits.pages_per_address),
        pace: listeners.limits.pace,
        proxies: listeners.limits.proxies,
    });
    let workers = match listeners.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        some => some,
    };
    let server = |name, socket| listen::Server {
        name,
        socket,
        // Each listener counts for itself: a crowd of one is no reason to refuse at the other.
        connections: Connections::new(listeners.limits.connections),
        state: state.clone(),
        workers,
        shutdown: listeners.shutdown,
    };
    let public = server("public", listeners.public).run(|connections, state| {
        App::new()
            .app_data(state)
            .app_data(connections)
            .wrap(from_fn(guard::limit_request_head))
            .wrap(guard::public_headers())
            .wrap(from_fn(listen::counted))
            .configure(public_routes)
            .default_service(web::to(upload::no_such_page))
    })?;
    let staff = server("staff", listeners.staff).run(|connections, state| {
        App::new()
            .app_data(state)
            .app_data(connections)
            .wrap(from_fn(hosts::known))
            .wrap(from_fn(guard::limit_request_head))
            .wrap(guard::staff_headers())
            .wrap(from_fn(listen::counted))
            .configure(staff_routes)
            .default_service(web::to(staff::console::no_such_page))
    })?;
    Ok(vec![public, staff])
}

/// The public listener.
pub(crate) fn public_routes(routes: &mut web::ServiceConfig) {
    upload::routes(routes);
    tus::routes(routes);
    callback::routes(routes);
    health::routes(routes);
    // Behind everything else that begins like a link.
    upload::late_routes(routes);
}

/// The staff listener.
pub(crate) fn staff_routes(routes: &mut web::ServiceConfig) {
    staff::api::routes(routes);
    health::routes(routes);
    health::metrics_routes(routes);
    staff::console::routes(routes);
}
