//! The tar in a backup: only known names go in and come out, and a list of checksums ends it.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{BackupError, Manifest};
use crate::domain::{AppName, Timestamp};

/// What may be in a backup. Its name there is also where it lies below the folder it is unpacked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    Manifest,
    Database,
    Key,
    Config,
    Bundle(AppName),
    /// A file below `caddy/data`, by its path there.
    Certificate(String),
    Sums,
}

const BUNDLES: &str = "repos/";
const CERTIFICATES: &str = "caddy/data/";

impl Member {
    /// The member of that name, if it is one that a backup may have.
    fn parse(name: &str) -> Option<Self> {
        if let Some(bundle) = name.strip_prefix(BUNDLES) {
            return Some(Self::Bundle(bundle.strip_suffix(".bundle")?.parse().ok()?));
        }
        if let Some(path) = name.strip_prefix(CERTIFICATES) {
            let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            return (plain && !path.contains('\0')).then(|| Self::Certificate(path.to_owned()));
        }
        let fixed = [
            Self::Manifest,
            Self::Database,
            Self::Key,
            Self::Config,
            Self::Sums,
        ];
        fixed.into_iter().find(|member| member.to_string() == name)
    }

    /// Where it lies below `folder`.
    pub fn below(&self, folder: &Path) -> PathBuf {
        folder.join(self.to_string())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest.json"),
            Self::Database => f.write_str("windlass.db"),
            Self::Key => f.write_str("secret.key"),
            Self::Config => f.write_str("config.toml"),
            Self::Bundle(app) => write!(f, "{BUNDLES}{app}.bundle"),
            Self::Certificate(path) => write!(f, "{CERTIFICATES}{path}"),
            Self::Sums => f.write_str("SHA256SUMS"),
        }
    }
}

/// Writes a backup's tar.
pub struct Writer<W: Write> {
    tar: tar::Builder<W>,
    sums: String,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self {
            tar: tar::Builder::new(out),
            sums: String::new(),
        }
    }

    /// Adds a file as it is now; what grows behind it meanwhile is not taken.
    pub fn file(&mut self, member: &Member, mut file: File) -> io::Result<()> {
        let size = file.metadata()?.len();
        self.add(member, size, &mut file)
    }

    /// Adds what is in memory.
    pub fn bytes(&mut self, member: &Member, bytes: &[u8]) -> io::Result<()> {
        self.add(member, bytes.len() as u64, &mut &*bytes)
    }

    fn add(&mut self, member: &Member, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime((Timestamp::now().millis() / 1000) as u64);
        let mut content = Summing::new(content.take(size));
        let name = member.to_string();
        self.tar.append_data(&mut header, &name, &mut content)?;
        if content.read != size {
            return Err(io::Error::other(format!("{name} shrank while it was read")));
        }
        self.sums.push_str(&sum_line(&name, content.sum));
        Ok(())
    }

    /// Ends the tar with its checksums.
    pub fn finish(mut self) -> io::Result<W> {
        let sums = std::mem::take(&mut self.sums);
        self.bytes(&Member::Sums, sums.as_bytes())?;
        self.tar.into_inner()
    }
}

/// Unpacks a backup's tar into `folder`, and gives what stands first in it. The tar is read to its
/// end, and every file is what its checksum says.
pub fn unpack(input: &mut impl Read, folder: &Path) -> Result<Manifest, BackupError> {
    let mut archive = tar::Archive::new(input);
    let (mut manifest, mut sums, mut complete) = (None, String::new(), false);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let member =
            Member::parse(&name).filter(|_| entry.header().entry_type().is_file() && !complete);
        match (member, &manifest) {
            (Some(Member::Manifest), None) => {
                manifest = Some(read_manifest(&mut entry, &mut sums)?)
            }
            (Some(Member::Sums), Some(_)) => {
                let mut told = String::new();
                entry.read_to_string(&mut told).map_err(damaged)?;
                if told != sums {
                    return Err(BackupError::Damaged("its checksums do not fit".into()));
                }
                complete = true;
            }
            (Some(member), Some(_)) if member != Member::Manifest => {
                sums.push_str(&sum_line(
                    &name,
                    unpack_file(&mut entry, &member.below(folder))?,
                ));
            }
            _ => {
                return Err(BackupError::Damaged(format!(
                    "it holds {name:?}, where that has no place"
                )));
            }
        }
    }
    super::cipher::drain(archive.into_inner()).map_err(damaged)?;
    match manifest {
        Some(manifest) if complete => Ok(manifest),
        _ => Err(BackupError::Damaged("its end is missing".into())),
    }
}

/// Reads what says which version may restore the rest, before any of that.
fn read_manifest(entry: &mut impl Read, sums: &mut String) -> Result<Manifest, BackupError> {
    let mut entry = Summing::new(entry.take(16 << 20));
    let mut text = String::new();
    entry.read_to_string(&mut text).map_err(damaged)?;
    sums.push_str(&sum_line(&Member::Manifest.to_string(), entry.sum));
    // A later layout may lack what this one has to have.
    let told: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| damaged(error.into()))?;
    let ours = [
        told["format"] == Manifest::FORMAT,
        told["schema"].as_i64() <= Some(newest_schema()),
    ];
    if ours.contains(&false) {
        let version = told["windlass"]
            .as_str()
            .unwrap_or("of a version that is not told");
        return Err(BackupError::Newer(crate::domain::printable(version, 40)));
    }
    serde_json::from_value(told).map_err(|error| damaged(error.into()))
}

fn newest_schema() -> i64 {
    crate::store::Store::newest_schema()
}

fn unpack_file(entry: &mut impl Read, path: &Path) -> Result<Sum, BackupError> {
    let failed = |error| BackupError::Work(path.to_owned(), error);
    let parent = path.parent().unwrap_or(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(failed)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mut entry = Summing::new(entry);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match entry.read(&mut buffer).map_err(damaged)? {
            0 => return Ok(entry.sum),
            read => file.write_all(&buffer[..read]).map_err(failed)?,
        }
    }
}

/// For `map_err` where a backup is read: what cannot be read is damaged.
fn damaged(error: io::Error) -> BackupError {
    BackupError::Damaged(error.to_string())
}

type Sum = Sha256;

/// A reader that sums up what passes through it.
struct Summing<R> {
    inner: R,
    sum: Sum,
    read: u64,
}

impl<R: Read> Summing<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            sum: Sum::new(),
            read: 0,
        }
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

/// As `sha256sum` writes it.
fn sum_line(name: &str, sum: Sum) -> String {
    let hex: String = sum
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{hex}  {name}\n")
}
