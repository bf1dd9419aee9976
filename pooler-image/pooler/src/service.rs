//! The thread for everything that is not a client's traffic: HTTP, console sessions, averages, signals.
//!
//! A thread of its own, so that neither a scrape nor `SHOW CLIENTS` with ten thousand rows delays a transaction.

use std::io;
use std::net;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, AdminClient, Console};
use crate::control::Control;
use crate::http;
use crate::signals::Signals;
use crate::transport::Parked;

/// How long sessions may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// How often the files of certificates are looked at.
const CERTIFICATES_LOOK: Duration = Duration::from_secs(5);

/// The running thread.
#[derive(Debug)]
pub struct Service {
    sessions: mpsc::UnboundedSender<NewSession>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Whether [`Service`] takes the process's signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalHandling {
    /// It does.
    Take,
    /// Somebody else does: a test, or a program around the pooler.
    Leave,
}

struct Background {
    http: Option<net::TcpListener>,
    signals: Option<Signals>,
}

#[derive(Debug)]
struct NewSession {
    stream: Parked,
    client: AdminClient,
    leftover: Vec<u8>,
}

impl Service {
    /// Starts the thread. `http` is from [`http::bind`], none when `http_port` is 0. From the return on, signals are
    /// taken as [`signals`](crate::signals) says, unless they are left to the caller.
    pub fn spawn(
        console: Arc<Console>,
        http: Option<net::TcpListener>,
        signals: SignalHandling,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let signals = match signals {
            SignalHandling::Take => Some(runtime.block_on(async { Signals::new() })?),
            SignalHandling::Leave => None,
        };
        let (sessions, new_sessions) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("pgpooler-service".to_owned()).spawn(move || {
            let background = Background { http, signals };
            runtime.block_on(run(console, background, new_sessions, stopped));
        })?;
        Ok(Self { sessions, stop, thread })
    }

    /// For a loop to hand clients over with.
    pub fn console_door(&self) -> ConsoleDoor {
        ConsoleDoor { sessions: self.sessions.clone() }
    }

    /// Ends all sessions and the thread; blocks for two seconds at most.
    pub fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the service thread panicked");
        }
    }
}

/// The way to the console; one for each loop.
#[derive(Debug, Clone)]
pub struct ConsoleDoor {
    sessions: mpsc::UnboundedSender<NewSession>,
}

impl ConsoleDoor {
    /// Hands a client over whose login has been answered with `AuthenticationOk`; `leftover` is what was read behind the
    /// login. `false`: the thread is gone and the socket closed.
    pub fn enter(&self, stream: Parked, client: AdminClient, leftover: Vec<u8>) -> bool {
        self.sessions.send(NewSession { stream, client, leftover }).is_ok()
    }
}

async fn run(
    console: Arc<Console>,
    background: Background,
    mut new_sessions: mpsc::UnboundedReceiver<NewSession>,
    stopped: watch::Receiver<bool>,
) {
    let mut end = pin!(end(stopped.clone()));
    let _tasks = background.spawn(&console);
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(new) = new_sessions.recv() => {
                sessions.spawn(session(new, console.clone(), stopped.clone()));
            }
            Some(_) = sessions.join_next() => {}
        }
    }
    let ended = async { while sessions.join_next().await.is_some() {} };
    // who has not left by then is cut off with the runtime
    let _ = tokio::time::timeout(GOODBYE, ended).await;
}

impl Background {
    /// Tasks that run until the set is dropped.
    fn spawn(self, console: &Arc<Console>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let averages = console.clone();
        tasks.spawn(async move { averages.keep_averages().await });
        tasks.spawn(watch_certificates(console.control().clone()));
        if let Some(signals) = self.signals {
            tasks.spawn(signals.drive(console.control().clone()));
        }
        match self.http.map(TcpListener::from_std) {
            Some(Ok(listener)) => drop(tasks.spawn(http::serve(listener, console.clone()))),
            Some(Err(error)) => tracing::error!(%error, "HTTP is not served"),
            None => {}
        }
        tasks
    }
}

/// Looks at the certificates' files every now and then; never returns. May be dropped at any time.
async fn watch_certificates(control: Arc<dyn Control>) {
    loop {
        tokio::time::sleep(CERTIFICATES_LOOK).await;
        let control = control.clone();
        // a panic there is one look missed
        let _ = tokio::task::spawn_blocking(move || control.renew_certificates()).await;
    }
}

async fn session(new: NewSession, console: Arc<Console>, stopped: watch::Receiver<bool>) {
    let user = new.client.user.clone();
    let ended = match new.stream.unpark() {
        Ok(stream) => admin::serve(stream, new.client, new.leftover, console, end(stopped)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(user, %error, "console session broke");
    }
}

/// Ready when the thread is to end, also when whoever could say so is gone.
async fn end(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}
