//! TLS on one connection: rustls holds the keys, the loop lends the buffers.
//!
//! rustls is driven without buffers of its own, so that a silent connection keeps none: what is read lies in a buffer of
//! the thread until it is opened, and what is sealed until the socket has taken it. Only a record whose end has not
//! arrived, opened bytes that nobody has asked for, and sealed bytes that the socket has not taken stay with the
//! connection.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pgpooler_core::certificate::Certificate;
use pgpooler_core::scram::EndPoint;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Protocol;
use super::records::{Ending, Records, Side, Wants};
use crate::reactor::Socket;

/// Sealed bytes read at once when somebody waits for them.
const READ_SIZE: usize = 64 * 1024;

/// Sealed bytes read at once to see whether there are any: a record is no longer.
const LOOK_SIZE: usize = 17 * 1024;

/// The longest `ClientHello`, which may be 64 KB by the protocol. With keys against quantum computers and a ticket it has
/// three.
const LONGEST_HELLO: usize = 8 * 1024;

/// Bytes sealed at once.
const WRITE_SIZE: usize = 64 * 1024;

thread_local! {
    /// What all TLS connections of a thread use in turn.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    sealed: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
}

/// The TLS of one connection.
pub struct Session {
    pub(super) records: Records,
    /// How many of the writer's bytes are sealed and unsent; it is told so when they are gone.
    owed: usize,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("ending", &self.records.ending).finish_non_exhaustive()
    }
}

impl Session {
    /// We are the server. `begun`: what was read of the client's first message.
    pub(crate) fn accept(config: Arc<ServerConfig>, begun: Vec<u8>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::new(Side::Server(connection), begun))
    }

    /// We are the client of the server with this name.
    pub(crate) fn connect(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::new(Side::Client(connection), Vec::new()))
    }

    fn new(side: Side, sealed: Vec<u8>) -> Self {
        Self { records: Records::new(side, sealed), owed: 0 }
    }

    /// The certificate that the peer has shown, its chain not with it.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.state().peer_certificates().and_then(<[_]>::first)
    }

    /// What SCRAM can bind a login to where the peer is a server.
    pub fn end_point(&self) -> Option<EndPoint> {
        let certificate = Certificate::parse(self.peer_certificate()?).ok()?;
        certificate.end_point().map(Into::into)
    }

    /// What both sides have agreed on, once the handshake is over.
    pub fn protocol(&self) -> Option<Protocol> {
        let version = self.state().protocol_version()?;
        let suite = self.state().negotiated_cipher_suite()?.suite();
        Some(Protocol { version, suite })
    }

    /// The protocol that ALPN has settled on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }

    fn state(&self) -> &CommonState {
        self.records.state()
    }

    pub(crate) fn poll_handshake(&mut self, tcp: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let opened = self.records.open_kept();
            // an alert goes out even if the handshake has failed
            let flushed = self.poll_flush(tcp, cx);
            let wants = opened?;
            ready!(flushed)?;
            // in TLS 1.3 a server could write before it has heard who the client is
            if wants == Wants::Traffic && !self.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.says_hello_for_too_long() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "ClientHello too long")));
            }
            if wants == Wants::End || ready!(self.poll_fetch(tcp, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    pub(crate) fn poll_read_ready(&mut self, tcp: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.records.opened.is_empty() || self.records.ending == Ending::PeerClosed {
            return Poll::Ready(Ok(()));
        }
        self.poll_open(tcp, cx, LOOK_SIZE, &mut ReadBuf::new(&mut []))
    }

    pub(crate) fn poll_read(
        &mut self,
        tcp: &mut Socket,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Records { opened, ending, .. } = &mut self.records;
        if !opened.is_empty() {
            let length = opened.len().min(buffer.remaining());
            buffer.put_slice(opened.get(..length).unwrap_or_default());
            opened.drain(..length);
            if opened.is_empty() {
                *opened = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        if *ending == Ending::PeerClosed {
            return Poll::Ready(Ok(()));
        }
        let size = buffer.remaining().clamp(LOOK_SIZE, READ_SIZE);
        self.poll_open(tcp, cx, size, buffer)
    }

    /// Takes what all the slices hold, or nothing: see [`Transport`](crate::transport::Transport).
    pub(crate) fn poll_write(
        &mut self,
        tcp: &mut Socket,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(tcp, cx))?;
        if self.owed == 0 {
            self.owed = self.seal(tcp, cx, slices)?;
            ready!(self.poll_flush(tcp, cx))?;
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let taken = self.owed.min(offered);
        self.owed = 0;
        Poll::Ready(Ok(taken))
    }

    /// Until the socket has taken all that is sealed.
    pub(crate) fn poll_flush(&mut self, tcp: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let unsent = &mut self.records.unsent;
        if unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let sent = write_some(tcp, cx, unsent)?;
        if sent < unsent.len() {
            unsent.drain(..sent);
            return Poll::Pending;
        }
        *unsent = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Says goodbye as far as the socket takes it now.
    pub(crate) fn say_goodbye(&mut self, tcp: &mut Socket, cx: &mut Context<'_>) {
        self.records.say_goodbye();
        // best effort: the connection ends in any case
        let _ = self.poll_flush(tcp, cx);
    }

    /// Says goodbye, once, and closes our side.
    pub(crate) fn poll_shutdown(&mut self, tcp: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.records.say_goodbye();
        ready!(self.poll_flush(tcp, cx))?;
        Pin::new(tcp).poll_shutdown(cx)
    }

    /// Reads once more from the socket while nothing could be opened. What is opened goes to `buffer`, and what does not
    /// fit there stays.
    fn poll_open(
        &mut self,
        tcp: &mut Socket,
        cx: &mut Context<'_>,
        size: usize,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.records.check()?;
        let before = buffer.filled().len();
        SCRATCH.with_borrow_mut(|Scratch { sealed, .. }| {
            loop {
                let kept = &self.records.sealed;
                sealed.resize(sealed.len().max(kept.len() + READ_SIZE), 0);
                let (front, back) = sealed.split_at_mut(kept.len());
                let mut fresh = ReadBuf::new(back.get_mut(..size).unwrap_or_default());
                ready!(Pin::new(&mut *tcp).poll_read(cx, &mut fresh))?;
                let length = fresh.filled().len();
                if length == 0 {
                    // without a goodbye: messages have lengths, so a cut cannot be taken for an end
                    self.records.ending = Ending::PeerClosed;
                    return Poll::Ready(Ok(()));
                }
                front.copy_from_slice(kept);
                let whole = kept.len() + length;
                let opened = self.records.open(sealed.get_mut(..whole).unwrap_or_default(), buffer);
                // an answer of TLS itself; it goes with the next write if the socket does not take it now
                let flushed = self.poll_flush(tcp, cx);
                opened?;
                if let Poll::Ready(Err(error)) = flushed {
                    return Poll::Ready(Err(error));
                }
                let came = buffer.filled().len() > before || !self.records.opened.is_empty();
                if came || self.records.ending == Ending::PeerClosed {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// Reads once into what is kept; 0: the end.
    fn poll_fetch(&mut self, tcp: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|Scratch { sealed, .. }| {
            sealed.resize(sealed.len().max(LOOK_SIZE), 0);
            let mut fresh = ReadBuf::new(sealed.get_mut(..LOOK_SIZE).unwrap_or_default());
            ready!(Pin::new(tcp).poll_read(cx, &mut fresh))?;
            // no more than has come: who never logs in keeps it until its time is over
            self.records.sealed.reserve_exact(fresh.filled().len());
            self.records.sealed.extend_from_slice(fresh.filled());
            Poll::Ready(Ok(fresh.filled().len()))
        })
    }

    /// Its first message has not come to its end, and is longer than any should be.
    fn says_hello_for_too_long(&self) -> bool {
        let is_server = matches!(self.records.side, Side::Server(_));
        let heard = self.state().negotiated_cipher_suite().is_some();
        is_server && !heard && self.records.sealed.len() > LONGEST_HELLO
    }

    /// Seals bytes of the slices, as many as go into one write, and sends what the socket takes; how many were sealed.
    fn seal(&mut self, tcp: &mut Socket, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|Scratch { plain, out, .. }| {
            let plain = gather(slices, plain);
            let length = self.records.seal(plain, out)?;
            let sealed = out.get(..length).unwrap_or_default();
            // what TLS itself has to say comes first
            let unsent = &mut self.records.unsent;
            let sent = if unsent.is_empty() { write_some(tcp, cx, sealed)? } else { 0 };
            unsent.extend_from_slice(sealed.get(sent..).unwrap_or_default());
            Ok(plain.len())
        })
    }
}

/// Writes until the socket takes no more; how much that was.
fn write_some(tcp: &mut Socket, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match Pin::new(&mut *tcp).poll_write(cx, rest) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(written) => sent += written?,
            Poll::Pending => break,
        }
    }
    Ok(sent)
}

/// The slices as one, at most [`WRITE_SIZE`] of them: small messages share a record.
fn gather<'a>(slices: &'a [IoSlice<'_>], plain: &'a mut Vec<u8>) -> &'a [u8] {
    let mut filled = slices.iter().filter(|slice| !slice.is_empty());
    if let (Some(only), None) = (filled.next(), filled.next()) {
        return only.get(..only.len().min(WRITE_SIZE)).unwrap_or_default();
    }
    plain.clear();
    for slice in slices {
        let room = WRITE_SIZE - plain.len();
        plain.extend_from_slice(slice.get(..slice.len().min(room)).unwrap_or_default());
    }
    plain
}
