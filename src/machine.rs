//! The accounts of this machine, as `/etc/passwd` has them.

use std::path::PathBuf;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What it logs in as.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Its home folder, where sshd looks for its keys.
    pub home: PathBuf,
    /// By which sshd runs every command, the forced one too.
    pub shell: String,
}

impl Account {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        accounts().find(|account| account.name == name)
    }

    /// The one of this number.
    pub fn of(uid: u32) -> Option<Self> {
        accounts().find(|account| account.uid == uid)
    }

    /// The one that this process runs as.
    pub fn own() -> Option<Self> {
        Self::of(rustix::process::geteuid().as_raw())
    }
}

/// The name of the user `uid`, or its number.
pub fn user_name(uid: u32) -> String {
    Account::of(uid).map_or_else(|| uid.to_string(), |account| account.name)
}

fn accounts() -> impl Iterator<Item = Account> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines()
        .filter_map(parse)
        .collect::<Vec<_>>()
        .into_iter()
}

fn parse(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else {
        return None;
    };
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    // Nothing written there is this shell: passwd(5).
    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
    Some(Account {
        name: name.into(),
        uid,
        gid,
        home: home.into(),
        shell: shell.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_account() {
        let git = parse("git:x:990:989:Windlass:/var/lib/windlass:/bin/sh").unwrap();
        assert_eq!(
            (git.uid, git.gid, git.home),
            (990, 989, PathBuf::from("/var/lib/windlass"))
        );
        assert_eq!(parse("a:x:1:1::/:").unwrap().shell, "/bin/sh");
        assert_eq!(
            (parse(""), parse("a:x:one:1::/:/bin/sh"), parse("+::::::")),
            (None, None, None)
        );
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_000), "4000000000");
    }
}
