//! What users type, taken apart into words as PostgreSQL's lexer would. Pure.

use std::iter::Peekable;
use std::str::Chars;

/// A part of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, a name or a number.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A text in single quotes.
    Literal(String),
    /// `=`
    Equals,
    /// `;`
    Semicolon,
    /// `*`
    Star,
}

impl Token {
    /// What it says, unless it is in quotes.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Takes a text apart. `None`: a character that starts no token, or a quote or comment without its end.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        skip_space_and_comments(&mut rest)?;
        let Some(first) = rest.next() else { return Some(tokens) };
        tokens.push(match first {
            ';' => Token::Semicolon,
            '=' => Token::Equals,
            '*' => Token::Star,
            '"' => Token::Quoted(quoted(&mut rest, '"')?),
            '\'' => Token::Literal(quoted(&mut rest, '\'')?),
            other if in_word(other) => Token::Word(word(other, &mut rest)),
            _ => return None,
        });
    }
}

/// Wider than PostgreSQL's identifiers: database names such as `my-app.v2` need no quotes here.
fn in_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '$')
}

fn word(first: char, rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::from(first);
    while let Some(next) = rest.next_if(|next| in_word(*next)) {
        word.push(next);
    }
    word
}

fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            next if next != quote => text.push(next),
            _ if rest.next_if_eq(&quote).is_some() => text.push(quote),
            _ => return Some(text),
        }
    }
}

fn skip_space_and_comments(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
    loop {
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some(space), _) if space.is_whitespace() => {
                rest.next();
            }
            (Some('-'), Some('-')) => while rest.next().is_some_and(|next| next != '\n') {},
            (Some('/'), Some('*')) => {
                *rest = ahead;
                skip_block_comment(rest)?;
            }
            _ => return Some(()),
        }
    }
}

/// As in PostgreSQL, block comments nest.
fn skip_block_comment(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
    let mut depth = 1_usize;
    while depth > 0 {
        match rest.next()? {
            '*' if rest.next_if_eq(&'/').is_some() => depth -= 1,
            '/' if rest.next_if_eq(&'*').is_some() => depth += 1,
            _ => {}
        }
    }
    Some(())
}
