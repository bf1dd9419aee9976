//! The key schedule: password -> salted password -> client key, stored key, server key.

use std::{borrow::Cow, collections::VecDeque, fmt};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of every key, proof and signature.
pub(super) const KEY_LENGTH: usize = 32;

/// A key, proof or signature.
pub(super) type Key = [u8; KEY_LENGTH];

/// What a client needs to log in to a server: as good as the password, for one salt and iteration count.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ClientKeys {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
}

impl ClientKeys {
    /// Derives the keys from a password; slow on purpose (PBKDF2).
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(password, salt, iterations);
        Self { client_key: hmac(&*salted, &[b"Client Key"]), server_key: hmac(&*salted, &[b"Server Key"]) }
    }

    /// The hash of the client key, which is all that a server stores of it.
    pub(super) fn stored_key(&self) -> Key {
        sha256(&self.client_key)
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientKeys([redacted])")
    }
}

/// The keys of one password, so that a login does not derive them anew.
///
/// A server gives each user one salt, so there is hardly ever more than one entry; a few are kept for servers
/// that are not copies of each other.
#[derive(Debug, Clone, Default)]
pub struct KeyCache {
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    salt: Vec<u8>,
    iterations: u32,
    keys: ClientKeys,
}

impl KeyCache {
    const MAX_ENTRIES: usize = 4;

    /// The keys for a salt, if they are known.
    pub fn find(&self, salt: &[u8], iterations: u32) -> Option<&ClientKeys> {
        let entry = self.entries.iter().find(|entry| entry.salt == salt && entry.iterations == iterations);
        entry.map(|entry| &entry.keys)
    }

    /// Keeps keys, the oldest entry making room.
    pub fn insert(&mut self, salt: &[u8], iterations: u32, keys: ClientKeys) {
        self.entries.retain(|entry| entry.salt != salt || entry.iterations != iterations);
        self.entries.truncate(Self::MAX_ENTRIES - 1);
        self.entries.push_front(Entry { salt: salt.to_vec(), iterations, keys });
    }

    /// The keys for a salt, derived from the password the first time.
    pub fn find_or_derive(&mut self, password: &str, salt: &[u8], iterations: u32) -> ClientKeys {
        if let Some(keys) = self.find(salt, iterations) {
            return keys.clone();
        }
        let keys = ClientKeys::derive(password, salt, iterations);
        self.insert(salt, iterations, keys.clone());
        keys
    }
}

/// `Hi` of RFC 5802: PBKDF2 with one block of output.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Zeroizing<Key> {
    let prf = keyed(normalize(password).as_bytes());
    let mut block = finish(prf.clone(), &[salt, &1u32.to_be_bytes()]);
    let mut result = Zeroizing::new(block);
    for _ in 1..iterations {
        block = finish(prf.clone(), &[&block]);
        result.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
    }
    block.zeroize();
    result
}

/// `SASLprep`; like PostgreSQL, a password that it refuses is taken as it is.
fn normalize(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

/// HMAC-SHA-256 over the parts, one behind the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    finish(keyed(key), parts)
}

pub(super) fn sha256(data: &[u8]) -> Key {
    Sha256::digest(data).into()
}

pub(super) fn xor(left: &Key, right: &Key) -> Key {
    std::array::from_fn(|i| left[i] ^ right[i])
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn finish(mut mac: Hmac<Sha256>, parts: &[&[u8]]) -> Key {
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
