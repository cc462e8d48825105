//! What several pages show alike: badges, instants, durations, bars.

use std::time::Duration;

use crate::domain::duration::show;
use crate::domain::{
    AppStatus, BuildStep, Deploy, DeployStatus, Phase, PhaseStatus, PhaseTiming, Timestamp,
};

/// A status with an icon and a word: never by its colour alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Badge {
    /// The colour's class.
    pub(super) class: &'static str,
    /// The word.
    pub(super) word: &'static str,
    /// The icon: the path of an SVG of 16 by 16.
    pub(super) icon: &'static str,
}

const DOT: &str = "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z";
const RING: &str =
    "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zm0 2a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7z";
const TICK: &str = "M13.6 4.6 12.2 3.2 6.3 9.1 3.8 6.6 2.4 8l3.9 3.9z";
const CROSS: &str =
    "M12.5 4.9 11.1 3.5 8 6.6 4.9 3.5 3.5 4.9 6.6 8l-3.1 3.1 1.4 1.4L8 9.4l3.1 3.1 1.4-1.4L9.4 8z";
const ARROW: &str = "M5 2.5 13 8l-8 5.5z";
const BAR: &str = "M3 7h10v2H3z";
const CLOCK: &str = "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.8a4.2 4.2 0 1 1 0 8.4 4.2 4.2 0 0 1 0-8.4zM7.2 5v3.4l2.4 1.6.9-1.3-1.7-1.1V5z";

impl Badge {
    /// Of a build's step.
    pub(super) fn step(step: &BuildStep) -> Self {
        match step {
            BuildStep { failed: true, .. } => Badge::new("bad", "failed", CROSS),
            BuildStep { cached: true, .. } => Badge::new("past", "cached", RING),
            BuildStep {
                duration_ms: None, ..
            } => Badge::new("past", "cut off", BAR),
            _ => Badge::new("good", "ok", TICK),
        }
    }

    const fn new(class: &'static str, word: &'static str, icon: &'static str) -> Self {
        Self { class, word, icon }
    }
}

impl From<DeployStatus> for Badge {
    fn from(status: DeployStatus) -> Self {
        let (class, icon) = match status {
            DeployStatus::Queued => ("wait", CLOCK),
            DeployStatus::Running => ("run", ARROW),
            DeployStatus::Live => ("good", DOT),
            DeployStatus::Retired => ("past", TICK),
            DeployStatus::Failed | DeployStatus::Interrupted => ("bad", CROSS),
            DeployStatus::Superseded | DeployStatus::Cancelled => ("past", BAR),
        };
        Badge::new(class, status.as_str(), icon)
    }
}

impl From<AppStatus> for Badge {
    fn from(status: AppStatus) -> Self {
        match status {
            AppStatus::Serving => Badge::new("good", status.as_str(), DOT),
            AppStatus::Empty => Badge::new("past", status.as_str(), RING),
            AppStatus::Down => Badge::new("bad", status.as_str(), CROSS),
            AppStatus::Unknown => Badge::new("past", status.as_str(), BAR),
        }
    }
}

/// A phase's badge. A phase that still says `running` in a deploy that has ended was cut off.
pub(super) fn phase_badge(status: PhaseStatus, going: bool) -> Badge {
    match status {
        PhaseStatus::Running if going => Badge::new("run", "running", ARROW),
        PhaseStatus::Running => Badge::new("bad", "cut off", BAR),
        PhaseStatus::Ok => Badge::new("good", "ok", TICK),
        PhaseStatus::Failed => Badge::new("bad", "failed", CROSS),
        PhaseStatus::Skipped => Badge::new("past", "skipped", BAR),
    }
}

/// Whether a deploy still goes on. A live one does until its old container is gone.
pub(super) fn going(deploy: &Deploy) -> bool {
    deploy.goes_on()
}

/// An instant: how long ago, and exactly.
#[derive(Debug, Clone)]
pub(super) struct When {
    /// RFC 3339.
    pub(super) exact: String,
    /// `3 min ago`.
    pub(super) ago: String,
}

impl From<Timestamp> for When {
    fn from(at: Timestamp) -> Self {
        let exact = at.to_string();
        let seconds = at.age().as_secs();
        let ago = match seconds {
            0..10 => "just now".to_owned(),
            10..60 => format!("{seconds} s ago"),
            60..3600 => format!("{} min ago", seconds / 60),
            3600..86_400 => format!("{} h ago", seconds / 3600),
            86_400..2_592_000 => format!("{} d ago", seconds / 86_400),
            _ => exact[..10].to_owned(),
        };
        Self { exact, ago }
    }
}

/// A duration that is known, or one that still grows.
#[derive(Debug, Clone, Default)]
pub(super) struct Took {
    /// As shown now; empty for what never began.
    pub(super) text: String,
    /// Where it still grows: since when, in milliseconds since the epoch, for the script to count on.
    pub(super) since: Option<i64>,
}

impl Took {
    fn new(ms: Option<u64>, started: Option<Timestamp>, going: bool) -> Self {
        match (ms, started) {
            (Some(ms), _) => Took::fixed(ms),
            (None, Some(at)) if going => Took::growing(at),
            _ => Took::default(),
        }
    }

    /// One that still grows.
    pub(super) fn growing(since: Timestamp) -> Self {
        Took {
            text: show(since.age()),
            since: Some(since.millis()),
        }
    }

    /// A known one.
    pub(super) fn fixed(ms: u64) -> Self {
        Took {
            text: show(Duration::from_millis(ms)),
            since: None,
        }
    }

    /// A deploy's, from its arrival until it was live or ended without that.
    pub(super) fn deploy(deploy: &Deploy) -> Self {
        let since = deploy.started_at.map(|_| deploy.queued_at);
        Took::new(deploy.took_ms(), since, going(deploy))
    }

    /// A phase's.
    pub(super) fn phase(timing: &PhaseTiming, going: bool) -> Self {
        Took::new(
            timing.duration_ms,
            Some(timing.started_at),
            going && timing.status == PhaseStatus::Running,
        )
    }
}

/// A piece of a bar, in a picture that is 1000 wide.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Its colour: one of five groups of phases.
    pub(super) class: &'static str,
    /// Where it begins.
    pub(super) x: String,
    /// How wide it is.
    pub(super) width: String,
    /// What it says when pointed at.
    pub(super) title: String,
}

/// The phases of a deploy on one line.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    /// All of it in words, for who does not see it.
    pub(super) label: String,
    /// Its pieces.
    pub(super) segments: Vec<Segment>,
}

/// The five groups that the colours tell apart, with what each holds.
pub(super) const GROUPS: [(&str, &str); 5] = [
    ("p1", "checkout, build"),
    ("p2", "gates"),
    ("p3", "start, health"),
    ("p4", "swap, workers, verify"),
    ("p5", "drain, retire"),
];

/// The group that a phase is in.
pub(super) fn phase_group(phase: &Phase) -> &'static str {
    match phase {
        Phase::Checkout | Phase::Build => "p1",
        Phase::Gate(_) => "p2",
        Phase::Start | Phase::Health => "p3",
        Phase::Swap | Phase::Workers | Phase::Verify => "p4",
        Phase::Drain | Phase::Retire => "p5",
    }
}

/// How long a phase has taken so far, in milliseconds.
fn millis(timing: &PhaseTiming, going: bool) -> u64 {
    let so_far = if going {
        timing.started_at.age().as_millis() as u64
    } else {
        0
    };
    timing.duration_ms.unwrap_or(so_far)
}

/// How long all phases of a deploy have taken so far, in milliseconds: what a scale must hold.
pub(super) fn length(deploy: &Deploy) -> u64 {
    deploy
        .phases
        .iter()
        .map(|timing| millis(timing, going(deploy)))
        .sum()
}

/// Each phase's piece, one behind the other, on a scale where `scale` milliseconds fill the width.
pub(super) fn segments(deploy: &Deploy, scale: u64) -> Vec<Segment> {
    let going = going(deploy);
    let part = |ms: u64| ms as f64 * 1000.0 / scale.max(1) as f64;
    let mut before = 0;
    let segment = |timing: &PhaseTiming| {
        let ms = millis(timing, going);
        let (x, width) = (part(before), part(ms));
        before += ms;
        let failed = timing.status == PhaseStatus::Failed;
        let skipped = timing.status == PhaseStatus::Skipped;
        Segment {
            class: if failed {
                "pf"
            } else {
                phase_group(&timing.phase)
            },
            x: format!("{x:.1}"),
            // A little less, so that neighbours stay apart; what took no time is still to be seen.
            width: if skipped {
                "0.0".to_owned()
            } else {
                format!("{:.1}", (width - 5.0).max(4.0))
            },
            title: format!(
                "{} {}{}",
                timing.phase,
                show(Duration::from_millis(ms)),
                if failed { ", failed" } else { "" }
            ),
        }
    };
    deploy.phases.iter().map(segment).collect()
}

/// A deploy's whole bar.
pub(super) fn bar(deploy: &Deploy, scale: u64) -> Bar {
    let segments: Vec<Segment> = segments(deploy, scale)
        .into_iter()
        .filter(|s| s.width != "0.0")
        .collect();
    let label = segments
        .iter()
        .map(|s| s.title.as_str())
        .collect::<Vec<_>>()
        .join(" · ");
    Bar { label, segments }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_the_largest_unit_that_fits() {
        let ago = |seconds: i64| {
            When::from(Timestamp::from_millis(
                Timestamp::now().millis() - seconds * 1000,
            ))
            .ago
        };
        let told = [ago(1), ago(45), ago(61), ago(7300), ago(90_000)];
        assert_eq!(
            told,
            ["just now", "45 s ago", "1 min ago", "2 h ago", "1 d ago"]
        );
        assert_eq!(When::from(Timestamp::from_millis(0)).ago, "1970-01-01");
    }
}
