//! Docker, and Caddy in it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::exec::StartExecResults;
use bollard::models::{ContainerSummary, ExecConfig, SystemInfo, SystemVersion};
use bollard::query_parameters::ListContainersOptions;
use bollard::{API_DEFAULT_VERSION, Docker};

use futures_util::StreamExt;

use super::Finding;
use super::host::version;
use crate::config::{Config, Home};
use crate::proxy::Abilities;
use crate::runtime::Usage;

/// Seconds to wait for the engine.
const PATIENCE: u64 = 10;
/// The oldest API that has all that is asked of it.
const API: (u32, u32) = (1, 41);
/// What makes BuildKit keep a build's output whole. Not -1: engine 20.10 then keeps nothing.
const UNCLIPPED: &str = "2147483647";

/// What there is to know of the engine.
#[derive(Debug, Default)]
pub struct Engine {
    /// What the checks found.
    pub findings: Vec<Finding>,
    /// Ports that our Caddy holds.
    pub caddy_ports: Vec<u16>,
    /// Where the engine stores images.
    pub root: Option<PathBuf>,
    /// What takes room there.
    pub usage: Option<Usage>,
}

/// Everything about the engine and Caddy.
pub async fn check(home: &Home, config: &Config) -> Engine {
    let mut engine = Engine::default();
    let (docker, version) = match reach(&config.docker.socket).await {
        Ok(reached) => reached,
        Err(finding) => {
            engine.findings.push(finding);
            return engine;
        }
    };
    engine.findings.push(api(&version));
    if let Ok(info) = docker.info().await {
        engine
            .findings
            .extend([drivers(&info), limits(&info), live_restore(&info)]);
        engine.root = info.docker_root_dir.map(PathBuf::from);
    }
    engine.usage = crate::runtime::usage(&config.docker.socket).await.ok();
    engine.findings.extend(build_logs());
    engine
        .findings
        .push(image(&docker, &config.caddy.image).await);
    let caddy = container(&docker, home).await;
    engine.findings.push(running(caddy.as_ref()));
    if let Some(said) = caddy_version(&docker, caddy.as_ref()).await {
        engine.findings.push(loads(&said));
    }
    let ports = caddy.and_then(|caddy| caddy.ports).unwrap_or_default();
    engine.caddy_ports = ports.iter().filter_map(|port| port.public_port).collect();
    engine
}

async fn reach(socket: &Path) -> Result<(Docker, SystemVersion), Finding> {
    let shown = socket.display();
    let failed = |error: &dyn std::fmt::Display| {
        let mend = "Is it installed and running (systemctl start docker)? May this user use it\n\
                    (usermod -aG docker USER)? Another socket: config.toml, [docker] socket";
        Finding::fail(
            "docker",
            format!("no engine answers at {shown}: {error}"),
            mend,
        )
    };
    if let Err(error) = std::os::unix::net::UnixStream::connect(socket) {
        return Err(failed(&error));
    }
    let docker =
        Docker::connect_with_socket(&socket.to_string_lossy(), PATIENCE, API_DEFAULT_VERSION);
    let docker = docker.map_err(|error| failed(&error))?;
    let version = docker.version().await.map_err(|error| failed(&error))?;
    Ok((docker, version))
}

fn api(engine: &SystemVersion) -> Finding {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let found = format!(
        "engine {}, API {}",
        text(&engine.version),
        text(&engine.api_version)
    );
    let components = engine.components.iter().flatten();
    if components
        .clone()
        .any(|component| component.name.contains("Podman"))
    {
        let mend = "Install Docker: apt-get install docker.io";
        return Finding::fail(
            "docker",
            format!("{found}: this is Podman, which has no BuildKit"),
            mend,
        );
    }
    // Every Docker of this API and newer has BuildKit built in.
    match engine.api_version.as_deref().and_then(version) {
        Some(api) if api >= API => Finding::ok("docker", format!("{found}, with BuildKit")),
        _ => Finding::fail(
            "docker",
            format!("{found}: too old"),
            "Install Docker 20.10 or newer",
        ),
    }
}

fn drivers(info: &SystemInfo) -> Finding {
    let storage = info.driver.as_deref().unwrap_or("unknown");
    let cgroups = info
        .cgroup_driver
        .map_or_else(|| "unknown".into(), |driver| driver.to_string());
    let found = format!("storage {storage}, cgroups by {cgroups}");
    if storage == "vfs" {
        let mend = "Each image layer is a full copy with it. Use overlay2: \"storage-driver\" in /etc/docker/daemon.json";
        return Finding::warn("docker drivers", found, mend);
    }
    Finding::ok("docker drivers", found)
}

/// Whether containers can be held to what they may take.
fn limits(info: &SystemInfo) -> Finding {
    let can = [
        ("memory", info.memory_limit),
        ("swap", info.swap_limit),
        ("processes", info.pids_limit),
        ("processors", info.cpu_cfs_quota),
    ];
    let lacking: Vec<&str> = can
        .iter()
        .filter(|(_, can)| *can == Some(false))
        .map(|(name, _)| *name)
        .collect();
    if lacking.is_empty() {
        return Finding::ok(
            "container limits",
            "memory, swap, processes and processors can be limited",
        );
    }
    let mend = "One app can then take from all others. The kernel lacks a cgroup controller, or it is off: see\n\
                docker info, and for memory and swap on Debian: cgroup_enable=memory swapaccount=1 in\n\
                GRUB_CMDLINE_LINUX of /etc/default/grub, then update-grub and a reboot";
    Finding::warn(
        "container limits",
        format!("the engine cannot limit {}", lacking.join(", ")),
        mend,
    )
}

fn live_restore(info: &SystemInfo) -> Finding {
    if info.live_restore_enabled == Some(true) {
        return Finding::ok("live restore", "on: apps outlive a restart of Docker");
    }
    let mend =
        "Put \"live-restore\": true into /etc/docker/daemon.json, then: systemctl reload docker";
    Finding::warn(
        "live restore",
        "off: every app stops while Docker is restarted or upgraded",
        mend,
    )
}

/// Whether the engine clips the output of builds, where its environment may be read.
fn build_logs() -> Option<Finding> {
    let environment = std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|process| {
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            let environment = std::fs::read(process.path().join("environ")).ok()?;
            (name.trim() == "dockerd").then(|| String::from_utf8_lossy(&environment).into_owned())
        })?;
    Some(clips(&environment))
}

fn clips(environment: &str) -> Finding {
    let limit = |key: &str| -> Option<i64> {
        let line = environment
            .split('\0')
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.and_then(|value| value.parse().ok())
    };
    let generous = |key| limit(key).is_some_and(|bytes| bytes >= 64 << 20);
    if generous("BUILDKIT_STEP_LOG_MAX_SIZE") && generous("BUILDKIT_STEP_LOG_MAX_SPEED") {
        return Finding::ok("build logs", "kept whole");
    }
    let mend = format!(
        "For complete logs give dockerd (systemctl edit docker) this environment and restart it:\n\
         BUILDKIT_STEP_LOG_MAX_SIZE={UNCLIPPED} BUILDKIT_STEP_LOG_MAX_SPEED={UNCLIPPED}"
    );
    Finding::warn(
        "build logs",
        "the engine clips the output of a long build step",
        mend,
    )
}

async fn image(docker: &Docker, name: &str) -> Finding {
    match docker.inspect_image(name).await {
        Ok(_) => Finding::ok("caddy image", format!("{name} is here")),
        Err(_) => {
            let mend = format!(
                "The server pulls it at its start. To see now whether that works: docker pull {name}"
            );
            Finding::warn("caddy image", format!("{name} is not here yet"), mend)
        }
    }
}

/// Our Caddy's container, running or not.
async fn container(docker: &Docker, home: &Home) -> Option<ContainerSummary> {
    let labels = vec![
        "windlass.role=caddy".into(),
        format!("windlass.home={}", home.path().display()),
    ];
    let filters = Some(HashMap::from([("label".to_owned(), labels)]));
    let options = ListContainersOptions {
        all: true,
        filters,
        ..Default::default()
    };
    docker
        .list_containers(Some(options))
        .await
        .ok()?
        .into_iter()
        .next()
}

fn running(caddy: Option<&ContainerSummary>) -> Finding {
    let Some(caddy) = caddy else {
        let mend = "The server starts it: systemctl start windlass, or windlass serve";
        return Finding::warn(
            "caddy",
            "there is no container of this home folder's Caddy",
            mend,
        );
    };
    let name = caddy
        .names
        .iter()
        .flatten()
        .next()
        .map_or("", |name| name.trim_start_matches('/'));
    let state = caddy
        .state
        .map_or_else(|| "in an unknown state".into(), |state| state.to_string());
    if state == "running" {
        return Finding::ok("caddy", format!("{name} is running"));
    }
    let mend = format!(
        "Nothing is served. See why: docker logs {name}\nThe server starts it again: systemctl restart windlass"
    );
    Finding::fail("caddy", format!("{name} is {state}"), mend)
}

/// What our Caddy says of itself, if it runs.
async fn caddy_version(docker: &Docker, caddy: Option<&ContainerSummary>) -> Option<String> {
    let command = ["caddy", "version"].map(str::to_owned).to_vec();
    let config = ExecConfig {
        attach_stdout: Some(true),
        cmd: Some(command),
        ..Default::default()
    };
    let exec = docker.create_exec(caddy?.id.as_ref()?, config).await.ok()?;
    let StartExecResults::Attached { output, .. } = docker.start_exec(&exec.id, None).await.ok()?
    else {
        return None;
    };
    let chunks: Vec<_> = output.take(16).collect().await;
    let chunks = chunks.into_iter().flatten().map(|chunk| chunk.into_bytes());
    let said: Vec<u8> = chunks.flatten().collect();
    let said = String::from_utf8_lossy(&said);
    Some(said.split_whitespace().next()?.to_owned())
}

/// What a Caddy of this version costs visitors while apps come, change and go.
fn loads(version: &str) -> Finding {
    if Abilities::of_version(version).files {
        let found = format!("{version} is led by files: no change of an app costs a connection");
        return Finding::ok("caddy version", found);
    }
    let found = format!(
        "{version} is older than 2.8: an app's first release, another domain and its end load a configuration, \
         which closes idle connections to every app and may cut a few that are just being made"
    );
    let mend = "A newer one: config.toml, [caddy] image, then restart the server";
    Finding::warn("caddy version", found, mend)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn clipped_build_logs_are_told() {
        let both = |value| {
            format!(
                "A=1\0BUILDKIT_STEP_LOG_MAX_SIZE={value}\0BUILDKIT_STEP_LOG_MAX_SPEED={value}\0"
            )
        };
        assert_eq!(clips(&both("2147483647")).status, Status::Ok);
        assert_eq!(clips(&both("-1")).status, Status::Warn);
        assert_eq!(clips("A=1\0").status, Status::Warn);
    }

    #[test]
    fn a_caddy_that_has_to_load_is_told_of() {
        assert_eq!(loads("v2.11.7").status, Status::Ok);
        let old = loads("2.6.2");
        assert_eq!(old.status, Status::Warn);
        assert!(old.found.contains("closes idle connections"), "{old:?}");
    }

    #[test]
    fn an_engine_that_cannot_limit_containers_is_told_of() {
        let info = |pids| SystemInfo {
            pids_limit: Some(pids),
            ..Default::default()
        };
        assert_eq!(limits(&info(true)).status, Status::Ok);
        let found = limits(&info(false));
        assert!(
            found.status == Status::Warn && found.found.ends_with("limit processes"),
            "{found:?}"
        );
    }

    #[test]
    fn old_engines_and_podman_fail() {
        let engine = |api: &str| SystemVersion {
            api_version: Some(api.into()),
            ..Default::default()
        };
        assert_eq!(api(&engine("1.41")).status, Status::Ok);
        assert_eq!(api(&engine("1.40")).status, Status::Fail);
        assert_eq!(api(&engine("")).status, Status::Fail);
        let podman = bollard::models::SystemVersionComponents {
            name: "Podman Engine".into(),
            ..Default::default()
        };
        let podman = SystemVersion {
            components: Some(vec![podman]),
            ..engine("1.41")
        };
        assert_eq!(api(&podman).status, Status::Fail);
    }
}
