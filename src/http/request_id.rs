//! The id of one HTTP request: in the answer's header, in problem documents and on pages that tell of a failure, and on every log line that is written meanwhile. So
//! what somebody quotes leads to what the log says of it.
//!
//! It is drawn at random here, and names nothing and nobody. A trusted proxy may have drawn one already; of what it sends only a form is taken that such ids have and
//! that no token, reference or name of a person has. (Not to be confused with [`crate::domain::id::RequestId`], which names a request for a document.)

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crate::crypto::random;
use crate::domain::id::CROCKFORD;

/// The header in which it comes and goes.
pub(crate) const HEADER: &str = "x-request-id";
/// A UUID has 36 characters, with its hyphens; nginx writes 32 hexadecimal digits.
const LONGEST: usize = 64;
const SHORTEST: usize = 16;

/// The id of one HTTP request.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequestId(Arc<str>);

impl HttpRequestId {
    /// Twelve characters that can be read out on the telephone, such as `7xk2-9qpm-4t0c`.
    pub(crate) fn draw() -> Self {
        let text = random::array::<8>().map(|bytes| CROCKFORD.encode(&bytes)).unwrap_or_else(|_| {
            // Without random bytes nothing works; what the log says of that must still be told apart.
            thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });
            format!("{:012}", NUMBER.replace(NUMBER.get().wrapping_add(1)) % 1_000_000_000_000)
        });
        Self(format!("{}-{}-{}", &text[..4], &text[4..8], &text[8..12]).into())
    }

    /// One that a proxy has drawn: hexadecimal digits and hyphens, as many as such ids have.
    pub(crate) fn of_a_proxy(text: &[u8]) -> Option<Self> {
        let fits = |b: &u8| b.is_ascii_hexdigit() || *b == b'-';
        if !(SHORTEST..=LONGEST).contains(&text.len()) || !text.iter().all(fits) {
            return None;
        }
        std::str::from_utf8(text).ok().map(|text| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HttpRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HttpRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

tokio::task_local!(static PRESENT: HttpRequestId);

/// Does the work of one request under its id.
pub(crate) async fn under<T>(id: HttpRequestId, work: impl Future<Output = T>) -> T {
    PRESENT.scope(id, work).await
}

/// The id of the request that is being worked on here; `None` outside of any.
pub(crate) fn present() -> Option<HttpRequestId> {
    PRESENT.try_with(Clone::clone).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_short_and_do_not_repeat() {
        let drawn: std::collections::HashSet<String> = (0..10_000).map(|_| HttpRequestId::draw().to_string()).collect();
        assert_eq!(drawn.len(), 10_000);
        for id in drawn {
            assert_eq!(id.len(), 14);
            assert!(id.split('-').all(|group| group.len() == 4), "{id}");
        }
    }

    #[test]
    fn what_a_proxy_may_send_cannot_be_a_text() {
        for id in [
            "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "8f14e45f-ceea-467f-a9e6-1d1b4b4c5f6a",
            "0A1B2C3D4E5F6071",
        ] {
            assert_eq!(HttpRequestId::of_a_proxy(id.as_bytes()).unwrap().as_str(), id);
        }
        for text in [
            "",
            "abc",
            "0a1b2c3d4e5f607",
            "Erika-Mustermann-4711",
            "0a1b2c3d4e5f6071\n",
            "0a1b2c3d 4e5f6071",
            "{\"x\":\"0a1b2c3d4e5f\"}",
            "req_000000000000000000",
            &"a".repeat(65),
        ] {
            assert_eq!(HttpRequestId::of_a_proxy(text.as_bytes()), None, "{text}");
        }
        assert_eq!(HttpRequestId::of_a_proxy(&[0xff; 20]), None);
    }

    #[tokio::test]
    async fn the_present_id_is_that_of_the_work_around_it() {
        assert_eq!(present(), None);
        let id = HttpRequestId::draw();
        let seen = under(id.clone(), async {
            tokio::task::yield_now().await;
            present()
        })
        .await;
        assert_eq!(seen, Some(id));
        assert_eq!(present(), None);
    }
}
