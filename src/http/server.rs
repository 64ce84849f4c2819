//! Opens the two listeners, each with its middleware and its routes.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, web};

use crate::storage::sled::SledStore;
use crate::workflow::Portal;
use crate::workflow::refusals::Refusals;
use crate::workflow::sign_in::passkey::Passkeys;
use crate::workflow::sign_in::sso::SingleSignOn;

use super::applicant::{opened, qr, tus, upload};
use super::connections::Connections;
use super::context::{AppState, Company, Limits, ServerSettings};
use super::kept::Kept;
use super::{callback, gate, headers, health, hosts, listen, problem_pages, staff};

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

/// Opens both listeners. Returns at once; the handles stop them.
pub(crate) fn open(listeners: Servers) -> io::Result<Vec<ServerHandle>> {
    let passkeys = listeners.settings.console().and_then(|origin| {
        let made = Passkeys::new(&origin, &listeners.company.name);
        made.inspect_err(|why| tracing::warn!(%why, "no passkeys: set staff_url to the name by which browsers reach the console"))
            .ok()
    });
    let hosts = web::Data::new(hosts::Known::of(&listeners.settings));
    let theme = web::Data::new(listeners.company.theme.clone());
    let state = web::Data::new(AppState {
        passkeys,
        sso: listeners.sso,
        keys: gate::Keys::new(listeners.limits.api_per_minute),
        refusals: Refusals::default(),
        kept: Kept::default(),
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
    let public = server("public", listeners.public).run(move |connections, state| {
        App::new()
            .app_data(state)
            .app_data(theme.clone())
            .app_data(connections)
            .wrap(from_fn(headers::limit_request_head))
            .wrap(headers::public_headers())
            .wrap(from_fn(listen::counted))
            .configure(public_routes)
            .default_service(web::to(upload::no_such_page))
    })?;
    let staff = server("staff", listeners.staff).run(move |connections, state| {
        App::new()
            .app_data(state)
            .app_data(hosts.clone())
            .app_data(connections)
            .wrap(from_fn(hosts::known))
            .wrap(from_fn(headers::limit_request_head))
            .wrap(headers::staff_headers())
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
    qr::routes(routes);
    opened::routes(routes);
    callback::routes(routes);
    health::routes(routes);
    problem_pages::public_routes(routes);
    // Behind everything else that begins like a link.
    upload::late_routes(routes);
}

/// The staff listener.
pub(crate) fn staff_routes(routes: &mut web::ServiceConfig) {
    staff::api::routes(routes);
    health::routes(routes);
    health::metrics_routes(routes);
    problem_pages::staff_routes(routes);
    staff::console::routes(routes);
}
