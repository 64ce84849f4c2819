//! `/healthz`: the process answers and its store is not dead. `/readyz`: it can take uploads, proved by a write. `/metrics`: counts for Prometheus, on the staff listener only, without any id.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use actix_web::{HttpResponse, web};

use super::AppState;
use super::error::Problem;
use crate::chain::chain;
use crate::workflow::{blocking, vault};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(look_only("/healthz").route(web::get().to(healthy)).route(web::head().to(healthy)))
        .service(look_only("/readyz").route(web::get().to(ready)).route(web::head().to(ready)));
}

pub(crate) fn metrics_routes(routes: &mut web::ServiceConfig) {
    routes.route("/metrics", web::get().to(metrics));
}

fn look_only(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) }))
}

async fn healthy(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    state.store.alive()?;
    Ok(HttpResponse::Ok().content_type("text/plain").body("ok\n"))
}

/// 200 once uploads can be taken: a free erasure slot, room on the disk, a store that reads and writes. A vault that waits for its passphrase is ready; one whose private key is not there is not.
async fn ready(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let portal = &state.portal;
    portal.requests.next_due(crate::storage::WorkQueues::All).await?;
    vault::can_take(portal)?;
    if portal.erasure.free().map_or(true, |free| free == 0) {
        return Err(Problem::full(
            "No erasure slot is free: documents are held and not delivered. See `nightdrop doctor`.",
        ));
    }
    let erasure = portal.erasure.clone();
    if let Err(error) = blocking(move || erasure.ready()).await? {
        tracing::error!(error = %chain(&error), "not ready: the slots file does not take a write");
        return Err(Problem::unavailable("The erasure slots cannot be written at the moment. See the log.").after(10));
    }
    if !portal.blobs.room_for(portal.policy.max_file) {
        return Err(Problem::full("The disk is nearly full. See `nightdrop doctor`."));
    }
    if let Err(why) = state.store.proves_writing().await {
        tracing::warn!(why = %chain(&why), "not ready: the store is not known to take writes");
        return Err(Problem::unavailable("The store does not take writes at the moment. See the log.").after(10));
    }
    let forwarding = if portal.keyring.is_locked() { "locked" } else { "open" };
    Ok(HttpResponse::Ok()
        .content_type("text/plain")
        .body(format!("ready\nforwarding: {forwarding}\n")))
}

async fn metrics(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let portal = &state.portal;
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, lines: &[(String, u64)]| {
        let _ = write!(text, "# HELP nightdrop_{name} {help}\n# TYPE nightdrop_{name} {kind}\n");
        for (labels, value) in lines {
            let _ = writeln!(text, "nightdrop_{name}{labels} {value}");
        }
    };
    let one = |value: u64| vec![(String::new(), value)];
    let count = |counter: &std::sync::atomic::AtomicU64| one(counter.load(Ordering::Relaxed));
    let counters = &portal.counters;
    let states: Vec<_> = portal
        .requests
        .counts()
        .await?
        .into_iter()
        .map(|(s, n)| (format!("{{state=\"{}\"}}", s.as_str()), n))
        .collect();
    put("requests", "gauge", "Requests by state.", &states);
    put(
        "documents_received_total",
        "counter",
        "Complete submissions.",
        &count(&counters.received),
    );
    put(
        "document_bytes_received_total",
        "counter",
        "Plaintext bytes sealed and kept.",
        &count(&counters.received_bytes),
    );
    put(
        "files_refused_total",
        "counter",
        "Files refused by size, type or structure.",
        &count(&counters.refused),
    );
    put(
        "uploads_abandoned_total",
        "counter",
        "Uploads that did not end.",
        &count(&counters.abandoned),
    );
    put(
        "deliveries_total",
        "counter",
        "Documents that a provider took.",
        &count(&counters.delivered),
    );
    put(
        "delivery_failures_total",
        "counter",
        "Attempts that failed.",
        &count(&counters.failed_attempts),
    );
    put(
        "documents_infected_total",
        "counter",
        "Documents in which the scanner found something.",
        &count(&counters.infected),
    );
    put(
        "scans_missed_total",
        "counter",
        "Attempts that waited because nobody could scan.",
        &count(&counters.unscanned),
    );
    put(
        "purges_total",
        "counter",
        "Documents destroyed with a receipt.",
        &count(&counters.purged),
    );
    put(
        "callbacks_refused_total",
        "counter",
        "Callbacks without a valid signature.",
        &count(&counters.callbacks_refused),
    );
    put(
        "uploads_running",
        "gauge",
        "Uploads in progress.",
        &one(state.gate.running() as u64),
    );
    put(
        "vault_locked",
        "gauge",
        "1 while the vault key is locked and nothing is forwarded.",
        &one(u64::from(portal.keyring.is_locked())),
    );
    put(
        "vault_absent",
        "gauge",
        "1 while the vault key's private half is not here and no document is taken.",
        &one(u64::from(portal.keyring.is_absent())),
    );
    put(
        "clock_suspect",
        "gauge",
        "1 while the machine's clock is not believed because it jumped; ahead: purging by deadline is suspended, back: everything goes on.",
        &one(u64::from(portal.requests.clock_suspect())),
    );
    put(
        "erasure_weakened",
        "gauge",
        "1 when erasing is worth less than it was at start, or the slots file was moved: see the log.",
        &one(u64::from(portal.assurance.is_weakened())),
    );
    put(
        "erasure_slots_damaged",
        "gauge",
        "Erasure slots that fail their check and were not destroyed.",
        &one(portal.erasure.damaged().map_or(0, |damaged| damaged.len() as u64)),
    );
    put(
        "erasure_slots_free",
        "gauge",
        "Submissions that can still be taken.",
        &one(portal.erasure.free().unwrap_or(0)),
    );
    put(
        "last_backup_timestamp_seconds",
        "gauge",
        "When the last complete backup was taken, in seconds since 1970; 0 when none was.",
        &one(portal
            .backups
            .last()
            .map_or(0, |at| u64::try_from(at.unix_timestamp()).unwrap_or(0))),
    );
    let store = state.store.metrics();
    put(
        "store_acknowledged_total",
        "counter",
        "Commits that were answered after their sync.",
        &one(store.acknowledged),
    );
    put("store_flushes_total", "counter", "Syncs that answered them.", &one(store.flushes));
    let now = portal.now();
    let paused: Vec<_> = portal
        .providers
        .keys()
        .map(|p| (format!("{{provider=\"{p}\"}}"), u64::from(portal.delivery.breakers.paused(p, now))))
        .collect();
    put(
        "provider_paused",
        "gauge",
        "1 while sending to a provider pauses after failures.",
        &paused,
    );
    let in_progress: Vec<_> = portal
        .providers
        .keys()
        .map(|p| (format!("{{provider=\"{p}\"}}"), portal.delivery.bulkheads.in_progress(p) as u64))
        .collect();
    put(
        "provider_in_progress",
        "gauge",
        "Requests that wait for a provider now; when all of its permits are taken, the others wait.",
        &in_progress,
    );
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text))
}
