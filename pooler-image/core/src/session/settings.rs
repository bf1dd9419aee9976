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

    /// No settings.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of a ParameterStatus. Parameters that a session cannot set are left out.
    pub fn note(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        if NOT_SETTABLE.contains(&name.as_str()) || self.get(&name) == Some(value) {
            return;
        }
        Arc::make_mut(&mut self.0).insert(name, value.to_owned());
    }

    /// The SQL that brings a session with `self` to `wanted`; `None` when it is there already.
    ///
    /// `set_config` parses a value as a startup packet's is parsed; `SET` would take
    /// `search_path = 'a, b'` for one schema.
    pub fn sql_towards(&self, wanted: &Self) -> Option<String> {
        if Arc::ptr_eq(&self.0, &wanted.0) || self.0 == wanted.0 {
            return None;
        }
        let mut sql = String::new();
        for name in self.0.keys().filter(|name| !wanted.0.contains_key(*name)) {
            sql.push_str("RESET ");
            push_identifier(&mut sql, name);
            sql.push(';');
        }
        let mut lead = "SELECT ";
        for (name, value) in wanted.0.iter().filter(|(name, value)| self.0.get(*name) != Some(value)) {
            sql.push_str(lead);
            lead = ",";
            sql.push_str("pg_catalog.set_config(");
            push_literal(&mut sql, name);
            sql.push(',');
            push_literal(&mut sql, value);
            sql.push_str(",false)");
        }
        Some(sql)
    }
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
fn push_literal(sql: &mut String, value: &str) {
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
    fn parameters_that_no_session_can_set_are_not_followed() {
        let mut client = Settings::default();
        client.note("is_superuser", "on");
        client.note("TimeZone", "Europe/Paris");
        assert_eq!(client.iter().collect::<Vec<_>>(), [("timezone", "Europe/Paris")]);
    }
}
