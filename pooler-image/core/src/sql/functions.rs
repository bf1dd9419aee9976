//! Which functions leave nothing in a session.

use super::{lists::Words, marks::Marks};

/// Names of `pg_catalog` that leave nothing in the session, sorted bytewise, one a line.
///
/// Every function of PostgreSQL 15 that SQL can call, and those that 16 to 18 added, but those that run SQL text
/// or a named relation (`query_to_xml`, `ts_stat`), hold something for the session (`setseed`, temporary
/// replication slots, replication origins, a base backup), and those of [`marks`] itself.
const NAMES: &[u8] = include_bytes!("builtin_functions.txt");

static HARMLESS: Words<4096> = Words::new(NAMES);

/// A function that we know nothing about: it may do all that SQL can.
pub(super) const UNKNOWN: Marks = Marks::PROBE.union(Marks::SEQUENCE_SET);

/// What a call of a function of `pg_catalog`, by its folded name, may do; `set_config` depends on its arguments.
pub(super) fn marks(name: &[u8]) -> Marks {
    match name {
        b"nextval" | b"setval" => Marks::SEQUENCE_SET,
        b"currval" | b"lastval" => Marks::SEQUENCE_READ,
        b"pg_advisory_lock"
        | b"pg_advisory_lock_shared"
        | b"pg_try_advisory_lock"
        | b"pg_try_advisory_lock_shared" => Marks::PROBE | Marks::LOCKS,
        b"pg_advisory_unlock" | b"pg_advisory_unlock_all" | b"pg_advisory_unlock_shared" => Marks::CLEANS,
        b"set_config" => Marks::PROBE | Marks::CONFIG,
        _ if HARMLESS.has(name) => Marks::NONE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_has_no_name_that_is_marked() {
        let names: Vec<_> = NAMES.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        for name in names {
            assert_eq!(marks(name), Marks::NONE, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn built_in_functions_are_known_and_others_are_not() {
        for name in ["count", "lower", "now", "generate_series", "uuidv7", "jsonb_agg", "system"] {
            assert_eq!(marks(name.as_bytes()), Marks::NONE, "{name}");
        }
        for name in ["LOWER", "setseed", "query_to_xml", "pg_backup_start", "mine", ""] {
            assert_eq!(marks(name.as_bytes()), UNKNOWN, "{name}");
        }
    }
}
