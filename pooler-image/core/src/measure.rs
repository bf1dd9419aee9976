//! Asking PostgreSQL how large it is and what, before a new connection is used.

use crate::wire::{ErrorFields, FrameError, ReadError, Reader, backend, frontend, split_message};

/// The longest message in a reply.
const MAX_MESSAGE: u32 = 64 * 1024;

/// Why a reply gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// The server refused the question.
    #[error("{0}")]
    Refused(String),
    /// No row, or one that is no answer to the question.
    #[error("the answer is not to the question")]
    NoAnswer,
    /// A message out of form.
    #[error("malformed reply")]
    Malformed(#[from] ReadError),
    /// A message out of size.
    #[error("malformed reply")]
    Frame(#[from] FrameError),
}

/// What is to be known of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Question {
    /// Its `max_connections`; walsenders know it too.
    pub max_connections: bool,
    /// Whether it is in recovery: for servers that do not report `in_hot_standby`. A physical walsender cannot say.
    pub recovery: bool,
}

/// What a server has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// Its `max_connections`, if asked for.
    pub max_connections: Option<u32>,
    /// Whether it is in recovery, if asked for.
    pub in_recovery: Option<bool>,
    /// Parameters that have changed meanwhile.
    pub parameters: Vec<(String, String)>,
    /// Bytes of the reply, up to the end of its last `ReadyForQuery`.
    pub length: usize,
}

/// One of the questions, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    MaxConnections,
    Recovery,
}

impl Question {
    fn asked(self) -> impl Iterator<Item = Asked> {
        let max_connections = self.max_connections.then_some(Asked::MaxConnections);
        max_connections.into_iter().chain(self.recovery.then_some(Asked::Recovery))
    }

    /// The messages that ask; none when nothing is to be known.
    pub fn request(self) -> Vec<u8> {
        let mut out = Vec::new();
        for asked in self.asked() {
            frontend::query(&mut out, asked.sql());
        }
        out
    }

    /// The answers in what has come so far; `None`: more must come.
    pub fn answer(self, reply: &[u8]) -> Result<Option<Measured>, MeasureError> {
        let (mut rest, mut asked) = (reply, self.asked());
        let (mut measured, mut now) = (Measured::default(), asked.next());
        let mut answered = false;
        while let Some(question) = now {
            let Some((header, body, behind)) = split_message(rest, MAX_MESSAGE)? else { return Ok(None) };
            rest = behind;
            match header.tag {
                backend::ERROR_RESPONSE => {
                    return Err(MeasureError::Refused(ErrorFields::parse(body)?.message().into_owned()));
                }
                backend::DATA_ROW => answered = measured.note(question, only_value(body)?),
                backend::PARAMETER_STATUS => measured.parameters.extend(parameter(body)),
                backend::READY_FOR_QUERY if !answered => return Err(MeasureError::NoAnswer),
                backend::READY_FOR_QUERY => (now, answered) = (asked.next(), false),
                _ => {}
            }
        }
        measured.length = reply.len() - rest.len();
        Ok(Some(measured))
    }
}

impl Asked {
    fn sql(self) -> &'static str {
        match self {
            Self::MaxConnections => "SHOW max_connections",
            Self::Recovery => "SELECT pg_catalog.pg_is_in_recovery()",
        }
    }
}

impl Measured {
    /// Whether that was an answer.
    fn note(&mut self, question: Asked, value: Option<&str>) -> bool {
        match question {
            Asked::MaxConnections => {
                self.max_connections = value.and_then(|value| value.parse().ok());
                self.max_connections.is_some()
            }
            Asked::Recovery => {
                self.in_recovery = match value {
                    Some("t") => Some(true),
                    Some("f") => Some(false),
                    _ => None,
                };
                self.in_recovery.is_some()
            }
        }
    }
}

fn only_value(row: &[u8]) -> Result<Option<&str>, ReadError> {
    let mut reader = Reader::new(row);
    let _columns = reader.i16()?;
    let Ok(length) = usize::try_from(reader.i32()?) else { return Ok(None) };
    Ok(std::str::from_utf8(reader.bytes(length)?).ok())
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

    const SIZE: Question = Question { max_connections: true, recovery: false };
    const BOTH: Question = Question { max_connections: true, recovery: true };

    fn reply(value: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        backend::parameter_status(&mut out, "TimeZone", "UTC");
        backend::row_description(&mut out, &["a column"]);
        backend::data_row(&mut out, &[value]);
        backend::command_complete(&mut out, "SHOW");
        backend::ready_for_query(&mut out, TransactionStatus::Idle);
        out
    }

    #[test]
    fn the_number_is_known_when_the_server_is_ready_again_and_not_before() {
        let reply = reply(Some("100"));
        for end in 0..reply.len() {
            assert_eq!(SIZE.answer(&reply[..end]), Ok(None));
        }
        let parameters = vec![("TimeZone".to_owned(), "UTC".to_owned())];
        let measured =
            Measured { max_connections: Some(100), in_recovery: None, parameters, length: reply.len() };
        assert_eq!(SIZE.answer(&[reply.as_slice(), b"N\0"].concat()), Ok(Some(measured)));
    }

    #[test]
    fn two_questions_have_two_answers_in_their_order() {
        for (told, in_recovery) in [("t", true), ("f", false)] {
            let reply = [reply(Some("100")), reply(Some(told))].concat();
            for end in 0..reply.len() {
                assert_eq!(BOTH.answer(&reply[..end]), Ok(None));
            }
            let measured = BOTH.answer(&reply).unwrap().unwrap();
            let answers = (measured.max_connections, measured.in_recovery, measured.length);
            assert_eq!(answers, (Some(100), Some(in_recovery), reply.len()));
        }
        let recovery = Question { max_connections: false, recovery: true };
        let measured = recovery.answer(&reply(Some("t"))).unwrap().unwrap();
        assert_eq!((measured.max_connections, measured.in_recovery), (None, Some(true)));
    }

    #[test]
    fn nothing_is_asked_when_nothing_is_to_be_known() {
        assert!(Question::default().request().is_empty());
        assert_eq!(Question::default().answer(b"anything"), Ok(Some(Measured::default())));
    }

    #[test]
    fn an_error_and_what_is_no_answer_are_told() {
        assert_eq!(SIZE.answer(&reply(Some("many"))), Err(MeasureError::NoAnswer));
        assert_eq!(SIZE.answer(&reply(None)), Err(MeasureError::NoAnswer));
        assert_eq!(BOTH.answer(&[reply(Some("1")), reply(Some("1"))].concat()), Err(MeasureError::NoAnswer));
        let error = ErrorResponse::error(SqlState::SYNTAX_ERROR, "what?").to_bytes();
        assert_eq!(SIZE.answer(&error), Err(MeasureError::Refused("what?".to_owned())));
    }
}
