//! upload.getFile.

use grammers_tl_types as tl;

use super::{Caller, Failure};

const KIB: i64 = 1024;
const BLOCK: i64 = 1024 * KIB;

impl Caller<'_> {
    pub(super) fn file(&self, call: tl::functions::upload::GetFile) -> Result<tl::enums::upload::File, Failure> {
        let limit = i64::from(call.limit);
        check_part(call.offset, limit, call.precise)?;
        let id = match &call.location {
            tl::enums::InputFileLocation::InputPhotoFileLocation(photo) => photo.id,
            tl::enums::InputFileLocation::InputDocumentFileLocation(document) => document.id,
            tl::enums::InputFileLocation::InputPeerPhotoFileLocation(photo) => {
                self.peer(&photo.peer)?;
                photo.photo_id
            }
            _ => return Err(Failure::bad("LOCATION_INVALID")),
        };
        let dc = self.datacentre.world.file_dc(id);
        if dc != self.origin.dc {
            return Err(Failure::elsewhere("FILE", dc));
        }
        let bytes = self.datacentre.world.file(id).ok_or_else(|| Failure::bad("FILE_ID_INVALID"))?;
        let from = usize::try_from(call.offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(usize::try_from(limit).unwrap_or(0)).min(bytes.len());
        Ok(tl::types::upload::File { r#type: kind(&bytes), mtime: 0, bytes: bytes[from..to].to_vec() }.into())
    }
}

/// <https://core.telegram.org/api/files#downloading-files>
fn check_part(offset: i64, limit: i64, precise: bool) -> Result<(), Failure> {
    let unit = if precise { KIB } else { 4 * KIB };
    if limit <= 0 || limit > BLOCK || limit % unit != 0 {
        return Err(Failure::bad("LIMIT_INVALID"));
    }
    if offset < 0 || offset % unit != 0 || offset / BLOCK != (offset + limit - 1) / BLOCK {
        return Err(Failure::bad("OFFSET_INVALID"));
    }
    Ok(())
}

fn kind(bytes: &[u8]) -> tl::enums::storage::FileType {
    use tl::enums::storage::FileType as T;
    match bytes {
        [0xff, 0xd8, 0xff, ..] => T::FileJpeg,
        [0x89, b'P', b'N', b'G', ..] => T::FilePng,
        [b'G', b'I', b'F', b'8', ..] => T::FileGif,
        [b'%', b'P', b'D', b'F', ..] => T::FilePdf,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => T::FileWebp,
        _ => T::FileUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_and_stay_in_one_block() {
        assert!(check_part(0, BLOCK, false).is_ok());
        assert!(check_part(4096, 4096, false).is_ok());
        assert!(check_part(1024, 1024, true).is_ok());
        assert_eq!(check_part(1024, 4096, false), Err(Failure::bad("OFFSET_INVALID")));
        assert_eq!(check_part(0, 5000, false), Err(Failure::bad("LIMIT_INVALID")));
        assert_eq!(check_part(0, 2 * BLOCK, false), Err(Failure::bad("LIMIT_INVALID")));
        assert_eq!(check_part(BLOCK - 4096, 8192, false), Err(Failure::bad("OFFSET_INVALID")));
    }
}
