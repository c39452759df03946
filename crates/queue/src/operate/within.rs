//! Actions in the caller's transaction, for whoever has more to write beside them.

use sqlx::{PgConnection, PgPool};

use super::{Action, Filter, strike, why_untouched};
use crate::Error;
use crate::enqueue::{PRIORITIES, Wake};
use crate::news::News;

impl Action {
    /// Whom to tell of so many jobs.
    fn wake(self, touched: u64) -> Wake {
        let what = match self {
            _ if touched == 0 => None,
            Action::Release | Action::Retry | Action::Resume => Some(News::Later),
            Action::Cancel => Some(News::Cancel),
            Action::Pause | Action::Priority(_) => None,
        };
        Wake { what }
    }
}

/// What an action did in the caller's transaction.
#[derive(Debug)]
#[must_use = "what others have locked is not touched yet, and the wake is fired after the commit"]
pub struct Struck {
    /// How many jobs it touched.
    pub touched: u64,
    /// Jobs that others have locked. They are left to [`act_alone_within`], each in a transaction that holds nothing else: a job
    /// that writes may wait for what the caller holds.
    pub locked: Vec<i64>,
    /// To be fired after the commit.
    pub wake: Wake,
}

/// [`act`](super::act) in the caller's transaction, for all that match and that nobody else has locked. That it touches
/// nothing is no error here: see [`refusal`].
pub async fn act_within(conn: &mut PgConnection, filter: &Filter, action: Action) -> Result<Struck, Error> {
    let (arrow, value) = action.arrow();
    struck(conn, filter, action, arrow.together, value).await
}

/// [`act`](super::act) in the caller's transaction for one job, which is waited for where somebody else has locked it.
pub async fn act_alone_within(conn: &mut PgConnection, job: i64, action: Action) -> Result<Struck, Error> {
    let (arrow, value) = action.arrow();
    struck(conn, &Filter::one(job), action, arrow.alone, value).await
}

async fn struck(
    conn: &mut PgConnection,
    filter: &Filter,
    action: Action,
    sql: &'static str,
    value: Option<i64>,
) -> Result<Struck, Error> {
    if let Action::Priority(priority) = action
        && !PRIORITIES.contains(&priority)
    {
        return Err(Error::Priority { kind: filter.kind.clone(), priority });
    }
    let (touched, locked) = strike(conn, filter, sql, value).await?;
    let touched = u64::try_from(touched).unwrap_or(0);
    Ok(Struck { touched, locked, wake: action.wake(touched) })
}

/// Why an action did not touch a job: there is none, or no such arrow leads from its state.
pub async fn refusal(pool: &PgPool, job: i64, action: Action) -> Error {
    why_untouched(pool, job, action.word()).await.unwrap_or_else(|error| error)
}
