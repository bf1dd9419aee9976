//! SET, RESET and `SELECT set_config(...)`, where it can be said exactly what they set.

use super::{cursor::Cursor, keywords::Keyword, lexer::Kind, marks::Marks, script::Effect};

/// What a SET does that cannot be said exactly.
const INEXACT: (Effect, Marks) = (Effect::Plain, Marks::PROBE);
/// SESSION AUTHORIZATION, to a role or back.
const AUTHORIZATION: (Effect, Marks) =
    (Effect::Plain, Marks::PROBE.union(Marks::AUTHORIZATION).union(Marks::CLEANS));

/// Reads a statement behind SET.
pub(super) fn set(cursor: &mut Cursor<'_>) -> (Effect, Marks) {
    let (effect, marks) = scoped(cursor).unwrap_or(INEXACT);
    // what was not read does not change what we said only if it was a syntax error, but a doubt is cheap
    if cursor.is_done() { (effect, marks) } else { INEXACT }
}

/// Reads a statement behind RESET.
pub(super) fn reset(cursor: &mut Cursor<'_>) -> (Effect, Marks) {
    let mut ahead = *cursor;
    ahead.bump();
    let effect = match cursor.word() {
        Keyword::All => {
            cursor.bump();
            Some(Effect::ResetAll)
        }
        Keyword::Session if ahead.word() == Keyword::Authorization => return AUTHORIZATION,
        Keyword::Time if ahead.takes(Keyword::Zone) => {
            *cursor = ahead;
            Some(Effect::Reset { name: "timezone".to_owned() })
        }
        // holds for the transaction only
        Keyword::Transaction if !ahead.is(b'.') && !ahead.is_done() => return (Effect::Plain, Marks::CLEANS),
        _ => variable(cursor).map(|name| Effect::Reset { name }),
    };
    match effect {
        Some(effect) if cursor.is_done() => (effect, Marks::CLEANS),
        _ => (Effect::Plain, Marks::PROBE | Marks::CLEANS),
    }
}

/// Reads `[LOCAL | SESSION] ...`.
fn scoped(cursor: &mut Cursor<'_>) -> Option<(Effect, Marks)> {
    let mut ahead = *cursor;
    ahead.bump();
    match cursor.word() {
        // these words may name a setting too
        _ if is_assignment(&ahead) => assignment(cursor),
        Keyword::Local | Keyword::Transaction | Keyword::Constraints => {
            skip(cursor);
            Some((Effect::Plain, Marks::NONE))
        }
        Keyword::Session => match ahead.word() {
            Keyword::Authorization => {
                skip(cursor);
                Some(AUTHORIZATION)
            }
            Keyword::Transaction | Keyword::Characteristics => None,
            _ => {
                *cursor = ahead;
                ahead.bump();
                if is_assignment(&ahead) { assignment(cursor) } else { special(cursor) }
            }
        },
        _ => special(cursor),
    }
}

/// Whether what follows a word makes it the name of a setting.
fn is_assignment(after: &Cursor<'_>) -> bool {
    after.is(b'=') || after.is(b'.') || matches!(after.word(), Keyword::To | Keyword::From)
}

/// Reads `name = value, ...`.
fn assignment(cursor: &mut Cursor<'_>) -> Option<(Effect, Marks)> {
    let name = variable(cursor)?;
    if !cursor.takes(Keyword::To) && !cursor.takes_symbol(b'=') {
        return None;
    }
    if cursor.takes(Keyword::Default) {
        return Some(to_default(&name));
    }
    let mut values = vec![value(cursor)?];
    while cursor.takes_symbol(b',') {
        values.push(value(cursor)?);
    }
    Some(to(name, values))
}

/// Reads the forms that have a syntax of their own.
fn special(cursor: &mut Cursor<'_>) -> Option<(Effect, Marks)> {
    let word = cursor.word();
    cursor.bump();
    match word {
        Keyword::Time if cursor.takes(Keyword::Zone) => zone(cursor),
        Keyword::Names if cursor.is_done() || cursor.takes(Keyword::Default) => {
            Some(to_default("client_encoding"))
        }
        Keyword::Names => Some(to("client_encoding", vec![cursor.string()?])),
        Keyword::Schema => Some(to("search_path", vec![cursor.string()?])),
        Keyword::Role => Some(to("role", vec![word_or_string(cursor)?])),
        Keyword::Xml if cursor.takes(Keyword::Option) => {
            let option = cursor.word();
            if !matches!(option, Keyword::Document | Keyword::Content) {
                return None;
            }
            Some(to("xmloption", vec![word_or_string(cursor)?]))
        }
        _ => None,
    }
}

/// Reads what follows TIME ZONE.
fn zone(cursor: &mut Cursor<'_>) -> Option<(Effect, Marks)> {
    match cursor.word() {
        Keyword::Default | Keyword::Local => {
            cursor.bump();
            Some(to_default("timezone"))
        }
        Keyword::Interval => None,
        _ => Some(to("timezone", vec![value(cursor)?])),
    }
}

fn to(name: impl Into<String>, values: Vec<String>) -> (Effect, Marks) {
    let name = name.into();
    // a temporary schema in front of the path makes temporary what nothing else tells of
    let temporary = name == "search_path" && values.iter().any(|value| value.contains("pg_temp"));
    let marks = if temporary { Marks::PROBE | Marks::TEMP } else { Marks::NONE };
    (Effect::Set { name, values }, marks)
}

fn to_default(name: &str) -> (Effect, Marks) {
    (Effect::Reset { name: name.to_owned() }, Marks::CLEANS)
}

/// Reads the name of a setting; PostgreSQL compares these without regard to case, quoted or not.
fn variable(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut name = cursor.identifier()?.text;
    while cursor.takes_symbol(b'.') {
        name.push(b'.');
        name.extend(cursor.identifier()?.text);
    }
    name.make_ascii_lowercase();
    String::from_utf8(name).ok()
}

/// Reads one value of a setting.
fn value(cursor: &mut Cursor<'_>) -> Option<String> {
    let negative = cursor.takes_symbol(b'-');
    if negative || cursor.takes_symbol(b'+') || cursor.token().kind == Kind::Number {
        return number(cursor, negative);
    }
    if cursor.word() == Keyword::Default {
        return None;
    }
    word_or_string(cursor)
}

fn word_or_string(cursor: &mut Cursor<'_>) -> Option<String> {
    match cursor.token().kind {
        Kind::Word | Kind::Quoted | Kind::UnicodeQuoted => String::from_utf8(cursor.identifier()?.text).ok(),
        _ => cursor.string(),
    }
}

/// Reads a number: an integer of 32 bits in decimal, all others as they are written, as PostgreSQL gives them on.
fn number(cursor: &mut Cursor<'_>, negative: bool) -> Option<String> {
    let token = cursor.token();
    if token.kind != Kind::Number {
        return None;
    }
    let written = str::from_utf8(cursor.bytes(token)).ok()?;
    let text = integer(written).map_or_else(|| written.to_owned(), |value| value.to_string());
    cursor.bump();
    Some(if negative { format!("-{text}") } else { text })
}

fn integer(written: &str) -> Option<i32> {
    let digits = written.replace('_', "").to_ascii_lowercase();
    let base = match digits.get(..2) {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => return digits.parse().ok(),
    };
    i32::from_str_radix(digits.get(2..)?, base).ok()
}

/// Goes to the end of a statement that has no parentheses.
fn skip(cursor: &mut Cursor<'_>) {
    while !cursor.is_done() {
        cursor.bump();
    }
}

/// Reads a whole `SELECT [pg_catalog.]set_config('name', 'value', false)` behind its SELECT.
pub(super) fn set_config<'a>(cursor: &Cursor<'a>) -> Option<(Cursor<'a>, Effect)> {
    let mut cursor = *cursor;
    if cursor.takes(Keyword::PgCatalog) && !cursor.takes_symbol(b'.') {
        return None;
    }
    if !cursor.takes(Keyword::SetConfig) || !cursor.takes_symbol(b'(') {
        return None;
    }
    let name = cursor.string()?.to_ascii_lowercase();
    let value = cursor.takes_symbol(b',').then(|| cursor.string())??;
    let whole = cursor.takes_symbol(b',')
        && cursor.takes(Keyword::False)
        && cursor.takes_symbol(b')')
        && cursor.is_done();
    // a temporary schema in the path is left to the marks
    let exact = whole && !(name == "search_path" && value.contains("pg_temp"));
    exact.then_some((cursor, Effect::SetConfig { name, value }))
}

/// Whether a literal means true as the third argument of `set_config`.
pub(super) fn is_true(cursor: &Cursor<'_>) -> bool {
    match cursor.token().kind {
        Kind::Word => cursor.word() == Keyword::True,
        Kind::String => {
            let text = cursor.bytes(cursor.token()).to_ascii_lowercase();
            [&b"'t'"[..], b"'true'", b"'on'", b"'yes'", b"'1'"].contains(&text.as_slice())
        }
        _ => false,
    }
}
