//! The hooks. pre-receive refuses, before anything moves, what the other could not tell of.
//! post-receive tells the server what was pushed and relays the deploy to the pusher.
//!
//! It owns nothing. Kill it, and the deploy goes on. Everything it prints goes through a watched
//! writer, since a pusher who went away leaves a pipe that nobody reads and no signal. Only when
//! the server never heard of the push does the hook act: it puts the branches back, so that the
//! same push tries again.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;
use super::follow::{Followed, PATIENCE, ask_until, to_the_end};
use super::render::{Renderer, colours};
use super::table::{plain, shorten};
use super::watched::Watched;
use super::{CliError, Outcome};
use crate::api::{Pushed, RefUpdate};
use crate::config::Home;
use crate::domain::AppName;

/// More refs than this in one push are refused.
const MOST_UPDATES: usize = 1000;
/// Git's own lines are far shorter, whatever a ref is called.
const LONGEST_LINE: u64 = 4096;
/// How long a pusher may leave a piece of output unread.
const UNREAD: Duration = Duration::from_secs(60);
/// How long to wait for a server that is just starting.
const START: Duration = Duration::from_secs(3);
/// What to do where a push as a whole is the mistake.
const FEWER: &str = "Push fewer refs at once: git push <remote> main";

/// `windlass hook pre-receive`, run by git in the bare repository. Where it is not done, git keeps
/// nothing of the push.
pub fn pre_receive() -> Result<Outcome, CliError> {
    let mut out = Watched::new(
        std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?),
        UNREAD,
    )?;
    allow(io::stdin().lock(), &mut out)
}

fn allow(from_git: impl BufRead, out: &mut impl Write) -> Result<Outcome, CliError> {
    let Err((why, _)) = read_updates(from_git) else {
        return Ok(Outcome::Done);
    };
    writeln!(
        out,
        "{why}\n{FEWER}\nFAILED  nothing of this push was taken, what was live still serves"
    )?;
    Ok(Outcome::NotDone)
}

/// `windlass hook post-receive`, run by git in the bare repository.
pub fn post_receive() -> Result<Outcome, CliError> {
    crate::git::report(false);
    let out = io::stdout();
    let colour = colours(&out);
    let out = Watched::new(
        std::fs::File::from(out.as_fd().try_clone_to_owned()?),
        UNREAD,
    )?;
    let mut show = Renderer::new(out, colour);
    let folder = std::env::var_os("GIT_DIR").map_or_else(|| ".".into(), PathBuf::from);
    let mut hook = Hook {
        show: &mut show,
        folder,
        start: START,
        patience: PATIENCE,
    };
    let outcome = hook.run(io::stdin().lock());
    if matches!(outcome, Ok(Outcome::Done)) {
        crate::git::report(true);
    }
    match outcome {
        // Whoever pushed is gone. Standard error may be the same full pipe: not a word.
        Err(CliError::Output(_)) => Ok(Outcome::Done),
        outcome => outcome,
    }
}

struct Hook<'a, W> {
    show: &'a mut Renderer<W>,
    folder: PathBuf,
    start: Duration,
    patience: Duration,
}

impl<W: Write> Hook<'_, W> {
    fn run(&mut self, from_git: impl BufRead) -> Result<Outcome, CliError> {
        let updates = match read_updates(from_git) {
            Ok(updates) => updates,
            Err((why, updates)) => {
                return self.not_taken(&updates, &why, FEWER);
            }
        };
        let Some((app, home)) = place(&self.folder) else {
            let why = format!(
                "{} is no app's repository under a home folder",
                self.folder.display()
            );
            return self.not_taken(
                &updates,
                &why,
                "Push to the remote that `windlass app show` prints.",
            );
        };
        let client = Client::new(home.control_socket(), super::caller())?;
        let pushed = Pushed {
            app: app.clone(),
            updates: updates.clone(),
        };
        match ask_until(&client, &pushed, Instant::now() + self.start) {
            Ok(answer) => {
                let followed = to_the_end(&client, answer, self.show, self.patience, true);
                self.ended(&app, &updates, followed)
            }
            Err(CliError::Unreachable(why)) => {
                let next = "Start the server and push again.";
                self.not_taken(&updates, &why, next)
            }
            Err(CliError::Usage(why)) => self.not_taken(&updates, &why, FEWER),
            // The server heard of it, and took it or put the branch back.
            Err(refused) => self.ended(&app, &updates, Err(refused)),
        }
    }

    /// The server took the push, and this is what it came to.
    fn ended(
        &mut self,
        app: &AppName,
        updates: &[RefUpdate],
        followed: Result<Followed, CliError>,
    ) -> Result<Outcome, CliError> {
        match followed {
            Ok(Followed::Ended(deploy)) => return Ok(Outcome::done_if(deploy.status.went_live())),
            Ok(Followed::NoDeploy) => return Ok(Outcome::Done),
            Ok(Followed::Lost(id)) => {
                self.show.say(&format!(
                    "The server has not come back. Deploy {id} is its to finish, not this push's.\n\
                     Once it runs again: windlass deploy show {id}\n\
                     UNKNOWN  deploy {id}: the server went away before its end"
                ))?;
            }
            Err(CliError::Unreachable(_)) => {
                let commit = updates
                    .iter()
                    .map(|update| &update.new)
                    .find(|new| !new.is_zero());
                let commit = commit.map_or("", |commit| commit.short());
                self.show.say(&format!(
                    "The server went away before it answered. What was live still serves.\n\
                     Whether it took the push: windlass deploys {app}\n\
                     If it did not: windlass redeploy {app} {commit}\n\
                     UNKNOWN  the server went away before it answered"
                ))?;
            }
            Err(CliError::Refused(why) | CliError::Usage(why)) => {
                // The server puts the deploy branch back where it cannot take a push, but does not look
                // at one of somebody who lost the right to it since it began.
                if self.show.following().is_none() {
                    for update in updates
                        .iter()
                        .filter(|update| update.name.starts_with("refs/heads/"))
                    {
                        let _ = put_back(&self.folder, update);
                    }
                }
                let first = why.lines().next().unwrap_or_default().to_owned();
                self.show.say(&format!(
                    "{why}\nFAILED  not deployed: {}",
                    shorten(&first, 100)
                ))?;
            }
            Err(error) => return Err(error),
        }
        Ok(Outcome::NotDone)
    }

    /// The server never heard of this push: undo it, so that the same push tries again.
    fn not_taken(
        &mut self,
        updates: &[RefUpdate],
        why: &str,
        next: &str,
    ) -> Result<Outcome, CliError> {
        self.show.say(why)?;
        for update in updates
            .iter()
            .filter(|update| update.name.starts_with("refs/heads/"))
        {
            let branch = plain(&update.name["refs/heads/".len()..]);
            self.show.say(&match put_back(&self.folder, update) {
                Ok(()) => format!("Put {branch} back, so that the same push tries again."),
                Err(said) => format!("Could not put {branch} back: {said}"),
            })?;
        }
        self.show.say(next)?;
        let reason = plain(why.lines().next().unwrap_or_default());
        let reason = reason
            .split(": ")
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        self.show.say(&format!(
            "FAILED  {reason}; nothing was deployed, what was live still serves"
        ))?;
        Ok(Outcome::NotDone)
    }
}

/// The app whose repository `folder` is, and the home folder it lies in: `<home>/repos/<app>.git`.
fn place(folder: &Path) -> Option<(AppName, Home)> {
    let folder = folder.canonicalize().ok()?;
    let app = folder
        .file_name()?
        .to_str()?
        .strip_suffix(".git")?
        .parse()
        .ok()?;
    let home = Home::new(folder.parent()?.parent()?).ok()?;
    (home.repos() == folder.parent()?).then_some((app, home))
}

/// What git says moved. On an error, with what was read before it.
fn read_updates(mut from: impl BufRead) -> Result<Vec<RefUpdate>, (String, Vec<RefUpdate>)> {
    let mut updates = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut from).take(LONGEST_LINE).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(updates),
            Ok(_) if updates.len() == MOST_UPDATES => {
                return Err((
                    format!("This push moved more than {MOST_UPDATES} refs."),
                    updates,
                ));
            }
            Ok(_) => match parse_update(&line) {
                Some(update) => updates.push(update),
                None => {
                    let start = plain(&shorten(&String::from_utf8_lossy(&line), 80));
                    return Err((
                        format!("Git told the hook what it does not understand: {start}"),
                        updates,
                    ));
                }
            },
            Err(error) => {
                return Err((
                    format!("What git tells the hook cannot be read: {error}"),
                    updates,
                ));
            }
        }
    }
}

/// `<old> <new> <ref>\n`
fn parse_update(line: &[u8]) -> Option<RefUpdate> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let mut words = line.splitn(3, ' ');
    let (old, new) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let name = words
        .next()
        .filter(|name| name.starts_with("refs/") && !name.contains(char::is_control))?;
    Some(RefUpdate {
        old,
        new,
        name: name.to_owned(),
    })
}

/// Makes a branch what it was before the push, if it still is what the push made it.
fn put_back(folder: &Path, update: &RefUpdate) -> Result<(), String> {
    let RefUpdate { old, new, name } = update;
    let mut git = Command::new("git");
    git.arg("--git-dir").arg(folder).arg("update-ref");
    if old.is_zero() {
        git.args(["-d", "--", name, new.as_str()]);
    } else {
        git.args(["--", name, old.as_str(), new.as_str()]);
    }
    let done = git
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("git cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        Ok(())
    } else {
        Err(plain(said.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Event;
    use crate::cli::render::tests::deploy;
    use crate::domain::{Deploy, DeployStatus, is_printable};
    use crate::logs::Cursor;
    use proptest::prelude::*;
    use std::io::BufReader;
    use std::os::unix::net::UnixListener;

    /// A home folder with a bare repository of the app `shop`.
    struct World {
        dir: tempfile::TempDir,
        repo: PathBuf,
    }

    const ZERO: &str = "0000000000000000000000000000000000000000";

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let repo = dir.path().join("repos/shop.git");
            std::fs::create_dir_all(&repo).unwrap();
            std::fs::create_dir(dir.path().join("run")).unwrap();
            let world = Self { dir, repo };
            world.git(&["init", "--quiet", "--bare", "."]);
            world
        }

        fn git(&self, args: &[&str]) -> String {
            let mut git = Command::new("git");
            git.current_dir(&self.repo).args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.com",
            ]);
            let output = git.args(args).stdin(Stdio::null()).output().unwrap();
            assert!(
                output.status.success(),
                "{args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }

        fn commit(&self, message: &str) -> String {
            let tree = self.git(&["mktree"]);
            self.git(&["commit-tree", &tree, "-m", message])
        }

        fn branch(&self, name: &str) -> String {
            self.git(&[
                "for-each-ref",
                "--format=%(objectname)",
                &format!("refs/heads/{name}"),
            ])
        }

        fn listen(&self) -> UnixListener {
            UnixListener::bind(self.dir.path().join("run/control.sock")).unwrap()
        }

        fn push(&self, stdin: &str) -> (Result<Outcome, CliError>, String) {
            let mut out = Vec::new();
            let mut show = Renderer::new(&mut out, false);
            let millis = Duration::from_millis;
            let (folder, start, patience) = (self.repo.clone(), millis(300), millis(1500));
            let outcome = Hook {
                show: &mut show,
                folder,
                start,
                patience,
            }
            .run(stdin.as_bytes());
            (outcome, String::from_utf8(out).unwrap())
        }
    }

    /// Answers one connection with events and closes it; gives the request.
    fn serve(listener: &UnixListener, events: &[Event]) -> String {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let data = events
            .iter()
            .map(|event| format!("data: {}\n\n", serde_json::to_string(event).unwrap()));
        answer(listener, &(head.to_owned() + &data.collect::<String>()))
    }

    /// Answers one connection with why it was not done; gives the request.
    fn refuse(listener: &UnixListener, why: &str) -> String {
        let problem =
            format!(r#"{{"type":"about:blank","title":"","status":401,"detail":"{why}"}}"#);
        let length = problem.len();
        answer(
            listener,
            &format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {length}\r\n\r\n{problem}"),
        )
    }

    fn answer(listener: &UnixListener, bytes: &str) -> String {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            assert!(request.read_line(&mut head).unwrap() > 0, "{head}");
            let line = head[from..].to_ascii_lowercase();
            if let Some(said) = line.strip_prefix("content-length:") {
                length = said.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        request.read_exact(&mut body).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        head + &String::from_utf8(body).unwrap()
    }

    fn finished(deploy: Deploy) -> Event {
        Event::Finished {
            deploy,
            url: None,
            serving: None,
        }
    }

    #[test]
    fn without_a_server_every_branch_goes_back_and_the_words_are_clear() {
        let world = World::new();
        let (one, two) = (world.commit("one"), world.commit("two"));
        for (branch, now) in [("main", &two), ("new", &two), ("moved-on", &one)] {
            world.git(&["update-ref", &format!("refs/heads/{branch}"), now]);
        }
        let (outcome, said) = world.push(&format!(
            "{one} {two} refs/heads/main\n{ZERO} {two} refs/heads/new\n{one} {ZERO} refs/heads/gone\n\
             {ZERO} {two} refs/heads/moved-on\n{ZERO} {two} refs/tags/v1\n"
        ));
        assert_eq!(outcome.unwrap(), Outcome::NotDone);
        let now = ["main", "new", "gone", "moved-on"].map(|branch| world.branch(branch));
        assert_eq!(now, [one.clone(), String::new(), one.clone(), one]);
        assert!(said.contains("Could not put moved-on back"), "{said}");
        assert!(said.contains("Start the server and push again."), "{said}");
        let last = "FAILED  the server cannot be reached; nothing was deployed, what was live still serves";
        assert_eq!(said.lines().last(), Some(last));
    }

    #[test]
    fn a_restart_of_the_server_in_the_middle_costs_one_line() {
        let world = World::new();
        let commit = world.commit("one");
        let listener = world.listen();
        let server = std::thread::spawn(move || {
            let following = Event::Following {
                deploy: deploy(7, DeployStatus::Running, &[]),
            };
            let started = Event::PhaseStarted {
                ordinal: 0,
                phase: "build".parse().unwrap(),
                at_ms: 0,
            };
            let lines = |offset, text: &str| Event::Lines {
                next: Cursor { ordinal: 0, offset },
                text: text.into(),
            };
            let first = serve(
                &listener,
                &[following.clone(), started, lines(8, "5\tone\n")],
            );
            let live = finished(deploy(7, DeployStatus::Live, &[]));
            let second = serve(&listener, &[following, lines(16, "9\ttwo\n"), live]);
            (first, second)
        });
        let (outcome, said) = world.push(&format!("{ZERO} {commit} refs/heads/main\n"));
        let (first, second) = server.join().unwrap();
        assert_eq!(outcome.unwrap(), Outcome::Done);
        assert!(
            first.starts_with("POST /api/v1/apps/shop/pushed ") && first.contains(&commit),
            "{first}"
        );
        assert!(
            second
                .starts_with("GET /api/v1/deploys/7/events?follow=true&from=0.8&until_live=true "),
            "{second}"
        );
        assert_eq!(said.matches("one\n").count(), 1, "{said}");
        assert_eq!(said.matches("the server went away").count(), 1, "{said}");
        assert!(said.ends_with("\nLIVE  shop  deploy 7, 0.00s\n"), "{said}");
    }

    #[test]
    fn a_server_that_stays_away_leaves_the_branch_and_says_where_to_look() {
        let world = World::new();
        let commit = world.commit("one");
        world.git(&["update-ref", "refs/heads/main", &commit]);
        let listener = world.listen();
        let server = std::thread::spawn(move || {
            serve(
                &listener,
                &[Event::Following {
                    deploy: deploy(7, DeployStatus::Running, &[]),
                }],
            )
        });
        let (outcome, said) = world.push(&format!("{ZERO} {commit} refs/heads/main\n"));
        server.join().unwrap();
        assert_eq!(outcome.unwrap(), Outcome::NotDone);
        assert_eq!(world.branch("main"), commit);
        assert!(said.contains("windlass deploy show 7"), "{said}");
    }

    #[test]
    fn the_outcome_is_the_deploys() {
        for (events, expected) in [
            (
                vec![finished(deploy(7, DeployStatus::Failed, &[]))],
                Outcome::NotDone,
            ),
            (
                vec![finished(deploy(7, DeployStatus::Live, &[]))],
                Outcome::Done,
            ),
            (
                vec![
                    Event::Note {
                        text: "dev does not deploy".into(),
                    },
                    Event::End,
                ],
                Outcome::Done,
            ),
            (
                vec![Event::Note {
                    text: "dev does not deploy".into(),
                }],
                Outcome::NotDone,
            ),
            (
                vec![Event::Error {
                    message: "no such app".into(),
                }],
                Outcome::NotDone,
            ),
            (vec![], Outcome::NotDone),
        ] {
            let world = World::new();
            let listener = world.listen();
            let answers = events.clone();
            let server = std::thread::spawn(move || serve(&listener, &answers));
            let (outcome, _) = world.push(&format!("{ZERO} {} refs/heads/main\n", "a".repeat(40)));
            server.join().unwrap();
            assert_eq!(outcome.unwrap(), expected, "{events:?}");
        }
    }

    #[test]
    fn a_push_that_the_server_does_not_look_at_leaves_the_branch_as_it_was() {
        let world = World::new();
        let (old, new) = (world.commit("old"), world.commit("new"));
        world.git(&["update-ref", "refs/heads/main", &new]);
        let listener = world.listen();
        let server = std::thread::spawn(move || refuse(&listener, "nobody is logged in"));
        let (outcome, said) = world.push(&format!("{old} {new} refs/heads/main\n"));
        server.join().unwrap();
        assert_eq!(outcome.unwrap(), Outcome::NotDone);
        assert_eq!(world.branch("main"), old);
        assert!(
            said.ends_with("FAILED  not deployed: nobody is logged in\n"),
            "{said}"
        );
    }

    #[test]
    fn hostile_input_is_refused_in_words_and_in_bounds() {
        let id = "a".repeat(40);
        let good = format!("{id} {id} refs/heads/main\n");
        assert_eq!(read_updates(good.as_bytes()).unwrap().len(), 1);
        assert!(read_updates(&b""[..]).unwrap().is_empty());
        for bad in [
            &b"garbage\n"[..],
            b"\0\0\0\n",
            b"\n",
            format!("{id} {id} refs/heads/\0\n").as_bytes(),
            format!("{id} {id} main\n").as_bytes(),
            format!("{id} {id}\n").as_bytes(),
            format!("{id} {id} refs/heads/unfinished").as_bytes(),
            format!("{id} {id} refs/heads/{}\n", "x".repeat(10_000)).as_bytes(),
            format!("{id} {id} refs/heads/\u{fffd}").as_bytes(),
            b"\xff\xfe\n",
        ] {
            let (why, read) = read_updates([good.as_bytes(), bad].concat().as_slice()).unwrap_err();
            assert!(
                why.len() < 300 && !why.contains(char::is_control),
                "{why:?}"
            );
            assert_eq!(read.len(), 1);
        }
        let many = good.repeat(1001);
        let mut said = Vec::new();
        assert_eq!(allow(many.as_bytes(), &mut said).unwrap(), Outcome::NotDone);
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.starts_with("This push moved more than 1000 refs.\nPush fewer"),
            "{said}"
        );
        assert_eq!(
            allow(good.as_bytes(), &mut io::sink()).unwrap(),
            Outcome::Done
        );
        let (why, read) = read_updates(many.as_bytes()).unwrap_err();
        assert_eq!(
            (read.len(), why.as_str()),
            (1000, "This push moved more than 1000 refs.")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_from_git_are_more_than_words_and_refs(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..5),
            names in prop::collection::vec("refs/(\\PC|\\p{Cf}| ){0,30}", 0..3),
        ) {
            let id = "a".repeat(40);
            let mut bytes: Vec<u8> = names.iter().flat_map(|name| format!("{id} {id} {name}\n").into_bytes()).collect();
            bytes.extend(lines.concat());
            let updates = match read_updates(&bytes[..]) {
                Ok(updates) => updates,
                Err((why, updates)) => {
                    prop_assert!(why.len() < 500 && why.chars().all(is_printable), "{:?}", why);
                    updates
                }
            };
            prop_assert!(updates.iter().all(|update| update.name.starts_with("refs/")));
        }
    }

    #[test]
    fn the_place_tells_app_and_home() {
        let world = World::new();
        let (app, home) = place(&world.repo).unwrap();
        assert_eq!(
            (app.as_str(), home.path()),
            ("shop", world.dir.path().canonicalize().unwrap().as_path())
        );
        assert!(place(world.dir.path()).is_none());
        assert!(place(Path::new("/nowhere/repos/shop.git")).is_none());
    }
}
