//! Refusing what a client sent without a server connection, and without losing the client.

use crate::wire::frontend as tag;
use crate::wire::{ErrorResponse, FrameError, Header, TransactionStatus, backend};

/// How far the refusal of one request has come.
#[derive(Debug)]
pub struct Reject {
    error: ErrorResponse,
    progress: Progress,
    rest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The request's first message is still to come.
    Waiting,
    /// The error was sent; messages are skipped up to Sync, as PostgreSQL does.
    Skipping,
    /// The answer is complete; the last bytes of the request are still to come.
    Ended,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// So many bytes were dealt with; the request goes on.
    More(usize),
    /// The request ended after so many bytes; the client may go on with another.
    Done(usize),
    /// The client sent Terminate.
    Left,
}

impl Reject {
    /// Refuses the next request with `error`.
    pub fn new(error: ErrorResponse) -> Self {
        Self { error, progress: Progress::Waiting, rest: 0 }
    }

    /// Reads the request and appends the answer.
    pub fn client_bytes(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Rejected, FrameError> {
        let mut at = 0;
        loop {
            let here = self.rest.min(input.len() - at);
            self.rest -= here;
            at += here;
            if self.progress == Progress::Ended && self.rest == 0 {
                return Ok(Rejected::Done(at));
            }
            let Some(header) = Header::parse(input.get(at..).unwrap_or_default())? else {
                return Ok(Rejected::More(at));
            };
            let step = self.message(header.tag, out);
            self.rest = header.total();
            match step {
                Step::On => {}
                Step::Leave => return Ok(Rejected::Left),
                Step::End => self.progress = Progress::Ended,
            }
        }
    }

    fn message(&mut self, message: u8, out: &mut Vec<u8>) -> Step {
        match (message, self.progress) {
            (tag::TERMINATE, _) => return Step::Leave,
            (tag::QUERY | tag::FUNCTION_CALL, Progress::Waiting) => {
                self.error.encode(out);
                backend::ready_for_query(out, TransactionStatus::Idle);
                return Step::End;
            }
            (tag::SYNC, _) => {
                backend::ready_for_query(out, TransactionStatus::Idle);
                return Step::End;
            }
            (tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE, Progress::Waiting) => {
                self.error.encode(out);
                self.progress = Progress::Skipping;
            }
            _ => {}
        }
        Step::On
    }
}

enum Step {
    On,
    End,
    Leave,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SqlState, frontend};

    fn reject() -> Reject {
        Reject::new(ErrorResponse::error(SqlState::QUERY_CANCELED, "canceled"))
    }

    fn tags(bytes: &[u8]) -> Vec<u8> {
        let mut at = 0;
        let mut tags = Vec::new();
        while let Ok(Some(header)) = Header::parse(&bytes[at..]) {
            tags.push(header.tag);
            at += header.total();
        }
        tags
    }

    #[test]
    fn a_query_is_answered_by_the_error_and_ready_for_query() {
        let mut input = Vec::new();
        frontend::query(&mut input, "select 1");
        let mut out = Vec::new();
        assert_eq!(reject().client_bytes(&input, &mut out), Ok(Rejected::Done(input.len())));
        assert_eq!(tags(&out), b"EZ");
    }

    #[test]
    fn a_batch_is_skipped_to_its_sync_and_what_follows_is_left() {
        let mut input = Vec::new();
        frontend::parse(&mut input, "", "select 1", &[]);
        frontend::close_statement(&mut input, "x");
        frontend::sync(&mut input);
        let batch = input.len();
        frontend::query(&mut input, "select 2");
        let mut out = Vec::new();
        assert_eq!(reject().client_bytes(&input, &mut out), Ok(Rejected::Done(batch)));
        assert_eq!(tags(&out), b"EZ");
    }
}
