//! An app's images: those of the live release, of the last releases and of open deploys are kept.

use std::collections::HashSet;

use tracing::warn;

use crate::domain::{AppName, DeployId};
use crate::platform::{Error, Platform};
use crate::store::SecretName;

/// Keeps the images of the live release, of the last `keep.releases` releases and of open
/// deploys; removes the others of the app.
pub(super) async fn reconcile_images(
    platform: &Platform,
    app: &AppName,
    ended: Option<DeployId>,
) -> Result<(), Error> {
    let secret = platform.store.secret_name(app, SecretName::Image).await?;
    let mut there = image_names(platform, app).await?;
    let mut kept = platform.store.kept_images(app).await?;
    hide_names(platform, app, &secret, &mut there, &mut kept).await?;
    let mut wanted = HashSet::new();
    if let Some(live) = platform.store.live_deploy(app).await? {
        wanted.extend(
            kept.iter()
                .find(|(id, _)| *id == live.id)
                .map(|(_, image)| image.clone()),
        );
    }
    // The engine does not give up the image of a container that drains.
    let drains = platform.draining.containers(app);
    let of_drains = kept.iter().filter(|(id, _)| drains.contains(id));
    wanted.extend(of_drains.map(|(_, image)| image.clone()));
    for open in platform.store.open_deploys(Some(app)).await? {
        if Some(open.id) != ended {
            wanted.insert(platform.naming.image(app, &secret, open.id).0);
            let source = platform.store.source_release(open.id).await?;
            wanted.extend(
                kept.iter()
                    .find(|(id, _)| Some(*id) == source)
                    .map(|(_, i)| i.clone()),
            );
        }
    }
    let mut newest = HashSet::new();
    for (_, image) in &kept {
        if newest.len() < platform.config.keep.releases as usize {
            newest.insert(image.clone());
        }
    }
    wanted.extend(newest);
    for (deploy, image) in &kept {
        // Somebody else may have removed it: a revert to it builds, and says so beforehand.
        if !wanted.contains(image) || !there.contains(image) {
            platform.store.forget_image(*deploy).await?;
        }
    }
    let mut done = Ok(());
    for name in there.iter().filter(|name| !wanted.contains(*name)) {
        match platform.engine.remove_image(name).await {
            // Somebody else runs it, maybe for ever: no reason to try again and again.
            Err(error) if error.is_used_image() => {
                warn!(%app, %error, "an image is left for the next time");
            }
            removed => done = done.and(removed.map_err(Error::from)),
        }
    }
    done
}

/// Gives kept images of the version before, whose names could be guessed, a name that cannot.
async fn hide_names(
    platform: &Platform,
    app: &AppName,
    secret: &str,
    there: &mut Vec<String>,
    kept: &mut [(DeployId, String)],
) -> Result<(), Error> {
    for (_, image) in kept {
        // Several releases may run one image: restarts and reverts do.
        let Some(hidden) = platform.naming.hidden(app, secret, image) else {
            continue;
        };
        if there.contains(image) || there.contains(&hidden) {
            if there.contains(image) {
                platform.engine.tag(image, &hidden).await?;
            }
            platform.store.rename_image(image, &hidden).await?;
            there.push(hidden.clone());
            *image = hidden;
        }
    }
    Ok(())
}

/// What deploys of the app called its images; by its id one that has no name left. A name that
/// somebody else gave one is somebody else's.
pub async fn image_names(platform: &Platform, app: &AppName) -> Result<Vec<String>, Error> {
    let images = platform.engine.images_of(app.as_str()).await?;
    let names = images
        .into_iter()
        .flat_map(|image| match image.tags.is_empty() {
            true => vec![image.id],
            false => image
                .tags
                .into_iter()
                .filter(|tag| platform.naming.is_image_of(app, tag))
                .collect(),
        });
    Ok(names.collect())
}
