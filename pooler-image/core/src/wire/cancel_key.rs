//! The key that BackendKeyData gives and CancelRequest brings back.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{ReadError, Reader};

/// Process id and secret of a session, as BackendKeyData and CancelRequest carry them.
#[derive(Clone)]
pub struct CancelKey {
    process_id: i32,
    secret: Zeroizing<Box<[u8]>>,
}

impl CancelKey {
    /// Bytes that a secret may have (protocol 3.2; in 3.0 it has exactly four).
    pub const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 4..=256;

    /// A key; `None` when the secret's length is outside [`Self::SECRET_LENGTH`].
    pub fn new(process_id: i32, secret: &[u8]) -> Option<Self> {
        Self::SECRET_LENGTH
            .contains(&secret.len())
            .then(|| Self { process_id, secret: Zeroizing::new(secret.into()) })
    }

    /// Reads the body of BackendKeyData, or what follows the code of CancelRequest.
    pub fn parse(body: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let process_id = reader.i32()?;
        Self::new(process_id, reader.rest()).ok_or(ReadError::Truncated)
    }

    /// The process id.
    pub const fn process_id(&self) -> i32 {
        self.process_id
    }

    /// The secret.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
}

/// In constant time over the secret.
impl PartialEq for CancelKey {
    fn eq(&self, other: &Self) -> bool {
        let same_secret = bool::from(self.secret.ct_eq(&other.secret));
        same_secret && self.process_id == other.process_id
    }
}

impl Eq for CancelKey {}

impl fmt::Debug for CancelKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CancelKey").field("process_id", &self.process_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_four_to_two_hundred_and_fifty_six_bytes() {
        for (length, accepted) in [(0, false), (3, false), (4, true), (32, true), (256, true), (257, false)] {
            assert_eq!(CancelKey::new(1, &vec![7; length]).is_some(), accepted, "{length}");
        }
    }

    #[test]
    fn keys_are_equal_only_in_both_parts() {
        let key = |id, secret: &[u8]| CancelKey::new(id, secret).unwrap();
        assert_eq!(key(1, b"abcd"), key(1, b"abcd"));
        assert_ne!(key(1, b"abcd"), key(2, b"abcd"));
        assert_ne!(key(1, b"abcd"), key(1, b"abce"));
        assert_ne!(key(1, b"abcd"), key(1, b"abcde"));
    }

    #[test]
    fn debug_output_hides_the_secret() {
        let key = CancelKey::new(77, b"abcd").unwrap();
        assert_eq!(format!("{key:?}"), "CancelKey { process_id: 77, .. }");
    }
}
