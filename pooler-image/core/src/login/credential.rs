//! What we can prove to a server, for one user.

use std::fmt;

use zeroize::Zeroizing;

use super::LoginError;
use crate::md5;
use crate::scram::{ClientKeys, KeyCache, ScramVerifier};

/// A user's secret for logging in to servers, with the keys derived from it so far.
#[derive(Clone)]
pub struct Credential {
    secret: Secret,
    keys: KeyCache,
}

#[derive(Clone)]
enum Secret {
    Password {
        user: String,
        password: Zeroizing<String>,
    },
    Md5(Zeroizing<String>),
    /// Nothing but keys that a client revealed when it logged in to us.
    Keys,
}

impl Credential {
    /// Good for every kind of authentication.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Self {
        let secret = Secret::Password { user: user.into(), password: Zeroizing::new(password.into()) };
        Self { secret, keys: KeyCache::default() }
    }

    /// `md5...` as PostgreSQL stores it: good for md5 only.
    pub fn md5(stored: impl Into<String>) -> Self {
        Self { secret: Secret::Md5(Zeroizing::new(stored.into())), keys: KeyCache::default() }
    }

    /// No password, but the keys that a client's login revealed: good for servers which have the same verifier.
    pub fn keys(verifier: &ScramVerifier, keys: ClientKeys) -> Self {
        let mut cache = KeyCache::default();
        cache.insert(verifier.salt(), verifier.iterations(), keys);
        Self { secret: Secret::Keys, keys: cache }
    }

    /// Knows nothing: good for servers that ask for nothing.
    pub fn none() -> Self {
        Self { secret: Secret::Keys, keys: KeyCache::default() }
    }

    pub(super) fn cleartext(&self) -> Result<&str, LoginError> {
        match &self.secret {
            Secret::Password { password, .. } => Ok(password),
            Secret::Md5(_) | Secret::Keys => Err(LoginError::NoSecret("a cleartext password")),
        }
    }

    pub(super) fn md5_response(&self, salt: [u8; 4]) -> Result<Zeroizing<String>, LoginError> {
        let response = match &self.secret {
            Secret::Password { user, password } => {
                md5::response(&Zeroizing::new(md5::stored(password, user)), salt)
            }
            Secret::Md5(stored) => md5::response(stored, salt),
            Secret::Keys => return Err(LoginError::NoSecret("an md5 password")),
        };
        Ok(Zeroizing::new(response))
    }

    pub(super) fn scram_keys(&mut self, salt: &[u8], iterations: u32) -> Result<ClientKeys, LoginError> {
        match &self.secret {
            Secret::Password { password, .. } => Ok(self.keys.find_or_derive(password, salt, iterations)),
            Secret::Md5(_) | Secret::Keys => {
                self.keys.find(salt, iterations).cloned().ok_or(LoginError::NoSecret("SCRAM-SHA-256"))
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credential([redacted])")
    }
}
