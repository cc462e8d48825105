//! Windlass: `git push prod main`, and the new version is live, proved first, with nobody cut off.
//!
//! ARCHITECTURE.md is the map of this crate.

pub mod domain;

pub mod logs;
pub mod store;
