//! What a process does with files, as it is configured: where they are kept, how much there may be, and what this node is called.

use super::{Store, StoreError};

/// See the module; by default nothing is kept.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    store: Option<Store>,
    /// Why there is none, where one was configured.
    wrong: Option<String>,
    quota: Option<u64>,
    node: String,
}

impl Keeping {
    /// A store that could not be opened is told of where it is needed.
    pub fn new(store: Result<Store, StoreError>, quota: Option<u64>, node: &str) -> Self {
        let (store, wrong) = match store {
            Ok(store) => (Some(store), None),
            Err(StoreError::Misconfigured(what)) => (None, Some(what)),
            Err(_) => (None, None),
        };
        Self { store, wrong, quota, node: node.to_owned() }
    }

    pub fn store(&self) -> Result<&Store, StoreError> {
        match (&self.store, &self.wrong) {
            (Some(store), _) => Ok(store),
            (None, Some(what)) => Err(StoreError::Misconfigured(what.clone())),
            (None, None) => Err(StoreError::NotConfigured),
        }
    }

    /// Bytes that the store may hold.
    pub fn quota(&self) -> Option<u64> {
        self.quota
    }

    /// Whose staging is meant.
    pub fn node(&self) -> &str {
        &self.node
    }
}
