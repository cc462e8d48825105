//! Secrets at rest: XChaCha20-Poly1305 under one key file that only its owner reads.
//!
//! Each value is sealed with the place where it belongs (app and variable name) as associated
//! data, so a sealed value moved to another row does not open.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Generate, Key, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;

const NONCE: usize = 24;

/// Why sealing or opening failed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The key file.
    #[error("the key file {0} cannot be used: {1}")]
    KeyFile(PathBuf, io::Error),
    /// Not 32 bytes.
    #[error("the key file {0} is damaged: it must hold exactly 32 bytes; restore it from a backup")]
    Damaged(PathBuf),
    /// Wrong key, or the value was changed.
    #[error("a stored secret does not open with this installation's secret.key")]
    DoesNotOpen,
}

/// Seals and opens values with this installation's key.
#[derive(Clone)]
pub struct Sealer {
    cipher: Arc<XChaCha20Poly1305>,
    /// Of which names are derived that nobody outside can guess.
    names: Hmac<Sha256>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// Reads the key at `path`, or makes one (mode 0600) where there is none.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let failed = |error| SealError::KeyFile(path.to_owned(), error);
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_key(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let key = Key::<XChaCha20Poly1305>::try_from(&bytes[..])
            .map_err(|_| SealError::Damaged(path.to_owned()))?;
        let names =
            Hmac::new_from_slice(&bytes).map_err(|_| SealError::Damaged(path.to_owned()))?;
        Ok(Self {
            cipher: Arc::new(XChaCha20Poly1305::new(&key)),
            names,
        })
    }

    /// Nonce and ciphertext of `plain`, bound to `place`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: plain,
            aad: place.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&nonce, payload)
            .map_err(|_| SealError::DoesNotOpen)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// A name for `purpose` that stays the same and cannot be guessed without the key: 32 hex digits.
    pub fn secret_name(&self, purpose: &str) -> String {
        let mut hmac = self.names.clone();
        hmac.update(b"name/");
        hmac.update(purpose.as_bytes());
        let bytes = hmac.finalize().into_bytes();
        bytes[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// What was sealed for `place`.
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, msg) = sealed
            .split_at_checked(NONCE)
            .ok_or(SealError::DoesNotOpen)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| SealError::DoesNotOpen)?;
        let payload = Payload {
            msg,
            aad: place.as_bytes(),
        };
        self.cipher
            .decrypt(&nonce, payload)
            .map_err(|_| SealError::DoesNotOpen)
    }
}

fn make_key(path: &Path) -> io::Result<Vec<u8>> {
    let key = Key::<XChaCha20Poly1305>::generate().to_vec();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let sealed = Sealer::open(&path)
            .unwrap()
            .seal("shop/TOKEN", b"s3cret")
            .unwrap();
        let sealer = Sealer::open(&path).unwrap();
        assert_eq!(sealer.unseal("shop/TOKEN", &sealed).unwrap(), b"s3cret");
        assert!(sealer.unseal("blog/TOKEN", &sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(sealer.unseal("shop/TOKEN", &changed).is_err());
        assert!(sealer.unseal("shop/TOKEN", &sealed[..10]).is_err());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
