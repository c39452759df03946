//! What an import does to the record: it adds what is absent. Nothing that Telegram told is replaced, nothing is settled but the ids
//! that the file holds; those that are new are stale at once, because a file tells less than Telegram does, and of the day that it was
//! written. History reads them again where an account can.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::coverage::{self, Window};
use super::message::Written;
use super::{Chat, Error, Message, Observation, User, chat, ledger, user};

/// Commits some messages of one watched chat, with the chat and the users that the file names, as far as the record knows none.
pub async fn commit(
    conn: &mut PgConnection,
    told: &Chat,
    messages: &[Message],
    users: &[User],
    seen: &Observation,
) -> Result<Written, Error> {
    let written = ledger::commit_messages(conn, told.id, messages, seen).await?;
    if let (Some(from), Some(to)) = (written.new.first(), written.new.last()) {
        let ledger = coverage::open(conn, told.id, seen.account).await?;
        coverage::mark_stale(conn, ledger.id, Window { from: *from, to: *to }).await?;
    }
    if chat::show(conn, told.id).await?.is_none() {
        chat::merge_chats(conn, std::slice::from_ref(told), seen).await?;
    }
    let ids: Vec<i64> = users.iter().map(|user| user.id).collect::<BTreeSet<_>>().into_iter().collect();
    let known: BTreeSet<i64> = sqlx::query_scalar::<_, i64>("select user_id from telegram_user where user_id = any($1)")
        .bind(&ids)
        .fetch_all(&mut *conn)
        .await?
        .into_iter()
        .collect();
    let unknown: Vec<User> = users.iter().filter(|user| !known.contains(&user.id)).cloned().collect();
    user::merge_users(conn, &unknown, seen).await?;
    Ok(written)
}
