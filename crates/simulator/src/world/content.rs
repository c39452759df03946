//! Bytes of files: drawn, composed, computed by block, or read from an export's folder. Several GiB need no memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::picture::{self, Size};
use super::text::mix;

/// How much is hashed at once.
const BLOCK: usize = 1 << 20;

/// What a file holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A picture by number, in one size.
    Picture(u64, Size),
    Text(String),
    Blob(Blob),
    OnDisk(PathBuf),
}

impl Content {
    /// Length in bytes; `None` where a file on the disk is gone.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Content::Picture(_, size) => u64::try_from(size.bytes).ok(),
            Content::Text(text) => u64::try_from(text.len()).ok(),
            Content::Blob(blob) => Some(blob.size),
            Content::OnDisk(path) => std::fs::metadata(path).ok().map(|about| about.len()),
        }
    }

    /// The bytes from an offset on, `limit` of them at most; past the end none.
    pub(crate) fn part(&self, offset: u64, limit: usize) -> Option<Vec<u8>> {
        match self {
            Content::Picture(number, size) => Some(slice(&picture::jpeg(*number, size), offset, limit)),
            Content::Text(text) => Some(slice(text.as_bytes(), offset, limit)),
            Content::Blob(blob) => Some(blob.part(offset, limit)),
            Content::OnDisk(path) => {
                let mut file = File::open(path).ok()?;
                file.seek(SeekFrom::Start(offset)).ok()?;
                let mut bytes = Vec::new();
                file.take(limit as u64).read_to_end(&mut bytes).ok()?;
                Some(bytes)
            }
        }
    }

    /// All bytes.
    pub(crate) fn whole(&self) -> Option<Vec<u8>> {
        self.part(0, usize::try_from(self.size()?).ok()?)
    }

    /// SHA-256 over all bytes, read piece by piece.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        let size = self.size()?;
        let mut hash = Sha256::new();
        match self {
            Content::Picture(..) | Content::Text(_) => hash.update(self.whole()?),
            Content::Blob(_) | Content::OnDisk(_) => {
                let mut offset = 0;
                while offset < size {
                    let part = self.part(offset, BLOCK)?;
                    if part.is_empty() {
                        return None;
                    }
                    offset += part.len() as u64;
                    hash.update(part);
                }
            }
        }
        Some(hash.finalize().into())
    }
}

fn slice(bytes: &[u8], offset: u64, limit: usize) -> Vec<u8> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes[from..from.saturating_add(limit).min(bytes.len())].to_vec()
}

/// What a made-up file claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Pdf,
    Zip,
    Png,
    Mp3,
    Ogg,
    Mp4,
    Webp,
}

impl Form {
    pub fn mime(self) -> &'static str {
        match self {
            Form::Pdf => "application/pdf",
            Form::Zip => "application/zip",
            Form::Png => "image/png",
            Form::Mp3 => "audio/mpeg",
            Form::Ogg => "audio/ogg",
            Form::Mp4 => "video/mp4",
            Form::Webp => "image/webp",
        }
    }

    pub fn ending(self) -> &'static str {
        match self {
            Form::Pdf => "pdf",
            Form::Zip => "zip",
            Form::Png => "png",
            Form::Mp3 => "mp3",
            Form::Ogg => "ogg",
            Form::Mp4 => "mp4",
            Form::Webp => "webp",
        }
    }

    /// The first bytes, by which its kind is told.
    fn head(self) -> &'static [u8] {
        match self {
            Form::Pdf => b"%PDF-1.7\n",
            Form::Zip => b"PK\x03\x04\x14\x00\x00\x00",
            Form::Png => b"\x89PNG\r\n\x1a\n",
            Form::Mp3 => b"ID3\x04\x00\x00\x00\x00\x00\x00",
            Form::Ogg => b"OggS\x00\x02",
            Form::Mp4 => b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
            Form::Webp => b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        }
    }
}

/// Bytes that follow from a seed; only the first few say what the file claims to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blob {
    pub(super) seed: u64,
    pub(super) size: u64,
    pub(super) form: Form,
}

impl Blob {
    fn part(self, offset: u64, limit: usize) -> Vec<u8> {
        let end = offset.saturating_add(limit as u64).min(self.size);
        let Ok(length) = usize::try_from(end.saturating_sub(offset)) else {
            return Vec::new();
        };
        let first = offset / 8;
        let skip = usize::try_from(offset % 8).unwrap_or(0);
        let words = (skip + length).div_ceil(8);
        let seed = mix(self.seed, 0, 0, 7);
        let mut bytes: Vec<u8> = Vec::with_capacity(words * 8);
        bytes.extend((first..).take(words).flat_map(|word| word_at(seed, word).to_le_bytes()));
        bytes.drain(..skip);
        bytes.truncate(length);
        for (byte, at) in self.form.head().iter().zip(0_u64..) {
            if let Some(place) = at.checked_sub(offset).and_then(|at| bytes.get_mut(usize::try_from(at).ok()?)) {
                *place = *byte;
            }
        }
        bytes
    }
}

/// The word at a place: SplitMix64's (public domain, Vigna 2015), whose n-th number needs none before it.
fn word_at(seed: u64, at: u64) -> u64 {
    let mut word = seed.wrapping_add(at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_blob_is_the_same_as_in_the_whole() {
        let blob = Blob { seed: 5, size: 10_007, form: Form::Mp4 };
        let content = Content::Blob(blob);
        let whole = content.whole().expect("is computed");
        assert_eq!(whole.len(), 10_007);
        assert_eq!(&whole[4..8], b"ftyp");
        for (offset, limit) in [(0, 1), (3, 9), (4_096, 4_096), (9_999, 50), (10_007, 8), (1 << 40, 8)] {
            assert_eq!(content.part(offset, limit).expect("is computed"), slice(&whole, offset, limit), "{offset}+{limit}");
        }
        assert_eq!(content.sha256().expect("is computed"), <[u8; 32]>::from(Sha256::digest(&whole)));
    }

    #[test]
    fn gigabytes_are_not_stored() {
        let blob = Blob { seed: 5, size: 5 << 30, form: Form::Zip };
        let part = Content::Blob(blob).part((5 << 30) - 100, 4_096).expect("is computed");
        assert_eq!(part.len(), 100);
        assert_ne!(part, Content::Blob(Blob { seed: 6, ..blob }).part((5 << 30) - 100, 4_096).expect("is computed"));
    }
}
