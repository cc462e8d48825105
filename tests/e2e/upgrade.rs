//! A server starts on the home folder of every earlier version.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::world::{World, wait_for};

/// The key of the databases in `tests/data`.
const KEY: [u8; 32] = *b"not a secret: it is in the tests";

/// Makes the home folder as an earlier version left it, with networks out of this world's addresses.
fn make(world: &World, sql: &Path) {
    let config = world.config();
    let pool = config
        .split("address_pool = \"")
        .nth(1)
        .unwrap()
        .split(".0/20")
        .next()
        .unwrap();
    let sql = fs::read_to_string(sql)
        .unwrap()
        .replace("'10.213.0.", &format!("'{pool}."));
    fs::write(world.home.join("secret.key"), KEY).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(world.home.join("windlass.db"))
        .create_if_missing(true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
    });
}

#[test]
fn a_server_takes_over_the_home_folder_of_every_earlier_version() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let earlier: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!earlier.is_empty());
    for sql in earlier {
        let world = World::idle();
        make(&world, &sql);
        world.start();

        let apps = world.json(&["app", "list"]);
        let told: Vec<_> = apps
            .as_array()
            .unwrap()
            .iter()
            .map(|a| (&a["name"], &a["status"]))
            .collect();
        assert_eq!(
            told,
            [
                (&json!("empty"), &json!("empty")),
                (&json!("shop"), &json!("down"))
            ]
        );
        let env = world.json(&["env", "list", "shop", "--reveal"]);
        assert_eq!(
            env,
            json!({"GREETING": "grüß dich", "SECRET_KEY": "s3cret"})
        );
        // What waited and ran has commits that no repository has: it ends, and says why.
        wait_for("no deploy is open", Duration::from_secs(60), || {
            let deploys = world.json(&["deploys", "shop"]);
            let open = |d: &serde_json::Value| d["status"] == "running" || d["status"] == "queued";
            (!deploys.as_array().unwrap().iter().any(open)).then_some(())
        });
        let live = world.json(&["app", "show", "shop"])["live"].clone();
        assert_eq!(
            (&live["id"], &live["trigger"]),
            (&json!(7), &json!("revert"))
        );

        let app = world.app("new");
        app.version("one");
        app.went_live(&app.push(), "one");
        let copies = fs::read_dir(&world.home)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        let copies: Vec<String> = copies.filter(|name| name.contains(".before-")).collect();
        assert_eq!(copies.len(), 1, "the way back is kept: {copies:?}");
    }
}
