//! What `kubectl apply` would send: it takes away what the last manifest had and this one has not, and leaves what others
//! have set.

use serde_json::{Map, Value};

/// Annotation in which kubectl keeps the last manifest.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A JSON merge patch that makes of what `last` made what `wanted` says.
pub fn patch(last: &Value, wanted: &Value) -> Value {
    let (Value::Object(last), Value::Object(wanted)) = (last, wanted) else { return wanted.clone() };
    let gone = last.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let kept =
        wanted.iter().map(|(key, value)| (key.clone(), patch(last.get(key).unwrap_or(&Value::Null), value)));
    Value::Object(gone.chain(kept).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_longer_in_the_manifest_goes_and_what_others_set_stays() {
        let last = json!({"replicas": 2, "budget": {"keepFree": 5, "weight": 10}, "pools": [{"name": "a"}]});
        let wanted = json!({"budget": {"keepFree": 7}, "pools": []});
        assert_eq!(
            patch(&last, &wanted),
            json!({"replicas": null, "budget": {"weight": null, "keepFree": 7}, "pools": []})
        );
        assert_eq!(patch(&Value::Null, &wanted), wanted);
    }
}
