//! What the server says about itself: one line an event on standard error, for journald or a file.
//!
//! `WINDLASS_LOG` sets the level, as `info` or `windlass=debug`; `WINDLASS_LOG_FORMAT=json` gives JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins to write events. Once per process.
pub fn init() {
    let filter = EnvFilter::try_from_env("WINDLASS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let to =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var_os("WINDLASS_LOG_FORMAT").is_some_and(|format| format == "json") {
        to.json().init();
    } else {
        to.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
