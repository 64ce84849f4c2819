//! Certificates that the portal fetches from an authority (`src/http/acme.rs`): what is kept is shown at once, what is missing is asked for, and each is renewed at two thirds of its
//! life, or when the authority advises it.
//!
//! A failure ends nothing: the listener goes on with the certificate that it has, or ends handshakes with an alert where it has none, the log says why, and it is tried again after a
//! pause that grows. An authority that asks for a longer pause gets it. Between two certificates of a name there is always a pause, however wrong a clock is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::layout::Layout;
use crate::config::Config;
use crate::crypto::random;
use crate::current::Current;
use crate::http::acme::issue::{Authority, NotIssued, RenewalWindow};
use crate::http::acme::kept::KeptCertificates;
use crate::http::acme::settings::{AcmeSettings, DomainName};
use crate::http::settings::ListenerTls;
use crate::http::tls::{self, Certificate, Challenges, Validity};
use crate::storage::RequestStore;

/// From here on a failed renewal is an error in the log, and before that a warning; of a short-lived certificate from a sixth of its life on.
const SOON: time::Duration = time::Duration::days(14);

/// How often something is done about certificates.
#[derive(Clone, Copy, Debug)]
pub struct FetchPace {
    /// Whether one is due is looked at this often.
    pub look: Duration,
    /// After a failure; each further one doubles it.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// The shortest time between two certificates of a name.
    pub settled: Duration,
    /// Between two questions whether the authority advises to renew.
    pub advice: Duration,
}

impl Default for FetchPace {
    /// Let's Encrypt takes five failed proofs an hour.
    fn default() -> Self {
        Self {
            look: Duration::from_secs(30),
            first_pause: Duration::from_secs(2 * 60),
            longest_pause: Duration::from_secs(6 * 3_600),
            settled: Duration::from_secs(3_600),
            advice: Duration::from_secs(6 * 3_600),
        }
    }
}

impl FetchPace {
    /// After so many failures in a row: doubled each time, and up to half as much again by chance, so that portals that failed together do not come together.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.longest_pause).mul_f64(1.0 + chance() / 2.0)
    }
}

/// From 0 to 1; without random bytes the middle is as good.
fn chance() -> f64 {
    random::array::<2>().map_or(0.5, |bytes| f64::from(u16::from_be_bytes(bytes)) / 65_535.0)
}

/// What the listeners show, and the task that sees to it; dropped, it ends.
pub(super) struct Fetching {
    pub(super) challenges: Arc<Challenges>,
    shown: Vec<FetchedCertificate>,
    settings: Arc<Current<AcmeSettings>>,
    retry: Arc<Notify>,
    task: JoinHandle<()>,
}

/// The certificate of a name, as others see it.
#[derive(Clone)]
pub(super) struct FetchedCertificate {
    name: DomainName,
    pub(super) certificate: Arc<Certificate>,
    /// Tries that failed since the last one that did not.
    pub(super) failures: Arc<AtomicU32>,
}

impl Fetching {
    pub(super) fn begin(config: &Config, acme: &AcmeSettings, clock: Arc<dyn RequestStore>, pace: FetchPace) -> Self {
        let kept = KeptCertificates::of(&Layout::of(config).certificates, &acme.directory);
        let mut shown: Vec<FetchedCertificate> = Vec::new();
        for tls in [&config.public.tls, &config.staff.tls] {
            if let ListenerTls::Acme(name) = tls
                && shown.iter().all(|other| other.name != *name)
            {
                shown.push(FetchedCertificate {
                    name: name.clone(),
                    certificate: kept_certificate(&kept, name),
                    failures: Arc::default(),
                });
            }
        }
        let (challenges, retry) = (Arc::<Challenges>::default(), Arc::<Notify>::default());
        let settings = Arc::new(Current::new(Arc::new(acme.clone())));
        let turns = Turns {
            settings: settings.clone(),
            kept,
            challenges: challenges.clone(),
            clock,
            pace,
        };
        let states = shown.iter().cloned().map(State::new).collect();
        let task = tokio::spawn(turns.run(states, retry.clone()));
        Self {
            challenges,
            shown,
            settings,
            retry,
            task,
        }
    }

    pub(super) fn of(&self, name: &DomainName) -> Option<&FetchedCertificate> {
        self.shown.iter().find(|shown| shown.name == *name)
    }

    /// Other settings from here on. What failed under the ones before is tried again at once.
    pub(super) fn adapt(&self, acme: &AcmeSettings) {
        self.settings.replace(Arc::new(acme.clone()));
        self.retry.notify_one();
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn kept_certificate(kept: &KeptCertificates, name: &DomainName) -> Arc<Certificate> {
    let read = kept.certificate(name).and_then(|pem| pem.map(|pem| tls::parse(&pem)).transpose());
    match read {
        Ok(Some(key)) => Certificate::new(key),
        Ok(None) => Certificate::awaited(),
        Err(why) => {
            let file = kept.certificate_file(name);
            tracing::error!(
                event = "certificate_unusable",
                %name,
                file = %file.display(),
                why,
                "the certificate that was kept cannot be used: another one is fetched"
            );
            Certificate::awaited()
        }
    }
}

/// What every turn needs.
struct Turns {
    settings: Arc<Current<AcmeSettings>>,
    kept: KeptCertificates,
    challenges: Arc<Challenges>,
    clock: Arc<dyn RequestStore>,
    pace: FetchPace,
}

/// How far one name is.
struct State {
    shown: FetchedCertificate,
    /// Nothing is fetched before.
    again: Instant,
    /// The window that the authority advised, and the moment in it that was drawn.
    advised: Option<(RenewalWindow, OffsetDateTime)>,
    ask_again: Instant,
}

impl State {
    fn new(shown: FetchedCertificate) -> Self {
        let now = Instant::now();
        Self {
            shown,
            again: now,
            advised: None,
            ask_again: now,
        }
    }

    fn failures(&self) -> u32 {
        self.shown.failures.load(Ordering::Relaxed)
    }
}

impl Turns {
    async fn run(self, mut states: Vec<State>, retry: Arc<Notify>) {
        loop {
            for state in &mut states {
                self.turn(state).await;
            }
            tokio::select! {
                () = tokio::time::sleep(self.pace.look) => {}
                () = retry.notified() => {
                    for state in states.iter_mut().filter(|state| state.failures() > 0) {
                        state.again = Instant::now();
                    }
                }
            }
        }
    }

    async fn turn(&self, state: &mut State) {
        if Instant::now() < state.again {
            return;
        }
        let settings = self.settings.get();
        let authority = Authority {
            settings: &settings,
            kept: &self.kept,
            challenges: &self.challenges,
        };
        let before = state.shown.certificate.shown();
        if let Some(before) = &before {
            self.ask_for_advice(state, &authority, before).await;
        }
        let validity = state.shown.certificate.validity();
        if validity.is_some_and(|validity| self.clock.now() < due(validity, state.advised.map(|(_, drawn)| drawn))) {
            return;
        }
        // An authority that refuses for the sake of the one before gets a plain order the next time.
        let replaces = before
            .as_ref()
            .filter(|_| state.failures() == 0)
            .and_then(|before| before.cert.first());
        match authority.obtain(&state.shown.name, replaces).await {
            Ok(key) => self.take(state, key),
            Err(failure) => self.fail(state, validity, &failure),
        }
    }

    fn take(&self, state: &mut State, key: CertifiedKey) {
        state.shown.certificate.replace(key);
        state.shown.failures.store(0, Ordering::Relaxed);
        state.again = Instant::now() + self.pace.settled;
        state.ask_again = state.again;
        state.advised = None;
        let ends = state.shown.certificate.validity().map(|validity| validity.end);
        tracing::info!(
            event = "certificate_fetched",
            name = %state.shown.name,
            ends = ends.map(tracing::field::display),
            "a certificate was fetched and is in use from here on"
        );
    }

    fn fail(&self, state: &mut State, validity: Option<Validity>, failure: &NotIssued) {
        let failures = state.shown.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let pause = self.pace.pause(failures).max(failure.come_again.unwrap_or_default());
        state.again = Instant::now() + pause;
        let (name, why, again_in_seconds) = (&state.shown.name, failure.why.as_str(), pause.as_secs());
        match validity {
            None => tracing::error!(
                event = "certificate_not_fetched",
                %name,
                why,
                again_in_seconds,
                "there is no certificate yet: TLS handshakes end with an alert until one is fetched; it is tried again by itself"
            ),
            Some(Validity { begin, end }) if end - self.clock.now() < SOON.min((end - begin) / 6) => tracing::error!(
                event = "certificate_not_fetched",
                %name,
                why,
                again_in_seconds,
                ends = %end,
                "the certificate ends soon and could not be renewed: see to it; it is tried again by itself"
            ),
            Some(Validity { end, .. }) => tracing::warn!(
                event = "certificate_not_fetched",
                %name,
                why,
                again_in_seconds,
                ends = %end,
                "the certificate could not be renewed and is used on; it is tried again by itself"
            ),
        }
    }

    /// Asks whether the authority wants this certificate renewed earlier, as it does before it revokes many.
    async fn ask_for_advice(&self, state: &mut State, authority: &Authority<'_>, shown: &CertifiedKey) {
        let Some(certificate) = shown.cert.first().filter(|_| Instant::now() >= state.ask_again) else {
            return;
        };
        let mut pause = self.pace.advice;
        match authority.renewal_window(certificate).await {
            Ok(None) => state.advised = None,
            Ok(Some((window, wish))) => {
                pause = wish.clamp(pause / 6, pause * 4);
                if state.advised.is_none_or(|(known, _)| known != window) {
                    state.advised = Some((window, window.start + (window.end - window.start) * chance()));
                }
            }
            // The certificate is renewed in time all the same.
            Err(why) => tracing::debug!(name = %state.shown.name, why, "no advice on when to renew the certificate"),
        }
        state.ask_again = Instant::now() + pause;
    }
}

/// When a certificate is to be renewed: at the advised moment, but while a sixth of its life is left; without advice at two thirds.
fn due(validity: Validity, advised: Option<OffsetDateTime>) -> OffsetDateTime {
    let life = validity.end - validity.begin;
    match advised {
        Some(advised) => advised.min(validity.begin + life * 5 / 6),
        None => validity.begin + life * 2 / 3,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_certificate_is_due_at_two_thirds_of_its_life_or_when_it_is_advised_and_never_later_than_five_sixths() {
        let validity = Validity {
            begin: datetime!(2026-01-01 0:00 UTC),
            end: datetime!(2026-04-01 0:00 UTC),
        };
        assert_eq!(due(validity, None), datetime!(2026-03-02 0:00 UTC));
        for (advised, wanted) in [
            (datetime!(2026-01-05 0:00 UTC), datetime!(2026-01-05 0:00 UTC)),
            (datetime!(2026-03-10 0:00 UTC), datetime!(2026-03-10 0:00 UTC)),
            (datetime!(2027-01-01 0:00 UTC), datetime!(2026-03-17 0:00 UTC)),
        ] {
            assert_eq!(due(validity, Some(advised)), wanted);
        }
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_differ() {
        let pace = FetchPace::default();
        for failures in 1..100 {
            let least = pace
                .first_pause
                .saturating_mul(2_u32.saturating_pow(failures - 1))
                .min(pace.longest_pause);
            let drawn: Vec<_> = (0..50).map(|_| pace.pause(failures)).collect();
            assert!(drawn.iter().all(|pause| *pause >= least && *pause <= least * 3 / 2), "{failures}");
            assert!(drawn.iter().any(|pause| pause != &drawn[0]), "{failures}");
        }
        assert_eq!(FetchPace::default().longest_pause, Duration::from_secs(21_600));
    }
}
