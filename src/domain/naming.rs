//! What everything of one installation is called on the engine. Names are state: after a crash they
//! say what was live and what was being proved.
//!
//! `_` joins the parts because no app name can contain it, so no two things can get one name. There
//! is no dot in a container's name: Docker's DNS would ask the outside world for it while no
//! container bears it.

use super::deploy::DeployId;
use super::name::{AppName, GateName};
use super::process::Replica;
use super::release::ImageRef;

/// Names for one installation; two on one engine never meet.
#[derive(Debug, Clone)]
pub struct Naming {
    prefix: String,
}

impl Naming {
    /// Names for the installation marked `instance`.
    pub fn new(instance: &str) -> Self {
        Self {
            prefix: format!("windlass-{instance}"),
        }
    }

    /// The live name: Caddy resolves it, and the container that bears it serves.
    pub fn live(&self, app: &AppName) -> String {
        format!("{}_{app}_live", self.prefix)
    }

    /// A container of a deploy by its own name: that of [`Replica::web`] before its swap as candidate,
    /// and again when it retires; that of any other always.
    pub fn replica(&self, app: &AppName, deploy: DeployId, replica: &Replica) -> String {
        let own = format!("{}_{app}_d{deploy}", self.prefix);
        match replica.is_web() {
            true => own,
            false => format!("{own}_{}_{}", replica.process, replica.number),
        }
    }

    /// A container of the live release by the name that it has while that is live.
    pub fn serving(&self, app: &AppName, deploy: DeployId, replica: &Replica) -> String {
        match replica.is_web() {
            true => self.live(app),
            false => self.replica(app, deploy, replica),
        }
    }

    /// The one-off container of a gate.
    pub fn gate(&self, app: &AppName, deploy: DeployId, gate: &GateName) -> String {
        format!("{}_{app}_d{deploy}_gate-{gate}", self.prefix)
    }

    /// The one-off container that reads what a gate is about to do.
    pub fn plan(&self, app: &AppName, deploy: DeployId, gate: &GateName) -> String {
        format!("{}_{app}_d{deploy}_plan-{gate}", self.prefix)
    }

    /// The alias that every web container of an app bears: Caddy's fallback during a rename.
    pub fn fallback(&self, app: &AppName) -> String {
        format!("{}_{app}_any", self.prefix)
    }

    /// An app's network. Sorts after [`Naming::edge`], see there.
    pub fn network(&self, app: &AppName) -> String {
        format!("{}_net_{app}", self.prefix)
    }

    /// The network through which Caddy reaches the outside. Engines before 28 take a container's
    /// gateway from the network whose name sorts first; were that to change when an app is created,
    /// Caddy's published ports would be torn down.
    pub fn edge(&self) -> String {
        format!("{}_edge", self.prefix)
    }

    /// Caddy's container.
    pub fn caddy(&self) -> String {
        format!("{}_caddy", self.prefix)
    }

    /// Whether an image's name is one that a deploy of the app may have given, now or in the version
    /// before, whose names could be guessed.
    pub fn is_image_of(&self, app: &AppName, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&format!("{}/{app}", self.prefix)) else {
            return false;
        };
        let Some((secret, id)) = rest.split_once(":d") else {
            return false;
        };
        let secret = secret.is_empty()
            || secret
                .strip_prefix('/')
                .is_some_and(|secret| secret.chars().all(|c| c.is_ascii_hexdigit()));
        secret && id.parse::<DeployId>().is_ok()
    }

    /// The present name of an image that the version before named without a secret part.
    pub fn hidden(&self, app: &AppName, secret: &str, name: &str) -> Option<String> {
        let id = name.strip_prefix(&format!("{}/{app}:d", self.prefix))?;
        Some(self.image(app, secret, id.parse().ok()?).0)
    }

    /// The image that a deploy builds. Any app that knows its name can build from it, so it has a part
    /// that none can guess.
    pub fn image(&self, app: &AppName, secret: &str, deploy: DeployId) -> ImageRef {
        ImageRef(format!("{}/{app}/{secret}:d{deploy}", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_network_sorts_before_any_apps() {
        let naming = Naming::new("0a1b2c");
        for app in ["0", "a", "edge", "z9"] {
            assert!(naming.edge() < naming.network(&app.parse().unwrap()));
        }
    }

    #[test]
    fn an_image_of_an_app_is_known_by_its_name() {
        let (naming, shop): (_, AppName) = (Naming::new("0a1b2c"), "shop".parse().unwrap());
        let image = naming.image(&shop, "00ff", DeployId(7)).0;
        for own in [image.as_str(), "windlass-0a1b2c/shop:d7"] {
            assert!(naming.is_image_of(&shop, own), "{own}");
        }
        assert_eq!(
            naming.hidden(&shop, "00ff", "windlass-0a1b2c/shop:d7"),
            Some(image.clone())
        );
        assert_eq!(naming.hidden(&shop, "00ff", &image), None, "once is enough");
        for other in [
            "shop:d7",
            "windlass-0a1b2c/shop:latest",
            "windlass-0a1b2c/shop2:d7",
            "windlass-0a1b2c/shop/x:y:d7",
            "windlass-0a1b2c/shop/00ff/1:d7",
            "windlass-ffffff/shop:d7",
            "postgres:16",
        ] {
            assert!(!naming.is_image_of(&shop, other), "{other}");
        }
    }

    #[test]
    fn no_two_apps_share_a_name() {
        let naming = Naming::new("0a1b2c");
        let replicas = ["web.1", "web.2", "gate-x.1", "plan-x.1"].map(|text| text.parse().unwrap());
        let mut names = Vec::new();
        for app in ["a", "a-live", "a-d1", "a-any", "net-a"] {
            let app: AppName = app.parse().unwrap();
            names.extend([naming.live(&app), naming.fallback(&app)]);
            names.extend(
                replicas
                    .iter()
                    .map(|r| naming.replica(&app, DeployId(1), r)),
            );
            names.extend([
                naming.network(&app),
                naming.gate(&app, DeployId(1), &"x".parse().unwrap()),
            ]);
            names.push(naming.plan(&app, DeployId(1), &"x".parse().unwrap()));
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
