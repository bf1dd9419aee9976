//! What pgpooler must reach, as data. The figures are those of the design; a change of one is a change of a promise.

/// A promise about one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    /// What is promised, in words.
    pub(crate) what: &'static str,
    /// The cell.
    pub(crate) cell: &'static str,
    /// Its clients.
    pub(crate) clients: usize,
    /// The metric.
    pub(crate) metric: &'static str,
    /// The promise.
    pub(crate) promise: Promise,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Promise {
    /// At most this, as the median of the ratios to PgBouncer in the same round.
    Ratio(f64),
    /// At most this, as the median of the rounds, rounded to hundredths.
    Median(f64),
    /// At most what the best other pooler has, medians compared.
    BestPeer,
    /// Zero in every round.
    Zero,
    /// Two loops do at least so many times what one does, as far as CPU time per transaction says: twice the
    /// time of the cell named here, divided by this cell's.
    Scale(&'static str, f64),
}

/// The promises of the pooler.
pub(crate) const BARS: &[Bar] = &[
    cost("CPU per SELECT 1, simple, 64 clients", "simple", 64, 0.72),
    cost("CPU per SELECT 1, extended, 64 clients", "extended", 64, 0.75),
    cost("CPU per SELECT 1, prepared, 64 clients", "prepared", 64, 0.58),
    cost("CPU per SELECT 1, simple, 1,000 clients", "simple", 1000, 0.72),
    cost("CPU per SELECT 1, extended, 1,000 clients", "extended", 1000, 0.72),
    cost("CPU per SELECT 1, prepared, 1,000 clients", "prepared", 1000, 0.65),
    bar("p50 of 1 client on one core, simple", "simple, one core", 1, "p50_us", Promise::BestPeer),
    bar("p50 of 1 client on one core, extended", "extended, one core", 1, "p50_us", Promise::BestPeer),
    bar("p50 of 1 client on one core, prepared", "prepared, one core", 1, "p50_us", Promise::BestPeer),
    calls("system calls, simple, 1 client", "simple", 1, 6.0),
    calls("system calls, extended, 1 client", "extended", 1, 6.0),
    calls("system calls, prepared, 1 client", "prepared", 1, 6.0),
    calls("system calls, simple, 64 clients", "simple", 64, 4.4),
    calls("system calls, extended, 64 clients", "extended", 64, 4.4),
    calls("system calls, prepared, 64 clients", "prepared", 64, 4.4),
    bar("bytes per idle client", "memory", 10_000, "idle_bytes", Promise::Median(1_300.0)),
    bar("bytes per client after a query", "memory", 10_000, "queried_bytes", Promise::Median(1_300.0)),
    bar("bytes per idle client with TLS", "memory, TLS", 10_000, "idle_bytes", Promise::Median(12_000.0)),
    bar(
        "MB more than at the start, 10,000 clients having left",
        "memory",
        10_000,
        "left_mb",
        Promise::Median(10.0),
    ),
    bar("10,000 clients at once over 50 servers: errors", "crowd", 10_000, "errors", Promise::Zero),
    bar("10,000 clients at once over 50 servers: seconds", "crowd", 10_000, "queries_s", Promise::BestPeer),
    bar("1,000 clients in one instant: transactions lost", "storm", 1000, "lost", Promise::Zero),
    bar("SELECT, CPU s per GB", "SELECT", 1, "cpu_s_per_gb", Promise::Median(0.55)),
    bar("COPY out, CPU s per GB", "COPY out", 1, "cpu_s_per_gb", Promise::Median(0.6)),
    bar("COPY in, CPU s per GB", "COPY in", 1, "cpu_s_per_gb", Promise::Median(0.45)),
    bar("login, CPU", "memory", 10_000, "login_cpu_us", Promise::Ratio(1.0)),
    bar("a connection for each transaction, CPU", "connect", 16, "cpu_us", Promise::Ratio(1.0)),
    bar(
        "two loops, simple",
        "simple, free server, 2 loops",
        64,
        "cpu_us",
        Promise::Scale("simple, free server, 1 loop", 1.8),
    ),
    bar(
        "two loops, prepared",
        "prepared, free server, 2 loops",
        64,
        "cpu_us",
        Promise::Scale("prepared, free server, 1 loop", 1.8),
    ),
];

const fn bar(
    what: &'static str,
    cell: &'static str,
    clients: usize,
    metric: &'static str,
    promise: Promise,
) -> Bar {
    Bar { what, cell, clients, metric, promise }
}

const fn cost(what: &'static str, cell: &'static str, clients: usize, ratio: f64) -> Bar {
    bar(what, cell, clients, "cpu_us", Promise::Ratio(ratio))
}

const fn calls(what: &'static str, cell: &'static str, clients: usize, most: f64) -> Bar {
    bar(what, cell, clients, "syscalls", Promise::Median(most))
}
