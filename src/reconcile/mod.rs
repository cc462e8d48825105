//! What the engine, Caddy and the repositories have is brought to what the database says: after each
//! deploy, after a crash, and whenever something changed without us.

mod app;
mod branch;
mod edge;
mod images;
mod recover;
mod replicas;
mod retention;
mod tear_down;
mod watch;

pub use app::{reconcile, reconcile_within};
pub use branch::restore_branch;
pub use edge::learn_caddy;
pub use recover::{close_phases, recover};
pub use replicas::{live_release, settle_processes};
pub use retention::{apply_retention, prune_logs};
pub use tear_down::tear_down;
pub use watch::{Nudge, put_in_order, watch_engine};
