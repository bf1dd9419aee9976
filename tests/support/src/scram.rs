//! The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), with the expensive step remembered.
//!
//! A fleet of test clients logs in with one password thousands of times; PBKDF2 for each would measure the
//! fleet and not the pooler.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{LazyLock, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

type Key = [u8; 32];
/// What a [`salted_password`] is remembered by: password, salt, iterations.
type Salting = (String, Vec<u8>, u32);

const GS2_HEADER: &str = "n,,";
static SALTED: LazyLock<Mutex<HashMap<Salting, Key>>> = LazyLock::new(Mutex::default);

/// An exchange that has sent its first message.
#[derive(Debug)]
pub struct ClientFirst {
    nonce: String,
}

/// An exchange that waits for the server's proof.
#[derive(Debug)]
pub struct ClientFinal {
    server_signature: Key,
}

impl ClientFirst {
    /// Begins an exchange; the message goes into `SASLInitialResponse`.
    pub fn begin() -> (Self, String) {
        let nonce = nonce();
        let message = format!("{GS2_HEADER}n=,r={nonce}");
        (Self { nonce }, message)
    }

    /// Answers the server's first message; the message goes into `SASLResponse`.
    pub fn answer(self, password: &str, server_first: &str) -> Result<(ClientFinal, String)> {
        let field = |name: &str| attribute(server_first, name);
        let nonce = field("r=")?;
        ensure!(nonce.starts_with(&self.nonce), "the server's nonce does not extend ours");
        let salt = BASE64.decode(field("s=")?).context("the salt is not base64")?;
        let iterations = field("i=")?.parse().context("the iteration count is not a number")?;
        let salted = salted_password(password, salt, iterations)?;
        let without_proof = format!("c={},r={nonce}", BASE64.encode(GS2_HEADER));
        let auth_message = format!("n=,r={},{server_first},{without_proof}", self.nonce);
        let client_key = mac(&salted, b"Client Key")?;
        let signature = mac(&Sha256::digest(client_key).into(), auth_message.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, bit)| key ^ bit).collect();
        let server_signature = mac(&mac(&salted, b"Server Key")?, auth_message.as_bytes())?;
        Ok((ClientFinal { server_signature }, format!("{without_proof},p={}", BASE64.encode(proof))))
    }
}

impl ClientFinal {
    /// Checks that the server knows the password too.
    pub fn finish(&self, server_final: &str) -> Result<()> {
        let proof = BASE64.decode(attribute(server_final, "v=")?).context("the proof is not base64")?;
        ensure!(proof == self.server_signature, "the server does not know the password");
        Ok(())
    }
}

fn attribute<'a>(message: &'a str, name: &str) -> Result<&'a str> {
    let missing = || format!("no {name} in the server's {message:?}");
    message.split(',').find_map(|part| part.strip_prefix(name)).with_context(missing)
}

fn salted_password(password: &str, salt: Vec<u8>, iterations: u32) -> Result<Key> {
    let salting = (password.to_owned(), salt, iterations);
    // held over the computation: a thousand clients that start at once compute it once
    let mut remembered = SALTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = remembered.get(&salting) {
        return Ok(*key);
    }
    let keyed = Hmac::<Sha256>::new_from_slice(password.as_bytes()).context("password")?;
    let mut block: Key = keyed
        .clone()
        .chain_update(&salting.1)
        .chain_update(1_u32.to_be_bytes())
        .finalize()
        .into_bytes()
        .into();
    let mut result = block;
    for _ in 1..iterations {
        block = keyed.clone().chain_update(block).finalize().into_bytes().into();
        result.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
    }
    remembered.insert(salting, result);
    Ok(result)
}

fn mac(key: &Key, data: &[u8]) -> Result<Key> {
    let keyed = Hmac::<Sha256>::new_from_slice(key).context("key")?;
    Ok(keyed.chain_update(data).finalize().into_bytes().into())
}

/// Unique and unpredictable enough for a test: two hashes under the process's random keys.
fn nonce() -> String {
    let word = || RandomState::new().hash_one(0_u8).to_be_bytes();
    BASE64.encode([word(), word()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_of_rfc_7677_is_reproduced() {
        let first = ClientFirst { nonce: "rOprNGfwEbeRWgbNEkqO".to_owned() };
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let salted =
            salted_password("pencil", BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096).unwrap();
        assert_eq!(BASE64.encode(salted), "xKSVEDI6tPlSysH6mUQZOeeOp01r6B3fcJbodRPcYV0=");
        assert!(first.answer("pencil", server).is_ok());
    }

    #[test]
    fn a_nonce_that_is_not_ours_is_refused() {
        let (first, _) = ClientFirst::begin();
        assert!(first.answer("pencil", "r=other,s=QSXCR+Q6sek8bf92,i=4096").is_err());
    }
}
