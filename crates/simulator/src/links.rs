//! Sessions that asked for updates, and the way to each.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::wire::message::Outgoing;

/// Key id and session id.
pub(crate) type SessionId = (i64, i64);

/// The way to one session; tells whether it is still open.
type Way = Box<dyn Fn(Outgoing) -> bool + Send + Sync>;

/// See the module.
#[derive(Default)]
pub(crate) struct Links(Mutex<HashMap<SessionId, Link>>);

struct Link {
    account: String,
    way: Way,
}

impl Links {
    /// Notes the way to a session that made a call; it is told what happens from now on, the last connection first.
    ///
    /// A call in `invokeWithoutUpdates` does not come here: <https://core.telegram.org/method/invokeWithoutUpdates>.
    pub(crate) fn attach(&self, session: SessionId, account: &str, way: impl Fn(Outgoing) -> bool + Send + Sync + 'static) {
        self.lock().insert(session, Link { account: account.to_owned(), way: Box::new(way) });
    }

    /// Whether anyone listens for an account.
    pub(crate) fn listens(&self, account: &str) -> bool {
        self.lock().values().any(|link| link.account == account)
    }

    /// Sends to every session of an account but one; those that are closed are forgotten.
    pub(crate) fn send(&self, account: &str, except: Option<SessionId>, message: impl Fn() -> Outgoing) {
        self.lock().retain(|session, link| link.account != account || Some(*session) == except || (link.way)(message()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Link>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lock().iter().map(|(session, link)| (session, &link.account))).finish()
    }
}
