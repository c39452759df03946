//! Chats → the fields of the `chat` document. A full constructor tells what is not there as JSON null; a partial one is silent.

use serde_json::{Value, json};

use super::entity::{fields, names, restriction, silence};
use super::media::photo_id;
use super::{date_text, file, user};
use crate::record::media::{MediaType, Told};
use crate::record::{Chat, ChatId, User};
use crate::telegram::tl;
use tl::enums::{ChatFull, ChatPhoto, ExportedChatInvite, InputChannel};

/// All chats of an answer that can be represented: empty ones and communities say nothing that is kept.
pub fn chats(told: &[tl::enums::Chat]) -> Vec<Chat> {
    told.iter().filter_map(chat).collect()
}

/// One chat as a fact.
pub fn chat(told: &tl::enums::Chat) -> Option<Chat> {
    match told {
        tl::enums::Chat::Empty(_) | tl::enums::Chat::Community(_) | tl::enums::Chat::CommunityForbidden(_) => None,
        tl::enums::Chat::Chat(it) => Some(group(it)),
        tl::enums::Chat::Channel(it) => Some(channel(it)),
        tl::enums::Chat::Forbidden(it) => Some(Chat {
            id: ChatId::group(it.id),
            kind: "group".into(),
            body: fields(json!({"title": it.title})),
            access_hash: None,
            min: true,
            avatar: None,
        }),
        tl::enums::Chat::ChannelForbidden(it) => Some(Chat {
            id: ChatId::channel(it.id),
            kind: if it.broadcast { "channel" } else { "supergroup" }.into(),
            body: fields(json!({"title": it.title})),
            access_hash: Some(it.access_hash),
            min: true,
            avatar: None,
        }),
    }
}

fn group(it: &tl::types::Chat) -> Chat {
    let mut body = fields(json!({
        "title": it.title, "photo": photo(&it.photo), "noforwards": it.noforwards, "created_date": date_text(it.date),
    }));
    if let Some(InputChannel::Channel(to)) = &it.migrated_to {
        body.insert("migrate_to_chat_id".into(), ChatId::channel(to.channel_id).0.into());
    }
    // A group that this account left, or that moved on, counts nobody.
    if !it.left && !it.deactivated {
        body.insert("members_count".into(), it.participants_count.into());
    }
    Chat { id: ChatId::group(it.id), kind: "group".into(), body, access_hash: None, min: false, avatar: avatar(&it.photo) }
}

fn channel(it: &tl::types::Channel) -> Chat {
    let kind = match it {
        it if it.broadcast => "channel",
        it if it.forum => "forum",
        _ => "supergroup",
    };
    let (username, usernames) = names(it.username.as_deref(), it.usernames.as_deref());
    let mut body = fields(json!({
        "title": it.title, "username": username, "usernames": usernames, "photo": photo(&it.photo),
        "is_verified": it.verified, "is_restricted": it.restricted, "is_scam": it.scam, "is_fake": it.fake,
        "is_forum": it.forum, "noforwards": it.noforwards, "restriction_reason": restriction(it.restriction_reason.as_deref()),
    }));
    // For a member the date is that of joining.
    if it.left {
        body.insert("created_date".into(), date_text(it.date).into());
    }
    if let Some(members) = it.participants_count {
        body.insert("members_count".into(), members.into());
    }
    if it.min {
        silence(&mut body);
    }
    Chat { id: ChatId::channel(it.id), kind: kind.into(), body, access_hash: it.access_hash, min: it.min, avatar: avatar(&it.photo) }
}

fn photo(photo: &ChatPhoto) -> Option<String> {
    match photo {
        ChatPhoto::Empty => None,
        ChatPhoto::Photo(it) => Some(format!("photo_{}", it.photo_id)),
    }
}

fn avatar(photo: &ChatPhoto) -> Option<Told> {
    match photo {
        ChatPhoto::Empty => None,
        ChatPhoto::Photo(it) => Some(file::avatar(it.photo_id, it.dc_id)),
    }
}

/// The facts of an answer to getFullChat or getFullChannel.
#[derive(Debug, Clone, PartialEq)]
pub struct FullChat {
    /// All chats of the answer; the one that was asked has its description and counts.
    pub chats: Vec<Chat>,
    pub users: Vec<User>,
    /// The chat that was asked.
    pub id: ChatId,
    /// The oldest id that this account sees; 1 is full sight.
    pub visible_from: i64,
    /// The channel's state.
    pub pts: Option<i32>,
}

/// One chat in full; None for a community.
pub fn full(answer: &tl::enums::messages::ChatFull) -> Option<FullChat> {
    let tl::enums::messages::ChatFull::Full(answer) = answer;
    let (id, body, photo, visible_from, pts) = match &answer.full_chat {
        ChatFull::Full(it) => {
            let body = json!({
                "description": some(&it.about), "photo": it.chat_photo.as_ref().and_then(photo_id),
                "pinned_message_id": it.pinned_msg_id, "invite_link": invite(it.exported_invite.as_ref()),
            });
            (ChatId::group(it.id), body, it.chat_photo.as_ref(), 1, None)
        }
        ChatFull::ChannelFull(it) => {
            let body = json!({
                "description": some(&it.about), "photo": photo_id(&it.chat_photo), "members_count": it.participants_count,
                "online_count": it.online_count, "pinned_message_id": it.pinned_msg_id,
                "invite_link": invite(it.exported_invite.as_ref()), "link_chat_id": it.linked_chat_id.map(ChatId::channel),
                "migrate_from_chat_id": it.migrated_from_chat_id.map(ChatId::group), "slow_mode_seconds": it.slowmode_seconds,
            });
            // available_min_id is the newest id that hidden history keeps from this account.
            (ChatId::channel(it.id), body, Some(&it.chat_photo), i64::from(it.available_min_id.unwrap_or(0)) + 1, Some(it.pts))
        }
        ChatFull::CommunityFull(_) => return None,
    };
    let mut body = fields(body);
    // Links and counts depend on rights: that they are not told says nothing.
    for key in ["invite_link", "members_count", "online_count"] {
        if body.get(key).is_some_and(Value::is_null) {
            body.remove(key);
        }
    }
    let mut chats = chats(&answer.chats);
    if let Some(chat) = chats.iter_mut().find(|chat| chat.id == id) {
        chat.body.extend(body);
        // In full: with its sizes, and what this account needs to address it as a photo.
        chat.avatar = photo.and_then(|photo| file::photo(photo, MediaType::Avatar)).or(chat.avatar.take());
    }
    Some(FullChat { chats, users: user::users(&answer.users), id, visible_from, pts })
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn invite(invite: Option<&ExportedChatInvite>) -> Option<String> {
    match invite? {
        ExportedChatInvite::ChatInviteExported(it) => Some(it.link.clone()),
        ExportedChatInvite::ChatInvitePublicJoinRequests => None,
    }
}
