//! What may be forgotten, and forgetting it.

use std::collections::HashMap;

use super::{Store, StoreError};
use crate::domain::{AppName, DeployId, DeployStatus, Timestamp};

/// Deploys of the app `?1` that mean nothing any more once the newest `?2` are kept: closed, not the
/// newest kept release of their commit, and nothing goes back to them. What another was made from
/// goes only if it was itself made from one, which then takes its place.
macro_rules! forgettable {
    ($select:literal) => {
        concat!(
            "SELECT ",
            $select,
            " FROM deploys d \
             WHERE d.app_id = (SELECT id FROM apps WHERE name = ?1) \
             AND d.id <= (SELECT id FROM deploys WHERE app_id = d.app_id ORDER BY id DESC LIMIT 1 OFFSET ?2) \
             AND d.status NOT IN ('queued', 'running', 'live') AND d.finished_at IS NOT NULL \
             AND d.id NOT IN (SELECT max(deploy_id) FROM releases \
                              WHERE app_id = d.app_id AND image_kept GROUP BY commit_id) \
             AND d.id NOT IN (SELECT source_release FROM deploys \
                              WHERE status IN ('queued', 'running') AND source_release IS NOT NULL) \
             AND (d.source_release IS NOT NULL OR d.id NOT IN ( \
                  SELECT source_release FROM deploys WHERE app_id = d.app_id AND source_release IS NOT NULL)) "
        )
    };
}

impl Store {
    /// The status of each of these deploys that there is.
    pub async fn statuses(
        &self,
        ids: &[DeployId],
    ) -> Result<HashMap<DeployId, DeployStatus>, StoreError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT id, status FROM deploys WHERE id IN (SELECT value FROM json_each(?))",
        )
        .bind(json(ids))
        .fetch_all(&self.reader)
        .await?;
        let read = |(id, status): (i64, String)| {
            let status = status
                .parse()
                .map_err(|_| StoreError::Unreadable("deploys.status"))?;
            Ok((DeployId(id), status))
        };
        rows.into_iter().map(read).collect()
    }

    /// Apps with more than `keep` deploys.
    pub async fn apps_beyond(&self, keep: u32) -> Result<Vec<AppName>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM apps WHERE id IN (SELECT app_id FROM deploys GROUP BY app_id HAVING count(*) > ?)",
        )
        .bind(keep)
        .fetch_all(&self.reader)
        .await?;
        let read = |name: String| {
            name.parse()
                .map_err(|_| StoreError::Unreadable("apps.name"))
        };
        names.into_iter().map(read).collect()
    }

    /// Of an app's deploys beyond the newest `keep`, at most `limit` that nothing needs, newest first.
    pub async fn forgettable(
        &self,
        app: &AppName,
        keep: u32,
        limit: u32,
    ) -> Result<Vec<DeployId>, StoreError> {
        let ids: Vec<i64> = sqlx::query_scalar(concat!(
            forgettable!("d.id"),
            "ORDER BY d.id DESC LIMIT ?3 + 0"
        ))
        .bind(app.as_str())
        .bind(keep)
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        Ok(ids.into_iter().map(DeployId).collect())
    }

    /// Forgets those of `ids` (newest first) that are still [`Store::forgettable`], with their phases
    /// and releases. Gives how many.
    pub async fn forget_deploys(
        &self,
        app: &AppName,
        keep: u32,
        ids: &[DeployId],
    ) -> Result<usize, StoreError> {
        let mut tx = self.begin().await?;
        let rows: Vec<(i64, Option<i64>)> = sqlx::query_as(concat!(
            forgettable!("d.id, d.source_release"),
            "AND d.id IN (SELECT value FROM json_each(?3)) ORDER BY d.id DESC"
        ))
        .bind(app.as_str())
        .bind(keep)
        .bind(json(ids))
        .fetch_all(&mut *tx)
        .await?;
        for (id, source) in &rows {
            // What was made from this one was made from what this one was made from.
            if source.is_some() {
                sqlx::query(
                    "UPDATE deploys SET source_release = ?2 WHERE source_release = ?1 \
                     AND app_id = (SELECT app_id FROM deploys WHERE id = ?1)",
                )
                .bind(id)
                .bind(source)
                .execute(&mut *tx)
                .await?;
            }
            sqlx::query("DELETE FROM deploys WHERE id = ?")
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    /// Forgets sessions that have ended, by time or for want of use.
    pub async fn forget_sessions(&self) -> Result<(), StoreError> {
        let now = Timestamp::now().millis();
        sqlx::query("DELETE FROM sessions WHERE expires_at <= ?1 OR seen_at <= ?1 - ?2")
            .bind(now)
            .bind(super::sessions::IDLE)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

fn json(ids: &[DeployId]) -> String {
    let ids: Vec<String> = ids.iter().map(DeployId::to_string).collect();
    format!("[{}]", ids.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::NewDeploy;
    use super::super::deploys::tests::{push, release};
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::{CommitId, DeployEvent, Trigger};

    fn commit(letter: char) -> CommitId {
        letter.to_string().repeat(40).parse().unwrap()
    }

    /// A world of one app whose deploys are written down as a story: `A` pushes commit A live, `a` is
    /// a push of it that fails, `R3` goes back to deploy 3, `S` restarts.
    struct Story {
        store: Store,
        app: AppName,
        _dir: tempfile::TempDir,
    }

    impl Story {
        async fn tell(words: &str) -> Self {
            let (dir, store) = scratch().await;
            let app = push("shop").app;
            store
                .create_app(&app, &[], "10.213.0.64/26".parse().unwrap())
                .await
                .unwrap();
            let story = Self {
                store,
                app,
                _dir: dir,
            };
            for word in words.split_whitespace() {
                story.word(word).await;
            }
            story
        }

        async fn word(&self, word: &str) -> DeployId {
            let live = self.store.live_deploy(&self.app).await.unwrap();
            let (first, rest) = word.split_at(1);
            let (trigger, commit, source) = match first {
                "R" => {
                    let source = DeployId(rest.parse().unwrap());
                    let commit = self.store.release(source).await.unwrap().unwrap().commit;
                    (Trigger::Revert, commit, Some(source))
                }
                "S" => {
                    let live = live.unwrap();
                    (Trigger::Restart, live.commit, Some(live.id))
                }
                letter => (
                    Trigger::Push,
                    commit(letter.to_ascii_lowercase().chars().next().unwrap()),
                    None,
                ),
            };
            let new = NewDeploy {
                trigger,
                commit,
                source,
                ..push("shop")
            };
            let (id, _) = self.store.queue_deploy(&new).await.unwrap();
            self.store
                .change_deploy(id, DeployEvent::Start, None, None)
                .await
                .unwrap();
            if first.chars().all(char::is_lowercase) {
                self.store
                    .change_deploy(id, DeployEvent::Fail, None, None)
                    .await
                    .unwrap();
            } else {
                self.store.go_live(&release(id, &new)).await.unwrap();
                self.store.finish_deploy(id, 1).await.unwrap();
            }
            id
        }

        /// Keeps images of the newest `count` releases only.
        async fn images(&self, count: usize) {
            for (id, _) in self
                .store
                .kept_images(&self.app)
                .await
                .unwrap()
                .into_iter()
                .skip(count)
            {
                self.store.forget_image(id).await.unwrap();
            }
        }

        /// Forgets all there is to forget in batches of two, and gives what is left, oldest first.
        async fn forget(&self, keep: u32) -> Vec<i64> {
            loop {
                let ids = self.store.forgettable(&self.app, keep, 2).await.unwrap();
                if ids.is_empty() {
                    break;
                }
                assert_eq!(
                    self.store
                        .forget_deploys(&self.app, keep, &ids)
                        .await
                        .unwrap(),
                    ids.len(),
                    "{ids:?}"
                );
            }
            let deploys = self.store.deploys(&self.app, 1000, None).await.unwrap();
            deploys.iter().rev().map(|deploy| deploy.id.0).collect()
        }
    }

    #[tokio::test]
    async fn old_deploys_go_and_what_can_be_gone_back_to_at_once_stays() {
        let story = Story::tell("A b B c C D e f e").await;
        story.images(2).await;
        assert_eq!(
            story.store.apps_beyond(8).await.unwrap(),
            vec![story.app.clone()]
        );
        assert_eq!(story.store.apps_beyond(9).await.unwrap(), []);
        // 6 is live, 5 is kept.
        assert_eq!(story.forget(2).await, [5, 6, 8, 9]);
        assert!(story.store.release(DeployId(1)).await.unwrap().is_none());
        assert_eq!(story.forget(2).await, [5, 6, 8, 9]);
        let statuses = story
            .store
            .statuses(&[DeployId(1), DeployId(6), DeployId(9)])
            .await
            .unwrap();
        let expected = [
            (DeployId(6), DeployStatus::Live),
            (DeployId(9), DeployStatus::Failed),
        ];
        assert_eq!(statuses, HashMap::from(expected));
    }

    #[tokio::test]
    async fn what_a_chain_of_restarts_and_reverts_began_with_stays_and_its_middle_goes() {
        // 4 goes back to 1, what follows restarts that.
        let story = Story::tell("A B C R1 S S S S").await;
        story.images(0).await;
        assert_eq!(story.forget(2).await, [1, 7, 8]);
        assert_eq!(
            story.store.source_release(DeployId(7)).await.unwrap(),
            Some(DeployId(1))
        );
        assert_eq!(
            story.store.source_release(DeployId(8)).await.unwrap(),
            Some(DeployId(7))
        );
    }

    #[tokio::test]
    async fn endless_restarts_of_one_image_are_bounded() {
        let words = format!("A B {}", "S ".repeat(30));
        let story = Story::tell(&words).await;
        // The last 3, the push that they restart, and the kept release before it.
        assert_eq!(story.forget(3).await, [1, 2, 30, 31, 32]);
    }

    #[tokio::test]
    async fn what_waits_or_runs_keeps_itself_and_what_it_goes_back_to() {
        let story = Story::tell("A B C D e f e").await;
        story.images(0).await;
        let back = NewDeploy {
            trigger: Trigger::Revert,
            source: Some(DeployId(2)),
            ..push("shop")
        };
        let (id, _) = story.store.queue_deploy(&back).await.unwrap();
        assert_eq!(story.forget(1).await, [2, 4, id.0]);
        story
            .store
            .change_deploy(id, DeployEvent::Start, None, None)
            .await
            .unwrap();
        let open = story.word("f").await;
        assert_eq!(story.forget(1).await, [2, 4, id.0, open.0]);
    }

    #[tokio::test]
    async fn a_list_that_is_out_of_date_harms_nothing() {
        let story = Story::tell("A B c d").await;
        let all: Vec<DeployId> = (1..=4).rev().map(DeployId).collect();
        assert_eq!(
            story
                .store
                .forget_deploys(&story.app, 1, &all)
                .await
                .unwrap(),
            1,
            "only 3 may go"
        );
        assert_eq!(story.forget(1).await, [1, 2, 4]);
        story.store.forget_sessions().await.unwrap();
    }
}
