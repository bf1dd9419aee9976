//! `SHOW HELP`: a notice, as in PgBouncer.

use pgpooler_core::wire::{ErrorResponse, Severity, SqlState};

use super::reply::Reply;

const USAGE: &str = "
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW PEERS|PEER_POOLS
\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
\tSHOW DNS_HOSTS|DNS_ZONES
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSHOW BUDGET|CONFIGURATION|DRAIN
\tSET key = arg
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tLIMIT <n> [OF <b> EPOCH <e> SEQUENCE <s> MAX_CONNECTIONS <m>]
\tCLAIM EPOCH <e>
\tSHED <n> [EPOCH <e>]
\tCONFIGURE '<bundle>' [EPOCH <e>]
\tLISTEN budget|configuration
\tUNLISTEN
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS
\tWAIT_CLOSE [<db>]";

pub(super) fn reply() -> Reply {
    let usage = ErrorResponse::new(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, "Console usage");
    Reply::done("SHOW").with(usage.detail(USAGE))
}

#[cfg(test)]
mod tests {
    use super::super::command::SHOWS;
    use super::*;

    #[test]
    fn every_show_command_is_in_the_help() {
        for (word, _) in SHOWS {
            let word = word.to_ascii_uppercase();
            assert!(USAGE.split(['|', ' ', '\n', '\t']).any(|shown| shown == word), "{word}");
        }
    }
}
