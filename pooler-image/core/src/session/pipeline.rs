//! The queue of replies that a server owes, in the order in which they will come.
//!
//! Every message that makes the server answer puts an entry here, whether a client sent it or we
//! slipped it in; replies that we give ourselves wait here for their turn. An error passes over what
//! the server will skip, and what those messages would have done to our books is undone.

use std::collections::VecDeque;
use std::sync::Arc;

use super::statements::{Number, Statement, StatementKey};

/// One owed reply.
#[derive(Debug)]
pub(super) enum Owed {
    /// Query: everything until ReadyForQuery.
    Query(Undo),
    /// FunctionCall: everything until ReadyForQuery.
    FunctionCall,
    /// Sync: ReadyForQuery.
    Sync,
    /// Parse: ParseComplete.
    Parse(Undo),
    /// Parse under a name that the client has already: an error, with the client's name put back into it.
    Duplicate(Box<[u8]>),
    /// Bind: BindComplete. With the client's name for the statement where it may turn out not to exist.
    Bind(Option<Box<[u8]>>),
    /// Describe: RowDescription or NoData, for a statement behind ParameterDescription. The name as with Bind.
    Describe(Option<Box<[u8]>>),
    /// Execute: rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Close: CloseComplete.
    Close(Undo),
    /// CopyDone or CopyFail: no reply; where a copy-in ends in the stream of messages.
    CopyEnd,
    /// Ours: a Query whose replies nobody sees.
    Replay,
    /// Ours: a Parse whose ParseComplete nobody sees.
    Prepare(Undo),
    /// Ours: a Close whose CloseComplete nobody sees.
    Evict(Undo),
    /// Answered by us: the server has the statement already.
    ParseComplete(Undo),
    /// Answered by us: the server keeps the statement for others.
    CloseComplete(Undo),
}

/// What to put right in the books if a message was skipped or failed.
#[derive(Debug)]
pub(super) enum Undo {
    Nothing,
    /// The unnamed statements before one was replaced or dropped.
    Unnamed {
        client: Option<Arc<Statement>>,
        server: Option<StatementKey>,
    },
    /// The client got a name; the server too, if it had not prepared the statement yet.
    Define {
        name: Box<[u8]>,
        prepared: Option<(StatementKey, Number)>,
    },
    /// The client gave up a name.
    Forget {
        name: Box<[u8]>,
        statement: Arc<Statement>,
    },
    /// The server got a statement.
    Prepared(StatementKey, Number),
    /// The server gave up a statement.
    Evicted(StatementKey, Number),
}

impl Owed {
    /// ReadyForQuery is (part of) its reply.
    pub(super) fn ends_with_ready(&self) -> bool {
        matches!(self, Self::Query(_) | Self::FunctionCall | Self::Sync | Self::Replay)
    }

    /// The server skips it after an error.
    fn is_skippable(&self) -> bool {
        !matches!(self, Self::Sync)
    }

    pub(super) fn into_undo(self) -> Undo {
        match self {
            Self::Query(undo)
            | Self::Parse(undo)
            | Self::Close(undo)
            | Self::Prepare(undo)
            | Self::Evict(undo)
            | Self::ParseComplete(undo)
            | Self::CloseComplete(undo) => undo,
            Self::FunctionCall
            | Self::Sync
            | Self::Duplicate(_)
            | Self::Bind(_)
            | Self::Describe(_)
            | Self::Execute
            | Self::CopyEnd
            | Self::Replay => Undo::Nothing,
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    owed: VecDeque<Owed>,
    /// How many of them end with ReadyForQuery.
    ready: usize,
}

impl Pipeline {
    pub(super) fn push(&mut self, owed: Owed) {
        self.ready += usize::from(owed.ends_with_ready());
        self.owed.push_back(owed);
    }

    pub(super) fn front(&self) -> Option<&Owed> {
        self.owed.front()
    }

    pub(super) fn pop(&mut self) -> Option<Owed> {
        let owed = self.owed.pop_front()?;
        self.ready -= usize::from(owed.ends_with_ready());
        Some(owed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    /// Replies with ReadyForQuery that are still to come.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Takes out all that the server skips after an error, up to the next Sync, which stays.
    /// False: no Sync was there yet, so what the client sends next is skipped as well.
    pub(super) fn skip(&mut self, skipped: &mut Vec<Owed>) -> bool {
        while let Some(front) = self.owed.front() {
            if !front.is_skippable() {
                return true;
            }
            skipped.extend(self.pop());
        }
        false
    }

    /// A copy-in has begun at the front entry: Syncs that the server will read as part of it owe nothing.
    /// True: the copy's end has not been sent yet.
    pub(super) fn begin_copy_in(&mut self) -> bool {
        let mut at = 1;
        while let Some(owed) = self.owed.get(at) {
            match owed {
                Owed::CopyEnd => {
                    self.owed.remove(at);
                    return false;
                }
                Owed::Sync => {
                    self.owed.remove(at);
                    self.ready -= 1;
                }
                _ => at += 1,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_skips_up_to_the_next_sync_queries_included() {
        let mut pipeline = Pipeline::default();
        for owed in [Owed::Bind(None), Owed::Execute, Owed::Query(Undo::Nothing), Owed::Sync, Owed::Sync] {
            pipeline.push(owed);
        }
        let mut skipped = Vec::new();
        assert!(pipeline.skip(&mut skipped));
        assert_eq!(skipped.len(), 3);
        assert_eq!((pipeline.len(), pipeline.ready()), (2, 2));
    }

    #[test]
    fn without_a_sync_the_skipping_goes_on() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Owed::Bind(None));
        assert!(!pipeline.skip(&mut Vec::new()));
        assert!(pipeline.is_empty());
    }

    #[test]
    fn syncs_inside_a_copy_in_owe_nothing() {
        let mut pipeline = Pipeline::default();
        for owed in [Owed::Execute, Owed::Sync, Owed::CopyEnd, Owed::Sync] {
            pipeline.push(owed);
        }
        assert!(!pipeline.begin_copy_in());
        assert_eq!((pipeline.len(), pipeline.ready()), (2, 1));
        let mut open = Pipeline::default();
        open.push(Owed::Execute);
        open.push(Owed::Sync);
        assert!(open.begin_copy_in());
        assert_eq!((open.len(), open.ready()), (1, 0));
    }
}
