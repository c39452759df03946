//! The way of one account's connections: asked for before each opens, told how it went, and ended when the account is bound elsewhere.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

use super::Routes;
use crate::account::Error;
use crate::error::chain;
use crate::telegram::dial::{DialError, Route};
use crate::telegram::wire::{Gate, Refused};

/// How often it is looked whether an account that is connected was bound elsewhere.
const LOOK: Duration = Duration::from_secs(5);
/// How long connections that are to end may take to see it: twice the relay's own time between two looks.
const ENDING: Duration = Duration::from_secs(1);

/// The way that an account takes: the whole gate where nobody else can have it, as during its login, and half of it behind a lease.
pub(in crate::account) struct Way {
    routes: Routes,
    label: String,
    /// Where proxies are checked: the account's home.
    home: SocketAddr,
    given: Arc<Given>,
    opening: tokio::sync::Mutex<()>,
    _watch: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Given {
    route: Mutex<Option<Route>>,
    /// It is not the account's way any more.
    left: AtomicBool,
}

impl Given {
    fn route(&self) -> Option<Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn give(&self, route: Route) {
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = Some(route);
        self.left.store(false, Ordering::Release);
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("label", &self.label).field("home", &self.home).finish_non_exhaustive()
    }
}

impl Way {
    pub fn new(routes: Routes, label: &str, home: SocketAddr) -> Self {
        let given = Arc::new(Given::default());
        let watch = watch(routes.clone(), label.to_owned(), Arc::clone(&given));
        let _watch = AbortOnDropHandle::new(tokio::spawn(watch));
        Self { routes, label: label.to_owned(), home, given, opening: tokio::sync::Mutex::default(), _watch }
    }
}

impl Gate for Way {
    fn open(&self) -> BoxFuture<'_, Result<Route, Refused>> {
        Box::pin(async {
            let _alone = self.opening.lock().await;
            let route = self.routes.route_of(&self.label, self.home).await.map_err(|error| match error {
                Error::Proxy(error) => Refused::NoProxy(error.to_string()),
                error => Refused::NoRoute(format!("it is not known which way the account goes: {}", chain(&error))),
            })?;
            if self.given.route().is_some_and(|before| before != route) {
                // One key is never used from two places: what is open by the old way ends first.
                self.given.left.store(true, Ordering::Release);
                tokio::time::sleep(ENDING).await;
            }
            self.given.give(route.clone());
            Ok(route)
        })
    }

    fn is_open(&self) -> bool {
        !self.given.left.load(Ordering::Acquire)
    }

    fn dialled<'a>(&'a self, route: &'a Route, outcome: Result<Duration, &'a DialError>) -> BoxFuture<'a, ()> {
        Box::pin(self.routes.used(&self.label, route, outcome))
    }
}

async fn watch(routes: Routes, label: String, given: Arc<Given>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(route) = given.route() else { continue };
        // A database that is away says nothing of it; a new connection would not open then.
        if given.left.load(Ordering::Acquire) || routes.is_still(&label, &route).await.unwrap_or(true) {
            continue;
        }
        // unless another way was given meanwhile
        if given.route().as_ref() == Some(&route) {
            given.left.store(true, Ordering::Release);
            tracing::info!(account.label = label, "the account was bound elsewhere: its connections end, and open anew");
        }
    }
}
