//! Files of the world by their ids: what they hold, where they lie, and the truth about them.

use grammers_tl_types as tl;
use serde::{Deserialize, Serialize};
use tl::enums::MessageMedia;

use super::content::Content;
use super::picture;
use super::portrait::{self, Whose};
use super::text::mix;
use super::truth::Media;
use super::{DC_ID, World, WorldError, media};

/// One file of a chat, as a complete collector must hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTruth {
    /// Marked id.
    pub chat_id: i64,
    pub message_id: i32,
    pub file_id: i64,
    pub media_type: Option<Media>,
    /// The datacentre that it lies in.
    pub dc: i32,
    pub mime_type: String,
    pub name: Option<String>,
    /// Of a photo: the largest one's.
    pub size: u64,
    /// SHA-256 in hex; absent where an export names the file without holding it.
    pub sha256: Option<String>,
}

impl World {
    /// The bytes of a photo (the largest one) or document; `None` if there is no such file, or an export names it without holding
    /// it. Large ones are better read in parts.
    pub fn file(&self, id: i64) -> Option<Vec<u8>> {
        self.content(id, "")?.whole()
    }

    /// Bytes of a file from an offset on, `limit` of them at most.
    pub fn file_part(&self, id: i64, offset: u64, limit: usize) -> Option<Vec<u8>> {
        self.content(id, "")?.part(offset, limit)
    }

    /// SHA-256 of a file: read once, piece by piece, and remembered.
    pub fn file_sha256(&self, id: i64) -> Option<[u8; 32]> {
        let lock = || self.hashes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(hash) = lock().get(&id) {
            return Some(*hash);
        }
        let hash = self.content(id, "")?.sha256()?;
        lock().insert(id, hash);
        Some(hash)
    }

    /// The datacentre that a file lies in (<https://core.telegram.org/api/datacenter#file-access>).
    pub fn file_dc(&self, id: i64) -> i32 {
        match self.file_dcs.len() {
            0 => DC_ID,
            count => self.file_dcs[(mix(self.seed, id.unsigned_abs(), 0, 8) % count as u64) as usize],
        }
    }

    /// All files of a chat's messages that exist now, oldest first.
    pub fn files(&self, chat: i64) -> Result<impl Iterator<Item = FileTruth> + '_, WorldError> {
        let chat = self.chat(chat).ok_or(WorldError::NoChat(chat))?;
        Ok(chat.ids_from(1).filter_map(|id| self.file_of(chat.id, &chat.message(id)?)))
    }

    /// The file of one message, if it has one.
    pub fn file_of(&self, chat_id: i64, message: &tl::enums::Message) -> Option<FileTruth> {
        let tl::enums::Message::Message(message) = message else {
            return None;
        };
        let told = message.media.as_ref()?;
        let (file_id, mime_type, name, size) = match told {
            MessageMedia::Photo(media) => match media.photo.as_ref()? {
                tl::enums::Photo::Photo(photo) => {
                    let size = photo.sizes.iter().filter_map(photo_bytes).max().unwrap_or(0);
                    (photo.id, "image/jpeg".to_owned(), None, i64::from(size))
                }
                tl::enums::Photo::Empty(_) => return None,
            },
            MessageMedia::Document(media) => match media.document.as_ref()? {
                tl::enums::Document::Document(document) => {
                    let name = document.attributes.iter().find_map(|attribute| match attribute {
                        tl::enums::DocumentAttribute::Filename(name) => Some(name.file_name.clone()),
                        _ => None,
                    });
                    (document.id, document.mime_type.clone(), name, document.size)
                }
                tl::enums::Document::Empty(_) => return None,
            },
            _ => return None,
        };
        let sha256 = self.file_sha256(file_id).map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect());
        Some(FileTruth {
            chat_id,
            message_id: message.id,
            file_id,
            media_type: Media::of(told),
            dc: self.file_dc(file_id),
            mime_type,
            name,
            size: u64::try_from(size).unwrap_or(0),
            sha256,
        })
    }

    /// What a file holds, or one of its sizes or previews by kind; without a kind, the file itself or its largest size.
    pub(crate) fn content(&self, id: i64, kind: &str) -> Option<Content> {
        if let Some(path) = self.files.get(&id) {
            // An export holds photos in one size, which is told as `x`.
            return matches!(kind, "" | "x").then(|| Content::OnDisk(path.clone()));
        }
        if let Some(drawn) = self.drawn(id, kind) {
            return drawn;
        }
        if let Some((whose, _)) = portrait::whose(id) {
            let exists = match whose {
                Whose::User(user) => self.person(user)?.photo_ids().any(|photo| photo == id),
                Whose::Chat(chat) => self.chat(chat)?.photo() == Some(id),
            };
            let kind = if kind.is_empty() { portrait::SIDES[2].0 } else { kind };
            let &(kind, side) = portrait::SIDES.iter().find(|(known, _)| *known == kind)?;
            return exists.then(|| Content::Picture(id as u64, picture::only_size(id as u64, kind, side, side)));
        }
        self.chats.iter().find_map(|chat| chat.content(id, kind))
    }

    /// A user's or chat's picture in all of its sizes.
    pub(crate) fn portrait(&self, id: i64, date: i32) -> tl::enums::Photo {
        let squares = portrait::SIDES.iter().map(|&(kind, side)| media::size(&picture::only_size(id as u64, kind, side, side)));
        let sizes = std::iter::once(media::stripped(id as u64)).chain(squares).collect();
        media::photo_in_sizes(id, date, sizes)
    }
}

fn photo_bytes(size: &tl::enums::PhotoSize) -> Option<i32> {
    match size {
        tl::enums::PhotoSize::Size(size) => Some(size.size),
        tl::enums::PhotoSize::Progressive(size) => size.sizes.last().copied(),
        _ => None,
    }
}
