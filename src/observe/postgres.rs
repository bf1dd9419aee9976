//! The monitor sessions: one is kept open to each target, so that the server can be asked even when it is full.
//! Every failure is a fact.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Row};

use crate::api::Reason;
use crate::names;
use crate::plan::facts::{Server, ServerFact};
use crate::plan::target::Target;

/// How long a connection, a login or a query may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old figures may be.
const FRESH: Duration = Duration::from_secs(29);
/// After failures in a row, the time before the next attempt doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A session that nobody asked for as long belongs to a target that is no more.
const FORGOTTEN: Duration = Duration::from_mins(5);

/// Everything that the budget needs, and how many sessions there are. A role without special rights may run it; to it
/// `backend_type` of other roles' sessions is hidden, hence the test for a user, which background processes lack.
const QUESTION: &str = "\
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int,
       coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int,
       CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END,
       CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END,
       split_part(current_setting('server_version'), ' ', 1),
       pg_is_in_recovery(),
       (SELECT count(*)::int FROM pg_stat_activity WHERE usename = session_user AND application_name <> $1),
       (SELECT count(*)::int FROM pg_stat_activity
         WHERE usename <> session_user AND coalesce(backend_type, 'client backend') = 'client backend'),
       (SELECT coalesce(string_agg(usename || ': ' || sessions, ', ' ORDER BY sessions DESC, usename), '') FROM
         (SELECT usename, count(*) AS sessions FROM pg_stat_activity
           WHERE usename <> session_user AND coalesce(backend_type, 'client backend') = 'client backend'
           GROUP BY usename ORDER BY count(*) DESC, usename LIMIT 3) AS most)
  FROM pg_roles r, pg_database d
 WHERE r.rolname = session_user AND d.datname = current_database()";

/// All monitor sessions.
#[derive(Default)]
pub struct Sessions {
    slots: Mutex<HashMap<Target, Arc<Mutex<Slot>>>>,
}

/// What is kept for one target.
struct Slot {
    state: State,
    asked_at: Instant,
}

enum State {
    New,
    Open { session: Session, server: Box<Server>, read_at: Instant },
    Failed { fact: Failure, pause: Duration, until: Instant },
}

struct Session {
    client: Client,
    system_identifier: Option<String>,
}

#[derive(Clone)]
struct Failure {
    reason: Reason,
    message: String,
}

impl Sessions {
    /// What the target says; its host must be one that can be resolved from here. Cancel-safe: what is lost is at most
    /// a session, and the next call opens another.
    pub async fn observe(&self, target: &Target) -> ServerFact {
        let now = Instant::now();
        let slot = {
            let mut slots = self.slots.lock().await;
            slots.retain(|_, slot| slot.try_lock().map_or(true, |slot| now - slot.asked_at < FORGOTTEN));
            let new = || Arc::new(Mutex::new(Slot { state: State::New, asked_at: now }));
            Arc::clone(slots.entry(target.clone()).or_insert_with(new))
        };
        let mut slot = slot.lock().await;
        slot.asked_at = now;
        let state = std::mem::replace(&mut slot.state, State::New);
        slot.state = state.refreshed(target).await;
        slot.state.fact()
    }
}

impl State {
    /// The state after it was made sure that what it says is not too old.
    async fn refreshed(self, target: &Target) -> Self {
        let now = Instant::now();
        let mut pause = Duration::from_secs(1);
        match self {
            Self::Open { session, server, read_at }
                if now - read_at < FRESH && !session.client.is_closed() =>
            {
                return Self::Open { session, server, read_at };
            }
            Self::Open { session, .. } if !session.client.is_closed() => {
                if let Ok(server) = session.ask().await {
                    return Self::Open { session, server: Box::new(server), read_at: now };
                }
            }
            Self::Failed { fact, pause, until } if now < until => return Self::Failed { fact, pause, until },
            Self::Failed { pause: last, .. } => pause = (last * 2).min(LONGEST_PAUSE),
            Self::Open { .. } | Self::New => {}
        }
        match Session::open(target).await {
            Ok((session, server)) => {
                Self::Open { session, server: Box::new(server), read_at: Instant::now() }
            }
            Err(fact) => Self::Failed { fact, pause, until: Instant::now() + pause },
        }
    }

    fn fact(&self) -> ServerFact {
        match self {
            Self::New => ServerFact::NotAsked,
            Self::Open { server, .. } => ServerFact::Seen((**server).clone()),
            Self::Failed { fact, .. } => {
                ServerFact::Failed { reason: fact.reason, message: fact.message.clone() }
            }
        }
    }
}

impl Session {
    async fn open(target: &Target) -> Result<(Self, Server), Failure> {
        let address = target.address();
        let stream = dial(target, &address).await?;
        let mut config = tokio_postgres::Config::new();
        config
            .user(&target.user)
            .password(&target.password.0)
            .dbname(&target.database)
            .application_name(names::APPLICATION_NAME)
            .ssl_mode(SslMode::Disable);
        let login = timeout(PATIENCE, config.connect_raw(stream, NoTls)).await;
        let (client, connection) = login
            .map_err(|_| {
                failure(Reason::Unreachable, format!("{address} accepts connections and does not answer"))
            })?
            .map_err(|error| refusal(&error, target))?;
        // ends when the client is dropped or the server hangs up; the client then says that it is closed
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "monitor session lost");
            }
        });
        let mut session = Self { client, system_identifier: None };
        session.prepare().await.map_err(|error| refusal_or_silence(error, target))?;
        let server = session.ask().await.map_err(|error| refusal_or_silence(error, target))?;
        Ok((session, server))
    }

    /// A query of ours never holds up the server.
    async fn prepare(&mut self) -> Result<(), Option<tokio_postgres::Error>> {
        let set =
            "SET statement_timeout = '5s'; SET lock_timeout = '1s'; SET default_transaction_read_only = on";
        within(self.client.batch_execute(set)).await?;
        // not every role may read it, and not every service has it
        let identifier = "SELECT system_identifier::text FROM pg_control_system()";
        let row = within(self.client.query_one(identifier, &[])).await;
        self.system_identifier = row.ok().and_then(|row| row.try_get(0).ok());
        Ok(())
    }

    async fn ask(&self) -> Result<Server, Option<tokio_postgres::Error>> {
        let row = within(self.client.query_one(QUESTION, &[&names::APPLICATION_NAME])).await?;
        self.server(&row).map_err(Some)
    }

    fn server(&self, row: &Row) -> Result<Server, tokio_postgres::Error> {
        let count = |index| row.try_get(index).map(|count: i32| u32::try_from(count).unwrap_or(0));
        let limit = |index| row.try_get(index).map(|limit: i32| u32::try_from(limit).ok());
        Ok(Server {
            max_connections: count(0)?,
            superuser_reserved: count(1)?,
            reserved: count(2)?,
            role_limit: limit(3)?,
            database_limit: limit(4)?,
            version: row.try_get(5)?,
            in_recovery: row.try_get(6)?,
            of_role: count(7)?,
            of_others: count(8)?,
            whose: row.try_get(9)?,
            system_identifier: self.system_identifier.clone(),
        })
    }
}

/// `Err(None)`: no answer in time.
async fn within<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Option<tokio_postgres::Error>> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(Some),
        Err(_) => Err(None),
    }
}

/// A connection to the first address that answers.
async fn dial(target: &Target, address: &str) -> Result<TcpStream, Failure> {
    let lookup = timeout(PATIENCE, tokio::net::lookup_host((target.host.as_str(), target.port))).await;
    let found: Vec<_> = match lookup {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(not_resolved(target, &error.to_string())),
        Err(_) => return Err(not_resolved(target, "the name server does not answer")),
    };
    let mut last = "the name has no address".to_owned();
    for place in found {
        match timeout(PATIENCE, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => {
                // without it small queries wait for acknowledgements; a socket that cannot is still a socket
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = String::from("no answer in 5 s"),
        }
    }
    Err(failure(
        Reason::Unreachable,
        format!("cannot connect to {address}: {last}; check host and port and that it runs"),
    ))
}

fn not_resolved(target: &Target, why: &str) -> Failure {
    failure(
        Reason::NotResolved,
        format!("host `{}` has no address: {why}; check spec.target.host or the Secret", target.host),
    )
}

fn refusal_or_silence(error: Option<tokio_postgres::Error>, target: &Target) -> Failure {
    match error {
        Some(error) => refusal(&error, target),
        None => failure(Reason::Unreachable, format!("{} does not answer queries in 5 s", target.address())),
    }
}

/// What a refusal means, and what to do.
fn refusal(error: &tokio_postgres::Error, target: &Target) -> Failure {
    let Some(refusal) = error.as_db_error() else {
        let address = target.address();
        let text = if error.is_closed() {
            format!("{address} closed the connection during the login")
        } else {
            format!("the login at {address} failed: {error}; is it PostgreSQL, with SCRAM, md5 or password?")
        };
        return failure(Reason::Refused, text);
    };
    let said = format!("{} ({})", refusal.message(), refusal.code().code());
    let (reason, advice) = match refusal.code() {
        code if *code == SqlState::INVALID_PASSWORD => {
            (Reason::AuthenticationFailed, "check username and password in the Secret")
        }
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => (
            Reason::AuthenticationFailed,
            "check the role and pg_hba.conf; TLS to the server is not supported yet",
        ),
        code if *code == SqlState::TOO_MANY_CONNECTIONS => {
            (Reason::TooManyConnections, "the operator needs one connection of its own; end some sessions")
        }
        code if *code == SqlState::CANNOT_CONNECT_NOW => (Reason::Unreachable, "it starts or stops"),
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            (Reason::Refused, "set spec.target.database to one that exists")
        }
        _ => (Reason::Refused, "see the log of the server"),
    };
    failure(reason, format!("{} says: {said}; {advice}", target.address()))
}

fn failure(reason: Reason, message: String) -> Failure {
    Failure { reason, message }
}
