//! From a commit to an image: what the commit holds, what of it the build gets, and the build itself.

mod allowance;
mod context;
mod dockerignore;
mod port;
mod room;
mod secrets;
mod source;

pub use allowance::expect_allowed;
pub use port::choose_port;
pub use source::{build, checkout};
