//! Rows that the record had and has no more, out of what a sink still knows of them.
//!
//! A document without a row is the last witness of a message: it must neither vanish as empty nor be believed blindly. Its content
//! comes back where its hash says that the record wrote it; else only that there was a message is kept, as lost. Either is then read
//! again at Telegram, whose word replaces it.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool};

use super::lost::{self, Trace};
use super::outbox::{Key, Kind};
use super::{AccountId, ChatId, Error, Message, Observation, Raw, Via, boxes, content, coverage, ledger, watch};

/// What a document tells of a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    pub chat: i64,
    pub message_id: i64,
    /// The user whose box it is in; None: a channel's.
    pub owner: Option<i64>,
    pub date: Option<DateTime<Utc>>,
    pub edit_date: Option<DateTime<Utc>>,
    /// None: nothing but that there was a message.
    pub body: Option<Map<String, Value>>,
    pub content_hash: Option<Vec<u8>>,
    pub raw_reason: Option<String>,
    pub lost_reason: Option<String>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub deleted_after: Option<DateTime<Utc>>,
    pub first_at: Option<DateTime<Utc>>,
    pub last_at: Option<DateTime<Utc>>,
    /// The observer's label.
    pub account: Option<String>,
}

/// Why a row is there that has no content.
const IN_INDEX: &str = "the index had a document of it";

/// Takes one message back. Gives its key; None where the record never had it: the chat is not watched, or it is beyond the newest id
/// known and nothing proves it.
pub async fn take_back(pool: &PgPool, told: &Told) -> Result<Option<Key>, Error> {
    let chat = ChatId(told.chat);
    let mut tx = pool.begin().await?;
    if told.message_id <= 0 || told.owner.is_none() != chat.is_channel() || watch::watched(&mut tx, &[chat.0]).await?.is_empty() {
        return Ok(None);
    }
    let Some(account) = witness(&mut tx, told).await? else { return Ok(None) };
    let ledger = coverage::open(&mut tx, chat, account).await?;
    let held = boxes::lock(&mut tx, ledger.held).await?;
    let key = Key { kind: Kind::Message, key1: held.id.0, key2: told.message_id };
    let known: bool = sqlx::query_scalar("select exists (select from message where box_id = $1 and message_id = $2)")
        .bind(held.id.0)
        .bind(told.message_id)
        .fetch_one(&mut *tx)
        .await?;
    if known {
        return Ok(Some(key));
    }
    let seen = Observation { account, via: Via::Index, job: None, pts: None };
    let proved = told
        .body
        .as_ref()
        .filter(|body| told.content_hash.as_deref() == Some(content::content_hash(told.date, told.edit_date, body).as_slice()));
    match proved {
        Some(body) => {
            // The bytes are gone; that they were needed is not.
            let raw = told.raw_reason.clone().map(|reason| Raw { bytes: Vec::new(), reason });
            let (date, edit_date) = (told.date, told.edit_date);
            let (id, body) = (told.message_id, body.clone());
            let message = Message { chat, id, date, edit_date, body, raw, pts: None, links: Vec::new(), media: Vec::new() };
            ledger::commit_messages(&mut tx, chat, &[message], &seen).await?;
        }
        None if told.message_id <= ledger.top => {
            let reason = told.lost_reason.clone().unwrap_or_else(|| IN_INDEX.to_owned());
            let known_at = match told.last_at {
                Some(at) => at,
                None => super::workflow::now(&mut tx).await?,
            };
            let trace = Trace { message_id: told.message_id, known_at, reason, ours: true };
            lost::keep(&mut tx, &held, &ledger, &[trace], false, &seen).await?;
        }
        None => return Ok(None),
    }
    // A tombstone that says when it went was the record's own, and is one again.
    let tombstone = proved.is_none() && told.body.is_none() && told.lost_reason.is_none() && told.deleted_at.is_some();
    sqlx::query(
        "update message set deleted_at = $3, deleted_after = $4, first_seen = coalesce($5, first_seen), last_seen = coalesce($6, last_seen),
            lost_reason = case when $7 then null else lost_reason end
        where box_id = $1 and message_id = $2",
    )
    .bind(held.id.0)
    .bind(told.message_id)
    .bind(told.deleted_at)
    .bind(told.deleted_after)
    .bind(told.first_at)
    .bind(told.last_at)
    .bind(tombstone)
    .execute(&mut *tx)
    .await?;
    if told.deleted_at.is_none() {
        coverage::mark_stale(&mut tx, ledger.id, coverage::Window { from: told.message_id, to: told.message_id }).await?;
    }
    tx.commit().await?;
    Ok(Some(key))
}

/// The account whose observation it was: the box's own, else the one of that label, else the oldest.
async fn witness(conn: &mut PgConnection, told: &Told) -> Result<Option<AccountId>, Error> {
    let found: Option<i64> = sqlx::query_scalar(
        "select id from account where $1::bigint is null or coalesce(user_id, -id) = $1
        order by label is not distinct from $2 desc, id limit 1",
    )
    .bind(told.owner)
    .bind(&told.account)
    .fetch_optional(conn)
    .await?;
    Ok(found.map(AccountId))
}
