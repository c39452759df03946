//! What can be wrong with a world file or an export, said with place and remedy.

use std::path::PathBuf;

/// Why a world could not be built.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A file that cannot be read.
    #[error("{path}: cannot be read: {source}; check the path and its permissions")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A `result.json` that is cut off or damaged.
    #[error(
        "{path}:{line}:{column}: {problem}; export the chat again from Telegram Desktop (format: machine-readable JSON) and let it finish"
    )]
    Json { path: PathBuf, line: usize, column: usize, problem: String },
    /// A `result.json` that is JSON, but no export of chats.
    #[error(
        "{path}: no chat in it (neither `messages` nor `chats.list`); choose `Machine-readable JSON` when exporting from Telegram Desktop"
    )]
    NoChats { path: PathBuf },
    /// A world file that does not parse.
    #[error("{path}: {problem}see crates/simulator/worlds/demo.toml for an example")]
    Toml { path: PathBuf, problem: String },
    /// A world file that parses, but asks for what cannot be.
    #[error("{path}: {problem}")]
    Impossible { path: PathBuf, problem: String },
    /// A chat that is not in the world.
    #[error("no chat {0} in this world; GET /chats lists them")]
    NoChat(i64),
}
