//! What the server connections that share it have learnt of the functions of their database.

use std::sync::atomic::{AtomicU64, Ordering};

use super::doubt::Triggers;

/// What triggers may do to a session. Asking costs PostgreSQL a look at the source of every function of the user's, so one
/// server connection asks for all that share this.
#[derive(Debug, Default)]
pub struct Catalog {
    /// [`Triggers`]: the kind in two bits, the number of definitions above them.
    known: AtomicU64,
    /// One more than the number of definitions at which somebody last set out to ask.
    asked: AtomicU64,
}

const HARMLESS: u64 = 1;
const STATEFUL: u64 = 2;

impl Catalog {
    pub(super) fn triggers(&self) -> Triggers {
        let known = self.known.load(Ordering::Relaxed);
        match known & 3 {
            HARMLESS => Triggers::Harmless(known >> 2),
            STATEFUL => Triggers::Stateful(known >> 2),
            _ => Triggers::Unknown,
        }
    }

    pub(super) fn learnt(&self, triggers: Triggers) {
        let known = match triggers {
            Triggers::Unknown => return,
            Triggers::Harmless(definitions) => definitions << 2 | HARMLESS,
            Triggers::Stateful(definitions) => definitions << 2 | STATEFUL,
        };
        self.known.fetch_max(known, Ordering::Relaxed);
    }

    /// Triggers change no session, as was learnt at this number of definitions or later.
    pub(super) fn are_harmless_since(&self, definitions: u64) -> bool {
        matches!(self.triggers(), Triggers::Harmless(known) if known >= definitions)
    }

    /// Whoever is told so asks, once for each number of definitions.
    pub(super) fn is_to_be_asked(&self, definitions: u64) -> bool {
        let current = [Triggers::Harmless(definitions), Triggers::Stateful(definitions)];
        !current.contains(&self.triggers())
            && self.asked.fetch_max(definitions + 1, Ordering::Relaxed) <= definitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_for_all_and_what_it_learnt_holds_until_something_is_defined() {
        let catalog = Catalog::default();
        assert_eq!(catalog.triggers(), Triggers::Unknown);
        assert!(catalog.is_to_be_asked(0));
        assert!(!catalog.is_to_be_asked(0), "somebody does");
        catalog.learnt(Triggers::Stateful(0));
        assert_eq!(catalog.triggers(), Triggers::Stateful(0));
        assert!(catalog.is_to_be_asked(7));
        assert!(!catalog.are_harmless_since(0));
        catalog.learnt(Triggers::Harmless(7));
        assert!(catalog.are_harmless_since(7) && !catalog.are_harmless_since(8));
        catalog.learnt(Triggers::Stateful(5));
        assert!(!catalog.is_to_be_asked(7));
        assert_eq!(catalog.triggers(), Triggers::Harmless(7));
    }
}
