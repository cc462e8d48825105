//! What the server says about itself: one line an event on standard error, for journald or a file.
//!
//! `WINDLASS_LOG` sets the level, as `info` or `windlass=debug`; `WINDLASS_LOG_FORMAT=json` gives JSON.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to write events. Once per process.
pub fn init() {
    let wanted = std::env::var("WINDLASS_LOG").unwrap_or_else(|_| "info".into());
    let filter: Targets = wanted
        .parse()
        .unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let to = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let json = std::env::var_os("WINDLASS_LOG_FORMAT").is_some_and(|format| format == "json");
    let layer = if json {
        to.json().boxed()
    } else {
        to.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .init();
}
