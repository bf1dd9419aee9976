//! Changes as text.

use std::fmt::Write as _;

use serde_json::Value;

use super::compare::{Change, Effect, Field};
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// Longest value that is shown whole.
const LONGEST: usize = 40;

/// All changes, an empty line between.
pub fn text(changes: &[Change]) -> String {
    changes.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(change: &Change) -> String {
    let mut text = String::new();
    let what = match (change.is_new, change.fields.len()) {
        _ if change.refused.is_some() => "is refused".to_owned(),
        (true, _) => "is new".to_owned(),
        (false, 0) => "nothing changes".to_owned(),
        (false, 1) => "1 field changes".to_owned(),
        (false, count) => format!("{count} fields change"),
    };
    // writing to a String cannot fail
    let _ = writeln!(text, "{}: {what}", change.name);
    if let Some(refused) = &change.refused {
        let _ = writeln!(text, "  {refused}");
    }
    fields(&mut text, &change.fields);
    if change.refused.is_none() {
        pods(&mut text, change);
        budget(&mut text, change);
        children(&mut text, change);
    }
    for warning in &change.warnings {
        let _ = writeln!(text, "  Warning: {warning}");
    }
    for unseen in &change.unseen {
        let _ = writeln!(text, "  not seen: {unseen}");
    }
    text
}

fn fields(text: &mut String, fields: &[Field]) {
    if fields.is_empty() {
        return;
    }
    let mut table = Table::new(&[("FIELD", Left), ("NOW", Left), ("THEN", Left), ("EFFECT", Left)]);
    for field in fields {
        let effect = match field.effect {
            Effect::Operator => "the operator's own",
            Effect::Live => "live",
            Effect::Scale => "scale",
            Effect::Rollout => "rollout",
            Effect::Together => "with the others",
            Effect::Held => "held",
        };
        table.row([
            field.field.clone(),
            shown(field.now.as_ref()),
            shown(field.then.as_ref()),
            effect.to_owned(),
        ]);
    }
    table.write(text, 2);
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST - 3).collect();
    format!("{start}...")
}

fn pods(text: &mut String, change: &Change) {
    let pods = change.pods;
    let mut parts = Vec::new();
    match pods.replaced {
        0 if change.fields.is_empty() || change.is_new => {}
        0 => parts.push("none is replaced".to_owned()),
        1 => parts.push("1 is replaced, when its successor is ready".to_owned()),
        count => parts.push(format!("{count} are replaced, one at a time, each when its successor is ready")),
    }
    match pods.then - pods.now {
        0 => {}
        more if more > 0 => parts.push(format!("{more} are added ({} -> {})", pods.now, pods.then)),
        fewer => parts.push(format!("{} are drained ({} -> {})", fewer.abs(), pods.now, pods.then)),
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "  Pods: {}.", parts.join("; "));
    }
}

fn budget(text: &mut String, change: &Change) {
    let same = change.budget.iter().all(|figure| figure.now == figure.then);
    if same {
        return;
    }
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut table = Table::new(&[("SUM", Left), ("NOW", Right), ("THEN", Right)]);
    for figure in &change.budget {
        table.row([figure.what.to_owned(), number(figure.now), number(figure.then)]);
    }
    table.write(text, 2);
}

fn children(text: &mut String, change: &Change) {
    if change.children.is_empty() {
        return;
    }
    let child = |child: &super::compare::Child| format!("{} {} {}", child.kind, child.name, child.becomes);
    let children: Vec<_> = change.children.iter().map(child).collect();
    let _ = writeln!(text, "  Children: {}.", children.join(", "));
}
