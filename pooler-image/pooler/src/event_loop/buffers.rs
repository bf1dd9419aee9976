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

/// What is still to be written to a peer: one word while that is nothing.
#[derive(Debug, Default)]
pub(crate) struct Spill(Option<Box<Spilled>>);

#[derive(Debug, Default)]
struct Spilled {
    bytes: Vec<u8>,
    written: usize,
    held: Held,
}

impl Spill {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|spilled| spilled.bytes.is_empty())
    }

    /// Nothing more is to be read for this peer until it has taken some.
    pub(crate) fn is_full(&self) -> bool {
        self.0.as_ref().is_some_and(|spilled| {
            let left = spilled.bytes.len() - spilled.written;
            left >= SPILL_LIMIT || left > 0 && memory::is_short()
        })
    }

    /// Appends bytes of our own.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_default().bytes
    }

    /// Writes until it is empty or the peer takes no more.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(spilled) = &mut self.0 else { return Poll::Ready(Ok(())) };
        spilled.held.is_now(spilled.bytes.capacity());
        while let Some(rest) = spilled.bytes.get(spilled.written..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            spilled.written += written;
        }
        self.0 = None;
        Poll::Ready(Ok(()))
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
            self.0.get_or_insert_default().append(outbox, input, sent);
        }
        outbox.clear();
        sent.map(drop)
    }
}

impl Spilled {
    fn append(&mut self, outbox: &Outbox, input: &[u8], sent: usize) {
        // a peer that takes a little at a time must not make it grow
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        outbox.copy_remaining(input, sent, &mut self.bytes);
        self.held.is_now(self.bytes.capacity());
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
    if let Some(only) = outbox.only(input) {
        match Pin::new(&mut *stream).poll_write(cx, only) {
            Poll::Ready(Ok(0)) if !only.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => sent = written,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(0),
        }
    }
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

/// Bytes that were read and not dealt with: mostly the beginning of a message whose end has not arrived. One word while
/// there are none.
#[derive(Debug, Default)]
pub(crate) struct Carry(Option<Box<Carried>>);

#[derive(Debug, Default)]
struct Carried {
    bytes: Vec<u8>,
    /// Nobody has looked at them yet: whole messages may be among them.
    unseen: bool,
    held: Held,
}

impl Carry {
    /// Bytes that were read before their reader was there.
    pub(crate) fn unseen(bytes: Vec<u8>) -> Self {
        Self::holding(bytes, true)
    }

    fn holding(bytes: Vec<u8>, unseen: bool) -> Self {
        if bytes.is_empty() {
            return Self(None);
        }
        let mut carried = Carried { bytes, unseen, held: Held::default() };
        carried.count();
        Self(Some(Box::new(carried)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn is_unseen(&self) -> bool {
        self.0.as_ref().is_some_and(|carried| carried.unseen)
    }

    /// What to look at now: what was kept and what has come.
    pub(crate) fn join<'a>(&'a mut self, read: &'a [u8]) -> &'a [u8] {
        let Some(carried) = &mut self.0 else { return read };
        carried.unseen = false;
        carried.bytes.extend_from_slice(read);
        &carried.bytes
    }

    /// Keeps bytes that were read, and gives all that are kept. What they mean is not looked at before
    /// [`Self::reread`], or before more is read.
    pub(crate) fn take_in(&mut self, read: &[u8]) -> &[u8] {
        let carried = self.0.get_or_insert_default();
        carried.unseen = false;
        carried.bytes.extend_from_slice(read);
        carried.count();
        &carried.bytes
    }

    /// Keeps what was not dealt with of the bytes that [`Self::join`] gave.
    pub(crate) fn keep(&mut self, read: &[u8], dealt_with: usize) {
        match &mut self.0 {
            None => *self = Self::holding(read.get(dealt_with..).unwrap_or_default().to_vec(), false),
            Some(carried) if dealt_with >= carried.bytes.len() => self.0 = None,
            Some(carried) => carried.drop_front(dealt_with),
        }
    }

    /// What is left is to be looked at again: a new reader begins.
    pub(crate) fn reread(&mut self) {
        if let Some(carried) = &mut self.0 {
            carried.unseen = true;
        }
    }
}

impl Carried {
    fn drop_front(&mut self, length: usize) {
        self.bytes.drain(..length);
        if self.bytes.capacity() > ROOMY && self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to_fit();
        }
        self.count();
    }

    fn count(&mut self) {
        self.held.is_now(self.bytes.capacity());
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
