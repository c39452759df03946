//! Proxies in Postgres: what is known of each, and which account goes through which. Passwords arrive sealed and leave sealed.
//!
//! Time is the database's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use super::account::Sealed;

/// How much the newest try weighs in a proxy's success rate.
const NEWEST: f64 = 0.2;
/// A proxy that failed is left alone for so long, twice as long after each further failure, up to the last.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// An account does not go back so soon to a proxy of the pool that it left: a key that is used from two addresses in turn is ended
/// (AUTH_KEY_DUPLICATED, <https://core.telegram.org/api/errors#406-not-acceptable>). Telegram names no time.
const NO_RETURN: Duration = Duration::from_secs(90);

/// What is known of a proxy, without its password.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, utoipa::ToSchema)]
pub struct Proxy {
    pub name: String,
    pub host: String,
    pub port: i32,
    /// The user that it asks for.
    pub login: Option<String>,
    pub has_password: bool,
    pub pooled: bool,
    /// The last use or check.
    pub tried_at: Option<DateTime<Utc>>,
    pub good_at: Option<DateTime<Utc>>,
    /// How long the way to Telegram took to open, at the last success.
    pub latency_ms: Option<i32>,
    /// From 0 to 1, of the tries so far, the newest weighing most; none: never tried.
    pub success_rate: Option<f64>,
    pub successes: i64,
    pub failures: i64,
    pub error: Option<String>,
    /// Labels of the accounts that are bound to it.
    pub bound: Vec<String>,
    /// Labels of the accounts of the pool that are with it now.
    pub keeps: Vec<String>,
}

/// A proxy that is to be added.
#[derive(Debug, Clone)]
pub struct NewProxy<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub login: Option<&'a str>,
    pub password: Option<&'a Sealed>,
    pub pooled: bool,
}

/// A proxy as it is dialled.
#[derive(Debug, Clone)]
pub struct Dialled {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub login: Option<String>,
    pub password: Option<Sealed>,
    /// How long ago it last worked; none where it never did, or failed since.
    pub worked: Option<Duration>,
    /// The last of its failures, while it is to be left alone after them.
    pub rests: Option<String>,
}

impl FromRow<'_, PgRow> for Dialled {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let port: i32 = row.try_get("port")?;
        let (bytes, key_id): (Option<Vec<u8>>, Option<String>) = (row.try_get("password")?, row.try_get("password_key_id")?);
        let worked: Option<f64> = row.try_get("worked")?;
        Ok(Self {
            name: row.try_get("name")?,
            host: row.try_get("host")?,
            port: u16::try_from(port).map_err(|e| sqlx::Error::ColumnDecode { index: "port".into(), source: e.into() })?,
            login: row.try_get("login")?,
            password: bytes.zip(key_id).map(|(bytes, key_id)| Sealed { bytes, key_id }),
            worked: worked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            rests: row.try_get("rests")?,
        })
    }
}

/// Which way an account goes, by its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    Direct,
    /// Through this proxy or not at all.
    Bound {
        proxy: String,
    },
    /// Through one of the pool or not at all; with the one that it has now.
    Pool {
        proxy: Option<String>,
    },
}

/// Adds a proxy; false where the name is taken.
pub async fn insert(conn: &mut PgConnection, proxy: &NewProxy<'_>) -> sqlx::Result<bool> {
    let added = sqlx::query(
        "insert into proxy (name, host, port, login, password, password_key_id, pooled) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (name) do nothing",
    )
    .bind(proxy.name)
    .bind(proxy.host)
    .bind(i32::from(proxy.port))
    .bind(proxy.login)
    .bind(proxy.password.map(|sealed| &sealed.bytes[..]))
    .bind(proxy.password.map(|sealed| &sealed.key_id[..]))
    .bind(proxy.pooled)
    .execute(conn)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// All proxies, by name.
pub async fn list(conn: &mut PgConnection) -> sqlx::Result<Vec<Proxy>> {
    sqlx::query_as(
        "select p.*, p.password is not null as has_password,
                array(select label from account_route r where r.proxy_id = p.id and not r.pooled order by label) as bound,
                array(select label from account_route r where r.proxy_id = p.id and r.pooled order by label) as keeps
           from proxy p order by p.name",
    )
    .fetch_all(conn)
    .await
}

/// One proxy as it is dialled.
pub async fn dialled(conn: &mut PgConnection, name: &str) -> sqlx::Result<Option<Dialled>> {
    sqlx::query_as(
        "select p.*, case when failed_in_row = 0 then extract(epoch from now() - good_at)::float8 end as worked,
                case when failed_in_row > 0 and
                          tried_at + make_interval(secs => least($3, $2 * 2 ^ least(failed_in_row - 1, 30))) > now() then error
                end as rests
           from proxy p where name = $1",
    )
    .bind(name)
    .bind(FIRST_REST.as_secs_f64())
    .bind(LONGEST_REST.as_secs_f64())
    .fetch_optional(conn)
    .await
}

/// Removes a proxy to which no account is bound; accounts of the pool that are with it take another. Gives the labels of those that
/// are bound to it, and then removes nothing; none where there is no such proxy.
pub async fn remove(conn: &mut PgConnection, name: &str) -> sqlx::Result<Option<Vec<String>>> {
    use sqlx::Connection;
    let mut tx = conn.begin().await?;
    let id: Option<i64> =
        sqlx::query_scalar("select id from proxy where name = $1 for update").bind(name).fetch_optional(&mut *tx).await?;
    let Some(id) = id else { return Ok(None) };
    let bound: Vec<String> =
        sqlx::query_scalar("select label from account_route where proxy_id = $1 and not pooled order by label")
            .bind(id)
            .fetch_all(&mut *tx)
            .await?;
    if !bound.is_empty() {
        return Ok(Some(bound));
    }
    sqlx::query("update account_route set proxy_id = null, since = now(), reason = $2 where proxy_id = $1")
        .bind(id)
        .bind(format!("the proxy {name} was removed"))
        .execute(&mut *tx)
        .await?;
    sqlx::query("delete from proxy where id = $1").bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Some(Vec::new()))
}

/// Binds a label to a proxy, to the pool, or to the direct way. False where there is no such proxy.
pub async fn bind(conn: &mut PgConnection, label: &str, to: &Binding) -> sqlx::Result<bool> {
    let changed = match to {
        Binding::Direct => {
            sqlx::query("delete from account_route where label = $1").bind(label).execute(conn).await?;
            return Ok(true);
        }
        Binding::Bound { proxy } => {
            sqlx::query(
                "insert into account_route (label, pooled, proxy_id) select $1, false, id from proxy where name = $2
             on conflict (label) do update set pooled = false, proxy_id = excluded.proxy_id, since = now(), reason = null",
            )
            .bind(label)
            .bind(proxy)
            .execute(conn)
            .await?
        }
        Binding::Pool { .. } => {
            sqlx::query(
                "insert into account_route (label, pooled) values ($1, true)
             on conflict (label) do update set pooled = true, since = now(), reason = null,
                proxy_id = (select p.id from proxy p where p.id = account_route.proxy_id and p.pooled)",
            )
            .bind(label)
            .execute(conn)
            .await?
        }
    };
    Ok(changed.rows_affected() == 1)
}

/// Which way a label goes.
pub async fn binding(conn: &mut PgConnection, label: &str) -> sqlx::Result<Binding> {
    binding_with_reason(conn, label).await.map(|(binding, _)| binding)
}

/// Which way a label goes, and why it has the proxy that it has instead of the one before.
pub async fn binding_with_reason(conn: &mut PgConnection, label: &str) -> sqlx::Result<(Binding, Option<String>)> {
    let row: Option<(bool, Option<String>, Option<String>)> = sqlx::query_as(
        "select r.pooled, p.name, r.reason from account_route r left join proxy p on p.id = r.proxy_id where r.label = $1",
    )
    .bind(label)
    .fetch_optional(conn)
    .await?;
    Ok(match row {
        None => (Binding::Direct, None),
        Some((true, proxy, reason)) => (Binding::Pool { proxy }, reason),
        Some((false, Some(proxy), reason)) => (Binding::Bound { proxy }, reason),
        // the table's check forbids it
        Some((false, None, _)) => return Err(sqlx::Error::RowNotFound),
    })
}

/// The names of the pool for this account, the best first: those that do not rest after failures, by success rate, then latency, then
/// how few accounts they have. Without those that it left [`NO_RETURN`] ago or later.
pub async fn pool(conn: &mut PgConnection, label: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select name from proxy p
          where pooled and not exists (select from account_route_left l
                    where l.label = $3 and l.proxy_id = p.id and l.left_at > now() - make_interval(secs => $4))
          order by failed_in_row > 0 and
                   tried_at + make_interval(secs => least($2, $1 * 2 ^ least(failed_in_row - 1, 30))) > now(),
                   -- a few percent and a few milliseconds are chance
                   coalesce(round(success_rate::numeric, 1), 1) desc, coalesce(latency_ms, 0) / 50,
                   (select count(*) from account_route r where r.proxy_id = p.id), id",
    )
    .bind(FIRST_REST.as_secs_f64())
    .bind(LONGEST_REST.as_secs_f64())
    .bind(label)
    .bind(NO_RETURN.as_secs_f64())
    .fetch_all(conn)
    .await
}

/// Gives an account of the pool this proxy in place of the one that it had, with the reason; false where account or proxy are no longer
/// of the pool.
pub async fn keep(conn: &mut PgConnection, label: &str, proxy: &str, reason: Option<&str>) -> sqlx::Result<bool> {
    let kept = sqlx::query(
        "with had as (select proxy_id from account_route where label = $1 and pooled for update),
              gone as (insert into account_route_left (label, proxy_id) select $1, proxy_id from had where proxy_id is not null
                       on conflict (label, proxy_id) do update set left_at = now())
         update account_route r set proxy_id = p.id, since = now(), reason = coalesce($3, r.reason)
           from proxy p where p.name = $2 and p.pooled and r.label = $1 and r.pooled",
    )
    .bind(label)
    .bind(proxy)
    .bind(reason)
    .execute(conn)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// Notes that a way through a proxy was opened.
pub async fn succeeded(conn: &mut PgConnection, name: &str, latency: Duration) -> sqlx::Result<()> {
    sqlx::query(
        "update proxy set tried_at = now(), good_at = now(), latency_ms = $2, successes = successes + 1, failed_in_row = 0,
                error = null, success_rate = coalesce(success_rate * (1 - $3) + $3, 1) where name = $1",
    )
    .bind(name)
    .bind(i32::try_from(latency.as_millis()).unwrap_or(i32::MAX))
    .bind(NEWEST)
    .execute(conn)
    .await
    .map(drop)
}

/// Notes that no way through a proxy was opened, and why.
pub async fn failed(conn: &mut PgConnection, name: &str, error: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update proxy set tried_at = now(), failures = failures + 1, failed_in_row = failed_in_row + 1, error = $2,
                success_rate = coalesce(success_rate * (1 - $3), 0) where name = $1",
    )
    .bind(name)
    .bind(error)
    .bind(NEWEST)
    .execute(conn)
    .await
    .map(drop)
}

/// The sealed passwords, by the proxy's name.
pub async fn passwords(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, Sealed)>> {
    let rows: Vec<(String, Vec<u8>, String)> =
        sqlx::query_as("select name, password, password_key_id from proxy where password is not null order by name")
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|(name, bytes, key_id)| (name, Sealed { bytes, key_id })).collect())
}

/// Keeps a password that was sealed anew.
pub async fn save_password(conn: &mut PgConnection, name: &str, password: &Sealed) -> sqlx::Result<()> {
    sqlx::query("update proxy set password = $2, password_key_id = $3 where name = $1")
        .bind(name)
        .bind(&password.bytes)
        .bind(&password.key_id)
        .execute(conn)
        .await
        .map(drop)
}
