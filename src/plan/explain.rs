//! The sum of `pgpooler-operator explain`: what a cluster would reckon, without one.

use std::fmt::Write as _;

use crate::api::{Budget, BudgetMode, PgPooler};

use super::budget::{Places, Sum, Terms, reckon};
use super::facts::{Neighbour, Server, Sharing};

/// The arithmetic cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// Nothing to explain.
    #[error("there is no PgPooler in what was given")]
    NoPgPooler,
    /// A number that the API server would refuse.
    #[error(
        "PgPooler `{0}`: maxReplicas and keepFree must not be negative, serverConnections must be a number above 0 or a \
         percentage"
    )]
    NoNumber(String),
}

/// One `PgPooler` and its sum.
struct Entry<'a> {
    name: String,
    object: &'a PgPooler,
    sum: Sum,
}

/// The sums of these `PgPoolers`, which are taken to be all on one `server` and to log in as one role, with so many
/// sessions of others at their peak.
pub fn explain(poolers: &[PgPooler], server: &Server, foreign: u32) -> Result<String, ExplainError> {
    let entries = entries(poolers, server, foreign)?;
    let first = entries.first().ok_or(ExplainError::NoPgPooler)?;
    let mut text = String::new();
    table(&mut text, &places(&first.sum.places, server, entries.len() > 1));
    let all = entries.iter().map(|entry| entry.sum.reserve()).fold(0, u32::saturating_add);
    for entry in &entries {
        let reserved = all.saturating_sub(entry.sum.reserve());
        let _ = write!(text, "\n{}\n", heading(entry));
        table(&mut text, &own(entry, entries.len() > 1));
        pods(&mut text, entry, reserved);
    }
    Ok(text)
}

fn entries<'a>(
    poolers: &'a [PgPooler],
    server: &Server,
    foreign: u32,
) -> Result<Vec<Entry<'a>>, ExplainError> {
    let name = |object: &PgPooler| match &object.metadata.namespace {
        Some(namespace) => format!("{namespace}/{}", object.metadata.name.clone().unwrap_or_default()),
        None => object.metadata.name.clone().unwrap_or_default(),
    };
    let neighbours: Vec<Neighbour> =
        poolers.iter().map(|object| neighbour(name(object), &object.spec.budget)).collect();
    let entry = |(index, object): (usize, &'a PgPooler)| {
        let mut others = neighbours.clone();
        others.remove(index);
        let sharing = Sharing { others, foreign_peak: foreign, ..Sharing::default() };
        let terms = u32::try_from(object.spec.max_replicas).ok().map(|max_replicas| Terms {
            spec: &object.spec.budget,
            max_replicas,
            role: "",
            database: "",
            standing_floor: None,
        });
        let sum = terms.and_then(|terms| reckon(terms, server, &sharing));
        let name = name(object);
        match sum {
            Some(sum) => Ok(Entry { name, object, sum }),
            None => Err(ExplainError::NoNumber(name)),
        }
    };
    poolers.iter().enumerate().map(entry).collect()
}

fn neighbour(name: String, budget: &Budget) -> Neighbour {
    Neighbour {
        name,
        weight: u32::try_from(budget.weight).unwrap_or(1),
        keep_free: u32::try_from(budget.keep_free).unwrap_or(0),
        ..Neighbour::default()
    }
}

/// What stands before a number, the number, and what is said of it.
type Line = (String, u32, String);

fn line(what: impl Into<String>, number: u32, remark: impl Into<String>) -> Line {
    (what.into(), number, remark.into())
}

fn places(places: &Places, server: &Server, several: bool) -> Vec<Line> {
    let kept = if places.foreign_peak == places.keep_free && places.foreign_peak > 0 {
        "as many as others have at their peak"
    } else if several {
        "the largest keepFree"
    } else {
        "keepFree"
    };
    vec![
        line("max_connections", places.max_connections, ""),
        line("- superuser_reserved_connections", server.superuser_reserved, ""),
        line("- reserved_connections", server.reserved, ""),
        line("= usable", places.usable, "what ordinary roles can have"),
        line("- kept free", places.keep_free, kept),
        line("= server budget", places.budget, "all pods of all PgPoolers on the server together"),
    ]
}

fn heading(entry: &Entry<'_>) -> String {
    let spec = &entry.object.spec;
    let mode = match spec.budget.mode {
        BudgetMode::Enforce => "",
        BudgetMode::Observe => "; mode Observe limits nothing, this is what Enforce would do",
    };
    format!("{}: replicas {}, maxReplicas {}{mode}", entry.name, spec.replicas, spec.max_replicas)
}

fn own(entry: &Entry<'_>, several: bool) -> Vec<Line> {
    let Entry { object, sum, .. } = entry;
    let connections = &object.spec.budget.server_connections;
    let wanted = connections.of(sum.places.usable).unwrap_or(0);
    let mut lines = vec![line(format!("serverConnections {connections}"), wanted, "")];
    if let Some(limit) = sum.role_limit {
        let remark =
            if several { "shared, less one session of each operator" } else { "less the operator's session" };
        lines.push(line("limit of the role", limit, remark));
    }
    lines.push(line("budget", sum.cap, "the least of these and of the server budget"));
    if several {
        let remark = format!("when all want more, by weight {}", object.spec.budget.weight);
        lines.push(line("part", sum.part, remark));
    }
    if sum.max_replicas < u32::try_from(object.spec.max_replicas).unwrap_or(0) {
        let remark = "all that fit: (part - 1) / 2, rounded down";
        lines.push(line("maxReplicas", sum.max_replicas, remark));
    }
    if sum.floor > 0 {
        lines.push(line("most pods", sum.max_pods, format!("2 x {} + 1", sum.max_replicas)));
        let remark = format!("of each pod without an operator; {} in all", sum.reserve());
        lines.push(line("floor", sum.floor, remark));
    }
    lines
}

/// `reserved`: what is set aside for pods of other `PgPoolers`.
fn pods(text: &mut String, entry: &Entry<'_>, reserved: u32) {
    let Entry { sum, .. } = entry;
    if sum.floor == 0 {
        text.push_str("  One pod needs 3 (itself, its successor and one that drains): no pod runs.\n");
        return;
    }
    let most = sum.cap.min(sum.places.budget.saturating_sub(reserved));
    let _ = writeln!(text, "\n  {:>4}  {:>8}  {:>5}  {:>10}", "pods", "together", "each", "a busy one");
    for count in 1..=sum.max_replicas {
        let together = sum.together(sum.part, count);
        let (each, lone) = (together / count, sum.lone(most, count));
        let _ = writeln!(text, "  {count:>4}  {together:>8}  {each:>5}  {lone:>10}");
    }
}

fn table(text: &mut String, lines: &[Line]) {
    let widest = lines.iter().map(|(what, ..)| what.chars().count()).max().unwrap_or(0);
    for (what, number, remark) in lines {
        let row = format!("  {what:<widest$}  {number:>6}   {remark}");
        // writing to a String cannot fail
        let _ = writeln!(text, "{}", row.trim_end());
    }
}
