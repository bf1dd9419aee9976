//! The client's side: we log in to a server.

use subtle::ConstantTimeEq;

use super::{
    ClientKeys, END_POINT, EndPoint, MAX_ITERATIONS, ScramError,
    keys::{Key, hmac, xor},
    message::{attribute, checked_nonce, decode, decode_key, encode, text},
};

/// What the exchange is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Binding {
    /// Nothing, and nothing could be: no TLS, or a certificate without a hash.
    #[default]
    Impossible,
    /// Nothing, because the server does not offer it. A server that does takes this for an attack.
    NotOffered,
    /// The server's certificate: mechanism [`SCRAM_SHA_256_PLUS`](super::SCRAM_SHA_256_PLUS).
    To(EndPoint),
}

impl Binding {
    /// The header of client-first; without authorization identity.
    fn header(&self) -> String {
        match self {
            Self::Impossible => "n,,".to_owned(),
            Self::NotOffered => "y,,".to_owned(),
            Self::To(_) => format!("p={END_POINT},,"),
        }
    }

    /// What client-final repeats.
    fn attribute(&self) -> String {
        let data = match self {
            Self::To(end_point) => end_point,
            Self::Impossible | Self::NotOffered => &[][..],
        };
        encode(&[self.header().as_bytes(), data].concat())
    }
}

/// Awaits server-first.
#[derive(Debug)]
#[must_use = "an exchange that is not carried on proves nothing"]
pub struct ExpectServerFirst {
    binding: Binding,
    nonce: String,
    bare: String,
}

/// A server-first that has been read: it asks for keys.
#[derive(Debug)]
#[must_use = "an exchange that is not carried on proves nothing"]
pub struct Challenge {
    /// The salt that the keys must be derived with.
    pub salt: Vec<u8>,
    /// The iterations that the keys must be derived with; at most [`MAX_ITERATIONS`].
    pub iterations: u32,
    binding: Binding,
    auth_prefix: String,
    nonce: String,
}

/// Awaits server-final.
#[derive(Debug)]
#[must_use = "an exchange that is not carried on proves nothing"]
pub struct ExpectServerFinal {
    signature: Key,
}

impl ExpectServerFirst {
    /// Starts an exchange: gives client-first and the next state. `nonce` comes from [`nonce`](super::nonce).
    ///
    /// The user's name stays empty, as libpq does: the StartupMessage has named the user.
    pub fn start(nonce: String) -> (Vec<u8>, Self) {
        Self::start_bound(nonce, Binding::Impossible)
    }

    /// The same on a connection with TLS.
    pub fn start_bound(nonce: String, binding: Binding) -> (Vec<u8>, Self) {
        Self::start_as("", nonce, binding)
    }

    pub(super) fn start_as(user: &str, nonce: String, binding: Binding) -> (Vec<u8>, Self) {
        let bare = format!("n={user},r={nonce}");
        (format!("{}{bare}", binding.header()).into_bytes(), Self { binding, nonce, bare })
    }

    /// Reads server-first.
    pub fn receive(self, message: &[u8]) -> Result<Challenge, ScramError> {
        let message = text(message)?;
        if message.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let mut rest = message;
        let nonce = checked_nonce(attribute(&mut rest, 'r')?)?;
        let salt = decode(attribute(&mut rest, 's')?)?;
        let iterations = attribute(&mut rest, 'i')?.parse().map_err(|_| ScramError::Malformed)?;
        // the server must have added something of its own
        if nonce.strip_prefix(&self.nonce).is_none_or(str::is_empty) {
            return Err(ScramError::Nonce);
        }
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(ScramError::Iterations);
        }
        let auth_prefix = format!("{},{message},", self.bare);
        Ok(Challenge { salt, iterations, binding: self.binding, auth_prefix, nonce: nonce.to_owned() })
    }
}

impl Challenge {
    /// Answers with client-final, from keys for this salt and these iterations.
    #[must_use = "the server awaits client-final"]
    pub fn respond(self, keys: &ClientKeys) -> (Vec<u8>, ExpectServerFinal) {
        let without_proof = format!("c={},r={}", self.binding.attribute(), self.nonce);
        let auth = [self.auth_prefix.as_bytes(), without_proof.as_bytes()];
        let proof = xor(&keys.client_key, &hmac(&keys.stored_key(), &auth));
        let signature = hmac(&keys.server_key, &auth);
        let reply = format!("{without_proof},p={}", encode(&proof));
        (reply.into_bytes(), ExpectServerFinal { signature })
    }
}

impl ExpectServerFinal {
    /// Reads server-final: success says that the server, too, knows the password.
    pub fn receive(self, message: &[u8]) -> Result<(), ScramError> {
        let mut message = text(message)?;
        if message.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let signature = decode_key(attribute(&mut message, 'v')?)?;
        if bool::from(signature.ct_eq(&self.signature)) { Ok(()) } else { Err(ScramError::Proof) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 section 3: user "user", password "pencil".
    #[test]
    fn the_example_of_rfc_7677_is_reproduced() {
        let (first, state) =
            ExpectServerFirst::start_as("user", "rOprNGfwEbeRWgbNEkqO".to_owned(), Binding::Impossible);
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = state
            .receive(
                b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            )
            .unwrap();
        let keys = ClientKeys::derive("pencil", &challenge.salt, challenge.iterations);
        let (last, state) = challenge.respond(&keys);
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(text(&last), Ok(expected));
        assert_eq!(state.receive(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }
}
