//! A client's way in, without sockets: startup packets, then authentication.
//!
//! ```text
//! ExpectStartup --SSLRequest, GSSENCRequest--> answer 'N', ExpectStartup
//!       |--------CancelRequest---------------> Cancel
//!       '--------StartupMessage--------------> Startup
//!                  shell looks the user up  -> Authentication --proof--> Authenticated | Refused
//! ```
//!
//! Each state is consumed by the bytes that arrive; what it does not read stays in `input`, what it answers is
//! appended to `out`. A refusal is appended too: the shell writes `out` and closes.

mod authentication;

use crate::startup::{Negotiation, Startup, StartupParameters};
use crate::wire::{CancelKey, ErrorResponse, SqlState, StartupPacket, StartupPacketError, backend};

pub use authentication::{Authentication, AuthenticationStep, Method};

/// Awaits a startup packet.
#[derive(Debug, Default)]
#[must_use = "a handshake goes on until it gives a client, a cancel key or a refusal"]
pub struct ExpectStartup {
    asked: Asked,
}

/// The encryption that the client has asked for, in vain; each may be asked for once.
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
    /// A connection from which nothing has been read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the packets off `input`, appends answers to `out`.
    pub fn receive(self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> StartupStep {
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

    /// Declines encryption. Bytes behind the request were sent before our answer: a man in the middle can have put
    /// them there, so they are never read (CVE-2021-23214).
    fn encryption(self, kind: Asked, input: &[u8], out: &mut Vec<u8>) -> StartupStep {
        let asked = match (self.asked, kind) {
            (Asked::Nothing, kind) => kind,
            (Asked::Ssl, Asked::Gss) | (Asked::Gss, Asked::Ssl) => Asked::Both,
            _ => return refuse(asked_twice(kind), out),
        };
        out.push(b'N');
        if !input.is_empty() {
            return refuse(early_data(kind), out);
        }
        StartupStep::More(Self { asked })
    }
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
