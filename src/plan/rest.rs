//! Whether a `PgPooler` has to be looked at again soon although nobody has news of it.

use crate::api::{PgPoolerStatus, Reason};

use super::facts::{Coverage, Facts};

/// What a watch, the session on the target or a pod tells of by itself when it changes. The rest is looked for.
const TOLD: [Reason; 29] = [
    Reason::NoPodReady,
    Reason::PodsNotReady,
    Reason::ScaledToZero,
    Reason::NoPods,
    Reason::SecretMissing,
    Reason::SecretInvalid,
    Reason::CertificateInvalid,
    Reason::CertificateExpiring,
    Reason::CertificateExpired,
    Reason::SpecInvalid,
    Reason::NotResolved,
    Reason::Unreachable,
    Reason::TlsFailed,
    Reason::WrongRole,
    Reason::AuthenticationFailed,
    Reason::TooManyConnections,
    Reason::Refused,
    Reason::BudgetUnknown,
    Reason::ScaleExceedsBudget,
    Reason::BudgetTooSmall,
    Reason::ForeignSessionsHigh,
    Reason::Observing,
    Reason::Held,
    Reason::Pushing,
    Reason::RollingOut,
    Reason::Pausing,
    Reason::NotPaused,
    Reason::FenceLoose,
    Reason::FenceOff,
];

/// Nothing is under way, and whatever may change will be told: by watches, by the target's session, by pods.
pub fn rests(status: &PgPoolerStatus, facts: &Facts) -> bool {
    let told = |reason: &str| TOLD.iter().any(|told| told.as_str() == reason);
    let calm = status.conditions.iter().all(|one| one.status == "True" || told(&one.reason));
    let covered = facts.account.as_ref().is_none_or(|account| account.coverage != Coverage::Short);
    // places that the server hides come back with time alone, and what vanished pods hold is asked for
    calm && covered && facts.sharing.hidden == 0 && facts.vanished.is_empty()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(conditions: &[(&str, Reason)]) -> PgPoolerStatus {
        let condition = |(status, reason): &(&str, Reason)| Condition {
            type_: "Ready".into(),
            status: (*status).into(),
            reason: reason.as_str().into(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        PgPoolerStatus { conditions: conditions.iter().map(condition).collect(), ..PgPoolerStatus::default() }
    }

    #[test]
    fn only_what_nobody_tells_of_is_looked_for() {
        let facts = Facts::default();
        let rests = |conditions: &[_]| super::rests(&status(conditions), &facts);
        assert!(rests(&[
            ("True", Reason::Ready),
            ("False", Reason::NotPaused),
            ("True", Reason::FenceMatches)
        ]));
        assert!(rests(&[("False", Reason::NoPodReady)]), "pods are watched");
        for reason in [Reason::FenceDenied, Reason::WaitingForBudget, Reason::Rejected, Reason::LookupFailed]
        {
            assert!(!rests(&[("True", Reason::Ready), ("False", reason)]), "{reason:?}");
        }
    }
}
