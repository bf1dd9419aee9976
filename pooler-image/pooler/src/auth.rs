//! Who may log in, and what we can prove to servers on their behalf.
//!
//! One [`AuthState`] is shared by all event loops. Keys are derived from a plain password once, when its user
//! first comes; a login after that costs no PBKDF2, on either side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pgpooler_config::{Secret, UserSecret, Userlist};
use pgpooler_core::handshake::Method;
use pgpooler_core::login::Credential;
use pgpooler_core::scram::{self, ClientKeys, DEFAULT_ITERATIONS, NONCE_BYTES, SALT_BYTES, ScramVerifier};
use zeroize::Zeroizing;

/// The system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct RandomError(#[from] getrandom::Error);

/// The users, and what stands in for those who do not exist.
#[derive(Debug)]
pub struct AuthState {
    users: HashMap<String, Arc<User>>,
    mock: Mock,
}

/// One user of the list.
#[derive(Debug)]
pub struct User {
    name: String,
    secret: UserSecret,
    salt: [u8; SALT_BYTES],
    verifier: OnceLock<Arc<ScramVerifier>>,
    credential: Mutex<Credential>,
}

/// Makes unknown users look like known ones.
#[derive(Debug, Clone)]
struct Mock {
    process_secret: Zeroizing<[u8; 32]>,
    /// As the users of the list have; else their number of iterations would tell who exists.
    kind: MockKind,
}

#[derive(Debug, Clone, Copy)]
enum MockKind {
    Scram { iterations: u32 },
    Md5,
}

/// How a client is to prove who it is.
#[derive(Debug)]
pub struct Challenge {
    /// The method, with this exchange's random part.
    pub method: Method,
    /// The user; none when there is no such user, and then no proof succeeds.
    pub user: Option<Arc<User>>,
}

impl AuthState {
    /// From a list of users.
    pub fn new(list: &Userlist) -> Result<Self, RandomError> {
        Self::build(list, None)
    }

    /// From a newer list. Users whose secret is unchanged keep the keys derived so far, and unknown users their
    /// salts.
    pub fn reload(&self, list: &Userlist) -> Result<Self, RandomError> {
        Self::build(list, Some(self))
    }

    /// A user of the list.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// How the client that calls itself `name` is to prove it. Slow (PBKDF2) the first time for a plain password.
    pub fn challenge(&self, name: &str) -> Result<Challenge, RandomError> {
        // PostgreSQL lets nobody in with an empty password either
        let user = self.users.get(name).filter(|user| !user.secret.expose().is_empty());
        let method = match user {
            Some(user) => user.method()?,
            None => self.mock.method(name)?,
        };
        Ok(Challenge { method, user: user.cloned() })
    }

    fn build(list: &Userlist, older: Option<&Self>) -> Result<Self, RandomError> {
        let mut users = HashMap::with_capacity(list.len());
        for (name, secret) in list.iter() {
            let known = older.and_then(|older| older.users.get(name)).filter(|user| user.secret == *secret);
            let user = match known {
                Some(user) => Arc::clone(user),
                None => Arc::new(User::new(name, secret)?),
            };
            users.insert(name.to_owned(), user);
        }
        let process_secret = match older {
            Some(older) => older.mock.process_secret.clone(),
            None => Zeroizing::new(random()?),
        };
        Ok(Self { users, mock: Mock { process_secret, kind: MockKind::like(list) } })
    }
}

impl User {
    fn new(name: &str, secret: &UserSecret) -> Result<Self, RandomError> {
        let credential = match secret {
            UserSecret::Plain(password) => Credential::password(name, password.expose()),
            UserSecret::Md5(stored) => Credential::md5(stored.expose()),
            UserSecret::Scram(_) => Credential::none(),
        };
        Ok(Self {
            name: name.to_owned(),
            secret: secret.clone(),
            salt: random()?,
            verifier: OnceLock::new(),
            credential: Mutex::new(credential),
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What we can prove to a server on this user's behalf. Not to be held over an await.
    pub fn credential(&self) -> MutexGuard<'_, Credential> {
        // every state of a credential is a whole one
        self.credential.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the keys that the user's login revealed. Where only a verifier is known, they are what opens
    /// servers that have the same verifier.
    pub fn learn(&self, keys: ClientKeys) {
        if matches!(self.secret, UserSecret::Scram(_))
            && let Some(verifier) = self.verifier()
        {
            *self.credential() = Credential::keys(&verifier, keys);
        }
    }

    fn method(&self) -> Result<Method, RandomError> {
        if let UserSecret::Md5(stored) = &self.secret {
            return Ok(Method::Md5 { stored: Zeroizing::new(stored.expose().to_owned()), salt: random()? });
        }
        // the list has checked the form of its verifiers; should one fail here, nobody gets in with it
        let verifier = self.verifier().unwrap_or_else(|| unfit(self));
        Ok(Method::Scram { verifier, nonce: nonce()? })
    }

    fn verifier(&self) -> Option<Arc<ScramVerifier>> {
        if let Some(verifier) = self.verifier.get() {
            return Some(Arc::clone(verifier));
        }
        let verifier = match &self.secret {
            UserSecret::Plain(password) => self.derive(password),
            UserSecret::Scram(stored) => stored.expose().parse().ok()?,
            UserSecret::Md5(_) => return None,
        };
        Some(Arc::clone(self.verifier.get_or_init(|| Arc::new(verifier))))
    }

    fn derive(&self, password: &Secret) -> ScramVerifier {
        ScramVerifier::derive(password.expose(), &self.salt, DEFAULT_ITERATIONS)
    }
}

impl Mock {
    fn method(&self, user: &str) -> Result<Method, RandomError> {
        match self.kind {
            MockKind::Scram { iterations } => {
                let verifier = Arc::new(ScramVerifier::mock(&self.process_secret, user, iterations));
                Ok(Method::Scram { verifier, nonce: nonce()? })
            }
            // 32 random letters are no hash of anything
            MockKind::Md5 => {
                Ok(Method::Md5 { stored: Zeroizing::new(nonce()? + &nonce()?), salt: random()? })
            }
        }
    }
}

impl MockKind {
    fn like(list: &Userlist) -> Self {
        let iterations = list.iter().find_map(|(_, secret)| match secret {
            UserSecret::Scram(stored) => {
                stored.expose().parse().ok().map(|verifier: ScramVerifier| verifier.iterations())
            }
            UserSecret::Plain(_) | UserSecret::Md5(_) => None,
        });
        let only_md5 =
            !list.is_empty() && list.iter().all(|(_, secret)| matches!(secret, UserSecret::Md5(_)));
        if only_md5 {
            Self::Md5
        } else {
            Self::Scram { iterations: iterations.unwrap_or(DEFAULT_ITERATIONS) }
        }
    }
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

fn unfit(user: &User) -> Arc<ScramVerifier> {
    let mut secret = [0; 32];
    secret.iter_mut().zip(user.salt).for_each(|(to, from)| *to = from);
    Arc::new(ScramVerifier::mock(&secret, &user.name, DEFAULT_ITERATIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(list: &str) -> AuthState {
        AuthState::new(&Userlist::parse(list).unwrap()).unwrap()
    }

    fn verifier(state: &AuthState, user: &str) -> Arc<ScramVerifier> {
        match state.challenge(user).unwrap().method {
            Method::Scram { verifier, .. } => verifier,
            Method::Md5 { .. } => panic!("md5"),
        }
    }

    #[test]
    fn the_keys_of_a_password_are_derived_once() {
        let state = state("\"ann\" \"secret\"");
        assert!(Arc::ptr_eq(&verifier(&state, "ann"), &verifier(&state, "ann")));
    }

    #[test]
    fn an_unknown_user_gets_the_same_salt_each_time_and_after_a_reload() {
        let state = state("\"ann\" \"secret\"");
        let eve = verifier(&state, "eve");
        assert!(state.challenge("eve").unwrap().user.is_none());
        assert_eq!(verifier(&state, "eve"), eve);
        assert_eq!(verifier(&state.reload(&Userlist::default()).unwrap(), "eve"), eve);
    }

    #[test]
    fn a_user_with_an_empty_password_is_as_good_as_unknown() {
        assert!(state("\"ann\" \"\"").challenge("ann").unwrap().user.is_none());
    }

    #[test]
    fn unknown_users_have_the_iterations_of_known_ones() {
        let stored = ScramVerifier::derive("secret", b"salt", 7);
        let state = state(&format!("\"ann\" \"{stored}\""));
        assert_eq!(verifier(&state, "eve").iterations(), 7);
        assert_eq!(*verifier(&state, "ann"), stored);
    }

    #[test]
    fn where_all_users_have_md5_hashes_unknown_ones_are_asked_for_md5_too() {
        let state = state(&format!("\"ann\" \"md5{}\"", "0".repeat(32)));
        for user in ["ann", "eve"] {
            assert!(matches!(state.challenge(user).unwrap().method, Method::Md5 { .. }));
        }
    }

    #[test]
    fn a_reload_keeps_the_keys_of_users_whose_secret_is_unchanged() {
        let old = state("\"ann\" \"secret\"\n\"bob\" \"one\"");
        let new = old.reload(&Userlist::parse("\"ann\" \"secret\"\n\"bob\" \"two\"").unwrap()).unwrap();
        assert!(Arc::ptr_eq(old.user("ann").unwrap(), new.user("ann").unwrap()));
        assert!(!Arc::ptr_eq(old.user("bob").unwrap(), new.user("bob").unwrap()));
    }

    #[test]
    fn debug_output_hides_the_secrets() {
        assert!(!format!("{:?}", state("\"ann\" \"hunter2\"")).contains("hunter2"));
    }
}
