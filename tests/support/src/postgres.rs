//! A real PostgreSQL server that lives as long as its value.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Account, Certified, Login, Programs, RawClient, free_port, leash::Leash, ports::wait_until};

/// The superuser's name and password, whatever [`Auth`] is.
pub(crate) const SUPERUSER: &str = "postgres";

/// How clients must prove who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// SCRAM-SHA-256.
    #[default]
    Scram,
    /// Not at all.
    Trust,
    /// MD5; passwords are stored as MD5 too.
    Md5,
}

/// How a [`Postgres`] is set up.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `max_connections`.
    pub max_connections: u32,
    /// For every connection over TCP.
    pub auth: Auth,
    /// Further settings for postgresql.conf.
    pub settings: Vec<(String, String)>,
    /// The major version; none: `PG_BIN`, or the newest installed.
    pub version: Option<u32>,
    /// TLS with this certificate.
    pub tls: Option<Certified>,
    /// Authorities of client certificates, PEM.
    pub client_authorities: Option<String>,
    /// The lines of `pg_hba.conf`; none: everybody from everywhere as [`Auth`] says. The superuser must get in without TLS.
    pub hba: Vec<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 100,
            auth: Auth::default(),
            settings: Vec::new(),
            version: None,
            tls: None,
            client_authorities: None,
            hba: Vec::new(),
        }
    }
}

impl PostgresOptions {
    /// It can have standbys.
    #[must_use]
    pub fn replicating(self) -> Self {
        self.setting("wal_level", "replica").setting("max_wal_senders", "5")
    }

    /// Adds a setting for postgresql.conf.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A server on 127.0.0.1, reachable as soon as the value exists, killed when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    account: Account,
    port: u16,
    folder: PathBuf,
    running: Option<(Child, Leash)>,
}

impl Postgres {
    /// Starts a server, from a cached data folder of the same version and [`Auth`].
    pub fn start(options: &PostgresOptions) -> Result<Self> {
        let programs = Programs::find(options.version)?;
        let account = Account::unprivileged()?;
        let template = template(&programs, account, options.auth)?;
        let folder = tempfile::Builder::new().prefix("pgpooler-postgres-").tempdir()?.keep();
        account.own(&folder)?;
        let port = free_port()?;
        let mut server = Self { programs, account, port, folder, running: None };
        run(account.command(Path::new("cp")).arg("-a").arg(template).arg(server.data()))?;
        fs::write(server.folder.join("server.log"), "")?;
        append(&server.data().join("postgresql.conf"), &server.configuration(options))?;
        server.write_access(options)?;
        server.resume()?;
        Ok(server)
    }

    /// Starts a streaming standby of this server, which must be [`replicating`](PostgresOptions::replicating). It has
    /// all that this server has now.
    pub fn standby(&self) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pgpooler-postgres-").tempdir()?.keep();
        self.account.own(&folder)?;
        let (programs, account) = (self.programs.clone(), self.account);
        let mut standby = Self { programs, account, port: free_port()?, folder, running: None };
        run(account
            .command(&self.programs.path("pg_basebackup"))
            .args(["--host", "127.0.0.1", "--username", SUPERUSER, "--checkpoint", "fast", "--no-sync"])
            .args(["--wal-method", "stream", "--write-recovery-conf", "--port", &self.port.to_string()])
            .arg("--pgdata")
            .arg(standby.data())
            .env("PGPASSWORD", SUPERUSER))?;
        fs::write(standby.folder.join("server.log"), "")?;
        append(&standby.data().join("postgresql.conf"), &format!("port = {}\n", standby.port))?;
        standby.resume()?;
        Ok(standby)
    }

    /// Makes a standby the primary; waits until it is.
    pub fn promote(&self) -> Result<()> {
        let promoted = self.sql("SELECT pg_promote()")?.concat().concat();
        if promoted == "t" { Ok(()) } else { bail!("the standby was not promoted") }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The major version.
    pub fn version(&self) -> u32 {
        self.programs.version
    }

    /// How the superuser `postgres` logs in to the database `postgres`.
    pub fn superuser(&self) -> Login {
        Login::new(self.port, SUPERUSER, SUPERUSER, "postgres")
    }

    /// Runs SQL as the superuser; the rows of the last statement, NULL as an empty string.
    pub fn sql(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        RawClient::login(&self.superuser())?.rows(sql)
    }

    /// Creates a role that may log in with a password.
    pub fn create_user(&self, name: &str, password: &str) -> Result<()> {
        self.sql(&format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'")).map(drop)
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// Ends the server at once, without a checkpoint; the data stay for [`resume`](Self::resume).
    pub fn crash(&mut self) -> Result<()> {
        self.end(Signal::QUIT)
    }

    /// Ends the server by a fast shutdown; the data stay for [`resume`](Self::resume).
    pub fn shut_down(&mut self) -> Result<()> {
        self.end(Signal::INT)
    }

    /// Stops all its processes where they are: connections stay, and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.signal_all(Signal::STOP)
    }

    /// They go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// The postmaster and its children. It is first: no child begins meanwhile.
    fn signal_all(&self, signal: Signal) -> Result<()> {
        let Some((child, _)) = &self.running else { bail!("the server does not run") };
        let first = child.id();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"))?;
        let children = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
        for pid in std::iter::once(i32::try_from(first)?).chain(children).filter_map(Pid::from_raw) {
            // a child may have ended by itself
            let _ = kill_process(pid, signal);
        }
        Ok(())
    }

    /// Starts the server again, on the same port.
    pub fn resume(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let log = File::options().append(true).open(self.folder.join("server.log"))?;
        let child = self
            .account
            .command(&self.programs.path("postgres"))
            .arg("-D")
            .arg(self.data())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start postgres")?;
        let leash = Leash::new(child.id(), "QUIT", Some(&self.folder))?;
        self.running = Some((child, leash));
        self.wait_until_ready()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn write_access(&self, options: &PostgresOptions) -> Result<()> {
        let data = self.data();
        if let Some(certified) = &options.tls {
            let (certificate, key) = certified.write(&data, "server")?;
            self.account.own(&certificate)?;
            self.account.own(&key)?;
        }
        if let Some(pem) = &options.client_authorities {
            fs::write(data.join("root.crt"), pem)?;
        }
        if options.hba.is_empty() {
            return Ok(());
        }
        let lines = options.hba.join("\n") + "\n";
        fs::write(data.join("pg_hba.conf"), lines).context("cannot write pg_hba.conf")
    }

    fn configuration(&self, options: &PostgresOptions) -> String {
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nmax_connections = {}\n\
             fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nshared_buffers = '16MB'\n\
             max_wal_senders = 0\nwal_level = minimal\nautovacuum = off\n",
            self.port, options.max_connections
        );
        if options.tls.is_some() {
            text.push_str("ssl = on\n");
        }
        if options.client_authorities.is_some() {
            text.push_str("ssl_ca_file = 'root.crt'\n");
        }
        for (name, value) in &options.settings {
            text.extend([name, " = '", &value.replace('\'', "''"), "'\n"]);
        }
        text
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let login = self.superuser();
        let Some((child, _)) = self.running.as_mut() else { bail!("the server was not started") };
        let log = self.folder.join("server.log");
        wait_until(
            "PostgreSQL's first accepted login",
            Duration::from_secs(30),
            || RawClient::login(&login).is_ok(),
            || match child.try_wait()? {
                Some(status) => {
                    bail!("postgres ended ({status}):\n{}", fs::read_to_string(&log).unwrap_or_default())
                }
                None => Ok(()),
            },
        )
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some((mut child, leash)) = self.running.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, signal).context("cannot signal postgres")?;
        }
        child.wait()?;
        leash.release();
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // a folder in /tmp or a server that is already gone is no reason to fail a test
        let _ = self.end(Signal::QUIT);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A fresh data folder of this version and authentication, made once and kept.
fn template(programs: &Programs, account: Account, auth: Auth) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let cache = std::env::temp_dir().join(format!("pgpooler-templates-{}", account.label()));
    if !cache.exists() {
        // another test process may be first; what counts is that it exists afterwards
        let _ = fs::create_dir(&cache);
        account.own(&cache)?;
    }
    let name = format!("{:?}-{}", auth, programs.version).to_lowercase();
    let ready = cache.join(&name);
    if !ready.exists() {
        let scratch = cache.join(format!("{name}-{}", std::process::id()));
        initdb(programs, account, auth, &scratch)?;
        if fs::rename(&scratch, &ready).is_err() {
            // another process was faster, and its template is as good
            fs::remove_dir_all(&scratch)?;
        }
    }
    Ok(ready)
}

fn initdb(programs: &Programs, account: Account, auth: Auth, folder: &Path) -> Result<()> {
    let method = match auth {
        Auth::Scram => "scram-sha-256",
        Auth::Trust => "trust",
        Auth::Md5 => "md5",
    };
    let password = folder.with_extension("password");
    fs::write(&password, SUPERUSER)?;
    account.own(&password)?;
    run(account
        .command(&programs.path("initdb"))
        .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"])
        .args(["--username", SUPERUSER, "--auth", method])
        .arg("--pwfile")
        .arg(&password)
        .arg("-D")
        .arg(folder))?;
    fs::remove_file(&password)?;
    append(&folder.join("postgresql.conf"), &format!("password_encryption = '{}'\n", stored_as(auth)))
}

fn stored_as(auth: Auth) -> &'static str {
    match auth {
        Auth::Md5 => "md5",
        Auth::Scram | Auth::Trust => "scram-sha-256",
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    File::options()
        .append(true)
        .open(path)?
        .write_all(text.as_bytes())
        .with_context(|| path.display().to_string())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}):\n{}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
