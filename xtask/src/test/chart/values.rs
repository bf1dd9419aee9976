//! values.yaml, its comments, its schema, and the table of the chart's README that is made of them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{CHART, read, yaml};

const BEGIN: &str = "<!-- made of values.yaml by cargo xtask generate -->\n";
const END: &str = "<!-- end -->\n";

/// A value with its comment.
#[derive(Debug, PartialEq, Eq)]
struct Documented {
    /// Keys, joined by dots.
    path: String,
    meaning: String,
}

/// The README with its table as it should be.
pub(crate) fn readme() -> Result<(String, String)> {
    let path = format!("{CHART}/README.md");
    let text = read(&path)?;
    let (before, rest) = text.split_once(BEGIN).context("the chart's README has no place for its table")?;
    let (_, after) = rest.split_once(END).context("the table in the chart's README has no end")?;
    Ok((path, format!("{before}{BEGIN}{}{END}{after}", table()?)))
}

/// Comments, values and schema speak of the same keys.
pub(super) fn complete() -> Result<()> {
    let (text, values) = values()?;
    let documented: BTreeSet<_> = documented(&text)?.into_iter().map(|value| value.path).collect();
    let told = |path: &str| {
        let above = path.match_indices('.').filter_map(|(at, _)| path.get(..at));
        above.chain([path]).any(|path| documented.contains(path))
    };
    let leaves = leaves("", &values);
    let bare: Vec<_> = leaves.iter().filter(|path| !told(path)).collect();
    ensure!(bare.is_empty(), "values without a comment: {bare:?}");
    let schema: Value = serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))?)?;
    compare("", &values, &schema)
}

fn values() -> Result<(String, Value)> {
    let text = read(&format!("{CHART}/values.yaml"))?;
    let values = yaml(&text)?;
    Ok((text, values))
}

fn table() -> Result<String> {
    let (text, values) = values()?;
    let mut rows = vec!["| Key | Default | Meaning |\n|---|---|---|\n".to_owned()];
    for Documented { path, meaning } in documented(&text)? {
        let pointer = format!("/{}", path.replace('.', "/"));
        let default = values.pointer(&pointer).with_context(|| format!("values.yaml has no {path}"))?;
        let default = match default {
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        rows.push(format!("| `{path}` | {default} | {} |\n", meaning.replace('|', "\\|")));
    }
    Ok(rows.concat())
}

/// The keys under a `# --`, in order. Two spaces are one level, as the file is written.
fn documented(text: &str) -> Result<Vec<Documented>> {
    let mut found = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    let mut comment: Option<String> = None;
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(begin) = bare.strip_prefix("# -- ") {
            comment = Some(begin.to_owned());
        } else if let Some(more) = bare.strip_prefix("# ") {
            if let Some(comment) = &mut comment {
                comment.push(' ');
                comment.push_str(more);
            }
        } else if let Some((key, _)) = bare.split_once(':') {
            let level = (line.len() - bare.len()) / 2;
            if level > above.len() {
                bail!("values.yaml: {key} is deeper than what is above it");
            }
            above.truncate(level);
            above.push(key);
            if let Some(meaning) = comment.take() {
                found.push(Documented { path: above.join("."), meaning });
            }
        }
    }
    Ok(found)
}

/// Values that are no maps, or empty ones.
fn leaves(path: &str, value: &Value) -> Vec<String> {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            map.iter().flat_map(|(key, value)| leaves(&below(path, key), value)).collect()
        }
        _ => vec![path.to_owned()],
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Wherever the schema names keys, they are the values' own, and no other is let in.
fn compare(path: &str, value: &Value, schema: &Value) -> Result<()> {
    let Some(named) = schema.get("properties").and_then(Value::as_object) else {
        ensure!(schema.get("type").is_some(), "the schema says nothing of {path}");
        return Ok(());
    };
    ensure!(schema["additionalProperties"] == false, "the schema lets any key into {path:?}");
    let empty = serde_json::Map::new();
    let map = value.as_object().unwrap_or(&empty);
    for (key, schema) in named {
        // Helm's own for subcharts
        if path.is_empty() && key == "global" {
            continue;
        }
        // a pod's own fields, described for those who set them
        if map.is_empty() && !path.is_empty() {
            continue;
        }
        let value = map.get(key).with_context(|| format!("values.yaml has no {}", below(path, key)))?;
        compare(&below(path, key), value, schema)?;
    }
    let unknown: Vec<_> = map.keys().filter(|key| !named.contains_key(*key)).collect();
    ensure!(unknown.is_empty(), "the schema does not know {unknown:?} of {path:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_comment_belongs_to_the_key_below_it_and_goes_on_over_lines() {
        let text = "# no comment of a key\n\nimage:\n  # -- The name,\n  # in full\n  name: a\n  tag: b\n# -- How many\nreplicas: 1\n";
        let found = documented(text).unwrap();
        let expected = [("image.name", "The name, in full"), ("replicas", "How many")]
            .map(|(path, meaning)| Documented { path: path.to_owned(), meaning: meaning.to_owned() });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_key_that_only_one_of_them_knows_is_found() {
        let schema = serde_json::json!({"type": "object", "additionalProperties": false,
            "properties": {"a": {"type": "string"}, "b": {"type": "object", "additionalProperties": false,
                "properties": {"c": {"type": "integer"}}}}});
        let values = |text| serde_json::from_str::<Value>(text).unwrap();
        assert!(compare("", &values(r#"{"a": "", "b": {"c": 1}}"#), &schema).is_ok());
        assert!(compare("", &values(r#"{"b": {"c": 1}}"#), &schema).is_err());
        assert!(compare("", &values(r#"{"a": "", "b": {"c": 1, "d": 2}}"#), &schema).is_err());
    }
}
