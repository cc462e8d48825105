//! Limits of builds and containers, as far as the engine has them.
//!
//! Of a container's limits it says itself, when it makes one, which it cannot hold it to. BuildKit ignores the `memory` of a build call. With the cgroupfs driver its steps all run under
//! the cgroup `docker/buildkit`, and a limit set there holds; with systemd's they do not, and there
//! is no limit to be had. Measured on engine 20.10; see also moby/buildkit's `runc` executor.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use bollard::errors::Error as ApiError;
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::Docker;
use crate::domain::Limits;
use crate::runtime::{BuildLimit, ContainerSpec, EngineFacts};

fn limit_builds(bytes: u64, facts: &EngineFacts) -> BuildLimit {
    if facts.cgroup_driver != "cgroupfs" {
        return BuildLimit::NotPossible(format!(
            "the engine's cgroup driver is {}",
            facts.cgroup_driver
        ));
    }
    let (group, file) = match facts.cgroup_version {
        2 => ("/sys/fs/cgroup/docker/buildkit", "memory.max"),
        _ => (
            "/sys/fs/cgroup/memory/docker/buildkit",
            "memory.limit_in_bytes",
        ),
    };
    match set(Path::new(group), file, bytes) {
        Ok(()) => BuildLimit::Set(bytes),
        Err(error) => BuildLimit::NotPossible(format!("{group}/{file}: {error}")),
    }
}

fn set(group: &Path, file: &str, bytes: u64) -> io::Result<()> {
    fs::create_dir_all(group)?;
    fs::write(group.join(file), bytes.to_string())
}

impl Docker {
    /// Limits the memory of all build steps together, where this engine allows it.
    pub fn limit_builds(&self, bytes: u64, facts: &EngineFacts) -> BuildLimit {
        limit_builds(bytes, facts)
    }

    /// Makes a container. What the engine says that it cannot hold it to is left out, and told of once.
    pub(super) async fn create(&self, spec: &ContainerSpec) -> Result<(), ApiError> {
        let options = CreateContainerOptionsBuilder::default()
            .name(&spec.name)
            .build();
        let body = self.create_body(spec);
        let made = self
            .ask(self.docker.create_container(Some(options.clone()), body))
            .await;
        let made = match made {
            // Other limits it drops by itself.
            Err(ApiError::DockerResponseServerError { message, .. })
                if has_no_cpu_limits(&message) =>
            {
                self.tell_once(&message);
                let limits = Limits {
                    cpus: None,
                    ..spec.limits
                };
                let body = self.create_body(&ContainerSpec {
                    limits,
                    ..spec.clone()
                });
                self.ask(self.docker.create_container(Some(options), body))
                    .await?
            }
            made => made?,
        };
        made.warnings
            .iter()
            .for_each(|warning| self.tell_once(warning));
        Ok(())
    }

    /// Logs something about the engine, the first time.
    fn tell_once(&self, warning: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(warning.to_owned()) {
            tracing::warn!("the engine cannot hold containers to all their limits: {warning}");
        }
    }
}

/// Whether an engine refused a limit of processors because it has none at all.
fn has_no_cpu_limits(message: &str) -> bool {
    message.contains("NanoCPUs can not be set")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;
    use crate::runtime::Role;

    /// An engine that gives these answers, one after the other; gives what it was asked.
    fn engine(
        path: &Path,
        answers: Vec<(u16, &'static str)>,
    ) -> std::thread::JoinHandle<Vec<String>> {
        let socket = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let answer = |(status, body): (u16, &str)| {
                let mut client = BufReader::new(socket.accept().unwrap().0);
                let (mut line, mut length) = (String::new(), 0);
                while client.read_line(&mut line).unwrap() > 2 {
                    let said = line.to_lowercase();
                    length = said
                        .strip_prefix("content-length: ")
                        .map_or(length, |n| n.trim().parse().unwrap());
                    line.clear();
                }
                let mut asked = vec![0; length];
                client.read_exact(&mut asked).unwrap();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                client
                    .get_mut()
                    .write_all((head + body).as_bytes())
                    .unwrap();
                String::from_utf8(asked).unwrap()
            };
            answers.into_iter().map(answer).collect()
        })
    }

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "x".into(),
            role: Role::Web,
            owner: None,
            image: "x".into(),
            command: None,
            env: Default::default(),
            network: "x".into(),
            address: None,
            aliases: Vec::new(),
            own_names: false,
            restart: false,
            user: None,
            stop_signal: None,
            mounts: Vec::new(),
            ports: Vec::new(),
            capabilities: Vec::new(),
            limits: Limits {
                memory: Some("1g".parse().unwrap()),
                pids: None,
                cpus: Some("1.5".parse().unwrap()),
            },
        }
    }

    #[tokio::test]
    async fn a_limit_that_the_engine_lacks_is_left_out_and_told_once_and_no_other_error_is() {
        const LACKS: &str = r#"{"message":"NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler"}"#;
        const MADE: &str =
            r#"{"Id":"1","Warnings":["Your kernel does not support swap limit capabilities"]}"#;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let refused = r#"{"message":"Range of CPUs is from 0.01 to 1.00"}"#;
        let answers = vec![
            (400, LACKS),
            (201, MADE),
            (400, LACKS),
            (201, MADE),
            (400, refused),
        ];
        let there = self::engine(&path, answers);
        let engine = Docker::new(&path, Duration::from_secs(10), "0a1b2c", dir.path()).unwrap();
        engine.create(&spec()).await.unwrap();
        engine.create(&spec()).await.unwrap();
        assert!(
            engine
                .create(&spec())
                .await
                .unwrap_err()
                .to_string()
                .contains("Range of CPUs")
        );
        let asked = there.join().unwrap();
        assert!(
            asked[0].contains("\"NanoCpus\":1500000000") && !asked[1].contains("NanoCpus"),
            "{asked:?}"
        );
        assert!(
            asked[1].contains("\"Memory\":1073741824,\"MemorySwap\":1073741824"),
            "{asked:?}"
        );
        assert_eq!(engine.told.lock().unwrap().len(), 2);
    }
}
