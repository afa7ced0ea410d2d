//! Log lines: what happened to which message or link, never what a message says.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::LogFormat;

/// Starts logging to standard error; `INTERCHANGE_LOG` chooses levels (`info`, `debug`, `interchange_xmpp=debug`), `info` by default.
pub fn start(format: LogFormat) {
    start_at(format, "info");
}

/// As [`start`], with warnings only by default: for commands that show something else in the terminal.
pub fn start_quiet(format: LogFormat) {
    start_at(format, "error");
}

fn start_at(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_env("INTERCHANGE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let trace_spans = std::env::var_os("INTERCHANGE_LOG_SPANS").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(if trace_spans { FmtSpan::NEW } else { FmtSpan::NONE });
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().with_current_span(trace_spans).try_init(),
    };
}
