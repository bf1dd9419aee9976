//! A pooler process that lives as long as its value.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Login, Postgres, free_port, leash::Leash, ports::wait_until, postgres::SUPERUSER};

/// How a [`Pooler`] is set up.
#[derive(Debug, Clone, Default)]
pub struct PoolerOptions {
    /// Port of PostgreSQL on 127.0.0.1.
    pub target_port: u16,
    /// PostgreSQL's name; none: 127.0.0.1.
    pub target_host: Option<String>,
    /// Further keys of `[target]`: TOML lines.
    pub target_keys: String,
    /// Users and passwords of the `auth_file`.
    pub users: Vec<(String, String)>,
    /// Settings of the document's top level: key and TOML value.
    pub settings: Vec<(String, String)>,
    /// TOML tables that follow, such as `[[pools]]`.
    pub tables: String,
    /// Environment variables of the process.
    pub environment: Vec<(String, String)>,
    /// Where the process writes its log instead of to a file of the test's.
    pub log: Option<PathBuf>,
}

impl PoolerOptions {
    /// In front of this server, with its superuser as the only user, who is also the console's administrator.
    pub fn before(server: &Postgres) -> Self {
        let administrators = format!("[\"{SUPERUSER}\"]");
        Self { target_port: server.port(), ..Self::default() }
            .user(SUPERUSER, SUPERUSER)
            .setting("admin_users", &administrators)
    }

    /// In front of this server instead.
    #[must_use]
    pub fn target(mut self, server: &Postgres) -> Self {
        self.target_port = server.port();
        self
    }

    /// In front of whichever of these servers has the role (`any`, `primary`, `standby`).
    #[must_use]
    pub fn targets(mut self, servers: &[&Postgres], role: &str) -> Self {
        let hosts: Vec<_> = servers.iter().map(|server| format!("\"127.0.0.1:{}\"", server.port())).collect();
        self.target_keys = format!("hosts = [{}]\nrole = \"{role}\"\n", hosts.join(", "));
        self
    }

    /// Adds a user to the `auth_file`.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Sets a key of the document's top level to a TOML value.
    #[must_use]
    pub fn setting(mut self, key: &str, toml: &str) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), toml.to_owned()));
        self
    }

    /// Sets an environment variable of the process.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes its log there instead, for example to a pipe.
    #[must_use]
    pub fn log_to(mut self, path: &Path) -> Self {
        self.log = Some(path.to_owned());
        self
    }

    /// PostgreSQL by a name.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.target_host = Some(name.to_owned());
        self
    }

    /// Adds TOML tables after `[target]`.
    #[must_use]
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self
    }
}

/// A pooler on free ports of 127.0.0.1, ready as soon as the value exists, ended by SIGTERM when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    http_port: u16,
    folder: TempDir,
    running: Option<(Child, Leash)>,
}

impl Pooler {
    /// Runs `program`, in tests `env!("CARGO_BIN_EXE_pgpooler")`, until it says that it is ready.
    pub fn start(program: impl AsRef<Path>, options: &PoolerOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pgpooler-").tempdir()?;
        let mut pooler = Self { port: free_port()?, http_port: free_port()?, folder, running: None };
        pooler.configure(options)?;
        let log = match &options.log {
            // a pipe that nobody reads can be opened like this only
            Some(path) => File::options().read(true).write(true).open(path)?,
            None => File::create(pooler.log_path())?,
        };
        let child = Command::new(program.as_ref())
            .arg("--config")
            .arg(pooler.config_path())
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.as_ref().display()))?;
        let leash = Leash::new(child.id(), "KILL", Some(pooler.folder.path()))?;
        pooler.running = Some((child, leash));
        pooler.wait_until_ready()?;
        Ok(pooler)
    }

    /// Writes the document and the users anew, for a later RELOAD.
    pub fn configure(&self, options: &PoolerOptions) -> Result<()> {
        let mut users = String::new();
        for (name, password) in &options.users {
            writeln!(users, "\"{}\" \"{}\"", name.replace('"', "\"\""), password.replace('"', "\"\""))?;
        }
        fs::write(self.folder.path().join("userlist.txt"), users)?;
        let mut document = format!(
            "listen_addr = \"127.0.0.1\"\nlisten_port = {}\nhttp_addr = \"127.0.0.1\"\nhttp_port = {}\nauth_file = \"userlist.txt\"\n",
            self.port, self.http_port
        );
        for (key, value) in &options.settings {
            writeln!(document, "{key} = {value}")?;
        }
        write!(
            document,
            "\n[target]\nhost = \"{}\"\nport = {}\n{}\n{}",
            options.target_host.as_deref().unwrap_or("127.0.0.1"),
            options.target_port,
            options.target_keys,
            options.tables
        )?;
        fs::write(self.config_path(), document).context("cannot write the document")
    }

    /// The clients' port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of `/metrics`, `/healthz` and `/readyz`.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// How a user logs in through the pooler.
    pub fn login(&self, user: &str, password: &str, database: &str) -> Login {
        Login::new(self.port, user, password, database)
    }

    /// How PostgreSQL's superuser logs in through the pooler, to the database `postgres`.
    pub fn superuser(&self) -> Login {
        self.login(SUPERUSER, SUPERUSER, "postgres")
    }

    /// The path of the document.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("pgpooler.toml")
    }

    /// What the process has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Status code and body of a GET on the HTTP port.
    pub fn http_get(&self, path: &str) -> Result<(u16, String)> {
        http_get(self.http_port, path)
    }

    /// The process id, while the process has not been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|(child, _)| child.id())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.context("the pooler has ended")?, signal).context("cannot signal the pooler")
    }

    /// Waits for the process to end by itself; past `limit` it is killed, which is an error.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let Some((mut child, leash)) = self.running.take() else { bail!("the pooler has ended") };
        let start = Instant::now();
        let status = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if start.elapsed() > limit => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            child.kill()?;
            child.wait()?;
        }
        leash.release();
        status.with_context(|| format!("the pooler did not end within {limit:?}; its log:\n{}", self.log()))
    }

    /// How the process has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some((child, _)) = self.running.as_mut() else { bail!("the pooler was waited for") };
        let status = child.try_wait()?;
        if status.is_some()
            && let Some((_, leash)) = self.running.take()
        {
            leash.release();
        }
        Ok(status)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let (port, log) = (self.http_port, self.log_path());
        let Some((child, _)) = self.running.as_mut() else { bail!("the pooler was not started") };
        wait_until(
            "the pooler's readiness",
            Duration::from_secs(20),
            || http_get(port, "/readyz").is_ok_and(|(status, _)| status == 200),
            || match child.try_wait()? {
                Some(status) => {
                    bail!("the pooler ended ({status}):\n{}", fs::read_to_string(&log).unwrap_or_default())
                }
                None => Ok(()),
            },
        )
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if self.running.is_some() {
            // a pooler that has died already has failed its test elsewhere
            let _ = self.signal(Signal::TERM);
            let _ = self.wait(Duration::from_secs(5));
        }
    }
}

fn http_get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status code")?;
    Ok((status, body.to_owned()))
}
