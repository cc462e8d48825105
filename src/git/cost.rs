//! How much memory an object takes to read, known before it is read. The size in an object's header
//! is not enough: a small object can be stored as a difference to one of gigabytes, and reading it
//! unpacks that one too. This walks the chain of differences by its headers alone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use git2::Oid;

/// The largest object that the server unpacks in its own process, or stands on in a chain of
/// differences.
pub const MOST_SIZE: u64 = 32 << 20;
/// The most that is unpacked on the way to one object.
const MOST_UNPACKED: u64 = 1 << 30;
/// The longest chain of differences that git itself makes is 4,095 objects.
const LONGEST_CHAIN: usize = 4096;

/// Length of an object's id.
const ID: usize = 20;
/// Where an index's table of contents and its ids begin.
const FANOUT: u64 = 8;
const IDS: u64 = FANOUT + 256 * 4;

/// The packs of one repository, opened when the first object is asked for.
#[derive(Debug)]
pub struct Cost {
    objects: PathBuf,
    packs: Option<Vec<Pack>>,
}

#[derive(Debug)]
struct Pack {
    index: File,
    data: File,
    objects: u64,
}

impl Cost {
    /// Of objects of the repository in this folder.
    pub fn new(repository: &Path) -> Self {
        Self {
            objects: repository.join("objects"),
            packs: None,
        }
    }

    /// The size of the largest object that must be unpacked to read this one, or `None` where the
    /// repository does not have it. An object may be stored more than once: the dearest counts.
    ///
    /// # Errors
    /// It costs more than the server spends, or its storage cannot be read.
    pub fn of(&mut self, id: Oid) -> io::Result<Option<u64>> {
        let found = self.find(id)?;
        if found.is_some() {
            return Ok(found);
        }
        // A pack may have come since.
        self.packs = None;
        self.find(id)
    }

    fn find(&mut self, id: Oid) -> io::Result<Option<u64>> {
        let mut dearest = self.loose(id)?;
        for pack in self.packs()? {
            if let Some(offset) = pack.find(id.as_bytes())? {
                dearest = dearest.max(Some(pack.cost(offset)?));
            }
        }
        match dearest {
            Some(size) if size > MOST_SIZE => Err(too_large(size)),
            dearest => Ok(dearest),
        }
    }

    /// From the header of a loose object: `<kind> <size>\0`.
    fn loose(&self, id: Oid) -> io::Result<Option<u64>> {
        let id = id.to_string();
        let file = match File::open(self.objects.join(&id[..2]).join(&id[2..])) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut header = Vec::new();
        ZlibDecoder::new(file).take(32).read_to_end(&mut header)?;
        let header = header.split(|b| *b == 0).next().unwrap_or_default();
        let size = std::str::from_utf8(header)
            .ok()
            .and_then(|header| header.split(' ').nth(1)?.parse().ok());
        size.map(Some).ok_or_else(|| damaged("a loose object"))
    }

    fn packs(&mut self) -> io::Result<&[Pack]> {
        let packs = match self.packs.take() {
            Some(packs) => packs,
            None => Pack::all(&self.objects.join("pack"))?,
        };
        Ok(self.packs.insert(packs))
    }
}

impl Pack {
    fn all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut packs = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(packs),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "idx") {
                match Self::open(&path) {
                    // Git has just replaced it by another.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    pack => packs.push(pack?),
                }
            }
        }
        Ok(packs)
    }

    fn open(path: &Path) -> io::Result<Self> {
        let index = File::open(path)?;
        let data = File::open(path.with_extension("pack"))?;
        // Version 2, the only one that git has written since 2008.
        if bytes::<8>(&index, 0)? != [0xff, b't', b'O', b'c', 0, 0, 0, 2] {
            return Err(damaged("a pack's index"));
        }
        let objects = number(&index, FANOUT + 255 * 4)?;
        Ok(Self {
            index,
            data,
            objects,
        })
    }

    /// Where in the pack an object begins.
    fn find(&self, id: &[u8]) -> io::Result<Option<u64>> {
        let first = u64::from(id[0]);
        let mut low = match first {
            0 => 0,
            first => number(&self.index, FANOUT + (first - 1) * 4)?,
        };
        let mut high = number(&self.index, FANOUT + first * 4)?.min(self.objects);
        while low < high {
            let middle = low + (high - low) / 2;
            let there: [u8; ID] = bytes(&self.index, IDS + middle * ID as u64)?;
            match there[..].cmp(id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.offset(middle).map(Some),
            }
        }
        Ok(None)
    }

    /// The ids are followed by a checksum and then an offset for each; one whose highest bit is set
    /// is a place in a table of longer ones.
    fn offset(&self, place: u64) -> io::Result<u64> {
        let offsets = IDS + self.objects * (ID as u64 + 4);
        let offset = number(&self.index, offsets + place * 4)?;
        if offset >> 31 == 0 {
            return Ok(offset);
        }
        let long = offsets + self.objects * 4 + (offset & 0x7fff_ffff) * 8;
        Ok(u64::from_be_bytes(bytes(&self.index, long)?))
    }

    /// The largest object from the one at `offset` down to what its chain of differences stands on.
    fn cost(&self, mut offset: u64) -> io::Result<u64> {
        let (mut largest, mut unpacked) = (0, 0u64);
        for _ in 0..LONGEST_CHAIN {
            let entry = Entry::read(&self.data, offset)?;
            largest = largest.max(entry.largest);
            unpacked = unpacked.saturating_add(entry.largest);
            if largest > MOST_SIZE || unpacked > MOST_UNPACKED {
                return Err(too_large(largest.max(unpacked)));
            }
            offset = match entry.base {
                Base::None => return Ok(largest),
                Base::Before(distance) => offset.checked_sub(distance),
                Base::Named(id) => self.find(&id)?,
            }
            .ok_or_else(|| damaged("a pack"))?;
        }
        Err(io::Error::other(format!(
            "an object in it is stored as a chain of more than {LONGEST_CHAIN} differences"
        )))
    }
}

/// What the beginning of an object in a pack says.
struct Entry {
    /// The largest of: the stored bytes unpacked, and what they make of their base.
    largest: u64,
    base: Base,
}

enum Base {
    None,
    Before(u64),
    Named([u8; ID]),
}

impl Entry {
    fn read(pack: &File, offset: u64) -> io::Result<Self> {
        // Kind, size and base take thirty bytes at most, what zlib says before its first byte 600.
        let mut head = [0; 1024];
        let read = pack.read_at(&mut head, offset)?;
        let mut head = &head[..read];
        let first = byte(&mut head)?;
        let mut size = u64::from(first & 15);
        if first & 128 != 0 {
            size |= varint(&mut head)?
                .checked_mul(16)
                .ok_or_else(|| damaged("a pack"))?;
        }
        let base = match (first >> 4) & 7 {
            6 => Base::Before(distance(&mut head)?),
            7 => {
                let (id, rest) = head
                    .split_first_chunk::<ID>()
                    .ok_or_else(|| damaged("a pack"))?;
                head = rest;
                Base::Named(*id)
            }
            _ => Base::None,
        };
        if matches!(base, Base::None) {
            return Ok(Self {
                largest: size,
                base,
            });
        }
        // A difference begins with the size of its base and that of what it makes.
        let mut sizes = Vec::new();
        ZlibDecoder::new(head).take(20).read_to_end(&mut sizes).ok();
        let mut sizes = &sizes[..];
        let (before, after) = (varint(&mut sizes)?, varint(&mut sizes)?);
        Ok(Self {
            largest: size.max(before).max(after),
            base,
        })
    }
}

/// Seven bits a byte, the lowest first.
fn varint(from: &mut &[u8]) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let next = byte(from)?;
        value |= u64::from(next & 127) << shift;
        if next & 128 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a pack"))
}

/// Seven bits a byte, the highest first, and one more for each byte that follows.
fn distance(from: &mut &[u8]) -> io::Result<u64> {
    let mut next = byte(from)?;
    let mut value = u64::from(next & 127);
    while next & 128 != 0 {
        next = byte(from)?;
        value = (value + 1)
            .checked_mul(128)
            .ok_or_else(|| damaged("a pack"))?
            | u64::from(next & 127);
    }
    Ok(value)
}

fn byte(from: &mut &[u8]) -> io::Result<u8> {
    let (first, rest) = from.split_first().ok_or_else(|| damaged("a pack"))?;
    *from = rest;
    Ok(*first)
}

fn bytes<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn number(file: &File, at: u64) -> io::Result<u64> {
    Ok(u32::from_be_bytes(bytes(file, at)?).into())
}

fn too_large(size: u64) -> io::Error {
    use crate::domain::size::show;
    io::Error::other(format!(
        "an object in it takes {} to read; at most {} are spent",
        show(size),
        show(MOST_SIZE)
    ))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} of this repository is damaged"),
    )
}
