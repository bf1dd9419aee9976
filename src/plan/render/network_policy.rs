//! The `NetworkPolicy`: who may reach the pods. Where they connect to is not limited, since a target can be anywhere.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::{meta, selector};

/// The `NetworkPolicy`, if one is wanted.
pub fn render(pooler: &Pooler) -> Option<NetworkPolicy> {
    let wanted = &pooler.network_policy;
    if !wanted.enabled {
        return None;
    }
    let clients = if wanted.allow_from.is_empty() { vec![namespace()] } else { wanted.allow_from.clone() };
    // nobody named is everybody, outside of the cluster too
    let metrics = (!wanted.metrics_from.is_empty()).then(|| wanted.metrics_from.clone());
    let around = [itself(pooler)].into_iter().chain(operator(pooler)).chain(clients);
    Some(NetworkPolicy {
        metadata: meta(pooler, names::workload(&pooler.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(pooler)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(names::POSTGRES_PORT, Some(around.collect())),
                rule(names::HTTP_PORT, metrics),
            ]),
            egress: None,
        }),
    })
}

fn rule(port: &str, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(port.to_owned())),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    }
}

/// Every pod of the namespace.
fn namespace() -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

/// Cancel requests between the pods.
fn itself(pooler: &Pooler) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(selector(pooler)), ..NetworkPolicyPeer::default() }
}

/// The operator, by its namespace.
fn operator(pooler: &Pooler) -> Option<NetworkPolicyPeer> {
    let label =
        |namespace: &String| BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.clone())]);
    pooler.operator_namespace.as_ref().map(|namespace| NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_labels: Some(label(namespace)),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    })
}
