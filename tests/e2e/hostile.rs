//! Repositories and pushes that somebody made to do harm: each comes to a refusal that says why, or
//! to what it looks like and no more; and what serves goes on serving.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::app::{App, MANIFEST};
use crate::browser::first_password;
use crate::world::{World, docker, run};

/// What a terminal or a page would obey, or take for something else.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200b}<script>x</script>$(touch owned)`id`;|&";

/// A work tree in which anything can be made, as long as git has a name for it.
struct Raw<'w>(App<'w>);

impl Raw<'_> {
    /// `git` with these words and `input`; what it printed.
    fn feed(&self, args: &[&str], input: &[u8]) -> String {
        let mut git = App::git_in(&self.0.work, args);
        let mut child = git
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{args:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn object(&self, kind: &str, bytes: &[u8]) -> String {
        self.feed(
            &["hash-object", "-w", "--literally", "-t", kind, "--stdin"],
            bytes,
        )
    }

    /// A tree of entries as `(mode, name, id)`, whatever the names.
    fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            let id = (0..40)
                .step_by(2)
                .map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap());
            bytes.extend([mode.as_bytes(), b" ", name, b"\0"].concat());
            bytes.extend(id);
        }
        self.object("tree", &bytes)
    }

    /// The files of HEAD, and one more entry behind them.
    fn with(&self, mode: &str, name: &[u8], id: &str) -> String {
        let listed = self.0.git(&["ls-tree", "HEAD"]).ok();
        let parts = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let parts: Vec<Vec<&str>> = parts.filter(|parts| parts[3].as_bytes() != name).collect();
        let mut entries: Vec<(&str, &[u8], &str)> = parts
            .iter()
            .map(|parts| (parts[0], parts[3].as_bytes(), parts[2]))
            .collect();
        entries.push((mode, name, id));
        // Git sorts folders as if they ended with a slash.
        entries.sort_by_key(|(mode, name, _)| {
            let end: &[u8] = if mode.ends_with("40000") { b"/" } else { b"" };
            [name, end].concat()
        });
        self.tree(&entries)
    }

    /// Makes HEAD a commit of this tree.
    fn commit(&self, tree: &str) {
        let id = self
            .0
            .git(&["commit-tree", "-m", "Fine", "-p", "HEAD", tree])
            .ok();
        self.0.git(&["update-ref", "HEAD", id.trim()]).ok();
    }

    /// HEAD and the work tree as they were `back` commits ago.
    fn reset(&self, back: &str) {
        self.0.git(&["reset", "-q", "--hard", back]).ok();
    }
}

/// The most memory that the server ever had, in KiB.
fn peak(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.server_pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_is_no_app_or_too_much_of_one_fails_before_anything_is_made_of_it() {
    let world =
        World::with("[git]\nmax_push = \"4m\"\n[build]\nmax_files = 3000\nmax_context = \"32m\"\n");
    let raw = Raw(world.app("shop"));
    let app = &raw.0;
    app.version("fine");
    app.went_live(&app.push(), "fine");
    let fine = app.head();
    let before = peak(&world);

    let fails = |phase: &str, part: &str| {
        let began = Instant::now();
        app.failed(&app.push(), phase, part, Some("fine"));
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{part}: {:?}",
            began.elapsed()
        );
        raw.reset(&fine);
    };
    let fails_as_written = |phase: &str, part: &str| {
        app.commit("Fine");
        fails(phase, part);
    };

    // The manifest: a link to a file of the host, a folder, a submodule, 100 MB.
    let link = |to: &str, at: &str| {
        let _ = fs::remove_file(app.work.join(at));
        symlink(to, app.work.join(at)).unwrap();
    };
    link("/etc/shadow", "windlass.toml");
    fails_as_written("checkout", "windlass.toml must be a plain file");
    fs::remove_file(app.work.join("windlass.toml")).unwrap();
    app.write("windlass.toml/x", "");
    fails_as_written("checkout", "windlass.toml must be a plain file");
    raw.commit(&raw.with("160000", b"windlass.toml", &"1".repeat(40)));
    fails("checkout", "windlass.toml must be a plain file");
    let large = |at: &str, mib: u64| {
        fs::File::create(app.work.join(at))
            .unwrap()
            .set_len(mib << 20)
            .unwrap()
    };
    large("windlass.toml", 100);
    fails_as_written("checkout", "windlass.toml has 104857600 bytes; at most");

    // The context and the Dockerfile: through links, and outside.
    fs::create_dir(app.work.join("sub")).unwrap();
    link("/etc", "sub/out");
    for (build, part) in [
        ("context = \"sub/out\"", "is not a folder"),
        ("context = \"sub/out/ssl\"", "is not in this commit"),
        (
            "context = \"../..\"",
            "without a leading '/' and without '..'",
        ),
        (
            "dockerfile = \"sub/out/passwd\"",
            "there is no sub/out/passwd in this commit",
        ),
        (
            "dockerfile = \"/etc/passwd\"",
            "without a leading '/' and without '..'",
        ),
    ] {
        fs::create_dir_all(app.work.join("sub")).unwrap();
        link("/etc", "sub/out");
        app.manifest(&format!("[build]\n{build}\n"));
        fails_as_written("checkout", part);
    }
    link("/etc/passwd", ".dockerignore");
    fails_as_written("build", ".dockerignore must be a plain file");
    app.write(".dockerignore", &"*a".repeat(64 << 10));
    fails_as_written(
        "build",
        ".dockerignore has 131072 bytes; at most 65536 are read",
    );
    app.write(".dockerignore", "[z-a]\n");
    fails_as_written("build", "[z-a]");

    // Small to push, and endless to unpack.
    large("zeros", 33);
    fails_as_written(
        "checkout",
        "its files have more than 32 MiB (build.max_context)",
    );
    let empty = raw.object("blob", b"");
    let mut bomb = raw.tree(&[("100644", b"x", &empty)]);
    for _ in 0..9 {
        let ten: Vec<[u8; 1]> = (b'0'..=b'9').map(|digit| [digit]).collect();
        let ten: Vec<(&str, &[u8], &str)> = ten
            .iter()
            .map(|name| ("40000", &name[..], &*bomb))
            .collect();
        bomb = raw.tree(&ten);
    }
    raw.commit(&raw.with("40000", b"bomb", &bomb));
    fails(
        "checkout",
        "it has more than 3000 files and folders (build.max_files)",
    );
    let mut deep = raw.tree(&[("100644", b"x", &empty)]);
    for _ in 0..25 {
        deep = raw.tree(&[("40000", &[b'd'; 200], &deep)]);
    }
    raw.commit(&raw.with("40000", b"deep", &deep));
    fails("checkout", "a path in it is longer than 4096 bytes");

    // A file that git would fill with a long message, three thousand times over, in memory. A build
    // gets it as it was committed.
    app.write(".gitattributes", "file export-subst\n");
    app.write("file", &"$Format:%B$\n".repeat(3000));
    app.git(&["add", "-A"]).ok();
    raw.feed(&["commit", "-q", "-F", "-"], &[b'm'; 1_000_000]);
    app.went_live(&app.push(), "fine");
    raw.reset(&fine);
    app.went_live(&app.push_refs(&["+main"]), "fine");

    let grown = peak(&world).saturating_sub(before);
    assert!(
        grown < 48 << 10,
        "the server took {grown} KiB more at its worst"
    );
    refused_by_git(&raw, &fine);
}

/// What git itself refuses, by the settings of the repository and the hook.
fn refused_by_git(raw: &Raw<'_>, fine: &str) {
    let app = &raw.0;
    let deploys = app.deploys().len();
    let refused = |words: &[&str], part: &str| {
        let push = app.push_refs(words);
        assert_ne!(push.code, 0, "{words:?}: {}", push.output);
        push.says(part);
        assert_eq!(app.deploys().len(), deploys, "{}", push.output);
        raw.reset(fine);
    };

    // Names that a checkout somewhere would take for git's own.
    let hook = raw.object("blob", b"#!/bin/sh\ntouch /tmp/owned\n");
    let folder = raw.tree(&[("100755", b"post-checkout", &hook)]);
    for (mode, name, part) in [
        ("40000", &b".git"[..], "hasDotgit"),
        ("40000", b".GIT", "hasDotgit"),
        ("40000", b"git~1", "hasDotgit"),
        ("40000", ".g\u{200c}it".as_bytes(), "hasDotgit"),
        ("40000", b".git ", "hasDotgit"),
        ("40000", b"..", "hasDotdot"),
        ("40000", b".", "hasDot"),
        ("40000", b"a/b", "fullPathname"),
        ("120000", b".gitmodules", "gitmodulesSymlink"),
    ] {
        let id = if mode == "40000" { &folder } else { &hook };
        raw.commit(&raw.with(mode, name, id));
        refused(&["main"], part);
    }
    app.write(
        ".gitmodules",
        "[submodule \"m\"]\n\tpath = m\n\turl = -u./payload\n",
    );
    app.commit("An option for an address");
    refused(&["main"], "gitmodulesUrl");

    // More than a push may have.
    let mut random = fs::File::open("/dev/urandom").unwrap().take(6 << 20);
    std::io::copy(
        &mut random,
        &mut fs::File::create(app.work.join("noise")).unwrap(),
    )
    .unwrap();
    app.commit("Six megabytes that do not pack");
    refused(&["main"], "pack exceeds maximum allowed size");

    // More refs than anybody can be told of: none of them moves.
    let create: String = (0..10_000)
        .map(|n| format!("create refs/heads/many/{n} {fine}\n"))
        .collect();
    raw.feed(
        &["-c", "core.fsync=none", "update-ref", "--stdin"],
        create.as_bytes(),
    );
    app.git(&["-c", "core.fsync=none", "pack-refs", "--all"])
        .ok();
    app.version("not to be seen");
    let began = Instant::now();
    refused(
        &["main", "refs/heads/many/*:refs/heads/many/*"],
        "This push moved more than 1000 refs.",
    );
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(app.branch().as_deref(), Some(fine));
    let there = run(&mut App::git_in(
        &app.repository(),
        &["for-each-ref", "refs/heads"],
    ))
    .ok();
    assert_eq!(there.lines().count(), 1, "{there}");

    // More options than the system can hand to the hook.
    let option = "x".repeat(60_000);
    let options: String = (0..150)
        .map(|_| format!("\tpushOption = {option}\n"))
        .collect();
    let config = app.work.join(".git/config");
    let plain = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{plain}[push]\n{options}")).unwrap();
    app.version("not to be seen either");
    refused(&["main"], "rejected");
    fs::write(&config, plain).unwrap();
    assert_eq!(app.branch().as_deref(), Some(fine));

    for hidden in [
        "refs/deploys/1",
        "refs/deploys/99",
        &format!("refs/replace/{fine}"),
    ] {
        refused(&[&format!("HEAD~0:{hidden}")], "deny updating a hidden ref");
    }
    app.serves("fine");
}

#[test]
fn a_build_gets_nothing_of_the_host_and_is_nobody_elses() {
    let world = World::new();
    let other = world.app("other");
    other.version("the other one");
    other.went_live(&other.push(), "the other one");
    let others_image = world.images();

    let app = world.app("shop");
    let secret = world.home.join("secret.key");
    fs::write(world.home.join("marker"), "only-the-host-knows-this\n").unwrap();
    let marker = world.home.join("marker").display().to_string();
    let up = format!("{}{marker}", "../".repeat(30));

    // Links stay links, wherever they point: in the image they lead to what is in the image.
    symlink(&marker, app.work.join("absolute")).unwrap();
    symlink(&up, app.work.join("upwards")).unwrap();
    symlink(&world.home, app.work.join("folder")).unwrap();
    symlink("/etc/shadow", app.work.join("shadow")).unwrap();
    let dockerfile = include_str!("app/Dockerfile");
    let label = |key: &str, value: &str| format!("LABEL windlass.{key}={value}\n");
    let instance = docker(&[
        "inspect",
        "-f",
        "{{index .Config.Labels \"windlass.instance\"}}",
        &other.live_container(),
    ])
    .ok();
    let labels: String = [
        ("app", "other"),
        ("instance", instance.trim()),
        ("home", "/somewhere/else"),
        ("deploy", "1"),
        ("role", "caddy"),
        ("commit", "none"),
        ("spec", "none"),
    ]
    .iter()
    .map(|(key, value)| label(key, value))
    .collect();
    let check = format!(
        "HEALTHCHECK --interval=1ms CMD test -e /app && : {}",
        "x".repeat(10_000)
    );
    app.write(
        "Dockerfile",
        &format!(
            "{dockerfile}{labels}EXPOSE 1-500 53/udp\nVOLUME /app/data\nSTOPSIGNAL SIGTERM\n{check}\n\
             RUN ! cat absolute upwards folder/secret.key && ! grep -rs only-the-host-knows-thi[s] /app /tmp /var\n"
        ),
    );
    app.manifest("[web]\nport = 8000\n");
    app.version("as it looks");
    let push = app.push();
    let deploy = app.went_live(&push, "as it looks");
    assert!(
        !push.output.contains("only-the-host-knows-this"),
        "{}",
        push.output
    );
    assert_eq!(app.get("/file/absolute").0, 404);
    let (_, shadow) = app.get("/file/shadow");
    assert!(
        !shadow.contains("only-the-host-knows-this") && secret.exists(),
        "{shadow}"
    );

    // The image and its container are this app's, whatever the Dockerfile says.
    let container = app.live_container();
    for (object, key, wanted) in [
        (container.as_str(), "app", "shop"),
        (&container, "deploy", &deploy["id"].to_string()),
        (&container, "role", "web"),
        (&container, "home", world.home.to_str().unwrap()),
        (
            docker(&["inspect", "-f", "{{.Config.Image}}", &container])
                .ok()
                .trim(),
            "app",
            "shop",
        ),
    ] {
        let format = format!("{{{{index .Config.Labels \"windlass.{key}\"}}}}");
        assert_eq!(
            docker(&["inspect", "-f", &format, object]).ok().trim(),
            wanted,
            "{key} of {object}"
        );
    }
    let health = docker(&[
        "inspect",
        "-f",
        "{{.Config.Healthcheck.Test}} {{.State.Health}}",
        &container,
    ])
    .ok();
    assert_eq!(health.trim(), "[NONE] <nil>", "the engine asks nothing");

    // Somebody's own name for one of its images outlives both housekeeping and the app.
    let name = format!("windlass-test-kept:{}", world.port);
    let image = docker(&["inspect", "-f", "{{.Config.Image}}", &container]).ok();
    docker(&["tag", image.trim(), &name]).ok();

    app.write("Dockerfile", &format!("{dockerfile}EXPOSE 1-65535\n"));
    app.commit("Every port");
    app.failed(
        &app.push(),
        "start",
        "the image exposes 65535 ports",
        Some("as it looks"),
    );

    // A Dockerfile that is a link, and what asks for more than the context.
    for (text, part) in [
        (format!("FROM windlass-local/python\nCOPY {up} /x\n"), ""),
        (
            "FROM windlass-local/python\nCOPY folder/secret.key /x\n".to_owned(),
            "",
        ),
        (
            "FROM windlass-local/python\nRUN --network=host true\n".to_owned(),
            "",
        ),
        ("FROM $(id)`id`;--privileged\n".to_owned(), ""),
        (
            format!(
                "FROM windlass-local/python\nRUN echo '{}'; exit 7\n",
                "\u{1b}]0;x\u{7}\u{202e}"
            ),
            "7",
        ),
    ] {
        app.write("Dockerfile", &text);
        app.commit("Asks for more");
        let push = app.push();
        app.failed(&push, "build", part, Some("as it looks"));
        assert!(
            !push.output.contains("only-the-host-knows-this"),
            "{}",
            push.output
        );
        safe(&push.output);
    }
    fs::remove_file(app.work.join("Dockerfile")).unwrap();
    symlink(&marker, app.work.join("Dockerfile")).unwrap();
    app.commit("A link to a Dockerfile elsewhere");
    let push = app.push();
    app.failed(&push, "build", "", Some("as it looks"));
    assert!(
        !push.output.contains("only-the-host-knows-this"),
        "{}",
        push.output
    );

    // Submodules are told of, and nothing is fetched or run for them.
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    let ran = world.home.join("ran");
    app.write("Dockerfile", dockerfile);
    app.write(
        ".gitmodules",
        &format!(
            "[submodule \"a\"]\n\tpath = a\n\turl = ext::sh -c touch% {ran}\n[submodule \"b\"]\n\tpath = b\n\turl = file:///etc\n",
            ran = ran.display()
        ),
    );
    for module in ["a", "b"] {
        let entry = format!("160000,{},{module}", "1".repeat(40));
        app.git(&["update-index", "--add", "--cacheinfo", &entry])
            .ok();
        fs::create_dir(app.work.join(module)).unwrap();
    }
    app.version("with submodules");
    let push = app.push();
    app.went_live(&push, "with submodules");
    push.says("the submodule a is an empty folder")
        .says("submodules are not fetched");
    assert!(!ran.exists());

    let all_others = |images: Vec<String>| {
        images
            .into_iter()
            .filter(|image| image.contains("/other:"))
            .collect::<Vec<_>>()
    };
    assert_eq!(all_others(world.images()), all_others(others_image));
    other.serves("the other one");
    world.windlass(&["app", "destroy", "shop", "--yes"]).ok();
    other.serves("the other one");
    docker(&["image", "rm", &name]).ok();
}

/// Fails on what a terminal would obey, or a reader would not see.
fn safe(shown: &str) {
    let drives = |c: &char| {
        (c.is_control() && !"\n\r\t".contains(*c)) || "\u{202e}\u{2066}\u{200b}".contains(*c)
    };
    if let Some(at) = shown.chars().position(|c| drives(&c)) {
        let near: String = shown
            .chars()
            .skip(at.saturating_sub(60))
            .take(120)
            .collect();
        panic!("{near:?}");
    }
}

#[test]
fn what_one_person_pushes_drives_nobodys_terminal_or_page() {
    let world = World::new();
    let raw = Raw(world.app("shop"));
    let app = &raw.0;
    // Ten megabytes without an end of line, zeros, bytes that are no text; from a gate and from the app.
    let print = "import sys; o = sys.stdout.buffer; o.write(b'x' * (10 << 20)); \
                 o.write(b'\\0\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\xff\\xfe\\xe2\\x80\\xae\\xe2\\x80\\x8b<script>\\n'); o.flush()";
    app.manifest(&format!(
        "[[gates]]\nname = \"noise\"\nrun = [\"python\", \"-c\", {print:?}]\n"
    ));
    app.write("extra.py", &print.replace("; ", "\n"));
    app.write("version.txt", "plain");
    app.commit("Noise");

    // The same tree, by somebody with a terrible name.
    let tree = app.git(&["rev-parse", "HEAD^{tree}"]).ok();
    let mut commit = format!(
        "tree {}\nauthor {HOSTILE} <x@example.com> 1700000000 +0000\ncommitter {HOSTILE} <x@example.com> 1700000000 +0000\n\n{HOSTILE}",
        tree.trim()
    )
    .replace("<script>x</script>", "script")
    .into_bytes();
    commit.extend(b" \xff\xfe\xc3( <script>alert(1)</script>\n\nbody\n");
    let id = raw.object("commit", &commit);
    app.git(&["update-ref", "HEAD", &id]).ok();

    let branch = format!("$(touch${{IFS}}owned)`id`;<b>&{}", "\u{202e}\u{200b}x");
    let refs = format!("main:refs/heads/{branch}");
    let push = app.push_refs(&[
        "-o",
        HOSTILE,
        "-o",
        "--upload-pack=touch owned",
        "main",
        &refs,
    ]);
    app.went_live(&push, "plain");
    push.says("was stored and does not deploy")
        .says("$(touch owned)`id`;|&");
    // The pusher's own git repeats the name of the pusher's own branch.
    safe(&push.output.replace(&branch, ""));

    let id = app.newest()["id"].to_string();
    for args in [
        &["deploys", "shop"][..],
        &["deploy", "show", &id],
        &["deploy", "log", &id],
        &["app", "show", "shop"],
        &["logs", "shop"],
        &["deploys", "shop", "--json"],
        &["logs", "shop", "--json"],
    ] {
        let shown = world.windlass(args).ok();
        safe(&shown);
        assert!(shown.lines().all(|line| line.len() < 80_000), "{args:?}");
    }
    assert!(!app.work.join("owned").exists() && !app.repository().join("owned").exists());

    let page = Page::log_in(&world);
    for path in [
        "/",
        "/apps/shop",
        &format!("/apps/shop/deploys/{id}"),
        &format!("/apps/shop/deploys/{id}/events?from=0.0"),
    ] {
        let shown = page.get(path);
        safe(&shown);
        assert!(
            shown.contains("$(touch owned)") && !shown.contains("<script>"),
            "{path}: {shown}"
        );
    }
    // The next one, with a plain name, is as usual.
    app.write("windlass.toml", MANIFEST);
    app.write("extra.py", "");
    app.version("next");
    app.went_live(&app.push(), "next");
}

/// Somebody who is logged in.
struct Page<'w> {
    world: &'w World,
    jar: String,
}

impl<'w> Page<'w> {
    fn log_in(world: &'w World) -> Self {
        let page = Self {
            world,
            jar: world.home.with_file_name("cookies").display().to_string(),
        };
        let form = format!("name=admin&password={}", first_password(world));
        page.curl(&["-d", &form], "/login");
        page
    }

    /// A page, as far as it comes within two seconds.
    fn get(&self, path: &str) -> String {
        self.curl(&["--max-time", "2"], path)
    }

    fn curl(&self, words: &[&str], path: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-b", &self.jar, "-c", &self.jar])
            .args(words);
        run(curl.arg(format!("http://127.0.0.1:{}{path}", self.world.listen))).stdout
    }
}
