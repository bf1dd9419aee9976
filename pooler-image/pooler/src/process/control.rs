//! The process as the console, `/metrics` and the signals see it.

use std::sync::Arc;
use std::time::Duration;

use pgpooler_config::Bundle;
use pgpooler_core::budget;
use tracing::info;

use super::{Mail, Process};
use crate::auth::AuthState;
use crate::control::{Answer, Control, ControlError, Order, Readiness, RefusedOrder, ShutdownMode};
use crate::event_loop::memory;
use crate::reload::{Loaded, ReloadError, ReloadOutcome};
use crate::report::{Detail, Paused, Phase, ProcessReport, Report};
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
            server: self.server_report(),
            drain: self.drain_report(),
        };
        Report::gather(process, loops)
    }

    fn reread(&self) -> Result<ReloadOutcome, ReloadError> {
        let _alone = self.renewal();
        let outcome = self.bring_into_force(self.source.load()?)?;
        self.forget_welcomes();
        Ok(outcome)
    }

    fn take(&self, bundle: Bundle, epoch: Option<u64>) -> Result<ReloadOutcome, ReloadError> {
        let _alone = self.renewal();
        if let Some(epoch) = epoch {
            self.budget(|holder| holder.follows(epoch))?;
        }
        let outcome = self.bring_into_force(self.source.accept(bundle)?)?;
        let ReloadOutcome { hash, changed, needs_restart } = &outcome;
        info!(hash, ?changed, ?needs_restart, "the configuration that was pushed is in force");
        Ok(outcome)
    }

    fn bring_into_force(&self, read: Loaded) -> Result<ReloadOutcome, ReloadError> {
        let current = self.current();
        let (loaded, outcome) = current.loaded.succeed(read);
        let auth = current
            .auth
            .reload(&loaded.userlist, &loaded.document)
            .map_err(|_| ReloadError::Unavailable("the system gives no random bytes"))?;
        self.switch(&current.loaded, (loaded, auth), &outcome.changed);
        Ok(outcome)
    }

    /// From what was in force to what is, and to what follows from the difference.
    fn switch(&self, before: &Loaded, (loaded, auth): (Loaded, AuthState), changed: &[String]) {
        let (was, is) = (before.document.paused, loaded.document.paused);
        // clients that wait go on with what is new, and with nothing else
        if is && !was {
            self.pause_all(true);
        }
        let epoch = self.follow(loaded, auth);
        if changed.iter().any(|key| settings::is_about_the_server(key)) {
            self.forget_welcomes();
            self.tell_all(|| Mail::Reconnect { database: None, epoch });
        }
        if was && !is {
            self.pause_all(false);
        }
    }

    fn change(&self, key: &str, value: &str) -> Result<(), SetError> {
        let _alone = self.renewal();
        let current = self.current();
        let document = settings::with(&current.loaded.document, key, value)?;
        let changed = settings::differing(&current.loaded.document, &document);
        let loaded = Loaded { document: Arc::new(document), ..current.loaded.clone() };
        let auth = current
            .auth
            .reload(&loaded.userlist, &loaded.document)
            .map_err(|_| SetError::Unavailable("the system gives no random bytes"))?;
        self.switch(&current.loaded, (loaded, auth), &changed);
        Ok(())
    }

    fn pause_all(&self, all: bool) {
        self.with_paused(|paused| *paused = Paused { all, ..Paused::default() });
        self.tell_all(|| Mail::Paused { database: None, paused: all });
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

    fn configure(
        &self,
        bundle: Bundle,
        epoch: Option<u64>,
    ) -> Answer<'_, Result<ReloadOutcome, ReloadError>> {
        Box::pin(std::future::ready(self.take(bundle, epoch)))
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
        self.forget_welcomes();
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
