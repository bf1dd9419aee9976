//! Replication connections: one server connection for one client, from login to end, and every byte passed on as it
//! is.
//!
//! The server connection has a slot as any other, which the client waits for in a queue of its own. What the client
//! asked for at its start is asked of the server in the StartupMessage, so nothing has to be replayed.

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use pgpooler_config::Document;
use pgpooler_core::cancel::KeyForm;
use pgpooler_core::drain::Way;
use pgpooler_core::pool::Stage;
use pgpooler_core::startup::{Replication, StartupParameters};
use pgpooler_core::wire::{ErrorResponse, SqlState, TransactionStatus, backend};
use tokio::io::{AsyncWriteExt, copy, split};
use tracing::{debug, warn};

use crate::connect::{self, ConnectError, ServerLogin};
use crate::event_loop::checkout::{HeldSlot, Refusal};
use crate::event_loop::client::{ClientShared, Kick};
use crate::event_loop::server::{ServerShared, WorkKind};
use crate::event_loop::tidy::EOF_LIMIT;
use crate::event_loop::worker::Worker;
use crate::event_loop::{refuse, welcome};
use crate::handshake;
use crate::reactor::spawn_local;
use crate::report::{ClientState, Refused, ServerState};
use crate::tls;
use crate::transport::Transport;

/// A client and its walsender.
pub(crate) struct Session {
    place: Place,
    client: Transport,
    server: Transport,
    /// What is to be sent to the client before anything that the server sends.
    greeting: Vec<u8>,
    /// What the client has sent already.
    input: Vec<u8>,
}

/// What a session holds in the books; given back when it is dropped.
struct Place {
    worker: Rc<Worker>,
    client: Rc<ClientShared>,
    server: Option<Rc<ServerShared>>,
    slot: Option<HeldSlot>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.client.set_server(None);
        let name = self.client.application_name.as_deref().unwrap_or_default();
        self.worker.note_departure(&self.client, name);
        self.worker.forget_client(&self.client);
        if let Some(server) = &self.server {
            self.worker.forget_server(server.id);
        }
    }
}

/// Opens the client's server connection; `None`: the client has been told why there is none.
pub(crate) async fn begin(
    worker: &Rc<Worker>,
    client: handshake::Client,
    peer: SocketAddr,
    document: &Document,
) -> Option<Session> {
    let client = welcome::let_in(worker, client, document).await?;
    let handshake::Client { stream, parameters, user, input, out, .. } = client;
    let pool = worker.dedicated_pool(&parameters.database, &user);
    let local = stream.local_addr().ok()?;
    let (slot, id) = (worker.reserve_seat(), worker.process.next_id());
    let name = parameters.application_name.clone();
    let tls = stream.tls().and_then(tls::Session::protocol);
    let shared = Rc::new(ClientShared::new(id, slot, pool, peer).without_seat(&name, local).over(tls));
    worker.seat(&shared);
    let mut place = Place { worker: Rc::clone(worker), client: shared, server: None, slot: None };
    match open(&mut place, &stream, &parameters, document).await {
        Ok(login) => {
            worker.logins.borrow_mut().client_succeeded += 1;
            place.client.pool.note_login();
            let greeting = greet(&place, &parameters, &login, out);
            Some(Session { place, client: stream, server: login.stream, greeting, input })
        }
        Err(response) => {
            worker.logins.borrow_mut().record_refusal(Refused::Server);
            refuse::turn_away(stream, out, &response).await;
            None
        }
    }
}

/// Waits for a slot, then logs in. The error is what the client is told.
async fn open(
    place: &mut Place,
    stream: &Transport,
    parameters: &StartupParameters,
    document: &Document,
) -> Result<ServerLogin, Vec<u8>> {
    if let Some(fault) = &parameters.fault {
        return Err(fault.to_bytes());
    }
    let (worker, pool) = (Rc::clone(&place.worker), Rc::clone(&place.client.pool));
    let slot = match worker.checkout_slot(&place.client, stream.tcp()).await {
        Ok(slot) => slot,
        Err(Refusal::Server(response)) => return Err(response),
        Err(Refusal::Kicked(Kick::Killed(killed))) => return Err(killed.response().to_bytes()),
        Err(Refusal::Away(error)) => return Err(error.to_bytes()),
        Err(Refusal::Kicked(_)) => return Err(welcome::waited_in_vain(&pool)),
    };
    let epoch = worker.process.epoch();
    let settings = startup(parameters, document);
    let login = match worker.connect(&pool, &parameters.application_name, &settings).await {
        Ok(login) => login,
        Err(error) => {
            worker.note_failure(&pool, &error);
            return Err(failed(&worker, &pool.database, error, slot));
        }
    };
    worker.logins.borrow_mut().server_succeeded += 1;
    let slot = place.slot.insert(slot);
    let server = worker.introduce(&pool, &login, epoch).map_err(|error| lost(error.to_string()))?;
    slot.stage = Stage::Open;
    server.state.set(ServerState::Active);
    server.link.set(Some(place.client.id));
    // nobody reads what passes, so a request to cancel is always passed on
    server.work.set(server.work.get().turn_to(WorkKind::Clients));
    place.client.set_server(Some(Rc::clone(&server)));
    place.client.enter(ClientState::Active, Instant::now());
    place.server = Some(server);
    Ok(login)
}

/// The parameters of the StartupMessage besides user, database and `application_name`.
fn startup(parameters: &StartupParameters, document: &Document) -> Vec<(String, String)> {
    let kind = if parameters.replication == Replication::Logical { "database" } else { "true" };
    let own = parameters.settings.iter().filter(|(name, _)| !welcome::is_ignored(document, name)).cloned();
    [("replication".to_owned(), kind.to_owned())].into_iter().chain(own).collect()
}

/// PostgreSQL's own words, if it said any. The slot is kept until the end of the connection has been seen.
fn failed(worker: &Rc<Worker>, database: &str, error: ConnectError, slot: HeldSlot) -> Vec<u8> {
    worker.logins.borrow_mut().server_failed += 1;
    warn!(database, %error, "no replication connection");
    let said = error.kind.error_response().is_some();
    let response = if error.kind.is_temporary() && !said {
        lost(error.kind.to_string())
    } else {
        refuse::no_login(&error.kind)
    };
    if let Some(stream) = error.stream {
        spawn_local(async move {
            connect::close_and_wait_eof(stream, EOF_LIMIT).await;
            drop(slot);
        });
    }
    response
}

fn lost(why: String) -> Vec<u8> {
    ErrorResponse::fatal(SqlState::CONNECTION_FAILURE, why).to_bytes()
}

fn greet(place: &Place, parameters: &StartupParameters, login: &ServerLogin, mut out: Vec<u8>) -> Vec<u8> {
    if let Some(notice) = &parameters.notice {
        notice.encode(&mut out);
    }
    for (name, value) in &login.parameters {
        backend::parameter_status(&mut out, name, value);
    }
    let Place { worker, client, .. } = place;
    let form = KeyForm::of_protocol(parameters.protocol_minor);
    let key = worker.process.peers.key(worker.me, client.slot, client.id, form);
    if let Some(key) = key {
        backend::backend_key_data(&mut out, &key);
    }
    backend::ready_for_query(&mut out, TransactionStatus::Idle);
    out.extend_from_slice(&login.input);
    out
}

impl Session {
    /// Passes bytes on until either side closes, or the process leaves.
    pub(crate) async fn run(self: Box<Self>) {
        let Self { place, client, server, greeting, input } = *self;
        let (mut from_client, mut to_client) = split(client);
        let (mut from_server, mut to_server) = split(server);
        let down = async {
            to_client.write_all(&greeting).await?;
            to_client.flush().await?;
            copy(&mut from_server, &mut to_client).await?;
            to_client.shutdown().await
        };
        let up = async {
            // should the server be gone, what it said last is still on its way down
            let passed_on = to_server.write_all(&input).await;
            if passed_on.is_ok() {
                let _ = copy(&mut from_client, &mut to_server).await;
                let _ = to_server.shutdown().await;
            }
            pending::<()>().await;
        };
        let id = place.client.id;
        tokio::select! {
            ended = down => debug!(client = id, ?ended, "replication connection has ended"),
            () = up => {}
            kick = kicked(&place.client) => debug!(client = id, ?kick, "replication connection is ended"),
        }
        drop((from_client, to_client));
        place.release(from_server.unsplit(to_server));
    }
}

impl Place {
    /// The client is gone; the slot is not free before the server has closed its side.
    fn release(mut self, server: Transport) {
        let (worker, shared, slot) = (Rc::clone(&self.worker), self.server.take(), self.slot.take());
        if let Some(shared) = &shared {
            shared.state.set(ServerState::Closing);
        }
        spawn_local(async move {
            connect::close_and_wait_eof(server, EOF_LIMIT).await;
            if let Some(shared) = shared {
                worker.forget_server(shared.id);
            }
            drop(slot);
        });
    }
}

/// Until the client is disturbed for good.
async fn kicked(client: &ClientShared) -> Kick {
    poll_fn(|cx| {
        client.watch(cx);
        match client.kick.take() {
            Some(kick @ (Kick::Shutdown | Kick::Killed(_))) => {
                client.way.set((kick == Kick::Shutdown).then_some(Way::Deadline));
                Poll::Ready(kick)
            }
            _ => Poll::Pending,
        }
    })
    .await
}
