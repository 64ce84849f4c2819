//! Reading a body with a clock in the hand: idle time, least rate, whole time and size, none of which actix limits by itself.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Payload};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

/// No byte for this long ends the upload.
const IDLE: Duration = Duration::from_secs(20);
/// Fewer than [`WINDOW_BYTES`] in this time does, too.
const WINDOW: Duration = Duration::from_secs(30);
/// 2 KiB/s.
const WINDOW_BYTES: u64 = 60 * 1024;
/// And so does taking longer than this in all.
const WHOLE: Duration = Duration::from_secs(15 * 60);
/// After an early answer this much is still read, so that a browser shows the page instead of "connection reset".
const DRAIN_BYTES: usize = 2 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More bytes than any acceptable body has.
    TooLarge,
    /// Idle, below the least rate, or too long in all.
    TooSlow,
    /// The connection ended.
    CutOff,
}

/// Tells, after the reader of the stream saw an error, what it was.
#[derive(Clone, Default)]
pub struct Verdict(Rc<Cell<Option<Fault>>>);

impl Verdict {
    pub fn fault(&self) -> Option<Fault> {
        self.0.get()
    }
}

/// A body that fails on its own when its sender is too slow or sends too much.
pub struct Paced {
    payload: Payload,
    left: u64,
    in_window: u64,
    idle: Pin<Box<Sleep>>,
    window: Pin<Box<Sleep>>,
    whole: Pin<Box<Sleep>>,
    verdict: Verdict,
}

impl Paced {
    pub fn new(payload: Payload, most: u64) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let timer = |time| Box::pin(tokio::time::sleep(time));
        let paced = Self {
            payload,
            left: most,
            in_window: 0,
            idle: timer(IDLE),
            window: timer(WINDOW),
            whole: timer(WHOLE),
            verdict: verdict.clone(),
        };
        (paced, verdict)
    }

    /// The same body with a limit on what is still to come.
    pub fn limited(mut self, most: u64) -> Self {
        self.left = most;
        self
    }

    fn fail(&self, fault: Fault) -> Poll<Option<Result<Bytes, PayloadError>>> {
        self.verdict.0.set(Some(fault));
        let error = if fault == Fault::TooLarge {
            PayloadError::Overflow
        } else {
            PayloadError::Incomplete(None)
        };
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Paced {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.payload.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                let size = bytes.len() as u64;
                if size > self.left {
                    return self.fail(Fault::TooLarge);
                }
                self.left -= size;
                self.in_window += size;
                self.idle.as_mut().reset(Instant::now() + IDLE);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(_))) => self.fail(Fault::CutOff),
            Poll::Ready(None) => Poll::Ready(None),
            // Only a sender that is waited for can be too slow; a busy portal is not its fault.
            Poll::Pending => {
                if self.idle.as_mut().poll(cx).is_ready() || self.whole.as_mut().poll(cx).is_ready() {
                    return self.fail(Fault::TooSlow);
                }
                if self.window.as_mut().poll(cx).is_ready() {
                    if self.in_window < WINDOW_BYTES {
                        return self.fail(Fault::TooSlow);
                    }
                    self.in_window = 0;
                    self.window.as_mut().reset(Instant::now() + WINDOW);
                    // The timer was ready: it must be polled again to wake this task the next time.
                    let _ = self.window.as_mut().poll(cx);
                }
                Poll::Pending
            }
        }
    }
}

/// Reads and forgets a little of what is still coming.
pub async fn drain<S: Stream<Item = Result<Bytes, E>> + Unpin, E>(mut rest: S) {
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(piece)) = rest.next().await {
            match left.checked_sub(piece.len()) {
                Some(still) => left = still,
                None => return,
            }
        }
    };
    // Out of time or not: the answer goes out either way.
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}
