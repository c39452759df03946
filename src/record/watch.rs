//! What operators asked for. Nothing is stored of a chat without a row here.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::{AccountId, ChatId, Error};

/// What a deletion on Telegram does to the content here.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum, serde::Deserialize, utoipa::ToSchema, async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
pub enum OnDelete {
    /// The message is marked as deleted; its content and its versions stay
    Keep,
    /// Content, versions and links go from record and index; a tombstone stays
    Erase,
}

impl OnDelete {
    /// The name in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            OnDelete::Keep => "keep",
            OnDelete::Erase => "erase",
        }
    }
}

/// A wish to watch a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWatch {
    pub chat: ChatId,
    /// Why; needed for private chats, kept for all.
    pub purpose: Option<String>,
    pub tags: Vec<String>,
    /// Nothing older is wanted.
    pub since: Option<DateTime<Utc>>,
    /// The account that reads it.
    pub reader: Option<AccountId>,
    /// From now on; what was deleted before stays as it is. None: as before, at first keep.
    pub on_delete: Option<OnDelete>,
}

impl NewWatch {
    pub fn new(chat: ChatId) -> Self {
        Self { chat, purpose: None, tags: Vec::new(), since: None, reader: None, on_delete: None }
    }
}

/// A watched chat, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct Watch {
    pub chat_id: i64,
    #[sqlx(rename = "kind")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub title: Option<String>,
    pub username: Option<String>,
    pub purpose: Option<String>,
    pub tags: Vec<String>,
    pub since: Option<DateTime<Utc>>,
    pub reader_id: Option<i64>,
    pub reader: Option<String>,
    /// keep or erase
    pub on_delete: String,
    pub created_at: DateTime<Utc>,
}

const LIST: &str = "select w.chat_id, c.type as kind,
        coalesce(c.body->>'title', nullif(concat_ws(' ', u.body->>'first_name', u.body->>'last_name'), '')) as title,
        coalesce(c.body->>'username', u.body->>'username') as username,
        w.purpose, w.tags, w.since, w.reader_id, a.label as reader, w.on_delete, w.created_at
    from watch w
    left join chat c using (chat_id)
    left join telegram_user u on u.user_id = w.chat_id
    left join account a on a.id = w.reader_id
    where ($1::bigint is null or w.chat_id = $1) and ($2::bigint is null or w.chat_id > $2)
      and ($3::text is null or $3 = any(w.tags))
      and ($4::text is null or strpos(lower(concat_ws(' ', c.body->>'title', u.body->>'first_name', u.body->>'last_name',
            c.body->>'username', u.body->>'username')), lower($4)) > 0)
    order by w.chat_id limit $5";

/// Watches a chat; again, it updates what is said and keeps what is not. Answers whether it is new.
pub async fn watch(conn: &mut PgConnection, wish: &NewWatch) -> Result<bool, Error> {
    let purpose = wish.purpose.as_deref().map(str::trim).filter(|purpose| !purpose.is_empty());
    if wish.chat.is_private() && purpose.is_none() && show(conn, wish.chat).await?.is_none_or(|known| known.purpose.is_none()) {
        return Err(Error::PurposeRequired(wish.chat));
    }
    let new = sqlx::query_scalar(
        "insert into watch (chat_id, purpose, tags, since, reader_id, on_delete) values ($1, $2, $3, $4, $5, coalesce($6, 'keep'))
        on conflict (chat_id) do update set
            purpose = coalesce(excluded.purpose, watch.purpose),
            tags = case when excluded.tags = '{}' then watch.tags else excluded.tags end,
            since = coalesce(excluded.since, watch.since),
            reader_id = coalesce(excluded.reader_id, watch.reader_id),
            on_delete = coalesce($6, watch.on_delete)
        returning xmax = 0",
    )
    .bind(wish.chat.0)
    .bind(purpose)
    .bind(&wish.tags)
    .bind(wish.since)
    .bind(wish.reader.map(|reader| reader.0))
    .bind(wish.on_delete.map(OnDelete::as_str))
    .fetch_one(conn)
    .await?;
    Ok(new)
}

/// A watched basic group became a supergroup: the watch goes on there, in the same terms. Answers whether that is new.
pub async fn go_on(conn: &mut PgConnection, from: ChatId, to: ChatId) -> Result<bool, Error> {
    let done = sqlx::query(
        "insert into watch (chat_id, purpose, tags, since, reader_id, on_delete)
        select $2, purpose, tags, since, reader_id, on_delete from watch where chat_id = $1 on conflict (chat_id) do nothing",
    )
    .bind(from.0)
    .bind(to.0)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Stops watching. What was collected stays. Answers whether the chat was watched.
pub async fn unwatch(conn: &mut PgConnection, chat: ChatId) -> Result<bool, Error> {
    Ok(sqlx::query("delete from watch where chat_id = $1").bind(chat.0).execute(conn).await?.rows_affected() > 0)
}

/// Which watched chats are meant; what is none does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub chat: Option<i64>,
    /// Beyond this id.
    pub after: Option<i64>,
    pub tag: Option<String>,
    /// A part of the title or the name, in upper or lower case.
    pub text: Option<String>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// Watched chats, by id.
pub async fn page(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<Watch>, Error> {
    let query = sqlx::query_as(LIST).bind(filter.chat).bind(filter.after).bind(&filter.tag).bind(&filter.text).bind(filter.limit);
    Ok(query.fetch_all(conn).await?)
}

/// All watched chats, by id.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Watch>, Error> {
    page(conn, &Filter::default()).await
}

/// One watched chat.
pub async fn show(conn: &mut PgConnection, chat: ChatId) -> Result<Option<Watch>, Error> {
    Ok(page(conn, &Filter { chat: Some(chat.0), ..Filter::default() }).await?.pop())
}

/// The most tags of a chat.
pub const MOST_TAGS: usize = 50;

/// Whether a text may be a tag: 1 to 64 characters without spaces and commas.
pub fn is_tag(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(|c| c == ',' || c.is_control() || c.is_whitespace())
}

/// Gives a watched chat these tags in place of those that it has. Answers whether it is watched.
pub async fn set_tags(conn: &mut PgConnection, chat: ChatId, tags: &[String]) -> Result<bool, Error> {
    let done = sqlx::query("update watch set tags = $2 where chat_id = $1").bind(chat.0).bind(tags).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}

/// Holds a chat's watch row until the transaction ends, or says that there is none.
pub async fn require(conn: &mut PgConnection, chat: ChatId) -> Result<(), Error> {
    let found: Option<i64> =
        sqlx::query_scalar("select chat_id from watch where chat_id = $1 for key share").bind(chat.0).fetch_optional(conn).await?;
    found.map(|_| ()).ok_or(Error::NotWatched(chat))
}

/// Those of these chats that are watched, held until the transaction ends.
pub async fn watched(conn: &mut PgConnection, chats: &[i64]) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar("select chat_id from watch where chat_id = any($1) order by chat_id for key share")
        .bind(chats)
        .fetch_all(conn)
        .await?)
}
