//! From `pgbouncer.ini`: one `PgPooler` for each server.

use serde_json::json;

use super::auth;
use super::config::{Config, Database, POSTGRES_PORT, PoolSettings, Server};
use super::draft::Draft;
use super::notes::Notes;
use super::settings::{self, Settings};
use super::sum::{self, Sum, Terms};
use super::tls;
use super::words;
use super::yaml::Map;

/// What the schema takes.
const MOST_POOLS: usize = 64;
/// Longest name of a pool.
const LONGEST_POOL_NAME: usize = 63;
/// What the schema has where nothing is said.
const REPLICAS: u32 = 2;
const MAX_REPLICAS: u32 = 6;
/// Most pods that the schema takes.
const MOST_REPLICAS: u32 = 100;
/// PgBouncer listens there where nothing is said.
const LISTEN_PORT: u32 = 6432;
/// Stands for what only people know; it has no address, and status will say so.
const UNKNOWN_HOST: &str = "change-me";

/// All that the file becomes.
pub(super) fn drafts(config: &Config, name: Option<&str>, namespace: Option<&str>) -> Vec<Draft> {
    let servers = config.servers();
    let mut names: Vec<String> = Vec::new();
    for server in &servers {
        let chosen = match name {
            Some(name) if servers.len() == 1 => name.to_owned(),
            Some(name) => {
                let own = server.hosts.first().map_or("", |host| first_label(host));
                words::object_name(&format!("{name}-{own}")).unwrap_or_else(|| name.to_owned())
            }
            None => default_name(server, &databases(config, server)),
        };
        names.push(words::unused(chosen, |name| names.iter().any(|other| other == name)));
    }
    servers.iter().zip(&names).map(|(server, name)| draft(config, server, name, namespace)).collect()
}

fn databases<'a>(config: &'a Config, server: &Server) -> Vec<&'a Database> {
    config.databases.iter().filter(|database| database.server == *server).collect()
}

fn draft(config: &Config, server: &Server, name: &str, namespace: Option<&str>) -> Draft {
    let databases = databases(config, server);
    let mut draft = Draft {
        title: title(name, server, &databases),
        notes: config.notes.clone(),
        namespace: namespace.map(str::to_owned),
        ..Draft::default()
    };
    draft.metadata.set("name", name);
    if let Some(namespace) = namespace {
        draft.metadata.set("namespace", namespace);
    }
    let mut settings = config.settings.clone();
    let Draft { spec, notes, .. } = &mut draft;
    // first in the text, filled when it is known who logs in
    spec.child("target");
    let mut rest = Map::default();
    let logins = auth::logins(name, &databases, config, &mut settings, &mut rest, notes);
    target(server, &logins.target, &databases, spec.child("target"), notes);
    let names = tls::Names { pooler: name, namespace };
    tls::servers(&mut settings, spec.child("target"), &names, notes);
    budget(config, &databases, &mut settings, spec, notes);
    settings::fields(&mut settings, spec, notes);
    pools(config, &databases, &mut settings, spec, notes);
    if !rest.is_empty() {
        spec.set_map("auth", std::mem::take(rest.child("auth")));
    }
    tls::clients(&mut settings, spec, &names, notes);
    service(&mut settings, spec, notes);
    leftovers(config, &databases, notes);
    settings.rest(notes);
    draft.secrets = logins.secrets;
    draft
}

fn title(name: &str, server: &Server, databases: &[&Database]) -> String {
    let hosts = if server.hosts.is_empty() { "a Unix socket".to_owned() } else { server.hosts.join(", ") };
    let names: Vec<_> = databases.iter().map(|database| database.name.as_str()).collect();
    format!("{name}: for the databases {} at {hosts}, port {}", words::listed(&names), server.port)
}

fn default_name(server: &Server, databases: &[&Database]) -> String {
    let host = server.hosts.first().filter(|host| !is_local(host) && !is_address(host));
    let host = host.and_then(|host| words::object_name(first_label(host)));
    let only = match databases {
        [only] => words::object_name(&only.name),
        _ => None,
    };
    host.or(only).unwrap_or_else(|| "pooler".to_owned())
}

fn first_label(host: &str) -> &str {
    if is_address(host) { host } else { host.split('.').next().unwrap_or(host) }
}

fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

/// In a pod it is the pod itself.
fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn target(server: &Server, secret: &str, databases: &[&Database], target: &mut Map, notes: &mut Notes) {
    target.child("secretRef").set("name", secret);
    match server.hosts.as_slice() {
        [] => {
            target.set_because("host", UNKNOWN_HOST, "was a Unix socket");
            notes.add("PostgreSQL was reached by a Unix socket, which pods cannot: set target.host to its name in the network.");
        }
        [only] if is_local(only) => {
            target.set_because("host", UNKNOWN_HOST, format!("was {only}"));
            notes.add(format!(
                "{only} is the pod itself there: set target.host to the server's name in the network."
            ));
        }
        [only] => target.set("host", only.as_str()),
        several => {
            target.set("hosts", json!(several));
            notes.add(
                "PgBouncer went to its hosts in turn, whatever they were. Here all pods use one of them, by target.role; if each host \
                 is a server of its own, make a PgPooler for each.",
            );
        }
    }
    if server.port != POSTGRES_PORT {
        target.set("port", json!(server.port));
    }
    if let Some(database) = databases.iter().find_map(|database| database.real_name()) {
        target.set_because("database", database, "of the operator's own session; clients choose theirs");
    } else {
        notes.add("Set target.database to one that the operator may connect to, unless there is one named like its role.");
    }
    match server.wanted.as_deref() {
        Some("read-write" | "primary") => target.set("role", "Primary"),
        Some("read-only" | "standby") => target.set("role", "Standby"),
        Some(other) => {
            notes.add(format!("target_session_attrs={other}: nothing was made of it; see target.role."));
        }
        None if server.hosts.len() > 1 => target.set("role", "Any"),
        None => {}
    }
}

fn budget(
    config: &Config,
    databases: &[&Database],
    settings: &mut Settings,
    spec: &mut Map,
    notes: &mut Notes,
) {
    let terms = terms(config, settings, notes);
    let mut most = MAX_REPLICAS.max(config.peers).min(MOST_REPLICAS);
    match sum::sum(databases, &terms) {
        Sum::Bounded { total, text } => {
            // one pod, its successor and one that drains
            let total = total.max(3);
            most = most.min((total - 1) / 2);
            spec.child("budget").set_because("serverConnections", json!(total), text.as_str());
            notes.add(format!(
                "PgBouncer could open {total} server connections ({text}), and so may all pods together; what PostgreSQL does not \
                 have is cut. 80%, the default, would follow max_connections."
            ));
        }
        Sum::Unbounded { text } => notes.add(format!(
            "PgBouncer had no limit for the whole: {text}. Here all pods together have 80% of what PostgreSQL leaves to \
             ordinary roles; spec.budget changes that."
        )),
    }
    let replicas = REPLICAS.max(config.peers).min(most);
    if replicas != REPLICAS {
        spec.set("replicas", json!(replicas));
    }
    if most != MAX_REPLICAS {
        spec.set("maxReplicas", json!(most));
    }
    if config.peers > 0 {
        notes.idle("[peers]");
    }
}

/// Applications that change the host of their connection need not change the port too.
fn service(settings: &mut Settings, spec: &mut Map, notes: &mut Notes) {
    match settings.take_number("listen_port", notes) {
        Some(port) if (1..=65535).contains(&port) => {
            spec.child("service").set_because("port", json!(port), "listen_port");
        }
        _ => spec.child("service").set_because("port", json!(LISTEN_PORT), "PgBouncer's default"),
    }
}

fn terms<'a>(config: &'a Config, settings: &mut Settings, notes: &mut Notes) -> Terms<'a> {
    let looked_up = settings.clone().take("auth_user").is_some()
        || config.databases.iter().any(|database| database.auth_user.is_some());
    let users = config.userlist.as_ref().filter(|_| !looked_up);
    let mut copy = settings.clone();
    Terms {
        config,
        default_pool_size: settings.take_number("default_pool_size", notes),
        // they have an advice of their own
        reserve: copy.take_number("reserve_pool_size", notes).unwrap_or(0),
        max_db_connections: copy.take_number("max_db_connections", notes),
        users: users.map(|users| users.iter().map(|user| user.name.clone()).collect()),
    }
}

/// Rules of users count before those of databases, as in PgBouncer; a pair of both has a rule of its own.
fn pools(
    config: &Config,
    databases: &[&Database],
    settings: &mut Settings,
    spec: &mut Map,
    notes: &mut Notes,
) {
    let own = |pool: &PoolSettings| *pool != PoolSettings::default();
    let of_databases: Vec<_> = databases.iter().filter(|database| own(&database.pool)).collect();
    let of_users: Vec<_> = config.users.iter().filter(|user| own(&user.pool)).collect();
    let mut rules = Rules::default();
    for database in &of_databases {
        for user in &of_users {
            let both = user.pool.or(&database.pool);
            if both != user.pool {
                rules.add(database.real_name(), Some(&user.name), &both);
            }
        }
    }
    for user in &of_users {
        rules.add(None, Some(&user.name), &user.pool);
    }
    for database in &of_databases {
        rules.add(database.real_name(), None, &database.pool);
    }
    let min = settings.take_number("min_pool_size", notes).filter(|min| *min > 0);
    rules.add_rest(min);
    if rules.list.len() > MOST_POOLS {
        notes.add(format!(
            "There are {} rules for pools; {MOST_POOLS} fit, the others were left out.",
            rules.list.len()
        ));
        rules.list.truncate(MOST_POOLS);
    }
    if config.peers > 1 && of_databases.iter().any(|database| database.pool.size.is_some()) {
        notes.add("pool_size was for each process; maxConnections is for all pods together.");
    }
    if !rules.list.is_empty() {
        spec.set_list("pools", rules.list);
    }
}

#[derive(Default)]
struct Rules {
    names: Vec<String>,
    list: Vec<Map>,
}

impl Rules {
    fn add(&mut self, database: Option<&str>, user: Option<&str>, pool: &PoolSettings) {
        let words: Vec<_> = database.into_iter().chain(user).collect();
        let label = words::label(&words.join("-"), LONGEST_POOL_NAME - 4);
        let mut map = self.named(if label.is_empty() { "all".to_owned() } else { label });
        if let Some(database) = database {
            map.set("database", database);
        }
        if let Some(user) = user {
            map.set("users", json!([user]));
        }
        if let Some(mode) = pool.mode {
            map.set("mode", mode);
        }
        if let Some(min) = pool.min.filter(|min| *min > 0) {
            map.set("minConnections", json!(pool.size.map_or(min, |size| min.min(size))));
        }
        if let Some(size) = pool.size {
            map.set_because(
                "maxConnections",
                json!(size),
                "of each pair of database and user, all pods together",
            );
        }
        if let Some(timeout) = &pool.queue_timeout {
            map.set("queueTimeout", timeout.as_str());
        }
        self.list.push(map);
    }

    /// For every other pool.
    fn add_rest(&mut self, min: Option<u32>) {
        let Some(min) = min else { return };
        let mut map = self.named("all".to_owned());
        map.set("minConnections", json!(min));
        self.list.push(map);
    }

    fn named(&mut self, label: String) -> Map {
        let name = words::unused(label, |name| self.names.iter().any(|other| other == name));
        self.names.push(name.clone());
        let mut map = Map::default();
        map.set("name", name);
        map
    }
}

/// What databases and users may have besides what became fields.
const KNOWN: [&str; 19] = [
    "application_name",
    "client_encoding",
    "client_idle_timeout",
    "connect_query",
    "datestyle",
    "idle_transaction_timeout",
    "load_balance_hosts",
    "max_db_client_connections",
    "max_db_connections",
    "max_user_client_connections",
    "max_user_connections",
    "min_pool_size",
    "pool_mode",
    "query_timeout",
    "reserve_pool",
    "reserve_pool_size",
    "server_lifetime",
    "timezone",
    "transaction_timeout",
];

/// What databases and users have that pools cannot have.
fn leftovers(config: &Config, databases: &[&Database], notes: &mut Notes) {
    for database in databases {
        if let Some(real) = &database.dbname {
            notes.add(match database.name.as_str() {
                "*" => format!("Whatever database clients named, PgBouncer sent them to `{real}`; here they must name it."),
                name => format!("`{name}` is another name for the database `{real}`: clients must name `{real}`."),
            });
        }
        if let Some(user) = &database.user {
            notes.add(format!(
                "Whoever connected to `{}` became `{user}`; here clients log in as themselves, so they must log in as `{user}`, with \
                 its password.",
                database.name
            ));
        }
        for (key, value) in &database.others {
            notes.add(format!("{} of `{}`: {}.", shown(key, value), database.name, advice(key, "DATABASE")));
        }
    }
    for user in &config.users {
        for (key, value) in &user.others {
            notes.add(format!("{} of the user `{}`: {}.", shown(key, value), user.name, advice(key, "ROLE")));
        }
    }
    if databases.iter().all(|database| database.name != "*") {
        notes.add("Clients can reach every database of the server, not only those that were listed; PostgreSQL's CONNECT privilege decides.");
    }
}

/// What nobody knows may be a secret.
fn shown(key: &str, value: &str) -> String {
    if KNOWN.contains(&key) { format!("{key}={value}") } else { key.to_owned() }
}

fn advice(key: &str, of: &str) -> String {
    let limit = format!(
        "PostgreSQL has the same for whoever connects: ALTER {of} ... CONNECTION LIMIT; clients then wait for a place"
    );
    let set = |name: &str| format!("PostgreSQL has the same for whoever connects: ALTER {of} ... SET {name}");
    match key {
        "connect_query" => format!("there is no query at connect; for settings, ALTER {of} ... SET"),
        "client_encoding" | "datestyle" | "timezone" | "application_name" => set(key),
        "max_db_connections" | "max_user_connections" => limit,
        "max_db_client_connections" | "max_user_client_connections" => {
            "clients are limited by pod only (spec.clients.max)".to_owned()
        }
        "reserve_pool" | "reserve_pool_size" => {
            "there is no reserve: a pod with waiting clients gets what is left of the budget".to_owned()
        }
        "query_timeout" => set("statement_timeout"),
        "idle_transaction_timeout" => set("idle_in_transaction_session_timeout"),
        "transaction_timeout" => {
            format!("PostgreSQL 17 has the same: ALTER {of} ... SET transaction_timeout")
        }
        "client_idle_timeout" => "it is one for all: spec.clients.idleTimeout".to_owned(),
        "server_lifetime" => "it is one for all: spec.servers.lifetime".to_owned(),
        "load_balance_hosts" => "all pods use one host, by target.role".to_owned(),
        _ => "PgBouncer would refuse this, or its value; nothing was made of it".to_owned(),
    }
}
