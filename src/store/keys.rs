//! Ssh keys and API tokens. Tokens come in hashed.

use sqlx::FromRow;

use super::{Store, StoreError};
use crate::domain::{AppName, Key, Scope, Timestamp, Token, UserName};

#[derive(FromRow)]
struct KeyRow {
    id: i64,
    user: String,
    name: String,
    public_key: String,
    fingerprint: String,
    created_at: i64,
    used_at: Option<i64>,
}

impl TryFrom<KeyRow> for Key {
    type Error = StoreError;
    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            user: row
                .user
                .parse()
                .map_err(|_| StoreError::Unreadable("users.name"))?,
            name: row.name,
            public_key: row.public_key,
            fingerprint: row.fingerprint,
            created_at: Timestamp::from_millis(row.created_at),
            used_at: row.used_at.map(Timestamp::from_millis),
        })
    }
}

#[derive(FromRow)]
struct TokenRow {
    id: i64,
    user: String,
    name: String,
    scope: String,
    apps: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
    used_at: Option<i64>,
}

impl TryFrom<TokenRow> for Token {
    type Error = StoreError;
    fn try_from(row: TokenRow) -> Result<Self, StoreError> {
        let apps = row.apps.map(|apps| serde_json::from_str(&apps)).transpose();
        Ok(Self {
            id: row.id,
            user: row
                .user
                .parse()
                .map_err(|_| StoreError::Unreadable("users.name"))?,
            name: row.name,
            scope: row
                .scope
                .parse()
                .map_err(|_| StoreError::Unreadable("tokens.scope"))?,
            apps: apps.map_err(|_| StoreError::Unreadable("tokens.apps"))?,
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_millis),
            used_at: row.used_at.map(Timestamp::from_millis),
        })
    }
}

/// A token that is made.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Whose.
    pub user: &'a UserName,
    /// What its owner calls it.
    pub name: &'a str,
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// How far it reaches.
    pub scope: Scope,
    /// In which apps; `None` in every one of its user's.
    pub apps: Option<&'a [AppName]>,
    /// Until when.
    pub expires: Option<Timestamp>,
}

macro_rules! keys {
    ($rest:literal) => {
        concat!(
            "SELECT k.id, u.name AS user, k.name, k.public_key, k.fingerprint, k.created_at, k.used_at ",
            "FROM keys k JOIN users u ON u.id = k.user_id ",
            $rest
        )
    };
}

macro_rules! tokens {
    ($rest:literal) => {
        concat!(
            "SELECT t.id, u.name AS user, t.name, t.scope, t.apps, t.created_at, t.expires_at, t.used_at ",
            "FROM tokens t JOIN users u ON u.id = t.user_id ",
            $rest
        )
    };
}

impl Store {
    /// Adds a user's key and gives its number.
    ///
    /// # Errors
    /// [`StoreError::NoUser`]; [`StoreError::KeyTaken`] for a key that is somebody's already: it could
    /// not be told whose push it is.
    pub async fn add_key(
        &self,
        user: &UserName,
        name: &str,
        public_key: &str,
        fingerprint: &str,
    ) -> Result<i64, StoreError> {
        let mut tx = self.begin().await?;
        let owner: Option<String> = sqlx::query_scalar(
            "SELECT u.name FROM keys k JOIN users u ON u.id = k.user_id WHERE k.public_key = ? OR k.fingerprint = ?",
        )
        .bind(public_key)
        .bind(fingerprint)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(owner) = owner {
            return Err(StoreError::KeyTaken {
                fingerprint: fingerprint.to_owned(),
                owner,
            });
        }
        let id: Option<i64> = sqlx::query_scalar(
            "INSERT INTO keys (user_id, name, public_key, fingerprint, created_at) \
             SELECT id, ?, ?, ?, ? FROM users WHERE name = ? RETURNING id",
        )
        .bind(name)
        .bind(public_key)
        .bind(fingerprint)
        .bind(Timestamp::now().millis())
        .bind(user.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        id.ok_or_else(|| StoreError::NoUser(user.clone()))
    }

    /// Every key, oldest first.
    pub async fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(keys!("ORDER BY k.id"))
            .fetch_all(&self.reader)
            .await?;
        rows.into_iter().map(Key::try_from).collect()
    }

    /// The keys of those who may deploy an app, oldest first: administrators, and its deployers, as
    /// [`crate::domain::Principal::may`] has it.
    pub async fn keys_for(&self, app: &AppName) -> Result<Vec<Key>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(keys!(
            "WHERE u.role = 'admin' OR u.role = 'deployer' AND EXISTS ( \
              SELECT 1 FROM user_apps WHERE user_id = u.id AND app_id = (SELECT id FROM apps WHERE name = ?)) \
             ORDER BY k.id"
        ))
        .bind(app.as_str())
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(Key::try_from).collect()
    }

    /// The key of that number.
    pub async fn key(&self, id: i64) -> Result<Option<Key>, StoreError> {
        let row: Option<KeyRow> = sqlx::query_as(keys!("WHERE k.id = ?"))
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.map(Key::try_from).transpose()
    }

    /// Removes a key; false when there is none of that number.
    pub async fn remove_key(&self, id: i64) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM keys WHERE id = ?")
            .bind(id)
            .execute(&self.writer)
            .await?;
        Ok(removed.rows_affected() > 0)
    }

    /// Adds a token and gives its number.
    ///
    /// # Errors
    /// [`StoreError::NoUser`].
    pub async fn add_token(&self, new: &NewToken<'_>) -> Result<i64, StoreError> {
        let apps = new
            .apps
            .map(|apps| serde_json::to_string(apps).unwrap_or_default());
        let id: Option<i64> = sqlx::query_scalar(
            "INSERT INTO tokens (user_id, name, token_hash, scope, apps, created_at, expires_at) \
             SELECT id, ?, ?, ?, ?, ?, ? FROM users WHERE name = ? RETURNING id",
        )
        .bind(new.name)
        .bind(&new.hash[..])
        .bind(new.scope.as_str())
        .bind(apps)
        .bind(Timestamp::now().millis())
        .bind(new.expires.map(Timestamp::millis))
        .bind(new.user.as_str())
        .fetch_optional(&self.writer)
        .await?;
        id.ok_or_else(|| StoreError::NoUser(new.user.clone()))
    }

    /// Every token, oldest first.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let rows: Vec<TokenRow> = sqlx::query_as(tokens!("ORDER BY t.id"))
            .fetch_all(&self.reader)
            .await?;
        rows.into_iter().map(Token::try_from).collect()
    }

    /// The token with that hash, unless it has expired.
    pub async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let row: Option<TokenRow> = sqlx::query_as(tokens!(
            "WHERE t.token_hash = ? AND (t.expires_at IS NULL OR t.expires_at > ?)"
        ))
        .bind(&hash[..])
        .bind(Timestamp::now().millis())
        .fetch_optional(&self.reader)
        .await?;
        row.map(Token::try_from).transpose()
    }

    /// The token of that number, unless it has expired.
    pub async fn token_by_id(&self, id: i64) -> Result<Option<Token>, StoreError> {
        let row: Option<TokenRow> = sqlx::query_as(tokens!(
            "WHERE t.id = ? AND (t.expires_at IS NULL OR t.expires_at > ?)"
        ))
        .bind(id)
        .bind(Timestamp::now().millis())
        .fetch_optional(&self.reader)
        .await?;
        row.map(Token::try_from).transpose()
    }

    /// Revokes a token; false when there is none of that number.
    pub async fn remove_token(&self, id: i64) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM tokens WHERE id = ?")
            .bind(id)
            .execute(&self.writer)
            .await?;
        Ok(removed.rows_affected() > 0)
    }

    /// Writes down that a key, or a token, came in now; once a minute is enough.
    pub async fn came_in(&self, by: &crate::domain::Via) -> Result<(), StoreError> {
        use crate::domain::Via;
        let (sql, id) = match by {
            Via::Key(id) => (
                "UPDATE keys SET used_at = ?1 WHERE id = ?2 AND coalesce(used_at, 0) < ?1 - 60000",
                id,
            ),
            Via::Token(id) => (
                "UPDATE tokens SET used_at = ?1 WHERE id = ?2 AND coalesce(used_at, 0) < ?1 - 60000",
                id,
            ),
            Via::Local | Via::Session => return Ok(()),
        };
        sqlx::query(sql)
            .bind(Timestamp::now().millis())
            .bind(id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::{Role, Via};

    #[tokio::test]
    async fn a_key_is_one_users_and_goes_with_them() {
        let (_dir, store) = scratch().await;
        let [ann, bob]: [UserName; 2] = ["ann", "bob"].map(|name| name.parse().unwrap());
        store.add_user(&ann, "", Role::Admin, &[]).await.unwrap();
        store.add_user(&bob, "", Role::Admin, &[]).await.unwrap();
        let id = store
            .add_key(&bob, "laptop", "ssh-ed25519 AAAA", "SHA256:x")
            .await
            .unwrap();
        let taken = store
            .add_key(&ann, "stolen", "ssh-ed25519 AAAA", "SHA256:x")
            .await
            .unwrap_err();
        assert!(matches!(taken, StoreError::KeyTaken { owner, .. } if owner == "bob"));
        store.came_in(&Via::Key(id)).await.unwrap();
        assert!(store.key(id).await.unwrap().unwrap().used_at.is_some());
        store.remove_user(&bob).await.unwrap();
        assert_eq!(store.key(id).await.unwrap(), None);
        let next = store
            .add_key(&ann, "laptop", "ssh-ed25519 AAAA", "SHA256:x")
            .await
            .unwrap();
        assert!(next > id, "a number is never given twice");
    }

    #[tokio::test]
    async fn an_app_is_pushed_to_with_the_keys_of_those_who_may_deploy_it() {
        let (_dir, store) = scratch().await;
        let [shop, blog]: [AppName; 2] = ["shop", "blog"].map(|name| name.parse().unwrap());
        for (n, app) in [&shop, &blog].into_iter().enumerate() {
            store
                .create_app(app, &[], format!("10.213.{n}.0/26").parse().unwrap())
                .await
                .unwrap();
        }
        let (one, none) = ([shop.clone()], [].as_slice());
        for (n, (name, role, apps)) in [
            ("ann", Role::Admin, none),
            ("bob", Role::Deployer, &one[..]),
            ("cat", Role::Viewer, &one[..]),
            ("dan", Role::Deployer, none),
        ]
        .into_iter()
        .enumerate()
        {
            let name: UserName = name.parse().unwrap();
            store.add_user(&name, "", role, apps).await.unwrap();
            store
                .add_key(
                    &name,
                    "laptop",
                    &format!("ssh-ed25519 {n}"),
                    &format!("SHA256:{n}"),
                )
                .await
                .unwrap();
        }
        let users = async |app| -> Vec<String> {
            let keys = store.keys_for(app).await.unwrap();
            keys.iter().map(|key| key.user.to_string()).collect()
        };
        assert_eq!(users(&shop).await, ["ann", "bob"]);
        assert_eq!(users(&blog).await, ["ann"]);
    }

    #[tokio::test]
    async fn a_token_ends_by_time_and_when_it_is_revoked() {
        let (_dir, store) = scratch().await;
        let ann: UserName = "ann".parse().unwrap();
        store.add_user(&ann, "", Role::Admin, &[]).await.unwrap();
        let apps: Vec<AppName> = vec!["shop".parse().unwrap()];
        let new = |hash: u8, expires| NewToken {
            user: &ann,
            name: "ci",
            hash: [hash; 32],
            scope: Scope::Deploy,
            apps: Some(&apps),
            expires,
        };
        let id = store.add_token(&new(1, None)).await.unwrap();
        store
            .add_token(&new(2, Some(Timestamp::from_millis(1))))
            .await
            .unwrap();
        let token = store.token(&[1; 32]).await.unwrap().unwrap();
        assert_eq!(
            (token.id, token.scope, token.apps.as_deref()),
            (id, Scope::Deploy, Some(&apps[..]))
        );
        assert_eq!(store.token(&[2; 32]).await.unwrap(), None);
        assert_eq!(store.token(&[3; 32]).await.unwrap(), None);
        assert!(store.remove_token(id).await.unwrap());
        assert_eq!(store.token_by_id(id).await.unwrap(), None);
        assert_eq!(store.tokens().await.unwrap().len(), 1);
    }
}
