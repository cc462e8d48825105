//! Passwords: argon2id, one at a time.
//!
//! One hash takes 19 MiB for its time, so a second one waits: a burst of log-ins must not push a
//! 1 GB server into swap, and it is the crude bound on guessing as well.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use super::AccessError;

/// What is verified against for a name that nobody has, so that both take the same time. No
/// password leads to it.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$d2luZGxhc3Mtbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How long a log-in waits for its turn before it is turned away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks passwords in turn. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Passwords(Arc<Semaphore>);

impl Passwords {
    /// One at a time.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Whether `password` is the one that `hash` was made of. Without one (a name that nobody has, or a
    /// user without a password) it is not, and that takes as long.
    ///
    /// # Errors
    /// [`AccessError::Busy`] when too many wait for their turn.
    pub(super) async fn verify(
        &self,
        hash: Option<String>,
        password: String,
    ) -> Result<bool, AccessError> {
        let stored = hash.filter(|hash| !hash.is_empty());
        let known = stored.is_some();
        let hash = stored.unwrap_or_else(|| NOBODY.to_owned());
        let turn = tokio::time::timeout(PATIENCE, self.0.acquire())
            .await
            .map_err(|_| AccessError::Busy)?;
        let matches = tokio::task::spawn_blocking(move || matches(&password, &hash)).await;
        drop(turn);
        Ok(known && matches.map_err(std::io::Error::other)?)
    }

    /// The hash of a password, as it is stored.
    ///
    /// # Errors
    /// Only for want of memory or randomness.
    pub(super) async fn hash(&self, password: String) -> Result<String, AccessError> {
        let _turn = self.0.acquire().await;
        let hash = move || {
            Argon2::default()
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
        };
        let hash = tokio::task::spawn_blocking(hash)
            .await
            .map_err(std::io::Error::other)?;
        Ok(hash.map_err(std::io::Error::other)?)
    }
}

fn matches(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// Six groups of four characters that are not mistaken for one another: 118 bits.
pub(super) fn readable_password() -> String {
    const ALPHABET: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";
    let letter = || char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]);
    let group = || (0..4).map(|_| letter()).collect::<String>();
    (0..6).map(|_| group()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let made = Argon2::default().hash_password(b"x").unwrap();
        assert_eq!(nobody.params.to_string(), made.params.to_string());
        assert_eq!(nobody.hash.unwrap().len(), made.hash.unwrap().len());
        assert!(!matches("", NOBODY));
    }

    #[tokio::test]
    async fn only_the_password_verifies() {
        let passwords = Passwords::new();
        let made = readable_password();
        assert_eq!(made.len(), 29);
        let hash = passwords.hash(made.clone()).await.unwrap();
        assert!(
            passwords
                .verify(Some(hash.clone()), made.clone())
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(Some(hash), format!("{made}x"))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(Some(String::new()), String::new())
                .await
                .unwrap()
        );
        assert!(!passwords.verify(None, made).await.unwrap());
    }
}
