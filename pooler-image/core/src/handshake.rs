//! A client's way in, without sockets: startup packets, then authentication.
//!
//! ```text
//! ExpectStartup --GSSENCRequest-------------> answer 'N', ExpectStartup
//!       |--------SSLRequest----------------> answer 'N', ExpectStartup
//!       |                      TLS offered: answer 'S', shell does the TLS handshake -> ExpectStartup
//!       |--------a TLS ClientHello---------> shell does the TLS handshake -> ExpectStartup
//!       |--------CancelRequest-------------> Cancel
//!       '--------StartupMessage------------> Startup
//!                  shell looks the user up  -> Authentication --proof--> Authenticated | Refused
//! ```
//!
//! Each state is consumed by the bytes that arrive; what it does not read stays in `input`, what it answers is
//! appended to `out`. A refusal is appended too: the shell writes `out` and closes.

mod authentication;

use crate::startup::{Negotiation, Startup, StartupParameters};
use crate::wire::{CancelKey, ErrorResponse, SqlState, StartupPacket, StartupPacketError, backend};

pub use authentication::{Authentication, AuthenticationStep, CheckPassword, Method, PasswordCheck};

/// Awaits a startup packet.
#[derive(Debug, Default)]
#[must_use = "a handshake goes on until it gives a client, a cancel key or a refusal"]
pub struct ExpectStartup {
    asked: Asked,
    offer: Offer,
}

/// What an SSLRequest is answered with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Offer {
    /// `N`: there is no TLS, or the connection has it already.
    #[default]
    Nothing,
    /// `S`.
    Tls,
    /// There is TLS now, and bytes were sent behind the request that were not part of it.
    Tainted,
}

/// How TLS came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecuredBy {
    /// SSLRequest; ALPN is not needed.
    Request,
    /// The first byte was TLS already, as of PostgreSQL 17: ALPN must have settled on [`ALPN`], and the bytes read belong
    /// to the TLS handshake.
    Direct,
}

/// The protocol's name in ALPN.
pub const ALPN: &[u8] = b"postgresql";

/// The first byte of a TLS connection: a record of the handshake. The length of no startup packet begins so.
const TLS_HANDSHAKE: u8 = 0x16;

/// The encryption that the client has asked for; each may be asked for once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Ssl,
    Gss,
    Both,
}

/// What startup bytes led to.
#[derive(Debug)]
#[must_use = "a handshake goes on until it gives a client, a cancel key or a refusal"]
pub enum StartupStep {
    /// More bytes are needed.
    More(ExpectStartup),
    /// The client wants TLS: the shell writes `out`, does the TLS handshake and goes on with what it carries.
    Secure(ExpectStartup, SecuredBy),
    /// The client wants a query of another connection cancelled; nothing is answered to it.
    Cancel(CancelKey),
    /// The client wants to log in.
    Startup(StartupParameters),
    /// Told to the client in `out`.
    Refused(ErrorResponse),
    /// Not PostgreSQL's protocol: closed without a word.
    Close(StartupPacketError),
}

impl ExpectStartup {
    /// A connection from which nothing has been read; it stays as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// A connection from which nothing has been read; it can have TLS.
    pub fn offering_tls() -> Self {
        Self { asked: Asked::Nothing, offer: Offer::Tls }
    }

    /// Takes the packets off `input`, appends answers to `out`.
    pub fn receive(self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> StartupStep {
        match (self.offer, self.asked, input.first()) {
            (Offer::Tainted, ..) => return refuse(early_data(Asked::Ssl), out),
            (Offer::Tls, Asked::Nothing, Some(&TLS_HANDSHAKE)) => {
                return StartupStep::Secure(Self::new(), SecuredBy::Direct);
            }
            _ => {}
        }
        let (packet, length) = match StartupPacket::parse(input) {
            Ok(Some(packet)) => packet,
            Ok(None) => return StartupStep::More(self),
            Err(error) => return StartupStep::Close(error),
        };
        input.drain(..length);
        match packet {
            StartupPacket::CancelRequest(key) => StartupStep::Cancel(key),
            StartupPacket::SslRequest => self.encryption(Asked::Ssl, input, out),
            StartupPacket::GssencRequest => self.encryption(Asked::Gss, input, out),
            StartupPacket::StartupMessage(message) => match Startup::read(&message) {
                Ok(startup) => accept(startup, out),
                Err(error) => refuse(error, out),
            },
        }
    }

    /// Answers a request for encryption. Bytes behind it were sent before our answer: a man in the middle can have put
    /// them there, so they are never read (CVE-2021-23214).
    fn encryption(self, kind: Asked, input: &mut Vec<u8>, out: &mut Vec<u8>) -> StartupStep {
        let asked = match (self.asked, kind) {
            (Asked::Nothing, kind) => kind,
            (Asked::Ssl, Asked::Gss) | (Asked::Gss, Asked::Ssl) => Asked::Both,
            _ => return refuse(asked_twice(kind), out),
        };
        if kind == Asked::Ssl && self.offer == Offer::Tls {
            out.push(b'S');
            // told inside TLS, as PostgreSQL does
            let offer = if input.is_empty() { Offer::Nothing } else { Offer::Tainted };
            input.clear();
            return StartupStep::Secure(Self { asked: Asked::Both, offer }, SecuredBy::Request);
        }
        out.push(b'N');
        if !input.is_empty() {
            return refuse(early_data(kind), out);
        }
        StartupStep::More(Self { asked, ..self })
    }
}

/// A client without TLS where TLS is required, in PostgreSQL's words. `host` is its address.
pub fn no_encryption(host: &str, parameters: &StartupParameters) -> ErrorResponse {
    let StartupParameters { user, database, .. } = parameters;
    let told = format!(
        "no pg_hba.conf entry for host \"{host}\", user \"{user}\", database \"{database}\", no encryption"
    );
    ErrorResponse::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, told)
}

/// A client without a certificate where one is required, in PostgreSQL's words.
pub fn no_certificate() -> ErrorResponse {
    let told = "connection requires a valid client certificate";
    ErrorResponse::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, told)
}

fn accept(startup: Startup, out: &mut Vec<u8>) -> StartupStep {
    if let Some(Negotiation { minor, unknown_options }) = startup.negotiation {
        backend::negotiate_protocol_version(out, minor, &unknown_options);
    }
    StartupStep::Startup(startup.parameters)
}

fn refuse(error: ErrorResponse, out: &mut Vec<u8>) -> StartupStep {
    error.encode(out);
    StartupStep::Refused(error)
}

/// PostgreSQL takes the second request for a strange protocol version.
fn asked_twice(kind: Asked) -> ErrorResponse {
    let version = if kind == Asked::Gss { "1234.5680" } else { "1234.5679" };
    let told = format!("unsupported frontend protocol {version}: server supports 3.0 to 3.2");
    ErrorResponse::fatal(SqlState::FEATURE_NOT_SUPPORTED, told)
}

fn early_data(kind: Asked) -> ErrorResponse {
    let told = match kind {
        Asked::Gss => "received unencrypted data after GSSAPI encryption request",
        _ => "received unencrypted data after SSL request",
    };
    ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told).detail(
        "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
    )
}
