//! Lines for the host's console: the text first, its fields behind it, each on one line and on the stream that gives it its severity.

use std::fmt::Write as _;

use custom_handler::console;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    EPISODE, episode_text,
    fields::{Fields, Said},
    text::one_line,
};

/// Writes events to stdout, warnings and errors to stderr.
#[derive(Debug)]
pub(super) struct LineLayer {
    out: fn(&str),
    err: fn(&str),
}

impl LineLayer {
    pub(super) fn new() -> Self {
        Self { out: console::out, err: console::err }
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let text = written(event.metadata().target(), level, fields);
        if level <= Level::WARN { (self.err)(&text) } else { (self.out)(&text) }
    }
}

/// The host makes an error of a line on stderr, and a warning of one that says so.
fn written(target: &str, level: Level, mut fields: Fields) -> String {
    let text = if target == EPISODE { episode_text(&fields) } else { fields.take("message") };
    if target == EPISODE {
        fields.0.retain(|it| it.0.ends_with("operation_id"));
    }
    let is_marked = level != Level::WARN || text.to_lowercase().contains("warn");
    let mut line = format!("{}{}", if is_marked { "" } else { "warn: " }, one_line(&text));
    for (name, said) in &fields.0 {
        let written = match said {
            Said::Text(text) if text.contains([' ', '"']) || name.ends_with("operation_id") => {
                write!(line, " {name}=\"{}\"", one_line(&text.replace('"', "'")))
            }
            Said::Text(text) => write!(line, " {name}={}", one_line(text)),
            Said::Whole(it) => write!(line, " {name}={it}"),
            Said::Real(it) => write!(line, " {name}={it}"),
            Said::Flag(it) => write!(line, " {name}={it}"),
        };
        // A string takes everything.
        let _ = written;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    #[test]
    fn the_text_begins_the_line_and_a_warning_says_so() {
        for (level, message, line) in [
            (Level::INFO, "ReplayIteration instance=0", "ReplayIteration instance=0"),
            (Level::INFO, "first\nsecond ü\r\n", "first\\nsecond ü"),
            (Level::WARN, "the worker cannot join", "warn: the worker cannot join"),
            (Level::WARN, "Warning: 日本語", "Warning: 日本語"),
            (Level::ERROR, "it failed", "it failed"),
        ] {
            assert_eq!(written("incident_labs", level, Fields(vec![("message", text(message))])), line);
        }
    }

    #[test]
    fn fields_stand_behind_the_text_in_a_form_that_keeps_the_line_one() {
        let fields = vec![
            ("message", text("m")),
            ("worker.pid", Said::Whole(7)),
            ("blob.name", text("a \"b\"\nc")),
            ("operation_id", text("my-instance")),
        ];
        let line = written("trace", Level::INFO, Fields(fields));
        assert_eq!(line, r#"m worker.pid=7 blob.name="a 'b'\nc" operation_id="my-instance""#);
    }

    #[test]
    fn an_episode_has_its_numbers_in_the_text_alone() {
        let fields = vec![
            ("operation_id", text("i")),
            ("past_events", Said::Whole(200)),
            ("new_events", Said::Whole(2)),
            ("decode_ms", Said::Real(0.5)),
            ("outcome", text("Waiting")),
        ];
        let line = written(EPISODE, Level::INFO, Fields(fields));
        let wanted =
            r#"Episode past=200 new=2 decode=0.500ms replay=0.000ms encode=0.000ms outcome=Waiting operation_id="i""#;
        assert_eq!(line, wanted);
    }
}
