//! Traps of session state.

use super::Sizes::{All, AllButPinned, Own};
use super::Trap;
use super::Verdict::{DiffersBecause, Identical};

pub(super) const TRAPS: &[Trap] = &[
    Trap {
        number: 42,
        title: "reported parameters are each client's own",
        compared: "every ParameterStatus, once, at its client; SHOW afterwards",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/state/settings_elsewhere.rs::a_setting_reported_is_reported_once_and_to_its_client_only",
            "conformance/state/startup_values.rs::reset_goes_back_to_what_the_client_asked_for",
        ],
    },
    Trap {
        number: 43,
        title: "SET, RESET, set_config, SET LOCAL, SET ROLE, SET TIME ZONE in every way",
        compared: "SHOW in later transactions, by the client and by others",
        sizes: AllButPinned,
        verdict: DiffersBecause(
            "PostgreSQL itself never forgets a custom parameter's name in a session: `current_setting('app.x', true)` of a \
             client that has not set it may be '' instead of NULL",
        ),
        tests: &[
            "conformance/state/settings.rs::settings_of_every_kind_stay_with_their_client",
            "conformance/state/settings.rs::a_setting_follows_its_transaction",
            "conformance/state/settings.rs::a_setting_in_a_query_of_several_statements",
            "conformance/state/settings_elsewhere.rs::a_setting_by_the_extended_protocol",
            "conformance/state/settings_elsewhere.rs::a_setting_by_set_config_and_in_functions",
            "conformance/state/settings_elsewhere.rs::roles_stay_with_their_client",
            "conformance/state/settings_elsewhere.rs::a_setting_that_only_a_role_may_make_is_made_again_by_it",
        ],
    },
    Trap {
        number: 44,
        title: "LISTEN, temporary tables, locks, cursors, sequences, LOAD, large objects, constraints",
        compared: "kept for their client, not seen by another",
        sizes: AllButPinned,
        verdict: DiffersBecause(
            "nextval pins no server connection: behind its transaction, currval and lastval hold only while the connection is \
             free, and are 55000 otherwise, never another client's",
        ),
        tests: &[
            "conformance/state/things.rs::what_lives_in_a_session_is_kept_for_its_client",
            "conformance/state/things.rs::what_lives_in_a_session_by_the_extended_protocol",
            "conformance/state/things.rs::nobody_sees_what_another_keeps",
            "conformance/state/notify.rs::a_listening_client_hears_while_idle",
            "conformance/state/notify.rs::nobody_hears_what_another_listened_to",
            "conformance/state/notify.rs::two_clients_listen_to_one_channel",
        ],
    },
    Trap {
        number: 45,
        title: "clients that leave in a transaction, in a batch, in a message",
        compared: "the table afterwards; names, locks and tables free for the next",
        sizes: AllButPinned,
        verdict: DiffersBecause(
            "what still runs when its client has gone is cancelled; PostgreSQL alone does not notice and runs it to its end",
        ),
        tests: &[
            "real/state.rs::a_client_that_leaves_while_its_query_runs_does_not_keep_the_server_busy",
            "conformance/state/leave.rs::a_client_that_leaves_in_the_middle_is_undone",
            "conformance/state/leave.rs::the_next_client_can_make_the_same_again",
        ],
    },
    Trap {
        number: 46,
        title: "Terminate in the same packet as a request; half-closed sockets",
        compared: "whole replies, then the end",
        sizes: AllButPinned,
        verdict: DiffersBecause(
            "a client that closes its side and waits for a server connection for more than half a second is taken for one that has left",
        ),
        tests: &[
            "conformance/flow.rs::terminate_comes_after_the_answers",
            "conformance/flow.rs::a_half_closed_client_gets_its_answers",
        ],
    },
    Trap {
        number: 47,
        title: "FATAL of the server",
        compared: "one FATAL, then the end; others undisturbed",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/pool.rs::a_server_that_is_killed_says_so_once",
            "real/pools.rs::a_server_connection_that_is_terminated_in_a_transaction_tells_its_client_once",
        ],
    },
    Trap {
        number: 48,
        title: "a server that ends an idle transaction while its client is silent",
        compared: "the FATAL when it comes; other timeouts in band",
        sizes: Own,
        verdict: Identical,
        tests: &["conformance/pool.rs::timeouts_of_the_server_are_passed_on"],
    },
];
