//! The words of Windlass as types: names, the manifest, deploys, phases, releases.
//!
//! Nothing here does I/O and nothing here imports another part of the crate. Outside text is
//! parsed into these types once, at the edge; a value of one of them is always valid.

pub mod access;
pub mod account;
pub mod app;
pub mod changes;
pub mod command;
pub mod deploy;
pub mod duration;
pub mod environment;
pub mod instant;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod naming;
pub mod overview;
pub mod phase;
pub mod process;
pub mod procfile;
pub mod release;
pub mod revert_preview;
pub mod size;

pub use access::{Denied, Needs, Principal, Reach, Right, Role, Scope, Via};
pub use account::{AuditEntry, AuditOutcome, Key, Session, Token, User};
pub use app::{App, AppStatus};
pub use changes::{ChangedFile, ChangedFiles, Changes, CommitLine, Commits};
pub use command::Argv;
pub use deploy::{Deploy, DeployEvent, DeployId, DeployStatus, Failure, OwnedDeploys, Trigger};
pub use duration::HumanDuration;
pub use environment::Environment;
pub use instant::{Stopwatch, Timestamp};
pub use limits::{Allowance, Capability, Cpus, Limits};
pub use manifest::{Gate, Manifest, StatusRange};
pub use name::{AppName, CommitId, DomainName, GateName, InvalidName, ProcessName, UserName};
pub use naming::Naming;
pub use overview::{AppBrief, DeployBrief, Outcome, Standing};
pub use phase::{BuildStep, Phase, PhaseStatus, PhaseTiming};
pub use process::{Process, Replica, ReplicaState};
pub use procfile::Procfile;
pub use release::{ImageRef, Release};
pub use revert_preview::{Migration, MigrationsSince, RevertEnvironment, RevertPreview};
pub use size::Bytes;

/// Foreign text (a commit's subject, an author's name) as it may be shown anywhere: without control,
/// reordering and invisible characters, at most `longest` characters.
pub fn printable(text: &str, longest: usize) -> String {
    text.chars()
        .filter(|c| is_printable(*c))
        .take(longest)
        .collect()
}

/// Whether a character neither drives a terminal, nor reorders what stands around it, nor hides.
///
/// The joiners U+200C and U+200D stay: Persian and emoji are written with them.
pub fn is_printable(c: char) -> bool {
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    let hides = matches!(
        c,
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !(c.is_control() || reorders || breaks || hides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_drives_reorders_or_hides_goes_and_writing_stays() {
        let hostile = "a\u{1b}[2J\u{9b}31m\0\r\n\u{202e}\u{2067}\u{61c}\u{200b}\u{2060}\u{feff}\u{2028}\u{e0041}\u{ad}b";
        assert_eq!(printable(hostile, 80), "a[2J31mb");
        let writing = "ژاله می\u{200c}خواهد 👩\u{200d}🚀 naïve <b>&amp; $(id) `x`";
        assert_eq!(printable(writing, 80), writing);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_bounded_and_stays_as_it_is(text in "(\\PC|\\p{C}|[\u{200b}-\u{202e}]){0,60}", longest in 0usize..80) {
            let shown = printable(&text, longest);
            prop_assert!(shown.chars().count() <= longest && shown.chars().all(is_printable));
            prop_assert_eq!(printable(&shown, longest), shown);
        }
    }
}
