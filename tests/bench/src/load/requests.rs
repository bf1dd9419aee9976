//! What clients send, ready-made, and what they must get.

use std::rc::Rc;

use clap::ValueEnum;
use pgpooler_test_support::wire;
use serde::Serialize;

use super::scan::Reply;

/// `DataRow` with one column, the text `1`.
const ROW: &[u8] = b"\0\x01\0\0\0\x011";
const STATEMENT: &str = "s1";

/// A request and its right reply.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The bytes to send.
    pub(crate) bytes: Rc<[u8]>,
    /// What must come back.
    pub(crate) reply: Reply,
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
