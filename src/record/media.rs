//! The `media` tables: files as Telegram tells them, every message that carries one, and what each account needs to address it.
//!
//! What was told never goes with a message that is deleted: a file is there by its other sources. How far a file is fetched, and where it
//! is stored, is written elsewhere; whoever writes it calls [`changed`].

pub(super) mod erasing;
mod merge;
mod reading;
pub(super) mod restricting;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::change::{Change, announce};
use super::outbox::Kind;
use super::{BoxId, ChatId, Error, Message, Observation};

pub use reading::{Reference, Source, reference_of, sources_of};

/// A document names so many of its sources; the record has all of them.
pub const LISTED: usize = 100;

/// Row id of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaId(pub i64);

impl std::fmt::Display for MediaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Telegram numbers photos and documents apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    Photo,
    Document,
}

impl Space {
    /// The name in the record, and the first part of a document's `_id`.
    pub fn as_str(self) -> &'static str {
        match self {
            Space::Photo => "photo",
            Space::Document => "document",
        }
    }

    /// The space of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Space::Photo, Space::Document].into_iter().find(|space| space.as_str() == name)
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaType {
    Photo,
    /// A chat's or a user's photo that no message carries as its own.
    Avatar,
    Video,
    /// A round video.
    VideoNote,
    Animation,
    Audio,
    Voice,
    Sticker,
    /// All others.
    Document,
}

impl MediaType {
    /// Every type.
    #[rustfmt::skip]
    pub const ALL: [MediaType; 9] = [
        Self::Photo, Self::Avatar, Self::Video, Self::VideoNote, Self::Animation, Self::Audio, Self::Voice, Self::Sticker, Self::Document,
    ];

    /// The name in the record, in the index and in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Avatar => "avatar",
            Self::Video => "video",
            Self::VideoNote => "video_note",
            Self::Animation => "animation",
            Self::Audio => "audio",
            Self::Voice => "voice",
            Self::Sticker => "sticker",
            Self::Document => "document",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Why only a file's metadata is kept, unless an operator says otherwise: true of all of its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Restriction {
    SelfDestructing,
    /// The message or its chat may not be saved.
    Protected,
}

impl Restriction {
    /// The name in the record and in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfDestructing => "self_destructing",
            Self::Protected => "protected",
        }
    }

    /// The restriction of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::SelfDestructing, Self::Protected].into_iter().find(|restriction| restriction.as_str() == name)
    }
}

/// A file as Telegram told it to one account. A field that is absent says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub space: Space,
    pub file_id: i64,
    pub kind: MediaType,
    /// Fields of its type: width, height (pixels), duration (seconds), file_name, performer, title, sticker, sizes, …
    pub body: Map<String, Value>,
    /// Bytes; of a photo: of its largest size.
    pub size: Option<i64>,
    pub mime_type: Option<String>,
    pub dc: Option<i32>,
    /// The account's own; none where only the id was told.
    pub access_hash: Option<i64>,
    pub file_reference: Vec<u8>,
    /// Of its upload.
    pub date: Option<DateTime<Utc>>,
    /// Told as self-destructing.
    pub ttl: bool,
}

impl Told {
    /// `photo_ID` or `document_ID`, as the document is named.
    pub fn document_id(&self) -> String {
        format!("{}_{}", self.space.as_str(), self.file_id)
    }
}

/// A file with the message that carries it.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub held: BoxId,
    pub chat: ChatId,
    pub message_id: i64,
    pub protected: bool,
    pub user_id: Option<i64>,
    /// The message's.
    pub date: Option<DateTime<Utc>>,
    pub told: Told,
    pub seen: Observation,
}

/// The files that messages of a box carry.
pub(super) fn carried(held: &BoxRow, messages: &[Message], seen: &Observation) -> Vec<Carried> {
    let of_one = |message: &Message| {
        let protected = message.body.get("noforwards").and_then(Value::as_bool).unwrap_or(false);
        let user_id = message.body.get("from_user_id").and_then(Value::as_i64);
        let (chat, message_id) = (message.chat, message.id);
        let files = message.media.iter().map(move |told| {
            let told = told.clone();
            Carried { held: held.id, chat, message_id, protected, user_id, date: message.date, told, seen: *seen }
        });
        files.collect::<Vec<_>>()
    };
    messages.iter().flat_map(of_one).collect()
}

/// Merges the files of messages that were just committed in a locked box; those of erased messages leave no trace.
pub async fn merge(conn: &mut PgConnection, held: &BoxRow, messages: &[Message], seen: &Observation) -> Result<(), Error> {
    merge_all(conn, carried(held, messages, seen)).await
}

/// Merges files of several boxes at once: one that is carried in many chats at the same time must be locked in one order.
pub(super) async fn merge_all(conn: &mut PgConnection, carried: Vec<Carried>) -> Result<(), Error> {
    merge::all(conn, carried).await
}

/// Merges photos that are told as a chat's or a user's own.
pub(super) async fn merge_avatars(conn: &mut PgConnection, photos: &[Told], seen: &Observation) -> Result<(), Error> {
    merge::avatars(conn, photos, seen).await
}

/// Raises the revision of files whose state or place changed, and announces them. Call it in the transaction of the change.
pub async fn changed(conn: &mut PgConnection, media: &[MediaId]) -> Result<(), Error> {
    if media.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = media.iter().map(|id| id.0).collect();
    let raised: Vec<(i64, i64)> = sqlx::query_as(
        "with locked as materialized (select id from media where id = any($1) order by id for update)
        update media m set revision = m.revision + 1 from locked l where m.id = l.id returning m.id, m.revision",
    )
    .bind(&ids)
    .fetch_all(&mut *conn)
    .await?;
    tell(conn, raised).await
}

/// Announces new revisions.
async fn tell(conn: &mut PgConnection, raised: Vec<(i64, i64)>) -> Result<(), Error> {
    let mut changes: Vec<Change> = raised.into_iter().map(|(id, revision)| Change { key1: id, key2: 0, revision }).collect();
    changes.sort_unstable();
    announce(conn, Kind::Media, &changes).await
}
