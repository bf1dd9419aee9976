//! Whether an object must be applied at all. A steady state writes nothing.
//!
//! Two things make a difference: the object was rendered otherwise than last time (its hash, kept as an annotation,
//! is another; that also notices a field that is no longer rendered), or somebody changed a field of ours (it is not
//! in the live object as rendered). Fields that others or the API server add do not count.

use serde_json::Value;

/// Whether `live` has everything that `wanted` says.
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| of_key(key, live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        _ => live == wanted,
    }
}

/// The part of `wanted` that is not in `live`, as a JSON merge patch; lists whole.
pub fn missing(live: &Value, wanted: &Value) -> Value {
    let (Value::Object(live), Value::Object(wanted)) = (live, wanted) else { return wanted.clone() };
    let parts = wanted.iter().filter_map(|(key, wanted)| match live.get(key) {
        None => Some((key.clone(), wanted.clone())),
        Some(live) if of_key(key, live, wanted) => None,
        Some(live) => Some((key.clone(), missing(live, wanted))),
    });
    Value::Object(parts.collect())
}

/// The API server writes quantities in a form of its own: `1000m` comes back as `1`.
fn of_key(key: &str, live: &Value, wanted: &Value) -> bool {
    match (key, live, wanted) {
        ("requests" | "limits", Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| live.get(name).is_some_and(|live| same_quantity(live, wanted)))
        }
        _ => contains(live, wanted),
    }
}

fn same_quantity(live: &Value, wanted: &Value) -> bool {
    match (live.as_str().and_then(quantity), wanted.as_str().and_then(quantity)) {
        // two spellings of one number differ by rounding only
        (Some(live), Some(wanted)) => (live - wanted).abs() <= live.abs().max(wanted.abs()) * 1e-9,
        _ => live == wanted,
    }
}

/// The number that a quantity means.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)));
    let (number, factor) = suffix.unwrap_or((text, &1.0));
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_add_is_no_difference() {
        let live =
            json!({"spec": {"a": 1, "defaulted": true, "list": [{"name": "x", "added": 1}]}, "status": {}});
        assert!(contains(&live, &json!({"spec": {"a": 1, "list": [{"name": "x"}]}})));
    }

    #[test]
    fn what_others_change_or_take_away_is_one() {
        let wanted = json!({"spec": {"a": 1, "list": [{"name": "x"}]}});
        for live in [
            json!({"spec": {"a": 2, "list": [{"name": "x"}]}}),
            json!({"spec": {"list": [{"name": "x"}]}}),
            json!({"spec": {"a": 1, "list": [{"name": "x"}, {"name": "y"}]}}),
            json!({"spec": {"a": 1, "list": []}}),
        ] {
            assert!(!contains(&live, &wanted), "{live}");
        }
    }

    #[test]
    fn what_is_missing_is_all_that_differs() {
        let live = json!({"spec": {"a": 1, "ports": [{"port": 1, "nodePort": 7}]}});
        let wanted = json!({"spec": {"a": 1, "ports": [{"port": 2}]}, "data": {"k": "v"}});
        assert_eq!(missing(&live, &wanted), json!({"spec": {"ports": [{"port": 2}]}, "data": {"k": "v"}}));
    }

    #[test]
    fn quantities_are_numbers() {
        let of = |text: &str| json!({"limits": {"cpu": text}});
        assert!(contains(&of("1"), &of("1000m")));
        assert!(contains(&of("1Gi"), &of("1024Mi")));
        assert!(contains(&of("500m"), &of("0.5")));
        assert!(!contains(&of("1"), &of("1001m")));
    }
}
