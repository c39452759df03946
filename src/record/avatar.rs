//! The `avatar` table: the photos that watched chats and known users had, each with the time it was first and last told.

pub mod fetching;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::media::{self, Told};
use super::{ChatId, Error, Observation};

/// A photo of a chat or user, by marked id, as it was told.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub peer: i64,
    pub photo: Told,
    /// When it was, where that is known: a service message's date. None: it is the present one.
    pub at: Option<DateTime<Utc>>,
}

/// Keeps the photos that were told: a new one joins the history of its chat or user, and becomes a file to be known.
pub(super) async fn observe(conn: &mut PgConnection, shown: Vec<Shown>, seen: &Observation) -> Result<(), Error> {
    let shown: BTreeMap<(i64, i64), Shown> = shown.into_iter().map(|one| ((one.peer, one.photo.file_id), one)).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let known: Vec<(i64, i64, bool)> = sqlx::query_as(
        "select a.peer_id, a.photo_id, a.last_seen < now() - interval '1 hour'
        from unnest($1::bigint[], $2::bigint[]) k (peer_id, photo_id) join avatar a using (peer_id, photo_id)",
    )
    .bind(shown.keys().map(|key| key.0).collect::<Vec<_>>())
    .bind(shown.keys().map(|key| key.1).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    let known: BTreeMap<(i64, i64), bool> = known.into_iter().map(|(peer, photo, old)| ((peer, photo), old)).collect();
    // Most of what a page tells is known: of that only what tells more than the id is worth a look at the file.
    let news: Vec<Told> = shown
        .iter()
        .filter(|(key, one)| !known.contains_key(key) || one.photo.access_hash.is_some())
        .map(|(_, one)| one.photo.clone())
        .collect();
    media::merge_avatars(conn, &news, seen).await?;
    let moved: Vec<(&(i64, i64), &Shown)> =
        shown.iter().filter(|(key, one)| one.at.is_some() || known.get(key).is_none_or(|old| *old)).collect();
    sqlx::query(
        "insert into avatar as a (peer_id, photo_id, first_seen, last_seen)
        select n.peer, n.photo, coalesce(n.at, now()), coalesce(n.at, now())
        from unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) n (peer, photo, at) order by n.peer, n.photo
        on conflict (peer_id, photo_id) do update
            set first_seen = least(a.first_seen, excluded.first_seen), last_seen = greatest(a.last_seen, excluded.last_seen)
            where excluded.first_seen < a.first_seen or excluded.last_seen > a.last_seen",
    )
    .bind(moved.iter().map(|(key, _)| key.0).collect::<Vec<_>>())
    .bind(moved.iter().map(|(key, _)| key.1).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, one)| one.at).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps photos of a user that were asked for: when each was shown is as its own date tells. One who is not known has none.
pub async fn note_earlier(conn: &mut PgConnection, user: ChatId, photos: Vec<Told>, seen: &Observation) -> Result<(), Error> {
    let known: bool = sqlx::query_scalar(
        "select exists (select from telegram_user where user_id = $1) or exists (select from chat where chat_id = $1)",
    )
    .bind(user.0)
    .fetch_one(&mut *conn)
    .await?;
    if !known {
        return Ok(());
    }
    let shown = photos.into_iter().map(|photo| Shown { peer: user.0, at: photo.date, photo });
    observe(conn, shown.collect(), seen).await
}

/// One photo of a chat's or user's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Avatar {
    /// `photo_ID`, as the file's document is named.
    pub media_id: String,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    /// How far it is fetched, as with all files.
    pub state: String,
    pub sha256: Option<String>,
}

/// The photos of a chat or user, those seen last first.
pub async fn history(conn: &mut PgConnection, peer: i64) -> Result<Vec<Avatar>, Error> {
    Ok(sqlx::query_as(
        "select 'photo_' || a.photo_id as media_id, a.first_seen, a.last_seen, m.state, encode(m.sha256, 'hex') as sha256
        from avatar a join media m on m.space = 'photo' and m.file_id = a.photo_id
        where a.peer_id = $1 order by a.last_seen desc, a.first_seen desc, a.photo_id desc",
    )
    .bind(peer)
    .fetch_all(conn)
    .await?)
}
