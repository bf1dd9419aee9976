//! What every TCP connection of ours has in common.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead as _, ReadBuf};

use crate::transport::Transport;

/// A peer that vanished is noticed after two minutes; cloud networks drop silent connections after four or more.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_mins(1))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Bytes asked for at once while logging in.
const CHUNK: usize = 2048;

/// Sends without delay, and notices a vanished peer. What a listener accepts takes after it.
pub(crate) fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)
}

/// Appends what the peer has sent; 0: it has closed. Cancel-safe.
///
/// For logins: read to the stack, so that a peer costs no more memory than it has sent bytes, and a silent one none.
pub(crate) async fn read_more(stream: &mut Transport, input: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut chunk))?;
        input.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    })
    .await
}
