//! What takes the space, and what bounds it.

use std::collections::BTreeMap;
use std::path::Path;

use super::Finding;
use crate::config::{Config, Home};
use crate::domain::size::show;
use crate::runtime::{APP, HOME, Usage};
use crate::space::{room, taken};

/// Less than this, and databases fail next.
const NOTHING: u64 = 200 << 20;

/// Room under the home folder and in the engine's store.
pub fn disks(home: &Home, config: &Config, engine_root: Option<&Path>) -> Vec<Finding> {
    let disk = |check: &str, path: &Path| {
        let room = room(path).ok()?;
        Some(enough(
            check,
            path,
            room.free,
            room.whole,
            config.keep.free.0,
        ))
    };
    // An engine on another machine has its root there.
    let root = engine_root.filter(|root| root.is_dir());
    [
        disk("disk", home.path()),
        root.and_then(|root| disk("docker disk", root)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn enough(check: &str, path: &Path, free: u64, whole: u64, wanted: u64) -> Finding {
    let found = format!(
        "{} of {} free at {}",
        show(free),
        show(whole),
        path.display()
    );
    let mend = "See below what takes the space. Less is kept by [keep] in config.toml; what is not Windlass's:\n\
                docker system df, and with care docker image prune";
    if free < NOTHING {
        return Finding::fail(check, format!("{found}: builds and databases stop"), mend);
    }
    if free < wanted {
        let found = format!(
            "{found}: nothing is built below keep.free = {}",
            show(wanted)
        );
        return Finding::warn(check, found, mend);
    }
    match free < whole / 10 {
        true => Finding::warn(check, found, mend),
        false => Finding::ok(check, found),
    }
}

/// What Windlass keeps on the engine and in the home folder, the largest images first.
pub fn takers(home: &Home, config: &Config, usage: Option<&Usage>) -> Vec<Finding> {
    let keep = &config.keep;
    let mut findings = usage.map_or_else(Vec::new, |usage| on_engine(home, config, usage));
    let deploys = std::fs::read_dir(home.logs()).map_or(0, |entries| entries.count());
    let logs = format!(
        "of {deploys} deploys, each for {} (keep.logs), a phase's at most {} (keep.log_size)",
        keep.logs,
        show(keep.log_size.0)
    );
    let apps = std::fs::read_dir(home.repos()).map_or(0, |entries| entries.count());
    let database = home.database();
    let beside = |suffix: &str| taken(&database.with_extension(suffix));
    findings.extend([
        Finding::taker("logs", taken(&home.logs()), logs),
        Finding::taker(
            "repositories",
            taken(&home.repos()),
            format!("of {apps} apps; git packs them by itself"),
        ),
        Finding::taker(
            "database",
            taken(&database) + beside("db-wal") + beside("db-shm"),
            format!(
                "at most {} deploys an app, and those that a revert needs (keep.deploys)",
                keep.deploys
            ),
        ),
    ]);
    findings
}

fn on_engine(home: &Home, config: &Config, usage: &Usage) -> Vec<Finding> {
    let mut apps: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let home = home.path().display().to_string();
    for image in usage
        .images
        .iter()
        .filter(|image| image.label(HOME) == Some(&home))
    {
        let (count, bytes) = apps.entry(image.label(APP).unwrap_or("?")).or_default();
        (*count, *bytes) = (*count + 1, *bytes + image.own);
    }
    let mut apps: Vec<_> = apps.into_iter().collect();
    apps.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    let releases = config.keep.releases;
    let images = |(app, (count, bytes)): (&str, (u64, u64))| {
        let found = format!(
            "in {count} images without what they share; {releases} are kept (keep.releases)"
        );
        Finding::taker(&format!("images of {app}"), bytes, found)
    };
    let bound = match config.keep.build_cache.0 {
        Some(bound) => format!("at most {}", show(bound.0)),
        None => "not bounded".into(),
    };
    let cache = format!("of all that this engine builds; {bound} (keep.build_cache)");
    let cache = Finding::taker("build cache", usage.build_cache, cache);
    apps.into_iter().map(images).chain([cache]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Status;
    use super::*;
    use crate::runtime::ImageUsage;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_disk_is_judged_by_what_a_build_needs() {
        let at = |free, whole| enough("disk", Path::new("/"), free, whole, GIB).status;
        assert_eq!(
            [
                at(3 * GIB, 20 * GIB),
                at(GIB, 5 * GIB),
                at(GIB - 1, 5 * GIB),
                at(3 * GIB, 40 * GIB),
                at(0, GIB)
            ],
            [
                Status::Ok,
                Status::Ok,
                Status::Warn,
                Status::Warn,
                Status::Fail
            ]
        );
    }

    #[test]
    fn images_are_told_by_app_and_only_this_homes() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path()).unwrap();
        let image = |home: &Path, app: &str, own| ImageUsage {
            labels: HashMap::from([
                (HOME.to_owned(), home.display().to_string()),
                (APP.to_owned(), app.to_owned()),
            ]),
            size: 10 * own,
            own,
        };
        let other = Path::new("/somewhere/else");
        let images = vec![
            image(dir.path(), "blog", 1),
            image(dir.path(), "shop", 4),
            image(other, "shop", 9),
            image(dir.path(), "blog", 2),
        ];
        std::fs::create_dir_all(home.logs().join("1")).unwrap();
        let found = takers(
            &home,
            &Config::default(),
            Some(&Usage {
                images,
                build_cache: 7,
            }),
        );
        let told: Vec<_> = found
            .iter()
            .map(|f| (f.check.as_str(), f.bytes.unwrap()))
            .collect();
        assert_eq!(
            told[..3],
            [
                ("images of shop", 4),
                ("images of blog", 3),
                ("build cache", 7)
            ]
        );
        assert!(
            found[1].found.contains("2 images") && found[3].found.contains("of 1 deploys"),
            "{found:#?}"
        );
        assert_eq!(
            told.iter()
                .map(|(check, _)| *check)
                .skip(3)
                .collect::<Vec<_>>(),
            ["logs", "repositories", "database"]
        );
    }
}
