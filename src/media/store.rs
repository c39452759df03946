//! The files themselves, by content: `sha256/ab/cd/abcd…`, each kept once, none visible before it is whole.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::staging::{STAGING, Staged};

/// A piece of an upload to S3, of which [`PIECES`] are under way at most: 10,000 of them are the most that S3 takes, 160 GB
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PIECE: usize = 16 << 20;
const PIECES: usize = 2;
/// Bytes that are read of a folder's file at once.
const READ_AT_ONCE: usize = 64 << 10;
/// For so long S3 is asked again before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A content, named by its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub sha256: [u8; 32],
    /// In bytes.
    pub size: u64,
}

impl Content {
    /// Of a hash in hexadecimal digits; none where it is no such hash.
    pub fn of_hex(hex: &str, size: u64) -> Option<Self> {
        let mut sha256 = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (place, byte) in sha256.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[place * 2..place * 2 + 2], 16).ok()?;
        }
        Some(Self { sha256, size })
    }

    /// The hash in hexadecimal digits.
    pub fn hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Where it is in any store.
    pub fn location(&self) -> String {
        let hex = self.hex();
        format!("sha256/{}/{}/{hex}", &hex[..2], &hex[2..4])
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.hex(), self.size)
    }
}

/// Why a file could not be kept. Nothing of it is lost.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no room left in {place}")]
    Full {
        place: String,
        #[source]
        source: io::Error,
    },
    #[error("the files take {used} bytes, and `[files] quota_bytes` allows {allowed}")]
    Quota { used: u64, allowed: u64 },
    #[error("{place} cannot be used")]
    Lost {
        place: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What lies in staging is not what was delivered: it was changed from outside, or its disk fails.
    #[error("{place} is not what was written there")]
    Changed { place: String },
    /// A file without an address.
    #[error("no store is configured: set `store` below `[files]`, to a folder or to s3://BUCKET/PREFIX")]
    NotConfigured,
    #[error("`[files] store` is not understood: {0}")]
    Misconfigured(String),
}

impl StoreError {
    /// What went wrong with a local file.
    pub fn local(place: &Path, source: io::Error) -> Self {
        let place = place.display().to_string();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::Full { place, source },
            _ => Self::Lost { place, source: Box::new(source) },
        }
    }

    /// How an operator lets the job go on.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Full { .. } => "make room there, then `telekeep job release`: what was fetched is kept",
            Self::Quota { .. } => "raise `[files] quota_bytes` or fetch less, then `telekeep job release`",
            Self::Lost { .. } => "see that it is there and may be written, then `telekeep job release`: what was fetched is kept",
            Self::Changed { .. } => "check that disk; `telekeep job release` fetches the file anew",
            Self::NotConfigured | Self::Misconfigured(_) => "mend telekeep.toml, restart, then `telekeep job release`",
        }
    }
}

/// Where files are kept.
#[derive(Debug, Clone)]
pub struct Store {
    place: Place,
    staging: PathBuf,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    S3 { bucket: Arc<AmazonS3>, prefix: Key, address: String },
}

impl Store {
    /// A store at a folder or at `s3://bucket/prefix` (keys, region and endpoint from S3's usual environment variables). Files on their
    /// way are in `staging`, by default inside the folder, so that they need no copy.
    ///
    /// Errors where the address is not understood; whether the place is there shows when it is used.
    pub fn open(address: &str, staging: Option<PathBuf>) -> Result<Self, StoreError> {
        if !address.contains("://") {
            let folder = PathBuf::from(address);
            let staging = staging.unwrap_or_else(|| folder.join(STAGING));
            return Ok(Self { place: Place::Folder(folder), staging });
        }
        let wrong = |what: String| StoreError::Misconfigured(format!("{address}: {what}"));
        let url = url::Url::parse(address).map_err(|e| wrong(e.to_string()))?;
        if url.scheme() != "s3" {
            return Err(wrong("only a folder or s3://BUCKET/PREFIX".into()));
        }
        let staging = staging.ok_or_else(|| wrong("S3 needs `staging` below `[files]`: a folder for files on their way".into()))?;
        let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
        let bucket = AmazonS3Builder::from_env().with_url(address).with_retry(retry).build().map_err(|e| wrong(e.to_string()))?;
        let prefix = Key::from_url_path(url.path()).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { place: Place::S3 { bucket: Arc::new(bucket), prefix, address: address.to_owned() }, staging })
    }

    /// Where files on their way are.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// The folder, where it is one.
    pub fn folder(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Some(folder.clone()),
            Place::S3 { .. } => None,
        }
    }

    /// As people know it.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Folder(folder) => folder.display().to_string(),
            Place::S3 { address, .. } => address.clone(),
        }
    }

    /// Whether this content is kept already, whole.
    pub async fn has(&self, content: &Content) -> Result<bool, StoreError> {
        match &self.place {
            Place::Folder(folder) => {
                let path = folder.join(content.location());
                match tokio::fs::metadata(&path).await {
                    Ok(there) => Ok(there.is_file() && there.len() == content.size),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
                    Err(e) => Err(StoreError::local(&path, e)),
                }
            }
            Place::S3 { bucket, prefix, .. } => match bucket.head(&key(prefix, content)).await {
                Ok(there) => Ok(there.size == content.size),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(e) => Err(self.lost(e)),
            },
        }
    }

    /// A part of a content, whole where no part is named, as it is read. A content that is not there is [`StoreError::Lost`].
    pub async fn read(
        &self,
        content: &Content,
        part: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        match &self.place {
            Place::Folder(folder) => {
                let path = folder.join(content.location());
                let failed = |e| StoreError::local(&path, e);
                let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
                file.seek(io::SeekFrom::Start(part.start)).await.map_err(failed)?;
                let pieces = ReaderStream::with_capacity(file.take(part.end.saturating_sub(part.start)), READ_AT_ONCE);
                Ok(pieces.map_err(move |e| StoreError::local(&path, e)).boxed())
            }
            Place::S3 { bucket, prefix, address } => {
                let options = GetOptions { range: Some(GetRange::Bounded(part)), ..GetOptions::default() };
                let got = bucket.get_opts(&key(prefix, content), options).await.map_err(|e| self.lost(e))?;
                let place = address.clone();
                Ok(got.into_stream().map_err(move |e| StoreError::Lost { place: place.clone(), source: e.into() }).boxed())
            }
        }
    }

    /// Keeps a whole file under its content's name, unless it is kept already; staging is empty of it afterwards. Gives whether it is new.
    ///
    /// May be repeated after an error or a kill at any moment.
    pub async fn keep(&self, staged: Staged, content: &Content) -> Result<bool, StoreError> {
        let from = staged.close();
        if self.has(content).await? {
            remove(&from).await?;
            return Ok(false);
        }
        match &self.place {
            Place::Folder(folder) => {
                let to = folder.join(content.location());
                let moved = from.clone();
                tokio::task::spawn_blocking(move || rename(&moved, &to)).await.map_err(|e| self.lost(e))??;
            }
            Place::S3 { bucket, prefix, .. } => {
                let upload = bucket.put_multipart(&key(prefix, content)).await.map_err(|e| self.lost(e))?;
                let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE);
                if let Err(failed) = self.send(&from, content, &mut upload).await {
                    // S3 forgets the pieces by itself where even this fails and a lifecycle rule says so.
                    let _ = upload.abort().await;
                    return Err(failed);
                }
                upload.finish().await.map_err(|e| self.lost(e))?;
                remove(&from).await?;
            }
        }
        Ok(true)
    }

    /// Takes a content out; it may be gone already.
    pub async fn remove(&self, content: &Content) -> Result<(), StoreError> {
        match &self.place {
            Place::Folder(folder) => remove(&folder.join(content.location())).await,
            Place::S3 { bucket, prefix, .. } => match bucket.delete(&key(prefix, content)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(self.lost(e)),
            },
        }
    }

    /// Sends a file piece by piece, and checks on the way that it is what it was.
    async fn send(&self, from: &Path, content: &Content, upload: &mut WriteMultipart) -> Result<(), StoreError> {
        let failed = |e| StoreError::local(from, e);
        let mut file = tokio::fs::File::open(from).await.map_err(failed)?;
        let (mut buffer, mut hash) = (vec![0; 1 << 20], Sha256::new());
        loop {
            let read = file.read(&mut buffer).await.map_err(failed)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            upload.wait_for_capacity(PIECES).await.map_err(|e| self.lost(e))?;
            upload.write(&buffer[..read]);
        }
        if hash.finalize().as_slice() != content.sha256 {
            return Err(StoreError::Changed { place: from.display().to_string() });
        }
        Ok(())
    }

    fn lost(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Lost { place: self.address(), source: source.into() }
    }
}

fn key(prefix: &Key, content: &Content) -> Key {
    content.location().split('/').fold(prefix.clone(), |key, part| key.join(part))
}

/// Moves a file to its final name, whichever disk that is on; both names' folders are on disk afterwards.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |e| StoreError::local(to, e);
    let Some(folder) = to.parent() else { return Err(failed(io::ErrorKind::InvalidInput.into())) };
    std::fs::create_dir_all(folder).map_err(failed)?;
    match std::fs::rename(from, to) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            // Beside its final place, under the name that it had.
            let near = folder.join(from.file_name().unwrap_or_default());
            let copied = std::fs::copy(from, &near)
                .and_then(|_| std::fs::File::open(&near)?.sync_all())
                .and_then(|()| std::fs::rename(&near, to));
            if let Err(e) = copied {
                let _ = std::fs::remove_file(&near);
                return Err(failed(e));
            }
            std::fs::remove_file(from).map_err(|e| StoreError::local(from, e))?;
        }
        Err(e) => return Err(failed(e)),
    }
    for folder in folder.ancestors().take(3) {
        std::fs::File::open(folder).and_then(|it| it.sync_all()).map_err(failed)?;
    }
    Ok(())
}

async fn remove(path: &Path) -> Result<(), StoreError> {
    match tokio::fs::remove_file(path).await {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::local(path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn staged(store: &Store, media: i64, bytes: &[u8]) -> Staged {
        let mut staged = Staged::open(store.staging(), media, 0).await.unwrap();
        staged.write(bytes.to_vec()).await.unwrap();
        staged
    }

    #[tokio::test]
    async fn a_content_is_kept_once_under_its_hash_and_staging_is_empty_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap(), None).unwrap();
        for (media, new) in [(1, true), (2, false)] {
            let staged = staged(&store, media, b"a ship").await;
            let content = staged.content();
            assert_eq!(store.has(&content).await.unwrap(), !new);
            assert_eq!(store.keep(staged, &content).await.unwrap(), new);
            assert_eq!(std::fs::read(folder.path().join(content.location())).unwrap(), b"a ship");
            let named = Content::of_hex(&content.hex(), content.size).unwrap();
            let part: Vec<Bytes> = store.read(&named, 2..5).await.unwrap().try_collect().await.unwrap();
            assert_eq!(part.concat(), b"shi");
            assert!(!Staged::path(store.staging(), media).exists());
            let other = Content { size: 7, ..content };
            assert!(!store.has(&other).await.unwrap(), "what has another size is not this");
        }
    }

    #[tokio::test]
    async fn a_staging_on_another_disk_is_copied_and_nothing_stays_there() {
        let (folder, shared) = (tempfile::tempdir().unwrap(), Path::new("/dev/shm"));
        if !shared.exists() {
            println!("SKIPPED: there is no second disk");
            return;
        }
        let elsewhere = tempfile::tempdir_in(shared).unwrap();
        let store = Store::open(folder.path().to_str().unwrap(), Some(elsewhere.path().to_owned())).unwrap();
        let staged = staged(&store, 1, b"a ship").await;
        let content = staged.content();
        assert!(store.keep(staged, &content).await.unwrap());
        assert_eq!(std::fs::read(folder.path().join(content.location())).unwrap(), b"a ship");
        assert!(!Staged::path(store.staging(), 1).exists());
    }

    #[test]
    fn an_address_that_cannot_be_used_is_told() {
        let told = |address: &str| Store::open(address, None).unwrap_err().to_string();
        assert!(told("ftp://files").contains("only a folder or s3://BUCKET/PREFIX"));
        assert!(told("s3://bucket").contains("S3 needs `staging`"));
    }

    #[test]
    fn a_full_disk_is_told_from_a_lost_one() {
        let of = |kind: io::ErrorKind| StoreError::local(Path::new("/files"), kind.into());
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            assert!(matches!(of(kind), StoreError::Full { .. }), "{kind}");
        }
        assert!(matches!(of(io::ErrorKind::PermissionDenied), StoreError::Lost { .. }));
    }
}
