//! Leases of accounts: one node at a time holds an account, under a token that grows with each holder.
//!
//! Time is the database's. What a holder may still send is for the holder to measure, from before it asked for the renewal.

use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;

use super::AccountId;
use super::node::NodeId;
use telekeep_queue as queue;

/// How long a lease lasts without a renewal.
pub const LEASE: Duration = Duration::from_secs(30);
/// How long after a client's last ping Telegram closes its connection: what grammers asks for with each ping
/// (`disconnect_delay` of <https://core.telegram.org/mtproto/service_messages#deferred-connection-closure-ping>).
pub const DISCONNECT_DELAY: Duration = Duration::from_secs(75);
/// The partition of an account that no node holds is kept for this holder: nobody.
const NOBODY: &str = "";

/// What came of an attempt to take an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is held now, under this token.
    Token(i64),
    /// Another node has it.
    Held(Holder),
    /// It is pinned to nodes of other names.
    Pinned(Vec<String>),
    /// It left this node's address for another one a moment ago: not for so long.
    JustLeft(Duration),
}

/// Who holds an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub node: String,
    /// Since its last renewal.
    pub silent: Duration,
    /// Until it is free, if the holder stays silent.
    pub free_in: Duration,
}

/// An account does not come back to an address within this time after another one began to use it: one that does looks as if two used
/// it. A minute, and what a connection may take between the note of its beginning ([`used`]) and its first bytes.
const AWAY: Duration = Duration::from_secs(75);

/// How an account's lease stands, as the node that wants it sees it.
#[derive(sqlx::FromRow)]
struct Standing {
    node_id: Option<NodeId>,
    closed: bool,
    silent_s: f64,
    holder: Option<String>,
}

/// Takes an account for a node, if nobody has it: its holder recorded the close, or is gone for sure, or has been silent for longer
/// than its lease and Telegram's disconnect delay together. Jobs of the account are this node's from the commit on.
pub async fn take(conn: &mut PgConnection, account: AccountId, node: NodeId, gone: &[NodeId]) -> sqlx::Result<Taken> {
    let (name, source, works): (String, String, bool) =
        sqlx::query_as("select name, source, works from node where id = $1").bind(node).fetch_one(&mut *conn).await?;
    let pins = pins(conn, account).await?;
    // A command that somebody runs by hand is no node that works.
    if works && !pins.is_empty() && !pins.contains(&name) {
        return Ok(Taken::Pinned(pins));
    }
    sqlx::query(
        "insert into account_lease (account_id, token, renewed_at, closed_at) values ($1, 0, now(), now()) on conflict do nothing",
    )
    .bind(account.0)
    .execute(&mut *conn)
    .await?;
    let was: Standing = sqlx::query_as(
        "select l.node_id, l.closed_at is not null as closed, n.name || '@' || n.host || '/' || n.pid as holder,
                greatest(extract(epoch from clock_timestamp() - l.renewed_at), 0)::float8 as silent_s
           from account_lease l left join node n on n.id = l.node_id where l.account_id = $1 for update of l",
    )
    .bind(account.0)
    .fetch_one(&mut *conn)
    .await?;
    let silent = Duration::try_from_secs_f64(was.silent_s).unwrap_or_default();
    let free = was.closed
        || was.node_id == Some(node)
        || was.node_id.is_some_and(|holder| gone.contains(&holder))
        || silent > LEASE + DISCONNECT_DELAY;
    if !free {
        let node = was.holder.unwrap_or_else(|| "a node that is forgotten".into());
        return Ok(Taken::Held(Holder { node, silent, free_in: (LEASE + DISCONNECT_DELAY).saturating_sub(silent) }));
    }
    let away: Option<f64> = sqlx::query_scalar(
        "select extract(epoch from clock_timestamp() - left_at)::float8 from account_source
          where account_id = $1 and source = $2 and left_at is not null",
    )
    .bind(account.0)
    .bind(&source)
    .fetch_optional(&mut *conn)
    .await?;
    let left = away.map_or(Duration::ZERO, |away| AWAY.saturating_sub(Duration::try_from_secs_f64(away).unwrap_or_default()));
    if !left.is_zero() {
        return Ok(Taken::JustLeft(left));
    }
    let token = sqlx::query_scalar(
        "update account_lease set token = token + 1, node_id = $2, renewed_at = clock_timestamp(), closed_at = null
          where account_id = $1 returning token",
    )
    .bind(account.0)
    .bind(node)
    .fetch_one(&mut *conn)
    .await?;
    // What an operator does by hand is no restlessness.
    if works {
        sqlx::query("insert into account_lease_taken (account_id, node) values ($1, $2)")
            .bind(account.0)
            .bind(&name)
            .execute(&mut *conn)
            .await?;
    }
    queue::set_holder(conn, account.0, Some(&node.holder())).await?;
    Ok(Taken::Token(token))
}

/// Renews what a node holds. Answers the accounts that are still its own.
pub async fn renew(conn: &mut PgConnection, node: NodeId, held: &[(AccountId, i64)]) -> sqlx::Result<Vec<AccountId>> {
    let (accounts, tokens): (Vec<i64>, Vec<i64>) = held.iter().map(|(account, token)| (account.0, *token)).unzip();
    let renewed: Vec<i64> = sqlx::query_scalar(
        "update account_lease l set renewed_at = clock_timestamp()
           from (select l.account_id from account_lease l
                   join unnest($2::bigint[], $3::bigint[]) as held (account, token) on l.account_id = held.account and l.token = held.token
                  where l.node_id = $1 and l.closed_at is null order by l.account_id for no key update of l) mine
          where l.account_id = mine.account_id returning l.account_id",
    )
    .bind(node)
    .bind(accounts)
    .bind(tokens)
    .fetch_all(conn)
    .await?;
    Ok(renewed.into_iter().map(AccountId).collect())
}

/// Notes that a connection of the account is about to open from this node's address: it leaves every other one at this moment. A holder
/// that only took the account, and reached nobody, leaves no trace.
pub async fn used(conn: &mut PgConnection, account: AccountId, node: NodeId) -> sqlx::Result<()> {
    sqlx::query(
        "with here as (
             insert into account_source (account_id, source) select $1, source from node where id = $2
             on conflict (account_id, source) do update set left_at = null returning source)
         update account_source s set left_at = clock_timestamp()
          where s.account_id = $1 and s.left_at is null and s.source <> (select source from here)",
    )
    .bind(account.0)
    .bind(node)
    .execute(conn)
    .await
    .map(drop)
}

/// Nobody claims the account's jobs any more; the holder keeps the account until it records the close.
pub async fn begin_release(conn: &mut PgConnection, account: AccountId, node: NodeId) -> sqlx::Result<()> {
    queue::pass_holder(conn, account.0, &node.holder(), NOBODY).await
}

/// Records that nothing of the account is open at this holder any more: another one may have it at once.
pub async fn release(conn: &mut PgConnection, account: AccountId, token: i64) -> sqlx::Result<()> {
    sqlx::query("update account_lease set closed_at = clock_timestamp() where account_id = $1 and token = $2 and closed_at is null")
        .bind(account.0)
        .bind(token)
        .execute(conn)
        .await
        .map(drop)
}

/// Keeps the account this holder's until the transaction ends (whoever takes it waits, a renewal does not), and ends one that stands still for 60 s: a stopped process must not
/// hold it for ever. Answers whether the account is this holder's.
pub async fn fence(conn: &mut PgConnection, account: AccountId, token: i64) -> sqlx::Result<bool> {
    let held: Option<String> = sqlx::query_scalar(
        "select set_config('idle_in_transaction_session_timeout', '60s', true)
           from account_lease where account_id = $1 and token = $2 and closed_at is null for key share",
    )
    .bind(account.0)
    .bind(token)
    .fetch_optional(conn)
    .await?;
    Ok(held.is_some())
}

/// An account that a node may hold, as a node that looks for work sees it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Claimable {
    pub account_id: i64,
    /// Nobody has it: never held, closed, or silent for too long.
    pub free: bool,
    pub node_id: Option<NodeId>,
    /// A node of this name had it last: its chats may stay where they are.
    pub had: bool,
    /// Pinned to this node's name.
    pub pinned: bool,
}

/// The accounts that are for a node of this name, oldest first: those pinned to others are not.
pub async fn claimable(conn: &mut PgConnection, name: &str) -> sqlx::Result<Vec<Claimable>> {
    sqlx::query_as(
        "select a.id as account_id, l.node_id, coalesce(n.name = $1, false) as had,
                exists (select from account_pin p where p.account_id = a.id and p.node = $1) as pinned,
                l.account_id is null or l.closed_at is not null
                    or l.renewed_at + make_interval(secs => $2) < clock_timestamp() as free
           from account a
           left join account_lease l on l.account_id = a.id
           left join node n on n.id = l.node_id
          where a.state = 'active'
            and (not exists (select from account_pin p where p.account_id = a.id)
                 or exists (select from account_pin p where p.account_id = a.id and p.node = $1))
          order by a.id",
    )
    .bind(name)
    .bind((LEASE + DISCONNECT_DELAY).as_secs_f64())
    .fetch_all(conn)
    .await
}

/// How many accounts each node that works and does not drain holds.
pub async fn shares(conn: &mut PgConnection) -> sqlx::Result<Vec<(NodeId, i64)>> {
    sqlx::query_as(
        "select n.id, count(l.account_id)
           from node n left join account_lease l on l.node_id = n.id and l.closed_at is null
          where n.works and not n.draining and n.stopped_at is null and n.seen_at > clock_timestamp() - make_interval(secs => $1)
          group by n.id order by n.id",
    )
    .bind(LEASE.as_secs_f64())
    .fetch_all(conn)
    .await
}

/// Where an account is, for people.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Place {
    pub account_id: i64,
    /// name@host/process; none: nobody has it.
    pub node: Option<String>,
    /// The names that it is pinned to.
    pub pins: Vec<String>,
}

/// Where each account is.
pub async fn places(conn: &mut PgConnection) -> sqlx::Result<Vec<Place>> {
    sqlx::query_as(
        "select a.id as account_id, n.name || '@' || n.host || '/' || n.pid as node,
                array(select p.node from account_pin p where p.account_id = a.id order by p.node) as pins
           from account a
           left join account_lease l on l.account_id = a.id and l.closed_at is null
           left join node n on n.id = l.node_id
          order by a.id",
    )
    .fetch_all(conn)
    .await
}

/// The names of the nodes that alone may have an account; none: any may.
pub async fn pins(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("select node from account_pin where account_id = $1 order by node").bind(account.0).fetch_all(conn).await
}

/// Pins an account to nodes of these names; none: any may have it.
pub async fn pin(conn: &mut PgConnection, account: AccountId, nodes: &[String]) -> sqlx::Result<()> {
    sqlx::query("delete from account_pin where account_id = $1 and node <> all($2)")
        .bind(account.0)
        .bind(nodes)
        .execute(&mut *conn)
        .await?;
    sqlx::query("insert into account_pin (account_id, node) select $1, unnest($2::text[]) on conflict do nothing")
        .bind(account.0)
        .bind(nodes)
        .execute(conn)
        .await
        .map(drop)
}
