//! The truth at any moment since the world began: what existed then, what each message said, who was in.

use serde::Serialize;

use crate::world::chat::Chat;
use crate::world::live::{Stood, What};
use crate::world::{Truth, World, WorldError};

/// One thing that became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionLine {
    pub chat_id: i64,
    pub message_id: i32,
    /// Number of the event; 0: it was there when the world began.
    pub event: u64,
    /// Unix time.
    pub date: i64,
    /// `born`, `posted`, `edited` or `deleted`.
    pub what: &'static str,
    /// Absent for a deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth: Option<Truth>,
}

impl World {
    /// What existed in a chat after an event (0: when the world began), oldest first.
    ///
    /// # Errors
    /// Where there is no such chat.
    pub fn truth_at(&self, chat: i64, event: u64) -> Result<impl Iterator<Item = Truth> + '_, WorldError> {
        let chat = self.chat(chat).ok_or(WorldError::NoChat(chat))?;
        Ok(chat
            .ids_ever()
            .into_iter()
            .filter_map(move |id| chat.message_at(id, event))
            .filter_map(|message| Truth::of(chat.id, &message)))
    }

    /// Every version of every message that events touched, by id, oldest first; first the one that the world began with.
    ///
    /// # Errors
    /// Where there is no such chat.
    pub fn versions(&self, chat: i64) -> Result<Vec<VersionLine>, WorldError> {
        let chat = self.chat(chat).ok_or(WorldError::NoChat(chat))?;
        let live = chat.read();
        let mut lines = Vec::new();
        for (id, versions) in live.touched() {
            let line = |event, date, what, truth| VersionLine { chat_id: chat.id, message_id: *id, event, date, what, truth };
            let born = chat.born_message(*id).and_then(|message| Truth::of(chat.id, &message));
            if let Some(truth) = born {
                lines.push(line(0, truth.content.date, "born", Some(truth)));
            }
            for version in versions {
                let truth = || version.message().and_then(|message| Truth::of(chat.id, &message));
                let (what, truth) = match version.what {
                    What::Posted(_) => ("posted", truth()),
                    What::Edited(_) => ("edited", truth()),
                    What::Deleted => ("deleted", None),
                    What::Touched(_) => continue,
                };
                lines.push(line(version.event, version.date.into(), what, truth));
            }
        }
        Ok(lines)
    }

    /// Everyone whose standing events changed, each change with its date: joins, leaves, bans, promotions.
    ///
    /// # Errors
    /// Where there is no such chat.
    pub fn standings(&self, chat: i64) -> Result<Vec<Stood>, WorldError> {
        let chat = self.chat(chat).ok_or(WorldError::NoChat(chat))?;
        let live = chat.read();
        let mut all: Vec<Stood> = live.standing.values().flatten().cloned().collect();
        all.sort_by_key(|stood| (stood.event, stood.user_id));
        Ok(all)
    }
}

impl Chat {
    /// One message as it was after an event.
    pub fn message_at(&self, id: i32, event: u64) -> Option<grammers_tl_types::enums::Message> {
        let live = self.read();
        let versions = live.versions(id);
        match versions.partition_point(|version| version.event <= event).checked_sub(1) {
            Some(at) => versions[at].message(),
            None => self.born_message(id),
        }
    }

    /// Where a user stood after an event; `None`: as at the beginning.
    pub fn stood_at(&self, user: i64, event: u64) -> Option<Stood> {
        let live = self.read();
        let all = live.standing.get(&user)?;
        let at = all.partition_point(|stood| stood.event <= event).checked_sub(1)?;
        all.get(at).cloned()
    }

    /// Every id that the chat gave out and that once held a message, ascending.
    fn ids_ever(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = self.born_ids_from(1).collect();
        let born = self.born_last();
        ids.extend(self.read().touched().map(|(id, _)| *id).filter(|id| *id > born));
        ids
    }
}
