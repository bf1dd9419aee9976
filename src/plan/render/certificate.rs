//! The Certificate of cert-manager for the names of the Service.

use crate::api::{Certificate, CertificateSpec};
use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::meta;

/// The Certificate, if one is wanted.
pub fn render(pooler: &Pooler) -> Option<Certificate> {
    let order = pooler.certificate.as_ref()?;
    let (name, namespace) = (names::workload(&pooler.name), &pooler.namespace);
    let own = ["", ".svc", ".svc.cluster.local"].map(|suffix| format!("{name}.{namespace}{suffix}"));
    let mut dns_names = vec![name];
    dns_names.extend(own);
    dns_names.extend(order.dns_names.iter().cloned());
    let secret_name = names::client_tls(&pooler.name);
    Some(Certificate {
        metadata: meta(pooler, secret_name.clone()),
        spec: CertificateSpec { secret_name, dns_names, issuer_ref: order.issuer.clone() },
    })
}
