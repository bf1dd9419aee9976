//! A client's settings, and what brings a server connection from another client's settings to them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Parameters that PostgreSQL reports but no session can set: never replayed.
const NOT_SETTABLE: &[&str] = &[
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
];

/// Settings of which no prepared statement's meaning depends.
const IRRELEVANT_TO_STATEMENTS: &[&str] = &[
    "application_name",
    "client_min_messages",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "log_min_duration_statement",
    "log_statement",
    "statement_timeout",
    "transaction_timeout",
    "work_mem",
];

/// Lists of names: SET quotes each argument (`GUC_LIST_QUOTE`).
const LISTS_OF_NAMES: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// Settings that differ from the server's defaults, by lower-case name.
///
/// Shared by all clients with the same settings: an equal pointer is the common case at checkout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Settings(Arc<BTreeMap<String, String>>);

impl Settings {
    /// From startup parameters.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(Arc::new(values.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()))
    }

    /// The value of `name` (lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The very same, in the same place of memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Nobody else has them.
    pub(super) fn is_lonely(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// No settings.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of a ParameterStatus. Parameters that a session cannot set are left out.
    pub fn note(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        if !NOT_SETTABLE.contains(&name.as_str()) {
            self.set(name, value.to_owned());
        }
    }

    /// `name` (lower case) has this value from now on.
    pub(super) fn set(&mut self, name: String, value: String) {
        if self.get(&name) != Some(&value) {
            Arc::make_mut(&mut self.0).insert(name, value);
        }
    }

    /// `name` (lower case) has the server's default from now on.
    pub(super) fn remove(&mut self, name: &str) {
        if self.0.contains_key(name) {
            Arc::make_mut(&mut self.0).remove(name);
        }
    }

    /// All that the meaning of a statement's text may depend on: `search_path` picks tables, `timezone` reads
    /// timestamps.
    pub(super) fn context(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter().filter(|(name, _)| !IRRELEVANT_TO_STATEMENTS.contains(name)) {
            for part in [name, value] {
                out.extend_from_slice(part.as_bytes());
                out.push(0);
            }
        }
    }

    /// The SQL that brings a session with `self` to `wanted`; `None` when it is there already.
    pub fn sql_towards(&self, wanted: &Self) -> Option<String> {
        if self.is(wanted) || self.0 == wanted.0 {
            return None;
        }
        let mut sql = String::new();
        // what a role may not set, the session's own user may: the role goes first and comes last
        let other_role = self.get(ROLE).is_some() && self.get(ROLE) != wanted.get(ROLE);
        if other_role {
            sql.push_str("RESET ROLE;");
        }
        let is_left =
            |name: &str| wanted.get(name).is_none_or(|to| name == DATE_STYLE && self.get(name) != Some(to));
        for name in self.0.keys().filter(|name| *name != ROLE && is_left(name)) {
            sql.push_str("RESET ");
            push_identifier(&mut sql, name);
            sql.push(';');
        }
        let differs = |(name, value): &(&str, &str)| self.get(name) != Some(*value);
        sql.push_str(&set_all(wanted.iter().filter(differs)));
        Some(sql)
    }

    /// The SQL that gives these of our values to a session; empty when none of them is ours.
    pub(super) fn sql_of(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        set_all(self.iter().filter(|(name, _)| is_wanted(name)))
    }
}

/// A value may name a part of it, style or order, and leaves the other part as it is.
const DATE_STYLE: &str = "datestyle";

/// `SET ROLE` as a setting.
pub(super) const ROLE: &str = "role";

/// PostgreSQL's keywords that are no names without quotes (`pg_get_keywords()`, all categories but U).
const RESERVED: &str = "\
all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both \
case cast char character check coalesce collate collation column concurrently constraint create cross \
current_catalog current_date current_role current_schema current_time current_timestamp current_user dec \
decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign \
freeze from full grant greatest group grouping having ilike in initially inner inout int integer intersect \
interval into is isnull join lateral leading least left like limit localtime localtimestamp national \
natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps \
overlay placing position precision primary real references returning right row select session_user setof \
similar smallint some substring symmetric table tablesample then time timestamp to trailing treat trim true \
union unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat \
xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

/// What SET's arguments come to, as `set_config` takes it.
pub(super) fn joined(name: &str, values: &[String]) -> String {
    if !LISTS_OF_NAMES.contains(&name) {
        return values.join(", ");
    }
    values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")
}

/// As `quote_identifier` does, since SHOW tells.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let is_safe = name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || byte.is_ascii_digit())
        && !RESERVED.split(' ').any(|word| word == name);
    if is_safe { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// One SELECT, the role last.
///
/// `set_config` parses a value as a startup packet's is parsed; `SET` would take `search_path = 'a, b'` for one
/// schema.
fn set_all<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let (role, others): (Vec<_>, Vec<_>) = settings.partition(|(name, _)| *name == ROLE);
    let mut sql = String::new();
    for (name, value) in others.into_iter().chain(role) {
        sql.push_str(if sql.is_empty() { "SELECT " } else { "," });
        sql.push_str("pg_catalog.set_config(");
        push_literal(&mut sql, name);
        sql.push(',');
        push_literal(&mut sql, value);
        sql.push_str(",false)");
    }
    sql
}

fn push_identifier(sql: &mut String, name: &str) {
    // `RESET "a.b"` would be one name with a dot in it
    for (n, part) in name.split('.').enumerate() {
        if n > 0 {
            sql.push('.');
        }
        sql.push('"');
        sql.push_str(&part.replace('"', "\"\""));
        sql.push('"');
    }
}

/// `E''` means the same whatever `standard_conforming_strings` says.
pub(super) fn push_literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for ch in value.chars() {
        if matches!(ch, '\'' | '\\') {
            sql.push(ch);
        }
        sql.push(ch);
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn equal_settings_need_nothing() {
        let a = settings(&[("TimeZone", "UTC")]);
        assert_eq!(a.sql_towards(&a.clone()), None);
        assert_eq!(a.sql_towards(&settings(&[("timezone", "UTC")])), None);
    }

    #[test]
    fn what_the_other_client_left_is_reset_and_what_this_one_wants_is_set() {
        let server = settings(&[("timezone", "UTC"), ("app.tenant", "1"), ("datestyle", "ISO, MDY")]);
        let client = settings(&[("datestyle", "ISO, MDY"), ("application_name", r"o'br\ien")]);
        assert_eq!(
            server.sql_towards(&client).as_deref(),
            Some(
                r#"RESET "app"."tenant";RESET "timezone";SELECT pg_catalog.set_config(E'application_name',E'o''br\\ien',false)"#
            )
        );
    }

    #[test]
    fn half_a_date_style_is_the_other_half_of_the_default_not_of_the_client_before() {
        let server = settings(&[("datestyle", "German, DMY")]);
        assert_eq!(
            server.sql_towards(&settings(&[("datestyle", "ISO")])).as_deref(),
            Some(r#"RESET "datestyle";SELECT pg_catalog.set_config(E'datestyle',E'ISO',false)"#)
        );
    }

    #[test]
    fn the_role_goes_before_and_comes_after_what_it_may_not_set() {
        let server = settings(&[("role", "low"), ("a.b", "1")]);
        let client = settings(&[("role", "lower"), ("work_mem", "1MB")]);
        assert_eq!(
            server.sql_towards(&client).as_deref(),
            Some(
                r#"RESET ROLE;RESET "a"."b";SELECT pg_catalog.set_config(E'work_mem',E'1MB',false),pg_catalog.set_config(E'role',E'lower',false)"#
            )
        );
    }

    #[test]
    fn a_list_of_names_is_quoted_and_other_values_are_not() {
        let values = ["$user", "a\"b", "public", "user", "data", ""].map(str::to_owned);
        assert_eq!(joined("search_path", &values), r#""$user", "a""b", public, "user", data, """#);
        assert_eq!(joined("datestyle", &["ISO".to_owned(), "DMY".to_owned()]), "ISO, DMY");
    }

    #[test]
    fn parameters_that_no_session_can_set_are_not_followed() {
        let mut client = Settings::default();
        client.note("is_superuser", "on");
        client.note("TimeZone", "Europe/Paris");
        assert_eq!(client.iter().collect::<Vec<_>>(), [("timezone", "Europe/Paris")]);
    }
}
