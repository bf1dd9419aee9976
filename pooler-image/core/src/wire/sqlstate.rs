//! The SQLSTATEs that the pooler sends or acts upon, under PostgreSQL's condition names.

use std::{fmt, str};

/// A five-character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

macro_rules! states {
    ($($code:literal $name:ident)*) => {
        impl SqlState {
            $(
                #[doc = concat!("`", stringify!($name), "`, code ", stringify!($code), ".")]
                pub const $name: Self = Self(*$code);
            )*
        }
    };
}

states! {
    b"00000" SUCCESSFUL_COMPLETION
    b"08000" CONNECTION_EXCEPTION
    b"08001" SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION
    b"08003" CONNECTION_DOES_NOT_EXIST
    b"08004" SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION
    b"08006" CONNECTION_FAILURE
    b"08P01" PROTOCOL_VIOLATION
    b"0A000" FEATURE_NOT_SUPPORTED
    b"22021" CHARACTER_NOT_IN_REPERTOIRE
    b"22023" INVALID_PARAMETER_VALUE
    b"25000" INVALID_TRANSACTION_STATE
    b"25001" ACTIVE_SQL_TRANSACTION
    b"25006" READ_ONLY_SQL_TRANSACTION
    b"25P01" NO_ACTIVE_SQL_TRANSACTION
    b"25P02" IN_FAILED_SQL_TRANSACTION
    b"25P03" IDLE_IN_TRANSACTION_SESSION_TIMEOUT
    b"26000" INVALID_SQL_STATEMENT_NAME
    b"28000" INVALID_AUTHORIZATION_SPECIFICATION
    b"28P01" INVALID_PASSWORD
    b"34000" INVALID_CURSOR_NAME
    b"3D000" INVALID_CATALOG_NAME
    b"42501" INSUFFICIENT_PRIVILEGE
    b"42601" SYNTAX_ERROR
    b"42622" NAME_TOO_LONG
    b"42704" UNDEFINED_OBJECT
    b"42P05" DUPLICATE_PREPARED_STATEMENT
    b"53000" INSUFFICIENT_RESOURCES
    b"53200" OUT_OF_MEMORY
    b"53300" TOO_MANY_CONNECTIONS
    b"53400" CONFIGURATION_LIMIT_EXCEEDED
    b"54000" PROGRAM_LIMIT_EXCEEDED
    b"55000" OBJECT_NOT_IN_PREREQUISITE_STATE
    b"55P02" CANT_CHANGE_RUNTIME_PARAM
    b"57000" OPERATOR_INTERVENTION
    b"57014" QUERY_CANCELED
    b"57P01" ADMIN_SHUTDOWN
    b"57P02" CRASH_SHUTDOWN
    b"57P03" CANNOT_CONNECT_NOW
    b"57P04" DATABASE_DROPPED
    b"57P05" IDLE_SESSION_TIMEOUT
    b"58000" SYSTEM_ERROR
    b"XX000" INTERNAL_ERROR
}

impl SqlState {
    /// Reads the code field of an ErrorResponse; `None` unless it is five ASCII letters or digits.
    pub fn parse(code: &[u8]) -> Option<Self> {
        let code: [u8; 5] = code.try_into().ok()?;
        code.iter().all(u8::is_ascii_alphanumeric).then_some(Self(code))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("XX000") // only ASCII gets in
    }

    /// The class: the first two characters.
    pub const fn class(self) -> [u8; 2] {
        let [a, b, ..] = self.0;
        [a, b]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SqlState({self})")
    }
}
