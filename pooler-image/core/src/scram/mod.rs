//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides, as PostgreSQL speaks it; and SCRAM-SHA-256-PLUS, which binds the
//! login to the server's certificate (`tls-server-end-point`, RFC 5929), so that nobody between can pass it on.
//!
//! ```text
//! client                                        server
//! client-first   n,,n=,r=<c>                 ->  ExpectClientFirst
//! ExpectServerFirst                          <-  r=<c><s>,s=<salt>,i=<iterations>   server-first
//! client-final   c=biws,r=<c><s>,p=<proof>   ->  ExpectClientFinal
//! ExpectServerFinal                          <-  v=<signature>                      server-final
//! ```
//!
//! Each state is a type that awaits one message and is consumed by it: the result is the reply with the next
//! state, success, or failure. Nonces are arguments. Keys and proofs are compared in constant time.

mod client;
mod keys;
mod message;
mod server;
mod verifier;

use std::sync::Arc;

pub use client::{Binding, Challenge, ExpectServerFinal, ExpectServerFirst};
pub use keys::{ClientKeys, KeyCache};
pub use server::{ClientFirst, ExpectClientFinal, ExpectClientFirst, Offer, Proven};
pub use verifier::{ScramVerifier, VerifierError};

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The only kind of channel binding that PostgreSQL knows.
const END_POINT: &str = "tls-server-end-point";

/// The hash of the server's certificate that a login is bound to, from
/// [`Certificate::end_point`](crate::certificate::Certificate::end_point).
pub type EndPoint = Arc<[u8]>;

/// Iterations of a verifier that we derive ourselves, and of the mock one; PostgreSQL's default.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// The most iterations that a server may ask of us: about a second of one core.
pub const MAX_ITERATIONS: u32 = 4_000_000;

/// Random bytes in a nonce, as in PostgreSQL; on the wire they are base64.
pub const NONCE_BYTES: usize = 18;

/// Random bytes in a salt, as in PostgreSQL.
pub const SALT_BYTES: usize = 16;

/// Why an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message without the form of RFC 5802.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client asks for channel binding on a connection without any.
    #[error("the client asks for channel binding, which this connection does not have")]
    ChannelBinding,
    /// The client has chosen channel binding and does not do it.
    #[error("the client has chosen channel binding and sends no data for it")]
    NoChannelBinding,
    /// The client could bind and thinks that we cannot, although it was offered: somebody between has changed the offer.
    #[error("the client was made to believe that there is no channel binding")]
    Downgrade,
    /// The client wants to bind to something else.
    #[error("unsupported channel binding: {0}")]
    BindingType(String),
    /// The client's server is not us: somebody between has another certificate.
    #[error("the client is bound to another certificate")]
    EndPoint,
    /// The client wants to act as another user.
    #[error("the client uses an authorization identity, which is not supported")]
    AuthorizationIdentity,
    /// A mandatory extension.
    #[error("a SCRAM extension is required that is not supported")]
    Extension,
    /// The nonce is not the one of this exchange.
    #[error("the SCRAM nonce does not match")]
    Nonce,
    /// The channel-binding data is not what was announced.
    #[error("the SCRAM channel-binding data does not match")]
    BindingData,
    /// The server asks for no iteration or for too many.
    #[error("the server asks for an impossible number of SCRAM iterations")]
    Iterations,
    /// The proof or the signature is wrong: no such password, or not the server that knows it.
    #[error("the SCRAM proof is wrong")]
    Proof,
    /// The server ends the exchange with an error of its own.
    #[error("the server refused the SCRAM exchange")]
    Refused,
}

/// The nonce of a side from its random bytes.
pub fn nonce(random: [u8; NONCE_BYTES]) -> String {
    message::encode(&random)
}
