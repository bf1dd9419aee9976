//! Rules that can be broken on purpose: a model that does not notice proves nothing.

/// A rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A pod that was just met gets more only after the Lease is confirmed.
    ConfirmBeforeGrant,
    /// Pods that have not answered a new leader are charged with all that the answers leave.
    ChargeTheUnheard,
    /// What a dead process held counts until the server has noticed.
    WaitForBackends,
    /// A larger budget is written down before it is used.
    WriteAhead,
    /// Pods refuse who does not lead any more.
    RefuseOldEpochs,
    /// Pods ask a server that has restarted how large it is.
    AskTheServer,
}

impl Rule {
    /// All of them, each with a scene in which breaking it is noticed.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::ConfirmBeforeGrant, "newborn"),
        (Self::ChargeTheUnheard, "takeover"),
        (Self::WaitForBackends, "deaths"),
        (Self::WriteAhead, "rise-and-takeover"),
        (Self::RefuseOldEpochs, "takeover"),
        (Self::AskTheServer, "restart"),
    ];
}
