//! Log-ins that go on. Their tokens come in hashed.

use sqlx::FromRow;

use super::users::{COLUMNS, Row};
use super::{Store, StoreError};
use crate::domain::{Session, Timestamp, User, UserName};

/// How long a session lasts that is not used, in milliseconds.
pub const IDLE: i64 = 3 * 24 * 3600 * 1000;
/// How long a session lasts at most, in milliseconds.
pub const LASTS: i64 = 14 * 24 * 3600 * 1000;

/// A session that begins.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Whose.
    pub user: &'a str,
    /// The hash of what its cookie holds.
    pub token_hash: [u8; 32],
    /// What to name it by.
    pub id: String,
    /// From where.
    pub address: &'a str,
    /// With which browser.
    pub agent: &'a str,
}

#[derive(FromRow)]
struct Seen {
    #[sqlx(flatten)]
    user: Row,
    seen_at: i64,
}

impl Store {
    /// Opens a session; sessions past their end are forgotten on the way.
    pub async fn open_session(&self, new: &NewSession<'_>) -> Result<(), StoreError> {
        self.forget_sessions().await?;
        let now = Timestamp::now().millis();
        sqlx::query(
            "INSERT INTO sessions (token_hash, user_id, created_at, expires_at, seen_at, id, address, agent) \
             SELECT ?1, id, ?2, ?2 + ?3, ?2, ?4, ?5, ?6 FROM users WHERE name = ?7",
        )
        .bind(&new.token_hash[..])
        .bind(now)
        .bind(LASTS)
        .bind(&new.id)
        .bind(new.address)
        .bind(new.agent)
        .bind(new.user)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Whose session it is, if it is one that has not ended, by time or for want of use. That it is
    /// used now is written down, once a minute.
    pub async fn session_user(&self, token_hash: &[u8]) -> Result<Option<User>, StoreError> {
        let now = Timestamp::now().millis();
        let row: Option<Seen> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, s.seen_at FROM sessions s JOIN users u ON u.id = s.user_id \
             WHERE s.token_hash = ?1 AND s.expires_at > ?2 AND s.seen_at > ?2 - ?3",
        )))
        .bind(token_hash)
        .bind(now)
        .bind(IDLE)
        .fetch_optional(&self.reader)
        .await?;
        let Some(Seen { user, seen_at }) = row else {
            return Ok(None);
        };
        if seen_at + 60_000 < now {
            // A page is read on a full disk as well.
            let _ = sqlx::query("UPDATE sessions SET seen_at = ? WHERE token_hash = ?")
                .bind(now)
                .bind(token_hash)
                .execute(&self.writer)
                .await;
        }
        Ok(Some(user.try_into()?))
    }

    /// A user's sessions, the one used last first, each with whether `own` is its token's hash.
    pub async fn sessions(
        &self,
        user: &UserName,
        own: &[u8],
    ) -> Result<Vec<(Session, bool)>, StoreError> {
        type Line = (String, i64, i64, String, String, bool);
        let now = Timestamp::now().millis();
        let rows: Vec<Line> = sqlx::query_as(
            "SELECT s.id, s.created_at, s.seen_at, s.address, s.agent, s.token_hash = ?1 FROM sessions s \
             WHERE s.user_id = (SELECT id FROM users WHERE name = ?2) AND s.expires_at > ?3 AND s.seen_at > ?3 - ?4 \
             ORDER BY s.seen_at DESC",
        )
        .bind(own)
        .bind(user.as_str())
        .bind(now)
        .bind(IDLE)
        .fetch_all(&self.reader)
        .await?;
        let read = |(id, created, seen, address, agent, own): Line| {
            let (created_at, seen_at) = (
                Timestamp::from_millis(created),
                Timestamp::from_millis(seen),
            );
            (
                Session {
                    id,
                    user: user.clone(),
                    created_at,
                    seen_at,
                    address,
                    agent,
                },
                own,
            )
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Whether this user was logged in from `address` before, within the life of a session.
    pub async fn has_session_from(&self, user: &str, address: &str) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sessions WHERE address = ? \
             AND user_id = (SELECT id FROM users WHERE name = ?))",
        )
        .bind(address)
        .bind(user)
        .fetch_one(&self.reader)
        .await?)
    }

    /// Ends a session by its token.
    pub async fn close_session(&self, token_hash: &[u8]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE token_hash = ?")
            .bind(token_hash)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Ends a session of a user by its name; false when there is none.
    pub async fn revoke_session(&self, user: &UserName, id: &str) -> Result<bool, StoreError> {
        let ended = sqlx::query(
            "DELETE FROM sessions WHERE id = ? AND user_id = (SELECT id FROM users WHERE name = ?)",
        )
        .bind(id)
        .bind(user.as_str())
        .execute(&self.writer)
        .await?;
        Ok(ended.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::Role;

    #[tokio::test]
    async fn a_session_ends_by_time_for_want_of_use_and_by_logging_out() {
        let (_dir, store) = scratch().await;
        assert!(!store.has_users().await.unwrap());
        let ann: UserName = "ann".parse().unwrap();
        store
            .add_user(&ann, "hash", Role::Admin, &[])
            .await
            .unwrap();
        let open = async |hash: u8| {
            let (id, user) = (hash.to_string(), "ann");
            let new = NewSession {
                user,
                token_hash: [hash; 32],
                id,
                address: "192.0.2.7",
                agent: "Firefox",
            };
            store.open_session(&new).await.unwrap();
        };
        for hash in [1, 2, 3, 4] {
            open(hash).await;
        }
        for (hash, change) in [
            (2u8, "expires_at = 1"),
            (3, "seen_at = seen_at - 259200001"),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(format!(
                "UPDATE sessions SET {change} WHERE token_hash = ?"
            )))
            .bind(&[hash; 32][..])
            .execute(&store.writer)
            .await
            .unwrap();
        }
        let users = async || {
            let mut users = Vec::new();
            for hash in [1u8, 2, 3, 4] {
                users.push(store.session_user(&[hash; 32]).await.unwrap().is_some());
            }
            users
        };
        assert_eq!(users().await, [true, false, false, true]);
        let listed = store.sessions(&ann, &[4; 32]).await.unwrap();
        assert_eq!(listed.iter().filter(|(_, own)| *own).count(), 1);
        assert_eq!(listed.len(), 2);
        assert!(store.revoke_session(&ann, "1").await.unwrap());
        assert!(!store.revoke_session(&ann, "1").await.unwrap());
        assert_eq!(users().await, [false, false, false, true]);
        store
            .set_password(&ann, "other", Some(&[4; 32]))
            .await
            .unwrap();
        assert_eq!(users().await, [false, false, false, true]);
        store.set_password(&ann, "other", None).await.unwrap();
        assert_eq!(users().await, [false; 4]);
    }
}
