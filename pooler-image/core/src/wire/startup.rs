//! Packets before the login: they have no type byte, and their sender is not trusted with much memory.

use super::{CancelKey, ReadError, Reader};

pub(super) const PROTOCOL_3: u32 = 3 << 16;
pub(super) const CANCEL_REQUEST: u32 = code(5678);
pub(super) const SSL_REQUEST: u32 = code(5679);
pub(super) const GSSENC_REQUEST: u32 = code(5680);

/// Versions that no protocol will ever have: major 1234.
const fn code(minor: u16) -> u32 {
    1234 << 16 | minor as u32
}

/// The largest startup packet, as in PostgreSQL (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_LENGTH: u32 = 10_000;

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion {
    /// The major version.
    pub major: u16,
    /// The minor version.
    pub minor: u16,
}

/// What a client can send first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupPacket {
    /// SSLRequest.
    SslRequest,
    /// GSSENCRequest.
    GssencRequest,
    /// CancelRequest.
    CancelRequest(CancelKey),
    /// A StartupMessage, its body not yet read: the version decides whether it can be.
    StartupMessage(StartupMessage),
}

/// A StartupMessage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupMessage {
    /// The version that the client asks for.
    pub version: ProtocolVersion,
    body: Vec<u8>,
}

/// A packet that is not even one; PostgreSQL closes such a connection without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartupPacketError {
    /// Length out of bounds.
    #[error("invalid length of startup packet: {0}")]
    Length(u32),
    /// CancelRequest with a key of impossible length.
    #[error("invalid length of the key in a cancel request")]
    CancelKey(#[source] ReadError),
}

impl StartupPacket {
    /// Splits the first packet off `input`, with the number of its bytes; `None`: more bytes are needed.
    ///
    /// Only a whole packet is copied, and its length is checked as soon as it is there.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, StartupPacketError> {
        let Some(length) = input.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
            return Ok(None);
        };
        if !(8..=MAX_LENGTH).contains(&length) {
            return Err(StartupPacketError::Length(length));
        }
        let Some(packet) = input.get(4..length as usize) else { return Ok(None) };
        let Some((code, body)) = packet.split_first_chunk() else { return Ok(None) };
        let packet = Self::of(u32::from_be_bytes(*code), body, length)?;
        Ok(Some((packet, length as usize)))
    }

    fn of(code: u32, body: &[u8], length: u32) -> Result<Self, StartupPacketError> {
        match code {
            SSL_REQUEST | GSSENC_REQUEST if length != 8 => Err(StartupPacketError::Length(length)),
            SSL_REQUEST => Ok(Self::SslRequest),
            GSSENC_REQUEST => Ok(Self::GssencRequest),
            CANCEL_REQUEST => {
                CancelKey::parse(body).map(Self::CancelRequest).map_err(StartupPacketError::CancelKey)
            }
            _ => Ok(Self::StartupMessage(StartupMessage {
                version: ProtocolVersion { major: (code >> 16) as u16, minor: code as u16 },
                body: body.to_vec(),
            })),
        }
    }
}

impl StartupMessage {
    /// The parameters in the order in which they came; an error unless exactly the terminator ends them.
    pub fn parameters(&self) -> Result<Vec<(&str, &str)>, ReadError> {
        let mut reader = Reader::new(&self.body);
        let mut parameters = Vec::new();
        loop {
            match reader.str()? {
                "" => break,
                name => parameters.push((name, reader.str()?)),
            }
        }
        reader.finish()?;
        Ok(parameters)
    }
}
