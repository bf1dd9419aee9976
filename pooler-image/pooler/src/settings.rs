//! The document seen as a list of keys and values, for `SHOW CONFIG` and for telling what a reload changed.

use pgpooler_config::Document;
use toml::{Table, Value};

/// Settings that only a restart can change.
pub const RESTART_ONLY: [&str; 9] = [
    "listen_addr",
    "listen_port",
    "http_addr",
    "http_port",
    "workers",
    "log_format",
    "peer_id",
    "peers_dns",
    "peer_secret_file",
];

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

/// Whether only a restart can change this setting.
pub fn is_restart_only(key: &str) -> bool {
    RESTART_ONLY.contains(&key)
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
    let (one, two) = (table(one), table(two));
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

fn flatten(document: &Document) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (key, value) in table(document) {
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
    let name = NAMES.iter().find_map(|name| rule.get(*name)).map(text).unwrap_or_default();
    for (field, value) in rule.iter().filter(|(field, _)| !NAMES.contains(&field.as_str())) {
        flatten_value(format!("{key}.{name}.{field}"), value, settings);
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn table(document: &Document) -> Table {
    #[expect(clippy::expect_used, reason = "every field has a TOML form: no map keys, no unit values")]
    Table::try_from(document).expect("a document has a TOML form")
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
