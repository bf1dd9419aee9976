//! The fence: the CONNECTION LIMIT of the login role, with which PostgreSQL itself can keep all pods together, whatever
//! goes wrong, within their budget.
//!
//! ```text
//! Unclaimed --Claim--> Claimed: what was there is in status, the finalizer is set --Set--> the limit is ours
//!     ^                                                                                          |
//!     '------------- Release: what was there is put back, unless others still need it -----------'
//! ```
//!
//! The limit is raised before the ledger hears of a larger budget, and lowered when a smaller one is kept to by all pods:
//! the status has what they could hold before. So no pod is refused for it, and a refusal still means that the server is
//! full.

use crate::api::{self, BudgetMode, FenceStatus, PgPooler, Reason};

use super::budget::Sum;
use super::conditions::{Finding, Seen};
use super::facts::{Fencing, Guard, Server, ServerFact};
use super::target::Target;

/// The operator's own session, for each `PgPooler`.
const OWN_SESSION: u32 = 1;

/// A CONNECTION LIMIT; `None`: none.
pub type Limit = Option<u32>;

/// What is known when it is decided.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// What is asked for.
    pub fence: api::Fence,
    /// What was there before the operator set it, if it did.
    pub claim: Option<Limit>,
    /// Others who log in as the same role.
    pub others: &'a [Guard],
    /// What the role has now.
    pub limit: Limit,
    /// What is needed; `None`: not known now.
    pub needs: Option<Needs>,
}

/// What is needed of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// By the pods of this `PgPooler` and the operator's session.
    pub own: u32,
    /// By all pods of all `PgPoolers` on the server at most.
    pub ceiling: u32,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Write down what is there, before anything is changed.
    Claim(Limit),
    /// Set the limit.
    Set(u32),
    /// Put this back, then forget it.
    Restore(Limit),
    /// Forget it: others guard the role still, and will put it back.
    Forget,
}

/// What became of a step that changes something in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The limit is this now.
    Set(Limit),
    /// It was not changed.
    Failed {
        /// In the closed vocabulary.
        reason: Reason,
        /// What was said, and what to do.
        message: String,
    },
}

/// Decides.
pub fn next(sight: Sight<'_>) -> Step {
    match (sight.fence, sight.claim, sight.needs) {
        // the first to come has written down what was there before all of them
        (api::Fence::Manage, None, Some(_)) => {
            Step::Claim(sight.others.iter().find_map(|other| other.original).unwrap_or(sight.limit))
        }
        (api::Fence::Manage, Some(original), Some(needs)) => {
            let wanted = needs.wanted(sight.others, Some(original));
            if sight.limit == Some(wanted) { Step::Keep } else { Step::Set(wanted) }
        }
        (api::Fence::Manage, _, None) => Step::Keep,
        (_, None, _) => Step::Keep,
        // it was never changed
        (_, Some(original), _) if sight.limit == original => Step::Forget,
        (_, Some(original), _) => release(original, sight.others),
    }
}

/// The end of a claim.
pub fn release(original: Limit, others: &[Guard]) -> Step {
    let guarded = others.iter().any(|other| other.original.is_some() && !other.leaving);
    if guarded { Step::Forget } else { Step::Restore(original) }
}

impl Needs {
    /// From the sum and from what the pods could hold before it.
    pub fn of(object: &PgPooler, sum: &Sum) -> Self {
        let status = object.status.as_ref();
        let known = |count: i32| u32::try_from(count).unwrap_or(0);
        let Some(old) = status.and_then(|status| status.budget.as_ref()) else {
            return Self { own: sum.cap.saturating_add(OWN_SESSION), ceiling: sum.places.budget };
        };
        let before = known(old.budget).max(known(old.charged));
        let fence = status.and_then(|status| status.fence.as_ref()).map_or(0, |fence| known(fence.needs));
        let own = sum.cap.saturating_add(OWN_SESSION);
        Self {
            // not a step down for each connection that is given back
            own: if before > sum.cap { own.max(fence).max(before.saturating_add(OWN_SESSION)) } else { own },
            ceiling: sum.places.budget.max(known(old.server_budget)),
        }
    }

    /// What all who log in as the role need, and never more than somebody has allowed before.
    pub fn wanted(&self, others: &[Guard], original: Option<Limit>) -> u32 {
        let all = others.iter().fold(self.own, |sum, other| sum.saturating_add(other.needs));
        let sessions = OWN_SESSION.saturating_mul(others.len() as u32 + 1);
        let all = all.min(self.ceiling.saturating_add(sessions));
        original.flatten().map_or(all, |original| all.min(original))
    }
}

/// What is asked for; a budget that does not bind needs no fence.
pub fn asked(object: &PgPooler) -> api::Fence {
    let budget = &object.spec.budget;
    match (budget.fence, budget.mode) {
        (api::Fence::Manage, BudgetMode::Observe) => api::Fence::Verify,
        (fence, _) => fence,
    }
}

/// What the operator has written down about the limit that was there before its own.
pub fn claim(status: Option<&FenceStatus>) -> Option<Limit> {
    status?.original.map(|original| u32::try_from(original).ok())
}

/// The limit of the role that bounds the budget: not the operator's own, which follows the budget, unless it cannot
/// follow. `own` is about this role on this server.
pub fn bound(limit: Limit, own: Option<&FenceStatus>, known: &Fencing) -> Limit {
    if known.is_stuck() {
        return limit;
    }
    claim(own).or_else(|| known.others.iter().find_map(|other| other.original)).unwrap_or(limit)
}

/// A role on a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The login role.
    pub role: String,
    /// Host and port, the same for every namespace.
    pub address: String,
}

impl Place {
    /// Where a `PgPooler` logs in.
    pub fn of(object: &PgPooler, target: &Target) -> Self {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Self { role: target.user.clone(), address: target.clone().from_elsewhere(namespace).address() }
    }

    /// Whether a status speaks of it.
    pub fn is_meant(&self, status: &FenceStatus, system_identifier: Option<&str>) -> bool {
        let same_server = match (status.system_identifier.as_deref(), system_identifier) {
            (Some(one), Some(other)) => one == other,
            _ => status.address == self.address,
        };
        status.role == self.role && same_server
    }
}

/// What the status says of the role and the server that are meant now.
pub fn own<'a>(object: &'a PgPooler, place: &Place, server: &Server) -> Option<&'a FenceStatus> {
    let status = object.status.as_ref()?.fence.as_ref()?;
    place.is_meant(status, server.system_identifier.as_deref()).then_some(status)
}

/// What the status says of it: also where nothing is done, since others may log in as the same role.
pub fn status(seen: Seen<'_>) -> Option<FenceStatus> {
    let old = seen.object.status.as_ref().and_then(|status| status.fence.clone());
    let (Some(sum), Some(place), Some(server)) =
        (&seen.verdict.sum, &seen.verdict.place, &seen.verdict.server)
    else {
        return old;
    };
    let needs = Needs::of(seen.object, sum);
    let original = claim(old.as_ref());
    Some(FenceStatus {
        role: place.role.clone(),
        address: place.address.clone(),
        system_identifier: server.system_identifier.clone(),
        needs: number(needs.own),
        wanted: number(needs.wanted(&seen.facts.fence.others, original)),
        original: old.and_then(|old| old.original),
    })
}

/// The condition.
pub fn fenced(seen: Seen<'_>) -> Finding {
    if asked(seen.object) == api::Fence::Off {
        return Finding::unknown(Reason::FenceOff, "spec.budget.fence is Off".to_owned());
    }
    let (ServerFact::Seen(server), Some(status)) = (&seen.facts.server, status(seen)) else {
        return Finding::unknown(
            Reason::BudgetUnknown,
            "nothing can be compared before the target answers".to_owned(),
        );
    };
    let limit = match &seen.facts.fence.outcome {
        Some(Outcome::Failed { reason, message }) => return Finding::not(*reason, message.clone()),
        Some(Outcome::Set(limit)) => *limit,
        None => server.role_limit,
    };
    compared(&status, limit)
}

fn compared(status: &FenceStatus, limit: Limit) -> Finding {
    let FenceStatus { role, wanted, .. } = status;
    let what = format!("role `{role}`: budget and the operator's sessions need {wanted}");
    match limit.map(|limit| (number(limit), number(limit).cmp(wanted))) {
        None => Finding::not(
            Reason::FenceLoose,
            format!("{what}, no CONNECTION LIMIT binds it; PostgreSQL itself does not guard the budget"),
        ),
        Some((limit, std::cmp::Ordering::Equal)) => {
            Finding::yes(Reason::FenceMatches, format!("{what}, which is its CONNECTION LIMIT {limit}"))
        }
        Some((limit, std::cmp::Ordering::Greater)) => Finding::not(
            Reason::FenceLoose,
            format!("{what}, its CONNECTION LIMIT is {limit}; lower it, or set spec.budget.fence to Manage"),
        ),
        Some((limit, std::cmp::Ordering::Less)) => Finding::not(
            Reason::FenceTight,
            format!(
                "{what}, its CONNECTION LIMIT is {limit}: clients wait although there is budget; raise it"
            ),
        ),
    }
}

/// What a superuser runs once, in the database that the operator connects to, so that the role may set its own limit and
/// nothing else: PostgreSQL 16 and later let no ordinary role do so.
pub fn helper(role: &str) -> String {
    let role = identifier(role);
    format!(
        "CREATE SCHEMA IF NOT EXISTS pgpooler; \
         CREATE FUNCTION pgpooler.set_connection_limit(connections integer) RETURNS void LANGUAGE plpgsql \
         SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN EXECUTE \
         format('ALTER ROLE %I CONNECTION LIMIT %s', session_user, connections); END $$; \
         REVOKE ALL ON FUNCTION pgpooler.set_connection_limit(integer) FROM PUBLIC; \
         GRANT USAGE ON SCHEMA pgpooler TO {role}; \
         GRANT EXECUTE ON FUNCTION pgpooler.set_connection_limit(integer) TO {role}"
    )
}

/// Quoted for SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// As PostgreSQL has it: -1 is none.
pub fn number_of(limit: Limit) -> i32 {
    limit.map_or(-1, number)
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEEDS: Needs = Needs { own: 78, ceiling: 87 };

    fn sight(fence: api::Fence, claim: Option<Limit>, limit: Limit) -> Sight<'static> {
        Sight { fence, claim, others: &[], limit, needs: Some(NEEDS) }
    }

    fn guard(original: Option<Limit>) -> Guard {
        Guard { needs: 22, original, leaving: false }
    }

    #[test]
    fn what_was_there_is_written_down_before_anything_is_set() {
        use api::Fence::Manage;
        assert_eq!(next(sight(Manage, None, None)), Step::Claim(None));
        assert_eq!(next(sight(Manage, None, Some(200))), Step::Claim(Some(200)));
        assert_eq!(next(sight(Manage, Some(None), None)), Step::Set(78));
        assert_eq!(next(sight(Manage, Some(None), Some(78))), Step::Keep);
        assert_eq!(next(sight(Manage, Some(None), Some(60))), Step::Set(78), "after somebody else's hand");
        assert_eq!(
            next(sight(Manage, Some(Some(50)), Some(78))),
            Step::Set(50),
            "never more than was allowed"
        );
        assert_eq!(next(Sight { needs: None, ..sight(Manage, Some(None), None) }), Step::Keep);
    }

    #[test]
    fn it_is_put_back_when_it_is_not_managed_any_more() {
        for fence in [api::Fence::Off, api::Fence::Verify] {
            assert_eq!(next(sight(fence, Some(Some(9)), Some(78))), Step::Restore(Some(9)));
            assert_eq!(next(sight(fence, Some(None), Some(78))), Step::Restore(None));
            assert_eq!(next(sight(fence, None, Some(78))), Step::Keep);
            assert_eq!(next(sight(fence, Some(Some(78)), Some(78))), Step::Forget, "it was never changed");
        }
    }

    #[test]
    fn those_who_log_in_as_one_role_have_one_fence() {
        let other = [guard(Some(None))];
        let with = |claim, limit| Sight { others: &other, ..sight(api::Fence::Manage, claim, limit) };
        assert_eq!(
            next(with(None, Some(22))),
            Step::Claim(None),
            "what the first has found, not what it has set"
        );
        assert_eq!(next(with(Some(None), Some(22))), Step::Set(89), "the server's budget, and two sessions");
        let roomy = Needs { ceiling: 500, ..NEEDS };
        assert_eq!(next(Sight { needs: Some(roomy), ..with(Some(None), Some(22)) }), Step::Set(100));
        assert_eq!(release(None, &other), Step::Forget);
        assert_eq!(release(Some(5), &[guard(None)]), Step::Restore(Some(5)));
        let leaving = Guard { leaving: true, ..other[0] };
        assert_eq!(release(None, &[leaving]), Step::Restore(None), "the last two go together");
    }

    #[test]
    fn it_is_lowered_when_the_pods_keep_to_less() {
        let (mut object, mut sum) = (PgPooler::new("orders", spec()), Sum { cap: 60, ..Sum::default() });
        assert_eq!(Needs::of(&object, &sum).own, 61);
        let mut seen = |cap: u32, budget, charged, needs| {
            object.status = Some(api::PgPoolerStatus {
                budget: Some(api::BudgetStatus { budget, charged, ..api::BudgetStatus::default() }),
                fence: Some(FenceStatus { needs, ..FenceStatus::default() }),
                ..api::PgPoolerStatus::default()
            });
            sum.cap = cap;
            Needs::of(&object, &sum).own
        };
        assert_eq!(seen(80, 60, 60, 61), 81, "raised at once");
        assert_eq!(seen(20, 60, 10, 61), 61, "the pods have not heard of it");
        assert_eq!(seen(20, 20, 55, 61), 61, "some have not given back");
        assert_eq!(seen(20, 20, 21, 61), 61);
        assert_eq!(seen(20, 20, 20, 61), 21);
    }

    fn spec() -> api::PgPoolerSpec {
        let text = r#"{"target": {"secretRef": {"name": "db"}}}"#;
        serde_json::from_str(text).expect("the smallest spec")
    }

    #[test]
    fn our_own_limit_does_not_bound_the_budget() {
        let own = |original| FenceStatus { original, ..FenceStatus::default() };
        let known = |original| Fencing { others: vec![guard(original)], outcome: None };
        assert_eq!(bound(Some(78), Some(&own(Some(-1))), &Fencing::default()), None);
        assert_eq!(bound(Some(78), Some(&own(Some(90))), &Fencing::default()), Some(90));
        assert_eq!(bound(Some(78), Some(&own(None)), &Fencing::default()), Some(78));
        assert_eq!(bound(Some(78), None, &known(Some(None))), None);
        assert_eq!(bound(Some(78), None, &known(None)), Some(78));
        let failed = Outcome::Failed { reason: Reason::FenceDenied, message: String::new() };
        let stuck = Fencing { outcome: Some(failed), ..known(Some(None)) };
        assert_eq!(bound(Some(78), Some(&own(Some(-1))), &stuck), Some(78), "it cannot be raised");
    }

    #[test]
    fn a_role_s_name_cannot_break_out_of_its_quotes() {
        assert_eq!(identifier("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
    }

    fn any_limit() -> impl Strategy<Value = Limit> {
        prop::option::of(0u32..200)
    }

    proptest! {
        #[test]
        fn carried_out_it_comes_to_rest_and_ends_where_it_began(
            limit in any_limit(), needs in prop::collection::vec(1u32..100, 1..6), hand in any_limit(),
        ) {
            let (mut now, mut claim) = (limit, None);
            for needs in needs {
                for turn in 0..4 {
                    let sight = Sight { fence: api::Fence::Manage, claim, others: &[], limit: now, needs: Some(Needs { own: needs, ceiling: 500 }),
                    };
                    match next(sight) {
                        Step::Keep => break,
                        Step::Claim(found) => claim = Some(found),
                        Step::Set(wanted) => now = Some(wanted),
                        step => prop_assert!(false, "{step:?}"),
                    }
                    prop_assert!(turn < 3);
                }
                prop_assert_eq!(now, Some(limit.map_or(needs, |limit| needs.min(limit))));
                now = hand.or(now);
            }
            let sight = Sight { fence: api::Fence::Verify, claim, others: &[], limit: now, needs: None };
            prop_assert_eq!(next(sight), if now == limit { Step::Forget } else { Step::Restore(limit) });
        }
    }
}
