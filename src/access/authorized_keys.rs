//! Ssh keys: read as people paste them, and written down for sshd.
//!
//! The server writes sshd's file whole, from the database, whenever a key changes and when it starts.
//! sshd needs no configuration for that and no program of ours as root.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg};

use super::{Access, AccessError};
use crate::domain::Key;

/// What every line of ours begins with: nothing but the forced command.
pub const LINE_PREFIX: &str = "restrict,command=\"";

/// The fewest bits of an RSA key: OpenSSH refuses less than 1024, and 2048 is what is still advised.
const RSA_BITS: usize = 2048;

/// A public key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Algorithm and base64.
    pub text: String,
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// What stood behind it: who or what machine, usually.
    pub comment: String,
}

impl FromStr for PublicKey {
    type Err = String;

    /// One line as in `id_ed25519.pub`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(
                "that is a private key, which nobody but you should have: give the file that ends in .pub"
                    .into(),
            );
        }
        let unreadable =
            "that is no public ssh key: give the one line of a file such as ~/.ssh/id_ed25519.pub";
        if text.lines().count() != 1 {
            return Err(unreadable.into());
        }
        let mut key = ssh_key::PublicKey::from_openssh(text).map_err(|_| unreadable.to_owned())?;
        match (key.algorithm(), key.key_data()) {
            (Algorithm::Dsa, _) => {
                return Err(
                    "DSA keys are not accepted: ssh-keygen -t ed25519 makes a better one".into(),
                );
            }
            (_, KeyData::Rsa(rsa))
                if rsa
                    .n
                    .as_positive_bytes()
                    .is_none_or(|n| n.len() * 8 < RSA_BITS) =>
            {
                return Err(format!(
                    "an RSA key needs {RSA_BITS} bits at least: ssh-keygen -t ed25519 makes a better one"
                ));
            }
            (Algorithm::Other(_), _) => {
                return Err(
                    "keys of that kind are not known here: use ed25519, ecdsa or rsa".into(),
                );
            }
            _ => {}
        }
        let comment = crate::domain::printable(key.comment().trim(), 80);
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        key.set_comment("");
        let text = key
            .to_openssh()
            .map_err(|_| unreadable.to_owned())?
            .trim()
            .to_owned();
        Ok(Self {
            text,
            fingerprint,
            comment,
        })
    }
}

impl Access {
    /// Writes down for sshd which keys may come in.
    ///
    /// # Errors
    /// [`AccessError::Keys`].
    pub async fn write_authorized_keys(&self) -> Result<(), AccessError> {
        let keys = self.store.keys().await?;
        let path = self.home.authorized_keys();
        let written = match command(&self.home.binary(), self.home.path()) {
            Ok(command) => write(&path, &lines(&keys, &command)),
            Err(error) => Err(error),
        };
        written.map_err(|error| AccessError::Keys(path, error))
    }
}

/// The forced command, without the key's number. sshd gives it to a shell, so only plain paths are
/// written there.
fn command(binary: &Path, home: &Path) -> io::Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    let text = |path: &Path| {
        let text = path.to_str().filter(|text| text.bytes().all(plain));
        let refused = || {
            format!(
                "{} has characters other than a-z, A-Z, 0-9 and /._-",
                path.display()
            )
        };
        text.map(str::to_owned)
            .ok_or_else(|| io::Error::other(refused()))
    };
    Ok(format!("{} --home {} ssh", text(binary)?, text(home)?))
}

/// The first line of a list that is ours.
const HEAD: &str =
    "# Written by windlass from its database; changes here are lost. See: windlass key --help\n";

fn lines(keys: &[Key], command: &str) -> String {
    let line = |key: &Key| format!("{LINE_PREFIX}{command} {}\" {}\n", key.id, key.public_key);
    keys.iter()
        .fold(HEAD.to_owned(), |text, key| text + &line(key))
}

/// Written beside and moved into place: sshd reads the old list or the new one. A list that somebody
/// else wrote is left alone.
fn write(path: &Path, text: &str) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(there) if there == text => return Ok(()),
        Ok(there) if !there.is_empty() && !there.starts_with(HEAD) => {
            return Err(io::Error::other(format!(
                "{} is not windlass's; move it away",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && text == HEAD => return Ok(()),
        _ => {}
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path.parent().unwrap_or(path))?;
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ann@laptop";

    #[test]
    fn a_key_is_read_as_it_is_pasted() {
        let key: PublicKey = format!("  {ED25519}\n").parse().unwrap();
        assert_eq!(key.comment, "ann@laptop");
        assert_eq!(key.text, ED25519.rsplit_once(' ').unwrap().0);
        assert!(key.fingerprint.starts_with("SHA256:"));
        let says = |text: &str| text.parse::<PublicKey>().unwrap_err();
        assert!(says("-----BEGIN OPENSSH PRIVATE KEY-----\nabc").contains("private key"));
        assert!(says("").contains("no public ssh key"));
        assert!(says(&format!("{ED25519}\n{ED25519}")).contains("no public ssh key"));
        assert!(says(&format!("command=\"id\" {ED25519}")).contains("no public ssh key"));
    }

    #[test]
    fn a_line_is_a_forced_command_and_a_key() {
        let key: PublicKey = ED25519.parse().unwrap();
        let command = command(Path::new("/srv/w/run/windlass"), Path::new("/srv/w")).unwrap();
        let stored = Key {
            id: 7,
            user: "ann".parse().unwrap(),
            name: "laptop\"\nssh-rsa AAAA".into(),
            public_key: key.text.clone(),
            fingerprint: key.fingerprint,
            created_at: crate::domain::Timestamp::now(),
            used_at: None,
        };
        let text = lines(&[stored], &command);
        let line = format!(
            "restrict,command=\"/srv/w/run/windlass --home /srv/w ssh 7\" {}",
            key.text
        );
        assert_eq!(text.lines().nth(1), Some(line.as_str()));
        assert_eq!(text.lines().count(), 2);
        for bad in ["/srv/a b", "/srv/\"; id #", "/srv/$HOME", "/srv/ü"] {
            assert!(
                super::command(Path::new("/w"), Path::new(bad)).is_err(),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_two_plain_words(text in "(ssh-ed25519 )?\\PC{0,200}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                let plain = |c: char| c.is_ascii_alphanumeric() || "+/=-@.".contains(c);
                let words: Vec<_> = key.text.split(' ').collect();
                prop_assert!(words.len() == 2 && words.iter().all(|word| word.chars().all(plain)));
            }
        }
    }
}
