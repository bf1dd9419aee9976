//! An autoscaler that owns the scale subresource: a load makes more pods, and not more server connections.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::{
    fleet::Load,
    image::Image,
    site::{NAMESPACE, Server, Site},
    ui,
};

use super::Count;

const SERVER: Server = Server { name: "autoscaled-db", max_connections: 100, options: "" };
const MANIFESTS: &str = include_str!("../../../tests/demo/autoscaled.yaml");

/// metrics-server looks every 15 s at what pods used before, and the autoscaler as often.
const PATIENCE: Duration = Duration::from_mins(4);

/// Runs it; metrics-server is brought up for it.
pub(crate) fn run(site: &Site, postgres: &Image) -> Result<Count> {
    site.cluster().up(1, true)?;
    let name = "an autoscaler adds pods under load, and no server connection beyond the budget";
    let (passed, failed) = match scales(site, postgres) {
        Ok(()) => {
            ui::say(&format!("{name} ... {}", ui::good("ok")));
            (1, 0)
        }
        Err(error) => {
            ui::say(&format!("{name} ... {}\n{error:#}", ui::bad("FAILED")));
            (0, 1)
        }
    };
    site.kubectl(&[
        "delete",
        "hpa/autoscaled",
        "pgpooler/autoscaled",
        "deployment/autoscaled-db",
        "--timeout=90s",
    ])?;
    Ok(Count { passed, failed })
}

fn scales(site: &Site, postgres: &Image) -> Result<()> {
    site.run_postgres(SERVER, postgres)?;
    site.apply(MANIFESTS)?;
    site.wait_for_pgpooler("autoscaled")?;
    let sampler = site.sample(site.address(SERVER.name)?)?;
    let load = Load::Persist { from: 40, to: 40, grow: 1, seconds: 600, pause: 1 };
    let fleet = site.start_fleet(site.address("autoscaled")?, &load)?;
    let scaled = until_scaled(site);
    let report = fleet.stop()?;
    let peak = sampler.stop()?.peak;
    scaled?;
    ensure!((1..=77).contains(&peak), "{peak} server connections");
    ensure!(!report.errors.keys().any(|error| error.contains("53300")), "{:?}", report.errors);
    Ok(())
}

fn until_scaled(site: &Site) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let object = site.object("pgpooler/autoscaled")?;
        let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
        if number("/spec/replicas") > 1 && number("/status/readyReplicas") > 1 {
            return Ok(());
        }
        sleep(Duration::from_secs(1));
    }
    let hpa = site.kubectl(&["describe", "hpa/autoscaled"])?;
    bail!("no second pod came\n{hpa}\n{}", site.why_not(NAMESPACE))
}
