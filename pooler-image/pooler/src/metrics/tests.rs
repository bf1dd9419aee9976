//! The text as a scraper sees it.

use std::time::Duration;

use pgpooler_config::{Document, TargetRole, Userlist};

use super::*;
use crate::report::{
    AbsenceReport, ClientCounts, ErrorCounts, Failure, LedgerReport, LoginCounts, LoopReport, Paused, Phase,
    PresenceReport, ProcessReport, Refused, Traffic,
};

fn report() -> Report {
    let mut traffic = Traffic { received: 10, sent: 20, client_parses: 3, ..Traffic::default() };
    traffic.transactions.record(Duration::from_micros(400));
    traffic.transactions.record(Duration::from_millis(400));
    traffic.queries.record(Duration::from_micros(30));
    traffic.waits.record(Duration::from_mins(5));
    let mut errors = ErrorCounts::default();
    errors.record_pooler(b"53300");
    let pool = PoolReport {
        database: "orders \"x\"\\".into(),
        user: "app".into(),
        rule: Some("web".into()),
        clients: ClientCounts { active: 1, idle: 2, waiting: 3, ..ClientCounts::default() },
        servers: ServerCounts { active: 4, closing: 1, ..ServerCounts::default() },
        max_wait: Duration::from_millis(1500),
        traffic,
        ..PoolReport::default()
    };
    let mut logins = LoginCounts { client_succeeded: 6, ..LoginCounts::default() };
    logins.record_refusal(Refused::Failures);
    logins.record_failure(Failure::Credentials);
    let work = LoopReport { pools: vec![pool], logins, errors, ..LoopReport::default() };
    let process = ProcessReport {
        ledger: LedgerReport { limit: 20, held: 5, waiting: 1, told: 22, floor: 2, refused: 3 },
        phase: Phase::Active,
        paused: Paused::default(),
        server: PresenceReport {
            host: Some(("pg-0.pg".into(), 5432)),
            address: Some("10.0.0.3:5432".parse().unwrap()),
            role: Some(TargetRole::Primary),
            absence: Some(AbsenceReport {
                away: Duration::from_millis(1500),
                refuses: true,
                why: "pg-0.pg:5432: refused".into(),
            }),
            holds: 2,
            refused: 7,
        },
        ..ProcessReport::default()
    };
    Report::gather(process, [work])
}

fn rendered() -> String {
    let settings = Loaded {
        document: Arc::new(Document::default()),
        userlist: Arc::new(Userlist::default()),
        tls: Arc::default(),
        hash: "c0ffee".into(),
        ..Loaded::default()
    };
    render(report(), Arc::new(settings)).unwrap()
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|present| present == line), "no line {line}\n{text}");
}

#[test]
fn the_server_and_its_absence_are_told() {
    let text = rendered();
    has(&text, "pgpooler_server_info{host=\"pg-0.pg:5432\",address=\"10.0.0.3:5432\",role=\"primary\"} 1");
    has(&text, "pgpooler_server_absence_seconds 1.5");
    has(&text, "pgpooler_clients_held 1");
    has(&text, "pgpooler_server_hold_refusing 1");
    has(&text, "pgpooler_server_holds_total 2");
    has(&text, "pgpooler_server_hold_refusals_total 7");
}

#[test]
fn slots_are_told_for_the_process_and_by_state() {
    let text = rendered();
    has(&text, "pgpooler_server_connections_limit 20");
    has(&text, "pgpooler_server_connections_held 5");
    let labels = r#"database="orders \"x\"\\",user="app",pool="web""#;
    has(&text, &format!("pgpooler_server_connections{{{labels},state=\"active\"}} 4"));
    has(&text, &format!("pgpooler_server_connections{{{labels},state=\"closing\"}} 1"));
    has(&text, &format!("pgpooler_clients_waiting{{{labels}}} 3"));
    has(&text, &format!("pgpooler_longest_wait_seconds{{{labels}}} 1.5"));
}

#[test]
fn counters_end_in_total_and_carry_their_unit() {
    let text = rendered();
    let labels = r#"{database="orders \"x\"\\",user="app",pool="web"}"#;
    has(&text, &format!("pgpooler_transactions_total{labels} 2"));
    has(&text, &format!("pgpooler_received_bytes_total{labels} 10"));
    has(&text, "pgpooler_client_logins_total{result=\"refused\"} 1");
    has(&text, "pgpooler_client_logins_refused_total{reason=\"max_failed_logins\"} 1");
    has(&text, "pgpooler_client_logins_refused_total{reason=\"leaving\"} 0");
    has(&text, "pgpooler_client_login_failures_total{reason=\"credentials\"} 1");
    has(&text, "pgpooler_errors_total{source=\"pooler\",class=\"53\"} 1");
    has(&text, "# TYPE pgpooler_transactions counter");
}

#[test]
fn durations_are_cumulative_histograms_in_seconds() {
    let text = rendered();
    let bucket = |name: &str, bound: &str, count: u32| {
        let labels = format!(r#"le="{bound}",database="orders \"x\"\\",user="app",pool="web""#);
        has(&text, &format!("pgpooler_{name}_duration_seconds_bucket{{{labels}}} {count}"));
    };
    bucket("transaction", "0.00025", 0);
    bucket("transaction", "0.0005", 1);
    bucket("transaction", "0.5", 2);
    bucket("transaction", "+Inf", 2);
    bucket("wait", "120.0", 0);
    bucket("wait", "+Inf", 1);
    let labels = r#"{database="orders \"x\"\\",user="app",pool="web"}"#;
    has(&text, &format!("pgpooler_transaction_duration_seconds_sum{labels} 0.4004"));
    has(&text, &format!("pgpooler_wait_duration_seconds_count{labels} 1"));
}

#[test]
fn version_and_configuration_are_told_as_info() {
    let text = rendered();
    has(&text, concat!("pgpooler_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"));
    has(&text, "pgpooler_config_info{hash=\"c0ffee\"} 1");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_metric_has_a_heading_in_the_reference() {
    let reference = include_str!("../../../../docs/reference/metrics.md");
    let text = rendered();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(names.len() > 20, "{names:?}");
    for line in &names {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let heading = format!("### {name}{suffix}");
        assert!(reference.lines().any(|line| line == heading), "docs/reference/metrics.md lacks: {heading}");
    }
    // the operator's are on the same page
    let is_ours = |line: &&str| line.starts_with("### ") && !line.starts_with("### pgpooler_operator_");
    let headings = reference.lines().filter(is_ours).count();
    assert_eq!(headings, names.len(), "docs/reference/metrics.md has headings of metrics that do not exist");
}
