//! The messages that events make, and what they change on older ones.

use grammers_tl_types as tl;

use super::apply::Stage;
use super::{Attached, Post};
use crate::world::chat::{Chat, ChatKind};
use crate::world::content::Content;
use crate::world::text::mix;
use crate::world::{media, picture, portrait, wire};

/// A file that an event brought, as little as must be kept of it.
#[derive(Debug, Clone)]
pub(super) enum Drawn {
    Picture(u64),
    Text(String),
}

impl Drawn {
    /// The file itself or its largest size, or one of its sizes by kind.
    pub(super) fn content(&self, id: i64, kind: &str) -> Option<Content> {
        match self {
            Drawn::Text(text) => kind.is_empty().then(|| Content::Text(text.clone())),
            Drawn::Picture(number) => {
                if let Some(&(kind, side)) = portrait::SIDES.iter().find(|(known, _)| *known == kind) {
                    return Some(Content::Picture(id as u64, picture::only_size(id as u64, kind, side, side)));
                }
                let mut sizes = picture::sizes(*number);
                let size = if kind.is_empty() { sizes.pop() } else { sizes.into_iter().find(|size| size.kind == kind) };
                Some(Content::Picture(*number, size?))
            }
        }
    }
}

/// A number that an event and a place in it alone decide.
fn number(stage: &Stage<'_>, place: u64, salt: u64) -> i64 {
    (mix(stage.world.seed, stage.number, place, salt) >> 2) as i64
}

/// What the messages of an album share.
pub(super) fn group_of(stage: &Stage<'_>) -> i64 {
    number(stage, 0, 90)
}

/// A photo drawn from a number, kept in the world.
pub(super) fn photo(stage: &Stage<'_>, place: i32, drawn: u64) -> (i64, tl::enums::Photo) {
    let id = number(stage, u64::from(place.unsigned_abs()), 91);
    stage.keep(id, Drawn::Picture(drawn));
    let sizes = picture::sizes(drawn);
    let sizes = std::iter::once(media::stripped(drawn)).chain(sizes.iter().map(media::size)).collect();
    (id, media::photo_in_sizes(id, stage.date, sizes))
}

/// A message, and the first message of the thread that it answers in.
pub(super) fn said(
    stage: &Stage<'_>,
    chat: &Chat,
    id: i32,
    from: Option<i64>,
    post: &Post,
    group: Option<i64>,
) -> (tl::types::Message, Option<i32>) {
    let mut message = wire::message(chat.id, id, stage.date);
    author(stage, chat, &mut message, from);
    message.message.clone_from(&post.text);
    message.silent = post.silent;
    message.grouped_id = group;
    message.media = post.media.as_ref().map(|attached| media_of(stage, id, attached));
    message.noforwards = chat.is_protected();
    let thread = reply(chat, &mut message, post);
    (message, thread)
}

fn author(stage: &Stage<'_>, chat: &Chat, message: &mut tl::types::Message, from: Option<i64>) {
    message.from_id = from.map(wire::peer);
    message.out = from == Some(stage.world.me);
    if chat.kind == ChatKind::Channel {
        (message.post, message.views, message.forwards) = (true, Some(1), Some(0));
    }
}

/// <https://core.telegram.org/api/threads>
fn reply(chat: &Chat, message: &mut tl::types::Message, post: &Post) -> Option<i32> {
    let topic = post.topic.filter(|topic| *topic != 1);
    let to = post.reply_to.or(topic)?;
    let above = chat.message(to);
    let top = topic.or_else(|| above.as_ref().and_then(top_of)).filter(|top| *top != to);
    let mut header = wire::reply(to, None);
    if let tl::enums::MessageReplyHeader::Header(header) = &mut header {
        header.reply_to_top_id = top;
        header.forum_topic = topic.is_some();
    }
    message.reply_to = Some(header);
    (chat.kind == ChatKind::Supergroup).then(|| top.unwrap_or(to))
}

/// The first message of the thread in which a message stands.
fn top_of(message: &tl::enums::Message) -> Option<i32> {
    let header = match message {
        tl::enums::Message::Message(message) => message.reply_to.as_ref(),
        tl::enums::Message::Service(message) => message.reply_to.as_ref(),
        tl::enums::Message::Empty(_) => None,
    };
    match header {
        Some(tl::enums::MessageReplyHeader::Header(header)) => header.reply_to_top_id.or(header.reply_to_msg_id),
        _ => None,
    }
}

/// The thread that loses an answer with this message.
pub(super) fn thread_of(message: &tl::enums::Message) -> Option<i32> {
    top_of(message)
}

fn media_of(stage: &Stage<'_>, id: i32, attached: &Attached) -> tl::enums::MessageMedia {
    match attached {
        Attached::Photo { number } => media::photo_media(photo(stage, id, *number).1, false, None),
        Attached::Document { name, text } => {
            let file = number(stage, u64::from(id.unsigned_abs()), 92);
            stage.keep(file, Drawn::Text(text.clone()));
            media::File {
                id: file,
                date: stage.date,
                mime_type: "text/plain".to_owned(),
                bytes: i64::try_from(text.len()).unwrap_or(i64::MAX),
                attributes: vec![media::file_name(name)],
                spoiler: false,
                ttl: None,
            }
            .media()
        }
        Attached::Poll { question, answers } => {
            let answers = answers.iter().map(|text| media::Answer { text: text.clone(), voters: 0, chosen: false });
            let poll = number(stage, u64::from(id.unsigned_abs()), 93);
            media::poll(poll, question.clone(), false, 0, answers.collect())
        }
        Attached::Place { lat, long } => media::place(*lat, *long),
    }
}

/// A message of another chat, told again; `None` for a service message.
pub(super) fn forwarded(
    stage: &Stage<'_>,
    chat: &Chat,
    id: i32,
    from: Option<i64>,
    source: &Chat,
    original: tl::enums::Message,
) -> Option<tl::types::Message> {
    let tl::enums::Message::Message(original) = original else {
        return None;
    };
    let mut message = wire::message(chat.id, id, stage.date);
    author(stage, chat, &mut message, from);
    let header = match original.fwd_from {
        // A forward of a forward names the first.
        Some(header) => header,
        None => {
            let mut header = wire::forward(original.from_id.or_else(|| Some(source.peer())), None, original.date);
            if source.kind == ChatKind::Channel {
                (header.channel_post, header.post_author) = (Some(original.id), original.post_author);
            }
            header.into()
        }
    };
    message.fwd_from = Some(header);
    (message.message, message.media, message.entities) = (original.message, original.media, original.entities);
    Some(message)
}

/// A channel's post as its group has it: <https://core.telegram.org/api/discussion>.
pub(super) fn discussed(channel: &Chat, group: &Chat, id: i32, post: tl::types::Message) -> tl::types::Message {
    let mut header = wire::forward(Some(channel.peer()), None, post.date);
    header.channel_post = Some(post.id);
    (header.saved_from_peer, header.saved_from_msg_id) = (Some(channel.peer()), Some(post.id));
    tl::types::Message {
        id,
        peer_id: group.peer(),
        from_id: Some(channel.peer()),
        post: false,
        out: false,
        reply_to: None,
        replies: None,
        fwd_from: Some(header.into()),
        ..post
    }
}

/// A channel's post: its channel's marked id, its own id, and what is said of the answers below it.
type OfPost = (i64, i32, tl::enums::MessageReplies);

/// What is said of the answers below a message, and below the channel's post of which it is the copy.
pub(super) fn answers(chat: &Chat, first: &tl::types::Message, answers: &[i32]) -> (tl::enums::MessageReplies, Option<OfPost>) {
    let replies = tl::types::MessageReplies {
        comments: false,
        replies: i32::try_from(answers.len()).unwrap_or(i32::MAX),
        replies_pts: chat.pts(),
        recent_repliers: None,
        channel_id: None,
        max_id: answers.last().copied(),
        read_max_id: None,
    };
    let post = match &first.fwd_from {
        Some(tl::enums::MessageFwdHeader::Header(header)) => match (&header.saved_from_peer, header.saved_from_msg_id) {
            (Some(channel), Some(id)) if chat.linked() == Some(wire::marked(channel)) => {
                let replies = tl::types::MessageReplies { comments: true, channel_id: Some(chat.bare_id()), ..replies.clone() };
                Some((wire::marked(channel), id, replies.into()))
            }
            _ => None,
        },
        None => None,
    };
    (replies.into(), post)
}

/// Counts a user's reaction in place of the one before.
pub(super) fn react(message: &mut tl::enums::Message, chat: &Chat, user: i64, date: i32, before: Option<&str>, now: Option<&str>) {
    let reactions = match message {
        tl::enums::Message::Message(message) => &mut message.reactions,
        tl::enums::Message::Service(message) => &mut message.reactions,
        tl::enums::Message::Empty(_) => return,
    };
    let emoji = |emoticon: &str| -> tl::enums::Reaction { tl::types::ReactionEmoji { emoticon: emoticon.to_owned() }.into() };
    let tl::enums::MessageReactions::Reactions(told) = reactions.get_or_insert_with(|| wire::reactions(Vec::new()));
    let mut counts: Vec<tl::types::ReactionCount> = told
        .results
        .iter()
        .map(|result| {
            let tl::enums::ReactionCount::Count(count) = result;
            count.clone()
        })
        .collect();
    if let Some(before) = before.map(emoji) {
        counts.iter_mut().filter(|count| count.reaction == before).for_each(|count| count.count -= 1);
    }
    if let Some(now) = now.map(emoji) {
        match counts.iter_mut().find(|count| count.reaction == now) {
            Some(count) => count.count += 1,
            None => counts.push(tl::types::ReactionCount { chosen_order: None, reaction: now, count: 1 }),
        }
    }
    counts.retain(|count| count.count > 0);
    counts.sort_by_key(|count| std::cmp::Reverse(count.count));
    told.results = counts.into_iter().map(Into::into).collect();
    // Who reacted is known in groups only: <https://core.telegram.org/api/reactions>.
    if chat.kind != ChatKind::Channel {
        let mut recent = told.recent_reactions.take().unwrap_or_default();
        recent.retain(|tl::enums::MessagePeerReaction::Reaction(one)| one.peer_id != wire::peer(user));
        if let Some(now) = now {
            let one = tl::types::MessagePeerReaction {
                big: false,
                unread: false,
                my: false,
                peer_id: wire::peer(user),
                date,
                reaction: emoji(now),
            };
            recent.insert(0, one.into());
        }
        told.can_see_list = true;
        told.recent_reactions = Some(recent).filter(|recent| !recent.is_empty());
    }
    if told.results.is_empty() {
        *reactions = None;
    }
}

/// Counts votes; an error is a field and what is wrong with it.
pub(super) fn vote(message: &mut tl::enums::Message, option: usize, votes: i32) -> Result<(), (&'static str, String)> {
    let tl::enums::Message::Message(message) = message else {
        return Err(("id", "a service message is no poll".to_owned()));
    };
    let Some(tl::enums::MessageMedia::Poll(poll)) = &mut message.media else {
        return Err(("id", format!("message {} is no poll", message.id)));
    };
    let tl::enums::PollResults::Results(results) = &mut poll.results;
    let answers = results.results.get_or_insert_default();
    let count = answers.len();
    let Some(tl::enums::PollAnswerVoters::Voters(answer)) = answers.get_mut(option) else {
        return Err(("option", format!("the poll has {count} answers, counted from 0; there is no {option}")));
    };
    answer.voters = Some(answer.voters.unwrap_or(0).saturating_add(votes));
    results.total_voters = Some(results.total_voters.unwrap_or(0).saturating_add(votes));
    Ok(())
}
