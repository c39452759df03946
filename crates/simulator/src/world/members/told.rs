//! Members as an export's messages tell of them: who wrote or was brought in, less who left.

use std::collections::HashMap;

use grammers_tl_types as tl;

use super::{Base, Member, Role};
use crate::world::chat::{Chat, ChatKind};
use crate::world::people::ME;

impl Base {
    pub(in crate::world) fn told_by(chat: &Chat) -> Base {
        let mut told = Telling::default();
        if chat.kind == ChatKind::Private {
            told.present(chat.id, chat.created, None);
            told.present(ME, chat.created, None);
        } else {
            chat.born_ids_from(1).filter_map(|id| chat.born_message(id)).for_each(|message| told.message(&message));
        }
        Base::Told(told.members.into_iter().flatten().collect())
    }
}

#[derive(Default)]
struct Telling {
    /// In the order of their first appearance; none: left since.
    members: Vec<Option<Member>>,
    places: HashMap<i64, usize>,
}

impl Telling {
    fn message(&mut self, message: &tl::enums::Message) {
        use tl::enums::MessageAction as A;
        let user = |peer: Option<&tl::enums::Peer>| match peer {
            Some(tl::enums::Peer::User(user)) => Some(user.user_id),
            _ => None,
        };
        match message {
            tl::enums::Message::Empty(_) => {}
            tl::enums::Message::Message(message) => {
                if let Some(user) = user(message.from_id.as_ref()) {
                    self.present(user, message.date, None);
                }
            }
            tl::enums::Message::Service(message) => {
                let (by, date) = (user(message.from_id.as_ref()), message.date);
                let came: &[i64] = match &message.action {
                    A::ChatCreate(action) => &action.users,
                    A::ChatAddUser(action) => &action.users,
                    A::ChatJoinedByLink(_) | A::ChatJoinedByRequest => by.as_slice(),
                    A::ChatDeleteUser(action) => return self.gone(action.user_id),
                    _ => &[],
                };
                if let Some(by) = by.filter(|by| !came.contains(by)) {
                    self.present(by, date, None);
                }
                came.iter().for_each(|&user| self.present(user, date, by.filter(|by| *by != user)));
                if matches!(message.action, A::ChatCreate(_) | A::ChannelCreate(_))
                    && let Some(member) = by.and_then(|by| self.members.get_mut(*self.places.get(&by)?)?.as_mut())
                {
                    member.role = Role::Creator { rank: None };
                }
            }
        }
    }

    fn present(&mut self, user: i64, date: i32, inviter: Option<i64>) {
        let place = self.places.get(&user).copied();
        if place.is_some_and(|place| self.members[place].is_some()) {
            return;
        }
        self.places.insert(user, self.members.len());
        self.members.push(Some(Member { user_id: user, role: Role::Member, date, inviter_id: inviter }));
    }

    fn gone(&mut self, user: i64) {
        if let Some(place) = self.places.get(&user) {
            self.members[*place] = None;
        }
    }
}
