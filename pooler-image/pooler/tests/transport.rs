//! A connection with TLS, over sockets that take little at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use pgpooler::tls::Tls;
use pgpooler::transport::Transport;
use pgpooler_config::{Document, TlsMode};
use pgpooler_test_support::Authority;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn tls() -> Tls {
    let folder = tempfile::tempdir().unwrap();
    let certified = Authority::new("authority").unwrap().certify("pooler", &["localhost"]).unwrap();
    let (certificate, key) = certified.write(folder.path(), "pooler").unwrap();
    let document = Document {
        client_tls_sslmode: TlsMode::Prefer,
        client_tls_cert_file: Some(certificate),
        client_tls_key_file: Some(key),
        ..Document::default()
    };
    Tls::load(&document, folder.path(), &|path| std::fs::read(path)).unwrap()
}

/// Two ends of a connection; buffers in the kernel are small.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(listener.local_addr().unwrap())).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (server, _) = listener.accept().await.unwrap();
    SockRef::from(&server).set_send_buffer_size(4096).unwrap();
    (TcpStream::from_std(socket.into()).unwrap(), server)
}

/// The same with TLS: client, and server as the pooler is one.
async fn secured() -> (Transport, Transport) {
    let tls = tls();
    let (client, server) = pair().await;
    let (mut client, mut server) = (Transport::from(client), Transport::from(server));
    let peer = tls.servers.peer("localhost", [127, 0, 0, 1].into()).unwrap().unwrap();
    let (one, two) = tokio::join!(
        client.secure(peer.session().unwrap()),
        server.secure(tls.clients.as_ref().unwrap().session(Vec::new()).unwrap())
    );
    one.unwrap();
    two.unwrap();
    (client, server)
}

#[tokio::test]
async fn what_was_written_arrives_without_another_write() {
    let (mut client, mut server) = secured().await;
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let writer = async {
        server.write_all(&sent).await.unwrap();
        server
    };
    let reader = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut read = vec![0; expected.len()];
        for part in read.chunks_mut(1000) {
            client.read_exact(part).await.unwrap();
        }
        read
    };
    let (_server, read) = timeout(PATIENCE, async { tokio::join!(writer, reader) }).await.unwrap();
    assert!(read == expected);
}

#[tokio::test]
async fn small_reads_of_a_large_record_never_wait_for_another() {
    let (mut client, mut server) = secured().await;
    client.write_all(&[7; 3000]).await.unwrap();
    for _ in 0..300 {
        let mut part = [0; 10];
        timeout(PATIENCE, server.readable()).await.unwrap().unwrap();
        assert_eq!(timeout(PATIENCE, server.read(&mut part)).await.unwrap().unwrap(), 10);
    }
    assert!(timeout(Duration::from_millis(30), server.readable()).await.is_err());
}

#[tokio::test]
async fn it_can_be_moved_to_another_thread_with_what_is_opened_and_what_has_begun() {
    let (mut client, mut server) = secured().await;
    client.write_all(b"hello, world").await.unwrap();
    let mut part = [0; 5];
    server.read_exact(&mut part).await.unwrap();
    let parked = server.park().unwrap();
    let echo = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut server = parked.unpark().unwrap();
            let mut rest = [0; 7];
            server.read_exact(&mut rest).await.unwrap();
            server.write_all(&rest).await.unwrap();
            server.shutdown().await.unwrap();
        });
    });
    let mut heard = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!((&part[..], &heard[..]), (&b"hello"[..], &b", world"[..]));
    echo.join().unwrap();
}

#[tokio::test]
async fn a_half_closed_connection_still_carries_the_answer() {
    let (mut client, mut server) = secured().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    timeout(PATIENCE, server.read_to_end(&mut heard)).await.unwrap().unwrap();
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!((&heard[..], &answer[..]), (&b"question"[..], &b"answer"[..]));
}

#[tokio::test]
async fn a_record_that_the_peer_has_not_sealed_is_an_error_and_no_data() {
    let (client, mut server) = secured().await;
    client.tcp().try_write(&[&[0x17, 3, 3, 0, 30][..], &[0; 30]].concat()).unwrap();
    let outcome = timeout(PATIENCE, server.read(&mut [0; 100])).await.unwrap();
    assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}
