//! What is true of every runtime: the same tests on a real Docker engine and on the fake. What the
//! simulation proves, it proves of an engine as this says that one is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use ipnet::Ipv4Net;
use windlass::chaos::Chaos;
use windlass::domain::{AppName, DeployId, Environment, Limits, Replica, Timestamp};
use windlass::runtime::fake::Fake;
use windlass::runtime::{
    BuildEvent, BuildSpec, BuildStop, Change, ContainerSpec, Now, Owner, Role, Runtime,
};

/// A base image that every machine with the tests has.
const BASE: &str = "windlass-local/base";
const LIMIT: Duration = Duration::from_secs(60);

/// A runtime with an image and a network, which are gone afterwards.
struct Back {
    runtime: Runtime,
    prefix: String,
    network: String,
    subnet: Ipv4Net,
    image: String,
}

fn app() -> AppName {
    "shop".parse().unwrap()
}

fn tar(dockerfile: &str) -> Bytes {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    let added = archive.append_data(&mut header, "Dockerfile", dockerfile.as_bytes());
    added.unwrap();
    archive.into_inner().unwrap().into()
}

impl Back {
    async fn furnish(runtime: Runtime, instance: &str) -> Self {
        let prefix = format!("windlass-{instance}");
        let mut back = Self {
            runtime,
            network: format!("{prefix}_net_shop"),
            subnet: Ipv4Net::new_assert([10, 254, 0, 0].into(), 26),
            image: format!("{prefix}/shop:d1"),
            prefix,
        };
        // Another installation may have it.
        for third in 0..=255 {
            back.subnet = Ipv4Net::new_assert([10, 254, third, 0].into(), 26);
            match back.ensure_network().await {
                Ok(()) => break,
                Err(error) => assert!(error.is_taken_subnet(), "{error}"),
            }
        }
        back.build("EXPOSE 9000\nCMD [\"sh\", \"-c\", \"sleep 60\"]")
            .await
            .unwrap();
        back
    }

    async fn ensure_network(&self) -> Result<(), windlass::runtime::EngineError> {
        self.runtime
            .ensure_network(&self.network, Some(self.subnet), Some("shop"))
            .await
    }

    async fn build(&self, dockerfile: &str) -> Result<Vec<BuildEvent>, BuildStop> {
        let spec = BuildSpec {
            image: self.image.clone(),
            dockerfile: "Dockerfile".into(),
            args: Default::default(),
            cache: self.prefix.clone(),
            secrets: Environment::default(),
            app: "shop".into(),
            deploy: "1".into(),
            commit: "0".repeat(40),
            session: format!("{}-{}", self.prefix, rand::random::<u32>()),
            timeout: LIMIT,
        };
        let context = tar(&format!("FROM {BASE}\n{dockerfile}\n"));
        let context = futures_util::stream::iter([Ok(context)]);
        let mut events = Vec::new();
        let built = self
            .runtime
            .build(&spec, context, |event| events.push(event));
        built.await.map(|()| events)
    }

    fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: self.name(name),
            role: Role::Web,
            owner: Some(Owner {
                app: app(),
                deploy: DeployId(1),
                replica: Some(Replica::web()),
            }),
            image: self.image.clone(),
            command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
            env: Environment::default(),
            network: self.network.clone(),
            address: None,
            aliases: vec![self.name("any")],
            own_names: false,
            restart: false,
            user: None,
            stop_signal: None,
            mounts: Vec::new(),
            ports: Vec::new(),
            capabilities: Vec::new(),
            limits: Limits::default(),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    async fn run(&self, name: &str, script: &str) -> String {
        let spec = self.spec(name, script);
        self.runtime.run(&spec).await.unwrap();
        spec.name
    }

    /// Runs what says `there` once a signal reaches it as it should.
    async fn run_and_meet(&self, name: &str, script: &str) -> String {
        let name = self.run(name, script).await;
        let mut output = self.runtime.output(&name, true, None);
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("there") {
            let line = output.next().await.expect("it says that it is there");
            said.extend_from_slice(&line.unwrap().bytes);
        }
        name
    }

    async fn lines(&self, name: &str, follow: bool) -> Vec<String> {
        let mut output = self.runtime.output(name, follow, None);
        let mut text = String::new();
        while let Some(line) = output.next().await {
            text += &String::from_utf8_lossy(&line.unwrap().bytes);
        }
        text.lines().map(str::to_owned).collect()
    }

    async fn clean(&self) {
        for container in self.runtime.containers(None, None).await.unwrap() {
            self.runtime.remove(&container.id).await.unwrap();
        }
        for image in self.runtime.images_of("shop").await.unwrap() {
            for name in image
                .tags
                .iter()
                .chain(&image.tags.is_empty().then_some(image.id))
            {
                self.runtime.remove_image(name).await.unwrap();
            }
        }
        for network in self.runtime.networks().await.unwrap() {
            self.runtime.remove_network(&network).await.unwrap();
        }
    }
}

/// The same test on both, each with nothing left afterwards, whether it is good or not.
macro_rules! contract {
    ($($name:ident)*) => {
        mod fake {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::on_fake(async |back| super::$name(back).await).await;
            })*
        }
        mod docker {
            $(#[tokio::test]
            async fn $name() {
                super::on_docker(async |back| super::$name(back).await).await;
            })*
        }
    };
}

async fn on_fake(test: impl AsyncFn(&Back)) {
    let fake = Fake::new(Chaos::new(0), LIMIT, "facade");
    let back = Back::furnish(Runtime::Fake(fake.clone()), "facade").await;
    test(&back).await;
    back.clean().await;
    assert_eq!(fake.all().len(), 0);
}

async fn on_docker(test: impl AsyncFn(&Back)) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let instance = format!("{:06x}", rand::random::<u32>() >> 8);
    let socket = Path::new("/var/run/docker.sock");
    let runtime = Runtime::docker(socket, LIMIT, &instance, Path::new("/nowhere")).unwrap();
    let back = Back::furnish(runtime, &instance).await;
    let done = std::panic::AssertUnwindSafe(test(&back));
    let done = futures_util::FutureExt::catch_unwind(done).await;
    back.clean().await;
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

contract! {
    a_container_from_its_making_to_its_end
    a_name_is_one_containers
    who_is_asked_to_stop_stops
    an_address_is_one_containers
    a_network_goes_when_nobody_is_on_it
    output_is_read_to_its_end_and_from_a_time
    changes_are_told_in_order
    a_command_runs_in_a_container
    what_stops_by_itself_is_brought_back
    an_image_stays_while_it_is_used
    a_build_that_fails_says_so
    what_is_not_there
}

async fn a_container_from_its_making_to_its_end(back: &Back) {
    let runtime = &back.runtime;
    let facts = runtime.image(&back.image).await.unwrap().unwrap();
    assert_eq!((facts.ports, facts.exposed), (vec![9000], 1));
    let images = runtime.images_of("shop").await.unwrap();
    assert_eq!(images[0].tags, std::slice::from_ref(&back.image));
    assert_eq!(images[0].id, facts.id);

    let spec = back.spec("one", "echo hello; sleep 2; echo bye; exit 3");
    runtime.run(&spec).await.unwrap();
    let there = runtime.container(&spec.name).await.unwrap().unwrap();
    assert_eq!(there.name, spec.name);
    assert_eq!(there.role, Some(Role::Web));
    assert_eq!(there.replica, Some(Replica::web()));
    assert_eq!(there.app, Some(app()));
    assert_eq!(there.deploy, Some(DeployId(1)));
    assert_eq!(there.image, facts.id);
    assert!(there.running && !there.paused && there.exit.is_none() && !there.restart);
    assert_eq!(there.made_from, spec.fingerprint());
    assert!(back.subnet.contains(&there.addresses[&back.network]));
    let running = runtime.running().await.unwrap();
    assert_eq!(running.get(&there.id), Some(&spec.name));
    let of_deploy = runtime.containers(Some(&app()), Some(DeployId(1))).await;
    assert_eq!(of_deploy.unwrap().len(), 1);
    let of_other = runtime.containers(Some(&app()), Some(DeployId(2))).await;
    assert_eq!(of_other.unwrap().len(), 0);

    assert_eq!(runtime.wait(&spec.name).await.status, 3);
    let there = runtime.container(&there.id).await.unwrap().unwrap();
    assert!(!there.running);
    assert_eq!(there.exit.map(|exit| exit.status), Some(3));
    assert_eq!(back.lines(&spec.name, false).await, ["hello", "bye"]);
    let last = runtime.last_output(&spec.name, 1).await.unwrap();
    assert_eq!(last, ["bye\n"]);
    assert!(runtime.running().await.unwrap().is_empty());
    assert_eq!(runtime.containers(None, None).await.unwrap().len(), 1);

    runtime.start(&spec.name).await.unwrap();
    assert_eq!(runtime.wait(&spec.name).await.status, 3);
    assert_eq!(
        back.lines(&spec.name, false).await,
        ["hello", "bye", "hello", "bye"],
        "what it printed before stays"
    );
    runtime.remove(&spec.name).await.unwrap();
    assert!(runtime.container(&spec.name).await.unwrap().is_none());
    runtime.remove(&spec.name).await.unwrap();
    assert_eq!(runtime.wait(&spec.name).await.status, 137);
}

async fn a_name_is_one_containers(back: &Back) {
    let runtime = &back.runtime;
    let (one, other) = (
        back.run("one", "sleep 60").await,
        back.run("other", "sleep 60").await,
    );
    let id = runtime.container(&one).await.unwrap().unwrap().id;
    assert!(runtime.rename(&one, &other).await.is_err());
    assert!(
        runtime
            .rename(&back.name("nobody"), &back.name("x"))
            .await
            .is_err()
    );
    let live = back.name("live");
    runtime.rename(&one, &live).await.unwrap();
    assert!(runtime.container(&one).await.unwrap().is_none());
    let there = runtime.container(&live).await.unwrap().unwrap();
    assert_eq!((there.id.clone(), there.name), (id.clone(), live.clone()));
    // By its id as well, and the swap.
    runtime.rename(&id, &one).await.unwrap();
    runtime.rename(&other, &live).await.unwrap();
    // One of that name, left over, is replaced.
    back.run("one", "sleep 60").await;
    let there = runtime.container(&one).await.unwrap().unwrap();
    assert_ne!(there.id, id);
    assert_eq!(runtime.containers(None, None).await.unwrap().len(), 2);
}

async fn who_is_asked_to_stop_stops(back: &Back) {
    let runtime = &back.runtime;
    let status = async |name: &str| {
        let there = runtime.container(name).await.unwrap().unwrap();
        assert!(!there.running);
        there.exit.unwrap().status
    };
    let good = back.run_and_meet("good", "echo there; sleep 60").await;
    runtime.stop(&good, Duration::from_secs(10)).await.unwrap();
    assert_eq!(status(&good).await, 143);
    runtime.stop(&good, Duration::from_secs(10)).await.unwrap();
    let deaf = back.run_and_meet("deaf", "trap '' TERM; echo there; sleep 60");
    let deaf = deaf.await;
    runtime.stop(&deaf, Duration::from_secs(1)).await.unwrap();
    assert_eq!(status(&deaf).await, 137);
    let killed = back.run("killed", "sleep 60").await;
    runtime.signal(&killed, "SIGKILL").await.unwrap();
    assert_eq!(runtime.wait(&killed).await.status, 137);
    assert!(runtime.signal(&killed, "SIGHUP").await.is_err());
    let gone = back.name("gone");
    runtime.stop(&gone, Duration::from_secs(1)).await.unwrap();
}

async fn an_address_is_one_containers(back: &Back) {
    let runtime = &back.runtime;
    let highest: Ipv4Addr = back.subnet.hosts().last().unwrap();
    let fixed = |name| ContainerSpec {
        address: Some(highest),
        ..back.spec(name, "sleep 60")
    };
    let one = fixed("one");
    runtime.run(&one).await.unwrap();
    let lowest = back.run("lowest", "sleep 60").await;
    let mut taken = runtime.addresses(&back.network).await.unwrap();
    taken.sort();
    assert_eq!(taken, [back.subnet.hosts().nth(1).unwrap(), highest]);
    assert!(runtime.run(&fixed("two")).await.is_err());
    let two = runtime.container(&back.name("two")).await.unwrap();
    assert!(two.is_none(), "what does not start is removed");
    // One that has ended keeps what it was promised; another may have it meanwhile.
    runtime.stop(&one.name, Duration::ZERO).await.unwrap();
    let there = runtime.container(&one.name).await.unwrap().unwrap();
    assert_eq!(there.addresses.get(&back.network), Some(&highest));
    assert_eq!(runtime.addresses(&back.network).await.unwrap().len(), 1);
    runtime.run(&fixed("two")).await.unwrap();
    assert!(runtime.start(&one.name).await.is_err());
    let gone = back.name("net_gone");
    assert!(runtime.addresses(&gone).await.unwrap().is_empty());
    runtime.remove(&lowest).await.unwrap();
}

async fn a_network_goes_when_nobody_is_on_it(back: &Back) {
    let runtime = &back.runtime;
    back.ensure_network().await.unwrap();
    let networks = runtime.networks().await.unwrap();
    assert_eq!(networks, std::slice::from_ref(&back.network));
    assert!(runtime.subnets().await.unwrap().contains(&back.subnet));
    let second = back.name("net_second");
    let taken = runtime
        .ensure_network(&second, Some(back.subnet), None)
        .await;
    assert!(taken.unwrap_err().is_taken_subnet());
    runtime.ensure_network(&second, None, None).await.unwrap();

    let one = back.run("one", "sleep 60").await;
    assert!(runtime.strangers(&back.network).await.unwrap().is_empty());
    assert!(runtime.remove_network(&back.network).await.is_err());
    runtime.connect(&second, &one).await.unwrap();
    runtime.connect(&second, &one).await.unwrap();
    let there = runtime.container(&one).await.unwrap().unwrap();
    assert_eq!(there.addresses.len(), 2);
    runtime.disconnect(&second, &one).await.unwrap();
    runtime.disconnect(&second, &one).await.unwrap();
    let there = runtime.container(&one).await.unwrap().unwrap();
    assert_eq!(there.addresses.len(), 1);
    runtime.remove_network(&second).await.unwrap();
    runtime.remove_network(&second).await.unwrap();
    assert!(runtime.connect(&second, &one).await.is_err());
    runtime.disconnect(&second, &one).await.unwrap();
    assert!(runtime.strangers(&second).await.unwrap().is_empty());
}

async fn output_is_read_to_its_end_and_from_a_time(back: &Back) {
    let runtime = &back.runtime;
    let script = "echo one; sleep 1; echo two >&2; sleep 1; echo three";
    let name = back.run("one", script).await;
    assert_eq!(back.lines(&name, true).await, ["one", "two", "three"]);
    let mut timed = runtime.output(&name, false, Some(0));
    let (mut times, mut errors) = (Vec::new(), 0);
    while let Some(line) = timed.next().await {
        let line = line.unwrap();
        errors += usize::from(line.stderr);
        let text = String::from_utf8(line.bytes.to_vec()).unwrap();
        let (at, text) = text.trim_end().split_once(' ').unwrap();
        assert!(["one", "two", "three"].contains(&text), "{text}");
        times.push((at.to_owned(), Timestamp::parse(at).unwrap()));
    }
    assert_eq!(errors, 1);
    assert!(times.is_sorted() && times.len() == 3, "{times:?}");
    let second = times[1].1.millis() / 1000;
    let since = runtime.output(&name, false, Some(second));
    assert_eq!(since.count().await, 2, "not what is older");
    let later = runtime.output(&name, false, Some(second + 3600));
    assert_eq!(later.count().await, 0);
    let mut gone = runtime.output(&back.name("gone"), true, None);
    assert!(gone.next().await.unwrap().is_err());
}

async fn changes_are_told_in_order(back: &Back) {
    let runtime = &back.runtime;
    let mut changes = runtime.changes(Timestamp::now());
    let one = back.run("one", "sleep 60").await;
    let live = back.name("live");
    runtime.rename(&one, &live).await.unwrap();
    runtime.stop(&live, Duration::from_secs(5)).await.unwrap();
    runtime.start(&live).await.unwrap();
    runtime.remove(&live).await.unwrap();
    let (mut told, mut off) = (Vec::new(), 0);
    while told.len() < 7 || off < 2 {
        let next = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
        match next.expect("a change").unwrap().unwrap() {
            Change::Container {
                name,
                now,
                role: Some(Role::Web),
                app: Some(owner),
                ..
            } if owner == app() => told.push((name, now)),
            // Who ends is off its networks.
            Change::Network => off += 1,
            other => panic!("{other:?}"),
        }
    }
    let of = |name: &String, now| (name.clone(), now);
    assert_eq!(
        told,
        [
            of(&one, Now::Same),
            of(&one, Now::Runs),
            of(&live, Now::Same),
            of(&live, Now::Stands),
            of(&live, Now::Runs),
            of(&live, Now::Stands),
            of(&live, Now::Stands),
        ]
    );
}

async fn a_command_runs_in_a_container(back: &Back) {
    let runtime = &back.runtime;
    let name = back.run("one", "sleep 60").await;
    let exec = async |script: &str, limit| {
        let command = ["sh", "-c", script].map(str::to_owned);
        runtime.exec(&name, &command, limit).await
    };
    let done = exec("echo hi; exit 4", LIMIT).await.unwrap();
    assert_eq!(done, (4, "hi\n".to_owned()));
    assert!(exec("sleep 20", Duration::from_secs(1)).await.is_err());
    assert!(runtime.load(&name).await.is_some());
    assert_eq!(runtime.listening(&name).await.unwrap(), Some(Vec::new()));
    runtime.stop(&name, Duration::ZERO).await.unwrap();
    assert!(exec("true", LIMIT).await.is_err());
    assert_eq!(runtime.listening(&name).await.unwrap(), None);
}

async fn what_stops_by_itself_is_brought_back(back: &Back) {
    let runtime = &back.runtime;
    let name = back.run("one", "sleep 1; exit 7").await;
    runtime.set_restart(&name, true).await.unwrap();
    let again = async {
        loop {
            let there = runtime.container(&name).await.unwrap().unwrap();
            assert!(there.restart && there.running, "{there:?}");
            assert_eq!(there.exit, None);
            if there.restarts >= 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, again).await.unwrap();
    runtime.set_restart(&name, false).await.unwrap();
    assert_eq!(runtime.wait(&name).await.status, 7);
    // Stopped by us it stays so, whatever the policy.
    let name = back.run("other", "sleep 60").await;
    runtime.set_restart(&name, true).await.unwrap();
    runtime.stop(&name, Duration::from_secs(5)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let there = runtime.container(&name).await.unwrap().unwrap();
    assert!(!there.running && there.restarts == 0, "{there:?}");
}

async fn an_image_stays_while_it_is_used(back: &Back) {
    let runtime = &back.runtime;
    // One of two names goes, whoever uses the image.
    let other = format!("{}/shop:d2", back.prefix);
    runtime.tag(&back.image, &other).await.unwrap();
    let of_app = runtime.images_of("shop").await.unwrap();
    assert_eq!((of_app.len(), of_app[0].tags.len()), (1, 2));
    let name = back.run("one", "sleep 60").await;
    runtime.remove_image(&other).await.unwrap();
    assert!(runtime.tag(&other, &back.image).await.is_err());
    let refused = runtime.remove_image(&back.image).await.unwrap_err();
    assert!(refused.is_used_image(), "{refused}");
    assert!(runtime.image(&back.image).await.unwrap().is_some());
    runtime.remove(&name).await.unwrap();
    runtime.remove_image(&back.image).await.unwrap();
    assert!(runtime.image(&back.image).await.unwrap().is_none());
    runtime.remove_image(&back.image).await.unwrap();
    assert!(runtime.images_of("shop").await.unwrap().is_empty());
}

async fn a_build_that_fails_says_so(back: &Back) {
    let events = back
        .build("RUN sleep 0; true\nCMD [\"true\"]")
        .await
        .unwrap();
    let steps = |step: &BuildEvent| matches!(step, BuildEvent::Step { name, .. } if name.contains("sleep 0"));
    assert!(events.iter().any(steps), "{events:?}");
    match back.build("RUN exit 5").await {
        Err(BuildStop::Failed(why)) => assert!(why.contains("exit code: 5"), "{why}"),
        other => panic!("{other:?}"),
    }
    let before = back.runtime.image(&back.image).await.unwrap();
    assert!(before.is_some(), "what was built before stays");
}

async fn what_is_not_there(back: &Back) {
    let (runtime, nobody) = (&back.runtime, back.name("nobody"));
    assert!(runtime.start(&nobody).await.is_err());
    assert!(runtime.set_restart(&nobody, true).await.is_err());
    assert!(runtime.unpause(&nobody).await.is_err());
    assert!(runtime.last_output(&nobody, 1).await.is_err());
    assert!(runtime.listening(&nobody).await.is_err());
    assert!(runtime.load(&nobody).await.is_none());
    let none = runtime.container(&nobody).await.unwrap();
    assert!(none.is_none());
    let spec = ContainerSpec {
        image: format!("{}/nothing:d1", back.prefix),
        ..back.spec("one", "true")
    };
    assert!(runtime.run(&spec).await.is_err());
    let nowhere = ContainerSpec {
        network: back.name("net_nowhere"),
        ..back.spec("one", "true")
    };
    assert!(runtime.run(&nowhere).await.is_err());
    assert!(runtime.containers(None, None).await.unwrap().is_empty());
}
