//! The `message_version` table: texts and media of a message that another version replaced, each once.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::Error;
use super::boxes::BoxRow;
use super::change::{Change, announce};
use super::content::hash_fields;
use super::outbox::Kind;

/// What makes a version. A moved edit date, counts, buttons and a web preview, which Telegram makes later and on its own, make none.
const DECIDES: [&str; 3] = ["text", "entities", "media_id"];

/// What is kept of one: the text and the media, as they were.
#[rustfmt::skip]
const KEPT: [&str; 15] = [
    "text", "text_language", "entities", "links", "mentions", "hashtags", "cashtags",
    "media", "media_type", "media_id", "media_group_id", "poll", "location", "contact", "webpage",
];

/// SHA-256 over text, entities and media id.
pub fn version_hash(body: &Map<String, Value>) -> Vec<u8> {
    let mut decisive = picked(body, &DECIDES);
    if is_preview(body) {
        decisive.remove("media_id");
    }
    let mut hash = Sha256::new();
    hash_fields(&mut hash, &decisive);
    hash.finalize().to_vec()
}

/// Whether two bodies have the same text, and both media or none: all that can be compared where one of them is poor, from an import or
/// normalised in part.
pub fn says_the_same(one: &Map<String, Value>, two: &Map<String, Value>) -> bool {
    let text = |body: &Map<String, Value>| body.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let media = |body: &Map<String, Value>| body.get("media").and_then(Value::as_bool).unwrap_or(false) && !is_preview(body);
    text(one) == text(two) && media(one) == media(two)
}

fn is_preview(body: &Map<String, Value>) -> bool {
    body.get("media_type").and_then(Value::as_str) == Some("webpage")
}

fn picked(body: &Map<String, Value>, fields: &[&str]) -> Map<String, Value> {
    fields.iter().filter_map(|field| Some(((*field).to_owned(), body.get(*field)?.clone()))).collect()
}

/// A text with its media that stood once, and stands no longer.
#[derive(Debug, Clone, PartialEq)]
pub struct Stood {
    pub date: Option<DateTime<Utc>>,
    pub edit_date: Option<DateTime<Utc>>,
    pub body: Map<String, Value>,
    /// From an import or normalised in part: not kept beside a version that says the same.
    pub poor: bool,
    /// It was in the row, not in what was told now.
    pub from_row: bool,
}

/// Who told of a version, and how.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    pub account: Option<i64>,
    pub via: String,
    pub job: Option<i64>,
}

/// One version to be kept.
#[derive(Debug, Clone)]
pub(super) struct NewVersion {
    pub message_id: i64,
    pub chat: i64,
    /// The revision to begin with: above whatever an erased version of the same content had.
    pub revision: i64,
    pub stood: Stood,
    pub teller: Teller,
}

/// Keeps versions of a locked box's messages; one that is kept stays as it is.
pub(super) async fn keep(conn: &mut PgConnection, held: &BoxRow, mut versions: Vec<NewVersion>) -> Result<(), Error> {
    if versions.is_empty() {
        return Ok(());
    }
    // What is rich first: what is poor looks for it.
    versions.sort_by_key(|version| (version.stood.poor, version.message_id));
    let (rich, poor): (Vec<NewVersion>, Vec<NewVersion>) = versions.into_iter().partition(|version| !version.stood.poor);
    let mut changes = insert(conn, held, rich).await?;
    changes.extend(insert(conn, held, poor).await?);
    changes.sort_unstable();
    announce(conn, Kind::Version, &changes).await
}

async fn insert(conn: &mut PgConnection, held: &BoxRow, versions: Vec<NewVersion>) -> Result<Vec<Change>, Error> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let all = |of: fn(&NewVersion) -> i64| -> Vec<i64> { versions.iter().map(of).collect() };
    let new: Vec<(i64, i64)> = sqlx::query_as(
        "insert into message_version (box_id, message_id, hash, chat_id, date, edit_date, body, revision, account_id, via, job)
        select $1, n.id, n.hash, n.chat, n.date, n.edit_date, n.body, n.revision, n.account, n.via, n.job
        from unnest($2::bigint[], $3::bytea[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::jsonb[], $8::bigint[],
            $9::bigint[], $10::text[], $11::bigint[], $12::boolean[])
            n (id, hash, chat, date, edit_date, body, revision, account, via, job, poor)
        where not (n.poor and exists (
            select from message_version v where v.box_id = $1 and v.message_id = n.id
                and coalesce(v.body->>'text', '') = coalesce(n.body->>'text', '')
                and (coalesce(v.body->>'media', '') = 'true' and coalesce(v.body->>'media_type', '') <> 'webpage')
                    = (coalesce(n.body->>'media', '') = 'true' and coalesce(n.body->>'media_type', '') <> 'webpage')))
        order by n.id, n.hash
        on conflict (box_id, message_id, hash) do nothing
        returning id, revision",
    )
    .bind(held.id.0)
    .bind(all(|version| version.message_id))
    .bind(versions.iter().map(|version| version_hash(&version.stood.body)).collect::<Vec<_>>())
    .bind(all(|version| version.chat))
    .bind(versions.iter().map(|version| version.stood.date).collect::<Vec<_>>())
    .bind(versions.iter().map(|version| version.stood.edit_date).collect::<Vec<_>>())
    .bind(versions.iter().map(|version| Value::Object(picked(&version.stood.body, &KEPT))).collect::<Vec<_>>())
    .bind(all(|version| version.revision))
    .bind(versions.iter().map(|version| version.teller.account).collect::<Vec<_>>())
    .bind(versions.iter().map(|version| version.teller.via.clone()).collect::<Vec<_>>())
    .bind(versions.iter().map(|version| version.teller.job).collect::<Vec<_>>())
    .bind(versions.iter().map(|version| version.stood.poor).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(new.into_iter().map(|(id, revision)| Change { key1: id, key2: 0, revision }).collect())
}
