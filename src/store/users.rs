//! Users of the dashboard and their sessions. Passwords and session tokens come in hashed.

use super::{Store, StoreError};
use crate::domain::Timestamp;

impl Store {
    /// Whether anybody can log in.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users)").fetch_one(&self.writer).await?)
    }

    /// Adds a user.
    pub async fn add_user(&self, name: &str, password_hash: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO users (name, password_hash, created_at) VALUES (?, ?, ?)")
            .bind(name)
            .bind(password_hash)
            .bind(Timestamp::now().millis())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// The stored hash of a user's password.
    pub async fn password_hash(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT password_hash FROM users WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.reader)
            .await?)
    }

    /// Opens a session until `expires`; sessions past their end are forgotten on the way.
    pub async fn open_session(
        &self,
        user: &str,
        token_hash: &[u8],
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now().millis();
        sqlx::query("DELETE FROM sessions WHERE expires_at <= ?").bind(now).execute(&self.writer).await?;
        sqlx::query(
            "INSERT INTO sessions (token_hash, user_id, created_at, expires_at) \
             SELECT ?, id, ?, ? FROM users WHERE name = ?",
        )
        .bind(token_hash)
        .bind(now)
        .bind(expires.millis())
        .bind(user)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Whose session it is, if it is one that has not ended.
    pub async fn session_user(&self, token_hash: &[u8]) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT name FROM sessions JOIN users ON users.id = user_id WHERE token_hash = ? AND expires_at > ?",
        )
        .bind(token_hash)
        .bind(Timestamp::now().millis())
        .fetch_optional(&self.reader)
        .await?)
    }

    /// Ends a session.
    pub async fn close_session(&self, token_hash: &[u8]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE token_hash = ?")
            .bind(token_hash)
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
    async fn a_session_ends_by_time_and_by_logging_out() {
        let (_dir, store) = scratch().await;
        assert!(!store.has_users().await.unwrap());
        store.add_user("admin", "hash").await.unwrap();
        let later = Timestamp::from_millis(Timestamp::now().millis() + 60_000);
        store.open_session("admin", b"a", later).await.unwrap();
        store.open_session("admin", b"b", Timestamp::from_millis(1)).await.unwrap();
        assert_eq!(store.session_user(b"a").await.unwrap().as_deref(), Some("admin"));
        assert_eq!(store.session_user(b"b").await.unwrap(), None);
        store.close_session(b"a").await.unwrap();
        assert_eq!(store.session_user(b"a").await.unwrap(), None);
    }
}
