//! Traps of cancelling and of the pool.

use super::Sizes::{All, Own};
use super::Trap;
use super::Verdict::{Identical, OfThePooler};

pub(super) const TRAPS: &[Trap] = &[
    Trap {
        number: 49,
        title: "cancel: running, queued, idle, wrong key",
        compared: "57014 or nothing; the connection afterwards",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/cancel.rs::what_runs_is_cancelled_and_its_client_goes_on",
            "conformance/cancel.rs::copy_in_is_cancelled_when_it_has_read_on",
            "conformance/cancel.rs::keys_of_nothing_that_runs_do_nothing",
            "conformance/cancel.rs::wrong_keys_do_nothing",
            "real/cancel.rs::a_query_that_waits_in_the_queue_is_cancelled_there",
        ],
    },
    Trap {
        number: 50,
        title: "a cancel that comes when its query has ended",
        compared: "later queries of the same and of other clients are untouched",
        sizes: All,
        verdict: Identical,
        tests: &["conformance/cancel.rs::a_cancel_never_hits_what_comes_later"],
    },
    Trap {
        number: 51,
        title: "cancel at another replica, at one that restarted, while draining",
        compared: "57014 at the right client",
        sizes: Own,
        verdict: OfThePooler,
        tests: &["real/cancel.rs::a_running_query_is_cancelled_and_its_client_goes_on"],
    },
    Trap {
        number: 52,
        title: "cancel to a server that wants TLS",
        compared: "TLS with the same name to the same address",
        sizes: Own,
        verdict: OfThePooler,
        tests: &["real/cancel.rs::a_running_query_is_cancelled_and_its_client_goes_on"],
    },
    Trap {
        number: 53,
        title: "a waiting client leaves as its server comes",
        compared: "no server connection is lost",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/pool.rs::clients_that_leave_while_they_wait_lose_nothing",
            "conformance/pool.rs::a_deadlock_is_told_to_one_and_the_other_goes_on",
            "real/limits.rs::a_client_that_hangs_up_while_it_waits_leaves_the_queue",
        ],
    },
    Trap {
        number: 54,
        title: "limits that shrink below what is in use",
        compared: "what is idle above the limit is closed, what runs goes on",
        sizes: Own,
        verdict: OfThePooler,
        tests: &["real/limits.rs::a_reload_with_a_lower_limit_closes_what_is_idle_above_it"],
    },
    Trap {
        number: 55,
        title: "a server closes while idle in the pool",
        compared: "the client does not notice",
        sizes: Own,
        verdict: OfThePooler,
        tests: &[
            "real/pools.rs::a_server_connection_that_postgresql_closes_while_idle_is_replaced_unnoticed",
        ],
    },
    Trap {
        number: 56,
        title: "a storm of logins on a cold pool",
        compared: "all served, the limit never passed",
        sizes: Own,
        verdict: OfThePooler,
        tests: &[
            "real/limits.rs::the_first_storm_on_a_fresh_process_leaves_nobody_behind",
            "real/limits.rs::a_hundred_clients_share_three_server_connections_on_every_number_of_loops",
        ],
    },
    Trap {
        number: 57,
        title: "53300 from the server",
        compared: "clients wait and are served",
        sizes: Own,
        verdict: OfThePooler,
        tests: &["real/limits.rs::a_server_that_is_full_makes_clients_wait_not_fail"],
    },
    Trap {
        number: 58,
        title: "PAUSE, RESUME, RECONNECT and drain under load",
        compared: "transactions end, nothing is cut",
        sizes: Own,
        verdict: OfThePooler,
        tests: &[
            "real/pools.rs::pause_waits_for_transactions_and_resume_lets_clients_go_on",
            "real/pools.rs::reconnect_replaces_server_connections_after_their_transactions",
            "real/drain.rs::who_never_tests_is_served_until_the_deadline_and_closed_between_transactions",
        ],
    },
    Trap {
        number: 59,
        title: "steps of the clock, long timers",
        compared: "all waits are by the monotonic clock",
        sizes: Own,
        verdict: OfThePooler,
        tests: &["real/limits.rs::a_client_that_waits_too_long_hears_so_and_stays"],
    },
    Trap {
        number: 60,
        title: "certificates and documents that are replaced by bad ones",
        compared: "the old ones stay",
        sizes: Own,
        verdict: OfThePooler,
        tests: &[
            "standalone_running.rs::sighup_reloads_a_good_document_and_keeps_the_old_one_when_the_new_one_is_faulty",
        ],
    },
];
