//! The console over a socket.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod columns;
mod commands;
mod fake;
mod protocol;

use std::sync::Arc;

use fake::Fake;
use pgpooler::admin::{self, Access, AdminClient, Console};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_postgres::{Client, NoTls};

const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

/// A console with one client, whose login is over.
struct Session {
    fake: Arc<Fake>,
    stream: TcpStream,
    /// Dropped or sent to: the process ends.
    stop: oneshot::Sender<()>,
}

async fn session(access: Access) -> Session {
    session_with(access, Vec::new()).await
}

async fn session_with(access: Access, leftover: Vec<u8>) -> Session {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (served, _) = listener.accept().await.unwrap();
    let fake = Fake::new();
    let console = Arc::new(Console::new(fake.clone()));
    let (stop, stopped) = oneshot::channel();
    let client = AdminClient { user: "ann".into(), access, key: None, id: 77, socket: fake::socket() };
    tokio::spawn(admin::serve(served, client, leftover, console, async {
        let _ = stopped.await;
    }));
    Session { fake, stream, stop }
}

/// The same through a driver, which wants to log in first.
async fn driver(access: Access) -> (Client, Arc<Fake>, oneshot::Sender<()>) {
    let Session { fake, mut stream, stop } = session(access).await;
    let (mut outside, inside) = tokio::io::duplex(1 << 16);
    let config = "user=ann dbname=pgpooler".parse::<tokio_postgres::Config>().unwrap();
    tokio::spawn(async move {
        let mut startup = vec![0; outside.read_u32().await.unwrap() as usize - 4];
        outside.read_exact(&mut startup).await.unwrap();
        outside.write_all(AUTHENTICATION_OK).await.unwrap();
        tokio::io::copy_bidirectional(&mut outside, &mut stream).await
    });
    let (client, connection) = config.connect_raw(inside, NoTls).await.unwrap();
    tokio::spawn(connection);
    (client, fake, stop)
}
