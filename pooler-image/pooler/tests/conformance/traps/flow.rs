//! Traps of COPY and of the flow of bytes.

use super::Sizes::{All, Own};
use super::Trap;
use super::Verdict::{DiffersBecause, Identical};

pub(super) const TRAPS: &[Trap] = &[
    Trap {
        number: 33,
        title: "Sync and Flush during COPY IN owe nothing",
        compared: "whole replies; silence",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/copy.rs::sync_and_flush_during_copy_are_ignored",
            "conformance/copy.rs::copy_in_by_a_simple_query",
            "conformance/extended.rs::copy_data_outside_of_copy_is_ignored",
        ],
    },
    Trap {
        number: 34,
        title: "an error of the server during COPY IN; late data, done and fail",
        compared: "when the error comes, what follows the late messages",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/copy.rs::an_error_during_copy_comes_at_once_and_the_rest_is_swallowed",
            "conformance/copy.rs::a_large_copy_that_fails_early",
            "conformance/copy.rs::a_message_that_copy_does_not_know_ends_it",
        ],
    },
    Trap {
        number: 35,
        title: "errors of COPY in the extended protocol; clients that leave during COPY",
        compared: "whole replies; the table afterwards",
        sizes: All,
        verdict: DiffersBecause("a client that closes its side in the middle of COPY is not told of it"),
        tests: &[
            "conformance/copy.rs::an_error_in_an_extended_copy_skips_to_the_sync_behind_it",
            "conformance/copy.rs::a_client_that_leaves_during_copy_takes_nothing_with_it",
        ],
    },
    Trap {
        number: 36,
        title: "COPY OUT with a slow reader, a client that leaves in a row",
        compared: "whole replies; the server afterwards",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/copy.rs::copy_out_in_all_forms",
            "conformance/copy.rs::a_client_that_leaves_in_the_middle_of_copy_out",
            "conformance/flow.rs::a_slow_reader_misses_nothing",
        ],
    },
    Trap {
        number: 37,
        title: "rows and parameters much larger than any buffer",
        compared: "40 MB rows and 20 MB parameters whole; memory while 1 GB passes",
        sizes: All,
        verdict: Identical,
        tests: &[
            "conformance/flow.rs::large_rows_and_parameters_pass",
            "conformance/simple.rs::large_texts_pass",
            "conformance/simple.rs::many_rows_and_many_columns_pass",
        ],
    },
    Trap {
        number: 38,
        title: "a huge pipeline while the server writes results",
        compared: "2,000 batches in one write, with an error among them",
        sizes: All,
        verdict: Identical,
        tests: &["conformance/flow.rs::a_huge_pipeline_is_answered_in_order"],
    },
    Trap {
        number: 39,
        title: "a head in pieces; lengths below 4, negative, above 1 GB; unknown types",
        compared: "the error or the end of the connection",
        sizes: All,
        verdict: DiffersBecause("names of statements may have any bytes"),
        tests: &[
            "conformance/flow.rs::a_message_may_pause_in_every_byte_of_its_head",
            "conformance/flow.rs::violations_of_the_protocol_end_as_postgresql_ends_them",
            "conformance/flow.rs::a_long_sync_or_terminate_or_flush_is_refused_alike",
            "conformance/flow.rs::malformed_bodies_are_refused_in_band",
        ],
    },
    Trap {
        number: 40,
        title: "messages split anywhere",
        compared: "a mixture of everything in pieces of 1 to 64 bytes",
        sizes: All,
        verdict: Identical,
        tests: &["conformance/flow.rs::a_message_may_be_split_anywhere"],
    },
    Trap {
        number: 41,
        title: "NOTICE, ParameterStatus and NotificationResponse between any two messages",
        compared: "their place; servers that die while idle",
        sizes: Own,
        verdict: Identical,
        tests: &[
            "conformance/simple.rs::notices_come_with_their_statement",
            "conformance/simple.rs::a_notice_comes_before_its_statement_ends",
            "conformance/state/notify.rs::a_listening_client_hears_while_idle",
            "real/pools.rs::a_server_connection_that_postgresql_closes_while_idle_is_replaced_unnoticed",
        ],
    },
];
