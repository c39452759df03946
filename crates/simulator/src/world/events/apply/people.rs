//! Who comes and goes, and chats that begin or move with their people.

use grammers_tl_types as tl;
use tl::enums::MessageAction as Action;

use super::{Effect, Notice, Stage, impossible};
use crate::world::chat::{Chat, ChatKind};
use crate::world::events::{Event, EventError, Way};
use crate::world::live::{Standing, Stood};

impl Stage<'_> {
    pub(super) fn move_people(&mut self, event: &Event) -> Result<(), EventError> {
        match event {
            Event::Join { chat, user, by } => {
                let chat = self.chat_of_many("chat", *chat)?;
                self.user("user", *user)?;
                self.let_in(chat, "user", *user)?;
                self.stand(chat, *user, *user, Standing::Member);
                let action = match by {
                    Way::Own => tl::types::MessageActionChatAddUser { users: vec![*user] }.into(),
                    Way::Link => tl::types::MessageActionChatJoinedByLink { inviter_id: self.world.me }.into(),
                    Way::Request => Action::ChatJoinedByRequest,
                };
                self.serve_in_groups(chat, action, *user);
            }
            Event::Request { chat, user } => {
                let chat = self.chat_of_many("chat", *chat)?;
                self.user("user", *user)?;
                self.let_in(chat, "user", *user)?;
                chat.write().profile.requests.insert(*user);
            }
            Event::Invite { chat, users, by } => {
                let chat = self.chat_of_many("chat", *chat)?;
                self.user("by", *by)?;
                for user in users {
                    self.user("users", *user)?;
                    self.let_in(chat, "users", *user)?;
                }
                users.iter().for_each(|user| self.stand(chat, *user, *by, Standing::Member));
                let action = tl::types::MessageActionChatAddUser { users: users.clone() };
                self.serve_in_groups(chat, action.into(), *by);
            }
            Event::Leave { chat, user } => {
                let chat = self.chat_of_many("chat", *chat)?;
                self.user("user", *user)?;
                // Those who go still receive the message that tells of it in a basic group.
                self.serve_in_groups(chat, tl::types::MessageActionChatDeleteUser { user_id: *user }.into(), *user);
                self.stand(chat, *user, *user, Standing::Left);
            }
            Event::Kick { chat, user, by } | Event::Ban { chat, user, by, .. } => {
                let chat = self.chat_of_many("chat", *chat)?;
                self.user("user", *user)?;
                self.user("by", *by)?;
                self.serve_in_groups(chat, tl::types::MessageActionChatDeleteUser { user_id: *user }.into(), *by);
                let standing = match event {
                    Event::Ban { until, .. } => Standing::Banned { until: *until },
                    _ => Standing::Left,
                };
                self.stand(chat, *user, *by, standing);
            }
            Event::Unban { chat, user, by } => {
                let chat = self.chat_of_many("chat", *chat)?;
                self.user("by", *by)?;
                let standing = match chat.stands(self.user("user", *user)?).map(|stood| stood.standing) {
                    Some(Standing::Banned { .. }) => Standing::Left,
                    Some(Standing::Restricted { .. }) => Standing::Member,
                    _ => return Err(impossible("user", format!("{user} is not banned"))),
                };
                self.stand(chat, *user, *by, standing);
            }
            Event::Promote { chat, user, by, standing } => {
                let chat = self.chat_of_many("chat", *chat)?;
                self.user("user", *user)?;
                self.user("by", *by)?;
                self.stand(chat, *user, *by, standing.clone());
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        kind: ChatKind,
        id: Option<i64>,
        title: &str,
        username: Option<&str>,
        users: &[i64],
    ) -> Result<(), EventError> {
        if kind == ChatKind::Private {
            return Err(impossible("kind", "a private chat is made by the world, not by an event".to_owned()));
        }
        let id = self.free_id("chat", kind, id)?;
        for user in users {
            self.user("users", *user)?;
        }
        if let Some(name) = username {
            self.free("username", name)?;
        }
        let creator = users.first().copied().unwrap_or(self.world.me);
        let mut chat = Chat::made(id, kind, title.to_owned(), self.date);
        chat.username = username.map(str::to_owned);
        let chat = self.world.happened.made.push_get(Box::new(chat));
        let action = if kind.is_channel() {
            tl::types::MessageActionChannelCreate { title: title.to_owned() }.into()
        } else {
            tl::types::MessageActionChatCreate { title: title.to_owned(), users: users.to_vec() }.into()
        };
        for user in users {
            let standing = if *user == creator { Standing::Creator } else { Standing::Member };
            self.stand(chat, *user, creator, standing);
        }
        self.serve(chat, action, (kind != ChatKind::Channel).then_some(creator), None);
        Ok(())
    }

    /// <https://core.telegram.org/api/channel#migration>
    pub(super) fn migrate(&mut self, group: i64, to: Option<i64>) -> Result<(), EventError> {
        let group = self.chat("chat", group)?;
        if group.kind != ChatKind::Group || group.migrated_to().is_some() {
            return Err(impossible("chat", "is no basic group, or one no more".to_owned()));
        }
        let to = self.free_id("to", ChatKind::Supergroup, to)?;
        let mut chat = Chat::made(to, ChatKind::Supergroup, group.title(), self.date);
        (chat.about, chat.photo) = (group.about(), group.photo());
        let chat = self.world.happened.made.push_get(Box::new(chat));
        let action = tl::types::MessageActionChatMigrateTo { channel_id: chat.bare_id() };
        let last = self.serve(group, action.into(), Some(self.world.me), None);
        // Nobody is left behind.
        chat.roster().take_over(group.roster());
        {
            let mut made = chat.write();
            made.profile.migrated_from = Some((group.id, last));
            let mut live = group.write();
            live.profile.migrated_to = Some(chat.id);
            for stood in live.standing.values().filter_map(|stood| stood.last()) {
                let stood = Stood { event: self.number, date: self.date, after: 0, ..stood.clone() };
                made.standing.insert(stood.user_id, vec![stood]);
            }
        }
        let action = tl::types::MessageActionChannelMigrateFrom { title: group.title(), chat_id: group.bare_id() };
        self.serve(chat, action.into(), Some(self.world.me), None);
        self.notice(chat, Notice::Chat);
        self.notice(group, Notice::Chat);
        Ok(())
    }

    fn stand(&mut self, chat: &Chat, user: i64, by: i64, standing: Standing) {
        let after = chat.last_id();
        let mut live = chat.write();
        let before = live.stands(user).cloned();
        live.profile.version += 1;
        if standing.is_member() {
            live.profile.requests.remove(&user);
        }
        let after = match &before {
            Some(before) if before.standing.is_member() => before.after,
            _ => after,
        };
        let stood = Stood { user_id: user, event: self.number, date: self.date, by, standing, after };
        live.standing.entry(user).or_default().push(stood.clone());
        drop(live);
        chat.enroll(stood);
        self.effects.push(Effect::Stands { chat: chat.id, user, before });
    }
}
