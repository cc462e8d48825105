//! The files that lead Caddy. It looks at them for each request, so that whatever changes here takes
//! effect with the next one and no configuration is loaded.
//!
//! `hosts/` has a link for each domain, to its app's folder below `apps/`; that folder has one empty
//! file, and its name is where the app's requests go: `10.90.0.62:8000`. Both are names in folders, so
//! each change is one rename: nothing is ever half written, and it needs no room on a full disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Route, Upstream};
use crate::domain::{AppName, DomainName};

/// The folder with a link for each domain.
pub const HOSTS: &str = "hosts";
/// The folder with a folder for each app.
const APPS: &str = "apps";
/// What an earlier version led Caddy by: a file an app with its address, and one with its port.
const BEFORE: [&str; 2] = ["addresses", "ports"];

/// The files in one folder, which Caddy's container sees as well.
#[derive(Debug, Clone)]
pub struct Files {
    dir: PathBuf,
    /// Held while they are changed: an app's worker leads its app, and any worker brings the links.
    alone: Arc<Mutex<()>>,
}

impl Files {
    /// The files in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            alone: Arc::default(),
        }
    }

    /// Leads an app's requests to this host, an address or an alias, and port.
    pub fn lead(&self, app: &AppName, host: &str, port: u16) -> io::Result<()> {
        let _alone = self.alone();
        self.point(app, host, port)
    }

    fn point(&self, app: &AppName, host: &str, port: u16) -> io::Result<()> {
        self.lead_as_before(app, host, port)?;
        let (folder, name) = (self.app(app), format!("{host}:{port}"));
        let there = entries(&folder)?;
        if !there.contains(&name) {
            fs::create_dir_all(&folder)?;
            match there.first() {
                Some(other) => fs::rename(folder.join(other), folder.join(&name))?,
                None => drop(fs::File::create(folder.join(&name))?),
            }
        }
        for other in entries(&folder)?.iter().filter(|other| **other != name) {
            clear(&folder.join(other))?;
        }
        Ok(())
    }

    /// Where an app's requests are led to, host and port.
    pub fn led_to(&self, app: &AppName) -> Option<(String, u16)> {
        parse(&entries(&self.app(app)).ok()?)
    }

    /// Leads an app's requests nowhere: it is no more.
    pub fn forget(&self, app: &AppName) -> io::Result<()> {
        let _alone = self.alone();
        for folder in BEFORE {
            clear(&self.dir.join(folder).join(app.as_str()))?;
        }
        clear(&self.app(app))
    }

    /// Brings the links to these routes: what is missing or leads elsewhere first, strays last. Gives the
    /// domains that were not led to their app.
    pub fn bring(&self, routes: &[Route]) -> io::Result<Vec<DomainName>> {
        let _alone = self.alone();
        let hosts = self.dir.join(HOSTS);
        fs::create_dir_all(&hosts)?;
        let (mut new, mut wanted) = (Vec::new(), BTreeSet::new());
        for route in routes.iter().filter(|route| !route.domains.is_empty()) {
            self.lead_somewhere(route)?;
            for domain in &route.domains {
                wanted.insert(domain.as_str());
                if self.link(domain, &route.app)? {
                    new.push(domain.clone());
                }
            }
        }
        for there in entries(&hosts)? {
            if !wanted.contains(there.as_str()) {
                clear(&hosts.join(there))?;
            }
        }
        Ok(new)
    }

    /// Before anybody is led to an app there is a place to be led to: where an earlier version led
    /// Caddy, and where nobody knows that, whatever bears the alias.
    fn lead_somewhere(&self, route: &Route) -> io::Result<()> {
        let Upstream::Live { fallback, port, .. } = &route.upstream else {
            return Ok(());
        };
        let before = BEFORE.map(|folder| {
            let file = self.dir.join(folder).join(route.app.as_str());
            fs::read_to_string(file).ok()
        });
        match (before, self.led_to(&route.app)) {
            ([Some(address), Some(port)], _) if port.parse::<u16>().is_ok() => {
                self.point(&route.app, &address, port.parse().unwrap_or_default())
            }
            (_, Some(_)) => Ok(()),
            (_, None) => self.point(&route.app, fallback, *port),
        }
    }

    /// Leads a domain to an app. False when it was.
    fn link(&self, domain: &DomainName, app: &AppName) -> io::Result<bool> {
        let link = self.dir.join(HOSTS).join(domain.as_str());
        let to = Path::new("..").join(APPS).join(app.as_str());
        if fs::read_link(&link).is_ok_and(|there| there == to) {
            return Ok(false);
        }
        if fs::symlink_metadata(&link).is_ok_and(|there| there.is_dir()) {
            fs::remove_dir_all(&link)?;
        }
        // Beside the folder: no request's host may be led by it.
        let beside = self.dir.join("host.new");
        clear(&beside)?;
        symlink(&to, &beside)?;
        fs::rename(beside, link)?;
        Ok(true)
    }

    /// A Caddy that still has the configuration of an earlier version follows these, until it has ours.
    fn lead_as_before(&self, app: &AppName, host: &str, port: u16) -> io::Result<()> {
        if !self.has_before() {
            return Ok(());
        }
        let [addresses, ports] = BEFORE.map(|folder| self.dir.join(folder));
        let other_port = fs::read_to_string(ports.join(app.as_str()))
            .is_ok_and(|before| before != port.to_string());
        if other_port {
            // Nobody meets the new port at the old address; meanwhile its fallback is asked.
            clear(&addresses.join(app.as_str()))?;
        }
        let beside = self.dir.join("address.new");
        for (folder, text) in [(ports, port.to_string()), (addresses, host.to_owned())] {
            fs::create_dir_all(&folder)?;
            fs::write(&beside, text)?;
            fs::rename(&beside, folder.join(app.as_str()))?;
        }
        Ok(())
    }

    /// Whether an earlier version led Caddy by files of its own.
    pub fn has_before(&self) -> bool {
        self.dir.join(BEFORE[0]).exists()
    }

    /// No Caddy follows what an earlier version wrote any more.
    pub fn forget_before(&self) -> io::Result<()> {
        let _alone = self.alone();
        BEFORE
            .iter()
            .try_for_each(|folder| clear(&self.dir.join(folder)))
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn app(&self, app: &AppName) -> PathBuf {
        self.dir.join(APPS).join(app.as_str())
    }
}

/// Where a visitor of `domain` is led to, as Caddy reads it.
#[cfg(any(test, feature = "testing"))]
pub fn follow(dir: &Path, domain: &str) -> Option<(String, u16)> {
    parse(&entries(&dir.join(HOSTS).join(domain)).ok()?)
}

/// Every domain that is led anywhere.
#[cfg(any(test, feature = "testing"))]
pub fn domains(dir: &Path) -> Vec<String> {
    entries(&dir.join(HOSTS)).unwrap_or_default()
}

/// The first name that tells a host and a port.
fn parse(names: &[String]) -> Option<(String, u16)> {
    names.iter().find_map(|name| {
        let (host, port) = name.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    })
}

/// The names in a folder, in order; none where there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Removes whatever is there.
fn clear(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    fn route(name: &str, domains: &[&str]) -> Route {
        Route {
            app: app(name),
            domains: domains
                .iter()
                .map(|domain| domain.parse().unwrap())
                .collect(),
            upstream: Upstream::Live {
                name: format!("{name}_live"),
                fallback: format!("{name}_any"),
                port: 80,
            },
        }
    }

    fn world() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().into());
        (dir, files)
    }

    fn to(host: &str, port: u16) -> Option<(String, u16)> {
        Some((host.to_owned(), port))
    }

    #[test]
    fn an_app_is_led_to_one_place() {
        let (dir, files) = world();
        let shop = app("shop");
        assert_eq!(files.led_to(&shop), None);
        for (host, port) in [
            ("10.0.0.62", 8000),
            ("10.0.0.61", 8000),
            ("10.0.0.61", 8000),
            ("10.0.0.61", 9000),
            ("w_shop_any", 9000),
            ("10.0.0.9", 80),
        ] {
            files.lead(&shop, host, port).unwrap();
            assert_eq!(files.led_to(&shop), to(host, port));
            assert_eq!(entries(&files.app(&shop)).unwrap().len(), 1);
        }
        for stray in ["10.0.0.1:80", "a"] {
            fs::write(files.app(&shop).join(stray), "").unwrap();
        }
        files.lead(&shop, "10.0.0.9", 80).unwrap();
        assert_eq!(entries(&files.app(&shop)).unwrap(), ["10.0.0.9:80"]);
        files.forget(&shop).unwrap();
        assert_eq!(entries(&dir.path().join(APPS)).unwrap(), [""; 0]);
    }

    #[test]
    fn domains_lead_to_their_apps_and_no_others_do() {
        let (dir, files) = world();
        let visit = |domain| follow(dir.path(), domain);
        for (name, host) in [("shop", "10.0.0.1"), ("blog", "10.0.0.2")] {
            files.lead(&app(name), host, 80).unwrap();
        }
        let both = [
            route("shop", &["shop.test", "www.test"]),
            route("blog", &[]),
        ];
        let new = files.bring(&both).unwrap();
        assert_eq!(new.len(), 2);
        assert_eq!(visit("www.test"), to("10.0.0.1", 80));
        assert!(files.bring(&both).unwrap().is_empty(), "all are there");

        // A hand made a stray, took one away and put a folder in the place of another.
        let hosts = dir.path().join(HOSTS);
        symlink("../apps/blog", hosts.join("stray.test")).unwrap();
        fs::remove_file(hosts.join("www.test")).unwrap();
        fs::remove_file(hosts.join("shop.test")).unwrap();
        fs::create_dir(hosts.join("shop.test")).unwrap();
        assert_eq!(files.bring(&both).unwrap().len(), 2);
        assert_eq!(domains(dir.path()), ["shop.test", "www.test"]);
        assert_eq!(visit("shop.test"), to("10.0.0.1", 80));

        // A domain goes to another app.
        let moved = [route("shop", &["shop.test"]), route("blog", &["www.test"])];
        let new = files.bring(&moved).unwrap();
        assert_eq!(new, ["www.test".parse().unwrap()]);
        assert_eq!(visit("www.test"), to("10.0.0.2", 80));
        files.bring(&[]).unwrap();
        assert_eq!(domains(dir.path()), [""; 0]);
    }

    #[test]
    fn a_domain_leads_somewhere_from_the_first_moment() {
        let (dir, files) = world();
        files.bring(&[route("shop", &["shop.test"])]).unwrap();
        assert_eq!(follow(dir.path(), "shop.test"), to("shop_any", 80));
    }

    #[test]
    fn what_an_earlier_version_led_caddy_by_is_followed_until_caddy_has_our_configuration() {
        let (dir, files) = world();
        let before = |folder: &str| fs::read_to_string(dir.path().join(folder).join("shop")).ok();
        for (folder, text) in [("addresses", "10.0.0.62"), ("ports", "8000")] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("shop"), text).unwrap();
        }
        // It was led elsewhere by this version, before the other one was put back for a while.
        fs::create_dir_all(files.app(&app("shop")).join("10.0.0.50:8000")).unwrap();
        files.bring(&[route("shop", &["shop.test"])]).unwrap();
        assert_eq!(follow(dir.path(), "shop.test"), to("10.0.0.62", 8000));
        files.lead(&app("shop"), "10.0.0.61", 9000).unwrap();
        assert_eq!(follow(dir.path(), "shop.test"), to("10.0.0.61", 9000));
        assert_eq!(before("addresses").as_deref(), Some("10.0.0.61"));
        assert_eq!(before("ports").as_deref(), Some("9000"));
        files.forget_before().unwrap();
        files.lead(&app("shop"), "10.0.0.60", 9000).unwrap();
        assert_eq!(before("addresses"), None);
    }
}
