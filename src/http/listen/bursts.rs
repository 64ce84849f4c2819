//! Read buffers of a bounded size: a connection's bytes come in bursts.
//!
//! actix reads from a socket for as long as there is something to read, up to 128 KiB at once, and each buffer behind it (the payload's, the form's) grows to what one
//! read brought. A sender on a fast line would hold 400 KiB for each upload in that way. Here a burst ends, and others of this thread come in between.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a burst, about: what costs little more CPU than 128 KiB, and a quarter of the memory.
const BURST: usize = 32 << 10;

/// See the module.
pub(super) struct Bursts<S> {
    socket: S,
    left: usize,
}

impl<S> Bursts<S> {
    pub(super) fn of(socket: S) -> Self {
        Self { socket, left: BURST }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bursts<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left == 0 {
            this.left = BURST;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(cx, buffer) else {
            this.left = BURST;
            return Poll::Pending;
        };
        this.left = this.left.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bursts<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_burst_ends_is_woken_at_once_and_nothing_is_lost() {
        let sent: Vec<u8> = (0..BURST * 3 + 100).map(|n| (n % 251) as u8).collect();
        let mut socket = Bursts::of(&sent[..]);
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        let (mut got, mut bursts, mut burst) = (Vec::new(), Vec::new(), 0);
        loop {
            let mut room = [0; 8 << 10];
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut socket).poll_read(&mut cx, &mut buffer) {
                Poll::Ready(read) => {
                    read.unwrap();
                    if buffer.filled().is_empty() {
                        break;
                    }
                    burst += buffer.filled().len();
                    got.extend_from_slice(buffer.filled());
                }
                Poll::Pending => bursts.push(std::mem::take(&mut burst)),
            }
        }
        assert_eq!(got, sent);
        assert_eq!(bursts, [BURST; 3]);
        assert_eq!(
            woken.0.load(Ordering::Relaxed),
            3,
            "whoever waits without having been woken waits for ever"
        );
    }
}
