//! An app that tries to get out of its container: to its neighbours, to the server, to the machine.

use serde_json::{Value, json};

use crate::app::{App, MANIFEST};
use crate::world::{World, docker};

/// A repository whose gate tries everything that `attack.py` does.
fn thief<'w>(world: &'w World, more: &str) -> App<'w> {
    let thief = world.app("thief");
    // Its image says of itself that it is somebody else's.
    let labels = "LABEL windlass.instance=000000 windlass.app=shop windlass.deploy=1 windlass.role=caddy \
                  windlass.home=/tmp windlass.spec=0\n";
    let rootid = "RUN cp /usr/bin/id /usr/local/bin/rootid && chmod u+s /usr/local/bin/rootid\n";
    let dockerfile = include_str!("app/Dockerfile");
    thief.write(
        "Dockerfile",
        &dockerfile.replace("EXPOSE", &format!("{labels}{rootid}EXPOSE")),
    );
    thief.write("attack.py", include_str!("attack.py"));
    tries(&thief, more);
    thief
}

fn tries(thief: &App, more: &str) {
    let gate =
        "[[gates]]\nname = \"attack\"\nrun = [\"python\", \"attack.py\"]\ntimeout = \"1m\"\n";
    thief.manifest(&format!("{gate}{more}"));
}

fn inspect(what: &str, name: &str) -> Value {
    let shown = docker(&[what, "inspect", name]).ok();
    serde_json::from_str::<Value>(&shown).unwrap()[0].clone()
}

/// What a container has on an app's network: its `IPAddress`, or the `Gateway`.
fn address(container: &str, app: &str, which: &str) -> String {
    let networks = inspect("container", container)["NetworkSettings"]["Networks"].clone();
    let of = |(name, at): (&String, &Value)| {
        name.ends_with(&format!("_net_{app}"))
            .then(|| at[which].as_str().unwrap().to_owned())
    };
    networks
        .as_object()
        .unwrap()
        .iter()
        .find_map(of)
        .unwrap_or_else(|| panic!("{networks:#}"))
}

/// What came of an attempt, as the deploy's log has it.
struct Tried(String);

impl Tried {
    fn of(world: &World, app: &App) -> Self {
        let id = app.newest()["id"].to_string();
        Self(
            world
                .windlass(&["deploy", "log", &id, "--phase", "gate:attack"])
                .ok(),
        )
    }

    fn came(&self, name: &str) -> &str {
        let said = format!("TRIED {name}: ");
        let line = self.0.lines().find_map(|line| line.split_once(&said));
        line.unwrap_or_else(|| panic!("no {name:?} in {}", self.0))
            .1
            .trim()
    }
}

#[test]
fn an_app_gets_out_of_its_container_neither_to_its_neighbours_nor_to_the_machine() {
    let world = World::new();
    let shop = world.app("shop");
    shop.version("shop");
    shop.went_live(&shop.push(), "shop");
    let thief = thief(&world, "[limits]\npids = 100\n");
    let caddy = world.containers("windlass.role=caddy").pop().unwrap();
    let gateway = address(&caddy, "thief", "Gateway");
    let (live, caddy_here) = (shop.live_container(), address(&caddy, "thief", "IPAddress"));
    let fallback = live.replace("_live", "_any");
    let neighbour = address(&live, "shop", "IPAddress");
    let targets = json!({
        "connect": {
            "caddy": [caddy_here, world.port],
            "neighbour": [neighbour, 8000],
            "neighbour's name": [live, 8000],
            "neighbour's alias": [fallback, 8000],
            "caddy on the neighbour's network": [address(&caddy, "shop", "IPAddress"), world.port],
            "caddy's admin": [caddy_here, 2019],
            "the host's caddy admin": [gateway, 2019],
            "dashboard by the gateway": [gateway, world.listen],
            "dashboard by loopback": ["127.0.0.1", world.listen],
            "docker": [gateway, 2375],
            "docker over TLS": [gateway, 2376],
        },
        "sockets": [
            "/var/run/docker.sock",
            "/run/docker.sock",
            world.home.join("run/control.sock"),
            world.home.join("caddy/run/admin.sock"),
            "/sockets/admin.sock",
            world.home,
        ],
        "pid": world.server_pid(),
    });
    world
        .windlass(&["env", "set", "thief", &format!("TARGETS={targets}")])
        .ok();
    thief.version("thief");
    thief.went_live(&thief.push(), "thief");

    let tried = Tried::of(&world, &thief);
    assert_eq!(
        tried.came("connect caddy"),
        "done",
        "what may be reached is: the attempts work"
    );
    for target in targets["connect"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|target| *target != "caddy")
    {
        let came = tried.came(&format!("connect {target}"));
        assert!(
            [
                "ECONNREFUSED",
                "EHOSTUNREACH",
                "TimeoutError",
                "ETIMEDOUT",
                "gaierror"
            ]
            .contains(&came),
            "{target}: {came}"
        );
    }
    for socket in targets["sockets"].as_array().unwrap() {
        assert_eq!(
            tried.came(&format!("socket {}", socket.as_str().unwrap())),
            "absent"
        );
    }
    for refused in [
        "mount", "unshare", "hostname", "chroot", "disk", "memory", "raw",
    ] {
        assert_eq!(tried.came(refused), "EPERM", "{refused}");
    }
    assert!(["EROFS", "EACCES"].contains(&tried.came("core pattern")));
    assert_eq!(tried.came("host's processes"), "ESRCH");
    assert_eq!(tried.came("setuid binary"), "1000", "it stays who it is");
    let (refused, count) = tried.came("fork bomb").split_once(" after ").unwrap();
    assert!(
        refused == "EAGAIN" && (50..100).contains(&count.parse::<u32>().unwrap()),
        "{refused} {count}"
    );
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, KILL 5, SETGID 6, SETUID 7, NET_BIND_SERVICE 10.
    assert_eq!(
        u64::from_str_radix(tried.came("capabilities"), 16).unwrap(),
        0b100_1110_1011
    );
    assert_eq!(tried.came("no new privileges"), "1");
    for allowed in ["may chown", "may kill", "may listen on 80"] {
        assert_eq!(tried.came(allowed), "done", "{allowed}");
    }
    assert_eq!(tried.came("may setuid"), "1000");
    shop.serves("shop");

    // What serves is held as the gate was.
    let held = inspect("container", &thief.live_container());
    let host = &held["HostConfig"];
    assert_eq!(
        (&host["Privileged"], &host["PidsLimit"]),
        (&json!(false), &json!(100)),
        "{host:#}"
    );
    assert_eq!(
        (&host["Memory"], &host["MemorySwap"]),
        (&json!(512 << 20), &json!(512 << 20))
    );
    assert_eq!(
        (&host["CapDrop"], &host["SecurityOpt"]),
        (&json!(["ALL"]), &json!(["no-new-privileges"]))
    );
    assert_eq!(
        (host["CapAdd"].as_array().unwrap().len(), &held["Mounts"]),
        (7, &json!([]))
    );
    let host = inspect("container", &shop.live_container())["HostConfig"].clone();
    assert_eq!(
        (&host["PidsLimit"], &host["NanoCpus"]),
        (&json!(512), &json!(0))
    );
    // Whatever its image says of itself, the labels are ours.
    let labels = &held["Config"]["Labels"];
    let home = world.home.display().to_string();
    assert_eq!(
        (&labels["windlass.app"], &labels["windlass.role"]),
        (&json!("thief"), &json!("web"))
    );
    assert_eq!(labels["windlass.home"], home);
    let image = inspect("image", held["Image"].as_str().unwrap());
    let labels = &image["Config"]["Labels"];
    assert_eq!(
        (&labels["windlass.app"], &labels["windlass.home"]),
        (&json!("thief"), &json!(home))
    );
}

#[test]
fn a_gate_that_takes_all_memory_is_killed_and_told_so() {
    let world = World::new();
    let app = world.app("shop");
    let hog = "[[gates]]\nname = \"hog\"\nrun = [\"python\", \"-c\", \"bytearray(10**9)\"]\n";
    app.manifest(&format!("{hog}[limits]\nmemory = \"64m\"\n"));
    app.version("hog");
    app.failed(&app.push(), "gate:hog", "killed: out of memory", None);
}

#[test]
fn what_every_app_may_not_have_takes_an_admins_word() {
    let world = World::new();
    let app = world.app("shop");
    app.version("modest");
    app.went_live(&app.push(), "modest");
    let wants =
        "[limits]\nmemory = \"1g\"\npids = 1000\n[security]\ncapabilities = [\"NET_RAW\"]\n";
    app.write("windlass.toml", &format!("{MANIFEST}\n{wants}"));
    app.version("greedy");
    let told = "asks for more than shop is allowed: memory = \"1g\", pids = 1000, the capability NET_RAW. \
                An admin can allow it: windlass app allow shop --memory 1g --pids 1000 --capability NET_RAW";
    let failed = app.failed(&app.push(), "checkout", told, Some("modest"));

    // The command as it was told.
    let message = failed["failure"]["message"].as_str().unwrap();
    let command = message.split_once(": windlass ").unwrap().1;
    let said = world.windlass(&command.split(' ').collect::<Vec<_>>()).ok();
    assert!(said.contains("memory 1g, 1000 pids, NET_RAW"), "{said}");
    app.went_live(&app.push(), "greedy");
    let host = inspect("container", &app.live_container())["HostConfig"].clone();
    assert_eq!(
        (&host["Memory"], &host["PidsLimit"]),
        (&json!(1 << 30), &json!(1000))
    );
    assert!(host["CapAdd"].to_string().contains("NET_RAW"), "{host:#}");
    assert_eq!(
        world.json(&["app", "show", "shop"])["allowed"],
        json!({ "memory": "1g", "pids": 1000, "capabilities": ["NET_RAW"] })
    );
    assert!(
        world
            .windlass(&["app", "show", "shop"])
            .ok()
            .contains("memory 1g, 1000 pids, NET_RAW")
    );

    // Taken back: what runs stays, and what comes is held to it again, a revert too.
    world.windlass(&["app", "allow", "shop", "--reset"]).ok();
    app.serves("greedy");
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("modest");
    let back = world.windlass(&["revert", "shop", &app.head(), "--wait"]);
    assert!(
        back.code == 1 && back.stdout.contains("asks for more than shop is allowed"),
        "{back:?}"
    );
    app.serves("modest");
}
