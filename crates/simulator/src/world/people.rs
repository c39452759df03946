//! The people of a world: who writes, who is forwarded, who is talked with.

use std::collections::BTreeMap;

use grammers_tl_types as tl;

use super::portrait;
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
    /// In the address book of whoever looks at this world.
    pub contact: bool,
    /// How many profile photos there are, the newest first.
    pub photos: u8,
}

impl Person {
    /// A user with a name only.
    pub fn named(id: i64, first_name: &str) -> Self {
        Person {
            id,
            first_name: first_name.to_owned(),
            last_name: None,
            username: None,
            bot: false,
            deleted: false,
            contact: false,
            photos: 0,
        }
    }

    /// The ids of the profile photos, the newest first; a deleted account has none.
    pub fn photo_ids(&self) -> impl Iterator<Item = i64> + use<> {
        let (id, count) = (self.id, if self.deleted { 0 } else { self.photos });
        (0..count).rev().map(move |at| portrait::of_user(id, at))
    }

    /// Whether a search for members finds this person: a word of the name, or the username, begins with the query
    /// (<https://core.telegram.org/constructor/channelParticipantsSearch>).
    pub fn is_found_by(&self, query: &str) -> bool {
        let query = query.trim().trim_start_matches('@').to_lowercase();
        let begins = |word: &str| word.to_lowercase().starts_with(&query);
        let names = [Some(&self.first_name), self.last_name.as_ref()].into_iter().flatten();
        query.is_empty()
            || !self.deleted
                && (names.clone().any(|name| begins(name) || name.split_whitespace().any(begins))
                    || self.username.as_deref().is_some_and(begins))
    }

    /// The user as an answer's `users` tells them.
    pub fn to_tl(&self, access_hash: i64, is_self: bool) -> tl::enums::User {
        let told = !self.deleted;
        tl::types::User {
            is_self,
            contact: self.contact && !is_self,
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
            photo: self.photo_ids().next().map(portrait::of_profile),
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

/// People who are in chats, but write nothing, have the ids from this one on.
const CROWD: i64 = 5_400_000_000;

/// How many of them there are.
pub(super) const CROWD_COUNT: u64 = 10_000_000;

/// The id of the n-th of the crowd.
pub(super) fn reader(n: u64) -> i64 {
    CROWD + i64::try_from(n % CROWD_COUNT).unwrap_or(0)
}

/// Which of the crowd has this id.
pub(super) fn reader_number(id: i64) -> Option<u64> {
    u64::try_from(id.checked_sub(CROWD)?).ok().filter(|n| *n < CROWD_COUNT)
}

/// Which author has this id.
pub(super) fn author_number(id: i64) -> Option<u64> {
    u64::try_from(id.checked_sub(AUTHORS)?).ok().filter(|n| *n < AUTHOR_COUNT)
}

const READER: &str = "harbour_reader_";

/// One of the crowd, by id: computed, so that a hundred thousand members cost nothing.
pub(super) fn of_the_crowd(seed: u64, id: i64) -> Option<Person> {
    let n = reader_number(id)?;
    let roll = mix(seed, n, 2, 78);
    let (first, _) = NAMES[(roll % NAMES.len() as u64) as usize];
    let (_, last) = NAMES[((roll >> 8) % NAMES.len() as u64) as usize];
    let bot = (roll >> 16).is_multiple_of(400);
    Some(Person {
        last_name: (!last.is_empty()).then(|| last.to_owned()),
        username: match (roll >> 24) % 3 {
            _ if bot => Some(format!("{READER}{n}_bot")),
            0 => None,
            _ => Some(format!("{READER}{n}")),
        },
        bot,
        deleted: !bot && (roll >> 32).is_multiple_of(50),
        contact: !bot && (roll >> 40).is_multiple_of(40),
        photos: ((roll >> 48) % 3) as u8,
        ..Person::named(id, first)
    })
}

/// Whom of the crowd a username may belong to.
pub(super) fn reader_named(username: &str) -> Option<i64> {
    let lower = username.to_ascii_lowercase();
    let rest = lower.strip_prefix(READER)?;
    let n: u64 = rest.strip_suffix("_bot").unwrap_or(rest).parse().ok()?;
    (n < CROWD_COUNT).then(|| reader(n))
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
            person.contact = n % 10 == 3;
            person.photos = (mix(seed, n, 3, 79) % 4) as u8;
            if person.bot {
                person.username = Some(format!("harbour_{n}_bot"));
            }
            (id, person)
        })
        .collect();
    people.insert(ME, Person::named(ME, "Keeper"));
    people
}
