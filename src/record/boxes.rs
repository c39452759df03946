//! Boxes: the id spaces of messages. A channel is one; an account's private chats and basic groups together are one.

use sqlx::PgConnection;

use super::{AccountId, BoxId, ChatId, Error};

/// The box that a chat's messages live in, seen by this account; made at first use.
pub async fn box_of(conn: &mut PgConnection, chat: ChatId, account: AccountId) -> Result<BoxId, Error> {
    if chat.is_channel() { box_of_channel(conn, chat).await } else { box_of_account(conn, account).await }
}

/// The box of a channel or supergroup.
pub async fn box_of_channel(conn: &mut PgConnection, channel: ChatId) -> Result<BoxId, Error> {
    const FIND: &str = "select id from box where channel_id = $1";
    const MAKE: &str = "insert into box (channel_id) values ($1) on conflict (channel_id) do nothing";
    find_or_make(conn, FIND, MAKE, channel.0).await
}

/// The box of an account's private chats and basic groups.
pub async fn box_of_account(conn: &mut PgConnection, account: AccountId) -> Result<BoxId, Error> {
    const FIND: &str = "select id from box where account_id = $1";
    const MAKE: &str = "insert into box (account_id) values ($1) on conflict (account_id) do nothing";
    find_or_make(conn, FIND, MAKE, account.0).await
}

async fn find_or_make(conn: &mut PgConnection, find: &'static str, make: &'static str, key: i64) -> Result<BoxId, Error> {
    if let Some(id) = sqlx::query_scalar(find).bind(key).fetch_optional(&mut *conn).await? {
        return Ok(BoxId(id));
    }
    sqlx::query(make).bind(key).execute(&mut *conn).await?;
    Ok(BoxId(sqlx::query_scalar(find).bind(key).fetch_one(conn).await?))
}

/// Whose id space a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxRow {
    pub id: BoxId,
    pub channel: Option<ChatId>,
    pub account: Option<AccountId>,
    /// How far updates of this box are committed.
    pub pts: Option<i32>,
    /// Of an account's box: the newest message id up to which its stream told everything.
    pub mark: Option<i64>,
}

/// Locks a box until the transaction ends: all writers of its messages pass here, one at a time.
pub async fn lock(conn: &mut PgConnection, id: BoxId) -> Result<BoxRow, Error> {
    let (channel, account, pts, mark): (Option<i64>, Option<i64>, Option<i32>, Option<i64>) =
        sqlx::query_as("select channel_id, account_id, pts, mark from box where id = $1 for no key update")
            .bind(id.0)
            .fetch_optional(conn)
            .await?
            .ok_or(Error::UnknownBox(id.0))?;
    Ok(BoxRow { id, channel: channel.map(ChatId), account: account.map(AccountId), pts, mark })
}

/// The box's committed pts: the order key of pages that carry none of their own.
pub async fn pts(conn: &mut PgConnection, id: BoxId) -> Result<Option<i32>, Error> {
    Ok(sqlx::query_scalar("select pts from box where id = $1").bind(id.0).fetch_optional(conn).await?.flatten())
}

/// Gives a channel's box its first pts, from a description of the channel: its stream goes on from there. One that has a pts keeps it.
pub async fn start(conn: &mut PgConnection, id: BoxId, pts: i32) -> Result<(), Error> {
    sqlx::query("update box set pts = $2 where id = $1 and pts is null").bind(id.0).bind(pts).execute(conn).await?;
    Ok(())
}

/// Forgets a channel's pts, which its server no longer knows: it is described anew.
pub async fn forget_pts(conn: &mut PgConnection, channel: ChatId) -> Result<(), Error> {
    sqlx::query("update box set pts = null where channel_id = $1").bind(channel.0).execute(conn).await?;
    Ok(())
}
