//! What was written last, so that the watch's echo of it starts nothing, and is not compared again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use kube::core::ObjectMeta;

/// Versions of objects that are as they should be, as hashes: there may be many thousands.
///
/// One that is missing costs one comparison that finds nothing to do: what others write afterwards has another version.
#[derive(Debug, Default)]
pub struct OwnWrites(Mutex<HashMap<u64, Version>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    version: u64,
    /// Of what it should be.
    wanted: u64,
}

impl OwnWrites {
    /// The API server has this of ours, and it is what was wanted, by the hash of that.
    pub fn note(&self, meta: &ObjectMeta, wanted: &str) {
        if let Some((object, version)) = identity(meta) {
            self.lock().insert(object, Version { version, wanted: hash(wanted) });
        }
    }

    /// Whether this version is known to be what is wanted.
    pub fn is_known(&self, meta: &ObjectMeta, wanted: &str) -> bool {
        identity(meta).is_some_and(|(object, version)| {
            self.lock().get(&object) == Some(&Version { version, wanted: hash(wanted) })
        })
    }

    /// Whether this is what was written last, and nobody else has touched it since.
    pub fn is_echo(&self, meta: &ObjectMeta) -> bool {
        identity(meta).is_some_and(|(object, version)| {
            meta.deletion_timestamp.is_none()
                && self.lock().get(&object).is_some_and(|known| known.version == version)
        })
    }

    /// It is no more.
    pub fn forget(&self, meta: &ObjectMeta) {
        if let Some((object, _)) = identity(meta) {
            self.lock().remove(&object);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Version>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(meta: &ObjectMeta) -> Option<(u64, u64)> {
    Some((hash(meta.uid.as_deref()?), hash(meta.resource_version.as_deref()?)))
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn meta(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta { uid: Some(uid.into()), resource_version: Some(version.into()), ..ObjectMeta::default() }
    }

    #[test]
    fn only_what_was_written_last_is_an_echo() {
        let own = OwnWrites::default();
        assert!(!own.is_echo(&meta("a", "1")));
        own.note(&meta("a", "1"), "x");
        own.note(&meta("a", "2"), "x");
        assert!(own.is_echo(&meta("a", "2")));
        assert!(own.is_known(&meta("a", "2"), "x"));
        assert!(!own.is_known(&meta("a", "2"), "y"), "something else is wanted by now");
        assert!(!own.is_known(&meta("a", "3"), "x"), "somebody has changed it");
        for other in [meta("a", "1"), meta("a", "3"), meta("b", "2"), ObjectMeta::default()] {
            assert!(!own.is_echo(&other), "{other:?}");
        }
        let ended = ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..meta("a", "2") };
        assert!(!own.is_echo(&ended), "it goes");
        own.forget(&meta("a", "9"));
        assert!(!own.is_echo(&meta("a", "2")));
    }
}
