//! `/metrics`, `/healthz` and `/readyz` over a socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "admin/fake.rs"]
mod fake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fake::Fake;
use pgpooler::admin::Console;
use pgpooler::control::Readiness;
use pgpooler::http;
use pgpooler::service::{Service, SignalHandling};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

struct Server {
    fake: Arc<Fake>,
    addr: SocketAddr,
    service: Service,
}

fn server() -> Server {
    let fake = Fake::new();
    let listener = http::bind("127.0.0.1", 0).unwrap();
    let addr = listener.local_addr().unwrap();
    let console = Arc::new(Console::new(fake.clone()));
    let service = Service::spawn(console, Some(listener), SignalHandling::Leave).unwrap();
    Server { fake, addr, service }
}

impl Server {
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(15), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    /// Status and body.
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn metrics_are_told_as_open_metrics() {
    let server = server();
    let answer = server.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(answer.contains("\npgpooler_server_connections_held 5\n"));
    assert!(answer.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_process_whose_loops_answer_is_healthy() {
    assert_eq!(server().get("/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn a_process_with_a_stuck_loop_is_not_healthy_and_says_so_in_time() {
    let server = server();
    server.fake.stuck.send_replace(true);
    let answer = timeout(Duration::from_secs(6), server.get("/healthz")).await.unwrap();
    assert_eq!(answer, (503, "an event loop has not answered within 4 s\n".to_owned()));
    // readiness does not ask the loops
    assert_eq!(server.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_process_that_leaves_is_not_ready_and_says_why() {
    let server = server();
    for readiness in [Readiness::Draining, Readiness::Starting, Readiness::AwaitingGrant] {
        *server.fake.readiness.lock().unwrap() = readiness;
        assert_eq!(server.get("/readyz").await, (503, format!("{}\n", readiness.reason())));
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let server = server();
    assert_eq!(server.get("/").await.0, 404);
    assert_eq!(server.get("/metrics/../healthz").await.0, 404);
    let answer = server.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() {
    let answer = server().send("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_refused_or_cut_off() {
    let server = server();
    let answer = server.send("\x00\x00\x00\x08\x04\u{4}\x16\x2f\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = server.send(&format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000))).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn clients_that_send_no_request_are_closed_and_hold_nobody_up_for_long() {
    let server = server();
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(server.addr).await.unwrap());
    }
    let answer = timeout(Duration::from_secs(12), server.get("/healthz")).await.unwrap();
    assert_eq!(answer.0, 200);
}

#[tokio::test]
async fn a_service_that_is_stopped_ends_its_thread_although_clients_are_connected() {
    let server = server();
    let _silent = TcpStream::connect(server.addr).await.unwrap();
    let stopped = tokio::task::spawn_blocking(move || server.service.stop());
    timeout(Duration::from_secs(3), stopped).await.unwrap().unwrap();
}
