//! Messages from client to server: their type bytes, and those that the pooler writes itself.

use super::{
    CancelKey,
    startup::{CANCEL_REQUEST, GSSENC_REQUEST, PROTOCOL_3, SSL_REQUEST},
    writer::{message, untagged},
};

/// Bind.
pub const BIND: u8 = b'B';
/// Close.
pub const CLOSE: u8 = b'C';
/// CopyData, in both directions.
pub const COPY_DATA: u8 = b'd';
/// CopyDone, in both directions.
pub const COPY_DONE: u8 = b'c';
/// CopyFail.
pub const COPY_FAIL: u8 = b'f';
/// Describe.
pub const DESCRIBE: u8 = b'D';
/// Execute.
pub const EXECUTE: u8 = b'E';
/// Flush.
pub const FLUSH: u8 = b'H';
/// FunctionCall.
pub const FUNCTION_CALL: u8 = b'F';
/// Parse.
pub const PARSE: u8 = b'P';
/// PasswordMessage, and also SASLInitialResponse, SASLResponse and GSSResponse.
pub const PASSWORD_MESSAGE: u8 = b'p';
/// Query.
pub const QUERY: u8 = b'Q';
/// Sync.
pub const SYNC: u8 = b'S';
/// Terminate.
pub const TERMINATE: u8 = b'X';

/// In Close and Describe: a prepared statement.
pub const STATEMENT: u8 = b'S';
/// In Close and Describe: a portal.
pub const PORTAL: u8 = b'P';

/// Appends a StartupMessage of protocol 3.`minor`.
pub fn startup_message<'a>(
    out: &mut Vec<u8>,
    minor: u16,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    untagged(out, |body| {
        body.u32(PROTOCOL_3 | u32::from(minor));
        for (name, value) in parameters {
            body.string(name);
            body.string(value);
        }
        body.u8(0);
    });
}

/// Appends SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    untagged(out, |body| body.u32(SSL_REQUEST));
}

/// Appends GSSENCRequest.
pub fn gssenc_request(out: &mut Vec<u8>) {
    untagged(out, |body| body.u32(GSSENC_REQUEST));
}

/// Appends CancelRequest.
pub fn cancel_request(out: &mut Vec<u8>, key: &CancelKey) {
    untagged(out, |body| {
        body.u32(CANCEL_REQUEST);
        body.i32(key.process_id());
        body.bytes(key.secret());
    });
}

/// Appends Query.
pub fn query(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    message(out, QUERY, |body| body.string(text));
}

/// Appends Parse.
pub fn parse(
    out: &mut Vec<u8>,
    statement: impl AsRef<[u8]>,
    text: impl AsRef<[u8]>,
    parameter_types: &[u32],
) {
    message(out, PARSE, |body| {
        body.string(statement);
        body.string(text);
        body.i16(parameter_types.len() as i16); // as unsigned: up to 65,535
        for &oid in parameter_types {
            body.u32(oid);
        }
    });
}

/// Appends Bind of a statement without parameters, results in text.
pub fn bind(out: &mut Vec<u8>, portal: impl AsRef<[u8]>, statement: impl AsRef<[u8]>) {
    message(out, BIND, |body| {
        body.string(portal);
        body.string(statement);
        for _formats_values_formats in 0..3 {
            body.i16(0);
        }
    });
}

/// Appends Bind of the unnamed statement to the unnamed portal, with one parameter, everything in text.
pub fn bind_one(out: &mut Vec<u8>, parameter: &[u8]) {
    message(out, BIND, |body| {
        body.string("");
        body.string("");
        body.i16(0);
        body.i16(1);
        body.value(Some(parameter));
        body.i16(0);
    });
}

/// Appends Execute of all of a portal.
pub fn execute(out: &mut Vec<u8>, portal: impl AsRef<[u8]>) {
    message(out, EXECUTE, |body| {
        body.string(portal);
        body.i32(0);
    });
}

/// Appends Close for a prepared statement.
pub fn close_statement(out: &mut Vec<u8>, statement: impl AsRef<[u8]>) {
    message(out, CLOSE, |body| {
        body.u8(STATEMENT);
        body.string(statement);
    });
}

/// Appends Close for a portal.
pub fn close_portal(out: &mut Vec<u8>, portal: impl AsRef<[u8]>) {
    message(out, CLOSE, |body| {
        body.u8(PORTAL);
        body.string(portal);
    });
}

/// Appends Sync.
pub fn sync(out: &mut Vec<u8>) {
    message(out, SYNC, |_| ());
}

/// Appends Flush.
pub fn flush(out: &mut Vec<u8>) {
    message(out, FLUSH, |_| ());
}

/// Appends CopyFail.
pub fn copy_fail(out: &mut Vec<u8>, reason: impl AsRef<[u8]>) {
    message(out, COPY_FAIL, |body| body.string(reason));
}

/// Appends Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, TERMINATE, |_| ());
}

/// Appends PasswordMessage.
pub fn password_message(out: &mut Vec<u8>, password: impl AsRef<[u8]>) {
    message(out, PASSWORD_MESSAGE, |body| body.string(password));
}

/// Appends SASLInitialResponse.
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, PASSWORD_MESSAGE, |body| {
        body.string(mechanism);
        body.value(Some(data));
    });
}

/// Appends SASLResponse.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, PASSWORD_MESSAGE, |body| body.bytes(data));
}
