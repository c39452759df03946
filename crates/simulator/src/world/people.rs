//! The people of a world: who writes, who is forwarded, who is talked with.

use std::collections::BTreeMap;

use grammers_tl_types as tl;

use super::text::mix;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub id: i64,
    pub first_name: String,
    pub last_name: Option<String>,
    /// Without `@`.
    pub username: Option<String>,
    pub bot: bool,
    /// A deleted account: no name any more.
    pub deleted: bool,
}

impl Person {
    /// A user with a name only.
    pub fn named(id: i64, first_name: &str) -> Self {
        Person { id, first_name: first_name.to_owned(), last_name: None, username: None, bot: false, deleted: false }
    }

    /// The user as an answer's `users` tells them.
    pub fn to_tl(&self, access_hash: i64, is_self: bool) -> tl::enums::User {
        let told = !self.deleted;
        tl::types::User {
            is_self,
            contact: false,
            mutual_contact: false,
            deleted: self.deleted,
            bot: self.bot,
            bot_chat_history: false,
            bot_nochats: false,
            verified: false,
            restricted: false,
            min: false,
            bot_inline_geo: false,
            support: false,
            scam: false,
            apply_min_photo: false,
            fake: false,
            bot_attach_menu: false,
            premium: false,
            attach_menu_enabled: false,
            bot_can_edit: false,
            close_friend: false,
            stories_hidden: false,
            stories_unavailable: true,
            contact_require_premium: false,
            bot_business: false,
            bot_has_main_app: false,
            bot_forum_view: false,
            bot_forum_can_manage_topics: false,
            bot_can_manage_bots: false,
            bot_guestchat: false,
            bot_guard: false,
            id: self.id,
            access_hash: Some(access_hash),
            first_name: told.then(|| self.first_name.clone()),
            last_name: self.last_name.clone().filter(|_| told),
            username: self.username.clone().filter(|_| told),
            phone: None,
            photo: None,
            status: None,
            bot_info_version: self.bot.then_some(1),
            restriction_reason: None,
            bot_inline_placeholder: None,
            lang_code: None,
            emoji_status: None,
            usernames: None,
            stories_max_id: None,
            color: None,
            profile_color: None,
            bot_active_users: None,
            bot_verification_icon: None,
            send_paid_messages_stars: None,
            linked_community_id: None,
        }
        .into()
    }
}

/// The user who sees a generated world's private chats.
pub(super) const ME: i64 = 5_000_000_001;
/// Generated authors have the ids after this one.
const AUTHORS: i64 = 5_100_000_000;

const NAMES: [(&str, &str); 24] = [
    ("Maren", "Olsen"),
    ("Игорь", "Соколов"),
    ("ليلى", "حداد"),
    ("伟", "陈"),
    ("Lucía", "Ferrer"),
    ("आरव", "शर्मा"),
    ("Tom", "Whitfield"),
    ("Анна", "Лебедева"),
    ("يوسف", "منصور"),
    ("静", "林"),
    ("Diego", "Ibarra"),
    ("नेहा", "वर्मा"),
    ("Jonas", "Brandt"),
    ("さくら", "田中"),
    ("Zoë", ""),
    ("Okafor 🚢", "Chidi"),
    ("Ольга", "Ткаченко"),
    ("Åse", "Lindqvist"),
    ("明", "王"),
    ("Nuria", "Campos"),
    ("राहुल", "मेहता"),
    ("Harbour", "Office"),
    ("Émile", "Rousseau"),
    ("دانا", "خوري"),
];

/// How many authors a generated world has.
pub(super) const AUTHOR_COUNT: u64 = 160;

/// The n-th author's id.
pub(super) fn author(n: u64) -> i64 {
    AUTHORS + i64::try_from(n % AUTHOR_COUNT).unwrap_or(0)
}

/// The display name of the n-th author, as a channel signs posts.
pub(super) fn signature(seed: u64, n: u64) -> String {
    let (first, last) = name(seed, n % AUTHOR_COUNT);
    format!("{first} {last}").trim().to_owned()
}

fn name(seed: u64, n: u64) -> (&'static str, &'static str) {
    // A family name from another culture now and then is life.
    let first = NAMES[usize::try_from(n % NAMES.len() as u64).unwrap_or(0)];
    let last =
        if n < NAMES.len() as u64 { first } else { NAMES[usize::try_from(mix(seed, n, 1, 77) % NAMES.len() as u64).unwrap_or(0)] };
    (first.0, last.1)
}

/// All authors of a generated world, and the user who looks at it.
pub(super) fn everyone(seed: u64) -> BTreeMap<i64, Person> {
    let mut people: BTreeMap<i64, Person> = (0..AUTHOR_COUNT)
        .map(|n| {
            let id = author(n);
            let (first, last) = name(seed, n);
            let mut person = Person::named(id, first);
            person.last_name = (!last.is_empty()).then(|| last.to_owned());
            person.username = (n % 3 != 2).then(|| format!("harbour_voice_{n}"));
            person.bot = n % 53 == 52;
            person.deleted = n % 41 == 40;
            if person.bot {
                person.username = Some(format!("harbour_{n}_bot"));
            }
            (id, person)
        })
        .collect();
    people.insert(ME, Person::named(ME, "Keeper"));
    people
}
