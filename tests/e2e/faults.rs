//! What can go wrong between Windlass and the engine, call by call.
//!
//! A deploy without faults is recorded; then, for each call that it made, deploys run in which just
//! that call is refused, cut, lost, late, or never answered. Whatever it is, the push ends with a
//! true status, nobody who asks for the site is turned away, and soon everything is in order again
//! without a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::app::App;
use crate::load::Asking;
use crate::part;
use crate::proxy::{Call, Fault, Proxy, is_stream};
use crate::world::{World, docker};

/// How a deploy is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum By {
    Push,
    Revert,
}

/// A fault in one call of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Case {
    by: By,
    kind: String,
    nth: usize,
    fault: Fault,
    /// No app is named in the call: no other deploy may run meanwhile.
    alone: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            by,
            kind,
            nth,
            fault,
            ..
        } = self;
        write!(f, "{by:?} {kind} #{nth} {fault:?}")
    }
}

/// What came of a case.
#[derive(Debug)]
struct Outcome {
    sprung: bool,
    /// `live`, or the phase and the reason.
    status: String,
    took: Duration,
    /// From the deploy's end until everything was in order.
    settled: Duration,
}

/// A deploy with a fault in it has to end within this: some of the engine's limits, and what it
/// takes to put things back.
const LONGEST: Duration = Duration::from_secs(45);
/// And everything be in order again within this.
const SETTLED: Duration = Duration::from_secs(10);

/// A deploy's last calls come within this after the push has ended.
const AFTERWARDS: Duration = Duration::from_secs(2);

const MANIFEST: &str = r#"
[[gates]]
name = "quick"
run = ["python", "-c", "print('checked')"]
timeout = "15s"

[health]
path = "/healthz"
interval = "100ms"
min_healthy = "0s"
deadline = "8s"

[verify]
timeout = "4s"

[drain]
timeout = "4s"
stop_grace = "2s"
"#;

/// A world whose server reaches the engine through the proxy only, and does not wait long.
fn world(proxy: &Proxy) -> World {
    let docker = format!(
        "[docker]\nsocket = {:?}\ntimeout = \"5s\"\n",
        proxy.socket()
    );
    let build = "[build]\ntimeout = \"10s\"\nconcurrency = 8\n";
    World::changed(|config| config.replace("[docker]\n", &docker) + build)
}

/// An app that is quick to deploy, live.
fn quick_app<'w>(world: &'w World, name: &str) -> App<'w> {
    let app = world.app(name);
    app.write("windlass.toml", MANIFEST);
    let dockerfile = include_str!("app/Dockerfile");
    app.write(
        "Dockerfile",
        &format!("{dockerfile}HEALTHCHECK --interval=1h CMD true\n"),
    );
    for text in ["first", "second"] {
        app.version(text);
        app.went_live(&app.push(), text);
    }
    app
}

/// The calls of a deploy of `app` that meets no fault, be it to put a new `text` live.
fn calls_of(proxy: &Proxy, app: &App, by: By, text: &str) -> Vec<Call> {
    proxy.calls();
    if by == By::Push {
        app.version(text);
    }
    let (code, last) = deploy(app, by);
    assert!(code == 0 && last.starts_with("LIVE  "), "{last}");
    std::thread::sleep(AFTERWARDS);
    proxy.calls()
}

/// Every fault in every call that such a deploy makes each time.
fn cases(proxy: &Proxy, app: &App, by: By) -> Vec<Case> {
    let count = |calls: Vec<Call>| {
        let mut counts: BTreeMap<(String, bool), usize> = BTreeMap::new();
        for call in calls {
            let alone = !call.concerns(&app.name);
            *counts.entry((call.kind, alone)).or_default() += 1;
        }
        counts
    };
    let (one, two) = (
        count(calls_of(proxy, app, by, "one")),
        count(calls_of(proxy, app, by, "two")),
    );
    let mut cases = Vec::new();
    for ((kind, alone), times) in one {
        let times = times.min(*two.get(&(kind.clone(), alone)).unwrap_or(&0));
        let faults: &[Fault] = if is_stream(&kind) {
            &Fault::OF_STREAMS
        } else {
            &Fault::ALL
        };
        for nth in 1..=times {
            let case = |fault: &Fault| Case {
                by,
                kind: kind.clone(),
                nth,
                fault: *fault,
                alone,
            };
            cases.extend(faults.iter().map(case));
        }
    }
    cases
}

fn every_case(proxy: &Proxy, app: &App) -> Vec<Case> {
    [By::Push, By::Revert]
        .into_iter()
        .flat_map(|by| cases(proxy, app, by))
        .collect()
}

/// Runs a deploy with one fault in it, and holds everything to what has to be true afterwards.
fn run_case(proxy: &Proxy, app: &App, case: &Case, number: usize) -> Outcome {
    if case.by == By::Revert
        && app.world.json(&["app", "show", &app.name])["live"]["trigger"] == "revert"
    {
        // So that there is a release to go back to: the case before may have reverted to the first.
        app.version(&format!("{} before {number}", app.name));
        let push = app.push();
        assert_eq!(push.code, 0, "{}", push.output);
    }
    let before = app.get("/").1;
    let asking = Asking::with(app.world, &app.domain, 1, 1);
    if case.by == By::Push {
        app.version(&format!("{} {number}", app.name));
    }
    let concerned = if case.alone { "" } else { &app.name };
    let trap = proxy.trap(concerned, &case.kind, case.nth, case.fault);
    let began = Instant::now();
    let (code, last) = deploy(app, case.by);
    let (took, ended) = (began.elapsed(), Instant::now());
    assert!(took < LONGEST, "it took {took:?}: {last}");
    while !trap.reached() && ended.elapsed() < AFTERWARDS {
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.disarm(&trap);
    let deploy = app.newest();
    let status = told_truly(&deploy, code, &last);
    let live = deploy["status"] == "live";
    if matches!(case.fault, Fault::Delay(_)) {
        assert!(
            live,
            "a call that only takes its time fails nothing: {deploy:#}"
        );
    }
    let text = app
        .git(&[
            "show",
            &format!("{}:version.txt", deploy["commit"].as_str().unwrap()),
        ])
        .ok();
    let sprung = trap.sprung();
    in_order(app, if live { &text } else { &before }, &deploy);
    let settled = ended.elapsed();
    asking.all_good(1);
    if case.by == By::Push && !live {
        // The branch was put back, so the same push tries again.
        assert_eq!(app.push().code, 0);
        in_order(app, &text, &app.newest());
    }
    Outcome {
        sprung,
        status,
        took,
        settled,
    }
}

/// Asks for a deploy and waits for its end: the exit status, and the last line that is told.
fn deploy(app: &App, by: By) -> (i32, String) {
    match by {
        By::Push => {
            let push = app.push();
            assert_eq!(
                app.newest()["commit"],
                app.head().as_str(),
                "{}",
                push.output
            );
            (push.code, push.last().to_owned())
        }
        By::Revert => {
            let done = app.world.windlass(&["revert", &app.name, "--wait"]);
            (
                done.code,
                done.stdout.lines().last().unwrap_or_default().to_owned(),
            )
        }
    }
}

/// The deploy has ended, and whoever waited was told how: in short, `live`, or the phase and why.
fn told_truly(deploy: &Value, code: i32, last: &str) -> String {
    let failure = (
        deploy["failure"]["phase"].as_str(),
        deploy["failure"]["message"].as_str(),
    );
    let (Some(phase), Some(message)) = failure else {
        assert_eq!(deploy["status"], "live", "{deploy:#}");
        assert!(code == 0 && last.starts_with("LIVE  "), "{code}: {last}");
        return "live".to_owned();
    };
    assert_eq!(deploy["status"], "failed", "{deploy:#}");
    assert!(last.starts_with(&format!("FAILED in {phase}  ")), "{last}");
    assert!(last.ends_with("is still serving"), "{last}");
    assert!(!message.is_empty(), "{deploy:#}");
    format!("{phase}: {message}")
}

/// Waits until the app's containers, names, images, branch and routes are as they have to be.
fn in_order(app: &App, text: &str, deploy: &Value) {
    let began = Instant::now();
    loop {
        let wrong = disorder(app, text, deploy);
        if wrong.is_empty() {
            return;
        }
        assert!(
            began.elapsed() < SETTLED,
            "not in order after {SETTLED:?}: {wrong:#?}\n{deploy:#}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn disorder(app: &App, text: &str, deploy: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |good: bool, what: String| wrong.extend((!good).then_some(what));
    let (status, body) = app.get("/");
    expect(
        status == 200 && body.trim() == text.trim(),
        format!("{text:?} is asked for, and {body:?} comes"),
    );
    let shown = app.world.json(&["app", "show", &app.name]);
    expect(
        shown["status"] == "serving",
        format!("the app is {}", shown["status"]),
    );
    let (branch, live) = (app.branch(), shown["live"]["commit"].as_str());
    expect(
        branch.as_deref() == live,
        format!("the branch names {branch:?}, live is {live:?}"),
    );
    let containers = app.containers();
    expect(
        containers.len() == 1 && containers[0].ends_with("_live"),
        format!("containers: {containers:?}"),
    );
    let of_live = "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}} {{.Config.Image}}";
    if let Some(name) = containers.iter().find(|name| name.ends_with("_live")) {
        let said = docker(&["inspect", "-f", of_live, name]).stdout;
        expect(
            said.starts_with("true unless-stopped "),
            format!("the live container: {said}"),
        );
    }
    let images: Vec<String> = app
        .world
        .images()
        .into_iter()
        .filter(|name| name.contains(&format!("/{}:", app.name)))
        .collect();
    let failed = format!("/{}:d{}", app.name, deploy["id"]);
    let left = deploy["status"] != "live" && images.iter().any(|image| image.ends_with(&failed));
    expect(images.len() <= 3 && !left, format!("images: {images:?}"));
    let networks: Vec<String> = app
        .world
        .networks()
        .into_iter()
        .filter(|name| name.ends_with(&format!("_{}", app.name)))
        .collect();
    expect(networks.len() == 1, format!("networks: {networks:?}"));
    wrong
}

/// Apps that deploy side by side, and one that deploys when no other does.
const NAMES: [&str; 4] = ["kiwi", "plum", "pear", "lime"];
const ALONE: &str = "mango";

/// Runs cases side by side, an app each, and then those that want to be alone. All of them, so that
/// one that goes wrong hides no other.
fn run_all(proxy: &Proxy, world: &World, cases: &[Case]) {
    let began = Instant::now();
    let (together, alone): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| !case.alone);
    let (failed, missed) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    for (group, names) in [(together, &NAMES[..]), (alone, &[ALONE])] {
        let names = &names[..names.len().min(group.len())];
        // All of them are there before the first case.
        let apps = std::thread::scope(|scope| {
            let made: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(|| quick_app(world, name)))
                .collect();
            made.into_iter()
                .map(|app| app.join().expect("an app of its own"))
                .collect::<Vec<_>>()
        });
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for app in &apps {
                scope.spawn(|| work(proxy, app, &group, &next, &failed, &missed));
            }
        });
    }
    let (failed, missed) = (failed.into_inner().unwrap(), missed.into_inner());
    let (all, took) = (cases.len(), began.elapsed());
    println!(
        "{} of {all} cases went wrong, {missed} did not come to their call, in {took:.0?}",
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    // How often a state is looked at differs from one deploy to the next.
    assert!(
        missed * 10 <= all,
        "{missed} of {all} cases did not come to their call"
    );
}

/// Takes one case after the other. After one that failed the app goes on if its next push goes live.
fn work(
    proxy: &Proxy,
    app: &App,
    cases: &[&Case],
    next: &AtomicUsize,
    failed: &Mutex<Vec<String>>,
    missed: &AtomicUsize,
) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(case) = cases.get(number) else { break };
        match catch_unwind(AssertUnwindSafe(|| run_case(proxy, app, case, number))) {
            Ok(Outcome {
                sprung,
                status,
                took,
                settled,
            }) => {
                let note = if sprung { "" } else { " (not reached)" };
                missed.fetch_add(usize::from(!sprung), Ordering::Relaxed);
                println!("{case}{note} | {status} | {took:.1?} | {settled:.1?}");
            }
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                println!("{case} | WRONG: {said}");
                failed.lock().unwrap().push(format!("{case}: {said}"));
                proxy.disarm_all(&app.name);
                app.version(&format!("after case {number}"));
                let push = app.push();
                if app.newest()["status"] != "live" {
                    println!("{} does not recover: {}", app.name, push.output);
                    break;
                }
            }
        }
    }
}

/// Whether a case is of those that could do the most harm: in the swap, and where something is made,
/// ended or committed.
fn is_dangerous(case: &Case) -> bool {
    let rest: &[Fault] = match (case.kind.as_str(), case.nth) {
        ("POST /containers/{}/rename", 1 | 2) => &Fault::ALL,
        // The second is the candidate, after the gate.
        ("POST /containers/create", 2) => &[Fault::Lost, Fault::Hang, Fault::Late(4000)],
        ("POST /containers/{}/start", 2) => &[Fault::Lost, Fault::Late(0), Fault::Late(4000)],
        // The first is just behind the commit that makes the release live.
        ("POST /containers/{}/update", 1) => &[Fault::Refuse, Fault::HangAfter],
        ("POST /containers/{}/stop", 1) => &[Fault::Refuse, Fault::Lost, Fault::Stall],
        ("DELETE /containers/{}", 2) => &[Fault::Refuse, Fault::Lost],
        _ => &[],
    };
    case.by == By::Push && rest.contains(&case.fault)
}

/// The order in which a seed draws cases.
fn lot(seed: u64, case: &Case) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, case).hash(&mut hasher);
    hasher.finish()
}

/// So many cases are drawn by lot, for a test that takes two to three minutes.
const DRAWN: usize = 12;

/// `WINDLASS_FAULTS_SEED=<number>` draws the same ones again.
#[test]
fn the_most_dangerous_faults_and_some_drawn_by_lot() {
    let seed = std::env::var("WINDLASS_FAULTS_SEED")
        .ok()
        .map(|seed| seed.parse().expect("a number"));
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let seed = seed.unwrap_or_else(now);
    println!("WINDLASS_FAULTS_SEED={seed}");
    let proxy = Proxy::docker();
    let world = world(&proxy);
    let model = quick_app(&world, "model");
    let (mut cases, mut others): (Vec<Case>, Vec<Case>) = every_case(&proxy, &model)
        .into_iter()
        .partition(is_dangerous);
    assert_eq!(cases.len(), 33, "each of them is recorded: {cases:#?}");
    others.sort_by_key(|case| lot(seed, case));
    cases.extend(others.into_iter().take(DRAWN));
    run_all(&proxy, &world, &cases);
}

/// `WINDLASS_FAULTS_ONLY=<text>,…` leaves those that are shown with one of these texts in them, as in
/// `"Revert POST /containers/create"` or `Stall`; `WINDLASS_PART=2/4` every fourth of them.
#[test]
#[ignore = "an hour: scripts/tests.py every_fault"]
fn every_fault_in_every_call() {
    let proxy = Proxy::docker();
    let world = world(&proxy);
    let model = quick_app(&world, "model");
    let mut cases = every_case(&proxy, &model);
    if let Ok(only) = std::env::var("WINDLASS_FAULTS_ONLY") {
        cases.retain(|case| only.split(',').any(|part| case.to_string().contains(part)));
    }
    run_all(&proxy, &world, &part::of(cases));
}
