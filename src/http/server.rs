//! Opens the two listeners, each with its middleware and its routes.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, web};

use super::applicant::{check_upload, opened, qr, tus, upload};
use super::front::Front;
use super::{access_log, callback, headers, health, hosts, listen, metrics, problem_pages, staff, standing};

/// Everything the listeners need, put together once.
pub(crate) struct Servers {
    /// What requests see of the configuration, which may be read again while they come.
    pub front: Arc<Front>,
    pub public: (TcpListener, Option<rustls::ServerConfig>),
    pub staff: (TcpListener, Option<rustls::ServerConfig>),
    /// Threads for each listener; 0: one for each core.
    pub workers: usize,
    /// Seconds that uploads in progress get when the process stops.
    pub shutdown: u64,
}

/// Opens both listeners. Returns at once; the handles stop them.
pub(crate) fn open(listeners: Servers) -> io::Result<Vec<ServerHandle>> {
    let front = listeners.front;
    let [public_traffic, staff_traffic] = front.traffic.clone().map(web::Data::from);
    let workers = listen::threads(listeners.workers);
    let server = |name, socket, connections| listen::Server {
        name,
        socket,
        connections,
        front: front.clone(),
        workers,
        shutdown: listeners.shutdown,
    };
    let public = server("public", listeners.public, front.public.clone()).run(move |connections, front| {
        App::new()
            .app_data(front)
            .app_data(connections)
            .app_data(public_traffic.clone())
            .wrap(from_fn(headers::limit_request_head))
            .wrap(headers::public_headers())
            .wrap(from_fn(access_log::observed))
            .wrap(from_fn(listen::counted))
            .configure(public_routes)
            .default_service(web::to(upload::no_such_page))
    })?;
    let staff = server("staff", listeners.staff, front.staff.clone()).run(move |connections, front| {
        App::new()
            .app_data(front)
            .app_data(connections)
            .app_data(staff_traffic.clone())
            .wrap(from_fn(hosts::known))
            .wrap(from_fn(headers::limit_request_head))
            .wrap(headers::staff_headers())
            .wrap(from_fn(access_log::observed))
            .wrap(from_fn(listen::counted))
            .configure(staff_routes)
            .default_service(web::to(staff::console::no_such_page))
    })?;
    Ok(vec![public, staff])
}

/// The public listener.
pub(crate) fn public_routes(routes: &mut web::ServiceConfig) {
    // Before the links, whose addresses it looks like.
    check_upload::routes(routes);
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
    standing::staff_routes(routes);
    health::routes(routes);
    metrics::routes(routes);
    problem_pages::staff_routes(routes);
    staff::console::routes(routes);
}
