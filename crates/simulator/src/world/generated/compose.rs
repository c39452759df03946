//! One generated message: what it says, of which kind it is, and who says it.

use grammers_tl_types as tl;
use tl::enums::{MessageAction, MessageMedia};

use super::{Generated, Language, attached};
use crate::world::chat::ChatKind;
use crate::world::phrases::{self, Phrases};
use crate::world::text::{Composer, Mark};
use crate::world::{media, people, wire};

/// What a message is, besides its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    Created,
    Pinned,
    Joined,
    Nothing,
    Photo,
    Document,
    Sticker,
    Voice,
    Video,
    Animation,
    Poll,
    Place,
    Contact,
    WebPage,
}

pub(super) fn extra(chat: &Generated, id: i32) -> Extra {
    let first = chat.place(id) == Some(0);
    if first && chat.kind != ChatKind::Private {
        return Extra::Created;
    }
    let roll = chat.roll(id, 4) % 1000;
    let roll = match attached::kind(chat, roll) {
        Ok(kind) => return kind,
        Err(roll) => roll,
    };
    match roll {
        0..6 if !first => Extra::Pinned,
        6..26 if matches!(chat.kind, ChatKind::Supergroup | ChatKind::Group) => Extra::Joined,
        200..206 if chat.kind != ChatKind::Private => Extra::Poll,
        206..212 => Extra::Place,
        212..216 if chat.kind != ChatKind::Channel => Extra::Contact,
        220..250 => Extra::WebPage,
        _ => Extra::Nothing,
    }
}

/// The message. The id must exist.
pub(super) fn message(chat: &Generated, id: i32) -> tl::enums::Message {
    let date = chat.date(id);
    let action = match extra(chat, id) {
        Extra::Created if chat.kind.is_channel() => tl::types::MessageActionChannelCreate { title: chat.title.clone() }.into(),
        Extra::Created => tl::types::MessageActionChatCreate { title: chat.title.clone(), users: vec![people::ME] }.into(),
        Extra::Pinned => MessageAction::PinMessage,
        Extra::Joined => tl::types::MessageActionChatAddUser { users: vec![people::author(chat.author(id))] }.into(),
        extra => return said(chat, id, date, extra),
    };
    let pinned = matches!(action, MessageAction::PinMessage);
    let mut service = wire::service(chat.chat, id, date, action);
    let (from, out, post) = sender(chat, id);
    (service.from_id, service.out, service.post) = (from, out, post);
    if pinned {
        service.reply_to = earlier(chat, id, 30).map(|id| wire::reply(id, None));
    }
    service.into()
}

fn said(chat: &Generated, id: i32, date: i32, extra: Extra) -> tl::enums::Message {
    let mut message = wire::message(chat.chat, id, date);
    let (from, out, post) = sender(chat, id);
    (message.from_id, message.out, message.post) = (from, out, post);
    message.media = attached(chat, id, date, extra);
    if !matches!(extra, Extra::Sticker | Extra::Poll | Extra::Place | Extra::Contact) {
        (message.message, message.entities) = words(chat, id).finish();
    }
    let replies_per_thousand = if chat.kind == ChatKind::Channel { 40 } else { 220 };
    if chat.roll(id, 5) % 1000 < replies_per_thousand {
        message.reply_to = earlier(chat, id, 25).map(|id| wire::reply(id, None));
    } else if chat.roll(id, 6) % 1000 < 30 {
        message.fwd_from = Some(forwarded(chat, id, date).into());
    }
    if chat.roll(id, 7) % 1000 < 80 {
        let delay = 30 + chat.roll(id, 8) % 86_400;
        message.edit_date = Some(date.saturating_add(i32::try_from(delay).unwrap_or(0)));
    }
    if chat.kind == ChatKind::Channel {
        message.views = Some(small(chat.roll(id, 9) % 50_000 + 10));
        message.forwards = Some(small(chat.roll(id, 10) % 300));
        if chat.roll(id, 11) % 1000 < 300 {
            message.post_author = Some(people::signature(chat.seed, chat.author(id)));
        }
    }
    if chat.kind != ChatKind::Private && chat.roll(id, 12) % 1000 < 180 {
        let emoji = ["👍", "❤", "🔥", "😁", "🙏"];
        let kinds = 1 + chat.roll(id, 13) % 3;
        let first = chat.roll(id, 14);
        let counts = (0..kinds).map(|n| {
            let emoticon = emoji[((first + n) % 5) as usize].to_owned();
            (tl::types::ReactionEmoji { emoticon }.into(), small(chat.roll(id, 15 + n) % 90 + 1))
        });
        message.reactions = Some(wire::reactions(counts.collect()));
    }
    message.into()
}

/// Who sends it: (peer, whether it is one's own, whether it is a channel's post).
fn sender(chat: &Generated, id: i32) -> (Option<tl::enums::Peer>, bool, bool) {
    match chat.kind {
        ChatKind::Channel => (None, false, true),
        // An administrator who stays anonymous writes as the group.
        ChatKind::Supergroup if chat.roll(id, 16) % 1000 < 15 => (Some(wire::peer(chat.chat)), false, false),
        ChatKind::Supergroup | ChatKind::Group => (Some(wire::peer(people::author(chat.author(id)))), false, false),
        ChatKind::Private => {
            let mine = chat.roll(id, 17).is_multiple_of(2);
            (Some(wire::peer(if mine { people::ME } else { chat.chat })), mine, false)
        }
    }
}

fn forwarded(chat: &Generated, id: i32, date: i32) -> tl::types::MessageFwdHeader {
    let author = chat.roll(id, 18);
    let date = date - small(chat.roll(id, 19) % 1_000_000);
    if author.is_multiple_of(3) {
        wire::forward(None, Some(people::signature(chat.seed, author)), date)
    } else {
        wire::forward(Some(wire::peer(people::author(author))), None, date)
    }
}

/// The id of an own message a little older, deleted or not.
fn earlier(chat: &Generated, id: i32, reach: u64) -> Option<i32> {
    let at = chat.place(id)?;
    let back = 1 + small(chat.roll(id, 22) % reach);
    (at > back).then(|| chat.id_at(at - back))
}

fn attached(chat: &Generated, id: i32, date: i32, extra: Extra) -> Option<MessageMedia> {
    let roll = chat.roll(id, 23);
    Some(match extra {
        Extra::Created | Extra::Pinned | Extra::Joined | Extra::Nothing => return None,
        Extra::Photo | Extra::Document | Extra::Sticker | Extra::Voice | Extra::Video | Extra::Animation => {
            return attached::media(chat, id, date, extra);
        }
        Extra::Poll => {
            let words = vocabulary(language(chat, id));
            let answers: Vec<media::Answer> = words
                .places
                .iter()
                .zip(30..)
                .map(|(place, salt)| media::Answer {
                    text: (*place).to_owned(),
                    voters: small(chat.roll(id, salt) % 200),
                    chosen: false,
                })
                .collect();
            let total = answers.iter().map(|answer| answer.voters).sum();
            media::poll(chat.file_id(id, 29), sentence(chat, id, 28, language(chat, id)), roll.is_multiple_of(4), total, answers)
        }
        Extra::Place => media::place(59.0 + chat.share(id, 25), 10.0 + chat.share(id, 26)),
        Extra::Contact => {
            let author = chat.roll(id, 27);
            media::contact(format!("+99900{:07}", author % 10_000_000), people::signature(chat.seed, author), String::new(), 0)
        }
        Extra::WebPage => {
            let words = vocabulary(language(chat, id));
            let title = chat.pick(id, 28, words.headlines);
            media::web_page(chat.file_id(id, 29), &url(chat, id), "Harbour", title, &sentence(chat, id, 31, language(chat, id)))
        }
    })
}

/// What the message says.
fn words(chat: &Generated, id: i32) -> Composer {
    let language = language(chat, id);
    let vocabulary = vocabulary(language);
    let mut text = Composer::default();
    if chat.roll(id, 40) % 100 < 25 {
        text.mark(chat.pick(id, 41, vocabulary.headlines), Mark::Bold).say("\n\n");
    }
    for n in 0..1 + chat.roll(id, 42) % 3 {
        if n > 0 {
            text.say(" ");
        }
        text.say(&sentence(chat, id, 43 + n, language));
    }
    if chat.roll(id, 50) % 100 < 30 {
        text.say(" ").say(chat.pick(id, 51, &phrases::EMOJI));
    }
    match chat.roll(id, 52) % 100 {
        0..8 => {
            text.say("\n").mark(&url(chat, id), Mark::Url);
        }
        8..13 => {
            text.say(" ").mark(chat.pick(id, 53, vocabulary.headlines), Mark::TextUrl { url: url(chat, id) });
        }
        13..17 => {
            text.say(" ").mark("@harbour_voice_1", Mark::Mention);
        }
        17..20 => {
            text.say(" ").mark(chat.pick(id, 54, vocabulary.places), Mark::Italic);
        }
        _ => {}
    }
    if has_page(chat, id) {
        text.say("\n").mark(&url(chat, id), Mark::Url);
    }
    if chat.roll(id, 55) % 100 < 40 {
        text.say("\n\n");
        let first = chat.roll(id, 56);
        for n in 0..1 + first % 2 {
            if n > 0 {
                text.say(" ");
            }
            text.mark(vocabulary.hashtags[((first + n) % vocabulary.hashtags.len() as u64) as usize], Mark::Hashtag);
        }
    }
    text
}

fn has_page(chat: &Generated, id: i32) -> bool {
    extra(chat, id) == Extra::WebPage && chat.roll(id, 52) % 100 >= 8
}

fn url(chat: &Generated, id: i32) -> String {
    format!("https://harbour.example/log/{}?tide={}", id, chat.roll(id, 57) % 12)
}

pub(super) fn sentence(chat: &Generated, id: i32, salt: u64, language: Language) -> String {
    let words = vocabulary(language);
    let mut rest = chat.pick(id, salt, words.sentences);
    let mut text = String::with_capacity(2 * rest.len());
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        match name {
            "ship" => text.push_str(chat.pick(id, salt + 100, &phrases::SHIPS)),
            "place" => text.push_str(chat.pick(id, salt + 200, words.places)),
            _ => text.push_str(&(2 + chat.roll(id, salt + 300) % 480).to_string()),
        }
        rest = behind;
    }
    text.push_str(rest);
    text
}

pub(super) fn language(chat: &Generated, id: i32) -> Language {
    // Half in the chat's first language, the rest in all of them.
    if chat.roll(id, 58).is_multiple_of(2) { chat.languages[0] } else { chat.pick(id, 59, &chat.languages) }
}

fn vocabulary(language: Language) -> &'static Phrases {
    match language {
        Language::English => &phrases::ENGLISH,
        Language::Russian => &phrases::RUSSIAN,
        Language::Arabic => &phrases::ARABIC,
        Language::Chinese => &phrases::CHINESE,
        Language::Spanish => &phrases::SPANISH,
        Language::Hindi => &phrases::HINDI,
        Language::Japanese => &phrases::JAPANESE,
        Language::German => &phrases::GERMAN,
    }
}

pub(super) fn small(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tl::{Deserializable, Serializable};

    use super::*;
    use crate::world::{Media, World};

    #[test]
    fn every_entity_lies_inside_its_text() {
        let world = World::channel(2_000);
        let chat = &world.chats()[0];
        let mut entities = 0;
        for id in chat.ids_from(1) {
            let Some(tl::enums::Message::Message(message)) = chat.message(id) else {
                continue;
            };
            let units: Vec<u16> = message.message.encode_utf16().collect();
            for entity in message.entities.iter().flatten() {
                let tl::enums::MessageEntity::Hashtag(tag) = entity else {
                    continue;
                };
                let piece = &units[tag.offset as usize..(tag.offset + tag.length) as usize];
                assert_eq!(piece.first(), Some(&u16::from(b'#')), "message {id}");
                entities += 1;
            }
        }
        assert!(entities > 300, "{entities}");
    }

    #[test]
    fn every_message_can_be_read_from_its_bytes() {
        let world = World::channel(2_000).supergroup(2_000, 0.25).private(300);
        for chat in world.chats() {
            for id in chat.ids_from(1) {
                let message = chat.message(id).expect("exists");
                assert_eq!(tl::enums::Message::from_bytes(&message.to_bytes()), Ok(message), "message {id}");
            }
        }
    }

    #[test]
    fn a_group_has_all_that_groups_have() {
        let world = World::empty(3).supergroup(6_000, 0.25);
        let (mut media, mut services, mut edits, mut replies, mut authors) =
            (BTreeMap::new(), BTreeMap::new(), 0, 0, BTreeMap::new());
        for truth in world.truth(world.chats()[0].id).expect("exists") {
            let content = truth.content;
            *media.entry(content.media_type).or_insert(0) += 1;
            *services.entry(content.service).or_insert(0) += 1;
            *authors.entry(content.from_user_id).or_insert(0) += 1;
            edits += usize::from(content.edit_date.is_some());
            replies += usize::from(content.reply_to_message_id.is_some());
        }
        for kind in [Media::Photo, Media::Document, Media::Sticker, Media::Voice, Media::Video, Media::Poll, Media::Location] {
            assert!(media.contains_key(&Some(kind)), "{kind:?} in {media:?}");
        }
        for name in ["channel_create", "pin_message", "chat_add_user"] {
            assert!(services.contains_key(&Some(name.to_owned())), "{name} in {services:?}");
        }
        assert!(edits > 200 && replies > 500 && authors.len() > 50, "{edits} {replies} {}", authors.len());
    }
}
