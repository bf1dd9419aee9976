//! A stored `PgPooler` that cannot be read, after a hand at its definition, must not keep all others from being seen.

use std::collections::HashMap;
use std::future::ready;

use futures::{Stream, StreamExt as _};
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{Error, Event};

use crate::api::PgPooler;

/// A `PgPooler` as stored, which may be anything.
pub type Stored = DeserializeGuard<PgPooler>;

/// What can be read of a watch. An object that was in the `store` and cannot be read any more leaves it: nothing is
/// reconciled after a spec that is not the one stored, and its children, which it still owns, stay as they are.
pub fn readable(
    watch: impl Stream<Item = Result<Event<Stored>, Error>>,
    store: Store<PgPooler>,
) -> impl Stream<Item = Result<Event<PgPooler>, Error>> {
    let mut unread = Unread::default();
    watch.filter_map(move |event| {
        ready(match event {
            Ok(event) => unread.sift(event, &store).map(Ok),
            Err(error) => Some(Err(error)),
        })
    })
}

/// What is wrong with the objects that cannot be read, by uid: said once, and again when it is something else.
#[derive(Default)]
struct Unread(HashMap<String, String>);

impl Unread {
    fn sift(&mut self, event: Event<Stored>, store: &Store<PgPooler>) -> Option<Event<PgPooler>> {
        match event {
            Event::Init => Some(Event::Init),
            Event::InitDone => Some(Event::InitDone),
            Event::InitApply(stored) => self.read(stored).ok().map(Event::InitApply),
            Event::Apply(stored) => match self.read(stored) {
                Ok(object) => Some(Event::Apply(object)),
                Err(key) => removal(&key, store),
            },
            Event::Delete(stored) => {
                self.0.remove(&stored.uid().unwrap_or_default());
                match stored.0 {
                    Ok(object) => Some(Event::Delete(object)),
                    Err(invalid) => removal(&key(&invalid.metadata), store),
                }
            }
        }
    }

    fn read(&mut self, stored: Stored) -> Result<PgPooler, ObjectRef<PgPooler>> {
        let uid = stored.uid().unwrap_or_default();
        let invalid = match stored.0 {
            Ok(object) => {
                self.0.remove(&uid);
                return Ok(object);
            }
            Err(invalid) => invalid,
        };
        let key = key(&invalid.metadata);
        if self.0.get(&uid) != Some(&invalid.error) {
            tracing::error!(
                namespace = key.namespace.as_deref().unwrap_or_default(),
                name = key.name,
                error = invalid.error,
                "cannot read a PgPooler; it is left alone until it is corrected"
            );
            self.0.insert(uid, invalid.error);
        }
        Err(key)
    }
}

fn key(metadata: &kube::api::ObjectMeta) -> ObjectRef<PgPooler> {
    let mut key = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
    key.namespace.clone_from(&metadata.namespace);
    key
}

fn removal(key: &ObjectRef<PgPooler>, store: &Store<PgPooler>) -> Option<Event<PgPooler>> {
    store.get(key).map(|last| Event::Delete((*last).clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use futures::FutureExt as _;
    use kube::runtime::{WatchStreamExt as _, reflector};
    use serde_json::json;

    use super::*;

    fn stored(name: &str, replicas: &serde_json::Value) -> Stored {
        let object = json!({
            "apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler",
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"target": {"secretRef": {"name": "db"}}, "replicas": replicas},
        });
        serde_json::from_value(object).unwrap()
    }

    /// Names in the store after these events, and the names of those that went through.
    fn seen(events: Vec<Event<Stored>>) -> (Vec<String>, Vec<String>) {
        let (store, writer) = reflector::store();
        let events = futures::stream::iter(events.into_iter().map(Ok));
        let touched = readable(events, store.clone()).reflect(writer).touched_objects();
        let touched: Vec<_> = touched.collect().now_or_never().unwrap();
        let names = touched.into_iter().map(|object| object.unwrap().name_any()).collect();
        (store.state().iter().map(|object| object.name_any()).collect(), names)
    }

    #[test]
    fn one_that_cannot_be_read_does_not_hide_the_others() {
        let events = vec![
            Event::Init,
            Event::InitApply(stored("bad", &json!("many"))),
            Event::InitApply(stored("good", &json!(2))),
            Event::InitDone,
        ];
        assert_eq!(seen(events), (vec!["good".to_owned()], vec!["good".to_owned()]));
    }

    #[test]
    fn one_that_cannot_be_read_any_more_is_left_alone_until_it_can() {
        let mut events = vec![Event::Init, Event::InitApply(stored("a", &json!(2))), Event::InitDone];
        events.push(Event::Apply(stored("a", &json!("many"))));
        assert_eq!(seen(events.clone()).0, Vec::<String>::new());
        events.push(Event::Apply(stored("a", &json!(3))));
        assert_eq!(seen(events.clone()).0, ["a"]);
        events.push(Event::Apply(stored("a", &json!("many"))));
        events.push(Event::Delete(stored("a", &json!("many"))));
        assert_eq!(seen(events).0, Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_remembered_so_that_it_is_said_once() {
        let (store, _writer) = reflector::store();
        let mut unread = Unread::default();
        for _ in 0..2 {
            assert!(unread.sift(Event::Apply(stored("a", &json!("many"))), &store).is_none());
        }
        assert_eq!(unread.0.len(), 1);
        assert!(unread.0["a"].contains("many"), "{:?}", unread.0);
        unread.sift(Event::Apply(stored("a", &json!(2))), &store);
        assert!(unread.0.is_empty());
    }
}
