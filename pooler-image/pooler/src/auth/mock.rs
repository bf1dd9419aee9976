//! Makes unknown users look like known ones.

use std::sync::Arc;

use pgpooler_config::{AuthType, UserSecret, Userlist};
use pgpooler_core::handshake::Method;
use pgpooler_core::scram::{DEFAULT_ITERATIONS, ScramVerifier};
use zeroize::Zeroizing;

use super::{Lookups, RandomError, nonce, random};

/// Makes unknown users look like known ones.
#[derive(Debug, Clone)]
pub(super) struct Mock {
    process_secret: Zeroizing<[u8; 32]>,
    /// As the users of the list have; else their number of iterations would tell who exists.
    kind: MockKind,
}

#[derive(Debug, Clone, Copy)]
enum MockKind {
    /// Without iterations in the list: those of users that were found.
    Scram {
        iterations: Option<u32>,
    },
    Md5,
    Plain,
}

impl Mock {
    pub(super) fn new(process_secret: Zeroizing<[u8; 32]>, list: &Userlist, auth_type: AuthType) -> Self {
        Self { process_secret, kind: MockKind::like(list, auth_type) }
    }

    pub(super) fn process_secret(&self) -> &Zeroizing<[u8; 32]> {
        &self.process_secret
    }

    pub(super) fn method(&self, user: &str, lookups: Option<&Lookups>) -> Result<Method, RandomError> {
        match self.kind {
            MockKind::Scram { iterations } => {
                let found = || lookups.and_then(Lookups::usual_iterations);
                let iterations = iterations.or_else(found).unwrap_or(DEFAULT_ITERATIONS);
                let verifier = Arc::new(ScramVerifier::mock(&self.process_secret, user, iterations));
                Ok(Method::Scram { verifier, nonce: nonce()? })
            }
            // 32 random letters are no hash of anything
            MockKind::Md5 => {
                Ok(Method::Md5 { stored: Zeroizing::new(nonce()? + &nonce()?), salt: random()? })
            }
            MockKind::Plain => Ok(Method::Plain),
        }
    }
}

impl MockKind {
    fn like(list: &Userlist, auth_type: AuthType) -> Self {
        let iterations = list.iter().find_map(|(_, secret)| match secret {
            UserSecret::Scram(stored) => {
                stored.expose().parse().ok().map(|verifier: ScramVerifier| verifier.iterations())
            }
            UserSecret::Plain(_) | UserSecret::Md5(_) => None,
        });
        let all = |is: fn(&UserSecret) -> bool| !list.is_empty() && list.iter().all(|(_, secret)| is(secret));
        let md5 = match auth_type {
            AuthType::Plain => return Self::Plain,
            AuthType::Auto => all(|secret| matches!(secret, UserSecret::Md5(_))),
            AuthType::Md5 => all(|secret| !matches!(secret, UserSecret::Scram(_))),
            AuthType::Scram | AuthType::Cert => false,
        };
        if md5 { Self::Md5 } else { Self::Scram { iterations } }
    }
}
