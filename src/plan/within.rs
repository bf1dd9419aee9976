//! The condition `WithinBudget`: whether all fits, with the sum in full.

use crate::api::{BudgetMode, Reason};

use super::budget::Sum;
use super::conditions::{Finding, Seen};
use super::facts::Account;
use super::rollout;

/// What is found.
pub fn within_budget(seen: Seen<'_>) -> Finding {
    let Some(sum) = &seen.verdict.sum else {
        let text = "nothing can be reckoned before the target answers".to_owned();
        return Finding::unknown(Reason::BudgetUnknown, text);
    };
    if seen.object.spec.budget.mode == BudgetMode::Observe {
        return Finding::unknown(Reason::Observing, observing(sum));
    }
    if let Some(blocked) = seen.verdict.blocked.as_ref().filter(|b| b.reason == Reason::BudgetTooSmall) {
        return Finding::not(blocked.reason, blocked.message.clone());
    }
    too_much(seen, sum).or_else(|| clamped(seen, sum)).unwrap_or_else(|| fits(seen, sum))
}

/// What exists does not fit.
fn too_much(seen: Seen<'_>, sum: &Sum) -> Option<Finding> {
    let pods = seen.facts.pods.len();
    let floors = rollout::floors(&seen.facts.pods);
    if floors > sum.reserve() && pods as u64 > u64::from(sum.max_pods) {
        let text = format!(
            "{pods} pods exist where {} were reckoned with; wait until the old ones have drained before deleting more",
            sum.max_pods
        );
        return Some(Finding::not(Reason::TooManyPods, text));
    }
    let (charged, budget) = match &seen.facts.account {
        Some(account) => (account.charged(), account.budget),
        None => (floors, sum.part),
    };
    (charged > budget).then(|| {
        let text = format!(
            "pods could still hold {charged}, the budget is {budget}; nothing is opened until enough has been given \
             back ({})",
            sum.explain()
        );
        Finding::not(Reason::BudgetShrank, text)
    })
}

/// Fewer pods than the spec allows fit.
fn clamped(seen: Seen<'_>, sum: &Sum) -> Option<Finding> {
    let wanted = seen.object.spec.max_replicas;
    (i64::from(sum.max_replicas) < i64::from(wanted)).then(|| {
        let text = format!(
            "maxReplicas {wanted} would need {} connections (2 x {wanted} + 1 pods), {} are there: at most {} pods run; \
             raise the budget or lower maxReplicas ({}; {})",
            2 * i64::from(wanted) + 1,
            sum.part,
            sum.max_replicas,
            sum.explain(),
            line(seen, sum)
        );
        Finding::not(Reason::ScaleExceedsBudget, text)
    })
}

fn fits(seen: Seen<'_>, sum: &Sum) -> Finding {
    let text = format!("{}; {}", sum.explain(), line(seen, sum));
    let (peak, asked) = (sum.places.foreign_peak, seen.object.spec.budget.keep_free);
    if i64::from(peak) > i64::from(asked) {
        let whose = seen.verdict.server.as_ref().map(|server| server.whose.as_str()).unwrap_or_default();
        let who = if whose.is_empty() { String::new() } else { format!(" (now of {whose})") };
        let text = format!(
            "others had {peak} sessions at once{who}, keepFree is {asked}: {peak} are kept free; {text}"
        );
        return Finding::yes(Reason::ForeignSessionsHigh, text);
    }
    let others: Vec<_> = seen.facts.sharing.others.iter().map(|other| other.name.as_str()).collect();
    if others.is_empty() {
        Finding::yes(Reason::WithinBudget, text)
    } else {
        Finding::yes(Reason::Shared, format!("{text}; shared with {}", others.join(", ")))
    }
}

/// The sum of what is given out, or of what will be.
fn line(seen: Seen<'_>, sum: &Sum) -> String {
    match &seen.facts.account {
        Some(account) => balance(account),
        None => format!("{} pods x {} = {} set aside", sum.max_pods, sum.floor, sum.reserve()),
    }
}

fn balance(account: &Account) -> String {
    let (charged, aside, budget) = (account.charged(), account.aside, account.budget);
    let both = charged.saturating_add(aside);
    if both <= budget {
        format!("charged {charged} + set aside {aside} = {both} <= {budget}")
    } else {
        let back = both - budget;
        format!(
            "charged {charged} + set aside {aside} = {both}, budget {budget}: {back} are being taken back"
        )
    }
}

fn observing(sum: &Sum) -> String {
    format!(
        "nothing is limited; Enforce would give: {}; of it {} pods x {} = {} set aside",
        sum.explain(),
        sum.max_pods,
        sum.floor,
        sum.reserve()
    )
}
