//! The closed vocabulary of conditions: what is said of a `PgPooler`, and why.

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Summary: everything below is as it should be, and all wanted pods are ready.
    Ready,
    /// The operator has a session on the target with the given credentials.
    TargetReachable,
    /// All pods that may exist fit in the budget.
    WithinBudget,
    /// All pods run the configuration that the spec asks for.
    ConfigApplied,
    /// At least one pod serves clients.
    Available,
    /// The login role's CONNECTION LIMIT guards the budget. For people: `Ready` does not depend on it.
    Fenced,
    /// The certificates that the spec names are good. For people: `Ready` does not depend on it.
    CertificatesValid,
    /// Roles can be looked up in PostgreSQL.
    LookupReady,
    /// No client is served, as the spec asks. For people: `Ready` does not depend on it.
    Paused,
}

impl ConditionType {
    /// In the order in which status lists them.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::TargetReachable,
        Self::WithinBudget,
        Self::ConfigApplied,
        Self::Available,
        Self::Fenced,
        Self::CertificatesValid,
        Self::LookupReady,
        Self::Paused,
    ];

    /// As written in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::TargetReachable => "TargetReachable",
            Self::WithinBudget => "WithinBudget",
            Self::ConfigApplied => "ConfigApplied",
            Self::Available => "Available",
            Self::Fenced => "Fenced",
            Self::CertificatesValid => "CertificatesValid",
            Self::LookupReady => "LookupReady",
            Self::Paused => "Paused",
        }
    }
}

/// Declares the reasons once, with their spelling.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a condition has its status. Closed: also the label of metrics and the reason of events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As written in status and events.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

reasons! {
    /// All is well.
    Ready,
    /// The session on the target is up.
    Reachable,
    /// The Secret that `target.secretRef` names does not exist.
    SecretMissing,
    /// The Secret exists, but what is needed is not in it or cannot be read.
    SecretInvalid,
    /// The API server does not have a kind of another operator that the spec needs.
    KindMissing,
    /// A certificate, a key or an authority cannot be read, or does not go with the other.
    CertificateInvalid,
    /// All certificates are good for two weeks more at least.
    CertificatesValid,
    /// A certificate ends within two weeks.
    CertificateExpiring,
    /// A certificate has ended.
    CertificateExpired,
    /// No certificate of somebody else is in use.
    NoCertificates,
    /// A field of the spec has a value that the schema could not refuse.
    SpecInvalid,
    /// The target's host name has no address.
    NotResolved,
    /// Nothing answers at the target's address.
    Unreachable,
    /// No TLS with the target: it has none, or its certificate will not do.
    TlsFailed,
    /// The target is a standby and should be a primary, or the other way round.
    WrongRole,
    /// The target refuses the user name or the password.
    AuthenticationFailed,
    /// The target has no connection free for the operator itself.
    TooManyConnections,
    /// The target answers and refuses for another reason.
    Refused,
    /// The sum fits.
    WithinBudget,
    /// Nothing is known of the target yet, so nothing can be summed.
    BudgetUnknown,
    /// The sum fits, and other `PgPoolers` on the same server have their part of it.
    Shared,
    /// The sum fits, and others use more of the server than is kept free for them.
    ForeignSessionsHigh,
    /// Nothing is limited: `budget.mode` is `Observe`.
    Observing,
    /// `maxReplicas` pods with their successors would have less than one connection each.
    ScaleExceedsBudget,
    /// The budget does not even bear one pod.
    BudgetTooSmall,
    /// Pods that exist hold more than the budget that is left.
    BudgetShrank,
    /// More pods exist than were counted on; somebody deletes pods faster than they drain.
    TooManyPods,
    /// All pods run the current configuration.
    Applied,
    /// Pods are being told the current configuration.
    Pushing,
    /// A pod runs with settings that only its successor can change.
    NeedsRestart,
    /// A rollout is under way.
    RollingOut,
    /// A rollout or a scale-up waits until older pods have given back their connections.
    WaitingForBudget,
    /// The current configuration cannot be rendered, the pods keep the one they have.
    Held,
    /// No pod is wanted and none exists, so nothing runs the configuration.
    NoPods,
    /// Pods serve clients.
    PodsReady,
    /// Fewer pods are ready than are wanted.
    PodsNotReady,
    /// No pod serves clients.
    NoPodReady,
    /// `replicas` is 0.
    ScaledToZero,
    /// The role's CONNECTION LIMIT is what budget and operator need.
    FenceMatches,
    /// The role may have more connections than that.
    FenceLoose,
    /// The role may not have as many.
    FenceTight,
    /// The operator may not set the limit.
    FenceDenied,
    /// The limit could not be set for another reason.
    FenceFailed,
    /// A limit that the operator has set stays, since it could not be put back.
    FenceAbandoned,
    /// Nobody looks.
    FenceOff,
    /// The query finds roles.
    LookupWorks,
    /// The function that looks up roles is not there, or its caller may not call it.
    LookupFunctionMissing,
    /// The query fails for another reason.
    LookupFailed,
    /// `auth.query` is not set.
    NoLookup,
    /// All clients wait, and no server connection is in use.
    Paused,
    /// Pods are being told to let clients wait, or transactions are still running.
    Pausing,
    /// Clients are served.
    NotPaused,
    /// An object with the name of a child exists and is not ours.
    NameConflict,
    /// The API server refused a child, or a pod its configuration.
    Rejected,
}
