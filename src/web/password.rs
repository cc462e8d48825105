//! Passwords: argon2id, one at a time, and the first administrator.
//!
//! One hash takes 19 MiB for its time, so a second one waits: a burst of log-ins must not push a
//! 1 GB server into swap, and it is the crude bound on guessing as well.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::store::Store;

use super::error::Error;

/// What is verified against for a name that nobody has, so that both take the same time. No
/// password leads to it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$d2luZGxhc3Mtbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How long a log-in waits for its turn before it is turned away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause after a wrong password.
const PENALTY: Duration = Duration::from_millis(700);

/// Checks passwords in turn. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Passwords(Arc<Semaphore>);

impl Passwords {
    /// One at a time.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Whether `password` is that of the user `name`. Takes the same work for a name nobody has,
    /// and a while longer for a wrong answer.
    pub(super) async fn verify(&self, store: &Store, name: &str, password: String) -> Result<bool, Error> {
        let stored = store.password_hash(name).await?;
        let known = stored.is_some();
        let hash = stored.unwrap_or_else(|| NOBODY.to_owned());
        let turn = tokio::time::timeout(PATIENCE, self.0.acquire()).await.map_err(|_| Error::Busy)?;
        let matches =
            tokio::task::spawn_blocking(move || matches(&password, &hash)).await.map_err(Error::defect)?;
        drop(turn);
        let right = known && matches;
        if !right {
            tokio::time::sleep(PENALTY).await;
        }
        Ok(right)
    }
}

fn matches(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// The hash of a password, as it is stored.
///
/// # Errors
/// When the hash cannot be made, which only a lack of memory or randomness can bring about.
pub async fn hash_password(password: String) -> std::io::Result<String> {
    let hash = move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string());
    tokio::task::spawn_blocking(hash).await?.map_err(std::io::Error::other)
}

/// Makes the user `admin` with a random password where no user exists, and returns that password:
/// it is to be printed once and is kept nowhere.
///
/// # Errors
/// When the database or the hashing fails.
pub async fn first_admin(store: &Store) -> Result<Option<String>, crate::deploy::Error> {
    if store.has_users().await? {
        return Ok(None);
    }
    let password = readable_password();
    store.add_user("admin", &hash_password(password.clone()).await?).await?;
    Ok(Some(password))
}

/// Six groups of four characters that are not mistaken for one another: 118 bits.
fn readable_password() -> String {
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
    async fn the_first_administrator_is_made_once() {
        let (_dir, store) = crate::store::tests::scratch().await;
        let password = first_admin(&store).await.unwrap().unwrap();
        assert_eq!(password.len(), 29);
        assert_eq!(first_admin(&store).await.unwrap(), None);
        let passwords = Passwords::new();
        assert!(passwords.verify(&store, "admin", password.clone()).await.unwrap());
        assert!(!passwords.verify(&store, "admin", format!("{password}x")).await.unwrap());
        assert!(!passwords.verify(&store, "nobody", password).await.unwrap());
    }
}
