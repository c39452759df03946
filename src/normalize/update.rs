//! Updates → what happened. What a workflow may want to know is named; what nobody keeps (typing, reading, online) is dropped.

use serde_json::{Map, Value};

use super::{chat, chat_id, member, message, user};
use crate::record::message::Counts;
use crate::record::stream::{Event, Gone, Happened};
use crate::record::{ChatId, User};
use crate::telegram::tl;
use crate::telegram::updates::Ordered;
use tl::enums::Update;

/// What happened, as one account heard it. `me` is the account's own user.
pub fn happened(updates: &[Ordered], chats: &[tl::enums::Chat], users: &[tl::enums::User], me: i64) -> Happened {
    let mut all = Happened { chats: chat::chats(chats), users: user::users(users), ..Happened::default() };
    for ordered in updates {
        add(&mut all, ordered, chats, me);
    }
    all
}

fn add(all: &mut Happened, ordered: &Ordered, chats: &[tl::enums::Chat], me: i64) {
    let channel = ChatId::channel;
    match &ordered.update {
        Update::NewMessage(it) => told(all, &it.message, ordered.pts, me),
        Update::NewChannelMessage(it) => told(all, &it.message, ordered.pts, me),
        Update::EditMessage(it) => told(all, &it.message, ordered.pts, me),
        Update::EditChannelMessage(it) => told(all, &it.message, ordered.pts, me),
        Update::DeleteMessages(it) => gone(all, None, &it.messages),
        Update::DeleteChannelMessages(it) => gone(all, Some(channel(it.channel_id)), &it.messages),
        Update::PinnedMessages(it) => pinned(all, chat_id(&it.peer), &it.messages, it.pinned),
        Update::PinnedChannelMessages(it) => pinned(all, channel(it.channel_id), &it.messages, it.pinned),
        Update::ChannelMessageViews(it) => {
            let counts = Counts { views: Some(it.views.into()), ..Counts::of(it.id.into()) };
            all.counts.push((channel(it.channel_id), counts));
        }
        Update::ChannelMessageForwards(it) => {
            let counts = Counts { forwards: Some(it.forwards.into()), ..Counts::of(it.id.into()) };
            all.counts.push((channel(it.channel_id), counts));
        }
        Update::MessageReactions(it) => {
            let counts = Counts { reactions: Some(message::reaction_counts(&it.reactions)), ..Counts::of(it.msg_id.into()) };
            all.counts.push((chat_id(&it.peer), counts));
        }
        Update::Channel(it) => membership(all, channel(it.channel_id), chats),
        Update::Chat(it) => membership(all, ChatId::group(it.chat_id), chats),
        Update::ChannelAvailableMessages(it) => all.events.push((channel(it.channel_id), Event::Changed)),
        Update::ChatDefaultBannedRights(it) => all.events.push((chat_id(&it.peer), Event::Changed)),
        Update::PeerHistoryTtl(it) => all.events.push((chat_id(&it.peer), Event::Changed)),
        Update::UserName(it) => all.renamed.push(renamed(it)),
        other => all.relations.extend(member::of_update(other)),
    }
}

fn told(all: &mut Happened, it: &tl::enums::Message, pts: Option<i32>, me: i64) {
    let Some(mut fact) = message::message(it) else { return };
    fact.pts = pts;
    if let tl::enums::Message::Service(service) = it {
        action(all, fact.chat, service, me);
    }
    all.messages.push(fact);
}

/// What a service message means for its chat.
fn action(all: &mut Happened, chat: ChatId, it: &tl::types::MessageService, me: i64) {
    use tl::enums::MessageAction as Action;
    let by = match &it.from_id {
        Some(tl::enums::Peer::User(user)) => Some(user.user_id),
        _ => None,
    };
    let event = match &it.action {
        Action::ChatEditTitle(_)
        | Action::ChatEditPhoto(_)
        | Action::ChatDeletePhoto
        | Action::PinMessage
        | Action::SetMessagesTtl(_)
        | Action::TopicCreate(_)
        | Action::TopicEdit(_) => Event::Changed,
        Action::ChatAddUser(add) if add.users.contains(&me) => Event::Joined,
        Action::ChatJoinedByLink(_) | Action::ChatJoinedByRequest if by == Some(me) => Event::Joined,
        Action::ChatDeleteUser(gone) if gone.user_id == me => Event::Left,
        Action::ChatMigrateTo(to) => return all.migrations.push((chat, ChatId::channel(to.channel_id))),
        Action::ChannelMigrateFrom(from) => return all.migrations.push((ChatId::group(from.chat_id), chat)),
        _ => return,
    };
    all.events.push((chat, event));
}

/// Something about the account's own place in a chat changed; the chat beside it tells what.
fn membership(all: &mut Happened, id: ChatId, chats: &[tl::enums::Chat]) {
    use tl::enums::Chat;
    let out = chats.iter().any(|told| match told {
        Chat::ChannelForbidden(it) => ChatId::channel(it.id) == id,
        Chat::Forbidden(it) => ChatId::group(it.id) == id,
        Chat::Channel(it) => ChatId::channel(it.id) == id && it.left,
        Chat::Chat(it) => ChatId::group(it.id) == id && (it.left || it.deactivated),
        _ => false,
    });
    all.events.push((id, if out { Event::Left } else { Event::Changed }));
}

fn gone(all: &mut Happened, channel: Option<ChatId>, ids: &[i32]) {
    all.deletions.push(Gone { channel, ids: ids.iter().map(|id| i64::from(*id)).collect() });
}

fn pinned(all: &mut Happened, chat: ChatId, ids: &[i32], pinned: bool) {
    all.counts.extend(ids.iter().map(|id| (chat, Counts { pinned: Some(pinned), ..Counts::of((*id).into()) })));
    all.events.push((chat, Event::Changed));
}

/// Names alone: the rest of the user is not told.
fn renamed(it: &tl::types::UpdateUserName) -> User {
    let (username, usernames) = super::entity::names(None, Some(&it.usernames));
    let mut body = Map::new();
    let named = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    body.insert("first_name".into(), named(&it.first_name));
    body.insert("last_name".into(), named(&it.last_name));
    body.insert("username".into(), username.into());
    body.insert("usernames".into(), usernames.into());
    User { id: it.user_id, body, access_hash: None, min: false, avatar: None }
}
