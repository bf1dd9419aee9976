//! What is done to whole databases, and to clients one by one.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pgpooler_config::ANY;
use tokio::sync::oneshot;

use super::control::ANSWER_LIMIT;
use super::{Mail, Process};
use crate::control::ControlError;
use crate::report::{Detail, PoolReport};

/// How often it is looked whether connections are closed.
const LOOK: Duration = Duration::from_millis(20);

impl Process {
    /// Whether clients of `database` are refused.
    pub(crate) fn is_disabled(&self, database: &str) -> bool {
        self.with_disabled(|disabled| disabled.contains(database))
    }

    pub(super) fn with_disabled<T>(&self, act: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        act(&mut self.disabled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Any name is taken: it may be that of a database which somebody asks for later.
    pub(super) fn disable_database(&self, database: String) {
        self.with_disabled(|disabled| disabled.insert(database));
    }

    pub(super) fn enable_database(&self, database: String) -> Result<(), ControlError> {
        if self.with_disabled(|disabled| disabled.remove(&database)) || self.knows(&database) {
            Ok(())
        } else {
            Err(ControlError::NoSuchDatabase(database))
        }
    }

    /// Somebody has asked for it, or a rule names it.
    fn knows(&self, database: &str) -> bool {
        let rules = &self.current().loaded.document.pools;
        let named = rules.iter().any(|rule| rule.database == database && database != ANY);
        named || self.databases().contains(database)
    }

    /// `PAUSE`
    pub(super) async fn hold(&self, database: Option<String>) -> Result<(), ControlError> {
        let begins = self.with_paused(|paused| match &database {
            None => !std::mem::replace(&mut paused.all, true),
            Some(database) => {
                paused.databases.extend((!paused.all).then(|| database.clone()));
                !paused.all
            }
        });
        if !begins {
            return Err(ControlError::AlreadyPaused);
        }
        self.tell_all(|| Mail::Paused { database: database.clone(), paused: true });
        while self.count(database.as_deref(), |pool| pool.servers.total()).await > 0 {
            if !self.with_paused(|paused| match &database {
                None => paused.all,
                Some(database) => paused.covers(database),
            }) {
                return Err(ControlError::Resumed);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// `RESUME`
    pub(super) fn go_on(&self, database: Option<String>) -> Result<(), ControlError> {
        if database.is_none() && self.current().loaded.document.paused {
            return Err(ControlError::PausedByDocument);
        }
        let was = self.with_paused(|paused| match &database {
            None => {
                let was = paused.all || !paused.databases.is_empty();
                paused.all = false;
                paused.databases.clear();
                was
            }
            Some(database) => paused.databases.remove(database),
        });
        match (was, database) {
            (true, database) => {
                self.tell_all(|| Mail::Paused { database: database.clone(), paused: false });
                Ok(())
            }
            (false, None) => Err(ControlError::NotPaused),
            (false, Some(database)) if self.knows(&database) => {
                Err(ControlError::DatabaseNotPaused(database))
            }
            (false, Some(database)) => Err(ControlError::NoSuchDatabase(database)),
        }
    }

    /// `KILL`: answers when every loop has begun to close what it has. As in PgBouncer, each database is paused for itself,
    /// so that each can be resumed.
    pub(super) async fn kill_databases(&self, database: Option<String>) {
        let databases = database.map_or_else(|| self.databases(), |database| [database].into());
        self.with_paused(|paused| paused.databases.extend(databases.iter().cloned()));
        self.forget_welcomes();
        let (databases, epoch) = (Arc::new(databases), self.new_epoch());
        self.ask_all(|done| Mail::Kill { databases: Arc::clone(&databases), epoch, done }).await;
    }

    /// `KILL_CLIENT`
    pub(super) async fn kill_one(&self, id: u64) -> Result<(), ControlError> {
        let found = self.ask_all(|found| Mail::KillClient { id, found }).await;
        if found.contains(&true) { Ok(()) } else { Err(ControlError::NoSuchClient) }
    }

    /// `WAIT_CLOSE`
    pub(super) async fn all_closed(&self, database: Option<String>) {
        while self.count(database.as_deref(), |pool| pool.close_needed).await > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Adds up what pools have, those of `database` or all.
    async fn count(&self, database: Option<&str>, of: fn(&PoolReport) -> u32) -> u32 {
        let report = self.gather(Detail::Counters).await;
        let covered = |pool: &&PoolReport| database.is_none_or(|database| pool.database == database);
        report.work.pools.iter().filter(covered).map(of).sum()
    }

    /// Asks every loop; one that does not answer in time is left out.
    pub(super) async fn ask_all<T>(&self, mut mail: impl FnMut(oneshot::Sender<T>) -> Mail) -> Vec<T> {
        let mut answers = Vec::new();
        self.tell_all(|| {
            let (sender, answer) = oneshot::channel();
            answers.push(answer);
            mail(sender)
        });
        let mut all = Vec::new();
        let deadline = tokio::time::Instant::now() + ANSWER_LIMIT;
        for answer in answers {
            if let Ok(Ok(answer)) = tokio::time::timeout_at(deadline, answer).await {
                all.push(answer);
            }
        }
        all
    }
}
