//! What a server stores of a password.

use std::{fmt, str::FromStr};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    DEFAULT_ITERATIONS, SALT_BYTES,
    keys::{ClientKeys, Key, hmac},
    message,
};

/// A SCRAM-SHA-256 verifier, as `pg_authid.rolpassword` holds it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ScramVerifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

/// Not the text of a verifier; it is not quoted, since it may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the form SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>")]
pub struct VerifierError;

impl ScramVerifier {
    /// Derives the verifier of a password; slow on purpose (PBKDF2).
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let keys = ClientKeys::derive(password, salt, iterations);
        Self { iterations, salt: salt.to_vec(), stored_key: keys.stored_key(), server_key: keys.server_key }
    }

    /// The keys of a password if it is the one; slow on purpose (PBKDF2).
    pub fn open(&self, password: &str) -> Option<ClientKeys> {
        let keys = ClientKeys::derive(password, &self.salt, self.iterations);
        bool::from(keys.stored_key().ct_eq(&self.stored_key)).then_some(keys)
    }

    /// A verifier that no password fits, for a user who does not exist.
    ///
    /// It depends on the user's name and a secret of the process only, so that asking twice gives the same salt,
    /// as it does for users who exist.
    pub fn mock(process_secret: &[u8; 32], user: &str, iterations: u32) -> Self {
        let derived = |purpose: &[u8]| hmac(process_secret, &[purpose, user.as_bytes()]);
        let salt = derived(b"salt:").iter().copied().take(SALT_BYTES).collect();
        let iterations = if iterations == 0 { DEFAULT_ITERATIONS } else { iterations };
        Self { iterations, salt, stored_key: derived(b"stored:"), server_key: derived(b"server:") }
    }

    /// The iterations.
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }
}

impl FromStr for ScramVerifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        parse(text).ok_or(VerifierError)
    }
}

/// As PostgreSQL stores it. This is a secret.
impl fmt::Display for ScramVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iterations, salt, stored_key, server_key } = self;
        let [salt, stored_key, server_key] = [&salt[..], stored_key, server_key].map(message::encode);
        write!(formatter, "SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}")
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ScramVerifier([redacted])")
    }
}

fn parse(text: &str) -> Option<ScramVerifier> {
    let (parameters, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    Some(ScramVerifier {
        iterations: iterations.parse().ok().filter(|&iterations| iterations > 0)?,
        salt: message::decode(salt).ok()?,
        stored_key: message::decode_key(stored_key).ok()?,
        server_key: message::decode_key(server_key).ok()?,
    })
}
