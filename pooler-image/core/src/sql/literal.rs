//! What names and string literals say.

use super::{
    keywords::Keyword,
    lexer::{Kind, Lexer, Strings, Token, continuation},
};

/// Bytes of a name that PostgreSQL keeps: `NAMEDATALEN` - 1.
const NAME_BYTES: usize = 63;

/// What an identifier names: folded or unquoted, and cut to 63 bytes at the end of a UTF-8 character.
///
/// None where it is no identifier, or one that PostgreSQL refuses.
pub(super) fn identifier(lexer: &Lexer<'_>, token: Token, escape: u8) -> Option<Vec<u8>> {
    let text = lexer.bytes(token);
    let name = match token.kind {
        Kind::Word => text.to_ascii_lowercase(),
        Kind::Quoted => unquote(text.get(1..)?, b'"')?,
        Kind::UnicodeQuoted => unicode(&unquote(text.get(3..)?, b'"')?, escape)?,
        _ => return None,
    };
    (!name.is_empty()).then(|| truncate(name))
}

/// What a string literal of any form says; none where it is none, or one that PostgreSQL refuses.
pub(super) fn string(lexer: &Lexer<'_>, token: Token, escape: u8) -> Option<Vec<u8>> {
    let text = lexer.bytes(token);
    match token.kind {
        Kind::String if lexer.strings() == Strings::Backslash => escaped(text.get(1..)?),
        Kind::String => unquote(text.get(1..)?, b'\''),
        Kind::Escaped => escaped(text.get(2..)?),
        Kind::Unicode if lexer.strings() == Strings::Standard => {
            unicode(&unquote(text.get(3..)?, b'\'')?, escape)
        }
        Kind::Dollar => {
            let tag = text.iter().skip(1).position(|byte| *byte == b'$')? + 2;
            let body = text.get(tag..text.len().checked_sub(tag)?)?;
            text.ends_with(text.get(..tag)?).then(|| body.to_vec())
        }
        _ => None,
    }
}

/// The character after UESCAPE, if `lexer` stands before one; a backslash otherwise.
pub(super) fn escape_character(lexer: &mut Lexer<'_>) -> Option<u8> {
    let mut ahead = *lexer;
    let word = ahead.token();
    if lexer.keyword(word) != Keyword::Uescape {
        return Some(b'\\');
    }
    let character = ahead.token();
    *lexer = ahead;
    match string(lexer, character, b'\\')?.as_slice() {
        [byte] if !byte.is_ascii_hexdigit() && !byte.is_ascii_whitespace() && !b"+'\"".contains(byte) => {
            Some(*byte)
        }
        _ => None,
    }
}

/// Cuts a name as PostgreSQL does in a UTF-8 database.
fn truncate(mut name: Vec<u8>) -> Vec<u8> {
    if name.len() > NAME_BYTES {
        let cut = (0..=NAME_BYTES).rev().find(|at| name.get(*at).is_some_and(|byte| byte & 0xc0 != 0x80));
        name.truncate(cut.unwrap_or(NAME_BYTES));
    }
    name
}

/// The text between an opening quote and the last closing one: doubled quotes are one, continuations are joined.
fn unquote(text: &[u8], quote: u8) -> Option<Vec<u8>> {
    let mut said = Vec::with_capacity(text.len());
    let mut at = 0;
    loop {
        let byte = *text.get(at)?;
        at += 1;
        if byte == quote {
            match closed(text, at, quote) {
                Closed::Doubled => said.push(quote),
                Closed::Continued(next) => {
                    at = next;
                    continue;
                }
                Closed::Last => return Some(said),
            }
            at += 1;
        } else {
            said.push(byte);
        }
    }
}

enum Closed {
    Doubled,
    Continued(usize),
    Last,
}

/// What a quote before `at` is.
fn closed(text: &[u8], at: usize, quote: u8) -> Closed {
    if text.get(at) == Some(&quote) {
        return Closed::Doubled;
    }
    match continuation(text, at).filter(|_| quote == b'\'') {
        Some(next) => Closed::Continued(next),
        None => Closed::Last,
    }
}

/// The text of a string with backslashes, behind its opening quote.
fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut said = Vec::with_capacity(text.len());
    let mut at = 0;
    loop {
        let byte = *text.get(at)?;
        at += 1;
        match byte {
            b'\\' => at = backslash(text, at, &mut said)?,
            b'\'' => match closed(text, at, b'\'') {
                Closed::Doubled => {
                    said.push(b'\'');
                    at += 1;
                }
                Closed::Continued(next) => at = next,
                Closed::Last => return Some(said),
            },
            _ => said.push(byte),
        }
    }
}

/// Reads an escape behind its backslash; gives where it ends.
fn backslash(text: &[u8], at: usize, said: &mut Vec<u8>) -> Option<usize> {
    let byte = *text.get(at)?;
    let next = at + 1;
    match byte {
        b'b' => said.push(0x08),
        b'f' => said.push(0x0c),
        b'n' => said.push(b'\n'),
        b'r' => said.push(b'\r'),
        b't' => said.push(b'\t'),
        // a vertical tab since PostgreSQL 16, the letter before
        b'v' => return None,
        b'0'..=b'7' => return numbered(digits(text, at, 8, 3), said),
        b'x' if text.get(next).is_some_and(u8::is_ascii_hexdigit) => {
            return numbered(digits(text, next, 16, 2), said);
        }
        b'u' | b'U' => return code_point(text, next, if byte == b'u' { 4 } else { 8 }, b"\\u", said),
        _ => said.push(byte),
    }
    Some(next)
}

/// Adds a byte that was given as a number; PostgreSQL has no zero in a text.
fn numbered((value, end): (u32, usize), said: &mut Vec<u8>) -> Option<usize> {
    said.push(value as u8);
    (value as u8 != 0).then_some(end)
}

/// Up to `most` digits of a base from `at`, and where they end.
fn digits(text: &[u8], mut at: usize, base: u32, most: usize) -> (u32, usize) {
    let (last, mut value) = (at + most, 0_u32);
    while at < last
        && let Some(digit) = text.get(at).and_then(|byte| char::from(*byte).to_digit(base))
    {
        value = value.wrapping_mul(base).wrapping_add(digit);
        at += 1;
    }
    (value, at)
}

/// A code point of exactly `size` hexadecimal digits; the second half of a surrogate pair follows behind `again`.
fn code_point(text: &[u8], at: usize, size: usize, again: &[u8], said: &mut Vec<u8>) -> Option<usize> {
    let (mut value, mut end) = digits(text, at, 16, size);
    if end != at + size {
        return None;
    }
    if (0xd800..0xdc00).contains(&value) {
        let second = text.get(end..)?.strip_prefix(again).map(|_| end + again.len())?;
        let (low, last) = digits(text, second, 16, 4);
        if !(0xdc00..0xe000).contains(&low) || last != second + 4 {
            return None;
        }
        value = 0x1_0000 + ((value - 0xd800) << 10) + (low - 0xdc00);
        end = last;
    }
    let character = char::from_u32(value).filter(|character| *character != '\0')?;
    said.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(end)
}

/// Replaces the escapes of `U&''` and `U&""`.
fn unicode(text: &[u8], escape: u8) -> Option<Vec<u8>> {
    let mut said = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != escape {
            said.push(byte);
            continue;
        }
        match text.get(at)? {
            doubled if *doubled == escape => {
                said.push(escape);
                at += 1;
            }
            b'+' => at = code_point(text, at + 1, 6, &[escape], &mut said)?,
            _ => at = code_point(text, at, 4, &[escape], &mut said)?,
        }
    }
    Some(said)
}
