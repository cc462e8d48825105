//! Whole servers against a real engine, a real Caddy, git and PostgreSQL.
//!
//! Each test has a [`world::World`] of its own: a home folder, a server, a Caddy, and a slice of
//! addresses. What a test leaves behind fails it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod app;
mod attack;
mod backup;
mod bad_input;
mod behind;
mod browser;
mod build;
mod cancel;
mod crash;
mod django;
mod doors;
mod edge;
mod engine;
mod faults;
mod garbage;
mod hands;
mod home;
mod hostile;
mod hosts;
mod house;
mod https;
mod isolation;
mod keyboard;
mod kill;
mod load;
mod log;
mod openapi;
mod outage;
mod own_engine;
mod part;
mod pictures;
mod plain;
mod process;
mod proxy;
mod refs;
mod revert;
mod secrets;
mod ssh;
mod storage;
mod storm;
mod streams;
mod upgrade;
mod weight;
mod workers;
mod world;
