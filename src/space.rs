//! How much room there is on a disk, and what takes it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file system that a path lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes that it holds.
    pub whole: u64,
    /// Tells file systems apart.
    pub device: u64,
}

/// The room at `path`, or at what is there of it.
///
/// # Errors
/// When it cannot be looked at: a path of another machine, or one this user may not see.
pub fn room(path: &Path) -> io::Result<Room> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let stat = rustix::fs::statvfs(there)?;
    let (free, whole) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    Ok(Room {
        free,
        whole,
        device: there.metadata()?.dev(),
    })
}

/// Bytes that a file or folder takes on its disk, without what it links to. What goes while it is
/// looked at, or may not be seen, counts as nothing.
pub fn taken(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| taken(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_what_its_files_take_and_not_what_they_link_to() {
        let dir = tempfile::tempdir().unwrap();
        let empty = taken(dir.path());
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/file"), vec![1; 300_000]).unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("large"), vec![1; 900_000]).unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join("link")).unwrap();
        let bytes = taken(dir.path()) - empty;
        assert!((300_000..400_000).contains(&bytes), "{bytes}");
        assert_eq!(taken(&dir.path().join("none")), 0);
    }

    #[test]
    fn the_room_of_what_is_not_there_yet_is_that_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let here = room(dir.path()).unwrap();
        let there = room(&dir.path().join("a/b")).unwrap();
        assert_eq!((here.device, here.whole), (there.device, there.whole));
        assert!(here.free <= here.whole && here.whole > 0);
    }
}
