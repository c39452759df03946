//! Exit codes: 2 for the user's mistake, 1 for a failure; and how an error is told.

use std::process::ExitCode;

use crate::{account, config::ConfigError, jobs::PlanError, record, workflow::file::WorkflowErrors};

/// A mistake of the user that no other room tells.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(pub String);

/// Ends a command with a mistake.
pub fn mistake<T>(message: impl Into<String>) -> anyhow::Result<T> {
    Err(Mistake(message.into()).into())
}

/// The error with its causes, on one line each.
pub fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: ")
}

/// 2 where the user can mend it by other words or files, else 1.
pub fn code(error: &anyhow::Error) -> ExitCode {
    let mistake = error.chain().any(|e| {
        e.is::<Mistake>()
            || e.is::<ConfigError>()
            || e.is::<WorkflowErrors>()
            || matches!(e.downcast_ref(), Some(PlanError::UnknownKind { .. }))
            || matches!(
                e.downcast_ref(),
                Some(record::Error::PurposeRequired(_) | record::Error::NotWatched(_) | record::Error::Address(_))
            )
            || e.downcast_ref::<account::Error>().is_some_and(account::Error::is_mistake)
    });
    ExitCode::from(if mistake { 2 } else { 1 })
}
