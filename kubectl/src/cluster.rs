//! The cluster that the command line means, and what is read of it. What may not be read is said, not failed for.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use pgpooler_operator::api::PgPooler;
use pgpooler_operator::names;

use crate::cli::ClusterOptions;

/// No answer of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig, or a context of it.
    #[error("no cluster to speak to")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// The same, while it was looked for.
    #[error("no cluster to speak to")]
    Infer(#[source] kube::config::InferConfigError),
    /// A certificate or a token of it.
    #[error("the kubeconfig cannot be used")]
    Client(#[source] Box<kube::Error>),
    /// There is none of that name.
    #[error("there is no PgPooler `{name}` in namespace {namespace}")]
    Missing {
        /// The name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// There is none at all.
    #[error("there is no PgPooler in namespace {0}")]
    None(String),
    /// The kind is not there.
    #[error("this cluster knows no PgPoolers: the definition is not installed")]
    NoDefinition,
    /// A read or a write.
    #[error("cannot {what}")]
    Api {
        /// What was to be done.
        what: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

/// A cluster and a namespace of it.
#[derive(Clone)]
pub struct Cluster {
    /// To speak with it.
    pub client: Client,
    /// Where to look.
    pub namespace: String,
}

impl Cluster {
    /// As kubectl would find it. Nothing is sent yet, unless a credential plugin has to run.
    pub async fn connect(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let config = config(options).await?;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))?;
        Ok(Self { client, namespace })
    }

    /// The `PgPoolers` of the namespace.
    pub fn poolers(&self) -> Api<PgPooler> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The one of that name, or all of the namespace; one at least.
    pub async fn find(&self, name: Option<&str>) -> Result<Vec<PgPooler>, ClusterError> {
        let Some(name) = name else {
            let listed = self.poolers().list(&ListParams::default()).await;
            let listed = listed.map_err(|source| failed("list PgPoolers", source))?;
            let none = || ClusterError::None(self.namespace.clone());
            return Some(listed.items).filter(|items| !items.is_empty()).ok_or_else(none);
        };
        self.get(name).await?.map(|found| vec![found]).ok_or_else(|| self.missing(name))
    }

    /// The one of that name, if there is one.
    pub async fn get(&self, name: &str) -> Result<Option<PgPooler>, ClusterError> {
        match self.poolers().get_opt(name).await {
            Ok(Some(found)) => Ok(Some(found)),
            // neither tells whether the kind or the object is not there
            Ok(None) => self
                .poolers()
                .list(&ListParams::default().limit(1))
                .await
                .map_or_else(|source| Err(failed("list PgPoolers", source)), |_| Ok(None)),
            Err(source) => Err(failed(&format!("read PgPooler `{name}`"), source)),
        }
    }

    /// There is none of that name.
    pub fn missing(&self, name: &str) -> ClusterError {
        ClusterError::Missing { name: name.to_owned(), namespace: self.namespace.clone() }
    }

    /// The pods of a `PgPooler`, by name.
    pub async fn pods(&self, pooler: &str) -> Result<Vec<Pod>, ClusterError> {
        let labels: Vec<_> =
            names::selector(pooler).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let listed = api.list(&ListParams::default().labels(&labels.join(","))).await;
        let mut pods = listed.map_err(|source| failed("list pods", source))?.items;
        pods.sort_by_key(Pod::name_any);
        Ok(pods)
    }
}

async fn config(options: &ClusterOptions) -> Result<Config, ClusterError> {
    if options.context.is_none() && options.kubeconfig.is_none() {
        return Config::infer().await.map_err(ClusterError::Infer);
    }
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = kubeconfig.map_err(ClusterError::Kubeconfig)?;
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &chosen).await.map_err(ClusterError::Kubeconfig)
}

/// A call that failed; a kind that is not there is said so.
pub fn failed(what: &str, source: kube::Error) -> ClusterError {
    match source {
        kube::Error::Api(status) if status.code == 404 => ClusterError::NoDefinition,
        source => ClusterError::Api { what: what.to_owned(), source: Box::new(source) },
    }
}

/// Why a call failed, for remarks.
pub fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => pgpooler_operator::error::chain(other),
    }
}
