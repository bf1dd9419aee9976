//! From the previous version of the chart to this one, and on, on a real node: what exists stays, and serves.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    command,
    fleet::Load,
    image::Image,
    site::{OPERATOR_NAMESPACE, Site},
    ui, workspace,
};

use super::{CHART, Count};

/// The chart as it was before; `helm package` of it.
const PREVIOUS: &str = "tests/chart/previous/pgpooler-operator-0.1.0.tgz";
const CRD: &str = "customresourcedefinition/pgpoolers.pgpooler.dev";
const CHECKED_IN: &str = "crds/pgpooler.dev_pgpoolers.yaml";
/// With fields that every version knows; on the server that the pools' tests have.
const PGPOOLER: &str = "\
apiVersion: pgpooler.dev/v1alpha1
kind: PgPooler
metadata:
  name: stays
spec:
  target:
    secretRef:
      name: orders-db-app
  replicas: 1
  maxReplicas: 1
";

/// A step; each begins where the one before ended.
type Step<'a> = fn(&Upgrade<'a>) -> Result<()>;

/// What all steps need.
struct Upgrade<'a> {
    site: &'a Site,
    image: &'a Image,
}

/// Runs all, in order, up to the first that fails. The PostgreSQL server of the pools' tests must run; the release
/// `pgpooler` is there at the end.
pub(crate) fn run(site: &Site, image: &Image) -> Count {
    let upgrade = Upgrade { site, image };
    let mut count = Count::default();
    for (name, step) in steps() {
        if let Err(error) = step(&upgrade) {
            let why = site.why_not(OPERATOR_NAMESPACE);
            ui::say(&format!("{name} ... {}\n{error:#}\n{why}", ui::bad("FAILED")));
            count.failed += 1;
            break;
        }
        ui::say(&format!("{name} ... {}", ui::good("ok")));
        count.passed += 1;
    }
    count
}

fn steps<'a>() -> [(&'static str, Step<'a>); 7] {
    [
        (
            "the previous chart is installed, in a restricted namespace, and a PgPooler made",
            Upgrade::previous,
        ),
        ("an upgrade brings this CRD and leaves the PgPooler as it was", Upgrade::upgrades),
        ("helm test passes", Upgrade::passes_its_test),
        ("a new operator leaves the pods as they are", Upgrade::leaves_the_pods),
        ("helm test fails where the operator has no rights", Upgrade::fails_without_rights),
        ("uninstalled, CRD and PgPooler stay, and the pods serve", Upgrade::outlives_the_release),
        ("installed again, the PgPooler is taken up", Upgrade::returns),
    ]
}

impl Upgrade<'_> {
    fn previous(&self) -> Result<()> {
        // whatever was there before: the CRD must be the old one
        self.helm(&["uninstall", "--ignore-not-found", "--wait"], &[])?;
        self.kubectl(&["delete", CRD, "--ignore-not-found", "--timeout=120s"])?;
        self.site.namespace(OPERATOR_NAMESPACE)?;
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl(&["label", "namespace", OPERATOR_NAMESPACE, restricted, "--overwrite"])?;
        let chart = workspace::root().join(PREVIOUS);
        let chart = chart.to_str().context("a path that is no text")?;
        self.helm(&["install", "--wait", "--timeout=120s"], &[chart, &self.image_values()])?;
        self.site.apply(PGPOOLER)
    }

    fn upgrades(&self) -> Result<()> {
        let (crd, object, ours) = (schema(&self.site.object(CRD)?)?, self.identity()?, self.checked_in()?);
        ensure!(crd != ours, "the previous chart has this version's CRD: the test shows nothing");
        self.upgrade("a=b")?;
        ensure!(schema(&self.site.object(CRD)?)? == ours, "the CRD is not the one of this chart");
        ensure!(self.identity()? == object, "the PgPooler is not the one that it was");
        self.site.wait_for_pgpooler("stays")
    }

    fn passes_its_test(&self) -> Result<()> {
        self.helm(&["test", "--timeout=120s"], &[])
    }

    fn leaves_the_pods(&self) -> Result<()> {
        let before = self.pods()?;
        self.upgrade("a=c")?;
        self.site.wait_for_pgpooler("stays")?;
        ensure!(self.pods()? == before, "the pods of the PgPooler were touched");
        self.serves()
    }

    fn fails_without_rights(&self) -> Result<()> {
        let roles = "clusterrolebinding/pgpooler-pgpooler-operator";
        let role = self.kubectl(&["get", roles, "--output=json"])?;
        self.kubectl(&["delete", roles])?;
        let tested = self.helm(&["test", "--timeout=120s"], &[]);
        let mut role: Value = serde_json::from_str(&role)?;
        if let Some(metadata) = role.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
        }
        self.site.apply_where_it_says(&role.to_string())?;
        ensure!(tested.is_err(), "the operator may list no PgPoolers, and its test passes");
        self.passes_its_test()
    }

    fn outlives_the_release(&self) -> Result<()> {
        let (object, pods) = (self.identity()?, self.pods()?);
        self.helm(&["uninstall", "--wait"], &[])?;
        ensure!(self.identity()? == object, "the PgPooler went with the release");
        ensure!(self.pods()? == pods, "the pods of the PgPooler were touched");
        self.serves()
    }

    fn returns(&self) -> Result<()> {
        let pods = self.pods()?;
        self.upgrade("a=d")?;
        self.site.wait_for_pgpooler("stays")?;
        ensure!(self.pods()? == pods, "the pods of the PgPooler were touched");
        self.kubectl(&["delete", "pgpooler/stays", "--timeout=60s"]).map(drop)
    }

    /// To this chart; another annotation makes another pod of the operator.
    fn upgrade(&self, annotation: &str) -> Result<()> {
        let chart = workspace::root().join(CHART);
        let chart = chart.to_str().context("a path that is no text")?;
        let annotation = format!("--set=podAnnotations.{annotation}");
        self.helm(
            &["upgrade", "--install", "--wait", "--timeout=120s"],
            &[chart, &self.image_values(), &annotation],
        )
    }

    fn image_values(&self) -> String {
        format!("--set=image.repository={},image.tag={}", self.image.name, self.image.tag)
    }

    /// Helm on the release `pgpooler`.
    fn helm(&self, before: &[&str], after: &[&str]) -> Result<()> {
        let cluster: &Cluster = self.site.cluster();
        let mut helm = cluster.helm(before)?;
        helm.args(["pgpooler"]).args(after).args(["--namespace", OPERATOR_NAMESPACE]);
        command::output(&mut helm).map(drop)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.site.kubectl(arguments)
    }

    /// The schema that is checked in, as the API server writes it.
    fn checked_in(&self) -> Result<Value> {
        let path = workspace::root().join(CHECKED_IN);
        let path = path.to_str().context("a path that is no text")?;
        let mut dry_run = vec!["apply", "--server-side", "--force-conflicts", "--dry-run=server"];
        dry_run.extend(["--output=json", "--filename", path]);
        schema(&serde_json::from_str(&self.kubectl(&dry_run)?)?)
    }

    /// What another object of the same name, or a change to its spec, would change.
    fn identity(&self) -> Result<[Value; 2]> {
        let object = self.site.object("pgpooler/stays")?;
        Ok([object["metadata"]["uid"].clone(), object["metadata"]["generation"].clone()])
    }

    /// Identity and restarts of the PgPooler's pods.
    fn pods(&self) -> Result<Vec<String>> {
        let pods = self.site.objects("pods", "--selector=app.kubernetes.io/instance=stays")?;
        let told = |pod: &Value| {
            let part = |pointer| pod.pointer(pointer).map(ToString::to_string).unwrap_or_default();
            format!("{} {}", part("/metadata/uid"), part("/status/containerStatuses/0/restartCount"))
        };
        Ok(pods.iter().map(told).collect())
    }

    fn serves(&self) -> Result<()> {
        let load = Load::Storm { clients: 10, transactions: 2 };
        let report = self.site.fleet(self.site.address("stays")?, &load)?;
        ensure!(report.failures() == 0, "{:?}", report.errors);
        Ok(())
    }
}

fn schema(crd: &Value) -> Result<Value> {
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().context("a CRD without a schema")
}
