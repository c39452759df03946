//! What the operator can do.

use std::time::Duration;

use sqlx::PgPool;
use telekeep_queue::{
    Action, Filter, Job, Outcome, State, Worker, act_alone_within, act_within, attempts, cancel, counts, hand_over, list, pause,
    pause_kind, progress, refusal, release, relocate, remove_finished, reprioritise, resume, resume_kind, retry, workers,
};
use tokio::time::sleep;

use crate::*;

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn cancel_ends_a_waiting_job(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    assert_eq!(cancel(&pool, &Filter::ids([id, 404])).await.unwrap(), 1);
    assert!(matches!(cancel(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    assert_eq!(row(&pool, id).await.state, State::Cancelled);
    assert_eq!(ends(&pool).await, [(id, State::Cancelled, "cancelled".to_owned())]);
    assert_eq!(retry(&pool, &Filter::one(id)).await.unwrap(), 1);
    assert_eq!(row(&pool, id).await.state, State::Available);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn an_action_goes_with_the_callers_transaction_and_leaves_what_others_have_locked(pool: PgPool) {
    let (free, locked) = (add(&pool, job("work")).await, add(&pool, job("work")).await);
    let mut other = pool.begin().await.unwrap();
    sqlx::query("select id from job where id = $1 for update").bind(locked).execute(&mut *other).await.unwrap();
    let both = Filter::ids([free, locked, 404]);
    let mut tx = pool.begin().await.unwrap();
    let struck = act_within(&mut tx, &both, Action::Cancel).await.unwrap();
    assert_eq!((struck.touched, &struck.locked[..]), (1, &[locked][..]));
    tx.rollback().await.unwrap();
    assert_eq!(row(&pool, free).await.state, State::Available, "taken back with the rest");
    counts_are_right(&pool).await;
    let mut tx = pool.begin().await.unwrap();
    let struck = act_within(&mut tx, &both, Action::Cancel).await.unwrap();
    tx.commit().await.unwrap();
    struck.wake.fire(&pool).await;
    other.commit().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let alone = act_alone_within(&mut tx, locked, Action::Cancel).await.unwrap();
    let again = act_alone_within(&mut tx, free, Action::Cancel).await.unwrap();
    assert_eq!((alone.touched, again.touched), (1, 0));
    tx.commit().await.unwrap();
    alone.wake.fire(&pool).await;
    assert_eq!(ends(&pool).await.len(), 2);
    counts_are_right(&pool).await;
    assert!(matches!(refusal(&pool, free, Action::Cancel).await, Error::Arrow { action: "cancel", .. }));
    assert!(matches!(refusal(&pool, 404, Action::Cancel).await, Error::NoJob { job: 404 }));
    let mut conn = pool.acquire().await.unwrap();
    assert!(matches!(act_within(&mut conn, &both, Action::Priority(9)).await, Err(Error::Priority { .. })));
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_key_that_is_taken_meanwhile_leaves_the_callers_transaction_usable(pool: PgPool) {
    let old = add(&pool, job("work").unique_key("k")).await;
    assert_eq!(cancel(&pool, &Filter::one(old)).await.unwrap(), 1);
    let mut other = pool.begin().await.unwrap();
    let (_, _wake) = enqueue(&mut other, &[job("work").unique_key("k")]).await.unwrap();
    let acting = async {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("create temporary table noted (n int) on commit drop").execute(&mut *tx).await.unwrap();
        let struck = act_within(&mut tx, &Filter::one(old), Action::Retry).await.unwrap();
        sqlx::query("insert into noted values (1)").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        struck.touched
    };
    let committing = async {
        const WAITS: &str =
            "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
        for _ in 0..500 {
            if sqlx::query_scalar(WAITS).fetch_one(&pool).await.unwrap() {
                return other.commit().await.unwrap();
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("nothing waits for the key");
    };
    let (touched, ()) = tokio::join!(acting, committing);
    assert_eq!(touched, 0);
    assert_eq!(row(&pool, old).await.state, State::Cancelled);
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn cancel_tells_a_running_job(pool: PgPool) {
    let slow = WorkerConfig { lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10), ..config("slow") };
    let live = Live::start(
        Worker::new(pool.clone(), slow)
            .register("obeys", QUICK, |job| async move {
                job.cancel.cancelled().await;
                assert!(job.slice_is_over());
                Outcome::MoreToDo
            })
            .register("deaf", QUICK, |_| async {
                sleep(Duration::from_secs(60)).await;
                Outcome::Done
            }),
    );
    let (obeys, deaf) = (add(&pool, job("obeys")).await, add(&pool, job("deaf")).await);
    until_state(&pool, obeys, State::Running).await;
    until_state(&pool, deaf, State::Running).await;
    assert_eq!(cancel(&pool, &Filter::ids([obeys, deaf])).await.unwrap(), 2);
    let first = until_state(&pool, obeys, State::Cancelled).await;
    assert_eq!(first.failure, 0);
    until_state(&pool, deaf, State::Cancelled).await;
    live.stop().await;
    assert_eq!(ends(&pool).await.len(), 2);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn retry_starts_a_dead_job_over_but_never_beside_a_newer_one(pool: PgPool) {
    let live = Live::start(Worker::new(pool.clone(), config("fails")).register("work", QUICK, |job| async move {
        if job.failure == 0 && job.attempt > 3 { Outcome::Done } else { Outcome::Retry { error: "no".into() } }
    }));
    let id = add(&pool, job("work").unique_key("k")).await;
    until_state(&pool, id, State::Dead).await;
    assert!(matches!(release(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    assert_eq!(retry(&pool, &Filter::one(id)).await.unwrap(), 1);
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.attempt, done.failure), (4, 0));
    assert!(matches!(retry(&pool, &Filter::one(id)).await, Err(Error::Arrow { .. })));
    let dead = add(&pool, job("work").unique_key("k")).await;
    until_state(&pool, dead, State::Dead).await;
    live.stop().await;
    let newer = add(&pool, job("work").unique_key("k")).await;
    assert_ne!(newer, dead);
    assert!(matches!(retry(&pool, &Filter::one(dead)).await, Err(Error::Arrow { .. })));
    assert_eq!(row(&pool, dead).await.state, State::Dead);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn progress_counts_lists_and_workers_are_shown(pool: PgPool) {
    let inner = pool.clone();
    let live = Live::start(Worker::new(pool.clone(), config("shown")).register("work", QUICK, move |job| {
        let pool = inner.clone();
        async move {
            let mut conn = pool.acquire().await.unwrap();
            progress(&mut conn, job.token, 3, Some(10), Some("pages")).await.unwrap();
            Outcome::Done
        }
    }));
    let id = add(&pool, job("work")).await;
    add(&pool, job("unknown kind")).await;
    let done = until_state(&pool, id, State::Done).await;
    assert_eq!((done.progress_done, done.progress_total), (Some(3), Some(10)));
    assert_eq!(
        counts(&pool).await.unwrap(),
        [("unknown kind".to_owned(), State::Available, 1), ("work".to_owned(), State::Done, 1)]
    );
    let filter = Filter { state: Some(State::Done), ..Filter::default() };
    let listed = list(&pool, filter).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(serde_json::to_value(&listed[0]).unwrap()["state"], "done");
    let shown = workers(&pool).await.unwrap();
    assert_eq!((shown[0].name.as_str(), shown[0].state.as_str()), ("shown", "live"));
    assert!(shown[0].lease_remaining_seconds > 0.0);
    live.stop().await;
    assert_eq!(workers(&pool).await.unwrap()[0].state, "gone");
    assert_eq!(attempts(&pool, id).await.unwrap().len(), 1);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn what_ended_long_ago_is_removed_and_what_waits_stays(pool: PgPool) {
    let live = Live::start(Worker::new(pool.clone(), config("done")).register("work", QUICK, |_| async { Outcome::Done }));
    let (id, waiting) = (add(&pool, job("work")).await, add(&pool, job("other")).await);
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    assert_eq!(remove_finished(&pool, Duration::from_secs(60), 10).await.unwrap(), 0);
    assert_eq!(remove_finished(&pool, Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(ends(&pool).await, []);
    counts_are_right(&pool).await;
    assert_eq!(row(&pool, waiting).await.state, State::Available);
    assert!(workers(&pool).await.unwrap().is_empty());
}

fn of_kind(kind: &str) -> Filter {
    Filter { kind: Some(kind.into()), ..Filter::default() }
}

fn in_state(state: State) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

/// Ids of what matches, oldest first.
async fn matching(pool: &PgPool, filter: Filter) -> Vec<i64> {
    let mut ids: Vec<i64> = list(pool, filter).await.unwrap().iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn an_action_touches_what_its_filter_means_and_answers_how_many(pool: PgPool) {
    let later = utc_now() + Duration::from_secs(3600);
    let jobs = [
        job("a").partition(1).trigger("tick"),
        job("a").partition(2).trigger("tick").step(7, "first"),
        job("a").partition(2).parent(99).step(7, "second"),
        job("b").partition(1).parent(99),
        job("b").partition(1).trigger("tock").step(8, "first"),
        job("b").run_at(later),
    ];
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    let all = Filter::default;
    let table: [(Filter, &[usize]); 13] = [
        (all(), &[0, 1, 2, 3, 4, 5]),
        (of_kind("a"), &[0, 1, 2]),
        (of_kind("c"), &[]),
        (Filter { partition: Some(1), ..all() }, &[0, 3, 4]),
        (Filter { partition: Some(0), ..all() }, &[5]),
        (Filter { run: Some(7), ..all() }, &[1, 2]),
        (Filter { parent: Some(99), ..all() }, &[2, 3]),
        (Filter { trigger: Some("tick".into()), ..all() }, &[0, 1]),
        (in_state(State::Scheduled), &[5]),
        (Filter { limit: Some(4), ..all() }, &[0, 1, 2, 3]),
        (Filter { limit: Some(0), ..all() }, &[]),
        (Filter { partition: Some(1), limit: Some(1), ..of_kind("b") }, &[3]),
        (Filter::ids([ids[5], ids[0], 404]), &[0, 5]),
    ];
    for (filter, places) in table {
        let meant: Vec<i64> = places.iter().map(|&place| ids[place]).collect();
        assert_eq!(reprioritise(&pool, &all(), 3).await.unwrap(), 6);
        assert_eq!(reprioritise(&pool, &filter, 1).await.unwrap(), meant.len() as u64, "{filter:?}");
        let mut urgent: Vec<_> =
            list(&pool, all()).await.unwrap().into_iter().filter(|row| row.priority == 1).map(|row| row.id).collect();
        urgent.sort_unstable();
        assert_eq!(urgent, meant, "{filter:?}");
        if filter.limit.is_none() {
            assert_eq!(matching(&pool, filter.clone()).await, meant, "{filter:?}");
        }
    }
    let newest = matching(&pool, Filter { limit: Some(2), ..all() }).await;
    assert_eq!(newest, ids[4..], "a list begins with the newest");
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn each_action_works_on_many_and_skips_those_it_cannot_move(pool: PgPool) {
    let jobs: Vec<_> = (0..6).map(|n| job(if n < 4 { "a" } else { "b" }).partition(n)).collect();
    let ids: Vec<i64> = add_all(&pool, &jobs).await.iter().map(Enqueued::id).collect();
    let all = Filter::default();
    let unfinished = Filter { unfinished: true, ..Filter::default() };
    assert_eq!(pause(&pool, &Filter { limit: Some(3), ..of_kind("a") }).await.unwrap(), 3);
    assert_eq!(pause(&pool, &all).await.unwrap(), 3, "three are held already");
    assert_eq!(pause(&pool, &all).await.unwrap(), 0);
    assert_eq!(resume(&pool, &of_kind("b")).await.unwrap(), 2);
    assert_eq!(release(&pool, &Filter { limit: Some(1), ..all.clone() }).await.unwrap(), 1);
    assert_eq!(matching(&pool, in_state(State::Held)).await, ids[1..4]);
    assert_eq!(cancel(&pool, &Filter { partition: Some(3), ..Filter::default() }).await.unwrap(), 1);
    assert_eq!(matching(&pool, unfinished.clone()).await.len(), 5, "what is held has not ended");
    assert_eq!(relocate(&pool, &all, 50).await.unwrap(), 5, "the cancelled one stays where it is");
    assert_eq!(matching(&pool, Filter { partition: Some(50), ..Filter::default() }).await.len(), 5);
    assert_eq!(reprioritise(&pool, &all, 4).await.unwrap(), 5);
    assert_eq!(cancel(&pool, &unfinished).await.unwrap(), 5);
    assert_eq!(cancel(&pool, &unfinished).await.unwrap(), 0);
    assert_eq!(retry(&pool, &Filter { limit: Some(2), ..all.clone() }).await.unwrap(), 2);
    assert_eq!(retry(&pool, &all).await.unwrap(), 4);
    assert_eq!(matching(&pool, in_state(State::Available)).await, ids);
    assert_eq!(ends(&pool).await.len(), 6);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn retrying_all_of_one_key_brings_back_the_newest_only(pool: PgPool) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = add(&pool, job("work").unique_key("k")).await;
        cancel(&pool, &Filter::one(id)).await.unwrap();
        ids.push(id);
    }
    assert_eq!(retry(&pool, &Filter::default()).await.unwrap(), 1);
    assert_eq!(matching(&pool, in_state(State::Available)).await, ids[2..]);
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_relocated_job_is_bound_by_its_new_partition(pool: PgPool) {
    let (stays, moves) = (add(&pool, job("work").partition(1)).await, add(&pool, job("work").partition(1)).await);
    sqlx::query("update partition set paused = true").execute(&pool).await.unwrap();
    let live = Live::start(Worker::new(pool.clone(), config("moves")).register("work", QUICK, |_| async { Outcome::Done }));
    assert_eq!(relocate(&pool, &Filter::one(moves), 2).await.unwrap(), 1);
    assert_eq!(until_state(&pool, moves, State::Done).await.partition, 2);
    assert_eq!(row(&pool, stays).await.attempt, 0);
    live.stop().await;
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_job_that_is_handed_over_leaves_the_waits_of_its_partition_behind(pool: PgPool) {
    let later = utc_now() + Duration::from_secs(3600);
    let rests = add(&pool, job("work")).await;
    let snoozes = |_| async { Outcome::Snooze { until: Duration::from_secs(3600), reason: "the partition rests".into() } };
    let live = Live::start(Worker::new(pool.clone(), config("rests")).register("work", QUICK, snoozes));
    assert!(until_state(&pool, rests, State::Scheduled).await.not_before.is_some());
    live.stop().await;
    let (planned, held) = (add(&pool, job("work").run_at(later)).await, add(&pool, job("work")).await);
    assert_eq!(pause(&pool, &Filter::one(held)).await.unwrap(), 1);
    assert_eq!(hand_over(&pool, &Filter::default(), 9).await.unwrap(), 3);
    let now = row(&pool, rests).await;
    assert_eq!((now.partition, now.state, now.not_before), (9, State::Available, None));
    assert!(now.run_at < later);
    let now = row(&pool, planned).await;
    assert_eq!((now.partition, now.state), (9, State::Scheduled));
    assert!((now.run_at - later).abs() < chrono::TimeDelta::seconds(1), "a plan is no wait of the partition");
    let now = row(&pool, held).await;
    assert_eq!((now.partition, now.state), (9, State::Held));
    counts_are_right(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn the_counts_are_what_a_scan_finds_after_each_operation(pool: PgPool) {
    let all = Filter::default();
    let later = utc_now() + Duration::from_secs(3600);
    let mut jobs = vec![job("work"); 250];
    jobs.extend((0..10).map(|n| job("keyed").unique_key(n.to_string()).run_at(later)));
    add_all(&pool, &jobs).await;
    counts_are_right(&pool).await;
    add_all(&pool, &jobs).await;
    counts_are_right(&pool).await;
    let sooner: Vec<_> =
        (0..5).map(|n| job("keyed").unique_key(n.to_string()).on_conflict(telekeep_queue::Conflict::Earlier)).collect();
    add_all(&pool, &sooner).await;
    counts_are_right(&pool).await;
    let some = |limit| Filter { limit: Some(limit), ..Filter::default() };
    pause(&pool, &some(40)).await.unwrap();
    counts_are_right(&pool).await;
    resume(&pool, &some(10)).await.unwrap();
    release(&pool, &some(10)).await.unwrap();
    counts_are_right(&pool).await;
    cancel(&pool, &some(30)).await.unwrap();
    counts_are_right(&pool).await;
    retry(&pool, &some(15)).await.unwrap();
    counts_are_right(&pool).await;
    pause_kind(&pool, "keyed").await.unwrap();
    let live = Live::start(
        Worker::new(pool.clone(), WorkerConfig { concurrency: 32, ..config("sorts") })
            .register("keyed", QUICK, |_| async { Outcome::Done })
            .register("work", QUICK, |job: Job| async move {
                match job.id % 5 {
                    0 => Outcome::Hold { error: "stuck".into(), hint: "push".into() },
                    1 => Outcome::Discard { reason: "gone".into() },
                    2 if job.attempt < 2 => Outcome::MoreToDo,
                    3 => Outcome::Retry { error: "no luck".into() },
                    _ => Outcome::Done,
                }
            }),
    );
    let deadline = now() + Duration::from_secs(20);
    let moving = Filter { kind: Some("work".into()), unfinished: true, ..Filter::default() };
    loop {
        // one statement each, so that what the worker does in between cannot be seen as a difference
        let wrong: i64 = sqlx::query_scalar(
            "select count(*) from (select kind, state, count(*) as n from job group by 1, 2) s
             full join (select kind, state, sum(n) as n from (table job_count union all table job_delta) c
                        group by 1, 2 having sum(n) <> 0) c using (kind, state)
             where s.n is distinct from c.n",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(wrong, 0);
        if list(&pool, moving.clone()).await.unwrap().iter().all(|row| row.state == State::Held) {
            break;
        }
        assert!(now() < deadline, "{:?}", counts(&pool).await.unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    live.stop().await;
    at_rest(&pool).await;
    resume_kind(&pool, "keyed").await.unwrap();
    remove_finished(&pool, Duration::ZERO, 100).await.unwrap();
    counts_are_right(&pool).await;
    cancel(&pool, &all).await.unwrap();
    remove_finished(&pool, Duration::ZERO, 1000).await.unwrap();
    counts_are_right(&pool).await;
    assert!(counts(&pool).await.unwrap().iter().all(|(_, state, _)| *state == State::Dead), "dead jobs stay");
}

/// A worker whose jobs store 30 more than at their last start, then wait for their token.
fn progressing(pool: &PgPool) -> Live {
    let inner = pool.clone();
    Live::start(Worker::new(pool.clone(), config("far")).register("work", QUICK, move |job: Job| {
        let pool = inner.clone();
        async move {
            let mut conn = pool.acquire().await.unwrap();
            sleep(Duration::from_millis(100)).await;
            let done = 30 * i64::from(job.attempt);
            progress(&mut conn, job.token, done, Some(90), Some("pages")).await.unwrap();
            drop(conn);
            job.cancel.cancelled().await;
            if job.attempt == 1 { Outcome::Done } else { Outcome::MoreToDo }
        }
    }))
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn the_rate_is_measured_from_the_present_start_and_gives_what_remains(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    assert_eq!(row(&pool, id).await.progress_per_second, None);
    let check = |row: &JobRow, left: f64| {
        let (rate, remaining) = (row.progress_per_second.unwrap(), row.remaining_seconds.unwrap());
        assert!(rate > 0.0 && rate <= 300.0, "30 in at least 0.1 s: {rate}");
        assert!((remaining - left / rate).abs() < 1e-6, "{remaining} s at {rate} a second");
        assert_eq!(row.progress_note.as_deref(), Some("pages"));
    };
    let live = progressing(&pool);
    check(&until(&pool, id, |row| row.progress_done == Some(30)).await, 60.0);
    live.kill().await;
    sqlx::query("update worker set lease_until = now() - interval '1 second'").execute(&pool).await.unwrap();
    let live = progressing(&pool);
    let fresh = until(&pool, id, |row| row.state == State::Running && row.attempt == 2).await;
    // unless this look came so late that the start had stored its own
    if fresh.progress_done == Some(30) {
        assert_eq!((fresh.progress_per_second, fresh.remaining_seconds), (None, None), "nothing done in this start yet");
    }
    check(&until(&pool, id, |row| row.progress_done == Some(60)).await, 30.0);
    live.stop().await;
    let rests = row(&pool, id).await;
    assert_eq!((rests.state, rests.progress_done, rests.progress_per_second), (State::Available, Some(60), None));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_running_start_is_among_the_attempts_and_named_in_the_row(pool: PgPool) {
    let id = add(&pool, job("work")).await;
    assert!(attempts(&pool, id).await.unwrap().is_empty());
    let live = Live::start(Worker::new(pool.clone(), config("seen")).register("work", QUICK, |job: Job| async move {
        if job.attempt == 1 {
            return Outcome::Retry { error: "no luck".into() };
        }
        job.cancel.cancelled().await;
        Outcome::Done
    }));
    let running = until(&pool, id, |row| row.state == State::Running && row.attempt == 2).await;
    assert!(running.node.unwrap().starts_with("seen@"));
    let log = attempts(&pool, id).await.unwrap();
    let seen: Vec<_> = log.iter().map(|start| (start.attempt, start.outcome.as_deref(), start.finished_at.is_some())).collect();
    assert_eq!(seen, [(1, Some("retry"), true), (2, None, false)]);
    assert_eq!((log[0].error.as_deref(), log[1].error.as_deref()), (Some("no luck"), None));
    assert_eq!((log[0].node.as_str(), Some(log[1].started_at)), (log[1].node.as_str(), running.started_at));
    cancel(&pool, &Filter::one(id)).await.unwrap();
    until_state(&pool, id, State::Done).await;
    live.stop().await;
    let log = attempts(&pool, id).await.unwrap();
    assert_eq!((log.len(), log[1].outcome.as_deref()), (2, Some("done")));
    assert_eq!(row(&pool, id).await.node, None);
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_draining_worker_shows_it_and_claims_nothing_more(pool: PgPool) {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let inner = gate.clone();
    let patient = WorkerConfig { grace: Duration::from_secs(20), ..config("drains") };
    let live = Live::start(Worker::new(pool.clone(), patient).register("work", QUICK, move |_| {
        let gate = inner.clone();
        async move {
            gate.notified().await;
            Outcome::Done
        }
    }));
    let running = add(&pool, job("work")).await;
    until_state(&pool, running, State::Running).await;
    live.shutdown.cancel();
    let deadline = now() + Duration::from_secs(10);
    while workers(&pool).await.unwrap()[0].state != "draining" {
        assert!(now() < deadline, "{:?}", workers(&pool).await.unwrap());
        sleep(Duration::from_millis(10)).await;
    }
    let shown = workers(&pool).await.unwrap().remove(0);
    assert!(!shown.is_live() && shown.running == 1, "{shown:?}");
    let late = add(&pool, job("work")).await;
    // longer than its lease: it beats on while it drains
    sleep(Duration::from_millis(1500)).await;
    let asked = now();
    gate.notify_one();
    live.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "it ends with its last job, not with the grace");
    assert_eq!((row(&pool, running).await.state, row(&pool, running).await.attempt), (State::Done, 1));
    assert_eq!((row(&pool, late).await.state, row(&pool, late).await.attempt), (State::Available, 0));
    at_rest(&pool).await;
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_key_taken_while_many_are_retried_leaves_only_its_own_job_behind(pool: PgPool) {
    let ids: Vec<i64> = add_all(&pool, &[job("work").unique_key("k"), job("work")]).await.iter().map(Enqueued::id).collect();
    cancel(&pool, &Filter::default()).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let (_, wake) = telekeep_queue::enqueue(&mut tx, &[job("work").unique_key("k")]).await.unwrap();
    let inner = pool.clone();
    let retried = tokio::spawn(async move { retry(&inner, &Filter::default()).await });
    sleep(Duration::from_millis(500)).await;
    tx.commit().await.unwrap();
    wake.fire(&pool).await;
    assert_eq!(retried.await.unwrap().unwrap(), 1);
    assert_eq!((row(&pool, ids[0]).await.state, row(&pool, ids[1]).await.state), (State::Cancelled, State::Available));
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn cancelling_all_fails_no_job_that_is_writing(pool: PgPool) {
    pause_kind(&pool, "child").await.unwrap();
    let child = add(&pool, job("child").unique_key("k")).await;
    let inner = pool.clone();
    let live =
        Live::start(Worker::new(pool.clone(), config("writes")).register("child", QUICK, |_| async { Outcome::Done }).register(
            "work",
            QUICK,
            move |job: Job| {
                let pool = inner.clone();
                async move {
                    let mut tx = pool.begin().await.unwrap();
                    telekeep_queue::fence(&mut tx, job.token).await.unwrap();
                    sleep(Duration::from_millis(500)).await;
                    let child = NewJob::new("child", serde_json::json!({})).unique_key("k");
                    let (_, wake) = telekeep_queue::enqueue(&mut tx, &[child]).await.unwrap();
                    tx.commit().await.unwrap();
                    wake.fire(&pool).await;
                    Outcome::Done
                }
            },
        ));
    let id = add(&pool, job("work")).await;
    until_state(&pool, id, State::Running).await;
    sleep(Duration::from_millis(100)).await;
    let cancelled = cancel(&pool, &Filter::default()).await;
    let ended = until(&pool, id, |row| row.state != State::Running).await;
    live.kill().await;
    assert_eq!((cancelled.unwrap(), ended.failure), (2, 0), "{:?}", ended.error);
    assert_eq!(row(&pool, child).await.state, State::Cancelled);
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn an_end_that_a_workflow_run_waits_for_is_not_removed_before_it_is_taken(pool: PgPool) {
    let id = add(&pool, job("work").step(7, "history")).await;
    cancel(&pool, &Filter::one(id)).await.unwrap();
    assert_eq!(remove_finished(&pool, Duration::ZERO, 10).await.unwrap(), 0);
    assert_eq!(ends(&pool).await.len(), 1);
    assert_eq!(remove_finished(&pool, Duration::ZERO, 10).await.unwrap(), 1);
}
