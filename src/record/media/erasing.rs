//! What goes of files when a message is deleted under a watch that erases: its place among their sources, and, of a file that nothing
//! else shows, all that was told of it. The row stays with its revision, so that the file can be told anew.

use sqlx::PgConnection;

use crate::record::boxes::BoxRow;
use crate::record::{Error, outbox::Kind};

/// Takes erased messages of a locked box out of their files' sources.
pub(in crate::record) async fn remove(conn: &mut PgConnection, held: &BoxRow, messages: &[i64]) -> Result<(), Error> {
    let files: Vec<i64> = sqlx::query_scalar(
        "with gone as (delete from media_source where box_id = $1 and message_id = any($2) returning media)
        select distinct media from gone",
    )
    .bind(held.id.0)
    .bind(messages)
    .fetch_all(&mut *conn)
    .await?;
    if files.is_empty() {
        return Ok(());
    }
    let left: Vec<(i64, bool)> = sqlx::query_as(
        "select m.id, exists (select from media_source s where s.media = m.id)
                or m.space = 'photo' and exists (select from avatar a where a.photo_id = m.file_id)
        from media m where m.id = any($1) order by m.id for update of m",
    )
    .bind(&files)
    .fetch_all(&mut *conn)
    .await?;
    let of = |shown: bool| -> Vec<i64> { left.iter().filter(|row| row.1 == shown).map(|row| row.0).collect() };
    let (shown, alone) = (of(true), of(false));
    let listed: Vec<(i64, i64)> = sqlx::query_as(
        "update media m set revision = m.revision + 1, listed = (
                select count(*) from (select from media_source s where s.media = m.id limit $2) s)
        where m.id = any($1) returning m.id, m.revision",
    )
    .bind(&shown)
    .bind(super::LISTED as i64)
    .fetch_all(&mut *conn)
    .await?;
    super::tell(conn, listed).await?;
    super::restricting::retell(conn, &shown).await?;
    erase(conn, &alone).await
}

async fn erase(conn: &mut PgConnection, files: &[i64]) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into media_removal (location, sha256)
        select distinct location, sha256 from media where id = any($1) and location is not null and sha256 is not null
        on conflict (location) do nothing",
    )
    .bind(files)
    .execute(&mut *conn)
    .await?;
    sqlx::query("delete from media_reference where media = any($1)").bind(files).execute(&mut *conn).await?;
    sqlx::query("delete from dead_letter where kind = $2 and key1 = any($1)")
        .bind(files)
        .bind(Kind::Media.as_str())
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "with gone as (
            update media set erased = true, body = '{}', content_hash = '', size = null, mime_type = null, dc = null, date = null,
                user_id = null, restricted = null, listed = 0, state = 'skipped', state_reason = null, state_at = now(),
                sha256 = null, location = null, revision = revision + 1
            where id = any($1) returning id, revision, space || '_' || file_id as document
        )
        insert into outbox (sink, kind, key1, key2, revision, gone)
        select s.name, $2, g.id, 0, g.revision, g.document from gone g cross join sink s order by s.name, g.id
        on conflict (sink, kind, key1, key2) do update set revision = greatest(outbox.revision, excluded.revision), gone = excluded.gone",
    )
    .bind(files)
    .bind(Kind::Media.as_str())
    .execute(conn)
    .await?;
    Ok(())
}
