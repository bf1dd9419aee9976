//! Reading and writing without a buffer of a connection's own while nothing is left over.
//!
//! One read buffer belongs to each loop. What a peer has not taken, and messages that must be whole before they can
//! be understood, are copied to memory that is given back when it is empty.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pgpooler_core::session::Outbox;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

use crate::event_loop::memory::{self, Held};

/// Bytes read at once: a fifth of PgBouncer's CPU per GB comes from this size.
pub(crate) const READ_SIZE: usize = 64 * 1024;

/// Above this, a peer that does not read stops the other side from being read.
pub(crate) const SPILL_LIMIT: usize = 64 * 1024;

/// Bytes read at once while the loop holds as much as it may.
const SHORT_READ_SIZE: usize = 4 * 1024;

/// A buffer larger than this that is mostly empty is given back.
const ROOMY: usize = 2 * READ_SIZE;

/// Slices handed to one writev.
const SLICES: usize = 32;

/// What is still to be written to a peer.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    bytes: Vec<u8>,
    written: usize,
    held: Held,
}

impl Spill {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nothing more is to be read for this peer until it has taken some.
    pub(crate) fn is_full(&self) -> bool {
        let left = self.bytes.len() - self.written;
        left >= SPILL_LIMIT || left > 0 && memory::is_short()
    }

    /// Appends bytes of our own.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes until it is empty or the peer takes no more.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.held.is_now(self.bytes.capacity());
        while self.written < self.bytes.len() {
            let rest = self.bytes.get(self.written..).unwrap_or_default();
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.written = 0;
        self.bytes = Vec::new();
        self.held.is_now(0);
        Poll::Ready(Ok(()))
    }

    /// A peer that takes a little at a time must not make it grow.
    fn forget_written(&mut self) {
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Writes an outbox, or what the peer takes of it; keeps the rest. Empties the outbox.
    pub(crate) fn send(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
        input: &[u8],
    ) -> io::Result<()> {
        let sent = if self.is_empty() { write_outbox(stream, cx, outbox, input) } else { Ok(0) };
        if let Ok(sent) = sent
            && sent < outbox.len()
        {
            self.forget_written();
            outbox.copy_remaining(input, sent, &mut self.bytes);
            self.held.is_now(self.bytes.capacity());
        }
        outbox.clear();
        sent.map(drop)
    }
}

/// Returns how much of it was written.
fn write_outbox(
    stream: &mut Transport,
    cx: &mut Context<'_>,
    outbox: &Outbox,
    input: &[u8],
) -> io::Result<usize> {
    let mut sent = 0;
    while sent < outbox.len() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = outbox.slices(input, sent, &mut slices);
        let slices = slices.get(..used).unwrap_or_default();
        match Pin::new(&mut *stream).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => sent += written,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    Ok(sent)
}

/// Reads once into the loop's buffer; 0 bytes: the peer has closed its side. A loop that holds as much as it may reads
/// little at a time.
pub(crate) fn poll_read(
    stream: &mut Transport,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let most = if memory::is_short() { SHORT_READ_SIZE } else { buffer.len() };
    let mut buffer = ReadBuf::new(buffer.get_mut(..most).unwrap_or_default());
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Bytes that were read and not dealt with: mostly the beginning of a message whose end has not arrived.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
    /// Nobody has looked at them yet: whole messages may be among them.
    unseen: bool,
    held: Held,
}

impl Carry {
    /// Bytes that were read before their reader was there.
    pub(crate) fn unseen(bytes: Vec<u8>) -> Self {
        let unseen = !bytes.is_empty();
        let mut carry = Self { bytes, unseen, held: Held::default() };
        carry.count();
        carry
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn is_unseen(&self) -> bool {
        self.unseen
    }

    /// What to look at now: what was kept and what has come.
    pub(crate) fn join<'a>(&'a mut self, read: &'a [u8]) -> &'a [u8] {
        self.unseen = false;
        if self.bytes.is_empty() {
            return read;
        }
        self.bytes.extend_from_slice(read);
        &self.bytes
    }

    /// Keeps what was not dealt with of the bytes that [`Self::join`] gave.
    pub(crate) fn keep(&mut self, read: &[u8], dealt_with: usize) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(read.get(dealt_with..).unwrap_or_default());
        } else {
            self.bytes.drain(..dealt_with.min(self.bytes.len()));
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            } else if self.bytes.capacity() > ROOMY && self.bytes.len() < self.bytes.capacity() / 4 {
                self.bytes.shrink_to_fit();
            }
        }
        self.count();
    }

    fn count(&mut self) {
        self.held.is_now(self.bytes.capacity());
    }

    /// What is left is to be looked at again: a new reader begins.
    pub(crate) fn reread(&mut self) {
        self.unseen = !self.bytes.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_in_pieces_is_put_together() {
        let mut carry = Carry::default();
        assert_eq!(carry.join(b"abc"), b"abc");
        carry.keep(b"abc", 1);
        assert_eq!(carry.join(b"de"), b"bcde");
        carry.keep(b"de", 4);
        assert!(carry.is_empty());
        assert_eq!(carry.join(b"f"), b"f");
    }
}
