//! The admin console: PgBouncer's commands over the PostgreSQL protocol, for people, exporters and the operator.
//!
//! ```text
//! bytes -> session -> command::parse -> Console::execute -> Reply -> bytes
//!                       (pure)          asks Control        (tables are pure)
//! ```
//!
//! Each command has a file of its name. Column names, order and types are those of PgBouncer 1.26, ours
//! behind them.

mod budget;
pub mod command;
mod configure;
mod disable;
mod enable;
mod error;
mod kill;
mod pause;
mod reconnect;
mod reload;
mod reply;
mod resume;
mod session;
mod sessions;
mod set;
mod show_clients;
mod show_config;
mod show_databases;
mod show_dns;
mod show_drain;
mod show_help;
mod show_lists;
mod show_mem;
mod show_parameter;
mod show_peers;
mod show_pools;
mod show_servers;
mod show_sockets;
mod show_state;
mod show_stats;
mod show_users;
mod show_version;
mod shutdown;
mod sockets;
pub mod statistics;
pub mod table;
mod token;
mod wait_close;

pub use error::AdminError;
pub use reply::Reply;
pub use session::{AdminClient, serve};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgpooler_config::Document;

use crate::control::Control;
use crate::report::{Detail, Report};
use command::{Command, Show};
use sessions::{CONSOLE, Sessions};
use statistics::Window;

/// Names that the console answers to as a database: ours, and the one that existing tools know.
pub const DATABASES: [&str; 2] = ["pgpooler", "pgbouncer"];

/// Period of the averages in `SHOW STATS`.
pub const STATS_PERIOD: Duration = Duration::from_mins(1);

/// What a user may do on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every command (`admin_users`).
    Admin,
    /// `SHOW` (`stats_users`).
    Stats,
}

/// Whether a startup message asks for the console.
pub fn is_console(database: &str) -> bool {
    DATABASES.contains(&database)
}

/// Refuses what cannot be done to the console.
fn not_console(verb: &'static str, database: Option<&str>) -> Result<(), AdminError> {
    match database.filter(|database| is_console(database)) {
        Some(console) => Err(AdminError::Console(verb, console.to_owned())),
        None => Ok(()),
    }
}

/// What `user` may do on the console; `None`: not even log in.
pub fn access(document: &Document, user: &str) -> Option<Access> {
    let listed = |users: &[String]| users.iter().any(|listed| listed == user);
    if listed(&document.admin_users) {
        Some(Access::Admin)
    } else {
        listed(&document.stats_users).then_some(Access::Stats)
    }
}

/// What all sessions of the console share.
pub struct Console {
    control: Arc<dyn Control>,
    window: Mutex<Window>,
    sessions: Sessions,
}

impl Console {
    /// A console of the process behind `control`.
    pub fn new(control: Arc<dyn Control>) -> Self {
        Self { control, window: Mutex::new(Window::new(Instant::now())), sessions: Sessions::default() }
    }

    /// The process.
    pub fn control(&self) -> &Arc<dyn Control> {
        &self.control
    }

    /// Remembers the counters once a period, for the averages; never returns.
    pub async fn keep_averages(&self) {
        let mut ticks = tokio::time::interval(STATS_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await; // the first one comes at once
        loop {
            ticks.tick().await;
            let totals = statistics::by_database(&self.counters().await.work.pools);
            self.with_window(|window| window.rotate(Instant::now(), totals));
        }
    }

    /// Carries a command out. Whether the user may give it is the session's business.
    ///
    /// May be dropped at any time: what has begun goes on.
    pub async fn execute(&self, command: Command) -> Result<Reply, AdminError> {
        match command {
            Command::Show(show) => Ok(self.show(show).await),
            Command::SetIgnored(_) => Ok(Reply::done("SET").notice("SET ignored")),
            Command::Set { key, value } => set::set(&*self.control, key, value).await,
            Command::Reload => reload::reload(&*self.control).await,
            Command::Pause(database) => pause::pause(&*self.control, database).await,
            Command::Resume(database) => resume::resume(&*self.control, database).await,
            Command::Reconnect(database) => reconnect::reconnect(&*self.control, database).await,
            Command::Disable(database) => disable::disable(&*self.control, database).await,
            Command::Enable(database) => enable::enable(&*self.control, database).await,
            Command::Kill(database) => kill::kill(&*self.control, database).await,
            Command::KillClient(id) => kill::client(&*self.control, &self.sessions, id).await,
            Command::WaitClose(database) => wait_close::wait_close(&*self.control, database).await,
            Command::Shutdown(mode) => Ok(shutdown::shutdown(mode)),
            Command::Order(order) => budget::obey(&*self.control, order).await,
            Command::Configure { bundle, epoch } => {
                configure::configure(&*self.control, *bundle, epoch).await
            }
            // the session's business
            Command::Listen(_) => Ok(Reply::done("LISTEN")),
            Command::Unlisten(_) => Ok(Reply::done("UNLISTEN")),
        }
    }

    async fn show(&self, show: Show) -> Reply {
        let settings = self.control.settings();
        match show {
            Show::Budget => budget::show(&*self.control).await,
            Show::Config => Reply::table(show_config::table(&settings.document)),
            Show::Configuration => Reply::table(configure::table(&settings)),
            Show::Drain => Reply::table(show_drain::table(&self.control.report(Detail::Clients).await)),
            Show::Help => show_help::reply(),
            Show::Parameter(parameter) => Reply::table(show_parameter::table(parameter)),
            Show::Version => Reply::table(show_version::table()),
            Show::Clients => Reply::table(show_clients::table(&self.everything(Detail::Clients).await)),
            Show::Servers => Reply::table(show_servers::table(&self.report(Detail::Servers).await)),
            Show::Sockets(which) => {
                Reply::table(show_sockets::table(&self.everything(Detail::Sockets).await, which))
            }
            Show::Mem => Reply::table(show_mem::table(&self.counters().await, &settings.document)),
            Show::Peers => Reply::table(show_peers::peers(&settings.document)),
            Show::PeerPools => Reply::table(show_peers::pools(&self.counters().await)),
            Show::DnsHosts => Reply::table(show_dns::hosts()),
            Show::DnsZones => Reply::table(show_dns::zones()),
            Show::Databases => {
                Reply::table(show_databases::table(&self.counters().await, &settings.document))
            }
            Show::Lists => Reply::table(show_lists::table(&self.counters().await, &settings)),
            Show::Pools => Reply::table(show_pools::table(&self.counters().await)),
            Show::State => Reply::table(show_state::table(&self.counters().await, &settings.hash)),
            Show::Users => {
                let on_console = self.sessions.by_user();
                Reply::table(show_users::table(&self.counters().await, &settings, &on_console))
            }
            Show::Totals => {
                let current = statistics::by_database(&self.counters().await.work.pools);
                let averages = self.with_window(|window| window.overall(Instant::now(), &current));
                Reply::table(show_stats::overall(&statistics::overall(&current), &averages))
            }
            Show::Stats(part) => {
                let current = statistics::by_database(&self.counters().await.work.pools);
                Reply::table(self.with_window(|window| {
                    show_stats::table(part, &current, |database| {
                        window.averages(Instant::now(), database, &current)
                    })
                }))
            }
        }
    }

    async fn counters(&self) -> Report {
        self.everything(Detail::Counters).await
    }

    /// A report in which the console is a pool, as `SHOW` has it.
    async fn everything(&self, detail: Detail) -> Report {
        let mut report = self.control.report(detail).await;
        report.work.pools.insert(0, self.sessions.pool());
        if detail.has_clients() {
            report.work.clients.extend(self.sessions.clients());
        }
        report
    }

    /// A report of the process, with the console's own sessions.
    pub async fn report(&self, detail: Detail) -> Report {
        let mut report = self.control.report(detail).await;
        report.work.console_clients += self.sessions.count();
        report
    }

    fn with_window<T>(&self, act: impl FnOnce(&mut Window) -> T) -> T {
        // a panic while it was held cannot leave a window half changed
        act(&mut self.window.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_do_everything_and_a_stats_user_may_look() {
        let document = Document {
            admin_users: vec!["ann".into()],
            stats_users: vec!["ann".into(), "bob".into()],
            ..Document::default()
        };
        assert_eq!(access(&document, "ann"), Some(Access::Admin));
        assert_eq!(access(&document, "bob"), Some(Access::Stats));
        assert_eq!(access(&document, "Bob"), None);
    }

    #[test]
    fn the_console_answers_to_both_names_and_to_no_other() {
        assert!(is_console("pgpooler") && is_console("pgbouncer"));
        assert!(!is_console("PgBouncer") && !is_console("postgres"));
    }
}
