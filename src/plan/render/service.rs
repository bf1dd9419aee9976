//! The two Services: the one that clients connect to, and the headless one that names every pod.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::ServiceType;
use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::{meta, unless_empty};

/// The port that pods serve clients on.
pub const LISTEN_PORT: i32 = 6432;

/// The Service that clients connect to.
pub fn render(pooler: &Pooler) -> Service {
    let mut metadata = meta(pooler, names::workload(&pooler.name));
    let mut labels = pooler.service.labels.clone();
    labels.extend(names::labels(&pooler.name));
    metadata.labels = Some(labels);
    metadata.annotations = unless_empty(pooler.service.annotations.clone());
    let type_ = match pooler.service.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(names::selector(&pooler.name)),
            ports: Some(vec![port(pooler.service.port)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The headless Service; pods that drain stay in it, since cancel requests must still reach them.
pub fn peers(pooler: &Pooler) -> Service {
    Service {
        metadata: meta(pooler, names::peers(&pooler.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&pooler.name)),
            ports: Some(vec![port(LISTEN_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(port: i32) -> ServicePort {
    ServicePort {
        name: Some(names::POSTGRES_PORT.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(names::POSTGRES_PORT.to_owned())),
        ..ServicePort::default()
    }
}
