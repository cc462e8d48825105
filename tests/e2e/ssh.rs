//! Pushes, clones and commands over ssh, with the real OpenSSH on both sides.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::app::App;
use crate::world::{Output, World, run, wait_for};

/// An sshd of the test's own, which lets in whom the world's server let in; ended when dropped.
struct Sshd {
    child: Child,
    port: u16,
    user: String,
    folder: TempDir,
}

impl Sshd {
    fn start(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at("host")]))
            .ok();
        let host = fs::read_to_string(at("host.pub")).unwrap();
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        // What is forbidden below is forbidden by the list of keys: sshd itself would allow it. The
        // modes are not looked at, since everybody may write to /tmp.
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             AuthorizedKeysFile {}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nAllowTcpForwarding yes\nAllowAgentForwarding yes\n\
             X11Forwarding yes\nPermitTTY yes\nPermitUserRC yes\nAcceptEnv GIT_PROTOCOL\n",
            at("host"),
            world.home.join(".ssh/authorized_keys").display()
        );
        fs::write(at("config"), config).unwrap();
        let _ = fs::create_dir("/run/sshd");
        let log = fs::File::create(at("log")).unwrap();
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f", &at("config")])
            .stdin(Stdio::null())
            .stderr(log);
        let child = sshd
            .spawn()
            .expect("sshd: scripts/setup.sh --tests installs it");
        let user = run(Command::new("id").arg("-un")).ok().trim().to_owned();
        let sshd = Self {
            child,
            port,
            user,
            folder,
        };
        wait_for("sshd answers", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", sshd.port)).ok().map(drop)
        });
        sshd
    }

    /// A new key, in a file that bears its name.
    fn key(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let key = [
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            name,
            "-f",
            path.to_str().unwrap(),
        ];
        run(Command::new("ssh-keygen").args(key)).ok();
        path
    }

    /// A key of `user`, which the server knows; and its number.
    fn key_of(&self, world: &World, user: &str) -> i64 {
        let public = self.key(user).with_extension("pub");
        let added = world.json(&["key", "add", public.to_str().unwrap(), "--user", user]);
        added["id"].as_i64().unwrap()
    }

    /// The client with a key, as one line.
    fn client(&self, key: &str) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
             -o UserKnownHostsFile={} -p {} -i {}",
            at("known_hosts"),
            self.port,
            at(key)
        )
    }

    fn command(&self, key: &str, options: &[&str], words: &[&str]) -> Command {
        let line = self.client(key);
        let mut line = line.split(' ');
        let mut ssh = Command::new(line.next().unwrap());
        ssh.args(line)
            .args(options)
            .arg(format!("{}@127.0.0.1", self.user))
            .args(words);
        ssh
    }

    /// `ssh git@host` with these words.
    fn ssh(&self, key: &str, words: &[&str]) -> Output {
        run(&mut self.command(key, &[], words))
    }

    /// The same, with something to read.
    fn ssh_with(&self, key: &str, words: &[&str], input: &str) -> Output {
        let mut ssh = self.command(key, &[], words);
        let mut child = ssh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output {
            code: done.status.code().unwrap_or(-1),
            stdout: text(&done.stdout),
            stderr: text(&done.stderr),
        }
    }

    /// From now on the app's work tree pushes over ssh, with this key.
    fn remote(&self, app: &App, key: &str) {
        let url = format!("ssh://{}@127.0.0.1:{}/{}", self.user, self.port, app.name);
        app.git(&["remote", "set-url", "prod", &url]).ok();
        app.git(&["config", "core.sshCommand", &self.client(key)])
            .ok();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("---- sshd's log\n{log}\n----");
        }
    }
}

/// Ann deploys the shop, Bob as well, and Vic sees it.
fn people(world: &World, sshd: &Sshd) {
    for (name, role) in [("ann", "deployer"), ("bob", "deployer"), ("vic", "viewer")] {
        world
            .windlass(&["user", "add", name, "--role", role, "--app", "shop"])
            .ok();
        sshd.key_of(world, name);
    }
}

/// Refused in one line of the server's, and nothing happened.
fn refused(output: &Output, says: &str) {
    assert_eq!(output.code, 1, "{output:?}");
    let ours: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("windlass: "))
        .collect();
    assert!(
        ours.len() == 1 && ours[0].contains(says) && output.stdout.is_empty(),
        "{says:?}: {output:?}"
    );
}

#[test]
fn a_push_by_key_ends_as_its_deploy_does_and_is_its_owners() {
    let world = World::changed(|config| format!("ssh_host = \"deploy.example.com\"\n{config}"));
    let shop = world.app("shop");
    let sshd = Sshd::start(&world);
    people(&world, &sshd);
    let mode = |path: &str| {
        fs::metadata(world.home.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode(".ssh"), mode(".ssh/authorized_keys")), (0o700, 0o600));

    let shown = world.json(&["app", "show", "shop"])["remote"].clone();
    assert_eq!(shown, format!("{}@deploy.example.com:shop", sshd.user));
    sshd.remote(&shop, "ann");
    shop.version("one");
    let push = shop.push();
    assert_eq!(shop.went_live(&push, "one")["actor"], "ann");
    push.says("Deploy 1 of shop").says("-----> build");
    assert_eq!(
        shop.push_refs(&["main:topic"])
            .says("topic was stored and does not deploy")
            .code,
        0
    );

    // A push whose deploy fails is no success, and the same one again tries again.
    shop.write("windlass.toml", "nonsense = 1\n");
    shop.commit("broken");
    sshd.remote(&shop, "bob");
    for number in 2..4 {
        let push = shop.push();
        assert_eq!(push.code, 1, "{}", push.output);
        let failed = shop.failed(&push, "checkout", "nonsense", Some("one"));
        assert_eq!(
            (&failed["id"], &failed["actor"]),
            (&number.into(), &"bob".into())
        );
    }

    // A clone is what is live, for whoever may see it.
    let clone = shop.work.with_file_name("clone-shop");
    let url = format!("ssh://{}@127.0.0.1:{}/shop.git", sshd.user, sshd.port);
    let cloned = |key: &str, url: &str| {
        let mut git = App::git_in(&world.home, &["clone", "-q", url, clone.to_str().unwrap()]);
        run(git.env("GIT_SSH_COMMAND", sshd.client(key)))
    };
    cloned("vic", &url).ok();
    assert_eq!(
        fs::read_to_string(clone.join("version.txt")).unwrap(),
        "one"
    );
    fs::remove_dir_all(&clone).unwrap();
    assert_ne!(cloned("vic", &url.replace("shop.git", "blog")).code, 0);

    // The command line, as whoever has the key.
    let says = |key: &str, words: &[&str], part: &str| {
        let said = sshd.ssh(key, words).ok();
        assert!(said.contains(part), "{words:?}: {said}");
    };
    says("ann", &[], "ann (deployer, by key 1), in: shop");
    says("vic", &["whoami"], "vic (viewer, by key 3), in: shop");
    says("vic", &["deploys", "shop", "--json"], "\"actor\": \"bob\"");
    says("ann", &["wait", "1"], "LIVE");
    assert_eq!(sshd.ssh("ann", &["deploy", "wait", "3"]).code, 1);
    sshd.ssh_with("ann", &["env", "set", "shop", "-"], "GREETING=a b; $(id)\n")
        .ok();
    says(
        "ann",
        &["env", "list", "shop", "--reveal"],
        "GREETING  a b; $(id)",
    );
    says("bob", &["restart", "shop", "--wait"], "LIVE");
    assert_eq!(shop.newest()["actor"], "bob");
    let another = fs::read_to_string(sshd.key("another").with_extension("pub")).unwrap();
    sshd.ssh_with("vic", &["key", "add", "-"], &another).ok();
    says("another", &["whoami"], "vic (viewer, by key 4)");

    // Whoever follows a quiet app and goes away leaves nothing running.
    let mut following = sshd.command("ann", &[], &["logs", "shop", "--follow"]);
    let mut following = following
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let followers = || {
        let home = format!("--home {} ssh 1", world.home.display());
        run(Command::new("pgrep").args(["-f", "--", &home]))
            .stdout
            .lines()
            .count()
    };
    wait_for("the command runs", Duration::from_secs(5), || {
        (followers() > 0).then_some(())
    });
    following.kill().unwrap();
    following.wait().unwrap();
    wait_for(
        "the command ends with its client",
        Duration::from_secs(5),
        || (followers() == 0).then_some(()),
    );
}

#[test]
fn whoever_may_not_gets_one_clear_line_and_nothing_else() {
    let world = World::new();
    let shop = world.app("shop");
    world.windlass(&["app", "create", "blog"]).ok();
    let sshd = Sshd::start(&world);
    people(&world, &sshd);
    shop.version("one");

    sshd.remote(&shop, "vic");
    let push = shop.push();
    assert_ne!(push.code, 0);
    push.says("windlass: vic may see shop and not deploy it");

    // An app that is not theirs reads as one that there is not.
    let of = |app: &str| sshd.ssh("ann", &[&format!("git-receive-pack '{app}'")]);
    refused(
        &of("blog"),
        "there is no app named blog, or ann may not see it",
    );
    refused(
        &of("nowhere"),
        "there is no app named nowhere, or ann may not see it",
    );
    refused(
        &sshd.ssh("vic", &["env", "set", "shop", "A=1"]),
        "vic may see shop and not deploy it",
    );
    refused(
        &sshd.ssh("ann", &["user", "add", "eve", "--role", "admin"]),
        "only an administrator may do that",
    );

    // What is no word of ours is not run, by whatever it is quoted.
    let trap = world.home.with_file_name("trap");
    let touch = format!("touch {}", trap.display());
    for line in [
        "git-receive-pack 'shop;TOUCH'",
        "git-receive-pack '$(TOUCH)'",
        "git-receive-pack `TOUCH`",
        "git-receive-pack 'shop' ; TOUCH",
        "git-receive-pack 'shop\nTOUCH'",
        "git-receive-pack '../../etc'",
        "git-receive-pack --upload-pack='TOUCH' shop",
        "git-upload-pack -oProxyCommand=TOUCH",
        "git -c core.fsmonitor='TOUCH' receive-pack shop",
        "sh -c 'TOUCH'",
        "TOUCH",
        "whoami; TOUCH",
        "deploys shop --home /tmp",
        "key add /etc/passwd",
    ] {
        let output = sshd.ssh("ann", &[&line.replace("TOUCH", &touch)]);
        assert!(
            output.code == 2 && output.stdout.is_empty(),
            "{line}: {output:?}"
        );
        assert!(
            output.stderr.starts_with("windlass: "),
            "{line}: {output:?}"
        );
        assert!(!trap.exists(), "{line}");
    }
    assert_eq!(shop.deploys().len(), 0);

    // Nothing but the forced command: no terminal, no ways through, no agent, no display.
    let terminal = run(&mut sshd.command("ann", &["-tt"], &["whoami"]));
    assert!(
        terminal.stderr.contains("PTY allocation request failed"),
        "{terminal:?}"
    );
    let told = run(&mut sshd.command("ann", &["-v", "-A", "-X"], &["whoami"])).stderr;
    let mut options = told
        .lines()
        .filter_map(|line| line.split_once(": key options: "));
    assert!(
        options.clone().count() > 0 && options.all(|(_, may)| may.trim() == "command"),
        "{told}"
    );
    let back = ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"];
    let back = run(&mut sshd.command("ann", &back, &["whoami"]));
    assert!(
        back.code == 255 && back.stderr.contains("remote port forwarding failed"),
        "{back:?}"
    );
    let listen = format!(
        "127.0.0.1:{}",
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    );
    let through = format!("{listen}:127.0.0.1:{}", world.listen);
    let mut held = sshd.command("ann", &["-L", &through], &["logs", "shop", "--follow"]);
    let mut held = held
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stream = wait_for("ssh listens", Duration::from_secs(5), || {
        TcpStream::connect(&listen).ok()
    });
    let mut got = Vec::new();
    (&stream).write_all(b"GET /login HTTP/1.0\r\n\r\n").unwrap();
    let _ = std::io::Read::read_to_end(&mut &stream, &mut got);
    assert!(
        got.is_empty(),
        "a way through: {}",
        String::from_utf8_lossy(&got)
    );
    held.kill().unwrap();
    held.wait().unwrap();

    // A key that is not let in, and one that no longer is, at once.
    sshd.key("stranger");
    let denied = |key: &str| {
        let output = sshd.ssh(key, &["whoami"]);
        assert!(
            output.code == 255 && output.stderr.contains("Permission denied"),
            "{output:?}"
        );
    };
    denied("stranger");
    let began = Instant::now();
    world.windlass(&["key", "remove", "2"]).ok();
    denied("bob");
    world.windlass(&["user", "remove", "vic", "--yes"]).ok();
    denied("vic");
    assert!(began.elapsed() < Duration::from_secs(30));
    let told = world.json(&["audit", "--limit", "200"]);
    let told: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["denied"] == true)
        .collect();
    assert!(
        told.iter()
            .any(|entry| entry["actor"] == "ann" && entry["app"] == "blog"),
        "{told:#?}"
    );
    assert!(
        told.iter().all(|entry| entry["address"] == "127.0.0.1"),
        "{told:#?}"
    );
}

#[test]
fn a_push_by_key_goes_on_over_a_restart_of_the_server() {
    let world = World::new();
    let shop = world.app("shop");
    let sshd = Sshd::start(&world);
    people(&world, &sshd);
    sshd.remote(&shop, "ann");
    shop.write(
        "Dockerfile",
        &format!("{}RUN sleep 3\n", include_str!("app/Dockerfile")),
    );
    shop.version("one");
    let pushing = shop.begin_push(&["main"]);
    shop.wait_for_phase("build");
    assert_eq!(world.stop_server(), 0);
    world.start();
    let push = pushing.end();
    shop.went_live(&push, "one");
    push.says("the server went away; waiting for it to come back");
    for once in [
        "Deploy 1 of shop: ",
        "-----> swap",
        "-----> verify",
        "LIVE  ",
    ] {
        assert_eq!(
            push.output.matches(once).count(),
            1,
            "{once}\n{}",
            push.output
        );
    }

    // One that is taken back by the server while nobody is there to tell is no success either.
    shop.write(
        "Dockerfile",
        &format!("{}RUN sleep 5\n", include_str!("app/Dockerfile")),
    );
    shop.version("two");
    let pushing = shop.begin_push(&["main"]);
    let id = shop.wait_for_phase("build").to_string();
    world.windlass(&["deploy", "cancel", &id]).ok();
    let push = pushing.end();
    assert!(
        push.code == 1 && push.last().starts_with("CANCELLED"),
        "{}",
        push.output
    );
    shop.serves("one");
}

/// An account of the machine, with its home folder; both are gone when dropped.
struct Account {
    name: String,
    home: PathBuf,
}

impl Drop for Account {
    fn drop(&mut self) {
        run(Command::new("userdel").arg(&self.name));
        let _ = fs::remove_dir_all(&self.home);
    }
}

#[test]
fn setup_does_what_is_missing_and_then_nothing() {
    let name = format!("wl-e2e-{}", std::process::id());
    let account = Account {
        home: PathBuf::from(format!("/tmp/{name}-home")),
        name: name.clone(),
    };
    let home = account.home.to_str().unwrap();
    let setup = |more: &[&str]| {
        let words = [&["setup", "--home", home, "--user", &name, "--json"], more].concat();
        run(&mut crate::world::command(&account.home, &words))
    };
    let states = |output: Output| -> Vec<String> {
        let steps: Vec<serde_json::Value> = serde_json::from_str(&output.ok()).unwrap();
        steps
            .iter()
            .map(|step| format!("{}:{}", step["step"], step["state"]).replace('"', ""))
            .collect()
    };
    let would = states(setup(&["--dry-run"]));
    assert!(
        would.contains(&"user:would".into()) && would.contains(&"home:would".into()),
        "{would:?}"
    );
    assert!(!account.home.exists() && !run(Command::new("id").arg(&name)).stdout.contains("uid="));

    // It would write a unit where systemd is, and make a user where it may: neither is a test's to do.
    if !rustix::process::geteuid().is_root() || PathBuf::from("/run/systemd/system").exists() {
        return;
    }
    let done = states(setup(&[]));
    assert_eq!(done[..1], ["user:done"]);
    assert!(
        done.contains(&"home:done".into()) && done.contains(&"keys:done".into()),
        "{done:?}"
    );
    let mode = |path: &str| {
        fs::metadata(account.home.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!((mode("."), mode(".ssh")), (0o750, 0o700));
    let shadow = fs::read_to_string("/etc/shadow").unwrap();
    assert!(
        shadow.contains(&format!("\n{name}:*:")),
        "a password that is neither typed nor locked"
    );
    let again = states(setup(&[]));
    assert!(
        again
            .iter()
            .all(|step| step.ends_with(":was") || step == "service:left"),
        "{again:?}"
    );

    // What went wrong since is put right, and nobody else's user is taken.
    fs::set_permissions(&account.home, fs::Permissions::from_mode(0o777)).unwrap();
    run(Command::new("usermod").args(["--shell", "/usr/sbin/nologin", "--lock", &name])).ok();
    let mended = states(setup(&[]));
    assert_eq!(
        mended.iter().filter(|step| step.ends_with(":done")).count(),
        3,
        "{mended:?}"
    );
    assert_eq!(mode("."), 0o750);
    let other = setup(&["--home", "/tmp/wl-e2e-elsewhere"]);
    assert!(
        other.code == 2 || other.stderr.contains("there is a user"),
        "{other:?}"
    );
}
