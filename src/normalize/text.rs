//! Text and what marks it up: entities, links, mentions, hashtags, cashtags, buttons, language.

use serde_json::{Map, Value, json};

use crate::telegram::tl;
use tl::enums::{MessageEntity as Entity, ReplyMarkup};

/// Shorter texts name no language reliably.
const LANGUAGE_CHARACTERS: usize = 20;

/// Adds a text and what its entities say to a message's fields.
pub fn fill(body: &mut Map<String, Value>, text: &str, entities: &[Entity]) {
    if text.is_empty() {
        return;
    }
    body.insert("text".into(), text.into());
    if let Some(language) = language(text) {
        body.insert("text_language".into(), language.into());
    }
    if entities.is_empty() {
        return;
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    let (mut links, mut mentions, mut hashtags, mut cashtags) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut kept = Vec::with_capacity(entities.len());
    for entity in entities {
        let (kind, offset, length, more) = describe(entity);
        let covered = slice(&units, offset, length);
        match entity {
            Entity::Url(_) => links.push(covered),
            Entity::TextUrl(link) => links.push(link.url.clone()),
            Entity::Mention(_) => mentions.push(covered.trim_start_matches('@').to_owned()),
            Entity::MentionName(mention) => mentions.push(mention.user_id.to_string()),
            Entity::Hashtag(_) => hashtags.push(covered.trim_start_matches('#').to_owned()),
            Entity::Cashtag(_) => cashtags.push(covered.trim_start_matches('$').to_owned()),
            _ => {}
        }
        let mut entry = Map::from_iter([
            ("type".to_owned(), json!(kind)),
            ("offset".to_owned(), json!(offset)),
            ("length".to_owned(), json!(length)),
        ]);
        if let Some((key, value)) = more {
            entry.insert(key.to_owned(), value);
        }
        kept.push(Value::Object(entry));
    }
    body.insert("entities".into(), kept.into());
    for (key, values) in [("links", links), ("mentions", mentions), ("hashtags", hashtags), ("cashtags", cashtags)] {
        insert_once_each(body, key, values);
    }
}

/// Entities as documents keep them: type, offset and length in UTF-16 units, and the one value that some carry.
fn describe(entity: &Entity) -> (&'static str, i32, i32, Option<(&'static str, Value)>) {
    match entity {
        Entity::Unknown(it) => ("unknown", it.offset, it.length, None),
        Entity::Mention(it) => ("mention", it.offset, it.length, None),
        Entity::Hashtag(it) => ("hashtag", it.offset, it.length, None),
        Entity::BotCommand(it) => ("bot_command", it.offset, it.length, None),
        Entity::Url(it) => ("url", it.offset, it.length, None),
        Entity::Email(it) => ("email", it.offset, it.length, None),
        Entity::Bold(it) => ("bold", it.offset, it.length, None),
        Entity::Italic(it) => ("italic", it.offset, it.length, None),
        Entity::Code(it) => ("code", it.offset, it.length, None),
        Entity::Pre(it) => ("pre", it.offset, it.length, Some(("language", json!(it.language)))),
        Entity::TextUrl(it) => ("text_url", it.offset, it.length, Some(("url", json!(it.url)))),
        Entity::MentionName(it) => ("mention_name", it.offset, it.length, Some(("user_id", json!(it.user_id)))),
        Entity::InputMessageEntityMentionName(it) => ("mention_name", it.offset, it.length, None),
        Entity::Phone(it) => ("phone", it.offset, it.length, None),
        Entity::Cashtag(it) => ("cashtag", it.offset, it.length, None),
        Entity::Underline(it) => ("underline", it.offset, it.length, None),
        Entity::Strike(it) => ("strike", it.offset, it.length, None),
        Entity::BankCard(it) => ("bank_card", it.offset, it.length, None),
        Entity::Spoiler(it) => ("spoiler", it.offset, it.length, None),
        Entity::CustomEmoji(it) => ("custom_emoji", it.offset, it.length, Some(("document_id", json!(it.document_id)))),
        Entity::Blockquote(it) => ("blockquote", it.offset, it.length, it.collapsed.then_some(("collapsed", json!(true)))),
        Entity::FormattedDate(it) => ("formatted_date", it.offset, it.length, Some(("date", json!(it.date)))),
        Entity::DiffInsert(it) => ("diff_insert", it.offset, it.length, None),
        Entity::DiffReplace(it) => ("diff_replace", it.offset, it.length, Some(("old_text", json!(it.old_text)))),
        Entity::DiffDelete(it) => ("diff_delete", it.offset, it.length, None),
        Entity::TonAddress(it) => ("ton_address", it.offset, it.length, None),
    }
}

/// The characters that an entity covers; what reaches beyond the text is cut.
fn slice(units: &[u16], offset: i32, length: i32) -> String {
    let from = usize::try_from(offset).unwrap_or(0).min(units.len());
    let to = from.saturating_add(usize::try_from(length).unwrap_or(0)).min(units.len());
    String::from_utf16_lossy(&units[from..to])
}

/// Inserts a list without repetitions; an empty one is absent.
fn insert_once_each(body: &mut Map<String, Value>, key: &str, values: Vec<String>) {
    let mut once: Vec<String> = Vec::with_capacity(values.len());
    for value in values {
        if !value.is_empty() && !once.contains(&value) {
            once.push(value);
        }
    }
    if !once.is_empty() {
        body.insert(key.into(), once.into());
    }
}

/// The text's language by ISO 639-3 (`eng`), where it is beyond doubt.
fn language(text: &str) -> Option<&'static str> {
    text.chars().nth(LANGUAGE_CHARACTERS - 1)?;
    whatlang::detect(text).filter(|found| found.is_reliable()).map(|found| found.lang().code())
}

/// Buttons under a message: {text, url}; what a button sends back to its bot is not kept.
pub fn buttons(markup: &ReplyMarkup) -> Vec<Value> {
    use tl::enums::{InlineButtonType as Inline, KeyboardButton, KeyboardButtonRow, KeyboardInlineButton, KeyboardInlineButtonRow};
    let button = |text: &str, url: Option<&str>| match url {
        Some(url) => json!({"text": text, "url": url}),
        None => json!({"text": text}),
    };
    match markup {
        ReplyMarkup::ReplyInlineMarkup(markup) => markup
            .rows
            .iter()
            .flat_map(|KeyboardInlineButtonRow::Row(row)| &row.buttons)
            .map(|KeyboardInlineButton::Button(it)| match &it.r#type {
                Inline::Url(target) => button(&it.text, Some(&target.url)),
                Inline::UrlAuth(target) => button(&it.text, Some(&target.url)),
                Inline::WebView(target) => button(&it.text, Some(&target.url)),
                _ => button(&it.text, None),
            })
            .collect(),
        ReplyMarkup::ReplyKeyboardMarkup(markup) => markup
            .rows
            .iter()
            .flat_map(|KeyboardButtonRow::Row(row)| &row.buttons)
            .map(|KeyboardButton::Button(it)| button(&it.text, None))
            .collect(),
        ReplyMarkup::ReplyKeyboardHide(_) | ReplyMarkup::ReplyKeyboardForceReply(_) => Vec::new(),
    }
}

/// The plain text of a text with entities.
pub fn plain(text: &tl::enums::TextWithEntities) -> &str {
    let tl::enums::TextWithEntities::Entities(text) = text;
    &text.text
}
