//! The few shapes of metric that there are, over prometheus-client's encoder.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::report::{BOUNDS, Histogram};

pub(super) type Labels<'a> = [(&'a str, &'a str)];

pub(super) struct Encoder<'a>(DescriptorEncoder<'a>);

/// The points of one metric.
pub(super) struct Counters<'a>(MetricEncoder<'a>);
/// As [`Counters`].
pub(super) struct Gauges<'a>(MetricEncoder<'a>);
/// As [`Counters`].
pub(super) struct Durations<'a>(MetricEncoder<'a>);

impl<'a> Encoder<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub(super) fn info(&mut self, name: &str, help: &str, label: &str, value: &str) -> fmt::Result {
        self.infos(name, help, &[(label, value)])
    }

    pub(super) fn infos(&mut self, name: &str, help: &str, labels: &Labels<'_>) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// In seconds, without labels.
    pub(super) fn second_gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        points: impl FnOnce(&mut Gauges<'_>) -> fmt::Result,
    ) -> fmt::Result {
        points(&mut Gauges(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?))
    }

    pub(super) fn seconds(
        &mut self,
        name: &str,
        help: &str,
        points: impl FnOnce(&mut Gauges<'_>) -> fmt::Result,
    ) -> fmt::Result {
        points(&mut Gauges(self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?))
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        points: impl FnOnce(&mut Counters<'_>) -> fmt::Result,
    ) -> fmt::Result {
        points(&mut Counters(self.0.encode_descriptor(name, help, unit, MetricType::Counter)?))
    }

    pub(super) fn durations(
        &mut self,
        name: &str,
        help: &str,
        points: impl FnOnce(&mut Durations<'_>) -> fmt::Result,
    ) -> fmt::Result {
        points(&mut Durations(self.0.encode_descriptor(
            name,
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?))
    }
}

impl Counters<'_> {
    pub(super) fn point(&mut self, labels: &Labels<'_>, value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }
}

impl Gauges<'_> {
    pub(super) fn point(&mut self, labels: &Labels<'_>, value: &impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(value)
    }
}

impl Durations<'_> {
    pub(super) fn point(&mut self, labels: &Labels<'_>, histogram: &Histogram) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets().iter().copied()).collect();
        let sum = seconds(histogram.micros());
        self.0.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
