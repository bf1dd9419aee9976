//! `/metrics`, `/healthz` and `/readyz`.
//!
//! One request a connection, and not many connections at once: scrapers and kubelets need no more, and nobody who is
//! slow or hostile can hold much. Runs on the service thread, so it costs the loops nothing but their reports.

use std::convert::Infallible;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use std::{io, net};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::admin::Console;
use crate::control::Readiness;
use crate::metrics;
use crate::report::Detail;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// From the start of a connection to the end of the request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long all loops may take to answer before the process counts as stuck; less than the time after which a report
/// goes without a loop.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a scrape may take: it is better told without a loop than not at all.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(12);

/// A whole connection, reading the answer included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest headers of a request; the least that hyper accepts.
const MAX_HEADERS: usize = 8 * 1024;

/// Pause after a failed accept: out of file descriptors, most likely, which a loop without a pause makes worse.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Binds the address of `http_addr` and `http_port`.
pub fn bind(addr: &str, port: u16) -> io::Result<net::TcpListener> {
    let addresses: Vec<SocketAddr> = (addr, port).to_socket_addrs()?.collect();
    let listener = net::TcpListener::bind(addresses.as_slice())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers requests; never returns. May be dropped at any time.
pub async fn serve(listener: TcpListener, console: Arc<Console>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let console = console.clone();
                tokio::spawn(async move {
                    connection(stream, console).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, console: Arc<Console>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let console = console.clone();
        async move { Ok::<_, Infallible>(respond(request.method(), request.uri().path(), &console).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "HTTP connection ended early"),
        Err(_) => tracing::debug!("HTTP connection took too long"),
    }
}

type Answer = Response<Full<Bytes>>;

async fn respond(method: &Method, path: &str, console: &Console) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => metrics_answer(console).await,
        "/healthz" => healthz(console).await,
        "/readyz" => readyz(console.control().readiness()),
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

async fn metrics_answer(console: &Console) -> Answer {
    let Ok(report) = timeout(SCRAPE_TIMEOUT, console.report(Detail::Counters)).await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no event loop has answered\n");
    };
    match metrics::render(report, console.control().settings()) {
        Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n"),
    }
}

async fn healthz(console: &Console) -> Answer {
    if timeout(LIVENESS_TIMEOUT, console.report(Detail::Counters)).await.is_ok() {
        return plain(StatusCode::OK, "ok\n");
    }
    let message = format!("an event loop has not answered within {} s\n", LIVENESS_TIMEOUT.as_secs());
    plain(StatusCode::SERVICE_UNAVAILABLE, message)
}

fn readyz(readiness: Readiness) -> Answer {
    let status = match readiness {
        Readiness::Ready => StatusCode::OK,
        Readiness::Starting | Readiness::AwaitingGrant | Readiness::Draining => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    plain(status, format!("{}\n", readiness.reason()))
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

fn answer(status: StatusCode, media_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
