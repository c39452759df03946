//! What a change announces: an outbox entry for each sink and document, in the transaction that made the revision.

use sqlx::PgConnection;

use super::{Error, outbox::Kind};

/// One document's new revision. For messages key1 is the box and key2 the message id; for others key2 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub key1: i64,
    pub key2: i64,
    pub revision: i64,
}

/// Enters changes for every registered sink, sorted by key against deadlocks.
pub async fn announce(conn: &mut PgConnection, kind: Kind, changes: &[Change]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let key1: Vec<i64> = changes.iter().map(|change| change.key1).collect();
    let key2: Vec<i64> = changes.iter().map(|change| change.key2).collect();
    let revision: Vec<i64> = changes.iter().map(|change| change.revision).collect();
    sqlx::query(
        "insert into outbox (sink, kind, key1, key2, revision)
        select s.name, $1, c.key1, c.key2, c.revision
        from sink s cross join unnest($2::bigint[], $3::bigint[], $4::bigint[]) c (key1, key2, revision)
        order by s.name, c.key1, c.key2
        on conflict (sink, kind, key1, key2) do update set revision = greatest(outbox.revision, excluded.revision),
            -- a row that was erased and is told anew
            gone = case when excluded.revision > outbox.revision then null else outbox.gone end",
    )
    .bind(kind.as_str())
    .bind(key1)
    .bind(key2)
    .bind(revision)
    .execute(conn)
    .await?;
    Ok(())
}
