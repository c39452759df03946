//! Participants → what is said of somebody in a chat.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::entity::fields;
use super::{chat_id, date, date_text, user};
use crate::record::member::{Relation, Said, Standing, Status, When};
use crate::record::{Chat, ChatId, User};
use crate::telegram::tl;
use tl::enums::{ChannelParticipant, ChatAdminRights, ChatBannedRights, ChatParticipant, ChatParticipants, Update};

/// The facts of one answer that lists members.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemberPage {
    /// In the order of the answer.
    pub relations: Vec<Relation>,
    pub chats: Vec<Chat>,
    pub users: Vec<User>,
    /// How many Telegram says the list has.
    pub count: i64,
}

/// The facts of a page of a channel's or supergroup's list.
pub fn page(chat: ChatId, told: &tl::types::channels::ChannelParticipants, when: When) -> MemberPage {
    let relations = told.participants.iter().map(|participant| channel_participant(chat, participant, when)).collect();
    let (chats, users) = (super::chat::chats(&told.chats), user::users(&told.users));
    MemberPage { relations, chats, users, count: told.count.into() }
}

/// The facts of a basic group's list; None: it is not shown to this account.
pub fn group(chat: ChatId, told: &ChatParticipants, when: When) -> Option<Vec<Relation>> {
    match told {
        ChatParticipants::Participants(all) => {
            Some(all.participants.iter().map(|participant| group_participant(chat, participant, when)).collect())
        }
        ChatParticipants::Forbidden(_) => None,
    }
}

/// What a description says of the list of members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// The chat's own number.
    pub count: Option<i64>,
    /// Whether the account may see the list.
    pub is_shown: bool,
}

/// What a channel's or supergroup's description says of its members; None for other chats.
pub fn membership(full: &crate::telegram::FullChat) -> Option<Membership> {
    let crate::telegram::FullChat::Chat(full) = full else { return None };
    let tl::enums::ChatFull::ChannelFull(it) = &full.full_chat else { return None };
    Some(Membership { count: it.participants_count.map(i64::from), is_shown: it.can_view_participants })
}

/// The list of a basic group's description; None for other chats.
pub fn participants(full: &crate::telegram::FullChat) -> Option<&ChatParticipants> {
    let crate::telegram::FullChat::Chat(full) = full else { return None };
    let tl::enums::ChatFull::Full(it) = &full.full_chat else { return None };
    Some(&it.participants)
}

/// One participant of a channel or supergroup.
pub fn channel_participant(chat: ChatId, told: &ChannelParticipant, when: When) -> Relation {
    let (user, standing) = match told {
        ChannelParticipant::Participant(it) => {
            let body = json!({"title": it.rank, "until_date": it.subscription_until_date.and_then(date_text)});
            (it.user_id, standing(Status::Member, true, body, Some(it.date), None))
        }
        ChannelParticipant::ParticipantSelf(it) => {
            let body = json!({"title": it.rank, "until_date": it.subscription_until_date.and_then(date_text)});
            (it.user_id, standing(Status::Member, true, body, Some(it.date), other(it.inviter_id, it.user_id)))
        }
        ChannelParticipant::Creator(it) => {
            (it.user_id, standing(Status::Creator, true, administers(&it.admin_rights, it.rank.as_deref(), None), None, None))
        }
        ChannelParticipant::Admin(it) => {
            let body = administers(&it.admin_rights, it.rank.as_deref(), Some(it.promoted_by));
            let invited_by = it.inviter_id.and_then(|by| other(by, it.user_id));
            (it.user_id, standing(Status::Administrator, true, body, Some(it.date), invited_by))
        }
        ChannelParticipant::Banned(it) => {
            let (rights, until) = denied(&it.banned_rights);
            let is_banned = rights.contains(&"view_messages");
            let body = json!({
                "title": it.rank, "rights": rights, "until_date": date_text(until), "restricted_by_id": it.kicked_by,
            });
            let status = if is_banned { Status::Banned } else { Status::Restricted };
            // Of one who is out it may be the date of that.
            let joined = (!it.left && !is_banned).then_some(it.date);
            (chat_id(&it.peer).0, standing(status, !it.left && !is_banned, body, joined, None))
        }
        ChannelParticipant::Left(it) => (chat_id(&it.peer).0, standing(Status::Left, false, json!({}), None, None)),
    };
    Relation { chat, user, said: Said::Is(standing), when }
}

/// One participant of a basic group.
pub fn group_participant(chat: ChatId, told: &ChatParticipant, when: When) -> Relation {
    let (user, standing) = match told {
        ChatParticipant::Participant(it) => {
            let body = json!({"title": it.rank});
            (it.user_id, standing(Status::Member, true, body, Some(it.date), other(it.inviter_id, it.user_id)))
        }
        ChatParticipant::Creator(it) => (it.user_id, standing(Status::Creator, true, json!({"title": it.rank}), None, None)),
        ChatParticipant::Admin(it) => {
            let body = json!({"title": it.rank});
            (it.user_id, standing(Status::Administrator, true, body, Some(it.date), other(it.inviter_id, it.user_id)))
        }
    };
    Relation { chat, user, said: Said::Is(standing), when }
}

/// What an update tells of members apart from messages.
pub fn of_update(update: &Update) -> Vec<Relation> {
    let one = |chat: ChatId, user: i64, said: Said, when: When| vec![Relation { chat, user, said, when }];
    match update {
        Update::ChannelParticipant(it) => {
            let (chat, when) = (ChatId::channel(it.channel_id), dated(it.date));
            match &it.new_participant {
                Some(told) => vec![channel_participant(chat, told, when)],
                None => {
                    let was_out = matches!(&it.prev_participant, Some(ChannelParticipant::Banned(it)) if it.left);
                    let by = other(it.actor_id, it.user_id);
                    one(chat, it.user_id, Said::Is(out(it.date, by, was_out)), when)
                }
            }
        }
        Update::ChatParticipant(it) => {
            let (chat, when) = (ChatId::group(it.chat_id), dated(it.date));
            match &it.new_participant {
                Some(told) => vec![group_participant(chat, told, when)],
                None => {
                    let by = other(it.actor_id, it.user_id);
                    one(chat, it.user_id, Said::Is(out(it.date, by, false)), when)
                }
            }
        }
        Update::ChatParticipantAdd(it) => {
            let said = Said::Came { by: other(it.inviter_id, it.user_id) };
            one(ChatId::group(it.chat_id), it.user_id, said, dated(it.date))
        }
        Update::ChatParticipantDelete(it) => one(ChatId::group(it.chat_id), it.user_id, Said::Left { by: None }, When::Heard),
        Update::ChatParticipantAdmin(it) => {
            one(ChatId::group(it.chat_id), it.user_id, Said::Administrator(it.is_admin), When::Heard)
        }
        Update::ChatParticipantRank(it) => {
            let title = (!it.rank.is_empty()).then(|| it.rank.clone());
            one(ChatId::group(it.chat_id), it.user_id, Said::Title(title), When::Heard)
        }
        Update::ChatParticipants(it) => {
            let id = match &it.participants {
                ChatParticipants::Participants(all) => all.chat_id,
                ChatParticipants::Forbidden(none) => none.chat_id,
            };
            group(ChatId::group(id), &it.participants, When::Heard).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

fn dated(seconds: i32) -> When {
    date(seconds).map_or(When::Heard, |date| When::Dated { date, message: None })
}

fn standing(status: Status, present: bool, body: Value, joined: Option<i32>, invited_by: Option<i64>) -> Standing {
    let mut fields: Map<String, Value> = fields(body);
    fields.retain(|_, value| !value.is_null());
    let joined: Option<DateTime<Utc>> = joined.and_then(date);
    Standing { status, present, fields, joined, invited_by }
}

/// Is nothing here any more. Of one who was out already, as banned, the date is that of the ban's end.
fn out(seconds: i32, by: Option<i64>, was_out: bool) -> Standing {
    let left = if was_out { json!({}) } else { json!({"left_at": date_text(seconds), "removed_by_id": by}) };
    standing(Status::Left, false, left, None, None)
}

/// Who came in alone is told as invited by themselves.
fn other(by: i64, user: i64) -> Option<i64> {
    (by != user && by != 0).then_some(by)
}

fn administers(rights: &ChatAdminRights, rank: Option<&str>, promoted_by: Option<i64>) -> Value {
    let rights = allowed(rights);
    let is_anonymous = rights.contains(&"anonymous");
    json!({"title": rank, "rights": rights, "promoted_by_id": promoted_by, "is_anonymous": is_anonymous})
}

/// What an administrator may, named as in the schema: <https://core.telegram.org/constructor/chatAdminRights>.
fn allowed(ChatAdminRights::Rights(it): &ChatAdminRights) -> Vec<&'static str> {
    // Taken apart, so that a right that a layer adds is not forgotten.
    let tl::types::ChatAdminRights {
        change_info,
        post_messages,
        edit_messages,
        delete_messages,
        ban_users,
        invite_users,
        pin_messages,
        add_admins,
        anonymous,
        manage_call,
        other,
        manage_topics,
        post_stories,
        edit_stories,
        delete_stories,
        manage_direct_messages,
        manage_ranks,
        manage_linked_peers,
        manage_welcome_messages,
    } = *it;
    named(&[
        ("change_info", change_info),
        ("post_messages", post_messages),
        ("edit_messages", edit_messages),
        ("delete_messages", delete_messages),
        ("ban_users", ban_users),
        ("invite_users", invite_users),
        ("pin_messages", pin_messages),
        ("add_admins", add_admins),
        ("anonymous", anonymous),
        ("manage_call", manage_call),
        ("other", other),
        ("manage_topics", manage_topics),
        ("post_stories", post_stories),
        ("edit_stories", edit_stories),
        ("delete_stories", delete_stories),
        ("manage_direct_messages", manage_direct_messages),
        ("manage_ranks", manage_ranks),
        ("manage_linked_peers", manage_linked_peers),
        ("manage_welcome_messages", manage_welcome_messages),
    ])
}

/// What a restricted or banned one may not, and until when (0: for ever): <https://core.telegram.org/constructor/chatBannedRights>.
fn denied(ChatBannedRights::Rights(it): &ChatBannedRights) -> (Vec<&'static str>, i32) {
    let tl::types::ChatBannedRights {
        view_messages,
        send_messages,
        send_media,
        send_stickers,
        send_gifs,
        send_games,
        send_inline,
        embed_links,
        send_polls,
        change_info,
        invite_users,
        pin_messages,
        manage_topics,
        send_photos,
        send_videos,
        send_roundvideos,
        send_audios,
        send_voices,
        send_docs,
        send_plain,
        edit_rank,
        send_reactions,
        manage_linked_peers,
        until_date,
    } = *it;
    let names = named(&[
        ("view_messages", view_messages),
        ("send_messages", send_messages),
        ("send_media", send_media),
        ("send_stickers", send_stickers),
        ("send_gifs", send_gifs),
        ("send_games", send_games),
        ("send_inline", send_inline),
        ("embed_links", embed_links),
        ("send_polls", send_polls),
        ("change_info", change_info),
        ("invite_users", invite_users),
        ("pin_messages", pin_messages),
        ("manage_topics", manage_topics),
        ("send_photos", send_photos),
        ("send_videos", send_videos),
        ("send_roundvideos", send_roundvideos),
        ("send_audios", send_audios),
        ("send_voices", send_voices),
        ("send_docs", send_docs),
        ("send_plain", send_plain),
        ("edit_rank", edit_rank),
        ("send_reactions", send_reactions),
        ("manage_linked_peers", manage_linked_peers),
    ]);
    (names, until_date)
}

fn named(flags: &[(&'static str, bool)]) -> Vec<&'static str> {
    flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect()
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
