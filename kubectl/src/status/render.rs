//! A report as text: the sum as `explain` prints it, then what is wrong, then the pods.

use std::fmt::Write as _;

use pgpooler_operator::api::BudgetStatus;

use super::{PodReport, Report};
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// So many characters of a hash are enough for people.
const HASH: usize = 12;

/// All reports, an empty line between.
pub fn text(reports: &[Report]) -> String {
    reports.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(report: &Report) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = writeln!(
        text,
        "{}/{}: {} of replicas {}, maxReplicas {}{}",
        report.namespace,
        report.name,
        report.ready.as_deref().map_or("?", |ready| ready.split('/').next().unwrap_or(ready)),
        report.replicas,
        report.max_replicas,
        report.target.as_ref().map_or_else(String::new, |target| format!("; {target}"))
    );
    match &report.budget {
        Some(budget) => sum(&mut text, budget, report.waiting),
        None => text.push_str("  the budget was not reckoned yet\n"),
    }
    problems(&mut text, report);
    pods(&mut text, &report.pods);
    for unseen in &report.unseen {
        let _ = writeln!(text, "  not seen: {unseen}");
    }
    text
}

fn sum(text: &mut String, budget: &BudgetStatus, waiting: Option<i32>) {
    let mut lines = vec![
        ("max_connections", budget.max_connections, String::new()),
        ("- reserved", budget.reserved, "superuser_reserved_connections, reserved_connections".to_owned()),
        ("= usable", budget.usable, "what ordinary roles can have".to_owned()),
    ];
    if budget.hidden > 0 {
        lines.push(("- hidden", budget.hidden, "not to be had, as refusals have taught".to_owned()));
    }
    let peak = format!("others have {}, {} at their peak", budget.foreign, budget.foreign_peak);
    lines.push(("- kept free", budget.keep_free, peak));
    lines.push(("= server budget", budget.server_budget, shared(budget)));
    for (what, limit) in
        [("limit of the role", budget.role_limit), ("limit of the database", budget.database_limit)]
    {
        if let Some(limit) = limit {
            lines.push((what, limit, "less the operator's session".to_owned()));
        }
    }
    let least = "the least of these and of serverConnections";
    lines.push(("budget", budget.budget, least.to_owned()));
    if budget.part != budget.budget {
        lines.push(("part", budget.part, "when all PgPoolers on the server want more".to_owned()));
    }
    let pods = format!("of each pod without an operator; {} pods at most", budget.max_pods);
    lines.push(("floor", budget.floor, pods));
    lines.push(("charged", budget.charged, "the most that pods could be holding".to_owned()));
    lines.push(("aside", budget.aside, "floors of pods that could still come".to_owned()));
    let waiting = waiting.map_or_else(String::new, |waiting| format!("{waiting} clients wait"));
    lines.push(("used", budget.used, waiting));
    let widest = lines.iter().map(|(what, ..)| what.len()).max().unwrap_or(0);
    for (what, number, remark) in lines {
        let line = format!("  {what:<widest$}  {number:>6}   {remark}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn shared(budget: &BudgetStatus) -> String {
    if budget.shared_with.is_empty() {
        "all pods of all PgPoolers on the server together".to_owned()
    } else {
        format!("together with {}", budget.shared_with.join(", "))
    }
}

fn problems(text: &mut String, report: &Report) {
    // what another condition says too is said once
    let repeated =
        |reason: &str| report.problems.iter().filter(|problem| problem.reason == reason).count() > 1;
    for problem in &report.problems {
        if problem.condition == "Ready" && repeated(&problem.reason) {
            continue;
        }
        let _ = writeln!(
            text,
            "\n  {} is {} ({}): {}",
            problem.condition, problem.status, problem.reason, problem.message
        );
        if let Some(advice) = &problem.advice {
            let _ = writeln!(text, "    {advice}");
        }
    }
}

fn pods(text: &mut String, pods: &[PodReport]) {
    if pods.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        ("POD", Left),
        ("PHASE", Left),
        ("FLOOR", Right),
        ("LIMIT", Right),
        ("USED", Right),
        ("WAITING", Right),
        ("CONFIG", Left),
    ]);
    for pod in pods {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let hash = pod.config_hash.as_deref().unwrap_or("-");
        table.row([
            pod.name.clone(),
            pod.phase.clone(),
            number(pod.floor),
            number(pod.limit),
            number(pod.held),
            number(pod.waiting),
            hash.chars().take(HASH).collect(),
        ]);
    }
    text.push('\n');
    table.write(text, 2);
    if pods.iter().any(|pod| !pod.live) {
        text.push_str("  Pods without a number of waiting clients were not asked: their figures are up to 30 seconds old.\n");
    }
}
