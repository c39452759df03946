//! The kinds of documents that are projected, and where each has its rows: what outbox, audit and reindex need to know of a kind.

use serde::{Deserialize, Serialize};

/// The kinds of documents that are projected, in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Chat,
    Link,
    Media,
    Member,
    Message,
    Metric,
    Name,
    User,
    Version,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 9] =
        [Kind::Chat, Kind::Link, Kind::Media, Kind::Member, Kind::Message, Kind::Metric, Kind::Name, Kind::User, Kind::Version];

    /// The name in tables, indices and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Chat => "chat",
            Kind::Link => "link",
            Kind::Media => "media",
            Kind::Member => "member",
            Kind::Message => "message",
            Kind::Metric => "metric",
            Kind::Name => "name",
            Kind::User => "user",
            Kind::Version => "version",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// A document's `_id` in SQL, over [`Table::source`].
    pub(super) fn document_id(self) -> String {
        // As `document::message_document_id` writes it.
        const MESSAGE: &str = "concat_ws('_', coalesce(owner.user_id, -owner.id), t.chat_id, t.message_id)";
        const HASH: &str = "encode(t.hash, 'hex')";
        match self {
            Kind::Chat => "t.chat_id::text".to_owned(),
            Kind::User => "t.user_id::text".to_owned(),
            Kind::Member => "t.chat_id || '_' || t.user_id".to_owned(),
            Kind::Message => MESSAGE.to_owned(),
            Kind::Link => format!("{HASH} || '_' || {MESSAGE}"),
            Kind::Media => "t.space || '_' || t.file_id".to_owned(),
            Kind::Version => format!("{MESSAGE} || '_' || {HASH}"),
            Kind::Name => format!("t.peer_id || '_' || {HASH}"),
            Kind::Metric => {
                format!("{MESSAGE} || '_' || to_char(t.scheduled_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
            }
        }
    }

    pub(super) const fn table(self) -> &'static Table {
        match self {
            Kind::Chat => &CHAT,
            Kind::Link => &LINK,
            Kind::Media => &MEDIA,
            Kind::Member => &MEMBER,
            Kind::Message => &MESSAGE,
            Kind::Metric => &METRIC,
            Kind::Name => &NAME,
            Kind::User => &USER,
            Kind::Version => &VERSION,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One kind's table, in SQL over its alias `t`. Each has a `revision`.
pub(super) struct Table {
    pub name: &'static str,
    /// Columns of the key; the second is absent where one is enough, and then 0 in keys.
    pub key: (&'static str, Option<&'static str>),
    /// Columns that an audit orders by.
    pub place: (&'static str, Option<&'static str>),
    /// Rows that have a document.
    pub documented: &'static str,
    /// Has `box_id`, `chat_id` and `message_id`: `b` and `owner` are the box and its account.
    pub boxed: bool,
}

const CHAT: Table = Table { name: "chat", key: ("chat_id", None), place: ("chat_id", None), documented: "true", boxed: false };

const USER: Table = Table { name: "telegram_user", key: ("user_id", None), place: ("user_id", None), ..CHAT };

const MEMBER: Table = Table { name: "member", key: ("chat_id", Some("user_id")), place: ("chat_id", Some("user_id")), ..CHAT };

const MESSAGE: Table = Table {
    name: "message",
    key: ("box_id", Some("message_id")),
    place: ("chat_id", Some("message_id")),
    documented: "t.chat_id is not null",
    boxed: true,
};

/// What accumulates is numbered in one column.
const LINK: Table = Table { name: "link", key: ("id", None), place: ("id", None), documented: "true", boxed: true };

const METRIC: Table = Table { name: "metric", ..LINK };

const VERSION: Table = Table { name: "message_version", ..LINK };

/// One whose messages are all erased has no document.
const MEDIA: Table = Table { name: "media", documented: "not t.erased", boxed: false, ..LINK };

const NAME: Table = Table { name: "name", boxed: false, ..LINK };

impl Table {
    /// The second key in SQL.
    pub fn key2(&self) -> String {
        self.key.1.map_or_else(|| "0::bigint".to_owned(), |column| format!("t.{column}"))
    }

    /// The table with what its documents' ids need.
    pub fn source(&self) -> String {
        let boxes =
            if self.boxed { " join box b on b.id = t.box_id left join account owner on owner.id = b.account_id" } else { "" };
        format!("{} t{boxes}", self.name)
    }

    /// Rows whose columns lie beyond the two parameters that begin with this number; both are used, whatever the columns.
    pub fn beyond((first, second): (&str, Option<&str>), parameter: usize) -> String {
        let next = parameter + 1;
        match second {
            Some(second) => format!("(t.{first}, t.{second}) > (${parameter}, ${next})"),
            None => format!("t.{first} > ${parameter} and ${next}::bigint is not null"),
        }
    }

    /// Rows whose columns lie at or before the two parameters that begin with this number.
    pub fn up_to((first, second): (&str, Option<&str>), parameter: usize) -> String {
        let next = parameter + 1;
        match second {
            Some(second) => format!("(t.{first}, t.{second}) <= (${parameter}, ${next})"),
            None => format!("t.{first} <= ${parameter} and ${next}::bigint is not null"),
        }
    }

    /// Whether a row is the one of a key in `k (key1, key2)`.
    pub fn is_key(&self) -> String {
        match self.key {
            (first, Some(second)) => format!("t.{first} = k.key1 and t.{second} = k.key2"),
            (first, None) => format!("t.{first} = k.key1"),
        }
    }
}
