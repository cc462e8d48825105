//! The words of Windlass as types: names, the manifest, deploys, phases, releases.
//!
//! Nothing here does I/O and nothing here imports another part of the crate. Outside text is
//! parsed into these types once, at the edge; a value of one of them is always valid.

pub mod access;
pub mod account;
pub mod app;
pub mod deploy;
pub mod duration;
pub mod environment;
pub mod instant;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod naming;
pub mod phase;
pub mod release;
pub mod size;

pub use access::{Denied, Needs, Principal, Reach, Right, Role, Scope, Via};
pub use account::{AuditEntry, Key, Session, Token, User};
pub use app::{App, AppStatus};
pub use deploy::{Deploy, DeployEvent, DeployId, DeployStatus, Failure, Trigger};
pub use duration::HumanDuration;
pub use environment::Environment;
pub use instant::{Stopwatch, Timestamp};
pub use limits::{Allowance, Capability, Cpus, Limits};
pub use manifest::{Gate, Manifest, StatusRange};
pub use name::{AppName, CommitId, DomainName, GateName, InvalidName, UserName};
pub use naming::Naming;
pub use phase::{Phase, PhaseStatus, PhaseTiming};
pub use release::{ImageRef, Release};
pub use size::Bytes;

/// Foreign text (a commit's subject, an author's name) as it may be shown anywhere: without control
/// and reordering characters, at most `longest` characters.
pub fn printable(text: &str, longest: usize) -> String {
    text.chars().filter(|c| is_printable(*c)).take(longest).collect()
}

/// Whether a character neither drives a terminal nor reorders what stands around it.
pub fn is_printable(c: char) -> bool {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !reorders
}
