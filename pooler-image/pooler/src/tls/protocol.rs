//! What two sides have agreed on, for `SHOW CLIENTS` and `SHOW SERVERS`.

use std::fmt;

use rustls::{CipherSuite, ProtocolVersion};

/// The protocol of a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    pub(super) version: ProtocolVersion,
    pub(super) suite: CipherSuite,
}

impl fmt::Display for Protocol {
    /// In OpenSSL's words, which people know from psql: `TLSv1.3/TLS_AES_256_GCM_SHA384`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            other => other.as_str().unwrap_or("unknown"),
        };
        let suite = self.suite.as_str().unwrap_or("unknown");
        match suite.strip_prefix("TLS13_") {
            Some(suite) => write!(f, "{version}/TLS_{suite}"),
            None => write!(f, "{version}/{suite}"),
        }
    }
}
