//! What only the server can tell: whether a client has left something on its connection, and which settings it has.
//!
//! A text says that a statement may have changed the session (a function of the user's, a DO block, LISTEN ...), not
//! that it has. So the server is asked when the transaction is over, in one Query whose replies nobody sees. The
//! answer is the proof: without it, or without a wipe, the connection goes to nobody else.

use super::doubt::Doubt;
use super::doubt::Triggers;
use super::settings::push_literal;
use super::{Holds, Settings};
use crate::wire::Reader;

/// What a session can hold that no other can be given, a row each. Names are qualified: the client's `search_path` is
/// in force.
const HOLDS: &str = "\
SELECT 'hold','listen','' WHERE EXISTS(SELECT 1 FROM pg_catalog.pg_listening_channels())\
 UNION ALL SELECT 'hold','temp','' WHERE pg_catalog.pg_my_temp_schema()<>0 AND(\
EXISTS(SELECT 1 FROM pg_catalog.pg_class WHERE relnamespace=pg_catalog.pg_my_temp_schema())OR \
EXISTS(SELECT 1 FROM pg_catalog.pg_proc WHERE pronamespace=pg_catalog.pg_my_temp_schema())OR \
EXISTS(SELECT 1 FROM pg_catalog.pg_type WHERE typnamespace=pg_catalog.pg_my_temp_schema()))\
 UNION ALL SELECT 'hold','cursor','' WHERE EXISTS(SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable)\
 UNION ALL SELECT 'hold','lock','' WHERE EXISTS(SELECT 1 FROM pg_catalog.pg_locks \
WHERE locktype='advisory' AND pid=pg_catalog.pg_backend_pid())\
 UNION ALL SELECT 'hold','prepare','' WHERE EXISTS(SELECT 1 FROM pg_catalog.pg_prepared_statements WHERE from_sql)\
 UNION ALL SELECT 'hold','authorization','' WHERE session_user<>";

/// The settings of the session that differ from its login's.
///
/// Custom settings (`app.tenant`) are in no catalog. Their names are looked for in the statements in question and in
/// the functions that set something. What was not found that way is reset below, so it reaches nobody else either.
const SETTINGS: &str = "\
 UNION ALL SELECT 'set',name,setting FROM pg_catalog.pg_settings WHERE source='session'\
 UNION ALL SELECT 'set','role',r FROM pg_catalog.current_setting('role')r WHERE r<>'none'\
 UNION ALL SELECT DISTINCT 'set',pg_catalog.lower(m[1]),v FROM(\
SELECT prosrc FROM pg_catalog.pg_proc WHERE oid>=16384 AND prosrc~*E'set_config|\\\\mset\\\\M'\
 UNION ALL SELECT ";

/// Behind the text in question.
const CUSTOM_SETTINGS: &str = "\
)s(t),LATERAL pg_catalog.regexp_matches(t,'([a-z_][a-z0-9_$]*[.][a-z_][a-z0-9_$]*)','gi')m,\
LATERAL pg_catalog.current_setting(m[1],true)v \
WHERE v<>''AND NOT EXISTS(SELECT 1 FROM pg_catalog.pg_settings WHERE name=pg_catalog.lower(m[1]))";

/// Whether a trigger, rule, default or policy may change the session of whoever fires it: something depends on a
/// function, or on one that calls it, in whose text there is a word for it. `UPDATE ... SET` is none.
const TRIGGERS: &str = "\
 UNION ALL SELECT 'trigger','','' WHERE EXISTS(WITH RECURSIVE s(oid,name)AS(\
SELECT oid,proname FROM pg_catalog.pg_proc WHERE oid>=16384 AND \
pg_catalog.regexp_replace(prosrc,E'\\\\mupdate\\\\M[^;]*?\\\\mset\\\\M','','gi')~*\
E'set_config|advisory_lock|\\\\m(set|listen|temp|temporary|prepare|load|hold)\\\\M' \
UNION SELECT p.oid,p.proname FROM pg_catalog.pg_proc p JOIN s ON p.oid>=16384 AND \
pg_catalog.strpos(pg_catalog.lower(p.prosrc),pg_catalog.lower(s.name))>0)\
SELECT 1 FROM s JOIN pg_catalog.pg_depend d ON d.refobjid=s.oid AND \
d.refclassid='pg_catalog.pg_proc'::pg_catalog.regclass \
WHERE d.deptype='n' AND d.classid<>'pg_catalog.pg_proc'::pg_catalog.regclass)";

/// Settings that no catalog shows are gone with the others; those that were found are given back to their client.
const RESET: &str = ";RESET ALL;RESET ROLE";

/// The question.
pub(super) fn sql(about: Doubt, user: &str, text: &str, triggers: bool) -> String {
    let mut sql = HOLDS.to_owned();
    push_literal(&mut sql, user);
    if triggers {
        sql.push_str(TRIGGERS);
    }
    if about == Doubt::Settings {
        sql.push_str(SETTINGS);
        push_literal(&mut sql, text);
        sql.push_str(CUSTOM_SETTINGS);
        sql.push_str(RESET);
    }
    sql
}

/// The answer, as far as it has come.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) about: Doubt,
    pub(super) holds: Holds,
    settings: Vec<(String, String)>,
    /// What is known of triggers, should the server not say otherwise; none, if that is not asked.
    pub(super) triggers: Option<Triggers>,
    pub(super) outcome: Outcome,
}

/// Whether the answer can be relied on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    #[default]
    Answered,
    /// The server complained, or was not understood.
    Failed,
}

impl Findings {
    pub(super) fn new(about: Doubt, triggers: Option<Triggers>) -> Self {
        Self { about, holds: Holds::default(), settings: Vec::new(), triggers, outcome: Outcome::default() }
    }

    /// Reads the body of a DataRow. What cannot be read is as good as no answer.
    pub(super) fn row(&mut self, body: &[u8]) {
        match columns(body) {
            Some(["set", name, value]) => self.settings.push((name.to_owned(), value.to_owned())),
            Some(["hold", name, _]) => {
                let known = Holds::ALL.into_iter().find(|(_, word)| *word == name);
                match known {
                    Some((kind, _)) => self.holds = self.holds.and(kind),
                    None => self.outcome = Outcome::Failed,
                }
            }
            Some(["trigger", ..]) => {
                if let Some(Triggers::Harmless(definitions)) = self.triggers {
                    self.triggers = Some(Triggers::Stateful(definitions));
                }
            }
            _ => self.outcome = Outcome::Failed,
        }
    }

    /// The settings that the session had.
    pub(super) fn into_settings(self) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in self.settings {
            settings.note(&name, &value);
        }
        settings
    }
}

fn columns(body: &[u8]) -> Option<[&str; 3]> {
    let mut reader = Reader::new(body);
    if reader.i16().ok()? != 3 {
        return None;
    }
    let mut column = || {
        let length = usize::try_from(reader.i32().ok()?).ok()?;
        std::str::from_utf8(reader.bytes(length).ok()?).ok()
    };
    Some([column()?, column()?, column()?])
}
