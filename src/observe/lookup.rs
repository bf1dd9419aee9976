//! Whether roles can be looked up: the query of `spec.auth.query` is run as the pods run it.
//!
//! For that a connection is opened for a moment, beside the operator's own session; a server that is full is asked again
//! later.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::api::Reason;
use crate::plan::facts::LookupFact;
use crate::plan::materials::Credentials;
use crate::plan::target::Target;

use super::session::{self, Failure};

/// How long the query may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is good for.
const FRESH: Duration = Duration::from_mins(10);
/// How soon a lookup that fails is tried again.
const AGAIN: Duration = Duration::from_secs(25);

/// What is asked, and whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// The target.
    pub target: Target,
    /// Who looks up.
    pub role: Credentials,
    /// Where.
    pub database: String,
    /// How.
    pub statement: String,
}

/// All answers.
#[derive(Default)]
pub(super) struct Lookups(Mutex<HashMap<Question, (Instant, LookupFact)>>);

impl Lookups {
    /// The answer, which may be ten minutes old. Cancel-safe.
    pub(super) async fn ask(&self, question: Question) -> LookupFact {
        let known = self.0.lock().await.get(&question).cloned();
        if let Some((at, fact)) = known {
            let good_for = if fact == LookupFact::Works { FRESH } else { AGAIN };
            if at.elapsed() < good_for {
                return fact;
            }
        }
        let fact = match attempt(&question).await {
            Ok(()) => LookupFact::Works,
            Err(Failure { reason, message }) => LookupFact::Failed { reason, message },
        };
        let mut answers = self.0.lock().await;
        answers.retain(|_, (at, _)| at.elapsed() < 2 * FRESH);
        answers.insert(question, (Instant::now(), fact.clone()));
        fact
    }
}

async fn attempt(question: &Question) -> Result<(), Failure> {
    let Question { target, role, database, statement } = question;
    let mut last = session::failure(Reason::LookupFailed, "there is no host".to_owned());
    for host in &target.hosts {
        let login = session::login(target, host, (&role.user, &role.password), database).await;
        match login {
            // the connection ends with the client
            Ok((client, _)) => return run(&client, question, statement).await,
            Err(failure) => last = failure,
        }
    }
    let message = format!("role `{}` cannot look up in database `{database}`: {}", role.user, last.message);
    Err(session::failure(Reason::LookupFailed, message))
}

async fn run(client: &Client, question: &Question, statement: &str) -> Result<(), Failure> {
    let answer = async {
        let prepared = client.prepare(statement).await?;
        client.query(&prepared, &[&question.target.user]).await?;
        Ok::<_, tokio_postgres::Error>(prepared.columns().len())
    };
    let failed = |message| session::failure(Reason::LookupFailed, message);
    match timeout(PATIENCE, answer).await {
        Err(_) => Err(failed("spec.auth.query.statement does not answer in 5 s".to_owned())),
        Ok(Ok(columns)) if columns < 2 => Err(failed(format!(
            "spec.auth.query.statement answers with {columns} columns; it needs name and password"
        ))),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refusal(&error, question)),
    }
}

/// What to do about it.
fn refusal(error: &tokio_postgres::Error, question: &Question) -> Failure {
    let Question { role, database, .. } = question;
    let missing = [
        SqlState::UNDEFINED_FUNCTION,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::UNDEFINED_TABLE,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    let said = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    if error.code().is_some_and(|code| missing.contains(code)) {
        let text = format!(
            "role `{}` cannot look up in database `{database}`: {said}; as a superuser run there what \
             `pgpooler-operator auth-query-sql --user {}` prints",
            role.user, role.user
        );
        return session::failure(Reason::LookupFunctionMissing, text);
    }
    session::failure(Reason::LookupFailed, format!("spec.auth.query.statement fails in `{database}`: {said}"))
}
