//! What is linked into Windlass, held to `deny.toml` without cargo-deny: the licences, where crates
//! come from, and those that are banned. The tool itself is `make deny`; it takes minutes to build,
//! and reads advisories as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

/// A crate as far as the policy goes.
#[derive(Debug, Clone)]
struct Crate {
    name: String,
    license: String,
    /// Where it comes from; nothing for our own.
    source: Option<String>,
}

/// `deny.toml`, as far as this file enforces it.
struct Policy {
    licenses: Vec<String>,
    /// What one crate may have besides.
    exceptions: Vec<(String, Vec<String>)>,
    banned: Vec<String>,
    registries: Vec<String>,
}

impl Policy {
    fn read() -> Self {
        let policy: toml::Table = include_str!("../deny.toml").parse().unwrap();
        let texts = |list: &toml::Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let banned = policy["bans"]["deny"].as_array().unwrap();
        let exceptions = policy["licenses"]["exceptions"].as_array().unwrap();
        let exception = |it: &toml::Value| (it["crate"].as_str().unwrap().to_owned(), texts(&it["allow"]));
        Self {
            licenses: texts(&policy["licenses"]["allow"]),
            exceptions: exceptions.iter().map(exception).collect(),
            banned: banned.iter().map(|ban| ban["name"].as_str().unwrap().to_owned()).collect(),
            registries: texts(&policy["sources"]["allow-registry"]),
        }
    }

    /// What of a crate goes against the policy.
    fn wrong(&self, it: &Crate) -> Vec<String> {
        let Crate { name, license, source } = it;
        let own = self.exceptions.iter().filter(|(excepted, _)| excepted == name).flat_map(|(_, own)| own);
        let licenses: Vec<&String> = self.licenses.iter().chain(own).collect();
        let allowed =
            |asked: &LicenseReq| asked.license.id().is_some_and(|id| licenses.iter().any(|l| *l == id.name));
        let mut wrong = Vec::new();
        match Expression::parse_mode(license, ParseMode::LAX) {
            Ok(expression) if expression.evaluate(allowed) => {}
            Ok(_) => wrong.push(format!("{name}: the licence {license:?} is not allowed")),
            Err(_) => wrong.push(format!("{name}: {license:?} is no licence")),
        }
        let known = |source: &str| self.registries.iter().any(|known| source == format!("registry+{known}"));
        if source.as_deref().is_some_and(|source| !known(source)) {
            wrong.push(format!("{name}: it comes from {source:?}"));
        }
        if self.banned.contains(name) {
            wrong.push(format!("{name}: it is banned"));
        }
        wrong
    }
}

/// Every crate that is built for this machine.
fn crates() -> Vec<Crate> {
    let printed = |program: String, args: &[&str]| {
        let output =
            Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rustc = printed(std::env::var("RUSTC").unwrap_or("rustc".into()), &["-vV"]);
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Of other platforms' crates not even the text has to be there.
    let args = ["metadata", "--format-version=1", "--locked", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&printed(std::env::var("CARGO").unwrap(), &args)).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |it: &Value| Crate {
        name: text(&it["name"]).unwrap(),
        license: text(&it["license"]).unwrap_or_default(),
        source: text(&it["source"]),
    };
    metadata["packages"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn what_is_linked_in_is_allowed() {
    let (policy, crates) = (Policy::read(), crates());
    assert!(crates.len() > 200, "they are read: {}", crates.len());
    let wrong: Vec<String> = crates.iter().flat_map(|it| policy.wrong(it)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_not_allowed_is_found() {
    let policy = Policy::read();
    let good = Crate {
        name: "good".into(),
        license: "MIT/Apache-2.0".into(),
        source: Some("registry+https://github.com/rust-lang/crates.io-index".into()),
    };
    assert_eq!(policy.wrong(&good), Vec::<String>::new());
    let licensed = |license: &str| Crate { license: license.into(), ..good.clone() };
    assert!(policy.wrong(&licensed("(MIT OR GPL-3.0-only) AND Unicode-3.0")).is_empty());
    for license in ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "mine", "LicenseRef-Ours"] {
        assert_eq!(policy.wrong(&licensed(license)).len(), 1, "{license:?}");
    }
    let excepted = Crate { name: "webdriver".into(), ..licensed("MPL-2.0") };
    assert_eq!((policy.wrong(&excepted).len(), policy.wrong(&licensed("MPL-2.0")).len()), (0, 1));
    let banned = Crate { name: "openssl-sys".into(), ..good.clone() };
    assert_eq!(policy.wrong(&banned), ["openssl-sys: it is banned"]);
    for source in ["git+https://example.com/x", "registry+https://example.com/index"] {
        let foreign = Crate { source: Some(source.into()), ..good.clone() };
        assert_eq!(policy.wrong(&foreign).len(), 1, "{source}");
    }
}
