//! Every database that an earlier Windlass wrote is read by this one.
//!
//! `tests/data/schema-NNNN.sql` is the database as schema NNNN left it, with data of every kind; a
//! released one is never edited. Whoever adds a migration first writes the one of the schema before:
//! `cargo test --test upgrade -- --ignored`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row};
use windlass::domain::{
    Allowance, AppName, DeployEvent, DeployId, DeployStatus, DomainName, Environment, Failure,
    ImageRef, Limits, Manifest, Phase, PhaseStatus, Principal, Release, Role, Scope, Timestamp,
    Trigger, UserName,
};
use windlass::store::{NewDeploy, NewToken, Sealer, Store};

/// The key that seals the secrets of every one of these databases.
const KEY: [u8; 32] = *b"not a secret: it is in the tests";
/// The year 2100: tokens of these databases do not end meanwhile.
const LATER: Timestamp = Timestamp::from_millis(4_102_444_800_000);

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn path_of(schema: i64) -> PathBuf {
    data().join(format!("schema-{schema:04}.sql"))
}

/// The number at the beginning of each file's name that begins with `prefix`, in order.
fn numbers(folder: &Path, prefix: &str) -> Vec<i64> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let number = |name: String| name.strip_prefix(prefix)?.get(..4)?.parse().ok();
    let mut numbers: Vec<i64> = names.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

fn migrations() -> Vec<i64> {
    numbers(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations"),
        "",
    )
}

async fn open(home: &Path) -> Store {
    fs::write(home.join("secret.key"), KEY).unwrap();
    let sealer = Sealer::open(&home.join("secret.key")).unwrap();
    Store::open(&home.join("windlass.db"), sealer)
        .await
        .unwrap()
}

async fn raw(home: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(home.join("windlass.db"))
        .create_if_missing(true);
    SqlitePool::connect_with(options).await.unwrap()
}

/// Makes the database of an earlier schema.
async fn make(schema: i64, home: &Path) {
    let sql = fs::read_to_string(path_of(schema)).unwrap();
    let pool = raw(home).await;
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
}

fn name(name: &str) -> AppName {
    name.parse().unwrap()
}

fn domains() -> Vec<DomainName> {
    vec![
        "shop.example.com".parse().unwrap(),
        "a.example.com".parse().unwrap(),
    ]
}

fn env() -> Environment {
    let mut env = Environment::default();
    env.set("GREETING", "grüß dich").unwrap();
    env.set("SECRET_KEY", "s3cret").unwrap();
    env
}

fn manifest() -> Manifest {
    toml::from_str(
        "[build]\nargs = { VERSION = \"3\" }\n[web]\nport = 9000\n[[gates]]\nname = \"migrate\"\n\
         run = [\"python\", \"manage.py\", \"migrate\"]\ntimeout = \"10m\"\n[health]\npath = \"/healthz\"\n",
    )
    .unwrap()
}

/// A deploy of shop: what asked for it, its commit's digit, and the phases with their ends.
struct Made<'a> {
    store: &'a Store,
    id: DeployId,
    commit: char,
}

impl<'a> Made<'a> {
    async fn queue(store: &'a Store, commit: char, trigger: Trigger, source: Option<i64>) -> Self {
        let new = NewDeploy {
            app: name("shop"),
            commit: commit.to_string().repeat(40).parse().unwrap(),
            subject: format!("Change {commit} für alle"),
            author: "Ada".into(),
            trigger,
            actor: "ann".into(),
            source: source.map(DeployId),
        };
        Self {
            store,
            id: store.queue_deploy(&new).await.unwrap().0,
            commit,
        }
    }

    async fn is(&self, event: DeployEvent, reason: Option<(&str, &str)>) {
        let reason = reason.map(|(phase, message)| Failure {
            phase: phase.into(),
            message: message.into(),
        });
        self.store
            .change_deploy(self.id, event, reason.as_ref(), Some(1234))
            .await
            .unwrap();
    }

    async fn runs(&self, phases: &[(&str, PhaseStatus)]) {
        self.store
            .change_deploy(self.id, DeployEvent::Start, None, None)
            .await
            .unwrap();
        for (ordinal, (phase, status)) in phases.iter().enumerate() {
            let phase: Phase = phase.parse().unwrap();
            if *status == PhaseStatus::Skipped {
                self.store
                    .skip_phase(self.id, ordinal, &phase)
                    .await
                    .unwrap();
                continue;
            }
            self.store
                .begin_phase(self.id, ordinal, &phase)
                .await
                .unwrap();
            if *status != PhaseStatus::Running {
                self.store
                    .end_phase(self.id, ordinal, *status, 56)
                    .await
                    .unwrap();
            }
        }
    }

    async fn goes_live(&self) {
        let release = Release {
            deploy: self.id,
            app: name("shop"),
            commit: self.commit.to_string().repeat(40).parse().unwrap(),
            image: ImageRef(format!("windlass-0a1b2c/shop:d{}", self.id)),
            image_kept: true,
            processes: Manifest::default().processes(),
            manifest: manifest(),
            port: 9000,
            env: env(),
        };
        self.store.go_live(&release).await.unwrap();
        self.store.finish_deploy(self.id, 4321).await.unwrap();
    }
}

/// Fills a database with data of every kind, by today's store.
async fn fill(store: &Store) {
    use PhaseStatus::{Failed, Ok, Running, Skipped};
    store.instance().await.unwrap();
    store
        .create_app(&name("shop"), &domains(), "10.213.0.0/26".parse().unwrap())
        .await
        .unwrap();
    store
        .create_app(&name("empty"), &[], "10.213.0.64/26".parse().unwrap())
        .await
        .unwrap();
    store.set_env(&name("shop"), &env()).await.unwrap();
    store.set_port(&name("shop"), Some(9000)).await.unwrap();

    let passed = [
        ("checkout", Ok),
        ("build", Ok),
        ("gate:migrate", Ok),
        ("start", Ok),
        ("health", Ok),
        ("swap", Ok),
        ("verify", Ok),
    ];
    let first = Made::queue(store, '1', Trigger::Push, None).await;
    first.runs(&passed).await;
    first.goes_live().await;
    let second = Made::queue(store, '2', Trigger::Push, None).await;
    second
        .runs(&[&passed[..], &[("drain", Skipped), ("retire", Ok)]].concat())
        .await;
    second.goes_live().await;
    store.forget_image(first.id).await.unwrap();
    let failed = Made::queue(store, '3', Trigger::Push, None).await;
    failed
        .runs(&[("checkout", Ok), ("build", Ok), ("gate:migrate", Failed)])
        .await;
    failed
        .is(
            DeployEvent::Fail,
            Some(("gate:migrate", "exit status 1:\nno such table")),
        )
        .await;
    let interrupted = Made::queue(store, '4', Trigger::Redeploy, Some(2)).await;
    interrupted
        .runs(&[("checkout", Ok), ("build", Failed)])
        .await;
    interrupted
        .is(
            DeployEvent::Interrupt,
            Some(("build", "the server stopped")),
        )
        .await;
    // This one waits, and the next takes its place.
    Made::queue(store, '5', Trigger::Push, None).await;
    let cancelled = Made::queue(store, '6', Trigger::Push, None).await;
    cancelled
        .is(DeployEvent::Withdraw, Some(("queue", "cancelled by ann")))
        .await;
    let live = Made::queue(store, '1', Trigger::Revert, Some(1)).await;
    live.runs(&[&[("build", Skipped)], &passed[2..]].concat())
        .await;
    live.goes_live().await;
    Made::queue(store, '7', Trigger::Push, None)
        .await
        .runs(&[("checkout", Ok), ("build", Running)])
        .await;
    Made::queue(store, '1', Trigger::Restart, Some(7)).await;

    let allowance = Allowance {
        limits: Limits {
            memory: Some("2g".parse().unwrap()),
            ..Limits::default()
        },
        capabilities: vec!["NET_RAW".parse().unwrap()],
    };
    store.allow(&name("empty"), &allowance).await.unwrap();

    let [admin, ann]: [UserName; 2] = ["admin", "ann"].map(|name| name.parse().unwrap());
    store
        .add_user(&admin, "$argon2id$a hash", Role::Admin, &[])
        .await
        .unwrap();
    store
        .add_user(&ann, "", Role::Deployer, &[name("shop")])
        .await
        .unwrap();
    store
        .add_key(&ann, "laptop", "ssh-ed25519 AAAA", "SHA256:x")
        .await
        .unwrap();
    let (hash, apps, expires) = ([7; 32], vec![name("shop")], Some(LATER));
    let token = NewToken {
        user: &ann,
        name: "ci",
        hash,
        scope: Scope::Read,
        apps: Some(&apps),
        expires,
    };
    store.add_token(&token).await.unwrap();
    store
        .audit(
            &Principal::local("root".into()),
            "env_set",
            Some(&name("shop")),
            "TOKEN",
            None,
        )
        .await
        .unwrap();
}

/// Everything that [`fill`] wrote is there and reads.
async fn reads(store: &Store) {
    use DeployStatus::{
        Cancelled, Failed, Interrupted, Live, Queued, Retired, Running, Superseded,
    };
    let apps = store.apps().await.unwrap();
    assert_eq!(
        apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["empty", "shop"]
    );
    assert_eq!((&apps[1].domains, apps[1].port), (&domains(), Some(9000)));
    assert_eq!((&apps[0].domains, apps[0].port), (&vec![], None));
    assert_eq!(apps[1].subnet, "10.213.0.0/26".parse().unwrap());
    assert_eq!(store.env(&name("shop")).await.unwrap(), env());

    let deploys = store.deploys(&name("shop"), 100, None).await.unwrap();
    let told: Vec<_> = deploys
        .iter()
        .rev()
        .map(|d| (d.id.0, d.status, d.trigger))
        .collect();
    let expected = [
        (1, Retired, Trigger::Push),
        (2, Retired, Trigger::Push),
        (3, Failed, Trigger::Push),
        (4, Interrupted, Trigger::Redeploy),
        (5, Superseded, Trigger::Push),
        (6, Cancelled, Trigger::Push),
        (7, Live, Trigger::Revert),
        (8, Running, Trigger::Push),
        (9, Queued, Trigger::Restart),
    ];
    assert_eq!(told, expected);
    assert!(
        <DeployStatus as strum::VariantArray>::VARIANTS
            .iter()
            .all(|s| told.iter().any(|(_, status, _)| s == status))
    );
    assert!(
        deploys
            .iter()
            .all(|d| d.live_ms.is_some() == d.status.went_live())
    );
    let failed = store.deploy(DeployId(3)).await.unwrap();
    assert_eq!(
        (failed.subject.as_str(), failed.author.as_str()),
        ("Change 3 für alle", "Ada")
    );
    assert_eq!(
        (failed.actor.as_str(), failed.duration_ms),
        ("ann", Some(1234))
    );
    assert!(
        failed.queued_at <= failed.started_at.unwrap() && failed.started_at <= failed.finished_at
    );
    let why = failed.failure.unwrap();
    assert_eq!(
        (why.phase.as_str(), why.message.as_str()),
        ("gate:migrate", "exit status 1:\nno such table")
    );
    let phases = |id: i64| {
        let deploy = deploys.iter().find(|d| d.id.0 == id).unwrap();
        let told = deploy
            .phases
            .iter()
            .map(|p| format!("{}:{}", p.phase, p.status.as_str()));
        told.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(phases(3), "checkout:ok build:ok gate:migrate:failed");
    assert_eq!(phases(8), "checkout:ok build:running");
    let all = "checkout:ok build:ok gate:migrate:ok start:ok health:ok swap:ok verify:ok drain:skipped retire:ok";
    assert_eq!(phases(2), all);
    let open: Vec<i64> = store
        .open_deploys(None)
        .await
        .unwrap()
        .iter()
        .map(|d| d.id.0)
        .collect();
    assert_eq!(open, [8, 9]);
    assert_eq!(
        store.source_release(DeployId(7)).await.unwrap(),
        Some(DeployId(1))
    );

    assert_eq!(
        store.live_deploy(&name("shop")).await.unwrap().unwrap().id,
        DeployId(7)
    );
    let releases = store.releases(&name("shop"), 10).await.unwrap();
    assert_eq!(
        releases
            .iter()
            .map(|r| (r.deploy.0, r.image_kept))
            .collect::<Vec<_>>(),
        [(7, true), (2, true), (1, false)]
    );
    for release in &releases {
        assert_eq!(
            (&release.env, &release.manifest, release.port),
            (&env(), &manifest(), 9000)
        );
        let replicas: Vec<String> = release.replicas().map(|r| r.to_string()).collect();
        assert_eq!(replicas, ["web.1"]);
    }
    assert_eq!(releases[1].image.0, "windlass-0a1b2c/shop:d2");

    let admin: UserName = "admin".parse().unwrap();
    assert_eq!(store.user(&admin).await.unwrap().role, Role::Admin);
    assert_eq!(
        store.proof("admin").await.unwrap().unwrap().password_hash,
        "$argon2id$a hash"
    );
}

/// What schemas from 0003 on have besides.
async fn reads_accounts(store: &Store) {
    let ann = store.user(&"ann".parse().unwrap()).await.unwrap();
    assert_eq!(
        (ann.role, &ann.apps, ann.password),
        (Role::Deployer, &vec![name("shop")], false)
    );
    assert_eq!(store.keys().await.unwrap()[0].user, ann.name);
    let token = store.token(&[7; 32]).await.unwrap().unwrap();
    assert_eq!(
        (token.user, token.scope, token.apps),
        (ann.name, Scope::Read, Some(vec![name("shop")]))
    );
    assert_eq!(
        store.audit_entries(None, 5, None).await.unwrap()[0].action,
        "env_set"
    );
}

/// A database as SQL text that makes it again.
async fn dump(pool: &SqlitePool) -> String {
    let made = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' \
                ORDER BY type <> 'table', rowid";
    let mut text = String::new();
    let mut rows = String::new();
    for object in sqlx::query(made).fetch_all(pool).await.unwrap() {
        let (name, sql): (String, String) = (object.get(0), object.get(1));
        let _ = writeln!(text, "{sql};");
        dump_rows(pool, &name, &mut rows).await;
    }
    // Inserting apps and deploys has begun it already.
    rows.push_str("DELETE FROM sqlite_sequence;\n");
    dump_rows(pool, "sqlite_sequence", &mut rows).await;
    text + &rows
}

async fn dump_rows(pool: &SqlitePool, table: &str, text: &mut String) {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(pool)
        .await
        .unwrap();
    // Not a table, but an index.
    if columns.is_empty() {
        return;
    }
    let values = columns
        .iter()
        .map(|c| format!("quote(\"{c}\")"))
        .collect::<Vec<_>>()
        .join(" || ', ' || ");
    let rows = format!("SELECT {values} FROM \"{table}\"");
    for row in sqlx::query_scalar::<_, String>(AssertSqlSafe(rows))
        .fetch_all(pool)
        .await
        .unwrap()
    {
        let _ = writeln!(
            text,
            "INSERT INTO {table} ({}) VALUES ({row});",
            columns.join(", ")
        );
    }
}

#[tokio::test]
#[ignore = "writes tests/data/schema-NNNN.sql of today's schema, where there is none yet"]
async fn write_todays_database_down() {
    let home = tempfile::tempdir().unwrap();
    fill(&open(home.path()).await).await;
    let newest = *migrations().last().unwrap();
    assert!(
        !path_of(newest).exists(),
        "a database that was written down is never edited"
    );
    let text = dump(&raw(home.path()).await).await;
    let head = format!(
        "-- The database as schema {newest:04} left it, with data of every kind. Never edited.\n"
    );
    fs::write(path_of(newest), head + &text).unwrap();
}

#[tokio::test]
async fn what_fills_these_databases_is_what_is_read() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await;
    fill(&store).await;
    reads(&store).await;
    reads_accounts(&store).await;
    // A copy by its text is the same database.
    let copy = tempfile::tempdir().unwrap();
    let text = dump(&raw(home.path()).await).await;
    let pool = raw(copy.path()).await;
    sqlx::raw_sql(AssertSqlSafe(text.clone()))
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(dump(&pool).await, text);
    pool.close().await;
    reads(&open(copy.path()).await).await;
}

#[test]
fn every_schema_but_the_newest_is_written_down() {
    let written = numbers(&data(), "schema-");
    for schema in &migrations()[..migrations().len() - 1] {
        assert!(
            written.contains(schema),
            "tests/data/schema-{schema:04}.sql is missing. Take the new migration away for a moment, and: \
             cargo test --test upgrade -- --ignored"
        );
    }
}

#[tokio::test]
async fn a_database_of_every_earlier_schema_opens_and_reads() {
    let written = numbers(&data(), "schema-");
    assert!(!written.is_empty());
    for schema in written {
        let home = tempfile::tempdir().unwrap();
        make(schema, home.path()).await;
        let pool = raw(home.path()).await;
        let mark = "SELECT value FROM meta WHERE key = 'instance'";
        let before: String = sqlx::query_scalar(mark).fetch_one(&pool).await.unwrap();
        pool.close().await;
        let store = open(home.path()).await;
        reads(&store).await;
        assert_eq!(
            store.instance().await.unwrap(),
            before,
            "schema {schema:04}"
        );
        the_way_back_is_kept(schema, home.path()).await;
    }
}

/// The database as it was lies beside the one brought up to date, and nothing older does.
async fn the_way_back_is_kept(schema: i64, home: &Path) {
    let newest = Store::newest_schema();
    if schema == newest {
        return;
    }
    let copy = home.join(format!("windlass.db.before-{newest:04}"));
    assert_eq!(Store::contents(&copy).await.unwrap().schema, schema);
    // Going back and forth again, as docs/operations.md says it: the last copy counts.
    let older = home.join("windlass.db.before-0000");
    fs::write(&older, "a copy of long ago").unwrap();
    for name in ["windlass.db", "windlass.db-wal", "windlass.db-shm"] {
        let _ = fs::remove_file(home.join(name));
    }
    fs::rename(&copy, home.join("windlass.db")).unwrap();
    reads(&open(home).await).await;
    assert!(copy.exists() && !older.exists());
}

#[tokio::test]
async fn a_database_of_a_newer_windlass_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await;
    fill(&store).await;
    drop(store);
    let pool = raw(home.path()).await;
    let newer = "INSERT INTO _sqlx_migrations SELECT 9000, description, installed_on, success, checksum, \
                 execution_time FROM _sqlx_migrations WHERE version = 1";
    sqlx::query(newer).execute(&pool).await.unwrap();
    pool.close().await;
    let path = home.path().join("windlass.db");
    let before = fs::read(&path).unwrap();

    let sealer = Sealer::open(&home.path().join("secret.key")).unwrap();
    let told = [
        Store::open(&path, sealer).await.map(drop),
        Store::contents(&path).await.map(drop),
    ];
    for error in told.map(Result::unwrap_err) {
        let said = error.to_string();
        let known = format!(
            "its schema is 9000, and this one, {}, knows them up to {}.",
            env!("CARGO_PKG_VERSION"),
            Store::newest_schema()
        );
        assert!(
            said.contains("written by a newer Windlass") && said.contains(&known),
            "{said}"
        );
        assert!(
            said.contains("Nothing was changed. Install the newer version again"),
            "{said}"
        );
    }
    assert!(
        fs::read(&path).unwrap() == before,
        "the database is as it was"
    );
}
