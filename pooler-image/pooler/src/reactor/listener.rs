//! A port on the thread's poller.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::local;
use super::poller::Ready;

/// A port that connections come to.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    key: local::Key,
}

impl Listener {
    /// Puts a listener, which must not block, on the thread's poller.
    pub(crate) fn from_std(tcp: TcpListener) -> io::Result<Self> {
        let key = local::add(&tcp)?;
        Ok(Self { tcp, key })
    }

    /// The next connection, which does not block and is on nobody's poller yet. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            poll_fn(|cx| {
                if local::poll(&self.key, Ready::READABLE, cx) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            match acceptfrom_with(&self.tcp, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((stream, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    return Ok((stream.into(), peer.ok_or(io::ErrorKind::AddrNotAvailable)?));
                }
                Err(Errno::AGAIN) => local::not_ready_at_all(&self.key),
                // whoever it was has given up
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
