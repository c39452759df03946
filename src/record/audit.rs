//! What an audit of a sink needs from the record: every document's id and revision in key order, block by block, and the one way to
//! repair, which is to raise a row's revision and enqueue it again.

use sqlx::{AssertSqlSafe, FromRow, PgPool};

use super::outbox::{Key, Kind};

/// A place in the order of an audit: (chat, message id) for messages, (id, 0) for chats and users.
pub type Place = (i64, i64);

/// What the record says a sink should hold of one row.
#[derive(Debug, Clone, FromRow)]
pub struct Expected {
    pub key1: i64,
    pub key2: i64,
    /// The chat of a message; the id of a chat or user.
    pub first: i64,
    /// The message id; 0 for chats and users.
    pub second: i64,
    /// The user id of the box's account; None otherwise.
    pub owner: Option<i64>,
    pub revision: i64,
    /// The outbox still has it: a difference says nothing yet.
    pub pending: bool,
    /// The sink refused it: counted there, not missing.
    pub dead: bool,
}

const MESSAGES: &str = "select m.box_id as key1, m.message_id as key2, m.chat_id as first, m.message_id as second,
       coalesce(a.user_id, -a.id) as owner, m.revision,
       exists (select from outbox o where o.sink = $1 and o.kind = 'message' and o.key1 = m.box_id and o.key2 = m.message_id) as pending,
       exists (select from dead_letter d
               where d.sink = $1 and d.kind = 'message' and d.key1 = m.box_id and d.key2 = m.message_id) as dead
     from message m join box b on b.id = m.box_id left join account a on a.id = b.account_id";

fn peers(kind: Kind) -> (String, &'static str) {
    let (table, id) = if kind == Kind::Chat { ("chat", "chat_id") } else { ("telegram_user", "user_id") };
    let select = format!(
        "select t.{id} as key1, 0::bigint as key2, t.{id} as first, 0::bigint as second, null::bigint as owner, t.revision,
           exists (select from outbox o where o.sink = $1 and o.kind = '{kind}' and o.key1 = t.{id}) as pending,
           exists (select from dead_letter d where d.sink = $1 and d.kind = '{kind}' and d.key1 = t.{id}) as dead
         from {table} t"
    );
    (select, id)
}

/// The end of the next block of rows after a place. None: less than a block is left.
pub async fn block_end(pool: &PgPool, kind: Kind, after: Place, rows: i64) -> Result<Option<Place>, sqlx::Error> {
    let statement = match kind {
        Kind::Message => {
            "select chat_id, message_id from message where chat_id is not null and (chat_id, message_id) > ($1, $2)
                          order by chat_id, message_id offset $3 limit 1"
        }
        Kind::Chat => "select chat_id, 0::bigint from chat where chat_id > $1 and $2 is not null order by 1 offset $3 limit 1",
        Kind::User => {
            "select user_id, 0::bigint from telegram_user where user_id > $1 and $2 is not null order by 1 offset $3 limit 1"
        }
    };
    sqlx::query_as(statement).bind(after.0).bind(after.1).bind(rows - 1).fetch_optional(pool).await
}

/// What the sink should hold after one place and up to another.
pub async fn expected(pool: &PgPool, sink: &str, kind: Kind, after: Place, until: Place) -> Result<Vec<Expected>, sqlx::Error> {
    let statement = match kind {
        Kind::Message => format!(
            "{MESSAGES} where m.chat_id is not null and (m.chat_id, m.message_id) > ($2, $3) and (m.chat_id, m.message_id) <= ($4, $5)"
        ),
        Kind::Chat | Kind::User => {
            let (select, id) = peers(kind);
            format!("{select} where t.{id} > $2 and $3 is not null and t.{id} <= $4 and $5 is not null")
        }
    };
    sqlx::query_as(AssertSqlSafe(statement))
        .bind(sink)
        .bind(after.0)
        .bind(after.1)
        .bind(until.0)
        .bind(until.1)
        .fetch_all(pool)
        .await
}

/// What the sink should hold of these keys, now.
pub async fn expected_of(pool: &PgPool, sink: &str, kind: Kind, keys: &[(i64, i64)]) -> Result<Vec<Expected>, sqlx::Error> {
    let firsts: Vec<i64> = keys.iter().map(|key| key.0).collect();
    let seconds: Vec<i64> = keys.iter().map(|key| key.1).collect();
    let statement = match kind {
        Kind::Message => format!(
            "{MESSAGES} join unnest($2::bigint[], $3::bigint[]) as k (b, i) on m.box_id = k.b and m.message_id = k.i where m.chat_id is not null"
        ),
        Kind::Chat | Kind::User => {
            let (select, id) = peers(kind);
            format!("{select} join unnest($2::bigint[], $3::bigint[]) as k (b, i) on t.{id} = k.b")
        }
    };
    sqlx::query_as(AssertSqlSafe(statement)).bind(sink).bind(&firsts).bind(&seconds).fetch_all(pool).await
}

/// Raises rows above the version that a sink holds, and enqueues them for every sink. By two: a sink remembers a deletion as one
/// version more for a while, and would refuse the next one.
pub async fn raise(pool: &PgPool, rows: &[(Key, i64)]) -> Result<u64, sqlx::Error> {
    let mut raised = 0;
    for kind in Kind::ALL {
        let mut of_kind: Vec<(Key, i64)> = rows.iter().filter(|(key, _)| key.kind == kind).copied().collect();
        if of_kind.is_empty() {
            continue;
        }
        of_kind.sort_unstable();
        let firsts: Vec<i64> = of_kind.iter().map(|(key, _)| key.key1).collect();
        let seconds: Vec<i64> = of_kind.iter().map(|(key, _)| key.key2).collect();
        let versions: Vec<i64> = of_kind.iter().map(|(_, version)| *version).collect();
        let (table, matches, key1, key2) = match kind {
            Kind::Message => ("message", "t.box_id = k.key1 and t.message_id = k.key2", "box_id", "t.message_id"),
            Kind::Chat => ("chat", "t.chat_id = k.key1", "chat_id", "0::bigint"),
            Kind::User => ("telegram_user", "t.user_id = k.key1", "user_id", "0::bigint"),
        };
        // Locked in key order, as writers do, against deadlocks.
        let statement = format!(
            "with k as materialized (select * from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as k (key1, key2, version)),
                  locked as materialized (
                    select t.{key1} as key1, {key2} as key2, k.version from {table} t join k on {matches} order by 1, 2 for update of t),
                  raised as (
                    update {table} t set revision = greatest(t.revision, k.version) + 2 from locked k where {matches}
                    returning t.{key1} as key1, {key2} as key2, t.revision),
                  revived as (
                    delete from dead_letter d using raised r where d.kind = $4 and d.key1 = r.key1 and d.key2 = r.key2)
             insert into outbox (sink, kind, key1, key2, revision)
             select s.name, $4, r.key1, r.key2, r.revision from raised r cross join sink s order by 1, 2, 3, 4
             on conflict (sink, kind, key1, key2) do update set revision = greatest(outbox.revision, excluded.revision)"
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(&firsts)
            .bind(&seconds)
            .bind(&versions)
            .bind(kind.as_str())
            .execute(pool)
            .await?;
        raised += of_kind.len() as u64;
    }
    Ok(raised)
}
