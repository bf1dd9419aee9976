//! Bounded reads from a message body.

use std::str;

/// A message that does not have the form which its type demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A field reaches beyond the end of the message.
    #[error("the message ends inside a field")]
    Truncated,
    /// A string has no zero byte behind it.
    #[error("a string in the message is not terminated")]
    Unterminated,
    /// The message is longer than its fields.
    #[error("the message is longer than its fields")]
    Trailing,
    /// A string is not UTF-8.
    #[error("a string in the message is not UTF-8")]
    NotUtf8,
    /// A field has a value which the protocol does not know.
    #[error("a field of the message has an unknown value")]
    UnknownValue,
}

/// Reads the fields of one message body from front to back.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `body`.
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Reads an Int16.
    pub fn i16(&mut self) -> Result<i16, ReadError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Reads an Int32.
    pub fn i32(&mut self) -> Result<i32, ReadError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads an Int32 that is meant as unsigned, such as an object identifier.
    pub fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads a String, without its zero byte.
    pub fn string(&mut self) -> Result<&'a [u8], ReadError> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or(ReadError::Unterminated)?;
        let (string, rest) = self.rest.split_at_checked(end).ok_or(ReadError::Truncated)?;
        self.rest = rest.get(1..).ok_or(ReadError::Truncated)?;
        Ok(string)
    }

    /// Reads a String that must be UTF-8.
    pub fn str(&mut self) -> Result<&'a str, ReadError> {
        str::from_utf8(self.string()?).map_err(|_| ReadError::NotUtf8)
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that everything has been read.
    pub const fn finish(self) -> Result<(), ReadError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ReadError::Trailing) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}
