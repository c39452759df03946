//! Postgres, its clock, and what the record says of nodes, jobs and incidents.

use chrono::TimeDelta;
use sqlx::PgPool;
use telekeep_queue as queue;

use super::Said;
use crate::{
    clock,
    config::Config,
    error::chain,
    record::{alert, database, node},
};

/// The oldest server that the schema runs on: `unique nulls not distinct` came with it.
const OLDEST: i32 = 15;
/// Connections of one `telekeep run` beside its pool: the queue's, and what listens.
const BESIDE_THE_POOL: u32 = 10;
/// Apart by more than this, times that people compare no longer fit.
const APART: TimeDelta = TimeDelta::seconds(2);

/// Connections that one `telekeep run` with this configuration takes at most.
fn connections_of_a_node(config: &Config) -> i64 {
    let readers = if config.http.listen.is_some() { database::READERS } else { 0 };
    i64::from(database::CONNECTIONS + BESIDE_THE_POOL + readers)
}

pub(super) async fn server(pool: &PgPool, config: &Config) -> Said {
    let it = database::server(pool).await.map_err(|e| chain(&e))?;
    let mut wrong = Vec::new();
    if it.version / 10_000 < OLDEST {
        wrong.push(format!("version {} is too old: {OLDEST} or newer is needed", it.version / 10_000));
    }
    for (name, why) in [
        ("fsync", "a crash of the machine may destroy the record"),
        ("full_page_writes", "a crash of the machine may destroy the record"),
        ("synchronous_commit", "a crash may lose what was committed last, and with it what Telegram told once"),
        ("autovacuum", "the queue's tables grow without end"),
    ] {
        if it.settings.iter().any(|(setting, value)| setting == name && value == "off") {
            wrong.push(format!("{name} is off: {why}; set it to on"));
        }
    }
    if it.encoding != "UTF8" {
        wrong.push(format!("the database's encoding is {}: make one with encoding UTF8", it.encoding));
    }
    let room = it.max_connections - it.reserved_connections;
    let taken = connections_of_a_node(config);
    if room < taken {
        wrong.push(format!("max_connections = {}: one node takes up to {taken}; set it to more", it.max_connections));
    }
    if !it.writable {
        wrong.push("it takes no writes (a standby, or default_transaction_read_only): name the primary in DATABASE_URL".to_owned());
    }
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    Ok(format!("version {}.{}, room for {} nodes", it.version / 10_000, it.version % 10_000, room / taken))
}

pub(super) async fn clock(pool: &PgPool) -> Said {
    let asked = async { node::clock(&mut *pool.acquire().await?).await };
    let there = asked.await.map_err(|e| chain(&e))?;
    let apart = clock::now() - there;
    let told = format!(
        "{:.1} s {} the database's",
        apart.num_milliseconds().abs() as f64 / 1000.0,
        if apart < TimeDelta::zero() { "behind" } else { "ahead of" }
    );
    match apart.abs() > APART {
        true => {
            Err(format!("this machine's clock is {told}: set the clocks right (as by NTP); 20 s ahead and no account is used here"))
        }
        false => Ok(told),
    }
}

pub(super) async fn nodes(pool: &PgPool) -> Said {
    let nodes = node::list(pool).await.map_err(|e| chain(&e))?;
    let works = |name: &str| nodes.iter().any(|it| it.state == "works" && it.name == name);
    let silent = nodes.iter().filter(|it| it.state == "silent" && !works(&it.name));
    // One that was started again is nobody's concern.
    let silent: Vec<&str> = silent.map(|it| it.name.as_str()).collect();
    if !silent.is_empty() {
        return Err(format!(
            "{} fell silent without ending: `telekeep node list` says when; start it again, or let the others take over",
            silent.join(", ")
        ));
    }
    match nodes.iter().filter(|it| it.state == "works").count() {
        0 => Ok("none works now; `telekeep run` starts one".into()),
        count => Ok(format!("{count} work")),
    }
}

pub(super) async fn jobs(pool: &PgPool) -> Said {
    let counts = queue::counts(pool).await.map_err(|e| chain(&e))?;
    let held: i64 = counts.iter().filter(|(_, state, _)| *state == queue::State::Held).map(|(_, _, n)| n).sum();
    match held {
        0 => Ok("none is held".into()),
        held => Err(format!("{held} are held; `telekeep job list --state held` shows why")),
    }
}

pub(super) async fn incidents(pool: &PgPool) -> Said {
    let asked = async {
        let mut conn = pool.acquire().await?;
        Ok::<_, sqlx::Error>((alert::list(&mut conn, None).await?, alert::deaf(&mut conn).await?))
    };
    let (open, deaf) = asked.await.map_err(|e| chain(&e))?;
    let mut wrong: Vec<String> = deaf.iter().map(|it| format!("alert target {} does not take messages", it.target)).collect();
    if !open.is_empty() {
        wrong.insert(0, format!("{} are open", open.len()));
    }
    match wrong.is_empty() {
        true => Ok("none is open".into()),
        false => Err(format!("{}: `telekeep alert list` shows them with what can be done", wrong.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connections_of_requests_count_where_requests_are_served() {
        let of = |text: &str| connections_of_a_node(&toml::from_str(text).unwrap());
        assert_eq!((of(""), of("[http]\nlisten = \"127.0.0.1:8420\"")), (26, 38));
    }
}
