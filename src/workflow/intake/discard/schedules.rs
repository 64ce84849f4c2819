//! Every order of the effects of uploads, of the tasks that destroy, of the sweep, of a taken-over lease and of a crash, at random: the transitions and the registry of
//! writers are the product's own, secrets and chunks are sets.
//!
//! At every step an acknowledged document has its secret and all its chunks; at rest nothing lives that nobody owns. Faults that are put in on purpose must be found.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use futures_util::FutureExt;
use time::{Duration, OffsetDateTime};

use crate::domain::agent::Actor;
use crate::domain::document::SlotRef;
use crate::domain::id::DocumentId;
use crate::domain::request::{DocumentRequest, Intake, IntakeKind};
use crate::domain::transition::{AgentAction, EndOf, IntakeStep, Transition, apply, tests as made};
use crate::workflow::intake::in_flight::{InFlight, Writer, Writing};

const CHUNKS: u8 = 3;
const LEASE: Duration = Duration::seconds(30);

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Destroys without stopping writers.
    WritersGoOn,
    /// Destroys what it wrote when the store could not say whether it wrote the commit.
    DestroysTheUnknown,
    /// The sweep asks the store first and whether it is in flight afterwards.
    SweepAsksLate,
    /// Nothing is noted when an upload is given up.
    ForgetsToGiveUp,
}

/// How an upload comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its first note in the row is its last effect.
    Sealing,
    /// Waits between two connections.
    Staged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Enter,
    Secret,
    Begin,
    Chunk(u8),
    Commit,
    GiveUp,
    /// Noted for the sweep, or owned by the row.
    Leave,
    Over,
}

struct Upload {
    kind: Kind,
    document: DocumentId,
    at: At,
    writer: Option<Writer>,
    writing: Option<Writing>,
}

enum Clean {
    Idle,
    Ending(Pin<Box<dyn Future<Output = ()>>>),
    Secret,
    Chunks,
}

struct Cleaner {
    leased: Option<DocumentRequest>,
    due: Vec<DocumentId>,
    done: Vec<DocumentId>,
    at: Clean,
}

impl Cleaner {
    fn new() -> Self {
        Self {
            leased: None,
            due: Vec::new(),
            done: Vec::new(),
            at: Clean::Idle,
        }
    }
}

#[derive(Default)]
struct Sweep {
    items: Vec<DocumentId>,
    /// Looked at, and the first of the two questions was answered with no.
    asked: Option<DocumentId>,
}

struct World {
    wrong: Wrong,
    random: u64,
    now: OffsetDateTime,
    row: DocumentRequest,
    secrets: BTreeSet<DocumentId>,
    chunks: BTreeMap<DocumentId, BTreeSet<u8>>,
    in_flight: InFlight,
    orphans: BTreeSet<DocumentId>,
    uploads: Vec<Upload>,
    cleaners: [Cleaner; 2],
    sweep: Sweep,
    next: u8,
}

enum Wrote {
    Yes,
    Refused,
    /// Not written, and known not to be.
    Busy,
    /// Written or not.
    Unknown,
}

impl World {
    fn new(seed: u64, wrong: Wrong) -> Self {
        let now = time::macros::datetime!(2026-01-01 0:00 UTC);
        let mut row = made::request(false);
        row.link.expires_at = now + Duration::days(1);
        Self {
            wrong,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now,
            row,
            secrets: BTreeSet::new(),
            chunks: BTreeMap::new(),
            in_flight: InFlight::default(),
            orphans: BTreeSet::new(),
            uploads: Vec::new(),
            cleaners: [Cleaner::new(), Cleaner::new()],
            sweep: Sweep::default(),
            next: 1,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % n
    }

    /// The store, which now and then cannot write, or cannot say whether it did.
    fn write(&mut self, transition: Transition) -> Wrote {
        let (fails, unknown) = (self.below(24) == 0, self.below(2) == 0);
        if fails && !unknown {
            return Wrote::Busy;
        }
        if fails && self.below(2) == 0 {
            return Wrote::Unknown;
        }
        match apply(self.row.clone(), transition, self.now) {
            Ok((row, _)) => self.row = row,
            Err(_) => return Wrote::Refused,
        }
        if fails { Wrote::Unknown } else { Wrote::Yes }
    }

    fn owned(&self, document: DocumentId) -> bool {
        self.row.intakes.iter().any(|r| r.document == document) || self.row.document().is_some_and(|d| d.id == document)
    }

    fn slot(document: DocumentId) -> SlotRef {
        made::document(document.0[0], time::macros::datetime!(2026-01-01 0:00 UTC), true).slot
    }

    fn step(&mut self) {
        match self.below(32) {
            0 if self.next < 40 => {
                let kind = [Kind::Sealing, Kind::Staged][self.below(2) as usize];
                let document = DocumentId([self.next; 16]);
                self.next += 1;
                self.uploads.push(Upload {
                    kind,
                    document,
                    at: At::Enter,
                    writer: None,
                    writing: None,
                });
            }
            1 => self.take_back(),
            2 if self.below(12) == 0 => {
                let (by, action) = (Actor::Operator, AgentAction::Revoke);
                let _ = self.write(Transition::Agent { by, action });
            }
            3 if self.below(40) == 0 => self.crash(),
            4 => {
                let by = Duration::seconds(self.below(50) as i64);
                self.now += by;
            }
            5..=8 => self.sweep_step(),
            9 => self.minute(),
            10..=17 => {
                let which = self.below(2) as usize;
                self.clean_step(which);
            }
            _ if !self.uploads.is_empty() => {
                let which = self.below(self.uploads.len() as u64) as usize;
                self.upload_step(which);
            }
            _ => {}
        }
    }

    /// A visitor takes back whatever of hers waits.
    fn take_back(&mut self) {
        let waits = |r: &&Intake| r.kind != IntakeKind::Discarding;
        if let Some(document) = self.row.intakes.iter().find(waits).map(|r| r.document) {
            self.write(Transition::Intake(IntakeStep::End {
                document,
                end: EndOf::Withdrawn,
            }));
        }
    }

    fn upload_step(&mut self, which: usize) {
        let mut upload = self.uploads.swap_remove(which);
        // The connection breaks off.
        let gone = self.below(60) == 0 && matches!(upload.at, At::Begin | At::Chunk(_)) && upload.writing.is_none();
        upload.at = match upload.at {
            _ if gone && upload.kind == Kind::Staged && self.owned(upload.document) => At::Leave,
            _ if gone => At::GiveUp,
            At::Enter => {
                upload.writer = Some(self.in_flight.enter(upload.document));
                At::Secret
            }
            At::Secret => {
                self.secrets.insert(upload.document);
                if upload.kind == Kind::Sealing { At::Chunk(0) } else { At::Begin }
            }
            At::Begin => self.begin(&upload),
            At::Chunk(n) => self.chunk(&mut upload, n),
            At::Commit => self.commit(&upload),
            At::GiveUp => self.give_up(upload.document),
            At::Leave => {
                upload.writer = None;
                At::Over
            }
            At::Over => At::Over,
        };
        if upload.at != At::Over {
            self.uploads.push(upload);
        }
    }

    fn begin(&mut self, upload: &Upload) -> At {
        match self.write(made::begin_upload(upload.document.0[0], self.now, 1)) {
            Wrote::Yes => At::Chunk(0),
            Wrote::Unknown => self.unknown(upload.document),
            Wrote::Refused | Wrote::Busy => At::GiveUp,
        }
    }

    /// A write takes two steps, between which anything may happen.
    fn chunk(&mut self, upload: &mut Upload, n: u8) -> At {
        if upload.writing.take().is_some() {
            self.chunks.entry(upload.document).or_default().insert(n);
            return if n + 1 == CHUNKS { At::Commit } else { At::Chunk(n + 1) };
        }
        match upload.writer.as_ref().unwrap().writing().now_or_never() {
            Some(Some(writing)) => {
                upload.writing = Some(writing);
                At::Chunk(n)
            }
            // Stopped. What a row owns is the worker's; the rest is given up.
            Some(None) => At::GiveUp,
            None => At::Chunk(n),
        }
    }

    fn commit(&mut self, upload: &Upload) -> At {
        // The connection ends; what came waits for the next one.
        if upload.kind == Kind::Staged {
            return At::Leave;
        }
        match self.write(made::received(made::document(upload.document.0[0], self.now, true))) {
            Wrote::Yes => At::Leave,
            Wrote::Unknown => self.unknown(upload.document),
            Wrote::Refused | Wrote::Busy => At::GiveUp,
        }
    }

    fn unknown(&mut self, document: DocumentId) -> At {
        if self.wrong == Wrong::DestroysTheUnknown {
            self.secrets.remove(&document);
        }
        self.orphans.insert(document);
        At::Leave
    }

    fn give_up(&mut self, document: DocumentId) -> At {
        if self.wrong != Wrong::ForgetsToGiveUp && !self.told(document) {
            self.orphans.insert(document);
        }
        At::Leave
    }

    /// Whether the row has answered.
    fn told(&mut self, document: DocumentId) -> bool {
        let give_up = Transition::Intake(IntakeStep::Discard {
            document,
            slot: Self::slot(document),
            started_at: self.now,
        });
        matches!(self.write(give_up), Wrote::Yes | Wrote::Refused)
    }

    fn minute(&mut self) {
        for document in self.orphans.clone() {
            if self.told(document) {
                self.orphans.remove(&document);
            }
        }
    }

    fn clean_step(&mut self, which: usize) {
        let mut cleaner = std::mem::replace(&mut self.cleaners[which], Cleaner::new());
        let Some(leased) = cleaner.leased.take() else {
            if self.row.cleanup_at().is_some_and(|at| at <= self.now) {
                let until = self.now + LEASE;
                if let Wrote::Yes = self.write(Transition::Intake(IntakeStep::LeaseCleanup { until })) {
                    let due = |r: &&Intake| self.row.ends_at(r) <= self.now;
                    cleaner.due = self.row.intakes.iter().filter(due).map(|r| r.document).collect();
                    cleaner.leased = Some(self.row.clone());
                }
            }
            self.cleaners[which] = cleaner;
            return;
        };
        let Some(document) = cleaner.due.last().copied() else {
            self.write(Transition::Intake(IntakeStep::CleanedUp {
                fence: leased.cleanup.fence,
                documents: cleaner.done,
                again_at: None,
            }));
            return;
        };
        cleaner.at = match std::mem::replace(&mut cleaner.at, Clean::Idle) {
            Clean::Idle => {
                let given_up = |r: &&Intake| r.document == document && r.kind == IntakeKind::Discarding;
                let known = leased.intakes.iter().any(|r| given_up(&r));
                if known
                    || matches!(
                        self.write(Transition::Intake(IntakeStep::End {
                            document,
                            end: EndOf::Idle
                        })),
                        Wrote::Yes
                    )
                {
                    let all = self.in_flight.clone();
                    if self.wrong == Wrong::WritersGoOn {
                        Clean::Secret
                    } else {
                        Clean::Ending(Box::pin(async move { all.end(document).await }))
                    }
                } else {
                    cleaner.due.pop();
                    Clean::Idle
                }
            }
            Clean::Ending(mut ending) => match ending.as_mut().now_or_never() {
                Some(()) => Clean::Secret,
                None => Clean::Ending(ending),
            },
            Clean::Secret => {
                self.secrets.remove(&document);
                Clean::Chunks
            }
            Clean::Chunks => {
                self.chunks.remove(&document);
                cleaner.done.extend(cleaner.due.pop());
                Clean::Idle
            }
        };
        cleaner.leased = Some(leased);
        self.cleaners[which] = cleaner;
    }

    /// Looks at one thing in two steps.
    fn sweep_step(&mut self) {
        let late = self.wrong == Wrong::SweepAsksLate;
        if let Some(document) = self.sweep.asked.take() {
            let orphan = if late { !self.busy(document) } else { !self.owned(document) };
            if orphan {
                self.secrets.remove(&document);
                self.chunks.remove(&document);
            }
            return;
        }
        match self.sweep.items.pop() {
            Some(document) => {
                let maybe = if late { !self.owned(document) } else { !self.busy(document) };
                self.sweep.asked = maybe.then_some(document);
            }
            None => self.sweep.items = self.secrets.iter().chain(self.chunks.keys()).copied().collect(),
        }
    }

    fn busy(&self, document: DocumentId) -> bool {
        self.in_flight.contains(document) || self.orphans.contains(&document)
    }

    /// The process ends and starts again: what it knew is gone, and the start looks at everything.
    fn crash(&mut self) {
        self.uploads.clear();
        self.cleaners = [Cleaner::new(), Cleaner::new()];
        self.in_flight = InFlight::default();
        self.orphans.clear();
        self.sweep = Sweep::default();
        (self.row.lease, self.row.cleanup.until) = (None, None);
        self.full_sweep();
    }

    fn full_sweep(&mut self) {
        let all: BTreeSet<_> = self.secrets.iter().chain(self.chunks.keys()).copied().collect();
        for document in all {
            if !self.busy(document) && !self.owned(document) {
                self.secrets.remove(&document);
                self.chunks.remove(&document);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let whole = |document: DocumentId| self.chunks.get(&document).is_some_and(|c| c.len() == usize::from(CHUNKS));
        if let Some(held) = self.row.document()
            && !(self.secrets.contains(&held.id) && whole(held.id))
        {
            return Err(format!("{} was acknowledged and is lost", held.id));
        }
        Ok(())
    }

    /// Everybody comes to the end; then nothing may be left but what is held, or waits for its visitor.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..10_000 {
            match self.uploads.len() {
                0 => break,
                n => {
                    let which = self.below(n as u64) as usize;
                    self.upload_step(which);
                }
            }
            let which = self.below(2) as usize;
            self.clean_step(which);
            self.check()?;
        }
        self.now += LEASE;
        for _ in 0..2_000 {
            let busy = self.cleaners.iter().any(|c| c.leased.is_some()) || self.row.cleanup.until.is_some();
            if !busy && self.orphans.is_empty() && self.row.cleanup_at().is_none_or(|at| at > self.now) {
                break;
            }
            self.minute();
            let which = self.below(2) as usize;
            self.clean_step(which);
            self.now += Duration::milliseconds(100);
            self.check()?;
        }
        let mine: BTreeSet<_> = self
            .row
            .intakes
            .iter()
            .filter(|r| r.kind != IntakeKind::Discarding)
            .map(|r| r.document)
            .chain(self.row.document().map(|d| d.id))
            .collect();
        let left: BTreeSet<_> = self.secrets.iter().chain(self.chunks.keys()).copied().collect();
        if let Some(nobodys) = left.difference(&mine).next() {
            return Err(format!("{nobodys} is nobody's and lives"));
        }
        if let Some(r) = self.row.intakes.iter().find(|r| !mine.contains(&r.document)) {
            return Err(format!("{} is still noted", r.document));
        }
        if !self.in_flight.is_empty() || !self.uploads.is_empty() {
            return Err("an upload never ends".to_owned());
        }
        Ok(())
    }
}

fn explore(seed: u64, wrong: Wrong) -> Result<bool, String> {
    let mut world = World::new(seed, wrong);
    for _ in 0..220 {
        world.step();
        world.check()?;
    }
    world.rest()?;
    Ok(world.row.document().is_some())
}

#[test]
fn in_every_order_what_is_acknowledged_stays_and_nothing_else_does() {
    let seeds = if std::env::var_os("NIGHTDROP_TEST_LONG").is_some() {
        500_000
    } else {
        10_000
    };
    let mut received = 0;
    for seed in 0..seeds {
        match explore(seed, Wrong::Nothing) {
            Ok(held) => received += u64::from(held),
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
    assert!(received > seeds / 4, "only {received} of {seeds} were received: nothing was tested");
}

#[test]
fn faults_that_are_put_in_are_found() {
    for wrong in [
        Wrong::WritersGoOn,
        Wrong::DestroysTheUnknown,
        Wrong::SweepAsksLate,
        Wrong::ForgetsToGiveUp,
    ] {
        let found = (0..10_000).find_map(|seed| explore(seed, wrong).err());
        assert!(found.is_some(), "{wrong:?} was not noticed");
    }
}
