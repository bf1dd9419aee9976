//! From a client that has proven who it is to one that may ask for something.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use pgpooler_config::{Document, PoolMode};
use pgpooler_core::cancel::KeyForm;
use pgpooler_core::session::{self, Naming, ServerFault, Settings, Unit};
use pgpooler_core::startup::StartupParameters;
use pgpooler_core::wire::error_response::field;
use pgpooler_core::wire::{ErrorFields, ErrorResponse, Severity, SqlState, TransactionStatus, backend};
use tokio::io::AsyncWriteExt;
use tracing::debug;

use crate::admin::{self, AdminClient};
use crate::event_loop::buffers::{Carry, Spill, poll_read};
use crate::event_loop::checkout::Refusal;
use crate::event_loop::client::{ClientConn, ClientShared, Kick};
use crate::event_loop::pool::Pool;
use crate::event_loop::refuse;
use crate::event_loop::server::ServerConn;
use crate::event_loop::worker::{Scratch, Worker};
use crate::handshake;
use crate::process::Welcome;
use crate::report::{Refused, SocketReport};
use crate::tls::Session;
use crate::transport::Transport;

pub(super) async fn console(worker: &Rc<Worker>, client: handshake::Client, document: &Document) {
    let handshake::Client { mut stream, parameters, input, out, .. } = client;
    let Some(access) = admin::access(document, &parameters.user) else {
        let error = ErrorResponse::fatal(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            format!("user \"{}\" may not use the admin console", parameters.user),
        )
        .hint("List it in admin_users or stats_users.");
        worker.count_error(error.sqlstate.as_str());
        let _ = stream.write_all(&[out, error.to_bytes()].concat()).await;
        return;
    };
    worker.logins.borrow_mut().client_succeeded += 1;
    let Some(socket) = socket_report(&stream) else { return };
    let id = worker.process.next_id();
    let who = AdminClient { user: parameters.user, access, key: None, id, socket };
    let entered = match stream.write_all(&out).await.and_then(|()| stream.park()) {
        Ok(stream) => worker.process.door.get().is_some_and(|door| door.enter(stream, who, input)),
        Err(_) => false,
    };
    if !entered {
        debug!("console session did not begin");
    }
}

/// None: the client has left.
fn socket_report(stream: &Transport) -> Option<SocketReport> {
    Some(SocketReport {
        peer: stream.peer_addr().ok()?,
        local: stream.local_addr().ok()?,
        connected: crate::wall::now(),
        tls: stream.tls().and_then(Session::protocol).map(|tls| tls.to_string()).unwrap_or_default(),
    })
}

pub(super) async fn seat(
    worker: &Rc<Worker>,
    client: handshake::Client,
    peer: SocketAddr,
    document: &Document,
) -> Option<ClientConn> {
    let client = let_in(worker, client, document).await?;
    let handshake::Client { stream, parameters, user, input, out, .. } = client;
    let pool = worker.pool(&parameters.database, &user);
    let slot = worker.reserve_seat();
    let id = worker.process.next_id();
    let tls = stream.tls().and_then(Session::protocol);
    let shared = Rc::new(ClientShared::new(id, slot, Rc::clone(&pool), peer).over(tls));
    worker.seat(&shared);
    let naming = if pool.mode() == PoolMode::Session { Naming::Own } else { Naming::Shared };
    let policy = policy(pool.rule().session_state);
    let unit = if pool.mode() == PoolMode::Statement { Unit::Statement } else { Unit::Transaction };
    let session = session::Client::new(naming, settings(&parameters, document), policy).by(unit);
    let mut spill = Spill::default();
    *spill.bytes() = out;
    let mut client =
        ClientConn { stream, session, carry: Carry::unseen(input), spill, last_words: None, shared };
    match greet(worker, &mut client, &parameters).await {
        Ok(()) => {
            worker.logins.borrow_mut().client_succeeded += 1;
            pool.note_login();
            worker.scratch.borrow_mut().desk.share_settings(&mut client.session);
            Some(client)
        }
        Err(response) => {
            worker.logins.borrow_mut().record_refusal(Refused::Server);
            if let Some(response) = response {
                refuse::last_words(&mut client, &response).await;
            }
            worker.forget_client(&client.shared);
            None
        }
    }
}

/// Turns the client away when there is no room for it.
pub(crate) async fn let_in(
    worker: &Worker,
    client: handshake::Client,
    document: &Document,
) -> Option<handshake::Client> {
    let database = &client.parameters.database;
    let Some((why, error)) = no_room(worker, document).or_else(|| disabled(worker, database)) else {
        return Some(client);
    };
    worker.logins.borrow_mut().record_refusal(why);
    worker.count_error(error.sqlstate.as_str());
    refuse::turn_away(client.stream, client.out, &error.to_bytes()).await;
    None
}

fn no_room(worker: &Worker, document: &Document) -> Option<(Refused, ErrorResponse)> {
    if worker.is_leaving() {
        let told = "the database system is shutting down";
        return Some((Refused::Leaving, ErrorResponse::fatal(SqlState::CANNOT_CONNECT_NOW, told)));
    }
    (worker.process.client_count() >= document.max_client_conn).then(|| {
        let told = "no more connections allowed (max_client_conn)";
        (Refused::Clients, ErrorResponse::fatal(SqlState::TOO_MANY_CONNECTIONS, told))
    })
}

/// In PgBouncer's words.
fn disabled(worker: &Worker, database: &str) -> Option<(Refused, ErrorResponse)> {
    worker.process.is_disabled(database).then(|| {
        let told = format!("database \"{database}\" is disabled");
        (Refused::Disabled, ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told))
    })
}

fn policy(setting: pgpooler_config::SessionState) -> session::SessionState {
    match setting {
        pgpooler_config::SessionState::Reset => session::SessionState::Reset,
        pgpooler_config::SessionState::Pin => session::SessionState::Pin,
        pgpooler_config::SessionState::Reject => session::SessionState::Reject,
    }
}

/// What the client wants to differ from the server's defaults. `application_name` is always among it, since our own
/// connections carry another one.
fn settings(parameters: &StartupParameters, document: &Document) -> Settings {
    let wanted = parameters.settings.iter().filter(|(name, _)| !is_ignored(document, name)).cloned();
    Settings::new(wanted.chain([("application_name".to_owned(), parameters.application_name.clone())]))
}

/// Whether a startup parameter is taken and not passed on.
pub(crate) fn is_ignored(document: &Document, name: &str) -> bool {
    document.ignore_startup_parameters.iter().any(|ignored| ignored.eq_ignore_ascii_case(name))
}

/// Queues the rest of the login's answer; an error is the client's last message, if it is still there.
async fn greet(
    worker: &Rc<Worker>,
    client: &mut ClientConn,
    parameters: &StartupParameters,
) -> Result<(), Option<Vec<u8>>> {
    let welcome = learn(worker, client, parameters).await?;
    if let Some(fault) = &parameters.fault {
        return Err(Some(fault.to_bytes()));
    }
    let plain = is_plain(&parameters.application_name);
    let out = client.spill.bytes();
    if let Some(notice) = &parameters.notice {
        notice.encode(out);
    }
    for (name, value) in welcome.iter() {
        let own = plain && name.eq_ignore_ascii_case("application_name");
        backend::parameter_status(out, name, if own { &parameters.application_name } else { value });
    }
    let shared = &client.shared;
    let form = KeyForm::of_protocol(parameters.protocol_minor);
    if let Some(key) = worker.process.peers.key(worker.me, shared.slot, shared.id, form) {
        backend::backend_key_data(out, &key);
    }
    backend::ready_for_query(out, TransactionStatus::Idle);
    Ok(())
}

/// What PostgreSQL reports to a client with these settings: remembered, or asked of it.
async fn learn(
    worker: &Rc<Worker>,
    client: &mut ClientConn,
    parameters: &StartupParameters,
) -> Result<Arc<Welcome>, Option<Vec<u8>>> {
    let pool = Rc::clone(&client.shared.pool);
    let now = Instant::now();
    if let Some(error) = worker.absence(&pool, now) {
        // whoever comes sees to it that others will be served
        worker.probe(pool.id, now);
        worker.process.note_refused_for_server(1);
        worker.count_error(error.sqlstate.as_str());
        return Err(Some(error.as_fatal().to_bytes()));
    }
    let known_by = what_is_reported(client.session.settings());
    if let Some(welcome) = worker.process.welcome(pool.id, &known_by) {
        client.session.spell(welcome.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        return Ok(welcome);
    }
    let mut server = match worker.checkout(&client.shared, client.stream.tcp(), now).await {
        Ok(server) => server,
        Err(Refusal::Server(response)) => return Err(Some(response)),
        Err(Refusal::Kicked(Kick::Killed(killed))) => return Err(Some(killed.response().to_bytes())),
        Err(Refusal::Away(error)) => {
            worker.count_error(error.sqlstate.as_str());
            return Err(Some(error.as_fatal().to_bytes()));
        }
        Err(Refusal::Kicked(_)) => return Err(Some(waited_in_vain(&pool))),
    };
    let outcome = poll_fn(|cx| poll_learn(worker, client, &mut server, cx)).await;
    server.session.part(&client.session);
    client.shared.set_server(None);
    client.shared.enter(crate::report::ClientState::Idle, Instant::now());
    let mut welcome: Welcome =
        server.session.reported().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // PostgreSQL's order, as far as it has one
    welcome.sort_by_cached_key(|(name, _)| name.to_ascii_lowercase());
    if outcome.is_err() {
        server.doom();
    }
    worker.recycle(server, Instant::now());
    outcome.map_err(|error| Some(as_fatal(error, parameters)))?;
    let welcome = Arc::new(welcome);
    worker.process.remember_welcome(pool.id, known_by, Arc::clone(&welcome));
    Ok(welcome)
}

/// What the answer depends on: `application_name` is reported as it was given, unless PostgreSQL makes it plain.
fn what_is_reported(settings: &Settings) -> Settings {
    Settings::new(
        settings
            .iter()
            .filter(|(name, value)| *name != "application_name" || !is_plain(value))
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    )
}

/// Printable ASCII, which PostgreSQL leaves alone.
fn is_plain(application_name: &str) -> bool {
    application_name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

enum Unlearned {
    Fault(ServerFault),
    Io(io::Error),
}

/// Brings a server connection to the client's settings and waits for what it says to them.
fn poll_learn(
    worker: &Worker,
    client: &mut ClientConn,
    server: &mut ServerConn,
    cx: &mut std::task::Context<'_>,
) -> std::task::Poll<Result<(), Unlearned>> {
    use std::task::{Poll, ready};
    let Scratch { read, desk } = &mut *worker.scratch.borrow_mut();
    let broken = |error| Poll::Ready(Err(Unlearned::Io(error)));
    // nothing to do the second time
    desk.exchange(&mut client.session, &mut server.session).begin();
    if let Err(error) = server.spill.send(&mut server.stream, cx, &mut desk.to_server, &[]) {
        return broken(error);
    }
    // a socket that has just come to this loop takes its first bytes a little later
    if let Poll::Ready(Err(error)) = server.spill.poll_flush(&mut server.stream, cx) {
        return broken(error);
    }
    while server.session.is_busy() {
        let fresh = match ready!(poll_read(&mut server.stream, cx, read)) {
            Ok(0) => return broken(io::ErrorKind::UnexpectedEof.into()),
            Ok(fresh) => read.get(..fresh).unwrap_or_default(),
            Err(error) => return broken(error),
        };
        let input = server.carry.join(fresh);
        let outcome = desk.exchange(&mut client.session, &mut server.session).server_bytes(input);
        desk.to_client.clear();
        match outcome {
            Ok(dealt_with) => server.carry.keep(fresh, dealt_with),
            Err(fault) => return Poll::Ready(Err(Unlearned::Fault(fault))),
        }
    }
    Poll::Ready(Ok(()))
}

/// PostgreSQL refuses a login with a bad setting by a FATAL, and names the setting as the client did; ours has heard
/// an ERROR about a name in small letters.
fn as_fatal(error: Unlearned, parameters: &StartupParameters) -> Vec<u8> {
    let response = match error {
        Unlearned::Fault(ServerFault::Replay { response } | ServerFault::Terminated { response }) => response,
        Unlearned::Fault(fault) => return connection_failure(fault.to_string()),
        Unlearned::Io(error) => return connection_failure(error.to_string()),
    };
    let Ok(fields) = ErrorFields::parse(response.get(5..).unwrap_or_default()) else { return response };
    let fatal = Severity::Fatal.as_str();
    let message = parameters.settings.iter().fold(fields.message().into_owned(), |told, (name, _)| {
        told.replace(&format!("\"{}\"", name.to_ascii_lowercase()), &format!("\"{name}\""))
    });
    [(field::SEVERITY, fatal), (field::SEVERITY_NONLOCALIZED, fatal), (field::MESSAGE, &message)]
        .into_iter()
        .fold(response, rewritten)
}

fn rewritten(response: Vec<u8>, (code, value): (u8, &str)) -> Vec<u8> {
    let mut out = Vec::with_capacity(response.len());
    match ErrorFields::parse(response.get(5..).unwrap_or_default()) {
        Ok(fields) => fields.rewrite(code, value.as_bytes(), &mut out),
        Err(_) => return response,
    }
    out
}

fn connection_failure(why: String) -> Vec<u8> {
    ErrorResponse::fatal(SqlState::CONNECTION_FAILURE, why).to_bytes()
}

pub(crate) fn waited_in_vain(pool: &Pool) -> Vec<u8> {
    let limit = pool.rule().query_wait_timeout;
    ErrorResponse::fatal(
        SqlState::CANNOT_CONNECT_NOW,
        format!("no server connection became free within {limit:?} (query_wait_timeout)"),
    )
    .to_bytes()
}
