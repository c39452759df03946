//! What idle workers are told: those of this process at once, the others by a notification.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use sqlx::PgPool;
use tokio::sync::Notify;

/// The channel of the notifications.
pub(crate) const CHANNEL: &str = "telekeep_queue";
static PRESENT: Mutex<Vec<(Place, Weak<Ears>)>> = Mutex::new(Vec::new());
/// Other in each process.
static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
/// More partitions than these are not named.
const NAMED: usize = 8;

/// What somebody changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// Jobs became available in these partitions; in any, where none is named.
    Ready(Vec<i64>),
    /// A job may be due earlier than was known.
    Later,
    /// A running job may have been cancelled.
    Cancel,
}

impl News {
    pub(crate) fn ready(partitions: impl Iterator<Item = i64>) -> Self {
        let named: BTreeSet<i64> = partitions.collect();
        News::Ready(if named.len() > NAMED { Vec::new() } else { named.into_iter().collect() })
    }

    /// What cannot be read is news of anything.
    pub(crate) fn read(text: &str) -> Self {
        match text {
            "later" => News::Later,
            "cancel" => News::Cancel,
            _ => {
                let named = text.strip_prefix("ready ").unwrap_or_default();
                News::Ready(named.split(',').map(str::parse).collect::<Result<_, _>>().unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Later => f.write_str("later"),
            News::Cancel => f.write_str("cancel"),
            News::Ready(partitions) => {
                f.write_str("ready ")?;
                for (place, partition) in partitions.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(f, "{comma}{partition}")?;
                }
                Ok(())
            }
        }
    }
}

/// A database as this process reaches it. Another process, and another way to the same database, is another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    pub(crate) fn of(pool: &PgPool) -> Self {
        let options = pool.connect_options();
        Place(PROCESS.hash_one((options.get_host(), options.get_port(), options.get_socket(), options.get_database())))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a worker incarnation is told, until it gets to it.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    /// Something may be claimable.
    pub(crate) kick: Notify,
    /// Where, by the last that told; empty: anywhere.
    told: Mutex<Vec<i64>>,
    /// Something may be due earlier than was known.
    pub(crate) later: Notify,
    /// Something may have been cancelled.
    pub(crate) recheck: Notify,
}

impl Ears {
    /// Hears what workers are told at this database, for as long as it lives.
    pub(crate) fn open(pool: &PgPool) -> Arc<Self> {
        let ears = Arc::<Self>::default();
        let mut present = PRESENT.lock().unwrap_or_else(PoisonError::into_inner);
        present.retain(|(_, other)| other.strong_count() > 0);
        present.push((Place::of(pool), Arc::downgrade(&ears)));
        ears
    }

    pub(crate) fn hear(&self, news: &News) {
        match news {
            News::Cancel => self.recheck.notify_one(),
            News::Later => self.later.notify_one(),
            News::Ready(partitions) => {
                self.told.lock().unwrap_or_else(PoisonError::into_inner).clone_from(partitions);
                self.kick.notify_one();
            }
        }
    }

    /// The partitions that were named last, once.
    pub(crate) fn take_told(&self) -> Vec<i64> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells all workers. Never fails: their poll and their heartbeat are the net beneath it.
///
/// The notification is a transaction of its own that holds nothing else, and that no server keeps over a crash: its commit
/// need not wait for the disk.
pub(crate) async fn announce(pool: &PgPool, news: &News) {
    let place = Place::of(pool);
    {
        let present = PRESENT.lock().unwrap_or_else(PoisonError::into_inner);
        let here = present.iter().filter(|(at, _)| *at == place);
        here.filter_map(|(_, ears)| ears.upgrade()).for_each(|ears| ears.hear(news));
    }
    let sent = sqlx::query("select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(format!("{place} {news}"))
        .execute(pool)
        .await;
    if let Err(error) = sent {
        tracing::debug!(error = %error, "queue notification not sent; the next poll finds what changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        for news in [News::Later, News::Cancel, News::Ready(vec![]), News::Ready(vec![-3]), News::ready([7, 0, 7].into_iter())] {
            assert_eq!(News::read(&news.to_string()), news);
        }
        assert_eq!(News::ready(0..9), News::Ready(vec![]));
        assert_eq!(News::read("something else"), News::Ready(vec![]));
    }
}
