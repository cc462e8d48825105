//! The reference says what the code does: its examples are read, and its defaults are the defaults.

use windlass::config::{Config, Home};
use windlass::domain::Manifest;

const MANIFEST: &str = include_str!("../docs/manifest.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");

/// The blocks of a language in a document.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    document
        .split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn the_manifest_shown_with_its_defaults_is_the_default() {
    let shown: Manifest = toml::from_str(blocks(MANIFEST, "toml")[0]).unwrap();
    assert_eq!(shown, Manifest::default());
}

#[test]
fn the_gates_shown_are_djangos() {
    let mut shown: Manifest = toml::from_str(blocks(MANIFEST, "toml")[1]).unwrap();
    let mut django = Manifest::default();
    django.settle_gates(true);
    assert_eq!(shown, django);
    shown.settle_gates(false);
    assert_eq!(shown, django);
}

#[test]
fn the_mistakes_shown_are_answered_as_shown() {
    let shown = blocks(MANIFEST, "text");
    let mistakes = [
        "[health]\npath = \"/\"\nintervall = \"1s\"\n",
        "[[gates]]\nname = \"test\"\nrun = \"python manage.py test\"\n",
    ];
    for (mistake, answer) in mistakes.iter().zip(shown) {
        let error = toml::from_str::<Manifest>(mistake).unwrap_err();
        assert_eq!(
            format!("windlass.toml: {}\n", error.to_string().trim_end()),
            answer
        );
    }
}

#[test]
fn the_configuration_shown_with_its_defaults_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path()).unwrap();
    let default = Config::read(&home).unwrap();
    std::fs::write(home.config(), blocks(CONFIGURATION, "toml")[0]).unwrap();
    let shown = Config::read(&home).unwrap();
    assert_eq!(format!("{shown:?}"), format!("{default:?}"));
}

#[test]
fn the_json_shown_is_json() {
    for block in blocks(include_str!("../docs/commands.md"), "json") {
        serde_json::from_str::<serde_json::Value>(block).unwrap();
    }
}

#[test]
fn every_test_that_the_page_on_reliability_names_is_there() {
    let page = include_str!("../docs/reliability.md");
    let named = page
        .split('`')
        .filter(|word| word.contains("::") && !word.contains(' '));
    let missing: Vec<&str> = named.filter(|name| !is_test(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// Whether `file::function` is a test of `tests/e2e`.
fn is_test(name: &str) -> bool {
    let Some((file, function)) = name.split_once("::") else {
        return false;
    };
    let path = format!("{}/tests/e2e/{file}.rs", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split("#[test]")
        .skip(1)
        .any(|test| test.contains(&format!("fn {function}(")))
}
