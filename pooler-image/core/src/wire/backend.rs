//! Messages from server to client: their type bytes, and those that the pooler writes itself.

use super::{CancelKey, Reader, TransactionStatus, writer::message};

/// Authentication, in all its kinds.
pub const AUTHENTICATION: u8 = b'R';
/// BackendKeyData.
pub const BACKEND_KEY_DATA: u8 = b'K';
/// BindComplete.
pub const BIND_COMPLETE: u8 = b'2';
/// CloseComplete.
pub const CLOSE_COMPLETE: u8 = b'3';
/// CommandComplete.
pub const COMMAND_COMPLETE: u8 = b'C';
/// CopyData, in both directions.
pub const COPY_DATA: u8 = b'd';
/// CopyDone, in both directions.
pub const COPY_DONE: u8 = b'c';
/// CopyInResponse.
pub const COPY_IN_RESPONSE: u8 = b'G';
/// CopyOutResponse.
pub const COPY_OUT_RESPONSE: u8 = b'H';
/// CopyBothResponse.
pub const COPY_BOTH_RESPONSE: u8 = b'W';
/// DataRow.
pub const DATA_ROW: u8 = b'D';
/// EmptyQueryResponse.
pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
/// ErrorResponse.
pub const ERROR_RESPONSE: u8 = b'E';
/// FunctionCallResponse.
pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
/// NegotiateProtocolVersion.
pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
/// NoData.
pub const NO_DATA: u8 = b'n';
/// NoticeResponse.
pub const NOTICE_RESPONSE: u8 = b'N';
/// NotificationResponse.
pub const NOTIFICATION_RESPONSE: u8 = b'A';
/// ParameterDescription.
pub const PARAMETER_DESCRIPTION: u8 = b't';
/// ParameterStatus.
pub const PARAMETER_STATUS: u8 = b'S';
/// ParseComplete.
pub const PARSE_COMPLETE: u8 = b'1';
/// PortalSuspended.
pub const PORTAL_SUSPENDED: u8 = b's';
/// ReadyForQuery.
pub const READY_FOR_QUERY: u8 = b'Z';
/// RowDescription.
pub const ROW_DESCRIPTION: u8 = b'T';

/// The Int32 that tells kinds of [`AUTHENTICATION`] apart.
pub mod authentication {
    /// AuthenticationOk.
    pub const OK: i32 = 0;
    /// AuthenticationCleartextPassword.
    pub const CLEARTEXT_PASSWORD: i32 = 3;
    /// AuthenticationMD5Password.
    pub const MD5_PASSWORD: i32 = 5;
    /// AuthenticationSASL.
    pub const SASL: i32 = 10;
    /// AuthenticationSASLContinue.
    pub const SASL_CONTINUE: i32 = 11;
    /// AuthenticationSASLFinal.
    pub const SASL_FINAL: i32 = 12;
}

/// The object identifier of type `text`.
const TEXT: u32 = 25;

/// Appends ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    message(out, READY_FOR_QUERY, |body| body.u8(status.byte()));
}

/// Appends ParameterDescription with the body of another one.
pub fn parameter_description(out: &mut Vec<u8>, of: &[u8]) {
    message(out, PARAMETER_DESCRIPTION, |body| body.bytes(of));
}

/// Appends ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    message(out, PARSE_COMPLETE, |_| ());
}

/// Appends BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    message(out, BIND_COMPLETE, |_| ());
}

/// Appends CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    message(out, CLOSE_COMPLETE, |_| ());
}

/// Appends EmptyQueryResponse.
pub fn empty_query_response(out: &mut Vec<u8>) {
    message(out, EMPTY_QUERY_RESPONSE, |_| ());
}

/// Appends NoData.
pub fn no_data(out: &mut Vec<u8>) {
    message(out, NO_DATA, |_| ());
}

/// Appends CommandComplete with its tag, such as `SHOW`.
pub fn command_complete(out: &mut Vec<u8>, tag: impl AsRef<[u8]>) {
    message(out, COMMAND_COMPLETE, |body| body.string(tag));
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    message(out, PARAMETER_STATUS, |body| {
        body.string(name);
        body.string(value);
    });
}

/// Appends NotificationResponse.
pub fn notification_response(
    out: &mut Vec<u8>,
    process_id: i32,
    channel: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
) {
    message(out, NOTIFICATION_RESPONSE, |body| {
        body.i32(process_id);
        body.string(channel);
        body.string(payload);
    });
}

/// Appends BackendKeyData.
pub fn backend_key_data(out: &mut Vec<u8>, key: &CancelKey) {
    message(out, BACKEND_KEY_DATA, |body| {
        body.i32(key.process_id());
        body.bytes(key.secret());
    });
}

/// Appends NegotiateProtocolVersion: the newest minor of protocol 3 that we speak, and the unknown options.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, newest_minor: u16, options: &[String]) {
    message(out, NEGOTIATE_PROTOCOL_VERSION, |body| {
        // the manual says "minor version"; PostgreSQL sends, and libpq reads, the whole number
        body.u32((3 << 16) | u32::from(newest_minor));
        body.i32(options.len() as i32);
        for option in options {
            body.string(option);
        }
    });
}

/// Appends AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    message(out, AUTHENTICATION, |body| body.i32(authentication::OK));
}

/// Appends AuthenticationCleartextPassword.
pub fn authentication_cleartext_password(out: &mut Vec<u8>) {
    message(out, AUTHENTICATION, |body| body.i32(authentication::CLEARTEXT_PASSWORD));
}

/// Appends AuthenticationMD5Password.
pub fn authentication_md5_password(out: &mut Vec<u8>, salt: [u8; 4]) {
    message(out, AUTHENTICATION, |body| {
        body.i32(authentication::MD5_PASSWORD);
        body.bytes(&salt);
    });
}

/// Appends AuthenticationSASL with the mechanisms on offer, the preferred one first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    message(out, AUTHENTICATION, |body| {
        body.i32(authentication::SASL);
        for mechanism in mechanisms {
            body.string(mechanism);
        }
        body.u8(0);
    });
}

/// Appends AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    message(out, AUTHENTICATION, |body| {
        body.i32(authentication::SASL_CONTINUE);
        body.bytes(data);
    });
}

/// Appends AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    message(out, AUTHENTICATION, |body| {
        body.i32(authentication::SASL_FINAL);
        body.bytes(data);
    });
}

/// Appends RowDescription for columns of type `text` in text format.
pub fn row_description<S: AsRef<[u8]>>(out: &mut Vec<u8>, columns: &[S]) {
    message(out, ROW_DESCRIPTION, |body| {
        body.i16(columns.len() as i16);
        for name in columns {
            body.string(name);
            body.u32(0); // table
            body.i16(0); // column of the table
            body.u32(TEXT);
            body.i16(-1); // size: variable
            body.i32(-1); // modifier: none
            body.i16(0); // text format
        }
    });
}

/// Appends DataRow with values in text format; `None` is NULL.
pub fn data_row<S: AsRef<[u8]>>(out: &mut Vec<u8>, values: &[Option<S>]) {
    message(out, DATA_ROW, |body| {
        body.i16(values.len() as i16);
        for value in values {
            body.value(value.as_ref().map(AsRef::as_ref));
        }
    });
}

/// Reads the body of ReadyForQuery; `None` when it is not one.
pub fn parse_ready_for_query(body: &[u8]) -> Option<TransactionStatus> {
    match *body {
        [status] => TransactionStatus::from_byte(status),
        _ => None,
    }
}

/// Reads name and value from the body of ParameterStatus; `None` when it is not one.
pub fn parse_parameter_status(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(body);
    let pair = (reader.string().ok()?, reader.string().ok()?);
    reader.finish().ok().map(|()| pair)
}
