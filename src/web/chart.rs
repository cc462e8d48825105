//! Where the time of an app's latest deploys went: a picture made on the server, and in plain words
//! what got slower than it used to be.

use std::time::Duration;

use crate::domain::duration::{median, show};
use crate::domain::{BuildStep, Deploy, DeployId, Phase, PhaseStatus};

use super::view::{GROUPS, length, phase_group};

/// So many deploys are in the picture.
pub(super) const WINDOW: u32 = 30;
/// A median of fewer says nothing.
const ENOUGH: usize = 3;
/// What takes so much longer than its median, as a ratio and in milliseconds, is clearly slower.
const SLOWER: (f64, u64) = (1.5, 2000);
/// The picture's size in its own units, so small that whole ones do: stretched over the page's width.
const SIZE: (u64, u64) = (9000, 1000);

/// The picture: a column for each deploy, oldest first.
pub(super) struct Chart {
    pub(super) columns: Vec<Column>,
    /// How high the line of the median lies.
    pub(super) line: u64,
    pub(super) median: String,
    pub(super) longest: String,
}

/// A deploy's column.
pub(super) struct Column {
    pub(super) deploy: DeployId,
    pub(super) pieces: Vec<Piece>,
    pub(super) total: String,
    /// In words, group by group.
    pub(super) cells: Vec<String>,
}

/// What a group of phases took.
pub(super) struct Piece {
    pub(super) class: &'static str,
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

impl Chart {
    /// Of deploys, newest first. None for a single one: that is no history.
    pub(super) fn of(deploys: &[Deploy]) -> Option<Self> {
        let longest = deploys
            .iter()
            .map(took)
            .max()
            .filter(|longest| *longest > 0 && deploys.len() > 1)?;
        let middle = median(deploys.iter().map(took).collect())?;
        // A few columns are not spread over all the width.
        let width = SIZE.0 / deploys.len().max(12) as u64;
        let column =
            |(n, deploy): (usize, &Deploy)| Column::of(deploy, n as u64 * width, width, longest);
        Some(Self {
            columns: deploys.iter().rev().enumerate().map(column).collect(),
            line: SIZE.1 - height(middle, longest),
            median: shown(middle),
            longest: shown(longest),
        })
    }
}

/// The group of what goes on behind a live release, and is no part of what it took.
const BEHIND: &str = "p5";

/// What a deploy took, as everywhere; or its phases so far.
fn took(deploy: &Deploy) -> u64 {
    deploy.took_ms().unwrap_or_else(|| length(deploy))
}

fn height(ms: u64, longest: u64) -> u64 {
    ms.saturating_mul(SIZE.1) / longest.max(1)
}

fn shown(ms: u64) -> String {
    show(Duration::from_millis(ms))
}

impl Column {
    fn of(deploy: &Deploy, x: u64, width: u64, longest: u64) -> Self {
        let group = |class: &str| {
            let rows = deploy
                .phases
                .iter()
                .filter(|row| phase_group(&row.phase) == class);
            rows.map(|row| row.duration_ms.unwrap_or(0)).sum::<u64>()
        };
        let groups = GROUPS.map(|(class, _)| (class, group(class)));
        let mut sum = 0;
        let piece = |(class, ms): (&'static str, u64)| {
            let below = height(sum, longest);
            sum += ms;
            let top = height(sum, longest);
            let (x, width) = (x + width / 10, width * 8 / 10);
            Piece {
                class,
                x,
                y: SIZE.1.saturating_sub(top),
                width,
                height: top - below,
            }
        };
        Self {
            deploy: deploy.id,
            pieces: groups
                .into_iter()
                .filter(|(class, ms)| *ms > 0 && *class != BEHIND)
                .map(piece)
                .collect(),
            total: shown(took(deploy)),
            cells: groups
                .into_iter()
                .map(|(_, ms)| if ms == 0 { String::new() } else { shown(ms) })
                .collect(),
        }
    }
}

/// A phase that took clearly longer than it used to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slower {
    pub(super) phase: Phase,
    ms: u64,
    median: u64,
}

/// The phases of the newest of these deploys that took clearly longer than their own median over the
/// others that ran them.
pub(super) fn slower(deploys: &[Deploy]) -> Vec<Slower> {
    let Some((newest, earlier)) = deploys.split_first() else {
        return Vec::new();
    };
    let ran = |deploy: &Deploy, phase: &Phase| {
        let row = deploy
            .phases
            .iter()
            .find(|row| row.phase == *phase && row.status == PhaseStatus::Ok);
        row.and_then(|row| row.duration_ms)
    };
    let look = |phase: &Phase| {
        let ms = ran(newest, phase)?;
        let before: Vec<u64> = earlier
            .iter()
            .filter_map(|deploy| ran(deploy, phase))
            .collect();
        let median = median(before.clone()).filter(|_| before.len() >= ENOUGH)?;
        let clearly =
            ms as f64 >= median as f64 * SLOWER.0 && ms >= median.saturating_add(SLOWER.1);
        clearly.then(|| Slower {
            phase: phase.clone(),
            ms,
            median,
        })
    };
    newest
        .phases
        .iter()
        .filter_map(|row| look(&row.phase))
        .collect()
}

impl Slower {
    /// As a sentence, with what explains it.
    pub(super) fn sentence(&self, because: Option<&str>) -> String {
        let times = self.ms as f64 / self.median.max(1) as f64;
        let times = if times < 100.0 {
            format!("{times:.1} times")
        } else {
            "far more than".to_owned()
        };
        let (took, median) = (shown(self.ms), shown(self.median));
        let because = because
            .map(|step| format!(": the step `{step}` was not cached"))
            .unwrap_or_default();
        format!(
            "{} took {took}, {times} its median of {median}{because}.",
            self.phase
        )
    }
}

/// The longest step that ran, where it came from the cache in the build before.
pub(super) fn not_cached<'a>(now: &'a [BuildStep], before: &[BuildStep]) -> Option<&'a str> {
    let was_cached = |step: &&BuildStep| {
        before
            .iter()
            .any(|s| s.cached && bare(&s.name) == bare(&step.name))
    };
    let ran = now
        .iter()
        .filter(|step| !step.cached && !step.failed)
        .filter(was_cached);
    ran.max_by_key(|step| step.duration_ms)
        .map(|step| bare(&step.name))
}

/// A step's name without the builder's number, which shifts when a step is added.
fn bare(name: &str) -> &str {
    match (name.starts_with('['), name.split_once("] ")) {
        (true, Some((_, rest))) => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DeployStatus, PhaseTiming, Timestamp, Trigger};

    fn deploy(id: i64, phases: &[(&str, u64)]) -> Deploy {
        let at = Timestamp::from_millis(0);
        let row = |(phase, ms): &(&str, u64)| PhaseTiming {
            phase: phase.parse().unwrap(),
            status: PhaseStatus::Ok,
            started_at: at,
            duration_ms: Some(*ms),
        };
        Deploy {
            id: DeployId(id),
            app: "shop".parse().unwrap(),
            commit: "a".repeat(40).parse().unwrap(),
            subject: String::new(),
            author: String::new(),
            trigger: Trigger::Push,
            actor: String::new(),
            status: DeployStatus::Retired,
            queued_at: at,
            attempts: 1,
            started_at: Some(at),
            finished_at: Some(at),
            live_ms: None,
            duration_ms: None,
            phases: phases.iter().map(row).collect(),
            failure: None,
        }
    }

    fn step(name: &str, ms: u64, cached: bool) -> BuildStep {
        BuildStep {
            name: name.into(),
            began_ms: 0,
            duration_ms: Some(ms),
            cached,
            failed: false,
        }
    }

    #[test]
    fn a_phase_is_slower_by_its_own_history_alone() {
        let history = |build: u64| {
            let times = [build, 41_000, 40_000, 60_000];
            let all = times
                .iter()
                .enumerate()
                .map(|(n, ms)| deploy(9 - n as i64, &[("build", *ms), ("swap", 40)]));
            all.collect::<Vec<_>>()
        };
        let found = slower(&history(94_000));
        assert_eq!(found.len(), 1);
        let steps = [
            step("[3/6] RUN pip install -r requirements.txt", 50_000, false),
            step("[4/6] COPY . .", 9, false),
        ];
        let before = [step("[3/5] RUN pip install -r requirements.txt", 0, true)];
        let because = not_cached(&steps, &before);
        assert_eq!(
            found[0].sentence(because),
            "build took 1m 34s, 2.3 times its median of 41.0s: the step `RUN pip install -r requirements.txt` was not cached."
        );
        assert!(slower(&history(61_000)).is_empty(), "1.49 times");
        assert_eq!(slower(&history(62_000)).len(), 1);
        assert!(
            slower(&history(94_000)[..3]).is_empty(),
            "two are no history"
        );
        let quick = [900, 20, 20, 20].map(|ms| deploy(1, &[("checkout", ms)]));
        assert!(slower(&quick).is_empty(), "what nobody notices is not told");
        assert!(slower(&[]).is_empty());
    }

    #[test]
    fn the_picture_holds_every_deploy_and_the_median() {
        let deploys: Vec<Deploy> = (1..=5)
            .rev()
            .map(|id| deploy(id, &[("build", 1000 * id as u64), ("health", 500)]))
            .collect();
        let chart = Chart::of(&deploys).unwrap();
        assert_eq!(
            (chart.median.as_str(), chart.longest.as_str()),
            ("3.5s", "5.5s")
        );
        let ids: Vec<i64> = chart.columns.iter().map(|column| column.deploy.0).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5], "oldest first");
        let newest = &chart.columns[4];
        assert_eq!(
            (
                newest.cells[0].as_str(),
                newest.cells[1].as_str(),
                newest.cells[2].as_str()
            ),
            ("5.0s", "", "0.50s")
        );
        assert_eq!(
            (newest.pieces.len(), newest.pieces[1].y),
            (2, 0),
            "the longest reaches the top"
        );
        assert!(Chart::of(&deploys[..1]).is_none() && Chart::of(&[]).is_none());
        let nothing = [deploy(1, &[]), deploy(2, &[])];
        assert!(Chart::of(&nothing).is_none());
    }
}
