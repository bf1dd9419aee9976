//! One user: what a client must prove, and what we can prove on its behalf.

use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pgpooler_config::{AuthType, Secret, UserSecret};
use pgpooler_core::handshake::{Method, PasswordCheck};
use pgpooler_core::login::Credential;
use pgpooler_core::md5;
use pgpooler_core::scram::{ClientKeys, DEFAULT_ITERATIONS, SALT_BYTES, ScramVerifier};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{RandomError, nonce, random};

/// One user, of the list or found by a look-up, with one secret: a user with a new one is another value.
#[derive(Debug)]
pub struct User {
    name: String,
    secret: UserSecret,
    salt: [u8; SALT_BYTES],
    verifier: OnceLock<Arc<ScramVerifier>>,
    credential: Mutex<Credential>,
    judged: Mutex<Judged>,
}

/// The passwords that were last compared with a verifier, as hashes under a key of this process: who tries the same
/// one again costs no PBKDF2.
#[derive(Debug, Default)]
struct Judged {
    right: Option<(u128, ClientKeys)>,
    wrong: Option<u128>,
}

impl User {
    pub(super) fn new(name: &str, secret: &UserSecret) -> Result<Self, RandomError> {
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
            judged: Mutex::default(),
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_secret(&self, secret: &UserSecret) -> bool {
        self.secret == *secret
    }

    pub(super) fn has_no_password(&self) -> bool {
        self.secret.expose().is_empty()
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

    pub(super) fn method(&self, auth_type: AuthType) -> Result<Method, RandomError> {
        let md5 = |stored: String| Ok(Method::Md5 { stored: Zeroizing::new(stored), salt: random()? });
        match (auth_type, &self.secret) {
            (AuthType::Plain, _) => return Ok(Method::Plain),
            (AuthType::Auto | AuthType::Md5, UserSecret::Md5(stored)) => {
                return md5(stored.expose().to_owned());
            }
            (AuthType::Md5, UserSecret::Plain(password)) => {
                return md5(md5::stored(password.expose(), &self.name));
            }
            _ => {}
        }
        // an md5 hash has no verifier, and the form of one was checked when it was read: nobody gets in without
        let verifier = self.verifier().unwrap_or_else(|| self.unfit());
        Ok(Method::Scram { verifier, nonce: nonce()? })
    }

    /// What a password in clear text is worth.
    pub(super) fn check(&self, password: &str) -> PasswordCheck {
        let same = |one: &str, two: &str| bool::from(one.as_bytes().ct_eq(two.as_bytes()));
        let right = match &self.secret {
            UserSecret::Plain(secret) => same(secret.expose(), password),
            UserSecret::Md5(stored) => same(stored.expose(), &md5::stored(password, &self.name)),
            UserSecret::Scram(_) => return self.check_with_verifier(password),
        };
        if right { PasswordCheck::Right(None) } else { PasswordCheck::Wrong }
    }

    fn check_with_verifier(&self, password: &str) -> PasswordCheck {
        let Some(verifier) = self.verifier() else { return PasswordCheck::Wrong };
        let digest = digest(&self.salt, password);
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.wrong == Some(digest) {
            return PasswordCheck::Wrong;
        }
        if let Some((right, keys)) = &judged.right
            && *right == digest
        {
            return PasswordCheck::Right(Some(keys.clone()));
        }
        if let Some(keys) = verifier.open(password) {
            judged.right = Some((digest, keys.clone()));
            return PasswordCheck::Right(Some(keys));
        }
        judged.wrong = Some(digest);
        PasswordCheck::Wrong
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

    fn unfit(&self) -> Arc<ScramVerifier> {
        let mut secret = [0; 32];
        secret.iter_mut().zip(self.salt).for_each(|(to, from)| *to = from);
        Arc::new(ScramVerifier::mock(&secret, &self.name, DEFAULT_ITERATIONS))
    }

    /// The iterations of its verifier, if that was not made here.
    pub(super) fn iterations(&self) -> Option<u32> {
        matches!(self.secret, UserSecret::Scram(_))
            .then(|| self.verifier().map(|known| known.iterations()))?
    }
}

fn digest(key: &[u8; SALT_BYTES], password: &str) -> u128 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(password.as_bytes());
    hasher.finish128().as_u128()
}
