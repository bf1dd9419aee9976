//! The conversation with one pod: claimed first, then told what it may hold, and heard when it has something to say.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use pgpooler_core::budget::{BadReport, Command, Link, Report};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Notification, SimpleQueryMessage, SimpleQueryRow};

use super::Budgets;
use super::push::Mind;
use crate::error::chain;
use crate::link::{self, Driver, LinkError};
use crate::plan::facts::Configured;

/// How long a pod may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take to take a configuration.
const PUSH_PATIENCE: Duration = Duration::from_secs(15);
/// A pod that says nothing for so long is asked.
const SILENCE: Duration = Duration::from_secs(30);
/// Another leader has claimed the pod.
const SUPERSEDED: SqlState = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
/// Between attempts to reach a pod.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest of them: a pod that starts is reached within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A pod to talk to.
pub(super) struct Greeting {
    pub(super) uid: String,
    pub(super) pod: Spoken,
    pub(super) address: IpAddr,
    pub(super) ca: String,
    pub(super) password: String,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) shed: watch::Receiver<u32>,
    pub(super) mind: Mind,
}

/// What is said to it.
#[derive(Clone, Copy)]
pub(super) enum Spoken {
    /// Its limits.
    Limited,
    /// Nothing: it is only listened to.
    Measured,
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum TalkError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the pod refused `{1}`")]
    Refused(#[source] Box<tokio_postgres::Error>, String),
    #[error("the pod did not answer `{0}` in time")]
    Silent(String),
    #[error("the pod's answer cannot be read")]
    Answer(#[from] BadReport),
    #[error("the connection has ended")]
    Ended,
}

/// Starts the conversation; it ends when the sender of its commands is dropped.
pub(super) fn begin(budgets: &Arc<Budgets>, mut greeting: Greeting) {
    let budgets = Arc::downgrade(budgets);
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(budgets) = budgets.upgrade() else { return };
            let (error, met) = match converse(&budgets, &mut greeting).await {
                Ok(()) => return,
                Err(error) => error,
            };
            let address = greeting.address;
            tracing::debug!(%address, error = chain(&error), "no conversation with a pod");
            budgets.lost(&greeting.uid, chain(&error));
            drop(budgets);
            pause = if met { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            tokio::select! {
                () = sleep(pause) => {}
                () = closed(&mut greeting.commands) => return,
            }
        }
    });
}

/// Until a pod is told anew how many clients it should shed. Cancel-safe.
async fn ordered(shed: &mut watch::Receiver<u32>) -> u32 {
    if shed.changed().await.is_err() {
        // its `PgPooler` is no more, and the commands end with it
        std::future::pending::<()>().await;
    }
    *shed.borrow_and_update()
}

/// What could not be sent is sent again by the ledger, which knows that the connection was lost.
async fn closed(commands: &mut mpsc::UnboundedReceiver<Command>) {
    while commands.recv().await.is_some() {}
}

/// `Ok`: there is no more to talk about. With an error comes whether the pod was reached.
async fn converse(budgets: &Arc<Budgets>, greeting: &mut Greeting) -> Result<(), (TalkError, bool)> {
    let number = budgets.state().link(&greeting.uid);
    greeting.mind.forget();
    // what was meant for the process before must not reach the next one; nothing new comes before this one has answered
    while greeting.commands.try_recv().is_ok() {}
    let port = u16::try_from(crate::plan::render::service::LISTEN_PORT).unwrap_or_default();
    let address = SocketAddr::new(greeting.address, port);
    let connected = link::connect(address, greeting.ca.as_bytes(), &greeting.password).await;
    let (client, driver) = connected.map_err(|error| (error.into(), false))?;
    let uid = greeting.uid.clone();
    Talk { budgets, uid: &uid, number, client }.run(driver, greeting).await.map_err(|error| (error, true))
}

struct Talk<'a> {
    budgets: &'a Arc<Budgets>,
    uid: &'a str,
    number: Link,
    client: Client,
}

impl Talk<'_> {
    async fn run(&self, driver: Driver, greeting: &mut Greeting) -> Result<(), TalkError> {
        let Greeting { pod, commands, shed, mind, .. } = greeting;
        let (notes, mut heard) = mpsc::unbounded_channel();
        // ends with the session, which ends with `self`
        tokio::spawn(drive(driver, notes));
        match pod {
            Spoken::Limited => self.say(Command::Claim { epoch: self.budgets.epoch }.to_string()).await?,
            Spoken::Measured => self.say("SHOW BUDGET".to_owned()).await?,
        }
        self.ask("LISTEN budget").await?;
        if let Err(TalkError::Refused(error, _)) = self.ask("LISTEN configuration").await {
            // it is of a version that cannot be told, and says nothing of what it runs
            tracing::warn!(error = chain(&*error), "a pod takes no configuration");
        }
        if *shed.borrow() > 0 {
            // another process may answer by now, which was told nothing
            shed.mark_changed();
        }
        loop {
            self.configure(mind).await?;
            tokio::select! {
                command = commands.recv() => {
                    let Some(mut command) = command else { return Ok(()) };
                    // a later one says all that an earlier one did
                    while let Ok(later) = commands.try_recv() {
                        command = later;
                    }
                    self.say(command.to_string()).await?;
                }
                note = heard.recv() => self.hear(&note.ok_or(TalkError::Ended)?, mind)?,
                () = mind.changed() => {}
                clients = ordered(shed) => self.shed(clients).await?,
                () = sleep(SILENCE) => self.say("SHOW BUDGET".to_owned()).await?,
            }
        }
    }

    async fn shed(&self, clients: u32) -> Result<(), TalkError> {
        self.say(format!("SHED {clients} EPOCH {}", self.budgets.epoch)).await
    }

    /// Says it, and takes note of the answer.
    async fn say(&self, command: String) -> Result<(), TalkError> {
        let rows = match self.ask(&command).await {
            // whom it follows instead is in its report
            Err(TalkError::Refused(error, what)) => {
                tracing::debug!(command = what, error = chain(&*error), "a pod refused");
                self.ask("SHOW BUDGET").await?
            }
            other => other?,
        };
        let row = rows.first().ok_or(TalkError::Ended)?;
        let report = Report::read(|name| row.try_get(name).ok().flatten())?;
        self.budgets.heard(self.uid, self.number, &report);
        Ok(())
    }

    /// Pushes what the pod should run, if it runs something else.
    async fn configure(&self, mind: &mut Mind) -> Result<(), TalkError> {
        let Some(push) = mind.lacks(Instant::now()) else { return Ok(()) };
        match self.ask_as("CONFIGURE", &push.command, PUSH_PATIENCE).await {
            Ok(rows) => {
                let row = rows.first().ok_or(TalkError::Ended)?;
                self.runs(mind, |name| row.try_get(name).ok().flatten());
                Ok(())
            }
            Err(TalkError::Refused(error, what)) if error.code() == Some(&SUPERSEDED) => {
                tracing::debug!(command = what, error = chain(&*error), "a pod refused");
                self.say("SHOW BUDGET".to_owned()).await
            }
            Err(TalkError::Refused(error, _)) => {
                mind.refused(&push.hash, Instant::now());
                let message = error.as_db_error().map_or_else(String::new, |told| told.message().to_owned());
                self.budgets.rejected(self.uid, message);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes note of what the pod runs.
    fn runs<'a>(&self, mind: &mut Mind, column: impl Fn(&str) -> Option<&'a str>) {
        let Some(hash) = column("hash") else { return };
        mind.runs(hash);
        let list = column("needs_restart").unwrap_or_default();
        let needs_restart = list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let configured = Configured { hash: Some(hash.to_owned()), needs_restart, ..Configured::default() };
        self.budgets.configured(self.uid, configured);
    }

    async fn ask(&self, command: &str) -> Result<Vec<SimpleQueryRow>, TalkError> {
        self.ask_as(command, command, PATIENCE).await
    }

    /// `name` is what may be printed of the command.
    async fn ask_as(
        &self,
        name: &str,
        command: &str,
        patience: Duration,
    ) -> Result<Vec<SimpleQueryRow>, TalkError> {
        let answer = timeout(patience, self.client.simple_query(command)).await;
        let answer = answer.map_err(|_| TalkError::Silent(name.to_owned()))?;
        let messages = answer.map_err(|error| match error.as_db_error() {
            Some(_) => TalkError::Refused(Box::new(error), name.to_owned()),
            None => TalkError::Ended,
        })?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// A notification has the columns as `name=value`; those that are NULL are left out.
    fn hear(&self, note: &Notification, mind: &mut Mind) -> Result<(), TalkError> {
        let pairs = || note.payload().split_whitespace().filter_map(|pair| pair.split_once('='));
        let column = |name: &str| pairs().find(|(one, _)| *one == name).map(|(_, value)| value);
        if note.channel() == "configuration" {
            self.runs(mind, column);
            return Ok(());
        }
        let report = Report::read(column)?;
        self.budgets.heard(self.uid, self.number, &report);
        Ok(())
    }
}

async fn drive(mut driver: Driver, notes: mpsc::UnboundedSender<Notification>) {
    while let Some(Ok(note)) = driver.next().await {
        if notes.send(note).is_err() {
            return;
        }
    }
}
