//! A TCP connection on the thread's poller.

use std::io::{self, IoSlice};
use std::net::{self, Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::local::{self, Seat};
use super::poller::Ready;

/// A TCP connection.
///
/// Belongs to the thread that made it: to the thread's reactor, or to tokio where there is none.
#[derive(Debug)]
pub struct Socket(Kind);

#[derive(Debug)]
enum Kind {
    Own(Own),
    Tokio(Box<TcpStream>),
}

/// A connection on the thread's own poller.
#[derive(Debug)]
struct Own {
    tcp: net::TcpStream,
    key: local::Key,
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self(Kind::Tokio(Box::new(tcp)))
    }
}

impl Socket {
    /// Puts a connection, which must not block, on the thread's poller.
    pub fn from_std(tcp: net::TcpStream) -> io::Result<Self> {
        if local::is_there() {
            let key = local::add(&tcp)?;
            Ok(Self(Kind::Own(Own { tcp, key })))
        } else {
            Ok(TcpStream::from_std(tcp)?.into())
        }
    }

    /// Takes it off the thread's poller.
    pub fn into_std(self) -> io::Result<net::TcpStream> {
        match self.0 {
            Kind::Tokio(tcp) => tcp.into_std(),
            Kind::Own(own) => {
                local::remove(&own.tcp)?;
                Ok(own.tcp)
            }
        }
    }

    /// Connects. Cancel-safe.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        if !local::is_there() {
            return TcpStream::connect(address).await.map(Into::into);
        }
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => return Self::from_std(socket.into()),
            Err(error) if is_under_way(&error) => {}
            Err(error) => return Err(error),
        }
        let connecting = Self::from_std(socket.into())?;
        if let Kind::Own(own) = &connecting.0 {
            local::not_ready(&own.key, Ready::WRITABLE);
            std::future::poll_fn(|cx| own.poll_ready(Ready::WRITABLE, cx)).await;
            if let Some(error) = own.tcp.take_error()? {
                return Err(error);
            }
        }
        Ok(connecting)
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Own(own) => own.tcp.peer_addr(),
            Kind::Tokio(tcp) => tcp.peer_addr(),
        }
    }

    /// Our own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Own(own) => own.tcp.local_addr(),
            Kind::Tokio(tcp) => tcp.local_addr(),
        }
    }

    /// Sends what the socket takes at once, past whatever lies over it.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Own(own) => Ok(rustix::net::send(&own.tcp, bytes, SendFlags::NOSIGNAL)?),
            Kind::Tokio(tcp) => tcp.try_write(bytes),
        }
    }

    pub(crate) fn options(&self) -> SockRef<'_> {
        match &self.0 {
            Kind::Own(own) => SockRef::from(&own.tcp),
            Kind::Tokio(tcp) => SockRef::from(&**tcp),
        }
    }

    /// From now on the seat is told when it is ready; none: nobody is, until a task waits for it.
    pub(crate) fn own(&self, seat: Option<Seat>) {
        if let Kind::Own(own) = &self.0 {
            local::own(&own.key, seat);
        }
    }

    /// There is something to read, or the end, as far as the poller knows. Costs no system call.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Kind::Own(own) => own.poll_ready(Ready::READABLE, cx).map(Ok),
            Kind::Tokio(tcp) => tcp.poll_read_ready(cx),
        }
    }

    /// There is something to read, or the end, as the kernel says: one system call.
    pub(crate) fn has_unread(&self) -> bool {
        match &self.0 {
            Kind::Own(own) => {
                let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
                rustix::net::recv(&own.tcp, &mut [0_u8; 1], flags).err() != Some(Errno::AGAIN)
            }
            // loops have a reactor
            Kind::Tokio(_) => true,
        }
    }

    /// The peer has closed its side, as far as the poller knows. Costs no system call.
    pub(crate) fn is_read_closed(&self) -> bool {
        match &self.0 {
            Kind::Own(own) => local::ready_for(&own.key).intersects(Ready::READ_CLOSED.with(Ready::ERROR)),
            // loops have a reactor
            Kind::Tokio(_) => false,
        }
    }
}

fn is_under_way(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::INPROGRESS)
}

impl Own {
    fn poll_ready(&self, wanted: Ready, cx: &Context<'_>) -> Poll<()> {
        if local::poll(&self.key, wanted, cx) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_read(&self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        loop {
            ready!(self.poll_ready(Ready::READABLE, cx));
            match rustix::net::recv(&self.tcp, &mut *room, RecvFlags::empty()) {
                Ok((length, _)) => {
                    // less than asked for: there is no more, and the next call would only say so
                    if length > 0 && length < room.len() {
                        local::not_ready(&self.key, Ready::READABLE);
                    }
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => local::not_ready_at_all(&self.key),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_write(&self, cx: &Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(Ready::WRITABLE, cx));
            let written = match slices {
                [only] => rustix::net::send(&self.tcp, only, SendFlags::NOSIGNAL),
                // Rust's runtime has SIGPIPE ignored
                slices => rustix::io::writev(&self.tcp, slices),
            };
            match written {
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(Errno::AGAIN) => local::not_ready(&self.key, Ready::WRITABLE),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Own(own) => own.poll_read(cx, buffer),
            Kind::Tokio(tcp) => Pin::new(&mut **tcp).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Own(own) => own.poll_write(cx, slices),
            Kind::Tokio(tcp) => Pin::new(&mut **tcp).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Own(own) => Poll::Ready(own.tcp.shutdown(Shutdown::Write)),
            Kind::Tokio(tcp) => Pin::new(&mut **tcp).poll_shutdown(cx),
        }
    }
}
