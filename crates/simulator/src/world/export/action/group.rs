//! What happens to a chat and its members.

use grammers_tl_types as tl;
use tl::enums::MessageAction as Action;

use super::{members, someone, title, untold};
use crate::world::export::fields::Fields;
use crate::world::export::{Loading, attachment};

pub(super) fn read(loading: &mut Loading, fields: &mut Fields, name: &str, date: i32) -> Option<Action> {
    Some(match name {
        "create_channel" => tl::types::MessageActionChannelCreate { title: title(fields) }.into(),
        "create_group" => {
            let users = members(loading, fields);
            tl::types::MessageActionChatCreate { title: title(fields), users }.into()
        }
        "edit_group_title" => tl::types::MessageActionChatEditTitle { title: title(fields) }.into(),
        "edit_group_photo" => tl::types::MessageActionChatEditPhoto { photo: photo(loading, fields, date) }.into(),
        "delete_group_photo" => Action::ChatDeletePhoto,
        "suggest_profile_photo" => tl::types::MessageActionSuggestProfilePhoto { photo: photo(loading, fields, date) }.into(),
        "invite_members" => tl::types::MessageActionChatAddUser { users: members(loading, fields) }.into(),
        "remove_members" => {
            let user_id = members(loading, fields).first().copied().unwrap_or_default();
            tl::types::MessageActionChatDeleteUser { user_id }.into()
        }
        "join_group_by_link" => tl::types::MessageActionChatJoinedByLink { inviter_id: someone(loading, fields, "inviter") }.into(),
        "join_group_by_request" => Action::ChatJoinedByRequest,
        "join_group_via_community" => {
            let community_id = fields.number("community_id").unwrap_or_default();
            tl::types::MessageActionChatJoinedViaCommunity { community_id }.into()
        }
        "migrate_to_supergroup" => {
            let channel_id = untold(loading, "id of the supergroup that a group became");
            tl::types::MessageActionChatMigrateTo { channel_id }.into()
        }
        "migrate_from_group" => {
            let chat_id = untold(loading, "id of the group that a supergroup was");
            tl::types::MessageActionChannelMigrateFrom { title: title(fields), chat_id }.into()
        }
        "pin_message" => Action::PinMessage,
        "clear_history" => Action::HistoryClear,
        "topic_created" => {
            let icon_color = fields.int("icon_color").unwrap_or_default();
            let icon_emoji_id = fields.number("icon_emoji_id").filter(|&id| id != 0);
            tl::types::MessageActionTopicCreate { title_missing: false, title: title(fields), icon_color, icon_emoji_id }.into()
        }
        "topic_edit" => tl::types::MessageActionTopicEdit {
            title: fields.text("new_title"),
            icon_emoji_id: fields.number("new_icon_emoji_id"),
            closed: fields.take("closed").and_then(|closed| closed.as_bool()),
            hidden: fields.take("hidden").and_then(|hidden| hidden.as_bool()),
        }
        .into(),
        "boost_apply" => tl::types::MessageActionBoostApply { boosts: fields.int("boosts").unwrap_or_default() }.into(),
        "set_messages_ttl" => {
            let period = fields.int("period").unwrap_or_default();
            tl::types::MessageActionSetMessagesTtl { period, auto_setting_from: None }.into()
        }
        "edit_chat_theme" => {
            let theme = tl::types::ChatTheme { emoticon: fields.text("emoticon").unwrap_or_default() };
            tl::types::MessageActionSetChatTheme { theme: theme.into() }.into()
        }
        "set_chat_wallpaper" | "set_same_chat_wallpaper" => {
            let id = untold(loading, "id of a wallpaper");
            let wallpaper = tl::types::WallPaperNoFile { id, default: false, dark: false, settings: None };
            let same = name == "set_same_chat_wallpaper";
            tl::types::MessageActionSetChatWallPaper { same, for_both: false, wallpaper: wallpaper.into() }.into()
        }
        "no_forwards_toggle" => {
            let new_value = fields.flag("new_value");
            tl::types::MessageActionNoForwardsToggle { prev_value: !new_value, new_value }.into()
        }
        "no_forwards_request" => {
            let (expired, new_value) = (fields.flag("expired"), fields.flag("new_value"));
            tl::types::MessageActionNoForwardsRequest { expired, prev_value: !new_value, new_value }.into()
        }
        "new_creator_pending" => {
            tl::types::MessageActionNewCreatorPending { new_creator_id: someone(loading, fields, "new_creator") }.into()
        }
        "change_creator" => {
            tl::types::MessageActionChangeCreator { new_creator_id: someone(loading, fields, "new_creator") }.into()
        }
        _ => return None,
    })
}

fn photo(loading: &mut Loading, fields: &mut Fields, date: i32) -> tl::enums::Photo {
    fields.take("media_spoiler");
    attachment::photo(loading, fields, date).unwrap_or_else(|| {
        fields.take("photo_file_size");
        loading.notes.add("photo of a service message without a file");
        tl::types::PhotoEmpty { id: 0 }.into()
    })
}
