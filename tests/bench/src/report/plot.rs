//! Bar charts as SVG, readable on light and on dark pages.

use std::fmt::Write as _;

use super::number;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 64.0;
const HEIGHT: f64 = 240.0;
const BOTTOM: f64 = 40.0;
/// A peer has its colour in every chart; builds of pgpooler take what is left in turn.
const COLOURS: [(&str, &str); 4] =
    [("direct", "#8b98a8"), ("pgbouncer", "#d9822b"), ("odyssey", "#7c5cbf"), ("floor", "#b9c2cc")];
const OURS: [&str; 3] = ["#1f9e89", "#c0527a", "#4a7bd0"];
/// The text and the lines follow the reader's colour scheme; the bars do not need to.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#3a4350}.title{font-size:15px;font-weight:600}\
    .value{font-size:9.5px}.grid{stroke:#d5dae0;stroke-width:1}.axis{stroke:#8b98a8;stroke-width:1}\
    @media(prefers-color-scheme:dark){text{fill:#d5dae0}.grid{stroke:#39424e}.axis{stroke:#6b7686}}";

/// A chart: groups of bars, one bar for each series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: String,
    /// What the bars of one colour belong to.
    pub(crate) series: Vec<String>,
    /// Name, and a value for each series that has one.
    pub(crate) groups: Vec<(String, Vec<Option<f64>>)>,
}

impl Chart {
    /// The chart as a file.
    pub(crate) fn svg(&self) -> String {
        let top = nice(self.highest());
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{title}\">\n\
             <style>{STYLE}</style>\n<text class=\"title\" x=\"12\" y=\"24\">{title}</text>\n",
            TOP + HEIGHT + BOTTOM,
            title = escaped(&self.title)
        );
        self.legend(&mut svg);
        grid(&mut svg, top);
        for at in 0..self.groups.len() {
            self.group(&mut svg, at, top);
        }
        let base = TOP + HEIGHT;
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{base}\" x2=\"{}\" y2=\"{base}\"/>\n</svg>",
            WIDTH - 12.0
        );
        svg
    }

    fn highest(&self) -> f64 {
        self.groups.iter().flat_map(|(_, values)| values).flatten().copied().fold(0.0, f64::max)
    }

    fn colours(&self) -> impl Iterator<Item = &'static str> {
        let mut ours = OURS.iter().cycle();
        self.series.iter().filter_map(move |name| {
            let known = COLOURS.iter().find(|(peer, _)| peer == name).map(|(_, colour)| *colour);
            known.or_else(|| ours.next().copied())
        })
    }

    fn legend(&self, svg: &mut String) {
        let mut x = 12.0;
        for (name, colour) in self.series.iter().zip(self.colours()) {
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"37\" width=\"11\" height=\"11\" rx=\"2\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"47\">{}</text>",
                x + 16.0,
                escaped(name)
            );
            x += 34.0 + 7.0 * name.chars().count() as f64;
        }
    }

    fn group(&self, svg: &mut String, at: usize, top: f64) {
        let Some((name, values)) = self.groups.get(at) else { return };
        let room = (WIDTH - LEFT - 12.0) / self.groups.len() as f64;
        let bar = (room * 0.82 / self.series.len().max(1) as f64).min(46.0);
        let middle = LEFT + room * (at as f64 + 0.5);
        let start = middle - bar * self.series.len() as f64 / 2.0;
        for (index, (value, colour)) in values.iter().zip(self.colours()).enumerate() {
            let Some(value) = value else { continue };
            let height = HEIGHT * value.max(0.0) / top;
            let (x, y) = (start + bar * index as f64, TOP + HEIGHT - height);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{colour}\"/>\
                 <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x + 1.0,
                bar - 2.0,
                x + bar / 2.0,
                y - 4.0,
                short(*value)
            );
        }
        let y = TOP + HEIGHT + 20.0;
        let _ = writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
            escaped(name)
        );
    }
}

fn grid(svg: &mut String, top: f64) {
    for step in 1..=4 {
        let share = f64::from(step) / 4.0;
        let y = TOP + HEIGHT * (1.0 - share);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            WIDTH - 12.0,
            LEFT - 8.0,
            y + 4.0,
            short(top * share).trim_end_matches(".0")
        );
    }
}

/// The next number that is easy to divide by four.
fn nice(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(highest.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    // room for the number above the highest bar
    steps.iter().map(|step| step * power).find(|top| *top >= highest * 1.02).unwrap_or(power * 12.0)
}

fn short(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.0}k", value / 1000.0) } else { number(value) }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_chart_is_above_its_highest_bar_and_divides_by_four() {
        for (highest, top) in
            [(0.0, 1.0), (0.9, 1.0), (1.0, 1.2), (17.0, 20.0), (99.0, 120.0), (2_300.0, 2_400.0)]
        {
            assert!((nice(highest) - top).abs() < 1e-9, "{highest}: {}", nice(highest));
        }
    }

    #[test]
    fn a_bar_is_as_high_as_its_value_and_a_missing_one_is_not_drawn() {
        let chart = Chart {
            title: "a < b".to_owned(),
            series: vec!["x".to_owned(), "y".to_owned()],
            groups: vec![("g".to_owned(), vec![Some(1.2), None])],
        };
        let svg = chart.svg();
        // 1.2 of 1.6
        assert!(svg.contains("height=\"180.0\" rx=\"2\" fill=\"#1f9e89\""), "{svg}");
        assert_eq!(svg.matches("class=\"value\"").count(), 1);
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
    }
}
