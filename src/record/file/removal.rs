//! Contents of files that were erased: taken out of the store, unless another file lies there too.

use sqlx::PgConnection;

use crate::media::Content;
use crate::record::Error;

/// Locks the content that waits longest to be taken out; none: nothing waits, or others see to it. Until the transaction ends no file
/// begins to be kept there.
pub async fn next(conn: &mut PgConnection) -> Result<Option<Content>, Error> {
    sqlx::query("delete from media_removal r where exists (select from media m where m.location = r.location)")
        .execute(&mut *conn)
        .await?;
    let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
        "select r.sha256, coalesce(s.size, 0) from media_removal r left join stored_object s on s.sha256 = r.sha256
         order by r.since limit 1 for update of r skip locked",
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|(sha256, size)| Some(Content { sha256: sha256.try_into().ok()?, size: u64::try_from(size).unwrap_or(0) })))
}

/// Notes that the store does not hold it any more.
pub async fn done(conn: &mut PgConnection, content: &Content) -> Result<(), Error> {
    let sha256 = content.sha256.to_vec();
    sqlx::query("delete from stored_object where sha256 = $1").bind(&sha256).execute(&mut *conn).await?;
    sqlx::query("delete from media_removal where sha256 = $1").bind(&sha256).execute(conn).await?;
    Ok(())
}

/// A file is about to be kept there: who is taking it out is waited for.
pub(super) async fn not(conn: &mut PgConnection, content: &Content) -> Result<(), Error> {
    sqlx::query("delete from media_removal where location = $1").bind(content.location()).execute(conn).await?;
    Ok(())
}

/// It is in the store, and the file that it is of was erased meanwhile.
pub(super) async fn note(conn: &mut PgConnection, content: &Content) -> Result<(), Error> {
    sqlx::query("insert into media_removal (location, sha256) values ($1, $2) on conflict (location) do nothing")
        .bind(content.location())
        .bind(content.sha256.to_vec())
        .execute(conn)
        .await?;
    Ok(())
}
