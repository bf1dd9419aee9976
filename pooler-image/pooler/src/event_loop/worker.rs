//! One event loop: its clients, its server connections, and what it is told.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgpooler_config::TargetRole;
use pgpooler_core::pool::{Ledger, LoopId, PoolId, PoolLimits, Reach, ServerId};
use pgpooler_core::session::{self, Exchange, Interner, Outbox};
use slab::Slab;
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use crate::event_loop::buffers::READ_SIZE;
use crate::event_loop::client::{self, ClientShared, Kick};
use crate::event_loop::places::Place;
use crate::event_loop::pool::{Kind, Pool, Rule};
use crate::event_loop::server::{Outlook, ServerConn, ServerShared};
use crate::event_loop::{door, memory, parting};
use crate::process::{Current, Mail, Pass, Process};
use crate::reactor::{self, Reactor, Socket, spawn_local, timeout};
use crate::report::{ErrorCounts, LoginCounts};

/// What all links of a loop use in turn.
pub(crate) struct Scratch {
    pub(crate) read: Box<[u8]>,
    pub(crate) desk: Desk,
}

/// Where an exchange is worked out.
pub(crate) struct Desk {
    pub(crate) to_client: Outbox,
    pub(crate) to_server: Outbox,
    interner: Interner,
    max_prepared_statements: usize,
}

impl Desk {
    /// Gives back the memory of statements that nobody has any more.
    pub(crate) fn trim(&mut self) {
        self.interner.trim();
    }

    /// Keeps a client's settings together with those of the others.
    pub(crate) fn share_settings(&mut self, client: &mut session::Client) {
        client.share(&mut self.interner);
    }

    /// The two sides of a link, put together for a moment.
    pub(crate) fn exchange<'a>(
        &'a mut self,
        client: &'a mut session::Client,
        server: &'a mut session::Server,
    ) -> Exchange<'a> {
        Exchange {
            client,
            server,
            interner: &mut self.interner,
            to_client: &mut self.to_client,
            to_server: &mut self.to_server,
            max_prepared_statements: self.max_prepared_statements,
        }
    }
}

/// Whether a loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Clients are closed as they become idle; at the instant, all are.
    Leaving {
        at_latest: Instant,
    },
    Over,
}

/// An event loop. Nothing in it is shared with another thread.
pub(crate) struct Worker {
    pub(crate) me: LoopId,
    pub(crate) process: Arc<Process>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) pools: RefCell<BTreeMap<PoolId, Rc<Pool>>>,
    pub(super) idle: RefCell<Slab<Box<ServerConn>>>,
    pub(super) clients: RefCell<Slab<Place>>,
    pub(crate) servers: RefCell<HashMap<u64, Rc<ServerShared>>>,
    pub(crate) current: RefCell<Arc<Current>>,
    pub(crate) phase: Cell<Phase>,
    /// Clients are to leave when they do not notice.
    pub(crate) parting: Cell<bool>,
    pub(crate) cancel_done: Notify,
    /// Connections that have not logged in yet.
    pub(crate) logging_in: Cell<u32>,
    pub(crate) logins: RefCell<LoginCounts>,
    pub(crate) errors: RefCell<ErrorCounts>,
}

/// The loop that has the port.
pub(crate) const FIRST: LoopId = LoopId(0);

/// How often a leaving loop looks whether it may end.
const LEAVING_LOOK: Duration = Duration::from_millis(20);

/// How long a connection may lie idle in a process that is about to leave: clients may come for it once more.
const LAST_IDLE: Duration = Duration::from_millis(200);

/// What cancelled transactions may take to end, behind the drain's deadline.
const CUT_LIMIT: Duration = Duration::from_secs(2);

/// Runs a loop on this thread until the process leaves. The first has the port, too.
pub(crate) fn run(
    me: LoopId,
    process: Arc<Process>,
    mail: mpsc::UnboundedReceiver<Mail>,
    listener: Option<TcpListener>,
) -> std::io::Result<()> {
    let mut reactor = Reactor::start()?;
    let worker = Rc::new(Worker::new(me, process));
    spawn_local(crate::event_loop::janitor::run(Rc::clone(&worker)));
    spawn_local(Rc::clone(&worker).read_mail(mail));
    if let Some(listener) = listener {
        door::open(&worker, listener)?;
    }
    while worker.phase.get() != Phase::Over {
        reactor.wait()?;
        if reactor::has_ended_unseen() {
            worker.sweep_idle();
        }
        worker.serve_ready();
        reactor::run_tasks();
    }
    Ok(())
}

impl Worker {
    fn new(me: LoopId, process: Arc<Process>) -> Self {
        let current = process.current();
        memory::limit(process.loop_share(current.loaded.document.max_buffered_bytes));
        let desk = Desk {
            to_client: Outbox::default(),
            to_server: Outbox::default(),
            interner: Interner::new(process.statement_secret, Arc::clone(&process.statement_clock)),
            max_prepared_statements: current.loaded.document.max_prepared_statements as usize,
        };
        let scratch = Scratch { read: vec![0; READ_SIZE].into_boxed_slice(), desk };
        Self {
            me,
            process,
            scratch: RefCell::new(scratch),
            ledger: RefCell::new(Ledger::new(me)),
            pools: RefCell::default(),
            idle: RefCell::default(),
            clients: RefCell::default(),
            servers: RefCell::default(),
            current: RefCell::new(current),
            phase: Cell::new(Phase::Serving),
            parting: Cell::new(false),
            cancel_done: Notify::new(),
            logging_in: Cell::new(0),
            logins: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    async fn read_mail(self: Rc<Self>, mut mail: mpsc::UnboundedReceiver<Mail>) {
        loop {
            // while leaving, the end is looked for at every letter and now and then
            let letter = if self.is_leaving() {
                timeout(LEAVING_LOOK, mail.recv()).await.ok().flatten()
            } else {
                mail.recv().await
            };
            match letter {
                Some(letter) => self.deliver(letter),
                None if self.is_leaving() => {}
                None => break,
            }
            if self.is_leaving() && self.is_over_with() {
                break;
            }
        }
        self.give_up();
        // letters that come now find the box closed
        drop(mail);
        self.phase.set(Phase::Over);
    }

    fn deliver(self: &Rc<Self>, mail: Mail) {
        match mail {
            Mail::Client(stream, pass) => self.welcome(stream, *pass),
            Mail::Newcomer(newcomer) => spawn_local(client::move_in(Rc::clone(self), newcomer)),
            Mail::Cancel(request, done) => self.cancel(&request, done),
            Mail::Lent(lent) => self.borrow_server(*lent),
            Mail::SlotFree => self.slot_came_free(),
            Mail::Wanted => self.spare_idle(),
            Mail::Report(detail, answer) => {
                // whoever asked may have given up
                let _ = answer.send(self.report(detail));
            }
            Mail::Use(answer) => {
                let _ = answer.send(self.usage());
            }
            Mail::Limit => self.keep_to_limit(),
            Mail::Drain => self.drain(),
            Mail::Part => self.begin_to_part(),
            Mail::Settings(current) => self.follow(current),
            Mail::Paused { database, paused } => self.set_paused(database.as_deref(), paused),
            Mail::Kill { databases, epoch, done } => {
                self.kill(&databases, epoch);
                let _ = done.send(());
            }
            Mail::KillClient { id, found } => {
                let _ = found.send(self.kill_client(id));
            }
            Mail::Reconnect { database, epoch } => self.reconnect(database.as_deref(), epoch),
            Mail::Back => self.server_is_back(),
            Mail::Doubt(address) => self.doubt_idle(address),
            Mail::Moved(address) => self.leave_others(address),
            Mail::Leave { at_latest } => self.leave(at_latest),
        }
    }

    pub(crate) fn welcome(self: &Rc<Self>, stream: std::net::TcpStream, pass: Pass) {
        match Socket::from_std(stream) {
            Ok(stream) => {
                spawn_local(client::serve(Rc::clone(self), stream, pass));
            }
            Err(error) => {
                warn!(%error, peer = %pass.peer(), "client connection could not be taken");
                self.process.connection_ended(self.me);
            }
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.phase.get(), Phase::Leaving { .. })
    }

    /// Whether a client is to be closed as soon as it has no transaction: one that has only prepared or tested something is
    /// in the middle of what it is about, and is waited for as one in a transaction is.
    pub(crate) fn closes(&self, client: &ClientShared) -> bool {
        let Phase::Leaving { at_latest } = self.phase.get() else { return false };
        client.is_between.get() || Instant::now() >= at_latest
    }

    fn leave(self: &Rc<Self>, at_latest: Instant) {
        self.phase.set(Phase::Leaving { at_latest });
        self.close_clients();
        self.close_idle(None);
    }

    fn close_clients(&self) {
        for client in self.clients().into_iter().filter(|client| self.closes(client)) {
            client.kick(Kick::Shutdown);
        }
    }

    /// Behind the deadline, what still runs is cancelled.
    pub(crate) fn cut(self: &Rc<Self>, now: Instant) {
        let Phase::Leaving { at_latest } = self.phase.get() else { return };
        if now < at_latest {
            return;
        }
        self.close_clients();
        let active: Vec<_> = self.servers.borrow().values().cloned().collect();
        let is_active = |server: &&Rc<ServerShared>| server.state.get() == crate::report::ServerState::Active;
        let active = active.iter().filter(|server| server.cancels.borrow().is_none()).filter(is_active);
        let mut links = HashSet::new();
        for server in active {
            links.extend(server.link.get());
            self.cancel_on_server(server);
        }
        self.note_cancelled(&links);
    }

    fn begin_to_part(self: &Rc<Self>) {
        if !self.parting.replace(true) {
            spawn_local(parting::run(Rc::clone(self)));
        }
    }

    /// Nobody is left, or nobody is waited for any more.
    fn is_over_with(&self) -> bool {
        let Phase::Leaving { at_latest } = self.phase.get() else { return false };
        let nobody = self.logging_in.get() == 0 && self.client_count() == 0;
        let over = nobody && self.servers.borrow().is_empty() || Instant::now() >= at_latest + CUT_LIMIT;
        // who has the port goes last: clients of the others can be cancelled to the end
        over && (self.me != FIRST || self.process.others_have_ended(self.me))
    }

    /// The pool of a (database, user) pair, known to the process's account from now on.
    pub(crate) fn pool(self: &Rc<Self>, database: &str, user: &Arc<crate::auth::User>) -> Rc<Pool> {
        let id = self.process.pool_id(database, user.name());
        self.pool_of_kind(id, Kind::Shared, database, user)
    }

    /// The pool of the pair's replication connections.
    pub(crate) fn dedicated_pool(self: &Rc<Self>, database: &str, user: &Arc<crate::auth::User>) -> Rc<Pool> {
        // no database has a name with a zero byte
        let id = self.process.pool_id(&format!("{database}\0"), user.name());
        self.pool_of_kind(id, Kind::Dedicated, database, user)
    }

    fn pool_of_kind(
        self: &Rc<Self>,
        id: PoolId,
        kind: Kind,
        database: &str,
        user: &Arc<crate::auth::User>,
    ) -> Rc<Pool> {
        if let Some(pool) = self.pools.borrow().get(&id) {
            pool.adopt(user);
            return Rc::clone(pool);
        }
        let document = Arc::clone(&self.current.borrow().loaded.document);
        let rule = Rule::of(&document, database, user.name());
        self.ledger.borrow_mut().set_limits(id, self.limits(rule.limits));
        self.process.slots(|slots| slots.set_pool(id, rule.terms(kind)));
        let pool = Rc::new(Pool::new(id, kind, database, Arc::clone(user), rule));
        let paused = self.process.is_paused(database);
        pool.paused.set(paused);
        self.ledger.borrow_mut().set_paused(id, paused);
        self.pools.borrow_mut().insert(id, Rc::clone(&pool));
        pool
    }

    /// Makes a pool known that another loop has.
    pub(crate) fn ensure_pool(self: &Rc<Self>, id: PoolId) {
        if self.pools.borrow().contains_key(&id) {
            return;
        }
        let Some((database, user)) = self.process.pool_names(id) else { return };
        let user = self.current.borrow().auth.user(&database, &user);
        if let Some(user) = user {
            self.pool(&database, &user);
        }
    }

    fn follow(self: &Rc<Self>, current: Arc<Current>) {
        let document = Arc::clone(&current.loaded.document);
        memory::limit(self.process.loop_share(document.max_buffered_bytes));
        self.scratch.borrow_mut().desk.max_prepared_statements = document.max_prepared_statements as usize;
        let moves = self.current.borrow().loaded.document.target != document.target;
        let pools: Vec<_> = self.pools.borrow().values().cloned().collect();
        for pool in pools {
            let rule = Rule::of(&document, &pool.database, &pool.user_name);
            self.ledger.borrow_mut().set_limits(pool.id, self.limits(rule.limits));
            self.process.slots(|slots| slots.set_pool(pool.id, rule.terms(pool.kind)));
            let user = current.auth.user(&pool.database, &pool.user_name);
            pool.follow(rule, user.as_ref(), current.epoch);
            if moves {
                pool.renew(current.epoch);
            }
        }
        if moves {
            self.ledger.borrow_mut().retry_now();
        }
        self.current.replace(current);
        self.close_stale_idle();
        self.keep_to_limit();
    }

    /// Closes idle connections that are too many now, and serves who had to wait for more.
    fn keep_to_limit(self: &Rc<Self>) {
        self.close_excess(Reach::BeyondKept);
        let pools: Vec<_> = self.ledger.borrow().pools().collect();
        for pool in pools {
            while self.process.slots(|slots| slots.excess_of(pool)) > 0 {
                let Some(id) = self.ledger.borrow_mut().take_idle(pool) else { break };
                if let Some(server) = self.remove_idle(id) {
                    self.retire(server);
                }
            }
        }
        self.slot_came_free();
    }

    /// Closes idle connections until the process is back at its limit.
    pub(crate) fn close_excess(self: &Rc<Self>, reach: Reach) {
        loop {
            let least_needed = self.process.slots(|slots| {
                let over = slots.excess() > 0;
                over.then(|| self.ledger.borrow_mut().least_needed(reach, slots)).flatten()
            });
            let Some((_, id)) = least_needed else { return };
            if let Some(server) = self.remove_idle(id) {
                self.retire(server);
            }
        }
    }

    /// The process is about to leave: what lies idle can be of use elsewhere, and what comes to lie idle soon after.
    fn drain(self: &Rc<Self>) {
        self.close_idle(None);
        let pools: Vec<_> = self.ledger.borrow().pools().collect();
        for pool in pools {
            self.ledger.borrow_mut().set_limits(pool, PoolLimits { idle_timeout: LAST_IDLE });
        }
    }

    /// The limits of a pool as long as the process stays.
    fn limits(&self, limits: PoolLimits) -> PoolLimits {
        if self.serves_on() { limits } else { PoolLimits { idle_timeout: LAST_IDLE } }
    }

    pub(crate) fn set_paused(self: &Rc<Self>, database: Option<&str>, paused: bool) {
        for pool in self.pools_of(database) {
            pool.paused.set(paused);
            self.ledger.borrow_mut().set_paused(pool.id, paused);
            self.settle_wants(pool.id, Instant::now());
        }
        if paused { self.close_idle(database) } else { self.slot_came_free() }
    }

    pub(crate) fn reconnect(self: &Rc<Self>, database: Option<&str>, epoch: u32) {
        for pool in self.pools_of(database) {
            pool.renew(epoch);
        }
        self.close_stale_idle();
    }

    fn pools_of(&self, database: Option<&str>) -> Vec<Rc<Pool>> {
        let pools = self.pools.borrow();
        pools.values().filter(|pool| database.is_none_or(|name| pool.database == name)).cloned().collect()
    }

    fn close_idle(self: &Rc<Self>, database: Option<&str>) {
        for pool in self.pools_of(database) {
            let idle = self.ledger.borrow_mut().drain_idle(pool.id);
            for server in idle.into_iter().filter_map(|id| self.remove_idle(id)).collect::<Vec<_>>() {
                self.retire(server);
            }
        }
    }

    /// Closes what a new epoch, or age, has made useless.
    pub(crate) fn close_stale_idle(self: &Rc<Self>) {
        self.doom_aged(Instant::now());
        let stale: Vec<_> = {
            let idle = self.idle.borrow();
            let over = idle.iter().filter(|(_, server)| self.is_over(server));
            over.map(|(id, server)| (ServerId(id as u32), server.shared.pool)).collect()
        };
        for (id, pool) in stale {
            self.ledger.borrow_mut().forget_idle(pool, id);
            if let Some(server) = self.remove_idle(id) {
                self.retire(server);
            }
        }
    }

    /// It must not be used again, however clean.
    pub(crate) fn is_over(&self, server: &ServerConn) -> bool {
        let shared = &server.shared;
        let pools = self.pools.borrow();
        let pool = pools.get(&shared.pool);
        let unwanted = pool.is_none_or(|pool| pool.paused.get() || shared.epoch < pool.epoch.get());
        let leaving = self.is_leaving() && self.ledger.borrow().is_spare(shared.pool);
        // a primary never becomes a standby without a restart, which no connection outlives
        let wants_standby = self.current.borrow().loaded.document.target.role == TargetRole::Standby;
        let promoted = wants_standby && server.session.in_recovery() == Some(false);
        unwanted || leaving || promoted || shared.outlook.get() != Outlook::Good
    }

    /// Those that have lived long enough are closed when they come back.
    fn doom_aged(&self, now: Instant) {
        let lifetime = self.current.borrow().loaded.document.server_lifetime.as_duration();
        if lifetime.is_zero() {
            return;
        }
        for server in self.servers.borrow().values() {
            if now.saturating_duration_since(server.opened) >= jittered(lifetime, server.id) {
                server.outlook.set(server.outlook.get().max(Outlook::Outlived));
            }
        }
    }
}

/// Connections opened together do not end together: the last tenth of a lifetime is spread by id.
fn jittered(lifetime: Duration, id: u64) -> Duration {
    let part = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u32;
    lifetime.saturating_sub(lifetime / 10 * part / 256)
}
