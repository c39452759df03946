//! What Telegram tells on its own: from grammers' pools, one after the other, to whoever listens.
//!
//! Nothing is waited for here: where the listener is slow what does not fit is dropped, and the listener is told that it was
//! interrupted. The same when a connection ended: what was told meanwhile is to be asked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grammers_session::updates::UpdatesLike;
use grammers_tl_types as tl;
use tokio::sync::{Notify, mpsc};

use super::meter;

/// So many containers wait for the listener; beyond that the difference tells what they told. A container is about 1 KB.
const MOST_WAITING: usize = 4_096;

/// What a listener hears.
#[derive(Debug)]
pub enum Heard {
    Updates(Box<tl::enums::Updates>),
    /// Something may have been missed: a connection began or ended, or there was too much to keep.
    Interrupted,
}

/// The listener's end.
#[derive(Debug)]
pub struct Hearing {
    waiting: mpsc::Receiver<tl::enums::Updates>,
    interrupted: Arc<Interrupted>,
}

#[derive(Debug, Default)]
struct Interrupted {
    is: AtomicBool,
    told: Notify,
}

impl Hearing {
    /// Waits for what is heard next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            if self.interrupted.is.swap(false, Ordering::AcqRel) {
                return Heard::Interrupted;
            }
            tokio::select! {
                () = self.interrupted.told.notified() => {}
                heard = self.waiting.recv() => match heard {
                    Some(updates) => return Heard::Updates(Box::new(updates)),
                    // Somebody else listens now.
                    None => std::future::pending().await,
                }
            }
        }
    }

    /// What is heard already; none: nothing waits.
    pub fn already(&mut self) -> Option<Heard> {
        if self.interrupted.is.swap(false, Ordering::AcqRel) {
            return Some(Heard::Interrupted);
        }
        self.waiting.try_recv().ok().map(|updates| Heard::Updates(Box::new(updates)))
    }
}

#[derive(Debug)]
struct Ear {
    waiting: mpsc::Sender<tl::enums::Updates>,
    interrupted: Arc<Interrupted>,
}

/// The connection's end.
#[derive(Debug, Default)]
pub(super) struct Ears {
    ear: Mutex<Option<Ear>>,
    /// The QR code of a login was scanned.
    scanned: Notify,
}

impl Ears {
    /// A listener in place of the one before.
    pub fn listen(&self) -> Hearing {
        let (sender, waiting) = mpsc::channel(MOST_WAITING);
        let interrupted = Arc::<Interrupted>::default();
        *self.ear() = Some(Ear { waiting: sender, interrupted: Arc::clone(&interrupted) });
        Hearing { waiting, interrupted }
    }

    pub async fn scanned(&self) {
        self.scanned.notified().await;
    }

    /// Passes on what one pool hears, until it ends.
    pub async fn pass_on(self: Arc<Self>, mut updates: mpsc::Receiver<UpdatesLike>) {
        self.interrupt();
        while let Some(heard) = updates.recv().await {
            match heard {
                UpdatesLike::Updates(updates) => self.hear(updates),
                // Answers to what is sent: nothing is sent.
                UpdatesLike::ShortSentMessage { .. }
                | UpdatesLike::AffectedMessages(_)
                | UpdatesLike::AffectedChannelMessages { .. }
                | UpdatesLike::InvitedUsers(_)
                | UpdatesLike::ChatInviteJoinResult(_)
                | UpdatesLike::ConnectionClosed
                | UpdatesLike::MalformedUpdates => self.interrupt(),
            }
        }
    }

    fn hear(&self, updates: tl::enums::Updates) {
        if is_scan(&updates) {
            self.scanned.notify_one();
        }
        let lost = self.ear().as_ref().is_some_and(|ear| ear.waiting.try_send(updates).is_err());
        meter::RECEIVED_UPDATES.increment(1);
        if lost {
            meter::DROPPED_UPDATES.increment(1);
            self.interrupt();
        }
    }

    fn interrupt(&self) {
        if let Some(ear) = &*self.ear() {
            ear.interrupted.is.store(true, Ordering::Release);
            ear.interrupted.told.notify_one();
        }
    }

    fn ear(&self) -> MutexGuard<'_, Option<Ear>> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_scan(updates: &tl::enums::Updates) -> bool {
    let told = |update: &tl::enums::Update| matches!(update, tl::enums::Update::LoginToken);
    match updates {
        tl::enums::Updates::UpdateShort(short) => told(&short.update),
        tl::enums::Updates::Updates(many) => many.updates.iter().any(told),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(date: i32) -> tl::enums::Updates {
        tl::types::UpdateShort { update: tl::enums::Update::Config, date }.into()
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_said() {
        let ears = Arc::new(Ears::default());
        let mut hearing = ears.listen();
        for date in 0..MOST_WAITING as i32 {
            ears.hear(update(date));
        }
        assert!(matches!(hearing.next().await, Heard::Updates(heard) if *heard == update(0)));
        ears.hear(update(-1));
        ears.hear(update(-2));
        assert!(matches!(hearing.next().await, Heard::Interrupted));
        assert!(matches!(hearing.next().await, Heard::Updates(heard) if *heard == update(1)));
    }

    #[tokio::test]
    async fn a_connection_that_ends_interrupts() {
        let ears = Arc::new(Ears::default());
        let mut hearing = ears.listen();
        let (pool, updates) = mpsc::channel(8);
        pool.send(UpdatesLike::Updates(update(1))).await.unwrap();
        pool.send(UpdatesLike::ConnectionClosed).await.unwrap();
        drop(pool);
        ears.pass_on(updates).await;
        assert!(matches!(hearing.next().await, Heard::Interrupted));
        assert!(matches!(hearing.next().await, Heard::Updates(_)));
        assert!(hearing.already().is_none());
    }
}
