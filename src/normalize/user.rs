//! Users → the fields of the `user` document. The phone number is dropped here and goes no further.

use serde_json::{Value, json};

use super::entity::{fields, names, restriction, silence};
use super::file;
use crate::record::media::Told;
use crate::record::{Chat, ChatId, User};
use crate::telegram::tl;
use tl::enums::{UserProfilePhoto, UserStatus};

/// All users of an answer; empty ones say nothing.
pub fn users(told: &[tl::enums::User]) -> Vec<User> {
    told.iter().filter_map(user).collect()
}

/// One user as a fact.
pub fn user(told: &tl::enums::User) -> Option<User> {
    let tl::enums::User::User(it) = told else {
        return None;
    };
    let (username, usernames) = names(it.username.as_deref(), it.usernames.as_deref());
    let mut body = fields(json!({
        "first_name": it.first_name, "last_name": it.last_name, "username": username, "usernames": usernames,
        "photo": it.photo.as_ref().and_then(photo), "is_deleted": it.deleted, "is_bot": it.bot, "is_verified": it.verified,
        "is_restricted": it.restricted, "is_scam": it.scam, "is_fake": it.fake, "is_support": it.support, "is_premium": it.premium,
        "restriction_reason": restriction(it.restriction_reason.as_deref()),
    }));
    for (key, value) in
        [("language_code", it.lang_code.clone()), ("status", it.status.as_ref().and_then(status).map(str::to_owned))]
    {
        if let Some(value) = value {
            body.insert(key.into(), value.into());
        }
    }
    // A partial user's photo may be another one than theirs, unless it is said (<https://core.telegram.org/constructor/user>).
    let shown = it.photo.as_ref().filter(|_| !it.min || it.apply_min_photo);
    if it.min {
        silence(&mut body);
    }
    if shown.is_none() && it.min {
        body.remove("photo");
    }
    Some(User { id: it.id, body, access_hash: it.access_hash, min: it.min, avatar: shown.and_then(avatar) })
}

/// The private chat with a user, for an operator who watches it.
pub fn private_chat(user: &User) -> Chat {
    let text = |key: &str| user.body.get(key).and_then(Value::as_str);
    let title: Vec<&str> = [text("first_name"), text("last_name")].into_iter().flatten().collect();
    let mut body = fields(json!({"title": (!title.is_empty()).then(|| title.join(" "))}));
    for key in
        ["username", "usernames", "photo", "is_verified", "is_restricted", "is_scam", "is_fake", "is_support", "restriction_reason"]
    {
        if let Some(value) = user.body.get(key) {
            body.insert(key.into(), value.clone());
        }
    }
    let bot = user.body.get("is_bot").and_then(Value::as_bool).unwrap_or(false);
    let kind = if bot { "bot" } else { "private" }.into();
    Chat { id: ChatId::user(user.id), kind, body, access_hash: user.access_hash, min: user.min, avatar: user.avatar.clone() }
}

fn photo(photo: &UserProfilePhoto) -> Option<String> {
    match photo {
        // A personal photo is one that this viewer set.
        UserProfilePhoto::Photo(it) if !it.personal => Some(format!("photo_{}", it.photo_id)),
        UserProfilePhoto::Photo(_) | UserProfilePhoto::Empty => None,
    }
}

fn avatar(photo: &UserProfilePhoto) -> Option<Told> {
    match photo {
        UserProfilePhoto::Photo(it) if !it.personal => Some(file::avatar(it.photo_id, it.dc_id)),
        UserProfilePhoto::Photo(_) | UserProfilePhoto::Empty => None,
    }
}

/// Without times, which would make every look at a user a change.
fn status(status: &UserStatus) -> Option<&'static str> {
    match status {
        UserStatus::Empty => None,
        UserStatus::Online(_) => Some("online"),
        UserStatus::Offline(_) => Some("offline"),
        UserStatus::Recently(_) => Some("recently"),
        UserStatus::LastWeek(_) => Some("last_week"),
        UserStatus::LastMonth(_) => Some("last_month"),
    }
}
