//! What a Service of Kubernetes does to clients, on loopback: a new connection goes to any ready backend, also to one
//! that became unready up to a second ago, and one that is established is never touched.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{sleep, timeout},
};

/// For how long new connections still go to a backend that is not ready any more: what endpoints and kube-proxy take.
const LAG: Duration = Duration::from_secs(1);
/// How often a backend is asked.
const PERIOD: Duration = Duration::from_millis(100);

/// Listens as long as it lives.
#[derive(Debug)]
pub(super) struct Balancer {
    port: u16,
    backends: Backends,
    /// Its thread ends with it.
    _end: oneshot::Sender<()>,
}

#[derive(Debug, Clone, Default)]
struct Backends(Arc<Mutex<Vec<Backend>>>);

#[derive(Debug, Clone, Copy)]
struct Backend {
    port: u16,
    http_port: u16,
    unready_since: Option<Instant>,
}

impl Balancer {
    /// Has no backend yet.
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let (port, backends) = (listener.local_addr()?.port(), Backends::default());
        let (end, ended) = oneshot::channel();
        let serving = backends.clone();
        thread::Builder::new().name("balancer".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = accept(listener, serving.clone()) => {}
                    () = watch(serving.clone()) => {}
                }
            });
        })?;
        Ok(Self { port, backends, _end: end })
    }

    /// Where clients connect.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A backend that is ready.
    pub(super) fn add(&self, port: u16, http_port: u16) {
        self.backends.lock().push(Backend { port, http_port, unready_since: None });
    }
}

impl Backends {
    fn lock(&self) -> MutexGuard<'_, Vec<Backend>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn any(&self) -> Option<Backend> {
        let backends = self.lock();
        let dice = usize::try_from(RandomState::new().build_hasher().finish() >> 1).ok()?;
        backends.get(dice.checked_rem(backends.len())?).copied()
    }

    /// What a look at a backend showed.
    fn saw(&self, port: u16, ready: bool) {
        let mut backends = self.lock();
        for backend in backends.iter_mut().filter(|backend| backend.port == port) {
            backend.unready_since = if ready { None } else { backend.unready_since.or(Some(Instant::now())) };
        }
        backends.retain(|backend| backend.unready_since.is_none_or(|since| since.elapsed() < LAG));
    }
}

async fn accept(listener: TcpListener, backends: Backends) {
    loop {
        // one that is gone again before it was accepted is no matter of ours
        let Ok((client, _)) = listener.accept().await else { continue };
        let Some(backend) = backends.any() else { continue };
        tokio::spawn(async move {
            // a backend that refuses, or either side that breaks off: the other side sees its connection closed
            let _ = carry(client, backend.port).await;
        });
    }
}

async fn carry(mut client: TcpStream, port: u16) -> Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn watch(backends: Backends) {
    loop {
        let now = backends.lock().clone();
        for backend in now {
            let ready = timeout(Duration::from_secs(1), is_ready(backend.http_port)).await;
            backends.saw(backend.port, matches!(ready, Ok(Ok(true))));
        }
        sleep(PERIOD).await;
    }
}

async fn is_ready(http_port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, http_port))).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("not an HTTP answer")?;
    Ok(status == "200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_not_ready_is_still_sent_clients_for_a_while() {
        let backends = Backends::default();
        let old = Instant::now().checked_sub(LAG * 2).expect("a machine that is up");
        *backends.lock() = vec![
            Backend { port: 1, http_port: 0, unready_since: None },
            Backend { port: 2, http_port: 0, unready_since: Some(old) },
        ];
        backends.saw(1, false);
        assert_eq!(backends.any().map(|backend| backend.port), Some(1));
        assert_eq!(backends.lock().len(), 1);
        backends.saw(1, true);
        assert!(backends.lock().iter().all(|backend| backend.unready_since.is_none()));
    }
}
