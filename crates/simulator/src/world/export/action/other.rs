//! Calls, games, bots, checklists and the rest.

use grammers_tl_types as tl;
use serde_json::Value;
use tl::enums::MessageAction as Action;
use tl::enums::PhoneCallDiscardReason as Reason;
use tl::enums::SecureValueType as Secure;

use super::{members, someone, untold};
use crate::world::export::fields::{Fields, first, packed_peer};
use crate::world::export::{Loading, poll, words};
use crate::world::wire;

pub(super) fn read(loading: &mut Loading, fields: &mut Fields, name: &str, date: i32) -> Option<Action> {
    Some(match name {
        "take_screenshot" => Action::ScreenshotTaken,
        "joined_telegram" => Action::ContactSignUp,
        "phone_call" => {
            let reason = match fields.text("discard_reason").as_deref() {
                Some("busy") => Some(Reason::Busy),
                Some("missed") => Some(Reason::Missed),
                Some("hangup") => Some(Reason::Hangup),
                Some("disconnect") => Some(Reason::Disconnect),
                Some(_) => {
                    let slug = String::new();
                    Some(tl::types::PhoneCallDiscardReasonMigrateConferenceCall { slug }.into())
                }
                None => None,
            };
            let duration = fields.int("duration_seconds");
            tl::types::MessageActionPhoneCall { video: false, call_id: date.into(), reason, duration }.into()
        }
        "conference_call" => tl::types::MessageActionConferenceCall {
            missed: fields.flag("is_missed"),
            active: fields.flag("is_active"),
            video: false,
            call_id: date.into(),
            duration: fields.int("duration_seconds"),
            other_participants: None,
        }
        .into(),
        "group_call" => {
            let duration = fields.int("duration").or_else(|| fields.int("duration_seconds"));
            tl::types::MessageActionGroupCall { call: call(loading), duration }.into()
        }
        "invite_to_group_call" => {
            tl::types::MessageActionInviteToGroupCall { call: call(loading), users: members(loading, fields) }.into()
        }
        "group_call_scheduled" => {
            let schedule_date = fields.int("schedule_date").unwrap_or_default();
            tl::types::MessageActionGroupCallScheduled { call: call(loading), schedule_date }.into()
        }
        "score_in_game" => {
            let game_id = untold(loading, "id of a game");
            tl::types::MessageActionGameScore { game_id, score: fields.int("score").unwrap_or_default() }.into()
        }
        "allow_sending_messages" => {
            let app = fields.number("reason_app_id").map(|id| app(id, fields.text("reason_app_name").unwrap_or_default()));
            let domain = fields.text("reason_domain");
            tl::types::MessageActionBotAllowed { attach_menu: false, from_request: false, domain, app }.into()
        }
        "attach_menu_bot_allowed" | "web_app_bot_allowed" => {
            let attach_menu = name == "attach_menu_bot_allowed";
            tl::types::MessageActionBotAllowed { attach_menu, from_request: !attach_menu, domain: None, app: None }.into()
        }
        "send_webview_data" => {
            let text = fields.text(&first("text")).or_else(|| fields.text("text")).unwrap_or_default();
            tl::types::MessageActionWebViewDataSent { text }.into()
        }
        "managed_bot_created" => tl::types::MessageActionManagedBotCreated { bot_id: someone(loading, fields, "bot") }.into(),
        "requested_peer" => {
            let many = fields.list("peers").unwrap_or_default();
            let one = fields.take("peer_id");
            // Here the kind stands above 48 bits.
            let peers = many.iter().chain(&one).filter_map(Value::as_i64).map(|peer| wire::peer(packed_peer(peer, 48)));
            let peers = peers.collect();
            tl::types::MessageActionRequestedPeer { button_id: fields.int("button_id").unwrap_or_default(), peers }.into()
        }
        "send_passport_values" => {
            let values = fields.list("values").unwrap_or_default();
            let types: Vec<_> = values.iter().filter_map(|value| secure(value.as_str()?)).collect();
            loading.notes.add_many("passport value of unknown kind", (values.len() - types.len()) as u64);
            tl::types::MessageActionSecureValuesSent { types }.into()
        }
        "proximity_reached" => {
            let mut peer = |loading: &mut Loading, role: &str| {
                let named = fields.text(role);
                let id = fields.peer(&format!("{role}_id")).unwrap_or_default();
                loading.meet(id, named.as_deref());
                wire::peer(id)
            };
            let (from_id, to_id) = (peer(loading, "from"), peer(loading, "to"));
            let distance = fields.int("distance").unwrap_or_default();
            tl::types::MessageActionGeoProximityReached { from_id, to_id, distance }.into()
        }
        "todo_completions" => tl::types::MessageActionTodoCompletions {
            completed: ints(fields, "completed"),
            incompleted: ints(fields, "incompleted"),
        }
        .into(),
        "todo_append_tasks" => {
            let items = fields.list("items").unwrap_or_default();
            tl::types::MessageActionTodoAppendTasks { list: poll::todo_items(loading, items) }.into()
        }
        "poll_append_answer" => tl::types::MessageActionPollAppendAnswer { answer: answer(loading, fields) }.into(),
        "poll_delete_answer" => tl::types::MessageActionPollDeleteAnswer { answer: answer(loading, fields) }.into(),
        "suggest_birthday" => {
            let birthday = tl::types::Birthday {
                day: fields.int("day").unwrap_or_default(),
                month: fields.int("month").unwrap_or_default(),
                year: fields.int("year"),
            };
            tl::types::MessageActionSuggestBirthday { birthday: birthday.into() }.into()
        }
        _ => return None,
    })
}

fn call(loading: &mut Loading) -> tl::enums::InputGroupCall {
    tl::types::InputGroupCall { id: untold(loading, "id of a group call"), access_hash: 0 }.into()
}

fn app(id: i64, title: String) -> tl::enums::BotApp {
    let photo = tl::types::PhotoEmpty { id: 0 }.into();
    let (short_name, description) = (String::new(), String::new());
    tl::types::BotApp { id, access_hash: 0, short_name, title, description, photo, document: None, hash: 0 }.into()
}

fn answer(loading: &mut Loading, fields: &mut Fields) -> tl::enums::PollAnswer {
    let text = words::with_entities(fields.take("option"), &mut loading.notes);
    tl::types::PollAnswer { text, option: Vec::new(), media: None, added_by: None, date: None }.into()
}

fn ints(fields: &mut Fields, name: &str) -> Vec<i32> {
    let list = fields.list(name).unwrap_or_default();
    list.iter().filter_map(Value::as_i64).filter_map(|number| i32::try_from(number).ok()).collect()
}

fn secure(told: &str) -> Option<Secure> {
    Some(match told {
        "personal_details" => Secure::PersonalDetails,
        "passport" => Secure::Passport,
        "driver_license" => Secure::DriverLicense,
        "identity_card" => Secure::IdentityCard,
        "internal_passport" => Secure::InternalPassport,
        "address_information" => Secure::Address,
        "utility_bill" => Secure::UtilityBill,
        "bank_statement" => Secure::BankStatement,
        "rental_agreement" => Secure::RentalAgreement,
        "passport_registration" => Secure::PassportRegistration,
        "temporary_registration" => Secure::TemporaryRegistration,
        "phone_number" => Secure::Phone,
        "email" => Secure::Email,
        _ => return None,
    })
}
