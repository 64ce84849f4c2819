//! What turns without being asked: deliveries, confirmations, expiries, purges, the destruction of what was given up, the sweep, and what is told to others.
//!
//! [`step`] does one thing and says whether there may be more; the loop around it is dull. Work is found by when it is due, so a quiet portal costs one look.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::chain::{Cause, chain};
use crate::current::Current;
use crate::domain::document::ProviderName;
use crate::domain::request::DocumentRequest;
use crate::failpoint::{self, Failpoint};
use crate::storage::{StorageError, WorkQueues};
use crate::workflow::intake::discard;
use crate::workflow::{Portal, WorkflowError, delivery, outgoing, purge, sweep};

/// Tasks for the steps that wait for no provider: expiries, purges, forgetting. A provider's have tasks of their own, as many as its `concurrency`.
const PORTAL_WORKERS: usize = 4;
/// Tasks that destroy what was given up: apart from the others, since an upload that goes on waits for it.
const CLEANERS: usize = 2;
/// Messages sent at once: a slow receiver must not hold up the others.
const DISPATCHERS: usize = 4;
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

/// Destroys what was given up, if there is anything; else takes the request that has been due longest, whoever it waits for, and does its next step.
pub async fn step(portal: &Arc<Portal>) -> Result<Step, WorkflowError> {
    if discard::step(portal).await? {
        return Ok(Step::Done);
    }
    match claim(portal, WorkQueues::All).await? {
        None => Ok(Step::Idle),
        Some(request) => {
            delivery::step(portal, request).await?;
            Ok(Step::Done)
        }
    }
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

async fn claim(portal: &Portal, queues: WorkQueues<'_>) -> Result<Option<DocumentRequest>, WorkflowError> {
    let until = portal.now() + delivery::LEASE;
    let claimed = portal.requests.claim_due(queues, until).await?;
    if claimed.is_some() {
        failpoint::pass(Failpoint::Leased);
    }
    Ok(claimed)
}

/// Does what has been due longest at one provider.
async fn step_at(portal: &Arc<Portal>, provider: &ProviderName) -> Result<Step, WorkflowError> {
    // Before the lease, which would run out while it waits.
    let _permit = portal.delivery.bulkheads.permit(provider).await;
    let Some(request) = claim(portal, WorkQueues::Of(provider)).await? else {
        return Ok(Step::Idle);
    };
    // Perhaps there is more: another worker may look while this one waits for the provider.
    portal.wake.provider(provider).notify_one();
    delivery::step(portal, request).await?;
    Ok(Step::Done)
}

/// Does what has been due longest of everything that waits for no configured provider. A document whose deadline has come may be worth a last question: that goes on
/// in a task, which is returned, so that nothing waits behind it here.
async fn own_step(portal: &Arc<Portal>) -> Result<(Step, Option<JoinHandle<()>>), WorkflowError> {
    let bulkheads = &portal.delivery.bulkheads;
    let Some(request) = claim(portal, WorkQueues::Except(bulkheads.providers())).await? else {
        return Ok((Step::Idle, None));
    };
    portal.wake.own().notify_one();
    if !bulkheads.providers().contains(&request.provider) || !request.may_wait_for_provider() {
        delivery::step(portal, request).await?;
    } else if let Some(permit) = bulkheads.free_permit(&request.provider) {
        let portal = portal.clone();
        let asking = tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = delivery::step(&portal, request).await {
                tracing::warn!(error = %chain(&error), "a step failed and will be repeated");
            }
        });
        return Ok((Step::Done, Some(asking)));
    } else {
        delivery::step_alone(portal, request).await?;
    }
    Ok((Step::Done, None))
}

/// The running worker; stopping lets every task finish its present step. Every turn of a task takes the portal as it is then, so that another configuration counts
/// from the next step on, and a step that has begun ends as it began.
pub(crate) struct Worker {
    live: Arc<Current<Portal>>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// The places at providers that have a task: the first `concurrency` of each.
    places: Arc<Mutex<BTreeSet<Place>>>,
    /// Turns of the tasks for the portal's own steps.
    turns: Arc<AtomicU64>,
}

type Place = (ProviderName, usize);

impl Worker {
    pub(crate) fn start(live: &Arc<Current<Portal>>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let worker = Self {
            live: live.clone(),
            stop,
            tasks: Mutex::default(),
            places: Arc::default(),
            turns: Arc::default(),
        };
        worker.adapt();
        let mut tasks = locked(&worker.tasks);
        tasks.extend((0..PORTAL_WORKERS).map(|_| tokio::spawn(portal_worker(live.clone(), worker.turns.clone(), stopped.clone()))));
        tasks.extend((0..CLEANERS).map(|_| tokio::spawn(cleaner(live.clone(), stopped.clone()))));
        tasks.push(tokio::spawn(announcer(live.clone(), stopped.clone())));
        tasks.extend((0..DISPATCHERS).map(|_| tokio::spawn(dispatcher(live.clone(), stopped.clone()))));
        tasks.push(tokio::spawn(sweeper(live.clone(), stopped)));
        drop(tasks);
        worker
    }

    /// After the portal was replaced: every provider has as many tasks as its `concurrency`. Those that are too many end after their present step.
    pub(crate) fn adapt(&self) {
        let mut places = locked(&self.places);
        let portal = self.live.get();
        let mut tasks = locked(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        for provider in portal.delivery.bulkheads.providers() {
            for place in (0..portal.delivery.bulkheads.concurrency(provider)).map(|n| (provider.clone(), n)) {
                if places.insert(place.clone()) {
                    let work = provider_worker(self.live.clone(), place, self.places.clone(), self.stop.subscribe());
                    tasks.push(tokio::spawn(work));
                }
            }
        }
        drop(tasks);
        portal.wake.all();
    }

    /// How many turns its tasks for the portal's own steps have made: a number that stands still is a worker that does.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Waits for the steps in progress, at most `patience`; a lease that is left behind runs out by itself.
    pub(crate) async fn stop(self, patience: Duration) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *locked(&self.tasks));
        let all = async {
            for task in tasks {
                // A panic has been reported by the panic hook; the others still count.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("stopped while a provider was still being talked to; the attempt is looked into at the next start");
        }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this place is one that the provider has now; if not, it is given up under the same lock under which it would be filled again.
fn has_place(live: &Current<Portal>, places: &Mutex<BTreeSet<Place>>, place: &Place) -> bool {
    let mut places = locked(places);
    let has = place.1 < live.get().delivery.bulkheads.concurrency(&place.0);
    if !has {
        places.remove(place);
    }
    has
}

async fn provider_worker(
    live: Arc<Current<Portal>>,
    place: Place,
    places: Arc<Mutex<BTreeSet<Place>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let provider = place.0.clone();
    while !*stopped.borrow() && has_place(&live, &places, &place) {
        let portal = live.get();
        // In a task of its own: a step that panics costs one lease, not one of the workers.
        let (turn, at) = (portal.clone(), provider.clone());
        let done = tokio::spawn(async move { step_at(&turn, &at).await }).await;
        let Some(pause) = pause(&portal, done, WorkQueues::Of(&provider)).await else {
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = portal.wake.provider(&provider).notified() => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn portal_worker(live: Arc<Current<Portal>>, turns: Arc<AtomicU64>, mut stopped: watch::Receiver<bool>) {
    let mut asking: Vec<JoinHandle<()>> = Vec::new();
    while !*stopped.borrow() {
        turns.fetch_add(1, Ordering::Relaxed);
        let portal = live.get();
        let turn = portal.clone();
        let done = tokio::spawn(async move { own_step(&turn).await }).await;
        let done = done.map(|step| {
            step.map(|(step, begun)| {
                asking.retain(|task| !task.is_finished());
                asking.extend(begun);
                step
            })
        });
        let Some(pause) = pause(&portal, done, WorkQueues::Except(portal.delivery.bulkheads.providers())).await else {
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = portal.wake.own().notified() => {}
            _ = stopped.changed() => {}
        }
    }
    for task in asking {
        let _ = task.await;
    }
}

/// How long a worker of these queues rests after a step; `None`: not at all.
async fn pause(portal: &Portal, done: Result<Result<Step, WorkflowError>, JoinError>, queues: WorkQueues<'_>) -> Option<Duration> {
    match done.unwrap_or_else(|panic| Err(WorkflowError::Internal(Cause::new(panic)))) {
        Ok(Step::Done) => None,
        Ok(Step::Idle) => Some(until(portal, portal.requests.next_due(queues).await)),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "a step failed and will be repeated");
            Some(AFTER_ERROR)
        }
    }
}

async fn cleaner(live: Arc<Current<Portal>>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let portal = live.get();
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
async fn announcer(live: Arc<Current<Portal>>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let portal = live.get();
        let turn = portal.clone();
        let told = tokio::spawn(async move { outgoing::tell(&turn).await }).await;
        let pause = match told.unwrap_or_else(|panic| Err(WorkflowError::Internal(Cause::new(panic)))) {
            Ok(true) => {
                portal.outgoing.outbox_signal.notify_one();
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

async fn dispatcher(live: Arc<Current<Portal>>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let portal = live.get();
        let turn = portal.clone();
        let sent = tokio::spawn(async move { outgoing::dispatcher::step(&turn).await }).await;
        let pause = match sent.unwrap_or_else(|panic| Err(WorkflowError::Internal(Cause::new(panic)))) {
            Ok(true) => {
                // Perhaps there is more: another dispatcher may look while this one sends.
                portal.outgoing.outbox_signal.notify_one();
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
            () = portal.outgoing.outbox_signal.notified() => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn sweeper(live: Arc<Current<Portal>>, mut stopped: watch::Receiver<bool>) {
    let mut pass = sweep::Pass::default();
    while !*stopped.borrow() {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            _ = stopped.changed() => return,
        }
        let portal = live.get();
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
        if let Err(error) = purge::drop_old_receipts(&portal).await {
            tracing::warn!(error = %chain(&error), "old deletion receipts could not be dropped; this is repeated in a minute");
        }
        sweep::spare_memory().await;
    }
}
