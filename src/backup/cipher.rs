//! The encryption: age, to a passphrase or to recipients.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::iter;
use std::str::FromStr;

use age::secrecy::SecretString;
use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor, scrypt, x25519};

use super::BackupError;

/// What a passphrase costs to try, as a power of two: 128 MiB and about half a second. age's own
/// choice by time would take 256 MiB and more, on a server that may have 1 GB.
const WORK: u8 = 17;
/// The most that is spent on a file that others encrypted: 1 GiB.
const MOST_WORK: u8 = 20;

/// Whom a backup is encrypted to.
pub enum To {
    /// Whoever knows this passphrase.
    Passphrase(SecretString),
    /// Whoever has the secret key of one of these.
    Recipients(Vec<Recipient>),
}

/// A public key of age, `age1…`.
#[derive(Debug, Clone)]
pub struct Recipient(x25519::Recipient);

/// What opens a backup.
pub enum Key {
    /// The passphrase.
    Passphrase(SecretString),
    /// Secret keys, of which one has to fit.
    Identities(Vec<x25519::Identity>),
}

/// An age file of which only the beginning was read.
pub struct Sealed<R>(Decryptor<R>);

/// What a backup holds, decrypted as it is read. Only the end proves that it is whole.
pub type Opened<R> = StreamReader<R>;

impl FromStr for Recipient {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            "a recipient is what `age-keygen` prints as public key, age1 and 58 more characters; ssh keys, plugins and post-quantum keys are not taken".into()
        })
    }
}

impl To {
    /// A passphrase's; an empty one is refused.
    pub fn passphrase(text: String) -> Result<Self, String> {
        passphrase(text).map(Self::Passphrase)
    }

    /// The recipients in a file, one a line; empty lines and those that begin with `#` do not count.
    pub fn recipients(text: &str) -> Result<Vec<Recipient>, String> {
        lines(text).map(str::parse).collect()
    }

    /// A writer that encrypts. Without [`StreamWriter::finish`] the file counts as cut short.
    pub(super) fn encrypt<W: Write>(&self, out: W) -> io::Result<StreamWriter<W>> {
        let encryptor = match self {
            Self::Passphrase(passphrase) => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK);
                Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
            }
            Self::Recipients(all) => {
                Encryptor::with_recipients(all.iter().map(|one| &one.0 as &dyn age::Recipient))
            }
        };
        encryptor
            .map_err(|error| io::Error::other(error.to_string()))?
            .wrap_output(out)
    }
}

impl Key {
    /// A passphrase's; an empty one is refused.
    pub fn passphrase(text: String) -> Result<Self, String> {
        passphrase(text).map(Self::Passphrase)
    }

    /// The secret keys in a file of `age-keygen`'s.
    pub fn identities(text: &str) -> Result<Self, String> {
        let keys: Result<Vec<x25519::Identity>, _> = lines(text).map(str::parse).collect();
        match keys {
            Ok(keys) if !keys.is_empty() => Ok(Self::Identities(keys)),
            _ => Err("it has to hold the secret key that `age-keygen` made, AGE-SECRET-KEY-1…; one that is encrypted itself, of ssh or of a plugin is not taken".into()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl<R: BufRead> Sealed<R> {
    /// Reads the beginning of a backup.
    pub fn read(input: R) -> Result<Self, BackupError> {
        Decryptor::new_buffered(input)
            .map(Self)
            .map_err(|_| BackupError::NotABackup)
    }

    /// Whether a passphrase opens it; else a recipient's identity does.
    pub fn wants_passphrase(&self) -> bool {
        self.0.is_scrypt()
    }

    /// Opens it. What comes out is not proved to be whole before it was read to its end.
    pub fn open(self, key: &Key) -> Result<Opened<R>, BackupError> {
        let (opened, what) = match key {
            Key::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MOST_WORK);
                (
                    self.0.decrypt(iter::once(&identity as &dyn age::Identity)),
                    "the passphrase does not open",
                )
            }
            Key::Identities(all) => {
                let all = all.iter().map(|one| one as &dyn age::Identity);
                (self.0.decrypt(all), "no key in the identity file opens")
            }
        };
        opened.map_err(|error| match error {
            DecryptError::InvalidMac | DecryptError::InvalidHeader => {
                BackupError::Damaged("its beginning was changed".into())
            }
            DecryptError::ExcessiveWork { required, .. } => {
                BackupError::Damaged(format!("it asks for 2^{required} steps of scrypt"))
            }
            _ => BackupError::WrongKey(what),
        })
    }
}

fn passphrase(text: String) -> Result<SecretString, String> {
    if text.is_empty() {
        Err("the passphrase is empty".into())
    } else {
        Ok(SecretString::from(text))
    }
}

/// The lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Reads to the end, which proves that nothing is missing.
pub(super) fn drain(opened: &mut impl Read) -> io::Result<()> {
    io::copy(opened, &mut io::sink()).map(drop)
}
