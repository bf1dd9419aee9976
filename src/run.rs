//! From the command line to a running operator, and back on SIGTERM.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;
use kube::client::ClientBuilder;
use kube::config::{Config, InClusterError, InferConfigError, KubeConfigOptions, KubeconfigError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tower::util::MapRequestLayer;

use crate::budget::{self, Budgets};
use crate::cli::{Run, given};
use crate::controller::{self, Context};
use crate::http::{self, Health};
use crate::leader::{Election, Leadership, Question};
use crate::metrics::Metrics;
use crate::plan::Settings;

/// The operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Outside a cluster the context must be named, so that nothing happens in a cluster by accident.
    #[error("not inside a cluster; outside, say which context of the kubeconfig to use with --context")]
    NoCluster(#[source] InClusterError),
    /// The kubeconfig.
    #[error("cannot use the kubeconfig")]
    Kubeconfig(#[from] KubeconfigError),
    /// Both.
    #[error("no configuration for a client")]
    Infer(#[from] InferConfigError),
    /// The client.
    #[error("cannot make a client")]
    Client(#[from] kube::Error),
    /// The HTTP server.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Signals.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// Another operator leads, or might: this one ends and starts anew.
    #[error("the Lease is lost")]
    LeaseLost,
    /// Pods follow an operator with a higher epoch: this one ends, and begins anew above it if the Lease is still ours.
    #[error("pods follow an operator with epoch {0}")]
    Superseded(u64),
    /// A scope ended by itself.
    #[error("the watches have ended")]
    WatchesEnded,
}

/// Runs until SIGTERM or SIGINT, or until the Lease is lost.
pub async fn run(options: Run) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let metrics = Metrics::default();
    let ready = Arc::new(AtomicBool::new(false));
    let address = options.http_address;
    let listener = http::listen(address).await.map_err(|source| RunError::Listen { address, source })?;
    let server =
        tokio::spawn(http::serve(listener, Health { metrics: metrics.clone(), ready: Arc::clone(&ready) }));
    let client = client(options.context.as_deref().and_then(given), metrics.clone()).await?;
    // the API server answers; also the first thing to fail with a message when it does not
    client.apiserver_version().await?;
    ready.store(true, Ordering::Relaxed);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let result = lead(&options, client, metrics, stop).await;
    ready.store(false, Ordering::Relaxed);
    server.abort();
    result
}

async fn lead(
    options: &Run,
    client: Client,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    tokio::pin!(stop);
    let mut leadership = match election(options, &client) {
        Some(election) => {
            tracing::info!(lease = options.lease_name, "waiting to lead");
            tokio::select! {
                () = &mut stop => return Ok(()),
                leadership = election.win() => Some(leadership),
            }
        }
        None => None,
    };
    metrics.leads(true);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), image = options.pooler_image, "leading");
    let settings = Settings {
        pooler_image: options.pooler_image.clone(),
        upgrade: options.pooler_upgrade,
        namespace: Some(options.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())),
    };
    let (questions, mut asked) = mpsc::unbounded_channel();
    let (confirm, epoch) = match &leadership {
        Some(leadership) => (budget::ask(questions), leadership.epoch()),
        None => (budget::alone(), seconds_of_our_era()),
    };
    let scopes = options.scopes();
    let budgets = Budgets::new(client.clone(), confirm, epoch, scopes.len());
    let keeping = tokio::spawn(Arc::clone(&budgets).keep());
    let context =
        Arc::new(Context::new(client, settings, options.instance(), metrics.clone(), Arc::clone(&budgets)));
    let (shutdown, down) = watch::channel(false);
    let mut work = tokio::spawn(reconcile(context, scopes, down));
    let result = tokio::select! {
        () = &mut stop => Ok(()),
        () = kept(leadership.as_mut(), &mut asked) => Err(RunError::LeaseLost),
        epoch = budgets.superseded() => Err(RunError::Superseded(epoch)),
        _ = &mut work => return Err(RunError::WatchesEnded),
    };
    tracing::info!("ending");
    // whoever has lost the Lease must write no more; otherwise what is under way is finished first
    if result.is_ok() {
        let _ = shutdown.send(true);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(20), &mut work).await;
    }
    work.abort();
    keeping.abort();
    if let (Err(RunError::Superseded(epoch)), Some(leadership)) = (&result, leadership.as_mut()) {
        leadership.raise(*epoch).await;
    }
    metrics.leads(false);
    if let (Ok(()), Some(leadership)) = (&result, leadership) {
        leadership.release().await;
    }
    result
}

async fn reconcile(context: Arc<Context>, scopes: Vec<Option<String>>, down: watch::Receiver<bool>) {
    let running =
        scopes.iter().map(|scope| controller::run(Arc::clone(&context), scope.as_deref(), down.clone()));
    futures::future::join_all(running).await;
}

/// An epoch where no Lease has one: it rises with every start. Seconds since 2026, so that a Lease can go on from there.
fn seconds_of_our_era() -> u64 {
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    u64::try_from(now - 1_767_225_600).unwrap_or(0)
}

async fn kept(leadership: Option<&mut Leadership>, asked: &mut mpsc::UnboundedReceiver<Question>) {
    match leadership {
        Some(leadership) => leadership.keep(asked).await,
        None => std::future::pending().await,
    }
}

fn election(options: &Run, client: &Client) -> Option<Election> {
    let namespace = options.namespace.as_deref().and_then(given).unwrap_or(client.default_namespace());
    // two operators on one machine, outside a cluster, differ in their process id
    let identity = options.instance().unwrap_or_else(|| format!("process-{}", std::process::id()));
    let election = || Election::new(client.clone(), namespace, options.lease_name.clone(), identity);
    options.leader_election.then(election)
}

/// Inside a cluster, or by a context of the kubeconfig that is named.
pub async fn client(context: Option<&str>, metrics: Metrics) -> Result<Client, RunError> {
    let config = match context {
        None => Config::incluster().map_err(RunError::NoCluster)?,
        Some(context) => {
            let options =
                KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await?
        }
    };
    let counted = MapRequestLayer::new(move |request: ::http::Request<kube::client::Body>| {
        metrics.asks(request.method().as_str());
        request
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&counted).build())
}
