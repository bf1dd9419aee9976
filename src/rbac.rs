//! Every call that the operator makes to the API server: its roles need this and no more.
//!
//! Server-side apply of an object that does not exist needs `create` beside `patch`. A `get` of a child is made only
//! before it is created, to see that the name is free.

/// Calls on one kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// API group; empty: the core group.
    pub group: &'static str,
    /// Resource, with its subresource.
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Where.
    pub scope: Scope,
}

/// Where calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace that is watched: all, or those of `--watch-namespace`.
    Watched,
    /// In the operator's own namespace.
    Own,
}

const CHILD: &[&str] = &["get", "list", "watch", "create", "patch"];

const REMOVED: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// All calls.
pub const CALLS: &[Calls] = &[
    // patch: the finalizer of those whose fence is managed
    watched("pgpooler.dev", "pgpoolers", &["get", "list", "watch", "patch"]),
    watched("pgpooler.dev", "pgpoolers/status", &["patch"]),
    // those that PgPoolers name are read, all are watched by name and version only
    watched("", "configmaps", CHILD),
    // delete: the one for applications, when it is wanted no more
    watched("", "secrets", REMOVED),
    watched("", "serviceaccounts", CHILD),
    watched("", "services", CHILD),
    watched("", "pods", &["list", "watch"]),
    watched("apps", "deployments", CHILD),
    watched("policy", "poddisruptionbudgets", REMOVED),
    watched("networking.k8s.io", "networkpolicies", REMOVED),
    watched("cert-manager.io", "certificates", REMOVED),
    watched("monitoring.coreos.com", "podmonitors", REMOVED),
    watched("events.k8s.io", "events", &["create", "patch"]),
    Calls {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["get", "create", "update"],
        scope: Scope::Own,
    },
];

const fn watched(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Calls {
    Calls { group, resource, verbs, scope: Scope::Watched }
}
