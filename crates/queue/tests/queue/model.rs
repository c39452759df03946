//! Random sequences of everything that can be done to the queue, against a model that fits on a page.
//!
//! A real worker claims and settles; its work waits for the outcome that the sequence picks. It claims only while the
//! sequence lets it: between claims its row says `draining`, under which outcomes are settled and nothing is claimed. Time
//! passes by whole hours, by moving all that the database has written down into the past; nothing waits for a clock.
//!
//! Narrower than all else: of several partitions with too few slots for all, any may be served; rows that one statement
//! leaves in `job_finished` may stand in any order; the hint that a job was cancelled with is not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use telekeep_queue::{
    Conflict, Enqueued, Error, Filter, Job, JobRow, NewJob, Outcome, PartitionSettings, Policy, Retry, State, Token, Worker,
    WorkerConfig, attempts, cancel, counts, enqueue, fence, finish, list, partition, pause, pause_kind, paused_kinds, progress,
    release, relocate, remove_finished, reprioritise, rest, resume, resume_kind, retry, set_partition, take_finished,
};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::{Live, now, utc_now};

/// Fewer on a machine that is busy with other things; `PROPTEST_CASES` asks for a number, however long they take.
const CASES: u32 = 32;
const LONGEST: Duration = Duration::from_secs(25);
const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(5);
/// Jobs of one partition at once, where it says nothing else.
const PER_PARTITION: i32 = 2;
const HOLDER: &str = "north";
/// The last is of a kind that no worker knows.
const KINDS: [&str; 3] = ["crawl", "call", "foreign"];
/// What may rest: everything, a kind, and what one kind uses.
const METHODS: [&str; 3] = ["*", "crawl", "calls"];
const POLICIES: [Policy; 2] = [
    Policy {
        max_failures: 3,
        base: HOUR.saturating_mul(2),
        cap: HOUR.saturating_mul(3),
        jitter: 0.0,
        max_crashes: 1,
        ..Policy::DEFAULT
    },
    Policy { max_failures: 2, base: HOUR, cap: HOUR, jitter: 0.0, max_crashes: 0, ..Policy::DEFAULT },
];
/// In place of the kind's policy: the first failure is the last.
const ONCE: Retry = Retry { max_failures: 1, base: HOUR, cap: HOUR, jitter: 0.0 };

/// What happens to the queue. Numbers that pick a job or a token are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Enqueue {
        jobs: Vec<New>,
        rolled_back: bool,
    },
    Claim,
    Answer(usize, Answer),
    /// What a job writes, under any token that was ever given out.
    Write(usize, Write),
    Draw(Action, Target),
    PauseKind(usize),
    ResumeKind(usize),
    SetPartition(i64, PartitionSettings),
    Rest {
        partition: i64,
        method: usize,
        hours: i64,
    },
    /// The worker is killed; its lease stays.
    Kill,
    /// Another worker in place of the one that lives or was killed; the leases of all before it have run out, or not.
    Start {
        expired: bool,
        holder: bool,
        slots: usize,
    },
    Pass(i64),
    Remove {
        kept: i64,
        limit: i64,
    },
    Take {
        limit: i64,
        rolled_back: bool,
    },
}

#[derive(Debug, Clone)]
struct New {
    kind: usize,
    key: Option<u8>,
    hours: Option<i64>,
    conflict: Conflict,
    partition: i64,
    priority: i16,
    once: bool,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Done,
    MoreToDo,
    Retry,
    Snooze(i64),
    Hold,
    Discard,
}

#[derive(Debug, Clone, Copy)]
enum Write {
    Fence,
    Progress(i64),
    Finish,
    FinishRolledBack,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Release,
    Retry,
    Cancel,
    Pause,
    Resume,
    Reprioritise(i16),
    Relocate(i64),
}

#[derive(Debug, Clone)]
enum Target {
    One(usize),
    /// One in a state from which the arrow leads; its key may forbid it all the same.
    Fitting(usize),
    /// The one that was answered for or acted on last.
    Same,
    Nobody,
    Matching {
        kind: Option<usize>,
        partition: Option<i64>,
        state: Option<State>,
        unfinished: bool,
        limit: Option<i64>,
    },
}

/// Steps on their own, and now and then some that stay with one job or one key: chance alone seldom does.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    use proptest::collection::vec;
    let fate = (any::<usize>(), answer(), vec(action(), 1..4)).prop_map(|(place, answer, actions)| {
        let actions = actions.into_iter().map(|action| Step::Draw(action, Target::Same));
        std::iter::once(Step::Answer(place, answer)).chain(actions).collect()
    });
    let key = (new(), 0..2_u8, any::<usize>()).prop_map(|(new, key, place)| {
        let kind = Some(new.kind);
        let all = Target::Matching { kind, partition: None, state: None, unfinished: true, limit: None };
        let again = Step::Enqueue { jobs: vec![New { key: Some(key), ..new }], rolled_back: false };
        let end = Step::Draw(Action::Cancel, all);
        vec![again.clone(), end.clone(), again, end, Step::Draw(Action::Retry, Target::Fitting(place))]
    });
    let phrase = prop_oneof![20 => step().prop_map(|step| vec![step]), 4 => fate, 1 => key];
    vec(phrase, 22..=38).prop_map(|phrases| phrases.concat())
}

fn new() -> impl Strategy<Value = New> {
    (
        prop_oneof![4 => Just(0), 4 => Just(1), 1 => Just(2)],
        prop_oneof![Just(None), (0..2_u8).prop_map(Some)],
        prop_oneof![5 => Just(None), 1 => Just(Some(0)), 3 => (1..4_i64).prop_map(Some)],
        prop_oneof![Just(Conflict::Keep), Just(Conflict::Replace), Just(Conflict::Earlier)],
        0..3_i64,
        1..=4_i16,
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(kind, key, hours, conflict, partition, priority, once)| New {
            kind,
            key,
            hours,
            conflict,
            partition,
            priority,
            once,
        })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        3 => Just(Answer::Done),
        2 => Just(Answer::MoreToDo),
        4 => Just(Answer::Retry),
        2 => (1..4_i64).prop_map(Answer::Snooze),
        2 => Just(Answer::Hold),
        1 => Just(Answer::Discard),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Release),
        5 => Just(Action::Retry),
        3 => Just(Action::Cancel),
        2 => Just(Action::Pause),
        2 => Just(Action::Resume),
        1 => (1..=5_i16).prop_map(Action::Reprioritise),
        1 => (0..3_i64).prop_map(Action::Relocate),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::{bool::weighted, collection::vec, option::of};
    let write =
        prop_oneof![Just(Write::Fence), (1..9_i64).prop_map(Write::Progress), Just(Write::Finish), Just(Write::FinishRolledBack),];
    let matching = (
        of(0..3_usize),
        of(0..3_i64),
        of(proptest::sample::select(&State::ALL[..])),
        any::<bool>(),
        prop_oneof![1 => Just(None), 4 => (0..4_i64).prop_map(Some)],
    );
    let target = prop_oneof![
        6 => any::<usize>().prop_map(Target::One),
        8 => any::<usize>().prop_map(Target::Fitting),
        8 => Just(Target::Same),
        1 => Just(Target::Nobody),
        4 => matching.prop_map(|(kind, partition, state, unfinished, limit)| {
            Target::Matching { kind, partition, state, unfinished, limit }
        }),
    ];
    let limit = prop_oneof![3 => Just(None), 1 => Just(Some(0)), 5 => (1..4_i32).prop_map(Some)];
    let settings = (weighted(0.15), limit, weighted(0.2)).prop_map(|(paused, running_limit, holder)| PartitionSettings {
        paused,
        running_limit,
        holder: holder.then(|| HOLDER.to_owned()),
    });
    prop_oneof![
        24 => (vec(new(), 2..6), weighted(0.1)).prop_map(|(jobs, rolled_back)| Step::Enqueue { jobs, rolled_back }),
        14 => Just(Step::Claim),
        30 => (any::<usize>(), answer()).prop_map(|(place, answer)| Step::Answer(place, answer)),
        8 => (any::<usize>(), write).prop_map(|(place, write)| Step::Write(place, write)),
        28 => (action(), target).prop_map(|(action, target)| Step::Draw(action, target)),
        1 => (0..3_usize).prop_map(Step::PauseKind),
        3 => (0..3_usize).prop_map(Step::ResumeKind),
        3 => (0..3_i64, settings).prop_map(|(id, settings)| Step::SetPartition(id, settings)),
        4 => (0..3_i64, 0..3_usize, 0..3_i64).prop_map(|(partition, method, hours)| Step::Rest { partition, method, hours }),
        1 => Just(Step::Kill),
        5 => (weighted(0.8), any::<bool>(), 1..6_usize)
            .prop_map(|(expired, holder, slots)| Step::Start { expired, holder, slots }),
        6 => (1..4_i64).prop_map(Step::Pass),
        3 => (0..3_i64, 0..5_i64).prop_map(|(kept, limit)| Step::Remove { kept, limit }),
        3 => (0..5_i64, weighted(0.3)).prop_map(|(limit, rolled_back)| Step::Take { limit, rolled_back }),
    ]
}

impl Action {
    fn leads_from(self, job: &Known) -> bool {
        use State::{Available, Cancelled, Dead, Held, Running, Scheduled};
        match self {
            Action::Release => job.state == Held,
            Action::Retry => matches!(job.state, Dead | Held | Cancelled),
            Action::Cancel | Action::Reprioritise(_) => matches!(job.state, Scheduled | Available | Held | Running),
            Action::Pause => matches!(job.state, Scheduled | Available),
            Action::Resume => job.state == Held && job.outcome.as_deref() == Some("paused"),
            Action::Relocate(_) => matches!(job.state, Scheduled | Available | Held),
        }
    }
}

/// A job as the model knows it. Times are hours from now.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    id: i64,
    kind: &'static str,
    key: Option<String>,
    payload: Value,
    partition: i64,
    priority: i16,
    state: State,
    at: i64,
    not_before: Option<i64>,
    ended: Option<i64>,
    attempt: i32,
    failure: i32,
    crash: i32,
    told: bool,
    outcome: Option<String>,
    error: Option<String>,
    hinted: Option<bool>,
    done: Option<i64>,
}

impl Known {
    fn from_row(row: &JobRow) -> Self {
        let hours = |time: chrono::DateTime<chrono::Utc>| (time - utc_now()).as_seconds_f64() / HOUR.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, reason = "some hours")]
        let hours = |time| f64::round(hours(time)) as i64;
        Known {
            id: row.id,
            kind: KINDS.into_iter().find(|kind| *kind == row.kind).unwrap_or("unknown"),
            key: row.unique_key.clone(),
            payload: row.payload.clone(),
            partition: row.partition,
            priority: row.priority,
            state: row.state,
            at: hours(row.run_at),
            not_before: row.not_before.map(hours),
            ended: row.finished_at.map(hours),
            attempt: row.attempt,
            failure: row.failure,
            crash: row.crash,
            told: row.cancel_requested,
            outcome: row.outcome.clone(),
            error: row.error.clone(),
            hinted: (row.state != State::Cancelled).then_some(row.hint.is_some()),
            done: row.progress_done,
        }
    }

    fn policy(&self) -> &'static Policy {
        &POLICIES[usize::from(self.kind == KINDS[1])]
    }

    fn unfinished(&self) -> bool {
        !self.state.is_final()
    }

    /// Waits again, but not before a wait that somebody else asked for.
    fn goes_on(&mut self) {
        self.at = self.not_before.unwrap_or(0).max(0);
        self.waits();
    }

    fn waits(&mut self) {
        self.state = if self.at > 0 { State::Scheduled } else { State::Available };
    }
}

/// What the model knows of a job beside what its row shows.
struct Entry {
    job: Known,
    once: bool,
    /// While it runs: the worker and the claim.
    held: Option<(u32, Token)>,
    starts: Vec<(i32, String)>,
}

#[derive(Clone, Copy)]
struct Alive {
    worker: u32,
    slots: usize,
    holder: bool,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<i64, Entry>,
    ends: Vec<(i64, State, String)>,
    partitions: BTreeMap<i64, PartitionSettings>,
    rests: BTreeMap<(i64, &'static str), i64>,
    paused: BTreeSet<&'static str>,
    alive: Option<Alive>,
    workers: u32,
    payloads: i64,
}

impl Model {
    /// What is expected of an enqueued job: the unfinished one of its key and the state it has then, or a new one.
    fn enqueue(&mut self, new: &New, payload: &Value, answer: Enqueued) -> Enqueued {
        let (kind, key) = (KINDS[new.kind], new.key.map(|key| key.to_string()));
        let same = |job: &Known| key.is_some() && job.kind == kind && job.key == key && job.unfinished();
        if let Some(Entry { job, .. }) = self.jobs.values_mut().find(|entry| same(&entry.job)) {
            match new.conflict {
                Conflict::Replace if job.state != State::Running => job.payload = payload.clone(),
                Conflict::Earlier if matches!(job.state, State::Scheduled | State::Available) => {
                    job.at = job.at.min(new.hours.unwrap_or(0)).max(job.not_before.unwrap_or(i64::MIN));
                    job.waits();
                }
                _ => {}
            }
            return Enqueued::Deduplicated(job.id, job.state);
        }
        let id = self.jobs.keys().last().map_or(answer.id(), |last| answer.id().max(last + 1));
        let mut job = Known {
            id,
            kind,
            key,
            payload: payload.clone(),
            partition: new.partition,
            priority: new.priority,
            state: State::Available,
            at: new.hours.unwrap_or(0),
            not_before: None,
            ended: None,
            attempt: 0,
            failure: 0,
            crash: 0,
            told: false,
            outcome: None,
            error: None,
            hinted: Some(false),
            done: None,
        };
        job.waits();
        self.partitions.entry(new.partition).or_default();
        self.jobs.insert(id, Entry { job, once: new.once, held: None, starts: Vec::new() });
        Enqueued::Created(id)
    }

    fn claimable(&self, job: &Known, alive: Alive) -> bool {
        let settings = &self.partitions[&job.partition];
        let rests = |method: &str| self.rests.get(&(job.partition, method)).is_some_and(|until| *until > 0);
        job.state == State::Available
            && job.kind != KINDS[2]
            && !self.paused.contains(job.kind)
            && !settings.paused
            && (settings.holder.is_none() || alive.holder)
            && !(rests("*") || rests(job.kind) || job.kind == KINDS[1] && rests("calls"))
    }

    fn running(&self) -> impl Iterator<Item = &Entry> {
        self.jobs.values().filter(|entry| entry.job.state == State::Running)
    }

    /// How many more of a partition may run.
    fn room(&self, partition: i64) -> usize {
        if partition == 0 {
            return usize::MAX;
        }
        let limit = self.partitions[&partition].running_limit.unwrap_or(PER_PARTITION);
        let running = self.running().filter(|entry| entry.job.partition == partition).count();
        usize::try_from(limit).unwrap_or(0).saturating_sub(running)
    }

    fn free_slots(&self) -> usize {
        self.alive.map_or(0, |alive| alive.slots - self.running_here().len())
    }

    /// What the living worker runs.
    fn running_here(&self) -> Vec<i64> {
        let here = |entry: &&Entry| self.alive.is_some_and(|alive| entry.held.is_some_and(|(worker, _)| worker == alive.worker));
        self.running().filter(here).map(|entry| entry.job.id).collect()
    }

    fn end_start(&mut self, id: i64, told: &str, state: State, outcome: &str, error: Option<String>) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.held = None;
        entry.starts.push((entry.job.attempt, told.to_owned()));
        let job = &mut entry.job;
        job.state = state;
        job.told = false;
        job.outcome = Some(outcome.to_owned());
        job.error = error;
        job.hinted = (state != State::Cancelled).then_some(state == State::Held);
        self.end(id);
    }

    /// The row that a terminal arrow leaves.
    fn end(&mut self, id: i64) {
        let Some(Entry { job, .. }) = self.jobs.get_mut(&id) else { return };
        if job.state.is_final() {
            job.ended = Some(0);
            self.ends.push((id, job.state, job.outcome.clone().unwrap_or_default()));
        }
    }

    fn answer(&mut self, id: i64, answer: Answer) {
        let Some(Entry { job, once, .. }) = self.jobs.get_mut(&id) else { return };
        let allowed = if *once { 1 } else { job.policy().max_failures };
        let (told, mut state, at) = match answer {
            Answer::Done => ("done", State::Done, 0),
            Answer::MoreToDo => ("more_to_do", State::Available, 0),
            Answer::Retry if job.failure + 1 >= allowed => ("dead", State::Dead, 0),
            Answer::Retry => ("retry", State::Scheduled, if job.kind == KINDS[1] { 1 } else { 2 + i64::from(job.failure) }),
            Answer::Snooze(hours) => ("snooze", State::Scheduled, hours),
            Answer::Hold => ("held", State::Held, 0),
            Answer::Discard => ("discarded", State::Cancelled, 0),
        };
        if job.told && !state.is_final() {
            state = State::Cancelled;
        }
        if matches!(state, State::Scheduled | State::Available) {
            job.at = at;
        }
        job.not_before = (state == State::Scheduled && told == "snooze").then_some(at);
        job.failure += i32::from(matches!(answer, Answer::Retry));
        job.crash = 0;
        let outcome = if state == State::Cancelled && told != "discarded" { "cancelled" } else { told };
        let error = matches!(told, "dead" | "retry" | "snooze" | "held" | "discarded").then(|| "because".to_owned());
        self.end_start(id, told, state, outcome, error);
    }

    /// Every lease of a dead worker has run out.
    fn reap(&mut self) {
        for id in self.running().map(|entry| entry.job.id).collect::<Vec<_>>() {
            let Some(Entry { job, .. }) = self.jobs.get_mut(&id) else { continue };
            let (state, outcome) = match () {
                () if job.told => (State::Cancelled, "cancelled"),
                () if job.crash >= job.policy().max_crashes => (State::Held, "lease_expired"),
                () => (State::Available, "lease_expired"),
            };
            job.crash += 1;
            let error = Some("the lease of the worker that ran it expired".to_owned());
            self.end_start(id, "lease_expired", state, outcome, error);
        }
    }

    /// Whether an arrow leads from where a job is, and its key is free or its own.
    fn arrow(&self, action: Action, job: &Known) -> bool {
        let taken = |other: &Known| {
            job.key.is_some()
                && (other.kind, &other.key) == (job.kind, &job.key)
                && other.id != job.id
                && (other.unfinished() || other.id > job.id && other.state != State::Done)
        };
        let starts_over = matches!(action, Action::Retry) && job.state.is_final();
        action.leads_from(job) && !(starts_over && self.jobs.values().any(|entry| taken(&entry.job)))
    }

    fn draw(&mut self, action: Action, id: i64) {
        let Some(Entry { job, .. }) = self.jobs.get_mut(&id) else { return };
        match action {
            Action::Release => {
                job.crash = 0;
                job.hinted = Some(false);
                job.goes_on();
            }
            Action::Retry => {
                (job.failure, job.crash, job.ended) = (0, 0, None);
                job.hinted = Some(false);
                job.goes_on();
            }
            Action::Cancel if job.state == State::Running => job.told = true,
            Action::Cancel => {
                job.state = State::Cancelled;
                job.outcome = Some("cancelled".to_owned());
                job.hinted = None;
                self.end(id);
            }
            Action::Pause => {
                job.state = State::Held;
                job.outcome = Some("paused".to_owned());
                job.hinted = Some(true);
            }
            Action::Resume => {
                job.outcome = None;
                job.hinted = Some(false);
                job.waits();
            }
            Action::Reprioritise(priority) => job.priority = priority,
            Action::Relocate(partition) => job.partition = partition,
        }
    }

    fn pass(&mut self, hours: i64) {
        for Entry { job, .. } in self.jobs.values_mut() {
            job.at -= hours;
            job.not_before = job.not_before.map(|at| at - hours);
            job.ended = job.ended.map(|at| at - hours);
        }
        self.rests.values_mut().for_each(|until| *until -= hours);
    }
}

/// What the work of the living worker waits for.
type Desk = Arc<Mutex<HashMap<i64, (Job, oneshot::Sender<Outcome>)>>>;

/// The real queue beside its model.
struct Stage {
    pool: PgPool,
    model: Model,
    live: Option<Live>,
    row: i64,
    desk: Desk,
    tokens: Vec<Token>,
    last: i64,
    ended: Vec<(i64, State, String)>,
}

/// Waits until a question is answered with yes.
async fn eventually(pool: &PgPool, question: &'static str, value: i64) -> Result<(), TestCaseError> {
    let deadline = now() + PATIENCE;
    while !sqlx::query_scalar::<_, bool>(question).bind(value).fetch_one(pool).await? {
        prop_assert!(now() < deadline, "still not: {} ({})", question, value);
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Answers when, in microseconds.
async fn wake(pool: &PgPool) -> Result<i64, TestCaseError> {
    const WAKE: &str = "select (extract(epoch from clock_timestamp()) * 1e6)::bigint from pg_notify('telekeep_queue', 'wake')";
    Ok(sqlx::query_scalar(WAKE).fetch_one(pool).await?)
}

impl Stage {
    async fn new(pool: &PgPool) -> Self {
        sqlx::raw_sql(
            "delete from job; delete from job_attempt; delete from job_finished; delete from job_count; delete from job_delta;
             delete from worker; delete from partition; delete from partition_rest; delete from kind_paused",
        )
        .execute(pool)
        .await
        .unwrap();
        Stage {
            pool: pool.clone(),
            model: Model::default(),
            live: None,
            row: 0,
            desk: Desk::default(),
            tokens: Vec::new(),
            last: 0,
            ended: Vec::new(),
        }
    }

    async fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Enqueue { jobs, rolled_back } => self.enqueue(jobs, *rolled_back).await?,
            Step::Claim => self.claim().await?,
            Step::Answer(place, answer) => self.answer(*place, *answer).await?,
            Step::Write(place, write) => self.write(*place, *write).await?,
            Step::Draw(action, target) => self.draw(*action, target).await?,
            Step::PauseKind(kind) => {
                prop_assert_eq!(pause_kind(&self.pool, KINDS[*kind]).await?, self.model.paused.insert(KINDS[*kind]));
            }
            Step::ResumeKind(kind) => {
                prop_assert_eq!(resume_kind(&self.pool, KINDS[*kind]).await?, self.model.paused.remove(KINDS[*kind]));
                prop_assert_eq!(paused_kinds(&self.pool).await?, self.model.paused.iter().copied().collect::<Vec<_>>());
            }
            Step::SetPartition(id, settings) => {
                set_partition(&mut *self.pool.acquire().await?, *id, settings).await?;
                self.model.partitions.insert(*id, settings.clone());
                prop_assert_eq!(&partition(&self.pool, *id).await?, settings);
            }
            Step::Rest { partition, method, hours } => {
                let until = utc_now() + HOUR * u32::try_from(*hours).unwrap_or(0);
                rest(&mut *self.pool.acquire().await?, *partition, METHODS[*method], until, "flood").await?;
                let known = self.model.rests.entry((*partition, METHODS[*method])).or_insert(*hours);
                *known = (*known).max(*hours);
            }
            Step::Kill => self.kill().await,
            Step::Start { expired, holder, slots } => self.start(*expired, *holder, *slots).await?,
            Step::Pass(hours) => {
                sqlx::query(
                    "with jobs as (
                         update job set run_at = run_at - make_interval(hours => $1::int),
                                        not_before = not_before - make_interval(hours => $1::int),
                                        finished_at = finished_at - make_interval(hours => $1::int)
                     )
                     update partition_rest set until = until - make_interval(hours => $1::int)",
                )
                .bind(*hours)
                .execute(&self.pool)
                .await?;
                self.model.pass(*hours);
            }
            Step::Remove { kept, limit } => self.remove(*kept, *limit).await?,
            Step::Take { limit, rolled_back } => {
                let mut tx = self.pool.begin().await?;
                let taken = take_finished(&mut tx, *limit).await?;
                let taken: Vec<_> = taken.into_iter().map(|end| (end.job_id, end.state, end.outcome)).collect();
                let oldest = usize::try_from(*limit).unwrap_or(0).min(self.ended.len());
                prop_assert_eq!(&taken[..], &self.ended[..oldest]);
                if *rolled_back {
                    tx.rollback().await?;
                } else {
                    tx.commit().await?;
                    for end in &taken {
                        let place = self.model.ends.iter().position(|known| known == end);
                        place.map(|place| self.model.ends.swap_remove(place));
                    }
                }
            }
        }
        Ok(())
    }

    async fn enqueue(&mut self, jobs: &[New], rolled_back: bool) -> Result<(), TestCaseError> {
        let new: Vec<NewJob> = jobs
            .iter()
            .map(|job| {
                self.model.payloads += 1;
                NewJob {
                    priority: job.priority,
                    partition: job.partition,
                    run_at: job.hours.map(|hours| utc_now() + HOUR * u32::try_from(hours).unwrap_or(0)),
                    unique_key: job.key.map(|key| key.to_string()),
                    on_conflict: job.conflict,
                    retry: job.once.then_some(ONCE),
                    ..NewJob::new(KINDS[job.kind], json!({"n": self.model.payloads}))
                }
            })
            .collect();
        let mut tx = self.pool.begin().await?;
        let (answers, wake) = enqueue(&mut tx, &new).await?;
        if rolled_back {
            tx.rollback().await?;
            return Ok(());
        }
        tx.commit().await?;
        wake.fire(&self.pool).await;
        // keyed jobs are inserted before the others
        let mut places: Vec<usize> = (0..jobs.len()).collect();
        places.sort_by_key(|place| answers[*place].id());
        for place in places {
            let expected = self.model.enqueue(&jobs[place], &new[place].payload, answers[place]);
            prop_assert_eq!(answers[place], expected);
        }
        Ok(())
    }

    /// Lets the worker claim until it finds nothing more.
    async fn claim(&mut self) -> Result<(), TestCaseError> {
        let Some(alive) = self.model.alive else { return Ok(()) };
        let free = self.model.free_slots();
        let mut ready: BTreeMap<i64, Vec<&Known>> = BTreeMap::new();
        for Entry { job, .. } in self.model.jobs.values().filter(|entry| self.model.claimable(&entry.job, alive)) {
            ready.entry(job.partition).or_default().push(job);
        }
        let most: BTreeMap<i64, usize> =
            ready.iter().map(|(partition, jobs)| (*partition, jobs.len().min(self.model.room(*partition)))).collect();
        let expected = most.values().sum::<usize>().min(free);
        let before = self.model.running().count();
        let rows = list(&self.pool, Filter { limit: Some(i64::MAX), ..Filter::default() }).await?;
        let order: HashMap<i64, _> = rows.iter().map(|row| (row.id, (row.priority, row.run_at, row.id))).collect();

        sqlx::query("update worker set state = 'live' where id = $1").bind(self.row).execute(&self.pool).await?;
        let mut woken = wake(&self.pool).await?;
        if expected > 0 {
            let running = i64::try_from(before + expected).unwrap_or(0);
            eventually(&self.pool, "select count(*) >= $1 from job where state = 'running'", running).await?;
            woken = wake(&self.pool).await?;
        }
        if free > expected {
            // what finds nothing writes nothing: that one more has looked shows in what its connection did last
            const LOOKED: &str = "select exists (select from pg_stat_activity
                 where datname = current_database() and state = 'idle' and query like '%from queue_claim(%'
                   and extract(epoch from query_start) * 1e6 > $1)";
            eventually(&self.pool, LOOKED, woken).await?;
        }
        sqlx::query("update worker set state = 'draining' where id = $1").bind(self.row).execute(&self.pool).await?;

        let rows = list(&self.pool, Filter { state: Some(State::Running), limit: Some(i64::MAX), ..Filter::default() }).await?;
        let claimed: BTreeSet<i64> =
            rows.iter().map(|row| row.id).filter(|id| self.model.jobs[id].job.state != State::Running).collect();
        prop_assert_eq!(claimed.len(), expected, "claimed {:?} of {:?}", claimed, ready);
        for (partition, jobs) in &mut ready {
            jobs.sort_by_key(|job| order[&job.id]);
            let here: Vec<bool> = jobs.iter().map(|job| claimed.contains(&job.id)).collect();
            let count = here.iter().filter(|here| **here).count();
            prop_assert!(count <= most[partition], "{} of partition {}, at most {}", count, partition, most[partition]);
            prop_assert!(here.is_sorted_by(|a, b| a >= b), "not the first of partition {}: {:?} of {:?}", partition, here, jobs);
        }
        let allowed: BTreeSet<i64> = ready.values().flatten().map(|job| job.id).collect();
        prop_assert!(claimed.is_subset(&allowed), "claimed {:?}, allowed {:?}", claimed, allowed);
        for id in claimed {
            self.admit(id, alive.worker).await?;
        }
        Ok(())
    }

    /// Waits until a claimed job has reached its work, and compares what the work was given.
    async fn admit(&mut self, id: i64, worker: u32) -> Result<(), TestCaseError> {
        let deadline = now() + PATIENCE;
        let given = loop {
            if let Some((job, _)) = self.desk.lock().unwrap().get(&id) {
                break job.clone();
            }
            prop_assert!(now() < deadline, "job {} never reached its work", id);
            sleep(Duration::from_millis(1)).await;
        };
        let Some(entry) = self.model.jobs.get_mut(&id) else { return Ok(()) };
        let job = &mut entry.job;
        job.state = State::Running;
        job.attempt += 1;
        job.not_before = None;
        entry.held = Some((worker, given.token));
        self.tokens.push(given.token);
        prop_assert_eq!((given.id, given.token.job), (id, id));
        prop_assert_eq!((given.attempt, given.failure, given.crash), (job.attempt, job.failure, job.crash));
        prop_assert_eq!((given.kind.as_str(), &given.payload, &given.unique_key), (job.kind, &job.payload, &job.key));
        prop_assert_eq!((given.partition, given.priority), (job.partition, job.priority));
        prop_assert!(!given.cancel.is_cancelled());
        Ok(())
    }

    async fn answer(&mut self, place: usize, answer: Answer) -> Result<(), TestCaseError> {
        let mut running = self.model.running_here();
        if running.is_empty() {
            self.claim().await?;
            running = self.model.running_here();
        }
        let Some(id) = running.get(place % running.len().max(1)).copied() else { return Ok(()) };
        let because = || "because".to_owned();
        self.says(
            id,
            match answer {
                Answer::Done => Outcome::Done,
                Answer::MoreToDo => Outcome::MoreToDo,
                Answer::Retry => Outcome::Retry { error: because() },
                Answer::Snooze(hours) => Outcome::Snooze { until: HOUR * u32::try_from(hours).unwrap_or(0), reason: because() },
                Answer::Hold => Outcome::Hold { error: because(), hint: "ask".to_owned() },
                Answer::Discard => Outcome::Discard { reason: because() },
            },
        )?;
        eventually(&self.pool, "select state <> 'running' from job where id = $1", id).await?;
        self.model.answer(id, answer);
        self.last = id;
        Ok(())
    }

    fn says(&self, id: i64, outcome: Outcome) -> Result<(), TestCaseError> {
        let waiting = self.desk.lock().unwrap().remove(&id);
        let heard = waiting.map(|(_, answer)| answer.send(outcome));
        prop_assert!(matches!(heard, Some(Ok(()))), "nobody does the work of job {}", id);
        Ok(())
    }

    async fn write(&mut self, place: usize, write: Write) -> Result<(), TestCaseError> {
        let Some(token) = self.tokens.get(place % self.tokens.len().max(1)).copied() else { return Ok(()) };
        let held = self.model.jobs.get(&token.job).and_then(|entry| entry.held);
        let current = held.is_some_and(|(_, current)| current == token);
        let mut tx = self.pool.begin().await?;
        let answer = match write {
            Write::Fence => fence(&mut tx, token).await,
            Write::Progress(done) => progress(&mut tx, token, done, None, None).await,
            Write::Finish | Write::FinishRolledBack => finish(&mut tx, token).await,
        };
        match answer {
            Ok(()) => prop_assert!(current, "{:?} under a token that is stale", write),
            Err(Error::Stale { job }) => prop_assert!(!current && job == token.job, "{:?} refused as stale", write),
            Err(error) => return Err(error.into()),
        }
        if let Write::FinishRolledBack = write {
            tx.rollback().await?;
            return Ok(());
        }
        tx.commit().await?;
        match (write, self.model.jobs.get_mut(&token.job)) {
            (Write::Progress(done), Some(Entry { job, .. })) if current => (job.done, job.crash) = (Some(done), 0),
            (Write::Finish, Some(_)) if current => {
                if self.model.running_here().contains(&token.job) {
                    self.says(token.job, Outcome::Done)?;
                }
                self.model.answer(token.job, Answer::Done);
            }
            _ => {}
        }
        Ok(())
    }

    async fn draw(&mut self, action: Action, target: &Target) -> Result<(), TestCaseError> {
        let nobody = self.model.jobs.keys().last().map_or(1, |last| last + 1000);
        let ids: Vec<i64> = self.model.jobs.keys().copied().collect();
        let filter = match target {
            Target::One(place) => Filter::one(ids.get(place % ids.len().max(1)).copied().unwrap_or(nobody)),
            Target::Fitting(place) => {
                let ids: Vec<i64> =
                    self.model.jobs.values().filter(|entry| action.leads_from(&entry.job)).map(|entry| entry.job.id).collect();
                Filter::one(ids.get(place % ids.len().max(1)).copied().unwrap_or(nobody))
            }
            Target::Same => Filter::one(self.last),
            Target::Nobody => Filter::one(nobody),
            Target::Matching { kind, partition, state, unfinished, limit } => Filter {
                kind: kind.map(|kind| KINDS[kind].to_owned()),
                partition: *partition,
                state: *state,
                unfinished: *unfinished,
                limit: *limit,
                ..Filter::default()
            },
        };
        let meant = |job: &&Known| {
            filter.ids.as_ref().is_none_or(|ids| ids.contains(&job.id))
                && filter.kind.as_ref().is_none_or(|kind| kind == job.kind)
                && filter.partition.is_none_or(|partition| partition == job.partition)
                && filter.state.is_none_or(|state| state == job.state)
                && (job.unfinished() || !filter.unfinished)
        };
        let touched: Vec<i64> = self
            .model
            .jobs
            .values()
            .map(|entry| &entry.job)
            .filter(meant)
            .filter(|job| self.model.arrow(action, job))
            .map(|job| job.id)
            .take(filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(0)))
            .collect();
        let pool = &self.pool;
        let (name, answer) = match action {
            Action::Release => ("release", release(pool, &filter).await),
            Action::Retry => ("retry", retry(pool, &filter).await),
            Action::Cancel => ("cancel", cancel(pool, &filter).await),
            Action::Pause => ("pause", pause(pool, &filter).await),
            Action::Resume => ("resume", resume(pool, &filter).await),
            Action::Reprioritise(priority) => ("reprioritise", reprioritise(pool, &filter, priority).await),
            Action::Relocate(partition) => ("relocate", relocate(pool, &filter, partition).await),
        };
        if let Action::Reprioritise(wrong @ 5..) = action {
            prop_assert!(matches!(answer, Err(Error::Priority { priority, .. }) if priority == wrong), "{:?}", answer);
            return Ok(());
        }
        if let Action::Relocate(partition) = action {
            self.model.partitions.entry(partition).or_default();
        }
        match answer {
            Ok(count) => prop_assert!(
                usize::try_from(count) == Ok(touched.len()) && (count > 0 || filter.ids.is_none()),
                "touched {}, not {:?}",
                count,
                touched
            ),
            Err(Error::NoJob { job }) => prop_assert!(filter.ids == Some(vec![job]) && !self.model.jobs.contains_key(&job)),
            Err(Error::Arrow { job, state, action }) => {
                prop_assert!(filter.ids == Some(vec![job]) && action == name && touched.is_empty(), "refused: {}", action);
                prop_assert_eq!(self.model.jobs.get(&job).map(|entry| entry.job.state), Some(state));
            }
            Err(error) => return Err(error.into()),
        }
        let here = self.model.running_here();
        for id in touched {
            self.model.draw(action, id);
            self.last = id;
            if matches!(action, Action::Cancel) && here.contains(&id) {
                let told = self.desk.lock().unwrap().get(&id).map(|(job, _)| job.cancel.clone()).unwrap_or_default();
                let heard = timeout(PATIENCE, told.cancelled()).await;
                prop_assert!(heard.is_ok(), "job {} was not told of its cancellation", id);
            }
        }
        Ok(())
    }

    async fn kill(&mut self) {
        if let Some(live) = self.live.take() {
            live.kill().await;
        }
        self.desk.lock().unwrap().clear();
        self.model.alive = None;
    }

    async fn start(&mut self, expired: bool, holder: bool, slots: usize) -> Result<(), TestCaseError> {
        self.kill().await;
        if expired {
            sqlx::query("update worker set lease_until = now() - interval '1 second' where state <> 'gone'")
                .execute(&self.pool)
                .await?;
            // nobody has taken the jobs yet, and their claims are worth nothing any more
            if let Some((_, token)) = self.model.running().find_map(|entry| entry.held) {
                let mut tx = self.pool.begin().await?;
                for answer in [fence(&mut tx, token).await, finish(&mut tx, token).await] {
                    prop_assert!(matches!(answer, Err(Error::Stale { .. })), "{:?} after the lease", answer);
                }
                tx.rollback().await?;
            }
        }
        self.model.workers += 1;
        let config = WorkerConfig {
            concurrency: slots,
            per_partition: PER_PARTITION,
            lease: HOUR,
            heartbeat: HOUR / 3,
            grace: HOUR,
            retention: None,
            holder: holder.then(|| HOLDER.to_owned()),
            ..WorkerConfig::new(format!("worker {}", self.model.workers))
        };
        let mut worker = Worker::new(self.pool.clone(), config).uses("call", &["calls"]);
        for (kind, policy) in KINDS.into_iter().zip(POLICIES) {
            let desk = self.desk.clone();
            worker = worker.register(kind, policy, move |job: Job| {
                let desk = desk.clone();
                async move {
                    let (answer, answered) = oneshot::channel();
                    desk.lock().unwrap().insert(job.id, (job, answer));
                    match answered.await {
                        Ok(outcome) => outcome,
                        Err(_) => std::future::pending().await,
                    }
                }
            });
        }
        self.live = Some(Live::start(worker));
        eventually(&self.pool, "select coalesce(max(id), 0) > $1 from worker", self.row).await?;
        self.row = sqlx::query_scalar("select max(id) from worker").fetch_one(&self.pool).await?;
        if expired {
            eventually(
                &self.pool,
                "select count(*) = 0 from worker where state <> 'gone' and lease_until < now() and id <> $1",
                self.row,
            )
            .await?;
            self.model.reap();
        }
        self.model.alive = Some(Alive { worker: self.model.workers, slots, holder });
        Ok(())
    }

    async fn remove(&mut self, kept: i64, limit: i64) -> Result<(), TestCaseError> {
        let rows = list(&self.pool, Filter { limit: Some(i64::MAX), ..Filter::default() }).await?;
        let old = |job: &Known| matches!(job.state, State::Done | State::Cancelled) && job.ended.is_some_and(|at| at <= -kept);
        let mut ended: Vec<_> =
            rows.iter().filter(|row| old(&self.model.jobs[&row.id].job)).map(|row| (row.finished_at, row.id)).collect();
        ended.sort_unstable();
        ended.truncate(usize::try_from(limit).unwrap_or(0));
        let removed = remove_finished(&self.pool, HOUR * u32::try_from(kept).unwrap_or(0), limit).await?;
        prop_assert_eq!(usize::try_from(removed), Ok(ended.len()));
        for (_, id) in ended {
            self.model.jobs.remove(&id);
            self.model.ends.retain(|(job, ..)| *job != id);
        }
        Ok(())
    }

    /// A worker with a free slot makes available what has become due; one without waits until it has one.
    async fn promote(&mut self) -> Result<(), TestCaseError> {
        let due = |job: &Known| job.state == State::Scheduled && job.at <= 0;
        if self.model.free_slots() == 0 || !self.model.jobs.values().any(|entry| due(&entry.job)) {
            return Ok(());
        }
        wake(&self.pool).await?;
        eventually(&self.pool, "select count(*) = $1 from job where state = 'scheduled' and run_at <= now()", 0).await?;
        self.model
            .jobs
            .values_mut()
            .map(|entry| &mut entry.job)
            .filter(|job| due(job))
            .for_each(|job| job.state = State::Available);
        Ok(())
    }

    async fn compare(&mut self) -> Result<(), TestCaseError> {
        let mut rows = list(&self.pool, Filter { limit: Some(i64::MAX), ..Filter::default() }).await?;
        rows.reverse();
        let mut scanned: BTreeMap<(String, String), i64> = BTreeMap::new();
        for row in &rows {
            *scanned.entry((row.kind.clone(), row.state.to_string())).or_default() += 1;
            prop_assert_eq!(row.node.is_some(), row.state == State::Running);
        }
        let rows: Vec<Known> = rows.iter().map(Known::from_row).collect();
        let known: Vec<&Known> = self.model.jobs.values().map(|entry| &entry.job).collect();
        prop_assert_eq!(rows.len(), known.len());
        for (row, known) in rows.iter().zip(known) {
            prop_assert_eq!(row, known);
        }
        let counted: BTreeMap<(String, String), i64> =
            counts(&self.pool).await?.into_iter().map(|(kind, state, n)| ((kind, state.to_string()), n)).collect();
        prop_assert_eq!(counted, scanned);
        let starts: Vec<(i64, i32, String)> =
            sqlx::query_as("select job, attempt, outcome from job_attempt order by job, attempt").fetch_all(&self.pool).await?;
        let expected: Vec<(i64, i32, String)> = self
            .model
            .jobs
            .iter()
            .flat_map(|(id, entry)| entry.starts.iter().map(|(attempt, outcome)| (*id, *attempt, outcome.clone())))
            .collect();
        prop_assert_eq!(starts, expected);
        self.ended =
            sqlx::query_as("select job, state, outcome from job_finished order by job, finished_at").fetch_all(&self.pool).await?;
        let (mut ended, mut expected) = (self.ended.clone(), self.model.ends.clone());
        ended.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(ended, expected);
        Ok(())
    }

    async fn play_all(&mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        self.start(false, false, 4).await?;
        for step in steps {
            self.play(step).await?;
            self.promote().await?;
            self.compare().await?;
        }
        for (id, entry) in &self.model.jobs {
            let starts: Vec<_> = attempts(&self.pool, *id).await?.into_iter().map(|start| (start.attempt, start.outcome)).collect();
            let ended = entry.starts.iter().map(|(attempt, outcome)| (*attempt, Some(outcome.clone())));
            let expected: Vec<_> = ended.chain(entry.held.map(|_| (entry.job.attempt, None))).collect();
            prop_assert_eq!(starts, expected);
        }
        Ok(())
    }
}

async fn plays(pool: &PgPool, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut stage = Stage::new(pool).await;
    let outcome = stage.play_all(steps).await;
    stage.kill().await;
    outcome
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn the_queue_agrees_with_a_model_of_it(pool: PgPool) {
    // a worker that starts claims nothing before it is let
    sqlx::query("alter table worker alter state set default 'draining'").execute(&pool).await.unwrap();
    // no server crashes here: no commit need wait for the disk
    let options = (*pool.connect_options()).clone().options([("synchronous_commit", "off")]);
    let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await.unwrap();
    let mut runner = TestRunner::new(ProptestConfig::default());
    let strategy = steps();
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let begun = now();
    for case in 0..asked.unwrap_or(CASES) {
        if asked.is_none() && begun.elapsed() > LONGEST {
            eprintln!("{case} cases of {CASES}: {LONGEST:?} are over");
            break;
        }
        let mut tree = strategy.new_tree(&mut runner).expect("a case");
        let Err(mut failure) = plays(&pool, &tree.current()).await else { continue };
        let mut smallest = tree.current();
        // proptest drives no async tests: shrink here, for as long as somebody would wait
        let deadline = now() + Duration::from_secs(60);
        let mut goes_on = tree.simplify();
        while goes_on && now() < deadline {
            match plays(&pool, &tree.current()).await {
                Err(smaller) => {
                    (failure, smallest) = (smaller, tree.current());
                    goes_on = tree.simplify();
                }
                Ok(()) => goes_on = tree.complicate(),
            }
        }
        panic!("{failure} after {smallest:#?}");
    }
    pool.close().await;
}

/// Ends `count` jobs under the statistics of a table with one row: the plan of a table that was analysed when it was all
/// but empty, and filled since.
async fn end_after_analysis(pool: &PgPool, count: usize) {
    let all: Vec<NewJob> = (0..count).map(|_| crate::job("work")).collect();
    for jobs in [&all[..1], &all[1..]] {
        let ids: Vec<i64> = crate::add_all(pool, jobs).await.iter().map(|answer| answer.id()).collect();
        cancel(pool, &Filter::ids(ids)).await.unwrap();
        if jobs.len() == 1 {
            sqlx::raw_sql("vacuum analyze job, job_finished").execute(pool).await.unwrap();
        }
    }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn no_more_ends_are_taken_than_were_asked_for(pool: PgPool) {
    end_after_analysis(&pool, 20).await;
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(take_finished(&mut conn, 2).await.unwrap().len(), 2);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn no_more_jobs_are_removed_than_were_asked_for(pool: PgPool) {
    end_after_analysis(&pool, 20).await;
    assert_eq!(remove_finished(&pool, Duration::ZERO, 2).await.unwrap(), 2);
}
