//! The second factor: time-based codes (RFC 6238: six digits, thirty seconds, SHA-1, as every
//! authenticator app reads them), and recovery codes for the day the phone is gone.

use totp_rs::{Builder, Secret, Totp};

use super::password::readable_password;
use super::{Access, AccessError, hashed};
use crate::domain::{Timestamp, UserName};
use crate::store::Proof;

/// How many recovery codes there are.
const CODES: usize = 8;

/// What a user needs to set their authenticator up: shown once, stored only when a code proved it.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The secret, in base 32.
    pub secret: String,
    /// The same as an `otpauth:` address, for an app or a QR code.
    pub url: String,
}

fn totp(secret: Vec<u8>, user: &str) -> Result<Totp, AccessError> {
    let builder = Builder::new()
        .with_secret(secret)
        .with_account_name(user)
        .with_issuer(Some("Windlass"));
    builder
        .build()
        .map_err(|error| AccessError::Refused(format!("the second factor: {error}")))
}

/// The time step whose code this is, now or one step off.
fn step_of(totp: &Totp, code: &str) -> Option<i64> {
    let now = u64::try_from(Timestamp::now().millis()).ok()? / 1000;
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    i64::try_from(totp.check(&digits, now)?).ok()
}

impl Access {
    /// A fresh secret for a user. Nothing is stored yet.
    ///
    /// # Errors
    /// Only for a name that no `otpauth:` address can hold.
    pub fn begin_second_factor(&self, user: &UserName) -> Result<Enrolment, AccessError> {
        self.enrolment(user, rand::random::<[u8; 20]>().to_vec())
    }

    /// The same secret again, after a code that was not right.
    ///
    /// # Errors
    /// [`AccessError::Refused`] for what is no secret.
    pub fn same_second_factor(
        &self,
        user: &UserName,
        secret: &str,
    ) -> Result<Enrolment, AccessError> {
        let secret = Secret::try_from_base32(secret.trim());
        let secret =
            secret.map_err(|_| AccessError::Refused("that is no key of a second factor".into()))?;
        self.enrolment(user, AsRef::<[u8]>::as_ref(&secret).to_vec())
    }

    fn enrolment(&self, user: &UserName, secret: Vec<u8>) -> Result<Enrolment, AccessError> {
        let url = totp(secret.clone(), user.as_str())?.to_url();
        let url =
            url.map_err(|error| AccessError::Refused(format!("the second factor: {error}")))?;
        Ok(Enrolment {
            secret: Secret::from(secret).to_base32(),
            url,
        })
    }

    /// Turns the second factor on, once `code` proves that the user's app knows the secret. Gives the
    /// recovery codes, each good for one log-in.
    ///
    /// # Errors
    /// [`AccessError::Refused`] for a secret or a code that is not right.
    pub async fn confirm_second_factor(
        &self,
        user: &UserName,
        secret: &str,
        code: &str,
    ) -> Result<Vec<String>, AccessError> {
        let wrong = || {
            AccessError::Refused(
                "that code is not right; wait for the next one and try again".into(),
            )
        };
        let secret = Secret::try_from_base32(secret.trim()).map_err(|_| wrong())?;
        let secret = AsRef::<[u8]>::as_ref(&secret).to_vec();
        let step = step_of(&totp(secret.clone(), user.as_str())?, code).ok_or_else(wrong)?;
        let codes: Vec<String> = (0..CODES)
            .map(|_| readable_password()[..14].to_owned())
            .collect();
        let hashes: Vec<[u8; 32]> = codes.iter().map(|code| hashed(code)).collect();
        self.store
            .set_second_factor(user, Some((&secret, &hashes)))
            .await?;
        self.store.use_totp_step(user.as_str(), step).await?;
        Ok(codes)
    }

    /// Turns it off.
    ///
    /// # Errors
    /// The database's.
    pub async fn remove_second_factor(&self, user: &UserName) -> Result<(), AccessError> {
        Ok(self.store.set_second_factor(user, None).await?)
    }

    /// Whether `code` is right for a user with this proof: the app's, each once, or a recovery code.
    pub(super) async fn second_factor(
        &self,
        user: &str,
        proof: &Proof,
        code: &str,
    ) -> Result<bool, AccessError> {
        let Some(secret) = proof.totp.clone() else {
            return Ok(true);
        };
        if let Some(step) = step_of(&totp(secret, user)?, code) {
            return Ok(self.store.use_totp_step(user, step).await?);
        }
        Ok(self
            .store
            .use_recovery_code(user, &hashed(&code.trim().to_lowercase()))
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::Role;

    #[tokio::test]
    async fn a_code_of_the_app_and_a_recovery_code_are_good_once() {
        let (_dir, access) = scratch().await;
        let ann: UserName = "ann".parse().unwrap();
        access
            .store
            .add_user(&ann, "hash", Role::Admin, &[])
            .await
            .unwrap();
        let enrolment = access.begin_second_factor(&ann).unwrap();
        assert!(
            enrolment
                .url
                .starts_with("otpauth://totp/Windlass:ann?secret="),
            "{}",
            enrolment.url
        );
        let app = totp(
            AsRef::<[u8]>::as_ref(&Secret::try_from_base32(&enrolment.secret).unwrap()).to_vec(),
            "ann",
        )
        .unwrap();
        let now = || Timestamp::now().millis() as u64 / 1000;
        let code = |later: u64| app.generate(now() + later).to_string();
        assert!(
            access
                .confirm_second_factor(&ann, &enrolment.secret, "000")
                .await
                .is_err()
        );
        let first = code(0);
        let codes = access
            .confirm_second_factor(&ann, &enrolment.secret, &first)
            .await
            .unwrap();
        assert_eq!((codes.len(), codes[0].len()), (CODES, 14));
        let good = async |code: &str| {
            let proof = access.store.proof("ann").await.unwrap().unwrap();
            access.second_factor("ann", &proof, code).await.unwrap()
        };
        assert!(!good(&first).await, "it was used");
        assert!(good(&code(30)).await);
        assert!(!good("").await && !good("123456").await);
        assert!(good(&codes[3].to_uppercase()).await);
        assert!(!good(&codes[3]).await);
        access.remove_second_factor(&ann).await.unwrap();
        assert!(good("").await);
    }
}
