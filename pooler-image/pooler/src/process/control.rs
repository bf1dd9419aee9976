//! The process as the console, `/metrics` and the signals see it.

use std::sync::Arc;
use std::time::Duration;

use pgpooler_core::budget;
use tokio::sync::oneshot;

use super::{Mail, Process};
use crate::control::{Answer, Control, ControlError, Order, Readiness, RefusedOrder, ShutdownMode};
use crate::reload::{Loaded, ReloadError, ReloadOutcome};
use crate::report::{Detail, Phase, PoolReport, ProcessReport, Report};

/// How long a loop may take to answer before it counts as hanging.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

impl Process {
    async fn gather(&self, detail: Detail) -> Report {
        let mut answers = Vec::new();
        self.tell_all(|| {
            let (answer, report) = oneshot::channel();
            answers.push(report);
            Mail::Report(detail, answer)
        });
        let mut loops = Vec::new();
        let deadline = tokio::time::Instant::now() + ANSWER_LIMIT;
        for answer in answers {
            // a loop that does not answer is missing from the count, which is what liveness looks at
            if let Ok(Ok(report)) = tokio::time::timeout_at(deadline, answer).await {
                loops.push(report);
            }
        }
        let waiting = loops.iter().flat_map(|report| &report.pools).map(|pool| pool.clients.waiting).sum();
        let ledger = self.ledger_report(waiting);
        let paused = self.with_paused(|paused| paused.clone());
        let phase = *self.phase.borrow();
        Report::gather(ProcessReport { ledger, phase, paused }, loops)
    }

    fn reread(&self) -> Result<ReloadOutcome, ReloadError> {
        let _alone = self.renewal();
        let current = self.current();
        let (loaded, outcome) = self.source.reload(&current.loaded)?;
        let auth = current
            .auth
            .reload(&loaded.userlist, &loaded.document)
            .map_err(|_| ReloadError::Unavailable("the system gives no random bytes"))?;
        self.follow(loaded, auth);
        Ok(outcome)
    }

    fn check_database(&self, database: Option<&String>) -> Result<(), ControlError> {
        match database {
            Some(database) if !self.knows_database(database) => {
                Err(ControlError::NoSuchDatabase(database.clone()))
            }
            _ => Ok(()),
        }
    }

    async fn hold(&self, database: Option<String>) -> Result<(), ControlError> {
        self.check_database(database.as_ref())?;
        let new = self.with_paused(|paused| match &database {
            None => !std::mem::replace(&mut paused.all, true),
            Some(database) => paused.databases.insert(database.clone()),
        });
        if !new {
            return Err(ControlError::AlreadyPaused);
        }
        self.tell_all(|| Mail::Paused { database: database.clone(), paused: true });
        loop {
            let report = self.gather(Detail::Counters).await;
            let covered =
                |pool: &&PoolReport| database.as_ref().is_none_or(|database| pool.database == *database);
            if report.work.pools.iter().filter(covered).all(|pool| pool.servers.total() == 0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn go_on(&self, database: Option<String>) -> Result<(), ControlError> {
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
            (false, Some(database)) => Err(ControlError::DatabaseNotPaused(database)),
        }
    }
}

impl Control for Process {
    fn report(&self, detail: Detail) -> Answer<'_, Report> {
        Box::pin(self.gather(detail))
    }

    fn settings(&self) -> Arc<Loaded> {
        Arc::new(self.current().loaded.clone())
    }

    fn readiness(&self) -> Readiness {
        match *self.phase.borrow() {
            Phase::Starting => Readiness::Starting,
            Phase::Active if self.is_awaiting() => Readiness::AwaitingGrant,
            Phase::Active => Readiness::Ready,
            Phase::Draining => Readiness::Draining,
        }
    }

    fn reload(&self) -> Answer<'_, Result<ReloadOutcome, ReloadError>> {
        Box::pin(std::future::ready(self.reread()))
    }

    fn renew_certificates(&self) {
        Self::renew_certificates(self);
    }

    fn pause(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(self.hold(database))
    }

    fn resume(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(std::future::ready(self.go_on(database)))
    }

    fn reconnect(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        let outcome = self.check_database(database.as_ref());
        if outcome.is_ok() {
            let epoch = self.new_epoch();
            self.tell_all(|| Mail::Reconnect { database: database.clone(), epoch });
        }
        Box::pin(std::future::ready(outcome))
    }

    fn budget(&self) -> Answer<'_, budget::Report> {
        Box::pin(self.tell_budget())
    }

    fn obey(&self, order: Order) -> Answer<'_, Result<budget::Report, RefusedOrder>> {
        Box::pin(Self::obey(self, order))
    }

    fn shutdown(&self, mode: ShutdownMode) {
        if mode > ShutdownMode::WaitForClients && self.phase.send_replace(Phase::Draining) != Phase::Draining
        {
            self.drain();
        }
        // a later call may only hurry
        self.leaving.send_modify(|leaving| *leaving = (*leaving).max(Some(mode)));
    }
}
