//! The `link` table: one row an occurrence of a link in a message, kept when an edit removes it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::change::{Change, announce};
use super::outbox::Kind;
use super::{Error, Observation};

/// What a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// Into a chat that has no public name.
    Invite,
    /// A public name on Telegram, or something under it.
    Public,
    /// A proxy for Telegram.
    Mtproxy,
    Onion,
    /// All others.
    Web,
}

impl LinkKind {
    /// The name in the record and in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkKind::Invite => "invite",
            LinkKind::Public => "public",
            LinkKind::Mtproxy => "mtproxy",
            LinkKind::Onion => "onion",
            LinkKind::Web => "web",
        }
    }
}

/// A link in a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// With a scheme; scheme and host in lower case.
    pub url: String,
    pub kind: LinkKind,
    pub host: Option<String>,
}

/// One occurrence.
#[derive(Debug, Clone)]
pub(super) struct Occurrence {
    pub message_id: i64,
    pub chat: i64,
    /// The revision to begin with: above whatever an erased occurrence of the same link had.
    pub revision: i64,
    /// Who wrote the message.
    pub user_id: Option<i64>,
    pub date: Option<DateTime<Utc>>,
    pub link: Link,
}

/// Adds occurrences in a locked box's messages; those that are known stay as they are.
pub(super) async fn insert(
    conn: &mut PgConnection,
    held: &BoxRow,
    occurrences: &[Occurrence],
    seen: &Observation,
) -> Result<(), Error> {
    if occurrences.is_empty() {
        return Ok(());
    }
    let all = |of: fn(&Occurrence) -> i64| -> Vec<i64> { occurrences.iter().map(of).collect() };
    let new: Vec<(i64, i64)> = sqlx::query_as(
        "insert into link (box_id, message_id, hash, chat_id, url, kind, host, user_id, date, revision, account_id, via, job)
        select $1, n.id, n.hash, n.chat, n.url, n.kind, n.host, n.user_id, n.date, n.revision, $11, $12, $13
        from unnest($2::bigint[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[],
            $10::bigint[]) n (id, hash, chat, url, kind, host, user_id, date, revision)
        order by n.id, n.hash
        on conflict (box_id, message_id, hash) do nothing
        returning id, revision",
    )
    .bind(held.id.0)
    .bind(all(|occurrence| occurrence.message_id))
    .bind(occurrences.iter().map(|occurrence| Sha256::digest(&occurrence.link.url).to_vec()).collect::<Vec<_>>())
    .bind(all(|occurrence| occurrence.chat))
    .bind(occurrences.iter().map(|occurrence| occurrence.link.url.as_str()).collect::<Vec<_>>())
    .bind(occurrences.iter().map(|occurrence| occurrence.link.kind.as_str()).collect::<Vec<_>>())
    .bind(occurrences.iter().map(|occurrence| occurrence.link.host.as_deref()).collect::<Vec<_>>())
    .bind(occurrences.iter().map(|occurrence| occurrence.user_id).collect::<Vec<_>>())
    .bind(occurrences.iter().map(|occurrence| occurrence.date).collect::<Vec<_>>())
    .bind(all(|occurrence| occurrence.revision))
    .bind(seen.account.0)
    .bind(seen.via.as_str())
    .bind(seen.job)
    .fetch_all(&mut *conn)
    .await?;
    let mut changes: Vec<Change> = new.iter().map(|&(id, revision)| Change { key1: id, key2: 0, revision }).collect();
    changes.sort_unstable();
    announce(conn, Kind::Link, &changes).await
}
