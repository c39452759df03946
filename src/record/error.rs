//! What can go wrong in the record, as far as callers tell it apart.

use super::ChatId;

/// An error of the record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is stored of a chat without a row in `watch`.
    #[error("chat {0} is not watched: nothing of it is stored; `telekeep chat watch {0}` begins")]
    NotWatched(ChatId),
    /// Private chats are collected for a stated purpose only.
    #[error("chat {0} is private: say why it is collected with --purpose TEXT")]
    PurposeRequired(ChatId),
    /// A coverage row that a caller still holds is gone.
    #[error("coverage row {0} does not exist")]
    UnknownCoverage(i64),
    /// A box row that a caller still holds is gone.
    #[error("box {0} does not exist")]
    UnknownBox(i64),
    /// Another stream moved a box's pts: this one goes on from what is stored.
    #[error("another stream told of the same box meanwhile")]
    Moved,
    /// DATABASE_URL is no address of a Postgres database.
    #[error("the database address is not valid: expected postgres://USER@HOST:PORT/NAME")]
    Address(#[source] sqlx::Error),
    /// The database did not answer. The place is without password.
    #[error("the database at {place} is not reachable: check that it runs and that DATABASE_URL names it")]
    Unreachable {
        place: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("database")]
    Database(#[from] sqlx::Error),
}
