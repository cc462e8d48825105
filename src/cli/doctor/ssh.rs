//! The way in by ssh: the server's user, its list of keys, and sshd.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::Finding;
use crate::cli::setup::runs_commands;
use crate::config::Home;
use crate::machine::Account;

/// Where sshd looks for keys, below the user's home folder.
const LIST: &str = ".ssh/authorized_keys";
const SETUP: &str = "sudo windlass setup";

/// Whether pushers come in by ssh; one finding where nobody is meant to.
pub fn check(home: &Home) -> Vec<Finding> {
    let Ok(folder) = home.path().metadata() else {
        return Vec::new();
    };
    let Some(account) = Account::of(folder.uid()) else {
        let found = format!(
            "{} belongs to number {}, which is no user",
            home.path().display(),
            folder.uid()
        );
        return vec![Finding::fail("ssh user", found, SETUP)];
    };
    let user = user(home, &account);
    if account.home != home.path() {
        return vec![user];
    }
    vec![user, modes(home, &account), sshd(&account.name)]
}

fn user(home: &Home, account: &Account) -> Finding {
    let (name, at_home) = (&account.name, account.home.display());
    if account.home != home.path() {
        let found = format!(
            "{name}'s home folder is {at_home}: sshd does not find the list of keys, nobody pushes by ssh"
        );
        let mend = format!(
            "{SETUP} makes a user for that. Pushes over HTTPS and on this machine work without"
        );
        return Finding::warn("ssh user", found, mend);
    }
    if !runs_commands(&account.shell) {
        let found = format!(
            "{name}'s shell is {}, which does not run the forced command",
            account.shell
        );
        return Finding::fail(
            "ssh user",
            found,
            format!("{SETUP}, or: usermod --shell /bin/sh {name}"),
        );
    }
    Finding::ok(
        "ssh user",
        format!(
            "{name}, at home in {at_home}, with the shell {}",
            account.shell
        ),
    )
}

/// sshd takes no list that others may write to, be it by way of a folder above it.
fn modes(home: &Home, account: &Account) -> Finding {
    let list = home.authorized_keys();
    let folder = list.parent().unwrap_or(&list);
    for path in [home.path(), folder, &list] {
        let Ok(metadata) = path.metadata() else {
            continue;
        };
        let shown = path.display();
        if metadata.mode() & 0o022 != 0 {
            let found = format!("others may write to {shown}, so sshd takes no key from it");
            return Finding::fail("ssh keys", found, format!("chmod go-w {shown}"));
        }
        if metadata.uid() != account.uid && metadata.uid() != 0 {
            let found = format!(
                "{shown} is not {}'s, so sshd takes no key from it",
                account.name
            );
            return Finding::fail("ssh keys", found, format!("chown {} {shown}", account.name));
        }
    }
    match std::fs::read_to_string(&list) {
        Ok(text) => {
            let keys = text
                .lines()
                .filter(|line| line.starts_with(crate::access::LINE_PREFIX))
                .count();
            Finding::ok("ssh keys", format!("{keys} in {}", list.display()))
        }
        Err(_) => Finding::ok("ssh keys", "none yet: windlass key add FILE --user NAME"),
    }
}

fn sshd(user: &str) -> Finding {
    let Some(program) = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return Finding::warn(
            "sshd",
            "there is none: nobody comes in by ssh",
            "apt-get install openssh-server",
        );
    };
    if !rustix::process::geteuid().is_root() {
        return Finding::ok(
            "sshd",
            format!("{program}; run as root, doctor looks at its configuration as well"),
        );
    }
    let of = format!("user={user},host=localhost,addr=127.0.0.1");
    match Command::new(program).args(["-T", "-C", &of]).output() {
        Ok(said) if said.status.success() => judge(&String::from_utf8_lossy(&said.stdout), user),
        Ok(said) => {
            let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
            Finding::warn(
                "sshd",
                format!("its configuration cannot be told: {why}"),
                "sshd -t says what is wrong",
            )
        }
        Err(error) => Finding::warn(
            "sshd",
            format!("{program}: {error}"),
            "apt-get install openssh-server",
        ),
    }
}

/// What `sshd -T` prints: a key in lower case and its values, a line each.
fn judge(settings: &str, user: &str) -> Finding {
    let values = |key: &str| -> Vec<&str> {
        let of_key = settings
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        of_key.flat_map(str::split_whitespace).collect()
    };
    // With patterns it is sshd's to match; a name is all that is looked for here.
    let names = |key: &str| {
        let listed = values(key);
        let pattern = listed
            .iter()
            .any(|name| name.contains(['*', '?', '@', '!']));
        (listed.contains(&user), listed.is_empty() || pattern)
    };
    let restart = "in /etc/ssh/sshd_config, then: systemctl reload ssh";
    let wrong = if values("pubkeyauthentication") != ["yes"] {
        Some((
            "it takes no keys".to_owned(),
            "PubkeyAuthentication yes".to_owned(),
        ))
    } else if !values("authorizedkeysfile")
        .iter()
        .any(|file| file.trim_start_matches("%h/") == LIST)
    {
        Some((
            format!("it does not look for keys in {LIST}"),
            format!("AuthorizedKeysFile {LIST}"),
        ))
    } else if names("denyusers").0 {
        Some((
            format!("DenyUsers keeps {user} out"),
            format!("take {user} out of DenyUsers"),
        ))
    } else if names("allowusers") == (false, false) {
        Some((
            format!("AllowUsers leaves {user} out"),
            format!("add {user} to AllowUsers"),
        ))
    } else {
        None
    };
    match wrong {
        Some((found, mend)) => Finding::fail("sshd", found, format!("{mend}, {restart}")),
        None => Finding::ok("sshd", format!("takes {user}'s keys from {LIST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const GOOD: &str = "port 22\npubkeyauthentication yes\nauthorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\n";

    #[test]
    fn what_keeps_the_user_out_is_named_with_how_to_mend_it() {
        assert_eq!(judge(GOOD, "git").status, Status::Ok);
        for (more, status, says) in [
            ("allowusers git\nallowusers ann\n", Status::Ok, "takes"),
            ("allowusers ann\nallowusers g*\n", Status::Ok, "takes"),
            (
                "allowusers ann\n",
                Status::Fail,
                "AllowUsers leaves git out",
            ),
            ("denyusers git\n", Status::Fail, "DenyUsers keeps git out"),
        ] {
            let finding = judge(&format!("{GOOD}{more}"), "git");
            assert!(
                finding.status == status && finding.found.contains(says),
                "{more}: {finding:?}"
            );
        }
        let none = judge(&GOOD.replace("yes", "no"), "git");
        assert!(
            none.found.contains("no keys")
                && none.mend.unwrap().contains("PubkeyAuthentication yes")
        );
        let elsewhere = judge(&GOOD.replace(".ssh/", "/etc/ssh/keys/"), "git");
        assert!(elsewhere.found.contains("does not look"), "{elsewhere:?}");
    }

    #[test]
    fn a_list_that_others_may_write_to_is_none_for_sshd() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path()).unwrap();
        let account = Account::own().unwrap();
        let list = home.authorized_keys();
        assert_eq!(modes(&home, &account).status, Status::Ok, "none yet");
        std::fs::create_dir(list.parent().unwrap()).unwrap();
        std::fs::write(&list, "restrict,command=\"w ssh 1\" ssh-ed25519 AAAA\n").unwrap();
        assert!(modes(&home, &account).found.starts_with("1 in "));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o775)).unwrap();
        let finding = modes(&home, &account);
        assert!(finding.status == Status::Fail && finding.mend.unwrap().starts_with("chmod go-w "));
        let elsewhere = user(&home, &account);
        assert_eq!(elsewhere.status, Status::Warn, "{elsewhere:?}");
    }
}
