//! Tokens, exactly as PostgreSQL's `scan.l` cuts them wherever it matters for where a statement ends, what a
//! name is and what a literal says.
//!
//! Where PostgreSQL would refuse the text (an unterminated string, junk after a number) nothing of it runs, so any
//! cut will do there; ours takes the rest of the text. An operator is given one character at a time: comments that
//! begin inside of it are found at the same place either way.

use super::keywords::Keyword;

/// How string literals are read: the setting `standard_conforming_strings`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strings {
    /// On, the default: a backslash is a character like any other.
    #[default]
    Standard,
    /// Off: a backslash escapes, as in `E''`.
    Backslash,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// After the last token, again and again.
    End,
    /// A keyword or an identifier without quotes.
    Word,
    /// `"an identifier"`.
    Quoted,
    /// `U&"an identifier"`, without its UESCAPE.
    UnicodeQuoted,
    /// `'text'`, with its continuations on further lines.
    String,
    /// `E'text'`.
    Escaped,
    /// `U&'text'`, without its UESCAPE.
    Unicode,
    /// `$tag$text$tag$`.
    Dollar,
    /// `B'01'` or `X'0f'`.
    Bits,
    /// An integer or a decimal, without its sign.
    Number,
    /// `$1`.
    Param,
    /// `::`.
    Cast,
    /// Any other character.
    Symbol(u8),
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    start: u32,
    end: u32,
}

impl Token {
    /// Before all others.
    pub(super) const NONE: Self = Self { kind: Kind::End, start: 0, end: 0 };

    /// Where it begins.
    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends.
    pub(super) fn end(self) -> usize {
        self.end as usize
    }

    /// It and what follows it up to `end`.
    pub(super) fn up_to(self, end: usize) -> Self {
        Self { end: end as u32, ..self }
    }
}

/// Cuts a text into tokens; a copy of it looks ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    strings: Strings,
}

const SPACE: u8 = 1;
const START: u8 = 2;
const CONTINUE: u8 = 4;
const DIGIT: u8 = 8;
/// Begins a word whatever follows: not the prefix of a string.
const WORD: u8 = 16;
/// A token by itself.
const ALONE: u8 = 32;

/// What each byte can be part of.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'0'..=b'9' => DIGIT | CONTINUE,
            b'b' | b'B' | b'e' | b'E' | b'u' | b'U' | b'x' | b'X' => START | CONTINUE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => START | CONTINUE | WORD,
            b'$' => CONTINUE,
            b'(' | b')' | b',' | b';' | b'=' | b'[' | b']' | b'*' | b'+' | b'<' | b'>' => ALONE,
            _ => 0,
        };
        byte += 1;
    }
    class
};

const fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

impl<'a> Lexer<'a> {
    /// Of a text below 4 GB; a message is below 1 GB.
    pub(super) fn new(text: &'a [u8], strings: Strings) -> Self {
        let text = text.get(..u32::MAX as usize).unwrap_or(text);
        Self { text, at: 0, strings }
    }

    /// The bytes of a token.
    pub(super) fn bytes(&self, token: Token) -> &'a [u8] {
        self.text.get(token.start()..token.end()).unwrap_or_default()
    }

    /// The keyword that a token is.
    #[inline]
    pub(super) fn keyword(&self, token: Token) -> Keyword {
        match token.kind {
            Kind::Word => Keyword::of(self.text, token.start(), token.end()),
            _ => Keyword::None,
        }
    }

    /// Where the next token is looked for.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How string literals without a prefix are read.
    pub(super) fn strings(&self) -> Strings {
        self.strings
    }

    /// The next token, after blanks and comments.
    #[inline]
    pub(super) fn token(&mut self) -> Token {
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return self.token_from(self.at, Kind::End);
            };
            let start = self.at;
            let class = CLASS[byte as usize];
            if class & SPACE != 0 {
                self.at = self.end_of(SPACE, start + 1);
            } else if class & WORD != 0 {
                self.at = self.end_of(CONTINUE, start + 1);
                return self.token_from(start, Kind::Word);
            } else if class & ALONE != 0 {
                self.at += 1;
                return self.token_from(start, Kind::Symbol(byte));
            } else if byte == b'-' && self.ahead(1) == b'-' {
                self.line_comment();
            } else if byte == b'/' && self.ahead(1) == b'*' {
                self.block_comment();
            } else {
                let kind = self.cut(byte);
                return self.token_from(start, kind);
            }
        }
    }

    /// Where bytes of a class end that begin before `at`.
    fn end_of(&self, class: u8, mut at: usize) -> usize {
        while self.text.get(at).is_some_and(|byte| is(*byte, class)) {
            at += 1;
        }
        at
    }

    fn token_from(&self, start: usize, kind: Kind) -> Token {
        Token { kind, start: start as u32, end: self.at as u32 }
    }

    /// The byte so far ahead; zero, which no text has, behind its end.
    fn ahead(&self, by: usize) -> u8 {
        self.text.get(self.at + by).copied().unwrap_or(0)
    }

    /// Consumes the token that begins with `byte`.
    fn cut(&mut self, byte: u8) -> Kind {
        match byte {
            b'e' | b'E' if self.ahead(1) == b'\'' => self.string(2, true, Kind::Escaped),
            b'b' | b'B' | b'x' | b'X' if self.ahead(1) == b'\'' => self.string(2, false, Kind::Bits),
            b'u' | b'U' if self.ahead(1) == b'&' && self.ahead(2) == b'\'' => {
                self.string(3, false, Kind::Unicode)
            }
            b'u' | b'U' if self.ahead(1) == b'&' && self.ahead(2) == b'"' => {
                self.quoted(3, Kind::UnicodeQuoted)
            }
            _ if is(byte, START) => {
                self.at = self.end_of(CONTINUE, self.at);
                Kind::Word
            }
            b'\'' => self.string(1, self.strings == Strings::Backslash, Kind::String),
            b'"' => self.quoted(1, Kind::Quoted),
            b'0'..=b'9' => self.number(),
            b'.' if is(self.ahead(1), DIGIT) => self.number(),
            b'$' => self.dollar(),
            b':' if self.ahead(1) == b':' => {
                self.at += 2;
                Kind::Cast
            }
            _ => {
                self.at += 1;
                Kind::Symbol(byte)
            }
        }
    }

    fn line_comment(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
    }

    /// Comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            match (self.ahead(0), self.ahead(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ if self.at >= self.text.len() => return,
                _ => self.at += 1,
            }
        }
    }

    /// Consumes a string whose opening quote is the last of `opening` bytes, and its continuations.
    fn string(&mut self, opening: usize, backslash: bool, kind: Kind) -> Kind {
        self.at += opening;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|byte| *byte == b'\'' || (backslash && *byte == b'\\'))
            else {
                self.at = self.text.len();
                return kind;
            };
            self.at += found + 1;
            if rest.get(found) == Some(&b'\\') {
                self.at = (self.at + 1).min(self.text.len());
            } else if self.ahead(0) == b'\'' {
                self.at += 1;
            } else if let Some(next) = continuation(self.text, self.at) {
                self.at = next;
            } else {
                return kind;
            }
        }
    }

    fn quoted(&mut self, opening: usize, kind: Kind) -> Kind {
        self.at += opening;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|byte| *byte == b'"') else {
                self.at = self.text.len();
                return kind;
            };
            self.at += found + 1;
            if self.ahead(0) != b'"' {
                return kind;
            }
            self.at += 1;
        }
    }

    /// What follows a number without a blank is a token of its own, as before PostgreSQL 15; since then it is an error.
    fn number(&mut self) -> Kind {
        if self.ahead(0) == b'0' && matches!(self.ahead(1), b'x' | b'X' | b'o' | b'O' | b'b' | b'B') {
            self.at += 2;
            let rest = self.text.get(self.at..).unwrap_or_default();
            let digits = rest.iter().position(|byte| !byte.is_ascii_hexdigit() && *byte != b'_');
            self.at += digits.unwrap_or(rest.len());
            return Kind::Number;
        }
        self.digits();
        if self.ahead(0) == b'.' && self.ahead(1) != b'.' {
            self.at += 1;
            self.digits();
        }
        let sign = usize::from(matches!(self.ahead(1), b'+' | b'-'));
        if matches!(self.ahead(0), b'e' | b'E') && is(self.ahead(1 + sign), DIGIT) {
            self.at += 1 + sign;
            self.digits();
        }
        Kind::Number
    }

    /// Digits, with single underscores between them.
    fn digits(&mut self) {
        while is(self.ahead(0), DIGIT) || (self.ahead(0) == b'_' && is(self.ahead(1), DIGIT)) {
            self.at += 1;
        }
    }

    fn dollar(&mut self) -> Kind {
        if is(self.ahead(1), DIGIT) {
            self.at = self.end_of(DIGIT, self.at + 1);
            return Kind::Param;
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let tag = rest.iter().skip(1).position(|byte| *byte == b'$' || !is(*byte, CONTINUE));
        let Some(delimiter) = tag.and_then(|tag| rest.get(..tag + 2)).filter(|text| text.ends_with(b"$"))
        else {
            self.at += 1;
            return Kind::Symbol(b'$');
        };
        let body = rest.get(delimiter.len()..).unwrap_or_default();
        let length = find(body, delimiter).map_or(body.len(), |at| at + delimiter.len());
        self.at += delimiter.len() + length;
        Kind::Dollar
    }
}

/// Where a string that ended before `at` goes on: behind a quote, if only blanks, comments and at least one line end
/// are between the two.
pub(super) fn continuation(text: &[u8], mut at: usize) -> Option<usize> {
    let mut lines = false;
    loop {
        match text.get(at)? {
            b'\n' | b'\r' => {
                lines = true;
                at += 1;
            }
            b'\'' => return lines.then_some(at + 1),
            b'-' if text.get(at + 1) == Some(&b'-') => {
                at += text.get(at..)?.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
            }
            byte if is(*byte, SPACE) => at += 1,
            _ => return None,
        }
    }
}

/// Where `delimiter`, which has a `$` at both ends and none between, is first found.
fn find(text: &[u8], delimiter: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text.get(at..)?.iter().position(|byte| *byte == b'$')?;
        if text.get(at..)?.starts_with(delimiter) {
            return Some(at);
        }
        at += 1;
    }
}
