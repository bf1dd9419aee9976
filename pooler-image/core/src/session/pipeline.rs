//! The queue of replies that a server owes, in the order in which they will come.
//!
//! Every message that makes the server answer puts an entry here, whether a client sent it or we
//! slipped it in; replies that we give ourselves wait here for their turn. An error passes over what
//! the server will skip, and what those messages would have done to our books is undone.

use std::collections::VecDeque;
use std::sync::Arc;

use super::changes::{Changed, Changes};
use super::interner::StatementKey;
use super::probe::Findings;
use super::script::{Act, Script};
use super::statements::Number;
use super::undo::Undo;
use crate::wire::ErrorResponse;

/// One owed reply.
#[derive(Debug)]
pub(super) enum Owed {
    /// Query: everything until ReadyForQuery. With what its statements do, when they do more than run.
    Query(Undo, Option<Box<Script>>),
    /// FunctionCall: everything until ReadyForQuery.
    FunctionCall,
    /// Sync: ReadyForQuery.
    Sync,
    /// Parse: ParseComplete.
    Parse(Undo),
    /// Parse under a name that the client has already: an error, with the client's name put back into it.
    Duplicate(Box<[u8]>),
    /// Parse of what the pool does not allow, sent as something that the server will refuse: this error.
    Refused(Box<ErrorResponse>),
    /// Bind: BindComplete. With the client's name for the statement where the server has another.
    Bind(Option<Arc<[u8]>>),
    /// Describe: RowDescription or NoData, for a statement behind ParameterDescription. The name as with Bind.
    Describe(Option<Arc<[u8]>>),
    /// Describe of a statement whose rows look different by now: ParameterDescription only; an error of ours follows.
    Parameters,
    /// Execute: rows, then CommandComplete, EmptyQueryResponse or PortalSuspended. With what the statement does, when
    /// it does more than run.
    Execute(Option<Box<Act>>),
    /// Close: CloseComplete.
    Close(Undo),
    /// CopyDone or CopyFail: no reply; where a copy-in ends in the stream of messages.
    CopyEnd,
    /// Ours: a Query whose replies nobody sees.
    Replay,
    /// Ours: the question what the session holds.
    Probe(Box<Findings>),
    /// Ours: a Parse whose ParseComplete nobody sees.
    Prepare(Undo),
    /// The same for a Describe of the client's: with ParameterDescription, which comes before an error of the rows.
    PrepareToDescribe(Undo, Arc<[u8]>),
    /// Answered by us: this message.
    Told(Box<[u8]>),
    /// Ours: a Parse of which nobody sees anything, not even its error.
    Try(Undo),
    /// Ours: a Sync whose ReadyForQuery nobody sees.
    Seal,
    /// Ours: a Describe of a statement, to know the shape of its rows. With the client's name, where it is the client's
    /// own Parse that it belongs to.
    Learn(Option<Arc<[u8]>>, StatementKey, Number),
    /// Ours: a Close whose CloseComplete nobody sees.
    Evict(Undo),
    /// Ours: a message whose replies nobody sees; the last has this type byte.
    Slipped(u8),
    /// Answered by us: the server keeps the statement for others.
    CloseComplete(Undo),
}

impl Owed {
    /// ReadyForQuery is (part of) its reply.
    pub(super) fn ends_with_ready(&self) -> bool {
        matches!(
            self,
            Self::Query(..) | Self::FunctionCall | Self::Sync | Self::Replay | Self::Probe(_) | Self::Seal
        )
    }

    /// ReadyForQuery is (part of) its reply, and the client gets it.
    fn ends_statement(&self) -> bool {
        matches!(self, Self::Query(..) | Self::FunctionCall | Self::Sync)
    }

    /// The server skips it after an error.
    fn is_skippable(&self) -> bool {
        !matches!(self, Self::Sync | Self::Seal)
    }

    /// What it has changed in the books.
    fn changed(&self) -> Changed {
        let acts = match self {
            Self::Query(_, Some(script)) => script.changes_statements(),
            Self::Execute(Some(act)) => act.undo.is_something(),
            _ => false,
        };
        let undo = match self {
            Self::Query(undo, _)
            | Self::Parse(undo)
            | Self::Close(undo)
            | Self::Prepare(undo)
            | Self::PrepareToDescribe(undo, _)
            | Self::Try(undo)
            | Self::Evict(undo)
            | Self::CloseComplete(undo) => undo,
            _ => &Undo::Nothing,
        };
        match (undo, acts) {
            (Undo::Unnamed { .. }, true) => Changed::Both,
            (Undo::Unnamed { .. }, false) => Changed::Unnamed,
            (Undo::Nothing, false) => Changed::Nothing,
            _ => Changed::Named,
        }
    }

    fn undo_mut(&mut self) -> Option<&mut Undo> {
        match self {
            Self::Query(undo, _)
            | Self::Parse(undo)
            | Self::Close(undo)
            | Self::Prepare(undo)
            | Self::PrepareToDescribe(undo, _)
            | Self::Evict(undo) => Some(undo),
            _ => None,
        }
    }

    /// In the order in which they are to be undone.
    pub(super) fn into_undo(self) -> Vec<Undo> {
        match self {
            Self::Query(undo, script) => {
                let acts = script.map(|script| script.into_undo()).unwrap_or_default();
                acts.into_iter().chain([undo]).collect()
            }
            Self::Execute(act) => act.map(|act| act.undo).into_iter().collect(),
            Self::Parse(undo)
            | Self::Close(undo)
            | Self::Prepare(undo)
            | Self::PrepareToDescribe(undo, _)
            | Self::Try(undo)
            | Self::Evict(undo)
            | Self::CloseComplete(undo) => vec![undo],
            Self::FunctionCall
            | Self::Sync
            | Self::Seal
            | Self::Duplicate(_)
            | Self::Refused(_)
            | Self::Bind(_)
            | Self::Describe(_)
            | Self::CopyEnd
            | Self::Told(_)
            | Self::Parameters
            | Self::Learn(..)
            | Self::Slipped(_)
            | Self::Probe(_)
            | Self::Replay => Vec::new(),
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    owed: VecDeque<Owed>,
    /// How many entries were before the first.
    popped: u64,
    changes: Changes,
    /// How many of them end with ReadyForQuery.
    ready: usize,
    /// How many of these are clients'.
    statements: usize,
}

impl Pipeline {
    pub(super) fn push(&mut self, owed: Owed) {
        self.ready += usize::from(owed.ends_with_ready());
        self.statements += usize::from(owed.ends_statement());
        let number = self.popped + self.owed.len() as u64;
        self.changes.pushed(number, owed.changed(), owed.ends_with_ready());
        self.owed.push_back(owed);
    }

    pub(super) fn front(&self) -> Option<&Owed> {
        self.owed.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Owed> {
        self.owed.front_mut()
    }

    pub(super) fn pop(&mut self) -> Option<Owed> {
        let owed = self.owed.pop_front()?;
        self.ready -= usize::from(owed.ends_with_ready());
        self.statements -= usize::from(owed.ends_statement());
        self.changes.popped(self.popped);
        self.popped += 1;
        Some(owed)
    }

    /// The shape of a statement is on its way.
    pub(super) fn is_learning(&self) -> bool {
        self.owed.iter().any(|owed| matches!(owed, Owed::Learn(..)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    /// Replies with ReadyForQuery that are still to come.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Statements of clients whose ReadyForQuery is still to come.
    pub(super) fn statements(&self) -> usize {
        self.statements
    }

    /// Books that an earlier batch may yet put right.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The unnamed statements are these in truth, as far as replies have come. False: nothing that was sent since has
    /// changed them.
    pub(super) fn unnamed_were(&mut self, before: &Undo) -> bool {
        let first =
            self.changes.first_unnamed().and_then(|number| usize::try_from(number - self.popped).ok());
        let Some(owed) = first.and_then(|at| self.owed.get_mut(at)) else { return false };
        if let (Some(undo @ Undo::Unnamed { .. }), Undo::Unnamed { client, server }) =
            (owed.undo_mut(), before)
        {
            *undo = Undo::Unnamed { client: client.clone(), server: *server };
        }
        true
    }

    fn remove(&mut self, at: usize) {
        self.owed.remove(at);
        self.changes.removed(self.popped + at as u64);
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
                    self.remove(at);
                    return false;
                }
                Owed::Sync => {
                    self.remove(at);
                    self.ready -= 1;
                    self.statements -= 1;
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
        for owed in
            [Owed::Bind(None), Owed::Execute(None), Owed::Query(Undo::Nothing, None), Owed::Sync, Owed::Sync]
        {
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
        for owed in [Owed::Execute(None), Owed::Sync, Owed::CopyEnd, Owed::Sync] {
            pipeline.push(owed);
        }
        assert!(!pipeline.begin_copy_in());
        assert_eq!((pipeline.len(), pipeline.ready()), (2, 1));
        let mut open = Pipeline::default();
        open.push(Owed::Execute(None));
        open.push(Owed::Sync);
        assert!(open.begin_copy_in());
        assert_eq!((open.len(), open.ready()), (1, 0));
    }
}
