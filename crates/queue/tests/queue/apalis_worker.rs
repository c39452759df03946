//! The backend in apalis' own hands: WorkerBuilder, Monitor, tower layers.

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{BoxDynError, Data, Monitor, WorkerBuilder};
use serde_json::Value;
use telekeep_queue::{Job, Outcome, PgBackend};

use crate::*;

async fn answer(payload: Value, job: Data<Job>) -> Result<Outcome, BoxDynError> {
    match payload["do"].as_str() {
        Some("panic") => panic!("as asked"),
        Some("sleep") => sleep(Duration::from_secs(60)).await,
        Some("fail") => return Err("as asked".into()),
        _ => assert_eq!(job.kind, "work"),
    }
    Ok(Outcome::Done)
}

#[sqlx::test(migrator = "telekeep_queue::MIGRATOR")]
async fn a_monitor_runs_it_through_layers_and_through_a_lost_lease(pool: PgPool) {
    let ask = |what: &str| NewJob::new("work", json!({ "do": what }));
    let answers = add_all(&pool, &[ask("panic"), ask("sleep"), ask("fail"), ask("work")]).await;
    let inner = pool.clone();
    let build = move |_| {
        let backend = PgBackend::new(inner.clone(), config("monitored"), [("work", Policy { max_failures: 1, ..QUICK })]);
        WorkerBuilder::new("monitored").backend(backend).catch_panic().timeout(Duration::from_millis(500)).build(answer)
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let running = tokio::spawn(Monitor::new().register(build).run_with_signal(async move {
        stopped.await;
        Ok(())
    }));
    for (place, state) in [(0, State::Dead), (1, State::Dead), (2, State::Dead), (3, State::Done)] {
        let row = until_state(&pool, answers[place].id(), state).await;
        assert_eq!(row.attempt, 1, "{row:?}");
    }
    // as a process that was stopped for too long finds it
    sqlx::query("update worker set state = 'gone', gone_at = now()").execute(&pool).await.unwrap();
    let id = add(&pool, ask("work")).await;
    until_state(&pool, id, State::Done).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let deadline = now() + Duration::from_secs(10);
    while telekeep_queue::workers(&pool).await.unwrap().iter().any(|worker| worker.state != "gone") {
        assert!(now() < deadline, "a worker did not leave");
        sleep(Duration::from_millis(50)).await;
    }
    at_rest(&pool).await;
}
