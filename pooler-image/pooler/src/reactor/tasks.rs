//! Tasks of one thread, for all that is not a transaction.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

use super::poller::Bell;

/// How long tasks may keep transactions waiting: a thousand logins at once take much longer.
const TURN: Duration = Duration::from_micros(500);

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Woken tasks, by any thread.
#[derive(Debug)]
pub(super) struct Queue {
    woken: Mutex<VecDeque<usize>>,
    /// How many they are: asked at every turn of the loop, and mostly none.
    count: AtomicUsize,
    /// The thread waits for events, or is about to.
    asleep: AtomicBool,
    bell: Bell,
}

impl Queue {
    pub(super) fn new(bell: Bell) -> Self {
        Self { woken: Mutex::default(), count: AtomicUsize::new(0), asleep: AtomicBool::new(false), bell }
    }

    fn push(&self, task: usize) {
        self.with_woken(|woken| woken.push_back(task));
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    fn pop(&self) -> Option<usize> {
        self.with_woken(VecDeque::pop_front)
    }

    fn with_woken<T>(&self, change: impl FnOnce(&mut VecDeque<usize>) -> T) -> T {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut woken);
        self.count.store(woken.len(), Ordering::SeqCst);
        outcome
    }

    fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// Wakes a task, once until it has run.
#[derive(Debug)]
struct Alarm {
    task: usize,
    rung: AtomicBool,
    queue: Arc<Queue>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.queue.push(self.task);
        }
    }
}

struct Task {
    /// Not there while it runs.
    work: Option<Work>,
    alarm: Arc<Alarm>,
}

#[derive(Default)]
struct Tasks {
    queue: Option<Arc<Queue>>,
    all: Slab<Task>,
}

thread_local! {
    static TASKS: RefCell<Tasks> = RefCell::default();
}

pub(super) fn install(queue: Queue) {
    TASKS.with_borrow_mut(|tasks| *tasks = Tasks { queue: Some(Arc::new(queue)), all: Slab::new() });
}

/// Begins a task. On a thread without a reactor nothing comes of it.
pub(crate) fn spawn_local(work: impl Future<Output = ()> + 'static) {
    TASKS.with_borrow_mut(|tasks| {
        let Some(queue) = &tasks.queue else { return };
        let entry = tasks.all.vacant_entry();
        let alarm =
            Arc::new(Alarm { task: entry.key(), rung: AtomicBool::new(false), queue: Arc::clone(queue) });
        entry.insert(Task { work: Some(Box::pin(work)), alarm: Arc::clone(&alarm) });
        alarm.wake_by_ref();
    });
}

/// Lets others have their turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs what was woken, and not what is woken meanwhile; after a while the rest has to wait.
pub(super) fn run() {
    let woken = |tasks: &Tasks| tasks.queue.as_ref().map_or(0, |queue| queue.len());
    let woken = TASKS.with_borrow(woken);
    if woken == 0 {
        return;
    }
    let Some(queue) = TASKS.with_borrow(|tasks| tasks.queue.clone()) else { return };
    let begun = Instant::now();
    for task in (0..woken).map_while(|_| queue.pop()) {
        run_one(task);
        if begun.elapsed() >= TURN {
            return;
        }
    }
}

fn run_one(id: usize) {
    let taken = TASKS.with_borrow_mut(|tasks| {
        let task = tasks.all.get_mut(id)?;
        task.alarm.rung.store(false, Ordering::Release);
        Some((task.work.take()?, Arc::clone(&task.alarm)))
    });
    // it has ended, and was woken for nothing
    let Some((mut work, alarm)) = taken else { return };
    let waker = Waker::from(alarm);
    if work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        return TASKS.with_borrow_mut(|tasks| {
            if let Some(task) = tasks.all.get_mut(id) {
                task.work = Some(work);
            }
        });
    }
    TASKS.with_borrow_mut(|tasks| tasks.all.try_remove(id));
    // what it owns may begin tasks when it is dropped
    drop(work);
}

/// Whoever wakes a task from now on rings the bell; whether some are awake already.
pub(super) fn fall_asleep() -> bool {
    TASKS.with_borrow(|tasks| {
        let Some(queue) = &tasks.queue else { return false };
        queue.asleep.store(true, Ordering::SeqCst);
        queue.len() > 0
    })
}

pub(super) fn awake() {
    TASKS.with_borrow(|tasks| {
        if let Some(queue) = &tasks.queue {
            queue.asleep.store(false, Ordering::SeqCst);
        }
    });
}

/// Drops all tasks, and those that begin meanwhile.
pub(super) fn clear() {
    while let Some(tasks) = TASKS.with_borrow_mut(|tasks| {
        let all = std::mem::take(&mut tasks.all);
        (!all.is_empty()).then_some(all)
    }) {
        drop(tasks);
    }
}
