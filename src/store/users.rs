//! Users: what they may do, and what they prove themselves with. Passwords come in hashed.

use sqlx::FromRow;

use super::{Store, StoreError};
use crate::domain::{AppName, Reach, Role, Timestamp, User, UserName};

/// What proves who somebody is, as it is stored.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The hash of the password; empty for a user without one.
    pub password_hash: String,
    /// The secret of the second factor, where there is one.
    pub totp: Option<Vec<u8>>,
    /// The last time step whose code was used.
    pub totp_step: i64,
}

#[derive(FromRow)]
pub(super) struct Row {
    name: String,
    role: String,
    apps: String,
    password: bool,
    second_factor: bool,
    created_at: i64,
}

impl TryFrom<Row> for User {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            name: row
                .name
                .parse()
                .map_err(|_| StoreError::Unreadable("users.name"))?,
            role: row
                .role
                .parse()
                .map_err(|_| StoreError::Unreadable("users.role"))?,
            apps: serde_json::from_str(&row.apps)
                .map_err(|_| StoreError::Unreadable("user_apps"))?,
            password: row.password,
            second_factor: row.second_factor,
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}

/// Of the users `u`.
pub(super) const COLUMNS: &str = "u.name, u.role, u.password_hash <> '' AS password, \
     u.sealed_totp IS NOT NULL AS second_factor, u.created_at, \
     (SELECT json_group_array(a.name ORDER BY a.name) FROM user_apps ua JOIN apps a ON a.id = ua.app_id \
      WHERE ua.user_id = u.id) AS apps";

impl Store {
    /// Whether anybody can log in.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users)")
            .fetch_one(&self.writer)
            .await?)
    }

    /// Every user, by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM users u ORDER BY u.name"
        )))
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(User::try_from).collect()
    }

    /// A user.
    ///
    /// # Errors
    /// [`StoreError::NoUser`].
    pub async fn user(&self, name: &UserName) -> Result<User, StoreError> {
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM users u WHERE u.name = ?"
        )))
        .bind(name.as_str())
        .fetch_optional(&self.reader)
        .await?;
        row.ok_or_else(|| StoreError::NoUser(name.clone()))?
            .try_into()
    }

    /// Adds a user who may `role` in `apps`. An empty hash is no password.
    ///
    /// # Errors
    /// [`StoreError::UserExists`], [`StoreError::NoApp`].
    pub async fn add_user(
        &self,
        name: &UserName,
        password_hash: &str,
        role: Role,
        apps: &[AppName],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let added = sqlx::query(
            "INSERT INTO users (name, password_hash, role, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(name.as_str())
        .bind(password_hash)
        .bind(role.as_str())
        .bind(Timestamp::now().millis())
        .execute(&mut *tx)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::UserExists(name.clone()));
        }
        set_apps(&mut tx, name, apps).await?;
        Ok(tx.commit().await?)
    }

    /// Changes what a user may do. The last administrator stays one.
    ///
    /// # Errors
    /// [`StoreError::NoUser`], [`StoreError::NoApp`], [`StoreError::LastAdmin`].
    pub async fn set_role(
        &self,
        name: &UserName,
        role: Role,
        apps: &[AppName],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let changed = sqlx::query("UPDATE users SET role = ? WHERE name = ?")
            .bind(role.as_str())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::NoUser(name.clone()));
        }
        set_apps(&mut tx, name, apps).await?;
        keep_an_admin(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Removes a user with their keys, tokens and sessions. The last administrator stays.
    ///
    /// # Errors
    /// [`StoreError::NoUser`], [`StoreError::LastAdmin`].
    pub async fn remove_user(&self, name: &UserName) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let removed = sqlx::query("DELETE FROM users WHERE name = ?")
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NoUser(name.clone()));
        }
        keep_an_admin(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// What a user proves themselves with; `None` for a name that nobody has.
    pub async fn proof(&self, name: &str) -> Result<Option<Proof>, StoreError> {
        let row: Option<(String, Option<Vec<u8>>, i64)> = sqlx::query_as(
            "SELECT password_hash, sealed_totp, totp_step FROM users WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&self.reader)
        .await?;
        let Some((password_hash, sealed, totp_step)) = row else {
            return Ok(None);
        };
        let totp = sealed
            .map(|sealed| self.sealer.unseal(&totp_place(name), &sealed))
            .transpose()?;
        Ok(Some(Proof {
            password_hash,
            totp,
            totp_step,
        }))
    }

    /// Sets a user's password; every session of theirs but `kept` ends.
    pub async fn set_password(
        &self,
        name: &UserName,
        password_hash: &str,
        kept: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let changed = sqlx::query("UPDATE users SET password_hash = ? WHERE name = ?")
            .bind(password_hash)
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::NoUser(name.clone()));
        }
        sqlx::query(
            "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = ?) AND token_hash IS NOT ?",
        )
        .bind(name.as_str())
        .bind(kept)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Gives a user a second factor with its recovery codes, hashed; or takes both away.
    pub async fn set_second_factor(
        &self,
        name: &UserName,
        factor: Option<(&[u8], &[[u8; 32]])>,
    ) -> Result<(), StoreError> {
        let sealed = factor
            .map(|(secret, _)| self.sealer.seal(&totp_place(name.as_str()), secret))
            .transpose()?;
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE users SET sealed_totp = ?, totp_step = 0 WHERE name = ?")
            .bind(sealed)
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "DELETE FROM recovery_codes WHERE user_id = (SELECT id FROM users WHERE name = ?)",
        )
        .bind(name.as_str())
        .execute(&mut *tx)
        .await?;
        for code in factor.map(|(_, codes)| codes).unwrap_or_default() {
            sqlx::query("INSERT INTO recovery_codes SELECT id, ? FROM users WHERE name = ?")
                .bind(&code[..])
                .bind(name.as_str())
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Uses the code of a time step, once: false when it, or a later one, was used before.
    pub async fn use_totp_step(&self, name: &str, step: i64) -> Result<bool, StoreError> {
        let used =
            sqlx::query("UPDATE users SET totp_step = ?1 WHERE name = ?2 AND totp_step < ?1")
                .bind(step)
                .bind(name)
                .execute(&self.writer)
                .await?;
        Ok(used.rows_affected() == 1)
    }

    /// Uses a recovery code, once: false when there is no such code any more.
    pub async fn use_recovery_code(
        &self,
        name: &str,
        code_hash: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let used = sqlx::query(
            "DELETE FROM recovery_codes WHERE user_id = (SELECT id FROM users WHERE name = ?) AND code_hash = ?",
        )
        .bind(name)
        .bind(&code_hash[..])
        .execute(&self.writer)
        .await?;
        Ok(used.rows_affected() == 1)
    }
}

impl User {
    /// In which apps this user may do what the role says.
    pub fn reach(&self) -> Reach {
        match self.role {
            Role::Admin => Reach::All,
            _ => Reach::Only(self.apps.iter().cloned().collect()),
        }
    }
}

fn totp_place(name: &str) -> String {
    format!("user {name}/totp")
}

async fn set_apps(
    tx: &mut sqlx::SqliteConnection,
    user: &UserName,
    apps: &[AppName],
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM user_apps WHERE user_id = (SELECT id FROM users WHERE name = ?)")
        .bind(user.as_str())
        .execute(&mut *tx)
        .await?;
    for app in apps {
        let added = sqlx::query(
            "INSERT OR IGNORE INTO user_apps SELECT u.id, a.id FROM users u, apps a \
             WHERE u.name = ? AND a.name = ? AND NOT a.leaving",
        )
        .bind(user.as_str())
        .bind(app.as_str())
        .execute(&mut *tx)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::NoApp(app.clone()));
        }
    }
    Ok(())
}

/// Nobody could mend it otherwise but by the command line on the machine.
async fn keep_an_admin(tx: &mut sqlx::SqliteConnection) -> Result<(), StoreError> {
    let left: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin')")
        .fetch_one(&mut *tx)
        .await?;
    if left {
        Ok(())
    } else {
        Err(StoreError::LastAdmin)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    fn name(name: &str) -> UserName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn roles_and_apps_are_kept_and_the_last_administrator_stays() {
        let (_dir, store) = scratch().await;
        let shop: AppName = "shop".parse().unwrap();
        store
            .create_app(&shop, &[], "10.0.0.0/26".parse().unwrap())
            .await
            .unwrap();
        store
            .add_user(&name("ann"), "hash", Role::Admin, &[])
            .await
            .unwrap();
        store
            .add_user(&name("bob"), "", Role::Viewer, std::slice::from_ref(&shop))
            .await
            .unwrap();
        let bob = store.user(&name("bob")).await.unwrap();
        assert_eq!(
            (bob.role, bob.apps.clone(), bob.password),
            (Role::Viewer, vec![shop.clone()], false)
        );
        assert!(matches!(
            store.add_user(&name("bob"), "", Role::Admin, &[]).await,
            Err(StoreError::UserExists(_))
        ));
        let blog: AppName = "blog".parse().unwrap();
        assert!(matches!(
            store.set_role(&name("bob"), Role::Deployer, &[blog]).await,
            Err(StoreError::NoApp(_))
        ));
        assert_eq!(
            store.user(&name("bob")).await.unwrap(),
            bob,
            "nothing was changed"
        );
        assert!(matches!(
            store.set_role(&name("ann"), Role::Viewer, &[]).await,
            Err(StoreError::LastAdmin)
        ));
        assert!(matches!(
            store.remove_user(&name("ann")).await,
            Err(StoreError::LastAdmin)
        ));
        store
            .set_role(&name("bob"), Role::Admin, &[])
            .await
            .unwrap();
        store.remove_user(&name("ann")).await.unwrap();
        assert_eq!(store.users().await.unwrap().len(), 1);
        assert!(matches!(
            store.remove_user(&name("eve")).await,
            Err(StoreError::NoUser(_))
        ));
    }

    #[tokio::test]
    async fn a_code_is_used_once() {
        let (_dir, store) = scratch().await;
        store
            .add_user(&name("ann"), "hash", Role::Admin, &[])
            .await
            .unwrap();
        store
            .set_second_factor(&name("ann"), Some((b"secret", &[[1; 32], [2; 32]])))
            .await
            .unwrap();
        let proof = store.proof("ann").await.unwrap().unwrap();
        assert_eq!(
            (proof.totp.as_deref(), proof.totp_step),
            (Some(&b"secret"[..]), 0)
        );
        assert!(store.use_totp_step("ann", 7).await.unwrap());
        assert!(!store.use_totp_step("ann", 7).await.unwrap());
        assert!(!store.use_totp_step("ann", 6).await.unwrap());
        assert!(store.use_recovery_code("ann", &[2; 32]).await.unwrap());
        assert!(!store.use_recovery_code("ann", &[2; 32]).await.unwrap());
        store.set_second_factor(&name("ann"), None).await.unwrap();
        assert!(!store.use_recovery_code("ann", &[1; 32]).await.unwrap());
        assert!(store.proof("ann").await.unwrap().unwrap().totp.is_none());
    }
}
