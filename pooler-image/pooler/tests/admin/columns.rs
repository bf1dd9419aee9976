//! Columns and their types are PgBouncer 1.25's, so that what reads PgBouncer reads this.

use pgpooler::admin::Access;
use pgpooler_core::budget::Report;
use tokio::io::AsyncWriteExt;

use crate::protocol::{Wire, query};

/// Names with types as PgBouncer's source abbreviates them: s text, i int4, b int8, N numeric.
async fn assert_columns(command: &str, types: &str, names: &str) {
    let mut wire = Wire::open(Access::Stats).await;
    wire.stream.write_all(&query(command)).await.unwrap();
    let (tag, body) = wire.message().await;
    assert_eq!(tag, b'T', "{command}");
    let described = described(&body);
    let expected: Vec<(String, char)> =
        names.split_whitespace().map(str::to_owned).zip(types.chars()).collect();
    assert_eq!(described, expected, "{command}");
    assert_eq!(names.split_whitespace().count(), types.len(), "{command}");
}

fn described(body: &[u8]) -> Vec<(String, char)> {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let kind = match u32::from_be_bytes(rest[end + 7..end + 11].try_into().unwrap()) {
            25 => 's',
            23 => 'i',
            20 => 'b',
            1700 => 'N',
            other => panic!("type {other}"),
        };
        columns.push((String::from_utf8(rest[..end].to_vec()).unwrap(), kind));
        rest = &rest[end + 19..];
    }
    assert_eq!(columns.len(), usize::from(u16::from_be_bytes([body[0], body[1]])));
    columns
}

#[tokio::test]
async fn show_pools_has_the_columns_of_pgbouncer() {
    let names = "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active \
        sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode \
        load_balance_hosts";
    assert_columns("SHOW POOLS", "ssiiiiiiiiiiiiiss", names).await;
}

#[tokio::test]
async fn show_clients_and_show_servers_have_the_columns_of_pgbouncer() {
    let names = "type user database replication state addr port local_addr local_port connect_time request_time wait \
        wait_us close_needed ptr link remote_pid tls application_name prepared_statements id pinned";
    assert_columns("SHOW CLIENTS", "ssssssisissiiississiis", names).await;
    assert_columns("SHOW SERVERS", "ssssssisissiiississiis", names).await;
}

#[tokio::test]
async fn show_stats_has_the_columns_of_pgbouncer() {
    let names = "database total_server_assignment_count total_xact_count total_query_count total_received total_sent \
        total_xact_time total_query_time total_wait_time total_client_parse_count total_server_parse_count \
        total_bind_count avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time \
        avg_query_time avg_wait_time avg_client_parse_count avg_server_parse_count avg_bind_count";
    assert_columns("SHOW STATS", "sNNNNNNNNNNNNNNNNNNNNNN", names).await;
    let names = "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
        wait_time client_parse_count server_parse_count bind_count";
    assert_columns("SHOW STATS_TOTALS", "sNNNNNNNNNNN", names).await;
    assert_columns("SHOW STATS_AVERAGES", "sNNNNNNNNNNN", names).await;
}

#[tokio::test]
async fn show_databases_has_the_columns_of_pgbouncer() {
    let names = "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode \
        load_balance_hosts max_connections current_connections max_client_connections current_client_connections paused \
        disabled";
    assert_columns("SHOW DATABASES", "ssissiiiissiiiiii", names).await;
}

#[tokio::test]
async fn the_short_tables_have_the_columns_of_pgbouncer() {
    let names = "name pool_size reserve_pool_size pool_mode max_user_connections current_connections \
        max_user_client_connections current_client_connections";
    assert_columns("SHOW USERS", "ssssiiii", names).await;
    assert_columns("SHOW LISTS", "si", "list items").await;
    assert_columns("SHOW CONFIG", "ssss", "key value default changeable").await;
    assert_columns("SHOW STATE", "ss", "key value").await;
    assert_columns("SHOW VERSION", "s", "version").await;
}

#[tokio::test]
async fn show_budget_has_the_columns_that_an_operator_reads() {
    let names = Report::COLUMNS.join(" ");
    assert_columns("SHOW BUDGET", "sbbbbsiiiiibii", &names).await;
}
