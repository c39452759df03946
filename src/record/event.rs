//! Table chat_event: what happened to watched chats, until a listener trigger has consumed it; and workflow_wish: the runs that
//! events ask for and that cannot begin yet.

use sqlx::PgConnection;

use super::{AccountId, ChatId, Error};

/// An operator began to watch a chat.
pub const WATCHED: &str = "chat.watched";
/// An account joined a watched chat: it may see more than before.
pub const JOINED: &str = "chat.joined";
/// An account left a watched chat, or was removed.
pub const LEFT: &str = "chat.left";
/// Title, photo, pin, rights or the like of a watched chat changed.
pub const CHANGED: &str = "chat.changed";
/// A watched basic group became a supergroup; the event is the supergroup's.
pub const MIGRATED: &str = "chat.migrated";

/// Every event; permanent strings.
pub const EVENTS: &[&str] = &[WATCHED, JOINED, LEFT, CHANGED, MIGRATED];

/// Notes that something happened to a chat, in the transaction that stored what it was; of a chat that is not watched, nothing.
///
/// Each call leaves a row, also beside an equal one: that one may have been consumed by a transaction that saw nothing of this.
/// What waits together is consumed together, as one. Who joined is no longer refused: it is asked anew what it can see.
pub async fn note(conn: &mut PgConnection, chat: ChatId, event: &str, account: Option<AccountId>) -> Result<(), Error> {
    sqlx::query(
        "insert into chat_event (chat_id, event, account_id)
         select $1, $2, $3 where exists (select from watch where chat_id = $1)",
    )
    .bind(chat.0)
    .bind(event)
    .bind(account.map(|id| id.0))
    .execute(&mut *conn)
    .await?;
    if event == JOINED
        && let Some(account) = account
    {
        sqlx::query("delete from coverage_access where chat_id = $1 and account_id = $2 and not readable")
            .bind(chat.0)
            .bind(account.0)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Takes up to `limit` events, the oldest first, of one chat or of all, in the caller's transaction: rolled back, they are there
/// again. What another node is taking is left to it. Each event of a chat once.
pub async fn take(conn: &mut PgConnection, chat: Option<ChatId>, limit: i64) -> Result<Vec<(ChatId, String)>, Error> {
    let taken: Vec<(i64, String)> = sqlx::query_as(
        "with taken as (
             delete from chat_event where id = any(array(
                 select id from chat_event where $1::bigint is null or chat_id = $1 order by id limit $2 for update skip locked))
             returning chat_id, event
         )
         select distinct chat_id, event from taken order by 1, 2",
    )
    .bind(chat.map(|id| id.0))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(taken.into_iter().map(|(chat, event)| (ChatId(chat), event)).collect())
}

/// A workflow is to run for a chat, once however often this is said before it begins.
pub async fn wish(conn: &mut PgConnection, workflow: &str, chat: ChatId, event: &str) -> Result<(), Error> {
    // An update, not nothing: it waits for a transaction that is granting the wish, and then makes another.
    sqlx::query(
        "insert into workflow_wish as w (workflow, chat_id, event) values ($1, $2, $3)
         on conflict (workflow, chat_id) do update set event = w.event",
    )
    .bind(workflow)
    .bind(chat.0)
    .bind(event)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the wishes that may begin: no run of that workflow and chat is open, and the workflow is not paused. Of one chat or of
/// all. The caller holds `lock_tick` of these workflows and opens the runs in this transaction.
pub async fn grant(conn: &mut PgConnection, workflow: &str, chat: Option<ChatId>) -> Result<Vec<ChatId>, Error> {
    let granted: Vec<i64> = sqlx::query_scalar(
        "delete from workflow_wish where ctid = any(array(
             select w.ctid from workflow_wish w
             where workflow = $1 and ($2::bigint is null or chat_id = $2)
               and not exists (select from workflow_pause p where p.workflow = w.workflow)
               and not exists (select from workflow_run r
                               where r.workflow = w.workflow and r.chat_id = w.chat_id and r.state = 'running')
             for update skip locked)) -- what is being wished again has its turn later
         returning chat_id",
    )
    .bind(workflow)
    .bind(chat.map(|id| id.0))
    .fetch_all(conn)
    .await?;
    Ok(granted.into_iter().map(ChatId).collect())
}

/// The workflows that have wishes which may begin now.
pub async fn wanting(conn: &mut PgConnection) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "select distinct workflow from workflow_wish w
         where not exists (select from workflow_pause p where p.workflow = w.workflow)
           and not exists (select from workflow_run r where r.workflow = w.workflow and r.chat_id = w.chat_id and r.state = 'running')
         order by 1",
    )
    .fetch_all(conn)
    .await?)
}

/// How many chats a workflow is still to run for.
pub async fn wishes(conn: &mut PgConnection, workflow: &str) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from workflow_wish where workflow = $1").bind(workflow).fetch_one(conn).await?)
}
