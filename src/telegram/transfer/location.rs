//! How one account addresses a file. Access hash and reference are that account's alone, and are never printed.

use std::fmt;

use grammers_tl_types as tl;

use crate::telegram::InputChat;

/// Where Telegram has a file.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// One size of a photo, by its letter (<https://core.telegram.org/api/files#image-thumbnail-types>).
    Photo {
        id: i64,
        access_hash: i64,
        file_reference: Vec<u8>,
        size: String,
    },
    Document {
        id: i64,
        access_hash: i64,
        file_reference: Vec<u8>,
    },
    /// The current picture of a chat or user, large. It needs no reference.
    Portrait {
        of: InputChat,
        photo_id: i64,
    },
}

impl Location {
    /// The same file under another reference.
    #[must_use]
    pub fn with_reference(&self, access_hash: i64, file_reference: Vec<u8>) -> Self {
        match self {
            Self::Photo { id, size, .. } => Self::Photo { id: *id, access_hash, file_reference, size: size.clone() },
            Self::Document { id, .. } => Self::Document { id: *id, access_hash, file_reference },
            Self::Portrait { of, photo_id } => Self::Portrait { of: *of, photo_id: *photo_id },
        }
    }

    pub(super) fn input(&self) -> tl::enums::InputFileLocation {
        match self.clone() {
            Self::Photo { id, access_hash, file_reference, size } => {
                tl::types::InputPhotoFileLocation { id, access_hash, file_reference, thumb_size: size }.into()
            }
            Self::Document { id, access_hash, file_reference } => {
                tl::types::InputDocumentFileLocation { id, access_hash, file_reference, thumb_size: String::new() }.into()
            }
            Self::Portrait { of, photo_id } => {
                tl::types::InputPeerPhotoFileLocation { big: true, peer: of.peer(), photo_id }.into()
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Photo { id, size, .. } => write!(f, "photo {id}, size {size:?}"),
            Self::Document { id, .. } => write!(f, "document {id}"),
            Self::Portrait { of, photo_id } => write!(f, "picture {photo_id} of {}", of.id()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_reference_changes_nothing_else_and_is_not_printed() {
        let old = Location::Photo { id: 5, access_hash: 71, file_reference: vec![201], size: "y".into() };
        let new = old.with_reference(72, vec![202]);
        assert_eq!(new, Location::Photo { id: 5, access_hash: 72, file_reference: vec![202], size: "y".into() });
        let printed = format!("{old:?}{new:?}");
        assert!(!printed.contains("71") && !printed.contains("20"), "{printed}");
    }
}
