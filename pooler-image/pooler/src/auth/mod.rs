//! Who may log in, and what we can prove to servers on their behalf.
//!
//! One [`AuthState`] is shared by all event loops. Keys are derived from a plain password once, when its user
//! first comes; a login after that costs no PBKDF2, on either side.

mod lookups;
mod mock;
#[cfg(test)]
mod tests;
mod user;

use std::collections::HashMap;
use std::sync::Arc;

use pgpooler_config::{AuthType, Document, Userlist};
use pgpooler_core::handshake::{Method, PasswordCheck};
use pgpooler_core::scram::{self, NONCE_BYTES};
use pgpooler_core::startup::StartupParameters;
use pgpooler_core::wire::ErrorResponse;
use zeroize::Zeroizing;

pub use lookups::{Answer, Lookups};
pub(crate) use lookups::{Ask, Inquiry, Key, LookupRule, answer};
use mock::Mock;
pub use pgpooler_config::auth_query_sql;
pub use user::User;

/// The system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct RandomError(#[from] getrandom::Error);

/// Who wants to log in.
#[derive(Debug, Clone, Copy)]
pub struct Applicant<'a> {
    /// What the client asks for.
    pub parameters: &'a StartupParameters,
    /// The common name of the certificate that it has shown, if that was good.
    pub common_name: Option<&'a str>,
}

/// Says how a client is to prove who it is.
pub trait Gate {
    /// The challenge for a client; may wait for a look-up.
    fn challenge(&self, applicant: Applicant<'_>) -> impl Future<Output = Result<Challenge, Unchallenged>>;
}

/// Why a client cannot be asked for a proof.
#[derive(Debug, thiserror::Error)]
pub enum Unchallenged {
    /// The client is told so.
    #[error("{0}")]
    Refused(ErrorResponse),
    /// No random bytes for the exchange.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// The users, and what stands in for those who do not exist.
#[derive(Debug)]
pub struct AuthState {
    auth_type: AuthType,
    users: HashMap<String, Arc<User>>,
    lookups: Option<Arc<Lookups>>,
    mock: Mock,
}

/// How a client is to prove who it is.
#[derive(Debug)]
pub struct Challenge {
    /// The method, with this exchange's random part.
    pub method: Method,
    /// The user; none when there is no such user, and then no proof succeeds.
    pub user: Option<Arc<User>>,
    /// Told when the proof fails: what was known may be outdated.
    doubt: Option<Doubt>,
}

/// An answer that may be outdated.
#[derive(Debug)]
struct Doubt {
    lookups: Arc<Lookups>,
    key: Key,
}

impl AuthState {
    /// From a list of users.
    pub fn new(list: &Userlist, document: &Document) -> Result<Self, RandomError> {
        Self::build(list, document, None)
    }

    /// From a newer list. Users whose secret is unchanged keep the keys derived so far, and unknown users their
    /// salts.
    pub fn reload(&self, list: &Userlist, document: &Document) -> Result<Self, RandomError> {
        Self::build(list, document, Some(self))
    }

    /// A user of the list.
    pub fn listed(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// A user of the list, or one that was found for this database.
    pub fn user(&self, database: &str, name: &str) -> Option<Arc<User>> {
        self.listed(name).cloned().or_else(|| {
            let lookups = self.lookups.as_ref()?;
            lookups.known(&lookups.key(database, name))
        })
    }

    /// Where users are looked up that are not in the list.
    pub(crate) fn lookups(&self) -> Option<&Arc<Lookups>> {
        self.lookups.as_ref()
    }

    /// How the client is to prove that it is `user`, or nobody. Slow (PBKDF2) the first time for a plain password.
    pub(crate) fn ask(
        &self,
        applicant: Applicant<'_>,
        user: Option<Arc<User>>,
    ) -> Result<Challenge, RandomError> {
        if self.auth_type == AuthType::Cert {
            // the certificate of somebody who does not exist is nobody's
            let shown = |name: &str| if user.is_some() { name.to_owned() } else { String::new() };
            let common_name = applicant.common_name.map(shown);
            return Ok(Challenge { method: Method::Certificate { common_name }, user, doubt: None });
        }
        // PostgreSQL lets nobody in with an empty password either
        let user = user.filter(|user| !user.has_no_password());
        let method = match &user {
            Some(user) => user.method(self.auth_type)?,
            None => self.mock.method(&applicant.parameters.user, self.lookups.as_deref())?,
        };
        Ok(Challenge { method, user, doubt: None })
    }

    fn build(list: &Userlist, document: &Document, older: Option<&Self>) -> Result<Self, RandomError> {
        let mut users = HashMap::with_capacity(list.len());
        for (name, secret) in list.iter() {
            let known = older.and_then(|older| older.users.get(name)).filter(|user| user.has_secret(secret));
            let user = match known {
                Some(user) => Arc::clone(user),
                None => Arc::new(User::new(name, secret)?),
            };
            users.insert(name.to_owned(), user);
        }
        let lookups = lookups(&users, document, older)?;
        let process_secret = match older {
            Some(older) => older.mock.process_secret().clone(),
            None => Zeroizing::new(random()?),
        };
        let mock = Mock::new(process_secret, list, document.auth_type);
        Ok(Self { auth_type: document.auth_type, users, lookups, mock })
    }
}

impl Gate for AuthState {
    /// Asks nobody: the list is all there is.
    async fn challenge(&self, applicant: Applicant<'_>) -> Result<Challenge, Unchallenged> {
        Ok(self.ask(applicant, self.listed(&applicant.parameters.user).cloned())?)
    }
}

impl Challenge {
    /// Its user was not asked for just now: if the proof fails, that may be why.
    pub(crate) fn doubtful(mut self, lookups: &Arc<Lookups>, key: Key) -> Self {
        self.doubt = Some(Doubt { lookups: Arc::clone(lookups), key });
        self
    }

    /// What a password in clear text is worth. Slow (PBKDF2) when only a verifier is known.
    pub fn check(&self, password: &str) -> PasswordCheck {
        self.user.as_ref().map_or(PasswordCheck::Wrong, |user| user.check(password))
    }

    /// The proof was wrong.
    pub fn failed(self) {
        if let Some(Doubt { lookups, key }) = self.doubt {
            lookups.forget(&key);
        }
    }
}

/// The older ones, unless they asked somebody else.
fn lookups(
    users: &HashMap<String, Arc<User>>,
    document: &Document,
    older: Option<&AuthState>,
) -> Result<Option<Arc<Lookups>>, RandomError> {
    let Some(rule) = LookupRule::of(users, document)? else { return Ok(None) };
    let same = older.and_then(|older| older.lookups.as_ref()).filter(|lookups| *lookups.rule() == rule);
    Ok(Some(same.map_or_else(|| Arc::new(Lookups::new(rule)), Arc::clone)))
}

/// A nonce for one SCRAM exchange.
pub(crate) fn nonce() -> Result<String, RandomError> {
    random::<NONCE_BYTES>().map(scram::nonce)
}

/// Random bytes fit for keys.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
