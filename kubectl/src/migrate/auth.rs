//! Who logs in: the Secret of the target, the Secrets of users, and how others are looked up.

use serde_json::json;

use super::config::{Config, Database};
use super::notes::Notes;
use super::secrets::Credentials;
use super::settings::Settings;
use super::userlist::{Kind, User};
use super::words;
use super::yaml::Map;

/// Longest name of a Secret that is made up here.
const LONGEST_NAME: usize = 63;

/// The Secrets of one `PgPooler`.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// Of `target.secretRef`.
    pub(super) target: String,
    /// All of them.
    pub(super) secrets: Vec<Credentials>,
}

/// Who looks up users, in which database and how.
struct Lookup {
    user: String,
    database: Option<String>,
    statement: Option<String>,
}

/// Fills `spec.auth` and says which Secrets there must be.
pub(super) fn logins(
    pooler: &str,
    databases: &[&Database],
    config: &Config,
    settings: &mut Settings,
    spec: &mut Map,
    notes: &mut Notes,
) -> Logins {
    auth_type(settings, spec, notes);
    let console = console(settings, spec);
    let lookup = lookup(databases, settings, notes);
    let mut users = users(databases, config);
    users.retain(|user| lookup.as_ref().is_none_or(|lookup| lookup.user != user.name));
    let lookup_user = lookup.as_ref().map(|lookup| known(&lookup.user, config));
    let mut logins = Logins::default();
    target(pooler, &users, lookup_user.as_ref(), &mut logins, notes);
    let others: Vec<_> = users.iter().filter_map(|user| logins.add_user(pooler, user)).collect();
    if !others.is_empty() {
        let reference = |name: &String| {
            let mut map = Map::default();
            map.set("name", name.as_str());
            map
        };
        spec.child("auth").set_list("users", others.iter().map(reference).collect());
    }
    match (lookup, lookup_user) {
        (Some(lookup), Some(user)) => {
            let name = logins.name(pooler, &user, "it looks up users");
            query(&lookup, &name, spec, notes);
        }
        _ => strangers(&console, &users, notes),
    }
    logins
}

fn auth_type(settings: &mut Settings, spec: &mut Map, notes: &mut Notes) {
    let Some(text) = settings.take("auth_type") else { return };
    match text.as_str() {
        // a user with a SCRAM verifier proves it by SCRAM there too, which is what Auto means
        "md5" => {}
        "scram-sha-256" => spec.child("auth").set("type", "ScramSha256"),
        "plain" => {
            spec.child("auth").set("type", "Plain");
            notes.add("auth_type = plain: a password in plain text is taken inside TLS only; see spec.clients.tls.");
        }
        // the client side of TLS says so, since it takes a mode that verifies
        "cert" if settings.verifies_clients() => spec.child("auth").set("type", "Cert"),
        "cert" => notes.add("auth_type = cert needs client_tls_sslmode = verify-full and client_tls_ca_file; nothing was made of it."),
        "trust" | "any" => notes.add(format!(
            "auth_type = {text}: nobody is let in without a password or a certificate, so every user needs a Secret or \
             auth.query."
        )),
        "hba" => notes.add(
            "auth_type = hba: all clients prove who they are in one way, spec.auth.type; who may reach the pods is said by \
             spec.networkPolicy.",
        ),
        other => notes.add(format!(
            "auth_type = {other}: there is no such way; give users passwords (Secrets, auth.query) or client certificates."
        )),
    }
}

/// Who may use the console; all of them.
fn console(settings: &mut Settings, spec: &mut Map) -> Vec<String> {
    let mut people = Vec::new();
    for (name, field) in [("admin_users", "adminUsers"), ("stats_users", "statsUsers")] {
        let listed = settings.take(name).unwrap_or_default();
        let listed: Vec<_> =
            listed.split(',').map(|user| user.trim().to_owned()).filter(|user| !user.is_empty()).collect();
        if !listed.is_empty() {
            spec.child("auth").set(field, json!(listed));
        }
        people.extend(listed);
    }
    people
}

/// Users of the console whom nobody knows.
fn strangers(console: &[String], users: &[User], notes: &mut Notes) {
    let unknown = |name: &&String| users.iter().all(|user| user.name != **name);
    let unknown: Vec<_> = console.iter().filter(unknown).collect();
    if !unknown.is_empty() {
        notes.add(format!(
            "Of auth.adminUsers and auth.statsUsers there is no Secret for {}: they can log in when auth.users has one. `kubectl \
             pgpooler status` and `top` need none of them.",
            words::listed(&unknown)
        ));
    }
}

/// Users that databases force, then those of the list.
fn users(databases: &[&Database], config: &Config) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    for database in databases {
        if let Some(name) = &database.user
            && users.iter().all(|user| user.name != *name)
        {
            let own = database.password.clone().map(|secret| User { name: name.clone(), secret });
            users.push(own.unwrap_or_else(|| known(name, config)));
        }
    }
    for user in config.userlist.iter().flatten() {
        if users.iter().all(|other| other.name != user.name) {
            users.push(user.clone());
        }
    }
    users
}

/// The user as the list has it.
fn known(name: &str, config: &Config) -> User {
    let listed = config.userlist.iter().flatten().find(|user| user.name == name).cloned();
    listed.unwrap_or_else(|| User { name: name.to_owned(), secret: String::new() })
}

fn target(pooler: &str, users: &[User], lookup: Option<&User>, logins: &mut Logins, notes: &mut Notes) {
    let plain = |user: &&User| user.kind() == Kind::Plain;
    let all = || users.iter().chain(lookup);
    let Some(user) = all().find(plain).or_else(|| all().next()) else {
        logins.target = format!("{pooler}-app");
        logins.secrets.push(Credentials {
            name: logins.target.clone(),
            user: None,
            password: None,
            purpose: "the role that applications and the operator log in as".to_owned(),
        });
        return;
    };
    if matches!(user.kind(), Kind::Md5 | Kind::Scram) {
        notes.add(format!(
            "The operator logs in as `{}` too and needs its password in plain text; what userlist.txt has of it is a hash.",
            user.name
        ));
    }
    logins.target = logins.name(pooler, user, "the role that the operator logs in as, and a user of clients");
}

impl Logins {
    /// Name of the Secret of a user, which is made if there is none yet.
    fn name(&mut self, pooler: &str, user: &User, purpose: &str) -> String {
        if let Some(known) = self.secrets.iter().find(|secret| secret.user.as_deref() == Some(&user.name)) {
            return known.name.clone();
        }
        let label = words::label(&format!("{pooler}-{}", user.name), LONGEST_NAME);
        let name = words::unused(label, |name| self.secrets.iter().any(|secret| secret.name == name));
        self.secrets.push(Credentials {
            name: name.clone(),
            user: Some(user.name.clone()),
            password: (user.kind() != Kind::Missing).then(|| user.secret.clone()),
            purpose: purpose.to_owned(),
        });
        name
    }

    /// Name of the Secret of a user who is not the target's.
    fn add_user(&mut self, pooler: &str, user: &User) -> Option<String> {
        let name = self.name(pooler, user, "a user of clients");
        (name != self.target).then_some(name)
    }
}

fn lookup(databases: &[&Database], settings: &mut Settings, notes: &mut Notes) -> Option<Lookup> {
    let (user, statement, database) =
        (settings.take("auth_user"), settings.take("auth_query"), settings.take("auth_dbname"));
    let own = databases.iter().find(|database| database.auth_user.is_some());
    let user = user.or_else(|| own.and_then(|database| database.auth_user.clone()))?;
    if databases.iter().any(|database| database.auth_user.as_ref().is_some_and(|other| *other != user)) {
        notes.add("Databases have auth_user of their own: users are looked up by one role and in one database here.");
    }
    let of = |pick: fn(&Database) -> Option<String>| databases.iter().find_map(|database| pick(database));
    let real = |name: String| {
        let entry = databases.iter().find(|database| database.name == name);
        entry.and_then(|entry| entry.dbname.clone()).unwrap_or(name)
    };
    let database = database.or_else(|| of(|database| database.auth_dbname.clone())).map(real);
    if database.is_none() {
        notes.add(
            "Users are looked up in the database that the client names, as before, so whoever owns one says who its users are; \
             better set auth.query.database.",
        );
    }
    let statement = statement.or_else(|| of(|database| database.auth_query.clone()));
    Some(Lookup { user, database, statement })
}

fn query(lookup: &Lookup, secret: &str, spec: &mut Map, notes: &mut Notes) {
    let query = spec.child("auth").child("query");
    query.child("secretRef").set("name", secret);
    if let Some(database) = &lookup.database {
        query.set("database", database.as_str());
    }
    match &lookup.statement {
        Some(statement) if !statement.contains("$1") => {
            notes.add("auth_query has no $1, the name of the user to look up; the default is taken instead.");
        }
        Some(statement) => {
            query.set("statement", json!(statement));
            notes.add("auth_query: search_path is pg_catalog while it runs, so name the schemas of its functions and tables.");
        }
        None => notes.add(
            "auth_query was PgBouncer's default, which reads pg_authid and needs a superuser; here it calls a function that a \
             superuser installs once in each database that is looked up in: docs/auth.md.",
        ),
    }
}
