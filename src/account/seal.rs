//! Sealing sessions: XChaCha20-Poly1305 with a key from a file that never enters Postgres.
//!
//! A sealed session is one version byte, the nonce, and the ciphertext; the account's label is bound to it, so that a row
//! cannot be passed off as another account's. The key file is made at first use only; losing it means to import the accounts again.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::record::account::Sealed;

const VERSION: u8 = 1;
const NONCE: usize = 24;
const KEY: usize = 32;

/// What may be done when the key file is missing although sessions are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostKey {
    /// Stop, and say how to go on.
    Refuse,
    /// Start a new key: the operator imports every account again.
    Replace,
}

/// Why sessions cannot be sealed or opened. Each names the key file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the key file {} is missing, but {sealed} account(s) are sealed with it: restore it from your backup, or start a \
         new key with --new-key and sign in or import every account again",
        path.display()
    )]
    Lost { path: PathBuf, sealed: i64 },
    #[error(
        "account {label} is sealed with key {sealed_with}, but the key file {} holds key {found}: restore the right file from your \
         backup, or import the account again",
        path.display()
    )]
    WrongKey { path: PathBuf, label: String, sealed_with: String, found: String },
    #[error("the key file {} can be read by others than its owner: run `chmod 600 {}`", path.display(), path.display())]
    Open { path: PathBuf },
    #[error(
        "the key file {} is damaged (it must hold 64 hexadecimal digits): restore it from your backup, or move it away, \
         start a new key with --new-key and sign in or import every account again",
        path.display()
    )]
    Damaged { path: PathBuf },
    #[error("the key file {} cannot be used", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the sealed session of account {label} is damaged, or belongs to another account: import the account again")]
    Altered { label: String },
}

/// The key that seals sessions.
pub struct SealKey {
    path: PathBuf,
    cipher: XChaCha20Poly1305,
    id: String,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("path", &self.path).field("id", &self.id).finish_non_exhaustive()
    }
}

impl SealKey {
    /// Reads the key file; makes it when it is missing and nothing is sealed yet, or when a lost key may be replaced.
    pub fn open(path: &Path, sealed: i64, lost: LostKey) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(file) if file.permissions().mode() & 0o077 != 0 => {
                return Err(Error::Open { path: path.to_owned() });
            }
            Ok(_) => {}
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                if sealed > 0 && lost == LostKey::Refuse {
                    return Err(Error::Lost { path: path.to_owned(), sealed });
                }
                make(path).map_err(io)?;
            }
            Err(other) => return Err(io(other)),
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let key = key_from_hex(text.trim()).ok_or_else(|| Error::Damaged { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), cipher: XChaCha20Poly1305::new(&key.into()), id: hex(&Sha256::digest(key)[..4]) })
    }

    /// Names the key without telling it: the first 8 hexadecimal digits of its SHA-256.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals an account's session.
    pub fn seal(&self, label: &str, session: &[u8]) -> Result<Sealed, Error> {
        let mut nonce = [0_u8; NONCE];
        rand::fill(&mut nonce[..]);
        let payload = Payload { msg: session, aad: label.as_bytes() };
        let ciphertext =
            self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Altered { label: label.to_owned() })?;
        let mut bytes = Vec::with_capacity(1 + NONCE + ciphertext.len());
        bytes.push(VERSION);
        bytes.extend(nonce);
        bytes.extend(ciphertext);
        Ok(Sealed { bytes, key_id: self.id.clone() })
    }

    /// Opens an account's session.
    pub fn unseal(&self, label: &str, sealed: &Sealed) -> Result<Vec<u8>, Error> {
        if sealed.key_id != self.id {
            return Err(Error::WrongKey {
                path: self.path.clone(),
                label: label.to_owned(),
                sealed_with: sealed.key_id.clone(),
                found: self.id.clone(),
            });
        }
        let altered = || Error::Altered { label: label.to_owned() };
        let (&VERSION, rest) = sealed.bytes.split_first().ok_or_else(altered)? else {
            return Err(altered());
        };
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or_else(altered)?;
        let payload = Payload { msg: ciphertext, aad: label.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| altered())
    }
}

/// Makes the key file, complete or not at all. Another process that makes it at the same time wins or loses as a whole.
fn make(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut key = [0_u8; KEY];
    rand::fill(&mut key[..]);
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            writeln!(file, "{}", hex(&key))?;
            file.sync_all()
        })
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(there) if there.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    // The draft holds a key: it must not stay, whatever happened.
    let removed = fs::remove_file(&draft);
    written.and(removed)?;
    fs::File::open(folder)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_from_hex(text: &str) -> Option<[u8; KEY]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (digits.len() == 2 * KEY).then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_in(folder: &tempfile::TempDir) -> SealKey {
        SealKey::open(&folder.path().join("seal.key"), 0, LostKey::Refuse).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = key_in(&folder).seal("anna", b"session").unwrap();
        assert!(!sealed.bytes.windows(7).any(|window| window == b"session"));
        assert_eq!(key_in(&folder).unseal("anna", &sealed).unwrap(), b"session");
    }

    #[test]
    fn the_key_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/seal.key");
        SealKey::open(&path, 0, LostKey::Refuse).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SealKey::open(&path, 0, LostKey::Refuse), Err(Error::Open { .. })));
    }

    #[test]
    fn a_session_of_another_account_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let key = key_in(&folder);
        let sealed = key.seal("anna", b"session").unwrap();
        assert!(matches!(key.unseal("bert", &sealed), Err(Error::Altered { .. })));
        for damaged in [vec![], vec![1; 20], vec![2; 60], [&sealed.bytes[..], b"x"].concat()] {
            let damaged = Sealed { bytes: damaged, key_id: sealed.key_id.clone() };
            assert!(matches!(key.unseal("anna", &damaged), Err(Error::Altered { .. })));
        }
    }

    #[test]
    fn a_lost_key_file_is_not_made_anew_behind_sealed_sessions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        let error = SealKey::open(&path, 2, LostKey::Refuse).unwrap_err();
        assert!(!path.exists());
        let told = error.to_string();
        assert!(told.contains("seal.key is missing, but 2 account(s)"), "{told}");
        assert!(told.contains("restore it from your backup"), "{told}");
        SealKey::open(&path, 2, LostKey::Replace).unwrap();
    }

    #[test]
    fn another_key_is_named_not_tried() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sealed = key_in(&ours).seal("anna", b"session").unwrap();
        let error = key_in(&theirs).unseal("anna", &sealed).unwrap_err();
        assert!(matches!(&error, Error::WrongKey { sealed_with, .. } if *sealed_with == sealed.key_id));
        assert!(error.to_string().contains("seal.key"));
    }

    #[test]
    fn a_damaged_key_file_says_so_and_the_key_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        let key = key_in(&folder);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!format!("{key:?}").contains(text.trim()));
        for damaged in ["", "abc", &text[..63], &format!("{}g", &text[..63]), &format!("{}00", text.trim())] {
            fs::write(&path, damaged).unwrap();
            let error = SealKey::open(&path, 0, LostKey::Refuse).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{damaged}");
        }
    }
}
