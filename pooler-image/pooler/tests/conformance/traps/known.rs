//! Scripts that differ, each with the reason; the suite fails when one of them no longer does.

/// Test, label of the script, why.
pub(crate) const KNOWN: &[(&str, &str, &str)] = &[
    (
        "copy::a_client_that_leaves_during_copy_takes_nothing_with_it",
        "half",
        "a client that closes its side in the middle of COPY is closed without PostgreSQL's two last errors",
    ),
    (
        "flow::malformed_bodies_are_refused_in_band",
        "a name of another encoding",
        "names of statements are the pooler's own affair and may have any bytes",
    ),
];
