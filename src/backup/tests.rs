//! Backups of a small home folder, made, spoilt and restored.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio_util::sync::CancellationToken;

use super::archive::{Member, Writer, unpack};
use super::*;
use crate::config::Home;
use crate::domain::{DeployEvent, DeployId, Environment, ImageRef, Release, Trigger};
use crate::git::Repositories;
use crate::store::{NewDeploy, Sealer, Store};

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// A pair of keys: a recipient, and what `age-keygen` writes into its file.
fn keys() -> (To, String) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let file = format!(
        "# created: today\n# public key: x\n{}\n",
        identity.to_string().expose_secret()
    );
    (
        To::Recipients(vec![identity.to_public().to_string().parse().unwrap()]),
        file,
    )
}

/// A home folder with an app that has a live release, and one that has nothing.
struct Scene {
    dir: tempfile::TempDir,
    home: Home,
    commit: CommitId,
    to: To,
    key: String,
}

fn name(name: &str) -> AppName {
    name.parse().unwrap()
}

fn git(folder: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
        .args(args)
        .current_dir(folder);
    let done = git.output().unwrap();
    assert!(done.status.success(), "{args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

async fn open(home: &Home) -> Store {
    Store::open(&home.database(), Sealer::open(&home.key()).unwrap())
        .await
        .unwrap()
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(&dir.path().join("home")).unwrap();
        for folder in [
            "run",
            "caddy/data/caddy/certificates/ca/a.test",
            "caddy/data/caddy/locks",
        ] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        fs::write(
            home.caddy()
                .join("data/caddy/certificates/ca/a.test/a.test.key"),
            "a private key",
        )
        .unwrap();
        fs::write(home.caddy().join("data/caddy/locks/issue.lock"), "{}").unwrap();
        fs::write(home.config(), "deploy_branch = \"trunk\"\n").unwrap();
        let store = open(&home).await;
        store.instance().await.unwrap();
        let repos = Repositories::new(home.repos(), "trunk", 1 << 30);
        for (app, net) in [("shop", "10.213.0.0/26"), ("empty", "10.213.0.64/26")] {
            store
                .create_app(&name(app), &[], net.parse().unwrap())
                .await
                .unwrap();
            repos.create(&name(app)).await.unwrap();
        }
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        git(&work, &["init", "-q", "-b", "trunk"]);
        git(
            &work,
            &["commit", "-q", "--allow-empty", "-m", "A secret plan"],
        );
        let shop = repos.path(&name("shop"));
        fs::remove_dir_all(shop.join("hooks")).unwrap();
        git(
            &work,
            &["push", "-q", shop.to_str().unwrap(), "trunk", "trunk:other"],
        );
        let commit: CommitId = git(&work, &["rev-parse", "HEAD"]).parse().unwrap();
        repos
            .keep(&name("shop"), DeployId(1), &commit)
            .await
            .unwrap();
        go_live(&store, &commit).await;
        let (to, key) = keys();
        Self {
            dir,
            home,
            commit,
            to,
            key,
        }
    }

    async fn back_up(&self) -> (Made, Vec<u8>) {
        let mut bytes = Vec::new();
        let folder = self.home.run().join("backup");
        let stop = CancellationToken::new();
        let made = create(&self.home, &self.to, &mut bytes, &folder, &stop)
            .await
            .unwrap();
        assert!(!folder.exists(), "nothing is left to clean up");
        (made, bytes)
    }

    /// A home folder that is not there yet.
    fn other(&self) -> Home {
        Home::new(&self.dir.path().join("other")).unwrap()
    }

    async fn restore(&self, bytes: &[u8], home: &Home) -> Result<Restored, BackupError> {
        let key = Key::identities(&self.key).unwrap();
        let opened = Sealed::read(Cursor::new(bytes))?.open(&key)?;
        restore(home, opened, &CancellationToken::new()).await
    }
}

async fn go_live(store: &Store, commit: &CommitId) {
    let mut env = Environment::default();
    env.set("TOKEN", "s3cret").unwrap();
    store.set_env(&name("shop"), &env).await.unwrap();
    let new = NewDeploy {
        app: name("shop"),
        commit: commit.clone(),
        subject: "A secret plan".into(),
        author: "Ada".into(),
        trigger: Trigger::Push,
        actor: "ada".into(),
        source: None,
    };
    let (deploy, _) = store.queue_deploy(&new).await.unwrap();
    store
        .change_deploy(deploy, DeployEvent::Start, None, None)
        .await
        .unwrap();
    let (app, commit, manifest) = (name("shop"), commit.clone(), Default::default());
    let image = ImageRef("windlass-0a1b2c/shop:d1".into());
    let release = Release {
        deploy,
        app,
        commit,
        image,
        image_kept: true,
        processes: crate::domain::Manifest::default().processes(),
        manifest,
        port: 8000,
        env,
    };
    store.go_live(&release).await.unwrap();
}

/// Every file below a folder with its content, and every folder.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            all.insert(path, None);
        } else {
            all.insert(path.clone(), Some(fs::read(path).unwrap()));
        }
    }
    all
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[tokio::test]
async fn what_was_backed_up_is_restored_as_it_was() {
    let scene = Scene::new().await;
    let (made, bytes) = scene.back_up().await;
    assert_eq!(made.missing, Vec::<String>::new());
    assert_eq!(made.bytes, bytes.len() as u64);
    let apps = [("empty", None), ("shop", Some(scene.commit.clone()))];
    assert_eq!(
        made.manifest.apps,
        apps.map(|(app, live)| App {
            name: name(app),
            live
        })
    );
    assert_eq!(
        (made.manifest.format, made.manifest.schema),
        (1, Store::newest_schema())
    );
    for secret in ["A secret plan", "s3cret", "a private key", "shop", "SQLite"] {
        assert!(
            !holds(&bytes, secret.as_bytes()),
            "{secret} is to be read in the backup"
        );
    }
    assert!(!holds(&bytes, &fs::read(scene.home.key()).unwrap()));

    let home = scene.other();
    let restored = scene.restore(&bytes, &home).await.unwrap();
    assert_eq!(
        (&restored.manifest, restored.missing.len()),
        (&made.manifest, 0),
        "{:?}",
        restored.missing
    );
    for file in [
        "config.toml",
        "secret.key",
        "caddy/data/caddy/certificates/ca/a.test/a.test.key",
    ] {
        let read = |home: &Home| fs::read(home.path().join(file)).unwrap();
        assert_eq!(read(&home), read(&scene.home), "{file}");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &home.path().join(file).metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(
        !home.caddy().join("data/caddy/locks").exists(),
        "a lock is of a Caddy that runs"
    );
    assert!(!home.restoring().exists());
    let refs = |home: &Home| git(&home.repos().join("shop.git"), &["show-ref"]);
    assert_eq!(refs(&home), refs(&scene.home));
    assert_eq!(refs(&home).lines().count(), 3);
    assert!(home.repos().join("shop.git/hooks/post-receive").exists());
    assert_eq!(git(&home.repos().join("empty.git"), &["for-each-ref"]), "");
    assert_eq!(
        git(&home.repos().join("empty.git"), &["symbolic-ref", "HEAD"]),
        "refs/heads/trunk"
    );
    let (before, after) = (open(&scene.home).await, open(&home).await);
    assert_eq!(
        after.instance().await.unwrap(),
        before.instance().await.unwrap()
    );
    let live = after.live_deploy(&name("shop")).await.unwrap().unwrap();
    assert_eq!(
        Some(live.clone()),
        before.live_deploy(&name("shop")).await.unwrap()
    );
    let env = after.release(live.id).await.unwrap().unwrap().env;
    assert_eq!(env.get("TOKEN"), Some("s3cret"));
}

#[tokio::test]
async fn a_backup_that_is_not_whole_changes_nothing() {
    let scene = Scene::new().await;
    let (_, bytes) = scene.back_up().await;
    // Once where there is no folder, and once where there is an empty one.
    let homes = [
        scene.other(),
        Home::new(&scene.dir.path().join("made")).unwrap(),
    ];
    fs::create_dir(homes[1].path()).unwrap();
    let before = tree(scene.dir.path());
    let end = bytes.len();
    let mut spoilt: Vec<(String, Vec<u8>)> = [0, 10, 100, end / 2, end - 17, end - 1]
        .map(|length| {
            (
                format!("the first {length} of {end}"),
                bytes[..length].to_vec(),
            )
        })
        .into();
    // age's chunks are 64 KiB: cut off between two, only the mark of the last one is missing.
    spoilt.push(("another byte".into(), [&bytes[..], b"x"].concat()));
    for at in (0..end).step_by(end / 40).chain([end - 1]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        spoilt.push((format!("byte {at} of {end} changed"), flipped));
    }
    for (what, bytes) in spoilt {
        for home in &homes {
            let error = scene.restore(&bytes, home).await.expect_err(&what);
            use BackupError::{Damaged, NotABackup, WrongKey};
            assert!(
                matches!(error, Damaged(_) | NotABackup | WrongKey(_)),
                "{what}: {error:?}"
            );
        }
        assert!(
            tree(scene.dir.path()) == before,
            "{what}: something was changed"
        );
    }
}

#[tokio::test]
async fn only_the_right_key_opens_it() {
    let mut scene = Scene::new().await;
    let (_, bytes) = scene.back_up().await;
    let read = |bytes: &[u8]| Sealed::read(Cursor::new(bytes.to_vec())).unwrap();
    assert!(!read(&bytes).wants_passphrase());
    let (_, other) = keys();
    let error = read(&bytes)
        .open(&Key::identities(&other).unwrap())
        .map(drop)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no key in the identity file opens this backup. Nothing was changed"
    );

    scene.to = To::passphrase("correct horse".into()).unwrap();
    let (_, bytes) = scene.back_up().await;
    assert!(read(&bytes).wants_passphrase());
    for wrong in ["correct hors", "Correct horse", "correct horse "] {
        let key = Key::passphrase(wrong.into()).unwrap();
        assert!(
            matches!(
                read(&bytes).open(&key),
                Err(BackupError::WrongKey("the passphrase does not open"))
            ),
            "{wrong}"
        );
    }
    let mut opened = read(&bytes)
        .open(&Key::passphrase("correct horse".into()).unwrap())
        .unwrap();
    let mut tar = Vec::new();
    opened.read_to_end(&mut tar).unwrap();
    assert!(holds(&tar, b"SHA256SUMS"));
    assert!(Key::passphrase(String::new()).is_err() && To::passphrase(String::new()).is_err());
}

#[test]
fn keys_read_from_files_and_mistakes_are_told() {
    let two = format!("# ours\n\n  {RECIPIENT}  \n{RECIPIENT}\n");
    assert_eq!(To::recipients(&two).unwrap().len(), 2);
    for wrong in [
        "ssh-ed25519 AAAA ann",
        "age1yubikey1qgqsp5z24ff2wkezx0x8vds",
        "AGE-SECRET-KEY-1",
    ] {
        assert!(
            To::recipients(wrong).unwrap_err().contains("age-keygen"),
            "{wrong}"
        );
        assert!(
            Key::identities(wrong)
                .unwrap_err()
                .contains("AGE-SECRET-KEY-1…"),
            "{wrong}"
        );
    }
    assert!(Key::identities("# nothing\n").is_err());
}

#[tokio::test]
async fn a_home_in_use_is_left_alone() {
    let scene = Scene::new().await;
    let (_, bytes) = scene.back_up().await;
    for (file, told) in [
        ("windlass.db", "windlass.db"),
        ("windlass.db-wal", "windlass.db-wal"),
        ("secret.key", "secret.key"),
        ("config.toml", "config.toml"),
        ("repos/shop.git/HEAD", "repos"),
        ("caddy/data/caddy/acme", "caddy/data"),
    ] {
        let home = Home::new(&scene.dir.path().join(file.replace('/', "-"))).unwrap();
        let path = home.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "somebody's").unwrap();
        let before = tree(home.path());
        let error = scene.restore(&bytes, &home).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("is in use: it holds {told}. Nothing was changed")),
            "{error}"
        );
        assert!(tree(home.path()) == before);
    }
    // What a first start that failed, and empty folders, leave is in nobody's way.
    let home = scene.other();
    for folder in ["run", "logs", "repos", "caddy/data"] {
        fs::create_dir_all(home.path().join(folder)).unwrap();
    }
    fs::write(home.run().join("lock"), "").unwrap();
    scene.restore(&bytes, &home).await.unwrap();
}

#[tokio::test]
async fn a_restore_that_was_cut_off_can_be_made_again() {
    let scene = Scene::new().await;
    let (_, bytes) = scene.back_up().await;
    let home = scene.other();
    // Killed while it unpacked, and later, another one, while it put things in place.
    fs::create_dir_all(home.restoring().join("repos")).unwrap();
    fs::write(home.restoring().join("windlass.db"), "half of it").unwrap();
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    scene.restore(&cut(&bytes), &home).await.unwrap_err();
    assert!(!home.path().join("restoring").exists());
    fs::create_dir_all(home.restoring()).unwrap();
    fs::write(home.restoring().join("placing"), "").unwrap();
    fs::create_dir_all(home.repos().join("gone.git")).unwrap();
    fs::write(home.key(), "of the other backup").unwrap();
    scene.restore(&bytes, &home).await.unwrap();
    assert_eq!(
        fs::read(home.key()).unwrap(),
        fs::read(scene.home.key()).unwrap()
    );
    assert!(!home.repos().join("gone.git").exists() && home.repos().join("shop.git").exists());
    assert!(!home.restoring().exists());
}

#[tokio::test]
async fn one_backup_at_a_time_and_the_next_removes_what_a_killed_one_left() {
    let scene = Scene::new().await;
    let folder = scene.home.run().join("backup");
    let scratch = scratch::Scratch::take(&folder).unwrap();
    let stop = CancellationToken::new();
    let busy = create(&scene.home, &scene.to, Vec::new(), &folder, &stop)
        .await
        .unwrap_err();
    assert!(
        matches!(&busy, BackupError::Busy(at) if *at == folder),
        "{busy:?}"
    );
    drop(scratch);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("windlass.db"), "half of a copy").unwrap();
    scene.back_up().await;

    stop.cancel();
    let stopped = create(&scene.home, &scene.to, Vec::new(), &folder, &stop)
        .await
        .unwrap_err();
    assert!(matches!(stopped, BackupError::Stopped), "{stopped:?}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_does_not_keep_the_rest() {
    let scene = Scene::new().await;
    let shop = scene.home.repos().join("shop.git");
    fs::remove_dir_all(shop.join("objects")).unwrap();
    fs::create_dir(shop.join("objects")).unwrap();
    fs::remove_dir_all(scene.home.repos().join("empty.git")).unwrap();
    fs::remove_file(scene.home.key()).unwrap();
    fs::write(scene.home.config(), "deploy_branch = ").unwrap();
    let (made, bytes) = scene.back_up().await;
    let told = made.missing.join("\n");
    for part in [
        "secret.key is gone",
        "the repository of empty is gone",
        "the repository of shop cannot be read",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let home = scene.other();
    let restored = scene.restore(&bytes, &home).await.unwrap();
    let told = restored.missing.join("\n");
    let lost = format!(
        "{}, which was live of shop, was not in the backup",
        scene.commit.short()
    );
    let config = format!("{}: TOML parse error", home.config().display());
    for part in [lost.as_str(), "secret.key was not in the backup", &config] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
    assert_eq!(git(&home.repos().join("shop.git"), &["for-each-ref"]), "");
}

#[tokio::test]
async fn a_home_without_a_database_has_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (home, (to, _)) = (Home::new(dir.path()).unwrap(), keys());
    let stop = CancellationToken::new();
    let none = create(&home, &to, Vec::new(), &home.run().join("backup"), &stop)
        .await
        .unwrap_err();
    assert!(
        none.to_string().contains("is that the home folder?"),
        "{none}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A tar as it would be in a backup, and what unpacking it gives.
struct Forged(tar::Builder<Vec<u8>>);

impl Forged {
    /// One that begins as it should.
    fn new() -> Self {
        let mut forged = Self(tar::Builder::new(Vec::new()));
        forged.add(
            "manifest.json",
            tar::EntryType::Regular,
            MANIFEST.as_bytes(),
        );
        forged
    }

    fn add(&mut self, name: &str, kind: tar::EntryType, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        // `set_path` refuses the names that matter here.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        if kind.is_symlink() {
            header.set_link_name("/etc").unwrap();
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
    }

    fn unpack(self, folder: &Path) -> Result<Manifest, BackupError> {
        unpack(&mut Cursor::new(self.0.into_inner().unwrap()), folder)
    }
}

const MANIFEST: &str = r#"{"format": 1, "windlass": "0.1.0", "schema": 1, "instance": null, "made_at": "2026-11-21T10:20:00Z", "apps": []}"#;

#[test]
fn a_name_that_has_no_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("in");
    for bad in [
        "../evil",
        "/tmp/evil",
        "caddy/data/../../../evil",
        "caddy/data//evil",
        "caddy/data/",
        "caddy/data/./evil",
        "repos/../evil.bundle",
        "repos/a/b.bundle",
        "repos/shop.git/config",
        "./windlass.db",
        "windlass.db/x",
        "run/windlass",
        "manifest.json",
        "",
    ] {
        let mut forged = Forged::new();
        forged.add(bad, tar::EntryType::Regular, b"evil");
        let error = forged.unpack(&folder).unwrap_err();
        assert!(
            matches!(&error, BackupError::Damaged(why) if why.contains("has no place")),
            "{bad:?}: {error}"
        );
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Fifo,
    ] {
        let mut forged = Forged::new();
        forged.add("config.toml", kind, b"");
        assert!(
            matches!(forged.unpack(&folder), Err(BackupError::Damaged(_))),
            "{kind:?}"
        );
    }
    assert!(
        !folder.exists() && fs::read_dir(dir.path()).unwrap().next().is_none(),
        "nothing was written"
    );
}

#[test]
fn checksums_end_it_and_have_to_fit() {
    let dir = tempfile::tempdir().unwrap();
    let regular = tar::EntryType::Regular;
    let mut without = Forged::new();
    without.add("secret.key", regular, b"k");
    let error = without
        .unpack(&dir.path().join("a"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("its end is missing"), "{error}");

    let mut wrong = Forged::new();
    wrong.add(
        "SHA256SUMS",
        regular,
        format!("{}  manifest.json\n", "0".repeat(64)).as_bytes(),
    );
    let error = wrong.unpack(&dir.path().join("b")).unwrap_err().to_string();
    assert!(error.contains("its checksums do not fit"), "{error}");

    let mut writer = Writer::new(Vec::new());
    writer
        .bytes(&Member::Manifest, MANIFEST.as_bytes())
        .unwrap();
    writer
        .bytes(&Member::Certificate("a b/ü.crt".into()), b"certificate")
        .unwrap();
    let tar = writer.finish().unwrap();
    unpack(&mut Cursor::new(tar), &dir.path().join("c")).unwrap();
    assert_eq!(
        fs::read(dir.path().join("c/caddy/data/a b/ü.crt")).unwrap(),
        b"certificate"
    );
}

#[test]
fn a_backup_of_a_newer_windlass_is_refused_before_anything_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    for (what, by) in [
        ("\"format\": 1", "\"format\": 2"),
        ("\"schema\": 1", "\"schema\": 9000"),
    ] {
        let mut newer = Forged(tar::Builder::new(Vec::new()));
        let manifest = MANIFEST.replace(what, by).replace("0.1.0", "7.0.0");
        newer.add(
            "manifest.json",
            tar::EntryType::Regular,
            manifest.as_bytes(),
        );
        newer.add("something new", tar::EntryType::Regular, b"");
        let error = newer
            .unpack(&dir.path().join("in"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("made by Windlass 7.0.0, which is newer"),
            "{error}"
        );
    }
}

#[test]
fn a_file_takes_its_place_only_when_it_is_whole() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.age");
    let partial = dir.path().join("b.age.partial");
    drop(Target::new(&path, false).unwrap());
    assert!(!path.exists() && !partial.exists());

    // A killed backup's is taken over, and one that is still written is not.
    fs::write(&partial, "a long beginning of a backup").unwrap();
    let target = Target::new(&path, false).unwrap();
    target.file().write_all(b"whole").unwrap();
    let second = Target::new(&path, false).map(drop).unwrap_err();
    assert!(
        matches!(&second, BackupError::Busy(at) if *at == partial),
        "{second:?}"
    );
    target.keep().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let again = Target::new(&path, false).map(drop).unwrap_err();
    assert!(
        again
            .to_string()
            .ends_with("stays as it is. --force replaces it"),
        "{again}"
    );
    drop(Target::new(&path, true).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    let target = Target::new(&path, true).unwrap();
    target.file().write_all(b"newer").unwrap();
    target.keep().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
