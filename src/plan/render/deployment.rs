//! The Deployment: pods that meet the restricted Pod Security Standard and carry their floor.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::{Amount, Resources, Spread, WhenUnsatisfiable};
use crate::names;
use crate::plan::Upgrade;
use crate::plan::pooler::{AUTH_DIR, CONFIG_DIR, Pooler, SpecError};

use super::meta::{hash, meta, selector, unless_empty};
use super::overlay;
use super::service::LISTEN_PORT;

/// The port of `/metrics`, `/healthz` and `/readyz`.
pub const HTTP_PORT: i32 = 9127;

/// The user that the image runs as.
const UID: i64 = 65532;

/// The Deployment.
pub fn render(
    pooler: &Pooler,
    replicas: u32,
    template: PodTemplateSpec,
    maker: Option<String>,
) -> Deployment {
    let mut metadata = meta(pooler, names::workload(&pooler.name));
    metadata.annotations = maker.map(|maker| BTreeMap::from([(names::MADE_BY.to_owned(), maker)]));
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(replicas as i32),
            selector: selector(pooler),
            // never fewer pods than wanted, never more than the one that a floor is set aside for
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            revision_history_limit: Some(2),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The pod template, with what the pods may hold without hearing from anybody, and the hash of what it is made from. Pods
/// with floor 0 are limited by nobody.
pub fn template(pooler: &Pooler, floor: u32, restart_hash: &str) -> Result<PodTemplateSpec, SpecError> {
    let mut annotations = pooler.pod_template.annotations.clone();
    if floor > 0 {
        annotations.insert(names::FLOOR.to_owned(), floor.to_string());
    }
    annotations.insert(names::RESTART_HASH.to_owned(), restart_hash.to_owned());
    annotations.insert(names::TEMPLATE_HASH.to_owned(), origin(pooler, floor, restart_hash));
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pooler.pod_labels()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(overlay::merged(pod(pooler, floor), &more(pooler)).map_err(SpecError::PodTemplate)?),
    })
}

/// A hash of all that people have a hand in, and of what this operator would make of it only where that is asked for: an
/// operator that was upgraded does not replace pods on its own.
fn origin(pooler: &Pooler, floor: u32, restart_hash: &str) -> String {
    let maker = (pooler.upgrade == Upgrade::Always).then_some(&pooler.maker);
    hash(&serde_json::json!({
        "podTemplate": pooler.pod_template,
        "topologySpread": pooler.availability.topology_spread,
        "terminationGraceSeconds": pooler.termination_grace_seconds,
        "image": pooler.own_image,
        "floor": floor,
        "restart": restart_hash,
        "maker": maker,
    }))
}

/// What users add that no field of ours is for.
fn more(pooler: &Pooler) -> serde_json::Map<String, serde_json::Value> {
    pooler.pod_template.more.clone().into_iter().collect()
}

fn pod(pooler: &Pooler, floor: u32) -> PodSpec {
    let more = &pooler.pod_template;
    let pull =
        more.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() });
    let pull: Vec<_> = pull.collect();
    PodSpec {
        service_account_name: Some(names::service_account(&pooler.name)),
        automount_service_account_token: Some(false),
        // an environment variable for every Service of the namespace slows starting down and tells pods nothing
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(pooler.termination_grace_seconds),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(UID),
            run_as_group: Some(UID),
            fs_group: Some(UID),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(pooler, floor)],
        volumes: Some(volumes(pooler)),
        topology_spread_constraints: spread(pooler),
        node_selector: unless_empty(more.node_selector.clone()),
        tolerations: (!more.tolerations.is_empty()).then(|| more.tolerations.clone()),
        image_pull_secrets: (!pull.is_empty()).then_some(pull),
        priority_class_name: more.priority_class_name.clone(),
        ..PodSpec::default()
    }
}

/// `None` for an empty list, which the API server would drop.
fn spread(pooler: &Pooler) -> Option<Vec<TopologySpreadConstraint>> {
    let one = |spread: &Spread| TopologySpreadConstraint {
        max_skew: spread.max_skew,
        topology_key: spread.topology_key.clone(),
        when_unsatisfiable: match spread.when_unsatisfiable {
            WhenUnsatisfiable::ScheduleAnyway => "ScheduleAnyway".to_owned(),
            WhenUnsatisfiable::DoNotSchedule => "DoNotSchedule".to_owned(),
        },
        label_selector: Some(selector(pooler)),
        ..TopologySpreadConstraint::default()
    };
    let all: Vec<_> = pooler.availability.topology_spread.iter().map(one).collect();
    (!all.is_empty()).then_some(all)
}

fn container(pooler: &Pooler, floor: u32) -> Container {
    Container {
        name: names::POOLER.to_owned(),
        image: Some(pooler.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["/usr/bin/pgpooler".to_owned()]),
        args: Some(vec!["--config".to_owned(), format!("{CONFIG_DIR}/{}", names::DOCUMENT_KEY)]),
        env: Some(environment(floor)),
        ports: Some(vec![port(names::POSTGRES_PORT, LISTEN_PORT), port(names::HTTP_PORT, HTTP_PORT)]),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        // a second is enough to start; the kubelet asks until then, so that readiness is seen early
        startup_probe: Some(probe("/healthz", 1, 60)),
        resources: Some(resources(pooler.pod_template.resources.as_ref())),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![mount("config", CONFIG_DIR), mount("auth", AUTH_DIR)]),
        ..Container::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// With a floor the pod waits for its operator; without one the limit of its document counts.
fn environment(floor: u32) -> Vec<EnvVar> {
    let mut variables =
        vec![of_the_pod("PGPOOLER_POD_NAME", "metadata.name"), of_the_pod("PGPOOLER_POD_IP", "status.podIP")];
    if floor > 0 {
        variables.push(EnvVar {
            name: "PGPOOLER_FLOOR".to_owned(),
            value: Some(floor.to_string()),
            value_from: None,
        });
    }
    variables
}

fn of_the_pod(name: &str, field: &str) -> EnvVar {
    let value = EnvVarSource {
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: field.to_owned(),
        }),
        ..EnvVarSource::default()
    };
    EnvVar { name: name.to_owned(), value_from: Some(value), value: None }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(names::HTTP_PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        // the pooler itself gives up on a loop that is stuck after four
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn resources(wanted: Option<&Resources>) -> ResourceRequirements {
    let quantities = |amounts: &BTreeMap<String, Amount>| {
        let each = |(name, amount): (&String, &Amount)| (name.clone(), Quantity(amount.to_string()));
        (!amounts.is_empty()).then(|| amounts.iter().map(each).collect())
    };
    match wanted {
        Some(wanted) => ResourceRequirements {
            requests: quantities(&wanted.requests),
            limits: quantities(&wanted.limits),
            claims: None,
        },
        None => ResourceRequirements {
            requests: Some(
                [("cpu", "50m"), ("memory", "64Mi")]
                    .map(|(k, v)| (k.to_owned(), Quantity(v.to_owned())))
                    .into(),
            ),
            ..ResourceRequirements::default()
        },
    }
}

fn volumes(pooler: &Pooler) -> Vec<Volume> {
    vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::config(&pooler.name),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "auth".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::auth(&pooler.name)),
                // owner and group: the pooler's group is the volume's
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
