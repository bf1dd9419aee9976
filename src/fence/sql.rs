//! What is said to PostgreSQL about a role's CONNECTION LIMIT.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::api::Reason;
use crate::observe::postgres::Sessions;
use crate::plan::fence::{Limit, Outcome, helper, identifier, number_of};
use crate::plan::target::Target;

/// How long a query may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether there is a function that may do it for us. One that anybody could have made is not called.
const HELPER: &str = "\
SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
                WHERE n.nspname = 'pgpooler' AND p.proname = 'set_connection_limit' AND p.prosecdef
                  AND (r.rolsuper OR r.rolcreaterole))";

/// The role's limit now. An error: it is not known, or binds nobody.
pub(super) async fn limit(sessions: &Sessions, target: &Target) -> Result<Limit, Outcome> {
    let client = sessions.client(target).await.ok_or_else(lost)?;
    let question = "SELECT rolconnlimit, rolsuper FROM pg_roles WHERE rolname = $1";
    let row = within(client.query_one(question, &[&target.user])).await;
    let row = row.map_err(|error| fault(error.as_ref(), target, &target.user))?;
    let (limit, superuser): (i32, bool) = (row.get(0), row.get(1));
    if superuser {
        let text = format!("role `{}` is a superuser, whom no CONNECTION LIMIT binds", target.user);
        return Err(Outcome::Failed { reason: Reason::FenceLoose, message: text });
    }
    let limit = u32::try_from(limit).ok();
    sessions.role_limit_is(target, limit).await;
    Ok(limit)
}

/// Sets the limit of a role.
pub(super) async fn set(sessions: &Sessions, target: &Target, role: &str, limit: Limit) -> Outcome {
    let Some(client) = sessions.client(target).await else { return lost() };
    let outcome = change(&client, target, role, limit).await;
    tracing::info!(role, limit = number_of(limit), ok = outcome.is_ok(), "CONNECTION LIMIT");
    match outcome {
        Ok(()) => {
            if role == target.user {
                sessions.role_limit_is(target, limit).await;
            }
            Outcome::Set(limit)
        }
        Err(error) => fault(error.as_ref(), target, role),
    }
}

async fn change(client: &Client, target: &Target, role: &str, limit: Limit) -> Result<(), Option<Error>> {
    let number = number_of(limit);
    // it is about the session's own role only
    let helped = role == target.user && within(client.query_one(HELPER, &[])).await?.get(0);
    let change = if helped {
        format!("SELECT pgpooler.set_connection_limit({number})")
    } else {
        format!("ALTER ROLE {} CONNECTION LIMIT {number}", identifier(role))
    };
    // the session reads only; one message is one transaction, which an error ends
    within(client.batch_execute(&format!("SET TRANSACTION READ WRITE; {change}"))).await
}

/// `Err(None)`: no answer in time.
async fn within<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Option<Error>> {
    timeout(PATIENCE, answer).await.map_err(|_| None)?.map_err(Some)
}

fn lost() -> Outcome {
    let message = "the target does not answer; the CONNECTION LIMIT is as it was".to_owned();
    Outcome::Failed { reason: Reason::FenceFailed, message }
}

fn fault(error: Option<&Error>, target: &Target, role: &str) -> Outcome {
    let Some(refusal) = error.and_then(Error::as_db_error) else { return lost() };
    let said = format!("setting the CONNECTION LIMIT of role `{role}`: {}", refusal.message());
    let code = refusal.code();
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        let message = format!(
            "{said}; a superuser can let it do so, in database `{}`: {}",
            target.database,
            helper(&target.user)
        );
        return Outcome::Failed { reason: Reason::FenceDenied, message };
    }
    let standby = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::FEATURE_NOT_SUPPORTED].contains(code);
    let advice = if standby { "; on a standby nothing can be set, it follows its primary" } else { "" };
    Outcome::Failed { reason: Reason::FenceFailed, message: format!("{said} ({}){advice}", code.code()) }
}
