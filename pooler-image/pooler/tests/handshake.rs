//! The two logins over real sockets: ours as a server against ours as a client, and against scripted peers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use pgpooler::auth::{AuthState, User};
use pgpooler::connect::{
    ConnectError, ConnectErrorKind, ConnectRequest, ServerLogin, close_and_wait_eof, connect,
};
use pgpooler::handshake::{Accepted, Client, HandshakeError, accept};
use pgpooler::tls::{ServerTls, Tls};
use pgpooler_config::{Document, Target, TlsMode, Userlist};
use pgpooler_core::route::Route;
use pgpooler_core::scram::ScramVerifier;
use pgpooler_core::wire::{CancelKey, ErrorResponse, SqlState, TransactionStatus, backend, frontend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const LIMIT: Duration = Duration::from_secs(5);

fn users(list: &str) -> AuthState {
    AuthState::new(&Userlist::parse(list).unwrap(), &Document::default()).unwrap()
}

fn user(list: &str) -> Arc<User> {
    Arc::clone(users(list).listed("ann").unwrap())
}

async fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Target { host: "localhost".to_owned(), port, ..Target::default() })
}

/// Takes one connection, greets the client as a server would, and gives both to the test.
async fn serve(listener: TcpListener, auth: AuthState) -> Result<Client, HandshakeError> {
    let (stream, _) = listener.accept().await.unwrap();
    let Accepted::Client(mut client) = accept(stream, &auth, &Tls::default(), LIMIT).await? else {
        panic!("not a client")
    };
    backend::parameter_status(&mut client.out, "TimeZone", "UTC");
    backend::backend_key_data(&mut client.out, &CancelKey::new(7, b"abcd").unwrap());
    backend::ready_for_query(&mut client.out, TransactionStatus::Idle);
    client.stream.write_all(&client.out).await.unwrap();
    Ok(*client)
}

async fn login(target: &Target, user: &User) -> Result<ServerLogin, ConnectError> {
    let settings = [("geqo".to_owned(), "off".to_owned())];
    let request = ConnectRequest {
        target,
        route: Route::default(),
        measures: false,
        tls: &ServerTls::default(),
        database: "shop",
        user,
        application_name: "pod-1",
        settings: &settings,
        limit: LIMIT,
    };
    connect(request).await
}

/// Both sides at once, with the server's list and the client's.
async fn meet(
    server: &str,
    client: &str,
) -> (Result<Client, HandshakeError>, Result<ServerLogin, ConnectError>) {
    let (listener, target) = listen().await;
    let user = user(client);
    tokio::join!(serve(listener, users(server)), login(&target, &user))
}

#[tokio::test]
async fn a_login_brings_parameters_and_cancel_key() {
    let (client, server) = meet("\"ann\" \"secret\"", "\"ann\" \"secret\"").await;
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.user.name(), "ann");
    assert_eq!(
        (client.parameters.database.as_str(), client.parameters.application_name.as_str()),
        ("shop", "pod-1")
    );
    assert_eq!(client.parameters.settings, [("geqo".to_owned(), "off".to_owned())]);
    assert_eq!(server.parameters, [("TimeZone".to_owned(), "UTC".to_owned())]);
    assert_eq!(server.backend_key, CancelKey::new(7, b"abcd"));
    assert!(client.input.is_empty() && server.input.is_empty());
}

#[tokio::test]
async fn md5_hashes_on_either_side_will_do() {
    let hash = format!("\"ann\" \"{}\"", pgpooler_core::md5::stored("secret", "ann"));
    for (server, client) in [(&hash[..], "\"ann\" \"secret\""), (&hash, &hash)] {
        let (client, server) = meet(server, client).await;
        assert!(client.is_ok() && server.is_ok());
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    for list in ["\"ann\" \"other\"", "\"bob\" \"secret\""] {
        let (client, server) = meet(list, "\"ann\" \"secret\"").await;
        assert!(matches!(client, Err(HandshakeError::Refused(_))));
        let error = server.unwrap_err();
        assert_eq!(error.kind.sqlstate(), Some(SqlState::INVALID_PASSWORD));
        assert!(!error.kind.is_temporary());
        let expected = ErrorResponse::fatal(
            SqlState::INVALID_PASSWORD,
            "password authentication failed for user \"ann\"",
        );
        assert_eq!(error.kind.error_response(), Some(&expected.to_bytes()[..]));
        assert!(close_and_wait_eof(error.stream.unwrap(), LIMIT).await);
    }
}

#[tokio::test]
async fn a_client_s_login_reveals_the_keys_for_a_server_with_the_same_verifier() {
    let verifier = format!("\"ann\" \"{}\"", ScramVerifier::derive("secret", b"salt", 4096));
    let middle = users(&verifier);
    let user = Arc::clone(middle.listed("ann").unwrap());
    // before any client has come, nothing is known
    let (listener, target) = listen().await;
    let attempt = async { login(&target, &user).await.map_err(|error| error.kind) };
    let (_, server) = tokio::join!(serve(listener, users(&verifier)), attempt);
    assert!(matches!(server, Err(ConnectErrorKind::Login(_))));
    // a client with the password comes
    let (listener, target) = listen().await;
    let password = self::user("\"ann\" \"secret\"");
    let (client, _) = tokio::join!(serve(listener, middle), login(&target, &password));
    assert!(client.is_ok());
    // now the server opens
    let (listener, target) = listen().await;
    let (_, server) = tokio::join!(serve(listener, users(&verifier)), login(&target, &user));
    assert!(server.is_ok());
}

#[tokio::test]
async fn a_cancel_request_is_told_from_a_client() {
    let (listener, target) = listen().await;
    let key = CancelKey::new(42, b"0123456789").unwrap();
    let mut client = TcpStream::connect((target.host.as_str(), target.port)).await.unwrap();
    let mut request = Vec::new();
    frontend::cancel_request(&mut request, &key);
    client.write_all(&request).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let accepted = accept(stream, &users(""), &Tls::default(), LIMIT).await.unwrap();
    let Accepted::Cancel(found, connection) = accepted else { panic!("{accepted:?}") };
    assert!(found == key);
    let mut answer = [0; 9];
    assert!(
        tokio::time::timeout(Duration::from_millis(50), client.read(&mut answer)).await.is_err(),
        "dealt with already?"
    );
    drop(connection);
    assert_eq!(client.read(&mut answer).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_or_stays_silent_is_an_error_of_its_kind() {
    let (listener, target) = listen().await;
    drop(TcpStream::connect((target.host.as_str(), target.port)).await.unwrap());
    let (stream, _) = listener.accept().await.unwrap();
    assert!(matches!(
        accept(stream, &users(""), &Tls::default(), LIMIT).await,
        Err(HandshakeError::Disconnected)
    ));
    let mut silent = TcpStream::connect((target.host.as_str(), target.port)).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let outcome = accept(stream, &users(""), &Tls::default(), Duration::from_millis(20)).await;
    assert!(matches!(outcome, Err(HandshakeError::Timeout(_))));
    let mut told = String::new();
    silent.read_to_string(&mut told).await.unwrap();
    assert!(told.contains("canceling authentication due to timeout"), "{told:?}");
}

#[tokio::test]
async fn a_full_or_starting_server_is_worth_waiting_for() {
    for sqlstate in [SqlState::TOO_MANY_CONNECTIONS, SqlState::CANNOT_CONNECT_NOW] {
        let (listener, target) = listen().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1000]).await.unwrap();
            stream.write_all(&ErrorResponse::fatal(sqlstate, "no").to_bytes()).await.unwrap();
        };
        let user = user("\"ann\" \"secret\"");
        let ((), outcome) = tokio::join!(server, login(&target, &user));
        let error = outcome.unwrap_err();
        assert!(matches!(error.kind, ConnectErrorKind::Busy(_)), "{error}");
        assert!(error.kind.is_temporary() && error.stream.is_some());
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_apart() {
    let user = user("\"ann\" \"secret\"");
    let (listener, target) = listen().await;
    drop(listener);
    let refused = login(&target, &user).await.unwrap_err();
    assert!(matches!(refused.kind, ConnectErrorKind::Connect(_)) && refused.stream.is_none());
    // too long for a label: no resolver asks the network for it
    let nowhere = Target { host: "x".repeat(64), ..Target::default() };
    let unknown = login(&nowhere, &user).await.unwrap_err();
    assert!(matches!(unknown.kind, ConnectErrorKind::Resolve(_)), "{unknown}");
}

#[tokio::test]
async fn a_stuck_login_times_out_and_keeps_its_connection() {
    let (_listener, target) = listen().await;
    let user = user("\"ann\" \"secret\"");
    let request = ConnectRequest {
        target: &target,
        route: Route::default(),
        measures: false,
        tls: &ServerTls::default(),
        database: "shop",
        user: &user,
        application_name: "",
        settings: &[],
        limit: Duration::from_millis(30),
    };
    let error = connect(request).await.unwrap_err();
    assert!(matches!(error.kind, ConnectErrorKind::Timeout(_)));
    // the server never closes: the slot must be thought taken
    assert!(!close_and_wait_eof(error.stream.unwrap(), Duration::from_millis(30)).await);
}

#[tokio::test]
async fn closing_waits_for_the_end_of_the_server() {
    let (listener, target) = listen().await;
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (release, released) = oneshot::channel();
    let closing = tokio::spawn(close_and_wait_eof(stream.into(), LIMIT));
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"X\0\0\0\x04");
    tokio::spawn(async move {
        released.await.unwrap();
        drop(server);
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!closing.is_finished());
    release.send(()).unwrap();
    assert!(closing.await.unwrap());
}

/// Against a real server: `PGPOOLER_TEST_LOGIN='host port database user password' cargo test`.
#[tokio::test]
async fn a_real_server_is_entered() {
    let Ok(login) = std::env::var("PGPOOLER_TEST_LOGIN") else { return };
    let [host, port, database, user, password] = login.split(' ').collect::<Vec<_>>()[..] else {
        panic!("PGPOOLER_TEST_LOGIN")
    };
    let target = Target { host: host.to_owned(), port: port.parse().unwrap(), ..Target::default() };
    let users = users(&format!("\"{user}\" \"{password}\""));
    let request = ConnectRequest {
        target: &target,
        route: Route::default(),
        measures: false,
        tls: &ServerTls::default(),
        database,
        user: users.listed(user).unwrap(),
        application_name: "pod-1",
        settings: &[],
        limit: LIMIT,
    };
    for _ in 0..2 {
        let session = connect(request).await.unwrap();
        let name = session.parameters.iter().find(|(name, _)| name == "application_name").unwrap();
        assert_eq!(name.1, "pod-1");
        assert!(session.backend_key.is_some());
        assert!(close_and_wait_eof(session.stream, LIMIT).await);
    }
}

/// A server that answers an SSLRequest so, and what a login with this mode comes to.
async fn answered(mode: TlsMode, answer: &'static [u8]) -> (Vec<u8>, ConnectError) {
    let (listener, target) = listen().await;
    let document = Document { server_tls_sslmode: mode, ..Document::default() };
    let tls = Tls::load(&document, std::path::Path::new(""), &|path| std::fs::read(path)).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(answer).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut rest).await;
        rest
    });
    let user = user("\"ann\" \"secret\"");
    let request = ConnectRequest {
        target: &target,
        route: Route::default(),
        measures: false,
        tls: &tls.servers,
        database: "shop",
        user: &user,
        application_name: "",
        settings: &[],
        limit: LIMIT,
    };
    let mut error = connect(request).await.unwrap_err();
    drop(error.stream.take());
    (server.await.unwrap(), error)
}

#[tokio::test]
async fn bytes_behind_the_answer_about_tls_are_never_taken_for_the_server_s() {
    for mode in [TlsMode::Prefer, TlsMode::Require] {
        let (_, error) = answered(mode, b"SR\0\0\0\x08\0\0\0\0").await;
        assert!(matches!(error.kind, ConnectErrorKind::EarlyData), "{error}");
        assert!(!error.kind.is_temporary());
    }
}

#[tokio::test]
async fn an_answer_about_tls_that_is_none_is_told_as_what_it_is() {
    let (said, error) = answered(TlsMode::Require, b"N").await;
    assert!(matches!(error.kind, ConnectErrorKind::NoTls) && said.len() <= 5, "{error} {said:?}");
    let (_, error) = answered(TlsMode::Prefer, b"HTTP/1.1 400 Bad Request\r\n").await;
    assert!(matches!(error.kind, ConnectErrorKind::NotPostgres), "{error}");
    let (said, error) = answered(TlsMode::Prefer, b"N").await;
    assert!(matches!(error.kind, ConnectErrorKind::Lost(_)), "{error}");
    assert!(said.windows(4).any(|part| part == b"shop"));
}

#[tokio::test]
async fn a_server_that_answers_with_an_error_instead_is_heard() {
    const FULL: &[u8] = b"E\0\0\0\x24SFATAL\0C53300\0Mno room for you\0\0";
    let (_, error) = answered(TlsMode::Prefer, FULL).await;
    assert_eq!(error.kind.sqlstate(), Some(SqlState::TOO_MANY_CONNECTIONS), "{error}");
}
