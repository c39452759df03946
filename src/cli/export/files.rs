//! The files of an export: written whole, hashed on the way, and named in the manifest, which is written last.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::mistake;

/// What the manifest says of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FileRow {
    pub name: String,
    pub bytes: u64,
    /// Ends of lines; text in a CSV may hold some.
    pub lines: u64,
    pub sha256: String,
}

/// A folder that an export goes to.
pub(super) struct Folder {
    path: PathBuf,
    files: Vec<FileRow>,
}

/// One file while it is written.
pub(super) struct Writing {
    name: String,
    to: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    lines: u64,
}

impl Folder {
    /// Made where it is not there. One that holds a finished export is left alone.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        if path.join("manifest.json").exists() {
            return mistake(format!("{} holds an export already: name another folder", path.display()));
        }
        fs::create_dir_all(path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { path: path.to_owned(), files: Vec::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn create(&self, name: &str) -> anyhow::Result<Writing> {
        let path = self.path.join(name);
        let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Writing { name: name.to_owned(), to: BufWriter::new(file), hash: Sha256::new(), bytes: 0, lines: 0 })
    }

    /// Puts a file on disk, for good.
    pub fn end(&mut self, mut file: Writing) -> anyhow::Result<()> {
        file.flush()?;
        file.to.get_ref().sync_all()?;
        let sha256 = file.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.files.push(FileRow { name: file.name, bytes: file.bytes, lines: file.lines, sha256 });
        Ok(())
    }

    pub fn files(&self) -> Vec<FileRow> {
        self.files.clone()
    }

    /// Writes a small file in one step: it is there whole, or not at all.
    pub fn write_last(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (path, draft) = (self.path.join(name), self.path.join(format!(".{name}")));
        let written = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        written().with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        let written = &bytes[..count];
        self.hash.update(written);
        self.bytes += count as u64;
        self.lines += written.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
