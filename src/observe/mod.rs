//! Gathers the facts: from the caches, from the Secret of the target, from PostgreSQL and from the pods.

pub mod caches;
mod contents;
mod dial;
pub mod guard;
pub mod internal_tls;
pub mod kinds;
mod lookup;
pub mod pods;
pub mod postgres;
pub mod session;

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt as _};
use tokio::sync::Mutex;

use crate::api::{CaKind, PgPooler};
use crate::names;
use crate::plan::checks;
use crate::plan::facts::{
    Children, Facts, Fencing, Hidden, InternalTls, LookupFact, SecretFact, ServerFact, Sharing,
};
use crate::plan::materials::{self, Credentials, References};
use crate::plan::target::Target;

use caches::Caches;
use contents::Contents;
use lookup::Lookups;
use pods::Observed;
use postgres::{Age, Sessions};

/// The world could not be seen.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The API server.
    #[error("cannot read {what}")]
    Read {
        /// Kind and name.
        what: String,
        /// Why.
        source: kube::Error,
    },
    /// The system.
    #[error("cannot get random bytes for a secret: {0}")]
    Random(getrandom::Error),
    /// The library.
    #[error("cannot make a certificate for the pods")]
    Certify(#[source] rcgen::Error),
}

/// What is kept between observations.
pub struct Observer {
    sessions: Sessions,
    contents: Contents,
    lookups: Lookups,
    /// Generated, and not in use yet: by uid of the `PgPooler` and key in its internal Secret.
    secrets: Mutex<HashMap<(String, &'static str), Hidden>>,
    /// The same, by uid.
    internal_tls: Mutex<HashMap<String, InternalTls>>,
}

impl Observer {
    /// With nothing seen yet.
    pub fn new(client: Client) -> Self {
        Self {
            sessions: Sessions::default(),
            contents: Contents::new(client),
            lookups: Lookups::default(),
            secrets: Mutex::default(),
            internal_tls: Mutex::default(),
        }
    }

    /// The sessions on the servers.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Everything that the plan needs. At rest nothing is read from the API server. `age`: of what is told of the sessions on
    /// the server.
    pub async fn facts(&self, caches: &Caches, pooler: &PgPooler, age: Age) -> Result<Facts, ObserveError> {
        let (children, conflicts) = caches.children(pooler);
        let Observed { exists: pods, vanished } = caches.pods.observed(pooler);
        let uid = pooler.uid().unwrap_or_default();
        let (secret, references) = self.named(caches, pooler).await?;
        let kinds = *caches.kinds.borrow();
        let mut facts = Facts {
            secret,
            references,
            kinds,
            server: ServerFact::NotAsked,
            lookup: LookupFact::NotAsked,
            admin_password: self.generated(&uid, names::ADMIN_PASSWORD_KEY, &children).await?,
            peer_secret: self.generated(&uid, names::PEER_SECRET_KEY, &children).await?,
            internal_tls: self.internal_tls(&uid, &children).await?,
            children,
            conflicts,
            pods,
            vanished,
            backends: None,
            // filled by whoever keeps the ledger
            account: None,
            sharing: Sharing::default(),
            // filled by whoever knows the statuses of all
            fence: Fencing::default(),
        };
        if let Some(target) = target_from_here(pooler, &facts.secret, &facts.references) {
            facts.lookup = self.lookup(pooler, &target, &facts.references).await;
            facts.server = self.sessions.observe(&target, &ObjectRef::from_obj(pooler)).await;
            if matches!(facts.server, ServerFact::Seen(_)) {
                facts.backends = self.sessions.looked(&target, age).await;
            }
        }
        Ok(facts)
    }

    /// The target, as far as it is known.
    pub async fn target(&self, caches: &Caches, pooler: &PgPooler) -> Result<Option<Target>, ObserveError> {
        let (secret, references) = self.named(caches, pooler).await?;
        Ok(target_from_here(pooler, &secret, &references))
    }

    /// What a `PgPooler` names: the Secret of its target, and all else.
    async fn named(
        &self,
        caches: &Caches,
        pooler: &PgPooler,
    ) -> Result<(SecretFact, References), ObserveError> {
        let namespace = pooler.namespace().unwrap_or_default();
        let mut references = References::new();
        for (kind, name) in materials::references(pooler) {
            let fact = self.contents.read(caches, &namespace, kind, &name).await?;
            references.insert((kind, name), fact);
        }
        let target = (CaKind::Secret, pooler.spec.target.secret_name());
        Ok((references.get(&target).cloned().unwrap_or_default(), references))
    }

    /// Whether roles can be looked up, where they are to be.
    async fn lookup(&self, pooler: &PgPooler, target: &Target, references: &References) -> LookupFact {
        let Some(query) = &pooler.spec.auth.query else { return LookupFact::NotAsked };
        let Ok(found) = materials::materials(pooler, references) else { return LookupFact::NotAsked };
        let login = || Credentials { user: target.user.clone(), password: target.password.clone() };
        let question = lookup::Question {
            target: target.clone(),
            role: found.lookup.unwrap_or_else(login),
            database: query.database.clone().unwrap_or_else(|| target.database.clone()),
            statement: query.statement.clone(),
        };
        self.lookups.ask(question).await
    }

    /// What is in use, while it will do; otherwise new, which is remembered until it is in use.
    async fn internal_tls(&self, uid: &str, children: &Children) -> Result<InternalTls, ObserveError> {
        let now = Timestamp::now();
        let data = children.auth.as_ref().and_then(|secret| secret.data.as_ref());
        let mut made = self.internal_tls.lock().await;
        let used = data.and_then(internal_tls::read);
        if let Some(used) = used.as_ref().filter(|used| internal_tls::will_do(used, now)) {
            made.remove(uid);
            return Ok(used.clone());
        }
        if let Some(new) = made.get(uid) {
            return Ok(new.clone());
        }
        let new = internal_tls::make(now).map_err(ObserveError::Certify)?;
        let new = internal_tls::succeed(new, used.as_ref());
        made.insert(uid.to_owned(), new.clone());
        Ok(new)
    }

    /// The one in use; otherwise a new one, which is remembered until it is in use.
    async fn generated(
        &self,
        uid: &str,
        key: &'static str,
        children: &Children,
    ) -> Result<Hidden, ObserveError> {
        let data = children.auth.as_ref().and_then(|secret| secret.data.as_ref());
        let used = data.and_then(|data| data.get(key));
        let used =
            used.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).filter(|text| !text.is_empty());
        let mut secrets = self.secrets.lock().await;
        let id = (uid.to_owned(), key);
        if let Some(used) = used {
            secrets.remove(&id);
            return Ok(Hidden(used));
        }
        if let Some(new) = secrets.get(&id) {
            return Ok(new.clone());
        }
        let new = random_letters()?;
        secrets.insert(id, new.clone());
        Ok(new)
    }
}

/// With a host that can be resolved from the operator's namespace.
pub fn target_from_here(pooler: &PgPooler, secret: &SecretFact, references: &References) -> Option<Target> {
    let target = checks::target(pooler, secret, references).ok()?;
    Some(target.from_elsewhere(&pooler.namespace().unwrap_or_default()))
}

/// 160 random bits as letters and digits.
fn random_letters() -> Result<Hidden, ObserveError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(ObserveError::Random)?;
    Ok(Hidden(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()))
}
