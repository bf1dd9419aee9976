//! The PostgreSQL wire protocol, as far as a pooler must understand it.
//!
//! Reading is bounded and fallible and borrows from the input; `None` means that more bytes are needed.
//! Writing appends to a `Vec<u8>` and cannot fail. Messages are named as in the protocol chapter of the
//! PostgreSQL manual; [`frontend`] holds what clients send, [`backend`] what servers send.

mod cancel_key;
mod reader;
mod startup;
mod writer;

pub mod backend;
pub mod error_response;
pub mod frame;
pub mod frontend;
pub mod sqlstate;

pub use cancel_key::CancelKey;
pub use error_response::{ErrorFields, ErrorResponse, Severity};
pub use frame::{FrameError, Header, run_of, split_message};
pub use reader::{ReadError, Reader};
pub use sqlstate::SqlState;
pub use startup::{ProtocolVersion, StartupMessage, StartupPacket, StartupPacketError};
pub use writer::Body;

/// Where a server stands, as its last ReadyForQuery said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// `I`: outside a transaction block.
    #[default]
    Idle,
    /// `T`: inside a transaction block.
    InTransaction,
    /// `E`: inside a failed transaction block; only its end is accepted.
    Failed,
}

impl TransactionStatus {
    /// Reads the byte of ReadyForQuery; `None` for one that the protocol does not know.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte in ReadyForQuery.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}
