//! Which charts there are.

use super::plot::Chart;
use crate::results::{DIRECT, Results, Row};

/// A chart that is drawn if anything of it was measured.
struct Spec {
    file: &'static str,
    title: &'static str,
    /// PostgreSQL itself is among the bars.
    direct: bool,
    /// Name, cell, clients, metric.
    groups: &'static [(&'static str, &'static str, usize, &'static str)],
}

const SPECS: &[Spec] = &[
    Spec {
        file: "cpu.svg",
        title: "CPU time of the pooler per SELECT 1, microseconds (less is better)",
        direct: false,
        groups: &[
            ("simple, 64", "simple", 64, "cpu_us"),
            ("extended, 64", "extended", 64, "cpu_us"),
            ("prepared, 64", "prepared", 64, "cpu_us"),
            ("simple, 1000", "simple", 1000, "cpu_us"),
            ("extended, 1000", "extended", 1000, "cpu_us"),
            ("prepared, 1000", "prepared", 1000, "cpu_us"),
        ],
    },
    Spec {
        file: "throughput.svg",
        title: "SELECT 1 per second, load and PostgreSQL on the same cores (more is better)",
        direct: true,
        groups: &[
            ("simple, 64", "simple", 64, "tps"),
            ("extended, 64", "extended", 64, "tps"),
            ("prepared, 64", "prepared", 64, "tps"),
            ("simple, 1000", "simple", 1000, "tps"),
            ("prepared, 1000", "prepared", 1000, "tps"),
        ],
    },
    Spec {
        file: "latency.svg",
        title: "p50 latency of one client, microseconds (less is better)",
        direct: true,
        groups: &[
            ("simple, one core", "simple, one core", 1, "p50_us"),
            ("extended, one core", "extended, one core", 1, "p50_us"),
            ("prepared, one core", "prepared, one core", 1, "p50_us"),
            ("simple", "simple", 1, "p50_us"),
            ("prepared", "prepared", 1, "p50_us"),
        ],
    },
    Spec {
        file: "memory.svg",
        title: "Bytes of memory per client, 10,000 clients (less is better)",
        direct: false,
        groups: &[
            ("idle", "memory", 10_000, "idle_bytes"),
            ("after a query", "memory", 10_000, "queried_bytes"),
            ("idle, TLS", "memory, TLS", 10_000, "idle_bytes"),
            ("after a query, TLS", "memory, TLS", 10_000, "queried_bytes"),
        ],
    },
    Spec {
        file: "large.svg",
        title: "CPU seconds per GB, rows of 100 bytes (less is better)",
        direct: false,
        groups: &[
            ("SELECT", "SELECT", 1, "cpu_s_per_gb"),
            ("COPY out", "COPY out", 1, "cpu_s_per_gb"),
            ("COPY in", "COPY in", 1, "cpu_s_per_gb"),
        ],
    },
];

/// File and chart, for each that anything was measured of.
pub(crate) fn all(results: &Results) -> Vec<(&'static str, Chart)> {
    SPECS.iter().filter_map(|spec| Some((spec.file, spec.chart(results)?))).collect()
}

impl Spec {
    fn chart(&self, results: &Results) -> Option<Chart> {
        let shown = |peer: &&String| self.direct || *peer != DIRECT;
        let series: Vec<String> = results.peers.iter().filter(shown).cloned().collect();
        let groups = self.groups.iter().map(|(name, cell, clients, metric)| {
            let row = Row { cell, clients: *clients, metric };
            let best = |peer| results.summary(row, peer).map(|summary| summary.best(metric));
            ((*name).to_owned(), series.iter().map(|peer| best(peer)).collect::<Vec<_>>())
        });
        let groups: Vec<_> = groups.filter(|(_, values)| values.iter().any(Option::is_some)).collect();
        (!groups.is_empty()).then(|| Chart { title: self.title.to_owned(), series, groups })
    }
}
