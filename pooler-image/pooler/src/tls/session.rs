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
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Sealed bytes read at once when somebody waits for them.
const READ_SIZE: usize = 64 * 1024;

/// Sealed bytes read at once to see whether there are any: a record is no longer.
const LOOK_SIZE: usize = 17 * 1024;

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
    side: Side,
    /// Read, and not a whole record yet.
    sealed: Vec<u8>,
    /// Opened, and not asked for yet.
    opened: Vec<u8>,
    /// Sealed, and not taken by the socket yet.
    unsent: Vec<u8>,
    /// How many of the writer's bytes are in `unsent`; it is told so when they are gone.
    owed: usize,
    ending: Ending,
}

/// Which side of the handshake we are on.
enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// How far the connection has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Open,
    /// The peer will send nothing more.
    PeerClosed,
}

/// What rustls is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// To be asked again.
    Turn,
    /// Bytes from the peer; the handshake is not over.
    Handshake,
    /// Nothing: the handshake is over.
    Traffic,
    /// Nothing any more.
    End,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("ending", &self.ending).finish_non_exhaustive()
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
        Self { side, sealed, opened: Vec::new(), unsent: Vec::new(), owed: 0, ending: Ending::Open }
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

    /// The protocol that ALPN has settled on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    pub(crate) fn poll_handshake(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let opened = self.open_begun();
            // an alert goes out even if the handshake has failed
            let flushed = self.poll_flush(tcp, cx);
            let wants = opened?;
            ready!(flushed)?;
            // in TLS 1.3 a server could write before it has heard who the client is
            if wants == Wants::Traffic && !self.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if wants == Wants::End || ready!(self.poll_fetch(tcp, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    pub(crate) fn poll_read_ready(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.opened.is_empty() || self.ending == Ending::PeerClosed {
            return Poll::Ready(Ok(()));
        }
        self.poll_open(tcp, cx, LOOK_SIZE, &mut ReadBuf::new(&mut []))
    }

    pub(crate) fn poll_read(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.opened.is_empty() {
            let length = self.opened.len().min(buffer.remaining());
            buffer.put_slice(self.opened.get(..length).unwrap_or_default());
            self.opened.drain(..length);
            if self.opened.is_empty() {
                self.opened = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        if self.ending == Ending::PeerClosed {
            return Poll::Ready(Ok(()));
        }
        let size = buffer.remaining().clamp(LOOK_SIZE, READ_SIZE);
        self.poll_open(tcp, cx, size, buffer)
    }

    /// Takes what all the slices hold, or nothing: see [`Transport`](crate::transport::Transport).
    pub(crate) fn poll_write(
        &mut self,
        tcp: &mut TcpStream,
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
    pub(crate) fn poll_flush(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let sent = write_some(tcp, cx, &self.unsent)?;
        if sent < self.unsent.len() {
            self.unsent.drain(..sent);
            return Poll::Pending;
        }
        self.unsent = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Says goodbye, once, and closes our side.
    pub(crate) fn poll_shutdown(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.say_goodbye();
        ready!(self.poll_flush(tcp, cx))?;
        Pin::new(tcp).poll_shutdown(cx)
    }

    /// Reads once more from the socket while nothing could be opened. What is opened goes to `buffer`, and what does not
    /// fit there stays.
    fn poll_open(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        size: usize,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|Scratch { sealed, .. }| {
            loop {
                let begun = self.sealed.len();
                sealed.resize(sealed.len().max(begun + READ_SIZE), 0);
                let (front, back) = sealed.split_at_mut(begun);
                let mut fresh = ReadBuf::new(back.get_mut(..size).unwrap_or_default());
                ready!(Pin::new(&mut *tcp).poll_read(cx, &mut fresh))?;
                let length = fresh.filled().len();
                if length == 0 {
                    // without a goodbye: messages have lengths, so a cut cannot be taken for an end
                    self.ending = Ending::PeerClosed;
                    return Poll::Ready(Ok(()));
                }
                front.copy_from_slice(&self.sealed);
                self.sealed.clear();
                let before = buffer.filled().len();
                self.open(sealed.get_mut(..begun + length).unwrap_or_default(), buffer)?;
                // an answer of TLS itself; it goes with the next write if the socket does not take it now
                if let Poll::Ready(Err(error)) = self.poll_flush(tcp, cx) {
                    return Poll::Ready(Err(error));
                }
                let came = buffer.filled().len() > before || !self.opened.is_empty();
                if came || self.ending == Ending::PeerClosed {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// Reads once into what has begun; 0: the end.
    fn poll_fetch(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let begun = self.sealed.len();
        self.sealed.resize(begun + LOOK_SIZE, 0);
        let mut fresh = ReadBuf::new(self.sealed.get_mut(begun..).unwrap_or_default());
        let outcome = Pin::new(tcp).poll_read(cx, &mut fresh);
        let length = fresh.filled().len();
        self.sealed.truncate(begun + length);
        ready!(outcome)?;
        Poll::Ready(Ok(length))
    }

    /// Opens what was read in the handshake.
    fn open_begun(&mut self) -> io::Result<Wants> {
        let mut sealed = std::mem::take(&mut self.sealed);
        self.open(&mut sealed, &mut ReadBuf::new(&mut []))
    }

    /// Opens all whole records, and keeps what is left over.
    fn open(&mut self, mut sealed: &mut [u8], buffer: &mut ReadBuf<'_>) -> io::Result<Wants> {
        loop {
            let (discard, wants) = self.step(sealed, buffer);
            sealed = sealed.get_mut(discard..).unwrap_or_default();
            match wants {
                Ok(Wants::Turn) => {}
                Ok(wants) => {
                    self.sealed.extend_from_slice(sealed);
                    self.sealed.shrink_to_fit();
                    return Ok(wants);
                }
                Err(error) => {
                    self.queue_alert();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// One step of rustls. How many bytes it has done with, and what it waits for.
    fn step(&mut self, sealed: &mut [u8], buffer: &mut ReadBuf<'_>) -> (usize, Result<Wants, rustls::Error>) {
        let Self { side, opened, unsent, ending, .. } = self;
        let mut sink = |bytes: &[u8]| {
            let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
            // what is kept comes before what comes now
            if opened.is_empty() {
                buffer.put_slice(now);
                opened.extend_from_slice(later);
            } else {
                opened.extend_from_slice(bytes);
            }
        };
        let (discard, wants) = match side {
            Side::Client(connection) => settle(connection.process_tls_records(sealed), unsent, &mut sink),
            Side::Server(connection) => settle(connection.process_tls_records(sealed), unsent, &mut sink),
        };
        if let Ok(None) = wants {
            *ending = Ending::PeerClosed;
        }
        (discard, wants.map(|wants| wants.unwrap_or(Wants::Turn)))
    }

    /// After a fault: what rustls has to say to it.
    fn queue_alert(&mut self) {
        while let (_, Ok(Wants::Turn)) = self.step(&mut [], &mut ReadBuf::new(&mut [])) {}
    }

    /// Seals bytes of the slices, as many as go into one write, and sends what the socket takes; how many were sealed.
    fn seal(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|Scratch { plain, out, .. }| {
            let plain = gather(slices, plain);
            let Self { side, unsent, .. } = self;
            let length = loop {
                let sealed = match side {
                    Side::Client(connection) => {
                        seal(connection.process_tls_records(&mut []), plain, out, unsent)
                    }
                    Side::Server(connection) => {
                        seal(connection.process_tls_records(&mut []), plain, out, unsent)
                    }
                };
                if let Some(length) = sealed? {
                    break length;
                }
            };
            let sealed = out.get(..length).unwrap_or_default();
            // what TLS itself has to say comes first
            let sent = if unsent.is_empty() { write_some(tcp, cx, sealed)? } else { 0 };
            unsent.extend_from_slice(sealed.get(sent..).unwrap_or_default());
            Ok(plain.len())
        })
    }

    fn say_goodbye(&mut self) {
        let Self { side, unsent, .. } = self;
        match side {
            Side::Client(connection) => while say_goodbye(connection.process_tls_records(&mut []), unsent) {},
            Side::Server(connection) => while say_goodbye(connection.process_tls_records(&mut []), unsent) {},
        }
    }
}

/// Does what rustls asks for. None: the peer has said goodbye.
fn settle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8]),
) -> (usize, Result<Option<Wants>, rustls::Error>) {
    let mut discard = status.discard;
    let wants = match status.state {
        Err(error) => return (discard, Err(error)),
        Ok(ConnectionState::ReadTraffic(mut records)) => {
            while let Some(record) = records.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        sink(record.payload);
                    }
                    Err(error) => return (discard, Err(error)),
                }
            }
            Wants::Turn
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let filled = out.len();
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                out.resize(filled + size.required_size, 0);
                // the size is what it asked for
                let _ = data.encode(out.get_mut(filled..).unwrap_or_default());
            }
            Wants::Turn
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Wants::Turn
        }
        Ok(ConnectionState::BlockedHandshake) => Wants::Handshake,
        Ok(ConnectionState::WriteTraffic(_)) => Wants::Traffic,
        Ok(ConnectionState::PeerClosed) => return (discard, Ok(None)),
        // early data is never accepted, and there are no other states today
        Ok(_) => Wants::End,
    };
    (discard, Ok(Some(wants)))
}

/// Seals bytes into `out`; how many there are then. None: rustls had something else to do first, and is to be asked again.
fn seal<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &[u8],
    out: &mut Vec<u8>,
    unsent: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    let UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut traffic)), .. } = status else {
        return match settle(status, unsent, &mut |_| {}) {
            (_, Ok(Some(Wants::Turn) | None)) => Ok(None),
            (_, Ok(Some(_))) => Err(io::ErrorKind::BrokenPipe.into()),
            (_, Err(error)) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
    };
    loop {
        match traffic.encrypt(plain, out) {
            Ok(length) => return Ok(Some(length)),
            Err(EncryptError::InsufficientSize(size)) => out.resize(size.required_size, 0),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// Writes until the socket takes no more; how much that was.
fn write_some(tcp: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
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

/// Queues `close_notify`; true: to be asked again.
fn say_goodbye<Data>(status: UnbufferedStatus<'_, '_, Data>, unsent: &mut Vec<u8>) -> bool {
    let UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut traffic)), .. } = status else {
        let (_, wants) = settle(status, unsent, &mut |_| {});
        return matches!(wants, Ok(Some(Wants::Turn) | None));
    };
    let filled = unsent.len();
    if let Err(EncryptError::InsufficientSize(size)) = traffic.queue_close_notify(&mut []) {
        unsent.resize(filled + size.required_size, 0);
        let written = traffic.queue_close_notify(unsent.get_mut(filled..).unwrap_or_default());
        unsent.truncate(filled + written.unwrap_or(0));
    }
    false
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
