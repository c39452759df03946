//! What all sources of a file say of it together: whether more than its metadata may be kept.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::record::Error;

/// Of media `m`: what is true of all of its sources, by their own word and their chats'.
pub(super) const OF_ALL: &str = "(select case when bool_and(s.ttl) then 'self_destructing'
        when bool_and(s.ttl or s.protected or coalesce((c.body->>'noforwards')::boolean, false)) then 'protected' end
    from media_source s left join chat c on c.chat_id = s.chat_id where s.media = m.id)";

/// Asks all sources of these files again; answers (id, revision) of those that changed.
pub(super) async fn of_files(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<(i64, i64)>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // A statement of its own: what is asked next must see what was committed while this one waited.
    sqlx::query("select from media where id = any($1) order by id for update").bind(ids).execute(&mut *conn).await?;
    let statement = format!(
        "update media m set restricted = {OF_ALL}, revision = m.revision + 1
        where m.id = any($1) and m.restricted is distinct from {OF_ALL} returning m.id, m.revision"
    );
    Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(ids).fetch_all(conn).await?)
}

/// As [`of_files`], announced.
pub(super) async fn retell(conn: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    let raised = of_files(conn, ids).await?;
    super::tell(conn, raised).await
}

/// Of chats that changed: where their word on saving is another now, so is, if no other chat says otherwise, that of their files.
pub(in crate::record) async fn of_chats(conn: &mut PgConnection, changed: &[i64]) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let chats: Vec<i64> = sqlx::query_scalar(
        "update chat set files_protected = not files_protected
        where chat_id = any($1) and coalesce((body->>'noforwards')::boolean, false) <> files_protected returning chat_id",
    )
    .bind(changed)
    .fetch_all(&mut *conn)
    .await?;
    if chats.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = sqlx::query_scalar("select distinct media from media_source where chat_id = any($1) order by media")
        .bind(&chats)
        .fetch_all(&mut *conn)
        .await?;
    for part in ids.chunks(10_000) {
        retell(conn, part).await?;
    }
    Ok(())
}
