//! A process from its start to its end.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{TcpListener as StdListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgpooler_config::Document;
use pgpooler_core::budget::Holder;
use pgpooler_core::cancel::{CancelKeys, Owner};
use pgpooler_core::drain::Way;
use pgpooler_core::pool::LoopId;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::admin::Console;
use crate::auth::{self, AuthState, RandomError};
use crate::control::{Control, ShutdownMode};
use crate::event_loop::worker;
use crate::http;
use crate::process::{Budget, Identity, Mail, Peers, Process};
use crate::reactor::{Reactor, sleep, timeout};
use crate::reload::{Loaded, Source};
use crate::report::Phase;
use crate::service::{Service, SignalHandling};
use crate::socket;

/// Connections that wait to be accepted: a fleet may come in one instant. The kernel has a limit of its own.
const BACKLOG: i32 = 4096;

/// How long new clients are still served after the process was asked to leave: Kubernetes sends them for about a
/// second more.
const SETTLE: Duration = Duration::from_secs(2);

/// How long running transactions may go on when all clients have to go.
const ALLOWANCE: Duration = Duration::from_secs(5);

/// Applications that the log names at the drain's deadline.
const NAMED: usize = 20;

/// How often it is looked whether the loops are there.
const LOOK: Duration = Duration::from_millis(500);

/// What clients and servers may take after the drain's deadline to be told and closed.
const AFTER_DEADLINE: Duration = Duration::from_secs(3);

/// Names the pod in `application_name` of server connections.
const POD_NAME: &str = "PGPOOLER_POD_NAME";

/// The process's own address among those of `peers_dns`.
const POD_IP: &str = "PGPOOLER_POD_IP";

/// Who says how many server connections the process may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Its document.
    Document,
    /// An operator, and before it has spoken nobody.
    Floor {
        /// What it may use without hearing from anybody.
        floor: u32,
        /// How long it waits before it does.
        grace: Duration,
    },
}

/// Why a process could not start, or did not end well.
#[derive(Debug, Error)]
pub enum RunError {
    /// The client port could not be opened.
    #[error("cannot listen on {addr}:{port}")]
    Listen {
        /// `listen_addr`.
        addr: String,
        /// `listen_port`.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The port of `/metrics` could not be opened.
    #[error("cannot listen on {addr}:{port} for HTTP")]
    Http {
        /// `http_addr`.
        addr: String,
        /// `http_port`.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// No random bytes for keys.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// An environment variable holds something else.
    #[error("{0} must be {1}, not {2:?}")]
    Environment(&'static str, &'static str, String),
    /// A loop ended before its time.
    #[error("an event loop ended: {0}")]
    Loop(String),
}

/// Runs the pooler until a signal or `SHUTDOWN` ends it. Blocks.
pub fn run(source: Source, loaded: Loaded, allowance: Allowance) -> Result<(), RunError> {
    raise_file_limit();
    let document = Arc::clone(&loaded.document);
    let listener = listen(&document)?;
    let http = bind_http(&document)?;
    let workers = workers(&document);
    let (posts, mailboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
    let auth = AuthState::new(&loaded.userlist, &loaded.document)?;
    let identity = identity(&loaded, allowance)?;
    let process = Arc::new(Process::new(source, loaded, auth, identity, posts));
    let control: Arc<dyn Control> = Arc::clone(&process) as Arc<dyn Control>;
    let service = Service::spawn(Arc::new(Console::new(control)), http, SignalHandling::Take)
        .map_err(RunError::Thread)?;
    // set once, here
    let _ = process.door.set(service.console_door());
    let threads = start_loops(&process, mailboxes, listener)?;
    info!(
        version = env!("CARGO_PKG_VERSION"), listen = %format!("{}:{}", document.listen_addr, document.listen_port),
        target = %document.target, role = %document.target.role, workers,
        max_server_connections = document.max_server_connections, "pgpooler is listening"
    );
    process.phase.send_replace(Phase::Active);
    let ended = Reactor::start().and_then(|reactor| reactor.block_on(end(Arc::clone(&process))));
    let joined = join(threads);
    service.stop();
    info!("pgpooler has ended");
    ended.map_err(RunError::Thread).and(joined)
}

fn identity(loaded: &Loaded, allowance: Allowance) -> Result<Identity, RunError> {
    let pod = std::env::var(POD_NAME).unwrap_or_default();
    Ok(Identity {
        application_name: if pod.is_empty() { "pgpooler".to_owned() } else { format!("pgpooler/{pod}") },
        statement_secret: auth::random()?,
        peers: peers(loaded)?,
        budget: budget(&loaded.document, allowance)?,
    })
}

fn budget(document: &Document, allowance: Allowance) -> Result<Budget, RandomError> {
    let incarnation = u64::from_be_bytes(auth::random()?);
    Ok(match allowance {
        Allowance::Document => {
            Budget::new(Holder::standalone(document.max_server_connections), incarnation, Duration::MAX)
        }
        Allowance::Floor { floor, grace } => Budget::new(Holder::awaiting(floor), incarnation, grace),
    })
}

/// Without a secret to share, one of its own.
fn peers(Loaded { document, peer_secret, .. }: &Loaded) -> Result<Peers, RunError> {
    let keys = match peer_secret {
        Some(secret) => CancelKeys::derive(secret.expose().as_bytes()),
        None => CancelKeys::derive(&auth::random::<32>()?),
    };
    let me = if document.peers_name().is_some() {
        let address = std::env::var(POD_IP).unwrap_or_default();
        let address = address.parse().map_err(|_| RunError::Environment(POD_IP, "an address", address))?;
        keys.owner_at(address)
    } else {
        Owner::of_peer_id(document.peer_id).unwrap_or(Owner::ALONE)
    };
    Ok(Peers::new(keys, me, auth::random()?))
}

/// One loop per core that the process may use: `available_parallelism` knows about cgroup limits.
fn workers(document: &Document) -> u16 {
    match document.workers {
        0 => thread::available_parallelism().map_or(1, |cores| cores.get().min(64) as u16),
        workers => workers.min(64),
    }
}

fn start_loops(
    process: &Arc<Process>,
    mailboxes: Vec<mpsc::UnboundedReceiver<Mail>>,
    listener: StdListener,
) -> Result<Vec<JoinHandle<io::Result<()>>>, RunError> {
    let mut listener = Some(listener);
    mailboxes
        .into_iter()
        .enumerate()
        .map(|(n, mail)| {
            let (process, listener) = (Arc::clone(process), listener.take());
            thread::Builder::new()
                .name(format!("pgpooler-loop-{n}"))
                .spawn(move || worker::run(LoopId(n as u16), process, mail, listener))
        })
        .collect::<io::Result<_>>()
        .map_err(RunError::Thread)
}

fn join(threads: Vec<JoinHandle<io::Result<()>>>) -> Result<(), RunError> {
    let mut outcome = Ok(());
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => outcome = Err(RunError::Loop(error.to_string())),
            Err(_) => outcome = Err(RunError::Loop("it panicked".to_owned())),
        }
    }
    outcome
}

fn listen(document: &Document) -> Result<StdListener, RunError> {
    let (addr, port) = (document.listen_addr.clone(), document.listen_port);
    bind(&addr, port).map_err(|source| RunError::Listen { addr, port, source })
}

fn bind(addr: &str, port: u16) -> io::Result<StdListener> {
    let addr = (addr, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // accepted connections have them from here
    socket::prepare(&(&socket).into())?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_http(document: &Document) -> Result<Option<StdListener>, RunError> {
    if document.http_port == 0 {
        return Ok(None);
    }
    let (addr, port) = (document.http_addr.clone(), document.http_port);
    http::bind(&addr, port).map(Some).map_err(|source| RunError::Http { addr, port, source })
}

/// Tells the loops until when they have time, and ends with them.
async fn end(process: Arc<Process>) {
    tokio::select! {
        () = time_to_leave(&process) => {}
        // it panicked, or could not begin: a process without it is better started anew
        () = lost_loop(&process) => error!("an event loop is no more"),
        never = wait_for_operator(&process) => match never {},
    }
    leave(&process);
    process.loops_ended().await;
    tell_the_end(&process);
}

/// An operator that speaks later than this finds a process that serves from its floor.
async fn wait_for_operator(process: &Process) -> Infallible {
    if process.grace() < Duration::MAX {
        sleep(process.grace()).await;
        process.give_up_waiting();
    }
    pending().await
}

async fn lost_loop(process: &Process) {
    while !process.some_loop_has_ended() {
        sleep(LOOK).await;
    }
}

/// Until the loops are to leave: some time after the process was asked to leave, or when it is asked to hurry.
async fn time_to_leave(process: &Process) {
    let mut leaving = process.leaving.subscribe();
    loop {
        // the sender lives as long as the process
        let Ok(mode) = leaving.wait_for(Option::is_some).await.map(|mode| *mode) else { return };
        let reason_to_wait = async {
            match mode {
                Some(ShutdownMode::WaitForClients) => no_clients(process).await,
                Some(ShutdownMode::WaitForServers) => drain(process).await,
                Some(ShutdownMode::Immediate) | None => {}
            }
        };
        tokio::select! {
            () = reason_to_wait => return,
            _ = leaving.wait_for(|now| *now > mode) => {}
        }
    }
}

/// Clients leave as they do not notice, until none is there or the deadline has come.
async fn drain(process: &Process) {
    let limit = process.current().loaded.document.drain_timeout.as_duration();
    info!(clients = process.client_count(), ?limit, "draining: clients leave when they do not notice");
    sleep(SETTLE).await;
    process.part_with_all(Instant::now() + limit);
    if timeout(limit, no_clients(process)).await.is_err() {
        warn_of_those_who_stay(process);
    }
}

/// Whoever stays until the deadline does not test its connections before it uses them.
fn warn_of_those_who_stay(process: &Process) {
    let stay = process.drain_report().stay;
    let named = stay.iter().take(NAMED).map(|(application, clients)| {
        format!("{:?} ({}@{}): {clients}", application.name, application.user, application.database)
    });
    let applications = named.collect::<Vec<_>>().join(", ");
    warn!(
        clients = process.client_count(),
        applications,
        "the drain's deadline has come: these stayed, and may notice; a pool that tests its connections would not"
    );
}

/// How the clients left.
fn tell_the_end(process: &Process) {
    let totals = process.drain_report().departures.totals();
    let told = Way::ALL.iter().zip(totals).map(|(way, count)| format!("{} {count}", way.as_str()));
    info!(clients = told.collect::<Vec<_>>().join(", "), "drained");
}

async fn no_clients(process: &Process) {
    while process.client_count() > 0 {
        sleep(Duration::from_millis(100)).await;
    }
}

fn leave(process: &Arc<Process>) {
    let immediate = *process.leaving.borrow() == Some(ShutdownMode::Immediate);
    let limit = if immediate { Duration::ZERO } else { ALLOWANCE };
    info!(clients = process.client_count(), ?limit, "leaving: clients are closed as their transactions end");
    process.tell_all(|| Mail::Leave { at_latest: Instant::now() + limit });
    process.end_logins();
    let process = Arc::clone(process);
    // whoever asks a second time means now
    let watch =
        thread::Builder::new().name("pgpooler-hurry".to_owned()).spawn(move || hurry(&process, limit));
    if let Err(error) = watch {
        error!(%error, "a second signal cannot hurry the end");
    }
}

/// Ends the loops at once when asked to, while the others wait for them.
fn hurry(process: &Process, limit: Duration) {
    let deadline = Instant::now() + limit + AFTER_DEADLINE;
    while Instant::now() < deadline {
        if *process.leaving.borrow() == Some(ShutdownMode::Immediate) {
            process.tell_all(|| Mail::Leave { at_latest: Instant::now() });
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// As many open files as the system allows: two for each client at least.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open files could not be raised");
    }
}
