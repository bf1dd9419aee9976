//! A cluster with what the demo and the cluster tests need in it: images, PostgreSQL, the operator, pools.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    command,
    fleet::{Load, Report, Samples},
    image::{self, Image, Profile},
    postgres, ui, workspace,
};

/// Where PostgreSQL and the pools live.
pub(crate) const NAMESPACE: &str = "demo";
/// Where the operator lives.
pub(crate) const OPERATOR_NAMESPACE: &str = "pgpooler-system";
const POSTGRES: &str = include_str!("../../tests/demo/postgres.yaml");
const PORT: u16 = 5432;
/// As in the Secrets of tests/demo/postgres.yaml.
const APP: Account = Account { user: "app", password: "only-for-the-demo", database: "app" };
const SUPERUSER: Account =
    Account { user: "postgres", password: "only-for-the-demo-too", database: "postgres" };
/// Sessions that the pools hold: the operator's own is counted outside the budget.
const POOLED: &str = "usename = 'app' AND application_name NOT LIKE 'pgpooler-operator%'";

/// A cluster that runs.
#[derive(Debug)]
pub(crate) struct Site {
    cluster: Cluster,
}

/// A PostgreSQL server to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// Its Deployment and Service; Secrets `NAME-app` and `NAME-superuser`.
    pub(crate) name: &'static str,
    /// `max_connections`, unless its pod has a file of that name beside the data.
    pub(crate) max_connections: u32,
    /// More for the server's command line.
    pub(crate) options: &'static str,
}

/// A fleet that goes on until it is stopped.
#[derive(Debug)]
pub(crate) struct Running {
    process: Child,
}

impl Running {
    /// Stops and gives what was seen.
    pub(crate) fn stop(mut self) -> Result<Report> {
        drop(self.process.stdin.take());
        let output = self.process.wait_with_output()?;
        ensure!(output.status.success(), "the fleet failed ({})", output.status);
        serde_json::from_slice(&output.stdout).context("the fleet's report")
    }
}

/// Looks at `pg_stat_activity` until it is stopped.
#[derive(Debug)]
pub(crate) struct Sampler {
    process: Child,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    user: &'static str,
    password: &'static str,
    database: &'static str,
}

impl Site {
    /// Brings the cluster of this name up.
    pub(crate) fn up(name: &str, nodes: u8) -> Result<Self> {
        let cluster = Cluster::open(name)?;
        cluster.up(nodes, false)?;
        Ok(Self { cluster })
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Compiles pgpooler unless it is ready-made, packs it, and loads the image.
    pub(crate) fn load_pgpooler(&self, profile: Profile, ready_made: Option<&Path>) -> Result<Image> {
        let built = image::obtain(profile, ready_made)?;
        let image = image::write_tagged_by_content(&built, &archives()?)?;
        self.cluster.load_image(&image.archive)?;
        Ok(image)
    }

    /// Packs PostgreSQL and loads the image.
    pub(crate) fn load_postgres(&self) -> Result<Image> {
        let image = postgres::image(&archives()?)?;
        self.cluster.load_image(&image.archive)?;
        Ok(image)
    }

    /// Installs or upgrades the operator by its chart.
    pub(crate) fn install_operator(&self, image: &Image) -> Result<()> {
        let chart = workspace::root().join("charts/pgpooler-operator");
        let mut helm = self.cluster.helm(["upgrade", "--install", "pgpooler"])?;
        helm.arg(chart)
            .args(["--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", "--timeout=120s"])
            .arg(format!("--set=image.repository={},image.tag={}", image.name, image.tag));
        command::output(&mut helm).map(drop).map_err(|error| self.explained(&error, OPERATOR_NAMESPACE))
    }

    /// So many operators, of which one leads.
    pub(crate) fn set_operators(&self, image: &Image, count: u64) -> Result<()> {
        let chart = workspace::root().join("charts/pgpooler-operator");
        let mut helm = self.cluster.helm(["upgrade", "pgpooler"])?;
        helm.arg(chart)
            .args(["--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout=120s"])
            .arg(format!("--set=replicas={count},image.repository={},image.tag={}", image.name, image.tag));
        command::output(&mut helm).map(drop)
    }

    /// Creates the namespace and a PostgreSQL server in it, and waits until it accepts connections.
    pub(crate) fn run_postgres(&self, server: Server, image: &Image) -> Result<()> {
        self.namespace(NAMESPACE)?;
        let manifest = POSTGRES
            .replace("$NAME", server.name)
            .replace("$IMAGE", &format!("{}:{}", image.name, image.tag))
            .replace("$MAX_CONNECTIONS", &server.max_connections.to_string())
            .replace("$OPTIONS", server.options);
        self.apply(&manifest)?;
        let deployment = format!("deployment/{}", server.name);
        self.kubectl(&["rollout", "status", &deployment, "--timeout=120s"])
            .map(drop)
            .map_err(|error| self.explained(&error, NAMESPACE))
    }

    /// Creates a namespace unless it is there.
    pub(crate) fn namespace(&self, name: &str) -> Result<()> {
        let namespace = format!(
            "{{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {{\"name\": \"{name}\"}}}}"
        );
        self.apply_where_it_says(&namespace)
    }

    /// Applies a manifest that names its namespaces.
    pub(crate) fn apply_where_it_says(&self, manifest: &str) -> Result<()> {
        self.kubectl_with_input(&["apply", "--filename=-"], manifest)
    }

    /// Applies a manifest in [`NAMESPACE`].
    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        self.kubectl_with_input(&["apply", "--namespace", NAMESPACE, "--filename=-"], manifest)
    }

    /// Asks the API server what it thinks of a manifest, and changes nothing.
    pub(crate) fn dry_run(&self, manifest: &str) -> Result<()> {
        self.kubectl_with_input(
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "--filename=-",
            ],
            manifest,
        )
    }

    /// Runs kubectl in [`NAMESPACE`] for its output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = self.cluster.kubectl(["--namespace", NAMESPACE])?;
        command::output(kubectl.args(arguments))
    }

    /// An object of [`NAMESPACE`].
    pub(crate) fn object(&self, name: &str) -> Result<Value> {
        serde_json::from_str(&self.kubectl(&["get", name, "--output=json"])?).context("kubectl's JSON")
    }

    /// Several of them.
    pub(crate) fn objects(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", kind, selector, "--output=json"])?)?;
        list.get("items").and_then(Value::as_array).cloned().context("kubectl gave no list")
    }

    /// Waits until a `PgPooler` is Ready and its Service leads to its pods; says what is in its way if it does not
    /// come to that. From then on a refused connection is an error.
    pub(crate) fn wait_for_pgpooler(&self, name: &str) -> Result<()> {
        self.kubectl(&["wait", &format!("pgpooler/{name}"), "--for=condition=Ready", "--timeout=120s"])
            .and_then(|_| self.wait_for_service(name))
            .map_err(|error| self.explained(&error, NAMESPACE))
    }

    /// kube-proxy learns up to a second after a pod is Ready that it is; until then it refuses connections, or still
    /// leads some to a pod that is gone.
    fn wait_for_service(&self, name: &str) -> Result<()> {
        let report = self.fleet(self.address(name)?, &Load::Reach)?;
        ensure!(report.failures() == 0, "Service {name} does not lead to its pods: {:?}", report.errors);
        Ok(())
    }

    /// The address of a Service.
    pub(crate) fn address(&self, service: &str) -> Result<SocketAddr> {
        let address = self.kubectl(&["get", "service", service, "--output=jsonpath={.spec.clusterIP}"])?;
        let address: Ipv4Addr =
            address.parse().with_context(|| format!("the address of Service {service}"))?;
        Ok((address, PORT).into())
    }

    /// Runs a fleet of the application's clients.
    pub(crate) fn fleet(&self, address: SocketAddr, load: &Load) -> Result<Report> {
        let output =
            self.fleet_command(address, APP, load)?.stderr(Stdio::inherit()).output().context("fleet")?;
        ensure!(output.status.success(), "the fleet failed ({})", output.status);
        serde_json::from_slice(&output.stdout).context("the fleet's report")
    }

    /// Starts a fleet that is ended by [`Running::stop`].
    pub(crate) fn start_fleet(&self, address: SocketAddr, load: &Load) -> Result<Running> {
        let mut command = self.fleet_command(address, APP, load)?;
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("fleet")?;
        Ok(Running { process })
    }

    /// Starts to count the pools' sessions on a PostgreSQL server.
    pub(crate) fn sample(&self, address: SocketAddr) -> Result<Sampler> {
        let load = Load::Sample { condition: POOLED.to_owned(), interval: 50 };
        let mut command = self.fleet_command(address, SUPERUSER, &load)?;
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("sampler")?;
        Ok(Sampler { process })
    }

    fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<()> {
        let mut kubectl = self.cluster.kubectl(arguments)?;
        let mut child =
            kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot run kubectl")?;
        child.stdin.take().context("kubectl's input")?.write_all(input.as_bytes())?;
        ensure!(child.wait()?.success(), "kubectl {} failed", arguments.join(" "));
        Ok(())
    }

    fn fleet_command(&self, address: SocketAddr, account: Account, load: &Load) -> Result<Command> {
        // not by its path: a build that goes on meanwhile may replace the file
        let this_program = format!("/proc/{}/exe", std::process::id());
        let mut command = self.cluster.netns_command(this_program)?;
        command.args(["fleet", "--user", account.user, "--database", account.database]);
        command
            .arg(format!("--address={address}"))
            .args(load.to_arguments())
            .env("PGPASSWORD", account.password);
        Ok(command)
    }

    fn explained(&self, error: &anyhow::Error, namespace: &str) -> anyhow::Error {
        anyhow!("{error:#}\n{}", self.why_not(namespace))
    }

    /// What a person would look at next.
    pub(crate) fn why_not(&self, namespace: &str) -> String {
        let look = |arguments: &[&str]| {
            let kubectl = self.cluster.kubectl(["--namespace", namespace]);
            kubectl
                .and_then(|mut kubectl| command::output(kubectl.args(arguments)))
                .unwrap_or_else(|error| format!("{error:#}\n"))
        };
        let objects = look(&["get", "pods,pgpoolers", "--output=wide", "--ignore-not-found"]);
        let conditions = look(&[
            "get",
            "pgpoolers",
            "--output=jsonpath={range .items[*]}{.status.conditions}{end}",
            "--ignore-not-found",
        ]);
        let events = look(&["get", "events", "--sort-by=.lastTimestamp"]);
        let logs =
            look(&["logs", "--selector=app.kubernetes.io/name", "--all-containers", "--prefix", "--tail=15"]);
        format!("in namespace {namespace}:\n{objects}\n{conditions}\n{events}\n{logs}")
    }
}

impl Sampler {
    /// Stops and gives what was seen.
    pub(crate) fn stop(mut self) -> Result<Samples> {
        drop(self.process.stdin.take());
        let output = self.process.wait_with_output()?;
        ensure!(output.status.success(), "the sampler failed ({})", output.status);
        serde_json::from_slice(&output.stdout).context("the sampler's report")
    }
}

/// Where image archives are kept between runs, older ones removed: they are large.
fn archives() -> Result<PathBuf> {
    let folder = workspace::root().join("dist/images");
    fs::create_dir_all(&folder)?;
    let mut found: Vec<_> = fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
    found.sort_by_key(|path| fs::metadata(path).and_then(|found| found.modified()).ok());
    for old in found.iter().rev().skip(6) {
        ui::say(&format!("removing {}", old.display()));
        fs::remove_file(old)?;
    }
    Ok(folder)
}
