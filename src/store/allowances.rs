//! What an admin allows an app beyond what every app may.

use std::num::NonZeroU32;

use super::{Store, StoreError};
use crate::domain::{Allowance, AppName, Bytes, Cpus, Limits};

type Row = (Option<i64>, Option<u32>, Option<u32>, String);

impl Store {
    /// What an app is allowed; nothing where there is no such app, as one that goes while it is listed.
    pub async fn allowance(&self, app: &AppName) -> Result<Allowance, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT memory, pids, cpus, capabilities FROM allowances \
             WHERE app_id = (SELECT id FROM apps WHERE name = ?)",
        )
        .bind(app.as_str())
        .fetch_optional(&self.reader)
        .await?;
        let Some((memory, pids, cpus, capabilities)) = row else { return Ok(Allowance::default()) };
        Ok(Allowance {
            limits: Limits {
                memory: memory.map(|bytes| Bytes(bytes.unsigned_abs())),
                pids: pids.and_then(NonZeroU32::new),
                cpus: cpus.map(Cpus::from_millis),
            },
            capabilities: serde_json::from_str(&capabilities)
                .map_err(|_| StoreError::Unreadable("allowances.capabilities"))?,
        })
    }

    /// Allows an app this, instead of what it was allowed before.
    pub async fn allow(&self, app: &AppName, allowance: &Allowance) -> Result<(), StoreError> {
        let id = self.app(app).await?.id;
        let Allowance { limits, capabilities } = allowance;
        sqlx::query(
            "INSERT INTO allowances (app_id, memory, pids, cpus, capabilities) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (app_id) DO UPDATE SET memory = excluded.memory, pids = excluded.pids, \
             cpus = excluded.cpus, capabilities = excluded.capabilities",
        )
        .bind(id)
        .bind(limits.memory.map(|memory| i64::try_from(memory.0).unwrap_or(i64::MAX)))
        .bind(limits.pids.map(NonZeroU32::get))
        .bind(limits.cpus.map(Cpus::millis))
        .bind(serde_json::json!(capabilities).to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    #[tokio::test]
    async fn what_is_allowed_reads_back_and_goes_with_its_app() {
        let (_dir, store) = scratch().await;
        let shop: AppName = "shop".parse().unwrap();
        assert!(matches!(store.allow(&shop, &Allowance::default()).await, Err(StoreError::NoApp(_))));
        store.create_app(&shop, &[], "10.213.0.64/26".parse().unwrap()).await.unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), Allowance::default());
        let limits = Limits {
            memory: Some("2g".parse().unwrap()),
            pids: NonZeroU32::new(600),
            cpus: Some("1.5".parse().unwrap()),
        };
        let much = Allowance { limits, capabilities: vec!["NET_RAW".parse().unwrap()] };
        store.allow(&shop, &much).await.unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), much);
        let less = Allowance { limits: Limits { pids: None, ..limits }, capabilities: Vec::new() };
        store.allow(&shop, &less).await.unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), less);
        store.destroy_app(&shop).await.unwrap();
        store.create_app(&shop, &[], "10.213.0.64/26".parse().unwrap()).await.unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), Allowance::default());
    }
}
