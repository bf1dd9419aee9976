//! Appends messages to a buffer and fills in their lengths.

/// The body of a message that is being written.
///
/// Lengths are those of messages that we make or of a client's message that arrived within
/// [`MAX_LENGTH`](super::frame::MAX_LENGTH), so they fit the Int32 of the protocol.
#[derive(Debug)]
pub struct Body<'a> {
    out: &'a mut Vec<u8>,
}

/// Appends a message with a type byte; `write` appends its body.
pub(super) fn message(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Body<'_>)) {
    out.push(tag);
    untagged(out, write);
}

/// Appends a message without a type byte, as they are before the login.
pub(super) fn untagged(out: &mut Vec<u8>, write: impl FnOnce(&mut Body<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(&mut Body { out });
    let length = (out.len() - start) as u32;
    if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *place = length.to_be_bytes();
    }
}

impl Body<'_> {
    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Appends an Int16.
    pub fn i16(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends an Int32.
    pub fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends an Int32 that is meant as unsigned.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    /// Appends a String and its zero byte. A zero byte inside ends it: no text can forge a further field.
    pub fn string(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref().split(|&byte| byte == 0).next().unwrap_or_default();
        self.bytes(value);
        self.u8(0);
    }

    /// Appends a value with its length in front; `None` is NULL.
    pub fn value(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.i32(value.len() as i32);
                self.bytes(value);
            }
            None => self.i32(-1),
        }
    }
}
