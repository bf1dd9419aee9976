//! `pgpooler-operator check`: whether an operator that runs does so as it should. What `helm test` runs, with the
//! operator's own image and account, so that its rights are checked too.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::api::PgPooler;
use crate::cli::{Check, given};
use crate::metrics::Metrics;
use crate::run::{self, RunError};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// A metric that every operator has, whether it leads or not.
const METRIC: &str = "pgpooler_operator_leading";

/// What is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The address.
    #[error("{0} is no address of the form http://HOST:PORT")]
    Url(Uri),
    /// Nobody answers there.
    #[error("cannot ask {url}")]
    Connect {
        /// Whom.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// What answers speaks no HTTP.
    #[error("{url} does not answer as a web server does")]
    Http {
        /// Whom.
        url: String,
        /// Why.
        source: hyper::Error,
    },
    /// The request cannot be made.
    #[error("{url} cannot be asked for")]
    Request {
        /// Whom.
        url: String,
        /// Why.
        source: hyper::http::Error,
    },
    /// No answer in time.
    #[error("{0} does not answer within {PATIENCE:?}")]
    Silent(String),
    /// An answer that says no.
    #[error("{url} answers {status}: {text}")]
    Refused {
        /// Who.
        url: String,
        /// With what.
        status: StatusCode,
        /// And why.
        text: String,
    },
    /// An answer of somebody else.
    #[error("{0} has no metric {METRIC}: it is not an operator of pgpooler")]
    NoMetric(String),
    /// No API server.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The API server does not know the kind, or the account may not list it.
    #[error("PgPoolers cannot be listed in {scope}")]
    List {
        /// Where.
        scope: String,
        /// Why.
        source: kube::Error,
    },
}

/// Checks everything, again and again until it is well or the time is over. Cancel-safe: it only asks.
pub async fn run(options: &Check) -> Result<(), CheckError> {
    let end = Instant::now() + Duration::from_secs(options.seconds);
    loop {
        match once(options).await {
            Err(error) if Instant::now() >= end || matches!(error, CheckError::Url(_)) => return Err(error),
            Err(_) => sleep(PAUSE).await,
            Ok(()) => return Ok(()),
        }
    }
}

async fn once(options: &Check) -> Result<(), CheckError> {
    if let Some(url) = &options.url {
        read(url, "/readyz").await?;
        let metrics = read(url, "/metrics").await?;
        if !metrics.contains(METRIC) {
            return Err(CheckError::NoMetric(url.to_string()));
        }
    }
    if options.without_api {
        return Ok(());
    }
    let client = run::client(options.context.as_deref().and_then(given), Metrics::default()).await?;
    for scope in options.scopes() {
        list(client.clone(), scope.as_deref()).await?;
    }
    Ok(())
}

async fn list(client: Client, namespace: Option<&str>) -> Result<(), CheckError> {
    let api: Api<PgPooler> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let scope = || namespace.map_or_else(|| "the cluster".to_owned(), |name| format!("namespace {name}"));
    let listed = api.list(&ListParams::default().limit(1)).await;
    listed.map(drop).map_err(|source| CheckError::List { scope: scope(), source })
}

/// The text at a path of the operator.
async fn read(url: &Uri, path: &str) -> Result<String, CheckError> {
    let authority = match (url.scheme_str(), url.authority()) {
        (Some("http"), Some(authority)) => authority.as_str(),
        _ => return Err(CheckError::Url(url.clone())),
    };
    let address = if url.port().is_some() { authority.to_owned() } else { format!("{authority}:80") };
    let shown = format!("http://{authority}{path}");
    let answer = timeout(PATIENCE, get(&address, authority, path, &shown)).await;
    answer.unwrap_or_else(|_| Err(CheckError::Silent(shown.clone())))
}

async fn get(address: &str, host: &str, path: &str, url: &str) -> Result<String, CheckError> {
    let http = |source| CheckError::Http { url: url.to_owned(), source };
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| CheckError::Connect { url: url.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    // ends with the sender
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|source| CheckError::Request { url: url.to_owned(), source })?;
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(http)?.to_bytes();
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    if status == StatusCode::OK {
        Ok(text)
    } else {
        Err(CheckError::Refused { url: url.to_owned(), status, text })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::http::{self, Health};
    use crate::metrics::Metrics;

    fn check(url: &str) -> Check {
        Check {
            url: Some(url.parse().unwrap()),
            watch_namespaces: Vec::new(),
            without_api: true,
            context: None,
            seconds: 0,
        }
    }

    #[tokio::test]
    async fn an_operator_passes_once_it_is_ready() {
        let ready = Arc::new(AtomicBool::new(false));
        let listener = http::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let health = Health { metrics: Metrics::default(), ready: Arc::clone(&ready) };
        let server = tokio::spawn(http::serve(listener, health));
        let error = run(&check(&url)).await.unwrap_err();
        assert!(matches!(error, CheckError::Refused { status, .. } if status == 503), "{error}");
        ready.store(true, Ordering::Relaxed);
        run(&check(&url)).await.unwrap();
        server.abort();
    }

    #[tokio::test]
    async fn nobody_and_no_address_are_told_apart() {
        let listener = http::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = run(&check(&url)).await.unwrap_err();
        assert!(matches!(error, CheckError::Connect { .. }), "{error}");
        let error = run(&check("operator:8080")).await.unwrap_err();
        assert!(matches!(error, CheckError::Url(_)), "{error}");
    }
}
