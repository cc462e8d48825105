//! Apps and their domains.

use ipnet::Ipv4Net;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::allowances::allowance;
use super::{Store, StoreError};
use crate::domain::{Allowance, AppName, DomainName, Timestamp};

/// An app as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRow {
    pub(super) id: i64,
    /// Its name.
    pub name: AppName,
    /// Its domains, in the order given.
    pub domains: Vec<DomainName>,
    /// The subnet of its network.
    pub subnet: Ipv4Net,
    /// The port that Caddy's route names; `None` before the first release.
    pub port: Option<u16>,
    /// Whether it is being destroyed.
    pub leaving: bool,
    /// Whether its badge and its status are there for everybody.
    pub public: bool,
    /// What it is allowed beyond what every app may.
    pub allowed: Allowance,
}

/// What a secret name of an app is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretName {
    /// Part of its images' names: whoever knows one can build from it.
    Image,
    /// What its builds' cache is kept under.
    BuildCache,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, name, subnet, port, (SELECT json_group_array(domain ORDER BY ordinal) \
             FROM domains WHERE app_id = apps.id) AS domains, leaving, public, \
             (SELECT json_array(memory, pids, cpus, json(capabilities)) FROM allowances \
             WHERE app_id = apps.id) AS allowed FROM apps ",
            $tail
        )
    };
}

impl Store {
    /// What an app is called where other apps must not find it: stable as long as the app is there, of
    /// its own for each purpose, and not to be guessed.
    pub async fn secret_name(
        &self,
        app: &AppName,
        purpose: SecretName,
    ) -> Result<String, StoreError> {
        // Numbers are never given again: an app that is made anew is another one.
        let id = self.app(app).await?.id;
        let purpose = match purpose {
            SecretName::Image => "image",
            SecretName::BuildCache => "build cache",
        };
        Ok(self.sealer.secret_name(&format!("{purpose}/{id}/{app}")))
    }

    /// Creates an app.
    ///
    /// # Errors
    /// [`StoreError::AppExists`], or [`StoreError::DomainTaken`] with the app that has it.
    pub async fn create_app(
        &self,
        name: &AppName,
        domains: &[DomainName],
        subnet: Ipv4Net,
    ) -> Result<AppRow, StoreError> {
        let mut tx = self.begin().await?;
        let taken: Option<i64> = sqlx::query_scalar("SELECT id FROM apps WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        if taken.is_some() {
            return Err(StoreError::AppExists(name.clone()));
        }
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO apps (name, subnet, created_at) VALUES (?, ?, ?) RETURNING id",
        )
        .bind(name.as_str())
        .bind(subnet.to_string())
        .bind(Timestamp::now().millis())
        .fetch_one(&mut *tx)
        .await?;
        add_domains(&mut tx, id, domains).await?;
        tx.commit().await?;
        let (name, domains) = (name.clone(), domains.to_vec());
        let (port, leaving, public, allowed) = (None, false, false, Allowance::default());
        Ok(AppRow {
            id,
            name,
            domains,
            subnet,
            port,
            leaving,
            public,
            allowed,
        })
    }

    /// The app of that name.
    ///
    /// # Errors
    /// [`StoreError::NoApp`].
    pub async fn app(&self, name: &AppName) -> Result<AppRow, StoreError> {
        sqlx::query(select!("WHERE name = ?"))
            .bind(name.as_str())
            .fetch_optional(&self.reader)
            .await?
            .map_or_else(|| Err(StoreError::NoApp(name.clone())), |row| read(&row))
    }

    /// Every app, by name.
    pub async fn apps(&self) -> Result<Vec<AppRow>, StoreError> {
        sqlx::query(select!("ORDER BY name"))
            .fetch_all(&self.reader)
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// Sets the domains of several apps at once: one may get what another had.
    ///
    /// # Errors
    /// [`StoreError::DomainTaken`], and nothing is changed.
    pub async fn set_domains(&self, all: &[(&AppName, &[DomainName])]) -> Result<(), StoreError> {
        let mut ids = Vec::new();
        for (name, domains) in all {
            ids.push((self.app(name).await?.id, domains));
        }
        let mut tx = self.begin().await?;
        for (id, _) in &ids {
            sqlx::query("DELETE FROM domains WHERE app_id = ?")
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        for (id, domains) in ids {
            add_domains(&mut tx, id, domains).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Sets the port that Caddy's route names; `None` while the app has no release.
    pub async fn set_port(&self, name: &AppName, port: Option<u16>) -> Result<(), StoreError> {
        // Putting names in order must work also while the database cannot be written.
        if self.app(name).await?.port == port {
            return Ok(());
        }
        sqlx::query("UPDATE apps SET port = ? WHERE name = ?")
            .bind(port)
            .bind(name.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Makes an app's badge and status there for everybody, or for nobody.
    pub async fn set_public(&self, name: &AppName, public: bool) -> Result<(), StoreError> {
        self.app(name).await?;
        sqlx::query("UPDATE apps SET public = ? WHERE name = ?")
            .bind(public)
            .bind(name.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Records that an app is to go: nothing is deployed to it any more.
    pub async fn set_leaving(&self, name: &AppName) -> Result<(), StoreError> {
        sqlx::query("UPDATE apps SET leaving = 1 WHERE name = ?")
            .bind(name.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Forgets an app with all its rows.
    pub async fn destroy_app(&self, name: &AppName) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM apps WHERE name = ?")
            .bind(name.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

async fn add_domains(
    tx: &mut Transaction<'static, Sqlite>,
    app: i64,
    domains: &[DomainName],
) -> Result<(), StoreError> {
    for (ordinal, domain) in domains.iter().enumerate() {
        let owner: Option<String> = sqlx::query_scalar(
            "SELECT name FROM apps JOIN domains ON app_id = apps.id WHERE domain = ?",
        )
        .bind(domain.as_str())
        .fetch_optional(&mut **tx)
        .await?;
        if let Some(owner) = owner {
            let app = owner
                .parse()
                .map_err(|_| StoreError::Unreadable("apps.name"))?;
            return Err(StoreError::DomainTaken {
                domain: domain.clone(),
                app,
            });
        }
        sqlx::query("INSERT INTO domains (domain, app_id, ordinal) VALUES (?, ?, ?)")
            .bind(domain.as_str())
            .bind(app)
            .bind(ordinal as i64)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

fn read(row: &SqliteRow) -> Result<AppRow, StoreError> {
    let unreadable = StoreError::Unreadable;
    let domains: String = row.try_get("domains")?;
    Ok(AppRow {
        id: row.try_get("id")?,
        name: row
            .try_get::<String, _>("name")?
            .parse()
            .map_err(|_| unreadable("apps.name"))?,
        subnet: row
            .try_get::<String, _>("subnet")?
            .parse()
            .map_err(|_| unreadable("apps.subnet"))?,
        port: row.try_get("port")?,
        leaving: row.try_get("leaving")?,
        public: row.try_get("public")?,
        allowed: allowance(row.try_get("allowed")?)?,
        domains: serde_json::from_str(&domains).map_err(|_| unreadable("domains"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    #[tokio::test]
    async fn names_and_domains_are_taken_once() {
        let (_dir, store) = scratch().await;
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let domains: Vec<DomainName> = vec![
            "b.example.com".parse().unwrap(),
            "a.example.com".parse().unwrap(),
        ];
        let net = "10.213.0.64/26".parse().unwrap();
        let made = store.create_app(&shop, &domains, net).await.unwrap();
        assert_eq!(store.app(&shop).await.unwrap(), made);

        let again = store
            .create_app(&shop, &[], "10.213.1.0/26".parse().unwrap())
            .await;
        assert!(matches!(again, Err(StoreError::AppExists(_))));
        let error = store
            .create_app(&blog, &domains[1..], "10.213.1.0/26".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the domain a.example.com belongs to the app shop"
        );
        assert!(
            matches!(store.app(&blog).await, Err(StoreError::NoApp(_))),
            "nothing half made"
        );

        let error = store
            .set_domains(&[(
                &shop,
                &["c.example.com".parse().unwrap(), domains[0].clone()],
            )])
            .await;
        assert!(error.is_ok());
        assert_eq!(store.app(&shop).await.unwrap().domains[1], domains[0]);
        store
            .create_app(&blog, &domains[1..], "10.213.1.0/26".parse().unwrap())
            .await
            .unwrap();
        let taken = store.set_domains(&[(&shop, &domains)]).await.unwrap_err();
        assert_eq!(
            taken.to_string(),
            "the domain a.example.com belongs to the app blog"
        );
        assert_eq!(
            store.app(&shop).await.unwrap().domains.len(),
            2,
            "all or nothing"
        );
        store.destroy_app(&blog).await.unwrap();

        store.set_port(&shop, Some(9000)).await.unwrap();
        assert_eq!(store.apps().await.unwrap()[0].port, Some(9000));
        store.destroy_app(&shop).await.unwrap();
        assert!(
            store.create_app(&blog, &domains, net).await.is_ok(),
            "a destroyed app frees its domains"
        );
    }
}
