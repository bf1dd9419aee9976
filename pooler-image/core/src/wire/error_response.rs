//! ErrorResponse and NoticeResponse: building our own, reading and rewriting a server's.

use std::{borrow::Cow, fmt, str};

use super::{ReadError, Reader, SqlState, backend, writer};

/// Field codes of ErrorResponse and NoticeResponse.
pub mod field {
    /// Severity, in the language of the server.
    pub const SEVERITY: u8 = b'S';
    /// Severity, never translated.
    pub const SEVERITY_NONLOCALIZED: u8 = b'V';
    /// SQLSTATE.
    pub const CODE: u8 = b'C';
    /// Primary message.
    pub const MESSAGE: u8 = b'M';
    /// Detail.
    pub const DETAIL: u8 = b'D';
    /// Hint.
    pub const HINT: u8 = b'H';
    /// Position in the query text.
    pub const POSITION: u8 = b'P';
    /// Context.
    pub const WHERE: u8 = b'W';
    /// Source file of the server.
    pub const FILE: u8 = b'F';
    /// Line in [`FILE`].
    pub const LINE: u8 = b'L';
    /// Function in [`FILE`].
    pub const ROUTINE: u8 = b'R';
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// All sessions of the server end.
    Panic,
    /// For the user's attention (NoticeResponse).
    Warning,
    /// For the user's information (NoticeResponse).
    Notice,
}

impl Severity {
    /// The word in fields S and V.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Error | Self::Fatal | Self::Panic => backend::ERROR_RESPONSE,
            Self::Warning | Self::Notice => backend::NOTICE_RESPONSE,
        }
    }
}

/// An error or notice of our own.
///
/// What is in it goes to the client: it never holds a secret, or of a server's address more than the document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// How bad it is; decides between ErrorResponse and NoticeResponse.
    pub severity: Severity,
    /// SQLSTATE.
    pub sqlstate: SqlState,
    /// Primary message.
    pub message: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    hint: Option<Cow<'static, str>>,
    routine: Option<&'static str>,
}

impl ErrorResponse {
    /// An error with its three mandatory fields.
    pub fn new(severity: Severity, sqlstate: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity, sqlstate, message: message.into(), detail: None, hint: None, routine: None }
    }

    /// The statement failed, the session goes on.
    pub fn error(sqlstate: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Error, sqlstate, message)
    }

    /// The session ends.
    pub fn fatal(sqlstate: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Fatal, sqlstate, message)
    }

    /// The same, and the session ends with it.
    #[must_use]
    pub fn as_fatal(mut self) -> Self {
        self.severity = Severity::Fatal;
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the function of PostgreSQL's that raises this error, for those that drivers know by it.
    #[must_use]
    pub fn routine(mut self, routine: &'static str) -> Self {
        self.routine = Some(routine);
        self
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { severity, sqlstate, message, detail, hint, routine } = self;
        let fields = [
            (field::SEVERITY, Some(severity.as_str())),
            (field::SEVERITY_NONLOCALIZED, Some(severity.as_str())),
            (field::CODE, Some(sqlstate.as_str())),
            (field::MESSAGE, Some(message.as_ref())),
            (field::DETAIL, detail.as_deref()),
            (field::HINT, hint.as_deref()),
            (field::ROUTINE, *routine),
        ];
        let present = fields.iter().filter_map(|&(code, value)| Some((code, value?.as_bytes())));
        encode_fields(out, severity.tag(), present);
    }

    /// The whole message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.message.len());
        self.encode(&mut out);
        out
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} ({})", self.severity.as_str(), self.message, self.sqlstate)
    }
}

/// The fields of a received ErrorResponse or NoticeResponse, known to be well formed.
#[derive(Debug, Clone, Copy)]
pub struct ErrorFields<'a> {
    body: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Checks the body of a received message.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        while reader.u8()? != 0 {
            reader.string()?;
        }
        reader.finish()?;
        Ok(Self { body })
    }

    /// Code and value of each field, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.body);
        std::iter::from_fn(move || {
            let code = reader.u8().ok().filter(|&code| code != 0)?;
            Some((code, reader.string().ok()?))
        })
    }

    /// The value of the first field with this code.
    pub fn field(&self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|&(found, _)| found == code).map(|(_, value)| value)
    }

    /// The SQLSTATE, if there is a proper one.
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.field(field::CODE).and_then(SqlState::parse)
    }

    /// The primary message for a log; other encodings than UTF-8 are shown as far as they can be.
    pub fn message(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.field(field::MESSAGE).unwrap_or_default())
    }

    /// Whether the server ends the session with it; from the untranslated severity (PostgreSQL 9.6 and later).
    pub fn is_fatal(&self) -> bool {
        let severity = self.field(field::SEVERITY_NONLOCALIZED).or_else(|| self.field(field::SEVERITY));
        matches!(severity, Some(b"FATAL" | b"PANIC"))
    }

    /// Appends an ErrorResponse with the same fields.
    pub fn copy(&self, out: &mut Vec<u8>) {
        encode_fields(out, backend::ERROR_RESPONSE, self.iter());
    }

    /// Appends an ErrorResponse with the value of one field replaced; without such a field nothing changes.
    pub fn rewrite(&self, code: u8, value: &[u8], out: &mut Vec<u8>) {
        let replaced = self.iter().map(|(found, old)| (found, if found == code { value } else { old }));
        encode_fields(out, backend::ERROR_RESPONSE, replaced);
    }
}

fn encode_fields<'a>(out: &mut Vec<u8>, tag: u8, fields: impl Iterator<Item = (u8, &'a [u8])>) {
    writer::message(out, tag, |body| {
        for (code, value) in fields {
            body.u8(code);
            body.string(value);
        }
        body.u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{frame::HEADER_LENGTH, split_message};

    fn body(message: &[u8]) -> &[u8] {
        let (_, body, rest) = split_message(message, 10_000).unwrap().unwrap();
        assert!(rest.is_empty());
        body
    }

    #[test]
    fn an_error_is_written_with_the_fields_that_drivers_expect() {
        let bytes =
            ErrorResponse::fatal(SqlState::INVALID_PASSWORD, "no").detail("because").hint("try").to_bytes();
        assert_eq!(&bytes[HEADER_LENGTH..], b"SFATAL\0VFATAL\0C28P01\0Mno\0Dbecause\0Htry\0\0");
        assert_eq!(bytes[0], b'E');
    }

    #[test]
    fn a_warning_is_a_notice_response() {
        let bytes = ErrorResponse::new(Severity::Warning, SqlState::INTERNAL_ERROR, "hm").to_bytes();
        assert_eq!(bytes[0], b'N');
    }

    #[test]
    fn a_zero_byte_in_a_message_cannot_forge_a_field() {
        let bytes = ErrorResponse::error(SqlState::SYNTAX_ERROR, "a\0C00000\0\0").to_bytes();
        let fields = ErrorFields::parse(body(&bytes)).unwrap();
        assert_eq!(fields.field(field::MESSAGE), Some(&b"a"[..]));
        assert_eq!(fields.iter().count(), 4);
    }

    #[test]
    fn a_received_error_tells_its_fields() {
        let fields = ErrorFields::parse(b"SFATAL\0VFATAL\0C53300\0Msorry\0Fproc.c\0L363\0\0").unwrap();
        assert_eq!(fields.sqlstate(), Some(SqlState::TOO_MANY_CONNECTIONS));
        assert_eq!(fields.message(), "sorry");
        assert!(fields.is_fatal());
        assert_eq!(fields.field(field::HINT), None);
    }

    #[test]
    fn a_translated_severity_does_not_hide_that_the_session_ends() {
        assert!(ErrorFields::parse(b"SFATALE\0VFATAL\0\0").unwrap().is_fatal());
        assert!(!ErrorFields::parse(b"SFEHLER\0VERROR\0\0").unwrap().is_fatal());
    }

    #[test]
    fn rewriting_a_field_keeps_all_others_in_order() {
        let fields = ErrorFields::parse(b"SERROR\0C26000\0Mold\0Hhint\0\0").unwrap();
        let mut out = Vec::new();
        fields.rewrite(field::MESSAGE, b"new text", &mut out);
        assert_eq!(body(&out), b"SERROR\0C26000\0Mnew text\0Hhint\0\0");
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for malformed in [&b""[..], b"S", b"SERROR", b"SERROR\0", b"SERROR\0\0x"] {
            assert!(ErrorFields::parse(malformed).is_err(), "{malformed:?}");
        }
    }
}
