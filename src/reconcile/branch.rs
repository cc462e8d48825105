//! The deploy branch of an app's repository names what is live.

use crate::domain::{AppName, DeployId};
use crate::platform::{Error, Platform};

/// Puts the deploy branch where it belongs: on what is live, unless another deploy than `ended`
/// still waits or runs with what it names now. The same push then tries again after a failure.
pub async fn restore_branch(
    platform: &Platform,
    app: &AppName,
    ended: Option<DeployId>,
) -> Result<(), Error> {
    let live = platform
        .store
        .live_deploy(app)
        .await?
        .map(|deploy| deploy.commit);
    let open = platform.store.open_deploys(Some(app)).await?;
    let now = platform.git.branch(app).await?;
    let awaited = now.as_ref().is_some_and(|now| {
        open.iter()
            .any(|deploy| Some(deploy.id) != ended && deploy.commit == *now)
    });
    if now != live && !awaited {
        platform
            .git
            .move_branch(app, now.as_ref(), live.as_ref())
            .await?;
    }
    Ok(())
}
