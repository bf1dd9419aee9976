//! Asking PostgreSQL how large it is, before a new connection is used.

use crate::wire::{ErrorFields, FrameError, ReadError, Reader, backend, frontend, split_message};

/// The longest message in a reply.
const MAX_MESSAGE: u32 = 64 * 1024;

/// Why a reply gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// The server refused the question.
    #[error("{0}")]
    Refused(String),
    /// No row, or one that is no number.
    #[error("the answer is no number")]
    NoNumber,
    /// A message out of form.
    #[error("malformed reply")]
    Malformed(#[from] ReadError),
    /// A message out of size.
    #[error("malformed reply")]
    Frame(#[from] FrameError),
}

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Its `max_connections`.
    pub max_connections: u32,
    /// Parameters that have changed meanwhile.
    pub parameters: Vec<(String, String)>,
    /// Bytes of the reply, up to the end of its `ReadyForQuery`.
    pub length: usize,
}

/// The question, which walsenders know too.
pub fn request() -> Vec<u8> {
    let mut out = Vec::new();
    frontend::query(&mut out, "SHOW max_connections");
    out
}

/// The answer in what has come so far; `None`: more must come.
pub fn answer(reply: &[u8]) -> Result<Option<Measured>, MeasureError> {
    let (mut rest, mut number, mut parameters) = (reply, None, Vec::new());
    while let Some((header, body, behind)) = split_message(rest, MAX_MESSAGE)? {
        rest = behind;
        match header.tag {
            backend::ERROR_RESPONSE => {
                return Err(MeasureError::Refused(ErrorFields::parse(body)?.message().into_owned()));
            }
            backend::DATA_ROW => number = only_number(body)?,
            backend::PARAMETER_STATUS => parameters.extend(parameter(body)),
            backend::READY_FOR_QUERY => {
                let max_connections = number.ok_or(MeasureError::NoNumber)?;
                return Ok(Some(Measured { max_connections, parameters, length: reply.len() - rest.len() }));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn only_number(row: &[u8]) -> Result<Option<u32>, ReadError> {
    let mut reader = Reader::new(row);
    let _columns = reader.i16()?;
    let Ok(length) = usize::try_from(reader.i32()?) else { return Ok(None) };
    let text = std::str::from_utf8(reader.bytes(length)?).ok();
    Ok(text.and_then(|text| text.parse().ok()))
}

fn parameter(body: &[u8]) -> Option<(String, String)> {
    let (name, value) = backend::parse_parameter_status(body)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(name), text(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ErrorResponse, SqlState, TransactionStatus};

    fn reply(value: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        backend::parameter_status(&mut out, "TimeZone", "UTC");
        backend::row_description(&mut out, &["max_connections"]);
        backend::data_row(&mut out, &[value]);
        backend::command_complete(&mut out, "SHOW");
        backend::ready_for_query(&mut out, TransactionStatus::Idle);
        out
    }

    #[test]
    fn the_number_is_known_when_the_server_is_ready_again_and_not_before() {
        let reply = reply(Some("100"));
        for end in 0..reply.len() {
            assert_eq!(answer(&reply[..end]), Ok(None));
        }
        let parameters = vec![("TimeZone".to_owned(), "UTC".to_owned())];
        let measured = Measured { max_connections: 100, parameters, length: reply.len() };
        assert_eq!(answer(&[reply.as_slice(), b"N\0"].concat()), Ok(Some(measured)));
    }

    #[test]
    fn an_error_and_what_is_no_number_are_told() {
        assert_eq!(answer(&reply(Some("many"))), Err(MeasureError::NoNumber));
        assert_eq!(answer(&reply(None)), Err(MeasureError::NoNumber));
        let error = ErrorResponse::error(SqlState::SYNTAX_ERROR, "what?").to_bytes();
        assert_eq!(answer(&error), Err(MeasureError::Refused("what?".to_owned())));
    }
}
