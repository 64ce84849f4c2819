//! The bytes of a test upload: a form as a browser sends it, with one file that is no picture, slowly; and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::output::Progress;
use crate::crypto::random;

pub(super) const MEDIA_TYPE: &str = "multipart/form-data; boundary=nightdrop-check";
const HEAD: &[u8] =
    b"--nightdrop-check\r\nContent-Disposition: form-data; name=\"front\"; filename=\"check.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n";
const TAIL: &[u8] = b"\r\n--nightdrop-check--\r\n";
const PIECE: usize = 64 << 10;

/// Nobody's address (RFC 5737), which only a forged header has.
pub(super) const FORGED: &str = "203.0.113.77";

/// What came back, whoever sent it.
pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub said: Value,
    /// The running portal itself has answered this very question.
    pub is_ours: bool,
}

/// How it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From the first byte to the last, the pause apart.
    pub over: Duration,
    /// Silence in the middle.
    pub pause: Duration,
}

/// How far it has come, for whoever waits for the answer.
pub(super) struct Sent {
    began: Instant,
    bytes: AtomicU64,
    first_ms: AtomicU64,
    last_ms: AtomicU64,
}

impl Sent {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Between the first piece and the last one.
    pub(super) fn took(&self) -> Duration {
        let (first, last) = (self.first_ms.load(Ordering::Relaxed), self.last_ms.load(Ordering::Relaxed));
        Duration::from_millis(last.saturating_sub(first))
    }

    fn note(&self, bytes: usize) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) == 0 {
            self.first_ms.store(now, Ordering::Relaxed);
        }
        self.last_ms.store(now, Ordering::Relaxed);
    }
}

/// A body of this size in all, with its length known before as a browser's is.
pub(super) fn body(size: u64, pace: Pace) -> (reqwest::Body, Arc<Sent>) {
    let (stream, sent) = pieces(size, pace);
    (reqwest::Body::wrap_stream(stream), sent)
}

fn pieces(size: u64, pace: Pace) -> (impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<>, Arc<Sent>) {
    let filler = size.saturating_sub((HEAD.len() + TAIL.len()) as u64);
    let pieces = filler.div_ceil(PIECE as u64);
    // What cannot be packed, so that nothing on the way makes it small.
    let noise: [u8; 1024] = random::array().unwrap_or([0x5a; 1024]);
    let piece = Bytes::from(noise.repeat(PIECE / noise.len()));
    let sent = Arc::new(Sent {
        began: Instant::now(),
        bytes: AtomicU64::new(0),
        first_ms: AtomicU64::new(0),
        last_ms: AtomicU64::new(0),
    });
    let noted = sent.clone();
    let progress = Progress::alone();
    let stream = futures_util::stream::unfold((0_u64, None, progress), move |(number, start, mut progress)| {
        let (piece, sent) = (piece.clone(), noted.clone());
        async move {
            // Head, pieces, tail.
            if number > pieces + 1 {
                return None;
            }
            let start = start.unwrap_or_else(Instant::now);
            let share = u32::try_from(number).unwrap_or(u32::MAX);
            let whole = u32::try_from(pieces + 1).unwrap_or(u32::MAX).max(1);
            let pause = if number > pieces / 2 { pace.pause } else { Duration::ZERO };
            tokio::time::sleep_until(start + pace.over * share / whole + pause).await;
            let bytes = match number {
                0 => Bytes::from_static(HEAD),
                last if last > pieces => Bytes::from_static(TAIL),
                piece_number => {
                    let left = filler - (piece_number - 1) * PIECE as u64;
                    piece.slice(..usize::try_from(left).unwrap_or(PIECE).min(PIECE))
                }
            };
            sent.note(bytes.len());
            progress.at(format_args!("test upload: {} of {} MB", sent.bytes() / 1_000_000, size / 1_000_000));
            Some((Ok::<_, std::io::Error>(bytes), (number + 1, Some(start), progress)))
        }
    });
    (stream, sent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_body_has_the_size_that_was_said() {
        for size in [200, 64 << 10, 200_000, (64 << 10) + (HEAD.len() + TAIL.len()) as u64] {
            let pace = Pace {
                over: Duration::ZERO,
                pause: Duration::ZERO,
            };
            let (stream, sent) = pieces(size, pace);
            let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
            let whole = pieces.concat();
            assert_eq!((whole.len() as u64, sent.bytes()), (size, size));
            assert!(whole.starts_with(HEAD) && whole.ends_with(TAIL));
        }
    }
}
