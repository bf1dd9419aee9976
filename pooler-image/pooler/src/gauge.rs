//! What a loop tells about itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pgpooler_core::pool::PoolId;
use tokio::sync::oneshot;

use crate::client::ClientShared;
use crate::control::{Answer, Control, ControlError, Readiness, ShutdownMode};
use crate::pool::Pool;
use crate::process::{Leaving, Mail, Process};
use crate::reload::{Loaded, ReloadError, ReloadOutcome};
use crate::report::{
    ClientReport, ClientState, Detail, LedgerReport, LoopReport, Phase, PoolReport, ProcessReport, Report,
    ServerReport, ServerState, SocketReport,
};
use crate::server::ServerShared;
use crate::worker::Worker;

/// How long a loop may take to answer before it counts as hanging.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

impl Worker {
    /// This loop's part of a report.
    pub(crate) fn report(&self, detail: Detail) -> LoopReport {
        let now = Instant::now();
        LoopReport {
            pools: self.pool_reports(now),
            clients: if detail == Detail::Clients { self.client_reports(now) } else { Vec::new() },
            servers: if detail == Detail::Servers { self.server_reports() } else { Vec::new() },
            login_clients: self.logging_in.get(),
            // console sessions are on the service's thread
            console_clients: 0,
            logins: *self.logins.borrow(),
            errors: self.errors.borrow().clone(),
        }
    }

    /// One pass over clients and server connections, however many pools there are.
    fn pool_reports(&self, now: Instant) -> Vec<PoolReport> {
        let mut reports: HashMap<PoolId, PoolReport> =
            self.pools.borrow().iter().map(|(id, pool)| (*id, self.empty_report(pool))).collect();
        for client in self.clients() {
            if let Some(report) = reports.get_mut(&client.pool.id) {
                count_client(report, &client, now);
            }
        }
        for server in self.servers.borrow().values() {
            if let Some(report) = reports.get_mut(&server.pool) {
                count_server(report, server.state.get());
            }
        }
        reports.into_values().collect()
    }

    fn empty_report(&self, pool: &Pool) -> PoolReport {
        let rule = pool.rule();
        let mut report = PoolReport {
            database: pool.database.clone(),
            user: pool.user_name.clone(),
            rule: rule.name.clone(),
            pool_mode: rule.mode,
            pool_size: rule.size,
            traffic: pool.traffic(),
            ..PoolReport::default()
        };
        report.servers.login = self.ledger.borrow().counts(pool.id).connecting;
        report
    }

    fn client_reports(&self, now: Instant) -> Vec<ClientReport> {
        let wall = SystemTime::now();
        let report = |client: &std::rc::Rc<ClientShared>| ClientReport {
            id: client.id,
            database: client.pool.database.clone(),
            user: client.pool.user_name.clone(),
            state: client.state.get(),
            socket: SocketReport {
                peer: client.peer,
                local: client.local,
                connected: client.connected,
                tls: String::new(),
            },
            requested: wall.checked_sub(now.saturating_duration_since(client.since.get())),
            wait: match client.state.get() {
                ClientState::Waiting => now.saturating_duration_since(client.since.get()),
                _ => Duration::ZERO,
            },
            link: client.server.borrow().as_ref().map(|server| server.id),
            application_name: client.application_name.borrow().clone(),
            prepared_statements: client.statements.get(),
        };
        self.clients().iter().map(report).collect()
    }

    fn server_reports(&self) -> Vec<ServerReport> {
        let clients = self.clients();
        let name_of = |link: Option<u64>| {
            let client = clients.iter().find(|client| Some(client.id) == link);
            client.map_or_else(String::new, |client| client.application_name.borrow().clone())
        };
        self.servers
            .borrow()
            .values()
            .map(|server| self.server_report(server, name_of(server.link.get())))
            .collect()
    }

    fn server_report(&self, server: &ServerShared, application_name: String) -> ServerReport {
        let pools = self.pools.borrow();
        let pool = pools.get(&server.pool);
        ServerReport {
            id: server.id,
            database: pool.map_or_else(String::new, |pool| pool.database.clone()),
            user: pool.map_or_else(String::new, |pool| pool.user_name.clone()),
            state: server.state.get(),
            socket: SocketReport {
                peer: server.peer,
                local: server.local,
                connected: server.connected,
                tls: String::new(),
            },
            requested: server.requested.get(),
            close_needed: server.doomed.get() || pool.is_some_and(|pool| server.epoch < pool.epoch.get()),
            link: server.link.get(),
            backend_pid: server.key.as_ref().map_or(0, |key| key.process_id() as u32),
            application_name,
            prepared_statements: server.statements.get(),
        }
    }
}

fn count_client(report: &mut PoolReport, client: &ClientShared, now: Instant) {
    match client.state.get() {
        ClientState::Active => report.clients.active += 1,
        ClientState::Waiting => {
            report.clients.waiting += 1;
            report.max_wait = report.max_wait.max(now.saturating_duration_since(client.since.get()));
        }
        _ => report.clients.idle += 1,
    }
}

fn count_server(report: &mut PoolReport, state: ServerState) {
    let servers = &mut report.servers;
    let count = match state {
        ServerState::Active => &mut servers.active,
        ServerState::Idle => &mut servers.idle,
        ServerState::Used => &mut servers.used,
        ServerState::Tested => &mut servers.tested,
        ServerState::New => &mut servers.login,
        ServerState::ActiveCancel => &mut servers.active_cancel,
        ServerState::BeingCanceled => &mut servers.being_canceled,
        ServerState::Closing => &mut servers.closing,
    };
    *count += 1;
}

impl Process {
    async fn gather(&self, detail: Detail) -> Report {
        let mut answers = Vec::new();
        self.tell_all(|| {
            let (answer, report) = oneshot::channel();
            answers.push(report);
            Mail::Report(detail, answer)
        });
        let mut loops = Vec::new();
        let deadline = tokio::time::Instant::now() + ANSWER_LIMIT;
        for answer in answers {
            // a loop that does not answer is missing from the count, which is what liveness looks at
            if let Ok(Ok(report)) = tokio::time::timeout_at(deadline, answer).await {
                loops.push(report);
            }
        }
        let waiting = loops.iter().flat_map(|report| &report.pools).map(|pool| pool.clients.waiting).sum();
        let ledger = self.slots(|slots| LedgerReport { limit: slots.limit(), held: slots.held(), waiting });
        let paused = self.with_paused(|paused| paused.clone());
        let phase = *self.phase.borrow();
        Report::gather(ProcessReport { ledger, phase, paused }, loops)
    }

    fn reread(&self) -> Result<ReloadOutcome, ReloadError> {
        let current = self.current();
        let (loaded, outcome) = self.source.reload(&current.loaded)?;
        let auth = current
            .auth
            .reload(&loaded.userlist)
            .map_err(|_| ReloadError::Unavailable("the system gives no random bytes"))?;
        self.follow(loaded, auth);
        Ok(outcome)
    }

    fn check_database(&self, database: Option<&String>) -> Result<(), ControlError> {
        match database {
            Some(database) if !self.knows_database(database) => {
                Err(ControlError::NoSuchDatabase(database.clone()))
            }
            _ => Ok(()),
        }
    }

    async fn hold(&self, database: Option<String>) -> Result<(), ControlError> {
        self.check_database(database.as_ref())?;
        let new = self.with_paused(|paused| match &database {
            None => !std::mem::replace(&mut paused.all, true),
            Some(database) => paused.databases.insert(database.clone()),
        });
        if !new {
            return Err(ControlError::AlreadyPaused);
        }
        self.tell_all(|| Mail::Paused { database: database.clone(), paused: true });
        loop {
            let report = self.gather(Detail::Counters).await;
            let covered =
                |pool: &&PoolReport| database.as_ref().is_none_or(|database| pool.database == *database);
            if report.work.pools.iter().filter(covered).all(|pool| pool.servers.total() == 0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn go_on(&self, database: Option<String>) -> Result<(), ControlError> {
        let was = self.with_paused(|paused| match &database {
            None => {
                let was = paused.all || !paused.databases.is_empty();
                paused.all = false;
                paused.databases.clear();
                was
            }
            Some(database) => paused.databases.remove(database),
        });
        match (was, database) {
            (true, database) => {
                self.tell_all(|| Mail::Paused { database: database.clone(), paused: false });
                Ok(())
            }
            (false, None) => Err(ControlError::NotPaused),
            (false, Some(database)) => Err(ControlError::DatabaseNotPaused(database)),
        }
    }
}

impl Control for Process {
    fn report(&self, detail: Detail) -> Answer<'_, Report> {
        Box::pin(self.gather(detail))
    }

    fn settings(&self) -> Arc<Loaded> {
        Arc::new(self.current().loaded.clone())
    }

    fn readiness(&self) -> Readiness {
        match *self.phase.borrow() {
            Phase::Starting => Readiness::Starting,
            Phase::Active => Readiness::Ready,
            Phase::Draining => Readiness::Draining,
        }
    }

    fn reload(&self) -> Answer<'_, Result<ReloadOutcome, ReloadError>> {
        Box::pin(std::future::ready(self.reread()))
    }

    fn pause(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(self.hold(database))
    }

    fn resume(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(std::future::ready(self.go_on(database)))
    }

    fn reconnect(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        let outcome = self.check_database(database.as_ref());
        if outcome.is_ok() {
            let epoch = self.new_epoch();
            self.tell_all(|| Mail::Reconnect { database: database.clone(), epoch });
        }
        Box::pin(std::future::ready(outcome))
    }

    fn shutdown(&self, mode: ShutdownMode) {
        if mode > ShutdownMode::WaitForClients {
            self.phase.send_replace(Phase::Draining);
        }
        self.deadline.send_modify(|leaving| {
            if leaving.is_none_or(|leaving| leaving.mode < mode) {
                *leaving = Some(Leaving { mode });
            }
        });
    }
}
