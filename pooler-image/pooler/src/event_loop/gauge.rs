//! What a loop tells about itself.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgpooler_core::pool::PoolId;
use pgpooler_core::session::Holds;

use crate::event_loop::client::ClientShared;
use crate::event_loop::memory;
use crate::event_loop::pool::Pool;
use crate::event_loop::server::{Outlook, ServerShared};
use crate::event_loop::worker::Worker;
use crate::report::{
    ClientReport, ClientState, Detail, LoopReport, LoopUse, PoolReport, ServerReport, ServerState,
    SocketReport,
};
use crate::tls::Protocol;

impl Worker {
    /// This loop's part of a report.
    pub(crate) fn report(&self, detail: Detail) -> LoopReport {
        let now = Instant::now();
        LoopReport {
            pools: self.pool_reports(now),
            clients: if detail.has_clients() { self.client_reports(now) } else { Vec::new() },
            servers: if detail.has_servers() { self.server_reports() } else { Vec::new() },
            login_clients: self.logging_in.get(),
            // console sessions are on the service's thread
            console_clients: 0,
            logins: *self.logins.borrow(),
            errors: self.errors.borrow().clone(),
            buffered_bytes: memory::held() as u64,
        }
    }

    /// What its clients use and lack. Costs the same however many clients there are.
    pub(crate) fn usage(&self) -> LoopUse {
        let servers = self.servers.borrow();
        let in_use = |server: &&Rc<ServerShared>| {
            !matches!(server.state.get(), ServerState::Idle | ServerState::Closing)
        };
        let ledger = self.ledger.borrow();
        let waiting = ledger.pools().filter(|pool| !ledger.is_spare(*pool));
        LoopUse {
            active: servers.values().filter(in_use).count() as u32,
            waiting: waiting.map(|pool| (pool, ledger.counts(pool).waiting)).collect(),
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
                count_pins(report, server.holds.get());
                count_server(report, server.state.get());
                report.close_needed += u32::from(self.is_to_close(server));
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
            pool_size: rule.size.own,
            traffic: pool.traffic(),
            ..PoolReport::default()
        };
        report.servers.login = self.ledger.borrow().counts(pool.id).connecting;
        report
    }

    fn client_reports(&self, now: Instant) -> Vec<ClientReport> {
        let wall = crate::wall::now();
        let report = |client: &Rc<ClientShared>| ClientReport {
            id: client.id,
            database: client.pool.database.clone(),
            user: client.pool.user_name.clone(),
            state: client.state.get(),
            socket: SocketReport {
                peer: client.peer(),
                local: self.local_address(client),
                connected: wall
                    .checked_sub(now.saturating_duration_since(client.connected()))
                    .unwrap_or(wall),
                tls: told(client.tls),
            },
            requested: wall.checked_sub(now.saturating_duration_since(client.since())),
            wait: match client.state.get() {
                ClientState::Waiting => now.saturating_duration_since(client.since()),
                _ => Duration::ZERO,
            },
            link: client.server().map(|server| server.id),
            application_name: self.application_name(client),
            prepared_statements: client.statements.get(),
            pinned: client.server().map(|server| server.holds.get()).unwrap_or_default(),
        };
        self.clients().iter().map(report).collect()
    }

    fn server_reports(&self) -> Vec<ServerReport> {
        let clients = self.clients();
        let name_of = |link: Option<u64>| {
            let client = clients.iter().find(|client| Some(client.id) == link);
            client.map_or_else(String::new, |client| self.application_name(client))
        };
        self.servers
            .borrow()
            .values()
            .map(|server| self.server_report(server, name_of(server.link.get())))
            .collect()
    }

    /// Closed as soon as it is released.
    fn is_to_close(&self, server: &ServerShared) -> bool {
        let pools = self.pools.borrow();
        let renewed = pools.get(&server.pool).is_some_and(|pool| server.epoch < pool.epoch.get());
        renewed || server.outlook.get() != Outlook::Good
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
                tls: told(server.tls.as_ref().and_then(|peer| peer.protocol)),
            },
            requested: server.requested.get().and_then(|at| crate::wall::now().checked_sub(at.elapsed())),
            close_needed: self.is_to_close(server),
            link: server.link.get(),
            backend_pid: server.key.as_ref().map_or(0, |key| key.process_id() as u32),
            application_name,
            prepared_statements: server.statements.get(),
            pinned: server.holds.get(),
        }
    }
}

fn count_client(report: &mut PoolReport, client: &ClientShared, now: Instant) {
    match client.state.get() {
        ClientState::Active => report.clients.active += 1,
        ClientState::Waiting => {
            report.clients.waiting += 1;
            report.max_wait = report.max_wait.max(now.saturating_duration_since(client.since()));
        }
        _ => report.clients.idle += 1,
    }
}

fn count_pins(report: &mut PoolReport, holds: Holds) {
    for ((kind, _), count) in Holds::ALL.into_iter().zip(&mut report.pinned) {
        *count += u32::from(holds.contains(kind));
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

/// What `SHOW` tells of TLS.
fn told(protocol: Option<Protocol>) -> String {
    protocol.map(|protocol| protocol.to_string()).unwrap_or_default()
}
