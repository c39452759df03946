//! One life of a worker: its lease row, and the tasks that claim, settle, listen and watch under it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::{Claims, Slot};
use crate::claim::{Claimant, ClaimedRow, LOOK_MOST, claim, look};
use crate::clock::now;
use crate::finished::remove_finished;
use crate::news::{CHANNEL, Ears, News, Place};
use crate::operate::fold_counts;
use crate::outcome::{Move, Outcome, Policy};
use crate::settle::Settlement;
use crate::worker::one_more;
use crate::{Job, Token, WorkerConfig, lease, settle};

/// The net beneath the notifications.
const POLL: Duration = Duration::from_secs(1);
/// Claims repeated because another worker had the partitions, and the pause before each: about a claim's time.
const SPINS: u32 = 100;
const SPIN: Duration = Duration::from_millis(5);
/// The largest single claim.
const CLAIM_MOST: usize = 1024;
/// Between two foldings of the counts, and two looks for jobs that ended long ago.
const FOLD: Duration = Duration::from_secs(5);
/// Ended jobs removed in one statement.
const REMOVE_MOST: i64 = 1000;

/// What the tasks of one incarnation share.
pub(crate) struct Incarnation {
    pool: PgPool,
    pub(crate) worker: i64,
    claimant: Claimant,
    policies: HashMap<String, Policy>,
    slots: Arc<Semaphore>,
    /// Outcomes on their way.
    unsettled: Semaphore,
    running: Mutex<HashMap<i64, Running>>,
    /// Held by the pump from before a claim until its jobs are in `running`.
    claiming: tokio::sync::Mutex<()>,
    settlements: mpsc::UnboundedSender<Settlement>,
    ears: Arc<Ears>,
    /// The lease is over.
    pub(crate) over: CancellationToken,
    /// Claim nothing more.
    pub(crate) stop: CancellationToken,
    /// Give running jobs back.
    pub(crate) hand_back: CancellationToken,
}

struct Running {
    token: Uuid,
    cancel: CancellationToken,
}

impl Incarnation {
    /// Registers a new incarnation and starts its tasks in `tasks`.
    pub(crate) async fn start(
        pool: PgPool,
        config: &WorkerConfig,
        policies: HashMap<String, Policy>,
        methods: &[(String, String)],
        tasks: &mut JoinSet<()>,
    ) -> Result<(Arc<Self>, Claims), sqlx::Error> {
        let worker = lease::register(&pool, &config.name, config.lease).await?;
        let over = CancellationToken::new();
        let (settlements, settlements_rx) = mpsc::unbounded_channel();
        let (claims, claims_rx) = mpsc::unbounded_channel();
        let (kinds, max_crashes) = policies.iter().map(|(kind, policy)| (kind.clone(), policy.max_crashes)).unzip();
        let this = Arc::new(Incarnation {
            claimant: Claimant {
                worker,
                kinds,
                max_crashes,
                methods: methods.iter().cloned().unzip(),
                per_partition: config.per_partition,
                holder: config.holder.clone(),
            },
            worker,
            policies,
            slots: Arc::new(Semaphore::new(config.concurrency)),
            unsettled: Semaphore::new(config.concurrency),
            running: Mutex::default(),
            claiming: tokio::sync::Mutex::default(),
            settlements,
            ears: Ears::open(&pool),
            stop: over.child_token(),
            hand_back: over.child_token(),
            over: over.clone(),
            pool: pool.clone(),
        });
        let options = (*pool.connect_options()).clone();
        tasks.spawn(lease::heartbeat(options, worker, config.lease, config.heartbeat, over.clone()));
        tasks.spawn(settle::run(pool, settlements_rx, over));
        tasks.spawn(this.clone().pump(claims));
        tasks.spawn(this.clone().listen());
        tasks.spawn(this.clone().watch(config.heartbeat));
        tasks.spawn(this.clone().reap(config.lease));
        tasks.spawn(this.clone().keep_house(config.retention));
        tracing::info!(worker.id = worker, worker.name = %config.name, "queue worker live");
        Ok((this, claims_rx))
    }

    /// Settles a job and waits for the commit. Its slot is free for another job at once, until as many outcomes as there
    /// are slots wait for theirs.
    pub(crate) async fn settle(&self, job: &Job, to: Move, slot: Slot) {
        let _unsettled = self.unsettled.acquire().await;
        let (settled, answer) = oneshot::channel();
        let sent = self.settlements.send(Settlement { token: job.token, to, settled });
        drop(slot);
        if sent.is_ok() {
            // no answer: the lease is over, and the reaper settles the job
            let _ = answer.await;
        }
        let mut running = self.running();
        if running.get(&job.id).is_some_and(|entry| entry.token == job.token.token) {
            running.remove(&job.id);
        }
        drop(running);
        self.ears.kick.notify_one();
    }

    /// Ends it in the database, where its lease would have ended it by itself.
    pub(crate) async fn leave(self: Arc<Self>) {
        if let Err(error) = lease::leave(&self.pool, self.worker).await {
            tracing::warn!(error = %error, "worker's end not recorded; its lease will run out");
        }
    }

    /// Shows in the worker's row that it only finishes what it has.
    pub(crate) async fn record_drain(&self) -> Result<(), sqlx::Error> {
        lease::drain(&self.pool, self.worker).await
    }

    /// Fires the cancellation token of each running job.
    pub(crate) fn cancel_all(&self) {
        self.running().values().for_each(|entry| entry.cancel.cancel());
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims whenever a slot is free and something may be ready.
    async fn pump(self: Arc<Self>, claims: mpsc::UnboundedSender<(Job, OwnedSemaphorePermit)>) {
        let pool = one_more(&self.pool);
        let mut look_at = now();
        let mut spins = 0;
        let mut idle = false;
        loop {
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                permit = self.slots.clone().acquire_owned() => match permit {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
            };
            let mut permits = vec![first];
            while permits.len() < CLAIM_MOST
                && let Ok(permit) = self.slots.clone().try_acquire_owned()
            {
                permits.push(permit);
            }
            let mut failed = false;
            if now() >= look_at {
                match look(&pool).await {
                    // a full batch: more may be due already
                    Ok(look) if look.promoted >= LOOK_MOST => look_at = now(),
                    Ok(look) => look_at = now() + look.next_due.map_or(POLL, |due| due.min(POLL)),
                    Err(error) => {
                        tracing::warn!(error = %error, "due jobs not looked up");
                        failed = true;
                    }
                }
            }
            // Never dropped half-way: what the database gave must reach `running`.
            let claiming = self.claiming.lock().await;
            let token = Uuid::new_v4();
            // to an idle worker the partition of a new job is worth a look of its own; the next claim looks everywhere
            let told = self.ears.take_told();
            let told = (std::mem::take(&mut idle) && !told.is_empty()).then_some(told);
            match claim(&pool, &self.claimant, permits.len(), token, told.as_deref()).await {
                Ok(claim) if !claim.rows.is_empty() => {
                    spins = 0;
                    for (row, permit) in claim.rows.into_iter().zip(permits) {
                        let Some(job) = self.admit(row, token) else { continue };
                        if claims.send((job, permit)).is_err() {
                            return;
                        }
                    }
                    continue;
                }
                Ok(_) if told.is_some() => continue,
                Ok(claim) if claim.contended && spins < SPINS => {
                    spins += 1;
                    drop(claiming);
                    sleep(SPIN).await;
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %error, "claim failed");
                    failed = true;
                }
            }
            drop(claiming);
            drop(permits);
            spins = 0;
            idle = true;
            if failed {
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = sleep(POLL / 4) => continue,
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.ears.kick.notified() => {}
                () = self.ears.later.notified() => look_at = look_at.min(now()),
                () = sleep_until(look_at) => {}
            }
        }
    }

    /// A row as a job, or held where it cannot be read.
    fn admit(&self, row: ClaimedRow, token: Uuid) -> Option<Job> {
        let read = || Ok((serde_json::from_str(&row.payload)?, row.retry.as_deref().map(serde_json::from_str).transpose()?));
        let (payload, retry) = match read() {
            Ok(read) => read,
            Err(error) => {
                let error: serde_json::Error = error;
                let hold = Outcome::Hold {
                    error: format!("its payload or retry cannot be read: {error}"),
                    hint: "cancel it, and enqueue it anew".to_owned(),
                };
                let (settled, _) = oneshot::channel();
                let token = Token { job: row.id, token };
                let to = Move::after(hold, &Policy::DEFAULT, row.failure, 0.5);
                let _ = self.settlements.send(Settlement { token, to, settled });
                return None;
            }
        };
        let cancel = self.over.child_token();
        self.running().insert(row.id, Running { token, cancel: cancel.clone() });
        Some(Job {
            id: row.id,
            token: Token { job: row.id, token },
            attempt: row.attempt,
            failure: row.failure,
            crash: row.crash,
            partition: row.partition,
            priority: row.priority,
            parent: row.parent,
            trigger: row.trigger,
            run: row.run,
            step: row.step,
            unique_key: row.unique_key,
            policy: self.policies.get(&row.kind).copied().unwrap_or_default().with(retry),
            kind: row.kind,
            payload,
            cancel,
            draining: self.stop.clone(),
            started: now(),
        })
    }

    /// One connection listens for everything; without it the poll is slower and nothing else.
    async fn listen(self: Arc<Self>) {
        loop {
            if let Err(error) = self.listen_once().await {
                tracing::warn!(error = %error, "queue notifications interrupted; polling");
            }
            self.ears.kick.notify_one();
            tokio::select! {
                () = self.over.cancelled() => return,
                () = sleep(POLL) => {}
            }
        }
    }

    async fn listen_once(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        self.ears.later.notify_one();
        let place = Place::of(&self.pool).to_string();
        while let Some(notification) = listener.try_recv().await? {
            let (from, news) = notification.payload().split_once(' ').unwrap_or_default();
            // within the process it was told already
            if from != place {
                self.ears.hear(&News::read(news));
            }
        }
        Ok(())
    }

    /// Passes cancellations on, and returns rows that a broken claim left without a job in this process.
    async fn watch(self: Arc<Self>, every: Duration) {
        loop {
            tokio::select! {
                () = self.over.cancelled() => return,
                () = self.ears.recheck.notified() => {}
                () = sleep(every) => {}
            }
            if let Err(error) = self.check_running().await {
                tracing::warn!(error = %error, "running jobs not checked");
            }
        }
    }

    async fn check_running(&self) -> Result<(), sqlx::Error> {
        let rows: Vec<(i64, Uuid, bool)> = {
            // no claim of ours is under way, so that each row of ours is known or an orphan
            let _claiming = self.claiming.lock().await;
            sqlx::query_as("select id, token, cancel_requested from job where worker = $1 and state = 'running'")
                .bind(self.worker)
                .fetch_all(&self.pool)
                .await?
        };
        for (id, token, cancel_requested) in rows {
            let known = {
                let running = self.running();
                let entry = running.get(&id).filter(|entry| entry.token == token);
                if let (Some(entry), true) = (entry, cancel_requested) {
                    entry.cancel.cancel();
                }
                entry.is_some()
            };
            if !known {
                tracing::warn!(job.id = id, "claim without an answer: its job goes back");
                let (settled, _) = oneshot::channel();
                let token = Token { job: id, token };
                let _ = self.settlements.send(Settlement { token, to: Move::unstarted(), settled });
                self.ears.kick.notify_one();
            }
        }
        Ok(())
    }

    /// Takes over what dead workers held; every worker does it for all.
    async fn reap(self: Arc<Self>, lease: Duration) {
        let every = (lease / 6).clamp(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match lease::reap(&self.pool).await {
                Ok(0) => {}
                Ok(_) => self.ears.kick.notify_one(),
                Err(error) => tracing::warn!(error = %error, "expired leases not reaped"),
            }
            tokio::select! {
                () = self.over.cancelled() => return,
                () = sleep(every.mul_f64(0.5 + rand::random::<f64>())) => {}
            }
        }
    }

    /// Folds the counts, and removes what ended long ago.
    async fn keep_house(self: Arc<Self>, retention: Option<Duration>) {
        loop {
            if let Err(error) = fold_counts(&self.pool).await {
                tracing::warn!(error = %error, "counts not folded; they stay right, and grow");
            }
            let mut every = FOLD;
            if let Some(retention) = retention {
                match remove_finished(&self.pool, retention, REMOVE_MOST).await {
                    Ok(0) => {}
                    Ok(_) => every = Duration::from_millis(100),
                    Err(error) => tracing::warn!(error = %error, "ended jobs not removed"),
                }
            }
            tokio::select! {
                () = self.over.cancelled() => return,
                () = sleep(every.mul_f64(0.5 + rand::random::<f64>())) => {}
            }
        }
    }
}
