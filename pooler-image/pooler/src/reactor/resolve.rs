//! Names of hosts, resolved by the system on a thread of their own.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::oneshot;

/// The addresses of a host. Cancel-safe; an address needs no thread.
pub(crate) async fn lookup_host((host, port): (&str, u16)) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (answer, answered) = oneshot::channel();
    let host = host.to_owned();
    thread::Builder::new().name("pgpooler-resolve".to_owned()).spawn(move || {
        let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // whoever asked may have given up
        let _ = answer.send(addresses);
    })?;
    answered.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}
