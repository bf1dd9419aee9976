//! Everything around a `PgPooler`'s pods, and what changes without a new pod: on a real cluster, step by step, each test
//! starting where the one before ended.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    command,
    fleet::Load,
    image::Image,
    site::{NAMESPACE, Server, Site},
    ui, workspace,
};

use super::{Count, newcomers};

const SERVER: Server = Server { name: "whole-db", max_connections: 100, options: "" };
const WHOLE: &str = include_str!("../../../tests/demo/whole.yaml");
/// As in that file and in tests/demo/postgres.yaml.
const REPORTING: (&str, &str) = ("reporting", "first-password");
const APP: (&str, &str) = ("app", "only-for-the-demo");

/// How long a condition may take to appear.
const PATIENCE: Duration = Duration::from_mins(1);

type Test = fn(&Site) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("everything around the pods is there", has_its_surroundings),
    ("an application connects by the connection Secret", connects_by_its_secret),
    ("a further user logs in, and may look at the console", serves_further_users),
    ("settings change without a new pod and without a client lost", changes_live),
    ("a new password counts without a new pod", takes_up_a_password),
    ("a new certificate is shown without a new pod", takes_up_a_certificate),
    ("a faulty certificate becomes a condition, the old one goes on", keeps_the_old_certificate),
    ("paused clients wait and go on", pauses),
    ("the role's limit is set as the fence asks, and put back", fences),
    ("a pod template that makes no pod becomes a condition", refuses_a_bad_template),
    ("a server that goes away for a while costs nobody an error", holds_clients),
    ("kinds of other operators are used when they come", newcomers::are_used),
    ("kinds of other operators may go", newcomers::may_go),
    ("what is wanted no more is removed", removes_what_is_not_wanted),
    ("deleting the PgPooler removes what it made", leaves_nothing),
];

/// Runs all, in order.
pub(crate) fn run(site: &Site, postgres: &Image) -> Result<Count> {
    site.run_postgres(SERVER, postgres)?;
    // kube-proxy learns a moment later than the API server that a pod is ready
    until("PostgreSQL is reached", || sql(site, "SELECT 1").map(drop))?;
    sql(site, "CREATE ROLE reporting LOGIN PASSWORD 'first-password'")?;
    certificate(site, "whole-tls", "one")?;
    site.apply(WHOLE)?;
    let mut count = Count::default();
    for (name, test) in TESTS {
        match test(site) {
            Ok(()) => {
                ui::say(&format!("{name} ... {}", ui::good("ok")));
                count.passed += 1;
            }
            Err(error) => {
                ui::say(&format!("{name} ... {}\n{error:#}", ui::bad("FAILED")));
                count.failed += 1;
            }
        }
    }
    Ok(count)
}

fn has_its_surroundings(site: &Site) -> Result<()> {
    site.wait_for_pgpooler("whole")?;
    let policy = site.object("networkpolicy/whole")?;
    let from = policy.pointer("/spec/ingress/0/from").and_then(Value::as_array).context("no ingress")?;
    ensure!(from.len() == 3, "itself, the operator and the namespace: {from:?}");
    let deployment = site.object("deployment/whole")?;
    let pod = deployment.pointer("/spec/template").context("no template")?;
    ensure!(pod.pointer("/metadata/labels/example.com~1tier").is_some(), "the label of podTemplate is lost");
    let env = pod.pointer("/spec/containers/0/env").and_then(Value::as_array).context("no environment")?;
    let has = |name: &str| env.iter().any(|one| one["name"] == name);
    ensure!(has("TZ") && has("PGPOOLER_POD_NAME"), "the environment was not merged: {env:?}");
    let spread = pod.pointer("/spec/topologySpreadConstraints/0/topologyKey");
    ensure!(spread.and_then(Value::as_str) == Some("topology.kubernetes.io/zone"), "spread: {spread:?}");
    site.object("poddisruptionbudget/whole")?;
    let endpoint = site.object("pgpooler/whole")?;
    let host = endpoint.pointer("/status/endpoint/host").and_then(Value::as_str);
    ensure!(host == Some("whole.demo.svc"), "{host:?}");
    Ok(())
}

fn connects_by_its_secret(site: &Site) -> Result<()> {
    let secret = site.object("secret/whole-pooler")?;
    let part = |key: &str| -> Result<String> {
        let text = secret.pointer(&format!("/data/{key}")).and_then(Value::as_str);
        decoded(text.with_context(|| format!("no {key}"))?)
    };
    ensure!(part("host")? == "whole.demo.svc" && part("port")? == "5432", "host or port");
    ensure!(part("jdbc-uri")?.starts_with("jdbc:postgresql://whole.demo.svc:5432/app?user=app&"), "jdbc-uri");
    ensure!(!part("ca.crt")?.is_empty(), "the authority of the certificate is missing");
    // names are known inside of pods only
    let uri = part("uri")?.replace("whole.demo.svc:5432", &site.address("whole")?.to_string());
    let answer = psql(site, &uri, "SELECT current_user")?;
    ensure!(answer.trim() == "app", "{answer}");
    let uri = uri.replace("sslmode=prefer", "sslmode=require");
    ensure!(psql(site, &uri, "SELECT 1")?.trim() == "1", "no TLS");
    Ok(())
}

fn serves_further_users(site: &Site) -> Result<()> {
    let address = site.address("whole")?;
    ensure!(
        ask(site, address, REPORTING, "app", "SELECT current_user")?.trim() == "reporting",
        "another user"
    );
    let pools = ask(site, address, REPORTING, "pgpooler", "SHOW POOLS")?;
    // each pod has pools of its own, and its console is one
    ensure!(pools.contains("pgbouncer"), "SHOW POOLS: {pools}");
    let Err(refusal) = ask(site, address, REPORTING, "pgpooler", "RELOAD") else {
        bail!("RELOAD was allowed")
    };
    ensure!(
        format!("{refusal:#}").contains("denied") || format!("{refusal:#}").contains("admin"),
        "{refusal:#}"
    );
    Ok(())
}

fn changes_live(site: &Site) -> Result<()> {
    let before = pods(site)?;
    let load = Load::Persist { from: 50, to: 50, grow: 1, seconds: 60, pause: 20 };
    let fleet = site.start_fleet(site.address("whole")?, &load)?;
    sleep(Duration::from_secs(3));
    let took = apply_live(
        site,
        r#"{"spec":{"queueTimeout":"7s","clients":{"max":5000},"servers":{"idleTimeout":"3m"},
        "pools":[{"name":"reports","users":["reporting"],"maxConnections":4}]}}"#,
    )?;
    ui::say(&format!("all pods had acknowledged it after {:.1} s", took.as_secs_f64()));
    let report = fleet.stop()?;
    ensure!(pods(site)? == before, "pods were replaced");
    ensure!(report.failures() == 0 && report.transactions.count > 500, "{:?}", report.errors);
    let config = ask(site, site.address("whole")?, REPORTING, "pgpooler", "SHOW CONFIG")?;
    ensure!(config.contains("query_wait_timeout|7"), "{config}");
    Ok(())
}

fn takes_up_a_password(site: &Site) -> Result<()> {
    let before = pods(site)?;
    sql(site, "ALTER ROLE reporting PASSWORD 'second-password'")?;
    let patch = r#"{"stringData":{"password":"second-password"}}"#;
    site.kubectl(&["patch", "secret/reporting", "--type=merge", "--patch", patch])?;
    let address = site.address("whole")?;
    // every pod, through the Service
    until("the new password is good", || {
        let logins = (0..6).map(|_| ask(site, address, ("reporting", "second-password"), "app", "SELECT 1"));
        logins.collect::<Result<Vec<_>>>().map(drop)
    })?;
    let Err(_) = ask(site, address, REPORTING, "app", "SELECT 1") else {
        bail!("the old password is still good")
    };
    ensure!(pods(site)? == before, "pods were replaced");
    Ok(())
}

fn takes_up_a_certificate(site: &Site) -> Result<()> {
    let before = pods(site)?;
    ensure!(shown(site)?.contains("one"), "not the first certificate");
    certificate(site, "whole-tls", "two")?;
    until("the new certificate is shown by all pods", || {
        for _ in 0..6 {
            let shown = shown(site)?;
            ensure!(shown.contains("two"), "{shown}");
        }
        Ok(())
    })?;
    ensure!(pods(site)? == before, "pods were replaced");
    Ok(())
}

fn keeps_the_old_certificate(site: &Site) -> Result<()> {
    let before = pods(site)?;
    let good = site.object("secret/whole-tls")?;
    let patch = r#"{"stringData":{"tls.key":"nonsense"}}"#;
    site.kubectl(&["patch", "secret/whole-tls", "--type=merge", "--patch", patch])?;
    wait_for_reason(site, "CertificateInvalid", "False")?;
    ensure!(shown(site)?.contains("two") && pods(site)? == before, "the pods were touched");
    let key = good.pointer("/data/tls.key").and_then(Value::as_str).context("no key")?;
    let patch = format!(r#"{{"data":{{"tls.key":"{key}"}}}}"#);
    site.kubectl(&["patch", "secret/whole-tls", "--type=merge", "--patch", &patch])?;
    site.wait_for_pgpooler("whole")
}

fn pauses(site: &Site) -> Result<()> {
    let before = pods(site)?;
    patch(site, r#"{"spec":{"paused":true}}"#)?;
    wait_for_reason(site, "Paused", "True")?;
    let sessions =
        || sql(site, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'");
    ensure!(sessions()?.trim() == "0", "something of PostgreSQL is in use");
    let address = site.address("whole")?;
    let mut waiting = start(site, address, APP, "app", "SELECT 'served'")?;
    sleep(Duration::from_secs(2));
    ensure!(waiting.try_wait()?.is_none(), "a client was served, or lost, while paused");
    patch(site, r#"{"spec":{"paused":false}}"#)?;
    let output = waiting.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && text.trim() == "served", "{text}");
    ensure!(pods(site)? == before, "pods were replaced");
    site.wait_for_pgpooler("whole")
}

fn fences(site: &Site) -> Result<()> {
    let limit = || sql(site, "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'");
    ensure!(limit()?.trim() == "-1", "there is a limit already");
    // who may set it is another role than the one that it is set for
    patch(
        site,
        r#"{"spec":{"budget":{"fence":"Manage"},"target":{"monitorSecretRef":{"name":"whole-db-superuser"}}}}"#,
    )?;
    wait_for_reason(site, "FenceMatches", "True")?;
    let budget = site.object("pgpooler/whole")?;
    let budget = budget.pointer("/status/budget/budget").and_then(Value::as_i64).context("no budget")?;
    let set: i64 = limit()?.trim().parse()?;
    ensure!(set >= budget && set <= budget + 3, "{set} for a budget of {budget}");
    patch(site, r#"{"spec":{"budget":{"fence":null}}}"#)?;
    until("it is put back", || {
        let limit = limit()?;
        ensure!(limit.trim() == "-1", "{limit}");
        Ok(())
    })?;
    patch(site, r#"{"spec":{"target":{"monitorSecretRef":null}}}"#)?;
    site.wait_for_pgpooler("whole")
}

fn refuses_a_bad_template(site: &Site) -> Result<()> {
    let before = pods(site)?;
    patch(site, r#"{"spec":{"podTemplate":{"afinity":{"nodeAffinity":{}}}}}"#)?;
    wait_for_reason(site, "SpecInvalid", "False")?;
    // a pod's spec by its form, which only the API server knows to be none
    patch(site, r#"{"spec":{"podTemplate":{"afinity":null,"dnsPolicy":"Nowhere"},"queueTimeout":"9s"}}"#)?;
    wait_for_reason(site, "Rejected", "False")?;
    let config = site.object("configmap/whole-config")?;
    ensure!(
        !config.to_string().contains("query_wait_timeout = 9"),
        "half of a refused change was put in place"
    );
    patch(site, r#"{"spec":{"podTemplate":{"dnsPolicy":null},"queueTimeout":"7s"}}"#)?;
    site.wait_for_pgpooler("whole")?;
    ensure!(pods(site)? == before, "pods were replaced");
    Ok(())
}

fn holds_clients(site: &Site) -> Result<()> {
    let address = site.address("whole")?;
    // who waits for longer than that is told so, hold or not
    apply_live(site, r#"{"spec":{"queueTimeout":"2m"}}"#)?;
    let load = Load::Ramp { from: 40, to: 40, seconds: 40, pause: 100 };
    let report = std::thread::scope(|scope| {
        let fleet = scope.spawn(|| site.fleet(address, &load));
        sleep(Duration::from_secs(4));
        // as a failover: nobody is in a transaction for long, then nobody answers, then another server does
        let moved = patch(site, r#"{"spec":{"paused":true}}"#)
            .and_then(|()| wait_for_reason(site, "Paused", "True"))
            .and_then(|()| site.kubectl(&["scale", "deployment/whole-db", "--replicas=0"]).map(drop))
            .and_then(|()| patch(site, r#"{"spec":{"paused":false}}"#))
            .and_then(|()| {
                sleep(Duration::from_secs(5));
                site.kubectl(&["scale", "deployment/whole-db", "--replicas=1"]).map(drop)
            });
        let report = fleet.join().map_err(|_| anyhow::anyhow!("the fleet panicked"))?;
        moved.and(report)
    })?;
    ensure!(report.failures() == 0, "{:?}", report.errors);
    ensure!(report.transactions.count > 1000, "{} transactions", report.transactions.count);
    sql(site, "CREATE ROLE reporting LOGIN PASSWORD 'second-password'")?;
    site.wait_for_pgpooler("whole")
}

fn removes_what_is_not_wanted(site: &Site) -> Result<()> {
    let nothing = r#"{"spec":{"connectionSecret":null,"networkPolicy":{"enabled":false},
        "availability":{"podDisruptionBudget":{"enabled":false}}}}"#;
    patch(site, nothing)?;
    until("they are gone", || {
        let kinds = ["secret/whole-pooler", "networkpolicy/whole", "poddisruptionbudget/whole"];
        let left =
            site.kubectl(&[&["get", "--ignore-not-found", "--output=name"][..], &kinds[..]].concat())?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
}

fn leaves_nothing(site: &Site) -> Result<()> {
    patch(site, r#"{"spec":{"connectionSecret":{"name":"whole-pooler"},"networkPolicy":{"enabled":true}}}"#)?;
    until("the Secret is back", || site.object("secret/whole-pooler").map(drop))?;
    site.kubectl(&["delete", "pgpooler/whole", "--timeout=60s"])?;
    let selector = "--selector=app.kubernetes.io/instance=whole";
    let kinds =
        "deployments,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,networkpolicies,pods";
    site.kubectl(&["wait", kinds, selector, "--for=delete", "--timeout=90s"])?;
    let left = site.kubectl(&["get", kinds, selector, "--output=name"])?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

/// Changes the spec, and waits until all pods have acknowledged the new configuration.
fn apply_live(site: &Site, change: &str) -> Result<Duration> {
    let began = Instant::now();
    patch(site, change)?;
    until("ConfigApplied of the new generation", || {
        let object = site.object("pgpooler/whole")?;
        let generation = object.pointer("/metadata/generation");
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let applied = conditions.into_iter().flatten().find(|one| one["type"] == "ConfigApplied");
        let applied = applied.context("no condition ConfigApplied")?;
        let current = Some(&applied["observedGeneration"]) == generation && applied["status"] == "True";
        ensure!(current, "{applied}");
        Ok(())
    })?;
    Ok(began.elapsed())
}

pub(super) fn patch(site: &Site, change: &str) -> Result<()> {
    site.kubectl(&["patch", "pgpooler/whole", "--type=merge", "--patch", change]).map(drop)
}

/// A self-signed certificate in the Secret, for a subject of this name.
pub(super) fn certificate(site: &Site, secret: &str, name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (key, certificate) = (folder.path().join("tls.key"), folder.path().join("tls.crt"));
    let subject = format!("/CN={name}");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ]);
    openssl.args(["-subj", &subject, "-addext", "subjectAltName=DNS:whole.demo.svc"]);
    command::output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
    let pem = |path: &std::path::Path| fs::read_to_string(path).map(|text| text.replace('\n', "\\n"));
    let (key, certificate) = (pem(&key)?, pem(&certificate)?);
    site.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{secret}"}},"type":"kubernetes.io/tls",
        "stringData":{{"tls.key":"{key}","tls.crt":"{certificate}","ca.crt":"{certificate}"}}}}"#
    ))
}

/// Subject of the certificate that a pod shows.
pub(super) fn shown(site: &Site) -> Result<String> {
    let address = site.address("whole")?.to_string();
    let script = format!(
        "openssl s_client -starttls postgres -connect {address} </dev/null 2>/dev/null | openssl x509 -noout -subject"
    );
    let mut shell = site.cluster().netns_command("/bin/sh")?;
    command::output(shell.args(["-c", &script]))
}

/// Runs SQL as superuser on the server itself.
fn sql(site: &Site, statement: &str) -> Result<String> {
    let address = site.address(SERVER.name)?;
    ask(site, address, ("postgres", "only-for-the-demo-too"), "app", statement)
}

fn ask(
    site: &Site,
    address: SocketAddr,
    account: (&str, &str),
    database: &str,
    statement: &str,
) -> Result<String> {
    let output = start(site, address, account, database, statement)?.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

fn start(
    site: &Site,
    address: SocketAddr,
    (user, password): (&str, &str),
    database: &str,
    statement: &str,
) -> Result<Child> {
    let mut psql = site.cluster().netns_command("psql")?;
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", statement])
        .env("PGHOST", address.ip().to_string())
        .env("PGPORT", address.port().to_string())
        .env("PGUSER", user)
        .env("PGPASSWORD", password)
        .env("PGDATABASE", database)
        .env("PGCONNECT_TIMEOUT", "20");
    psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run psql")
}

fn psql(site: &Site, uri: &str, statement: &str) -> Result<String> {
    let mut psql = site.cluster().netns_command("psql")?;
    command::output(psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", statement, uri]))
}

fn decoded(text: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("data");
    fs::write(&file, text)?;
    command::output(Command::new("base64").arg("--decode").arg(file).current_dir(workspace::root()))
}

/// Some condition has this reason.
pub(super) fn wait_for_reason(site: &Site, reason: &str, status: &str) -> Result<()> {
    let is_it = |condition: &Value| condition["reason"] == reason && condition["status"] == status;
    until(&format!("a condition has the reason {reason}"), || {
        let object = site.object("pgpooler/whole")?;
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        ensure!(
            conditions.is_some_and(|conditions| conditions.iter().any(is_it)),
            "{}",
            site.why_not(NAMESPACE)
        );
        Ok(())
    })
}

/// Tries until it succeeds.
pub(super) fn until(what: &str, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error.context(format!("not in time: {what}"))),
            Err(_) => sleep(Duration::from_millis(250)),
        }
    }
}

/// Identity and restarts of the pods.
pub(super) fn pods(site: &Site) -> Result<Vec<String>> {
    let pods = site.objects("pods", "--selector=app.kubernetes.io/instance=whole")?;
    let part = |pod: &Value, pointer| pod.pointer(pointer).map(ToString::to_string).unwrap_or_default();
    let told = |pod: &Value| {
        format!("{} {}", part(pod, "/metadata/uid"), part(pod, "/status/containerStatuses/0/restartCount"))
    };
    Ok(pods.iter().map(told).collect())
}
