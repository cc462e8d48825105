//! What people ask for, apart from a push's own story: apps and their domains, requests for deploys,
//! previews, output, and how all apps stand. What may ask is decided before.

mod apps;
mod domains;
mod follow;
mod log;
mod overview;
mod releases;
mod requests;
mod revert_preview;
mod usage;

pub use apps::{all, allow, create, destroy, show, url};
pub use domains::{change_domains, move_domains};
pub use follow::{Follower, Progress, Reached};
pub use log::{
    AppLogFollower, AppLogPage, AppLogQuery, AppPlaces, ClaimedPlaces, LineFilter, follow_log,
    nanos_ago, place_of, process_of, read_log,
};
pub use overview::{Board, Overview};
pub use requests::{PushAnswer, pushed, redeploy, reload, restart, revert, revert_to};
pub use revert_preview::{differing, preview_revert, preview_revert_to};
pub use usage::{ContainerUsage, processes, usage};

use std::sync::Arc;

use crate::deploy::Queue;
use crate::platform::Platform;

/// What pages and the control socket ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Services {
    /// The ground.
    pub platform: Arc<Platform>,
    /// What deploys.
    pub queue: Queue,
    /// How all apps stand.
    pub overview: Overview,
}

impl Services {
    /// The services of an installation, on which nothing works yet.
    pub fn new(platform: Arc<Platform>) -> Self {
        Self {
            queue: Queue::new(platform.clone()),
            overview: Overview::new(platform.clone()),
            platform,
        }
    }
}
