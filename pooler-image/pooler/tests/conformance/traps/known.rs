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
    (
        "extended::portals::a_table_that_changes_changes_no_plan_of_a_fresh_client",
        "gone",
        "Describe of a statement whose table is gone gives its error without ParameterDescription before it",
    ),
];

/// The same for those that differ on some server connections only.
pub(crate) const KNOWN_SOMETIMES: &[(&str, &str, &str)] = &[(
    "extended::names::a_text_that_never_parses_fails_each_time_the_same",
    "",
    "Describe of a statement whose table is gone gives its error without ParameterDescription before it",
)];
