//! The console byte by byte.

use std::time::Duration;

use pgpooler::admin::Access;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::{Session, session, session_with};

/// A client that sees messages.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) session_end: tokio::sync::oneshot::Sender<()>,
    pub(crate) fake: std::sync::Arc<crate::fake::Fake>,
}

impl Wire {
    pub(crate) async fn open(access: Access) -> Self {
        let mut wire = Self::of(session(access).await);
        wire.until_ready().await;
        wire
    }

    fn of(Session { fake, stream, stop }: Session) -> Self {
        Self { stream, session_end: stop, fake }
    }

    pub(crate) async fn message(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let tag = self.stream.read_u8().await.unwrap();
            let mut body = vec![0; self.stream.read_u32().await.unwrap() as usize - 4];
            self.stream.read_exact(&mut body).await.unwrap();
            (tag, body)
        };
        timeout(Duration::from_secs(5), read).await.expect("a message within five seconds")
    }

    /// Tags of all messages up to ReadyForQuery.
    async fn until_ready(&mut self) -> String {
        let mut tags = String::new();
        while !tags.ends_with('Z') {
            tags.push(char::from(self.message().await.0));
        }
        tags
    }

    /// The fields of the next message, which is to be an error.
    async fn error(&mut self) -> String {
        let (tag, body) = self.message().await;
        assert_eq!(tag, b'E');
        String::from_utf8_lossy(&body).replace('\0', " ")
    }

    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), self.stream.read_to_end(&mut rest))
            .await
            .is_ok_and(|read| read.is_ok())
            && rest.is_empty()
    }
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(body);
    message
}

pub(crate) fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

#[tokio::test]
async fn a_session_begins_with_parameters_and_ready_for_query() {
    let mut wire = Wire::of(session(Access::Stats).await);
    let (tag, body) = wire.message().await;
    assert_eq!(tag, b'S');
    assert_eq!(body, concat!("server_version\0", env!("CARGO_PKG_VERSION"), "/pgpooler\0").as_bytes());
    assert_eq!(wire.until_ready().await, "SSSSSSSZ");
}

#[tokio::test]
async fn a_query_that_arrives_byte_by_byte_is_answered_once() {
    let mut wire = Wire::open(Access::Stats).await;
    for byte in query("SHOW VERSION;") {
        wire.stream.write_all(&[byte]).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(wire.until_ready().await, "TDCZ");
}

#[tokio::test]
async fn queries_sent_in_one_go_are_answered_in_order() {
    let mut wire = Wire::open(Access::Stats).await;
    let queries =
        [query("SHOW VERSION"), query("SHOW NONSENSE"), query(""), query("SHOW LISTS; SHOW VERSION")];
    wire.stream.write_all(&queries.concat()).await.unwrap();
    assert_eq!(wire.until_ready().await, "TDCZ");
    assert_eq!(wire.until_ready().await, "EZ");
    assert_eq!(wire.until_ready().await, "IZ");
    assert_eq!(wire.until_ready().await, format!("T{}CTDCZ", "D".repeat(14)));
}

#[tokio::test]
async fn what_was_read_behind_the_login_is_not_lost() {
    let mut wire = Wire::of(session_with(Access::Stats, query("SHOW VERSION")).await);
    wire.until_ready().await;
    assert_eq!(wire.until_ready().await, "TDCZ");
}

#[tokio::test]
async fn the_extended_protocol_is_refused_once_and_the_session_goes_on_after_sync() {
    let mut wire = Wire::open(Access::Stats).await;
    let parse = message(b'P', b"\0SHOW VERSION\0\0\0");
    let bind = message(b'B', &[0; 8]);
    let execute = message(b'E', &[0; 5]);
    let sync = message(b'S', b"");
    wire.stream.write_all(&[parse, bind, query("SHOW VERSION"), execute, sync].concat()).await.unwrap();
    let error = wire.error().await;
    assert!(error.contains("C0A000") && error.contains("simple query protocol"), "{error}");
    assert_eq!(wire.until_ready().await, "Z");
    wire.stream.write_all(&query("SHOW VERSION")).await.unwrap();
    assert_eq!(wire.until_ready().await, "TDCZ");
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_session_with_a_reason() {
    let mut wire = Wire::open(Access::Stats).await;
    wire.stream.write_all(&query(&"x".repeat(70_000))).await.unwrap();
    let error = wire.error().await;
    assert!(error.contains("VFATAL") && error.contains("C08P01"), "{error}");
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_message_of_an_impossible_length_ends_the_session_with_a_reason() {
    let mut wire = Wire::open(Access::Stats).await;
    wire.stream.write_all(b"Q\0\0\0\x03").await.unwrap();
    assert!(wire.error().await.contains("C08P01"));
}

#[tokio::test]
async fn a_password_out_of_turn_ends_the_session() {
    let mut wire = Wire::open(Access::Stats).await;
    wire.stream.write_all(&message(b'p', b"secret\0")).await.unwrap();
    assert!(wire.error().await.contains("C08P01"));
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn terminate_ends_the_session_without_a_word() {
    let mut wire = Wire::open(Access::Stats).await;
    wire.stream.write_all(&message(b'X', b"")).await.unwrap();
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn the_end_of_the_process_is_told_to_whoever_is_on_the_console() {
    let mut wire = Wire::open(Access::Stats).await;
    let (end, _) = tokio::sync::oneshot::channel();
    let session_end = std::mem::replace(&mut wire.session_end, end);
    session_end.send(()).unwrap();
    assert!(wire.error().await.contains("C57P01"));
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_session_that_kills_itself_is_answered_and_then_told_so() {
    let mut wire = Wire::open(Access::Admin).await;
    wire.stream.write_all(&query("KILL_CLIENT 77")).await.unwrap();
    assert_eq!(wire.until_ready().await, "CZ");
    let error = wire.error().await;
    assert!(error.contains("C08P01") && error.contains("admin forced disconnect"), "{error}");
    assert!(wire.is_closed().await);
    assert!(wire.fake.calls().is_empty());
}

#[tokio::test]
async fn a_pause_is_answered_when_it_has_taken_effect_and_what_came_meanwhile_is_answered_then() {
    let mut wire = Wire::open(Access::Admin).await;
    wire.fake.stuck.send_replace(true);
    wire.stream.write_all(&[query("PAUSE orders"), query("SHOW VERSION")].concat()).await.unwrap();
    assert!(timeout(Duration::from_millis(100), wire.stream.peek(&mut [0])).await.is_err());
    assert_eq!(wire.fake.calls(), ["pause orders"]);
    wire.fake.stuck.send_replace(false);
    assert_eq!(wire.until_ready().await, "CZ");
    assert_eq!(wire.until_ready().await, "TDCZ");
}

#[tokio::test]
async fn a_client_that_leaves_during_a_pause_leaves_no_session_behind() {
    let mut wire = Wire::open(Access::Admin).await;
    wire.fake.stuck.send_replace(true);
    wire.stream.write_all(&query("PAUSE")).await.unwrap();
    wire.stream.shutdown().await.unwrap();
    assert!(wire.is_closed().await);
}
