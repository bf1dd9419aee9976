//! TLS on both sides.

mod session;

pub use session::Session;

/// What a client's certificate says about it, once it was checked against `client_tls_ca_file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The common name of its subject: PostgreSQL's `cert` method compares it with the user.
    pub common_name: Option<String>,
}
