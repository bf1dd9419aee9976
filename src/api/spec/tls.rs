//! Where certificates are, and what they must be.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of an object in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalRef {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Whether a connection uses TLS, and what the other side's certificate must be: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the other side can.
    #[default]
    Prefer,
    /// Always.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCA,
    /// Always, with a certificate of a known authority and with the right name.
    VerifyFull,
}

impl TlsMode {
    /// Whether the other side's certificate is looked at.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCA | Self::VerifyFull)
    }
}

/// Authorities, PEM, in a Secret or a `ConfigMap` of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// Kind of the object.
    #[serde(default)]
    pub kind: CaKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

impl CaRef {
    /// The usual key of a Secret.
    pub fn secret(name: String) -> Self {
        Self { kind: CaKind::Secret, name, key: ca_crt() }
    }
}

/// What holds authorities.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum CaKind {
    /// A Secret.
    #[default]
    Secret,
    /// A `ConfigMap`, as the bundles of managed services are kept.
    ConfigMap,
}

/// TLS with clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!(has(self.secretRef) && has(self.issuerRef))").message("secretRef brings a certificate, issuerRef has one made; set one of them"),
    validation = Rule::new("self.mode == 'Disable' || has(self.secretRef) || has(self.issuerRef)").message("TLS needs a certificate: set secretRef or issuerRef, or mode Disable"),
    validation = Rule::new("!(self.mode in ['VerifyCA', 'VerifyFull']) || has(self.clientCARef)").message("to verify clients takes clientCARef")
)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// Whether clients use TLS, and whether they must show a certificate: `VerifyFull` asks for one with the name of the
    /// user.
    #[serde(default = "require")]
    pub mode: TlsMode,
    /// Secret of type `kubernetes.io/tls` with the certificate that clients are shown. A new one is taken up within
    /// seconds, without a restart. Unset: one of `issuerRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// Issuer of cert-manager that the certificate is ordered from, for the names of the Service. Unset: none is ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// More names for the certificate of `issuerRef`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub dns_names: Vec<String>,
    /// Authorities whose client certificates are accepted. Unset: clients are asked for none.
    #[serde(rename = "clientCARef", skip_serializing_if = "Option::is_none")]
    pub client_ca_ref: Option<CaRef>,
}

/// An issuer of cert-manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Kind.
    #[serde(default = "issuer")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// API group.
    #[serde(default = "cert_manager")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

fn ca_crt() -> String {
    "ca.crt".to_owned()
}

fn require() -> TlsMode {
    TlsMode::Require
}

fn issuer() -> String {
    "Issuer".to_owned()
}

fn cert_manager() -> String {
    "cert-manager.io".to_owned()
}
