//! One server-side apply for every kind, with our field manager and only where something differs.

use std::fmt::Debug;
use std::sync::Arc;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::PgPooler;
use crate::names;
use crate::plan::objects::Child;
use crate::plan::render::meta::{hash, is_owned_by};

use super::diff::{contains, missing};
use super::{ApplyError, Writer};

/// What every kind of child is.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// Refuses before anything is written if an object that the caches do not know has the name. Only objects to be
/// created cost this read.
pub async fn probe<K: Kind>(
    writer: Writer<'_>,
    owner: &PgPooler,
    child: &Child<K>,
    live: Option<&Arc<K>>,
) -> Result<(), ApplyError> {
    let (Child::Apply(wanted), None) = (child, live) else { return Ok(()) };
    let name = wanted.name_any();
    let found = api::<K>(writer, owner).get_metadata_opt(&name).await;
    match found.map_err(|source| failed::<K>(&name, source))? {
        Some(found) if !is_owned_by(&found, owner) => {
            Err(ApplyError::NameConflict { what: format!("{} `{name}`", K::kind(&())) })
        }
        _ => Ok(()),
    }
}

/// Asks the API server whether it would take the child, where it is to be another than it is: what it refuses must not
/// leave half of the set in place.
pub async fn dry_run<K: Kind>(
    writer: Writer<'_>,
    owner: &PgPooler,
    child: &Child<K>,
    live: Option<&Arc<K>>,
) -> Result<(), ApplyError> {
    let Child::Apply(wanted) = child else { return Ok(()) };
    // what is refused although it is new is refused before anything depends on it
    let Some(live) = live else { return Ok(()) };
    let wanted = sealed((**wanted).clone());
    if is_current(writer, &**live, &wanted) {
        return Ok(());
    }
    let name = wanted.name_any();
    let params = PatchParams { dry_run: true, ..PatchParams::apply(names::MANAGER).force() };
    match api::<K>(writer, owner).patch(&name, &params, &Patch::Apply(&wanted)).await {
        Ok(_) => Ok(()),
        Err(source) => Err(failed::<K>(&name, source)),
    }
}

/// Makes the API server have the child as rendered.
pub async fn apply<K: Kind>(
    writer: Writer<'_>,
    owner: &PgPooler,
    child: Child<K>,
    live: Option<&Arc<K>>,
) -> Result<Option<Arc<K>>, ApplyError> {
    match child {
        Child::Leave => Ok(live.cloned()),
        Child::Remove => remove(writer, owner, live).await.map(|()| None),
        Child::Apply(wanted) => {
            let wanted = sealed(*wanted);
            match live.filter(|live| is_current(writer, &***live, &wanted)) {
                Some(live) => Ok(Some(Arc::clone(live))),
                None => put(writer, owner, &wanted, live).await.map(|applied| Some(Arc::new(applied))),
            }
        }
    }
}

/// A server-side apply leaves what others have added to a list, such as a port of their own under our port's name. Where
/// the API server refuses the result, the lists are first set to what they should be.
async fn put<K: Kind>(
    writer: Writer<'_>,
    owner: &PgPooler,
    wanted: &K,
    live: Option<&Arc<K>>,
) -> Result<K, ApplyError> {
    let answer = patch(writer, owner, wanted).await;
    let (Err(ApplyError::Rejected { .. }), Some(live)) = (&answer, live) else { return answer };
    let (Ok(live), Ok(whole)) = (serde_json::to_value(&**live), serde_json::to_value(wanted)) else {
        return answer;
    };
    let repair = Patch::Merge(missing(&live, &whole));
    let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
    match api::<K>(writer, owner).patch(&wanted.name_any(), &params, &repair).await {
        Ok(_) => patch(writer, owner, wanted).await,
        Err(_) => answer,
    }
}

async fn patch<K: Kind>(writer: Writer<'_>, owner: &PgPooler, wanted: &K) -> Result<K, ApplyError> {
    let name = wanted.name_any();
    let params = PatchParams::apply(names::MANAGER).force();
    let applied = api::<K>(writer, owner).patch(&name, &params, &Patch::Apply(wanted)).await;
    if let Ok(applied) = &applied {
        writer.own.note(applied.meta(), applied_hash(wanted));
    }
    tracing::info!(kind = %K::kind(&()), name, ok = applied.is_ok(), "applied");
    applied.map_err(|source| failed::<K>(&name, source))
}

/// Only the very object that was seen, which is ours.
async fn remove<K: Kind>(
    writer: Writer<'_>,
    owner: &PgPooler,
    live: Option<&Arc<K>>,
) -> Result<(), ApplyError> {
    let Some(live) = live.filter(|live| live.meta().deletion_timestamp.is_none()) else { return Ok(()) };
    let name = live.name_any();
    let only_this = Preconditions { uid: live.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
    match api::<K>(writer, owner).delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(failed::<K>(&name, source)),
        Ok(_) => {
            writer.own.forget(live.meta());
            Ok(())
        }
    }
}

/// With the hash of what is applied.
fn sealed<K: Kind>(mut wanted: K) -> K {
    let hash = hash(&wanted);
    wanted.annotations_mut().insert(names::APPLIED_HASH.to_owned(), hash);
    wanted
}

fn applied_hash<K: Kind>(object: &K) -> &str {
    object.annotations().get(names::APPLIED_HASH).map(String::as_str).unwrap_or_default()
}

fn is_current<K: Kind>(writer: Writer<'_>, live: &K, wanted: &K) -> bool {
    let hash = applied_hash(wanted);
    if applied_hash(live) != hash {
        return false;
    }
    if writer.own.is_known(live.meta(), hash) {
        return true;
    }
    let is_same = match (serde_json::to_value(live), serde_json::to_value(wanted)) {
        (Ok(live), Ok(wanted)) => contains(&live, &wanted),
        _ => false,
    };
    if is_same {
        writer.own.note(live.meta(), hash);
    }
    is_same
}

fn api<K: Kind>(writer: Writer<'_>, owner: &PgPooler) -> Api<K> {
    Api::namespaced(writer.client.clone(), &owner.namespace().unwrap_or_default())
}

fn failed<K: Kind>(name: &str, source: kube::Error) -> ApplyError {
    let what = format!("{} `{name}`", K::kind(&()));
    match source {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 409 | 422) => {
            ApplyError::Rejected { what, message: status.message.clone() }
        }
        source => ApplyError::Api { what, source: Box::new(source) },
    }
}
