//! What `SHOW CLIENTS`, `SHOW SERVERS` and `SHOW SOCKETS` have in common: columns, rows, addresses, times.

use std::time::{SystemTime, UNIX_EPOCH};

use pgpooler_config::PoolMode;

use super::table::{Cell, Column, cell, int4, text};
use crate::report::{ClientReport, ServerReport, SocketReport};

pub(super) const COLUMNS: [Column; 22] = [
    text("type"),
    text("user"),
    text("database"),
    text("replication"),
    text("state"),
    text("addr"),
    int4("port"),
    text("local_addr"),
    int4("local_port"),
    text("connect_time"),
    text("request_time"),
    int4("wait"),
    int4("wait_us"),
    int4("close_needed"),
    text("ptr"),
    text("link"),
    int4("remote_pid"),
    text("tls"),
    text("application_name"),
    int4("prepared_statements"),
    int4("id"),
    text("pinned"),
];

/// A client's row; `state` is its word for that.
pub(super) fn client_cells(client: &ClientReport, state: &str) -> Vec<Cell> {
    let [addr, port, local_addr, local_port] = address_cells(&client.socket);
    vec![
        cell("C"),
        cell(&client.user),
        cell(&client.database),
        cell("none"),
        cell(state),
        addr,
        port,
        local_addr,
        local_port,
        cell(time_text(client.socket.connected)),
        client.requested.map(time_text),
        cell(client.wait.as_secs()),
        cell(client.wait.subsec_micros()),
        cell(0),
        cell(client_ref(client.id)),
        cell(client.link.map(server_ref).unwrap_or_default()),
        cell(0),
        cell(&client.socket.tls),
        cell(&client.application_name),
        cell(client.prepared_statements),
        cell(client.id),
        cell(client.pinned),
    ]
}

/// A server connection's row; `state` is its word for that.
pub(super) fn server_cells(server: &ServerReport, state: &str) -> Vec<Cell> {
    let [addr, port, local_addr, local_port] = address_cells(&server.socket);
    vec![
        cell("S"),
        cell(&server.user),
        cell(&server.database),
        cell("none"),
        cell(state),
        addr,
        port,
        local_addr,
        local_port,
        cell(time_text(server.socket.connected)),
        server.requested.map(time_text),
        cell(0),
        cell(0),
        cell(u8::from(server.close_needed)),
        cell(server_ref(server.id)),
        cell(server.link.map(client_ref).unwrap_or_default()),
        cell(server.backend_pid),
        cell(&server.socket.tls),
        cell(&server.application_name),
        cell(server.prepared_statements),
        cell(server.id),
        cell(server.pinned),
    ]
}

/// `addr`, `port`, `local_addr`, `local_port`.
fn address_cells(socket: &SocketReport) -> [Cell; 4] {
    [cell(socket.peer.ip()), cell(socket.peer.port()), cell(socket.local.ip()), cell(socket.local.port())]
}

/// `ptr` and `link`: PgBouncer shows addresses in memory; ours are the ids, in a form that cannot be taken for one.
fn client_ref(id: u64) -> String {
    format!("C{id}")
}

/// As [`client_ref`].
fn server_ref(id: u64) -> String {
    format!("S{id}")
}

pub(super) fn mode_word(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    }
}

/// PgBouncer's form, always in UTC.
fn time_text(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

/// Year, month and day of a day since 1970-01-01, after Howard Hinnant's `civil_from_days`: years begin in March, so
/// the leap day comes last; 146,097 days are 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(time_text(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_clock_before_1970_does_not_panic() {
        assert_eq!(time_text(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01 00:00:00 UTC");
    }
}
