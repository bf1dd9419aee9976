//! `cargo xtask demo`: what pgpooler is for, on a real Kubernetes with a real PostgreSQL.

mod loads;
mod summary;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    image::Profile,
    site::{NAMESPACE, Server, Site},
    ui,
};

use loads::Pool;
use summary::Summary;

const ORDERS: Pool = Pool {
    name: "orders",
    server: Server { name: "orders-db", max_connections: 100, options: "" },
    manifest: include_str!("../../../tests/demo/orders.yaml"),
};
const WAREHOUSE: Pool = Pool {
    name: "warehouse",
    server: Server { name: "warehouse-db", max_connections: 200, options: "" },
    manifest: include_str!("../../../tests/demo/warehouse.yaml"),
};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Also 10,000 clients over 50 server connections.
    #[arg(long)]
    full: bool,
    /// Remove the cluster at the end.
    #[arg(long)]
    down: bool,
    /// How the programs in the image are compiled.
    #[arg(long, value_enum, default_value_t = Profile::Demo)]
    profile: Profile,
    /// A folder with ready-made programs, instead of compiling them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Which cluster, as in `cargo xtask cluster --name`.
    #[arg(long, env = "PGPOOLER_CLUSTER", default_value = "dev")]
    cluster: String,
}

/// Sets everything up, runs the loads and shows the table.
pub(crate) fn run(arguments: &DemoArgs) -> Result<()> {
    let site = set_up(arguments)?;
    let mut summary = Summary::default();
    loads::orders(&site, &ORDERS, &mut summary)?;
    if arguments.full {
        loads::warehouse(&site, &WAREHOUSE, &mut summary)?;
    }
    println!("\n$ kubectl get pgpooler\n{}", site.kubectl(&["get", "pgpooler"])?);
    println!("{}", summary.text());
    if arguments.down {
        site.cluster().down()?;
    } else {
        println!("{}", farewell());
    }
    summary.verdict()
}

fn set_up(arguments: &DemoArgs) -> Result<Site> {
    ui::heading("A Kubernetes of one node");
    let site = Site::up(&arguments.cluster, 1)?;
    ui::heading("PostgreSQL");
    let postgres = site.load_postgres()?;
    let mut pools = vec![ORDERS];
    pools.extend(arguments.full.then_some(WAREHOUSE));
    for pool in &pools {
        site.run_postgres(pool.server, &postgres)?;
        ui::say(&format!(
            "{} accepts connections, max_connections = {}",
            pool.server.name, pool.server.max_connections
        ));
    }
    ui::heading("The image of pgpooler");
    let image = site.load_pgpooler(arguments.profile, arguments.programs.as_deref())?;
    ui::heading("The operator, by Helm");
    site.install_operator(&image)?;
    for pool in &pools {
        ui::heading(&format!("kubectl apply: PgPooler {}", pool.name));
        site.apply(pool.manifest)?;
        site.wait_for_pgpooler(pool.name)?;
        ui::say(&format!("{} is Ready", pool.name));
    }
    Ok(site)
}

fn farewell() -> String {
    format!(
        "The cluster is up. To try:\n  \
         cargo xtask cluster kubectl -n {NAMESPACE} get pgpooler {name} -o yaml\n  \
         cargo xtask cluster kubectl -n {NAMESPACE} exec -it deploy/{server} -- psql 'host={name} user=app password=only-for-the-demo'\n  \
         cargo xtask cluster down",
        name = ORDERS.name,
        server = ORDERS.server.name,
    )
}
