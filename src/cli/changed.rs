//! What commands change is noted in the audit log, as done by `cli:USER@HOST`.

use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::account::Identity;
use crate::record::audit_log::{self, Change};

/// Who runs this command, as the audit log names them.
pub fn who() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    format!("cli:{}@{}", user.unwrap_or_else(|| "unknown".into()), Identity::default().name)
}

/// Notes that a command changed something: `what` as `job.retry`, `target` as `job 7`, `detail` without secrets.
pub async fn note(pool: &PgPool, what: &str, target: &str, detail: Value) -> sqlx::Result<()> {
    note_in(&mut *pool.acquire().await?, what, target, detail).await
}

/// As [`note`], in the transaction that makes the change.
pub async fn note_in(conn: &mut PgConnection, what: &str, target: &str, detail: Value) -> sqlx::Result<()> {
    let who = who();
    audit_log::note(conn, &Change { who: &who, what, target, detail, request: None }).await
}
