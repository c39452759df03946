//! The fence: writes that a running job makes, kept from those that only believe that they run.

use sqlx::PgConnection;

use crate::{Error, Token};

/// Locks the job's row until the transaction ends, if the claim is current and its worker's lease lives.
///
/// Call it first in each transaction in which a job writes: until the commit nobody can take the job away, and
/// after a lost lease it fails with [`Error::Stale`]. It also ends the transaction after 60 s without a statement
/// (`idle_in_transaction_session_timeout`): a stopped process must not hold its job for ever.
pub async fn fence(conn: &mut PgConnection, token: Token) -> Result<(), Error> {
    let held: Option<String> = sqlx::query_scalar(
        "select set_config('idle_in_transaction_session_timeout', '60s', true)
         from job j join worker w on w.id = j.worker
         where j.id = $1 and j.token = $2
           and w.state <> 'gone' and w.lease_until > clock_timestamp()
         for no key update of j",
    )
    .bind(token.job)
    .bind(token.token)
    .fetch_optional(conn)
    .await?;
    held.map(drop).ok_or(Error::Stale { job: token.job })
}

/// Stores how far the job is, fenced. Progress ends a row of crashes.
pub async fn progress(
    conn: &mut PgConnection,
    token: Token,
    done: i64,
    total: Option<i64>,
    note: Option<&str>,
) -> Result<(), Error> {
    let stored = sqlx::query(
        "update job j
         set progress_done = $3, progress_total = coalesce($4, progress_total), progress_note = $5, crash = 0
         from worker w
         where j.id = $1 and j.token = $2 and w.id = j.worker
           and w.state <> 'gone' and w.lease_until > clock_timestamp()",
    )
    .bind(token.job)
    .bind(token.token)
    .bind(done)
    .bind(total)
    .bind(note)
    .execute(conn)
    .await?
    .rows_affected();
    if stored == 0 { Err(Error::Stale { job: token.job }) } else { Ok(()) }
}
