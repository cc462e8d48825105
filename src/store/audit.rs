//! Who did what, and what came of it. The database itself refuses to change or remove a row, but for
//! its outcome, which is written once.

use sqlx::FromRow;

use super::{Store, StoreError};
use crate::domain::{AppName, AuditEntry, AuditOutcome, Principal, Timestamp};

#[derive(FromRow)]
struct Row {
    id: i64,
    at: i64,
    actor: String,
    via: String,
    address: String,
    action: String,
    app: Option<String>,
    detail: String,
    denied: bool,
    outcome: Option<String>,
}

impl TryFrom<Row> for AuditEntry {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let app = row.app.map(|app| app.parse()).transpose();
        let outcome = row.outcome.map(|word| {
            let known = AuditOutcome::ALL
                .into_iter()
                .find(|outcome| outcome.as_str() == word);
            known.ok_or(StoreError::Unreadable("audit.outcome"))
        });
        Ok(Self {
            id: row.id,
            at: Timestamp::from_millis(row.at),
            actor: row.actor,
            via: row.via,
            address: row.address,
            action: row.action,
            app: app.map_err(|_| StoreError::Unreadable("audit.app"))?,
            detail: row.detail,
            denied: row.denied,
            outcome: outcome.transpose()?,
        })
    }
}

impl Store {
    /// Writes down what somebody is about to do, or did, or may not do. Gives the row's number, for
    /// [`Store::audit_came_to`] where no outcome is known yet.
    pub async fn audit(
        &self,
        who: &Principal,
        action: &str,
        app: Option<&AppName>,
        detail: &str,
        outcome: Option<AuditOutcome>,
    ) -> Result<i64, StoreError> {
        let done = sqlx::query(
            "INSERT INTO audit (at, actor, via, address, action, app, detail, denied, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(Timestamp::now().millis())
        .bind(&who.name)
        .bind(who.via.to_string())
        .bind(&who.address)
        .bind(action)
        .bind(app.map(AppName::as_str))
        .bind(detail)
        .bind(outcome == Some(AuditOutcome::Refused))
        .bind(outcome.map(AuditOutcome::as_str))
        .execute(&self.writer)
        .await?;
        Ok(done.last_insert_rowid())
    }

    /// Writes down what came of an action, and what is known of it only now, behind its detail.
    pub async fn audit_came_to(
        &self,
        id: i64,
        outcome: AuditOutcome,
        more: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE audit SET outcome = ?1, detail = detail \
             || iif(detail <> '' AND ?2 <> '', ' ', '') || ?2 WHERE id = ?3";
        sqlx::query(SQL)
            .bind(outcome.as_str())
            .bind(more)
            .bind(id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// The newest entries before the one numbered `before`, newest first; of one app, where given.
    pub async fn audit_entries(
        &self,
        app: Option<&AppName>,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let rows: Vec<Row> = match app {
            Some(app) => {
                sqlx::query_as(
                    "SELECT * FROM audit WHERE app = ? AND id < ? ORDER BY id DESC LIMIT ? + 0",
                )
                .bind(app.as_str())
                .bind(before.unwrap_or(i64::MAX))
                .bind(limit)
                .fetch_all(&self.reader)
                .await?
            }
            None => {
                sqlx::query_as("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ? + 0")
                    .bind(before.unwrap_or(i64::MAX))
                    .bind(limit)
                    .fetch_all(&self.reader)
                    .await?
            }
        };
        rows.into_iter().map(AuditEntry::try_from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    #[tokio::test]
    async fn what_is_written_down_stays() {
        let (_dir, store) = scratch().await;
        let who = Principal::local("root".into());
        let shop: AppName = "shop".parse().unwrap();
        let id = store
            .audit(&who, "env_set", Some(&shop), "TOKEN", None)
            .await
            .unwrap();
        let refused = Some(AuditOutcome::Refused);
        store
            .audit(&who, "app_create", None, "blog", refused)
            .await
            .unwrap();
        let outcomes = async || {
            let entries = store.audit_entries(None, 10, None).await.unwrap();
            entries
                .into_iter()
                .map(|entry| (entry.detail, entry.denied, entry.outcome))
                .collect::<Vec<_>>()
        };
        assert_eq!(outcomes().await[1], ("TOKEN".into(), false, None));
        store
            .audit_came_to(id, AuditOutcome::Done, "and more")
            .await
            .unwrap();
        assert_eq!(
            outcomes().await,
            [
                ("blog".into(), true, refused),
                ("TOKEN and more".into(), false, Some(AuditOutcome::Done))
            ]
        );
        let twice = store.audit_came_to(id, AuditOutcome::Failed, "").await;
        assert!(twice.unwrap_err().to_string().contains("append-only"));
        for sql in ["DELETE FROM audit", "UPDATE audit SET actor = 'ann'"] {
            let refused = sqlx::query(sql).execute(&store.writer).await.unwrap_err();
            assert!(refused.to_string().contains("append-only"), "{refused}");
        }
        let all = store.audit_entries(None, 10, None).await.unwrap();
        assert_eq!(
            all.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(),
            ["app_create", "env_set"]
        );
        assert_eq!(
            store
                .audit_entries(Some(&shop), 10, None)
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            store
                .audit_entries(None, 10, Some(all[0].id))
                .await
                .unwrap(),
            all[1..]
        );
    }
}
