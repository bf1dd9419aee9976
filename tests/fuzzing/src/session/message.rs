//! Messages that the model and the players write, and what the model reads in them.

use pgpooler_core::wire::{backend, frontend};

use super::sql::Fault;

/// A message with its length.
pub(crate) fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
}

/// A type byte that clients may use.
pub(crate) fn is_known(tag: u8) -> bool {
    b"QFPBDECHSdcfX".contains(&tag)
}

pub(crate) fn row_description(out: &mut Vec<u8>) {
    backend::row_description(out, &["value"]);
}

pub(crate) fn data_row(out: &mut Vec<u8>, value: u32) {
    backend::data_row(out, &[Some(value.to_string())]);
}

pub(crate) fn parameter_description(out: &mut Vec<u8>) {
    put(out, backend::PARAMETER_DESCRIPTION, &[0, 0]);
}

pub(crate) fn portal_suspended(out: &mut Vec<u8>) {
    put(out, backend::PORTAL_SUSPENDED, b"");
}

pub(crate) fn notice(out: &mut Vec<u8>) {
    put(out, backend::NOTICE_RESPONSE, b"SNOTICE\0VNOTICE\0C00000\0Mnow\0\0");
}

pub(crate) fn copy_in_response(out: &mut Vec<u8>) {
    put(out, backend::COPY_IN_RESPONSE, &[0, 0, 0]);
}

pub(crate) fn copy_out(out: &mut Vec<u8>) {
    put(out, backend::COPY_OUT_RESPONSE, &[0, 0, 0]);
    put(out, backend::COPY_DATA, b"one\n");
    put(out, backend::COPY_DATA, b"two\n");
    put(out, backend::COPY_DONE, b"");
}

pub(crate) fn function_call_response(out: &mut Vec<u8>) {
    put(out, backend::FUNCTION_CALL_RESPONSE, b"\0\0\0\x021!");
}

pub(crate) fn bind(out: &mut Vec<u8>, portal: &str, statement: &str) {
    let body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0", &[0; 6]].concat();
    put(out, frontend::BIND, &body);
}

pub(crate) fn execute(out: &mut Vec<u8>, portal: &str, most: u8) {
    put(out, frontend::EXECUTE, &[portal.as_bytes(), &[0, 0, 0, 0, most]].concat());
}

pub(crate) fn named(out: &mut Vec<u8>, tag: u8, kind: u8, name: &str) {
    put(out, tag, &[&[kind], name.as_bytes(), b"\0"].concat());
}

/// The fields of a message's body.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(crate) fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(Fault::malformed)?;
        let (string, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(string.to_vec())
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.0.split_first().ok_or_else(Fault::malformed)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(crate) fn number(&mut self) -> Result<u32, Fault> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or_else(Fault::malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }
}
