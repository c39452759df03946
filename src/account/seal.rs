//! Sealing sessions: XChaCha20-Poly1305 with a key from a file that never enters Postgres.
//!
//! A sealed session is one version byte, the nonce, and the ciphertext; the account's label is bound to it, so that a row
//! cannot be passed off as another account's. The key file is made at first use only; losing it means to import the accounts again.
//! It holds one key a line: the first seals, the others only open what was sealed before a rotation.

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
        "the key file {} is missing, but {sealed} account(s) and proxies are sealed with it: restore it from your backup, or start a \
         new key with --new-key and sign in or import every account again",
        path.display()
    )]
    Lost { path: PathBuf, sealed: i64 },
    #[error(
        "account {label} is sealed with key {sealed_with}, but {place} holds key {found}: restore the right one from your \
         backup, or import the account again"
    )]
    WrongKey { place: KeyPlace, label: String, sealed_with: String, found: String },
    #[error("the key file {} can be read by others than its owner: run `chmod 600 {}`", path.display(), path.display())]
    Open { path: PathBuf },
    #[error(
        "{place} is damaged (it must hold 64 hexadecimal digits a key): restore it from your backup, or move it away, \
         start a new key with --new-key and sign in or import every account again"
    )]
    Damaged { place: KeyPlace },
    #[error(
        "{ENVIRONMENT} holds one key, and is not ours to change: put a new key (`openssl rand -hex 32`) and a comma before it, \
         and run this again"
    )]
    OneInEnvironment,
    #[error("the key file {} cannot be used", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the sealed session of account {label} is damaged, or belongs to another account: import the account again")]
    Altered { label: String },
}

/// The environment variable that wins over the key file: keys of 64 hexadecimal digits, separated by commas.
pub const ENVIRONMENT: &str = "TELEKEEP_KEY";

/// Where the keys come from.
#[derive(Clone)]
pub enum KeySource {
    File(PathBuf),
    /// What [`ENVIRONMENT`] holds.
    Environment(String),
}

impl From<PathBuf> for KeySource {
    fn from(path: PathBuf) -> Self {
        KeySource::File(path)
    }
}

impl KeySource {
    fn place(&self) -> KeyPlace {
        KeyPlace(match self {
            KeySource::File(path) => Some(path.clone()),
            KeySource::Environment(_) => None,
        })
    }
}

/// A key's place in words, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPlace(Option<PathBuf>);

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "the key file {}", path.display()),
            None => f.write_str(ENVIRONMENT),
        }
    }
}

/// The keys that seal and open sessions.
pub struct SealKey {
    place: KeyPlace,
    /// The first seals.
    keys: Vec<Key>,
}

struct Key {
    cipher: XChaCha20Poly1305,
    id: String,
}

impl Key {
    fn from_hex(text: &str) -> Option<Self> {
        let key = key_from_hex(text)?;
        Some(Key { cipher: XChaCha20Poly1305::new(&key.into()), id: hex(&Sha256::digest(key)[..4]) })
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("place", &self.place).field("id", &self.id()).finish_non_exhaustive()
    }
}

impl SealKey {
    /// Reads the keys. A key file is made when it is missing and nothing is sealed yet, or when a lost key may be replaced.
    pub fn open(source: &KeySource, sealed: i64, lost: LostKey) -> Result<Self, Error> {
        let place = source.place();
        let path = match source {
            KeySource::Environment(text) => return Self::parse(text, place),
            KeySource::File(path) => path,
        };
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
        Self::parse(&fs::read_to_string(path).map_err(io)?, place)
    }

    fn parse(text: &str, place: KeyPlace) -> Result<Self, Error> {
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        let keys = words.map(Key::from_hex).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty());
        keys.map(|keys| Self { place: place.clone(), keys }).ok_or(Error::Damaged { place })
    }

    /// Puts a new key before those of the source, unless a rotation is under way already. From then on it seals.
    pub fn begin_rotation(self, source: &KeySource) -> Result<Self, Error> {
        if self.keys.len() > 1 {
            return Ok(self);
        }
        let KeySource::File(path) = source else { return Err(Error::OneInEnvironment) };
        let io = |source| Error::Io { path: path.to_owned(), source };
        let old = fs::read_to_string(path).map_err(io)?;
        replace(path, &format!("{}\n{}\n", hex(&fresh()), old.trim())).map_err(io)?;
        Self::open(source, 0, LostKey::Refuse)
    }

    /// Forgets all keys but the one that seals. In the environment that is the operator's to do; then answers false.
    pub fn end_rotation(&self, source: &KeySource) -> Result<bool, Error> {
        let KeySource::File(path) = source else { return Ok(self.keys.len() == 1) };
        let io = |source| Error::Io { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(io)?;
        let first = text.split_whitespace().next().ok_or_else(|| Error::Damaged { place: self.place.clone() })?;
        replace(path, &format!("{first}\n")).map_err(io)?;
        Ok(true)
    }

    /// Whether one of the keys has this id.
    pub fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Names the key that seals without telling it: the first 8 hexadecimal digits of its SHA-256.
    pub fn id(&self) -> &str {
        &self.keys[0].id
    }

    /// Seals an account's session.
    pub fn seal(&self, label: &str, session: &[u8]) -> Result<Sealed, Error> {
        let mut nonce = [0_u8; NONCE];
        rand::fill(&mut nonce[..]);
        let payload = Payload { msg: session, aad: label.as_bytes() };
        let ciphertext =
            self.keys[0].cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Altered { label: label.to_owned() })?;
        let mut bytes = Vec::with_capacity(1 + NONCE + ciphertext.len());
        bytes.push(VERSION);
        bytes.extend(nonce);
        bytes.extend(ciphertext);
        Ok(Sealed { bytes, key_id: self.id().to_owned() })
    }

    /// Opens an account's session.
    pub fn unseal(&self, label: &str, sealed: &Sealed) -> Result<Vec<u8>, Error> {
        let Some(key) = self.keys.iter().find(|key| key.id == sealed.key_id) else {
            return Err(Error::WrongKey {
                place: self.place.clone(),
                label: label.to_owned(),
                sealed_with: sealed.key_id.clone(),
                found: self.id().to_owned(),
            });
        };
        let altered = || Error::Altered { label: label.to_owned() };
        let (&VERSION, rest) = sealed.bytes.split_first().ok_or_else(altered)? else {
            return Err(altered());
        };
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or_else(altered)?;
        let payload = Payload { msg: ciphertext, aad: label.as_bytes() };
        key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| altered())
    }
}

fn fresh() -> [u8; KEY] {
    let mut key = [0_u8; KEY];
    rand::fill(&mut key[..]);
    key
}

/// Makes the key file, complete or not at all. Another process that makes it at the same time wins or loses as a whole.
fn make(path: &Path) -> std::io::Result<()> {
    write(path, &format!("{}\n", hex(&fresh())), |draft| match fs::hard_link(draft, path) {
        Err(there) if there.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    })
}

/// Replaces the key file, complete or not at all.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    write(path, text, |draft| fs::rename(draft, path))
}

fn write(path: &Path, text: &str, place: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| place(&draft));
    // The draft holds a key: it must not stay, whatever happened.
    match fs::remove_file(&draft) {
        Err(gone) if gone.kind() == ErrorKind::NotFound => written,
        removed => written.and(removed),
    }?;
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

    fn source(folder: &tempfile::TempDir) -> KeySource {
        folder.path().join("seal.key").into()
    }

    fn key_in(folder: &tempfile::TempDir) -> SealKey {
        SealKey::open(&source(folder), 0, LostKey::Refuse).unwrap()
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
        SealKey::open(&path.clone().into(), 0, LostKey::Refuse).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SealKey::open(&path.clone().into(), 0, LostKey::Refuse), Err(Error::Open { .. })));
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
        let error = SealKey::open(&path.clone().into(), 2, LostKey::Refuse).unwrap_err();
        assert!(!path.exists());
        let told = error.to_string();
        assert!(told.contains("seal.key is missing, but 2 account(s)"), "{told}");
        assert!(told.contains("restore it from your backup"), "{told}");
        SealKey::open(&path.clone().into(), 2, LostKey::Replace).unwrap();
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
            let error = SealKey::open(&path.clone().into(), 0, LostKey::Refuse).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{damaged}");
        }
    }

    #[test]
    fn the_first_key_seals_and_the_others_open() {
        let folder = tempfile::tempdir().unwrap();
        let old = key_in(&folder);
        let before = old.seal("anna", b"session").unwrap();
        let both = old.begin_rotation(&source(&folder)).unwrap();
        assert_eq!(both.unseal("anna", &before).unwrap(), b"session");
        let after = both.seal("anna", b"session").unwrap();
        assert_ne!(after.key_id, before.key_id);
        // interrupted here: the next goes on with the same key
        let again = key_in(&folder).begin_rotation(&source(&folder)).unwrap();
        assert_eq!(again.id(), both.id());
        assert!(again.end_rotation(&source(&folder)).unwrap());
        let new = key_in(&folder);
        assert_eq!(new.unseal("anna", &after).unwrap(), b"session");
        assert!(!new.knows(&before.key_id));
        assert_eq!(fs::metadata(folder.path().join("seal.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn keys_may_come_from_the_environment() {
        let (one, two) = ("ab".repeat(KEY), "cd".repeat(KEY));
        let both = KeySource::Environment(format!("{two}, {one}"));
        let old = SealKey::open(&KeySource::Environment(one.clone()), 3, LostKey::Refuse).unwrap();
        let sealed = old.seal("anna", b"session").unwrap();
        let refused = old.begin_rotation(&KeySource::Environment(one)).unwrap_err();
        assert!(refused.to_string().contains("TELEKEEP_KEY holds one key"));
        let key = SealKey::open(&both, 3, LostKey::Refuse).unwrap().begin_rotation(&both).unwrap();
        assert_eq!(key.unseal("anna", &sealed).unwrap(), b"session");
        assert!(!key.end_rotation(&both).unwrap(), "that is the operator's to do");
        let damaged = SealKey::open(&KeySource::Environment("abc".to_owned()), 0, LostKey::Refuse).unwrap_err();
        assert!(damaged.to_string().starts_with("TELEKEEP_KEY is damaged"), "{damaged}");
    }
}
