//! The last deploys of an app as a picture: a bar each, as high as it took long, with a dot on top of
//! what failed, and all of it in words.

use std::fmt::Write;
use std::time::Duration;

use crate::domain::duration::show;
use crate::domain::{DeployStatus, Outcome};

/// A bar with the gap behind it, and its highest, of 24 units.
const STEP: usize = 6;
const HIGH: u64 = 18;

/// The picture. Its bars stand in one path for each kind of outcome, which is small on the wire.
#[derive(Debug)]
pub(super) struct Spark {
    /// In words.
    pub(super) label: String,
    /// Its width; it is 24 high.
    pub(super) width: usize,
    /// Colours with the bars that have them.
    pub(super) paths: Vec<(&'static str, String)>,
}

fn kind(status: DeployStatus) -> &'static str {
    match status {
        DeployStatus::Live | DeployStatus::Retired => "p3",
        DeployStatus::Failed | DeployStatus::Interrupted => "pf",
        DeployStatus::Superseded | DeployStatus::Cancelled => "p5",
        DeployStatus::Queued | DeployStatus::Running => "p1",
    }
}

impl Spark {
    /// Of these deploys, oldest first; none where there is nothing to compare.
    pub(super) fn of(history: &[Outcome]) -> Option<Self> {
        if history.len() < 2 {
            return None;
        }
        let longest = history
            .iter()
            .filter_map(|o| o.took_ms)
            .max()
            .unwrap_or_default()
            .max(1);
        let mut paths: Vec<(&'static str, String)> = Vec::new();
        for (n, outcome) in history.iter().enumerate() {
            let class = kind(outcome.status);
            let high = (outcome.took_ms.unwrap_or_default() * HIGH / longest).max(2);
            let at = paths
                .iter()
                .position(|(known, _)| *known == class)
                .unwrap_or_else(|| {
                    paths.push((class, String::new()));
                    paths.len() - 1
                });
            let x = n * STEP;
            let _ = write!(paths[at].1, "M{x} 24v-{high}h5v{high}z");
            if class == "pf" {
                let _ = write!(paths[at].1, "m1-{}h3v-3h-3z", high + 1);
            }
        }
        Some(Self {
            label: told(history),
            width: history.len() * STEP - 1,
            paths,
        })
    }
}

fn told(history: &[Outcome]) -> String {
    let count = |class: &str| history.iter().filter(|o| kind(o.status) == class).count();
    let mut label = format!(
        "The last {} deploys: {} went live",
        history.len(),
        count("p3")
    );
    for (class, word) in [
        ("pf", "failed"),
        ("p5", "gave way or were cancelled"),
        ("p1", "under way"),
    ] {
        if count(class) > 0 {
            let _ = write!(label, ", {} {word}", count(class));
        }
    }
    let went_live = history.iter().filter(|o| kind(o.status) == "p3");
    let mut took: Vec<u64> = went_live.filter_map(|o| o.took_ms).collect();
    took.sort_unstable();
    if let Some(median) = took.get(took.len() / 2) {
        let _ = write!(
            label,
            "; the median took {}",
            show(Duration::from_millis(*median))
        );
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeployId;

    #[test]
    fn a_history_is_drawn_to_one_scale_and_told_in_words() {
        use DeployStatus::{Cancelled, Failed, Live, Retired, Running};
        let deploys = [
            (Retired, Some(9000)),
            (Failed, Some(4500)),
            (Cancelled, Some(0)),
            (Live, Some(8200)),
            (Running, None),
        ];
        let history: Vec<Outcome> = (1..)
            .zip(deploys)
            .map(|(id, (status, took_ms))| Outcome {
                id: DeployId(id),
                status,
                took_ms,
            })
            .collect();
        let spark = Spark::of(&history).unwrap();
        assert_eq!(
            spark.label,
            "The last 5 deploys: 2 went live, 1 failed, 1 gave way or were cancelled, 1 under way; the median took 9.0s"
        );
        assert_eq!(spark.width, 29);
        assert_eq!(
            spark.paths[0],
            ("p3", "M0 24v-18h5v18zM18 24v-16h5v16z".to_owned())
        );
        assert_eq!(
            spark.paths[1],
            ("pf", "M6 24v-9h5v9zm1-10h3v-3h-3z".to_owned())
        );
        assert!(Spark::of(&history[..1]).is_none() && Spark::of(&[]).is_none());
    }
}
