//! Slowloris limits on bodies: idle time, least rate, whole time and size, none of which actix limits by itself.
//!
//! An upload's place ([`super::permits`]) is bound to its body: it is told of every byte, lost to a better sender when permits run out, and given back the
//! moment that the sender turns out too slow.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Payload};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use super::permits::UploadPermit;

/// How slow a sender may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyPace {
    /// No byte for this long ends the upload.
    pub idle: Duration,
    /// Fewer than `window_bytes` in this time does, too.
    pub window: Duration,
    pub window_bytes: u64,
    /// And so does taking longer than this in all.
    pub whole: Duration,
}

impl Default for BodyPace {
    /// 20 s without a byte, 2 KiB/s over 30 s, a quarter of an hour in all.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(20),
            window: Duration::from_secs(30),
            window_bytes: 60 * 1024,
            whole: Duration::from_secs(15 * 60),
        }
    }
}

/// After an early answer this much is still read, so that a browser shows the page instead of "connection reset".
const DRAIN_BYTES: usize = 2 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More bytes than any acceptable body has.
    TooLarge,
    /// Idle, below the least rate, or too long in all.
    TooSlow,
    /// The connection ended.
    CutOff,
}

/// Tells, after the reader of the stream saw an error, what it was.
#[derive(Clone, Default)]
pub(crate) struct BodyError(Rc<Cell<Option<Fault>>>);

impl BodyError {
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.get()
    }
}

/// A body that fails on its own when its sender is too slow or sends too much.
pub(crate) struct ThrottledBody {
    payload: Payload,
    pace: BodyPace,
    left: u64,
    in_window: u64,
    /// Since when the sender is waited for.
    waiting: Option<Instant>,
    /// How long it was waited for in this window.
    waited: Duration,
    idle: Pin<Box<Sleep>>,
    window: Pin<Box<Sleep>>,
    whole: Pin<Box<Sleep>>,
    body_error: BodyError,
    place: Option<UploadPermit>,
}

impl ThrottledBody {
    pub(crate) fn new(payload: Payload, most: u64, pace: BodyPace) -> (Self, BodyError) {
        let body_error = BodyError::default();
        let timer = |time| Box::pin(tokio::time::sleep(time));
        let paced = Self {
            payload,
            pace,
            left: most,
            in_window: 0,
            waiting: None,
            waited: Duration::ZERO,
            idle: timer(pace.idle),
            window: timer(pace.window),
            whole: timer(pace.whole),
            body_error: body_error.clone(),
            place: None,
        };
        (paced, body_error)
    }

    /// The same body with a limit on what is still to come.
    pub(crate) fn limited(mut self, most: u64) -> Self {
        self.limit(most);
        self
    }

    /// The upload's place goes where its body goes.
    pub(crate) fn hold(&mut self, place: UploadPermit) {
        self.place = Some(place);
    }

    pub(crate) fn limit(&mut self, most: u64) {
        self.left = most;
    }

    /// Only the time in which the sender was waited for counts: a busy portal is not its fault.
    fn wait(&mut self) {
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            self.idle.as_mut().reset(now + self.pace.idle);
            self.window.as_mut().reset(now + self.pace.window.saturating_sub(self.waited));
            if let Some(place) = &self.place {
                place.waits(now);
            }
        }
    }

    fn came(&mut self, size: u64) {
        self.in_window += size;
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        if let Some(place) = &self.place {
            place.came(size, Instant::now());
        }
    }

    /// Whether the window that ends now brought too little; if not, the next one begins.
    fn lags(&mut self) -> bool {
        let lags = self.in_window < self.pace.window_bytes;
        let now = Instant::now();
        self.in_window = 0;
        self.waited = Duration::ZERO;
        self.waiting = self.waiting.map(|_| now);
        self.window.as_mut().reset(now + self.pace.window);
        lags
    }

    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Bytes, PayloadError>>> {
        self.body_error.0.set(Some(fault));
        self.place = None;
        let error = if fault == Fault::TooLarge {
            PayloadError::Overflow
        } else {
            PayloadError::Incomplete(None)
        };
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for ThrottledBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.place.as_ref().is_some_and(|place| place.is_lost(cx)) {
            return self.fail(Fault::TooSlow);
        }
        match self.payload.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                let size = bytes.len() as u64;
                if size > self.left {
                    return self.fail(Fault::TooLarge);
                }
                self.left -= size;
                self.came(size);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(_))) => self.fail(Fault::CutOff),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.wait();
                if self.idle.as_mut().poll(cx).is_ready() || self.whole.as_mut().poll(cx).is_ready() {
                    return self.fail(Fault::TooSlow);
                }
                // Polled until it is not ready: only then does it wake this task.
                while self.window.as_mut().poll(cx).is_ready() {
                    if self.lags() {
                        return self.fail(Fault::TooSlow);
                    }
                }
                Poll::Pending
            }
        }
    }
}

/// Reads and forgets a little of what is still coming.
pub(crate) async fn drain<S: Stream<Item = Result<Bytes, E>> + Unpin, E>(mut rest: S) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::{FromRequest, dev, test::TestRequest};
    use tokio::sync::mpsc;

    async fn paced(pace: BodyPace) -> (mpsc::Sender<Bytes>, ThrottledBody, BodyError) {
        let (sender, receiver) = mpsc::channel(4);
        let stream = futures_util::stream::unfold(receiver, |mut r| async { r.recv().await.map(|bytes| (Ok(bytes), r)) });
        let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(stream);
        let mut payload = dev::Payload::from(stream);
        let request = TestRequest::default().to_http_request();
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        let (paced, body_error) = ThrottledBody::new(payload, 1_000, pace);
        (sender, paced, body_error)
    }

    #[tokio::test]
    async fn time_in_which_the_portal_was_busy_is_not_held_against_the_sender() {
        let pace = BodyPace {
            idle: Duration::from_millis(150),
            window: Duration::from_millis(150),
            window_bytes: 1,
            whole: Duration::from_secs(60),
        };
        let (sender, mut paced, body_error) = paced(pace).await;
        sender.send(Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(paced.next().await.unwrap().unwrap(), "one");
        // The portal is busy for longer than any sender may be idle.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let (next, ()) = tokio::join!(paced.next(), async {
            tokio::task::yield_now().await;
            sender.send(Bytes::from_static(b"two")).await.unwrap();
        });
        assert_eq!(next.unwrap().unwrap(), "two");
        assert_eq!(body_error.fault(), None);
        // A sender that is waited for is given up.
        assert!(paced.next().await.unwrap().is_err());
        assert_eq!(body_error.fault(), Some(Fault::TooSlow));
    }

    #[tokio::test]
    async fn more_than_allowed_is_an_error() {
        let (sender, mut paced, body_error) = paced(BodyPace::default()).await;
        sender.send(Bytes::from(vec![0; 1_001])).await.unwrap();
        assert!(paced.next().await.unwrap().is_err());
        assert_eq!(body_error.fault(), Some(Fault::TooLarge));
    }
}
