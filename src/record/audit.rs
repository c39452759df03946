//! What an audit of a sink needs from the record: every document's id and revision in key order, block by block, and the one way to
//! repair, which is to raise a row's revision and enqueue it again.

use sqlx::{AssertSqlSafe, FromRow, PgPool};

use super::kind::Table;
use super::outbox::{Key, Kind};

/// A place in the order of an audit: (chat, message id) for messages, (id, 0) for all others.
pub type Place = (i64, i64);

/// What the record says a sink should hold of one row.
#[derive(Debug, Clone, FromRow)]
pub struct Expected {
    pub key1: i64,
    pub key2: i64,
    /// The chat of a message; the id of anything else.
    pub first: i64,
    /// The message id; 0 for all others.
    pub second: i64,
    /// The document's `_id`.
    pub id: String,
    pub revision: i64,
    /// The outbox still has it: a difference says nothing yet.
    pub pending: bool,
    /// The sink refused it: counted there, not missing.
    pub dead: bool,
}

/// What a sink ($1) should hold of a kind's rows, to be narrowed by a condition.
fn select(kind: Kind, join: &str, condition: &str) -> String {
    let table = kind.table();
    let place = |column: Option<&str>| column.map_or_else(|| "0::bigint".to_owned(), |column| format!("t.{column}"));
    let (key1, key2, first, second) = (table.key.0, table.key2(), table.place.0, place(table.place.1));
    let entered = |list: &str| {
        format!("exists (select from {list} e where e.sink = $1 and e.kind = '{kind}' and e.key1 = t.{key1} and e.key2 = {key2})")
    };
    format!(
        "select t.{key1} as key1, {key2} as key2, t.{first} as first, {second} as second, {} as id, t.revision,
            {} as pending, {} as dead
         from {} {join} where {} and {condition}",
        kind.document_id(),
        entered("outbox"),
        entered("dead_letter"),
        table.source(),
        table.documented,
    )
}

/// The end of the next block of rows after a place. None: less than a block is left.
pub async fn block_end(pool: &PgPool, kind: Kind, after: Place, rows: i64) -> Result<Option<Place>, sqlx::Error> {
    let table = kind.table();
    let columns = match table.place {
        (first, Some(second)) => format!("t.{first}, t.{second}"),
        (first, None) => format!("t.{first}, 0::bigint"),
    };
    let statement = format!(
        "select {columns} from {} t where {} and {} order by {columns} offset $3 limit 1",
        table.name,
        table.documented,
        Table::beyond(table.place, 1)
    );
    sqlx::query_as(AssertSqlSafe(statement)).bind(after.0).bind(after.1).bind(rows - 1).fetch_optional(pool).await
}

/// What the sink should hold after one place and up to another.
pub async fn expected(pool: &PgPool, sink: &str, kind: Kind, after: Place, until: Place) -> Result<Vec<Expected>, sqlx::Error> {
    let place = kind.table().place;
    let statement = select(kind, "", &format!("{} and {}", Table::beyond(place, 2), Table::up_to(place, 4)));
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
    let join = format!("join unnest($2::bigint[], $3::bigint[]) as k (key1, key2) on {}", kind.table().is_key());
    let statement = select(kind, &join, "true");
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
        let described = kind.table();
        let (table, matches, key1, key2) = (described.name, described.is_key(), described.key.0, described.key2());
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
