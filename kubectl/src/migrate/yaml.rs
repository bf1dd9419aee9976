//! A manifest with remarks: serializers know no comments, and half of what a migration has to say is in comments.

use std::fmt::Write as _;

use serde_json::Value;

/// Widest line of a comment.
const WIDTH: usize = 110;

/// A mapping in the order in which it was filled.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Map {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    key: String,
    node: Node,
    remark: Option<String>,
}

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A mapping.
    Map(Map),
    /// A list of mappings.
    List(Vec<Map>),
    /// Anything else, or a mapping taken over as it is.
    Value(Value),
}

impl Map {
    /// Nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a value; one that is there is replaced where it stands.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.put(key, Node::Value(value.into()), None);
    }

    /// The same, with a remark behind it.
    pub(super) fn set_because(&mut self, key: &str, value: impl Into<Value>, remark: impl Into<String>) {
        self.put(key, Node::Value(value.into()), Some(remark.into()));
    }

    /// Sets a mapping.
    pub(super) fn set_map(&mut self, key: &str, map: Map) {
        self.put(key, Node::Map(map), None);
    }

    /// Sets a list of mappings.
    pub(super) fn set_list(&mut self, key: &str, list: Vec<Map>) {
        self.put(key, Node::List(list), None);
    }

    /// The mapping behind a key, made where there is none.
    pub(super) fn child(&mut self, key: &str) -> &mut Map {
        let known = self.entries.iter().position(|entry| entry.key == key);
        let index = known.unwrap_or(self.entries.len());
        if known.is_none() {
            self.put(key, Node::Map(Map::default()), None);
        }
        let node = &mut self.entries[index].node;
        if !matches!(node, Node::Map(_)) {
            *node = Node::Map(Map::default());
        }
        match node {
            Node::Map(map) => map,
            Node::List(_) | Node::Value(_) => unreachable!("it was just made one"),
        }
    }

    fn put(&mut self, key: &str, node: Node, remark: Option<String>) {
        let entry = Entry { key: key.to_owned(), node, remark };
        match self.entries.iter_mut().find(|entry| entry.key == key) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// As YAML.
    pub(super) fn write(&self, text: &mut String, indent: usize) {
        for entry in &self.entries {
            entry.write(text, indent);
        }
    }
}

impl Entry {
    fn write(&self, text: &mut String, indent: usize) {
        let remark =
            self.remark.as_ref().map_or_else(String::new, |remark| format!("  # {}", one_line(remark)));
        let _ = write!(text, "{:indent$}{}:", "", scalar(&Value::from(self.key.as_str())));
        match &self.node {
            Node::Map(map) if map.is_empty() => {
                let _ = writeln!(text, " {{}}{remark}");
            }
            Node::Map(map) => {
                let _ = writeln!(text, "{remark}");
                map.write(text, indent + 2);
            }
            Node::List(maps) => {
                let _ = writeln!(text, "{remark}");
                for map in maps {
                    item(text, indent, map);
                }
            }
            Node::Value(value) => {
                let _ = writeln!(text, " {}{remark}", scalar(value));
            }
        }
    }
}

/// A dash in front of the first line.
fn item(text: &mut String, indent: usize, map: &Map) {
    let mut lines = String::new();
    map.write(&mut lines, indent + 2);
    let _ = write!(text, "{:indent$}- {}", "", lines.get(indent + 2..).unwrap_or_default());
}

/// JSON is YAML; text that cannot be taken for anything else goes without quotes.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{}: {}", scalar(&Value::from(key.as_str())), scalar(value))
            };
            format!("{{{}}}", fields.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// JSON leaves characters as they are that YAML wants escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in Value::from(text).to_string().chars() {
        if c == '\u{feff}' || is_line_end(c) || (c.is_control() && !c.is_ascii_control()) || c == '\u{7f}' {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        } else {
            quoted.push(c);
        }
    }
    quoted
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_plain(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(safe)
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

/// Whatever was in a file stays a comment.
fn one_line(text: &str) -> String {
    let apart = |c: char| c.is_control() || c == '\u{feff}' || is_line_end(c);
    text.split(apart).collect::<Vec<_>>().join(" ")
}

/// A paragraph as comments, wrapped; what follows the first line stands under its words, behind a `- `.
pub(super) fn comment(text: &mut String, paragraph: &str) {
    let hang = if paragraph.starts_with("- ") { "  " } else { "" };
    let paragraph = one_line(paragraph);
    let mut line = String::new();
    for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - 2 {
            let _ = writeln!(text, "# {line}");
            hang.clone_into(&mut line);
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{}", format!("# {line}").trim_end());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(map: &Map) -> String {
        let mut text = String::new();
        map.write(&mut text, 0);
        text
    }

    #[test]
    fn remarks_stand_behind_what_they_are_about() {
        let mut map = Map::default();
        map.child("spec").set_because("mode", "Session", "PgBouncer's\ndefault");
        let mut pool = Map::default();
        pool.set("name", "a");
        pool.set("users", json!(["ann", "no", "x y"]));
        map.child("spec").set_list("pools", vec![pool.clone(), pool]);
        map.child("empty");
        assert_eq!(
            written(&map),
            "spec:\n  mode: Session  # PgBouncer's default\n  pools:\n  - name: a\n    users: [ann, \"no\", \"x y\"]\n  \
             - name: a\n    users: [ann, \"no\", \"x y\"]\nempty: {}\n"
        );
    }

    #[test]
    fn paragraphs_are_wrapped_under_their_first_word() {
        let mut text = String::new();
        comment(&mut text, &format!("- {}", "word ".repeat(30)));
        assert!(text.lines().count() == 2 && text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("#   word"), "{text}");
    }

    proptest! {
        #[test]
        fn whatever_is_set_is_read_back(key in "\\PC{1,12}", value in "(?s).{0,24}", remark in "(?s).{0,24}") {
            let mut map = Map::default();
            map.child("spec").set_because(&key, value.clone(), remark.clone());
            map.child("spec").child("b").set("c", 1);
            let mut text = String::new();
            comment(&mut text, &remark);
            map.write(&mut text, 0);
            let read: Value = serde_saphyr::from_str(&text).unwrap();
            prop_assume!(key != "b");
            prop_assert_eq!(read, json!({"spec": {key: value, "b": {"c": 1}}}));
        }
    }
}
