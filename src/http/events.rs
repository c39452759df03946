//! What moves, told to whoever watches: one look twice a second for all of them, and none while nobody watches.
//!
//! Who reads too slowly is told to look at everything again. Changes of waiting jobs that an operator makes by a command of another
//! process (a priority) are not seen here before the job moves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use telekeep_queue as queue;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};

use super::{Http, api::job::Job, problem::Problem};
use crate::record::news::{self, Mark};
use crate::record::workflow::{self as table, Runs};
use crate::record::{health, workflow::RunRow};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Each so many looks the accounts are looked at.
const ACCOUNTS: u32 = 4;
/// News that somebody may be behind.
const BEHIND: usize = 64;
/// Jobs whose last news are remembered, so that each is told once.
const REMEMBERED: usize = 5_000;

/// One piece of news, as it is sent.
#[derive(Debug, Clone)]
pub struct News {
    /// jobs, counts, accounts, runs, database
    pub event: &'static str,
    /// JSON.
    pub data: Arc<str>,
}

/// All who watch.
pub struct Hub {
    sender: broadcast::Sender<News>,
    places: Arc<Semaphore>,
    looks: AtomicBool,
    touched: Notify,
    /// What is told of accounts and counts at the beginning.
    last: Mutex<BTreeMap<&'static str, Arc<str>>>,
}

/// A watcher's place; given back when dropped.
pub struct Watching {
    pub news: broadcast::Receiver<News>,
    /// What stands now.
    pub first: Vec<News>,
    pub place: OwnedSemaphorePermit,
}

impl Hub {
    /// For so many watchers at most.
    pub fn new(most: usize) -> Self {
        Self {
            sender: broadcast::channel(BEHIND).0,
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            looks: AtomicBool::new(false),
            touched: Notify::new(),
            last: Mutex::default(),
        }
    }

    /// Something was changed by a request: it is looked at without waiting.
    pub fn touch(&self) {
        self.touched.notify_one();
    }

    fn tell(&self, event: &'static str, data: &Value) {
        let news = News { event, data: data.to_string().into() };
        if event != "jobs" && event != "runs" {
            self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(event, news.data.clone());
        }
        // Nobody may be there any more.
        let _ = self.sender.send(news);
    }
}

/// Takes a place among those who watch; 503 where all are taken.
pub fn watch(http: &Http) -> Result<Watching, Problem> {
    let hub = &http.events;
    let place = hub.places.clone().try_acquire_owned().map_err(|_| {
        Problem::away("too-many-streams", "Too many event streams are open", "all places for event streams are taken")
            .remedy("close one, or raise `[http] event_streams`")
    })?;
    let news = hub.sender.subscribe();
    let last = hub.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let first = last.into_iter().map(|(event, data)| News { event, data }).collect();
    if !hub.looks.swap(true, Ordering::AcqRel) {
        let (http, shutdown) = (http.clone(), http.shutdown.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(look(&http)).await });
    }
    Ok(Watching { news, first, place })
}

/// What was told last.
#[derive(Default)]
struct Told {
    mark: Option<Mark>,
    under_way: BTreeSet<i64>,
    jobs: HashMap<i64, String>,
    runs: BTreeMap<i64, String>,
    counts: Value,
    accounts: Value,
    away: bool,
}

/// Looks as long as somebody watches.
async fn look(http: &Http) {
    let hub = &http.events;
    let mut told = Told::default();
    let mut round = 0_u32;
    loop {
        if hub.sender.receiver_count() == 0 {
            hub.looks.store(false, Ordering::Release);
            hub.last.lock().unwrap_or_else(PoisonError::into_inner).clear();
            // Somebody may have come between the two lines above.
            if hub.sender.receiver_count() == 0 || hub.looks.swap(true, Ordering::AcqRel) {
                return;
            }
        }
        let looked = once(http, &mut told, round.is_multiple_of(ACCOUNTS)).await;
        if looked.is_err() != told.away {
            told.away = looked.is_err();
            hub.tell("database", &json!({ "away": told.away }));
        }
        if let Err(error) = looked {
            tracing::debug!(error = %crate::error::chain(&error), "http: events wait for the database");
            told.mark = None;
        }
        round = round.wrapping_add(1);
        // Twice a second at the most, whatever is touched.
        tokio::time::sleep(LOOK / 2).await;
        tokio::select! {
            () = tokio::time::sleep(LOOK / 2) => {}
            () = hub.touched.notified() => {}
        }
    }
}

async fn once(http: &Http, told: &mut Told, accounts: bool) -> Result<(), queue::Error> {
    let mark = news::mark(&http.pool).await?;
    let before = told.mark.replace(mark.clone()).unwrap_or(mark);
    jobs(http, told, &before).await?;
    runs(http, told, &before).await?;
    let mut counts = serde_json::Map::new();
    for (kind, state, count) in queue::counts(&http.pool).await? {
        counts.entry(state.to_string()).or_insert_with(|| json!({}))[kind.as_str()] = count.into();
    }
    let counts = Value::Object(counts);
    if counts != told.counts {
        http.events.tell("counts", &json!({ "jobs": counts }));
        told.counts = counts;
    }
    if accounts {
        let all = health::list(&mut *http.pool.acquire().await?, None).await?;
        let all: Vec<Value> = all
            .iter()
            .map(|it| json!({ "label": it.label, "state": it.state, "reason": it.state_reason, "until": it.until, "reads": it.reads }))
            .collect();
        let all = json!({ "accounts": all });
        if all != told.accounts {
            http.events.tell("accounts", &all);
            told.accounts = all;
        }
    }
    Ok(())
}

async fn jobs(http: &Http, told: &mut Told, before: &Mark) -> Result<(), queue::Error> {
    let mut ids: BTreeSet<i64> = news::jobs_since(&http.pool, before).await?.into_iter().collect();
    let under_way: BTreeSet<i64> = news::jobs_under_way(&http.pool).await?.into_iter().collect();
    // What ran or was held and does not any more has moved, wherever to.
    ids.extend(&under_way);
    ids.extend(told.under_way.difference(&under_way));
    told.under_way = under_way;
    if told.jobs.len() > REMEMBERED {
        told.jobs.retain(|id, _| ids.contains(id));
    }
    if ids.is_empty() {
        return Ok(());
    }
    let filter = queue::Filter { limit: Some(i64::MAX), ..queue::Filter::ids(ids.into_iter().collect::<Vec<_>>()) };
    let mut moved = Vec::new();
    for row in queue::list(&http.pool, filter).await? {
        let stands =
            format!("{} {} {} {:?} {:?} {}", row.state, row.attempt, row.priority, row.progress_done, row.finished_at, row.run_at);
        if told.jobs.insert(row.id, stands.clone()).as_deref() != Some(stands.as_str()) {
            moved.push(Job::from(row));
        }
    }
    if !moved.is_empty() {
        // More than these is told as a number: whoever shows a list looks again.
        let more = i64::try_from(moved.len()).is_ok_and(|count| count >= news::MOST);
        let jobs = if more { Vec::new() } else { moved };
        http.events.tell("jobs", &json!({ "jobs": jobs, "look_again": more }));
    }
    Ok(())
}

async fn runs(http: &Http, told: &mut Told, before: &Mark) -> Result<(), queue::Error> {
    let mut ids: BTreeSet<i64> = news::runs_since(&http.pool, before).await?.into_iter().collect();
    ids.extend(told.runs.keys());
    if ids.is_empty() {
        return Ok(());
    }
    let which = Runs { ids: Some(ids.into_iter().collect()), ..Runs::default() };
    let rows = table::runs_of(&mut *http.pool.acquire().await?, &which, 4 * news::MOST).await?;
    let moved: Vec<&RunRow> = rows.iter().filter(|row| told.runs.get(&row.id) != Some(&row.state)).collect();
    if !moved.is_empty() {
        http.events.tell("runs", &json!({ "runs": moved }));
    }
    // One that ended was told just now, and is not looked at any more.
    told.runs = rows.into_iter().filter(|row| row.state == "running").map(|row| (row.id, row.state)).collect();
    Ok(())
}
