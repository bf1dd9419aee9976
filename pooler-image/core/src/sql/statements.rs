//! The statements of a text, one after the other.

use super::{
    cursor::Cursor,
    keywords::Keyword,
    lexer::{Kind, Strings},
    marks::Marks,
    script::{Effect, Statement},
    set,
    walk::{ANYTHING, walk},
};

/// Yields every statement that is not empty.
#[derive(Debug, Clone)]
pub(super) struct Statements<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Statements<'a> {
    pub(super) fn new(text: &'a [u8], strings: Strings) -> Self {
        Self { cursor: Cursor::new(text, strings) }
    }
}

impl Iterator for Statements<'_> {
    type Item = Statement;

    fn next(&mut self) -> Option<Statement> {
        while self.cursor.takes_symbol(b';') {}
        if self.cursor.is_over() {
            return None;
        }
        let start = self.cursor.token().start();
        let (effect, marks) = statement(&mut self.cursor);
        Some(Statement { span: start..self.cursor.last_end(), effect, marks })
    }
}

/// Reads a statement up to its semicolon.
fn statement(cursor: &mut Cursor<'_>) -> (Effect, Marks) {
    let mut explained = false;
    while cursor.word() == Keyword::Explain {
        explain_options(cursor);
        explained = true;
    }
    let first = cursor.word();
    let (effect, marks) = leading(cursor);
    if cursor.is_done() {
        return (effect, marks);
    }
    let rest = walk(cursor, first);
    let effect = match rest.executes {
        Some(name) => Effect::Execute { name },
        // only what returns rows can be explained
        None if explained && !matches!(effect, Effect::Execute { .. }) => Effect::Plain,
        None => effect,
    };
    (effect, marks | rest.marks)
}

/// Goes past EXPLAIN and its options; we do not tell apart whether the statement is only planned.
fn explain_options(cursor: &mut Cursor<'_>) {
    cursor.bump();
    if cursor.is(b'(') {
        // a parenthesis may also be that of a query
        let ahead = next(cursor);
        if !matches!(ahead.word(), Keyword::Select | Keyword::With | Keyword::Values | Keyword::Table)
            && !ahead.is(b'(')
        {
            while !cursor.is_done() && !cursor.takes_symbol(b')') {
                cursor.bump();
            }
        }
    }
    while matches!(cursor.word(), Keyword::Analyze | Keyword::Analyse | Keyword::Verbose) {
        cursor.bump();
    }
}

/// What the first words say; leaves the cursor anywhere in the statement.
fn leading(cursor: &mut Cursor<'_>) -> (Effect, Marks) {
    let word = cursor.word();
    match word {
        Keyword::Select => select(cursor),
        Keyword::Set => {
            cursor.bump();
            set::set(cursor)
        }
        Keyword::Reset => {
            cursor.bump();
            set::reset(cursor)
        }
        Keyword::Discard => {
            cursor.bump();
            let all = cursor.takes(Keyword::All) && cursor.is_done();
            (if all { Effect::DiscardAll } else { Effect::Plain }, Marks::CLEANS)
        }
        Keyword::Prepare => prepare(cursor),
        Keyword::Execute => {
            cursor.bump();
            let effect = cursor.identifier().map_or(Effect::Plain, |name| Effect::Execute { name });
            (effect, ANYTHING)
        }
        Keyword::Deallocate => deallocate(cursor),
        _ => (control(cursor), first_marks(cursor)),
    }
}

/// A SELECT is left untouched unless it is a `set_config` and nothing else.
fn select(cursor: &mut Cursor<'_>) -> (Effect, Marks) {
    if let Some((end, effect)) = set::set_config(&next(cursor)) {
        *cursor = end;
        return (effect, Marks::CONFIG);
    }
    (Effect::Plain, Marks::NONE)
}

fn prepare(cursor: &mut Cursor<'_>) -> (Effect, Marks) {
    cursor.bump();
    let string =
        matches!(next(cursor).token().kind, Kind::String | Kind::Escaped | Kind::Unicode | Kind::Dollar);
    if cursor.word() == Keyword::Transaction && string {
        return (Effect::Commit, Marks::NONE);
    }
    let effect = cursor.identifier().map_or(Effect::Plain, |name| Effect::Prepare { name });
    (effect, Marks::PROBE | Marks::PREPARES)
}

fn deallocate(cursor: &mut Cursor<'_>) -> (Effect, Marks) {
    cursor.bump();
    // PREPARE is a noise word, and may be a name itself
    if cursor.word() == Keyword::Prepare && !next(cursor).is_done() {
        cursor.bump();
    }
    let effect = if cursor.takes(Keyword::All) {
        Effect::DeallocateAll
    } else {
        cursor.identifier().map_or(Effect::Plain, |name| Effect::Deallocate { name })
    };
    (effect, Marks::CLEANS)
}

/// Whether a statement begins, ends or divides a transaction.
fn control(cursor: &Cursor<'_>) -> Effect {
    match cursor.word() {
        Keyword::Begin | Keyword::Start => Effect::Begin,
        Keyword::Commit if next(cursor).word() == Keyword::Prepared => Effect::Plain,
        Keyword::Commit | Keyword::End => Effect::Commit,
        Keyword::Rollback | Keyword::Abort => rollback(next(cursor)),
        Keyword::Savepoint | Keyword::Release => Effect::Savepoint,
        _ => Effect::Plain,
    }
}

fn rollback(mut cursor: Cursor<'_>) -> Effect {
    // two-phase commit of another transaction
    if cursor.word() == Keyword::Prepared {
        return Effect::Plain;
    }
    if matches!(cursor.word(), Keyword::Work | Keyword::Transaction) {
        cursor.bump();
    }
    if cursor.word() == Keyword::To { Effect::Savepoint } else { Effect::Rollback }
}

/// One token further.
fn next<'a>(cursor: &Cursor<'a>) -> Cursor<'a> {
    let mut ahead = *cursor;
    ahead.bump();
    ahead
}

/// What the first word alone says.
fn first_marks(cursor: &Cursor<'_>) -> Marks {
    match cursor.word() {
        Keyword::With
        | Keyword::Values
        | Keyword::Table
        | Keyword::Begin
        | Keyword::Start
        | Keyword::Commit
        | Keyword::End
        | Keyword::Rollback
        | Keyword::Abort
        | Keyword::Savepoint
        | Keyword::Release
        // marked where they are found, also inside of WITH
        | Keyword::Insert
        | Keyword::Update
        | Keyword::Delete
        | Keyword::Merge
        | Keyword::Copy
        | Keyword::Declare
        | Keyword::Fetch
        | Keyword::Move
        | Keyword::Show
        | Keyword::Lock
        | Keyword::Notify
        | Keyword::Vacuum
        | Keyword::Analyze
        | Keyword::Analyse
        | Keyword::Cluster
        | Keyword::Reindex
        | Keyword::Checkpoint => Marks::NONE,
        Keyword::Truncate
        | Keyword::Create
        | Keyword::Comment
        | Keyword::Grant
        | Keyword::Revoke
        | Keyword::Security
        | Keyword::Reassign
        | Keyword::Import => Marks::WRITES,
        // a new column with a default
        Keyword::Alter => Marks::WRITES | Marks::SEQUENCE_SET,
        Keyword::Drop => Marks::WRITES | Marks::CLEANS,
        Keyword::Close | Keyword::Unlisten => Marks::CLEANS,
        Keyword::Listen => Marks::PROBE | Marks::LISTENS,
        Keyword::Load => Marks::PROBE | Marks::LOAD,
        Keyword::Call | Keyword::Do | Keyword::Refresh => ANYTHING,
        _ if cursor.is(b'(') => Marks::NONE,
        _ => Marks::PROBE,
    }
}
