//! Containers: made, watched, renamed, stopped.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointIpamConfig, EndpointSettings, ExecConfig,
    HealthConfig, HostConfig, HostConfigLogConfig, MountType, NetworkingConfig, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};

use super::{Docker, is_missing, status_of, within};
use crate::domain::{AppName, DeployId, Replica, Timestamp};
use crate::runtime::{
    APP, ContainerSpec, ContainerState, DEPLOY, EngineError, Exit, HOME, LogLine, PROCESS, REPLICA,
    ROLE, Role, SPEC,
};

/// Which replica a container is by its labels. Versions before processes gave only the role.
fn replica<'a>(label: &impl Fn(&str) -> Option<&'a str>) -> Option<Replica> {
    match (label(PROCESS), label(REPLICA)) {
        (None, None) => {
            let web = label(ROLE).and_then(Role::parse) == Some(Role::Web);
            web.then(Replica::web)
        }
        (process, number) => Some(Replica {
            process: process?.parse().ok()?,
            number: number?.parse().ok()?,
        }),
    }
}

impl Docker {
    /// Makes a container and starts it. One of that name, left over, is replaced; one that does not
    /// start is removed.
    pub async fn run(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let made = match self.create(spec).await {
            Err(error) if status_of(&error) == Some(409) => {
                self.remove(&spec.name).await?;
                self.create(spec).await
            }
            made => made,
        };
        made.map_err(self.failed(format!("create the container {}", spec.name)))?;
        let started = self.start(&spec.name).await;
        if started.is_err() {
            // What never ran has nothing to tell; the error that counts is the first one.
            let _ = self.remove(&spec.name).await;
        }
        started
    }

    /// Starts a container that is there.
    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        let starting = self
            .docker
            .start_container(name, None::<query::StartContainerOptions>);
        let started = self.ask(starting).await;
        started.map_err(self.failed(format!("start the container {name}")))
    }

    pub(super) fn create_body(&self, spec: &ContainerSpec) -> ContainerCreateBody {
        let mut labels = vec![
            (ROLE, spec.role.as_str().to_owned()),
            (SPEC, spec.fingerprint()),
        ];
        if let Some(owner) = &spec.owner {
            labels.extend([
                (APP, owner.app.to_string()),
                (DEPLOY, owner.deploy.to_string()),
            ]);
        }
        if let Some(replica) = spec.owner.as_ref().and_then(|o| o.replica.as_ref()) {
            labels.extend([
                (PROCESS, replica.process.to_string()),
                (REPLICA, replica.number.to_string()),
            ]);
        }
        let endpoint = EndpointSettings {
            aliases: Some(spec.aliases.clone()),
            ipam_config: spec.address.map(|address| EndpointIpamConfig {
                ipv4_address: Some(address.to_string()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let published = spec.ports.iter().map(|port| {
            let binding = PortBinding {
                host_ip: None,
                host_port: Some(port.host.to_string()),
            };
            (format!("{}/tcp", port.container), Some(vec![binding]))
        });
        let mounts = spec.mounts.iter().map(|mount| bollard::models::Mount {
            typ: Some(MountType::BIND),
            source: Some(mount.source.display().to_string()),
            target: Some(mount.target.clone()),
            ..Default::default()
        });
        let memory = spec
            .limits
            .memory
            .map(|memory| i64::try_from(memory.0).unwrap_or(i64::MAX));
        // The driver `local` is the engine's quickest that rotates; with small or few files it
        // loses lines while they are followed.
        let rotation = [("max-size", "10m"), ("max-file", "3")];
        let log_config = HostConfigLogConfig {
            typ: Some("local".into()),
            config: Some(
                rotation
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            ),
        };
        ContainerCreateBody {
            image: Some(spec.image.clone()),
            cmd: spec.command.clone(),
            env: Some(spec.env.assignments()),
            user: spec.user.clone(),
            stop_signal: spec.stop_signal.as_ref().map(|name| format!("SIG{name}")),
            labels: Some(self.labels(&labels)),
            // Windlass asks the image's HEALTHCHECK itself; the engine would run it as often as an image
            // likes, down to a millisecond, on the machine's account.
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".into()]),
                ..Default::default()
            }),
            exposed_ports: Some(
                spec.ports
                    .iter()
                    .map(|port| format!("{}/tcp", port.container))
                    .collect(),
            ),
            host_config: Some(HostConfig {
                // PID 1 that passes signals on and reaps: an app under `sh -c` would sit out every grace.
                init: Some(spec.role != Role::Caddy),
                log_config: Some(log_config),
                restart_policy: Some(restart_policy(spec.restart)),
                network_mode: Some(spec.network.clone()),
                port_bindings: Some(published.collect()),
                mounts: Some(mounts.collect()),
                // By default the engine passes every name that it does not know on to the outside.
                dns_options: spec
                    .own_names
                    .then(|| vec!["ndots:1".into(), "timeout:1".into()]),
                // Or the machine's own search domains would make a dotted name out of each.
                dns_search: spec.own_names.then(|| vec![".".into()]),
                security_opt: Some(vec!["no-new-privileges".into()]),
                cap_drop: Some(vec!["ALL".into()]),
                cap_add: Some(spec.capabilities.clone()),
                memory,
                // Memory and swap together.
                memory_swap: memory,
                pids_limit: spec.limits.pids.map(|pids| i64::from(pids.get())),
                nano_cpus: spec
                    .limits
                    .cpus
                    .map(|cpus| i64::from(cpus.millis()) * 1_000_000),
                ..Default::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(spec.network.clone(), endpoint)])),
            }),
            ..Default::default()
        }
    }

    /// A container as it stands; `None` where there is none of that name or id.
    pub async fn container(&self, name: &str) -> Result<Option<ContainerState>, EngineError> {
        let inspecting = self
            .docker
            .inspect_container(name, None::<query::InspectContainerOptions>);
        let inspected = self.ask(inspecting).await;
        let found = match inspected {
            Err(error) if is_missing(&error) => return Ok(None),
            found => found.map_err(self.failed(format!("look at the container {name}")))?,
        };
        let state = found.state.unwrap_or_default();
        let labels = found
            .config
            .and_then(|config| config.labels)
            .unwrap_or_default();
        let label = |key: &str| labels.get(key).map(String::as_str);
        let running = state.running.unwrap_or(false) || state.restarting.unwrap_or(false);
        let policy = found
            .host_config
            .and_then(|config| config.restart_policy)
            .and_then(|policy| policy.name);
        // A container that was made but never started has no end either.
        let at = |at: Option<String>| at.filter(|at| !at.starts_with("0001"));
        let (started, finished) = (at(state.started_at), at(state.finished_at));
        let ended = !running && finished.is_some();
        let since = if ended { finished } else { started };
        let networks = found
            .network_settings
            .and_then(|n| n.networks)
            .unwrap_or_default();
        // One that is between two lives has only what it was promised.
        let address = |at: EndpointSettings| {
            let promised = at.ipam_config.and_then(|ipam| ipam.ipv4_address);
            [at.ip_address, promised]
                .into_iter()
                .flatten()
                .find_map(|address| address.parse().ok())
        };
        let addresses = networks
            .into_iter()
            .filter_map(|(name, at)| Some((name, address(at)?)));
        Ok(Some(ContainerState {
            id: found.id.unwrap_or_default(),
            name: found
                .name
                .unwrap_or_default()
                .trim_start_matches('/')
                .to_owned(),
            role: label(ROLE).and_then(Role::parse),
            app: label(APP).and_then(|app| app.parse().ok()),
            deploy: label(DEPLOY).and_then(|id| id.parse().ok()),
            replica: replica(&label),
            image: found.image.unwrap_or_default(),
            running,
            paused: state.paused.unwrap_or(false),
            exit: ended.then(|| Exit {
                status: state.exit_code.unwrap_or(0),
                out_of_memory: state.oom_killed.unwrap_or(false),
            }),
            since: since.and_then(|at| Timestamp::parse(&at)),
            addresses: addresses.collect(),
            home: label(HOME).map(PathBuf::from),
            made_from: label(SPEC).unwrap_or_default().to_owned(),
            restart: policy == Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            restarts: found.restart_count.unwrap_or(0).max(0) as u64,
        }))
    }

    /// This installation's containers, stopped ones too; of one app, or one deploy, where given.
    pub async fn containers(
        &self,
        app: Option<&AppName>,
        deploy: Option<DeployId>,
    ) -> Result<Vec<ContainerState>, EngineError> {
        let mut labels = vec![self.mine()];
        labels.extend(app.map(|app| format!("{APP}={app}")));
        labels.extend(deploy.map(|id| format!("{DEPLOY}={id}")));
        let filters = HashMap::from([("label", labels)]);
        let options = query::ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self.ask(self.docker.list_containers(Some(options))).await;
        let listed = listed.map_err(self.failed("list containers"))?;
        let mut found = Vec::new();
        for summary in listed {
            // One may go between the list and the look at it.
            found.extend(self.container(&summary.id.unwrap_or_default()).await?);
        }
        Ok(found)
    }

    /// Waits until a container has ended. One that is gone counts as ended by SIGKILL. An engine that
    /// cannot be asked says nothing about a container: it is asked again, until the caller drops this.
    pub async fn wait(&self, name: &str) -> Exit {
        loop {
            // The wait itself may break off, with the engine or by its time limit: the state decides.
            let mut ended = std::pin::pin!(
                self.docker
                    .wait_container(name, None::<query::WaitContainerOptions>)
            );
            let _ = ended.next().await;
            match self.container(name).await {
                Ok(None) => {
                    return Exit {
                        status: 137,
                        out_of_memory: false,
                    };
                }
                Ok(Some(ContainerState {
                    exit: Some(exit), ..
                })) => return exit,
                Ok(Some(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The process id, on the host, of a running container's first process.
    pub(super) async fn pid(&self, name: &str) -> Result<Option<i64>, EngineError> {
        let inspecting = self
            .docker
            .inspect_container(name, None::<query::InspectContainerOptions>);
        let inspected = self.ask(inspecting).await;
        let found = inspected.map_err(self.failed(format!("look at the container {name}")))?;
        Ok(found
            .state
            .and_then(|state| state.pid)
            .filter(|pid| *pid > 0))
    }

    /// This installation's containers that run: their names, by their ids.
    pub async fn running(&self) -> Result<HashMap<String, String>, EngineError> {
        let filters = HashMap::from([
            ("label", vec![self.mine()]),
            ("status", vec!["running".to_owned()]),
        ]);
        let options = query::ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        let listed = self.ask(self.docker.list_containers(Some(options))).await;
        let listed = listed.map_err(self.failed("list containers"))?;
        // What another container calls it has one more slash in it.
        let own = |names: Vec<String>| {
            names
                .into_iter()
                .find_map(|n| Some(n.strip_prefix('/')?.to_owned()).filter(|n| !n.contains('/')))
        };
        Ok(listed
            .into_iter()
            .filter_map(|c| Some((c.id?, own(c.names?)?)))
            .collect())
    }

    /// Gives a container another name. Its connections are not touched.
    ///
    /// Where the engine's answer was lost, the container's name tells whether it was done.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), EngineError> {
        let options = query::RenameContainerOptionsBuilder::default()
            .name(to)
            .build();
        let before = self.container(from).await?.map(|container| container.id);
        let id = before.as_deref().unwrap_or(from);
        match self.ask(self.docker.rename_container(id, options)).await {
            Err(error) if status_of(&error).is_none() => match self.container(id).await {
                Ok(Some(there)) if there.name == to => Ok(()),
                _ => Err(self.failed(format!("rename the container {from} to {to}"))(
                    error,
                )),
            },
            renamed => renamed.map_err(self.failed(format!("rename the container {from} to {to}"))),
        }
    }

    /// Lets a paused container go on.
    pub async fn unpause(&self, name: &str) -> Result<(), EngineError> {
        let unpaused = self.ask(self.docker.unpause_container(name)).await;
        unpaused.map_err(self.failed(format!("let the container {name} go on")))
    }

    /// Whether the engine brings the container back when it stops by itself.
    pub async fn set_restart(&self, name: &str, restart: bool) -> Result<(), EngineError> {
        let body = ContainerUpdateBody {
            restart_policy: Some(restart_policy(restart)),
            ..Default::default()
        };
        let updated = self.ask(self.docker.update_container(name, body)).await;
        updated.map_err(self.failed(format!("set the restart policy of {name}")))
    }

    /// SIGTERM, then SIGKILL after `grace`. Fine with one that has stopped, or is gone.
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<(), EngineError> {
        let options = query::StopContainerOptionsBuilder::default()
            .t(grace.as_secs().min(3600) as i32)
            .build();
        let limit = grace + self.limit;
        let docker = self.docker.clone().with_timeout(limit);
        match within(limit, docker.stop_container(name, Some(options))).await {
            Err(error) if matches!(status_of(&error), Some(304 | 404)) => Ok(()),
            other => other.map_err(self.failed(format!("stop the container {name}"))),
        }
    }

    /// Removes a container, at once and with its anonymous volumes. Fine when it is gone.
    pub async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = query::RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match self
            .ask(self.docker.remove_container(name, Some(options)))
            .await
        {
            Err(error) if is_missing(&error) => Ok(()),
            // Its removal is under way already.
            Err(error) if status_of(&error) == Some(409) => self.wait_until_gone(name).await,
            other => other.map_err(self.failed(format!("remove the container {name}"))),
        }
    }

    async fn wait_until_gone(&self, name: &str) -> Result<(), EngineError> {
        let gone = async {
            while self.container(name).await?.is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        let silent = || EngineError::Failed {
            doing: format!("remove the container {name}"),
            cause: "its removal is under way and does not end".into(),
        };
        tokio::time::timeout(self.limit, gone)
            .await
            .unwrap_or_else(|_| Err(silent()))
    }

    /// Sends a signal to a container's main process.
    pub async fn signal(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        let options = query::KillContainerOptionsBuilder::default()
            .signal(signal)
            .build();
        let sent = self
            .ask(self.docker.kill_container(name, Some(options)))
            .await;
        sent.map_err(self.failed(format!("send {signal} to {name}")))
    }

    /// What a container prints: all of it, and what comes if `follow`. With `since` (seconds since
    /// the epoch) only what is not older, and each line behind its time.
    pub fn output(
        &self,
        name: &str,
        follow: bool,
        since: Option<i64>,
    ) -> impl Stream<Item = Result<LogLine, EngineError>> + use<> {
        let options = query::LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(follow)
            .timestamps(since.is_some())
            .since(since.unwrap_or(0).clamp(0, i64::from(i32::MAX)) as i32)
            .build();
        let engine = self.clone();
        let name = name.to_owned();
        // Engines before 26 send the head of an answer with its first line only (moby#47448): who
        // prints nothing for long is no engine that hangs.
        let docker =
            self.docker
                .clone()
                .with_timeout(if follow { Duration::MAX } else { self.limit });
        docker
            .logs(&name.clone(), Some(options))
            .map(move |item| match item {
                Ok(LogOutput::StdErr { message }) => Ok(LogLine {
                    stderr: true,
                    bytes: message,
                }),
                Ok(other) => Ok(LogLine {
                    stderr: false,
                    bytes: other.into_bytes(),
                }),
                Err(error) => Err(engine.failed(format!("read the output of {name}"))(error)),
            })
    }

    /// The last `count` lines that a container printed.
    pub async fn last_output(&self, name: &str, count: usize) -> Result<Vec<Bytes>, EngineError> {
        let options = query::LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&count.to_string())
            .build();
        let lines = self
            .docker
            .logs(name, Some(options))
            .map_ok(LogOutput::into_bytes)
            .try_collect();
        self.ask(lines)
            .await
            .map_err(self.failed(format!("read the output of {name}")))
    }

    /// Runs a command in a running container, no longer than `limit`: its exit status and what it
    /// printed, 64 KiB of it at most. The command itself goes on when the limit is over.
    pub async fn exec(
        &self,
        name: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<(i64, String), EngineError> {
        let ended = within(limit, self.exec_to_end(name, command)).await;
        ended.map_err(self.failed(format!("run {} in {name}", command.join(" "))))
    }

    async fn exec_to_end(&self, name: &str, command: &[String]) -> Result<(i64, String), ApiError> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let exec = self.docker.create_exec(name, config).await?;
        let mut printed = Vec::new();
        if let StartExecResults::Attached { mut output, .. } =
            self.docker.start_exec(&exec.id, None).await?
        {
            while let Some(chunk) = output.next().await {
                let chunk = chunk?.into_bytes();
                if printed.len() < 64 * 1024 {
                    printed.extend_from_slice(&chunk);
                }
            }
        }
        let ended = self.docker.inspect_exec(&exec.id).await?;
        // An output that is cut off looks like one that has ended.
        let cut_off = || ApiError::DockerStreamError {
            error: "its output was cut off".into(),
        };
        let status = ended
            .exit_code
            .filter(|_| ended.running != Some(true))
            .ok_or_else(cut_off)?;
        Ok((status, String::from_utf8_lossy(&printed).into_owned()))
    }
}

fn restart_policy(restart: bool) -> RestartPolicy {
    let name = if restart {
        RestartPolicyNameEnum::UNLESS_STOPPED
    } else {
        RestartPolicyNameEnum::NO
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: None,
    }
}
