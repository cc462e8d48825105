//! Releases: what a revert can go back to.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError};
use crate::domain::{AppName, CommitId, DeployId, ImageRef, ProcessName, Release};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT r.deploy_id, a.name, r.commit_id, r.image, r.image_kept, r.manifest, r.port, r.sealed_env, \
             (SELECT json_group_array(json_object('process', p.name, 'replicas', p.replicas) ORDER BY p.ordinal) \
              FROM processes p WHERE p.deploy_id = r.deploy_id) AS processes \
             FROM releases r JOIN apps a ON a.id = r.app_id ",
            $tail
        )
    };
}

/// A release in a list: nothing of it is unsealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseLine {
    /// The deploy that made it.
    pub deploy: DeployId,
    /// What was built.
    pub commit: CommitId,
    /// Whether its image is still kept.
    pub image_kept: bool,
    /// How large that is, in bytes; not known of releases of older versions.
    pub image_size: Option<u64>,
}

impl Store {
    /// The releases that deploys from one to another made, both included.
    pub async fn release_lines(
        &self,
        app: &AppName,
        from: DeployId,
        to: DeployId,
    ) -> Result<Vec<ReleaseLine>, StoreError> {
        let lines = sqlx::query(
            "SELECT deploy_id, commit_id, image_kept, image_size FROM releases \
             WHERE app_id = (SELECT id FROM apps WHERE name = ?) AND deploy_id BETWEEN ? AND ?",
        )
        .bind(app.as_str())
        .bind(from.0)
        .bind(to.0)
        .fetch_all(&self.reader)
        .await?;
        let read = |row: &SqliteRow| {
            let commit: String = row.try_get("commit_id")?;
            let size: Option<i64> = row.try_get("image_size")?;
            Ok(ReleaseLine {
                deploy: DeployId(row.try_get("deploy_id")?),
                commit: commit
                    .parse()
                    .map_err(|_| StoreError::Unreadable("releases.commit_id"))?,
                image_kept: row.try_get("image_kept")?,
                image_size: size.map(|size| size.max(0) as u64),
            })
        };
        lines.iter().map(read).collect()
    }

    /// The release that `deploy` made, if it went live.
    pub async fn release(&self, deploy: DeployId) -> Result<Option<Release>, StoreError> {
        let row = sqlx::query(select!("WHERE r.deploy_id = ?"))
            .bind(deploy.0)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| self.read_release(&row)).transpose()
    }

    /// An app's releases, newest first.
    pub async fn releases(&self, app: &AppName, limit: u32) -> Result<Vec<Release>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE a.name = ? ORDER BY r.deploy_id DESC LIMIT ? + 0"
        ))
        .bind(app.as_str())
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| self.read_release(row)).collect()
    }

    /// The newest release of a commit.
    pub async fn release_of(
        &self,
        app: &AppName,
        commit: &CommitId,
    ) -> Result<Option<Release>, StoreError> {
        let row = sqlx::query(select!(
            "WHERE a.name = ? AND r.commit_id = ? ORDER BY r.image_kept DESC, r.deploy_id DESC LIMIT 1"
        ))
        .bind(app.as_str())
        .bind(commit.as_str())
        .fetch_optional(&self.reader)
        .await?;
        row.map(|row| self.read_release(&row)).transpose()
    }

    /// The names of the processes that releases of an app have or had.
    pub async fn process_names(&self, app: &AppName) -> Result<Vec<ProcessName>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT p.name FROM processes p JOIN releases r ON r.deploy_id = p.deploy_id \
             WHERE r.app_id = (SELECT id FROM apps WHERE name = ?) ORDER BY p.name",
        )
        .bind(app.as_str())
        .fetch_all(&self.reader)
        .await?;
        process_names(&names)
    }

    /// Records, before it is told, that a process of a release is to take no new work, or that it does
    /// again.
    pub async fn set_quieted(
        &self,
        deploy: DeployId,
        process: &ProcessName,
        quieted: bool,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE processes SET quieted = ? WHERE deploy_id = ? AND name = ?")
            .bind(quieted)
            .bind(deploy.0)
            .bind(process.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// The processes of a release that take no new work, as far as they were told.
    pub async fn quieted(&self, deploy: DeployId) -> Result<Vec<ProcessName>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM processes WHERE deploy_id = ? AND quieted ORDER BY ordinal",
        )
        .bind(deploy.0)
        .fetch_all(&self.reader)
        .await?;
        process_names(&names)
    }

    /// Releases of an app whose image is kept, newest first, with the image's name. A revert runs an
    /// earlier release's image: several may have the same.
    pub async fn kept_images(&self, app: &AppName) -> Result<Vec<(DeployId, String)>, StoreError> {
        let kept: Vec<(i64, String)> = sqlx::query_as(
            "SELECT deploy_id, image FROM releases JOIN apps ON apps.id = app_id \
             WHERE name = ? AND image_kept ORDER BY deploy_id DESC",
        )
        .bind(app.as_str())
        .fetch_all(&self.reader)
        .await?;
        Ok(kept
            .into_iter()
            .map(|(id, image)| (DeployId(id), image))
            .collect())
    }

    /// Records that an image is called otherwise now.
    pub async fn rename_image(&self, old: &str, new: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE releases SET image = ?2 WHERE image = ?1")
            .bind(old)
            .bind(new)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Records that a release's image is gone: a revert to it has to build.
    pub async fn forget_image(&self, deploy: DeployId) -> Result<(), StoreError> {
        sqlx::query("UPDATE releases SET image_kept = 0 WHERE deploy_id = ?")
            .bind(deploy.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Records which image exactly a release runs: its id, and its size in bytes.
    pub async fn set_image_facts(
        &self,
        deploy: DeployId,
        id: &str,
        size: u64,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE releases SET image_id = ?, image_size = ? WHERE deploy_id = ?")
            .bind(id)
            .bind(size as i64)
            .bind(deploy.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Which image exactly a release runs; nothing for those of versions that did not record it.
    pub async fn image_facts(&self, deploy: DeployId) -> Result<Option<(String, u64)>, StoreError> {
        let facts: Option<(String, i64)> = sqlx::query_as(
            "SELECT image_id, image_size FROM releases \
             WHERE deploy_id = ? AND image_id IS NOT NULL AND image_size IS NOT NULL",
        )
        .bind(deploy.0)
        .fetch_optional(&self.reader)
        .await?;
        Ok(facts.map(|(id, size)| (id, size as u64)))
    }

    pub(super) fn seal_release_env(&self, release: &Release) -> Result<Vec<u8>, StoreError> {
        let plain =
            serde_json::to_vec(&release.env).map_err(|_| StoreError::Unreadable("environment"))?;
        Ok(self
            .sealer
            .seal(&place(&release.app, release.deploy), &plain)?)
    }

    fn read_release(&self, row: &SqliteRow) -> Result<Release, StoreError> {
        let bad = StoreError::Unreadable;
        let deploy = DeployId(row.try_get("deploy_id")?);
        let app: AppName = row
            .try_get::<String, _>("name")?
            .parse()
            .map_err(|_| bad("apps.name"))?;
        let env = self
            .sealer
            .unseal(&place(&app, deploy), row.try_get("sealed_env")?)?;
        Ok(Release {
            deploy,
            commit: row
                .try_get::<String, _>("commit_id")?
                .parse()
                .map_err(|_| bad("releases.commit_id"))?,
            image: ImageRef(row.try_get("image")?),
            image_kept: row.try_get("image_kept")?,
            manifest: serde_json::from_str(row.try_get("manifest")?)
                .map_err(|_| bad("releases.manifest"))?,
            processes: serde_json::from_str(row.try_get("processes")?)
                .map_err(|_| bad("processes"))?,
            port: row.try_get("port")?,
            env: serde_json::from_slice(&env).map_err(|_| bad("releases.sealed_env"))?,
            app,
        })
    }
}

fn process_names(names: &[String]) -> Result<Vec<ProcessName>, StoreError> {
    let names: Result<_, _> = names.iter().map(|name| name.parse()).collect();
    names.map_err(|_| StoreError::Unreadable("processes.name"))
}

fn place(app: &AppName, deploy: DeployId) -> String {
    format!("release/{app}/{deploy}")
}

#[cfg(test)]
mod tests {
    use super::super::deploys::tests::{push, release};
    use super::super::tests::scratch;
    use crate::domain::DeployEvent;

    #[tokio::test]
    async fn a_release_reads_back_with_its_environment_and_forgets_its_image() {
        let (dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let (id, _) = store.queue_deploy(&new).await.unwrap();
        store
            .change_deploy(id, DeployEvent::Start, None, None)
            .await
            .unwrap();
        let made = release(id, &new);
        store.go_live(&made).await.unwrap();
        assert_eq!(store.release(id).await.unwrap(), Some(made.clone()));
        assert_eq!(store.image_facts(id).await.unwrap(), None);
        store
            .set_image_facts(id, "sha256:ab", 5 << 30)
            .await
            .unwrap();
        assert_eq!(
            store.image_facts(id).await.unwrap(),
            Some(("sha256:ab".into(), 5 << 30))
        );
        store.forget_image(id).await.unwrap();
        assert!(
            !store
                .release_of(&new.app, &new.commit)
                .await
                .unwrap()
                .unwrap()
                .image_kept
        );
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(
                !bytes.windows(6).any(|w| w == b"s3cret"),
                "a secret in plain text on disk"
            );
        }
    }
}
