//! Which fields of a spec differ.

use serde_json::Value;

/// A field that differs; `None`: it is not set.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Keys from `spec` on; entries of lists that have names by their names, others by their number.
    pub path: Vec<Step>,
    /// What it is now.
    pub now: Option<Value>,
    /// What it would be.
    pub then: Option<Value>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key.
    Key(String),
    /// The entry of a list that has this name.
    Named(String),
}

impl Difference {
    /// The path as people write it.
    pub fn name(&self) -> String {
        let mut name = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if name.is_empty() => name.push_str(key),
                Step::Key(key) => name = format!("{name}.{key}"),
                Step::Named(key) => name = format!("{name}[{key}]"),
            }
        }
        name
    }

    /// `spec` with this one field as it would be.
    pub fn apply(&self, spec: &Value) -> Value {
        let mut spec = spec.clone();
        set(&mut spec, &self.path, self.then.as_ref());
        spec
    }
}

/// All differences, in the order of the keys.
pub fn differences(now: &Value, then: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(&mut Vec::new(), Some(now), Some(then), &mut found);
    found
}

fn walk(path: &mut Vec<Step>, now: Option<&Value>, then: Option<&Value>, found: &mut Vec<Difference>) {
    if now == then {
        return;
    }
    match (now, then) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                path.push(Step::Key(key.clone()));
                walk(path, a.get(key), b.get(key), found);
                path.pop();
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if same_order(a, b) => {
            let entries = a.iter().chain(b.iter().filter(|entry| find(a, name(entry)).is_none()));
            for entry in entries {
                let Some(name) = name(entry) else { continue };
                path.push(Step::Named(name.to_owned()));
                walk(path, find(a, Some(name)), find(b, Some(name)), found);
                path.pop();
            }
        }
        _ => found.push(Difference { path: path.clone(), now: now.cloned(), then: then.cloned() }),
    }
}

/// Lists by name whose common entries stand in one order, new ones behind them: the first that matches counts, so another
/// order is another meaning.
fn same_order(a: &[Value], b: &[Value]) -> bool {
    let names = |list: &[Value]| {
        list.iter().map(name).map(|name| name.map(str::to_owned)).collect::<Option<Vec<_>>>()
    };
    let (Some(a), Some(b)) = (names(a), names(b)) else { return false };
    let kept: Vec<_> = a.iter().filter(|name| b.contains(name)).collect();
    b.len() >= kept.len() && b.iter().take(kept.len()).eq(kept.iter().copied())
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("name").and_then(Value::as_str)
}

fn find<'a>(list: &'a [Value], wanted: Option<&str>) -> Option<&'a Value> {
    list.iter().find(|entry| name(entry) == wanted)
}

fn set(value: &mut Value, path: &[Step], to: Option<&Value>) {
    let Some((first, rest)) = path.split_first() else {
        if let Some(to) = to {
            *value = to.clone();
        }
        return;
    };
    match (first, value) {
        (Step::Key(key), Value::Object(fields)) => match (rest.is_empty(), to) {
            (true, None) => {
                fields.remove(key);
            }
            _ => set(fields.entry(key.clone()).or_insert(Value::Null), rest, to),
        },
        (Step::Named(wanted), Value::Array(list)) => {
            let index = list.iter().position(|entry| name(entry) == Some(wanted));
            match (index, rest.is_empty(), to) {
                (Some(index), true, None) => {
                    list.remove(index);
                }
                (Some(index), ..) => set(&mut list[index], rest, to),
                (None, true, Some(to)) => list.push(to.clone()),
                (None, ..) => {}
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(now: &Value, then: &Value) -> Vec<String> {
        differences(now, then).iter().map(Difference::name).collect()
    }

    #[test]
    fn fields_are_named_as_people_write_them() {
        let now = json!({"a": {"b": 1, "c": 2}, "pools": [{"name": "x", "mode": "Session"}, {"name": "y"}], "users": ["a"]});
        let then = json!({"a": {"b": 1, "d": 2}, "pools": [{"name": "x"}, {"name": "y"}, {"name": "z"}], "users": ["b"]});
        assert_eq!(names(&now, &then), ["a.c", "a.d", "pools[x].mode", "pools[z]", "users"]);
        assert_eq!(names(&now, &now), Vec::<String>::new());
    }

    #[test]
    fn another_order_is_a_difference_of_the_list() {
        let (now, then) = (
            json!({"pools": [{"name": "x"}, {"name": "y"}]}),
            json!({"pools": [{"name": "y"}, {"name": "x"}]}),
        );
        assert_eq!(names(&now, &then), ["pools"]);
    }

    #[test]
    fn all_differences_together_make_the_one_of_the_other() {
        let now = json!({"a": {"b": 1, "c": 2}, "pools": [{"name": "x", "mode": "Session"}, {"name": "y"}], "n": 1});
        let then = json!({"a": {"d": [1]}, "pools": [{"name": "x"}, {"name": "z", "weight": 2}], "n": null});
        let made =
            differences(&now, &then).iter().fold(now.clone(), |spec, difference| difference.apply(&spec));
        assert_eq!(made, then);
    }
}
