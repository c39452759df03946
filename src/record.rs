//! The record: documents, merge rules and the ledger, in Postgres. The heart.
//!
//! All SQL of the package lives here. Functions that write take the caller's transaction, so that what was observed, the ledger,
//! follow-up jobs and the job's own progress commit together.
//!
//! Locks are taken in one order: watch, box, coverage, messages with what hangs on them, then members, then chats and their names, then
//! users and theirs, each sorted by key. Files come after all messages of a commit, and after users where they are photos of these.

pub mod account;
pub mod alert;
pub mod audit;
pub mod audit_log;
pub mod avatar;
pub mod boxes;
pub mod budget;
pub mod change;
pub mod chat;
pub mod content;
pub mod conversation;
pub mod counts;
pub mod coverage;
pub mod coverage_bar;
pub mod database;
pub mod document;
pub mod entity;
mod erase;
pub mod error;
pub mod event;
pub mod file;
pub mod finding;
pub mod gauge;
pub mod health;
pub mod import;
pub mod join;
mod kind;
pub mod lease;
pub mod ledger;
pub mod link;
pub mod lost;
pub mod media;
pub mod member;
pub mod member_list;
pub mod member_merge;
mod member_passing;
pub mod member_snapshot;
pub mod membership;
pub mod message;
pub mod message_merge;
pub mod metric;
mod name;
pub mod news;
pub mod node;
pub mod outbox;
pub mod proxy;
pub mod raw;
pub mod reader;
pub mod reading;
pub mod reconcile;
pub mod report;
pub mod restore;
pub mod sampling;
pub mod search;
pub mod selection;
pub mod series;
pub mod session;
pub mod signs;
pub mod spans;
pub mod statistics;
pub mod stream;
pub mod takeaway;
pub mod token;
pub mod turn;
pub mod user;
pub mod verify;
pub mod version;
pub mod watch;
pub mod workflow;

pub use database::{SchemaState, connect, for_requests, for_requests_to, schema_state};
pub use error::Error;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A chat's id in Telegram's "marked" form: `-100…` for channels and supergroups, negative for basic groups, positive for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChatId(pub i64);

/// Bot API's offset of marked channel ids: `-100…`.
const CHANNEL_MARK: i64 = 1_000_000_000_000;

impl ChatId {
    /// The marked id of a channel or supergroup.
    pub fn channel(bare: i64) -> Self {
        Self(-CHANNEL_MARK - bare)
    }

    /// The marked id of a basic group.
    pub fn group(bare: i64) -> Self {
        Self(-bare)
    }

    /// The marked id of a private chat: the other user's id.
    pub fn user(id: i64) -> Self {
        Self(id)
    }

    /// Whether this is a channel or supergroup, with an id space of its own.
    pub fn is_channel(self) -> bool {
        self.0 < -CHANNEL_MARK
    }

    /// Whether this is a chat with one user, which needs a stated purpose.
    pub fn is_private(self) -> bool {
        self.0 > 0
    }
}

impl std::fmt::Display for ChatId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Row id of an account.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema, async_graphql::NewType,
)]
#[serde(transparent)]
pub struct AccountId(pub i64);

/// Row id of a box: an id space of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoxId(pub i64);

/// How a fact reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    Live,
    History,
    Import,
    Difference,
    /// Out of the index, where the record had lost the row.
    Index,
}

impl Via {
    /// The name in the record and in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Live => "live",
            Via::History => "history",
            Via::Import => "import",
            Via::Difference => "difference",
            Via::Index => "index",
        }
    }
}

/// Who saw a set of facts, how, and for which job: the provenance of each row that they change.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    pub account: AccountId,
    pub via: Via,
    pub job: Option<i64>,
    /// The order key: the page's own pts, else the box's committed pts before the request. None for imports.
    pub pts: Option<i32>,
}

/// One message as Telegram told it: the fields of the `message` document without provenance, or raw bytes with a reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub chat: ChatId,
    pub id: i64,
    pub date: Option<DateTime<Utc>>,
    pub edit_date: Option<DateTime<Utc>>,
    /// Fields named as in the index (`text`, `entities`, `from_user_id`, …), without chat_id, message_id, date, edit_date.
    pub body: Map<String, Value>,
    /// Set when something could not be normalised: kept raw, counted, retried.
    pub raw: Option<Raw>,
    /// Its own order key, where a push told one; else the observation's is its.
    pub pts: Option<i32>,
    /// Links that occur in it.
    pub links: Vec<link::Link>,
    /// Files that it carries.
    pub media: Vec<media::Told>,
}

impl Message {
    /// Adds the marked ids of every chat and user that the message names.
    pub fn name(&self, ids: &mut std::collections::BTreeSet<i64>) {
        const FIELDS: [&str; 6] =
            ["from_user_id", "sender_chat_id", "via_bot_id", "forward_from_id", "forward_from_chat_id", "reply_to_chat_id"];
        ids.insert(self.chat.0);
        ids.extend(FIELDS.iter().filter_map(|field| self.body.get(*field).and_then(Value::as_i64)));
        let mentions = self.body.get("mentions").and_then(Value::as_array).into_iter().flatten();
        ids.extend(mentions.filter_map(|mention| mention.as_str()?.parse::<i64>().ok()));
        let Some(service) = self.body.get("service").and_then(Value::as_object) else { return };
        for field in ["user_ids", "inviter_id", "chat_id", "from_id", "to_id", "user_id"] {
            match service.get(field) {
                Some(Value::Array(many)) => ids.extend(many.iter().filter_map(Value::as_i64)),
                Some(one) => ids.extend(one.as_i64()),
                None => {}
            }
        }
    }
}

/// What could not be normalised in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    pub bytes: Vec<u8>,
    pub reason: String,
}

/// One chat as Telegram told it. A field that is absent says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    pub id: ChatId,
    /// private, bot, group, supergroup, channel, forum
    pub kind: String,
    pub body: Map<String, Value>,
    pub access_hash: Option<i64>,
    /// A `min` constructor: never erases, and its access hash is not kept.
    pub min: bool,
    /// Its photo; none: it has none, or nothing was told of it.
    pub avatar: Option<media::Told>,
}

/// One user as Telegram told it. A field that is absent says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub id: i64,
    pub body: Map<String, Value>,
    pub access_hash: Option<i64>,
    pub min: bool,
    /// Their photo; none: they have none, or nothing was told of it.
    pub avatar: Option<media::Told>,
}

/// What one account needs to address a peer: its access hash belongs to that account alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Marked form.
    pub id: i64,
    pub access_hash: Option<i64>,
    pub username: Option<String>,
}

/// Merges the chats and users that came with a watched chat's messages; after the messages, in the same transaction.
pub async fn commit_people(conn: &mut sqlx::PgConnection, chats: &[Chat], users: &[User], seen: &Observation) -> Result<(), Error> {
    chat::merge_chats(conn, chats, seen).await?;
    user::merge_users(conn, users, seen).await?;
    Ok(())
}
