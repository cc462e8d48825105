//! Schema migrations that deploys applied to the apps' own databases: what a revert does not undo.

use super::{Store, StoreError};
use crate::domain::{AppName, DeployId, Migration, MigrationsSince};

/// The most that is told of them: whoever goes back further is warned all the same.
const MOST: u32 = 500;

impl Store {
    /// Records that a deploy has a gate that tells which migrations it applies.
    pub async fn expect_migrations(&self, id: DeployId) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE deploys SET migrations_known = coalesce(migrations_known, 1) WHERE id = ?",
        )
        .bind(id.0)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Records that a deploy is about to apply migrations: until it says which, nobody knows. Returns
    /// whether those before it are known.
    pub async fn begin_migrations(&self, id: DeployId) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let known: Option<Option<bool>> =
            sqlx::query_scalar("SELECT migrations_known FROM deploys WHERE id = ?")
                .bind(id.0)
                .fetch_optional(&mut *tx)
                .await?;
        sqlx::query("UPDATE deploys SET migrations_known = 0 WHERE id = ?")
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(known.flatten().unwrap_or(true))
    }

    /// Records migrations that a deploy applied, and whether these are all.
    pub async fn add_migrations(
        &self,
        app: &AppName,
        id: DeployId,
        names: &[String],
        all: bool,
    ) -> Result<(), StoreError> {
        let app = self.app(app).await?;
        let mut tx = self.begin().await?;
        for name in names {
            sqlx::query(
                "INSERT INTO migrations (app_id, deploy_id, ordinal, name) \
                 SELECT ?1, ?2, coalesce(max(ordinal), -1) + 1, ?3 FROM migrations \
                 WHERE app_id = ?1 AND deploy_id = ?2 HAVING coalesce(sum(name = ?3), 0) = 0",
            )
            .bind(app.id)
            .bind(id.0)
            .bind(name)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query("UPDATE deploys SET migrations_known = ? WHERE id = ?")
            .bind(all)
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The migrations that an app's deploys after one of them applied, and which of these deploys may
    /// have applied others: those that came as far as their gates, and do not tell.
    pub async fn migrations_since(
        &self,
        app: &AppName,
        after: DeployId,
    ) -> Result<MigrationsSince, StoreError> {
        let app = self.app(app).await?;
        let applied: Vec<(i64, String)> = sqlx::query_as(
            "SELECT deploy_id, name FROM migrations WHERE app_id = ? AND deploy_id > ? \
             ORDER BY deploy_id, ordinal LIMIT ? + 0",
        )
        .bind(app.id)
        .bind(after.0)
        .bind(MOST)
        .fetch_all(&self.reader)
        .await?;
        let unknown: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM deploys d WHERE app_id = ? AND id > ? AND coalesce(migrations_known, 0) = 0 \
             AND (status IN ('live', 'retired') OR EXISTS \
              (SELECT 1 FROM phases WHERE deploy_id = d.id AND phase LIKE 'gate:%')) ORDER BY id LIMIT ? + 0",
        )
        .bind(app.id)
        .bind(after.0)
        .bind(MOST)
        .fetch_all(&self.reader)
        .await?;
        let migration = |(deploy, name)| Migration {
            deploy: DeployId(deploy),
            name,
        };
        Ok(MigrationsSince {
            applied: applied.into_iter().map(migration).collect(),
            unknown: unknown.into_iter().map(DeployId).collect(),
        })
    }

    /// The deploy that made what a release runs: reverts and restarts run an earlier one's again.
    pub async fn origin(&self, mut release: DeployId) -> Result<DeployId, StoreError> {
        while let Some(source) = self
            .source_release(release)
            .await?
            .filter(|source| *source < release)
        {
            if !self.exists(source).await? {
                break;
            }
            release = source;
        }
        Ok(release)
    }

    async fn exists(&self, id: DeployId) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM deploys WHERE id = ?)");
        Ok(query.bind(id.0).fetch_one(&self.reader).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::deploys::tests::{push, release};
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::{DeployEvent, Phase, Trigger};
    use crate::store::NewDeploy;

    async fn started(store: &Store, new: &NewDeploy) -> DeployId {
        let (id, _) = store.queue_deploy(new).await.unwrap();
        store
            .change_deploy(id, DeployEvent::Start, None, None)
            .await
            .unwrap();
        id
    }

    #[tokio::test]
    async fn what_was_applied_is_told_once_and_what_is_not_known_is_said() {
        let (_dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let first = started(&store, &new).await;
        store.expect_migrations(first).await.unwrap();
        assert!(store.begin_migrations(first).await.unwrap());
        store
            .add_migrations(&new.app, first, &["shop.0001_initial".into()], true)
            .await
            .unwrap();
        store.go_live(&release(first, &new)).await.unwrap();

        // One that fails later has changed the schema all the same; a second attempt says nothing twice.
        let failed = started(&store, &new).await;
        store.expect_migrations(failed).await.unwrap();
        store.begin_migrations(failed).await.unwrap();
        let two = ["shop.0002_price".to_owned(), "shop.0003_tax".to_owned()];
        store
            .add_migrations(&new.app, failed, &two, true)
            .await
            .unwrap();
        store
            .add_migrations(&new.app, failed, &two[1..], true)
            .await
            .unwrap();
        store
            .change_deploy(failed, DeployEvent::Fail, None, Some(1))
            .await
            .unwrap();
        let since = store.migrations_since(&new.app, first).await.unwrap();
        let names: Vec<&str> = since.applied.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            (names, since.unknown),
            (vec!["shop.0002_price", "shop.0003_tax"], vec![])
        );
        assert!(
            store
                .migrations_since(&new.app, failed)
                .await
                .unwrap()
                .applied
                .is_empty()
        );

        // Whoever was killed in the middle has left nobody to know, a second attempt included.
        let killed = started(&store, &new).await;
        store.begin_migrations(killed).await.unwrap();
        assert!(!store.begin_migrations(killed).await.unwrap());
        store
            .change_deploy(killed, DeployEvent::Fail, None, Some(1))
            .await
            .unwrap();
        // It is only told of those that came as far as a gate.
        assert_eq!(
            store
                .migrations_since(&new.app, first)
                .await
                .unwrap()
                .unknown,
            []
        );
        store
            .begin_phase(killed, 0, &Phase::Gate("migrate".parse().unwrap()))
            .await
            .unwrap();
        assert_eq!(
            store
                .migrations_since(&new.app, first)
                .await
                .unwrap()
                .unknown,
            [killed]
        );
    }

    #[tokio::test]
    async fn what_runs_an_earlier_release_again_is_as_old_as_that() {
        let (_dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let first = started(&store, &new).await;
        store.go_live(&release(first, &new)).await.unwrap();
        let again = |trigger, source| NewDeploy {
            trigger,
            source: Some(source),
            ..new.clone()
        };
        let restart = started(&store, &again(Trigger::Restart, first)).await;
        store.go_live(&release(restart, &new)).await.unwrap();
        let revert = started(&store, &again(Trigger::Revert, restart)).await;
        assert_eq!(store.origin(revert).await.unwrap(), first);
        assert_eq!(store.origin(first).await.unwrap(), first);
        let orphan = started(&store, &again(Trigger::Revert, DeployId(0))).await;
        assert_eq!(
            store.origin(orphan).await.unwrap(),
            orphan,
            "its source is forgotten"
        );
    }
}
