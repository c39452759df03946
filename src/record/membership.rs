//! The `membership` and `account_room` tables: which chats an account is in, and how many more it may join.

use sqlx::PgConnection;

use super::{AccountId, ChatId, Error};

/// The accounts that are in a chat, as far as is known.
pub async fn members(conn: &mut PgConnection, chat: ChatId) -> Result<Vec<AccountId>, Error> {
    let members: Vec<i64> =
        sqlx::query_scalar("select account_id from membership where chat_id = $1 and member order by account_id")
            .bind(chat.0)
            .fetch_all(conn)
            .await?;
    Ok(members.into_iter().map(AccountId).collect())
}

/// An account is in these chats, or no longer.
pub async fn note_membership(conn: &mut PgConnection, account: AccountId, chats: &[ChatId], member: bool) -> sqlx::Result<()> {
    if chats.is_empty() {
        return Ok(());
    }
    let mut chats: Vec<i64> = chats.iter().map(|chat| chat.0).collect();
    chats.sort_unstable();
    chats.dedup();
    sqlx::query(
        "insert into membership as m (account_id, chat_id, member) select $1, u.chat, $3 from unnest($2::bigint[]) as u (chat)
        on conflict (account_id, chat_id) do update set member = excluded.member, since = now() where m.member <> excluded.member",
    )
    .bind(account.0)
    .bind(&chats)
    .bind(member)
    .execute(conn)
    .await
    .map(drop)
}

/// An account is no longer in these chats, where it was.
pub async fn note_absence(conn: &mut PgConnection, account: AccountId, chats: &[ChatId]) -> sqlx::Result<()> {
    if chats.is_empty() {
        return Ok(());
    }
    let chats: Vec<i64> = chats.iter().map(|chat| chat.0).collect();
    sqlx::query("update membership set member = false, since = now() where account_id = $1 and chat_id = any($2) and member")
        .bind(account.0)
        .bind(&chats)
        .execute(conn)
        .await
        .map(drop)
}

/// Whether an account is not known to be in one of these chats.
pub async fn any_unknown(conn: &mut PgConnection, account: AccountId, chats: &[ChatId]) -> sqlx::Result<bool> {
    if chats.is_empty() {
        return Ok(false);
    }
    let chats: Vec<i64> = chats.iter().map(|chat| chat.0).collect();
    sqlx::query_scalar(
        "select exists (select from unnest($2::bigint[]) as u (chat)
            where not exists (select from membership m where m.account_id = $1 and m.chat_id = u.chat and m.member))",
    )
    .bind(account.0)
    .bind(&chats)
    .fetch_one(conn)
    .await
}

/// Telegram said that an account is in as many chats as it may be.
pub async fn set_full(conn: &mut PgConnection, account: AccountId) -> Result<(), Error> {
    sqlx::query(
        "insert into account_room (account_id, full_at) values ($1, now()) on conflict (account_id) do update set full_at = now()",
    )
    .bind(account.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether it is known how many chats an account may be in.
pub async fn knows_room(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from account_room where account_id = $1)").bind(account.0).fetch_one(conn).await
}

/// Whether an account has Premium, as Telegram told.
pub async fn set_premium(conn: &mut PgConnection, account: AccountId, premium: bool) -> sqlx::Result<()> {
    sqlx::query(
        "insert into account_room as r (account_id, premium) values ($1, $2)
        on conflict (account_id) do update set premium = $2 where r.premium <> $2",
    )
    .bind(account.0)
    .bind(premium)
    .execute(conn)
    .await
    .map(drop)
}
