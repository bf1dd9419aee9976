//! One session on a target: its login, what it asks, and what refusals mean.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, Statement};

use crate::api::{Reason, Role};
use crate::names;
use crate::plan::backends::{Backend, Backends, Origin, Start, Whose};
use crate::plan::facts::{Hidden, Server};
use crate::plan::target::{Host, Target};

use super::dial;

/// How long a connection, a login or a query may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that the budget needs, and how many sessions there are. A role without special rights may run it; to it
/// `backend_type` of other roles' sessions is hidden, hence the test for a user and a database: background processes lack
/// one of them.
const QUESTION: &str = "\
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int,
       coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int,
       CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END,
       CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END,
       split_part(current_setting('server_version'), ' ', 1),
       pg_is_in_recovery(),
       (SELECT count(*)::int FROM pg_stat_activity
         WHERE usename = $2 AND (usename <> session_user OR application_name <> $1)),
       (SELECT count(*)::int FROM pg_stat_activity
         WHERE usename <> $2 AND datid IS NOT NULL AND (usename <> session_user OR application_name <> $1)
           AND coalesce(backend_type, 'client backend') = 'client backend'),
       (SELECT coalesce(string_agg(usename || ': ' || sessions, ', ' ORDER BY sessions DESC, usename), '') FROM
         (SELECT usename, count(*) AS sessions FROM pg_stat_activity
           WHERE usename <> $2 AND datid IS NOT NULL AND (usename <> session_user OR application_name <> $1)
           AND coalesce(backend_type, 'client backend') = 'client backend'
           GROUP BY usename ORDER BY count(*) DESC, usename LIMIT 3) AS most)
  FROM pg_roles r, pg_database d
 WHERE r.rolname = $2 AND d.datname = current_database()";

/// Every session of a client: start and address of other roles' are null to a role without special rights.
const BACKENDS: &str = "\
SELECT pid, host(client_addr), extract(epoch FROM backend_start)::float8, usename = $2,
       usename = session_user AND application_name = $1, extract(epoch FROM clock_timestamp())::float8, usename::text,
       CASE WHEN state = 'active' THEN extract(epoch FROM query_start)::float8 END
  FROM pg_stat_activity
 WHERE usename IS NOT NULL AND datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'";

/// A session that is logged in.
pub struct Session {
    client: Arc<Client>,
    connection: JoinHandle<()>,
    /// The login role of the pods.
    role: String,
    system_identifier: Option<String>,
    /// Asked every half minute, for as long as the session lasts.
    prepared: Option<Prepared>,
}

/// What is asked again and again.
#[derive(Clone)]
struct Prepared {
    question: Statement,
    backends: Statement,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In the closed vocabulary.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Session {
    /// Logs in and asks for the first time, at each host until one has the role that the target must have. Not cancel-safe,
    /// but nothing is lost than the attempt.
    pub async fn open(target: &Target) -> Result<(Self, Server), Failure> {
        let mut last = None;
        for host in &target.hosts {
            match Self::open_at(target, host).await {
                Ok(found) => return Ok(found),
                // what is wrong with the host that answers is told before what is wrong with those that do not
                Err(failure) => last = Some(worse(last, failure)),
            }
        }
        Err(last.unwrap_or_else(|| failure(Reason::SecretInvalid, "there is no host".to_owned())))
    }

    async fn open_at(target: &Target, host: &Host) -> Result<(Self, Server), Failure> {
        let address = host.address();
        let (client, connection) = login(target, host, target.monitor(), &target.database).await?;
        let role = target.user.clone();
        let mut session =
            Self { client: Arc::new(client), connection, role, system_identifier: None, prepared: None };
        session.prepare().await.map_err(|error| refusal_or_silence(error, &address))?;
        let server = session.ask().await.map_err(|error| refusal_or_silence(error, &address))?;
        suits(target.role, &server, &address)?;
        Ok((session, server))
    }

    /// For whoever has something else to say to the server. Its end is not theirs.
    pub fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Waits until the server has hung up. Cancel-safe.
    pub async fn lost(&mut self) {
        // a task that panicked serves nobody either
        let _ = (&mut self.connection).await;
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
        let question = within(self.client.prepare(QUESTION)).await?;
        let backends = within(self.client.prepare(BACKENDS)).await?;
        self.prepared = Some(Prepared { question, backends });
        Ok(())
    }

    /// The answers to a prepared question. `Err(None)`: no answer in time.
    async fn rows(
        &self,
        which: impl Fn(&Prepared) -> &Statement,
    ) -> Result<Vec<Row>, Option<tokio_postgres::Error>> {
        // a session is handed out only when it is prepared
        let statement = which(self.prepared.as_ref().ok_or(None)?);
        within(self.client.query(statement, &[&names::APPLICATION_NAME, &self.role])).await
    }

    /// What the budget needs. `Err(None)`: no answer in time.
    pub async fn ask(&self) -> Result<Server, Option<tokio_postgres::Error>> {
        // a role or a database that is gone is no server that could be used
        let row = self.rows(|prepared| &prepared.question).await?.into_iter().next().ok_or(None)?;
        self.server(&row).map_err(Some)
    }

    /// Both at once: one trip for them.
    pub async fn look(&self) -> Result<(Server, Backends), Option<tokio_postgres::Error>> {
        // both are sent before either is answered, and answered in this order
        futures::try_join!(self.ask(), self.backends())
    }

    /// All sessions on the server. `Err(None)`: no answer in time.
    pub async fn backends(&self) -> Result<Backends, Option<tokio_postgres::Error>> {
        let rows = self.rows(|prepared| &prepared.backends).await?;
        let now = rows.first().map_or(Ok(0.0), |row| row.try_get(5)).map_err(Some)?;
        let rows = rows.iter().map(backend).collect::<Result<_, _>>().map_err(Some)?;
        Ok(Backends { now, rows })
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

fn backend(row: &Row) -> Result<Backend, tokio_postgres::Error> {
    let start: Option<f64> = row.try_get(2)?;
    let address = row.try_get::<_, Option<&str>>(1)?.and_then(|text| text.parse::<IpAddr>().ok());
    Ok(Backend {
        pid: row.try_get(0)?,
        origin: match (address, start) {
            (Some(address), _) => Origin::Address(address),
            (None, Some(_)) => Origin::Local,
            (None, None) => Origin::Hidden,
        },
        start: start.map_or(Start::Unknown, Start::At),
        whose: match (row.try_get(3)?, row.try_get::<_, Option<bool>>(4)?) {
            (_, Some(true)) => Whose::Operator,
            (true, _) => Whose::Ours,
            (false, _) => Whose::Others,
        },
        role: row.try_get(6)?,
        busy_since: row.try_get(7)?,
    })
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

/// A session at one host.
pub(super) async fn login(
    target: &Target,
    host: &Host,
    (user, password): (&str, &Hidden),
    database: &str,
) -> Result<(Client, JoinHandle<()>), Failure> {
    let address = host.address();
    let stream = dial::dial(host).await?;
    let (tls, mode) = dial::tls(target, host)?;
    let mut config = tokio_postgres::Config::new();
    config
        .user(user)
        .password(&password.0)
        .dbname(database)
        .application_name(names::APPLICATION_NAME)
        .ssl_mode(mode);
    let login = timeout(PATIENCE, config.connect_raw(stream, tls)).await;
    let (client, connection) = login
        .map_err(|_| {
            failure(Reason::Unreachable, format!("{address} accepts connections and does not answer"))
        })?
        .map_err(|error| refusal(&error, &address))?;
    // ends when the client is dropped or the server hangs up
    let connection = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "session on a target lost");
        }
    });
    Ok((client, connection))
}

/// A server that is something else is none.
pub(super) fn suits(role: Role, server: &Server, address: &str) -> Result<(), Failure> {
    let (is, should) = match (role, server.in_recovery) {
        (Role::Any, _) | (Role::Primary, false) | (Role::Standby, true) => return Ok(()),
        (Role::Primary, true) => ("standby", "Primary"),
        (Role::Standby, false) => ("primary", "Standby"),
    };
    let text =
        format!("{address} is a {is}, and spec.target.role is {should}; clients are held until it is one");
    Err(failure(Reason::WrongRole, text))
}

/// The one that says more of what is to be done.
fn worse(one: Option<Failure>, other: Failure) -> Failure {
    let silent = |failure: &Failure| matches!(failure.reason, Reason::Unreachable | Reason::NotResolved);
    match one {
        Some(one) if !silent(&one) && silent(&other) => one,
        _ => other,
    }
}

fn refusal_or_silence(error: Option<tokio_postgres::Error>, address: &str) -> Failure {
    match error {
        Some(error) => refusal(&error, address),
        None => failure(Reason::Unreachable, format!("{address} does not answer queries in 5 s")),
    }
}

/// What a refusal means, and what to do.
fn refusal(error: &tokio_postgres::Error, address: &str) -> Failure {
    let Some(refusal) = error.as_db_error() else {
        if let Some(failure) = dial::refusal(error, address) {
            return failure;
        }
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
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            (Reason::AuthenticationFailed, "check the role, pg_hba.conf and spec.target.tls.mode")
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS => {
            (Reason::TooManyConnections, "the operator needs one connection of its own; end some sessions")
        }
        code if *code == SqlState::CANNOT_CONNECT_NOW => (Reason::Unreachable, "it starts or stops"),
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            (Reason::Refused, "set spec.target.database to one that exists")
        }
        _ => (Reason::Refused, "see the log of the server"),
    };
    failure(reason, format!("{address} says: {said}; {advice}"))
}

pub(super) fn failure(reason: Reason, message: String) -> Failure {
    Failure { reason, message }
}
