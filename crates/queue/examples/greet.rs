//! Greets by durable jobs: `DATABASE_URL=postgres://… cargo run -p telekeep-queue --example greet`. End it with Ctrl-C, or
//! kill it: what was not greeted is greeted by the next one.

use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{BoxDynError, Data, Monitor, WorkerBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;
use telekeep_queue::{Job, MIGRATOR, NewJob, Outcome, PgBackend, Policy, WorkerConfig, enqueue, finish};

/// One job: its write and its end are one commit, so that nobody is greeted twice.
async fn greet(payload: Value, job: Data<Job>, pool: Data<PgPool>) -> Result<Outcome, BoxDynError> {
    let Some(name) = payload["name"].as_str() else {
        return Ok(Outcome::Hold { error: "no name in the payload".into(), hint: "enqueue it with a name".into() });
    };
    let mut tx = pool.begin().await?;
    sqlx::query("insert into greeting (name) values ($1)").bind(name).execute(&mut *tx).await?;
    finish(&mut tx, job.token).await?;
    tx.commit().await?;
    println!("hello {name}");
    Ok(Outcome::Done)
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let pool = PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    MIGRATOR.run(&pool).await?;
    sqlx::query("create table if not exists greeting (name text not null)").execute(&pool).await?;

    let names = ["Ada", "Grace", "Edsger", "Barbara"];
    let jobs: Vec<NewJob> = names.iter().map(|name| NewJob::new("greet", json!({ "name": name })).unique_key(*name)).collect();
    let mut tx = pool.begin().await?;
    let (answers, wake) = enqueue(&mut tx, &jobs).await?;
    tx.commit().await?;
    wake.fire(&pool).await;
    println!("{answers:?}");

    let worker = move |index: usize| {
        let config = WorkerConfig { concurrency: 4, ..WorkerConfig::new(format!("greeter-{index}")) };
        let backend = PgBackend::new(pool.clone(), config, [("greet", Policy::DEFAULT)]);
        WorkerBuilder::new(format!("greeter-{index}"))
            .backend(backend)
            .data(pool.clone())
            .enable_tracing()
            .catch_panic()
            .timeout(Duration::from_secs(60))
            .build(greet)
    };
    Monitor::new().register(worker).shutdown_timeout(Duration::from_secs(20)).run_with_signal(tokio::signal::ctrl_c()).await?;
    Ok(())
}
