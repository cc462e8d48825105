//! What going back to a release will do, told before anybody asks for it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::releases::{live_or_refuse, release_at, release_to};
use crate::domain::{
    AppName, CommitId, Commits, Deploy, DeployId, Environment, Phase, PhaseStatus, Release,
    RevertEnvironment, RevertPreview,
};
use crate::platform::{Error, Platform};

/// Among so many deploys one looks for how long such a thing takes.
const LOOKED_AT: u32 = 100;
/// How long the engine has for saying whether an image is there; the database says what should be.
const LOOK: Duration = Duration::from_secs(2);

/// What going back to a release will do: that of a commit, or the one before the live one.
pub async fn preview_revert(
    platform: &Platform,
    app: &AppName,
    commit: Option<&str>,
) -> Result<RevertPreview, Error> {
    let live = live_or_refuse(platform, app, "go back from").await?;
    let release = release_to(platform, app, commit, &live).await?;
    preview_of(platform, live, release).await
}

/// What going back to the release of one certain deploy will do.
pub async fn preview_revert_to(
    platform: &Platform,
    app: &AppName,
    to: DeployId,
) -> Result<RevertPreview, Error> {
    let live = live_or_refuse(platform, app, "go back from").await?;
    let release = release_at(platform, app, to, &live).await?;
    preview_of(platform, live, release).await
}

async fn preview_of(
    platform: &Platform,
    live: Deploy,
    release: Release,
) -> Result<RevertPreview, Error> {
    let (app, store) = (&release.app, &platform.store);
    let to = store.deploy(release.deploy).await?;
    let image_kept = has_image(platform, &release).await;
    let environment = if image_kept {
        RevertEnvironment::Release
    } else {
        RevertEnvironment::Today
    };
    let now = store
        .release(live.id)
        .await?
        .map(|release| release.env)
        .unwrap_or_default();
    let variables = match environment {
        RevertEnvironment::Release => differing(&release.env, &now),
        RevertEnvironment::Today => differing(&store.env(app).await?, &now),
    };
    let deploys = store.deploys(app, LOOKED_AT, None).await?;
    Ok(RevertPreview {
        leaving: commits(platform, app, &to.commit, &live.commit).await,
        coming: commits(platform, app, &live.commit, &to.commit).await,
        migrations: store
            .migrations_since(app, store.origin(to.id).await?)
            .await?,
        usual_ms: usual(&deploys, image_kept),
        live,
        to,
        image_kept,
        environment,
        variables,
    })
}

async fn has_image(platform: &Platform, release: &Release) -> bool {
    let there = tokio::time::timeout(LOOK, platform.engine.image(&release.image.0)).await;
    let gone = matches!(there, Ok(Ok(None)));
    release.image_kept && !gone
}

async fn commits(platform: &Platform, app: &AppName, old: &CommitId, new: &CommitId) -> Commits {
    let told = platform.git.commits_between(app, Some(old), new).await;
    told.unwrap_or_else(|_| Commits {
        unknown: true,
        ..Commits::default()
    })
}

/// Names of the variables that are not the same in both.
pub fn differing(one: &Environment, other: &Environment) -> Vec<String> {
    let names: BTreeSet<&str> = one
        .iter()
        .chain(other.iter())
        .map(|(name, _)| name)
        .collect();
    names
        .into_iter()
        .filter(|name| one.get(name) != other.get(name))
        .map(str::to_owned)
        .collect()
}

/// The median of how long such deploys took until they were live, in milliseconds.
fn usual(deploys: &[Deploy], image_kept: bool) -> Option<u64> {
    let built = |deploy: &&Deploy| {
        let row = deploy.phases.iter().find(|row| row.phase == Phase::Build);
        row.is_some_and(|row| row.status != PhaseStatus::Skipped)
    };
    let alike = deploys.iter().filter(|deploy| built(deploy) != image_kept);
    crate::domain::duration::median(alike.filter_map(|deploy| deploy.live_ms).take(20).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_the_same_is_named() {
        let env = |pairs: &[(&str, &str)]| {
            let mut env = Environment::default();
            pairs
                .iter()
                .for_each(|(name, value)| env.set(name, value).unwrap());
            env
        };
        let (one, other) = (
            env(&[("A", "1"), ("B", "2"), ("C", "3")]),
            env(&[("A", "1"), ("B", "0"), ("D", "3")]),
        );
        assert_eq!(differing(&one, &other), ["B", "C", "D"]);
        assert_eq!(differing(&one, &one), [""; 0]);
    }
}
