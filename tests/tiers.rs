//! The list of what each test costs, `tests/tiers.txt`, is true to the tests, and every test of the long
//! tier can be drawn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The seconds that a commit's share of the long tier may take, as `scripts/tests.py` has them.
const SHARE: f64 = 240.0;

struct Entry {
    group: String,
    seconds: f64,
    parts: f64,
    drawn: bool,
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What the list says, by the test. A test that stands in it twice fails.
fn listed() -> BTreeMap<String, Entry> {
    let text = fs::read_to_string(here("tests/tiers.txt")).unwrap();
    let mut listed = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let part = words.iter().find_map(|word| word.strip_prefix("parts="));
        let entry = Entry {
            group: words[0].into(),
            seconds: words[1].parse().expect(line),
            drawn: !words.contains(&"drawn=never"),
            parts: part.map_or(1.0, |parts| parts.parse().expect(line)),
        };
        let before = listed.insert(words[2].to_owned(), entry);
        assert!(before.is_none(), "twice in the list: {}", words[2]);
    }
    listed
}

/// The tests in a program's folder, and whether `cargo test` leaves each out.
fn tests_in(program: &str) -> BTreeMap<String, bool> {
    let mut tests = BTreeMap::new();
    for entry in fs::read_dir(here("tests").join(program)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let module = match path.file_stem().unwrap().to_str().unwrap() {
            "main" => String::new(),
            module => format!("{module}::"),
        };
        let text = fs::read_to_string(&path).unwrap();
        for test in text.split("#[test]\n").skip(1) {
            let head = test.split('{').next().unwrap();
            let name = head.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            tests.insert(
                format!("{program}::{module}{name}"),
                head.contains("#[ignore"),
            );
        }
    }
    tests
}

/// What each word draws, with its seconds.
fn drawn(words: &[String]) -> BTreeMap<String, Vec<(f64, String)>> {
    let mut script = Command::new("python3");
    script.arg(here("scripts/tests.py")).arg("--draw");
    let done = script.args(words).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let mut drawn: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in String::from_utf8(done.stdout).unwrap().lines() {
        let [word, seconds, job] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let job = (seconds.parse().unwrap(), job.to_owned());
        drawn.entry(word.to_owned()).or_default().push(job);
    }
    drawn
}

#[test]
fn every_test_in_the_list_is_there_and_every_ignored_one_is_long() {
    let listed = listed();
    let mut tests = tests_in("e2e");
    assert!(tests.len() > 100, "{}", tests.len());
    tests.extend(tests_in("simulation"));
    for (name, entry) in &listed {
        assert!(tests.contains_key(name), "not a test: {name}");
        assert!(entry.seconds > 0.0, "no cost: {name}");
        // A drawn test must fit into a commit's share.
        let fits = entry.group == "short" || !entry.drawn || entry.seconds / entry.parts <= SHARE;
        assert!(fits, "cut it into parts: {name}");
    }
    for name in tests
        .iter()
        .filter(|(_, ignored)| **ignored)
        .map(|(name, _)| name)
    {
        let long = listed.get(name).is_some_and(|entry| entry.group != "short");
        assert!(long, "in no group of the long tier: {name}");
    }
}

#[test]
fn a_word_draws_the_same_again_and_in_time_every_long_test_is_drawn() {
    let words: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    let all = drawn(&words);
    assert_eq!(all, drawn(&words));
    assert_eq!(all.len(), words.len());
    let long = listed()
        .into_iter()
        .filter(|(_, entry)| entry.group != "short" && entry.drawn);
    let mut wanted: BTreeSet<String> = long.map(|(name, _)| name).collect();
    for drawn in all.values() {
        let cost: f64 = drawn.iter().map(|(seconds, _)| seconds).sum();
        // Seconds are printed rounded.
        assert!(0.0 < cost && cost <= SHARE + 1.0, "{cost} s: {drawn:?}");
        for (_, job) in drawn {
            wanted.remove(job.split(' ').next().unwrap());
        }
    }
    assert!(wanted.is_empty(), "never drawn: {wanted:?}");
}
