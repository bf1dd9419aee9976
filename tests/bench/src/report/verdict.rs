//! Whether a promise is kept.

use super::{
    bars::{Bar, Promise},
    number,
};
use crate::{
    results::{DIRECT, FLOOR, Results, Row},
    stats,
};

/// What was measured of a promise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// What was promised, as text.
    pub(crate) wanted: String,
    /// What was measured, as text.
    pub(crate) figure: String,
    /// The median ratio to PgBouncer, where there is one.
    pub(crate) ratio: Option<f64>,
    /// Whether it is kept.
    pub(crate) kept: bool,
}

impl Bar {
    fn row(&self) -> Row<'static> {
        Row { cell: self.cell, clients: self.clients, metric: self.metric }
    }

    /// Judges the first build of pgpooler; none if the figures are not all there.
    pub(crate) fn judge(&self, results: &Results) -> Option<Verdict> {
        let ours = results.ours.first()?;
        let summary = results.summary(self.row(), ours)?;
        let median = summary.median;
        let (wanted, figure, kept) = match self.promise {
            Promise::Ratio(most) => {
                let ratio = summary.ratio?;
                (format!("<= {most:.2} x PgBouncer"), number(median), ratio <= most)
            }
            Promise::Median(most) => {
                // a timer's tick among thousands of transactions is not one more call for each
                let median = (median * 100.0).round() / 100.0;
                (format!("<= {}", number(most)), number(median), median <= most)
            }
            Promise::BestPeer => {
                let (name, best) = self.best_peer(results)?;
                let figure = match results.summary(self.row(), DIRECT) {
                    Some(direct) => format!("{} ({} added)", number(median), number(median - direct.median)),
                    None => number(median),
                };
                (format!("<= {} ({name})", number(best)), figure, median <= best)
            }
            Promise::Zero => ("0".to_owned(), number(summary.highest), summary.highest == 0.0),
            Promise::Scale(one, least) => {
                let scale = self.scale(results, ours, one)?;
                (format!(">= {least:.1} x one loop"), format!("{scale:.2} x"), scale >= least)
            }
        };
        Some(Verdict { wanted, figure, ratio: summary.ratio, kept })
    }

    /// The other pooler with the lowest median.
    fn best_peer<'a>(&self, results: &'a Results) -> Option<(&'a str, f64)> {
        let others = results
            .peers
            .iter()
            .filter(|peer| ![DIRECT, FLOOR].contains(&peer.as_str()) && !results.ours.contains(peer));
        let medians =
            others.filter_map(|peer| Some((peer.as_str(), results.summary(self.row(), peer)?.median)));
        medians.min_by(|(_, left), (_, right)| left.total_cmp(right))
    }

    /// The median over the rounds of twice what one loop takes, divided by what each of two takes.
    fn scale(&self, results: &Results, ours: &str, one: &str) -> Option<f64> {
        let one = results.rounds(Row { cell: one, ..self.row() }, ours)?;
        let two = results.rounds(self.row(), ours)?;
        stats::median(stats::ratios(one, two).into_iter().map(|ratio| 2.0 * ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::bars::BARS, *};
    use crate::results::BASE;

    fn results(bar: &Bar, figures: &[(&str, f64)]) -> Results {
        let mut results = Results {
            peers: [DIRECT, BASE, "odyssey", "new", "old"].map(str::to_owned).into(),
            ours: ["new", "old"].map(str::to_owned).into(),
            ..Results::default()
        };
        for (peer, value) in figures {
            results.add(bar.row(), peer, 1, *value);
        }
        results
    }

    fn judged(promise: Promise, figures: &[(&str, f64)]) -> Option<bool> {
        let bar = Bar { what: "", cell: "two", clients: 1, metric: "cpu_us", promise };
        let mut results = results(&bar, figures);
        results.add(Row { cell: "one", ..bar.row() }, "new", 1, 10.0);
        bar.judge(&results).map(|verdict| verdict.kept)
    }

    #[test]
    fn each_kind_of_promise_can_be_kept_and_broken() {
        let against =
            |ours: f64| [(DIRECT, 1.0), ("old", 1.0), (BASE, 10.0), ("odyssey", 8.0), ("new", ours)];
        for (promise, kept, broken) in [
            (Promise::Ratio(0.7), 7.0, 7.1),
            (Promise::Median(5.0), 5.0, 5.1),
            (Promise::BestPeer, 8.0, 8.1),
            (Promise::Zero, 0.0, 1.0),
            (Promise::Scale("one", 1.8), 11.0, 11.2),
        ] {
            assert_eq!(judged(promise, &against(kept)), Some(true), "{promise:?}");
            assert_eq!(judged(promise, &against(broken)), Some(false), "{promise:?}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(judged(Promise::Median(1.0), &[(BASE, 1.0)]), None);
        assert_eq!(judged(Promise::Ratio(1.0), &[("new", 1.0)]), None);
        assert_eq!(judged(Promise::BestPeer, &[("new", 1.0), (DIRECT, 1.0)]), None);
    }

    #[test]
    fn no_two_promises_are_about_the_same_figure() {
        for (at, bar) in BARS.iter().enumerate() {
            assert!(BARS.iter().skip(at + 1).all(|other| other.row() != bar.row()), "{}", bar.what);
        }
    }
}
