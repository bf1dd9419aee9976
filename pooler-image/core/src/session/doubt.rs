//! What is not known of a session.

/// What the server must be asked before another client may have the connection. A later one includes the earlier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// Nothing.
    #[default]
    None,
    /// Whether the session holds something that no other can be given.
    Holds,
    /// That, and which settings it has.
    Settings,
}

/// What triggers, rules and defaults may do to a session, at so many definitions by anybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Triggers {
    /// Nobody has answered yet.
    #[default]
    Unknown,
    /// None of them changes its session.
    Harmless(u64),
    /// One may: after every write the server is asked.
    Stateful(u64),
}
