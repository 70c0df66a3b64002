//! The socket as hyper sees it: the bytes read to find out the protocol come first, and a write that stalls fails.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4). No HTTP/1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection: the HTTP/2 preface, or enough to know that it is something else.
pub struct Start(Bytes);

impl Start {
    /// Whether the client speaks HTTP/2; otherwise it speaks HTTP/1 or nothing we know.
    pub fn is_http2(&self) -> bool {
        *self.0 == *PREFACE
    }
}

/// Reads until the protocol is clear. The bytes are taken, not peeked at: a peek returns at once for as long as part of
/// the preface lies there, and would have to be asked again and again.
///
/// # Errors
/// When the client went away before.
pub async fn read_start(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Start> {
    let mut start = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && start[..length] == PREFACE[..length] {
        match stream.read(&mut start[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
    }
    Ok(Start(Bytes::copy_from_slice(&start[..length])))
}

/// See the module page.
pub struct Socket<S> {
    stream: S,
    start: Bytes,
    write_timeout: Duration,
    /// Runs while the socket is full and the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    /// The rest of `stream` after `start`.
    pub fn new(stream: S, start: Start, write_timeout: Duration) -> Self {
        Self { stream, start: start.0, write_timeout, stalled: None }
    }

    /// Passes on what a write said, unless the socket has been full for too long.
    fn watched(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.start.len().min(buffer.remaining());
        buffer.put_slice(&self.start[..length]);
        self.start.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
