//! The `windlass` binary: the server, its command line and the hook that git runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    windlass::cli::run()
}
