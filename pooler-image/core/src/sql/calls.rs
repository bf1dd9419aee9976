//! Whether a name before a parenthesis is that of a function that is called.
//!
//! It is not where the grammar has a list of columns, an alias, a type or a keyword there. What is not plainly one of
//! those is a call: asking the server in vain is cheap, leaving a session dirty is not.

use super::{
    keywords::Keyword,
    lexer::{Kind, Token},
};

/// What stands before a token, as far as it matters for what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing, or the semicolon of another statement in the same body.
    Start,
    /// `(`
    Open,
    /// `)` that ended an operand or a list.
    Closed,
    /// `,`
    Comma,
    /// `,` between the queries of a WITH.
    WithComma,
    /// `.` behind a name.
    Dot,
    /// `::`
    Cast,
    /// A keyword.
    Keyword,
    /// A name without a qualifier.
    Name,
    /// A qualified name.
    Qualified,
    /// A literal, a parameter or `]`.
    Operand,
    /// An operator or anything else.
    Other,
}

/// The token before another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) place: Place,
    pub(super) word: Keyword,
}

impl Before {
    /// Before the first token.
    pub(super) const START: Self = Self { place: Place::Start, word: Keyword::None };

    /// Whether a data-modifying statement may begin behind it.
    pub(super) fn begins(self) -> bool {
        matches!(self.place, Place::Start | Place::Open | Place::Closed)
            || matches!(
                self.word,
                Keyword::As
                    | Keyword::Do
                    | Keyword::Also
                    | Keyword::Instead
                    | Keyword::Analyze
                    | Keyword::Verbose
            )
    }
}

/// What qualifies a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qualifier {
    /// Nothing.
    None,
    /// `pg_catalog`
    Catalog,
    /// Another schema.
    Other,
}

/// A name, which may be that of a function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called {
    /// Its last part.
    pub(super) token: Token,
    /// What that is.
    pub(super) word: Keyword,
    /// What the other parts are.
    pub(super) qualifier: Qualifier,
    /// What stands before the first part.
    pub(super) before: Before,
}

/// What kind of statement a name is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within {
    /// Its first word.
    pub(super) first: Keyword,
    /// What a CREATE is about; MERGE in one.
    pub(super) object: Keyword,
}

/// Whether a name that a parenthesis follows is called; `bytes` is its last part.
pub(super) fn is_call(name: &Called, bytes: &[u8], within: Within) -> bool {
    let bare = name.qualifier == Qualifier::None && name.token.kind == Kind::Word;
    if bare && (name.word.is_no_function() || is_phrase(name.word, name.before.word, within)) {
        return false;
    }
    match name.before.place {
        // no statement begins with a call
        Place::Start => false,
        // an alias: nothing but a keyword, an operator or a bracket stands before an expression
        Place::Name | Place::Qualified | Place::Closed | Place::Operand | Place::Cast | Place::WithComma => {
            false
        }
        Place::Keyword => may_precede(name.before.word, bytes, within),
        Place::Open | Place::Comma | Place::Dot | Place::Other => true,
    }
}

/// Whether an expression may follow a keyword: not where a column list, an alias or a declaration does.
fn may_precede(keyword: Keyword, name: &[u8], within: Within) -> bool {
    match keyword {
        Keyword::As
        | Keyword::Into
        | Keyword::Exists
        | Keyword::References
        | Keyword::With
        | Keyword::Recursive
        | Keyword::Copy
        | Keyword::Vacuum
        | Keyword::Analyze
        | Keyword::Analyse
        | Keyword::Verbose
        | Keyword::Table
        | Keyword::View
        | Keyword::Type
        | Keyword::Function
        | Keyword::Procedure
        | Keyword::Routine
        | Keyword::Aggregate => false,
        Keyword::On => within.object != Keyword::Index,
        Keyword::Using => !INDEX_METHODS.iter().any(|method| name.eq_ignore_ascii_case(method)),
        _ => true,
    }
}

const INDEX_METHODS: &[&[u8]] =
    &[b"btree", b"hash", b"gist", b"gin", b"spgist", b"brin", b"hnsw", b"ivfflat"];

/// Whether a word that could name a function is the end of a phrase behind the word before.
fn is_phrase(word: Keyword, before: Keyword, within: Within) -> bool {
    match word {
        Keyword::By => matches!(before, Keyword::Partition | Keyword::Order | Keyword::Group),
        Keyword::Sets => before == Keyword::Grouping,
        Keyword::Rollup | Keyword::Cube => before == Keyword::By,
        Keyword::Range | Keyword::List | Keyword::Hash => {
            before == Keyword::By && within.first == Keyword::Create
        }
        Keyword::Conflict => before == Keyword::On,
        Keyword::Set => before == Keyword::Update,
        Keyword::Materialized | Keyword::Ilike => before == Keyword::Not,
        Keyword::Key => matches!(before, Keyword::Primary | Keyword::Foreign),
        Keyword::Join => matches!(
            before,
            Keyword::Left | Keyword::Right | Keyword::Full | Keyword::Inner | Keyword::Outer | Keyword::Cross
        ),
        Keyword::Varying => {
            matches!(before, Keyword::Character | Keyword::Char | Keyword::Nchar | Keyword::Bit)
        }
        Keyword::Zone => before == Keyword::Time,
        Keyword::First | Keyword::Next => before == Keyword::Fetch,
        Keyword::Insert => before == Keyword::Then && within.object == Keyword::Merge,
        Keyword::Stdin | Keyword::Stdout => within.first == Keyword::Copy,
        _ => false,
    }
}
