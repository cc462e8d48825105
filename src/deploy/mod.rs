//! Deploys: the story of a push, from the queue to the retired container.
//!
//! `pipeline.rs` is the story; the other files are its chapters.

mod behind;
mod changes;
mod cutover;
mod gates;
mod health;
mod migrations;
mod pipeline;
mod plan;
mod queue;
mod start;
mod workers;

pub use queue::Queue;
