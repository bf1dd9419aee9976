//! The admin console of one pod, through the API server: a port-forward, and in it the TLS and the login that the
//! operator has too. Who may read the Secret `NAME-auth` and forward ports may do this, nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt as _};
use pgpooler_operator::link::{self, LinkError};
use pgpooler_operator::names;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::cluster::Cluster;

/// A row, by column.
pub type Row = BTreeMap<String, String>;

/// Port of the console where a pod does not say.
const DEFAULT_PORT: u16 = 6432;
/// How long a forwarded port, or an answer, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// No word from a pod.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The Secret.
    #[error("cannot read Secret `{name}`")]
    Secret {
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// What is in it.
    #[error("Secret `{name}` has no `{key}`")]
    Key {
        /// Its name.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// The way there.
    #[error("cannot forward a port")]
    Forward(#[source] Box<kube::Error>),
    /// The stream.
    #[error("the port was not forwarded")]
    NoStream,
    /// TLS, or the login.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A command.
    #[error("no answer to {0}")]
    Query(&'static str, #[source] tokio_postgres::Error),
    /// The same, in time.
    #[error("no answer in time")]
    Silent,
}

/// What opens the consoles of one `PgPooler`; never printed.
#[derive(Clone)]
pub struct Keys {
    authority: Vec<u8>,
    password: String,
}

impl Keys {
    /// These.
    pub fn new(authority: Vec<u8>, password: String) -> Self {
        Self { authority, password }
    }

    /// From the Secret of a `PgPooler`.
    pub async fn read(cluster: &Cluster, pooler: &str) -> Result<Self, ConsoleError> {
        let name = names::auth(pooler);
        let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let secret = api.get(&name).await;
        let secret =
            secret.map_err(|source| ConsoleError::Secret { name: name.clone(), source: Box::new(source) })?;
        let data = secret.data.unwrap_or_default();
        let of = |key: &'static str| {
            data.get(key)
                .map(|bytes| bytes.0.clone())
                .ok_or_else(|| ConsoleError::Key { name: name.clone(), key })
        };
        let password = String::from_utf8(of(names::ADMIN_PASSWORD_KEY)?)
            .map_err(|_| ConsoleError::Key { name: name.clone(), key: names::ADMIN_PASSWORD_KEY })?;
        Ok(Self { authority: of(names::INTERNAL_CA_KEY)?, password })
    }
}

/// A session. Dropping it ends it.
pub struct Console {
    client: Client,
    driving: JoinHandle<()>,
}

impl Drop for Console {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Console {
    /// At a pod of a cluster.
    ///
    /// Cancel-safe: dropping it closes the connection. Takes no longer than ten seconds.
    pub async fn open(cluster: &Cluster, pod: &Pod, keys: &Keys) -> Result<Self, ConsoleError> {
        let (name, port) = (pod.name_any(), port(pod));
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let ports = [port];
        let answer = timeout(PATIENCE, api.portforward(&name, &ports)).await;
        let answer = answer.map_err(|_| ConsoleError::Silent)?;
        let mut forwarder = answer.map_err(|source| ConsoleError::Forward(Box::new(source)))?;
        let stream = forwarder.take_stream(port).ok_or(ConsoleError::NoStream)?;
        Self::over(stream, &name, keys).await
    }

    /// Over a connection that is there already.
    pub async fn over<S>(stream: S, peer: &str, keys: &Keys) -> Result<Self, ConsoleError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, driver) = link::over(stream, peer, &keys.authority, &keys.password).await?;
        // what ends the session is seen by whoever waits for an answer
        Ok(Self { client, driving: tokio::spawn(driver.for_each(|_| async {})) })
    }

    /// The rows of a command.
    ///
    /// Cancel-safe: an answer that nobody waits for is thrown away.
    pub async fn rows(&self, command: &'static str) -> Result<Vec<Row>, ConsoleError> {
        let answer = timeout(PATIENCE, self.client.simple_query(command)).await;
        let messages = answer
            .map_err(|_| ConsoleError::Silent)?
            .map_err(|source| ConsoleError::Query(command, source))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(
                row.columns()
                    .iter()
                    .enumerate()
                    .filter_map(|(index, column)| {
                        Some((column.name().to_owned(), row.try_get(index).ok()??.to_owned()))
                    })
                    .collect(),
            ),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }
}

fn port(pod: &Pod) -> u16 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let ours = ports.find(|port| port.name.as_deref() == Some(names::POSTGRES_PORT));
    ours.and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(DEFAULT_PORT)
}
