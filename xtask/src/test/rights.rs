//! Whether the operator's roles are what it needs and no more: what they allow, held against every request that it made in
//! the cluster tests before.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{site::OPERATOR_NAMESPACE, ui};

use super::Count;

/// What the chart's roles are made of.
const RULES: &str = include_str!("../../../charts/pgpooler-operator/files/rbac.yaml");

/// A verb on a resource of a group.
type Call = (String, String, String);

#[derive(Debug, Deserialize)]
struct Rules {
    own: Vec<Rule>,
    watched: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

/// A line of the API server's log of requests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    user: User,
    verb: String,
    object_ref: Option<Object>,
    response_status: Option<Status>,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(rename = "apiGroup", default)]
    group: String,
    resource: Option<String>,
    subresource: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    code: Option<u16>,
}

/// What was asked for, and what of it was refused.
#[derive(Debug, Default)]
struct Asked {
    all: BTreeSet<Call>,
    refused: BTreeSet<Call>,
}

/// Two tests: it asked for nothing that it may not have, and nothing is allowed that it never asked for.
pub(crate) fn run(log: &Path) -> Result<Count> {
    let asked = asked(log)?;
    ensure!(
        !asked.all.is_empty(),
        "the operator has asked for nothing: run the cluster groups before this one"
    );
    let allowed = allowed()?;
    let mut count = Count::default();
    // a test takes its roles away, and Helm removes them before its pod
    let beyond = asked.refused.difference(&allowed).cloned().collect();
    count += judge("the operator asks for nothing that it may not have", &beyond);
    let unused = allowed.iter().filter(|call| !asked.has(call)).cloned().collect();
    count += judge("the operator may do nothing that it never does", &unused);
    Ok(count)
}

fn judge(what: &str, wrong: &BTreeSet<Call>) -> Count {
    if wrong.is_empty() {
        ui::say(&format!("{what} ... {}", ui::good("ok")));
        return Count { passed: 1, failed: 0 };
    }
    let calls: Vec<_> =
        wrong.iter().map(|(group, resource, verb)| format!("  {verb} {resource} of {group:?}")).collect();
    ui::say(&format!("{what} ... {}\n{}", ui::bad("FAILED"), calls.join("\n")));
    Count { passed: 0, failed: 1 }
}

fn allowed() -> Result<BTreeSet<Call>> {
    let Rules { own, watched } = serde_saphyr::from_str(RULES).context("the chart's rules")?;
    let calls = own.iter().chain(&watched).flat_map(|rule| {
        rule.api_groups.iter().flat_map(move |group| {
            rule.resources.iter().flat_map(move |resource| {
                rule.verbs.iter().map(move |verb| (group.clone(), resource.clone(), verb.clone()))
            })
        })
    });
    Ok(calls.collect())
}

fn asked(log: &Path) -> Result<Asked> {
    let file =
        File::open(log).with_context(|| format!("there is no log of requests at {}", log.display()))?;
    let whose = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:");
    let mut asked = Asked::default();
    for line in BufReader::new(file).lines() {
        // the last line may be on its way
        let Ok(request) = serde_json::from_str::<Request>(&line?) else { continue };
        let Some(call) = request.call().filter(|_| request.user.username.starts_with(&whose)) else {
            continue;
        };
        if request.response_status.and_then(|status| status.code) == Some(403) {
            asked.refused.insert(call.clone());
        }
        asked.all.insert(call);
    }
    Ok(asked)
}

impl Asked {
    /// A server-side apply of what does not exist needs `create` too, and is a `patch` in the log.
    fn has(&self, call: &Call) -> bool {
        let (group, resource, verb) = call;
        let applied = || self.all.contains(&(group.clone(), resource.clone(), "patch".to_owned()));
        self.all.contains(call) || verb == "create" && applied()
    }
}

impl Request {
    /// Of an object; discovery is nobody's right in particular.
    fn call(&self) -> Option<Call> {
        let Object { group, resource, subresource } = self.object_ref.as_ref()?;
        let resource = resource.as_ref()?;
        let resource = match subresource {
            Some(sub) => format!("{resource}/{sub}"),
            None => resource.clone(),
        };
        Some((group.clone(), resource, self.verb.clone()))
    }
}
