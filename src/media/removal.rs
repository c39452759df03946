//! Contents of files that were erased go out of the store.

use sqlx::PgPool;

use super::{Store, StoreError};
use crate::record::{self, file::removal};

/// Why contents could not be taken out; they wait for the next round.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Record(#[from] record::Error),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Takes out what waits for it, one content a transaction. Gives how many went.
pub async fn round(pool: &PgPool, store: &Store) -> Result<usize, RemovalError> {
    for removed in 0.. {
        let mut tx = pool.begin().await?;
        let content = removal::next(&mut tx).await?;
        if let Some(content) = &content {
            store.remove(content).await?;
            removal::done(&mut tx, content).await?;
        }
        tx.commit().await?;
        if content.is_none() {
            return Ok(removed);
        }
    }
    Ok(0)
}
