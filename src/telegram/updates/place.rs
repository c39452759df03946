//! Where an update stands in its sequence, and the short forms of messages made whole.

use grammers_tl_types as tl;
use tl::enums::{Message, Peer, Update};

use super::Sequence;

/// Where an update stands. Those that have no place are ordered by nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Common {
        pts: i32,
        count: i32,
    },
    Channel {
        channel: i64,
        pts: i32,
        count: i32,
    },
    /// What only bots hear.
    Qts(i32),
}

impl Place {
    pub(super) fn sequence(self) -> Option<Sequence> {
        match self {
            Self::Common { .. } => Some(Sequence::Common),
            Self::Channel { channel, .. } => Some(Sequence::Channel(channel)),
            Self::Qts(_) => None,
        }
    }

    pub(super) fn pts(self) -> Option<i32> {
        match self {
            Self::Common { pts, .. } | Self::Channel { pts, .. } => Some(pts),
            Self::Qts(_) => None,
        }
    }

    /// The pts at which it applies.
    pub(super) fn before(self) -> i32 {
        match self {
            Self::Common { pts, count } | Self::Channel { pts, count, .. } => pts.saturating_sub(count),
            Self::Qts(_) => 0,
        }
    }

    /// The pts after it.
    pub(super) fn after(self) -> i32 {
        self.pts().unwrap_or(0)
    }
}

/// The place of an update: which have pts and qts is in the schema (<https://core.telegram.org/type/Update>).
pub(super) fn place(update: &Update) -> Option<Place> {
    let common = |pts, count| Some(Place::Common { pts, count });
    let channel = |channel, pts, count| Some(Place::Channel { channel, pts, count });
    // Bots are told of some things with a qts of 0: those are in no order.
    let qts = |qts| (qts != 0).then_some(Place::Qts(qts));
    match update {
        Update::NewMessage(it) => of_message(&it.message, it.pts, it.pts_count),
        Update::EditMessage(it) => of_message(&it.message, it.pts, it.pts_count),
        // Without a peer no channel can be told: the gap that it leaves asks for the difference.
        Update::NewChannelMessage(it) => channel_of(&it.message).and_then(|id| channel(id, it.pts, it.pts_count)),
        Update::EditChannelMessage(it) => channel_of(&it.message).and_then(|id| channel(id, it.pts, it.pts_count)),
        Update::DeleteMessages(it) => common(it.pts, it.pts_count),
        Update::ReadHistoryInbox(it) => common(it.pts, it.pts_count),
        Update::ReadHistoryOutbox(it) => common(it.pts, it.pts_count),
        Update::WebPage(it) => common(it.pts, it.pts_count),
        Update::ReadMessagesContents(it) => common(it.pts, it.pts_count),
        Update::FolderPeers(it) => common(it.pts, it.pts_count),
        Update::PinnedMessages(it) => common(it.pts, it.pts_count),
        Update::ReadChannelInbox(it) => channel(it.channel_id, it.pts, 0),
        Update::DeleteChannelMessages(it) => channel(it.channel_id, it.pts, it.pts_count),
        Update::ChannelWebPage(it) => channel(it.channel_id, it.pts, it.pts_count),
        Update::PinnedChannelMessages(it) => channel(it.channel_id, it.pts, it.pts_count),
        Update::NewEncryptedMessage(it) => qts(it.qts),
        Update::ChatParticipant(it) => qts(it.qts),
        Update::ChannelParticipant(it) => qts(it.qts),
        Update::BotStopped(it) => qts(it.qts),
        Update::BotChatInviteRequester(it) => qts(it.qts),
        Update::BotChatBoost(it) => qts(it.qts),
        Update::BotMessageReaction(it) => qts(it.qts),
        Update::BotMessageReactions(it) => qts(it.qts),
        Update::BotBusinessConnect(it) => qts(it.qts),
        Update::BotNewBusinessMessage(it) => qts(it.qts),
        Update::BotEditBusinessMessage(it) => qts(it.qts),
        Update::BotDeleteBusinessMessage(it) => qts(it.qts),
        Update::BotPurchasedPaidMedia(it) => qts(it.qts),
        Update::MessagePollVote(it) => qts(it.qts),
        Update::ManagedBot(it) => qts(it.qts),
        Update::BotGuestChatQuery(it) => qts(it.qts),
        Update::BotStarsSubscription(it) => qts(it.qts),
        _ => None,
    }
}

/// A message's own box decides, whichever of the two forms of the update it came in.
fn of_message(message: &Message, pts: i32, count: i32) -> Option<Place> {
    Some(match channel_of(message) {
        Some(channel) => Place::Channel { channel, pts, count },
        None => Place::Common { pts, count },
    })
}

fn channel_of(message: &Message) -> Option<i64> {
    let peer = match message {
        Message::Empty(it) => it.peer_id.as_ref(),
        Message::Message(it) => Some(&it.peer_id),
        Message::Service(it) => Some(&it.peer_id),
    };
    match peer {
        Some(Peer::Channel(it)) => Some(it.channel_id),
        Some(Peer::User(_) | Peer::Chat(_)) | None => None,
    }
}

/// A short message of a private chat: <https://core.telegram.org/constructor/updateShortMessage>.
pub(super) fn private(it: tl::types::UpdateShortMessage, me: i64) -> Update {
    let from = if it.out { me } else { it.user_id };
    let message = tl::types::Message {
        out: it.out,
        mentioned: it.mentioned,
        media_unread: it.media_unread,
        silent: it.silent,
        id: it.id,
        from_id: Some(tl::types::PeerUser { user_id: from }.into()),
        peer_id: tl::types::PeerUser { user_id: it.user_id }.into(),
        fwd_from: it.fwd_from,
        via_bot_id: it.via_bot_id,
        reply_to: it.reply_to,
        date: it.date,
        message: it.message,
        entities: it.entities,
        ttl_period: it.ttl_period,
        ..blank()
    };
    tl::types::UpdateNewMessage { message: message.into(), pts: it.pts, pts_count: it.pts_count }.into()
}

/// A short message of a basic group: <https://core.telegram.org/constructor/updateShortChatMessage>.
pub(super) fn grouped(it: tl::types::UpdateShortChatMessage) -> Update {
    let message = tl::types::Message {
        out: it.out,
        mentioned: it.mentioned,
        media_unread: it.media_unread,
        silent: it.silent,
        id: it.id,
        from_id: Some(tl::types::PeerUser { user_id: it.from_id }.into()),
        peer_id: tl::types::PeerChat { chat_id: it.chat_id }.into(),
        fwd_from: it.fwd_from,
        via_bot_id: it.via_bot_id,
        reply_to: it.reply_to,
        date: it.date,
        message: it.message,
        entities: it.entities,
        ttl_period: it.ttl_period,
        ..blank()
    };
    tl::types::UpdateNewMessage { message: message.into(), pts: it.pts, pts_count: it.pts_count }.into()
}

/// A message that says nothing.
fn blank() -> tl::types::Message {
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
        id: 0,
        from_id: None,
        from_boosts_applied: None,
        from_rank: None,
        peer_id: tl::types::PeerUser { user_id: 0 }.into(),
        saved_peer_id: None,
        fwd_from: None,
        via_bot_id: None,
        via_business_bot_id: None,
        guestchat_via_from: None,
        reply_to: None,
        date: 0,
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
