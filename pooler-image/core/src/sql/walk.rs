//! Reads a statement word by word for what it may leave behind.

use super::{
    calls::{Before, Called, Place, Qualifier, Within, is_call},
    cursor::Cursor,
    functions,
    keywords::Keyword,
    lexer::{Kind, Token},
    marks::Marks,
    script::Name,
    set,
};

/// What EXECUTE, CALL and DO may do: anything.
pub(super) const ANYTHING: Marks = functions::UNKNOWN.union(Marks::WRITES);
/// A temporary object or schema.
const TEMPORARY: Marks = Marks::PROBE.union(Marks::TEMP);

/// What a statement was found to do.
#[derive(Debug)]
pub(super) struct Walked {
    /// What it may do.
    pub(super) marks: Marks,
    /// The prepared statement that a CREATE TABLE AS runs.
    pub(super) executes: Option<Name>,
}

/// Reads up to the semicolon that ends the statement, which began with `first`.
pub(super) fn walk(cursor: &mut Cursor<'_>, first: Keyword) -> Walked {
    let mut walker = Walker::new(first);
    loop {
        match cursor.token().kind {
            Kind::End => break,
            Kind::Symbol(b';') if !walker.is_inside() => break,
            kind => walker.step(cursor, kind),
        }
        cursor.bump();
    }
    Walked { marks: walker.marks, executes: walker.executes }
}

#[derive(Debug)]
struct Walker {
    within: Within,
    marks: Marks,
    executes: Option<Name>,
    /// Open parentheses.
    depth: u32,
    /// Open bodies of BEGIN ATOMIC, whose semicolons end no statement of the text.
    bodies: u32,
    /// A bit for each depth: an expression may follow the parenthesis that closes there.
    phrases: u64,
    /// A bit for each depth: in a list of WITH, where a name may have a list of columns.
    with_lists: u64,
    config: Option<Config>,
    /// The token before the one at hand.
    last: Before,
    /// The name that ended there, if it is one.
    name: Called,
}

impl Walker {
    fn new(first: Keyword) -> Self {
        Self {
            within: Within { first, object: Keyword::None },
            marks: Marks::NONE,
            executes: None,
            depth: 0,
            bodies: 0,
            phrases: 0,
            with_lists: 0,
            config: None,
            last: Before::START,
            name: Called {
                token: Token::NONE,
                word: Keyword::None,
                qualifier: Qualifier::None,
                before: Before::START,
            },
        }
    }

    /// Whether a semicolon divides what is inside of a statement.
    fn is_inside(&self) -> bool {
        self.depth > 0 || self.bodies > 0
    }

    /// Reads the token at hand, of this kind.
    fn step(&mut self, cursor: &Cursor<'_>, kind: Kind) {
        if self.config.is_some() {
            self.argument(cursor);
        }
        let place = match kind {
            Kind::Word => self.word(cursor),
            Kind::Quoted => {
                if is_temporary_schema(cursor.bytes(cursor.token())) {
                    self.marks |= TEMPORARY;
                }
                self.named(cursor)
            }
            Kind::UnicodeQuoted => {
                // may spell anything
                self.marks |= Marks::PROBE;
                self.named(cursor)
            }
            Kind::Symbol(b'(') => self.open(cursor),
            Kind::Symbol(b')') => self.close(),
            Kind::Symbol(b',') if self.bit() & self.with_lists != 0 => Place::WithComma,
            Kind::Symbol(b',') => Place::Comma,
            Kind::Symbol(b'.')
                if matches!(self.last.place, Place::Keyword | Place::Name | Place::Qualified) =>
            {
                Place::Dot
            }
            Kind::Symbol(b';') => Place::Start,
            Kind::Symbol(b']') => Place::Operand,
            Kind::Symbol(_) | Kind::End => Place::Other,
            Kind::Cast => Place::Cast,
            _ => Place::Operand,
        };
        self.last = Before { place, word: cursor.word() };
    }

    /// The bit of this depth; none for a depth that is not told apart.
    fn bit(&self) -> u64 {
        1_u64.checked_shl(self.depth).unwrap_or(0)
    }

    fn word(&mut self, cursor: &Cursor<'_>) -> Place {
        if cursor.word().is_any() && self.last.place != Place::Dot {
            self.keyword(cursor);
        }
        self.named(cursor)
    }

    fn named(&mut self, cursor: &Cursor<'_>) -> Place {
        let (token, word) = (cursor.token(), cursor.word());
        if self.last.place != Place::Dot {
            self.name = Called { token, word, qualifier: Qualifier::None, before: self.last };
            return if word.is_any() { Place::Keyword } else { Place::Name };
        }
        let schema = cursor.bytes(self.name.token);
        let catalog = self.name.word == Keyword::PgCatalog || schema == b"\"pg_catalog\"";
        let qualifier = match self.name.qualifier {
            Qualifier::None if catalog => Qualifier::Catalog,
            _ => Qualifier::Other,
        };
        self.name = Called { token, word, qualifier, ..self.name };
        Place::Qualified
    }

    fn keyword(&mut self, cursor: &Cursor<'_>) {
        let (last, first) = (self.last, self.within.first);
        match cursor.word() {
            Keyword::Insert | Keyword::Merge if last.begins() => {
                self.marks |= Marks::WRITES | Marks::SEQUENCE_SET;
                self.main(cursor.word());
            }
            Keyword::Update | Keyword::Delete if last.begins() => {
                self.marks |= Marks::WRITES;
                self.main(cursor.word());
            }
            Keyword::Select | Keyword::Values => self.main(Keyword::None),
            Keyword::Default if self.marks.contains(Marks::WRITES) => self.marks |= Marks::SEQUENCE_SET,
            Keyword::From if first == Keyword::Copy && self.depth == 0 => {
                self.marks |= Marks::WRITES | Marks::SEQUENCE_SET;
            }
            Keyword::Hold if last.word == Keyword::With => self.marks |= Marks::PROBE | Marks::HOLDS,
            Keyword::Temp | Keyword::Temporary if self.makes_temporary() => self.marks |= TEMPORARY,
            Keyword::PgTemp => self.marks |= TEMPORARY,
            // UPDATE of the view is SET
            Keyword::PgSettings if self.marks.contains(Marks::WRITES) => {
                self.marks |= Marks::PROBE | Marks::CONFIG;
            }
            Keyword::With if matches!(last.place, Place::Start | Place::Open) || last.word == Keyword::As => {
                self.with_lists |= self.bit();
            }
            Keyword::Execute if first == Keyword::Create && last.word == Keyword::As => self.execute(cursor),
            word if self.depth == 0 && is_ddl(first) => self.ddl(word),
            _ => {}
        }
    }

    /// The list of WITH ends where its statement begins.
    fn main(&mut self, verb: Keyword) {
        self.with_lists &= !self.bit();
        if verb == Keyword::Merge {
            self.within.object = verb;
        }
    }

    /// Whether TEMP is the keyword: `CREATE OR REPLACE TEMP`, `CREATE LOCAL TEMP`, `SELECT ... INTO TEMP`.
    fn makes_temporary(&self) -> bool {
        match self.last.word {
            Keyword::Create | Keyword::Replace | Keyword::Local | Keyword::Global => true,
            Keyword::Into => !matches!(self.name.before.word, Keyword::Insert | Keyword::Merge),
            _ => false,
        }
    }

    /// A prepared statement that runs inside of this one.
    fn execute(&mut self, cursor: &Cursor<'_>) {
        let mut ahead = *cursor;
        ahead.bump();
        self.executes = ahead.identifier();
        self.marks |= ANYTHING;
    }

    fn ddl(&mut self, word: Keyword) {
        match word {
            Keyword::Extension => self.marks |= Marks::DEFINES | Marks::PROBE,
            Keyword::Function
            | Keyword::Procedure
            | Keyword::Routine
            | Keyword::Trigger
            | Keyword::Rule
            | Keyword::View
            | Keyword::Policy
            | Keyword::Aggregate
            | Keyword::Operator
            | Keyword::Cast
            | Keyword::Language => self.marks |= Marks::DEFINES,
            Keyword::Index | Keyword::Table => {}
            Keyword::Atomic if self.last.word == Keyword::Begin && self.makes_routine() => {
                self.bodies += 1;
                return;
            }
            Keyword::End if self.bodies > 0 && self.ends_body() => {
                self.bodies -= 1;
                return;
            }
            _ => return,
        }
        if self.within.object == Keyword::None {
            self.within.object = word;
        }
    }

    fn makes_routine(&self) -> bool {
        matches!(self.within.object, Keyword::Function | Keyword::Procedure)
    }

    /// The END of a CASE stands behind an expression, that of a body behind a statement.
    fn ends_body(&self) -> bool {
        self.last.place == Place::Start || self.last.word == Keyword::Atomic
    }

    fn open(&mut self, cursor: &Cursor<'_>) -> Place {
        if matches!(self.last.place, Place::Keyword | Place::Name | Place::Qualified) {
            self.call(cursor);
        }
        let phrase = match self.last.word {
            Keyword::Operator | Keyword::With => true,
            Keyword::On => self.name.before.word == Keyword::Distinct,
            _ => false,
        };
        self.depth += 1;
        let bit = self.bit();
        self.with_lists &= !bit;
        self.phrases = if phrase { self.phrases | bit } else { self.phrases & !bit };
        Place::Open
    }

    fn close(&mut self) -> Place {
        let bit = self.bit();
        self.depth = self.depth.saturating_sub(1);
        if bit == 0 || self.phrases & bit != 0 { Place::Other } else { Place::Closed }
    }

    /// A name that a parenthesis follows.
    fn call(&mut self, cursor: &Cursor<'_>) {
        let name = self.name;
        let bytes = cursor.bytes(name.token);
        if !is_call(&name, bytes, self.within) {
            return;
        }
        let mut buffer = [0; LONGEST_NAME];
        let folded = folded(bytes, name.token.kind, &mut buffer);
        let marks = match name.qualifier {
            Qualifier::Other => functions::UNKNOWN,
            Qualifier::None | Qualifier::Catalog => functions::marks(folded),
        };
        if marks.contains(Marks::CONFIG) && self.config.is_none() {
            self.config = Some(Config { depth: self.depth + 1, commas: 0, last: Last::Unread });
        } else {
            self.marks |= marks;
        }
    }

    /// Reads a token of the arguments of `set_config`.
    fn argument(&mut self, cursor: &Cursor<'_>) {
        let Some(config) = &mut self.config else { return };
        let outermost = self.depth == config.depth;
        if outermost && cursor.is(b')') {
            if config.commas != 2 || config.last != Last::True {
                self.marks |= Marks::PROBE | Marks::CONFIG;
            }
            self.config = None;
        } else if outermost && cursor.is(b',') {
            config.commas += 1;
            config.last = Last::Unread;
        } else if self.depth >= config.depth {
            let first = config.last == Last::Unread;
            config.last = if first && set::is_true(cursor) { Last::True } else { Last::Other };
        }
    }
}

/// How far the arguments of a `set_config` have been read: with `true` as the third nothing outlives the transaction.
#[derive(Debug)]
struct Config {
    /// Inside of its parentheses.
    depth: u32,
    commas: u32,
    last: Last,
}

/// The last argument so far.
#[derive(Debug, PartialEq, Eq)]
enum Last {
    Unread,
    True,
    Other,
}

/// Longer names are no built-in ones.
const LONGEST_NAME: usize = 63;

/// The name of a function as the catalog has it; empty if it can be none of `pg_catalog`.
fn folded<'a>(text: &'a [u8], kind: Kind, buffer: &'a mut [u8; LONGEST_NAME]) -> &'a [u8] {
    match kind {
        Kind::Word => match buffer.get_mut(..text.len()) {
            Some(buffer) => {
                buffer.copy_from_slice(text);
                buffer.make_ascii_lowercase();
                buffer
            }
            None => b"",
        },
        Kind::Quoted => text.get(1..text.len().saturating_sub(1)).unwrap_or_default(),
        _ => b"",
    }
}

fn is_ddl(first: Keyword) -> bool {
    matches!(first, Keyword::Create | Keyword::Alter | Keyword::Drop)
}

/// Whether a quoted identifier names a temporary schema.
fn is_temporary_schema(quoted: &[u8]) -> bool {
    quoted.strip_prefix(b"\"pg_temp").is_some_and(|rest| rest.starts_with(b"\"") || rest.starts_with(b"_"))
}
