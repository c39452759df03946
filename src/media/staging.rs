//! A file on its way: one local file, written in order, until it is whole.
//!
//! What was synced is known by the record's position. What lies beyond it after a kill may be good, or half written: it counts only once
//! Telegram's hashes proved it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::store::{Content, StoreError};

/// The folder for files on their way, inside a local store.
pub const STAGING: &str = "staging";
const BUFFER: usize = 1 << 20;

/// One file on its way.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// Taken while a thread writes.
    open: Option<Open>,
}

/// Bytes that are on their way to the disk.
#[derive(Debug)]
pub struct Syncing {
    position: u64,
    path: PathBuf,
    done: tokio::task::JoinHandle<io::Result<()>>,
}

impl Syncing {
    /// Whether they are there, or never will be.
    pub fn is_over(&self) -> bool {
        self.done.is_finished()
    }

    /// Waits for them; gives the position up to which everything is on disk.
    pub async fn ends(self) -> Result<u64, StoreError> {
        let done = self.done.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        done.map(|()| self.position).map_err(|e| StoreError::local(&self.path, e))
    }
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Bytes that count.
    position: u64,
    /// Of these bytes.
    hash: Sha256,
    /// How long the file is.
    length: u64,
}

impl Staged {
    /// Where a file of this number is on its way.
    pub fn path(folder: &Path, media: i64) -> PathBuf {
        folder.join(format!("media-{media}.part"))
    }

    /// Opens it, or begins it; `position` says how much of it is known to be good. Less is there only where somebody else cut it.
    pub async fn open(folder: &Path, media: i64, position: u64) -> Result<Self, StoreError> {
        let path = Self::path(folder, media);
        let folder = folder.to_owned();
        let at = path.clone();
        let open = blocking(&path, move || {
            std::fs::create_dir_all(&folder)?;
            let mut file = File::options().read(true).write(true).create(true).truncate(false).open(at)?;
            let length = file.metadata()?.len();
            let position = if length < position { 0 } else { position };
            let mut hash = Sha256::new();
            let mut buffer = vec![0; BUFFER];
            let mut left = position;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
                let read = file.read(&mut buffer[..most])?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                hash.update(&buffer[..read]);
                left -= read as u64;
            }
            Ok(Open { file, position, hash, length })
        })
        .await?;
        Ok(Self { path, open: Some(open) })
    }

    /// Bytes that count.
    pub fn position(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.position)
    }

    /// Up to so many bytes that lie beyond the position, and that nobody vouches for.
    pub async fn beyond(&mut self, most: usize) -> Result<Vec<u8>, StoreError> {
        self.with(move |open| {
            let there = usize::try_from(open.length.saturating_sub(open.position)).unwrap_or(most).min(most);
            let mut bytes = vec![0; there];
            open.file.read_exact_at(&mut bytes, open.position)?;
            Ok(bytes)
        })
        .await
    }

    /// Takes bytes that lie there already, once they are proved.
    pub async fn accept(&mut self, proved: Vec<u8>) -> Result<(), StoreError> {
        self.with(move |open| {
            open.hash.update(&proved);
            open.position += proved.len() as u64;
            Ok(())
        })
        .await
    }

    /// Forgets what lies beyond the position.
    pub async fn cut(&mut self) -> Result<(), StoreError> {
        self.with(|open| {
            if open.length > open.position {
                open.file.set_len(open.position)?;
                open.length = open.position;
            }
            Ok(())
        })
        .await
    }

    /// Writes the next bytes. They are on disk once a [`Self::sync`] that began later is over.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.with(move |open| {
            open.file.write_all_at(&bytes, open.position)?;
            open.hash.update(&bytes);
            open.position += bytes.len() as u64;
            open.length = open.length.max(open.position);
            Ok(())
        })
        .await
    }

    /// Brings everything up to the position onto the disk, while more is written.
    pub fn sync(&self) -> Result<Syncing, StoreError> {
        let gone = || StoreError::local(&self.path, io::Error::other("the file was let go after an error"));
        let open = self.open.as_ref().ok_or_else(gone)?;
        let file = open.file.try_clone().map_err(|e| StoreError::local(&self.path, e))?;
        let done = tokio::task::spawn_blocking(move || file.sync_data());
        Ok(Syncing { position: open.position, path: self.path.clone(), done })
    }

    /// What the bytes are, up to the position.
    pub fn content(&self) -> Content {
        let (sha256, size) = match &self.open {
            Some(open) => (open.hash.clone().finalize().into(), open.position),
            None => (Sha256::new().finalize().into(), 0),
        };
        Content { sha256, size }
    }

    /// Begins anew.
    pub async fn clear(&mut self) -> Result<(), StoreError> {
        self.with(|open| {
            open.file.set_len(0)?;
            (open.position, open.length, open.hash) = (0, 0, Sha256::new());
            Ok(())
        })
        .await
    }

    /// Lets go of the file; gives where it is.
    pub(super) fn close(self) -> PathBuf {
        self.path
    }

    /// Work on the file, on a thread that may wait for the disk. After a failure the object is of no use any more; the file is.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Open) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::local(&self.path, io::Error::other("the file was let go after an error"));
        let mut open = self.open.take().ok_or_else(gone)?;
        let (open, done) = blocking(&self.path, move || {
            let done = work(&mut open)?;
            Ok((open, done))
        })
        .await?;
        self.open = Some(open);
        Ok(done)
    }
}

async fn blocking<T: Send + 'static>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    done.map_err(|e| StoreError::local(path, e))
}

/// Removes what was on its way of a file that is not wanted any more.
pub async fn discard(folder: &Path, media: i64) -> Result<(), StoreError> {
    let path = Staged::path(folder, media);
    match tokio::fs::remove_file(&path).await {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::local(&path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_there_after_a_kill_and_counts_once_proved() {
        let folder = tempfile::tempdir().unwrap();
        let mut staged = Staged::open(folder.path(), 7, 0).await.unwrap();
        staged.write(b"synced".to_vec()).await.unwrap();
        let syncing = staged.sync().unwrap();
        staged.write(b" and not".to_vec()).await.unwrap();
        assert_eq!(syncing.ends().await.unwrap(), 6, "what came later is not vouched for");
        let whole = staged.content();
        drop(staged);

        let mut staged = Staged::open(folder.path(), 7, 6).await.unwrap();
        assert_eq!((staged.position(), staged.content().size), (6, 6));
        let beyond = staged.beyond(5).await.unwrap();
        assert_eq!(beyond, b" and ");
        staged.accept(beyond).await.unwrap();
        assert_eq!(staged.beyond(100).await.unwrap(), b"not");
        staged.cut().await.unwrap();
        assert_eq!(staged.beyond(100).await.unwrap(), b"");
        staged.write(b"not".to_vec()).await.unwrap();
        assert_eq!(staged.content(), whole);
    }

    #[tokio::test]
    async fn a_file_that_was_cut_from_outside_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut staged = Staged::open(folder.path(), 7, 0).await.unwrap();
        staged.write(vec![1; 100]).await.unwrap();
        std::fs::File::options().write(true).open(Staged::path(folder.path(), 7)).unwrap().set_len(50).unwrap();
        assert_eq!(Staged::open(folder.path(), 7, 100).await.unwrap().position(), 0);
        discard(folder.path(), 7).await.unwrap();
        discard(folder.path(), 7).await.unwrap();
        assert!(!Staged::path(folder.path(), 7).exists());
    }
}
