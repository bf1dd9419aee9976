//! PgBouncer's words and numbers as Kubernetes and the schema want them.

use std::time::Duration;

/// Longest name of a `PgPooler`.
const LONGEST_NAME: usize = 52;

/// A name for an object, of letters, digits and dashes; starts with a letter, since a Service gets it. `None`: nothing
/// of the text is left.
pub(super) fn object_name(text: &str) -> Option<String> {
    let label = label(text, LONGEST_NAME);
    match label.chars().next() {
        None => None,
        Some(first) if first.is_ascii_alphabetic() => Some(label),
        Some(_) => Some(self::label(&format!("pg-{label}"), LONGEST_NAME)),
    }
}

/// Lower case letters, digits and single dashes between them.
pub(super) fn label(text: &str, longest: usize) -> String {
    let mut label = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(longest);
    label.trim_end_matches('-').to_owned()
}

/// The name, with a number behind it if it is taken.
pub(super) fn unused(name: String, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&name) {
        return name;
    }
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    numbered.into_iter().find(|name| !taken(name)).unwrap_or(name)
}

/// PgBouncer's number of seconds, which may have a fraction, as a duration of Kubernetes; `None`: it is no number.
pub(super) fn duration(seconds: &str) -> Option<String> {
    let duration = Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()?;
    let (whole, millis) = (duration.as_secs(), duration.subsec_millis());
    Some(match (whole, millis) {
        (0, 0) => "0".to_owned(),
        (0, millis) => format!("{millis}ms"),
        (whole, 0) if whole % 3600 == 0 => format!("{}h", whole / 3600),
        (whole, 0) if whole % 60 == 0 => format!("{}m", whole / 60),
        (whole, 0) => format!("{whole}s"),
        (whole, millis) => format!("{whole}s{millis}ms"),
    })
}

/// A number as PgBouncer writes it, at least 0.
pub(super) fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

/// The pool mode.
pub(super) fn mode(text: &str) -> Option<&'static str> {
    ["Session", "Transaction", "Statement"].into_iter().find(|mode| mode.eq_ignore_ascii_case(text))
}

/// `a, b and c`.
pub(super) fn listed<S: AsRef<str>>(words: &[S]) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_takes() {
        assert_eq!(object_name("Orders_DB.eu").as_deref(), Some("orders-db-eu"));
        assert_eq!(object_name("10.0.0.1").as_deref(), Some("pg-10-0-0-1"));
        assert_eq!(object_name("*"), None);
        assert_eq!(object_name(&"x-".repeat(40)).map(|name| name.len()), Some(51));
        assert_eq!(unused("a".into(), |name| ["a", "a-2"].contains(&name)), "a-3");
    }

    #[test]
    fn seconds_become_durations() {
        let cases =
            [("120", "2m"), ("0", "0"), ("0.0", "0"), ("0.25", "250ms"), ("90", "90s"), ("3600.0", "1h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds).as_deref(), Some(text), "{seconds}");
        }
        assert_eq!((duration("-1"), duration("soon"), duration("inf")), (None, None, None));
    }
}
