//! The virus scan before a document leaves. Fail closed: without the exact word "clean" from a scanner that is proved to find something, a document stays sealed here.
//!
//! The scanner is proved by the EICAR test file, alone and at the end of the largest file, and by the age of its signatures: before the first document, and again
//! every hour. Chunks are opened one by one into its socket; nothing of them is kept here. What clamd itself puts aside belongs on a tmpfs (`TemporaryDirectory`).

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use crate::connectors::{OutboundDocument, SourceError};
use crate::domain::delivery::DeliveryProblem;
use crate::inspect::scan::{Clamd, Verdict};

/// A proof is good for this long.
const PROVED_FOR: Duration = Duration::hours(1);
/// A scanner that was found unfit is not proved again by each document that waits.
const UNFIT_FOR: Duration = Duration::seconds(20);
/// Clocks of two machines may differ by this much.
const CLOCKS_APART: Duration = Duration::days(1);

/// A scanner and what is known about it.
pub struct Scanner {
    clamd: Clamd,
    max_file: u64,
    signatures_within: Option<Duration>,
    proved: Mutex<Option<(OffsetDateTime, Result<(), String>)>>,
    /// How the last proof ended, for those who must not wait for the next one.
    unfit: AtomicBool,
}

/// What came of the scan of a whole document.
#[derive(Debug)]
pub enum Scanned {
    Clean,
    /// What the scanner calls it.
    Infected(String),
    /// Nobody looked, and why: it waits.
    Not(DeliveryProblem),
    /// The stored document did not come out to its end.
    Unreadable(SourceError),
}

impl Scanner {
    /// `max_file`: the largest part there can be, in bytes.
    pub fn new(clamd: Clamd, max_file: u64, signatures_within: Option<Duration>) -> Self {
        Self {
            clamd,
            max_file,
            signatures_within,
            proved: Mutex::default(),
            unfit: AtomicBool::new(false),
        }
    }

    /// Every part of a document, one after the other.
    pub async fn scan(&self, outbound: &OutboundDocument, now: OffsetDateTime) -> Scanned {
        if let Err(why) = self.fit(now).await {
            return Scanned::Not(unscanned(&why));
        }
        for part in 0..outbound.parts.len() {
            match self.scan_part(outbound, part).await {
                Scanned::Clean => {}
                other => {
                    // What failed now may be unfit from now on.
                    if matches!(other, Scanned::Not(_)) {
                        *self.proved.lock().await = None;
                    }
                    return other;
                }
            }
        }
        Scanned::Clean
    }

    async fn scan_part(&self, outbound: &OutboundDocument, part: usize) -> Scanned {
        let mut scan = match self.clamd.begin().await {
            Ok(scan) => scan,
            Err(reason) => return Scanned::Not(unscanned(&reason.to_string())),
        };
        let mut chunks = outbound.source.open(part);
        while let Some(chunk) = chunks.next().await {
            match chunk {
                // Its last words tell more than the broken pipe.
                Ok(chunk) if scan.feed(&chunk).await.is_err() => break,
                Ok(_) => {}
                Err(error) => return Scanned::Unreadable(error),
            }
        }
        match scan.finish().await {
            Verdict::Clean => Scanned::Clean,
            Verdict::Infected(name) => Scanned::Infected(name),
            Verdict::Unavailable(reason) => Scanned::Not(unscanned(&reason.to_string())),
        }
    }

    /// Whether this scanner finds something at all, by a proof that is at most an hour old.
    ///
    /// # Errors
    /// Why it must not be relied on, in words for an operator.
    pub async fn fit(&self, now: OffsetDateTime) -> Result<(), String> {
        // One proof at a time: whoever comes meanwhile waits for its outcome.
        let mut proved = self.proved.lock().await;
        if let Some((at, outcome)) = &*proved {
            let age = now - *at;
            let good_for = if outcome.is_ok() { PROVED_FOR } else { UNFIT_FOR };
            if !age.is_negative() && age < good_for {
                return outcome.clone();
            }
        }
        let outcome = self.prove(now).await;
        if let Err(why) = &outcome {
            tracing::warn!(why, "no document leaves until the scanner is fit");
        }
        self.unfit.store(outcome.is_err(), Ordering::Relaxed);
        *proved = Some((now, outcome.clone()));
        outcome
    }

    /// Whether the last proof failed; `false` also before the first one.
    pub fn is_unfit(&self) -> bool {
        self.unfit.load(Ordering::Relaxed)
    }

    async fn prove(&self, now: OffsetDateTime) -> Result<(), String> {
        self.clamd.probe(self.max_file).await.map_err(|failure| failure.to_string())?;
        let Some(within) = self.signatures_within else { return Ok(()) };
        let from = self
            .clamd
            .signatures_from()
            .await
            .map_err(|reason| format!("the age of its signatures cannot be told ({reason}); see scan.signatures_within"))?;
        let age = now - from;
        if age > within || age < -CLOCKS_APART {
            return Err(format!("its signatures are from {}: is freshclam running?", from.date()));
        }
        Ok(())
    }
}

fn unscanned(why: &str) -> DeliveryProblem {
    DeliveryProblem::new(
        "scan.unavailable",
        format!(
            "The document waits, sealed: it must be scanned before it is sent, and the scanner is not fit ({why}). An operator can run `nightdrop doctor`."
        ),
    )
}
