//! What texts are said to do.

mod corpus;
mod golden;
mod properties;

use super::*;

/// Every statement of a text: its effect, if any, and its marks.
fn told(text: &str) -> String {
    told_as(text, Strings::Standard)
}

fn told_as(text: &str, strings: Strings) -> String {
    let statements: Vec<_> = Statements::new(text.as_bytes(), strings).map(|each| line(&each)).collect();
    statements.join("; ")
}

fn line(statement: &Statement) -> String {
    let effect = effect(&statement.effect);
    match (effect.is_empty(), statement.marks.is_empty()) {
        (true, _) => format!("{:?}", statement.marks),
        (false, true) => effect,
        (false, false) => format!("{effect} {:?}", statement.marks),
    }
}

fn effect(effect: &Effect) -> String {
    let name = |name: &Name| String::from_utf8_lossy(&name.text).into_owned();
    match effect {
        Effect::Plain => String::new(),
        Effect::Set { name, values } => format!("Set {name}={}", values.join("|")),
        Effect::SetConfig { name, value } => format!("SetConfig {name}={value}"),
        Effect::Reset { name } => format!("Reset {name}"),
        Effect::Prepare { name: n } => format!("Prepare {}", name(n)),
        Effect::Execute { name: n } => format!("Execute {}", name(n)),
        Effect::Deallocate { name: n } => format!("Deallocate {}", name(n)),
        other => format!("{other:?}"),
    }
}

fn check(table: &[(&str, &str)]) {
    let wrong: Vec<_> = table
        .iter()
        .filter(|(text, expected)| told(text) != *expected)
        .map(|(text, expected)| format!("\n{text}\n  is       {}\n  expected {expected}", told(text)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}
