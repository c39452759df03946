//! What an account may see of a chat: what it was made with, and what events made of that.

use crate::account::{Account, Sight};
use crate::clock;
use crate::world::{Chat, ChatKind, Standing, World};

/// What the account sees of a chat; none where it is banned, or where the chat is private and the account is not in it.
pub(crate) fn sight(account: &Account, chat: &Chat, world: &World) -> Option<Sight> {
    let from = account.hidden_before.get(&chat.id).copied().unwrap_or(1).max(1);
    let public = chat.kind.is_channel() && chat.username().is_some();
    let (member, from) = match chat.stands(account.user_id) {
        Some(stood) if is_banned(&stood.standing) => return None,
        Some(stood) if stood.standing.is_member() => {
            let hidden = chat.hides_history() && !stood.standing.is_admin();
            (true, if hidden { from.max(stood.after.saturating_add(1)) } else { from })
        }
        Some(_) => (false, from),
        None => (began_in(account, chat, world), from),
    };
    (member || public).then_some(Sight { from, member })
}

/// Whether the account was in the chat when an event happened, or is since.
pub(crate) fn was_in(account: &Account, chat: &Chat, world: &World, event: u64) -> bool {
    let stood = |event: u64| match chat.stood_at(account.user_id, event) {
        Some(stood) => stood.standing.is_member(),
        None => began_in(account, chat, world),
    };
    stood(event) || stood(event.saturating_sub(1))
}

fn is_banned(standing: &Standing) -> bool {
    matches!(standing, Standing::Banned { until } if *until == 0 || *until > clock::unix_now())
}

/// Whether the account was in the chat before events said anything of it.
fn began_in(account: &Account, chat: &Chat, world: &World) -> bool {
    if let Some(group) = chat.migrated_from().and_then(|(group, _)| world.chat(group)) {
        return match group.stands(account.user_id) {
            Some(stood) => stood.standing.is_member(),
            None => began_in(account, group, world),
        };
    }
    match &account.chats {
        Some(chats) => chats.contains(&chat.id),
        // Those who made a chat said who is in it.
        None if chat.is_made() => false,
        // Private chats are told from the side of the world's own user, and of the other one.
        None => chat.kind != ChatKind::Private || account.user_id == world.me || account.user_id == chat.id,
    }
}
