//! One connection of the load: a socket that never blocks, with or without TLS.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use pgpooler_test_support::wire;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{login::Login, scan::Scan};

/// A connection and what it is about to do.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// Reads its replies.
    pub(crate) scan: Scan,
    unsent: Option<Unsent>,
}

/// Where a client is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The TCP connection is not there yet.
    Connecting,
    /// Waits for the answer to `SSLRequest`.
    AskingForTls(Arc<ClientConfig>),
    /// Shakes hands or logs in.
    LoggingIn(Option<Login>),
    /// Waits for nothing.
    Idle,
    /// Waits for a reply since then.
    Waiting(Instant),
    /// Is gone.
    Closed,
}

/// What the socket did not take.
#[derive(Debug)]
struct Unsent {
    bytes: Rc<[u8]>,
    from: usize,
}

impl Client {
    /// Begins to connect to a port of 127.0.0.1 from another address of the loopback interface.
    pub(crate) fn connect(port: u16, from: Ipv4Addr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if from != Ipv4Addr::LOCALHOST {
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(SocketAddrV4::new(from, 0))).context("bind a source address")?;
        }
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error).context("connect");
            }
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        Ok(Self { stream, tls: None, phase: Phase::Connecting, scan: Scan::default(), unsent: None })
    }

    /// The socket, for epoll.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The error of a connection that could not be made.
    pub(crate) fn connected(&self) -> Result<()> {
        self.stream.take_error()?.map_or(Ok(()), Err).context("connect")
    }

    /// Begins TLS inside of the connection.
    pub(crate) fn secure(&mut self, config: &Arc<ClientConfig>) -> Result<()> {
        let tls = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        self.tls = Some(Box::new(tls));
        self.flush_tls()
    }

    /// Sends bytes that exist only once; they are few.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(&Rc::from(bytes))
    }

    /// Sends bytes; what the socket does not take goes out by [`flush`](Self::flush).
    pub(crate) fn send(&mut self, bytes: &Rc<[u8]>) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes).context("send")?;
            return self.flush_tls();
        }
        let sent = match self.stream.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).context("send"),
        };
        if sent < bytes.len() {
            self.unsent = Some(Unsent { bytes: Rc::clone(bytes), from: sent });
        }
        Ok(())
    }

    /// Sends what is left over, as far as the socket takes it; whether that was all.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        if self.tls.is_some() {
            self.flush_tls()?;
        }
        while let Some(unsent) = &mut self.unsent {
            let Some(rest) = unsent.bytes.get(unsent.from..).filter(|rest| !rest.is_empty()) else {
                self.unsent = None;
                break;
            };
            match self.stream.write(rest) {
                Ok(sent) => unsent.from += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("send"),
            }
        }
        Ok(true)
    }

    /// Reads what has come into `buffer`; none: nothing for now, zero: the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let Some(tls) = &mut self.tls else { return unless_blocked(self.stream.read(buffer)) };
        loop {
            match unless_blocked(tls.reader().read(buffer))? {
                Some(length) if length > 0 => return Ok(Some(length)),
                _ => {}
            }
            match unless_blocked(tls.read_tls(&mut self.stream))? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0)),
                Some(_) => {
                    tls.process_new_packets().context("TLS")?;
                    while tls.wants_write() && unless_blocked(tls.write_tls(&mut self.stream))?.is_some() {}
                }
            }
        }
    }

    /// Says goodbye as libpq does; the socket closes with the value.
    pub(crate) fn leave(&mut self) {
        if !matches!(self.phase, Phase::Closed | Phase::Connecting) {
            // a peer that is gone already needs no goodbye
            let _ = self.send_now(&wire::terminate());
        }
        self.phase = Phase::Closed;
    }

    fn flush_tls(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() && unless_blocked(tls.write_tls(&mut self.stream))?.is_some() {}
        }
        Ok(())
    }
}

fn unless_blocked(result: io::Result<usize>) -> Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("the connection broke"),
    }
}
