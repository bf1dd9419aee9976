//! `cargo xtask scale`: what many `PgPoolers` cost the operator and the API server.
//!
//! A control plane without nodes, so that nothing but the operator's own work is seen, PostgreSQL servers with an address
//! for each target (each for as many targets as a server has: whoever looks at its sessions sees those of the others too), and the operator as a process. CPU and memory are the process's own, from `/proc`; requests are those
//! that it counts itself (`pgpooler_operator_kube_requests_total`).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    cluster::Cluster,
    command,
    image::{self, Profile},
    site::Site,
    ui,
};

/// A cluster of its own.
const CLUSTER: &str = "scale";
const NAMESPACE: &str = "scale";
const METRICS: u16 = 18_080;
/// Of the first server; the others follow.
const POSTGRES: u16 = 15_432;
/// Targets of one server.
const TARGETS: u32 = 50;
/// Debian's.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// How long a step may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// Nothing is asked of the API server for so long: a step has ended.
const QUIET: Duration = Duration::from_secs(8);

/// Arguments of `cargo xtask scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// `PgPoolers`.
    #[arg(long, default_value_t = 1000)]
    count: u32,
    /// Seconds of rest.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// A folder with a ready-made operator, instead of compiling it.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Leave the cluster up at the end.
    #[arg(long)]
    keep: bool,
}

/// Runs all steps and prints the table.
pub(crate) fn run(arguments: &ScaleArgs) -> Result<()> {
    let built = image::obtain(Profile::Demo, arguments.programs.as_deref())?;
    let program = built.programs.get("pgpooler-operator").context("no operator was built")?;
    let site = Site::up(CLUSTER, 0)?;
    let result = measure(&site, program, arguments);
    if !arguments.keep {
        site.cluster().down()?;
    }
    println!("\n{}", result?);
    Ok(())
}

fn measure(site: &Site, program: &Path, arguments: &ScaleArgs) -> Result<String> {
    let cluster = site.cluster();
    let servers = arguments.count.div_ceil(TARGETS);
    ui::say(&format!("starting {servers} PostgreSQL servers"));
    let _postgres: Vec<_> =
        (0..servers).map(|number| Server::start(cluster, number)).collect::<Result<_>>()?;
    prepare(site, arguments.count)?;
    let mut rows = vec![row(["step", "seconds", "CPU s", "reads", "writes", "looks", "memory MiB"])];
    let mut operator = Operator::start(cluster, program)?;
    let before = operator.figures(cluster)?;
    ui::say(&format!("creating {} PgPoolers", arguments.count));
    let began = Instant::now();
    apply(site, &manifests(arguments.count, 10_000))?;
    until_objects(site, arguments.count)?;
    let created = operator.settle(cluster)?;
    rows.push(created.since(&before, began).row("all objects exist"));

    ui::say(&format!("at rest for {} s", arguments.rest));
    let (before, began) = (operator.figures(cluster)?, Instant::now());
    sleep(Duration::from_secs(arguments.rest));
    rows.push(operator.figures(cluster)?.since(&before, began).row("at rest"));

    ui::say("one field of each is changed");
    let (before, began) = (operator.figures(cluster)?, Instant::now());
    apply(site, &manifests(arguments.count, 9_000))?;
    let changed = operator.settle(cluster)?;
    rows.push(changed.since(&before, began).row("one field of each changed"));

    ui::say("the operator is started anew");
    operator.stop()?;
    let began = Instant::now();
    let mut operator = Operator::start(cluster, program)?;
    let anew = operator.settle(cluster)?;
    rows.push(anew.since(&Figures::default(), began).row("started anew"));
    operator.stop()?;
    Ok(ui::table(&rows))
}

/// What the process has used so far.
#[derive(Debug, Clone, Default)]
struct Figures {
    cpu: f64,
    memory: f64,
    requests: BTreeMap<String, u64>,
    reconciliations: u64,
    took: f64,
}

impl Figures {
    fn reads(&self) -> u64 {
        self.requests.get("GET").copied().unwrap_or(0)
    }

    fn writes(&self) -> u64 {
        self.requests.iter().filter(|(method, _)| *method != "GET").map(|(_, count)| count).sum()
    }

    fn since(&self, before: &Self, began: Instant) -> Self {
        let less = |(method, count): (&String, &u64)| {
            (method.clone(), count - before.requests.get(method).copied().unwrap_or(0))
        };
        Self {
            cpu: self.cpu - before.cpu,
            memory: self.memory,
            requests: self.requests.iter().map(less).collect(),
            reconciliations: self.reconciliations - before.reconciliations,
            took: began.elapsed().as_secs_f64(),
        }
    }

    fn row(&self, step: &str) -> Vec<String> {
        let (cpu, memory) = (format!("{:.2}", self.cpu), format!("{:.0}", self.memory));
        let took = format!("{:.0}", self.took);
        let counts = [self.reads(), self.writes(), self.reconciliations].map(|count| count.to_string());
        row([step, &took, &cpu, &counts[0], &counts[1], &counts[2], &memory])
    }
}

fn row(cells: [&str; 7]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// The operator, as a process in the cluster's network.
struct Operator(Child);

impl Operator {
    fn start(cluster: &Cluster, program: &Path) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig_path();
        let context = kubectl(cluster, &["config", "current-context"])?;
        let log = fs::File::create(std::env::temp_dir().join("pgpooler-scale-operator.log"))?;
        let mut command = cluster.netns_command(program)?;
        command
            .env("KUBECONFIG", kubeconfig)
            .args(["run", "--namespace=default", "--context", context.trim()])
            .arg(format!("--http-address=127.0.0.1:{METRICS}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut operator = Self(command.spawn().context("cannot run the operator")?);
        let end = Instant::now() + Duration::from_secs(30);
        while operator.figures(cluster).is_err() {
            ensure!(Instant::now() < end, "the operator does not answer");
            ensure!(operator.0.try_wait()?.is_none(), "the operator has ended");
            sleep(Duration::from_millis(100));
        }
        Ok(operator)
    }

    fn figures(&self, cluster: &Cluster) -> Result<Figures> {
        let url = format!("http://127.0.0.1:{METRICS}/metrics");
        let mut curl = cluster.netns_command("curl")?;
        let text = command::output(curl.args(["--silent", "--fail", "--max-time", "5", &url]))?;
        let requests = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("pgpooler_operator_kube_requests_total{method=\"")?;
            let (method, count) = rest.split_once("\"} ")?;
            Some((method.to_owned(), count.trim().parse().ok()?))
        });
        let pid = self.0.id();
        let looks = "pgpooler_operator_reconciliations_total ";
        let reconciliations = text.lines().find_map(|line| line.strip_prefix(looks)?.trim().parse().ok());
        Ok(Figures {
            reconciliations: reconciliations.unwrap_or(0),
            requests: requests.collect(),
            took: 0.0,
            ..process(pid)?
        })
    }

    /// Waits until it asks nothing of the API server any more; figures of that moment.
    fn settle(&mut self, cluster: &Cluster) -> Result<Figures> {
        let end = Instant::now() + PATIENCE;
        let mut last = self.figures(cluster)?;
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            ensure!(Instant::now() < end, "it does not come to rest");
            ensure!(self.0.try_wait()?.is_none(), "the operator has ended");
            sleep(Duration::from_millis(500));
            let now = self.figures(cluster)?;
            // the Lease is renewed every few seconds
            if now.reads() > last.reads() + 2 || now.writes() > last.writes() + 4 {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }

    fn stop(&mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds and resident MiB.
fn process(pid: u32) -> Result<Figures> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a short stat")?.parse()?) };
    // clock ticks of a hundredth of a second; pages of 4 KiB
    let cpu = (number(11)? + number(12)?) / 100.0;
    Ok(Figures { cpu, memory: number(21)? * 4096.0 / 1_048_576.0, ..Figures::default() })
}

/// PostgreSQL in the cluster's network, at every address of the loopback.
struct Server {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(cluster: &Cluster, number: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        command::output(Command::new("chown").arg("-R").arg("postgres").arg(folder.path()))?;
        let as_postgres = |cluster: &Cluster| -> Result<Command> {
            // unlike `runuser` it becomes the program, so that signals reach it
            let mut setpriv = cluster.netns_command("setpriv")?;
            setpriv.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).current_dir("/");
            Ok(setpriv)
        };
        let initdb = format!("{PROGRAMS}/initdb");
        let options = ["--auth=trust", "--no-sync", "--username=postgres", "--no-instructions"];
        command::output(as_postgres(cluster)?.arg(initdb).args(options).arg("--pgdata").arg(&data))?;
        let connections = format!("max_connections={}", TARGETS + 50);
        let port = format!("port={}", port(number));
        let mut settings = as_postgres(cluster)?;
        settings.arg(format!("{PROGRAMS}/postgres")).arg("-D").arg(&data);
        for setting in [
            connections.as_str(),
            &port,
            "listen_addresses=*",
            "unix_socket_directories=",
            "shared_buffers=16MB",
            "fsync=off",
        ] {
            settings.args(["-c", setting]);
        }
        let process = settings.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { process, _folder: folder };
        Self::wait(cluster, number)?;
        Ok(server)
    }

    /// Nobody may see which database cluster it is: each address is taken for a server of its own.
    fn wait(cluster: &Cluster, number: u32) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        // rights on functions are those of one database, and a new one is a copy of this
        let statement = "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; \
                         CREATE ROLE app LOGIN; CREATE DATABASE app OWNER app TEMPLATE template1";
        loop {
            let mut psql = cluster.netns_command("psql")?;
            psql.args([
                "-h",
                "127.0.0.1",
                "-p",
                &port(number).to_string(),
                "-U",
                "postgres",
                "-q",
                "template1",
            ]);
            for one in statement.split("; ") {
                psql.args(["-c", one]);
            }
            match command::output(&mut psql) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => return Err(error.context("PostgreSQL does not start")),
                Err(_) => sleep(Duration::from_millis(200)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ = self.process.wait();
    }
}

fn port(server: u32) -> u16 {
    POSTGRES + server as u16
}

fn prepare(site: &Site, count: u32) -> Result<()> {
    let crd = crate::workspace::root().join("crds/pgpooler.dev_pgpoolers.yaml");
    let crd = crd.to_str().context("a path that is no text")?;
    kubectl(site.cluster(), &["apply", "--server-side", "--filename", crd])?;
    let end = Instant::now() + Duration::from_secs(30);
    // until it has a status there is nothing to wait for
    while let Err(error) =
        kubectl(site.cluster(), &["wait", "--for=condition=Established", "crd/pgpoolers.pgpooler.dev"])
    {
        ensure!(Instant::now() < end, "{error:#}");
        sleep(Duration::from_millis(200));
    }
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    for number in 0..count {
        write!(
            text,
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: db-{number}, namespace: {NAMESPACE}}}\n\
             stringData: {{username: app, password: none, dbname: app}}\n"
        )?;
    }
    apply(site, &text)
}

fn manifests(count: u32, clients: u32) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let address = format!("127.1.{}.{}", number / 250, number % 250 + 1);
        let _ = write!(
            text,
            "---\napiVersion: pgpooler.dev/v1alpha1\nkind: PgPooler\n\
             metadata: {{name: pooler-{number}, namespace: {NAMESPACE}}}\n\
             spec:\n  target: {{secretRef: {{name: db-{number}}}, host: {address}, port: {}}}\n  \
             clients: {{max: {clients}}}\n",
            port(number / TARGETS)
        );
        text
    })
}

fn apply(site: &Site, manifests: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("objects.yaml");
    fs::write(&file, manifests)?;
    let file = file.to_str().context("a path that is no text")?;
    kubectl(site.cluster(), &["apply", "--server-side", "--filename", file]).map(drop)
}

fn until_objects(site: &Site, count: u32) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let namespace = format!("--namespace={NAMESPACE}");
    loop {
        let listed = kubectl(site.cluster(), &["get", "deployments", &namespace, "--output=name"])?;
        if listed.lines().count() >= count as usize {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{} of {count} Deployments exist", listed.lines().count());
        }
        sleep(Duration::from_secs(1));
    }
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    command::output(cluster.kubectl(["--request-timeout=60s"])?.args(arguments))
}
