//! `/metrics`: a report as `OpenMetrics` text. Pure.
//!
//! Nothing is counted here: every figure comes from the loops' own counters when somebody scrapes. Labels are bounded
//! by what clients were let in to: database, user and the pool's rule, SQLSTATE classes, and closed sets of words; of
//! applications' names, which clients choose, by their number.

mod encoder;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};

use pgpooler_config::Place;
use pgpooler_core::drain::{Way, by_name};
use pgpooler_core::session::Holds;

use crate::reload::Loaded;
use crate::report::{Failure, PoolReport, Refused, Report, ServerCounts};
use crate::tls::InternalTls;
use encoder::Encoder;

/// The media type of what [`render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric, as text.
pub fn render(report: Report, settings: Arc<Loaded>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("pgpooler");
    registry.register_collector(Box::new(Scrape { report, settings }));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Scrape {
    report: Report,
    settings: Arc<Loaded>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = Encoder::new(encoder);
        self.process(&mut encoder)?;
        self.server(&mut encoder)?;
        self.slots(&mut encoder)?;
        self.clients(&mut encoder)?;
        self.drain(&mut encoder)?;
        self.traffic(&mut encoder)?;
        self.durations(&mut encoder)?;
        self.logins(&mut encoder)?;
        self.errors(&mut encoder)
    }
}

impl Scrape {
    fn process(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let process = &self.report.process;
        encoder.info("build", "Version of the pooler", "version", env!("CARGO_PKG_VERSION"))?;
        encoder.info("config", "Hash of the configuration document", "hash", &self.settings.hash)?;
        encoder.gauge("loops", "Event loops that answered", u64::from(self.report.loops))?;
        encoder.gauge(
            "paused",
            "Whether PAUSE without a database is in force",
            u64::from(process.paused.all),
        )?;
        let draining = process.phase == crate::report::Phase::Draining;
        encoder.gauge("draining", "Whether the process is leaving", u64::from(draining))?;
        let limit = self.settings.document.max_buffered_bytes;
        let help = "Most bytes to hold before slow peers make the other side wait";
        encoder.gauge("buffered_limit_bytes", help, limit)?;
        let help = "Bytes held for peers that have not taken them";
        encoder.gauge("buffered_bytes", help, self.report.work.buffered_bytes)?;
        let help = "Lines of the log that were dropped, since nobody took them";
        encoder.counter("log_lines_dropped", help, crate::telemetry::dropped())?;
        self.certificates(encoder)
    }

    fn server(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let server = &self.report.process.server;
        let host = server.host.as_ref().map(|(host, port)| Place { host: host.clone(), port: Some(*port) });
        let (host, address) = (told(host), told(server.address));
        let labels = [("host", host.as_str()), ("address", &address), ("role", &told(server.role))];
        encoder.infos("server", "The server that the last successful login was to", &labels)?;
        let absence = server.absence.as_ref();
        let help = "For how long no login to PostgreSQL has succeeded, since the first that failed";
        let away = absence.map_or(0.0, |absence| absence.away.as_secs_f64());
        encoder.second_gauge("server_absence", help, away)?;
        let help = "Clients that wait for a server connection while no login to PostgreSQL succeeds";
        let clients = absence.map_or(0, |_| self.report.process.ledger.waiting);
        encoder.gauge("clients_held", help, u64::from(clients))?;
        let refuses = absence.is_some_and(|absence| absence.refuses);
        let help = "Whether clients are refused, since no login has succeeded within server_hold_timeout";
        encoder.gauge("server_hold_refusing", help, u64::from(refuses))?;
        let help = "How often clients were held, since no login to PostgreSQL succeeded";
        encoder.counter("server_holds", help, server.holds)?;
        let help = "Logins and requests of clients that were refused for that";
        encoder.counter("server_hold_refusals", help, server.refused)
    }

    fn certificates(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let tls = &self.settings.tls;
        let sides = [
            ("client", tls.clients.as_ref().map(|tls| tls.not_after)),
            ("server", tls.servers.not_after),
            ("internal", tls.internal.as_ref().map(InternalTls::not_after)),
        ];
        let help = "When our certificates cease to be valid, since 1970, by the side that sees them";
        encoder.seconds("certificate_expiry_timestamp", help, |family| {
            sides.iter().try_for_each(|(side, not_after)| match not_after {
                Some(not_after) => family.point(&[("side", side)], &(*not_after as f64)),
                None => Ok(()),
            })
        })
    }

    fn slots(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let ledger = &self.report.process.ledger;
        let help = "Most server connections that the process may hold";
        encoder.gauge("server_connections_limit", help, u64::from(ledger.limit))?;
        let help = "Server connections that the process holds, logins and closing ones included";
        encoder.gauge("server_connections_held", help, u64::from(ledger.held))?;
        let help = "Requests for a server connection that wait for the limit";
        encoder.gauge("server_connections_waiting", help, u64::from(ledger.waiting))?;
        let help = "Server connections that the process was told it may hold";
        encoder.gauge("budget_limit", help, u64::from(ledger.told))?;
        let help = "Server connections that the process may hold without hearing from its operator";
        encoder.gauge("budget_floor", help, u64::from(ledger.floor))?;
        let help =
            "Logins that PostgreSQL refused because it was full, not for the limit of a role or a database";
        encoder.counter("server_refusals", help, ledger.refused)?;
        encoder.gauges("server_connections", "Server connections by state", |family| {
            for pool in self.pools() {
                for (state, count) in server_states(&pool.servers) {
                    family.point(&pool_labels(pool, &[("state", state)]), &u64::from(count))?;
                }
            }
            Ok(())
        })
    }

    fn clients(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let work = &self.report.work;
        let limit = u64::from(self.settings.document.max_client_conn);
        encoder.gauge("clients_limit", "Most clients connected at once", limit)?;
        encoder.gauge("clients_login", "Clients that are logging in", u64::from(work.login_clients))?;
        let limit = u64::from(self.settings.document.most_client_logins());
        encoder.gauge("clients_login_limit", "Most connections that have not logged in yet", limit)?;
        encoder.gauge("clients_console", "Sessions on the admin console", u64::from(work.console_clients))?;
        let help = "Clients that hold a server connection";
        self.pool_gauges(encoder, "clients_active", help, |pool| u64::from(pool.clients.active))?;
        let help = "Clients that neither hold nor want a server connection";
        self.pool_gauges(encoder, "clients_idle", help, |pool| u64::from(pool.clients.idle))?;
        let help = "Clients that wait for a server connection";
        self.pool_gauges(encoder, "clients_waiting", help, |pool| u64::from(pool.clients.waiting))?;
        let help = "Clients that keep their server connection between transactions, by the state that ties them to it";
        encoder.gauges("clients_pinned", help, |family| {
            self.pools().try_for_each(|pool| {
                Holds::ALL.iter().zip(pool.pinned).try_for_each(|((_, reason), count)| {
                    family.point(&pool_labels(pool, &[("reason", reason)]), &u64::from(count))
                })
            })
        })?;
        let help = "How long the client at the head of the queue has waited";
        encoder.seconds("longest_wait", help, |family| {
            self.pools()
                .try_for_each(|pool| family.point(&pool_labels(pool, &[]), &pool.max_wait.as_secs_f64()))
        })
    }

    fn drain(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let drain = &self.report.process.drain;
        let help = "Clients that left while clients were to leave, by application and how";
        encoder.counters("clients_left", help, None, |family| {
            drain.departures.by_name().iter().try_for_each(|(name, counts)| {
                Way::ALL.iter().zip(counts).try_for_each(|(way, count)| {
                    family.point(&[("application", name), ("way", way.as_str())], *count)
                })
            })
        })?;
        let help = "Clients that are still there while clients are to leave, by application";
        encoder.gauges("clients_staying", help, |family| {
            by_name(&drain.stay)
                .iter()
                .try_for_each(|(name, count)| family.point(&[("application", name)], count))
        })
    }

    fn traffic(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let counter =
            |encoder: &mut Encoder<'_>, name, help, unit: Option<&Unit>, of: fn(&PoolReport) -> u64| {
                encoder.counters(name, help, unit, |family| {
                    self.pools().try_for_each(|pool| family.point(&pool_labels(pool, &[]), of(pool)))
                })
            };
        counter(encoder, "transactions", "Transactions", None, |pool| pool.traffic.transactions.count())?;
        counter(encoder, "queries", "Queries", None, |pool| pool.traffic.queries.count())?;
        let bytes = Some(&Unit::Bytes);
        counter(encoder, "received", "Bytes from clients", bytes, |pool| pool.traffic.received)?;
        counter(encoder, "sent", "Bytes to clients", bytes, |pool| pool.traffic.sent)?;
        let help = "Named prepared statements that clients created";
        counter(encoder, "client_parses", help, None, |pool| pool.traffic.client_parses)?;
        let help = "Prepared statements that were created on server connections";
        counter(encoder, "server_parses", help, None, |pool| pool.traffic.server_parses)?;
        counter(encoder, "binds", "Bind messages passed on", None, |pool| pool.traffic.binds)?;
        let help = "Questions to servers what state a session holds";
        counter(encoder, "probes", help, None, |pool| pool.traffic.probes)?;
        let help = "Server connections that went to another event loop";
        counter(encoder, "lends", help, None, |pool| pool.traffic.lends)?;
        let help = "Clients that became tied to their server connection, by the state that does it";
        encoder.counters("pins", help, None, |family| {
            self.pools().try_for_each(|pool| {
                Holds::ALL.iter().zip(pool.traffic.pins).try_for_each(|((_, reason), count)| {
                    family.point(&pool_labels(pool, &[("reason", reason)]), count)
                })
            })
        })
    }

    fn durations(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let help = "Time that clients waited for a server connection";
        encoder.durations("wait_duration", help, |family| {
            self.pools().try_for_each(|pool| family.point(&pool_labels(pool, &[]), &pool.traffic.waits))
        })?;
        encoder.durations("query_duration", "Time from a query to its ReadyForQuery", |family| {
            self.pools().try_for_each(|pool| family.point(&pool_labels(pool, &[]), &pool.traffic.queries))
        })?;
        let help = "Time that a server connection was held for a transaction";
        encoder.durations("transaction_duration", help, |family| {
            self.pools()
                .try_for_each(|pool| family.point(&pool_labels(pool, &[]), &pool.traffic.transactions))
        })
    }

    fn logins(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let logins = &self.report.work.logins;
        encoder.counters("client_logins", "Logins of clients, by how they ended", None, |family| {
            family.point(&[("result", "succeeded")], logins.client_succeeded)?;
            family.point(&[("result", "failed")], logins.client_failures.iter().sum())?;
            family.point(&[("result", "refused")], logins.client_refusals.iter().sum())
        })?;
        encoder.counters(
            "client_login_failures",
            "Logins of clients that failed, by why",
            None,
            |family| {
                let mut counts = Failure::ALL.iter().zip(logins.client_failures);
                counts.try_for_each(|((_, reason), count)| family.point(&[("reason", reason)], count))
            },
        )?;
        let help = "Clients that were turned away, by why";
        encoder.counters("client_logins_refused", help, None, |family| {
            let mut counts = Refused::ALL.iter().zip(logins.client_refusals);
            counts.try_for_each(|((_, reason), count)| family.point(&[("reason", reason)], count))
        })?;
        encoder.counters("server_logins", "Logins to PostgreSQL, by how they ended", None, |family| {
            family.point(&[("result", "succeeded")], logins.server_succeeded)?;
            family.point(&[("result", "failed")], logins.server_failed)
        })?;
        let lookups = &logins.lookups;
        encoder.counters("auth_queries", "Look-ups of users, by how they ended", None, |family| {
            family.point(&[("result", "found")], lookups.found)?;
            family.point(&[("result", "unknown")], lookups.unknown)?;
            family.point(&[("result", "failed")], lookups.failed)
        })?;
        let help = "Logins for which no query was run or waited for, by where the answer came from";
        encoder.counters("auth_query_hits", help, None, |family| {
            family.point(&[("from", "shared")], lookups.shared)?;
            family.point(&[("from", "stand_in")], lookups.stood_in)
        })
    }

    fn errors(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let errors = &self.report.work.errors;
        let sources = [("pooler", &errors.pooler), ("server", &errors.server)];
        let help = "Errors that clients were sent, by whose they are and class of SQLSTATE";
        encoder.counters("errors", help, None, |family| {
            sources.iter().try_for_each(|(source, classes)| {
                classes.iter().try_for_each(|(class, count)| {
                    family.point(&[("source", source), ("class", class.to_string().as_str())], *count)
                })
            })
        })
    }

    fn pools(&self) -> std::slice::Iter<'_, PoolReport> {
        self.report.work.pools.iter()
    }

    fn pool_gauges(
        &self,
        encoder: &mut Encoder<'_>,
        name: &str,
        help: &str,
        of: fn(&PoolReport) -> u64,
    ) -> fmt::Result {
        encoder.gauges(name, help, |family| {
            self.pools().try_for_each(|pool| family.point(&pool_labels(pool, &[]), &of(pool)))
        })
    }
}

fn told(what: Option<impl ToString>) -> String {
    what.map(|what| what.to_string()).unwrap_or_default()
}

fn pool_labels<'a>(pool: &'a PoolReport, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let rule = pool.rule.as_deref().unwrap_or_default();
    let mut labels = vec![("database", pool.database.as_str()), ("user", pool.user.as_str()), ("pool", rule)];
    labels.extend_from_slice(more);
    labels
}

fn server_states(servers: &ServerCounts) -> [(&'static str, u32); 8] {
    let ServerCounts { active, idle, used, tested, login, active_cancel, being_canceled, closing } = *servers;
    [
        ("active", active),
        ("idle", idle),
        ("used", used),
        ("tested", tested),
        ("login", login),
        ("active_cancel", active_cancel),
        ("being_canceled", being_canceled),
        ("closing", closing),
    ]
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
