//! The token at hand, one at a time, and what kind of word it is.

use super::{
    keywords::Keyword,
    lexer::{Kind, Lexer, Strings, Token},
    literal,
    script::Name,
};

/// Reads a text token by token; a copy of it looks ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    lexer: Lexer<'a>,
    token: Token,
    word: Keyword,
    /// Where the token before ended.
    last_end: usize,
}

impl<'a> Cursor<'a> {
    /// At the first token.
    pub(super) fn new(text: &'a [u8], strings: Strings) -> Self {
        let lexer = Lexer::new(text, strings);
        let mut cursor = Self { lexer, token: Token::NONE, word: Keyword::None, last_end: 0 };
        cursor.bump();
        cursor
    }

    /// Goes to the next token.
    #[inline]
    pub(super) fn bump(&mut self) {
        self.last_end = self.token.end();
        self.token = self.lexer.token();
        self.word = self.lexer.keyword(self.token);
    }

    /// The token at hand.
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// The keyword at hand, if it is one.
    pub(super) fn word(&self) -> Keyword {
        self.word
    }

    /// The bytes of a token.
    pub(super) fn bytes(&self, token: Token) -> &'a [u8] {
        self.lexer.bytes(token)
    }

    /// Where the token before ended.
    pub(super) fn last_end(&self) -> usize {
        self.last_end
    }

    /// Whether the text is over.
    pub(super) fn is_over(&self) -> bool {
        self.token.kind == Kind::End
    }

    /// Whether the statement is over, if no parenthesis is open.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.token.kind, Kind::End | Kind::Symbol(b';'))
    }

    /// Whether the token at hand is this character.
    pub(super) fn is(&self, symbol: u8) -> bool {
        self.token.kind == Kind::Symbol(symbol)
    }

    /// Goes past a keyword, if it is at hand.
    pub(super) fn takes(&mut self, word: Keyword) -> bool {
        let found = self.word == word;
        if found {
            self.bump();
        }
        found
    }

    /// Goes past a character, if it is at hand.
    pub(super) fn takes_symbol(&mut self, symbol: u8) -> bool {
        let found = self.is(symbol);
        if found {
            self.bump();
        }
        found
    }

    /// Reads an identifier.
    pub(super) fn identifier(&mut self) -> Option<Name> {
        let token = self.token;
        let escape = self.escape(Kind::UnicodeQuoted)?;
        let text = literal::identifier(&self.lexer, token, escape)?;
        self.bump();
        Some(Name { text, span: token.start()..self.last_end })
    }

    /// Reads a string literal of any form.
    pub(super) fn string(&mut self) -> Option<String> {
        let token = self.token;
        let escape = self.escape(Kind::Unicode)?;
        let text = literal::string(&self.lexer, token, escape)?;
        self.bump();
        String::from_utf8(text).ok()
    }

    /// The escape character of the literal at hand; the UESCAPE that follows becomes a part of its token.
    fn escape(&mut self, kind: Kind) -> Option<u8> {
        if self.token.kind != kind {
            return Some(b'\\');
        }
        let escape = literal::escape_character(&mut self.lexer)?;
        self.token = self.token.up_to(self.lexer.at());
        Some(escape)
    }
}
