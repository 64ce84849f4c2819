//! What turns without being asked: deliveries, confirmations, expiries, purges, the destruction of what was given up, the sweep, and what is told to others.
//!
//! [`step`] does one thing and says whether there may be more; the loop around it is dull. Work is found by when it is due, so a quiet portal costs one look.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::chain::{Cause, chain};
use crate::failpoint::{self, Failpoint};
use crate::storage::StorageError;
use crate::workflow::intake::discard;
use crate::workflow::{Portal, WorkflowError, delivery, outgoing, purge, sweep};

/// Requests worked on at once: a slow provider must not hold up the others.
const HANDS: usize = 8;
/// Tasks that destroy what was given up: apart from the others, which may all wait for a provider.
const CLEANERS: usize = 2;
/// Messages sent at once: a slow receiver must not hold up the others.
const COURIERS: usize = 4;
/// The longest sleep between two looks, so that a clock that moves is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);
const AFTER_ERROR: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more.
    Done,
    /// Nothing is due.
    Idle,
}

/// Destroys what was given up, if there is anything; else takes the request that has been due longest and does its next step.
pub async fn step(portal: &Arc<Portal>) -> Result<Step, WorkflowError> {
    if discard::step(portal).await? {
        return Ok(Step::Done);
    }
    deliver(portal).await
}

/// Destroys what was given up until nothing of it is due. What fails is told in the log and tried again by the worker.
pub async fn clean(portal: &Portal) {
    loop {
        match discard::step(portal).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "uploads that were given up are not destroyed yet; this is tried again");
                return;
            }
        }
    }
}

async fn deliver(portal: &Arc<Portal>) -> Result<Step, WorkflowError> {
    let until = portal.now() + delivery::LEASE;
    match portal.requests.claim_due(until).await? {
        None => Ok(Step::Idle),
        Some(request) => {
            failpoint::pass(Failpoint::Leased);
            delivery::step(portal, request).await?;
            Ok(Step::Done)
        }
    }
}

/// The running worker; stopping lets every hand finish its present step.
pub struct Worker {
    stop: tokio::sync::watch::Sender<bool>,
    hands: Vec<tokio::task::JoinHandle<()>>,
}

impl Worker {
    pub fn start(portal: &Arc<Portal>) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut hands: Vec<_> = (0..HANDS)
            .map(|_| tokio::spawn(delivery_worker(portal.clone(), stopped.clone())))
            .collect();
        hands.extend((0..CLEANERS).map(|_| tokio::spawn(cleaner(portal.clone(), stopped.clone()))));
        hands.push(tokio::spawn(announcer(portal.clone(), stopped.clone())));
        hands.extend((0..COURIERS).map(|_| tokio::spawn(dispatcher(portal.clone(), stopped.clone()))));
        hands.push(tokio::spawn(sweeper(portal.clone(), stopped)));
        Self { stop, hands }
    }

    /// Waits for the steps in progress, at most `patience`; a lease that is left behind runs out by itself.
    pub async fn stop(self, patience: Duration) {
        self.stop.send_replace(true);
        let all = async {
            for hand in self.hands {
                // A panicked hand has been reported by the panic hook; the others still count.
                let _ = hand.await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("stopped while a provider was still being talked to; the attempt is looked into at the next start");
        }
    }
}

async fn delivery_worker(portal: Arc<Portal>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    while !*stopped.borrow() {
        // In a task of its own: a step that panics costs one lease, not one of the workers.
        let turn = portal.clone();
        let done = tokio::spawn(async move { deliver(&turn).await }).await;
        let pause = match done.unwrap_or_else(|panic| Err(WorkflowError::Internal(Cause::new(panic)))) {
            Ok(Step::Done) => continue,
            Ok(Step::Idle) => until(&portal, portal.requests.next_due().await),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a step failed and will be repeated");
                AFTER_ERROR
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = portal.wake.notified() => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn cleaner(portal: Arc<Portal>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let turn = portal.clone();
        let done = tokio::spawn(async move { discard::step(&turn).await }).await;
        let pause = match done.unwrap_or_else(|panic| Err(WorkflowError::Internal(Cause::new(panic)))) {
            Ok(true) => {
                // Perhaps there is more: another one may look while this one destroys.
                portal.intake.cleanup.due.notify_one();
                continue;
            }
            Ok(false) => until(&portal, discard::next(&portal).await),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "uploads that were given up are not destroyed yet; this is tried again");
                AFTER_ERROR
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = portal.intake.cleanup.due.notified() => {}
            _ = stopped.changed() => {}
        }
    }
}

/// Until something is due.
fn until(portal: &Portal, next: Result<Option<OffsetDateTime>, StorageError>) -> Duration {
    match next {
        Ok(Some(at)) => Duration::try_from(at - portal.now())
            .unwrap_or_default()
            .clamp(SHORTEST_SLEEP, LONGEST_SLEEP),
        Ok(None) => LONGEST_SLEEP,
        Err(_) => AFTER_ERROR,
    }
}

/// Queues what is to be told; one of these, since it follows one log.
async fn announcer(portal: Arc<Portal>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let turn = portal.clone();
        let told = tokio::spawn(async move { outgoing::tell(&turn).await }).await;
        let pause = match told.unwrap_or_else(|panic| Err(WorkflowError::Internal(Cause::new(panic)))) {
            Ok(true) => {
                portal.outgoing.bell.notify_one();
                continue;
            }
            Ok(false) => LONGEST_SLEEP,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "what is to be told could not be queued, and will be");
                AFTER_ERROR
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn dispatcher(portal: Arc<Portal>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let turn = portal.clone();
        let sent = tokio::spawn(async move { outgoing::dispatcher::step(&turn).await }).await;
        let pause = match sent.unwrap_or_else(|panic| Err(WorkflowError::Internal(Cause::new(panic)))) {
            Ok(true) => {
                // Perhaps there is more: another dispatcher may look while this one sends.
                portal.outgoing.bell.notify_one();
                continue;
            }
            Ok(false) => LONGEST_SLEEP,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a message could not be sent and will be tried again");
                AFTER_ERROR
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = portal.outgoing.bell.notified() => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn sweeper(portal: Arc<Portal>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let mut pass = sweep::Pass::default();
    while !*stopped.borrow() {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            _ = stopped.changed() => return,
        }
        if let Err(error) = purge::look(&portal).await {
            tracing::warn!(error = %chain(&error), "the slots file could not be judged and will be");
        }
        match sweep::minute(&portal, &mut pass).await {
            Ok(swept) if swept == sweep::Swept::default() => {}
            Ok(swept) => tracing::info!(
                secrets = swept.slots,
                files = swept.blobs,
                uploads = swept.uploads,
                "left-overs found: secrets and files without an owner were destroyed, dead uploads are being destroyed"
            ),
            Err(error) => tracing::warn!(error = %chain(&error), "looking for left-overs failed; this is repeated in a minute"),
        }
        // A quiet portal writes nothing else that would tell the next start what time it was.
        if let Err(error) = portal.requests.note_time(portal.now()).await {
            tracing::warn!(error = %chain(&error), "the time could not be written down");
        }
        if let Err(error) = portal.directory.sweep_sessions().await {
            tracing::warn!(error = %chain(&error), "ended sessions could not be dropped");
        }
    }
}
