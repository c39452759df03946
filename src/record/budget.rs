//! The `account_budget` table: how many calls of a method an account has left. The database's clock fills the buckets, so that every
//! node and every restart sees the same ones.

use std::time::Duration;

use sqlx::PgConnection;

use super::AccountId;
use super::account::ALL_METHODS;

/// How a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filling {
    /// Most calls that it holds.
    pub capacity: f64,
    /// Calls that it gains a second.
    pub rate: f64,
}

/// What asking for one call gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The call is paid for, and may be made after this long (zero: now).
    After(Duration),
    /// Nothing was taken: Telegram itself asked for a rest, for this long.
    Resting(Duration),
    /// Nothing was taken: the bucket has a call again after this long.
    Spent(Duration),
}

/// Takes one call of a method from an account's bucket, unless the method rests, or more than `patience` would have to be waited.
///
/// A call that is taken before the bucket has it is a place in a queue: the next one comes after it.
pub async fn take(
    conn: &mut PgConnection,
    account: AccountId,
    method: &str,
    filling: Filling,
    patience: Duration,
) -> sqlx::Result<Taken> {
    let (rest, tokens, before): (Option<f64>, Option<f64>, Option<f64>) = sqlx::query_as(
        "with rest as (
            select extract(epoch from max(until) - clock_timestamp())::float8 as seconds from account_rest
            where account_id = $1 and method in ($2, $6) and until > clock_timestamp()
        ), before as (
            select least($3, tokens + $4 * greatest(extract(epoch from clock_timestamp() - updated_at)::float8, 0)) as tokens
            from account_budget where account_id = $1 and method = $2
        ), taken as (
            insert into account_budget as b (account_id, method, tokens, updated_at)
            select $1, $2, $3 - 1, clock_timestamp() from rest where rest.seconds is null
            on conflict (account_id, method) do update set
                tokens = least($3, b.tokens + $4 * greatest(extract(epoch from clock_timestamp() - b.updated_at)::float8, 0)) - 1,
                updated_at = greatest(b.updated_at, clock_timestamp())
            where least($3, b.tokens + $4 * greatest(extract(epoch from clock_timestamp() - b.updated_at)::float8, 0)) - 1
                >= -$4 * $5
            returning tokens
        )
        select (select seconds from rest), (select tokens from taken), (select tokens from before)",
    )
    .bind(account.0)
    .bind(method)
    .bind(filling.capacity)
    .bind(filling.rate)
    .bind(patience.as_secs_f64())
    .bind(ALL_METHODS)
    .fetch_one(conn)
    .await?;
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Ok(match (rest, tokens) {
        (Some(rest), _) => Taken::Resting(seconds(rest)),
        (None, Some(tokens)) => Taken::After(seconds(-tokens / filling.rate)),
        // Until it would be a wait of nothing. Another one may have spent it since the statement began: then patience is the guess.
        (None, None) => {
            Taken::Spent(before.map_or(patience, |tokens| seconds((1.0 - tokens) / filling.rate)).max(Duration::from_secs(1)))
        }
    })
}

/// Gives a call back that was taken and not made.
pub async fn refund(conn: &mut PgConnection, account: AccountId, method: &str) -> sqlx::Result<()> {
    sqlx::query("update account_budget set tokens = tokens + 1 where account_id = $1 and method = $2")
        .bind(account.0)
        .bind(method)
        .execute(conn)
        .await
        .map(drop)
}

/// Empties a bucket from now on, and by so many calls more: the pause counts from here.
pub async fn empty(conn: &mut PgConnection, account: AccountId, method: &str, more: f64) -> sqlx::Result<()> {
    sqlx::query(
        "update account_budget set tokens = -$3::float8, updated_at = clock_timestamp() where account_id = $1 and method = $2",
    )
    .bind(account.0)
    .bind(method)
    .bind(more)
    .execute(conn)
    .await
    .map(drop)
}
