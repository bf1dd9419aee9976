//! Traps at the beginning of a connection.

use super::Sizes::{All, Own};
use super::Trap;
use super::Verdict::{DiffersBecause, Identical, OfThePooler};

pub(super) const TRAPS: &[Trap] = &[
    Trap {
        number: 1,
        title: "SSLRequest, direct TLS, plaintext sent ahead of TLS",
        compared: "the byte that answers, what follows it, the end of the connection",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/startup.rs::requests_for_encryption_are_answered_before_the_login",
            "conformance/startup.rs::a_request_for_encryption_made_twice_is_refused",
        ],
    },
    Trap {
        number: 2,
        title: "GSSENCRequest, then SSLRequest or a login on the same socket",
        compared: "the bytes that answer, the login behind them",
        sizes: Own,
        verdict: DiffersBecause(
            "GSSAPI encryption is declined with `N`, as by a PostgreSQL that was built without it",
        ),
        tests: &["conformance/startup.rs::gss_encryption_is_declined_and_the_login_goes_on"],
    },
    Trap {
        number: 3,
        title: "lengths of StartupMessage and CancelRequest, missing ends, trailing bytes",
        compared: "the error or the end of the connection",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/startup.rs::startup_packets_that_postgresql_refuses_are_refused_alike",
            "conformance/startup.rs::requests_to_cancel_of_any_length_are_closed_without_a_word",
            "conformance/startup.rs::a_login_may_come_in_pieces",
            "conformance/startup.rs::a_query_in_the_packet_of_the_last_proof_is_answered",
        ],
    },
    Trap {
        number: 4,
        title: "protocol versions and `_pq_.` options",
        compared: "NegotiateProtocolVersion and its place; FATAL 0A000 for other majors",
        sizes: All,
        verdict: DiffersBecause(
            "3.2 is spoken whatever the server's version is; below 18 PostgreSQL answers with 3.0",
        ),
        tests: &[
            "conformance/startup.rs::newer_minor_versions_and_options_are_negotiated",
            "conformance/startup.rs::startup_packets_that_postgresql_refuses_are_refused_alike",
            "real/login.rs::protocol_3_2_gets_a_long_key_and_3_0_a_short_one",
        ],
    },
    Trap {
        number: 5,
        title: "length of cancel keys",
        compared: "4 bytes for 3.0 as PostgreSQL's, 32 for 3.2",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/startup.rs::a_login_tells_everything_in_postgresqls_order",
            "real/login.rs::protocol_3_2_gets_a_long_key_and_3_0_a_short_one",
        ],
    },
    Trap {
        number: 6,
        title: "`options`: escapes, switches, duplicates, case",
        compared: "the login, the settings afterwards, the errors",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/state/startup_values.rs::options_are_read_as_postgresql_reads_them",
            "conformance/state/startup_values.rs::options_that_postgresql_refuses_are_refused_alike",
        ],
    },
    Trap {
        number: 7,
        title: "replication connections, the default database, unknown users and databases",
        compared: "the steps of the login, SQLSTATE and text of the refusal",
        sizes: All,
        verdict: Identical,
        tests: &["conformance/startup.rs::databases_users_and_their_defaults"],
    },
    Trap {
        number: 8,
        title: "ParameterStatus at login is the client's own",
        compared: "every ParameterStatus in PostgreSQL's order, SHOW afterwards",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/state/startup_values.rs::startup_parameters_are_the_clients_own_and_reported_as_the_server_spells_them",
            "conformance/startup.rs::a_login_tells_everything_in_postgresqls_order",
            "conformance/startup.rs::names_are_cut_where_postgresql_cuts_them",
        ],
    },
    Trap {
        number: 9,
        title: "no oracle in failed logins; logins that never end",
        compared: "unknown user and wrong password: the same steps, SQLSTATE, text",
        sizes: Own,
        verdict: Identical,
        tests: &[
            "conformance/startup.rs::a_wrong_password_is_refused_alike",
            "conformance/startup.rs::a_client_that_leaves_during_the_login_disturbs_nobody",
            "real/login.rs::an_unknown_user_hears_exactly_what_a_wrong_password_hears",
            "handshake.rs::a_client_that_leaves_or_stays_silent_is_an_error_of_its_kind",
        ],
    },
    Trap {
        number: 10,
        title: "SCRAM: flags, nonces, cached keys, password changes",
        compared: "the exchange against PostgreSQL's",
        sizes: Own,
        verdict: OfThePooler,
        tests: &[
            "conformance/startup.rs::a_wrong_password_is_refused_alike",
            "handshake.rs::a_client_s_login_reveals_the_keys_for_a_server_with_the_same_verifier",
        ],
    },
];
