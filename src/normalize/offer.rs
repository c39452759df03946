//! What a message offers: an invoice, paid media, a giveaway and what came of it.

use serde_json::{Map, Value, json};

use super::{date_text, file};
use crate::record::ChatId;
use crate::telegram::tl;
use tl::enums::{MessageExtendedMedia, WebDocument};

/// Fields that are set; what is none is absent.
fn fields(told: Value) -> Value {
    let Value::Object(mut fields) = told else { return told };
    fields.retain(|_, value| !value.is_null());
    Value::Object(fields)
}

/// Amounts are in the smallest unit of the currency (<https://core.telegram.org/constructor/messageMediaInvoice>).
pub(super) fn invoice(it: &tl::types::MessageMediaInvoice) -> Value {
    let photo = it.photo.as_ref().map(|photo| match photo {
        WebDocument::Document(it) => it.url.clone(),
        WebDocument::NoProxy(it) => it.url.clone(),
    });
    fields(json!({
        "title": it.title, "description": it.description, "currency": it.currency, "total_amount": it.total_amount,
        "test": it.test, "receipt_message_id": it.receipt_msg_id, "photo_url": photo,
        "extended": it.extended_media.as_ref().map(extended),
    }))
}

/// What was paid for is there, the rest is a preview.
pub(super) fn paid_media(it: &tl::types::MessageMediaPaidMedia) -> Value {
    let items: Vec<Value> = it.extended_media.iter().map(extended).collect();
    json!({"stars": it.stars_amount, "items": items})
}

fn extended(media: &MessageExtendedMedia) -> Value {
    match media {
        MessageExtendedMedia::Preview(it) => {
            fields(json!({"preview": true, "width": it.w, "height": it.h, "duration": it.video_duration}))
        }
        MessageExtendedMedia::Media(it) => {
            let first = file::files(&it.media).into_iter().next();
            let told = first.map(|told| json!({"type": told.kind.as_str(), "media_id": told.document_id()}));
            told.unwrap_or_else(|| Value::Object(Map::new()))
        }
    }
}

pub(super) fn giveaway(it: &tl::types::MessageMediaGiveaway) -> Value {
    let channels: Vec<i64> = it.channels.iter().map(|id| ChatId::channel(*id).0).collect();
    fields(json!({
        "chat_ids": channels, "quantity": it.quantity, "months": it.months, "stars": it.stars, "until_date": date_text(it.until_date),
        "countries": it.countries_iso2, "prize": it.prize_description, "only_new_subscribers": it.only_new_subscribers,
        "winners_are_visible": it.winners_are_visible,
    }))
}

pub(super) fn giveaway_results(it: &tl::types::MessageMediaGiveawayResults) -> Value {
    fields(json!({
        "chat_ids": [ChatId::channel(it.channel_id).0], "launch_message_id": it.launch_msg_id, "winners_count": it.winners_count,
        "unclaimed_count": it.unclaimed_count, "winner_ids": it.winners, "additional_chats": it.additional_peers_count,
        "months": it.months, "stars": it.stars, "until_date": date_text(it.until_date), "prize": it.prize_description,
        "only_new_subscribers": it.only_new_subscribers, "refunded": it.refunded,
    }))
}
