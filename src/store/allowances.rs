//! What an admin allows an app beyond what every app may.

use std::num::NonZeroU32;

use super::{Store, StoreError};
use crate::domain::{Allowance, AppName, Bytes, Capability, Cpus, Limits};

/// Memory in bytes, processes, thousandths of a processor, capabilities.
type Columns = (
    Option<u64>,
    Option<NonZeroU32>,
    Option<u32>,
    Vec<Capability>,
);

/// An allowance as a JSON array of its [`Columns`].
pub(super) fn allowance(columns: Option<String>) -> Result<Allowance, StoreError> {
    let Some(columns) = columns else {
        return Ok(Allowance::default());
    };
    let unreadable = |_| StoreError::Unreadable("allowances");
    let (memory, pids, cpus, capabilities): Columns =
        serde_json::from_str(&columns).map_err(unreadable)?;
    let limits = Limits {
        memory: memory.map(Bytes),
        pids,
        cpus: cpus.map(Cpus::from_millis),
    };
    Ok(Allowance {
        limits,
        capabilities,
    })
}

impl Store {
    /// What an app is allowed; nothing where there is no such app, as one that goes while it is listed.
    pub async fn allowance(&self, app: &AppName) -> Result<Allowance, StoreError> {
        match self.app(app).await {
            Err(StoreError::NoApp(_)) => Ok(Allowance::default()),
            row => Ok(row?.allowed),
        }
    }

    /// Allows an app this, instead of what it was allowed before.
    pub async fn allow(&self, app: &AppName, allowance: &Allowance) -> Result<(), StoreError> {
        let id = self.app(app).await?.id;
        let Allowance {
            limits,
            capabilities,
        } = allowance;
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
        assert!(matches!(
            store.allow(&shop, &Allowance::default()).await,
            Err(StoreError::NoApp(_))
        ));
        store
            .create_app(&shop, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), Allowance::default());
        let limits = Limits {
            memory: Some("2g".parse().unwrap()),
            pids: NonZeroU32::new(600),
            cpus: Some("1.5".parse().unwrap()),
        };
        let much = Allowance {
            limits,
            capabilities: vec!["NET_RAW".parse().unwrap()],
        };
        store.allow(&shop, &much).await.unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), much);
        let less = Allowance {
            limits: Limits {
                pids: None,
                ..limits
            },
            capabilities: Vec::new(),
        };
        store.allow(&shop, &less).await.unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), less);
        store.destroy_app(&shop).await.unwrap();
        store
            .create_app(&shop, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(store.allowance(&shop).await.unwrap(), Allowance::default());
    }
}
