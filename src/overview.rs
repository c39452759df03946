//! What an operator sees first: how the whole stands now, in one reading. Counts that look at many rows are read seldom.

pub mod attention;

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::PgPool;
use telekeep_queue as queue;

use crate::config::Alerts;
use crate::record::{self, gauge, health::Health, node::Node, reconcile};
use crate::telemetry::seldom::Seldom;
use attention::{Attention, Seen};

/// The whole, as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// Jobs by kind and state.
    pub jobs: BTreeMap<String, BTreeMap<String, i64>>,
    pub paused_kinds: Vec<String>,
    /// How long the job that waits longest could have run already; none: none waits.
    pub oldest_runnable_s: Option<f64>,
    /// Ends of jobs a second over the last minute, all nodes together.
    pub jobs_per_s: f64,
    pub accounts: Vec<Health>,
    pub nodes: Vec<Node>,
    pub chats: Chats,
    pub sinks: Vec<Sink>,
    /// What needs attention, the worst first.
    pub attention: Vec<Attention>,
}

/// The watched chats.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Chats {
    pub watched: i64,
    /// Those that lack something.
    pub lacking: Vec<reconcile::Lacking>,
    /// Messages that are kept raw.
    pub raw: i64,
}

/// A sink and what it has still to be told.
#[derive(Debug, Clone, Serialize)]
pub struct Sink {
    pub name: String,
    pub state: String,
    pub detail: Option<String>,
    pub dead_letters: i64,
    pub waiting: i64,
    pub oldest_s: f64,
}

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Record(#[from] record::Error),
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Record(error.into())
    }
}

/// Reads overviews one after the other.
pub struct Reader {
    alerts: Alerts,
    lacking: Seldom<(Vec<reconcile::Lacking>, i64)>,
    backlogs: Seldom<Vec<gauge::Backlog>>,
}

impl Reader {
    /// With the thresholds from which something needs attention.
    pub fn new(alerts: Alerts) -> Self {
        Self { alerts, lacking: Seldom::default(), backlogs: Seldom::default() }
    }

    pub async fn read(&mut self, pool: &PgPool) -> Result<Overview, Error> {
        let mut jobs = BTreeMap::<String, BTreeMap<String, i64>>::new();
        for (kind, state, count) in queue::counts(pool).await? {
            jobs.entry(kind).or_default().insert(state.to_string(), count);
        }
        let seen = Seen::read(pool).await?;
        let attention = seen.attention(&self.alerts);
        let mut conn = pool.acquire().await?;
        let lacking = async || Ok::<_, record::Error>((reconcile::lacking(&mut conn).await?, gauge::raw(&mut conn).await?));
        let (lacking, raw) = self.lacking.read(lacking).await?.cloned().unwrap_or_default();
        let backlogs = self.backlogs.read(async || gauge::backlogs(&mut conn).await).await?.cloned().unwrap_or_default();
        let sinks = seen.sinks.into_iter().map(|sink| {
            let backlog = backlogs.iter().find(|backlog| backlog.sink == sink.sink);
            Sink {
                waiting: backlog.map_or(0, |it| it.entries),
                oldest_s: backlog.map_or(0.0, |it| it.oldest_s),
                name: sink.sink,
                state: sink.state,
                detail: sink.detail,
                dead_letters: sink.dead_letters,
            }
        });
        Ok(Overview {
            sinks: sinks.collect(),
            jobs,
            paused_kinds: seen.paused_kinds,
            oldest_runnable_s: seen.waits.first().map(|wait| wait.seconds),
            jobs_per_s: seen.nodes.iter().map(|node| node.jobs_per_s).sum(),
            accounts: seen.accounts,
            nodes: seen.nodes,
            chats: Chats { watched: gauge::watched(&mut conn).await?, lacking, raw },
            attention,
        })
    }
}

impl Overview {
    /// Jobs in a state, of all kinds.
    pub fn jobs_in(&self, state: &str) -> i64 {
        self.jobs.values().filter_map(|states| states.get(state)).sum()
    }
}
