//! Messages of the PostgreSQL protocol as tests write and read them.

use std::fmt;

/// A message from the server: its tag and what follows the length.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The first byte.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an `ErrorResponse` or `NoticeResponse`, such as `b'C'` for the SQLSTATE.
    pub fn field(&self, code: u8) -> Option<String> {
        let mut fields = self.body.split(|byte| *byte == 0);
        let field = fields.find(|field| field.first() == Some(&code))?;
        field.get(1..).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// The columns of a `DataRow`, NULL as an empty string.
    pub fn columns(&self) -> Vec<String> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut columns = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            let (value, tail) = tail.split_at_checked(length).unwrap_or((tail, &[]));
            columns.push(String::from_utf8_lossy(value).into_owned());
            rest = tail;
        }
        columns
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", char::from(self.tag), self.body.escape_ascii())
    }
}

/// A message with its tag and length.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], length_of(body).as_slice(), body].concat()
}

/// `StartupMessage`; `version` is 196608 for protocol 3.0 and 196610 for 3.2.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(cstr(name));
        body.extend(cstr(value));
    }
    body.push(0);
    [length_of(&body).as_slice(), &body].concat()
}

/// `SSLRequest`.
pub fn ssl_request() -> Vec<u8> {
    [8_u32, 80_877_103].map(u32::to_be_bytes).concat()
}

/// `GSSENCRequest`.
pub fn gssenc_request() -> Vec<u8> {
    [8_u32, 80_877_104].map(u32::to_be_bytes).concat()
}

/// `CancelRequest` with a key of any length (4 bytes in protocol 3.0).
pub fn cancel_request(pid: u32, key: &[u8]) -> Vec<u8> {
    let body = [&80_877_102_u32.to_be_bytes(), pid.to_be_bytes().as_slice(), key].concat();
    [length_of(&body).as_slice(), &body].concat()
}

/// `Query`.
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &cstr(sql))
}

/// `Parse` without parameter types.
pub fn parse(statement: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[cstr(statement), cstr(sql), vec![0, 0]].concat())
}

/// `Parse` with parameter types.
pub fn parse_typed(statement: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [cstr(statement), cstr(sql)].concat();
    body.extend((types.len() as u16).to_be_bytes());
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

/// `Bind` with everything that it can say: formats of parameters, parameters, formats of results.
pub fn bind_formats(
    portal: &str,
    statement: &str,
    formats: &[u16],
    parameters: &[Option<&[u8]>],
    results: &[u16],
) -> Vec<u8> {
    let codes = |codes: &[u16]| {
        let count = (codes.len() as u16).to_be_bytes().to_vec();
        [count, codes.iter().flat_map(|code| code.to_be_bytes()).collect()].concat()
    };
    let parts = [cstr(portal), cstr(statement), codes(formats), values(parameters), codes(results)];
    message(b'B', &parts.concat())
}

/// `FunctionCall` with arguments and a result in text or binary (0 or 1).
pub fn function_call(function: u32, format: u16, arguments: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = function.to_be_bytes().to_vec();
    body.extend([1, format].into_iter().flat_map(u16::to_be_bytes));
    body.extend(values(arguments));
    body.extend(format.to_be_bytes());
    message(b'F', &body)
}

/// `CopyData`.
pub fn copy_data(data: &str) -> Vec<u8> {
    message(b'd', data.as_bytes())
}

/// `CopyDone`.
pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

/// `CopyFail`.
pub fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', &cstr(reason))
}

fn values(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(value) => {
                bytes.extend((value.len() as u32).to_be_bytes());
                bytes.extend(*value);
            }
            None => bytes.extend((-1_i32).to_be_bytes()),
        }
    }
    bytes
}

/// `Bind` with text parameters and text results.
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>]) -> Vec<u8> {
    let mut body = [cstr(portal), cstr(statement), vec![0, 0]].concat();
    body.extend((parameters.len() as u16).to_be_bytes());
    for parameter in parameters {
        match parameter {
            Some(text) => {
                body.extend((text.len() as u32).to_be_bytes());
                body.extend(text.as_bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

/// `Describe` of a statement (`b'S'`) or portal (`b'P'`).
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[vec![kind], cstr(name)].concat())
}

/// `Execute`; 0 rows: all.
pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(b'E', &[cstr(portal), rows.to_be_bytes().to_vec()].concat())
}

/// `Close` of a statement (`b'S'`) or portal (`b'P'`).
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[vec![kind], cstr(name)].concat())
}

/// `Sync`.
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// `Flush`.
pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// `Terminate`.
pub fn terminate() -> Vec<u8> {
    message(b'X', &[])
}

/// A string with its closing zero.
pub fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn length_of(body: &[u8]) -> [u8; 4] {
    (body.len() as u32 + 4).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_its_columns_with_null_as_nothing() {
        let row = Message { tag: b'D', body: b"\0\x02\0\0\0\x01a\xff\xff\xff\xff".to_vec() };
        assert_eq!(row.columns(), ["a", ""]);
    }

    #[test]
    fn an_error_gives_its_fields() {
        let error = Message { tag: b'E', body: b"SFATAL\0C53300\0Msorry\0\0".to_vec() };
        assert_eq!(error.field(b'C').as_deref(), Some("53300"));
        assert_eq!(error.field(b'H'), None);
    }
}
