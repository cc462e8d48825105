//! An app's environment, sealed at rest.

use super::{Store, StoreError};
use crate::domain::{AppName, Environment};

impl Store {
    /// The environment of an app as it is set today.
    pub async fn env(&self, app: &AppName) -> Result<Environment, StoreError> {
        let row = self.app(app).await?;
        let sealed: Vec<(String, Vec<u8>)> =
            sqlx::query_as("SELECT name, sealed FROM env WHERE app_id = ? ORDER BY name")
                .bind(row.id)
                .fetch_all(&self.reader)
                .await?;
        let mut env = Environment::default();
        for (name, sealed) in sealed {
            let plain = self.sealer.unseal(&place(app, &name), &sealed)?;
            let value = String::from_utf8(plain).map_err(|_| StoreError::Unreadable("env"))?;
            env.set(&name, &value)
                .map_err(|_| StoreError::Unreadable("env"))?;
        }
        Ok(env)
    }

    /// Sets variables, all or none.
    pub async fn set_env(&self, app: &AppName, vars: &Environment) -> Result<(), StoreError> {
        let row = self.app(app).await?;
        let mut tx = self.begin().await?;
        for (name, value) in vars.iter() {
            sqlx::query(
                "INSERT INTO env (app_id, name, sealed) VALUES (?, ?, ?) \
                 ON CONFLICT (app_id, name) DO UPDATE SET sealed = excluded.sealed",
            )
            .bind(row.id)
            .bind(name)
            .bind(self.sealer.seal(&place(app, name), value.as_bytes())?)
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Removes variables; returns the names that were not set.
    pub async fn unset_env(
        &self,
        app: &AppName,
        names: &[String],
    ) -> Result<Vec<String>, StoreError> {
        let row = self.app(app).await?;
        let mut tx = self.begin().await?;
        let mut unknown = Vec::new();
        for name in names {
            let gone = sqlx::query("DELETE FROM env WHERE app_id = ? AND name = ?")
                .bind(row.id)
                .bind(name)
                .execute(&mut *tx)
                .await?;
            if gone.rows_affected() == 0 {
                unknown.push(name.clone());
            }
        }
        tx.commit().await?;
        Ok(unknown)
    }
}

fn place(app: &AppName, name: &str) -> String {
    format!("env/{app}/{name}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    #[tokio::test]
    async fn variables_are_set_replaced_and_removed() {
        let (_dir, store) = scratch().await;
        let shop: AppName = "shop".parse().unwrap();
        store
            .create_app(&shop, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let mut vars = Environment::default();
        vars.set("A", "1").unwrap();
        vars.set("B", "two words\nand a line").unwrap();
        store.set_env(&shop, &vars).await.unwrap();
        assert_eq!(store.env(&shop).await.unwrap(), vars);
        vars.set("A", "2").unwrap();
        store.set_env(&shop, &vars).await.unwrap();
        let unknown = store
            .unset_env(&shop, &["B".into(), "C".into()])
            .await
            .unwrap();
        assert_eq!(unknown, ["C"]);
        assert_eq!(store.env(&shop).await.unwrap().assignments(), ["A=2"]);
    }
}
