//! The settings of `[pgbouncer]`: which field of a `PgPooler` each is, and what is to be said of those that are none.
//! CloudNativePG's `parameters` are the same settings.

use std::collections::BTreeMap;

use serde_json::json;

use super::notes::Notes;
use super::words;
use super::yaml::Map;

/// Most clients that the schema takes.
const MOST_CLIENTS: u32 = 1_000_000;

/// How to reach a directory.
const LDAP: &str = "auth_ldap_options";

/// What becomes of a setting that is no field.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is about a machine, a process or a log that is not there, or pgpooler does it without being told.
    Idle,
    /// People must know something.
    Advice(&'static str),
}
use Fate::{Advice, Idle};

/// Settings that become no field by themselves; those that do are taken before this list is looked at.
const FATES: &[(&str, Fate)] = &[
    (
        "application_name_add_host",
        Advice(
            "the address of each client is in SHOW CLIENTS of the admin console; application_name is left as the client sets it",
        ),
    ),
    ("auth_dbname", Idle),
    ("auth_file", Idle),
    (
        "auth_hba_file",
        Advice(
            "there are no rules by address: who may reach the pods is said by spec.networkPolicy, who may log in by users, auth.query and TLS",
        ),
    ),
    ("auth_ident_file", Advice("there is no map of user names")),
    ("auth_ldap_options", Advice("there is no LDAP: give users passwords, or client certificates")),
    ("autodb_idle_timeout", Idle),
    ("cancel_wait_timeout", Idle),
    ("client_tls13_ciphers", Idle),
    ("client_tls_ciphers", Idle),
    ("client_tls_dheparams", Idle),
    ("client_tls_ecdhcurve", Idle),
    ("client_tls_protocols", Advice("TLS 1.2 and 1.3 are spoken, nothing older")),
    ("conffile", Idle),
    ("disable_pqexec", Advice("the simple query protocol cannot be turned off")),
    ("dns_max_ttl", Idle),
    ("dns_nxdomain_ttl", Idle),
    ("dns_zone_check_period", Idle),
    (
        "idle_transaction_timeout",
        Advice(
            "PostgreSQL has the same for whoever connects: ALTER ROLE ... SET idle_in_transaction_session_timeout",
        ),
    ),
    (
        "ignore_startup_parameters",
        Advice(
            "not needed: startup parameters are passed on to PostgreSQL and follow their client, so those that PgBouncer ignored take effect from now on",
        ),
    ),
    ("job_name", Idle),
    ("listen_addr", Idle),
    ("listen_backlog", Idle),
    ("log_connections", Idle),
    ("log_disconnections", Idle),
    ("log_pooler_errors", Idle),
    ("log_stats", Advice("statistics are metrics: spec.monitoring, docs/reference/metrics.md")),
    ("logfile", Idle),
    ("login_notify_message", Advice("clients are not greeted")),
    (
        "max_db_client_connections",
        Advice(
            "clients are limited by pod only (spec.clients.max); PostgreSQL's own limit for a database is ALTER DATABASE ... CONNECTION LIMIT",
        ),
    ),
    (
        "max_db_connections",
        Advice(
            "the budget is the limit for all databases together; for one alone, PostgreSQL has ALTER DATABASE ... CONNECTION LIMIT: clients then wait for a place instead of hearing an error",
        ),
    ),
    ("max_packet_size", Idle),
    ("max_user_client_connections", Advice("clients are limited by pod only (spec.clients.max)")),
    (
        "max_user_connections",
        Advice(
            "PostgreSQL has the same for whoever connects: ALTER ROLE ... CONNECTION LIMIT; clients then wait for a place instead of hearing an error",
        ),
    ),
    ("peer_id", Idle),
    ("pidfile", Idle),
    ("pkt_buf", Idle),
    ("pool_idle_timeout", Idle),
    (
        "query_timeout",
        Advice("PostgreSQL has the same for whoever connects: ALTER ROLE ... SET statement_timeout"),
    ),
    ("query_wait_notify", Idle),
    (
        "reserve_pool_size",
        Advice(
            "there is no reserve: a pod with waiting clients gets what is left of the budget within two seconds",
        ),
    ),
    ("reserve_pool_timeout", Idle),
    (
        "resolv_conf",
        Advice("names are resolved as the pods' dnsConfig says; it can be set in spec.podTemplate"),
    ),
    ("sbuf_loopcnt", Idle),
    ("scram_iterations", Idle),
    ("server_check_delay", Idle),
    (
        "server_check_query",
        Advice("not needed: a server connection that was closed is noticed when it happens"),
    ),
    ("server_fast_close", Advice("a client in session mode keeps its server connection until it leaves")),
    ("server_login_retry", Idle),
    (
        "server_reset_query",
        Advice(
            "not needed: settings follow their client, and a connection in session mode is wiped with DISCARD ALL; what may stay in transaction mode is said by spec.sessionState",
        ),
    ),
    ("server_round_robin", Idle),
    ("server_tls13_ciphers", Idle),
    ("server_tls_ciphers", Idle),
    ("server_tls_protocols", Advice("TLS 1.2 and 1.3 are spoken, nothing older")),
    ("service_name", Idle),
    ("so_reuseport", Advice("not needed: one pod uses as many cores as its CPU limit allows")),
    ("stats_period", Idle),
    ("syslog", Idle),
    ("syslog_facility", Idle),
    ("syslog_ident", Idle),
    ("tcp_defer_accept", Idle),
    ("tcp_keepalive", Idle),
    ("tcp_keepcnt", Idle),
    ("tcp_keepidle", Idle),
    ("tcp_keepintvl", Idle),
    ("tcp_socket_buffer", Idle),
    ("tcp_user_timeout", Idle),
    ("track_extra_parameters", Advice("not needed: every setting follows its client")),
    (
        "transaction_timeout",
        Advice("PostgreSQL 17 has the same for whoever connects: ALTER ROLE ... SET transaction_timeout"),
    ),
    ("unix_socket_dir", Idle),
    ("unix_socket_group", Idle),
    ("unix_socket_mode", Idle),
    ("user", Idle),
    ("verbose", Idle),
];

/// The settings that were given, each taken when it has become something.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    given: BTreeMap<String, String>,
}

impl Settings {
    /// The last of several counts.
    pub(super) fn new(given: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { given: given.into_iter().collect() }
    }

    /// Takes one; what is empty says as much as what is not there.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.given.remove(name).filter(|value| !value.is_empty())
    }

    /// Clients must show a certificate.
    pub(super) fn verifies_clients(&self) -> bool {
        self.given.get("client_tls_sslmode").is_some_and(|mode| mode.starts_with("verify-"))
    }

    /// Takes a number; one that is none is noted.
    pub(super) fn take_number(&mut self, name: &str, notes: &mut Notes) -> Option<u32> {
        let text = self.take(name)?;
        let number = words::number(&text);
        if number.is_none() {
            notes.add(format!("{name} = {text}: this is no number; nothing was made of it"));
        }
        number
    }

    fn take_duration(&mut self, name: &str, notes: &mut Notes) -> Option<String> {
        let text = self.take(name)?;
        let duration = words::duration(&text);
        if duration.is_none() {
            notes.add(format!("{name} = {text}: this is no number of seconds; nothing was made of it"));
        }
        duration
    }

    /// Says what is to be said of all that were not taken.
    pub(super) fn rest(self, notes: &mut Notes) {
        for (name, value) in self.given {
            match FATES.binary_search_by_key(&name.as_str(), |(name, _)| name) {
                Ok(index) => match FATES[index].1 {
                    Idle => notes.idle(name),
                    // it may have the password of the directory in it
                    Advice(advice) if name == LDAP => notes.add(format!("{name}: {advice}.")),
                    Advice(advice) => notes.add(format!("{name} = {value}: {advice}.")),
                },
                // what nobody knows may be a secret
                Err(_) => {
                    notes.add(format!(
                        "{name}: PgBouncer 1.26 has no such setting, so nothing was made of it."
                    ));
                }
            }
        }
    }
}

/// The fields that are settings one to one.
pub(super) fn fields(settings: &mut Settings, spec: &mut Map, notes: &mut Notes) {
    match settings.take("pool_mode") {
        Some(text) => match words::mode(&text) {
            Some(mode) => spec.set("mode", mode),
            None => notes.add(format!("pool_mode = {text}: there is no such mode; it is Transaction now")),
        },
        None => spec.set_because(
            "mode",
            "Session",
            "PgBouncer's default; most applications work with Transaction, which needs far fewer connections",
        ),
    }
    if settings.take("server_reset_query_always").is_some_and(|value| value != "0") {
        spec.set_because("sessionState", "Reset", "server_reset_query_always");
    }
    if let Some(timeout) = settings.take_duration("query_wait_timeout", notes) {
        spec.set("queueTimeout", timeout);
    }
    clients(settings, spec, notes);
    servers(settings, spec, notes);
}

fn clients(settings: &mut Settings, spec: &mut Map, notes: &mut Notes) {
    if let Some(most) = settings.take_number("max_client_conn", notes) {
        spec.child("clients").set_because("max", json!(most.clamp(1, MOST_CLIENTS)), "of each pod");
    }
    for (name, field) in [("client_idle_timeout", "idleTimeout"), ("client_login_timeout", "loginTimeout")] {
        if let Some(timeout) = settings.take_duration(name, notes) {
            spec.child("clients").set(field, timeout);
        }
    }
}

fn servers(settings: &mut Settings, spec: &mut Map, notes: &mut Notes) {
    let timeouts = [("server_idle_timeout", "idleTimeout"), ("server_connect_timeout", "connectTimeout")];
    for (name, field) in timeouts {
        if let Some(timeout) = settings.take_duration(name, notes) {
            spec.child("servers").set(field, timeout);
        }
    }
    match settings.take_duration("server_lifetime", notes) {
        Some(never) if never == "0" => {
            let remark = "0 was: use once, then close; here it would be: never close";
            spec.child("servers").set_because("lifetime", "1s", remark);
        }
        Some(lifetime) => spec.child("servers").set("lifetime", lifetime),
        None => {}
    }
    if let Some(most) = settings.take_number("max_prepared_statements", notes) {
        spec.child("servers").set("maxPreparedStatements", json!(most.min(100_000)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_so_that_it_can_be_searched() {
        assert!(FATES.windows(2).all(|two| two[0].0 < two[1].0));
    }
}
