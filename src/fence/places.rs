//! Which `PgPoolers` have written down a fence for which role on which server: of thousands, the few that matter to one.

use std::collections::{BTreeSet, HashMap};

use crate::api::FenceStatus;
use crate::plan::fence::Place;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// Role, and the server's address or its system identifier.
type At = (String, String);

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Places {
    at: HashMap<At, BTreeSet<Key>>,
    of: HashMap<Key, Vec<At>>,
}

impl Places {
    /// What a status says of its fence from now on.
    pub(crate) fn note(&mut self, key: &Key, fence: Option<&FenceStatus>) {
        let now = fence.map(ats).unwrap_or_default();
        if self.of.get(key).map_or(now.is_empty(), |before| *before == now) {
            return;
        }
        self.forget(key);
        for at in &now {
            self.at.entry(at.clone()).or_default().insert(key.clone());
        }
        self.of.insert(key.clone(), now);
    }

    /// It is no more.
    pub(crate) fn forget(&mut self, key: &Key) {
        for at in self.of.remove(key).unwrap_or_default() {
            if let Some(keys) = self.at.get_mut(&at) {
                keys.remove(key);
                if keys.is_empty() {
                    self.at.remove(&at);
                }
            }
        }
    }

    /// All whose status may speak of a place, and perhaps some whose does not.
    pub(crate) fn near(&self, place: &Place, system_identifier: Option<&str>) -> BTreeSet<Key> {
        let servers = [Some(place.address.as_str()), system_identifier];
        let ats = servers.into_iter().flatten().map(|server| (place.role.clone(), server.to_owned()));
        ats.filter_map(|at| self.at.get(&at)).flatten().cloned().collect()
    }
}

fn ats(fence: &FenceStatus) -> Vec<At> {
    let servers = [Some(&fence.address), fence.system_identifier.as_ref()];
    servers.into_iter().flatten().map(|server| (fence.role.clone(), server.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(role: &str, address: &str, id: Option<&str>) -> FenceStatus {
        FenceStatus {
            role: role.into(),
            address: address.into(),
            system_identifier: id.map(Into::into),
            ..FenceStatus::default()
        }
    }

    fn near(places: &Places, role: &str, address: &str, id: Option<&str>) -> Vec<String> {
        let place = Place { role: role.into(), address: address.into() };
        places.near(&place, id).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn those_are_near_that_share_role_and_server_by_whichever_name() {
        let mut places = Places::default();
        let key = |name: &str| ("shop".to_owned(), name.to_owned());
        places.note(&key("a"), Some(&fence("app", "one:5432", Some("7"))));
        places.note(&key("b"), Some(&fence("app", "two:5432", Some("7"))));
        places.note(&key("c"), Some(&fence("app", "one:5432", None)));
        places.note(&key("d"), Some(&fence("other", "one:5432", Some("7"))));
        assert_eq!(near(&places, "app", "one:5432", Some("7")), ["a", "b", "c"]);
        assert_eq!(near(&places, "app", "two:5432", None), ["b"]);
        places.note(&key("a"), Some(&fence("app", "three:5432", Some("8"))));
        places.note(&key("c"), None);
        assert_eq!(near(&places, "app", "one:5432", Some("7")), ["b"]);
        for name in ["a", "b", "d"] {
            places.forget(&key(name));
        }
        assert!(places.at.is_empty() && places.of.values().all(Vec::is_empty));
    }
}
