//! What one process at a time does for all nodes: it has the turn as long as it renews it.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

/// Takes or renews a turn. Answers whether it is this holder's now: nobody has it, the one who had it was silent for longer than
/// `patience`, or it is this holder's already. The row's lock decides between two who ask at once.
pub async fn take(conn: &mut PgConnection, name: &str, holder: Uuid, patience: Duration) -> sqlx::Result<bool> {
    let taken: Option<Uuid> = sqlx::query_scalar(
        "insert into turn as t (name, holder, renewed_at) values ($1, $2, clock_timestamp())
         on conflict (name) do update set holder = $2, renewed_at = clock_timestamp()
         where t.holder = $2 or t.renewed_at < clock_timestamp() - make_interval(secs => $3)
         returning holder",
    )
    .bind(name)
    .bind(holder)
    .bind(patience.as_secs_f64())
    .fetch_optional(conn)
    .await?;
    Ok(taken.is_some())
}

/// Gives a turn back: the next one who asks has it at once.
pub async fn give_back(conn: &mut PgConnection, name: &str, holder: Uuid) -> sqlx::Result<()> {
    sqlx::query("delete from turn where name = $1 and holder = $2").bind(name).bind(holder).execute(conn).await.map(drop)
}
