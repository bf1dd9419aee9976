//! The document seen as a list of keys and values, for `SHOW CONFIG` and for telling what a reload changed.

use pgpooler_config::{Document, DocumentError, RESTART_ONLY};
use thiserror::Error;
use toml::{Table, Value};

/// One row of `SHOW CONFIG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, tables and pools in front: `target.host`, `pools.reports.pool_size`.
    pub key: String,
    /// Its value as people write it, without quotes.
    pub value: String,
    /// Its default; empty for what has none.
    pub default: String,
    /// Whether a reload can change it.
    pub changeable: bool,
}

/// Why a setting is as before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SetError {
    /// No such setting.
    #[error("unrecognized configuration parameter \"{0}\"")]
    Unknown(String),
    /// Only a restart can change it.
    #[error("parameter \"{0}\" cannot be changed without restarting the pooler")]
    NeedsRestart(String),
    /// It belongs to files, which are read with the document.
    #[error("parameter \"{0}\" cannot be set on the console")]
    NamesFile(String),
    /// Not a value that it can have.
    #[error("invalid value for parameter \"{key}\": {fault}")]
    Invalid {
        /// Its key.
        key: String,
        /// What is wrong with the value.
        fault: String,
    },
    /// The system refuses.
    #[error("cannot change settings: {0}")]
    Unavailable(&'static str),
}

/// Whether only a restart can change this setting.
pub fn is_restart_only(key: &str) -> bool {
    RESTART_ONLY.contains(&key)
}

/// Whether connections that are open when this setting changes are to another server than is meant, or not as secure.
pub fn is_about_the_server(key: &str) -> bool {
    ["target", "server_tls_sslmode"].contains(&key)
}

/// All settings of a document by name, defaults included.
pub fn list(document: &Document) -> Vec<Setting> {
    let defaults = flatten(&Document::default());
    flatten(document)
        .into_iter()
        .map(|(key, value)| {
            let default = defaults.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
            let changeable = !is_restart_only(&key);
            Setting { key, value, default: default.unwrap_or_default(), changeable }
        })
        .collect()
}

/// Top-level settings that differ; `target`, `pools` and `peers` count as one each.
pub fn differing(one: &Document, two: &Document) -> Vec<String> {
    let (one, two) = (one.to_table(), two.to_table());
    let mut keys: Vec<_> =
        one.keys().chain(two.keys()).filter(|key| one.get(*key) != two.get(*key)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().cloned().collect()
}

/// `read`, with the settings of `running` where only a restart can change them.
pub fn keep_restart_only(running: &Document, read: &Document) -> Document {
    Document {
        listen_addr: running.listen_addr.clone(),
        listen_port: running.listen_port,
        http_addr: running.http_addr.clone(),
        http_port: running.http_port,
        workers: running.workers,
        log_format: running.log_format,
        peer_id: running.peer_id,
        peers_dns: running.peers_dns.clone(),
        peer_secret_file: running.peer_secret_file.clone(),
        ..read.clone()
    }
}

/// The document with another value for the setting that [`list`] has under `key`.
///
/// The value is written as PgBouncer's `SET` has it: a list with commas, a duration in seconds or with a unit.
///
/// # Errors
/// There is no such setting, it cannot be changed like this, or it cannot have this value.
pub fn with(document: &Document, key: &str, value: &str) -> Result<Document, SetError> {
    if is_restart_only(key) {
        return Err(SetError::NeedsRestart(key.to_owned()));
    }
    let settings = document.to_table();
    let known = find(&settings, key).cloned().ok_or_else(|| SetError::Unknown(key.to_owned()))?;
    if key.ends_with("_file") || key.contains("_tls_") {
        return Err(SetError::NamesFile(key.to_owned()));
    }
    if value.contains('\0') {
        let fault = "must not contain a zero byte".to_owned();
        return Err(SetError::Invalid { key: key.to_owned(), fault });
    }
    let mut fault = None;
    for candidate in readings(&known, value) {
        let mut settings = settings.clone();
        put(&mut settings, key, candidate);
        match Document::parse(&settings.to_string()) {
            Ok(document) => return Ok(document),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    let fault = match fault {
        Some(DocumentError::Syntax { message, .. }) => message.trim_end().to_owned(),
        Some(DocumentError::Invalid(error)) => error.fault.to_owned(),
        None => format!("not {}", kind(&known)),
    };
    Err(SetError::Invalid { key: key.to_owned(), fault })
}

/// What a text can mean in the place of `known`. A duration is a string in the document, and a number is one too.
fn readings(known: &Value, text: &str) -> Vec<Value> {
    let integer = || text.parse().ok().map(Value::Integer);
    let float = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float);
    match known {
        Value::Integer(_) => integer().into_iter().collect(),
        Value::Float(_) => float().into_iter().collect(),
        Value::Boolean(_) => boolean(text).map(Value::Boolean).into_iter().collect(),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            vec![Value::Array(items.map(|item| Value::String(item.to_owned())).collect())]
        }
        _ => [Some(Value::String(text.to_owned())), integer(), float()].into_iter().flatten().collect(),
    }
}

/// As PostgreSQL and PgBouncer spell them.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Some(true),
        "0" | "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

fn kind(known: &Value) -> &'static str {
    match known {
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "on or off",
        _ => "a value that it can have",
    }
}

/// The value under a key of [`list`].
fn find<'a>(settings: &'a Table, key: &str) -> Option<&'a Value> {
    if let Some(value) = settings.get(key) {
        return is_leaf(value).then_some(value);
    }
    settings.iter().find_map(|(name, value)| {
        let rest = key.strip_prefix(name.as_str())?.strip_prefix('.')?;
        match value {
            Value::Table(table) => find(table, rest),
            Value::Array(items) => items.iter().filter_map(Value::as_table).find_map(|item| {
                let rest = rest.strip_prefix(name_of(item).as_str())?.strip_prefix('.')?;
                find(item, rest).filter(|_| !NAMES.contains(&rest))
            }),
            _ => None,
        }
    })
}

/// Puts a value where [`find`] has found one.
fn put(settings: &mut Table, key: &str, new: Value) {
    if let Some(value) = settings.get_mut(key) {
        *value = new;
        return;
    }
    for (name, value) in settings.iter_mut() {
        let Some(rest) = key.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        match value {
            Value::Table(table) => return put(table, rest, new),
            Value::Array(items) => {
                for item in items.iter_mut().filter_map(Value::as_table_mut) {
                    let name = name_of(item);
                    let rest = rest.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.'));
                    if let Some(rest) = rest.filter(|rest| item.contains_key(*rest)) {
                        return put(item, rest, new);
                    }
                }
            }
            _ => {}
        }
    }
}

/// It has one row of [`list`] for itself.
fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Table(_) => false,
        Value::Array(items) => !items.iter().any(Value::is_table),
        _ => true,
    }
}

fn flatten(document: &Document) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (key, value) in document.to_table() {
        flatten_value(key, &value, &mut settings);
    }
    settings
}

fn flatten_value(key: String, value: &Value, settings: &mut Vec<(String, String)>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                flatten_value(format!("{key}.{name}"), value, settings);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for item in items.iter().filter_map(Value::as_table) {
                flatten_rule(&key, item, settings);
            }
        }
        other => settings.push((key, text(other))),
    }
}

/// What entries of lists are called by.
const NAMES: [&str; 2] = ["name", "peer_id"];

fn flatten_rule(key: &str, rule: &Table, settings: &mut Vec<(String, String)>) {
    let name = name_of(rule);
    for (field, value) in rule.iter().filter(|(field, _)| !NAMES.contains(&field.as_str())) {
        flatten_value(format!("{key}.{name}.{field}"), value, settings);
    }
}

/// What an entry of a list is called.
fn name_of(rule: &Table) -> String {
    NAMES.iter().find_map(|name| rule.get(*name)).map(text).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(settings: &[Setting], key: &str) -> String {
        settings.iter().find(|setting| setting.key == key).map(|s| s.value.clone()).unwrap_or_default()
    }

    #[test]
    fn every_setting_is_listed_with_value_and_default() {
        let document = Document { max_client_conn: 7, ..Document::default() };
        let settings = list(&document);
        let row = settings.iter().find(|setting| setting.key == "max_client_conn").unwrap();
        assert_eq!((row.value.as_str(), row.default.as_str(), row.changeable), ("7", "10000", true));
        assert_eq!(value(&settings, "target.port"), "5432");
        assert!(!settings.iter().find(|setting| setting.key == "listen_port").unwrap().changeable);
    }

    #[test]
    fn a_rule_is_listed_under_its_name() {
        let text = "[[pools]]\nname = 'reports'\ndatabase = 'dwh'\nusers = ['a', 'b']\npool_size = 3\n";
        let settings = list(&Document::parse(text).unwrap());
        assert_eq!(value(&settings, "pools.reports.pool_size"), "3");
        assert_eq!(value(&settings, "pools.reports.users"), "a, b");
    }

    fn set(key: &str, value: &str) -> Result<String, SetError> {
        let rules = "[[pools]]\nname = 'reports'\ndatabase = 'dwh'\npool_size = 3\n";
        let changed = with(&Document::parse(rules).unwrap(), key, value)?;
        Ok(super::tests::value(&list(&changed), key))
    }

    #[test]
    fn a_setting_takes_a_value_as_people_write_it_and_shows_it() {
        for (key, value, shown) in [
            ("max_client_conn", "7", "7"),
            ("query_wait_timeout", "30", "30s"),
            ("query_wait_timeout", "1.5", "1500ms"),
            ("query_wait_timeout", "2m", "2m"),
            ("pool_mode", "session", "session"),
            ("admin_users", "ann, bob", "ann, bob"),
            ("admin_users", "", ""),
            ("auth_user", "42", "42"),
            ("target.host", "db.example", "db.example"),
            ("target.port", "6000", "6000"),
            ("pools.reports.pool_size", "9", "9"),
        ] {
            assert_eq!(set(key, value).as_deref(), Ok(shown), "{key} = {value}");
        }
    }

    #[test]
    fn a_setting_that_cannot_be_so_is_told_apart_from_one_that_is_not_there() {
        for key in [
            "default_pool",
            "",
            "pools",
            "target",
            "pools.reports",
            "pools.reports.name",
            "pools.x.pool_size",
        ] {
            assert_eq!(set(key, "1"), Err(SetError::Unknown(key.to_owned())));
        }
        assert_eq!(set("listen_port", "1"), Err(SetError::NeedsRestart("listen_port".to_owned())));
        for key in ["auth_file", "server_tls_sslmode"] {
            assert_eq!(set(key, "x"), Err(SetError::NamesFile(key.to_owned())));
        }
        for (key, value, fault) in [
            ("max_client_conn", "many", "not an integer"),
            ("max_client_conn", "0", "must be at least 1"),
            ("max_client_conn", "-1", "invalid value"),
            ("pool_mode", "nonsense", "unknown variant"),
            ("query_wait_timeout", "soon", "is not a duration"),
            ("target.port", "70000", "invalid value"),
        ] {
            let told = set(key, value).unwrap_err().to_string();
            assert!(told.starts_with(&format!("invalid value for parameter \"{key}\": ")), "{told}");
            assert!(told.contains(fault), "{told}");
        }
    }

    #[test]
    fn every_restart_only_setting_is_a_setting_and_is_kept() {
        let settings = list(&Document::default());
        assert!(RESTART_ONLY.iter().all(|key| settings.iter().any(|setting| setting.key == *key)));
        let read = Document::parse(
            "listen_addr = 'a'\nlisten_port = 1\nhttp_addr = 'b'\nhttp_port = 2\nworkers = 3\nlog_format = 'json'\n\
             peer_secret_file = 'c'\npeers_dns = 'd'",
        )
        .unwrap();
        let read = Document { peer_id: 4, ..read };
        let running = Document::default();
        assert_eq!(differing(&running, &read).len(), RESTART_ONLY.len());
        assert_eq!(keep_restart_only(&running, &read), running);
    }

    #[test]
    fn every_setting_has_a_heading_and_its_default_in_the_reference() {
        let reference = include_str!("../../../docs/reference/settings.md");
        let sections: Vec<_> = reference.split("\n### ").skip(1).collect();
        for Setting { key, default, changeable, .. } in list(&Document::default()) {
            let section = sections.iter().find(|section| section.lines().next() == Some(&key));
            let section = section.unwrap_or_else(|| panic!("docs/reference/settings.md lacks: ### {key}"));
            let section = section.split("\n## ").next().unwrap_or_default().replace('\n', " ");
            let told =
                if default.is_empty() { "Default: n".to_owned() } else { format!("Default `{default}`.") };
            assert!(section.contains(&told), "{key} lacks: {told}");
            assert_eq!(section.contains("Needs a restart."), !changeable, "{key}");
        }
    }
}
