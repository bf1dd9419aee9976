//! The thread's sources of events, and who is told of them.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Waker};

use slab::Slab;

use super::poller::{Ready, Registrar};
use super::tasks::{self, Queue};

/// A seat of the thread's loop, which is served by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat(pub(crate) u32);

/// A file's place among the sources; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Key(u32);

/// Who is told that a file is ready.
#[derive(Debug, Default)]
enum Owner {
    #[default]
    Nobody,
    Seat(Seat),
    Task(Waker),
}

#[derive(Debug)]
struct Source {
    owner: Owner,
    ready: Ready,
}

#[derive(Debug, Default)]
struct Local {
    registrar: OnceCell<Registrar>,
    sources: Slab<Source>,
    /// Seats that something is new for.
    ready: VecDeque<Seat>,
    /// A file that no seat has was closed by its peer.
    ended_unseen: bool,
}

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::default();
}

pub(super) fn install(registrar: Registrar, queue: Queue) {
    LOCAL.with_borrow_mut(|local| {
        *local = Local::default();
        local.registrar = OnceCell::from(registrar);
    });
    tasks::install(queue);
}

pub(super) fn uninstall() {
    LOCAL.with_borrow_mut(|local| *local = Local::default());
}

/// Whether this thread has a reactor.
pub(super) fn is_there() -> bool {
    LOCAL.try_with(|local| local.borrow().registrar.get().is_some()).unwrap_or(false)
}

/// Makes a file a source; its key.
pub(super) fn add(file: impl AsFd) -> io::Result<Key> {
    LOCAL.with_borrow_mut(|local| {
        let Local { registrar, sources, .. } = local;
        let registrar = registrar.get().ok_or(io::ErrorKind::NotConnected)?;
        let entry = sources.vacant_entry();
        registrar.add(file, entry.key() as u32)?;
        let key = entry.key() as u32;
        // a fresh socket takes bytes, and whether it has any is told by its first event
        entry.insert(Source { owner: Owner::Nobody, ready: Ready::WRITABLE });
        Ok(Key(key))
    })
}

impl Drop for Key {
    fn drop(&mut self) {
        // its file is about to be closed, which takes it off the poller; at the end of the thread nothing may be left
        let _ = LOCAL.try_with(|local| {
            if let Ok(mut local) = local.try_borrow_mut() {
                local.sources.try_remove(self.0 as usize);
            }
        });
    }
}

/// Takes a file off the poller that goes to another thread.
pub(super) fn remove(file: impl AsFd) -> io::Result<()> {
    LOCAL.with_borrow(|local| local.registrar.get().map_or(Ok(()), |registrar| registrar.remove(file)))
}

fn with<T>(key: &Key, act: impl FnOnce(&mut Source) -> T) -> Option<T> {
    LOCAL.with_borrow_mut(|local| local.sources.get_mut(key.0 as usize).map(act))
}

/// From now on the seat is told; a task is no more.
pub(super) fn own(key: &Key, seat: Option<Seat>) {
    with(key, |source| source.owner = seat.map_or(Owner::Nobody, Owner::Seat));
}

/// What the file is ready for; if it is not for what is wanted, the task is told when it is, unless a seat is.
pub(super) fn poll(key: &Key, wanted: Ready, cx: &Context<'_>) -> bool {
    with(key, |source| {
        let is_ready = source.ready.intersects(wanted);
        if !is_ready {
            match &mut source.owner {
                Owner::Seat(_) => {}
                Owner::Task(waker) if waker.will_wake(cx.waker()) => {}
                owner => *owner = Owner::Task(cx.waker().clone()),
            }
        }
        is_ready
    })
    .unwrap_or(true)
}

/// What the file is known to be ready for.
pub(super) fn ready_for(key: &Key) -> Ready {
    with(key, |source| source.ready).unwrap_or_default()
}

/// The kernel has said that the file is ready for this no more, or will say so when it is asked.
pub(super) fn not_ready(key: &Key, no_more: Ready) {
    with(key, |source| {
        // of an end no event comes again
        let stays =
            no_more == Ready::READABLE && source.ready.intersects(Ready::READ_CLOSED.with(Ready::ERROR));
        if !stays {
            source.ready = source.ready.without(no_more);
        }
    });
}

/// There is nothing to read after all, whatever the events have said.
pub(super) fn not_ready_at_all(key: &Key) {
    with(key, |source| source.ready = source.ready.without(Ready::READABLE));
}

/// An event has come.
pub(super) fn note(key: u32, ready: Ready) {
    LOCAL.with_borrow_mut(|local| {
        let Some(source) = local.sources.get_mut(key as usize) else { return };
        source.ready = source.ready.with(ready);
        let ended = ready.intersects(Ready::READ_CLOSED.with(Ready::ERROR));
        match &source.owner {
            Owner::Nobody => local.ended_unseen |= ended,
            Owner::Seat(seat) => local.ready.push_back(*seat),
            Owner::Task(waker) => {
                // whoever looked at it in passing is no task
                local.ended_unseen |= ended;
                waker.wake_by_ref();
            }
        }
    });
}

/// Whether a file that no seat has was closed by its peer, since this was asked last.
pub(crate) fn has_ended_unseen() -> bool {
    LOCAL.with_borrow_mut(|local| std::mem::take(&mut local.ended_unseen))
}

/// Lets a seat be served again.
pub(crate) fn ready(seat: Seat) {
    LOCAL.with_borrow_mut(|local| local.ready.push_back(seat));
}

pub(super) fn has_ready() -> bool {
    LOCAL.with_borrow(|local| !local.ready.is_empty())
}

impl Seat {
    /// The next seat that something is new for.
    pub(crate) fn next_ready() -> Option<Self> {
        LOCAL.with_borrow_mut(|local| local.ready.pop_front())
    }

    /// How many there are now.
    pub(crate) fn count_ready() -> usize {
        LOCAL.with_borrow(|local| local.ready.len())
    }
}
