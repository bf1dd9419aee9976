//! The process as the console, `/metrics` and the signals see it.

use std::sync::Arc;
use std::time::Duration;

use pgpooler_core::budget;

use super::{Mail, Process};
use crate::control::{Answer, Control, ControlError, Order, Readiness, RefusedOrder, ShutdownMode};
use crate::event_loop::memory;
use crate::reload::{Loaded, ReloadError, ReloadOutcome};
use crate::report::{Detail, Phase, ProcessReport, Report};
use crate::settings::{self, SetError};

/// How long a loop may take to answer before it counts as hanging.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

impl Process {
    /// A loop that does not answer is missing from the count, which is what liveness looks at.
    pub(super) async fn gather(&self, detail: Detail) -> Report {
        let loops = self.ask_all(|answer| Mail::Report(detail, answer)).await;
        let waiting = loops.iter().flat_map(|report| &report.pools).map(|pool| pool.clients.waiting).sum();
        let process = ProcessReport {
            ledger: self.ledger_report(waiting),
            phase: *self.phase.borrow(),
            paused: self.with_paused(|paused| paused.clone()),
            disabled: self.with_disabled(|disabled| disabled.clone()),
            peer_pools: self.peers.pools(),
            sizes: memory::sizes(),
        };
        Report::gather(process, loops)
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

    fn change(&self, key: &str, value: &str) -> Result<(), SetError> {
        let _alone = self.renewal();
        let current = self.current();
        let document = settings::with(&current.loaded.document, key, value)?;
        let loaded = Loaded { document: Arc::new(document), ..current.loaded.clone() };
        let auth = current
            .auth
            .reload(&loaded.userlist, &loaded.document)
            .map_err(|_| SetError::Unavailable("the system gives no random bytes"))?;
        self.follow(loaded, auth);
        Ok(())
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
        let epoch = self.new_epoch();
        self.tell_all(|| Mail::Reconnect { database: database.clone(), epoch });
        Box::pin(std::future::ready(Ok(())))
    }

    fn disable(&self, database: String) -> Answer<'_, Result<(), ControlError>> {
        self.disable_database(database);
        Box::pin(std::future::ready(Ok(())))
    }

    fn enable(&self, database: String) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(std::future::ready(self.enable_database(database)))
    }

    fn kill(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(async {
            self.kill_databases(database).await;
            Ok(())
        })
    }

    fn kill_client(&self, id: u64) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(self.kill_one(id))
    }

    fn wait_close(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>> {
        Box::pin(async {
            self.all_closed(database).await;
            Ok(())
        })
    }

    fn set(&self, key: String, value: String) -> Answer<'_, Result<(), SetError>> {
        Box::pin(std::future::ready(self.change(&key, &value)))
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
