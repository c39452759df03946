//! Which photos of chats and users are to be fetched, and by whom.

use sqlx::PgConnection;

use crate::record::media::MediaId;
use crate::record::{AccountId, ChatId, Error};

/// Photos that are wanted, the newest first, of which no job was made within the hour: of all chats and users, or of one.
pub async fn next_wanted(conn: &mut PgConnection, of: Option<ChatId>, limit: i64) -> Result<Vec<MediaId>, Error> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "select m.id from media m left join file f on f.media = m.id
        where m.state = 'wanted' and m.type = 'avatar' and (f.asked_at is null or f.asked_at < now() - interval '1 hour')
            and ($1::bigint is null or exists (select from avatar a where a.photo_id = m.file_id and a.peer_id = $1))
        order by m.id desc limit $2",
    )
    .bind(of.map(|chat| chat.0))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(MediaId).collect())
}

/// One way to a photo.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Way {
    pub media: i64,
    #[sqlx(rename = "account")]
    pub account_id: i64,
    /// Whose photo it is: marked form.
    pub peer: i64,
    pub photo_id: i64,
    /// The account's own, of the chat or user.
    pub access_hash: Option<i64>,
    /// It is what the chat or user shows now.
    pub present: bool,
    /// The account was told how to address it as a photo.
    pub referred: bool,
    /// Where it lies, as told.
    pub dc: Option<i32>,
    /// Jobs and chats that the account has to care for.
    pub load: i64,
}

impl Way {
    pub fn account(&self) -> AccountId {
        AccountId(self.account_id)
    }
}

/// The ways to these photos, the best of each first: active accounts that were told a reference, or that know whose photo it is.
pub async fn ways(conn: &mut PgConnection, photos: &[MediaId]) -> Result<Vec<Way>, Error> {
    let ids: Vec<i64> = photos.iter().map(|id| id.0).collect();
    Ok(sqlx::query_as(
        "with load as materialized (
            select a.id, (select count(*) from watch w where w.reader_id = a.id)
                + (select count(*) from job j where j.partition = a.id and j.state in ('scheduled', 'available', 'running')) as load
            from account a where a.state = 'active'
        ), way as (
            select m.id as media, l.id as account, v.peer_id as peer, v.photo_id, p.access_hash, m.dc, l.load,
                coalesce((select c.body->>'photo' from chat c where c.chat_id = v.peer_id),
                    (select u.body->>'photo' from telegram_user u where u.user_id = v.peer_id)) = 'photo_' || v.photo_id as present,
                exists (select from media_reference r where r.media = m.id and r.account_id = l.id) as referred, p.peer_id is not null as known
            from media m join avatar v on v.photo_id = m.file_id cross join load l
            left join account_peer p on p.account_id = l.id and p.peer_id = v.peer_id
            where m.id = any($1) and m.space = 'photo' and not m.erased
        )
        select media, account, peer, photo_id, access_hash, coalesce(present, false) as present, referred, dc, load
        from way where referred or known order by media, present and known desc, referred desc, load, account, peer",
    )
    .bind(&ids)
    .fetch_all(conn)
    .await?)
}
