//! A chat whose messages are kept: serialised, one after the other, so that a large export stays small in memory.

use grammers_tl_types::{self as tl, Deserializable, Serializable};

/// Messages by id, as bytes.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Ascending by id.
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: i32,
    date: i32,
    start: usize,
    end: usize,
}

/// How many messages were not kept, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Told again later under the same id.
    pub doubled: u64,
    /// Cannot be told in Telegram's schema.
    pub unreadable: u64,
}

impl Stored {
    /// Keeps messages; of two with one id, the later. Gives how many were left out.
    pub fn new(messages: impl IntoIterator<Item = (i32, i32, tl::enums::Message)>) -> (Self, LeftOut) {
        let mut stored = Stored::default();
        let mut unreadable = 0;
        for (id, date, message) in messages {
            let start = stored.bytes.len();
            message.serialize(&mut stored.bytes);
            // Fields that share a flag make bytes that nobody can read; better found here than by a client.
            if tl::enums::Message::from_bytes(&stored.bytes[start..]).as_ref() != Ok(&message) {
                stored.bytes.truncate(start);
                unreadable += 1;
                continue;
            }
            stored.entries.push(Entry { id, date, start, end: stored.bytes.len() });
        }
        let told = stored.entries.len();
        // The sort is stable: reversed first, the later of two comes first and stays.
        stored.entries.reverse();
        stored.entries.sort_by_key(|entry| entry.id);
        stored.entries.dedup_by_key(|entry| entry.id);
        let doubled = u64::try_from(told - stored.entries.len()).unwrap_or(u64::MAX);
        (stored, LeftOut { doubled, unreadable })
    }

    /// Takes out what is newer than an id, ascending.
    pub fn split_off(&mut self, id: i32) -> Vec<(i32, tl::enums::Message)> {
        let at = self.entries.partition_point(|entry| entry.id <= id);
        let later = self.entries.split_off(at);
        let message = |entry: Entry| tl::enums::Message::from_bytes(&self.bytes[entry.start..entry.end]).ok();
        later.into_iter().filter_map(|entry| Some((entry.id, message(entry)?))).collect()
    }

    pub fn count(&self) -> usize {
        self.entries.len()
    }

    pub fn first_date(&self) -> i32 {
        self.entries.first().map_or(0, |entry| entry.date)
    }

    pub fn last_id(&self) -> i32 {
        self.entries.last().map_or(0, |entry| entry.id)
    }

    pub fn exists(&self, id: i32) -> bool {
        self.find(id).is_some()
    }

    pub fn message(&self, id: i32) -> Option<tl::enums::Message> {
        let entry = self.find(id)?;
        tl::enums::Message::from_bytes(&self.bytes[entry.start..entry.end]).ok()
    }

    pub fn ids_below(&self, below: i32) -> impl Iterator<Item = i32> + Send + '_ {
        let end = self.entries.partition_point(|entry| entry.id < below);
        self.entries[..end].iter().rev().map(|entry| entry.id)
    }

    pub fn ids_from(&self, id: i32) -> impl Iterator<Item = i32> + Send + '_ {
        let start = self.entries.partition_point(|entry| entry.id < id);
        self.entries[start..].iter().map(|entry| entry.id)
    }

    pub fn first_id_at(&self, date: i32) -> i32 {
        // Ids and dates grow together, apart from imported messages.
        let at = self.entries.partition_point(|entry| entry.date < date);
        self.entries.get(at).map_or_else(|| self.last_id().saturating_add(1), |entry| entry.id)
    }

    fn find(&self, id: i32) -> Option<Entry> {
        self.entries.binary_search_by_key(&id, |entry| entry.id).ok().map(|at| self.entries[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::wire;

    fn post(id: i32, text: &str) -> (i32, i32, tl::enums::Message) {
        let mut message = wire::message(-1_000_000_000_007, id, id * 10);
        message.message = text.to_owned();
        (id, id * 10, message.into())
    }

    #[test]
    fn a_poll_is_told_again_as_it_was() {
        let (id, date, mut message) = post(3, "");
        if let tl::enums::Message::Message(message) = &mut message {
            let answer = crate::world::media::Answer { text: "a".to_owned(), voters: 1, chosen: true };
            message.media = Some(crate::world::media::poll(9, "?".to_owned(), false, 1, vec![answer]));
        }
        let bytes = message.to_bytes();
        assert_eq!(tl::enums::Message::from_bytes(&bytes), Ok(message.clone()));
        assert_eq!(Stored::new([(id, date, message.clone())]).0.message(id), Some(message));
    }

    #[test]
    fn of_two_messages_with_one_id_the_later_stays() {
        let (stored, left_out) = Stored::new([post(5, "a"), post(2, "b"), post(5, "c")]);
        assert_eq!(left_out, LeftOut { doubled: 1, unreadable: 0 });
        assert_eq!(stored.ids_from(0).collect::<Vec<_>>(), [2, 5]);
        let Some(tl::enums::Message::Message(message)) = stored.message(5) else { panic!("5 is kept") };
        assert_eq!(message.message, "c");
        assert_eq!((stored.first_id_at(20), stored.first_id_at(21), stored.first_id_at(51)), (2, 5, 6));
        assert_eq!(stored.ids_below(5).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_is_newer_is_taken_out() {
        let (mut stored, _) = Stored::new([post(5, "a"), post(2, "b"), post(9, "c")]);
        let later: Vec<i32> = stored.split_off(2).into_iter().map(|(id, _)| id).collect();
        assert_eq!((later, stored.last_id(), stored.message(5)), (vec![5, 9], 2, None));
    }
}
