//! Listener triggers: an event of a chat opens a run of each workflow that names it.
//!
//! An event becomes a wish of each workflow that listens; a wish becomes a run when none of that workflow and chat is open. So an
//! event that comes while a run is open is not lost, however many come they open one run, and a pause keeps them.

use sqlx::{PgConnection, PgPool};

use crate::{
    record::{ChatId, event, selection, workflow as table},
    workflow::{
        Trigger, Workflow, Workflows,
        run::{self, Opened, RunError},
    },
};

/// Events that one transaction consumes.
const BATCH: i64 = 200;

/// Consumes every event that waits, and opens the runs that may begin. Gives how many were opened.
pub async fn consume_all(pool: &PgPool, workflows: &Workflows) -> Result<usize, RunError> {
    let mut runs = 0;
    loop {
        let mut tx = pool.begin().await?;
        let consumed = consume(&mut tx, workflows, None).await?;
        tx.commit().await?;
        if consumed == 0 {
            break;
        }
    }
    let wanting = event::wanting(&mut *pool.acquire().await?).await?;
    for workflow in workflows.values().filter(|w| listens(w) && wanting.contains(&w.name)) {
        let mut tx = pool.begin().await?;
        let opened = open(&mut tx, workflow, None).await?;
        tx.commit().await?;
        runs += opened.runs.len();
        if !opened.runs.is_empty() {
            tracing::info!(workflow.name = %workflow.name, run.opened = opened.runs.len(), "listener");
        }
        opened.wake(pool).await;
    }
    Ok(runs)
}

/// Consumes the events of one chat and opens the runs that may begin, in the caller's transaction: the one that noted them.
pub async fn consume_now(conn: &mut PgConnection, workflows: &Workflows, chat: ChatId) -> Result<Opened, RunError> {
    while consume(conn, workflows, Some(chat)).await? > 0 {}
    let mut all = Opened::default();
    for workflow in workflows.values().filter(|w| listens(w)) {
        let mut opened = open(conn, workflow, Some(chat)).await?;
        all.runs.append(&mut opened.runs);
        all.wakes.append(&mut opened.wakes);
        all.skipped += opened.skipped;
    }
    Ok(all)
}

fn listens(workflow: &Workflow) -> bool {
    matches!(workflow.trigger, Trigger::Listener(_))
}

/// Turns a batch of events into wishes. Gives how many there were.
async fn consume(conn: &mut PgConnection, workflows: &Workflows, chat: Option<ChatId>) -> Result<usize, RunError> {
    let events = event::take(conn, chat, BATCH).await?;
    // By workflow and then by chat, as everybody who holds several wishes.
    for workflow in workflows.values() {
        let Trigger::Listener(heard) = &workflow.trigger else { continue };
        for (chat, event) in events.iter().filter(|(_, event)| heard.contains(event)) {
            event::wish(conn, &workflow.name, *chat, event).await?;
        }
    }
    Ok(events.len())
}

/// Opens a run for each wish that may begin; a chat that the workflow does not select has none.
async fn open(conn: &mut PgConnection, workflow: &Workflow, chat: Option<ChatId>) -> Result<Opened, RunError> {
    table::lock_tick(conn, &workflow.name).await?;
    let chats = event::grant(conn, &workflow.name, chat).await?;
    if chats.is_empty() {
        return Ok(Opened::default());
    }
    let tick = table::now(conn).await?;
    let selected = selection::selected(conn, &workflow.select.selection(Default::default()), Some(&chats)).await?;
    run::open(conn, workflow, tick, "listener", &selected).await
}
