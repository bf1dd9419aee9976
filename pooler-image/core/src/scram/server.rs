//! The server's side: a client logs in to us.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::{
    ClientKeys, ScramError, ScramVerifier,
    keys::{hmac, sha256, xor},
    message::{attribute, checked_nonce, decode, decode_key, encode, text},
};

/// Awaits client-first.
#[derive(Debug)]
#[must_use = "an exchange that is not carried on proves nothing"]
pub struct ExpectClientFirst {
    verifier: Arc<ScramVerifier>,
    nonce: String,
}

/// A client-first that has been read: what to answer, and what comes next.
#[derive(Debug)]
#[must_use = "an exchange that is not carried on proves nothing"]
pub struct ClientFirst {
    /// server-first.
    pub reply: Vec<u8>,
    /// The next state.
    pub next: ExpectClientFinal,
}

/// Awaits client-final.
#[derive(Debug)]
#[must_use = "an exchange that is not carried on proves nothing"]
pub struct ExpectClientFinal {
    verifier: Arc<ScramVerifier>,
    /// The header of client-first, in base64 as client-final must repeat it.
    binding: String,
    nonce: String,
    /// client-first without its header, a comma, server-first.
    auth_prefix: String,
}

/// The client has proven that it knows the password.
#[derive(Debug)]
pub struct Proven {
    /// server-final.
    pub reply: Vec<u8>,
    /// The keys that the proof revealed: good for logging in to a server that has the same verifier.
    pub keys: ClientKeys,
}

impl ExpectClientFirst {
    /// Starts an exchange. `nonce` is the server's part, from [`nonce`](super::nonce).
    pub fn new(verifier: Arc<ScramVerifier>, nonce: String) -> Self {
        Self { verifier, nonce }
    }

    /// Reads client-first.
    pub fn receive(self, message: &[u8]) -> Result<ClientFirst, ScramError> {
        let message = text(message)?;
        let (header, bare) = split_header(message)?;
        let nonce = client_nonce(bare)?.to_owned() + &self.nonce;
        let ScramVerifier { iterations, salt, .. } = &*self.verifier;
        let reply = format!("r={nonce},s={},i={iterations}", encode(salt));
        let next = ExpectClientFinal {
            binding: encode(header.as_bytes()),
            auth_prefix: format!("{bare},{reply},"),
            nonce,
            verifier: self.verifier,
        };
        Ok(ClientFirst { reply: reply.into_bytes(), next })
    }
}

impl ExpectClientFinal {
    /// Reads client-final and checks its proof.
    pub fn receive(self, message: &[u8]) -> Result<Proven, ScramError> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof = decode_key(proof)?;
        let mut rest = without_proof;
        let binding = attribute(&mut rest, 'c')?;
        let nonce = attribute(&mut rest, 'r')?;
        decode(binding)?;
        if binding != self.binding {
            return Err(ScramError::BindingData);
        }
        if nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        self.prove(without_proof, proof)
    }

    fn prove(self, without_proof: &str, proof: [u8; 32]) -> Result<Proven, ScramError> {
        let ScramVerifier { stored_key, server_key, .. } = &*self.verifier;
        let auth = [self.auth_prefix.as_bytes(), without_proof.as_bytes()];
        let client_key = xor(&proof, &hmac(stored_key, &auth));
        if !bool::from(sha256(&client_key).ct_eq(stored_key)) {
            return Err(ScramError::Proof);
        }
        let reply = format!("v={}", encode(&hmac(server_key, &auth))).into_bytes();
        Ok(Proven { reply, keys: ClientKeys { client_key, server_key: *server_key } })
    }
}

/// Splits client-first into its header (`n,,`) and the rest.
///
/// We offer no channel binding yet: `n` (the client has none) and `y` (the client has it and sees that we do not)
/// are both right, `p=` is not.
fn split_header(message: &str) -> Result<(&str, &str), ScramError> {
    let (flag, after_flag) = message.split_once(',').ok_or(ScramError::Malformed)?;
    match flag {
        "n" | "y" => {}
        _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
        _ => return Err(ScramError::Malformed),
    }
    let (identity, bare) = after_flag.split_once(',').ok_or(ScramError::Malformed)?;
    if !identity.is_empty() {
        let named = identity.starts_with("a=");
        return Err(if named { ScramError::AuthorizationIdentity } else { ScramError::Malformed });
    }
    message.split_at_checked(message.len() - bare.len()).ok_or(ScramError::Malformed)
}

/// The client's nonce from client-first without header. The user's name in it is ignored, as PostgreSQL does:
/// the StartupMessage has named the user.
fn client_nonce(mut bare: &str) -> Result<&str, ScramError> {
    if bare.starts_with("m=") {
        return Err(ScramError::Extension);
    }
    attribute(&mut bare, 'n')?;
    checked_nonce(attribute(&mut bare, 'r')?)
}
