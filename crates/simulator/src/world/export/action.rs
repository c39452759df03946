//! Service messages of an export.

use grammers_tl_types as tl;
use serde_json::Value;
use tl::enums::MessageAction as Action;

use super::fields::Fields;
use super::{Loading, attachment};

/// Reads a service message's action. What has no representation here becomes a custom action that holds the export's own words,
/// and is counted.
pub(super) fn read(loading: &mut Loading, fields: &mut Fields, date: i32) -> Action {
    let name = fields.text("action").unwrap_or_default();
    match name.as_str() {
        "create_channel" => tl::types::MessageActionChannelCreate { title: title(fields) }.into(),
        "create_group" => {
            let users = members(loading, fields);
            tl::types::MessageActionChatCreate { title: title(fields), users }.into()
        }
        "edit_group_title" => tl::types::MessageActionChatEditTitle { title: title(fields) }.into(),
        "edit_group_photo" => match attachment::photo(loading, fields, date) {
            Some(photo) => tl::types::MessageActionChatEditPhoto { photo }.into(),
            None => custom(loading, &name, fields),
        },
        "delete_group_photo" => Action::ChatDeletePhoto,
        "invite_members" => tl::types::MessageActionChatAddUser { users: members(loading, fields) }.into(),
        "remove_members" => match members(loading, fields).first() {
            Some(&user_id) => tl::types::MessageActionChatDeleteUser { user_id }.into(),
            None => custom(loading, &name, fields),
        },
        "join_group_by_link" => {
            fields.take("inviter");
            tl::types::MessageActionChatJoinedByLink { inviter_id: 0 }.into()
        }
        "join_group_by_request" => Action::ChatJoinedByRequest,
        "migrate_from_group" => {
            // The export does not tell the group's id.
            tl::types::MessageActionChannelMigrateFrom { title: title(fields), chat_id: 0 }.into()
        }
        "pin_message" => Action::PinMessage,
        "clear_history" => Action::HistoryClear,
        "take_screenshot" => Action::ScreenshotTaken,
        "joined_telegram" => Action::ContactSignUp,
        "phone_call" => {
            use tl::enums::PhoneCallDiscardReason as Reason;
            let reason = match fields.text("discard_reason").as_deref() {
                Some("busy") => Some(Reason::Busy),
                Some("missed") => Some(Reason::Missed),
                Some("hangup") => Some(Reason::Hangup),
                Some("disconnect") => Some(Reason::Disconnect),
                _ => None,
            };
            let duration = fields.int("duration_seconds");
            tl::types::MessageActionPhoneCall { video: false, call_id: date.into(), reason, duration }.into()
        }
        "set_messages_ttl" => match fields.int("period") {
            Some(period) => tl::types::MessageActionSetMessagesTtl { period, auto_setting_from: None }.into(),
            None => custom(loading, &name, fields),
        },
        "topic_created" => {
            let icon_color = fields.int("icon_color").unwrap_or_default();
            let icon_emoji_id = fields.number("icon_emoji_id").filter(|&id| id != 0);
            tl::types::MessageActionTopicCreate { title_missing: false, title: title(fields), icon_color, icon_emoji_id }.into()
        }
        "topic_edit" => tl::types::MessageActionTopicEdit {
            title: fields.text("new_title"),
            icon_emoji_id: fields.number("new_icon_emoji_id"),
            closed: None,
            hidden: None,
        }
        .into(),
        "boost_apply" => tl::types::MessageActionBoostApply { boosts: fields.int("boosts").unwrap_or_default() }.into(),
        _ => custom(loading, &name, fields),
    }
}

fn custom(loading: &mut Loading, name: &str, fields: &mut Fields) -> Action {
    loading.notes.add(format!("service action `{name}` (kept as a custom action)"));
    let mut values = serde_json::Map::new();
    values.insert("action".to_owned(), Value::String(name.to_owned()));
    // What the rest of the message still needs stays.
    let needed = ["text", "text_entities", "reactions", "message_id", "reply_to_message_id", "reply_to_peer_id"];
    let names: Vec<String> = fields.0.keys().filter(|name| !needed.contains(&name.as_str())).cloned().collect();
    for name in names {
        if let Some(value) = fields.take(&name) {
            values.insert(name, value);
        }
    }
    tl::types::MessageActionCustomAction { message: Value::Object(values).to_string() }.into()
}

fn title(fields: &mut Fields) -> String {
    fields.text("title").unwrap_or_default()
}

/// `members` are names without ids: those of people already met get theirs.
fn members(loading: &mut Loading, fields: &mut Fields) -> Vec<i64> {
    let mut ids = Vec::new();
    for name in fields.list("members").unwrap_or_default() {
        let known = name.as_str().and_then(|name| loading.people.values().find(|person| person.first_name == name));
        match known {
            Some(person) => ids.push(person.id),
            None => loading.notes.add("member of a service message without an id"),
        }
    }
    ids
}
