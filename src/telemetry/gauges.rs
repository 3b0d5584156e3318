//! Gauges as OpenTelemetry has them. The sampler is the reader's clock: what it tells is collected at once, so that each second's
//! maximum is one row with that second's time, however long an upload takes, and nothing is sent again when a worker is gone.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Gauge, Meter, MeterProvider},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality, data::ResourceMetrics,
        reader::MetricReader,
    },
};
use std::sync::Arc;

use super::fields::{Fields, Said};

/// The instruments, and the reader that empties them.
#[derive(Debug)]
pub(super) struct Gauges {
    reader: SharedReader,
    meter: Meter,
    instruments: Mutex<HashMap<&'static str, Gauge<f64>>>,
    /// Keeps the reader's pipeline.
    _provider: SdkMeterProvider,
}

/// A reader that its provider and we have.
#[derive(Clone, Debug)]
struct SharedReader(Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

impl Gauges {
    /// Gauges of a role and its instance.
    pub(super) fn new(names: Vec<KeyValue>) -> Self {
        let reader = ManualReader::builder().with_temporality(Temporality::Delta).build();
        let reader = SharedReader(Arc::new(reader));
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().with_attributes(names).build())
            .with_reader(reader.clone())
            .build();
        let meter = provider.meter("handler");
        Self { reader, meter, instruments: Mutex::default(), _provider: provider }
    }

    /// Reads one event: a gauge for each field, all of one moment.
    pub(super) fn read(&self, fields: &Fields) -> Option<ResourceMetrics> {
        let mut instruments = self.instruments.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, said) in &fields.0 {
            let value = match said {
                Said::Whole(it) => *it as f64,
                Said::Real(it) => *it,
                Said::Text(_) | Said::Flag(_) => continue,
            };
            instruments.entry(name).or_insert_with(|| self.meter.f64_gauge(*name).build()).record(value, &[]);
        }
        let mut metrics = ResourceMetrics::default();
        self.reader.collect(&mut metrics).ok()?;
        Some(metrics)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};

    use super::*;

    fn values(metrics: &ResourceMetrics) -> Vec<(String, f64)> {
        let all = metrics.scope_metrics().flat_map(|it| it.metrics());
        all.flat_map(|metric| match metric.data() {
            AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                gauge.data_points().map(|it| (metric.name().to_owned(), it.value())).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn each_maximum_is_read_once_and_a_gauge_that_is_not_told_is_not_sent() {
        const BYTES: &str = r"\Process(??APP_WIN32_PROC??)\Private Bytes";
        let gauges = Gauges::new(vec![KeyValue::new("service.name", "app")]);
        let both = Fields(vec![(BYTES, Said::Whole(7)), ("handler.front_rss", Said::Whole(8))]);
        let mut read = values(&gauges.read(&both).unwrap());
        read.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(read, [(BYTES.to_owned(), 7.0), ("handler.front_rss".to_owned(), 8.0)]);
        let one = Fields(vec![("handler.front_rss", Said::Whole(9))]);
        assert_eq!(values(&gauges.read(&one).unwrap()), [("handler.front_rss".to_owned(), 9.0)]);
        assert_eq!(values(&gauges.read(&Fields::default()).unwrap()), []);
    }
}
