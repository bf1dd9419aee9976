//! What an event loop runs on: readiness of sockets, tasks, timers, all of one thread.
//!
//! Not tokio's, because of what a transaction would pay for it (ADR 0007): a socket that belongs to a seat of the loop is
//! served by a direct call, not by waking a task, and costs nine words beside its file. Everything that is not a
//! transaction (logins, opening and cleaning of server connections, cancel requests) is tasks as usual: [`Socket`]
//! implements tokio's traits, and tokio's channels work here as anywhere.
//!
//! On a thread without a reactor (the service's, those of tests) [`Socket`], [`timeout`] and their kin use the tokio
//! runtime that they find there.
//!
//! [`poller`] is all that knows of epoll: another way to learn of readiness takes its place.

mod listener;
mod local;
mod poller;
mod resolve;
mod socket;
mod tasks;
mod timers;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

pub(crate) use self::listener::Listener;
pub(crate) use self::local::{Seat, has_ended_unseen, ready};
pub(crate) use self::resolve::lookup_host;
pub use self::socket::Socket;
pub(crate) use self::tasks::{spawn_local, yield_now};
pub(crate) use self::timers::{now, sleep, sleep_until, tick, timeout, timeout_at};

use self::poller::Poller;

/// Events taken from the kernel at once.
const EVENTS: usize = 512;

/// Runs the tasks of this thread that were woken.
pub(crate) fn run_tasks() {
    tasks::run();
}

/// A thread's reactor. What belongs to it ends with it.
#[derive(Debug)]
pub(crate) struct Reactor {
    poller: Poller,
}

impl Reactor {
    /// Makes this thread's sockets, tasks and timers work.
    pub(crate) fn start() -> io::Result<Self> {
        let poller = Poller::new(EVENTS)?;
        local::install(poller.registrar(), tasks::Queue::new(poller.bell()));
        timers::tick();
        Ok(Self { poller })
    }

    /// Runs this thread's tasks until this one has ended.
    pub(crate) fn block_on<T: 'static>(mut self, work: impl Future<Output = T> + 'static) -> io::Result<T> {
        let outcome = Rc::new(Cell::new(None));
        let result = Rc::clone(&outcome);
        spawn_local(async move { result.set(Some(work.await)) });
        loop {
            run_tasks();
            if let Some(outcome) = outcome.take() {
                return Ok(outcome);
            }
            self.wait()?;
        }
    }

    /// Waits until something is ready, and notes what is. Returns at once while there is other work.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let timeout = if local::has_ready() || tasks::fall_asleep() {
            Some(Duration::ZERO)
        } else {
            timers::next().map(|at| at.saturating_duration_since(now()))
        };
        let waited = self.poller.wait(timeout);
        // before tasks are woken, or they would ring the bell
        tasks::awake();
        for (key, ready) in self.poller.events() {
            local::note(key, ready);
        }
        timers::tick();
        timers::fire();
        waited
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // sockets and timers in tasks must still find what they belong to
        tasks::clear();
        local::uninstall();
    }
}
