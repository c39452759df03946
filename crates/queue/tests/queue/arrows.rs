//! One test an arrow of the state diagram.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{
    Job, Outcome, Policy, State, Worker, attempts, cancel, pause, release, relocate, reprioritise, resume, retry,
};
use tokio::time::sleep;

use crate::*;

/// A worker whose kind "work" answers from a list, the last answer for ever.
fn answering(pool: &PgPool, answers: Vec<Outcome>) -> Live {
    answering_with(pool, QUICK, answers)
}

fn answering_with(pool: &PgPool, policy: Policy, answers: Vec<Outcome>) -> Live {
    let calls = Arc::new(AtomicUsize::new(0));
    Live::start(Worker::new(pool.clone(), config("answers")).register("work", policy, move |_job: Job| {
        let call = calls.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[call].clone();
        async move { answer }
    }))
}

fn again() -> Outcome {
    Outcome::Retry { error: "no luck".into() }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn available_running_done(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    assert_eq!(row(&pool, id).await.state, State::Available);
    let live = answering(&pool, vec![Outcome::Done]);
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.attempt, done.failure, done.crash), (1, 0, 0));
    assert_eq!(done.outcome.as_deref(), Some("done"));
    live.stop().await;
    assert_eq!(ends(&pool).await, [(id, State::Done, "done".to_owned())]);
    assert_eq!(ends(&pool).await, []);
    let log = attempts(&pool, id).await.unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].outcome.as_deref(), Some("done"));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn scheduled_waits_for_its_time(pool: PgPool) {
    let live = answering(&pool, vec![Outcome::Done]);
    let id = add(&pool, job("work").run_at(utc_now() + Duration::from_millis(700))).await;
    assert_eq!(row(&pool, id).await.state, State::Scheduled);
    let done = until_state(&pool, id, State::Done).await;
    let late = done.started_at.unwrap() - done.run_at;
    assert!(late.num_milliseconds() >= 0, "started {late} before its time");
    assert!(late.num_milliseconds() < 500, "started {late} after its time");
    live.stop().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn an_idle_worker_is_woken_by_the_notification(pool: PgPool) {
    let live = answering(&pool, vec![Outcome::Done]);
    sleep(Duration::from_millis(1500)).await;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let id = add(&pool, job("work")).await;
        let done = until_state(&pool, id, State::Done).await;
        waits.push((done.started_at.unwrap() - done.created_at).num_milliseconds());
        sleep(Duration::from_millis(137)).await;
    }
    waits.sort_unstable();
    assert!(waits[2] < 300, "woken after {waits:?} ms: that was the poll");
    live.stop().await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_failure_is_retried_after_a_backoff_that_is_persisted(pool: PgPool) {
    let policy = Policy { base: Duration::from_secs(60), ..QUICK };
    let policy = Policy { cap: Duration::from_secs(600), ..policy };
    let id = add(&pool, job("work")).await;
    let live = answering_with(&pool, policy, vec![again()]);
    let waiting = until(&pool, id, |row| row.failure == 1).await;
    live.kill().await;
    assert_eq!(waiting.state, State::Scheduled);
    assert_eq!(waiting.error.as_deref(), Some("no luck"));
    let wait = (waiting.run_at - utc_now()).num_seconds();
    assert!((50..=60).contains(&wait), "{wait} s");
    // another process knows nothing but the row
    let live = answering(&pool, vec![Outcome::Done]);
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(row(&pool, id).await.attempt, 1, "started before its backoff was over");
    live.stop().await;
    assert_eq!(ends(&pool).await, []);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn the_last_failure_is_death(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let live = answering(&pool, vec![again()]);
    let dead = until_state(&pool, id, State::Dead).await;
    assert_eq!((dead.attempt, dead.failure), (3, 3));
    live.stop().await;
    let outcomes: Vec<_> = attempts(&pool, id).await.unwrap().into_iter().filter_map(|a| a.outcome).collect();
    assert_eq!(outcomes, ["retry", "retry", "dead"]);
    assert_eq!(ends(&pool).await, [(id, State::Dead, "dead".to_owned())]);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_snooze_burns_no_failure_and_is_not_shortened(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let wait = Outcome::Snooze { until: Duration::from_millis(200), reason: "flood".into() };
    let live = answering(&pool, vec![wait.clone(), wait.clone(), wait.clone(), wait, Outcome::Done]);
    let started = now();
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.attempt, done.failure, done.crash), (5, 0, 0));
    assert!(started.elapsed() >= Duration::from_millis(800));
    live.stop().await;

    let id = add(&pool, job("work")).await;
    let hour = Outcome::Snooze { until: Duration::from_secs(3600), reason: "flood".into() };
    let live = answering(&pool, vec![hour]);
    let waiting = until(&pool, id, |row| row.outcome.is_some()).await;
    live.stop().await;
    assert_eq!(waiting.state, State::Scheduled);
    assert_eq!(waiting.error.as_deref(), Some("flood"));
    telekeep_queue::cancel(&pool, &Filter::one(id)).await.unwrap();
    telekeep_queue::retry(&pool, &Filter::one(id)).await.unwrap();
    let again = row(&pool, id).await;
    assert_eq!((again.state, again.run_at), (State::Scheduled, waiting.run_at));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn more_to_do_goes_behind_its_peers_uncounted(pool: PgPool) {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let first = add(&pool, job("slices")).await;
    let second = add(&pool, job("slices")).await;
    let seen = order.clone();
    let one = WorkerConfig { concurrency: 1, ..config("one") };
    let live = Live::start(Worker::new(pool.clone(), one).register("slices", QUICK, move |job| {
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push(job.id);
            if job.attempt == 1 { Outcome::MoreToDo } else { Outcome::Done }
        }
    }));
    let done = until_state(&pool, second, State::Done).await;
    until_state(&pool, first, State::Done).await;
    live.stop().await;
    assert_eq!(*order.lock().unwrap(), [first, second, first, second]);
    assert_eq!((done.attempt, done.failure), (2, 0));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn held_waits_for_the_operator(pool: PgPool) {
    let id = add(&pool, job("work").unique_key("k")).await;
    let hold = Outcome::Hold { error: "session revoked".into(), hint: "log in again".into() };
    let live = answering(&pool, vec![hold, Outcome::Done]);
    let held = until_state(&pool, id, State::Held).await;
    assert_eq!(held.hint.as_deref(), Some("log in again"));
    assert_eq!(ends(&pool).await, []);
    assert_eq!(telekeep_queue::release(&pool, &Filter::one(id)).await.unwrap(), 1);
    until_state(&pool, id, State::Done).await;
    assert!(matches!(telekeep_queue::release(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_discarded_job_is_cancelled_with_its_reason(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    let live = answering(&pool, vec![Outcome::Discard { reason: "chat is gone".into() }]);
    let row = until_state(&pool, id, State::Cancelled).await;
    live.stop().await;
    assert_eq!((row.outcome.as_deref(), row.error.as_deref()), (Some("discarded"), Some("chat is gone")));
    assert_eq!(ends(&pool).await, [(id, State::Cancelled, "discarded".to_owned())]);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn panics_and_timeouts_are_failures(pool: PgPool) {
    let slow = Policy { timeout: Duration::from_millis(100), max_failures: 1, ..QUICK };
    let live = Live::start(
        Worker::new(pool.clone(), config("bad"))
            .register("panic", Policy { max_failures: 1, ..QUICK }, |job| async move {
                assert!(job.attempt > 99, "not today");
                Outcome::Done
            })
            .register("slow", slow, |_| async {
                sleep(Duration::from_secs(60)).await;
                Outcome::Done
            })
            .register("work", QUICK, |_| async { Outcome::Done }),
    );
    let (panics, slow) = (add(&pool, job("panic")).await, add(&pool, job("slow")).await);
    let panicked = until_state(&pool, panics, State::Dead).await;
    assert_eq!(panicked.error.as_deref(), Some("panicked: not today"));
    let slow = until_state(&pool, slow, State::Dead).await;
    assert!(slow.error.unwrap().starts_with("timed out after"));
    let id = add(&pool, job("work")).await;
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    at_rest(&pool).await;
}

const ACTIONS: [&str; 7] = ["release", "retry", "cancel", "pause", "resume", "reprioritise", "relocate"];

async fn act(pool: &PgPool, action: &str, id: i64) -> Result<u64, Error> {
    let one = Filter::one(id);
    match action {
        "release" => release(pool, &one).await,
        "retry" => retry(pool, &one).await,
        "cancel" => cancel(pool, &one).await,
        "pause" => pause(pool, &one).await,
        "resume" => resume(pool, &one).await,
        "reprioritise" => reprioritise(pool, &one, 4).await,
        "relocate" => relocate(pool, &one, 9).await,
        other => panic!("no action {other}"),
    }
}

/// A worker that brings the jobs of a kind into the state that the kind is named after.
fn sorting(pool: &PgPool) -> Live {
    let patient =
        WorkerConfig { concurrency: 64, lease: Duration::from_secs(60), grace: Duration::from_secs(60), ..config("sorts") };
    let fatal = Policy { max_failures: 1, ..QUICK };
    Live::start(
        Worker::new(pool.clone(), patient)
            .register("running", QUICK, |_| std::future::pending::<Outcome>())
            .register("done", QUICK, |_| async { Outcome::Done })
            .register("held", QUICK, |_| async { Outcome::Hold { error: "stuck".into(), hint: "push".into() } })
            .register("dead", fatal, |_| async { again() })
            .register("cancelled", QUICK, |_| async { Outcome::Discard { reason: "pointless".into() } }),
    )
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn every_action_leads_where_the_diagram_says_or_is_refused(pool: PgPool) {
    use State::{Available, Cancelled, Dead, Done, Held, Running, Scheduled};
    #[rustfmt::skip]
    let table: [(&str, State, [Option<State>; 7]); 8] = [
        //                        release          retry            cancel           pause       resume           reprioritise     relocate
        ("scheduled", Scheduled, [None,            None,            Some(Cancelled), Some(Held), None,            Some(Scheduled), Some(Scheduled)]),
        ("available", Available, [None,            None,            Some(Cancelled), Some(Held), None,            Some(Available), Some(Available)]),
        ("running",   Running,   [None,            None,            Some(Running),   None,       None,            Some(Running),   None]),
        ("done",      Done,      [None,            None,            None,            None,       None,            None,            None]),
        ("held",      Held,      [Some(Available), Some(Available), Some(Cancelled), None,       None,            Some(Held),      Some(Held)]),
        ("paused",    Held,      [Some(Available), Some(Available), Some(Cancelled), None,       Some(Available), Some(Held),      Some(Held)]),
        ("dead",      Dead,      [None,            Some(Available), None,            None,       None,            None,            None]),
        ("cancelled", Cancelled, [None,            Some(Available), None,            None,       None,            None,            None]),
    ];
    let mut jobs = Vec::new();
    for (kind, ..) in &table {
        let later = (*kind == "scheduled").then(|| utc_now() + Duration::from_secs(3600));
        jobs.extend(ACTIONS.map(|_| NewJob { run_at: later, ..job(kind) }));
    }
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    assert_eq!(pause(&pool, &Filter { kind: Some("paused".into()), ..Filter::default() }).await.unwrap(), 7);
    let live = sorting(&pool);
    for (ids, (_, state, _)) in ids.chunks(7).zip(&table) {
        for id in ids {
            until_state(&pool, *id, *state).await;
        }
    }
    // what an action makes available must stay where it can be seen
    live.kill().await;

    let before = ends(&pool).await.len();
    let mut ended = 0;
    for (ids, (kind, state, allowed)) in ids.chunks(7).zip(&table) {
        for ((id, action), allowed) in ids.iter().zip(ACTIONS).zip(allowed) {
            let answer = act(&pool, action, *id).await;
            let after = row(&pool, *id).await;
            match allowed {
                Some(to) => {
                    assert_eq!(answer.unwrap(), 1, "{action} of a {kind} job");
                    assert_eq!(after.state, *to, "{action} of a {kind} job");
                    ended += usize::from(to.is_final());
                }
                None => {
                    let error = answer.unwrap_err();
                    assert!(
                        matches!(error, Error::Arrow { job, state: from, action: asked } if (job, from, asked) == (*id, *state, action)),
                        "{action} of a {kind} job: {error}"
                    );
                    assert_eq!((after.state, after.priority, after.partition), (*state, 2, 0), "{action} of a {kind} job");
                }
            }
        }
    }
    assert_eq!(before, 21, "done, dead and cancelled leave an end each");
    assert_eq!(ends(&pool).await.len(), ended, "an end for each job that was cancelled, and for nothing else");
    counts_are_right(&pool).await;
    for action in ACTIONS {
        let error = act(&pool, action, 404_404).await.unwrap_err();
        assert!(matches!(error, Error::NoJob { job: 404_404 }), "{action}: {error}");
    }
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_running_job_that_was_cancelled_ends_as_what_it_answers_or_as_cancelled(pool: PgPool) {
    let table = [
        (Outcome::Done, State::Done, "done"),
        (again(), State::Dead, "dead"),
        (Outcome::Discard { reason: "gone".into() }, State::Cancelled, "discarded"),
        (Outcome::MoreToDo, State::Cancelled, "cancelled"),
        (Outcome::Snooze { until: Duration::from_secs(60), reason: "flood".into() }, State::Cancelled, "cancelled"),
        (Outcome::Hold { error: "stuck".into(), hint: "push".into() }, State::Cancelled, "cancelled"),
    ];
    let answers: Vec<Outcome> = table.iter().map(|(answer, ..)| answer.clone()).collect();
    let fatal = Policy { max_failures: 1, ..QUICK };
    let wide = WorkerConfig { concurrency: 8, grace: Duration::from_secs(20), ..config("obeys") };
    let obedient = move |policy| {
        let answers = answers.clone();
        move |worker: Worker, kind| {
            worker.register(kind, policy, move |job: Job| {
                let answer = answers[usize::try_from(job.payload["answer"].as_u64().unwrap()).unwrap()].clone();
                async move {
                    job.cancel.cancelled().await;
                    answer
                }
            })
        }
    };
    let worker = obedient(QUICK)(Worker::new(pool.clone(), wide), "patient");
    let live = Live::start(obedient(fatal)(worker, "fatal"));
    let mut jobs: Vec<NewJob> = (0..table.len()).map(|answer| NewJob::new("fatal", json!({"answer": answer}))).collect();
    // a failure that is not the last
    jobs.push(NewJob::new("patient", json!({"answer": 1})));
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    for id in &ids {
        until_state(&pool, *id, State::Running).await;
    }
    assert_eq!(cancel(&pool, &Filter::ids(ids.clone())).await.unwrap(), 7);
    let expected = table.iter().map(|(_, state, outcome)| (*state, *outcome)).chain([(State::Cancelled, "cancelled")]);
    for (id, (state, outcome)) in ids.iter().zip(expected) {
        let ended = until(&pool, *id, |row| row.state != State::Running).await;
        assert_eq!((ended.state, ended.outcome.as_deref(), ended.cancel_requested), (state, Some(outcome), false));
    }
    live.stop().await;
    assert_eq!(ends(&pool).await.len(), 7);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_cancelled_job_whose_worker_died_is_cancelled_and_not_run_again(pool: PgPool) {
    let live = sorting(&pool);
    let id = add(&pool, job("running")).await;
    until_state(&pool, id, State::Running).await;
    live.kill().await;
    assert_eq!(cancel(&pool, &Filter::one(id)).await.unwrap(), 1);
    assert_eq!(row(&pool, id).await.state, State::Running);
    sqlx::query("update worker set lease_until = now() - interval '1 second'").execute(&pool).await.unwrap();
    let live = sorting(&pool);
    let ended = until_state(&pool, id, State::Cancelled).await;
    live.stop().await;
    assert_eq!((ended.attempt, ended.crash, ended.outcome.as_deref()), (1, 1, Some("cancelled")));
    assert_eq!(ends(&pool).await, [(id, State::Cancelled, "cancelled".to_owned())]);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn neither_release_nor_retry_nor_resume_shortens_a_snooze(pool: PgPool) {
    let hour = Outcome::Snooze { until: Duration::from_secs(3600), reason: "flood".into() };
    let ids: Vec<i64> = add_all(&pool, &[job("work"), job("work"), job("work")]).await.iter().map(Enqueued::id).collect();
    let live = answering(&pool, vec![hour]);
    for id in &ids {
        until_state(&pool, *id, State::Scheduled).await;
    }
    live.stop().await;
    assert_eq!(pause(&pool, &Filter::default()).await.unwrap(), 3);
    for (id, action) in ids.iter().zip(["release", "retry", "resume"]) {
        let paused = row(&pool, *id).await;
        assert_eq!((paused.state, paused.outcome.as_deref()), (State::Held, Some("paused")));
        act(&pool, action, *id).await.unwrap();
        let waiting = row(&pool, *id).await;
        assert_eq!((waiting.state, Some(waiting.run_at)), (State::Scheduled, paused.not_before), "{action}");
        assert_eq!(waiting.hint, None);
    }
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn retry_forgets_failures_and_crashes_and_goes_on_counting_starts(pool: PgPool) {
    let policy = Policy { max_crashes: 0, ..QUICK };
    let id = add(&pool, job("work")).await;
    let live = Live::start(
        Worker::new(pool.clone(), config("stuck"))
            .register("work", policy, |job| async move { if job.attempt == 1 { again() } else { std::future::pending().await } }),
    );
    until(&pool, id, |row| row.state == State::Running && row.attempt == 2).await;
    live.kill().await;
    sqlx::query("update worker set lease_until = now() - interval '1 second'").execute(&pool).await.unwrap();
    let live = Live::start(Worker::new(pool.clone(), config("reaps")).register("other", QUICK, |_| async { Outcome::Done }));
    let held = until_state(&pool, id, State::Held).await;
    live.stop().await;
    assert_eq!((held.attempt, held.failure, held.crash), (2, 1, 1));
    assert_eq!(retry(&pool, &Filter::one(id)).await.unwrap(), 1);
    let again = row(&pool, id).await;
    assert_eq!((again.state, again.attempt, again.failure, again.crash), (State::Available, 2, 0, 0));
    let live = answering(&pool, vec![Outcome::Done]);
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    let numbers: Vec<i32> = attempts(&pool, id).await.unwrap().iter().map(|start| start.attempt).collect();
    assert_eq!(numbers, [1, 2, 3]);
    at_rest(&pool).await;
}
