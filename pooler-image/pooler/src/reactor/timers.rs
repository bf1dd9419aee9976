//! Time, as the thread's reactor knows it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::local;

#[derive(Debug, Default)]
struct Timers {
    due: BTreeMap<(Instant, u64), Waker>,
    last: u64,
}

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::default();
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too late")]
pub(crate) struct Elapsed;

/// The time when the thread last looked: in a loop, when its last events came. Costs no call.
pub(crate) fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

/// Looks at the clock.
pub(crate) fn tick() {
    NOW.set(Some(Instant::now()));
}

/// When the next timer is due.
pub(super) fn next() -> Option<Instant> {
    TIMERS.with_borrow(|timers| timers.due.keys().next().map(|(at, _)| *at))
}

/// Wakes those whose time has come.
pub(super) fn fire() {
    let now = now();
    loop {
        let waker = TIMERS.with_borrow_mut(|timers| {
            let entry = timers.due.first_entry()?;
            (entry.key().0 <= now).then(|| entry.remove())
        });
        match waker {
            Some(waker) => waker.wake(),
            None => return,
        }
    }
}

/// Until an instant. Cancel-safe.
#[derive(Debug)]
pub(crate) struct Sleep {
    at: Instant,
    /// Its number among those due at the same instant, while it is set.
    set: Option<u64>,
}

/// Sleeps until then, on a thread with a reactor.
pub(crate) fn sleep_until(at: Instant) -> Sleep {
    Sleep { at, set: None }
}

/// Sleeps so long, on a thread with a reactor.
pub(crate) fn sleep(period: Duration) -> Sleep {
    sleep_until(Instant::now() + period)
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        let at = self.at;
        self.set = Some(TIMERS.with_borrow_mut(|timers| {
            let number = self.set.unwrap_or_else(|| {
                timers.last += 1;
                timers.last
            });
            timers.due.insert((at, number), cx.waker().clone());
            number
        }));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(number) = self.set else { return };
        // at the end of the thread there may be no timers left
        let _ = TIMERS.try_with(|timers| timers.borrow_mut().due.remove(&(self.at, number)));
    }
}

/// What the future gives, unless that takes too long. As cancel-safe as the future.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let forever = Duration::from_hours(24 * 365 * 30);
    timeout_at(Instant::now() + limit.min(forever), future).await
}

/// The same with an instant.
pub(crate) async fn timeout_at<F: Future>(at: Instant, future: F) -> Result<F::Output, Elapsed> {
    if !local::is_there() {
        return tokio::time::timeout_at(at.into(), future).await.map_err(|_| Elapsed);
    }
    let (mut future, mut sleep) = (pin!(future), pin!(sleep_until(at)));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}
