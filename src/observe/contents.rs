//! What is in the Secrets and `ConfigMaps` that `PgPoolers` name: read when a watch has seen another version, and kept.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Mutex;

use super::ObserveError;
use super::caches::Caches;
use crate::api::CaKind;
use crate::plan::facts::SecretFact;

/// Kind, namespace and name.
type Key = (CaKind, String, String);

/// All that was read.
pub(super) struct Contents {
    client: Client,
    read: Mutex<HashMap<Key, Content>>,
}

/// An object as last read.
struct Content {
    version: Option<String>,
    data: BTreeMap<String, Vec<u8>>,
}

impl Contents {
    /// With nothing read yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, read: Mutex::default() }
    }

    /// What is in one. Nothing is asked while the version is the one that was read. Cancel-safe.
    pub(super) async fn read(
        &self,
        caches: &Caches,
        namespace: &str,
        kind: CaKind,
        name: &str,
    ) -> Result<SecretFact, ObserveError> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let Some(version) = caches.version(kind, namespace, name) else {
            self.read.lock().await.remove(&key);
            return Ok(SecretFact::Missing);
        };
        if let Some(content) = self.read.lock().await.get(&key)
            && content.version.as_ref() == Some(&version)
        {
            return Ok(SecretFact::Found(content.data.clone()));
        }
        let Some(content) = self.ask(namespace, kind, name).await? else { return Ok(SecretFact::Missing) };
        let data = content.data.clone();
        self.read.lock().await.insert(key, content);
        Ok(SecretFact::Found(data))
    }

    async fn ask(&self, namespace: &str, kind: CaKind, name: &str) -> Result<Option<Content>, ObserveError> {
        let failed = |source| ObserveError::Read { what: format!("{kind:?} `{name}`"), source };
        match kind {
            CaKind::Secret => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                let found = api.get_opt(name).await.map_err(failed)?;
                Ok(found.map(|found| Content {
                    version: found.resource_version(),
                    data: found
                        .data
                        .unwrap_or_default()
                        .into_iter()
                        .map(|(key, bytes)| (key, bytes.0))
                        .collect(),
                }))
            }
            CaKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                let found = api.get_opt(name).await.map_err(failed)?;
                Ok(found.map(|found| Content { version: found.resource_version(), data: data(found) }))
            }
        }
    }
}

fn data(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
    text.chain(map.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0))).collect()
}
