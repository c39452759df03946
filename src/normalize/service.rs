//! Service messages: an action's name, as Telegram calls it, and its values.

use serde_json::{Map, Value, json};

use super::media::{constructor, photo_id};
use super::{chat_id, date_text};
use crate::record::ChatId;
use crate::telegram::tl;
use tl::enums::MessageAction as Action;

/// The `service` field: {action, …values}; and why the raw form must be kept, if it must.
pub fn service(action: &Action) -> (Map<String, Value>, Option<String>) {
    let name = constructor(action);
    let mut fields = Map::new();
    let mut reason = None;
    match values(action) {
        Some(Value::Object(values)) => fields = values,
        _ => reason = Some(format!("the values of {name} are not represented")),
    }
    fields.retain(|_, value| !value.is_null());
    fields.insert("action".into(), snake(name.strip_prefix("messageAction").unwrap_or(name)).into());
    (fields, reason)
}

/// An action's values; None where some are not represented.
fn values(action: &Action) -> Option<Value> {
    Some(match action {
        Action::Empty
        | Action::ChatDeletePhoto
        | Action::PinMessage
        | Action::HistoryClear
        | Action::ScreenshotTaken
        | Action::ContactSignUp
        | Action::ChatJoinedByRequest => json!({}),
        Action::ChatCreate(it) => json!({"title": it.title, "user_ids": it.users}),
        Action::ChatEditTitle(it) => json!({"title": it.title}),
        Action::ChatEditPhoto(it) => json!({"photo": photo_id(&it.photo)}),
        Action::ChatAddUser(it) => json!({"user_ids": it.users}),
        Action::ChatDeleteUser(it) => json!({"user_ids": [it.user_id]}),
        Action::ChatJoinedByLink(it) => json!({"inviter_id": it.inviter_id}),
        Action::ChannelCreate(it) => json!({"title": it.title}),
        Action::ChatMigrateTo(it) => json!({"chat_id": ChatId::channel(it.channel_id)}),
        Action::ChannelMigrateFrom(it) => json!({"title": it.title, "chat_id": ChatId::group(it.chat_id)}),
        Action::GameScore(it) => json!({"game_id": it.game_id, "score": it.score}),
        Action::PhoneCall(it) => json!({"video": it.video, "call_id": it.call_id, "duration": it.duration}),
        Action::CustomAction(it) => json!({"message": it.message}),
        Action::GeoProximityReached(it) => {
            json!({"from_id": chat_id(&it.from_id), "to_id": chat_id(&it.to_id), "distance": it.distance})
        }
        Action::GroupCall(it) => json!({"duration": it.duration}),
        Action::GroupCallScheduled(it) => json!({"schedule_date": date_text(it.schedule_date)}),
        Action::InviteToGroupCall(it) => json!({"user_ids": it.users}),
        Action::SetMessagesTtl(it) => json!({"period": it.period, "user_id": it.auto_setting_from}),
        Action::TopicCreate(it) => json!({"title": it.title, "icon_emoji_id": it.icon_emoji_id}),
        Action::TopicEdit(it) => {
            json!({"title": it.title, "icon_emoji_id": it.icon_emoji_id, "closed": it.closed, "hidden": it.hidden})
        }
        Action::GiveawayLaunch(it) => json!({"stars": it.stars}),
        Action::GiveawayResults(it) => json!({"winners_count": it.winners_count, "unclaimed_count": it.unclaimed_count}),
        Action::BoostApply(it) => json!({"boosts": it.boosts}),
        Action::NewCreatorPending(it) => json!({"user_ids": [it.new_creator_id]}),
        Action::ChangeCreator(it) => json!({"user_ids": [it.new_creator_id]}),
        Action::NoForwardsToggle(it) => json!({"value": it.new_value}),
        _ => return None,
    })
}

/// `ChatEditTitle` → `chat_edit_title`
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for character in name.chars() {
        if character.is_ascii_uppercase() && before.is_ascii_lowercase() {
            out.push('_');
        }
        out.push(character.to_ascii_lowercase());
        before = character;
    }
    out
}
