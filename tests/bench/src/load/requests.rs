//! What clients send, ready-made, and what they must get.

use std::rc::Rc;

use clap::ValueEnum;
use pgpooler_test_support::wire;
use serde::Serialize;

use super::scan::Reply;

/// `DataRow` with one column, the text `1`.
const ROW: &[u8] = b"\0\x01\0\0\0\x011";
const STATEMENT: &str = "s1";
/// Bytes of a `CopyData`, as psql sends them.
const COPY_DATA: usize = 8192;

/// A request and its right reply.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The bytes to send.
    pub(crate) bytes: Rc<[u8]>,
    /// What must come back.
    pub(crate) reply: Reply,
}

impl Request {
    /// A query with a reply of these tags and so many rows, none of them small.
    pub(crate) fn query(sql: &str, tags: &[u8], rows: u64) -> Self {
        Self { bytes: wire::query(sql).into(), reply: Reply::of(tags, rows, b"") }
    }

    /// `COPY ... FROM STDIN`, as far as the server's `CopyInResponse`.
    pub(crate) fn copy_in(table: &str) -> Self {
        Self::query(&format!("COPY {table} FROM STDIN"), b"G", 0)
    }

    /// The lines of a `COPY ... FROM STDIN` and its end.
    pub(crate) fn copy_lines(line: &str, lines: usize) -> Self {
        let text = line.repeat(COPY_DATA / line.len() + 2);
        let mut left = line.len() * lines;
        let mut bytes = Vec::with_capacity(left + left / 1000);
        let mut at = 0;
        while left > 0 {
            let length = left.min(COPY_DATA);
            bytes.extend(wire::copy_data(text.get(at..at + length).unwrap_or_default()));
            // the next message goes on in the line where this one ends
            at = (at + length) % line.len();
            left -= length;
        }
        bytes.extend(wire::copy_done());
        Self { bytes: bytes.into(), reply: Reply::of(b"CZ", 0, b"") }
    }
}

/// How `SELECT 1` is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// `Query`.
    Simple,
    /// `Parse`, `Bind`, `Describe`, `Execute`, `Sync`, without names.
    Extended,
    /// `Bind`, `Execute`, `Sync` of a named statement.
    Prepared,
}

impl Protocol {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Simple, Self::Extended, Self::Prepared];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }

    /// `SELECT 1`.
    pub(crate) fn select_1(self) -> Request {
        let sql = "SELECT 1";
        let run = |name: &str| [wire::bind("", name, &[]), wire::execute("", 0), wire::sync()].concat();
        let (bytes, tags): (Vec<u8>, &[u8]) = match self {
            Self::Simple => (wire::query(sql), b"TDCZ"),
            Self::Extended => {
                let (parse, bind) = (wire::parse("", sql), wire::bind("", "", &[]));
                let rest = [wire::describe(b'P', ""), wire::execute("", 0), wire::sync()].concat();
                ([parse, bind, rest].concat(), b"12TDCZ")
            }
            Self::Prepared => (run(STATEMENT), b"2DCZ"),
        };
        Request { bytes: bytes.into(), reply: Reply::of(tags, 1, ROW) }
    }

    /// What a client sends once before [`select_1`](Self::select_1).
    pub(crate) fn preparation(self) -> Option<Request> {
        let bytes = [wire::parse(STATEMENT, "SELECT 1"), wire::sync()].concat();
        let request = Request { bytes: bytes.into(), reply: Reply::of(b"1Z", 0, b"") };
        (self == Self::Prepared).then_some(request)
    }
}
