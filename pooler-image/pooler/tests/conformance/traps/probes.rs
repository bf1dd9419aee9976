//! The probes by which other poolers were compared.

use super::Probe;

const fn probe(title: &'static str, traps: &'static [u8]) -> Probe {
    Probe { title, traps }
}

/// In the order in which they were published.
pub(crate) const PROBES: &[Probe] = &[
    probe("GSSENCRequest, then a login", &[2]),
    probe("protocol 3.2", &[4]),
    probe("protocol 3.9999 with an unknown `_pq_.` option", &[4]),
    probe("`work_mem` at start-up", &[8]),
    probe("`options=-c statement_timeout`", &[6]),
    probe("Parse of one name twice", &[19]),
    probe("Bind of an unknown name", &[19]),
    probe("Parse in a failed transaction, ROLLBACK, Parse again", &[20]),
    probe("unnamed statement across Sync with another client in between", &[23]),
    probe("Parse, Describe, Flush without Sync", &[15]),
    probe("an error in the first of two pipelined segments", &[16]),
    probe("an error, then Parse of a known text, Sync", &[18]),
    probe("a bad Parse, a Query, Sync, then a good segment", &[16]),
    probe("two Executes, then Describe of a portal, one Sync", &[18]),
    probe("an error without Flush or Sync", &[17]),
    probe("Query and Terminate in one packet", &[46]),
    probe("DEALLOCATE ALL and a Parse in one pipeline, Bind later", &[25]),
    probe("DEALLOCATE of a name, then Parse of it", &[25]),
    probe("DEALLOCATE of an unknown name", &[25]),
    probe("COPY FROM STDIN by the extended protocol with an early Sync", &[33]),
    probe("SET statement_timeout, seen by another", &[43]),
    probe("SET statement_timeout, kept by its owner", &[43]),
    probe("SET search_path, seen by another", &[43]),
    probe("SET search_path, kept by its owner", &[43]),
    probe("set_config(work_mem), seen by another", &[43, 44]),
    probe("SET ROLE, seen by another", &[43]),
    probe("PREPARE, seen by another", &[26, 44]),
    probe("PREPARE, kept by its owner", &[26]),
    probe("TimeZone at start-up, kept", &[8]),
    probe("advisory lock after its owner has gone", &[45]),
    probe("temporary table, seen by another", &[44]),
    probe("LISTEN, seen by another", &[44]),
    probe("BEGIN, a syntax error, ROLLBACK", &[13]),
    probe("CancelRequest of a queued client", &[49]),
    probe("FunctionCall", &[32]),
    probe("NOTICE before the end of its statement", &[41]),
    probe("two Syncs", &[15]),
    probe("a portal suspended and resumed", &[29]),
    probe("a named portal of a named statement", &[31]),
    probe("an error in COPY", &[34]),
    probe("several statements in one Query", &[11]),
    probe("the empty Query", &[11]),
    probe("COMMIT AND CHAIN", &[14]),
    probe("a parameter of 12 MB", &[37]),
    probe("cancel of a running query", &[49]),
    probe("a client that leaves in a transaction", &[45]),
    probe("an error in the middle of one Query", &[11]),
    probe("Close of an unknown name", &[24]),
];
