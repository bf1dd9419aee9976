//! Asking PostgreSQL for a user's secret (`auth_query`): what to send, and what the reply says.

use zeroize::Zeroizing;

use crate::session::Settings;
use crate::wire::{ErrorFields, FrameError, ReadError, Reader, backend, frontend, split_message};

/// The longest message in a reply.
const MAX_MESSAGE: u32 = 64 * 1024;

/// Why a reply gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// PostgreSQL refused the query.
    #[error("auth_query failed: {message} ({sqlstate})")]
    Refused {
        /// Its SQLSTATE.
        sqlstate: String,
        /// Its message.
        message: String,
    },
    /// Rows that are not a name and a password.
    #[error("auth_query must give two columns, the name and the password")]
    Columns,
    /// The secret cannot be one.
    #[error("auth_query gave a password that is not UTF-8")]
    NotUtf8,
    /// A message out of form.
    #[error("malformed reply to auth_query")]
    Malformed(#[from] ReadError),
    /// A message out of size.
    #[error("malformed reply to auth_query")]
    Frame(#[from] FrameError),
}

/// What the session has that runs the query, whatever the client asks for: names mean what they mean in
/// `pg_catalog`, unless their schema is given.
pub fn settings(application_name: &str) -> Settings {
    let fixed = [("application_name", application_name), ("search_path", "pg_catalog")];
    Settings::new(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// The query with the user's name as its parameter.
pub fn request(query: &str, user: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::parse(&mut out, "", query, &[]);
    frontend::bind_one(&mut out, user.as_bytes());
    frontend::execute(&mut out, "");
    frontend::sync(&mut out);
    out
}

/// The secret of `user` in a whole reply; none: there is no such user, or it has no password. A row that is about
/// somebody else is no answer, and neither are two.
pub fn secret(mut reply: &[u8], user: &str) -> Result<Option<Zeroizing<String>>, LookupError> {
    let mut rows = Vec::new();
    while let Some((header, body, rest)) = split_message(reply, MAX_MESSAGE)? {
        match header.tag {
            backend::ERROR_RESPONSE => return Err(refused(body)?),
            backend::DATA_ROW => rows.push(body),
            _ => {}
        }
        reply = rest;
    }
    let [row] = rows[..] else { return Ok(None) };
    let (name, secret) = columns(row)?;
    let Some(secret) = secret.filter(|_| name == Some(user.as_bytes())) else { return Ok(None) };
    let secret = std::str::from_utf8(secret).map_err(|_| LookupError::NotUtf8)?;
    Ok(Some(Zeroizing::new(secret.to_owned())).filter(|secret| !secret.is_empty()))
}

type Columns<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn columns(row: &[u8]) -> Result<Columns<'_>, LookupError> {
    let mut reader = Reader::new(row);
    if reader.i16()? != 2 {
        return Err(LookupError::Columns);
    }
    let mut column = || -> Result<_, ReadError> {
        let length = usize::try_from(reader.i32()?).ok();
        length.map(|length| reader.bytes(length)).transpose()
    };
    Ok((column()?, column()?))
}

fn refused(body: &[u8]) -> Result<LookupError, ReadError> {
    let fields = ErrorFields::parse(body)?;
    let sqlstate = fields.sqlstate().map(|state| state.to_string()).unwrap_or_default();
    Ok(LookupError::Refused { sqlstate, message: fields.message().into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ErrorResponse, SqlState};

    fn reply(rows: &[&[Option<&str>]]) -> Vec<u8> {
        let mut out = Vec::new();
        backend::parse_complete(&mut out);
        for row in rows {
            backend::data_row(&mut out, row);
        }
        out
    }

    fn answer(rows: &[&[Option<&str>]]) -> Result<Option<String>, LookupError> {
        secret(&reply(rows), "ann").map(|secret| secret.map(|secret| secret.to_string()))
    }

    #[test]
    fn one_row_about_the_user_is_the_answer() {
        assert_eq!(answer(&[&[Some("ann"), Some("md5")]]), Ok(Some("md5".to_owned())));
        assert_eq!(answer(&[]), Ok(None));
    }

    #[test]
    fn no_password_an_empty_one_somebody_elses_and_two_are_no_answer() {
        assert_eq!(answer(&[&[Some("ann"), None]]), Ok(None));
        assert_eq!(answer(&[&[Some("ann"), Some("")]]), Ok(None));
        assert_eq!(answer(&[&[Some("ben"), Some("secret")]]), Ok(None));
        assert_eq!(answer(&[&[Some("ann"), Some("a")], &[Some("ann"), Some("b")]]), Ok(None));
    }

    #[test]
    fn an_error_and_other_columns_are_told_without_the_secret() {
        assert_eq!(answer(&[&[Some("ann")]]), Err(LookupError::Columns));
        let error = ErrorResponse::error(SqlState::INSUFFICIENT_PRIVILEGE, "permission denied").to_bytes();
        let told = secret(&error, "ann").unwrap_err().to_string();
        assert_eq!(told, "auth_query failed: permission denied (42501)");
    }
}
