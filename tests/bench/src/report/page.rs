//! `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::{About, Report, charts, grouped, table};
use crate::{
    results::{Results, Row},
    stats,
};

/// A part of the page: some metrics of some cells, with a chart or without.
struct Section {
    title: &'static str,
    text: &'static str,
    chart: Option<&'static str>,
    cells: &'static [&'static str],
    /// Metric and its words.
    metrics: &'static [(&'static str, &'static str)],
}

const PROTOCOLS: &[&str] = &["simple", "extended", "prepared"];

const SECTIONS: &[Section] = &[
    Section {
        title: "CPU per transaction",
        text: "Microseconds of CPU time of the pooler's process for one `SELECT 1`, by protocol and clients; 20 server \
               connections, one thread each. `direct` is PostgreSQL's own CPU time. \
               `floor` is no pooler: it shares as many server connections on epoll and understands nothing, so that no pool \
               on epoll costs less.",
        chart: Some("cpu.svg"),
        cells: PROTOCOLS,
        metrics: &[("cpu_us", "")],
    },
    Section {
        title: "Throughput",
        text: "Transactions per second in the same cells. Load, pooler and PostgreSQL share the machine's cores.",
        chart: Some("throughput.svg"),
        cells: PROTOCOLS,
        metrics: &[("tps", "")],
    },
    Section {
        title: "Latency",
        text: "Microseconds, in the same cells: every client asks again as soon as it has its reply.",
        chart: Some("latency.svg"),
        cells: PROTOCOLS,
        metrics: &[("p50_us", "p50"), ("p95_us", "p95"), ("p99_us", "p99")],
    },
    Section {
        title: "One client on one core",
        text: "Load, pooler and PostgreSQL share one core: microseconds of all their work, without the waking of idle cores, \
               which is most of a single client's latency elsewhere and depends on where the scheduler puts whom.",
        chart: None,
        cells: &["simple, one core", "extended, one core", "prepared, one core"],
        metrics: &[("p50_us", "p50"), ("p99_us", "p99"), ("cpu_us", "CPU us")],
    },
    Section {
        title: "System calls per transaction",
        text: "Of the pooler's process, counted by `strace -f -c` (which slows it down, so that more arrives between two \
               waits than otherwise).",
        chart: None,
        cells: PROTOCOLS,
        metrics: &[("syscalls", "")],
    },
    Section {
        title: "TLS",
        text: "`SELECT 1` through TLS 1.3.",
        chart: None,
        cells: &["simple, TLS"],
        metrics: &[("cpu_us", "CPU us"), ("tps", "per second")],
    },
    Section {
        title: "A connection for each transaction",
        text: "Login by SCRAM-SHA-256 against the stored verifier, one `SELECT 1`, goodbye; with TLS a whole handshake with an \
               ECDSA P-256 certificate each time.",
        chart: None,
        cells: &["connect", "connect, TLS"],
        metrics: &[("cpu_us", "CPU us"), ("tps", "per second")],
    },
    Section {
        title: "Memory",
        text: "PSS of the pooler's process, divided by 10,000 clients: after their login, after each has run one query, and \
               what is there more than at the start when all have left.",
        chart: Some("memory.svg"),
        cells: &["memory", "memory, TLS"],
        metrics: &[
            ("empty_mb", "MB without clients"),
            ("idle_bytes", "bytes per idle client"),
            ("queried_bytes", "bytes per client after a query"),
            ("left_mb", "MB more when all have left"),
            ("login_cpu_us", "CPU us of a login"),
            ("logins_per_s", "logins per second"),
        ],
    },
    Section {
        title: "Crowds",
        text: "10,000 clients arrive in one instant, then all ask at once, over 50 server connections. In the storm 1,000 arrive in \
               one instant before a PostgreSQL that takes 100, and each wants five transactions.",
        chart: None,
        cells: &["crowd", "storm"],
        metrics: &[
            ("arrival_s", "seconds until all are logged in or refused"),
            ("queries_s", "seconds for a query of each"),
            ("cpu_us", "CPU us per query"),
            ("errors", "errors"),
            ("refused", "clients refused"),
            ("lost", "transactions lost"),
        ],
    },
    Section {
        title: "Large results and COPY",
        text: "200 MB in rows of 100 bytes by one client; a GB is 10^9 bytes of such rows.",
        chart: Some("large.svg"),
        cells: &["SELECT", "COPY out", "COPY in"],
        metrics: &[("cpu_s_per_gb", "CPU s per GB"), ("mb_per_s", "MB/s")],
    },
    Section {
        title: "One loop and two",
        text: "64 clients before a server that answers at once and costs next to nothing. PgBouncer has one thread; \
               Odyssey has as many workers as pgpooler has loops. Where load, server and pooler share two cores, the \
               transactions per second say little about two loops; that the CPU time of a transaction stays the same says that \
               two cores do twice the work. That is a lower bound: a loop with less to do finds less at once, so that each \
               transaction costs more.",
        chart: None,
        cells: &[
            "simple, free server, 1 loop",
            "simple, free server, 2 loops",
            "prepared, free server, 1 loop",
            "prepared, free server, 2 loops",
        ],
        metrics: &[("cpu_us", "CPU us"), ("tps", "per second")],
    },
];

/// The page of a report whose plots are in this folder beside it, with what people have noted.
pub(super) fn page(report: &Report, folder: &str, notes: &str) -> String {
    let Report { about, results } = report;
    let mut text = opening(about);
    text += "\n## What is promised\n\n\
             Medians of all rounds; the ratio is the median of the ratios to PgBouncer in the same round.\n\n";
    text += &table::piped(&table::promises(results));
    if !notes.trim().is_empty() {
        let _ = write!(text, "\n{}\n", notes.trim());
    }
    let charts: Vec<_> = charts::all(results).into_iter().map(|(file, chart)| (file, chart.title)).collect();
    for section in SECTIONS {
        text += &section.shown(results, folder, &charts);
    }
    text + &failures(results)
}

fn opening(about: &About) -> String {
    let versions: Vec<String> =
        about.versions.iter().map(|(name, version)| format!("| {name} | {version} |\n")).collect();
    let disturbance = stats::median(about.disturbance.iter().copied()).unwrap_or(0.0);
    format!(
        "# Benchmarks\n\n\
         pgpooler beside PgBouncer and Odyssey, in one run on one PostgreSQL. This page, its plots and `results.json` are \
         written by `{command}`; `tests/bench` is the program behind it.\n\n\
         Every peer is visited in every round for every cell, in turning order, started anew each time: transaction pooling, \
         20 server connections unless said otherwise, TCP on 127.0.0.1, SCRAM-SHA-256 against stored verifiers, named \
         prepared statements on, no log line per connection. PostgreSQL has max_connections 100, fsync off and \
         shared_buffers 256 MB. The load is one thread on epoll; it compares every reply.\n\n\
         Figures are the best of {rounds} rounds: other work on a machine only ever makes them worse. In brackets: the \
         median of the ratios to PgBouncer in the same round, which is what to look at. CPU time is good evidence on any \
         machine; throughput and latency are only on a quiet one with cores to spare.\n\n\
         | | |\n| --- | --- |\n| date | {date} |\n| machine | {cores} cores, {processor}, {memory} GiB |\n| kernel | {kernel} |\n\
         {versions}| pgpooler's commit | {commit} |\n| others' share of the cores before each round, median | {disturbance:.2} |\n",
        command = about.command,
        rounds = about.rounds,
        date = about.date,
        cores = about.cores,
        processor = about.processor,
        memory = about.memory,
        kernel = about.kernel,
        versions = versions.concat(),
        commit = about.commit,
    )
}

impl Section {
    fn shown(&self, results: &Results, folder: &str, charts: &[(&str, String)]) -> String {
        let rows = results.rows();
        let mut lines: Vec<(String, Row<'_>)> = Vec::new();
        for cell in self.cells {
            let here = rows.iter().filter(|row| row.cell == *cell);
            lines.extend(here.filter_map(|row| Some((self.named(*row)?, *row))));
        }
        if lines.is_empty() {
            return String::new();
        }
        let mut text = format!("\n## {}\n\n{}\n\n", self.title, self.text);
        if let Some((file, title)) = charts.iter().find(|(file, _)| self.chart == Some(*file)) {
            let _ = write!(text, "![{title}]({folder}/{file})\n\n");
        }
        text + &table::markdown(results, &lines)
    }

    fn named(&self, row: Row<'_>) -> Option<String> {
        let (_, words) = self.metrics.iter().find(|(metric, _)| *metric == row.metric)?;
        let clients = match row.clients {
            1 => "1 client".to_owned(),
            many => format!("{} clients", grouped(many as i64)),
        };
        let name = format!("{}, {clients}", row.cell);
        Some(if words.is_empty() { name } else { format!("{name}: {words}") })
    }
}

fn failures(results: &Results) -> String {
    if results.failures.is_empty() {
        return "\nNo visit failed, and no reply was wrong.\n".to_owned();
    }
    let mut text = "\n## What went wrong\n\n".to_owned();
    for failure in &results.failures {
        let first = failure.error.lines().next().unwrap_or_default();
        let _ = writeln!(text, "- {}, {}, round {}: {first}", failure.cell, failure.peer, failure.round);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::Failure;

    fn report() -> Report {
        let mut results = Results {
            peers: ["direct", "pgbouncer", "pgpooler"].map(str::to_owned).into(),
            ours: vec!["pgpooler".to_owned()],
            ..Results::default()
        };
        let rows = [("simple", 64, "cpu_us"), ("simple", 64, "tps"), ("simple", 1, "p50_us")];
        for (cell, clients, metric) in rows {
            for (peer, round, value) in [
                ("direct", 1, 9.0),
                ("pgbouncer", 1, 20.0),
                ("pgpooler", 1, 12.0),
                ("pgbouncer", 2, 24.0),
                ("pgpooler", 2, 18.0),
            ] {
                results.add(Row { cell, clients, metric }, peer, round, value);
            }
        }
        let [cell, peer, error] = ["crowd", "odyssey", "it did not start\nits log"].map(str::to_owned);
        results.failures.push(Failure { cell, peer, round: 2, error });
        let [date, command, commit] = ["2026-11-28", "cargo xtask bench", "abc1234"].map(str::to_owned);
        let [processor, kernel] = ["Fast", "Linux 6.18"].map(str::to_owned);
        let versions = BTreeMap::from([("pgbouncer".to_owned(), "PgBouncer 1.26.1".to_owned())]);
        let disturbance = vec![0.1, 0.3, 0.2];
        let about = About {
            date,
            command,
            commit,
            cores: 2,
            processor,
            memory: 24.0,
            kernel,
            versions,
            rounds: 2,
            disturbance,
        };
        Report { about, results }
    }

    #[test]
    fn a_page_shows_what_was_measured_and_nothing_else() {
        insta::assert_snapshot!(page(&report(), "benchmarks", "## Notes\n\nOurs.\n"));
    }
}
