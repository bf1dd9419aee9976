//! The operator's rights in a table, each with its reason.

use crate::rbac::{CALLS, Calls, Scope};

/// Every call that the operator makes, and what for.
pub fn rights() -> String {
    let mut page = Vec::new();
    for (scope, title) in [
        (Scope::Watched, "In every namespace that is watched"),
        (Scope::Own, "In the operator's own namespace"),
    ] {
        page.push(format!("\n## {title}\n\n| API group | Resource | Verbs | For |\n|---|---|---|---|\n"));
        for calls in CALLS.iter().filter(|calls| calls.scope == scope) {
            let Calls { group, resource, verbs, .. } = calls;
            let group = if group.is_empty() { "core".to_owned() } else { format!("`{group}`") };
            let verbs: Vec<_> = verbs.iter().map(|verb| format!("`{verb}`")).collect();
            page.push(format!("| {group} | `{resource}` | {} | {} |\n", verbs.join(", "), reason(resource)));
        }
    }
    page.concat()
}

/// What for; empty for what nobody has given a reason for.
fn reason(resource: &str) -> &'static str {
    match resource {
        "pgpoolers" => {
            "to see them; `patch` for the finalizer of those with `budget.fence: Manage`, nothing else"
        }
        "pgpoolers/status" => "conditions and figures",
        "configmaps" => {
            "the pooler's document; authorities that a PgPooler names. Others are seen by name and version only"
        }
        "secrets" => {
            "users, passwords and certificates for the pods; the Secrets that a PgPooler names. Others are seen by name and \
             version only. `delete`: the connection Secret that is wanted no more"
        }
        "serviceaccounts" => "the identity of the pods, which has no token",
        "services" => "the Service for clients and the one of the peers",
        "pods" => "which pods exist, where, and whether they have ended",
        "deployments" => "the pods",
        "poddisruptionbudgets" => "evictions; `delete` when there is to be none",
        "networkpolicies" => "who may reach the pods; `delete` when there is to be none",
        "certificates" => "`clients.tls.issuerRef`, where cert-manager is; `delete` when it is unset",
        "podmonitors" => {
            "`monitoring.podMonitor`, where the Prometheus operator is; `delete` when it is unset"
        }
        "events" => "Events of PgPoolers",
        "leases" => "which operator leads",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_has_a_reason() {
        let bare: Vec<_> =
            CALLS.iter().map(|calls| calls.resource).filter(|resource| reason(resource).is_empty()).collect();
        assert!(bare.is_empty(), "{bare:?}");
    }
}
