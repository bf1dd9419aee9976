//! What every TCP connection of ours has in common.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;

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
/// For logins: a buffer is taken only once there is something to read, so that a silent peer costs none.
pub(crate) async fn read_more(stream: &mut Transport, input: &mut Vec<u8>) -> io::Result<usize> {
    stream.readable().await?;
    input.reserve(CHUNK);
    stream.read_buf(input).await
}
