//! Exit codes: 2 for the user's mistake, 1 for a failure; and how an error is told.

use std::process::ExitCode;

use telekeep_queue::Error as QueueError;

use crate::{account, alert, config::ConfigError, http, jobs::PlanError, record, telemetry, workflow::file::WorkflowErrors};

/// A mistake of the user that no other room tells.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(pub String);

/// Ends a command with a mistake.
pub fn mistake<T>(message: impl Into<String>) -> anyhow::Result<T> {
    Err(Mistake(message.into()).into())
}

/// The error with its causes, a line each; a cause that is told already is left out.
pub fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|c| !c.is_empty()) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told.push_str("\n  because: ");
            told.push_str(&cause);
        }
    }
    told
}

/// 2 where the user can mend it by other words or files, else 1.
pub fn code(error: &anyhow::Error) -> ExitCode {
    let mistake = error.chain().any(|e| {
        e.is::<Mistake>()
            || e.is::<ConfigError>()
            || e.is::<alert::TargetError>()
            || e.is::<telemetry::traces::Error>()
            || e.is::<WorkflowErrors>()
            || matches!(e.downcast_ref(), Some(PlanError::UnknownKind { .. }))
            || matches!(
                e.downcast_ref(),
                Some(record::Error::PurposeRequired(_) | record::Error::NotWatched(_) | record::Error::Address(_))
            )
            || e.is::<account::session_file::Error>()
            || e.is::<account::session_string::Error>()
            || e.downcast_ref::<account::proxy::Error>().is_some_and(|e| !e.passes())
            || e.is::<http::server::Error>()
            || matches!(e.downcast_ref(), Some(QueueError::Arrow { .. } | QueueError::NoJob { .. } | QueueError::Priority { .. }))
            || e.downcast_ref::<account::Error>().is_some_and(account::Error::is_mistake)
    });
    ExitCode::from(if mistake { 2 } else { 1 })
}
