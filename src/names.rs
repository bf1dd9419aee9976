//! Every name that the operator gives or reads: group, field manager, labels, annotations, children, keys.

use std::collections::BTreeMap;

/// Field manager of server-side apply, reporter of events, value of the `managed-by` label.
pub const MANAGER: &str = "pgpooler-operator";

/// Annotation of pods: the server connections that the pod may hold without hearing from anybody; pods that nobody
/// limits have none.
pub const FLOOR: &str = "pgpooler.dev/floor";
/// Annotation of pods: hash of what no process can change while it runs.
pub const RESTART_HASH: &str = "pgpooler.dev/restart-hash";
/// Annotation of pods: hash of the pod template.
pub const TEMPLATE_HASH: &str = "pgpooler.dev/template-hash";
/// Annotation of the Deployment: version and default image of the operator that made its pod template.
pub const MADE_BY: &str = "pgpooler.dev/made-by";
/// Annotation of every child: hash of what was applied, so that a field that is no longer rendered is noticed.
pub const APPLIED_HASH: &str = "pgpooler.dev/applied-hash";

/// Finalizer of a `PgPooler` whose operator has set the login role's CONNECTION LIMIT, and field manager of that.
pub const FENCE: &str = "pgpooler.dev/fence";

/// Annotation of a `PgPooler`: names of pods, separated by commas, that somebody knows to run no more although their
/// objects went while they ran.
pub const RELEASED_PODS: &str = "pgpooler.dev/released-pods";

/// Label of every child and of every pod: name of the `PgPooler`.
pub const INSTANCE: &str = "app.kubernetes.io/instance";

/// Name of the pooler's container and of the product.
pub const POOLER: &str = "pgpooler";
/// Name of the port for PostgreSQL clients.
pub const POSTGRES_PORT: &str = "postgres";
/// Name of the port for `/metrics`, `/healthz` and `/readyz`.
pub const HTTP_PORT: &str = "http";

/// Key of the document in the `ConfigMap`.
pub const DOCUMENT_KEY: &str = "pgpooler.toml";
/// Key of users and passwords in the internal Secret.
pub const USERLIST_KEY: &str = "userlist.txt";
/// Key of the password of the admin console in the internal Secret.
pub const ADMIN_PASSWORD_KEY: &str = "admin-password";
/// Key of the secret that the pods share in the internal Secret: cancel keys are made with it.
pub const PEER_SECRET_KEY: &str = "peer-secret";
/// Key of the authority of the pods in the internal Secret.
pub const INTERNAL_CA_KEY: &str = "internal-ca.crt";
/// Key of the pods' certificate for each other and for the operator in the internal Secret.
pub const INTERNAL_CERT_KEY: &str = "internal.crt";
/// Key of that certificate's key in the internal Secret.
pub const INTERNAL_KEY_KEY: &str = "internal.key";
/// Key of the certificate that clients are shown in the internal Secret.
pub const CLIENT_CERT_KEY: &str = "client.crt";
/// Key of that certificate's key in the internal Secret.
pub const CLIENT_KEY_KEY: &str = "client.key";
/// Key of the authorities of clients' certificates in the internal Secret.
pub const CLIENT_CA_KEY: &str = "client-ca.crt";
/// Key of the certificate that the server is shown in the internal Secret.
pub const SERVER_CERT_KEY: &str = "server.crt";
/// Key of that certificate's key in the internal Secret.
pub const SERVER_KEY_KEY: &str = "server.key";
/// Key of the authorities of the server's certificate in the internal Secret.
pub const SERVER_CA_KEY: &str = "server-ca.crt";
/// User of the admin console.
pub const ADMIN_USER: &str = "pgpooler";

/// `application_name` of the operator's own sessions.
pub const APPLICATION_NAME: &str = MANAGER;

/// Name of the Deployment, the Service and the `PodDisruptionBudget`.
pub fn workload(pooler: &str) -> String {
    pooler.to_owned()
}

/// Name of the headless Service.
pub fn peers(pooler: &str) -> String {
    format!("{pooler}-peers")
}

/// Name of the `ConfigMap`.
pub fn config(pooler: &str) -> String {
    format!("{pooler}-config")
}

/// Name of the internal Secret.
pub fn auth(pooler: &str) -> String {
    format!("{pooler}-auth")
}

/// Name of the Secret and of the Certificate of cert-manager that clients are shown, where one is ordered.
pub fn client_tls(pooler: &str) -> String {
    format!("{pooler}-client-tls")
}

/// Name of the `ServiceAccount`.
pub fn service_account(pooler: &str) -> String {
    format!("{pooler}-pooler")
}

/// Label selector of the pods; never changes, since a Deployment's selector cannot.
pub fn selector(pooler: &str) -> BTreeMap<String, String> {
    [("name", POOLER), ("instance", pooler), ("component", "pooler")].into_iter().map(label).collect()
}

/// Labels of every child.
pub fn labels(pooler: &str) -> BTreeMap<String, String> {
    let mut labels = selector(pooler);
    labels.extend([("part-of", POOLER), ("managed-by", MANAGER)].map(label));
    labels
}

/// Label selector of all children of all `PgPoolers`, for watches.
pub fn watched() -> String {
    format!("app.kubernetes.io/managed-by={MANAGER},app.kubernetes.io/component=pooler")
}

fn label((key, value): (&str, &str)) -> (String, String) {
    (format!("app.kubernetes.io/{key}"), value.to_owned())
}
