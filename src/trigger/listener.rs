//! Listener triggers: an event of a chat opens a run of each workflow that names it.

use sqlx::PgConnection;

use crate::{
    record::{ChatId, workflow as table},
    workflow::{
        Trigger, Workflows,
        run::{self, Opened, RunError},
    },
};

/// Opens the runs of every workflow that listens for this event and selects this chat, in the caller's transaction.
pub async fn event(conn: &mut PgConnection, workflows: &Workflows, event: &str, chat: ChatId) -> Result<Opened, RunError> {
    let mut all = Opened::default();
    for workflow in workflows.values() {
        if !matches!(&workflow.trigger, Trigger::Listener(events) if events.iter().any(|e| e == event)) {
            continue;
        }
        table::lock_tick(conn, &workflow.name).await?;
        let select = &workflow.select;
        let chats =
            table::selected(conn, &select.kinds, &select.chats, &select.tags, select.incomplete.then(Default::default)).await?;
        if chats.contains(&chat) {
            let tick = table::now(conn).await?;
            let mut opened = run::open(conn, workflow, tick, "listener", &[chat]).await?;
            all.runs.append(&mut opened.runs);
            all.wakes.append(&mut opened.wakes);
            all.skipped += opened.skipped;
        }
    }
    Ok(all)
}
