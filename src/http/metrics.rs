//! `/metrics`: counts and gauges for Prometheus, on the staff listener only. Names and labels are listed in docs/operations/monitoring.md and stay as they are.
//!
//! A label is a word of the code, of the configuration or of a [`Tally`](crate::workflow::tally::Tally); no id, address or text from outside is ever in one.

mod machine;

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, web};
use subtle::ConstantTimeEq;

use super::error::Problem;
use super::settings::MetricsAccess;
use super::traffic::{BOUNDS, Traffic};
use super::{AppState, ObservedCertificate};
use crate::storage::StorageError;
use crate::storage::backend::Figures;
use crate::version;
use crate::workflow::query::ages;
use crate::workflow::{Portal, blocking};
use machine::Process;

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.route("/metrics", web::get().to(metrics));
}

async fn metrics(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let_in(&state.observed.access, &request)?;
    let mut out = Exposition::default();
    portal(&mut out, &state).await?;
    waiting(&mut out, &state.portal).await?;
    outside(&mut out, &state.portal);
    for traffic in &state.traffic {
        requests(&mut out, traffic);
    }
    machine(&mut out, &state).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(out.finish()))
}

/// With a token, whoever sends it and nobody else.
fn let_in(access: &MetricsAccess, request: &HttpRequest) -> Result<(), Problem> {
    let MetricsAccess::Token(token) = access else { return Ok(()) };
    let line = request.headers().get(AUTHORIZATION).and_then(|line| line.to_str().ok());
    let sent = line
        .and_then(|line| line.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let fits = sent.is_some_and(|(_, sent)| bool::from(sent.trim().as_bytes().ct_eq(token.expose().as_bytes())));
    if fits {
        return Ok(());
    }
    Err(Problem::unauthorized(
        "Send the token of metrics.token_file as \"Authorization: Bearer …\".",
    ))
}

/// Families in the text format, each under one heading, whoever adds to it when.
#[derive(Default)]
struct Exposition(Vec<(String, String)>);

impl Exposition {
    /// Adds lines to a family of ours.
    fn put<V: Display>(&mut self, name: &str, kind: &str, help: &str, lines: &[(String, V)]) {
        self.family(&format!("nightdrop_{name}"), kind, help, lines);
    }

    fn family<V: Display>(&mut self, name: &str, kind: &str, help: &str, lines: &[(String, V)]) {
        let mut text = String::new();
        for (rest, value) in lines {
            let _ = writeln!(text, "{name}{rest} {value}");
        }
        match self
            .0
            .iter_mut()
            .find(|(heading, _)| heading.starts_with(&format!("# HELP {name} ")))
        {
            Some((_, before)) => before.push_str(&text),
            None => self.0.push((format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"), text)),
        }
    }

    fn finish(self) -> String {
        self.0.into_iter().flat_map(|(heading, lines)| [heading, lines]).collect()
    }
}

/// `{name="value",…}`.
fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn one<V: Display>(value: V) -> [(String, V); 1] {
    [(String::new(), value)]
}

/// What a store that is away cannot tell is left out: everything else is wanted most at that moment.
fn known<T>(asked: Result<T, StorageError>) -> Result<Option<T>, Problem> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(StorageError::Busy(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The portal's own counts and states.
async fn portal(out: &mut Exposition, state: &AppState) -> Result<(), Problem> {
    let portal = &state.portal;
    let count = |counter: &AtomicU64| one(counter.load(Ordering::Relaxed));
    let counters = &portal.counters;
    if let Some(states) = known(portal.requests.counts().await)? {
        let states: Vec<_> = states.into_iter().map(|(s, n)| (labels(&[("state", s.as_str())]), n)).collect();
        out.put("requests", "gauge", "Requests by state.", &states);
    }
    out.put(
        "documents_received_total",
        "counter",
        "Complete submissions.",
        &count(&counters.received),
    );
    out.put(
        "document_bytes_received_total",
        "counter",
        "Plaintext bytes sealed and kept.",
        &count(&counters.received_bytes),
    );
    out.put(
        "files_refused_total",
        "counter",
        "Files refused by size, type or structure.",
        &count(&counters.refused),
    );
    out.put(
        "uploads_abandoned_total",
        "counter",
        "Uploads that did not end.",
        &count(&counters.abandoned),
    );
    out.put(
        "deliveries_total",
        "counter",
        "Documents that a provider took.",
        &count(&counters.delivered),
    );
    out.put(
        "delivery_failures_total",
        "counter",
        "Attempts that failed.",
        &count(&counters.failed_attempts),
    );
    out.put(
        "documents_infected_total",
        "counter",
        "Documents in which the scanner found something.",
        &count(&counters.infected),
    );
    out.put(
        "scans_missed_total",
        "counter",
        "Attempts that waited because nobody could scan.",
        &count(&counters.unscanned),
    );
    out.put(
        "purges_total",
        "counter",
        "Documents destroyed with a receipt.",
        &count(&counters.purged),
    );
    out.put(
        "callbacks_refused_total",
        "counter",
        "Callbacks without a valid signature.",
        &count(&counters.callbacks_refused),
    );
    out.put(
        "uploads_running",
        "gauge",
        "Uploads in progress.",
        &one(state.gate.running() as u64),
    );
    out.put(
        "vault_locked",
        "gauge",
        "1 while the vault key is locked and nothing is forwarded.",
        &one(u64::from(portal.keyring.is_locked())),
    );
    out.put(
        "vault_absent",
        "gauge",
        "1 while the vault key's private half is not here and no document is taken.",
        &one(u64::from(portal.keyring.is_absent())),
    );
    out.put(
        "clock_suspect",
        "gauge",
        "1 while the machine's clock is not believed because it jumped; ahead: purging by deadline is suspended, back: everything goes on.",
        &one(u64::from(portal.requests.clock_suspect())),
    );
    out.put(
        "erasure_weakened",
        "gauge",
        "1 when erasing is worth less than it was at start, or the slots file was moved: see the log.",
        &one(u64::from(portal.assurance.is_weakened())),
    );
    out.put(
        "erasure_slots_damaged",
        "gauge",
        "Erasure slots that fail their check and were not destroyed.",
        &one(portal.erasure.damaged().map_or(0, |damaged| damaged.len() as u64)),
    );
    out.put(
        "erasure_slots_free",
        "gauge",
        "Submissions that can still be taken.",
        &one(portal.erasure.free().unwrap_or(0)),
    );
    if portal.backups.are_known() {
        let last = portal.backups.last();
        out.put(
            "last_backup_timestamp_seconds",
            "gauge",
            "When the last complete backup was taken, in seconds since 1970; 0 when none was.",
            &one(last.map_or(0, |at| u64::try_from(at.unix_timestamp()).unwrap_or(0))),
        );
    }
    store(out, state.store.figures());
    let now = portal.now();
    let paused: Vec<_> = portal
        .providers
        .keys()
        .map(|p| {
            (
                labels(&[("provider", p.as_str())]),
                u64::from(portal.delivery.breakers.paused(p, now)),
            )
        })
        .collect();
    out.put(
        "provider_paused",
        "gauge",
        "1 while sending to a provider pauses after failures.",
        &paused,
    );
    let in_progress: Vec<_> = portal
        .providers
        .keys()
        .map(|p| (labels(&[("provider", p.as_str())]), portal.delivery.bulkheads.in_progress(p) as u64))
        .collect();
    out.put(
        "provider_in_progress",
        "gauge",
        "Requests that wait for a provider now; when all of its permits are taken, the others wait.",
        &in_progress,
    );
    Ok(())
}

/// The store's own counts.
fn store(out: &mut Exposition, figures: Figures) {
    let acknowledged = |out: &mut Exposition, n: u64| {
        let help = "Commits that were answered after their sync.";
        out.put("store_acknowledged_total", "counter", help, &one(n));
    };
    let database = match figures {
        Figures::Embedded { acknowledged: n, flushes } => {
            acknowledged(out, n);
            return out.put("store_flushes_total", "counter", "Syncs that answered them.", &one(flushes));
        }
        Figures::Database(database) => database,
    };
    acknowledged(out, database.commits);
    out.put(
        "database_up",
        "gauge",
        "1 while this portal holds its database; without it nothing is taken in, sent or purged.",
        &one(u64::from(database.held)),
    );
    out.put(
        "database_connections",
        "gauge",
        "Connections that are open.",
        &one(database.connections),
    );
    out.put(
        "database_waiting",
        "gauge",
        "Operations that wait for a connection.",
        &one(database.waiting),
    );
    out.put(
        "database_retries_total",
        "counter",
        "Transactions that others, or a broken connection, have rolled back and that were tried again.",
        &one(database.retries),
    );
    out.put(
        "database_unknown_commits_total",
        "counter",
        "Commits of which the database did not say whether they happened.",
        &one(database.unknown),
    );
}

/// What waits, and since when.
async fn waiting(out: &mut Exposition, portal: &Portal) -> Result<(), Problem> {
    if let Some(ages) = known(ages::load(portal).await)? {
        out.put(
            "oldest_undelivered_seconds",
            "gauge",
            "Age of the oldest document that no provider has; 0 where there is none.",
            &one(ages.undelivered.as_seconds_f64()),
        );
        out.put(
            "oldest_attention_seconds",
            "gauge",
            "Since when the oldest of the requests that need attention waits for a person; 0 where there is none.",
            &one(ages.attention.as_seconds_f64()),
        );
    }
    if let Some(outcomes) = known(portal.requests.outcomes().await)? {
        let outcomes: Vec<_> = outcomes.into_iter().map(|(o, n)| (labels(&[("outcome", o.as_str())]), n)).collect();
        out.put("request_outcomes", "gauge", "Requests by what has become of them.", &outcomes);
    }
    out.put(
        "rows_altered",
        "gauge",
        "Stored rows that were changed behind the portal's back.",
        &one(portal.altered.all().len()),
    );
    let used = portal.erasure.live().map_or(0, |live| live.len());
    out.put("erasure_slots_used", "gauge", "Erasure slots that hold a secret.", &one(used));
    Ok(())
}

/// What went to others, and who was refused.
fn outside(out: &mut Exposition, portal: &Portal) {
    let counters = &portal.counters;
    let attempts = counters.attempts.all();
    let attempts: Vec<_> = attempts
        .iter()
        .map(|([provider, code], n)| (labels(&[("provider", provider), ("code", code)]), *n))
        .collect();
    out.put(
        "delivery_attempts_total",
        "counter",
        "Attempts to hand a document to a provider, by how they ended: ok, or the problem's code.",
        &attempts,
    );
    let dispatches = counters.dispatches.all();
    let dispatches: Vec<_> = dispatches
        .iter()
        .map(|([channel, receiver, outcome], n)| {
            let words = [("channel", channel.as_str()), ("receiver", receiver), ("outcome", outcome)];
            (labels(&words), *n)
        })
        .collect();
    out.put(
        "dispatches_total",
        "counter",
        "Tries to send a webhook or a mail: sent, again (tried later), failed (given up) or dropped (not needed any more).",
        &dispatches,
    );
    let refused: Vec<_> = counters.refusals.all();
    let refused: Vec<_> = refused.iter().map(|([what], n)| (labels(&[("what", what)]), *n)).collect();
    out.put(
        "access_refused_total",
        "counter",
        "People and machines that were refused, by the action of the audit log.",
        &refused,
    );
    let scanner = portal.delivery.scanner.iter();
    let unfit: Vec<_> = scanner.map(|scanner| (String::new(), u64::from(scanner.is_unfit()))).collect();
    out.put(
        "scanner_unfit",
        "gauge",
        "1 while the scanner that is required is not fit and nothing leaves; no line where none is required.",
        &unfit,
    );
}

/// The requests of one listener.
fn requests(out: &mut Exposition, traffic: &Traffic) {
    let (mut classes, mut durations) = (Vec::new(), Vec::new());
    for (pattern, route) in traffic.routes() {
        let of = [("listener", traffic.listener), ("route", pattern.as_str())];
        for (class, n) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(route.classes) {
            if n > 0 {
                classes.push((labels(&[of[0], of[1], ("class", class)]), n));
            }
        }
        let mut so_far = 0;
        for ((bound, _), n) in BOUNDS.iter().zip(route.within) {
            so_far += n;
            durations.push((format!("_bucket{}", labels(&[of[0], of[1], ("le", bound)])), so_far.to_string()));
        }
        let all = route.count();
        durations.push((format!("_bucket{}", labels(&[of[0], of[1], ("le", "+Inf")])), all.to_string()));
        durations.push((format!("_sum{}", labels(&of)), route.took.as_secs_f64().to_string()));
        durations.push((format!("_count{}", labels(&of)), all.to_string()));
    }
    out.put(
        "http_requests_total",
        "counter",
        "Requests by listener, pattern of the route and class of the status.",
        &classes,
    );
    out.put(
        "http_request_duration_seconds",
        "histogram",
        "From the end of a request's head to the beginning of its answer; for uploads that is the upload.",
        &durations,
    );
}

/// The machine, the disk and the program.
async fn machine(out: &mut Exposition, state: &AppState) -> Result<(), Problem> {
    let layout = state.portal.backups.layout().to_string();
    let build = labels(&[("version", version::VERSION), ("commit", version::COMMIT), ("layout", &layout)]);
    out.put(
        "build_info",
        "gauge",
        "1; the labels tell version, commit and data layout.",
        &[(build, 1)],
    );
    let (disks, folders) = (state.observed.disks.clone(), state.observed.folders.clone());
    let certificates = state.observed.certificates.clone();
    let failed = |of: &ObservedCertificate| {
        let failures = of.failures.as_ref()?.load(Ordering::Relaxed);
        Some((labels(&[("listener", of.listener)]), i64::from(failures)))
    };
    let failures: Vec<_> = certificates.iter().filter_map(failed).collect();
    let (ends, process, rooms, sizes) = blocking(move || {
        let end = |of: &ObservedCertificate| {
            let ends = of.certificate.validity()?.end;
            Some((labels(&[("listener", of.listener)]), ends.unix_timestamp()))
        };
        let ends: Vec<_> = certificates.iter().filter_map(end).collect();
        let rooms: Vec<_> = disks.iter().map(|(name, folder)| (*name, machine::room(folder))).collect();
        let sizes: Vec<_> = folders.iter().map(|(name, folder)| (*name, machine::size(folder))).collect();
        (ends, Process::read(), rooms, sizes)
    })
    .await?;
    out.put(
        "certificate_end_timestamp_seconds",
        "gauge",
        "When the first certificate of a listener's chain ends.",
        &ends,
    );
    out.put(
        "certificate_failures",
        "gauge",
        "Tries to fetch a listener's certificate that have failed since the last one that did not.",
        &failures,
    );
    let rooms: Vec<_> = rooms.into_iter().filter_map(|(name, room)| Some((name, room?))).collect();
    let of = |which: fn((u64, u64)) -> u64| -> Vec<_> {
        let lines = rooms.iter().map(|(name, room)| (labels(&[("folder", name)]), which(*room)));
        lines.collect()
    };
    out.put(
        "disk_free_bytes",
        "gauge",
        "What the portal may still use of the file system of a folder.",
        &of(|(free, _)| free),
    );
    out.put(
        "disk_size_bytes",
        "gauge",
        "The whole file system of a folder.",
        &of(|(_, whole)| whole),
    );
    let sizes: Vec<_> = sizes.iter().map(|(name, bytes)| (labels(&[("folder", name)]), *bytes)).collect();
    out.put(
        "store_bytes",
        "gauge",
        "What records and sealed documents take on the disk.",
        &sizes,
    );
    let Some(process) = process else { return Ok(()) };
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        out.family(&format!("process_{name}"), kind, help, &one(value));
    };
    put("start_time_seconds", "gauge", "Start of the process since 1970.", process.started);
    put("cpu_seconds_total", "counter", "Time on processors.", process.cpu_seconds);
    put("resident_memory_bytes", "gauge", "Memory in use.", process.resident as f64);
    put(
        "virtual_memory_bytes",
        "gauge",
        "Memory that was asked for.",
        process.virtual_bytes as f64,
    );
    put("open_fds", "gauge", "Open files and connections.", process.open_files as f64);
    if let Some(limit) = process.open_files_limit {
        put("max_fds", "gauge", "Open files and connections that there may be.", limit as f64);
    }
    Ok(())
}
