//! Server connections without a client: opened, cleaned, closed.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pgpooler_core::pool::{LoopId, PoolId, Stage};
use pgpooler_core::session::{self, Dirt};
use pgpooler_core::wire::error_response::field;
use pgpooler_core::wire::{ErrorFields, SqlState};
use tracing::{debug, info, warn};

use crate::connect::{self, ConnectError, ConnectErrorKind, ConnectRequest, ServerLogin};
use crate::event_loop::buffers::{Carry, Spill, poll_read};
use crate::event_loop::checkout::Grant;
use crate::event_loop::pool::{Kind, Pool};
use crate::event_loop::relay::Lease;
use crate::event_loop::server::{Facts, Outlook, ServerConn, ServerShared};
use crate::event_loop::worker::Worker;
use crate::reactor::{spawn_local, timeout};
use crate::report::ServerState;

/// How long a rollback or a reset may take before the connection is closed instead.
const TIDY_LIMIT: Duration = Duration::from_secs(10);

/// How long clients wait for a connection that PostgreSQL refuses to their role or database, when none of ours can
/// come free: somebody else's may.
const HOPE: Duration = Duration::from_secs(5);

/// A slot is PostgreSQL's until it has closed the connection, however long that takes; a peer that is gone is
/// noticed by keepalive.
pub(crate) const EOF_LIMIT: Duration = Duration::from_hours(365 * 24);

impl Worker {
    /// Opens a connection whose slot is taken.
    pub(crate) fn open(self: &Rc<Self>, id: PoolId) {
        let Some(pool) = self.pools.borrow().get(&id).cloned() else { return };
        if pool.kind == Kind::Dedicated {
            return self.give_slot(id);
        }
        let worker = Rc::clone(self);
        spawn_local(async move {
            let epoch = worker.process.epoch();
            let outcome = worker.connect(&pool, &worker.process.application_name, &[]).await;
            match outcome {
                Ok(login) => worker.opened(&pool, login, epoch),
                Err(error) => worker.open_failed(&pool, error).await,
            }
        });
    }

    /// Logs in as the pool's user; `settings` are further parameters of the StartupMessage.
    pub(crate) async fn connect(
        &self,
        pool: &Pool,
        application_name: &str,
        settings: &[(String, String)],
    ) -> Result<ServerLogin, ConnectError> {
        let current = Arc::clone(&self.current.borrow());
        let document = &current.loaded.document;
        let user = pool.user();
        let limit = document.server_connect_timeout.as_duration();
        let login = connect::connect(ConnectRequest {
            target: &document.target,
            route: self.process.route(),
            measures: self.process.must_ask_server(),
            tls: &current.loaded.tls.servers,
            database: &pool.database,
            user: &user,
            application_name,
            settings,
            limit,
        })
        .await?;
        if let Some(max_connections) = login.max_connections {
            self.process.server_seen(max_connections);
        }
        self.process.server_answered(&document.target, &login);
        Ok(login)
    }

    fn opened(self: &Rc<Self>, pool: &Pool, login: ServerLogin, epoch: u32) {
        self.logins.borrow_mut().server_succeeded += 1;
        self.ledger.borrow_mut().connected(pool.id);
        let Ok(shared) = self.introduce(pool, &login, epoch) else {
            self.process.slots(|slots| slots.closing(pool.id));
            return self.slot_back(pool.id, Stage::Login);
        };
        debug!(
            server = shared.id,
            database = pool.database,
            user = pool.user_name,
            "server connection opened"
        );
        let server = ServerConn {
            stream: login.stream,
            session: session::Server::of(login.parameters, Arc::clone(&pool.catalog)),
            carry: Carry::default(),
            spill: Spill::default(),
            lease: Lease::begin(Instant::now(), Instant::now()),
            shared,
        };
        self.release(Box::new(server), Instant::now());
    }

    /// Makes a new connection known to reports and cancel requests.
    pub(crate) fn introduce(
        &self,
        pool: &Pool,
        login: &ServerLogin,
        epoch: u32,
    ) -> io::Result<Rc<ServerShared>> {
        let facts = Facts {
            id: self.process.next_id(),
            pool: pool.id,
            epoch,
            key: login.backend_key.clone(),
            tls: login.tls.clone(),
            peer: login.stream.peer_addr()?,
            local: login.stream.local_addr()?,
            opened: Instant::now(),
            connected: crate::wall::now(),
        };
        let shared = Rc::new(ServerShared::new(facts, 0));
        self.remember_server(&shared);
        self.process.slots(|slots| {
            slots.unbar(pool.id);
            slots.opened();
        });
        Ok(shared)
    }

    async fn open_failed(self: &Rc<Self>, pool: &Rc<Pool>, error: ConnectError) {
        self.logins.borrow_mut().server_failed += 1;
        let retry = self.current.borrow().loaded.document.server_login_retry.as_duration();
        let retry_at = Instant::now() + crate::event_loop::janitor::jitter(retry, self.process.next_id());
        self.ledger.borrow_mut().connect_failed(pool.id, retry_at);
        let kind = &error.kind;
        let (database, user) = (&pool.database, &pool.user_name);
        if self.process.is_server_away() && kind.is_loss() {
            // said when it began
            debug!(database, user, %error, "still no server connection");
        } else {
            warn!(database, user, %error, "no server connection");
        }
        if !kind.is_temporary() || self.is_hopeless(pool, kind) {
            self.refuse_waiting(pool, kind);
        }
        self.note_failure(pool, &error);
        if is_limit_of_pool(kind) {
            // a connection of the pool may lie idle on another loop
            self.pump(pool.id, Instant::now());
        }
        self.process.slots(|slots| slots.closing(pool.id));
        if let Some(stream) = error.stream {
            connect::close_and_wait_eof(stream, EOF_LIMIT).await;
        }
        self.slot_back(pool.id, Stage::Login);
    }

    /// What a failed login says of the server.
    pub(crate) fn note_failure(&self, pool: &Pool, error: &ConnectError) {
        let target = self.current.borrow().loaded.document.target.clone();
        let can_probe = pool.kind == Kind::Shared;
        self.process.server_failed(&target, error, can_probe.then_some((self.me, pool.id)));
        let kind = &error.kind;
        if kind.is_loss() {
            self.process.server_lost();
        } else if kind.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS) && !is_limit_of_pool(kind) {
            self.process.note_refused();
        }
    }

    /// The pool's role or database may have no more connections, none of them is ours, and that has been so for a
    /// while. Anything else can be waited for.
    fn is_hopeless(&self, pool: &Pool, kind: &ConnectErrorKind) -> bool {
        if !is_limit_of_pool(kind) {
            return false;
        }
        let now = Instant::now();
        let since = self.process.slots(|slots| slots.bar(pool.id, now));
        !self.process.has_server(pool.id) && now.saturating_duration_since(since) >= HOPE
    }

    /// Waiting would not help: everybody in the queue hears why.
    fn refuse_waiting(&self, pool: &Pool, kind: &ConnectErrorKind) {
        let response = Arc::new(crate::event_loop::refuse::no_login(kind));
        let waiting = self.ledger.borrow_mut().drain_waiting(pool.id);
        for client in waiting {
            self.grant(client, Grant::Refused(Arc::clone(&response)));
        }
    }

    /// A slot is free again.
    pub(crate) fn slot_back(self: &Rc<Self>, pool: PoolId, stage: Stage) {
        self.ledger.borrow_mut().closed(pool);
        let (neediest, last): (Option<LoopId>, bool) = self.process.slots(|slots| {
            let neediest = slots.give_back((self.me, pool), stage);
            (neediest, stage == Stage::Open && slots.none_open())
        });
        if last {
            self.process.server_lost();
        }
        match neediest {
            Some(neediest) if neediest == self.me => self.slot_came_free(),
            Some(neediest) => {
                // a loop that has ended needs no slot
                let _ = self.process.send(neediest, crate::process::Mail::SlotFree);
            }
            None => {}
        }
    }

    /// Closes a connection; its slot is free when PostgreSQL has closed it too.
    pub(crate) fn retire(self: &Rc<Self>, server: Box<ServerConn>) {
        server.shared.state.set(ServerState::Closing);
        if server.shared.outlook.get() == Outlook::Lost {
            self.process.server_lost();
            // before another client is given one
            if self.process.connection_lost(server.shared.peer, self.me) {
                self.doubt_idle(Some(server.shared.peer));
            }
        }
        self.process.slots(|slots| slots.closing(server.shared.pool));
        let worker = Rc::clone(self);
        spawn_local(async move {
            let ServerConn { stream, shared, .. } = *server;
            connect::close_and_wait_eof(stream, EOF_LIMIT).await;
            debug!(server = shared.id, "server connection closed");
            worker.forget_server(shared.id);
            worker.slot_back(shared.pool, Stage::Open);
        });
    }

    /// Its client left in the middle of something: what it asked for is cancelled, so that it does not go on for
    /// nobody, and the connection is closed.
    pub(crate) fn abandon(self: &Rc<Self>, server: Box<ServerConn>) {
        self.cancel_on_server(&server.shared);
        self.retire(server);
    }

    /// Rolls back what was left open and wipes off what was left behind, then releases.
    pub(crate) fn tidy(self: &Rc<Self>, mut server: Box<ServerConn>) {
        server.shared.state.set(ServerState::Tested);
        let worker = Rc::clone(self);
        spawn_local(async move {
            match timeout(TIDY_LIMIT, make_clean(&mut server)).await {
                Ok(Ok(())) => worker.release(server, Instant::now()),
                failed => {
                    if matches!(failed, Ok(Err(_))) {
                        server.lose();
                    }
                    info!(server = server.shared.id, ?failed, "server connection could not be cleaned");
                    worker.retire(server);
                }
            }
        });
    }
}

/// Which limit PostgreSQL means is told by the function that raised the error, in every language.
fn is_limit_of_pool(kind: &ConnectErrorKind) -> bool {
    let body = kind.error_response().and_then(|response| response.get(5..)).unwrap_or_default();
    let routine = ErrorFields::parse(body).ok().and_then(|fields| fields.field(field::ROUTINE));
    kind.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS)
        && matches!(routine, Some(b"InitializeSessionUserId" | b"CheckMyDatabase"))
}

async fn make_clean(server: &mut ServerConn) -> io::Result<()> {
    if server.session.is_asking() {
        // nobody is there to hear the answer
        poll_fn(|cx| poll_settled(server, cx)).await?;
    }
    if !server.session.is_clean() {
        server.session.rollback(server.spill.bytes());
        poll_fn(|cx| poll_settled(server, cx)).await?;
    }
    if server.session.dirt() != Dirt::None {
        server.session.reset(server.spill.bytes());
        poll_fn(|cx| poll_settled(server, cx)).await?;
    }
    Ok(())
}

/// Until all that was sent is answered.
pub(crate) fn poll_settled(server: &mut ServerConn, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut read = [0; 4096];
    while server.session.is_busy() || !server.spill.is_empty() {
        ready!(server.spill.poll_flush(&mut server.stream, cx))?;
        let fresh = ready!(poll_read(&mut server.stream, cx, &mut read))?;
        if fresh == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let fresh = read.get(..fresh).unwrap_or_default();
        let input = server.carry.join(fresh);
        let dealt_with = server.session.settle(input).map_err(io::Error::other)?;
        server.carry.keep(fresh, dealt_with);
    }
    Poll::Ready(Ok(()))
}
