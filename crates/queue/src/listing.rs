//! Lists of jobs, newest first. A page costs the same whatever the table's size, as long as what is asked for has an index.
//!
//! The statement has only the conditions that a filter names, so that Postgres may use the index that each has: the queue's own, and
//! those that an application may add, above all of (kind, state, id).

use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::{Error, Filter, JobRow, State};

/// Columns of a [`JobRow`], of the jobs whose ids are `k.id`.
const ROWS: &str = "select j.*, w.node, r.progress_per_second,
        (j.progress_total - j.progress_done) / nullif(r.progress_per_second, 0) as remaining_seconds
    from job j left join worker w on w.id = j.worker
    left join lateral (
        select (j.progress_done - coalesce(j.progress_start, 0))
               / greatest(extract(epoch from clock_timestamp() - j.started_at)::float8, 0.001) as progress_per_second
        where j.state = 'running' and j.progress_done > coalesce(j.progress_start, 0)
    ) r on true";
/// Jobs of a list that says no number.
const DEFAULT: i64 = 100;

/// The jobs that match, newest first.
pub async fn list(pool: &PgPool, filter: Filter) -> Result<Vec<JobRow>, Error> {
    let limit = filter.limit.unwrap_or(DEFAULT);
    let mut query = QueryBuilder::new(ROWS);
    query.push(" where j.id = any(array(");
    let narrow = filter.ids.is_some()
        || filter.parent.is_some()
        || filter.run.is_some()
        || filter.told.is_some()
        || filter.payload.is_some();
    if narrow || (filter.kind.is_none() && filter.state.is_none() && !filter.unfinished) {
        some(&mut query, &filter, None, limit);
    } else {
        let states = State::ALL.into_iter().filter(|state| filter.state.is_none_or(|only| only == *state));
        let states: Vec<State> = states.filter(|state| !(filter.unfinished && state.is_final())).collect();
        query.push("select id from (select null::bigint as id where false");
        for state in states {
            query.push(" union all (");
            if filter.kind.is_none() {
                // kind by kind, because the index begins with it
                query.push("select k.id from (select kind from job_count union select kind from job_delta) c cross join lateral (");
                some(&mut query, &filter, Some(state), limit);
                query.push(") k");
            } else {
                some(&mut query, &filter, Some(state), limit);
            }
            query.push(")");
        }
        query.push(") found order by id desc limit ").push_bind(limit);
    }
    query.push(")) order by j.id desc");
    Ok(query.build_query_as().fetch_all(pool).await?)
}

/// How many of these jobs are in which state.
pub async fn states(pool: &PgPool, jobs: &[i64]) -> Result<Vec<(State, i64)>, Error> {
    let query = sqlx::query_as("select state, count(*) from job where id = any($1) group by state order by state");
    Ok(query.bind(jobs).fetch_all(pool).await?)
}

/// The newest ids that a filter means; of one state, where one is given, and then of the filter's kind or of the kind `c.kind`.
fn some(query: &mut QueryBuilder<Postgres>, filter: &Filter, of: Option<State>, limit: i64) {
    query.push("select j.id from job j where true");
    if of.is_some() && filter.kind.is_none() {
        query.push(" and j.kind = c.kind");
    }
    if let Some(state) = of.or(filter.state) {
        query.push(format!(" and j.state = '{state}'"));
    }
    if let Some(ids) = &filter.ids {
        query.push(" and j.id = any(").push_bind(ids.clone()).push(")");
    }
    if let Some(kind) = &filter.kind {
        query.push(" and j.kind = ").push_bind(kind.clone());
    }
    if let Some(partition) = filter.partition {
        query.push(" and j.partition = ").push_bind(partition);
    }
    if let Some(parent) = filter.parent {
        query.push(" and j.parent = ").push_bind(parent);
    }
    if let Some(trigger) = &filter.trigger {
        query.push(" and j.trigger = ").push_bind(trigger.clone());
    }
    if let Some(run) = filter.run {
        query.push(" and j.run = ").push_bind(run);
    }
    if filter.unfinished {
        query.push(" and j.state not in ('done', 'dead', 'cancelled')");
    }
    if let Some((field, value)) = &filter.payload {
        // a name of the caller's own; written out for the index's sake
        let field: String = field.chars().filter(|c| c.is_ascii_alphabetic() || *c == '_').collect();
        query.push(format!(" and j.payload ->> '{field}' = ")).push_bind(value.clone());
    }
    if let Some(told) = &filter.told {
        query.push(" and j.error is not null and strpos(lower(j.error), lower(").push_bind(told.clone()).push(")) > 0");
    }
    if let Some(before) = filter.before {
        query.push(" and j.id < ").push_bind(before);
    }
    query.push(" order by j.id desc limit ").push_bind(limit);
}
