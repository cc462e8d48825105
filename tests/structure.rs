//! The shape of the source: who may name whom. Imports point one way, from `cli` and `serve` down to
//! `domain`; the adapters (git, runtime, proxy, store, logs) do not know each other; inside a room, files
//! lean on each other without large circles. Nothing is reached through a shared state: there is no
//! `Deref`, and a method stands in the room of its type, so what a room calls it imports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of the crate may name of the others.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("telemetry", &[]),
    // The clock and the faults of a simulation.
    ("clock", &[]),
    ("chaos", &[]),
    ("machine", &[]),
    ("space", &[]),
    ("git", ADAPTER),
    ("runtime", ADAPTER),
    ("proxy", ADAPTER),
    ("store", ADAPTER),
    ("logs", ADAPTER),
    ("backup", &["git", "store", "config", "domain"]),
    ("access", &["store", "domain", "config"]),
    (
        "platform",
        &[
            "access", "machine", "git", "runtime", "proxy", "store", "logs", "domain", "config",
        ],
    ),
    (
        "workload",
        &["platform", "runtime", "proxy", "store", "logs", "domain"],
    ),
    ("attempt", &["platform", "store", "logs", "domain"]),
    (
        "reconcile",
        &[
            "workload", "platform", "runtime", "proxy", "store", "logs", "domain", "config",
        ],
    ),
    (
        "build",
        &[
            "attempt",
            "reconcile",
            "workload",
            "platform",
            "runtime",
            "git",
            "store",
            "logs",
            "space",
            "domain",
            "config",
        ],
    ),
    (
        "deploy",
        &[
            "build",
            "attempt",
            "reconcile",
            "workload",
            "platform",
            "runtime",
            "git",
            "proxy",
            "store",
            "logs",
            "domain",
            "config",
        ],
    ),
    (
        "app",
        &[
            "deploy",
            "reconcile",
            "workload",
            "platform",
            "runtime",
            "git",
            "proxy",
            "store",
            "logs",
            "domain",
            "config",
        ],
    ),
    (
        "api",
        &[
            "app", "platform", "access", "machine", "store", "logs", "domain", "config",
        ],
    ),
    (
        "web",
        &[
            "api", "app", "platform", "access", "git", "store", "logs", "domain", "config",
        ],
    ),
    (
        "serve",
        &[
            "web",
            "api",
            "app",
            "reconcile",
            "platform",
            "store",
            "logs",
            "domain",
            "config",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "serve", "access", "backup", "api", "git", "machine", "logs", "domain", "config",
        ],
    ),
    (
        "cli/doctor",
        &[
            "access", "api", "machine", "runtime", "proxy", "store", "git", "space", "domain",
            "config",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// What stands at the edge of the outside world knows neither its neighbours nor what uses it.
const ADAPTER: &[&str] = &["domain", "config", "clock", "chaos"];

/// What the domain may name of other crates: no I/O.
const DOMAIN_CRATES: &[&str] = &["std", "serde", "strum", "thiserror", "time", "utoipa"];

/// The part that a file below `src/` belongs to.
fn part(path: &str) -> &str {
    match path.split_once('/') {
        Some(("cli", rest)) if rest.starts_with("doctor") => "cli/doctor",
        Some((folder, _)) => folder,
        None => path.trim_end_matches(".rs"),
    }
}

/// The text up to the file's own tests, without comments and without what stands in quotes.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            skip_item(&mut lines);
            continue;
        }
        let line = line.split("//").next().unwrap();
        code.extend(line.split('"').step_by(2));
        code.push('\n');
    }
    code
}

/// Skips what a `#[cfg(test)]` stands before: a module or function up to its closing brace, or a line.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>) {
    let Some(first) = lines.next() else { return };
    let indent = first.len() - first.trim_start().len();
    if first.trim_end().ends_with('{') {
        let close = format!("{}}}", " ".repeat(indent));
        lines.find(|line| *line == close);
    }
}

/// The words behind each `root` in `code`, also those of a group: `root::{a::B, c}` gives a and c.
fn named(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_words(group)),
            None => found.extend(word(rest)),
        }
    }
    found
}

/// The first word of each member of a group, which may hold groups itself.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut words, mut at_start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && (c.is_alphanumeric() || c == '_') => {
                words.extend(word(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    words
}

fn word(text: &str) -> Option<String> {
    let word: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

/// What in a file goes against the rules.
fn violations(path: &str, text: &str) -> Vec<String> {
    let (code, part) = (code(text), part(path));
    let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == part) else {
        return vec![format!("src/{path}: no rule says what {part} may name")];
    };
    let own = part.split('/').next().unwrap();
    let modules: BTreeSet<&str> = MAY_NAME.iter().map(|(name, _)| *name).collect();
    // From a module as deep as this one, so many `super` lead to the crate as well.
    let deep = path.trim_end_matches("/mod.rs").split('/').count();
    let mut wrong: Vec<String> = named(&code, "crate::")
        .into_iter()
        .chain(named(&code, &"super::".repeat(deep)))
        .filter(|name| {
            name != own && modules.contains(name.as_str()) && !allowed.contains(&name.as_str())
        })
        .map(|name| format!("src/{path}: {part} must not name {name}"))
        .collect();
    if part == "domain" {
        let uses = code
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("pub ").strip_prefix("use "));
        // `use DeployEvent as E` in a function names a type; crates are lower case.
        let crates = uses
            .filter_map(word)
            .filter(|name| name.starts_with(|c: char| c.is_lowercase()));
        let crates = crates.filter(|name| !["super", "crate", "self"].contains(&name.as_str()));
        // A module of its own is named as a crate would be.
        let foreign = crates.filter(|name| {
            !DOMAIN_CRATES.contains(&name.as_str())
                && !source().join(format!("domain/{name}.rs")).exists()
        });
        wrong.extend(
            foreign.map(|name| format!("src/{path}: domain must not use the crate {name}")),
        );
    }
    wrong
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_point_one_way() {
    let mut paths = Vec::new();
    files(&source(), &mut paths);
    assert!(paths.len() > 50, "the source is read: {paths:?}");
    let mut wrong = Vec::new();
    for path in paths {
        // Files of tests alone are held to nothing.
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        wrong.extend(violations(
            path.strip_prefix(source()).unwrap().to_str().unwrap(),
            &text,
        ));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_line_that_goes_against_the_rules_is_found() {
    for (path, text) in [
        ("domain/app.rs", "use crate::store::Store;"),
        ("domain/app.rs", "use tokio::fs;"),
        ("git/mod.rs", "use crate::runtime::Engine;"),
        ("git/mod.rs", "fn f() { crate::store::open(); }"),
        ("logs/mod.rs", "use crate::{domain::App, store::Store};"),
        (
            "logs/mod.rs",
            "use crate::{\n    domain::{App, Deploy},\n    proxy,\n};",
        ),
        ("deploy/queue.rs", "use crate::app::create;"),
        ("build/source.rs", "use crate::deploy::Queue;"),
        ("reconcile/app.rs", "use crate::build::build;"),
        ("platform/mod.rs", "use crate::workload::lead;"),
        ("deploy/run.rs", "use crate::web::router;"),
        (
            "deploy/run.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::web;\n}\nuse crate::cli::run;",
        ),
        ("web/apps.rs", "use crate::runtime::Engine;"),
        ("cli/commands.rs", "use crate::runtime::Engine;"),
        ("cli/commands.rs", "pub use crate::store::Store;"),
        ("api/mod.rs", "use crate::proxy::Route;"),
        ("api/apps.rs", "use crate::web::router;"),
        ("app/apps.rs", "use crate::api::dispatch;"),
        ("deploy/mod.rs", "use super::web::router;"),
        ("deploy/run.rs", "use super::super::web::router;"),
        ("new.rs", ""),
    ] {
        assert_eq!(
            violations(path, text).len(),
            1,
            "{path}: {text}: {:?}",
            violations(path, text)
        );
    }
}

#[test]
fn what_the_rules_allow_is_left_alone() {
    for (path, text) in [
        (
            "domain/app.rs",
            "use std::fmt;\nuse serde::Serialize;\nuse super::name::AppName;\nuse crate::domain::Deploy;",
        ),
        (
            "git/mod.rs",
            "use crate::domain::{AppName, CommitId};\nuse crate::git::GitError;",
        ),
        (
            "git/mod.rs",
            "// use crate::runtime::Engine;\nconst HELP: &str = \"crate::store::open\";",
        ),
        (
            "git/mod.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n}\n",
        ),
        (
            "web/apps.rs",
            "use crate::app::Services;\nuse mycrate::runtime::Engine;",
        ),
        ("cli/doctor/engine.rs", "use crate::runtime::Engine;"),
        ("serve.rs", "use crate::web;\nuse crate::api::socket;"),
    ] {
        assert_eq!(
            violations(path, text),
            Vec::<String>::new(),
            "{path}: {text}"
        );
    }
}

#[test]
fn the_store_alone_says_which_deploys_are_an_apps() {
    let mut all = Vec::new();
    files(&source(), &mut all);
    let named = |path: &&PathBuf| {
        code(&fs::read_to_string(path).unwrap()).contains("OwnedDeploys::found_by_store")
    };
    let places: Vec<&PathBuf> = all.iter().filter(named).collect();
    assert_eq!(places, [&source().join("store/deploys.rs")]);
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = fs::read_to_string(source().with_file_name("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    assert_eq!(
        manifest["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
}

/// What changes something for somebody: only a verb in `api/` may call it.
const CHANGES: &[&str] = &[
    "app::create(",
    "app::allow(",
    "app::change_domains(",
    "app::destroy(",
    "app::pushed(",
    "app::redeploy(",
    "app::restart(",
    "app::reload(",
    "app::revert(",
    "app::revert_to(",
    ".queue.cancel(",
    ".set_env(",
    ".unset_env(",
    ".set_public(",
    ".add_user(",
    ".set_role(",
    ".reset_password(",
    ".remove_user(",
    ".change_password(",
    ".add_key(",
    ".remove_key(",
    ".make_token(",
    ".revoke_token(",
    ".revoke_session(",
    ".log_out(",
    ".confirm_second_factor(",
    ".remove_second_factor(",
    ".came_to(",
];

/// Pages and the command line have a verb done, and do nothing themselves; and a verb is run by
/// `dispatch`, which asks the gate and writes down what came of it, and by nothing else.
#[test]
fn whatever_is_changed_for_somebody_is_changed_by_a_verb() {
    let read = |room: &str| {
        let mut paths = Vec::new();
        files(&source().join(room), &mut paths);
        let of = |path: PathBuf| (path.clone(), code(&fs::read_to_string(path).unwrap()));
        paths.retain(|path| !path.ends_with("tests.rs"));
        paths.into_iter().map(of).collect::<Vec<_>>()
    };
    let squeezed = |code: &str| code.split_whitespace().collect::<String>();
    let api = read("api")
        .iter()
        .map(|(_, code)| squeezed(code))
        .collect::<String>();
    for change in CHANGES {
        assert!(api.contains(change), "no verb calls {change} any more");
    }
    let mut wrong = Vec::new();
    for (path, code) in read("web").into_iter().chain(read("cli")) {
        let code = squeezed(&code);
        let found = CHANGES.iter().filter(|change| code.contains(**change));
        // A log-in ends the session before it: it is no verb, since nobody is known yet.
        let found =
            found.filter(|change| !(path.ends_with("web/login.rs") && **change == ".log_out("));
        wrong.extend(found.map(|change| format!("{}: {change}", path.display())));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let runs = read("api")
        .into_iter()
        .filter(|(_, code)| code.contains(".run(server"));
    let runs: Vec<_> = runs.map(|(path, _)| path).collect();
    assert_eq!(runs, [source().join("api/mod.rs")]);
}

#[test]
fn a_deploys_status_is_written_in_one_place() {
    let mut all = Vec::new();
    files(&source(), &mut all);
    let places = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap().to_lowercase();
        vec![path.clone(); text.matches("update deploys set status").count()]
    };
    let places: Vec<PathBuf> = all.iter().flat_map(places).collect();
    assert_eq!(places, [source().join("store/deploys.rs")]);
}

/// The files of a room that a file leans on: `super::name` and `crate::room::name`.
fn leans_on(room: &str, file: &str, code: &str, files: &BTreeSet<String>) -> BTreeSet<String> {
    let own = format!("crate::{room}::");
    let mut named_files = named(code, &own);
    named_files.extend(named(
        code,
        if file == "mod" { "self::" } else { "super::" },
    ));
    if file == "mod" {
        // What `mod.rs` re-exports it offers, and does not lean on; what it uses it names plainly.
        let plain = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("pub use "));
        let plain = plain.collect::<Vec<_>>().join("\n");
        named_files.extend(
            files
                .iter()
                .filter(|f| plain.contains(&format!("{f}::")))
                .cloned(),
        );
    }
    named_files.retain(|name| files.contains(name) && name != file);
    named_files
}

/// The files that each file reaches, itself only by a circle.
fn reach(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(file) = left.pop() {
        for next in graph.get(&file).into_iter().flatten() {
            if found.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    found
}

/// The circles of a room, by its files' texts; `mod` is the room's own file.
fn circles(room: &str, texts: &BTreeMap<String, String>) -> BTreeSet<BTreeSet<String>> {
    let files: BTreeSet<String> = texts.keys().cloned().collect();
    let graph: BTreeMap<String, BTreeSet<String>> = texts
        .iter()
        .map(|(file, text)| (file.clone(), leans_on(room, file, &code(text), &files)))
        .collect();
    let mut found = BTreeSet::new();
    for file in graph.keys() {
        let reached = reach(&graph, file);
        let circle: BTreeSet<String> = reached
            .iter()
            .filter(|other| reach(&graph, other).contains(file))
            .cloned()
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found
}

/// The rooms whose files may not lean on each other in a circle of more than three.
const ROOMS: [&str; 7] = [
    "platform",
    "workload",
    "attempt",
    "build",
    "reconcile",
    "deploy",
    "app",
];

#[test]
fn no_circle_in_a_room_has_more_than_three_files() {
    for room in ROOMS {
        let mut texts = BTreeMap::new();
        for entry in fs::read_dir(source().join(room)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "tests") {
                texts.insert(name.to_owned(), fs::read_to_string(entry.path()).unwrap());
            }
        }
        assert!(texts.len() > 1, "{room} is read");
        for circle in circles(room, &texts) {
            assert!(circle.len() <= 3, "src/{room}: a circle of {circle:?}");
        }
    }
}

#[test]
fn a_circle_is_found() {
    let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let texts = BTreeMap::from([
        text("mod", "mod a;\nmod b;\npub use a::A;"),
        text("a", "use super::b::B;"),
        text("b", "use super::{c::C, d::D};"),
        text("c", "fn f() { crate::room::a::g() }"),
        text("d", "use super::A;"),
    ]);
    let all = circles("room", &texts);
    let three = BTreeSet::from(["a", "b", "c"].map(str::to_owned));
    assert_eq!(all, BTreeSet::from([three]));
}

#[test]
fn nothing_is_reached_through_a_shared_state() {
    let mut all = Vec::new();
    files(&source(), &mut all);
    for path in all {
        let code = code(&fs::read_to_string(&path).unwrap());
        let deref = code.lines().any(|line| {
            line.starts_with("impl Deref for") || line.starts_with("impl DerefMut for")
        });
        assert!(!deref, "{path:?}: a Deref hides whose methods are called");
        let methods = |kind: &str| code.lines().any(|line| line.starts_with(kind));
        for (owner, room) in [
            ("Platform", "platform"),
            ("Services", "app"),
            ("Queue", "deploy"),
            ("Attempt", "attempt"),
        ] {
            let here = path.starts_with(source().join(room));
            assert!(
                here || !methods(&format!("impl {owner} {{")),
                "{path:?}: methods of {owner} belong to {room}/"
            );
        }
    }
}
