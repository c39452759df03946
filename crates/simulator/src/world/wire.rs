//! TL objects in full, from the few fields that the world knows.

use grammers_tl_types as tl;

use super::chat::{Chat, ChatKind};
use super::live::Restriction;

/// A marked id as a peer.
pub(crate) fn peer(marked: i64) -> tl::enums::Peer {
    if marked <= -1_000_000_000_000 {
        tl::types::PeerChannel { channel_id: -1_000_000_000_000 - marked }.into()
    } else if marked < 0 {
        tl::types::PeerChat { chat_id: -marked }.into()
    } else {
        tl::types::PeerUser { user_id: marked }.into()
    }
}

/// A peer as a marked id.
pub fn marked(peer: &tl::enums::Peer) -> i64 {
    match peer {
        tl::enums::Peer::User(user) => user.user_id,
        tl::enums::Peer::Chat(chat) => -chat.chat_id,
        tl::enums::Peer::Channel(channel) => -1_000_000_000_000 - channel.channel_id,
    }
}

/// Marked ids of all that a message names, and that an answer must therefore tell in `users` and `chats`.
pub fn peers_of(message: &tl::enums::Message) -> Vec<i64> {
    let mut peers = Vec::new();
    match message {
        tl::enums::Message::Empty(_) => {}
        tl::enums::Message::Message(message) => {
            peers.push(marked(&message.peer_id));
            peers.extend(message.from_id.as_ref().map(marked));
            peers.extend(message.via_bot_id);
            if let Some(tl::enums::MessageFwdHeader::Header(forward)) = &message.fwd_from {
                peers.extend(forward.from_id.as_ref().map(marked));
                peers.extend(forward.saved_from_peer.as_ref().map(marked));
            }
            peers.extend(reply_peer(message.reply_to.as_ref()));
            for entity in message.entities.iter().flatten() {
                if let tl::enums::MessageEntity::MentionName(mention) = entity {
                    peers.push(mention.user_id);
                }
            }
        }
        tl::enums::Message::Service(message) => {
            peers.push(marked(&message.peer_id));
            peers.extend(message.from_id.as_ref().map(marked));
            peers.extend(reply_peer(message.reply_to.as_ref()));
            match &message.action {
                tl::enums::MessageAction::ChatAddUser(action) => peers.extend(&action.users),
                tl::enums::MessageAction::ChatCreate(action) => peers.extend(&action.users),
                tl::enums::MessageAction::ChatDeleteUser(action) => peers.push(action.user_id),
                _ => {}
            }
        }
    }
    peers.sort_unstable();
    peers.dedup();
    peers
}

fn reply_peer(header: Option<&tl::enums::MessageReplyHeader>) -> Option<i64> {
    match header {
        Some(tl::enums::MessageReplyHeader::Header(header)) => header.reply_to_peer_id.as_ref().map(marked),
        _ => None,
    }
}

/// A message without content.
pub(super) fn message(chat: i64, id: i32, date: i32) -> tl::types::Message {
    tl::types::Message {
        out: false,
        mentioned: false,
        media_unread: false,
        silent: false,
        post: false,
        from_scheduled: false,
        legacy: false,
        edit_hide: false,
        pinned: false,
        noforwards: false,
        invert_media: false,
        offline: false,
        video_processing_pending: false,
        paid_suggested_post_stars: false,
        paid_suggested_post_ton: false,
        id,
        from_id: None,
        from_boosts_applied: None,
        from_rank: None,
        peer_id: peer(chat),
        saved_peer_id: None,
        fwd_from: None,
        via_bot_id: None,
        via_business_bot_id: None,
        guestchat_via_from: None,
        reply_to: None,
        date,
        message: String::new(),
        media: None,
        reply_markup: None,
        entities: None,
        views: None,
        forwards: None,
        replies: None,
        edit_date: None,
        post_author: None,
        grouped_id: None,
        reactions: None,
        restriction_reason: None,
        ttl_period: None,
        quick_reply_shortcut_id: None,
        effect: None,
        factcheck: None,
        report_delivery_until_date: None,
        paid_message_stars: None,
        suggested_post: None,
        schedule_repeat_period: None,
        summary_from_language: None,
        rich_message: None,
    }
}

/// A service message.
pub(super) fn service(chat: i64, id: i32, date: i32, action: tl::enums::MessageAction) -> tl::types::MessageService {
    tl::types::MessageService {
        out: false,
        mentioned: false,
        media_unread: false,
        reactions_are_possible: false,
        silent: false,
        post: false,
        legacy: false,
        id,
        from_id: None,
        peer_id: peer(chat),
        saved_peer_id: None,
        reply_to: None,
        date,
        action,
        reactions: None,
        ttl_period: None,
    }
}

/// A reply to a message, in another chat if one is named.
pub(super) fn reply(id: i32, elsewhere: Option<tl::enums::Peer>) -> tl::enums::MessageReplyHeader {
    tl::types::MessageReplyHeader {
        reply_to_scheduled: false,
        forum_topic: false,
        quote: false,
        reply_to_ephemeral: false,
        reply_to_msg_id: Some(id),
        reply_to_peer_id: elsewhere,
        reply_from: None,
        reply_media: None,
        reply_to_top_id: None,
        quote_text: None,
        quote_entities: None,
        quote_offset: None,
        todo_item_id: None,
        poll_option: None,
    }
    .into()
}

/// A forward whose origin is a peer, or only a name.
pub(super) fn forward(from: Option<tl::enums::Peer>, name: Option<String>, date: i32) -> tl::types::MessageFwdHeader {
    tl::types::MessageFwdHeader {
        imported: false,
        saved_out: false,
        from_id: from,
        from_name: name,
        date,
        channel_post: None,
        post_author: None,
        saved_from_peer: None,
        saved_from_msg_id: None,
        saved_from_id: None,
        saved_from_name: None,
        saved_date: None,
        psa_type: None,
    }
}

/// Counts of reactions.
pub(super) fn reactions(counts: Vec<(tl::enums::Reaction, i32)>) -> tl::enums::MessageReactions {
    let results = counts
        .into_iter()
        .map(|(reaction, count)| tl::types::ReactionCount { chosen_order: None, reaction, count }.into())
        .collect();
    tl::types::MessageReactions {
        min: false,
        can_see_list: false,
        reactions_as_tags: false,
        results,
        recent_reactions: None,
        top_reactors: None,
    }
    .into()
}

fn restriction_reason(restriction: Restriction) -> tl::enums::RestrictionReason {
    let Restriction { platform, reason, text } = restriction;
    tl::types::RestrictionReason { platform, reason, text }.into()
}

pub(super) fn group(chat: &Chat, photo: tl::enums::ChatPhoto) -> tl::enums::Chat {
    tl::types::Chat {
        creator: false,
        left: false,
        deactivated: chat.migrated_to().is_some(),
        call_active: false,
        call_not_empty: false,
        noforwards: chat.is_protected(),
        id: chat.bare_id(),
        title: chat.title(),
        photo,
        participants_count: chat.member_count(),
        date: chat.created,
        version: chat.version(),
        migrated_to: None,
        admin_rights: None,
        default_banned_rights: None,
    }
    .into()
}

pub(super) fn channel(chat: &Chat, photo: tl::enums::ChatPhoto, access_hash: i64) -> tl::enums::Chat {
    tl::types::Channel {
        creator: false,
        left: false,
        broadcast: chat.kind == ChatKind::Channel,
        verified: false,
        megagroup: chat.kind == ChatKind::Supergroup,
        restricted: chat.restriction().is_some(),
        signatures: chat.kind == ChatKind::Channel,
        min: false,
        scam: false,
        has_link: chat.linked().is_some(),
        has_geo: false,
        slowmode_enabled: false,
        call_active: false,
        call_not_empty: false,
        fake: false,
        gigagroup: false,
        noforwards: chat.is_protected(),
        join_to_send: false,
        join_request: false,
        forum: chat.is_forum(),
        stories_hidden: false,
        stories_hidden_min: false,
        stories_unavailable: true,
        signature_profiles: false,
        autotranslation: false,
        broadcast_messages_allowed: false,
        monoforum: false,
        forum_tabs: false,
        id: chat.bare_id(),
        access_hash: Some(access_hash),
        title: chat.title(),
        username: chat.username(),
        photo,
        date: chat.created,
        restriction_reason: chat.restriction().map(|restriction| vec![restriction_reason(restriction)]),
        admin_rights: None,
        banned_rights: None,
        default_banned_rights: None,
        participants_count: Some(chat.member_count()),
        usernames: None,
        stories_max_id: None,
        color: None,
        profile_color: None,
        emoji_status: None,
        level: None,
        subscription_until_date: None,
        bot_verification_icon: None,
        send_paid_messages_stars: None,
        linked_monoforum_id: None,
        linked_community_id: None,
    }
    .into()
}
