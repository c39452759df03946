//! How far a file is: what a running job reads and writes. Call the writing ones in its fenced transaction.

use sqlx::PgConnection;

use super::{State, removal, set_state};
use crate::media::Content;
use crate::record::Error;
use crate::record::media::MediaId;

/// Where to go on with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Bytes that are on disk, in this node's staging; 0 where they are in another's.
    pub position: u64,
    /// As told; none: nobody knows.
    pub size: Option<u64>,
    pub kind: String,
    /// It was whole already, and is this.
    pub whole: Option<Content>,
}

/// What a stretch of work cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes.
    pub fetched: u64,
    pub refetched: u64,
    pub damaged: u64,
    pub renewed: u64,
}

impl Cost {
    /// What came since an earlier count.
    #[must_use]
    pub fn since(&self, earlier: &Cost) -> Cost {
        Cost {
            fetched: self.fetched.saturating_sub(earlier.fetched),
            refetched: self.refetched.saturating_sub(earlier.refetched),
            damaged: self.damaged.saturating_sub(earlier.damaged),
            renewed: self.renewed.saturating_sub(earlier.renewed),
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Begins, or goes on with, a file that is wanted; none: it is not wanted any more, or is there already.
pub async fn begin(conn: &mut PgConnection, file: MediaId, node: &str) -> Result<Option<Begun>, Error> {
    let row: Option<(String, Option<i64>, String)> =
        sqlx::query_as("select state, size, type from media where id = $1 and not erased for update")
            .bind(file.0)
            .fetch_optional(&mut *conn)
            .await?;
    let Some((state, size, kind)) = row else { return Ok(None) };
    if !["wanted", "fetching", "held"].contains(&state.as_str()) {
        return Ok(None);
    }
    let (position, sha256): (i64, Option<Vec<u8>>) = sqlx::query_as(
        "insert into file as f (media, node, begun_at, asked_at) values ($1, $2, now(), now())
         on conflict (media) do update set
            position = case when f.node = excluded.node then f.position else 0 end, node = excluded.node, begun_at = now(),
            begun_from = case when f.node = excluded.node then f.position else 0 end, asked_at = now()
         returning position, sha256",
    )
    .bind(file.0)
    .bind(node)
    .fetch_one(&mut *conn)
    .await?;
    set_state(conn, &[file], &[State::Wanted, State::Fetching, State::Held], State::Fetching, None).await?;
    let position = u64::try_from(position).unwrap_or(0);
    let whole = sha256.and_then(|sha256| sha256.try_into().ok()).map(|sha256| Content { sha256, size: position });
    if let Some(content) = &whole {
        removal::not(conn, content).await?;
    }
    Ok(Some(Begun { position, size: size.and_then(|size| u64::try_from(size).ok()), kind, whole }))
}

/// Notes how many bytes are on disk, and what they cost. Gives whether the file is still wanted.
pub async fn advance(conn: &mut PgConnection, file: MediaId, position: u64, cost: &Cost) -> Result<bool, Error> {
    note(conn, file, Some(position), cost).await?;
    let state: Option<String> =
        sqlx::query_scalar("select state from media where id = $1").bind(file.0).fetch_optional(conn).await?;
    Ok(state.as_deref() == Some(State::Fetching.as_str()))
}

async fn note(conn: &mut PgConnection, file: MediaId, position: Option<u64>, cost: &Cost) -> Result<(), Error> {
    sqlx::query(
        "update file set position = coalesce($2, position), fetched = fetched + $3, refetched = refetched + $4::int,
            damaged = damaged + $5::int, renewed = renewed + $6::int where media = $1",
    )
    .bind(file.0)
    .bind(position.map(signed))
    .bind(signed(cost.fetched))
    .bind(signed(cost.refetched))
    .bind(signed(cost.damaged))
    .bind(signed(cost.renewed))
    .execute(conn)
    .await?;
    Ok(())
}

/// The file is whole, and about to be kept.
pub async fn whole(conn: &mut PgConnection, file: MediaId, content: &Content) -> Result<(), Error> {
    sqlx::query("update file set sha256 = $2, position = $3 where media = $1")
        .bind(file.0)
        .bind(content.sha256.to_vec())
        .bind(signed(content.size))
        .execute(&mut *conn)
        .await?;
    removal::not(conn, content).await
}

/// The file is whole, and kept at this key of the store.
pub async fn stored(conn: &mut PgConnection, file: MediaId, content: &Content, cost: &Cost) -> Result<(), Error> {
    let (sha256, location) = (content.sha256.to_vec(), content.location());
    sqlx::query("insert into stored_object (sha256, size, location) values ($1, $2, $3) on conflict (sha256) do nothing")
        .bind(&sha256)
        .bind(signed(content.size))
        .bind(&location)
        .execute(&mut *conn)
        .await?;
    note(conn, file, Some(content.size), cost).await?;
    let kept = sqlx::query("update media set sha256 = $2, location = $3 where id = $1 and not erased")
        .bind(file.0)
        .bind(&sha256)
        .bind(&location)
        .execute(&mut *conn)
        .await?;
    if kept.rows_affected() == 0 {
        return removal::note(conn, content).await;
    }
    set_state(conn, &[file], &[State::Fetching, State::Held, State::Wanted], State::Stored, None).await?;
    Ok(())
}

/// The file waits for the operator.
pub async fn hold(conn: &mut PgConnection, file: MediaId, reason: &str, cost: &Cost) -> Result<(), Error> {
    note(conn, file, None, cost).await?;
    set_state(conn, &[file], &[State::Fetching, State::Wanted, State::Held], State::Held, Some(reason)).await?;
    Ok(())
}

/// No account can have the file any more.
pub async fn unavailable(conn: &mut PgConnection, file: MediaId, reason: &str, cost: &Cost) -> Result<(), Error> {
    note(conn, file, None, cost).await?;
    set_state(conn, &[file], &[State::Fetching, State::Wanted, State::Held], State::Unavailable, Some(reason)).await?;
    Ok(())
}

/// What an interrupted stretch of work cost.
pub async fn spent(conn: &mut PgConnection, file: MediaId, cost: &Cost) -> Result<(), Error> {
    note(conn, file, None, cost).await
}

/// Bytes that the store holds, and those on their way on this node.
pub async fn used(conn: &mut PgConnection, node: &str) -> Result<u64, Error> {
    let bytes: i64 = sqlx::query_scalar(
        "select (coalesce((select sum(size) from stored_object), 0) + coalesce((
            select sum(f.position) from file f join media m on m.id = f.media where f.node = $1 and m.state in ('fetching', 'held')), 0))::bigint",
    )
    .bind(node)
    .fetch_one(conn)
    .await?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}
