//! Readings that take long are taken seldom.

use std::time::{Duration, Instant};

use crate::clock;

/// What takes a second to read is read every twenty.
const SHARE: u32 = 20;

/// A reading, and when the next one is due: the longer it took, the later. Meanwhile the last one is given.
pub struct Seldom<T> {
    read: Option<T>,
    due: Option<Instant>,
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self { read: None, due: None }
    }
}

impl<T> Seldom<T> {
    /// Reads, where it is due; gives the newest reading.
    pub async fn read<E>(&mut self, read: impl AsyncFnOnce() -> Result<T, E>) -> Result<Option<&T>, E> {
        let began = clock::mark();
        if self.due.is_none_or(|due| due <= began) {
            self.read = Some(read().await?);
            let took = began.elapsed();
            // What is quick is read whenever somebody asks.
            self.due = Some(began + if took < Duration::from_millis(50) { Duration::ZERO } else { took * SHARE });
        }
        Ok(self.read.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_read_seldom_and_what_is_quick_each_time() {
        let (mut quick, mut slow) = (Seldom::default(), Seldom::default());
        for round in 0..3 {
            assert_eq!(quick.read(async || Ok::<_, ()>(round)).await, Ok(Some(&round)));
            let read = async || {
                tokio::time::sleep(Duration::from_millis(60)).await;
                Ok::<_, ()>(round)
            };
            assert_eq!(slow.read(read).await, Ok(Some(&0)));
        }
        assert_eq!(slow.read(async || Err(())).await, Ok(Some(&0)), "nobody is asked before it is due");
    }
}
