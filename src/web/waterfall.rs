//! Where a deploy's time went: its phases, and its build's steps, each where it lay in the deploy.

use std::time::Duration;

use askama::Template;

use crate::domain::duration::show;
use crate::domain::{BuildStep, Deploy, PhaseStatus, PhaseTiming, Timestamp};
use crate::store::Store;

use super::error::Error;
use super::view::{Badge, Segment, Took, going, phase_badge, segments};

/// The phases and where the time went.
#[derive(Template)]
#[template(path = "deploy_timings.html")]
pub(super) struct Timings {
    rows: Vec<Row>,
    /// What the bars' full width stands for, in milliseconds.
    length: u64,
    /// What the time that is shown everywhere is made of.
    sum: Option<String>,
    /// Whether a phase runs: then the script lets its bar grow.
    growing: bool,
}

struct Row {
    ordinal: usize,
    timing: PhaseTiming,
    badge: Badge,
    took: Took,
    segment: Segment,
    steps: Vec<Step>,
}

struct Step {
    name: String,
    badge: Badge,
    took: Took,
    segment: Segment,
}

/// A scale on which a picture of 1000 is so many milliseconds from an instant on.
#[derive(Clone, Copy)]
struct Scale {
    begin: i64,
    length: u64,
}

impl Scale {
    /// Puts a piece where it lay in time. What took no time is still to be seen.
    fn place(self, segment: Segment, from: i64, ms: u64) -> Segment {
        let part = |ms: u64| ms as f64 * 1000.0 / self.length as f64;
        let x = part((from - self.begin).max(0) as u64).min(996.0);
        let width = part(ms).max(4.0).min(1000.0 - x);
        Segment {
            x: format!("{x:.1}"),
            width: format!("{width:.1}"),
            ..segment
        }
    }
}

/// When a phase ended, or that it goes on.
fn end(timing: &PhaseTiming, going: bool) -> i64 {
    let now = if going {
        Timestamp::now().millis()
    } else {
        timing.started_at.millis()
    };
    timing
        .duration_ms
        .map_or(now, |ms| timing.started_at.millis() + ms as i64)
}

/// In words how the phases and what lies around them add up to what the deploy took.
fn sum(deploy: &Deploy) -> Option<String> {
    let shown = |ms: u64| show(Duration::from_millis(ms));
    let (took, waited, between) = (deploy.took_ms()?, deploy.waited_ms()?, deploy.between_ms()?);
    let mut parts = format!("{} in the queue", shown(waited));
    if between > 0 {
        parts += &format!(", {} between two attempts", shown(between));
    }
    let phases = shown(took.saturating_sub(waited + between));
    Some(match deploy.live_ms {
        Some(_) => format!(
            "Live after {}: {parts}, {phases} up to the end of verify. Drain and retire go on behind it.",
            shown(took)
        ),
        None => format!(
            "Ended after {}: {parts}, {phases} in its phases.",
            shown(took)
        ),
    })
}

impl Timings {
    /// Of a deploy as it stands now.
    pub(super) async fn new(store: &Store, deploy: &Deploy) -> Result<Self, Error> {
        Ok(Self::of(deploy, store.steps(deploy.id).await?))
    }

    fn of(deploy: &Deploy, steps: Option<(usize, Vec<BuildStep>)>) -> Self {
        let going = going(deploy);
        let begin = deploy
            .started_at
            .into_iter()
            .chain(deploy.phases.first().map(|first| first.started_at));
        let begin = begin.map(Timestamp::millis).min().unwrap_or(0);
        let last = deploy
            .phases
            .iter()
            .map(|timing| end(timing, going))
            .max()
            .unwrap_or(begin);
        let scale = Scale {
            begin,
            length: (last - begin).max(1) as u64,
        };
        let (of, mut steps) = steps.unwrap_or_default();
        let row = |((ordinal, timing), segment): ((usize, &PhaseTiming), Segment)| {
            let from = timing.started_at.millis();
            let steps = if ordinal == of {
                std::mem::take(&mut steps)
            } else {
                Vec::new()
            };
            let skipped = timing.status == PhaseStatus::Skipped;
            let ms = (end(timing, going) - from).max(0) as u64;
            Row {
                ordinal,
                badge: phase_badge(timing.status, going),
                took: Took::phase(timing, going),
                timing: timing.clone(),
                steps: steps
                    .into_iter()
                    .map(|step| Step::new(step, scale, (from, ms), &segment))
                    .collect(),
                segment: if skipped {
                    segment
                } else {
                    scale.place(segment, from, ms)
                },
            }
        };
        let segments = segments(deploy, scale.length);
        let rows: Vec<_> = deploy
            .phases
            .iter()
            .enumerate()
            .zip(segments)
            .map(row)
            .collect();
        let growing = rows.iter().any(|row| row.took.since.is_some());
        Self {
            rows,
            length: scale.length,
            sum: sum(deploy),
            growing,
        }
    }
}

impl Step {
    /// Of a phase that began at an instant and took so many milliseconds.
    fn new(step: BuildStep, scale: Scale, (phase, ms): (i64, u64), like: &Segment) -> Self {
        let took = step
            .duration_ms
            .filter(|_| !step.cached)
            .map(Took::fixed)
            .unwrap_or_default();
        // One without an end lasted as long as anybody knows.
        let length = step.duration_ms.unwrap_or(ms.saturating_sub(step.began_ms));
        let segment = Segment {
            class: if step.failed { "pf" } else { "p1" },
            title: format!("{} {}", step.name, took.text),
            ..like.clone()
        };
        Self {
            badge: Badge::step(&step),
            segment: scale.place(segment, phase + step.began_ms as i64, length),
            name: step.name,
            took,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DeployId, DeployStatus, Trigger};

    fn deploy(phases: &[(&str, PhaseStatus, i64, Option<u64>)]) -> Deploy {
        let phase = |(phase, status, at, duration_ms): &(&str, PhaseStatus, i64, Option<u64>)| {
            PhaseTiming {
                phase: phase.parse().unwrap(),
                status: *status,
                started_at: Timestamp::from_millis(10_000 + at),
                duration_ms: *duration_ms,
            }
        };
        Deploy {
            id: DeployId(1),
            app: "shop".parse().unwrap(),
            commit: "a".repeat(40).parse().unwrap(),
            subject: String::new(),
            author: String::new(),
            trigger: Trigger::Push,
            actor: String::new(),
            status: DeployStatus::Failed,
            queued_at: Timestamp::from_millis(0),
            attempts: 1,
            started_at: Some(Timestamp::from_millis(10_000)),
            finished_at: Some(Timestamp::from_millis(20_000)),
            live_ms: None,
            duration_ms: Some(10_000),
            phases: phases.iter().map(phase).collect(),
            failure: None,
        }
    }

    #[test]
    fn each_piece_lies_where_it_lay_in_time_and_steps_within_their_phase() {
        use PhaseStatus::{Failed, Ok, Skipped};
        let deploy = deploy(&[
            ("checkout", Ok, 0, Some(1000)),
            ("build", Ok, 2000, Some(4000)),
            ("gate:check", Skipped, 6000, Some(0)),
            ("start", Failed, 6000, Some(4000)),
        ]);
        let step = |began_ms, duration_ms, cached, failed| BuildStep {
            name: "[1/2] RUN <x>".into(),
            began_ms,
            duration_ms,
            cached,
            failed,
        };
        let steps = vec![
            step(0, Some(0), true, false),
            step(1000, Some(3000), false, true),
            step(3500, None, false, false),
        ];
        let timings = Timings::of(&deploy, Some((1, steps)));
        let at = |segment: &Segment| (segment.x.clone(), segment.width.clone(), segment.class);
        let placed: Vec<_> = timings.rows.iter().map(|row| at(&row.segment)).collect();
        let expected = [
            ("0.0", "100.0", "p1"),
            ("200.0", "400.0", "p1"),
            ("0", "0.0", "p2"),
            ("600.0", "400.0", "pf"),
        ];
        for (n, (placed, expected)) in placed.iter().zip(expected).enumerate() {
            // What was skipped is nowhere.
            if n != 2 {
                assert_eq!((placed.0.as_str(), placed.1.as_str(), placed.2), expected);
            }
        }
        assert_eq!(placed[2].1, "0.0");
        let steps: Vec<_> = timings.rows[1]
            .steps
            .iter()
            .map(|s| (at(&s.segment), s.badge.word))
            .collect();
        assert_eq!(steps[0], (("200.0".into(), "4.0".into(), "p1"), "cached"));
        assert_eq!(steps[1], (("300.0".into(), "300.0".into(), "pf"), "failed"));
        assert_eq!(steps[2], (("550.0".into(), "50.0".into(), "p1"), "cut off"));
        assert_eq!(timings.rows[1].steps[2].took.text, "");
        let html = timings.render().unwrap();
        assert!(
            html.contains("RUN &#60;x&#62;") && !html.contains("<x>"),
            "{html}"
        );
        assert!(
            Timings::of(&self::deploy(&[]), None)
                .render()
                .unwrap()
                .contains("No phase has begun")
        );
    }
}
