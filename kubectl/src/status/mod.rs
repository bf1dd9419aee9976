//! `status`: the sum, what is not as it should be, and each pod.

mod render;

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use pgpooler_operator::api::{BudgetStatus, ConditionType, PgPooler, PodStatus};
use serde::Serialize;

use crate::advice::advice;
use crate::cli::Status;
use crate::cluster::{Cluster, ClusterError};
use crate::console::{Console, ConsoleError, Keys};
use crate::live::{self, Figures};

pub use render::text;

/// What there is to say of one `PgPooler`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Pods wanted.
    pub replicas: i32,
    /// Most pods.
    pub max_replicas: i32,
    /// Ready pods of those wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// The server: address, version and role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The sum; unset: it was not reckoned yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// Clients that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<i32>,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
    /// The pods.
    pub pods: Vec<PodReport>,
    /// What could not be seen.
    pub unseen: Vec<String>,
}

/// A condition that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The condition.
    pub condition: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why.
    pub reason: String,
    /// Why, in words.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// One pod. Figures are the pod's own where it was asked, else those of the status, which are sampled.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// Name.
    pub name: String,
    /// As in the status.
    pub phase: String,
    /// What it may hold without hearing from anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<u64>,
    /// What it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// The most that it could be holding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge: Option<u64>,
    /// Clients that wait there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Hash of its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// It was asked itself.
    pub live: bool,
}

/// What there is to say of those that were asked for.
pub async fn reports(cluster: &Cluster, options: &Status) -> Result<Vec<Report>, ClusterError> {
    let mut reports = Vec::new();
    for pooler in cluster.find(options.name.as_deref()).await? {
        reports.push(report(cluster, &pooler, !options.no_live).await);
    }
    Ok(reports)
}

async fn report(cluster: &Cluster, pooler: &PgPooler, live: bool) -> Report {
    let name = pooler.name_any();
    let mut unseen = Vec::new();
    let pods = cluster.pods(&name).await.unwrap_or_else(|error| {
        unseen.push(pgpooler_operator::error::chain(&error));
        Vec::new()
    });
    let figures = if live { ask_all(cluster, &name, &pods, &mut unseen).await } else { BTreeMap::new() };
    Report { unseen, ..of(pooler, &pods, &figures) }
}

/// Asks all pods at once.
pub(crate) async fn ask_all(
    cluster: &Cluster,
    pooler: &str,
    pods: &[Pod],
    unseen: &mut Vec<String>,
) -> BTreeMap<String, Figures> {
    let running: Vec<_> = pods.iter().filter(|pod| is_running(pod)).collect();
    if running.is_empty() {
        return BTreeMap::new();
    }
    let keys = match Keys::read(cluster, pooler).await {
        Ok(keys) => keys,
        Err(error) => {
            unseen.push(format!("pods were not asked: {}", pgpooler_operator::error::chain(&error)));
            return BTreeMap::new();
        }
    };
    let answers = join_all(running.into_iter().map(|pod| {
        let keys = &keys;
        async move { (pod.name_any(), ask(cluster, pod, keys).await) }
    }));
    let mut figures = BTreeMap::new();
    for (name, answer) in answers.await {
        match answer {
            Ok(answer) => {
                figures.insert(name, answer);
            }
            Err(error) => unseen.push(format!("pod {name}: {}", pgpooler_operator::error::chain(&error))),
        }
    }
    figures
}

async fn ask(cluster: &Cluster, pod: &Pod, keys: &Keys) -> Result<Figures, ConsoleError> {
    live::ask(&Console::open(cluster, pod, keys).await?).await
}

/// Its process can answer.
pub(crate) fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// The report, of what was seen.
pub fn of(pooler: &PgPooler, pods: &[Pod], figures: &BTreeMap<String, Figures>) -> Report {
    let status = pooler.status.clone().unwrap_or_default();
    let target = status.target.as_ref().map(|target| {
        let version = target.server_version.as_ref().map(|version| format!(", PostgreSQL {version}"));
        let role = target.role.as_ref().map(|role| format!(", {role}"));
        format!("{}{}{}", target.address, version.unwrap_or_default(), role.unwrap_or_default())
    });
    let mut problems: Vec<_> = status.conditions.iter().filter_map(problem).collect();
    if status.observed_generation.is_some_and(|seen| Some(seen) != pooler.metadata.generation) {
        problems.push(Problem {
            condition: "Observed".to_owned(),
            status: "False".to_owned(),
            reason: "Stale".to_owned(),
            message: "the operator has not seen the last change of the spec yet".to_owned(),
            advice: Some("wait a second; if it stays so, see whether the operator runs".to_owned()),
        });
    }
    Report {
        name: pooler.name_any(),
        namespace: pooler.namespace().unwrap_or_default(),
        replicas: pooler.spec.replicas,
        max_replicas: pooler.spec.max_replicas,
        ready: status.ready.clone(),
        target,
        budget: status.budget.clone(),
        waiting: status.clients.as_ref().map(|clients| clients.waiting),
        problems,
        pods: pod_reports(&status.pods, pods, figures),
        unseen: Vec::new(),
    }
}

/// `Ready` repeats what another condition says, unless it is the only one that says it.
fn problem(condition: &Condition) -> Option<Problem> {
    let fine = match condition.type_.as_str() {
        "Paused" => condition.status == "False",
        // for people, and most roles have no limit
        type_ if type_ == ConditionType::Fenced.as_str() => {
            condition.status != "False" || condition.reason == "FenceLoose"
        }
        _ => condition.status == "True" && condition.reason != "ForeignSessionsHigh",
    };
    (!fine).then(|| Problem {
        condition: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        advice: advice(&condition.type_, &condition.reason),
    })
}

fn pod_reports(sampled: &[PodStatus], pods: &[Pod], figures: &BTreeMap<String, Figures>) -> Vec<PodReport> {
    let mut reports: BTreeMap<String, PodReport> = BTreeMap::new();
    for pod in sampled {
        let number = |number: i32| u64::try_from(number).ok();
        let report = PodReport {
            name: pod.name.clone(),
            phase: pod.phase.clone(),
            floor: number(pod.floor),
            limit: number(pod.limit),
            held: number(pod.held),
            charge: number(pod.charge),
            config_hash: sampled_hash(pod),
            ..PodReport::default()
        };
        reports.insert(pod.name.clone(), report);
    }
    for pod in pods {
        let name = pod.name_any();
        let report = reports.entry(name.clone()).or_insert_with(|| PodReport {
            name: name.clone(),
            phase: kubernetes_phase(pod),
            ..PodReport::default()
        });
        if let Some(figures) = figures.get(&name) {
            told(report, figures);
        }
    }
    reports.into_values().collect()
}

/// By its name in JSON: not every version of the operator writes it.
fn sampled_hash(pod: &PodStatus) -> Option<String> {
    serde_json::to_value(pod).ok()?.get("configHash")?.as_str().map(str::to_owned)
}

/// What the pod itself says counts.
fn told(report: &mut PodReport, figures: &Figures) {
    report.live = true;
    report.floor = Some(figures.floor);
    report.limit = Some(figures.limit);
    report.held = Some(figures.held);
    report.charge = Some(figures.charge);
    report.waiting = Some(figures.waiting);
    if figures.config_hash.is_some() {
        report.config_hash.clone_from(&figures.config_hash);
    }
}

/// For a pod that the operator has not written of yet.
fn kubernetes_phase(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_else(|| "Unknown".to_owned())
}
