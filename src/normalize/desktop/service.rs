//! Service messages of an export, under the names that Telegram's schema has for them.

use serde_json::{Map, Value, json};

use super::LeftOut;
use super::object::Object;

/// The `service` field: {action, …values}.
pub(super) fn service(told: &mut Object, left_out: &mut LeftOut) -> Map<String, Value> {
    let name = told.text("action").unwrap_or_default();
    let (action, values) = match known(&name) {
        Some(action) => (action.to_owned(), values(&name, told, left_out)),
        None => {
            let message = told.text("information_text");
            if message.is_none() {
                left_out.add(format!("values of the service action `{name}`"));
            }
            (if name.is_empty() { "custom_action".to_owned() } else { name }, json!({"message": message}))
        }
    };
    let mut fields = match values {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.retain(|_, value| !value.is_null());
    fields.insert("action".into(), action.into());
    fields
}

/// What the export's name is in the schema: `messageAction…`, in the record's spelling.
fn known(name: &str) -> Option<&'static str> {
    Some(match name {
        "create_channel" => "channel_create",
        "create_group" => "chat_create",
        "edit_group_title" => "chat_edit_title",
        "edit_group_photo" => "chat_edit_photo",
        "delete_group_photo" => "chat_delete_photo",
        "invite_members" => "chat_add_user",
        "remove_members" => "chat_delete_user",
        "join_group_by_link" => "chat_joined_by_link",
        "join_group_by_request" => "chat_joined_by_request",
        "migrate_to_supergroup" => "chat_migrate_to",
        "migrate_from_group" => "channel_migrate_from",
        "pin_message" => "pin_message",
        "clear_history" => "history_clear",
        "score_in_game" => "game_score",
        "send_payment" => "payment_sent",
        "refunded_payment" => "payment_refunded",
        "phone_call" => "phone_call",
        "conference_call" => "conference_call",
        "take_screenshot" => "screenshot_taken",
        "joined_telegram" => "contact_sign_up",
        "attach_menu_bot_allowed" | "web_app_bot_allowed" | "allow_sending_messages" => "bot_allowed",
        "send_passport_values" => "secure_values_sent",
        "send_webview_data" => "web_view_data_sent",
        "proximity_reached" => "geo_proximity_reached",
        "group_call" => "group_call",
        "group_call_scheduled" => "group_call_scheduled",
        "invite_to_group_call" => "invite_to_group_call",
        "set_messages_ttl" => "set_messages_ttl",
        "edit_chat_theme" => "set_chat_theme",
        "set_chat_wallpaper" | "set_same_chat_wallpaper" => "set_chat_wall_paper",
        "topic_created" => "topic_create",
        "topic_edit" => "topic_edit",
        "suggest_profile_photo" => "suggest_profile_photo",
        "send_premium_gift" => "gift_premium",
        "gift_code_prize" => "gift_code",
        "giveaway_launch" => "giveaway_launch",
        "giveaway_results" => "giveaway_results",
        "boost_apply" => "boost_apply",
        "send_star_gift" => "star_gift",
        "stars_prize" => "prize_stars",
        "send_stars_gift" => "gift_stars",
        "send_ton_gift" => "gift_ton",
        "requested_peer" => "requested_peer",
        "paid_messages_refund" => "paid_messages_refunded",
        "paid_messages_price_change" => "paid_messages_price",
        "todo_completions" => "todo_completions",
        "todo_append_tasks" => "todo_append_tasks",
        "process_suggested_post" => "suggested_post_approval",
        "suggested_post_success" => "suggested_post_success",
        "suggested_post_refund" => "suggested_post_refund",
        "suggest_birthday" => "suggest_birthday",
        "no_forwards_toggle" => "no_forwards_toggle",
        "no_forwards_request" => "no_forwards_request",
        "new_creator_pending" => "new_creator_pending",
        "change_creator" => "change_creator",
        _ => return None,
    })
}

/// Its values, named as `normalize::service` names Telegram's.
fn values(name: &str, told: &mut Object, left_out: &mut LeftOut) -> Value {
    match name {
        "create_channel" | "edit_group_title" | "migrate_from_group" => json!({"title": told.text("title")}),
        "create_group" => {
            members(told, left_out);
            json!({"title": told.text("title")})
        }
        "invite_members" | "remove_members" | "invite_to_group_call" => {
            members(told, left_out);
            json!({})
        }
        "score_in_game" => json!({"score": told.number("score")}),
        "phone_call" => json!({"duration": told.number("duration_seconds")}),
        "group_call" => json!({"duration": told.number("duration").or_else(|| told.number("duration_seconds"))}),
        "group_call_scheduled" => {
            let date = told.number("schedule_date").and_then(|seconds| i32::try_from(seconds).ok());
            json!({"schedule_date": date.and_then(crate::normalize::date_text)})
        }
        "set_messages_ttl" => json!({"period": told.number("period")}),
        "topic_created" => json!({"title": told.text("title"), "icon_emoji_id": told.number("icon_emoji_id")}),
        "topic_edit" => json!({"title": told.text("new_title"), "icon_emoji_id": told.number("new_icon_emoji_id")}),
        "boost_apply" => json!({"boosts": told.number("boosts")}),
        "giveaway_results" => json!({"winners_count": told.number("winners"), "unclaimed_count": told.number("unclaimed")}),
        "proximity_reached" => json!({
            "from_id": told.peer("from_id"), "to_id": told.peer("to_id"), "distance": told.number("distance"),
        }),
        "no_forwards_toggle" => json!({"value": told.take("new_value")}),
        _ => json!({}),
    }
}

/// Members are told by their names alone.
fn members(told: &mut Object, left_out: &mut LeftOut) {
    let members = told.list("members").len();
    left_out.add_many("member of a service message, told without an id", members as u64);
}
