//! upload.getFile and upload.getFileHashes.

use grammers_tl_types as tl;
use sha2::{Digest, Sha256};
use tl::enums::InputFileLocation as Location;

use super::{Caller, Failure};
use crate::clock;
use crate::files::Refused;
use crate::violation::Limit;
use crate::world::content::Content;
use crate::world::media;

const KIB: i64 = 1024;
const BLOCK: i64 = 1024 * KIB;
/// What one hash is over (<https://core.telegram.org/api/cdn>).
const HASHED: i64 = 128 * KIB;

impl Caller<'_> {
    pub(super) fn file(&self, call: tl::functions::upload::GetFile) -> Result<tl::enums::upload::File, Failure> {
        let limit = i64::from(call.limit);
        check_part(call.offset, limit, call.precise)?;
        let (id, _, content) = self.located(&call.location)?;
        let (offset, limit) = (u64::try_from(call.offset).unwrap_or(0), usize::try_from(limit).unwrap_or(0));
        let bytes = content.part(offset, limit).ok_or_else(|| Failure::bad("FILE_ID_INVALID"))?;
        let head = if offset == 0 { kind(&bytes) } else { kind(&content.part(0, 16).unwrap_or_default()) };
        let bytes = self.datacentre.files.served(id, bytes);
        self.datacentre.conduct.served(&self.account.name, Limit::Files, bytes.len() as u64);
        self.datacentre.calls.gave(&self.account.name, bytes.len() as u64);
        Ok(tl::types::upload::File { r#type: head, mtime: clock::unix_now(), bytes }.into())
    }

    /// Hashes from the offset's on, for as much as one part holds at most.
    pub(super) fn file_hashes(&self, call: tl::functions::upload::GetFileHashes) -> Result<Vec<tl::enums::FileHash>, Failure> {
        let (id, size, content) = self.located(&call.location)?;
        if call.offset < 0 {
            return Err(Failure::bad("OFFSET_INVALID"));
        }
        let first = call.offset - call.offset % HASHED;
        let compute = || {
            let bytes = content.part(u64::try_from(first).unwrap_or(0), BLOCK as usize)?;
            let hash = |(at, piece): (usize, &[u8])| {
                let offset = first + HASHED * i64::try_from(at).unwrap_or(0);
                let limit = i32::try_from(piece.len()).unwrap_or(i32::MAX);
                tl::types::FileHash { offset, limit, hash: Sha256::digest(piece).to_vec() }.into()
            };
            Some(bytes.chunks(HASHED as usize).enumerate().map(hash).collect())
        };
        self.datacentre.files.hashes((id, size, first), compute).ok_or_else(|| Failure::bad("LOCATION_INVALID"))
    }

    /// The file that a location means, if it lies here and the account may open it.
    fn located<'l>(&self, location: &'l Location) -> Result<(i64, &'l str, Content), Failure> {
        let (id, kind) = match location {
            Location::InputPhotoFileLocation(photo) => {
                self.opens(photo.id, photo.access_hash, &photo.file_reference)?;
                // A photo is its sizes: one of them must be named.
                if photo.thumb_size.is_empty() {
                    return Err(Failure::bad("LOCATION_INVALID"));
                }
                (photo.id, photo.thumb_size.as_str())
            }
            Location::InputDocumentFileLocation(document) => {
                self.opens(document.id, document.access_hash, &document.file_reference)?;
                (document.id, document.thumb_size.as_str())
            }
            Location::InputPeerPhotoFileLocation(photo) => {
                self.shows(&photo.peer, photo.photo_id)?;
                (photo.photo_id, if photo.big { "c" } else { "a" })
            }
            _ => return Err(Failure::bad("LOCATION_INVALID")),
        };
        let world = &self.datacentre.world;
        let Some(content) = world.content(id, kind) else {
            // A file of which there is no such size, or none at all.
            let name = if world.content(id, "").is_some() { "LOCATION_INVALID" } else { "FILE_ID_INVALID" };
            return Err(Failure::bad(name));
        };
        Ok((id, kind, content))
    }

    /// Whether a file lies in this datacentre, and hash and reference open it.
    fn opens(&self, id: i64, access_hash: i64, reference: &[u8]) -> Result<(), Failure> {
        self.is_here(id)?;
        if access_hash != media::secret(id) {
            return Err(Failure::bad("FILE_ID_INVALID"));
        }
        self.datacentre.files.check(self.reference_secret(), id, reference).map_err(|refused| {
            Failure::bad(match refused {
                Refused::Empty => "FILE_REFERENCE_EMPTY",
                Refused::Invalid => "FILE_REFERENCE_INVALID",
                Refused::Expired { numbered: false } => "FILE_REFERENCE_EXPIRED",
                Refused::Expired { numbered: true } => "FILE_REFERENCE_0_EXPIRED",
            })
        })
    }

    /// Whether this is the picture of a user or chat that the account knows; it needs no reference
    /// (<https://core.telegram.org/constructor/inputPeerPhotoFileLocation>).
    fn shows(&self, peer: &tl::enums::InputPeer, photo: i64) -> Result<(), Failure> {
        let world = &self.datacentre.world;
        let current = match peer {
            tl::enums::InputPeer::PeerSelf => world.person(self.account.user_id).and_then(|person| person.photo_ids().next()),
            tl::enums::InputPeer::User(user) => {
                if user.access_hash != self.account.access_hash(user.user_id) {
                    return Err(Failure::bad("PEER_ID_INVALID"));
                }
                world.person(user.user_id).and_then(|person| person.photo_ids().next())
            }
            peer => self.peer(peer)?.0.photo(),
        };
        if current != Some(photo) {
            return Err(Failure::bad("LOCATION_INVALID"));
        }
        self.is_here(photo)
    }

    /// A file is read where it lies (<https://core.telegram.org/api/datacenter#file-access>).
    fn is_here(&self, id: i64) -> Result<(), Failure> {
        let dc = self.datacentre.world.file_dc(id);
        if dc == self.origin.dc { Ok(()) } else { Err(Failure::new(303, &format!("FILE_MIGRATE_{dc}"))) }
    }
}

/// <https://core.telegram.org/api/files#downloading-files>. That a part across a block's end is a matter of its limit is reported
/// at <https://github.com/LonamiWebs/Telethon/issues/4390>.
fn check_part(offset: i64, limit: i64, precise: bool) -> Result<(), Failure> {
    let unit = if precise { KIB } else { 4 * KIB };
    if limit <= 0 || limit > BLOCK || limit % unit != 0 || !precise && BLOCK % limit != 0 {
        return Err(Failure::bad("LIMIT_INVALID"));
    }
    if offset < 0 || offset % unit != 0 {
        return Err(Failure::bad("OFFSET_INVALID"));
    }
    if offset / BLOCK != (offset + limit - 1) / BLOCK {
        return Err(Failure::bad("LIMIT_INVALID"));
    }
    Ok(())
}

/// What the first bytes say (<https://core.telegram.org/type/storage.FileType>).
fn kind(head: &[u8]) -> tl::enums::storage::FileType {
    use tl::enums::storage::FileType as T;
    match head {
        [0xff, 0xd8, 0xff, ..] => T::FileJpeg,
        [0x89, b'P', b'N', b'G', ..] => T::FilePng,
        [b'G', b'I', b'F', b'8', ..] => T::FileGif,
        [b'%', b'P', b'D', b'F', ..] => T::FilePdf,
        [b'I', b'D', b'3', ..] => T::FileMp3,
        [_, _, _, _, b'f', b't', b'y', b'p', b'q', b't', ..] => T::FileMov,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => T::FileMp4,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => T::FileWebp,
        _ => T::FileUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_and_stay_in_one_block() {
        let limit = Err(Failure::bad("LIMIT_INVALID"));
        let offset = Err(Failure::bad("OFFSET_INVALID"));
        assert!(check_part(0, BLOCK, false).is_ok());
        assert!(check_part(4096, 4096, false).is_ok());
        assert!(check_part(1024, 1024, true).is_ok());
        assert!(check_part(0, 3 * 4096, true).is_ok());
        assert_eq!(check_part(1024, 4096, false), offset);
        assert_eq!(check_part(512, 1024, true), offset);
        assert_eq!(check_part(-4096, 4096, false), offset);
        assert_eq!(check_part(0, 0, false), limit);
        assert_eq!(check_part(0, 5000, false), limit);
        assert_eq!(check_part(0, 3 * 4096, false), limit, "a megabyte is no multiple of it");
        assert_eq!(check_part(0, 2 * BLOCK, false), limit);
        assert_eq!(check_part(BLOCK - 4096, 8192, false), limit);
        assert_eq!(check_part(BLOCK - 1024, 2048, true), limit);
    }
}
