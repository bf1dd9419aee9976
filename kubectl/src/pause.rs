//! `pause` and `resume`: a field of the spec, and the condition that tells when it is so.

use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use pgpooler_operator::api::PgPooler;
use serde_json::{Value, json};

use crate::cli;
use crate::cluster::{Cluster, ClusterError, failed};

/// Field manager of what this program changes.
pub const MANAGER: &str = "kubectl-pgpooler";
/// How often the condition is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// The condition.
const CONDITION: &str = "Paused";

/// It was not to be.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The API server has dropped the field.
    #[error("the PgPoolers of this cluster know no spec.paused: the definition is of an older version")]
    Unknown,
    /// It takes too long.
    #[error("PgPooler `{name}` is not {wanted} after {seconds} s: {said}; spec.paused stays as it was set")]
    TimedOut {
        /// Its name.
        name: String,
        /// `paused` or `resumed`.
        wanted: &'static str,
        /// How long.
        seconds: u64,
        /// What the condition says.
        said: String,
    },
}

/// Sets `spec.paused` and waits until it is so; what to print.
pub async fn set(cluster: &Cluster, options: &cli::Pause, paused: bool) -> Result<String, PauseError> {
    let api: Api<DynamicObject> = Api::namespaced_with(
        cluster.client.clone(),
        &cluster.namespace,
        &ApiResource::erase::<PgPooler>(&()),
    );
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"paused": paused}}));
    let patched = match api.patch(&options.name, &params, &patch).await {
        Ok(patched) => patched,
        // the object or the kind is not there
        Err(kube::Error::Api(status)) if status.code == 404 => {
            cluster.get(&options.name).await?;
            return Err(cluster.missing(&options.name).into());
        }
        Err(source) => return Err(failed(&format!("change PgPooler `{}`", options.name), source).into()),
    };
    if patched.data.pointer("/spec/paused").and_then(Value::as_bool) != Some(paused) {
        return Err(PauseError::Unknown);
    }
    let (wanted, asked) =
        if paused { ("paused", "is being paused") } else { ("resumed", "is being resumed") };
    if !options.wait {
        return Ok(format!("pgpooler/{} {asked}\n", options.name));
    }
    wait(&api, options, patched, wanted).await?;
    Ok(format!("pgpooler/{} {wanted}\n", options.name))
}

async fn wait(
    api: &Api<DynamicObject>,
    options: &cli::Pause,
    mut object: DynamicObject,
    wanted: &'static str,
) -> Result<(), PauseError> {
    let start = Instant::now();
    let generation = object.metadata.generation.unwrap_or(0);
    loop {
        let (done, said) = state(&object, generation, wanted == "paused");
        if done {
            return Ok(());
        }
        if start.elapsed() >= options.timeout {
            let seconds = options.timeout.as_secs();
            return Err(PauseError::TimedOut { name: object.name_any(), wanted, seconds, said });
        }
        tokio::time::sleep(EVERY).await;
        let read = api.get(&options.name).await;
        object = read.map_err(|source| failed(&format!("read PgPooler `{}`", options.name), source))?;
    }
}

/// Whether the operator says of this generation, or a later one, that it is so; and what it says.
pub fn state(object: &DynamicObject, generation: i64, paused: bool) -> (bool, String) {
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == CONDITION);
    let seen = |value: &Value| value["observedGeneration"].as_i64().is_some_and(|seen| seen >= generation);
    let Some(condition) = found else {
        // it may be left out while nobody asks for a pause
        return (!paused && seen(status), "the operator says nothing of it".to_owned());
    };
    if !seen(condition) && !seen(status) {
        return (false, "the operator has not seen it yet".to_owned());
    }
    let holds = condition["status"] == "True";
    let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    // `Unknown` is neither
    let done = if paused { holds } else { condition["status"] == "False" };
    (done, format!("{} ({}): {}", text("status"), text("reason"), text("message")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn object(status: &Value) -> DynamicObject {
        let object = json!({"apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler", "metadata": {"name": "a"}, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn done(status: &str, seen: i64, paused: bool) -> bool {
        let condition = json!({"type": "Paused", "status": status, "observedGeneration": seen, "reason": "R", "message": "m"});
        state(&object(&json!({"conditions": [condition]})), 3, paused).0
    }

    #[test]
    fn only_what_the_operator_says_of_this_generation_counts() {
        assert!(done("True", 3, true) && done("True", 4, true));
        assert!(!done("True", 2, true) && !done("False", 3, true) && !done("Unknown", 3, true));
        assert!(done("False", 3, false) && !done("False", 2, false) && !done("True", 3, false));
    }

    #[test]
    fn a_condition_that_is_not_there_is_no_pause() {
        assert!(state(&object(&json!({"observedGeneration": 3})), 3, false).0);
        assert!(!state(&object(&json!({"observedGeneration": 2})), 3, false).0);
        assert!(!state(&object(&json!({"observedGeneration": 3})), 3, true).0);
        assert!(!state(&object(&json!({})), 3, true).0);
    }
}
