//! What a `pgbouncer.ini` says, parsed: databases by server, users, peers, and the settings of the process.

use super::ini::{self, Line};
use super::notes::Notes;
use super::settings::Settings;
use super::userlist::User;
use super::words;

/// Port of PostgreSQL where none is given.
pub(super) const POSTGRES_PORT: u32 = 5432;

/// Everything.
#[derive(Clone, Default)]
pub(super) struct Config {
    /// Of the section `[pgbouncer]`.
    pub(super) settings: Settings,
    /// Of `[databases]`, in order.
    pub(super) databases: Vec<Database>,
    /// Of `[users]`, in order.
    pub(super) users: Vec<UserSettings>,
    /// How many processes are peers of each other.
    pub(super) peers: u32,
    /// Of `auth_file`; `None`: it was not read.
    pub(super) userlist: Option<Vec<User>>,
    /// What is to be said of all of it.
    pub(super) notes: Notes,
}

/// Where databases are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// Names and addresses; none: a Unix socket.
    pub(super) hosts: Vec<String>,
    /// Port of all of them.
    pub(super) port: u32,
    /// `target_session_attrs`, if not `any`.
    pub(super) wanted: Option<String>,
}

/// An entry of `[databases]`.
#[derive(Clone)]
pub(super) struct Database {
    /// What clients ask for; `*`: whatever they ask for.
    pub(super) name: String,
    /// What PostgreSQL is asked for, if something else.
    pub(super) dbname: Option<String>,
    /// Where it is.
    pub(super) server: Server,
    /// The user that everybody becomes.
    pub(super) user: Option<String>,
    /// Its password.
    pub(super) password: Option<String>,
    /// Who looks up users.
    pub(super) auth_user: Option<String>,
    /// How.
    pub(super) auth_query: Option<String>,
    /// Where.
    pub(super) auth_dbname: Option<String>,
    /// What counts for its pools.
    pub(super) pool: PoolSettings,
    /// Most server connections of all its pools together; 0: no limit.
    pub(super) max_db_connections: Option<u32>,
    /// The rest.
    pub(super) others: Vec<(String, String)>,
}

/// An entry of `[users]`.
#[derive(Debug, Clone)]
pub(super) struct UserSettings {
    /// The user.
    pub(super) name: String,
    /// What counts for its pools.
    pub(super) pool: PoolSettings,
    /// The rest.
    pub(super) others: Vec<(String, String)>,
}

/// What pools of a database or of a user can have of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PoolSettings {
    pub(super) mode: Option<&'static str>,
    pub(super) size: Option<u32>,
    pub(super) min: Option<u32>,
    pub(super) queue_timeout: Option<String>,
}

impl PoolSettings {
    /// These, and what the other has where these have nothing.
    pub(super) fn or(&self, other: &Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            size: self.size.or(other.size),
            min: self.min.or(other.min),
            queue_timeout: self.queue_timeout.clone().or_else(|| other.queue_timeout.clone()),
        }
    }

    /// Takes a setting; `false`: it is none of these, or has no value that can be read.
    fn take(&mut self, key: &str, value: &str) -> bool {
        match key {
            "pool_mode" => self.mode = words::mode(value),
            "pool_size" => self.size = words::number(value).filter(|size| *size > 0),
            "min_pool_size" => self.min = words::number(value),
            // -1: as if it were not there
            "query_wait_timeout" => self.queue_timeout = words::duration(value),
            _ => return false,
        }
        match key {
            "pool_mode" => self.mode.is_some(),
            "pool_size" => self.size.is_some(),
            "min_pool_size" => self.min.is_some(),
            _ => self.queue_timeout.is_some(),
        }
    }
}

impl Database {
    /// What PostgreSQL calls it; `None`: whatever clients ask for.
    pub(super) fn real_name(&self) -> Option<&str> {
        self.dbname.as_deref().or_else(|| Some(self.name.as_str()).filter(|name| *name != "*"))
    }
}

impl Config {
    /// Sorts the lines. A connection string that PgBouncer would refuse is noted and left out.
    pub(super) fn new(lines: Vec<Line>) -> Self {
        let mut config = Self::default();
        let mut settings = Vec::new();
        for Line { section, key, value } in lines {
            match section.as_str() {
                "pgbouncer" => settings.push((key, value)),
                "databases" => config.pair(&key, &value, Self::database),
                "users" => config.pair(&key, &value, Self::user),
                "peers" => config.peers += 1,
                other => {
                    config.notes.add(format!("PgBouncer has no section [{other}]; nothing was made of it."));
                }
            }
        }
        config.settings = Settings::new(settings);
        config
    }

    fn pair(&mut self, name: &str, value: &str, add: fn(&mut Self, &str, Vec<(String, String)>)) {
        match ini::pairs(value) {
            Ok(pairs) => add(self, name, pairs),
            // the value may have a password in it
            Err(what) => self.notes.add(format!("The entry of `{name}` was left out: {what}.")),
        }
    }

    fn database(&mut self, name: &str, pairs: Vec<(String, String)>) {
        let server = Server { hosts: Vec::new(), port: POSTGRES_PORT, wanted: None };
        let mut database = Database::new(name, server);
        for (key, value) in pairs {
            database.set(key, value);
        }
        // of several with one name the last counts
        self.databases.retain(|other| other.name != database.name);
        self.databases.push(database);
    }

    fn user(&mut self, name: &str, pairs: Vec<(String, String)>) {
        let mut user =
            UserSettings { name: name.to_owned(), pool: PoolSettings::default(), others: Vec::new() };
        for (key, value) in pairs {
            if !user.pool.take(&key, &value) {
                user.others.push((key, value));
            }
        }
        self.users.retain(|other| other.name != user.name);
        self.users.push(user);
    }

    /// The servers, in the order of their first databases.
    pub(super) fn servers(&self) -> Vec<Server> {
        let mut servers: Vec<Server> = Vec::new();
        for database in &self.databases {
            if !servers.contains(&database.server) {
                servers.push(database.server.clone());
            }
        }
        servers
    }
}

impl Database {
    fn new(name: &str, server: Server) -> Self {
        Self {
            name: name.to_owned(),
            dbname: None,
            server,
            user: None,
            password: None,
            auth_user: None,
            auth_query: None,
            auth_dbname: None,
            pool: PoolSettings::default(),
            max_db_connections: None,
            others: Vec::new(),
        }
    }

    fn set(&mut self, key: String, value: String) {
        match key.as_str() {
            "host" => {
                self.server.hosts = value.split(',').map(|host| host.trim().to_owned()).collect();
                // sockets are on PgBouncer's own machine
                self.server.hosts.retain(|host| !host.is_empty() && !host.starts_with(['/', '@']));
            }
            "port" => self.server.port = words::number(&value).unwrap_or(POSTGRES_PORT),
            "target_session_attrs" => self.server.wanted = Some(value).filter(|value| value != "any"),
            "dbname" => self.dbname = Some(value).filter(|real| *real != self.name),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "auth_user" => self.auth_user = Some(value),
            "auth_query" => self.auth_query = Some(value),
            "auth_dbname" => self.auth_dbname = Some(value),
            "max_db_connections" => {
                self.max_db_connections = words::number(&value).filter(|most| *most > 0);
                self.others.push((key, value));
            }
            _ => {
                if !self.pool.take(&key, &value) {
                    self.others.push((key, value));
                }
            }
        }
    }
}
