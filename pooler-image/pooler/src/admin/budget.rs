//! `SHOW BUDGET`, `CLAIM`, `LIMIT` and `SHED`, and what listeners of the channel `budget` are told.

use std::time::Instant;

use pgpooler_core::budget::{Report, Rhythm, is_worth_telling};
use pgpooler_core::wire::backend;

use super::error::AdminError;
use super::reply::Reply;
use super::table::{Column, Kind, Table, int4, text};
use crate::control::{Control, Order};

/// The channel, as in `LISTEN budget`.
pub(super) const CHANNEL: &str = "budget";

/// By hand the limit can only be lowered, so whoever asks for a row has the same.
pub(super) async fn show(control: &dyn Control) -> Reply {
    Reply::budget("SHOW", control.budget().await)
}

pub(super) async fn obey(control: &dyn Control, order: Order) -> Result<Reply, AdminError> {
    let tag = match order {
        Order::Command(pgpooler_core::budget::Command::Claim { .. }) => "CLAIM",
        Order::Command(_) | Order::Lower(_) => "LIMIT",
        Order::Shed { .. } => "SHED",
    };
    Ok(Reply::budget(tag, control.obey(order).await?))
}

/// The row of `SHOW BUDGET`.
pub(super) fn table(report: &Report) -> Table {
    Table::new(Report::COLUMNS.map(column)).rows([report.values().to_vec()])
}

fn column(name: &'static str) -> Column {
    match name {
        "incarnation" | "phase" => text(name),
        "uptime" | "number" | "epoch" | "sequence" | "refused" => Column { name, kind: Kind::Int8 },
        _ => int4(name),
    }
}

/// The row as text, without what is NULL.
pub(super) fn pairs(report: &Report) -> String {
    let values = report.values();
    let pairs = Report::COLUMNS.iter().zip(&values);
    let known = pairs.filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    known.collect::<Vec<_>>().join(" ")
}

/// What a session has been told, and wants to go on being told.
#[derive(Debug, Default)]
pub(super) struct Listener {
    last: Option<(Report, Instant)>,
}

impl Listener {
    /// The session has seen this.
    pub(super) fn saw(&mut self, report: Report, now: Instant) {
        self.last = Some((report, now));
    }

    /// Appends a notification, if there is something to tell.
    pub(super) fn tell(&mut self, report: Report, now: Instant, process_id: i32, out: &mut Vec<u8>) {
        let worth = self.last.as_ref().is_none_or(|(last, told)| {
            is_worth_telling(last, &report, now.saturating_duration_since(*told), &Rhythm::default())
        });
        if worth {
            backend::notification_response(out, process_id, CHANNEL, pairs(&report));
            self.saw(report, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgpooler_core::budget::{Phase, Stamp, Use};

    use super::*;

    fn report(waiting: u32) -> Report {
        Report {
            incarnation: 1,
            uptime: 4200,
            number: 7,
            stamp: Stamp { epoch: 3, sequence: 2 },
            phase: Phase::Serving,
            floor: 1,
            limit: 9,
            max_connections: None,
            usage: Use { held: 4, active: 2, waiting, refused: 0 },
            clients: None,
        }
    }

    #[test]
    fn pairs_leave_out_what_is_not_known() {
        let told = "incarnation=0000000000000001 uptime=4200 number=7 epoch=3 sequence=2 phase=serving floor=1 limit=9 held=4 \
                    active=2 waiting=0 refused=0 charge=9";
        assert_eq!(pairs(&report(0)), told);
    }

    #[test]
    fn a_listener_is_told_at_once_and_then_when_there_is_news() {
        let (mut listener, mut out, now) = (Listener::default(), Vec::new(), Instant::now());
        let mut tells = |report, after| {
            out.clear();
            listener.tell(report, now + Duration::from_millis(after), 1, &mut out);
            !out.is_empty()
        };
        assert!(tells(report(0), 0));
        assert!(!tells(report(0), 100));
        assert!(tells(report(1), 200));
    }
}
