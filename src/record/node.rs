//! Nodes: the processes that use accounts.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::lease::LEASE;

/// Names one life of a process.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type, utoipa::ToSchema, async_graphql::NewType,
)]
#[sqlx(transparent)]
pub struct NodeId(pub i64);

impl NodeId {
    /// What the queue calls this node: only its workers claim the jobs of the accounts that it holds.
    pub fn holder(self) -> String {
        format!("node {}", self.0)
    }
}

/// A process, in terms that another one on the same host can look up.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Process {
    /// Names the time since the kernel's start.
    pub boot: String,
    /// Within which `pid` means something: containers have their own.
    pub pid_space: String,
    pub pid: i32,
    /// In ticks since the boot: another process may get the same number later.
    pub pid_start: i64,
}

/// A process that begins.
#[derive(Debug, Clone)]
pub struct NewNode<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub process: &'a Process,
    /// Where its connections come from: its source address, or the host.
    pub source: &'a str,
}

/// A node, for people.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, utoipa::ToSchema, async_graphql::SimpleObject)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    pub version: String,
    pub host: String,
    pub pid: i32,
    /// works, draining, command, silent (not heard of for longer than a lease) or stopped
    pub state: String,
    /// Labels of the accounts that it holds.
    pub accounts: Vec<String>,
    /// Jobs that it runs now.
    pub running: i64,
    /// Ends of jobs a second, over the last minute.
    pub jobs_per_s: f64,
    pub started_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
}

/// Begins a node's life.
pub async fn begin(conn: &mut PgConnection, node: &NewNode<'_>) -> sqlx::Result<NodeId> {
    sqlx::query_scalar(
        "insert into node (name, version, host, boot, pid_space, pid, pid_start, source, schema_version) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         returning id",
    )
    .bind(node.name)
    .bind(env!("CARGO_PKG_VERSION"))
    .bind(node.host)
    .bind(&node.process.boot)
    .bind(&node.process.pid_space)
    .bind(node.process.pid)
    .bind(node.process.pid_start)
    .bind(node.source)
    .bind(crate::MIGRATOR.iter().map(|migration| migration.version).max())
    .fetch_one(conn)
    .await
}

/// Ends a node's life, and forgets those that nobody has heard of for a week.
pub async fn end(conn: &mut PgConnection, node: NodeId) -> sqlx::Result<()> {
    sqlx::query("update node set stopped_at = clock_timestamp() where id = $1").bind(node).execute(&mut *conn).await?;
    sqlx::query("delete from node where seen_at < now() - interval '7 days'").execute(conn).await.map(drop)
}

/// Says that a node lives.
pub async fn seen(conn: &mut PgConnection, node: NodeId) -> sqlx::Result<()> {
    sqlx::query("update node set seen_at = clock_timestamp() where id = $1").bind(node).execute(conn).await.map(drop)
}

/// The database's clock.
pub async fn clock(conn: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(conn).await
}

/// From now on this node takes accounts by itself, or none any more.
pub async fn set_works(conn: &mut PgConnection, node: NodeId, works: bool) -> sqlx::Result<()> {
    sqlx::query("update node set works = $2 where id = $1").bind(node).bind(works).execute(conn).await.map(drop)
}

/// Whether an operator lets this node drain.
pub async fn is_draining(conn: &mut PgConnection, node: NodeId) -> sqlx::Result<bool> {
    let draining = sqlx::query_scalar("select draining from node where id = $1").bind(node).fetch_optional(conn).await?;
    Ok(draining.unwrap_or(false))
}

/// Lets the living nodes of this name drain, or take accounts again. Answers how many there are.
pub async fn set_draining(conn: &mut PgConnection, name: &str, draining: bool) -> sqlx::Result<u64> {
    let done = sqlx::query("update node set draining = $2 where name = $1 and works and stopped_at is null")
        .bind(name)
        .bind(draining)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// The processes of nodes that have not recorded their end, as far as they hold something or were heard of within a lease.
pub async fn unended(conn: &mut PgConnection) -> sqlx::Result<Vec<(NodeId, Process)>> {
    #[derive(sqlx::FromRow)]
    struct Holder {
        id: NodeId,
        #[sqlx(flatten)]
        process: Process,
    }
    let rows: Vec<Holder> = sqlx::query_as(
        "select n.id, n.boot, n.pid_space, n.pid, n.pid_start from node n
          where n.stopped_at is null and n.seen_at > clock_timestamp() - make_interval(secs => $1)
             or exists (select from account_lease l where l.node_id = n.id and l.closed_at is null)",
    )
    .bind(LEASE.as_secs_f64())
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.process)).collect())
}

/// The nodes that live or hold something, and those that ended during the last hour.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Node>> {
    sqlx::query_as(
        "select n.id, n.name, n.version, n.host, n.pid, n.started_at, n.seen_at,
                case when n.stopped_at is not null then 'stopped'
                     when n.seen_at < clock_timestamp() - make_interval(secs => $1) then 'silent'
                     when n.draining then 'draining' when n.works then 'works' else 'command' end as state,
                array(select a.label from account_lease l join account a on a.id = l.account_id
                       where l.node_id = n.id and l.closed_at is null order by a.id) as accounts,
                (select count(*) from job j join worker w on w.id = j.worker
                  where w.node = n.name || '@' || n.host || '/' || n.pid and j.state = 'running') as running,
                (select count(*) from job_attempt t where t.node = n.name || '@' || n.host || '/' || n.pid
                    and t.finished_at > clock_timestamp() - interval '1 minute') / 60.0::float8 as jobs_per_s
           from node n
          where (n.stopped_at is null and n.seen_at > now() - interval '1 day')
             or n.stopped_at > now() - interval '1 hour'
             or exists (select from account_lease l where l.node_id = n.id and l.closed_at is null)
          order by n.id",
    )
    .bind(LEASE.as_secs_f64())
    .fetch_all(pool)
    .await
}
