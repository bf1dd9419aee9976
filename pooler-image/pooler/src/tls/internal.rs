//! TLS inside a fleet: the operator and the peers ask for a server by a name of their own, and get a certificate of their
//! own authority. Other clients see nothing of it.

use std::io;
use std::net::IpAddr;

use pgpooler_config::INTERNAL_SERVER_NAME;
use rustls::server::Acceptor;

use super::clients::{ClientTls, Demand};
use super::files::{InternalFiles, TlsError};
use super::servers::{ServerTls, TlsPeer};

/// What those get who ask for [`INTERNAL_SERVER_NAME`], and how we ask for it.
#[derive(Debug)]
pub struct InternalTls {
    /// Towards those who ask.
    pub(crate) server: ClientTls,
    client: ServerTls,
}

/// Whom the beginning of a connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// More bytes are needed.
    Unfinished,
    /// TLS with [`INTERNAL_SERVER_NAME`].
    Internal,
    /// Anything else.
    Other,
}

impl InternalTls {
    pub(crate) fn build(files: &InternalFiles) -> Result<Self, TlsError> {
        let server = ClientTls::with(&files.pair, None, Demand::Nothing)?;
        Ok(Self { server, client: ServerTls::internal(&files.authority)? })
    }

    /// The last second of our certificate's validity, since 1970.
    pub(crate) fn not_after(&self) -> i64 {
        self.server.not_after
    }

    /// For a connection to a peer at this address.
    pub(crate) fn peer(&self, address: IpAddr) -> io::Result<TlsPeer> {
        let peer = self.client.peer(INTERNAL_SERVER_NAME, address)?;
        peer.ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

/// A record of the handshake in any version of TLS: no startup packet begins so.
const TLS_RECORD: [u8; 2] = [0x16, 3];

/// More than the hellos of all known clients; the rest is nobody we know.
const LONGEST_HELLO: usize = 16 << 10;

impl Greeting {
    /// Reads the first bytes of a connection.
    pub(crate) fn of(mut bytes: &[u8]) -> Self {
        if bytes.iter().zip(&TLS_RECORD).any(|(byte, expected)| byte != expected)
            || bytes.len() > LONGEST_HELLO
        {
            return Self::Other;
        }
        let mut acceptor = Acceptor::default();
        while !bytes.is_empty() {
            if acceptor.read_tls(&mut bytes).is_err() {
                return Self::Other;
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) if accepted.client_hello().server_name() == Some(INTERNAL_SERVER_NAME) => {
                    return Self::Internal;
                }
                // what is wrong is told by whoever it was meant for
                Ok(Some(_)) | Err(_) => return Self::Other,
            }
        }
        Self::Unfinished
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::provider;
    use super::*;

    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut bytes = Vec::new();
        ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_hello_is_internal_by_its_name_alone_wherever_it_is_cut() {
        for (name, expected) in [
            (INTERNAL_SERVER_NAME, Greeting::Internal),
            ("PGPOOLER.internal", Greeting::Internal),
            ("localhost", Greeting::Other),
            ("a.pgpooler.internal", Greeting::Other),
            ("127.0.0.1", Greeting::Other),
        ] {
            let hello = hello(name);
            for cut in 0..hello.len() {
                assert_eq!(Greeting::of(&hello[..cut]), Greeting::Unfinished, "{name} {cut}");
            }
            assert_eq!(Greeting::of(&hello), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_hello_is_other_at_once() {
        let mut endless = hello(INTERNAL_SERVER_NAME);
        endless[3] = 0x40;
        let startup = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
        for bytes in
            [&startup[..], &[0], &[0x16, 0], &[0x15, 3, 1, 0, 2, 2, 40], &[0x16, 3, 1, 0, 4, 2, 0, 0, 0]]
        {
            assert_eq!(Greeting::of(bytes), Greeting::Other, "{bytes:?}");
        }
        endless.resize(LONGEST_HELLO + 1, 0);
        assert_eq!(Greeting::of(&endless), Greeting::Other);
    }
}
