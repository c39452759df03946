//! Files: which are wanted, and where they are kept.
//!
//! - `rules`: what the configuration wants fetched; the first rule that matches decides.
//! - `staging`: a file on its way, in a local file of its own, until it is whole.
//! - `keeping`: what this process does, as it is configured.
//! - `removal`: what was erased goes out of the store.
//! - `store`: the files themselves, by the SHA-256 of their content, in a local folder or in S3.
//!
//! Names that Telegram tells never come here: a path is made of numbers of our own and of hashes.

pub mod keeping;
pub mod removal;
pub mod rules;
pub mod staging;
pub mod store;

pub use keeping::Keeping;
pub use rules::Rules;
pub use staging::{Staged, Syncing};
pub use store::{Content, Store, StoreError};
