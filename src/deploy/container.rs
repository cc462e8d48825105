//! The containers of an app: the same image, environment and network for its gates and for what
//! serves.

use super::run::Run;
use super::source::Image;
use crate::domain::Environment;
use crate::engine::{ContainerSpec, Role};

/// A container of the app, up to what differs between a candidate and a gate.
pub(super) fn web_container(run: &Run, image: &Image, port: u16, name: String, role: Role) -> ContainerSpec {
    let (naming, deploy) = (&run.windlass.naming, &run.deploy);
    ContainerSpec {
        aliases: vec![naming.fallback(&deploy.app), naming.release(&deploy.app, deploy.id)],
        own_names: false,
        name,
        role,
        owner: Some((deploy.app.clone(), deploy.id)),
        image: image.name.to_string(),
        command: image.manifest.web.command.clone().map(|command| command.0),
        env: environment(&image.env, image, port).assignments(),
        network: naming.network(&deploy.app),
        restart: false,
        user: None,
        mounts: Vec::new(),
        ports: Vec::new(),
        capabilities: None,
    }
}

/// The app's variables over Windlass's own: an app may set `PORT` itself.
fn environment(env: &Environment, image: &Image, port: u16) -> Environment {
    let mut all = Environment::default();
    let own = [("PORT", port.to_string()), ("WINDLASS_COMMIT", image.commit.to_string())];
    for (name, value) in own.iter().map(|(n, v)| (*n, v.as_str())).chain(env.iter()) {
        // Both were checked where they came in.
        let _ = all.set(name, value);
    }
    all
}
