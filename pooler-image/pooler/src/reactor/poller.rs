//! Readiness of files, by epoll, edge-triggered.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

/// The key of the bell, which no source has.
const BELL: u64 = u64::MAX;

/// What a file is ready for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ready(u8);

impl Ready {
    pub(super) const READABLE: Self = Self(1);
    pub(super) const WRITABLE: Self = Self(2);
    /// The peer will send nothing more.
    pub(super) const READ_CLOSED: Self = Self(4);
    pub(super) const ERROR: Self = Self(8);

    pub(super) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn of(flags: EventFlags) -> Self {
        let mut ready = Self::default();
        if flags.intersects(EventFlags::IN | EventFlags::PRI) {
            ready = ready.with(Self::READABLE);
        }
        if flags.contains(EventFlags::OUT) {
            ready = ready.with(Self::WRITABLE);
        }
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP) {
            ready = ready.with(Self::READABLE).with(Self::READ_CLOSED);
        }
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            ready = ready.with(Self::READABLE).with(Self::WRITABLE).with(Self::ERROR);
        }
        ready
    }
}

/// Waits for files.
pub(super) struct Poller {
    epoll: Arc<OwnedFd>,
    bell: Bell,
    events: Vec<Event>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// Wakes the poller from any thread.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<OwnedFd>);

/// Adds files to a poller.
#[derive(Debug)]
pub(super) struct Registrar(Arc<OwnedFd>);

impl Poller {
    pub(super) fn new(events: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // edge-triggered: it rings at every write, and need not be read
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll: Arc::new(epoll), bell: Bell(Arc::new(bell)), events: Vec::with_capacity(events) })
    }

    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    pub(super) fn registrar(&self) -> Registrar {
        Registrar(Arc::clone(&self.epoll))
    }

    /// Waits for events.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        let timeout = timeout.map(in_millis);
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the last wait has brought: keys of files, and what they are ready for.
    pub(super) fn events(&self) -> impl Iterator<Item = (u32, Ready)> {
        let all = self.events.iter().map(|event| (event.data, event.flags));
        let files = all.filter(|(data, _)| data.u64() != BELL);
        files.map(|(data, flags)| (data.u64() as u32, Ready::of(flags)))
    }
}

impl Bell {
    pub(super) fn ring(&self) {
        // full: it rings already
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Registrar {
    pub(super) fn add(&self, file: impl AsFd, key: u32) -> io::Result<()> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.0, file, EventData::new_u64(u64::from(key)), interest)?)
    }

    pub(super) fn remove(&self, file: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, file)?)
    }
}

/// Whole milliseconds, rounded up: what every kernel's epoll knows.
fn in_millis(timeout: Duration) -> Timespec {
    let millis = i64::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX).min(86_400_000);
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}
