//! A connection, with or without TLS: the same reads and writes for both.
//!
//! Without TLS it is the socket and one empty word, and every call goes straight to the socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::reactor::Socket;
use crate::tls::Session;

/// A connection to a client or to a server.
///
/// A write that was [`Poll::Pending`] must be repeated with the same bytes in front, as with OpenSSL: TLS has sealed
/// them already. Whoever gives up on it must not write anything else but the end.
#[derive(Debug)]
pub struct Transport {
    tcp: Socket,
    tls: Option<Box<Session>>,
}

/// A connection off its poller, on the way to another thread.
#[derive(Debug)]
pub struct Parked {
    tcp: std::net::TcpStream,
    tls: Option<Box<Session>>,
}

impl From<Socket> for Transport {
    fn from(tcp: Socket) -> Self {
        Self { tcp, tls: None }
    }
}

impl From<TcpStream> for Transport {
    fn from(tcp: TcpStream) -> Self {
        Socket::from(tcp).into()
    }
}

impl Transport {
    /// The socket below, for what has nothing to do with the bytes on it.
    pub fn tcp(&self) -> &Socket {
        &self.tcp
    }

    /// The TLS on it, if there is any.
    pub fn tls(&self) -> Option<&Session> {
        self.tls.as_deref()
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// Our own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Begins TLS; returns when the handshake is over. Not cancel-safe: to be dropped then.
    ///
    /// An error that is an alert of the peer or a fault of its messages carries a [`rustls::Error`].
    pub async fn secure(&mut self, session: Session) -> io::Result<()> {
        let session = self.tls.insert(Box::new(session));
        let tcp = &mut self.tcp;
        std::future::poll_fn(|cx| session.poll_handshake(tcp, cx)).await
    }

    /// From now on bytes are those on the wire: to see the end of a connection whose content does not matter.
    pub(crate) fn forget_tls(&mut self) {
        self.tls = None;
    }

    /// There is something to read, or the end. Costs no system call while the poller knows of nothing.
    ///
    /// Bytes that TLS has opened already count; such that it cannot open yet do not.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => self.tcp.poll_read_ready(cx),
            Some(session) => session.poll_read_ready(&mut self.tcp, cx),
        }
    }

    /// Waits for something to read. Cancel-safe.
    pub async fn readable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_read_ready(cx)).await
    }

    /// Sends what the socket takes at once; best effort, for a peer that may be stuck.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = Pin::new(self).poll_write(&mut cx, bytes);
    }

    /// Announces the end where TLS wants it announced; what the socket does not take at once is not sent.
    pub(crate) fn say_goodbye(&mut self) {
        if let Some(session) = &mut self.tls {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            session.say_goodbye(&mut self.tcp, &mut cx);
        }
    }

    /// Takes it off this thread's poller.
    pub fn park(self) -> io::Result<Parked> {
        Ok(Parked { tcp: self.tcp.into_std()?, tls: self.tls })
    }
}

impl Parked {
    /// Puts it on this thread's poller.
    pub fn unpark(self) -> io::Result<Transport> {
        Ok(Transport { tcp: Socket::from_std(self.tcp)?, tls: self.tls })
    }
}

impl From<std::net::TcpStream> for Parked {
    fn from(tcp: std::net::TcpStream) -> Self {
        Self { tcp, tls: None }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { tcp, tls } = self.get_mut();
        match tls {
            None => Pin::new(tcp).poll_read(cx, buffer),
            Some(session) => session.poll_read(tcp, cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { tcp, tls } = self.get_mut();
        match tls {
            None => Pin::new(tcp).poll_write(cx, bytes),
            Some(session) => session.poll_write(tcp, cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { tcp, tls } = self.get_mut();
        match tls {
            None => Pin::new(tcp).poll_write_vectored(cx, slices),
            Some(session) => session.poll_write(tcp, cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls } = self.get_mut();
        match tls {
            None => Poll::Ready(Ok(())),
            Some(session) => session.poll_flush(tcp, cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, tls } = self.get_mut();
        match tls {
            None => Pin::new(tcp).poll_shutdown(cx),
            Some(session) => session.poll_shutdown(tcp, cx),
        }
    }
}
