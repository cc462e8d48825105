//! A repository by libgit2, in this process. What strangers committed is read here, so nothing is
//! unpacked before [`Cost`] has told what that takes. The machine's git configuration does not count.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use git2::{
    Blob, Commit, Config, ConfigLevel, ErrorCode, ObjectType, Oid, Reference,
    RepositoryInitOptions, Tree,
};

use super::cost::Cost;
use super::{CommitInfo, GitError, LIBRARY_SETTINGS, TreeEntry};
use crate::domain::{CommitId, printable};

/// How long to wait for a ref that another git holds.
const LOCKED: Duration = Duration::from_secs(2);
/// Tags of tags beyond this many lead to no commit.
const MOST_TAGS: usize = 20;
/// The shortest part of an id that stands for a commit.
const SHORTEST_ID: usize = 4;

const LINK: i32 = 0o120_000;

/// One open repository. For a single use: it does not see all that other processes do later.
pub struct Library {
    git: git2::Repository,
    cost: RefCell<Cost>,
}

impl Library {
    /// Opens the bare repository in this folder, whoever owns it.
    pub fn open(path: &Path) -> Result<Self, GitError> {
        // Its cache could grow to 256 MB.
        git2::opts::enable_caching(false);
        let git = git2::Repository::open_bare(path)?;
        let mut config = Config::new()?;
        config.add_file(&path.join(LIBRARY_SETTINGS), ConfigLevel::Local, false)?;
        git.set_config(&config)?;
        let cost = RefCell::new(Cost::new(path));
        Ok(Self { git, cost })
    }

    /// Makes a bare repository with nothing in it, or leaves alone one that is there.
    pub fn create(path: &Path, branch: &str) -> Result<(), GitError> {
        if git2::Repository::open_bare(path).is_ok() {
            return Ok(());
        }
        let mut how = RepositoryInitOptions::new();
        how.bare(true)
            .mkpath(true)
            .external_template(true)
            .template_path(Path::new(""))
            .initial_head(branch);
        git2::Repository::init_opts(path, &how)?;
        Ok(())
    }

    /// Makes the repository's own configuration include this file of its folder.
    pub fn include(&self, file: &str) -> Result<(), GitError> {
        let mut config = Config::open(&self.git.path().join("config"))?;
        match config.get_string("include.path") {
            Ok(included) if included == file => Ok(()),
            _ => Ok(config.set_str("include.path", file)?),
        }
    }

    /// The commit that a branch, a tag, an id or at least four letters of one stand for, or that as
    /// many first parents before it as `~` is followed by say.
    pub fn resolve(&self, name: &str) -> Result<Option<Oid>, GitError> {
        let (name, back) = match name.split_once('~') {
            Some((name, back)) => match back.parse::<usize>() {
                Ok(back) => (name, back),
                Err(_) => return Ok(None),
            },
            None => (name, 0),
        };
        let Some(found) = self.named(name)? else {
            return Ok(None);
        };
        let mut commit = self.peel(found)?;
        for _ in 0..back {
            commit = match commit {
                Some(id) => self.commit(id)?.parent_ids().next(),
                None => return Ok(None),
            };
        }
        Ok(commit)
    }

    fn named(&self, name: &str) -> Result<Option<Oid>, GitError> {
        let hex = name.bytes().all(|b| b.is_ascii_hexdigit());
        if hex && name.len() == 40 {
            return Ok(Some(Oid::from_str(name)?));
        }
        let plain = git2::Reference::is_valid_name(&format!("refs/heads/{name}"));
        if plain && let Ok(found) = self.git.resolve_reference_from_short_name(name) {
            return Ok(found.resolve()?.target());
        }
        if !hex || !(SHORTEST_ID..40).contains(&name.len()) {
            return Ok(None);
        }
        let beginning = Oid::from_str(name)?;
        none_if_absent(self.git.odb()?.exists_prefix(beginning, name.len()))
    }

    /// The commit that an object is, or that a tag leads to.
    fn peel(&self, mut id: Oid) -> Result<Option<Oid>, GitError> {
        let odb = self.git.odb()?;
        for _ in 0..MOST_TAGS {
            match none_if_absent(odb.read_header(id))? {
                Some((_, ObjectType::Commit)) => return Ok(Some(id)),
                Some((_, ObjectType::Tag)) => {
                    self.expect_small(id)?;
                    id = self.git.find_tag(id)?.target_id();
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What people see of a commit.
    pub fn describe(&self, id: Oid) -> Result<CommitInfo, GitError> {
        let commit = self.commit(id)?;
        let [subject, author] = told(&commit).map(|text| printable(&text, 200));
        Ok(CommitInfo { subject, author })
    }

    /// Makes `name` stand for `id` where it stood for `old`, and for nothing where `old` is `None`.
    /// False where it stood for something else.
    pub fn swap_ref(&self, name: &str, old: Option<Oid>, new: Oid) -> Result<bool, GitError> {
        let old = old.unwrap_or(Oid::ZERO_SHA1);
        self.write_ref(|| self.git.reference_matching(name, new, true, old, ""))
    }

    /// Makes `name` stand for `id`, whatever it stood for.
    pub fn set_ref(&self, name: &str, id: Oid) -> Result<(), GitError> {
        self.write_ref(|| self.git.reference(name, id, true, ""))
            .map(drop)
    }

    /// False where the ref has another value than was believed.
    fn write_ref<'a>(
        &self,
        write: impl Fn() -> Result<Reference<'a>, git2::Error>,
    ) -> Result<bool, GitError> {
        let until = Instant::now() + LOCKED;
        loop {
            match write() {
                Ok(_) => return Ok(true),
                Err(error) if error.code() == ErrorCode::Modified => return Ok(false),
                Err(error) if error.code() == ErrorCode::Locked && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What lies at a path of a commit, with its id.
    pub fn entry(&self, commit: Oid, path: &str) -> Result<Option<(TreeEntry, Oid)>, GitError> {
        let mut folder = self.tree(self.commit(commit)?.tree_id())?;
        let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
        let Some(mut name) = names.next() else {
            return Ok(Some((TreeEntry::Folder, folder.id())));
        };
        loop {
            let Some((id, kind, mode)) = folder
                .get_name_bytes(name.as_bytes())
                .map(|entry| (entry.id(), entry.kind(), entry.filemode()))
            else {
                return Ok(None);
            };
            match (names.next(), kind) {
                (None, Some(ObjectType::Tree)) => return Ok(Some((TreeEntry::Folder, id))),
                (None, Some(ObjectType::Commit)) => return Ok(Some((TreeEntry::Submodule, id))),
                (None, _) if mode == LINK => return Ok(Some((TreeEntry::Symlink, id))),
                (None, _) => return Ok(Some((TreeEntry::File(self.size(id)?), id))),
                (Some(below), Some(ObjectType::Tree)) => {
                    folder = self.tree(id)?;
                    name = below;
                }
                (Some(_), _) => return Ok(None),
            }
        }
    }

    /// An object's size, by its header.
    pub fn size(&self, id: Oid) -> Result<u64, GitError> {
        Ok(self.git.odb()?.read_header(id)?.0 as u64)
    }

    pub fn commit(&self, id: Oid) -> Result<Commit<'_>, GitError> {
        self.expect_small(id)?;
        Ok(self.git.find_commit(id)?)
    }

    pub fn tree(&self, id: Oid) -> Result<Tree<'_>, GitError> {
        self.expect_small(id)?;
        Ok(self.git.find_tree(id)?)
    }

    pub fn blob(&self, id: Oid) -> Result<Blob<'_>, GitError> {
        self.expect_small(id)?;
        Ok(self.git.find_blob(id)?)
    }

    /// What libgit2 itself offers, for objects that are read already.
    pub fn git(&self) -> &git2::Repository {
        &self.git
    }

    fn expect_small(&self, id: Oid) -> Result<(), GitError> {
        match self.cost.borrow_mut().of(id) {
            Ok(_) => Ok(()),
            // The machine's, such as too many open files.
            Err(error) if error.raw_os_error().is_some() => Err(error.into()),
            Err(error) => Err(GitError::Failed(
                "cat-file".into(),
                format!("{id}: {error}"),
            )),
        }
    }
}

/// A commit's subject and its author's name, as text.
pub fn told(commit: &Commit<'_>) -> [String; 2] {
    let author = commit.author();
    let latin1 = commit
        .message_encoding()
        .ok()
        .flatten()
        .is_some_and(|encoding| encoding.eq_ignore_ascii_case("iso-8859-1"));
    [
        commit.summary_bytes().unwrap_or_default(),
        author.name_bytes(),
    ]
    .map(|text| match latin1 {
        true => text.iter().map(|b| char::from(*b)).collect(),
        false => String::from_utf8_lossy(text).into_owned(),
    })
}

/// `None` where there is no such object, or more than one.
fn none_if_absent<T>(found: Result<T, git2::Error>) -> Result<Option<T>, GitError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::Ambiguous) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

impl From<git2::Error> for GitError {
    fn from(error: git2::Error) -> Self {
        GitError::Failed("library".into(), error.message().to_owned())
    }
}

/// A commit's id as libgit2 has it.
pub fn oid(commit: &CommitId) -> Result<Oid, GitError> {
    Ok(Oid::from_str(commit.as_str())?)
}

/// An id of libgit2's as the rest of the server has it.
pub fn commit_id(id: Oid) -> io::Result<CommitId> {
    let unknown = |_| io::Error::other("an id of another kind than git's own");
    id.to_string().parse().map_err(unknown)
}
