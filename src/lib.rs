//! Windlass: `git push prod main`, and the new version is live, proved first, with nobody cut off.
//!
//! ARCHITECTURE.md is the map of this crate.

pub mod access;
pub mod api;
pub mod app;
pub mod attempt;
pub mod backup;
pub mod build;
#[cfg(any(test, feature = "testing"))]
pub mod chaos;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deploy;
pub mod domain;
pub mod git;
pub mod logs;
pub mod machine;
pub mod platform;
pub mod proxy;
pub mod reconcile;
pub mod runtime;
pub mod serve;
pub mod space;
pub mod store;
pub mod telemetry;
pub mod web;
pub mod workload;
