//! The kinds of load.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    connection::{self, Connection, Failure, Target},
    report::{Report, Tally},
};

/// A transaction as applications write it: three round trips.
const TRANSACTION: [&str; 3] = ["BEGIN", "SELECT 1", "COMMIT"];
/// One that holds up whoever waits for it.
const LONG_TRANSACTION: [&str; 3] = ["BEGIN", "SELECT pg_sleep(2)", "COMMIT"];
/// After a failure.
const COME_AGAIN: Duration = Duration::from_millis(200);

/// Connections in a row after which an address counts as reached: each goes to any pod of a Service, and not one of
/// them met a pod that is gone.
const REACHED: u32 = 20;
const KNOCK_AGAIN: Duration = Duration::from_millis(50);

const QUERY_CANCELED: &str = "57014";
const ADMIN_SHUTDOWN: &str = "57P01";

/// How a fleet grows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    /// Clients at the start.
    pub(crate) from: u64,
    /// Clients at the end.
    pub(crate) to: u64,
    /// How long it takes.
    pub(crate) over: Duration,
}

impl Growth {
    /// When the client with this number arrives.
    fn arrival(self, client: u64) -> Duration {
        let newcomers = self.to.saturating_sub(self.from);
        if client < self.from || newcomers == 0 {
            return Duration::ZERO;
        }
        // the last one still gets a tenth of the time
        self.over.mul_f64(0.9 * (client - self.from) as f64 / newcomers as f64)
    }
}

/// All clients are connected at the same moment, or were refused.
pub(crate) async fn storm(target: &Target, clients: u64, transactions: u64) -> Report {
    let all_in = Arc::new(Barrier::new(clients as usize));
    fleet(clients, |_| {
        let (target, all_in) = (target.clone(), Arc::clone(&all_in));
        async move {
            let mut tally = Tally::default();
            let connection = log_in(&target, &mut tally).await;
            all_in.wait().await;
            if let Some(mut connection) = connection {
                for _ in 0..transactions {
                    if !transact(&mut connection, &mut tally).await {
                        return tally;
                    }
                }
                connection.close().await;
            }
            tally
        }
    })
    .await
}

/// A login for every request.
pub(crate) async fn churn(target: &Target, clients: u64, requests: u64) -> Report {
    fleet(clients, |_| {
        let target = target.clone();
        async move {
            let mut tally = Tally::default();
            for _ in 0..requests {
                let start = Instant::now();
                let Some(mut connection) = log_in(&target, &mut tally).await else { continue };
                match connection.query("SELECT 1").await {
                    Ok(_) => tally.transaction(start),
                    Err(failure) => tally.failure(failure),
                }
                connection.close().await;
            }
            tally
        }
    })
    .await
}

/// Clients that come one after the other and stay.
pub(crate) async fn ramp(target: &Target, growth: Growth, pause: Duration) -> Report {
    let start = tokio::time::Instant::now();
    let end = start + growth.over;
    fleet(growth.to.max(growth.from), |client| {
        let target = target.clone();
        async move {
            sleep_until(start + growth.arrival(client)).await;
            let mut tally = Tally::default();
            let Some(mut connection) = log_in(&target, &mut tally).await else { return tally };
            while tokio::time::Instant::now() < end {
                match tested(connection, &target, &mut tally).await {
                    Some(good) => connection = good,
                    None => return tally,
                }
                if !transact(&mut connection, &mut tally).await {
                    return tally;
                }
                sleep(pause).await;
            }
            connection.close().await;
            tally
        }
    })
    .await
}

/// Clients that come one after the other, stay, and come again when they have failed.
pub(crate) async fn persist(
    target: &Target,
    growth: Growth,
    most: Duration,
    pause: Duration,
    end: tokio::sync::oneshot::Receiver<()>,
) -> Report {
    let start = tokio::time::Instant::now();
    let (ended, over) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = end => {}
            () = sleep_until(start + most) => {}
        }
        // clients that are gone need not hear it
        let _ = ended.send(true);
    });
    fleet(growth.to.max(growth.from), |client| {
        let (target, over) = (target.clone(), over.clone());
        async move {
            sleep_until(start + growth.arrival(client)).await;
            let statements = if client % 10 == 9 { LONG_TRANSACTION } else { TRANSACTION };
            let mut tally = Tally::default();
            while !*over.borrow() {
                stay(&target, &mut tally, &statements, pause, &over).await;
                sleep(COME_AGAIN).await;
            }
            tally
        }
    })
    .await
}

/// Until the connection fails, or all is over.
async fn stay(
    target: &Target,
    tally: &mut Tally,
    statements: &[&str],
    pause: Duration,
    over: &tokio::sync::watch::Receiver<bool>,
) {
    let Some(mut connection) = log_in(target, tally).await else { return };
    while !*over.borrow() {
        match tested(connection, target, tally).await {
            Some(good) => connection = good,
            None => return,
        }
        if !perform(&mut connection, tally, statements).await {
            return;
        }
        sleep(pause).await;
    }
    connection.close().await;
}

/// Each client is a transaction if its query was cancelled, and a failure if it was not.
pub(crate) async fn cancel(target: &Target, clients: u64) -> Report {
    let began = Instant::now();
    let mut tally = Tally::default();
    for _ in 0..clients {
        let start = Instant::now();
        let Some(mut connection) = log_in(target, &mut tally).await else { continue };
        match connection.query_and_cancel("SELECT pg_sleep(10)", target.address).await {
            Err(Failure::Refused { code, .. }) if code == QUERY_CANCELED => tally.transaction(start),
            Err(failure) => tally.failure(failure),
            Ok(_) => tally.failure(Failure::Protocol("the query was not cancelled".to_owned())),
        }
        connection.close().await;
    }
    tally.report(clients, began)
}

/// A failure if connections go on being refused or lost for as long as the target's patience.
pub(crate) async fn reach(target: &Target) -> Report {
    let began = Instant::now();
    let (mut tally, mut in_a_row) = (Tally::default(), 0);
    while in_a_row < REACHED {
        match connection::knock(target.address).await {
            Ok(()) => in_a_row += 1,
            Err(failure) if began.elapsed() > target.patience => {
                tally.failure(failure);
                break;
            }
            Err(_) => {
                in_a_row = 0;
                sleep(KNOCK_AGAIN).await;
            }
        }
    }
    tally.report(1, began)
}

async fn fleet<F: Future<Output = Tally> + 'static + Send>(
    clients: u64,
    client: impl Fn(u64) -> F,
) -> Report {
    let began = Instant::now();
    let mut running: JoinSet<Tally> = (0..clients).map(client).collect();
    let mut tally = Tally::default();
    while let Some(finished) = running.join_next().await {
        match finished {
            Ok(one) => tally.merge(one),
            Err(error) => tally.failure(Failure::Protocol(format!("a client of the fleet died: {error}"))),
        }
    }
    tally.report(clients, began)
}

async fn log_in(target: &Target, tally: &mut Tally) -> Option<Connection> {
    let start = Instant::now();
    match Connection::open(target).await {
        Ok(connection) => {
            tally.login(start);
            Some(connection)
        }
        Err(failure) => {
            tally.failure(failure);
            None
        }
    }
}

/// What a pool does before it hands a connection out: it looks whether it is there, and opens another one if it is not.
async fn tested(mut connection: Connection, target: &Target, tally: &mut Tally) -> Option<Connection> {
    match connection.query("").await {
        Ok(_) => Some(connection),
        Err(Failure::Refused { code, .. }) if code == ADMIN_SHUTDOWN => {
            tally.moved();
            log_in(target, tally).await
        }
        Err(failure) => {
            tally.failure(failure);
            None
        }
    }
}

/// Whether the connection is still good.
async fn transact(connection: &mut Connection, tally: &mut Tally) -> bool {
    perform(connection, tally, &TRANSACTION).await
}

async fn perform(connection: &mut Connection, tally: &mut Tally, statements: &[&str]) -> bool {
    let start = Instant::now();
    for sql in statements {
        if let Err(failure) = connection.query(sql).await {
            tally.failure(failure);
            return false;
        }
    }
    tally.transaction(start);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_arrive_evenly_and_the_first_ones_at_once() {
        let growth = Growth { from: 50, to: 500, over: Duration::from_secs(10) };
        assert_eq!(growth.arrival(49), Duration::ZERO);
        assert_eq!(growth.arrival(275), Duration::from_millis(4500));
        assert!(growth.arrival(499) < Duration::from_secs(9));
    }
}
