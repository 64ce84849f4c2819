//! What a request sees of the configuration: taken once when the request begins, and kept to its end, however often the configuration is read again meanwhile.

use std::sync::Arc;

use actix_web::dev::{Extensions, ServiceRequest};
use actix_web::web;

use super::assets::Theme;
use super::check::Checks;
use super::connections::{ConnectionLimits, Connections};
use super::context::{AppState, Company, Limits, Observed, ServerSettings};
use super::gate::{Gate, Keys};
use super::hosts::Known;
use super::kept::Kept;
use super::settings::RequestLog;
use super::traffic::Traffic;
use crate::current::Current;
use crate::storage::backend::Backend;
use crate::workflow::Portal;
use crate::workflow::refusals::Refusals;
use crate::workflow::sign_in::passkey::Passkeys;
use crate::workflow::sign_in::sso::SingleSignOn;

/// What the configuration decides about both listeners.
pub(crate) struct Configured {
    pub portal: Arc<Portal>,
    pub settings: ServerSettings,
    pub sso: Option<SingleSignOn>,
    pub company: Company,
    pub limits: Limits,
    pub observed: Observed,
    pub request_log: RequestLog,
}

/// One configuration as requests see it.
pub(crate) struct Seen {
    pub state: web::Data<AppState>,
    theme: web::Data<Theme>,
    hosts: web::Data<Known>,
}

/// The present configuration, and what lasts.
pub(crate) struct Front {
    seen: Current<Seen>,
    /// Each listener counts for itself: a crowd of one is no reason to refuse at the other.
    pub public: Arc<Connections>,
    pub staff: Arc<Connections>,
    /// What came to each of them.
    pub traffic: [Arc<Traffic>; 2],
}

impl Front {
    pub(crate) fn new(configured: Configured, store: Arc<dyn Backend>) -> Arc<Self> {
        let limits = &configured.limits;
        let traffic = ["public", "staff"].map(|name| Arc::new(Traffic::new(name)));
        let lasting = Lasting {
            traffic: traffic.clone(),
            gate: Gate::new(limits.uploads, limits.pages_per_address),
            keys: Arc::new(Keys::new(limits.api_per_minute)),
            refusals: Arc::default(),
            checks: Arc::default(),
            kept: Arc::default(),
            store,
        };
        let connections = limits.connections;
        Arc::new(Self {
            seen: Current::new(Arc::new(Seen::of(configured, lasting, |made| made, |made| made))),
            public: Connections::new(connections),
            staff: Connections::new(connections),
            traffic,
        })
    }

    /// For requests that begin from here on. Uploads that run still count, and what people have begun they can end.
    pub(crate) fn replace(&self, configured: Configured) {
        let before = self.seen.get();
        let before = &before.state;
        let limits = &configured.limits;
        let connections: ConnectionLimits = limits.connections;
        let lasting = Lasting {
            traffic: self.traffic.clone(),
            gate: before.gate.with(limits.uploads, limits.pages_per_address),
            keys: before.keys.with(limits.api_per_minute),
            refusals: before.refusals.clone(),
            checks: before.checks.clone(),
            kept: before.kept.clone(),
            store: before.store.clone(),
        };
        let passkeys = |made: Passkeys| match &before.passkeys {
            Some(before) => made.after(before),
            None => made,
        };
        let sso = |made: SingleSignOn| match &before.sso {
            Some(before) => made.after(before),
            None => made,
        };
        self.seen.replace(Arc::new(Seen::of(configured, lasting, passkeys, sso)));
        self.public.change(connections);
        self.staff.change(connections);
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        self.seen.get()
    }
}

/// What goes on from one configuration to the next.
struct Lasting {
    traffic: [Arc<Traffic>; 2],
    gate: Gate,
    keys: Arc<Keys>,
    refusals: Arc<Refusals>,
    checks: Arc<Checks>,
    kept: Arc<Kept>,
    store: Arc<dyn Backend>,
}

impl Seen {
    fn of(
        configured: Configured,
        lasting: Lasting,
        passkeys: impl FnOnce(Passkeys) -> Passkeys,
        sso: impl FnOnce(SingleSignOn) -> SingleSignOn,
    ) -> Self {
        let Configured {
            portal,
            settings,
            sso: made,
            company,
            limits,
            observed,
            request_log,
        } = configured;
        let found = settings.console().and_then(|origin| {
            let made = Passkeys::new(&origin, &company.name);
            made.inspect_err(|why| tracing::warn!(%why, "no passkeys: set staff_url to the name by which browsers reach the console"))
                .ok()
        });
        Self {
            theme: web::Data::new(company.theme.clone()),
            hosts: web::Data::new(Known::of(&settings)),
            state: web::Data::new(AppState {
                portal,
                store: lasting.store,
                settings,
                company,
                gate: lasting.gate,
                pace: limits.pace,
                proxies: limits.proxies,
                passkeys: found.map(passkeys),
                sso: made.map(sso),
                keys: lasting.keys,
                refusals: lasting.refusals,
                checks: lasting.checks,
                kept: lasting.kept,
                observed,
                request_log,
                traffic: lasting.traffic,
            }),
        }
    }

    /// Puts it before everything that handles this request.
    pub(crate) fn show(&self, request: &mut ServiceRequest) {
        let mut seen = Extensions::new();
        seen.insert(self.state.clone());
        seen.insert(self.theme.clone());
        seen.insert(self.hosts.clone());
        request.add_data_container(std::rc::Rc::new(seen));
    }
}
