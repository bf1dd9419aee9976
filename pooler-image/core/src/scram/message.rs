//! Attributes of SCRAM messages.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD};

use super::{ScramError, keys::Key};

/// Like PostgreSQL's own, it does not mind stray bits behind the last byte.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Takes `name=value` off the front of `rest`, together with the comma behind it.
pub(super) fn attribute<'a>(rest: &mut &'a str, name: char) -> Result<&'a str, ScramError> {
    let value =
        rest.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).ok_or(ScramError::Malformed)?;
    let (value, tail) = value.split_once(',').unwrap_or((value, ""));
    *rest = tail;
    Ok(value)
}

/// A message as text.
pub(super) fn text(message: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed)
}

/// A nonce of at least one character, all of them printable ASCII other than the comma.
pub(super) fn checked_nonce(nonce: &str) -> Result<&str, ScramError> {
    let printable = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if printable { Ok(nonce) } else { Err(ScramError::Malformed) }
}

pub(super) fn encode(data: &[u8]) -> String {
    BASE64.encode(data)
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    BASE64.decode(text).map_err(|_| ScramError::Malformed)
}

pub(super) fn decode_key(text: &str) -> Result<Key, ScramError> {
    decode(text)?.try_into().map_err(|_| ScramError::Malformed)
}
