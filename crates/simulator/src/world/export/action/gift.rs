//! Payments, gifts, prizes and suggested posts.

use grammers_tl_types as tl;
use tl::enums::MessageAction as Action;

use super::untold;
use crate::world::export::fields::Fields;
use crate::world::export::{Loading, words};
use crate::world::wire;

/// Telegram's own currency of stars, as payments name it.
const STARS: &str = "XTR";
const NANOS: i64 = 1_000_000_000;
/// Older exports tell months where newer ones tell days.
const MONTH: i32 = 30;

pub(super) fn read(loading: &mut Loading, fields: &mut Fields, name: &str) -> Option<Action> {
    Some(match name {
        "send_payment" => {
            let recurring = fields.text("recurring").unwrap_or_default();
            tl::types::MessageActionPaymentSent {
                recurring_init: recurring == "init",
                recurring_used: recurring == "used",
                currency: fields.text("currency").unwrap_or_default(),
                total_amount: fields.number("amount").unwrap_or_default(),
                invoice_slug: None,
                subscription_until_date: None,
            }
            .into()
        }
        "refunded_payment" => {
            let named = fields.text("peer_name");
            let peer = fields.peer("peer_id").unwrap_or_default();
            loading.meet(peer, named.as_deref());
            let charge =
                tl::types::PaymentCharge { id: fields.text("charge_id").unwrap_or_default(), provider_charge_id: String::new() };
            tl::types::MessageActionPaymentRefunded {
                peer: wire::peer(peer),
                currency: fields.text("currency").unwrap_or_default(),
                total_amount: fields.number("amount").unwrap_or_default(),
                payload: None,
                charge: charge.into(),
            }
            .into()
        }
        "send_premium_gift" => tl::types::MessageActionGiftPremium {
            currency: cost(loading, fields),
            amount: 0,
            days: days(fields),
            crypto_currency: None,
            crypto_amount: None,
            message: None,
        }
        .into(),
        "send_stars_gift" => {
            let stars = fields.number("stars").or_else(|| fields.number("amount_whole")).unwrap_or_default();
            fields.take("amount_nano");
            tl::types::MessageActionGiftStars {
                currency: cost(loading, fields),
                amount: 0,
                stars,
                crypto_currency: None,
                crypto_amount: None,
                transaction_id: None,
            }
            .into()
        }
        "send_ton_gift" => tl::types::MessageActionGiftTon {
            currency: cost(loading, fields),
            amount: 0,
            crypto_currency: "TON".to_owned(),
            crypto_amount: nanos(fields, "amount_whole", "amount_nano"),
            transaction_id: None,
        }
        .into(),
        "stars_prize" => {
            let named = fields.text("boost_peer_name");
            let peer = fields.peer("boost_peer_id").unwrap_or_default();
            loading.meet(peer, named.as_deref());
            tl::types::MessageActionPrizeStars {
                unclaimed: fields.flag("is_unclaimed"),
                stars: fields.number("stars").unwrap_or_default(),
                transaction_id: fields.text("transaction_id").unwrap_or_default(),
                boost_peer: wire::peer(peer),
                giveaway_msg_id: fields.int("giveaway_msg_id").unwrap_or_default(),
            }
            .into()
        }
        "send_star_gift" => star_gift(loading, fields),
        "gift_code_prize" => tl::types::MessageActionGiftCode {
            via_giveaway: fields.flag("via_giveaway"),
            unclaimed: fields.flag("unclaimed"),
            boost_peer: fields.peer("boost_peer_id").map(wire::peer),
            days: days(fields),
            slug: fields.text("gift_code").unwrap_or_default(),
            currency: None,
            amount: None,
            crypto_currency: None,
            crypto_amount: None,
            message: None,
        }
        .into(),
        "giveaway_launch" => tl::types::MessageActionGiveawayLaunch { stars: None }.into(),
        "giveaway_results" => {
            let stars = match fields.take("stars") {
                Some(serde_json::Value::Bool(stars)) => stars,
                Some(other) => other.as_i64().unwrap_or_default() > 0,
                None => false,
            };
            tl::types::MessageActionGiveawayResults {
                stars,
                winners_count: fields.int("winners").unwrap_or_default(),
                unclaimed_count: fields.int("unclaimed").unwrap_or_default(),
            }
            .into()
        }
        "paid_messages_refund" => tl::types::MessageActionPaidMessagesRefunded {
            count: fields.int("messages_count").unwrap_or_default(),
            stars: fields.number("stars_count").unwrap_or_default(),
        }
        .into(),
        "paid_messages_price_change" => tl::types::MessageActionPaidMessagesPrice {
            broadcast_messages_allowed: fields.flag("is_broadcast_messages_allowed"),
            stars: fields.number("price_stars").unwrap_or_default(),
        }
        .into(),
        "process_suggested_post" => {
            let rejected = fields.flag("rejected");
            tl::types::MessageActionSuggestedPostApproval {
                rejected,
                balance_too_low: false,
                reject_comment: fields.text("comment"),
                schedule_date: fields.int("scheduled_date").filter(|&date| date > 0),
                price: (!rejected).then(|| price(fields)),
            }
            .into()
        }
        "suggested_post_success" => tl::types::MessageActionSuggestedPostSuccess { price: price(fields) }.into(),
        "suggested_post_refund" => {
            tl::types::MessageActionSuggestedPostRefund { payer_initiated: fields.flag("user_initiated") }.into()
        }
        _ => return None,
    })
}

/// A cost is told as people read it (`$5`): it stands where the currency's code would.
fn cost(loading: &mut Loading, fields: &mut Fields) -> String {
    let told = fields.text("cost");
    if told.is_some() {
        loading.notes.add("cost of a gift (as text, in place of a currency)");
    }
    told.unwrap_or_else(|| STARS.to_owned())
}

fn days(fields: &mut Fields) -> i32 {
    let months = fields.int("months");
    fields.int("days").or(months.map(|months| months.saturating_mul(MONTH))).unwrap_or_default()
}

fn nanos(fields: &mut Fields, whole: &str, nano: &str) -> i64 {
    let whole = fields.number(whole).unwrap_or_default();
    whole.saturating_mul(NANOS).saturating_add(fields.number(nano).unwrap_or_default())
}

fn price(fields: &mut Fields) -> tl::enums::StarsAmount {
    if fields.text("price_currency").as_deref() == Some("TON") {
        return tl::types::StarsTonAmount { amount: nanos(fields, "price_amount_whole", "price_amount_nano") }.into();
    }
    tl::types::StarsAmount {
        amount: fields.number("price_amount_whole").unwrap_or_default(),
        nanos: fields.int("price_amount_nano").unwrap_or_default(),
    }
    .into()
}

fn star_gift(loading: &mut Loading, fields: &mut Fields) -> Action {
    let sticker = tl::types::DocumentEmpty { id: untold(loading, "sticker of a gift") };
    let limited = fields.flag("is_limited");
    let gift = tl::types::StarGift {
        limited,
        sold_out: false,
        birthday: false,
        require_premium: false,
        limited_per_user: false,
        peer_color_available: false,
        auction: false,
        id: fields.number("gift_id").unwrap_or_default(),
        sticker: sticker.into(),
        stars: fields.number("stars").unwrap_or_default(),
        availability_remains: limited.then_some(0),
        availability_total: limited.then_some(0),
        availability_resale: None,
        convert_stars: 0,
        first_sale_date: None,
        last_sale_date: None,
        upgrade_stars: None,
        resell_min_stars: None,
        title: None,
        released_by: None,
        per_user_total: None,
        per_user_remains: None,
        locked_until_date: None,
        auction_slug: None,
        gifts_per_round: None,
        auction_start_date: None,
        upgrade_variants: None,
        background: None,
    };
    let said = words::with_entities(fields.take("gift_text"), &mut loading.notes);
    let tl::enums::TextWithEntities::Entities(text) = &said;
    let message = (!text.text.is_empty()).then_some(said);
    tl::types::MessageActionStarGift {
        name_hidden: fields.flag("is_anonymous"),
        saved: false,
        converted: false,
        upgraded: false,
        refunded: false,
        can_upgrade: false,
        prepaid_upgrade: false,
        upgrade_separate: false,
        auction_acquired: false,
        gift: gift.into(),
        message,
        convert_stars: None,
        upgrade_msg_id: None,
        upgrade_stars: None,
        from_id: None,
        peer: None,
        saved_id: None,
        prepaid_upgrade_hash: None,
        gift_msg_id: None,
        to_id: None,
        gift_num: None,
    }
    .into()
}
