//! What deploys bring, as it was found when they began.

use super::{Store, StoreError};
use crate::domain::{Changes, DeployId};

impl Store {
    /// Records what a deploy brings.
    pub async fn set_changes(&self, id: DeployId, changes: &Changes) -> Result<(), StoreError> {
        sqlx::query("INSERT OR REPLACE INTO changes (deploy_id, told) VALUES (?, ?)")
            .bind(id.0)
            .bind(serde_json::to_string(changes).map_err(|_| StoreError::Unreadable("changes"))?)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// What a deploy brings, where that is known.
    pub async fn changes(&self, id: DeployId) -> Result<Option<Changes>, StoreError> {
        let told: Option<String> =
            sqlx::query_scalar("SELECT told FROM changes WHERE deploy_id = ?")
                .bind(id.0)
                .fetch_optional(&self.reader)
                .await?;
        told.map(|told| {
            serde_json::from_str(&told).map_err(|_| StoreError::Unreadable("changes.told"))
        })
        .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::deploys::tests::push;
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::{ChangedFile, ChangedFiles, CommitLine};

    #[tokio::test]
    async fn what_a_deploy_brings_reads_back() {
        let (_dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let (id, _) = store.queue_deploy(&new).await.unwrap();
        assert_eq!(store.changes(id).await.unwrap(), None);
        let mut changes = Changes {
            since: Some(DeployId(7)),
            ..Changes::default()
        };
        store.set_changes(id, &changes).await.unwrap();
        changes.come.list.push(CommitLine {
            id: new.commit,
            subject: "<b>".into(),
            author: "Ada".into(),
        });
        let file = ChangedFile {
            path: "a/b".into(),
            lines: Some((1, 2)),
        };
        changes.files = Some(ChangedFiles {
            first: vec![file],
            more: 3,
            added: 9,
            removed: 8,
        });
        store.set_changes(id, &changes).await.unwrap();
        assert_eq!(store.changes(id).await.unwrap(), Some(changes));
    }
}
