//! What to do about a condition: the reference page's own words, so that there is one place for them.

/// The page that says it.
const PAGE: &str = include_str!("../../docs/reference/conditions.md");

/// What the page says to do about a reason of a condition; `None`: nothing is to be done, or it does not say.
pub fn advice(condition: &str, reason: &str) -> Option<String> {
    let heading = format!("of `{condition}`");
    let sections = PAGE.split("\n## ").skip(1);
    let (own, others): (Vec<_>, Vec<_>) =
        sections.partition(|section| section.lines().next().is_some_and(|first| first.ends_with(&heading)));
    let row = |section: &&str| section.lines().find_map(|line| cell(line, reason));
    let text = own.iter().find_map(row).or_else(|| others.iter().find_map(row))?;
    Some(text).filter(|text| !text.is_empty())
}

/// The last cell of a row of three that begins with the reason.
fn cell(line: &str, reason: &str) -> Option<String> {
    let rest = line.strip_prefix("| `")?.strip_prefix(reason)?.strip_prefix("` | ")?;
    let (_, last) =
        rest.strip_suffix('|')?.rsplit_once(" | ").or_else(|| rest.strip_suffix("| |").map(|_| ("", "")))?;
    Some(last.trim().replace('`', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_to_do() {
        let says = |condition, reason| advice(condition, reason).unwrap_or_default();
        assert!(says("WithinBudget", "ScaleExceedsBudget").contains("lower maxReplicas"));
        assert!(
            says("Ready", "SecretMissing").contains("secretRef"),
            "reasons of Ready are those of the others"
        );
        assert_eq!(advice("ConfigApplied", "Applied"), None);
        assert_eq!(advice("Ready", "NoSuchReason"), None);
    }
}
