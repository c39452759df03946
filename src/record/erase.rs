//! Erasing: what hangs on a message that was deleted under a watch that erases, out of the record and out of every sink.

use sqlx::{AssertSqlSafe, PgConnection};

use super::boxes::BoxRow;
use super::kind::Kind;
use super::{ChatId, Error};

/// Those of these chats whose watch says that a deletion erases.
pub(super) async fn erasing(conn: &mut PgConnection, chats: &[ChatId]) -> Result<Vec<ChatId>, Error> {
    let chats: Vec<i64> = chats.iter().map(|chat| chat.0).collect();
    let found: Vec<i64> = sqlx::query_scalar("select chat_id from watch where chat_id = any($1) and on_delete = 'erase'")
        .bind(&chats)
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().map(ChatId).collect())
}

/// Removes links, versions and what files tell of erased messages (id, revision) of a locked box, and tells every sink that their documents must be
/// gone. Reasons for which a sink refused them go too, since they may quote a text.
pub(super) async fn remove(conn: &mut PgConnection, held: &BoxRow, messages: &[(i64, i64)]) -> Result<(), Error> {
    if messages.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = messages.iter().map(|message| message.0).collect();
    let revisions: Vec<i64> = messages.iter().map(|message| message.1).collect();
    for kind in [Kind::Link, Kind::Version] {
        let table = kind.table();
        // Content that comes back begins at its message's revision, which is above this one then.
        let statement = format!(
            "with gone as materialized (
                select t.id, greatest(t.revision + 1, m.revision) as revision, {document_id} as document
                from {source} join unnest($2::bigint[], $3::bigint[]) m (id, revision) on m.id = t.message_id
                where t.box_id = $1 for update of t
            ), removed as (
                delete from {name} t using gone g where t.id = g.id
            ), forgotten as (
                delete from dead_letter d using gone g where d.kind = '{kind}' and d.key1 = g.id
            )
            insert into outbox (sink, kind, key1, key2, revision, gone)
            select s.name, '{kind}', g.id, 0, g.revision, g.document from gone g cross join sink s order by s.name, g.id
            on conflict (sink, kind, key1, key2)
            do update set revision = greatest(outbox.revision, excluded.revision), gone = excluded.gone",
            document_id = kind.document_id(),
            source = table.source(),
            name = table.name,
        );
        sqlx::query(AssertSqlSafe(statement)).bind(held.id.0).bind(&ids).bind(&revisions).execute(&mut *conn).await?;
    }
    super::media::erasing::remove(conn, held, &ids).await?;
    sqlx::query("delete from dead_letter where kind = 'message' and key1 = $1 and key2 = any($2)")
        .bind(held.id.0)
        .bind(&ids)
        .execute(conn)
        .await?;
    Ok(())
}
