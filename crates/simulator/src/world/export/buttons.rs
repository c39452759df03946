//! Buttons under a message.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grammers_tl_types as tl;
use serde_json::Value;

use super::Loading;
use super::fields::Fields;

/// Reads `inline_bot_buttons`: rows of buttons. Those that only a keyboard below the input can have are counted.
pub(super) fn read(loading: &mut Loading, fields: &mut Fields) -> Option<tl::enums::ReplyMarkup> {
    let mut rows = Vec::new();
    for row in fields.list("inline_bot_buttons")? {
        let Value::Array(row) = row else {
            loading.notes.add("row of buttons of unknown form");
            continue;
        };
        let buttons: Vec<_> = row.into_iter().filter_map(|button| read_one(loading, button)).collect();
        if !buttons.is_empty() {
            rows.push(tl::types::KeyboardInlineButtonRow { buttons }.into());
        }
    }
    (!rows.is_empty()).then(|| tl::types::ReplyInlineMarkup { force_reply: false, rows }.into())
}

fn read_one(loading: &mut Loading, button: Value) -> Option<tl::enums::KeyboardInlineButton> {
    let Value::Object(button) = button else {
        loading.notes.add("button of unknown form");
        return None;
    };
    let mut button = Fields(button);
    let kind = button.text("type").unwrap_or_default();
    let text = button.text("text").unwrap_or_default();
    let data = button.text("data").unwrap_or_default();
    let r#type: tl::enums::InlineButtonType = match kind.as_str() {
        "url" => tl::types::InlineButtonTypeUrl { url: data }.into(),
        "callback" | "callback_with_password" => {
            let requires_password = kind == "callback_with_password";
            let data = match button.text("dataBase64").map(|packed| URL_SAFE_NO_PAD.decode(packed)) {
                Some(Ok(bytes)) => bytes,
                Some(Err(_)) => {
                    loading.notes.add("data of a button that is no Base64");
                    Vec::new()
                }
                None => data.into_bytes(),
            };
            tl::types::InlineButtonTypeCallback { requires_password, data }.into()
        }
        "switch_inline" | "switch_inline_same" => {
            let same_peer = kind == "switch_inline_same";
            tl::types::InlineButtonTypeSwitchInline { same_peer, query: data, peer_types: None }.into()
        }
        "game" => tl::enums::InlineButtonType::Game,
        "buy" => tl::enums::InlineButtonType::Buy,
        "auth" => {
            let fwd_text = button.text("forward_text");
            let button_id = button.int("button_id").unwrap_or_default();
            tl::types::InlineButtonTypeUrlAuth { fwd_text, url: data, button_id }.into()
        }
        "user_profile" => tl::types::InlineButtonTypeUserProfile { user_id: data.parse().unwrap_or_default() }.into(),
        "web_view" => tl::types::InlineButtonTypeWebView { url: data }.into(),
        "copy_text" => tl::types::InlineButtonTypeCopy { copy_text: data }.into(),
        other => {
            loading.notes.add(format!("button of type `{other}`"));
            return None;
        }
    };
    loading.left_over("button field", &button);
    Some(tl::types::KeyboardInlineButton { style: None, text, r#type }.into())
}
