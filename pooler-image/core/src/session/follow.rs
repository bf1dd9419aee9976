//! What a client does to the session of the server connection that it is linked to.
//!
//! ```text
//! plain SET, RESET ----> changes --COMMIT--> the client's settings       (no question asked)
//!                           '-----ROLLBACK--> nothing
//! LISTEN, a function --> doubt ---Z 'I'-----> the server is asked --> settings, and holds
//! ```

use super::doubt::Doubt;
use super::probe::Findings;
use super::settings::{ROLE, joined};
use super::{Client, Holds, Settings};
use crate::sql::{Effect, Marks};

/// A setting that a statement has changed in the transaction that is open.
#[derive(Debug)]
enum Change {
    Set(String, String),
    Reset(String),
    ResetAll,
}

/// How the open transaction goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Course {
    #[default]
    Straight,
    /// With savepoints: which changes hold in the end is not ours to guess.
    Savepoints,
    /// A statement has failed.
    Failed,
}

/// Most of a text in question that the server is shown.
const TEXT_LIMIT: usize = 8 * 1024;

/// What has happened to the session during one link.
#[derive(Debug, Default)]
pub(super) struct Follow {
    changes: Vec<Change>,
    course: Course,
    doubt: Doubt,
    /// Texts in which the names of settings may stand.
    text: String,
    holds: Holds,
    /// The question is also what triggers may do.
    learns: bool,
}

impl Follow {
    /// What must be asked when the transaction is over.
    pub(super) fn doubt(&self) -> Doubt {
        self.doubt
    }

    /// What the server, or the text of a statement, has told that the session holds.
    pub(super) fn holds(&self) -> Holds {
        self.holds
    }

    /// Nothing is in doubt, held, or still to be decided by the end of a transaction.
    pub(super) fn is_settled(&self) -> bool {
        self.doubt == Doubt::None && self.holds.is_empty() && self.changes.is_empty()
    }

    /// A statement is on its way to the server whose text has these marks. `writes_are_doubtful`: a trigger may
    /// change the session.
    pub(super) fn sent(&mut self, marks: Marks, text: &[u8], writes_are_doubtful: bool) {
        if marks.contains(Marks::LOAD) {
            self.holds = self.holds.and(Holds::LOAD);
        }
        if marks.contains(Marks::PROBE) {
            let plain = !Holds::named_by(marks).is_empty() && !marks.contains(Marks::CONFIG);
            self.doubt_about(if plain { Doubt::Holds } else { Doubt::Settings }, text);
        } else if marks.contains(Marks::WRITES) && writes_are_doubtful {
            self.doubt_about(Doubt::Settings, b"");
        } else if marks.contains(Marks::CLEANS) && !self.holds.is_empty() {
            self.doubt_about(Doubt::Holds, b"");
        }
    }

    /// The server must be asked, also what triggers may do.
    pub(super) fn learn(&mut self) {
        self.learns = true;
        self.doubt_about(Doubt::Settings, b"");
    }

    /// The server must be asked.
    pub(super) fn doubt_about(&mut self, doubt: Doubt, text: &[u8]) {
        self.doubt = self.doubt.max(doubt);
        if doubt == Doubt::Settings {
            let room = TEXT_LIMIT.saturating_sub(self.text.len());
            let shown = text.iter().take(room);
            // its names are ASCII, whatever the client's encoding is
            self.text.extend(shown.map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' }));
            self.text.push(' ');
        }
    }

    /// A statement is complete. `is_reported`: the server tells every change of the setting itself.
    pub(super) fn completed(
        &mut self,
        effect: Option<&Effect>,
        tag: &[u8],
        client: &mut Client,
        is_reported: impl Fn(&str) -> bool,
    ) {
        match effect {
            Some(Effect::Set { name, values }) if name == ROLE && values.iter().any(|v| v == "none") => {
                self.changes.push(Change::Reset(name.clone()));
            }
            Some(Effect::Set { name, values }) if !is_reported(name) => {
                self.changes.push(Change::Set(name.clone(), joined(name, values)));
            }
            Some(Effect::SetConfig { name, value }) if !is_reported(name) => {
                self.changes.push(Change::Set(name.clone(), value.clone()));
            }
            Some(Effect::Reset { name }) => self.changes.push(Change::Reset(name.clone())),
            Some(Effect::ResetAll) => self.changes.push(Change::ResetAll),
            Some(Effect::DiscardAll) => {
                self.changes.push(Change::ResetAll);
                self.changes.push(Change::Reset(ROLE.to_owned()));
            }
            Some(Effect::Savepoint) => self.course = Course::Savepoints,
            _ if tag == b"COMMIT" || tag == b"PREPARE TRANSACTION" => self.commit(client),
            _ if tag == b"ROLLBACK" => self.roll_back(),
            _ => {}
        }
    }

    /// A statement has failed; in an implicit transaction, the others with it.
    pub(super) fn failed(&mut self) {
        if self.course == Course::Straight {
            self.course = Course::Failed;
        }
    }

    /// No transaction is open.
    pub(super) fn idle(&mut self, client: &mut Client) {
        if self.course == Course::Failed { self.roll_back() } else { self.commit(client) }
    }

    /// Still in a transaction: an error in it is undone with it, by the tag of what ends it.
    pub(super) fn in_transaction(&mut self) {
        if self.course == Course::Failed {
            self.course = Course::Straight;
        }
    }

    fn commit(&mut self, client: &mut Client) {
        if self.course == Course::Savepoints && !self.changes.is_empty() {
            self.doubt_about(Doubt::Settings, &self.names_changed());
            self.changes.clear();
        }
        for change in self.changes.drain(..) {
            change.apply(client);
        }
        self.course = Course::Straight;
    }

    fn roll_back(&mut self) {
        self.changes.clear();
        self.course = Course::Straight;
    }

    fn names_changed(&self) -> Vec<u8> {
        let names = self.changes.iter().filter_map(|change| match change {
            Change::Set(name, _) | Change::Reset(name) => Some(name.as_str()),
            Change::ResetAll => None,
        });
        names.collect::<Vec<_>>().join(" ").into_bytes()
    }

    /// The text for a question about settings: statements in question, and custom settings that the client has.
    pub(super) fn take_text(&mut self, settings: &Settings) -> String {
        let mut text = std::mem::take(&mut self.text);
        for (name, _) in settings.iter().filter(|(name, _)| name.contains('.')) {
            text.push_str(name);
            text.push(' ');
        }
        text
    }

    /// The question is on its way; whether it is also what triggers may do.
    pub(super) fn asked(&mut self) -> bool {
        self.doubt = Doubt::None;
        std::mem::take(&mut self.learns)
    }

    /// The answer is there.
    pub(super) fn found(&mut self, findings: &Findings) {
        let load = if self.holds.contains(Holds::LOAD) { Holds::LOAD } else { Holds::default() };
        self.holds = findings.holds.and(load);
    }

    /// What is held was, or will be, wiped off.
    pub(super) fn let_go(&mut self) {
        self.holds = Holds::default();
    }
}

impl Change {
    fn apply(self, client: &mut Client) {
        match self {
            Self::Set(name, value) => client.settings.set(name, value),
            Self::Reset(name) => match client.startup.get(&name) {
                Some(value) => client.settings.set(name, value.to_owned()),
                None => client.settings.remove(&name),
            },
            Self::ResetAll => {
                let role = client.settings.get(ROLE).map(str::to_owned);
                client.settings = client.startup.clone();
                match role {
                    Some(role) => client.settings.set(ROLE.to_owned(), role),
                    None => client.settings.remove(ROLE),
                }
            }
        }
    }
}
