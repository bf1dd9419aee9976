//! A process that is not there: what it is asked is written down, what it answers is set by the test.

#![allow(dead_code, reason = "each test program uses a part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pgpooler::control::{Answer, Control, ControlError, Order, Readiness, RefusedOrder, ShutdownMode};
use pgpooler::reload::{Loaded, ReloadError, ReloadOutcome, Source};
use pgpooler::report::{
    ClientCounts, ClientReport, ClientState, Detail, LedgerReport, LoopReport, Phase, PoolReport,
    ProcessReport, Report, ServerCounts, ServerReport, ServerState, Sizes, SocketReport, Traffic,
};
use pgpooler::settings::{self, SetError};
use pgpooler_config::{Bundle, Document, Userlist};
use pgpooler_core::budget;
use tokio::sync::watch;

pub(crate) struct Fake {
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) readiness: Mutex<Readiness>,
    /// Calls of `report` and `pause` wait while it is set.
    pub(crate) stuck: watch::Sender<bool>,
    pub(crate) holder: Mutex<budget::Holder>,
}

const USE: budget::Use = budget::Use { held: 4, active: 3, waiting: 2, refused: 1 };

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            readiness: Mutex::new(Readiness::Ready),
            stuck: watch::Sender::new(false),
            holder: Mutex::new(budget::Holder::awaiting(2)),
        })
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn called(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }

    async fn unstuck(&self) {
        self.stuck.subscribe().wait_for(|stuck| !stuck).await.unwrap();
    }

    fn command(&self, verb: &str, database: Option<String>) -> Result<(), ControlError> {
        let database = database.unwrap_or_else(|| "*".to_owned());
        self.called(format!("{verb} {database}"));
        match database.as_str() {
            "nowhere" => Err(ControlError::NoSuchDatabase(database)),
            "running" => Err(ControlError::DatabaseNotPaused(database)),
            _ => Ok(()),
        }
    }
}

impl Control for Fake {
    fn report(&self, detail: Detail) -> Answer<'_, Report> {
        Box::pin(async move {
            self.unstuck().await;
            report(detail)
        })
    }

    fn settings(&self) -> Arc<Loaded> {
        Arc::new(Loaded {
            document: Arc::new(Document::default()),
            userlist: Arc::new(Userlist::parse("\"app\" \"secret\"\n\"zoe\" \"secret\"\n").unwrap()),
            tls: Arc::default(),
            hash: "c0ffee".to_owned(),
            ..Loaded::default()
        })
    }

    fn readiness(&self) -> Readiness {
        *self.readiness.lock().unwrap()
    }

    fn reload(&self) -> Answer<'_, Result<ReloadOutcome, ReloadError>> {
        self.called("reload");
        let outcome = ReloadOutcome {
            hash: "c0ffee".to_owned(),
            changed: vec!["max_client_conn".to_owned()],
            needs_restart: vec!["listen_port".to_owned()],
        };
        Box::pin(async { Ok(outcome) })
    }

    fn configure(
        &self,
        bundle: Bundle,
        epoch: Option<u64>,
    ) -> Answer<'_, Result<ReloadOutcome, ReloadError>> {
        self.called(format!("configure {epoch:?}"));
        let accepted = Source::new("/nowhere/pgpooler.toml").accept(bundle);
        let outcome = accepted.map(|loaded| ReloadOutcome {
            hash: loaded.hash,
            changed: vec!["auth_file".to_owned(), "pools".to_owned()],
            needs_restart: Vec::new(),
        });
        Box::pin(async { outcome })
    }

    fn renew_certificates(&self) {}

    fn pause(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        let result = self.command("pause", database);
        Box::pin(async move {
            self.unstuck().await;
            result
        })
    }

    fn resume(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        let result = self.command("resume", database);
        Box::pin(async { result })
    }

    fn reconnect(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        let result = self.command("reconnect", database);
        Box::pin(async { result })
    }

    fn disable(&self, database: String) -> Answer<'_, Result<(), ControlError>> {
        let result = self.command("disable", Some(database));
        Box::pin(async { result })
    }

    fn enable(&self, database: String) -> Answer<'_, Result<(), ControlError>> {
        let result = self.command("enable", Some(database));
        Box::pin(async { result })
    }

    fn kill(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        let result = self.command("kill", database);
        Box::pin(async { result })
    }

    fn kill_client(&self, id: u64) -> Answer<'_, Result<(), ControlError>> {
        self.called(format!("kill client {id}"));
        Box::pin(async move { if id == 12 { Ok(()) } else { Err(ControlError::NoSuchClient) } })
    }

    fn wait_close(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        let result = self.command("wait for", database);
        Box::pin(async move {
            self.unstuck().await;
            result
        })
    }

    fn set(&self, key: String, value: String) -> Answer<'_, Result<(), SetError>> {
        let result = settings::with(&Document::default(), &key, &value).map(drop);
        self.called(format!("set {key} {value}"));
        Box::pin(async { result })
    }

    fn budget(&self) -> Answer<'_, budget::Report> {
        let report = self.holder.lock().unwrap().report(0xfeed, 0, USE);
        Box::pin(async move { report })
    }

    fn obey(&self, order: Order) -> Answer<'_, Result<budget::Report, RefusedOrder>> {
        let mut holder = self.holder.lock().unwrap();
        let outcome = match order {
            Order::Command(command) => holder.obey(command),
            Order::Lower(limit) => holder.lower(limit),
            Order::Shed { epoch, .. } => epoch.map_or(Ok(()), |epoch| holder.follows(epoch)),
        };
        let report = holder.report(0xfeed, 0, USE);
        let outcome =
            outcome.map(|()| report).map_err(|refused| RefusedOrder { refused, report: report.into() });
        Box::pin(async move { outcome })
    }

    fn shutdown(&self, mode: ShutdownMode) {
        self.called(format!("shutdown {mode:?}"));
    }
}

fn report(detail: Detail) -> Report {
    let mut traffic = Traffic { received: 100, sent: 200, binds: 7, client_logins: 4, ..Traffic::default() };
    traffic.transactions.record(Duration::from_millis(5));
    traffic.queries.record(Duration::from_millis(2));
    traffic.waits.record(Duration::from_millis(1));
    let pool = PoolReport {
        database: "orders".into(),
        user: "app".into(),
        clients: ClientCounts { active: 1, idle: 2, waiting: 3, ..ClientCounts::default() },
        servers: ServerCounts { active: 1, idle: 4, ..ServerCounts::default() },
        max_wait: Duration::from_micros(2_000_005),
        traffic,
        ..PoolReport::default()
    };
    let mut work = LoopReport { pools: vec![pool], login_clients: 1, ..LoopReport::default() };
    match detail {
        Detail::Counters => {}
        Detail::Clients => work.clients.push(client()),
        Detail::Servers => work.servers.push(server()),
        Detail::Sockets => {
            work.clients.push(client());
            work.servers.push(server());
        }
    }
    let ledger = LedgerReport { limit: 20, held: 5, ..LedgerReport::default() };
    let sizes = Sizes { client: 10, server: 100, pool: 1000 };
    Report::gather(ProcessReport { ledger, phase: Phase::Active, sizes, ..ProcessReport::default() }, [work])
}

pub(crate) fn socket() -> SocketReport {
    SocketReport {
        peer: SocketAddr::from(([10, 0, 0, 1], 4711)),
        local: SocketAddr::from(([10, 0, 0, 2], 6432)),
        connected: SystemTime::UNIX_EPOCH,
        tls: String::new(),
    }
}

fn client() -> ClientReport {
    ClientReport {
        id: 12,
        database: "orders".into(),
        user: "app".into(),
        state: ClientState::Waiting,
        socket: socket(),
        requested: None,
        wait: Duration::from_millis(1500),
        link: None,
        application_name: "web".into(),
        prepared_statements: 3,
        pinned: pgpooler_core::session::Holds::default(),
    }
}

fn server() -> ServerReport {
    ServerReport {
        id: 34,
        database: "orders".into(),
        user: "app".into(),
        state: ServerState::Active,
        socket: socket(),
        requested: Some(SystemTime::UNIX_EPOCH),
        close_needed: true,
        link: Some(12),
        backend_pid: 999,
        application_name: "web".into(),
        prepared_statements: 0,
        pinned: pgpooler_core::session::Holds::default(),
    }
}
