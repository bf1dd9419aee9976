//! The server's side: a client logs in to us.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::{
    ClientKeys, END_POINT, EndPoint, ScramError, ScramVerifier,
    keys::{hmac, sha256, xor},
    message::{attribute, checked_nonce, decode, decode_key, encode, text},
};

/// What a client was offered to bind the exchange to, and what it has chosen of that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Offer {
    /// Nothing was offered.
    #[default]
    Nothing,
    /// Our certificate was offered, and the client has chosen the mechanism without.
    Declined,
    /// The client has chosen to bind to our certificate.
    Chosen(EndPoint),
}

/// Awaits client-first.
#[derive(Debug)]
#[must_use = "an exchange that is not carried on proves nothing"]
pub struct ExpectClientFirst {
    verifier: Arc<ScramVerifier>,
    nonce: String,
    offer: Offer,
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
    binding: Bound,
    nonce: String,
    /// client-first without its header, a comma, server-first.
    auth_prefix: String,
}

/// What client-final must repeat, in base64: the header of client-first, and the certificate's hash.
#[derive(Debug)]
enum Bound {
    ToNothing(String),
    To(String),
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
        Self { verifier, nonce, offer: Offer::Nothing }
    }

    /// On a connection where channel binding was offered.
    pub fn offered(self, offer: Offer) -> Self {
        Self { offer, ..self }
    }

    /// Reads client-first.
    pub fn receive(self, message: &[u8]) -> Result<ClientFirst, ScramError> {
        let message = text(message)?;
        let (header, bare) = split_header(message, &self.offer)?;
        let nonce = client_nonce(bare)?.to_owned() + &self.nonce;
        let ScramVerifier { iterations, salt, .. } = &*self.verifier;
        let reply = format!("r={nonce},s={},i={iterations}", encode(salt));
        let next = ExpectClientFinal {
            binding: match &self.offer {
                Offer::Chosen(end_point) => Bound::To(encode(&[header.as_bytes(), end_point].concat())),
                Offer::Nothing | Offer::Declined => Bound::ToNothing(encode(header.as_bytes())),
            },
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
        match &self.binding {
            Bound::ToNothing(expected) if binding != expected => return Err(ScramError::BindingData),
            Bound::To(expected) if binding != expected => return Err(ScramError::EndPoint),
            _ => {}
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
/// `n`: the client has no channel binding; `y`: it has, and sees that we have not; `p=`: it binds to that.
fn split_header<'a>(message: &'a str, offer: &Offer) -> Result<(&'a str, &'a str), ScramError> {
    let (flag, after_flag) = message.split_once(',').ok_or(ScramError::Malformed)?;
    match (flag, flag.strip_prefix("p="), offer) {
        ("n" | "y", _, Offer::Chosen(_)) => return Err(ScramError::NoChannelBinding),
        ("y", _, Offer::Declined) => return Err(ScramError::Downgrade),
        ("n" | "y", ..) => {}
        (_, Some(_), Offer::Nothing | Offer::Declined) => return Err(ScramError::ChannelBinding),
        (_, Some(END_POINT), Offer::Chosen(_)) => {}
        (_, Some(other), Offer::Chosen(_)) => return Err(ScramError::BindingType(other.to_owned())),
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
