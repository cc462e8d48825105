//! The home folder: owner, modes, key.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::Access;

use super::Finding;
use crate::config::Home;
use crate::machine::user_name;

/// Everything about the home folder's files.
pub fn check(home: &Home) -> Vec<Finding> {
    let path = home.path();
    let shown = path.display();
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let mut findings = vec![folder(path, &metadata)];
            findings.push(key(home, &metadata));
            findings.extend(socket(home));
            findings
        }
        Ok(_) => vec![Finding::fail(
            "home",
            format!("{shown} is no folder"),
            "Give another one: --home DIR",
        )],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mend = "`windlass serve` makes it. If the state lies elsewhere: --home DIR or WINDLASS_HOME";
            vec![Finding::warn(
                "home",
                format!("{shown} does not exist yet"),
                mend,
            )]
        }
        Err(error) => {
            let mend = "Run doctor as the server's user: sudo -u git windlass doctor";
            vec![Finding::fail(
                "home",
                format!("{shown} cannot be looked at: {error}"),
                mend,
            )]
        }
    }
}

fn folder(path: &Path, metadata: &Metadata) -> Finding {
    let (shown, owner) = (path.display(), user_name(metadata.uid()));
    if rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let me = user_name(rustix::process::getuid().as_raw());
        let mend = format!("Run it as its owner: sudo -u {owner} windlass doctor");
        return Finding::fail(
            "home",
            format!("{shown} belongs to {owner}; {me} may not write there"),
            mend,
        );
    }
    if metadata.mode() & 0o002 != 0 {
        let mend = format!("chmod o-w {shown}");
        return Finding::fail(
            "home",
            format!("everyone on this machine may write to {shown}"),
            mend,
        );
    }
    Finding::ok(
        "home",
        format!("{shown} belongs to {owner} and can be written"),
    )
}

fn key(home: &Home, folder: &Metadata) -> Finding {
    let path = home.key();
    let shown = path.display();
    let Ok(metadata) = path.metadata() else {
        return if home.database().exists() {
            let mend = "Restore it from a backup: without it no stored secret opens, and no app can be deployed";
            Finding::fail("secret key", format!("{shown} is missing"), mend)
        } else {
            Finding::ok("secret key", "none yet: made at the server's first start")
        };
    };
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let mend = format!("chmod 600 {shown}");
        Finding::fail(
            "secret key",
            format!("{shown} has mode {mode:04o}: others may read it"),
            mend,
        )
    } else if metadata.uid() != folder.uid() {
        let (owner, right) = (user_name(metadata.uid()), user_name(folder.uid()));
        let mend = format!("chown {right} {shown}");
        Finding::fail(
            "secret key",
            format!("{shown} belongs to {owner}, the home folder to {right}"),
            mend,
        )
    } else if metadata.len() != 32 {
        let found = format!(
            "{shown} has {} bytes instead of 32: it is damaged",
            metadata.len()
        );
        Finding::fail("secret key", found, "Restore it from a backup")
    } else {
        Finding::ok(
            "secret key",
            format!("mode {mode:04o}, read by its owner only"),
        )
    }
}

/// Nothing where there is no socket: the server's own check tells of that.
fn socket(home: &Home) -> Option<Finding> {
    let path = home.control_socket();
    let metadata = path.metadata().ok()?;
    let (shown, mode) = (path.display(), metadata.mode() & 0o777);
    if !metadata.file_type().is_socket() {
        let mend = "Move it away and start the server again";
        return Some(Finding::fail(
            "control socket",
            format!("{shown} is no socket"),
            mend,
        ));
    }
    if mode & 0o077 != 0 {
        let mend = format!("chmod 600 {shown}: whoever may open it rules every app");
        return Some(Finding::fail(
            "control socket",
            format!("{shown} has mode {mode:04o}"),
            mend,
        ));
    }
    Some(Finding::ok(
        "control socket",
        format!("mode {mode:04o}, opened by its owner only"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_others_may_read_or_that_is_gone_fails() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path()).unwrap();
        let status = || key(&home, &home.path().metadata().unwrap()).status;
        assert_eq!(status(), Status::Ok);
        fs::write(home.database(), "").unwrap();
        assert_eq!(status(), Status::Fail);
        fs::write(home.key(), [0; 32]).unwrap();
        fs::set_permissions(home.key(), Permissions::from_mode(0o640)).unwrap();
        assert_eq!(status(), Status::Fail);
        fs::set_permissions(home.key(), Permissions::from_mode(0o600)).unwrap();
        assert_eq!(status(), Status::Ok);
        fs::write(home.key(), [0; 31]).unwrap();
        assert_eq!(status(), Status::Fail);
    }

    #[test]
    fn a_home_folder_that_is_missing_or_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let status = |name: &str| check(&Home::new(&dir.path().join(name)).unwrap())[0].status;
        assert_eq!(status("none"), Status::Warn);
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(status("file"), Status::Fail);
    }
}
