//! Certificates that change under a running process: Kubernetes replaces mounted files without a word.

use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::{error, info};

use super::{Current, Mail, Process};
use crate::reload::Loaded;

/// What was wrong with the files when they were last looked at.
#[derive(Debug, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Once: certificate and key may have been read while they were being replaced.
    Seen(String),
    Told(String),
}

impl Fault {
    /// The next state, and whether it is time to tell.
    fn again(self, fault: String) -> (Self, bool) {
        match self {
            Self::Seen(known) if known == fault => (Self::Told(fault), true),
            Self::Told(known) if known == fault => (Self::Told(fault), false),
            _ => (Self::Seen(fault), false),
        }
    }
}

impl Process {
    /// Only one at a time may bring something new into force.
    pub(crate) fn renewal(&self) -> MutexGuard<'_, Fault> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings certificates, keys and authorities into force whose files have changed. Faulty ones change nothing, and are
    /// told once. Blocks on the file system.
    pub(crate) fn renew_certificates(&self) {
        let mut fault = self.renewal();
        let current = self.current();
        match self.source.renew(&current.loaded) {
            Ok(None) => *fault = Fault::None,
            Ok(Some(loaded)) => {
                *fault = Fault::None;
                self.follow_certificates(&current, loaded);
                info!("certificates renewed");
            }
            Err(error) => {
                let (next, tell) = std::mem::take(&mut *fault).again(error.to_string());
                *fault = next;
                if tell {
                    error!(%error, "certificates have changed and are faulty, those in force stay");
                }
            }
        }
    }

    /// Nothing else changes, so no connection is renewed.
    fn follow_certificates(&self, current: &Current, loaded: Loaded) {
        let renewed = Current { loaded, auth: Arc::clone(&current.auth), epoch: current.epoch };
        self.put_in_force(&Arc::new(renewed));
    }

    pub(super) fn put_in_force(&self, current: &Arc<Current>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(current);
        self.tell_all(|| Mail::Settings(Arc::clone(current)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_when_it_is_seen_again_and_then_no_more() {
        let mut fault = Fault::None;
        let told: Vec<_> = ["a", "a", "a", "b", "b", "b"]
            .map(|text| {
                let (next, tell) = std::mem::take(&mut fault).again(text.to_owned());
                fault = next;
                tell
            })
            .into();
        assert_eq!(told, [false, true, false, false, true, false]);
    }
}
