//! The one layer between `tracing` and the exporter: takes down what is told, and queues it. Everything else is the exporter thread's.

use std::sync::Arc;

use custom_handler::clock;
use opentelemetry::KeyValue;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    GAUGE,
    fields::Fields,
    gauges::Gauges,
    queue::{Call, Item, Line, Queue},
};

/// Queues events and ended spans.
#[derive(Debug)]
pub(super) struct ExportLayer {
    queue: Arc<Queue>,
    gauges: Gauges,
}

/// A dependency under way.
struct Open {
    began: OffsetDateTime,
    since: Instant,
    fields: Fields,
}

impl ExportLayer {
    pub(super) fn new(queue: Arc<Queue>, names: Vec<KeyValue>) -> Self {
        Self { queue, gauges: Gauges::new(names) }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ExportLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if metadata.target() == GAUGE {
            if let Some(metrics) = self.gauges.read(&fields) {
                self.queue.push(Item::Gauges(Box::new(metrics)));
            }
            return;
        }
        let line = Line { at: clock::utc_now(), level: *metadata.level(), target: metadata.target(), fields };
        self.queue.push(Item::Line(line));
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(Open { began: clock::utc_now(), since: Instant::now(), fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut open.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if let Some(Open { began, since, fields }) = span.extensions_mut().remove::<Open>() {
            self.queue.push(Item::Call(Call { began, took: since.elapsed(), fields }));
        }
    }
}
