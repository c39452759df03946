//! The world behind the datacentre: chats, their messages, people and files, and the truth about them.
//!
//! Two sources: generated from a seed (a message is computed when asked for, so that a million cost nothing), or loaded from an
//! export of Telegram Desktop. Nothing here knows of accounts, connections or access hashes: those are the server's.

mod build;
mod chat;
pub(crate) mod content;
mod error;
pub mod events;
mod export;
mod file;
mod files;
mod generated;
pub(crate) mod live;
pub(crate) mod media;
mod members;
mod people;
mod phrases;
mod picture;
mod portrait;
mod rules;
mod stored;
mod text;
mod truth;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Mutex;

pub use chat::{Chat, ChatKind};
pub use error::WorldError;
pub use events::{Event, EventError, Post, Record, Timed};
pub use export::Notes;
pub use files::FileTruth;
pub use generated::{GeneratedChat, Language, MediaMix};
pub use live::{Restriction, Standing, Stood};
pub use members::{AdminRights, BannedRights, Member, Members, Membership, OwnRole, Role};
pub use people::Person;
pub use rules::Rules;
pub use truth::{Content, Media, Truth};
pub(crate) use wire::peer;
pub use wire::{marked, peers_of};

/// The home datacentre; files live there too, unless the world says otherwise.
pub const DC_ID: i32 = 2;

/// All that exists: what a collector could see with every right.
#[derive(Debug)]
pub struct World {
    seed: u64,
    chats: Vec<Chat>,
    by_id: HashMap<i64, usize>,
    people: BTreeMap<i64, Person>,
    /// Bytes on disk by photo or document id; generated ones are computed.
    files: HashMap<i64, PathBuf>,
    /// SHA-256 of files that were hashed once.
    hashes: Mutex<HashMap<i64, [u8; 32]>>,
    /// Whether the people of generated worlds live in this one.
    generated: bool,
    /// The datacentres that files lie in, each in one of them; empty: all at home.
    pub file_dcs: Vec<i32>,
    /// What loading an export could not represent or did not find.
    notes: Notes,
    happened: events::Happened,
    /// How the server limits calls; absent: not at all.
    pub rules: Option<Rules>,
    /// The user on whose side private chats are told (`out` messages are theirs). The server gives an account this id unless the
    /// account asks for another.
    pub me: i64,
}

impl World {
    /// The chats that the world began with, in the order of the world file or export.
    pub fn chats(&self) -> &[Chat] {
        &self.chats
    }

    /// Those, and then the ones that events made.
    pub fn all_chats(&self) -> impl Iterator<Item = &Chat> {
        self.chats.iter().chain(self.happened.made.iter())
    }

    /// A chat by its marked id.
    pub fn chat(&self, id: i64) -> Option<&Chat> {
        let born = self.by_id.get(&id).map(|&at| &self.chats[at]);
        born.or_else(|| self.happened.made.iter().find(|chat| chat.id == id))
    }

    /// A chat by the username that it has now, without `@`, in any case.
    pub fn chat_named(&self, username: &str) -> Option<&Chat> {
        self.all_chats().find(|chat| chat.username().is_some_and(|name| name.eq_ignore_ascii_case(username)))
    }

    /// Everyone who wrote, was forwarded or is talked with, by user id.
    pub fn users(&self) -> &BTreeMap<i64, Person> {
        &self.people
    }

    /// One user.
    pub fn user(&self, id: i64) -> Option<&Person> {
        self.people.get(&id)
    }

    /// Anyone who exists, as at the beginning: those of [`World::users`], and who is computed when asked for.
    fn born_person(&self, id: i64) -> Option<Person> {
        match self.people.get(&id) {
            Some(person) => Some(person.clone()),
            None => people::of_the_crowd(self.seed, id).filter(|_| self.generated),
        }
    }

    /// Whose username this was at the beginning, in any case.
    fn born_person_named(&self, username: &str) -> Option<Person> {
        let is_named = |person: &Person| person.username.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(username));
        let known = self.people.values().find(|person| is_named(person)).cloned();
        known.or_else(|| self.born_person(people::reader_named(username)?).filter(is_named))
    }

    /// Everyone who is or was in a chat, or is banned from it, in the order of joining; accounts that the world does not know are
    /// the server's.
    pub fn members(&self, chat: i64) -> Result<impl Iterator<Item = Member> + '_, WorldError> {
        Ok(self.chat(chat).ok_or(WorldError::NoChat(chat))?.roster().iter())
    }

    /// What an export held that could not be represented, counted by name; empty for generated worlds.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Deletes messages as their author would. Gives the ids that existed until now; the chat's pts grows by their number.
    pub fn delete(&self, chat: i64, ids: &[i32]) -> Result<Vec<i32>, WorldError> {
        let record = self.play(Event::Delete { chat, ids: ids.to_vec() }).map_err(|_| WorldError::NoChat(chat))?;
        Ok(record.deleted())
    }

    /// What exists in a chat now, oldest first.
    pub fn truth(&self, chat: i64) -> Result<impl Iterator<Item = Truth> + '_, WorldError> {
        let chat = self.chat(chat).ok_or(WorldError::NoChat(chat))?;
        Ok(chat.ids_from(1).filter_map(|id| chat.message(id)).filter_map(|message| Truth::of(chat.id, &message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of a test's own, gone with it.
    pub(super) struct Folder(PathBuf);

    impl std::ops::Deref for Folder {
        type Target = std::path::Path;

        fn deref(&self) -> &std::path::Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What cannot be removed is the temporary folder's own concern.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub(super) fn folder(name: &str) -> Folder {
        let name = format!("telekeep-simulator-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        Folder(folder)
    }

    #[test]
    fn what_is_deleted_exists_no_more_and_moves_pts() {
        let world = World::channel(100);
        let chat = &world.chats()[0];
        let (count, pts) = (chat.count(), chat.pts());
        assert_eq!(world.delete(chat.id, &[100, 7, 7, 5_000]).expect("exists"), [100, 7]);
        assert!(world.delete(chat.id, &[7]).expect("exists").is_empty());
        assert_eq!((chat.count(), chat.pts(), chat.top()), (count - 2, pts + 2, 99));
        assert!(chat.message(7).is_none() && !chat.exists(7));
        assert!(world.truth(chat.id).expect("exists").all(|truth| truth.content.message_id != 7));
        assert!(matches!(world.delete(5, &[1]), Err(WorldError::NoChat(5))));
    }
}
