//! The state of updates, and what was missed: <https://core.telegram.org/api/updates>.

mod news;

use grammers_tl_types as tl;

use super::peers::Named;
use super::{Caller, Failure, full};
use crate::account::Sight;
use crate::clock;
use crate::mailbox::{Letter, Mailbox, Order};
use crate::world::live::{Change, Entry};
use crate::world::{Chat, ChatKind};

/// <https://core.telegram.org/method/updates.getChannelDifference>: what users and bots may ask for at once.
const CHANNEL_LIMIT: i32 = 100;
const BOT_CHANNEL_LIMIT: i32 = 100_000;
/// Messages that come with a channel whose difference is too long.
const TOO_LONG_MESSAGES: usize = 20;

/// What a difference gathers.
#[derive(Default)]
struct Gathered {
    messages: Vec<tl::enums::Message>,
    updates: Vec<tl::enums::Update>,
    named: Named,
}

/// Messages that a box holds from before the world's first event, and letters since, as many as fit.
struct Page {
    born: Vec<(i32, i64)>,
    letters: Vec<Letter>,
    /// The pts after the last of them.
    pts: i32,
}

impl Caller<'_> {
    pub(super) fn updates_state(&self) -> tl::enums::updates::State {
        self.mailbox(|mailbox| state(mailbox, mailbox.pts).into())
    }

    /// The account's own box: private chats, basic groups, and what belongs to no chat.
    pub(super) fn difference(
        &self,
        call: tl::functions::updates::GetDifference,
    ) -> Result<tl::enums::updates::Difference, Failure> {
        if call.date <= 0 {
            return Err(Failure::bad("DATE_EMPTY"));
        }
        let rules = self.datacentre.pushes.rules();
        self.mailbox(|mailbox| {
            if call.pts <= 0 || call.pts > mailbox.pts {
                let name = if call.pts == 0 { "PERSISTENT_TIMESTAMP_EMPTY" } else { "PERSISTENT_TIMESTAMP_INVALID" };
                return Err(Failure::bad(name));
            }
            let missed = mailbox.pts - call.pts;
            if missed > rules.too_long || call.pts_total_limit.is_some_and(|most| missed > most) {
                return Ok(tl::types::updates::DifferenceTooLong { pts: mailbox.pts }.into());
            }
            let most = call.pts_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(rules.slice);
            let page = self.page(mailbox, call.pts, most.clamp(1, rules.slice.max(1)));
            let is_last = page.pts >= mailbox.pts;
            let mut gathered = Gathered::default();
            for (id, chat) in page.born {
                self.gather_message(mailbox, chat, id, &mut gathered);
            }
            for letter in &page.letters {
                self.gather_letter(mailbox, letter, &mut gathered);
            }
            if is_last {
                mailbox.others(call.date, call.qts).for_each(|letter| self.gather_letter(mailbox, letter, &mut gathered));
                self.gather_changed(call.date, &mut gathered);
            }
            let Gathered { messages: mut new_messages, updates: other_updates, named } = gathered;
            self.stamp(&mut new_messages);
            if is_last && new_messages.is_empty() && other_updates.is_empty() && missed == 0 {
                return Ok(tl::types::updates::DifferenceEmpty { date: clock::unix_now(), seq: mailbox.seq }.into());
            }
            let (chats, users) = named.told(self);
            let new_encrypted_messages = Vec::new();
            Ok(if is_last {
                let state = state(mailbox, mailbox.pts).into();
                tl::types::updates::Difference { new_messages, new_encrypted_messages, other_updates, chats, users, state }.into()
            } else {
                // What seq and qts order comes with the last slice: until then the client keeps its date and qts.
                let state = tl::types::updates::State { date: call.date, qts: call.qts, ..state(mailbox, page.pts) };
                let intermediate_state = state.into();
                tl::types::updates::DifferenceSlice {
                    new_messages,
                    new_encrypted_messages,
                    other_updates,
                    chats,
                    users,
                    intermediate_state,
                }
                .into()
            })
        })
    }

    /// The letters after a pts, and, where that lies before the world's first event, the messages after it: each took one pts, that
    /// after its id.
    fn page(&self, mailbox: &Mailbox, pts: i32, most: usize) -> Page {
        let mut born: Vec<(i32, i64)> = Vec::new();
        if pts < mailbox.born_pts() {
            let from = mailbox.world_from(pts);
            for (chat, _) in self.own_chats() {
                born.extend(chat.born_ids_from(from).take(most + 1).map(|id| (id, chat.id)));
            }
            born.sort_unstable();
        }
        let more = born.len() > most;
        born.truncate(most);
        if more {
            let pts = born.last().and_then(|(id, _)| mailbox.own(*id)).map_or(pts, |id| id.saturating_add(1));
            return Page { born, letters: Vec::new(), pts };
        }
        let mut waiting = mailbox.after(pts);
        let letters: Vec<Letter> = waiting.by_ref().take(most - born.len()).cloned().collect();
        let pts = match (waiting.next(), letters.last()) {
            (None, _) => mailbox.pts,
            (Some(_), Some(Letter { order: Order::Pts { pts, .. }, .. })) => *pts,
            (Some(_), _) => mailbox.born_pts(),
        };
        Page { born, letters, pts }
    }

    fn gather_message(&self, mailbox: &Mailbox, chat: i64, id: i32, gathered: &mut Gathered) {
        let told = self.datacentre.world.chat(chat).and_then(|chat| self.tell_own(mailbox, chat, chat.message(id)?));
        if let Some(message) = told {
            gathered.named.message(&message);
            gathered.messages.push(message);
        }
    }

    /// New messages go to their own list; everything else is an update as it was pushed.
    fn gather_letter(&self, mailbox: &Mailbox, letter: &Letter, gathered: &mut Gathered) {
        match &letter.order {
            Order::Pts { chat, change: Change::New(id), .. } => self.gather_message(mailbox, *chat, *id, gathered),
            _ => gathered.updates.extend(self.of_letter(mailbox, letter, &mut gathered.named)),
        }
    }

    /// Of each channel that has changed since then: that it is to be asked for. Without its pts: a client that took that over would
    /// skip what it missed. (<https://core.telegram.org/constructor/updateChannelTooLong>; that a difference tells so is what Telethon
    /// and grammers rely on.)
    fn gather_changed(&self, since: i32, gathered: &mut Gathered) {
        for (chat, sight) in self.visible_chats() {
            if sight.member && chat.kind.is_channel() && chat.logged() >= since {
                gathered.named.chat(chat);
                gathered.updates.push(tl::types::UpdateChannelTooLong { channel_id: chat.bare_id(), pts: None }.into());
            }
        }
    }

    pub(super) fn channel_difference(
        &self,
        call: tl::functions::updates::GetChannelDifference,
    ) -> Result<tl::enums::updates::ChannelDifference, Failure> {
        let (chat, sight) = self.channel(&call.channel)?;
        let now = chat.pts();
        if call.pts <= 0 || call.pts > now {
            let name = if call.pts == 0 { "PERSISTENT_TIMESTAMP_EMPTY" } else { "PERSISTENT_TIMESTAMP_INVALID" };
            return Err(Failure::bad(name));
        }
        let rules = self.datacentre.pushes.rules();
        self.datacentre.pushes.asked(&self.account.name, chat.id);
        let timeout = Some(rules.timeout);
        if call.pts == now {
            return Ok(tl::types::updates::ChannelDifferenceEmpty { r#final: true, pts: now, timeout }.into());
        }
        if now - call.pts > rules.channel_too_long {
            return Ok(self.channel_too_long(chat, sight, timeout));
        }
        let is_bot = self.datacentre.world.person(self.account.user_id).is_some_and(|person| person.bot);
        let most = call.limit.clamp(1, if is_bot { BOT_CHANNEL_LIMIT } else { CHANNEL_LIMIT });
        let most = usize::try_from(most).unwrap_or(1);
        let mut entries = chat.log_after(call.pts, most + 1);
        let is_last = entries.len() <= most;
        entries.truncate(most);
        let pts = if is_last { now } else { entries.last().map_or(now, |entry| entry.pts) };
        let gathered = self.gather_channel(chat, sight, &entries);
        let Gathered { messages: mut new_messages, updates: other_updates, named } = gathered;
        self.stamp(&mut new_messages);
        if new_messages.is_empty() && other_updates.is_empty() {
            return Ok(tl::types::updates::ChannelDifferenceEmpty { r#final: is_last, pts, timeout }.into());
        }
        let (chats, users) = named.told(self);
        Ok(tl::types::updates::ChannelDifference { r#final: is_last, pts, timeout, new_messages, other_updates, chats, users }
            .into())
    }

    fn gather_channel(&self, chat: &Chat, sight: Sight, entries: &[Entry]) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.named.chat(chat);
        let visible = |id: &i32| *id >= sight.from;
        for entry in entries {
            match &entry.change {
                Change::New(id) => {
                    if let Some(message) = chat.message(*id).filter(|_| visible(id)) {
                        let message = self.tell_channel(message);
                        gathered.named.message(&message);
                        gathered.messages.push(message);
                    }
                }
                change => gathered.updates.extend(self.of_channel(chat, sight, entry.pts, change, &mut gathered.named)),
            }
        }
        gathered
    }

    fn channel_too_long(&self, chat: &Chat, sight: Sight, timeout: Option<i32>) -> tl::enums::updates::ChannelDifference {
        let newest = chat.ids_below(0).take_while(|id| *id >= sight.from).take(TOO_LONG_MESSAGES);
        let mut messages: Vec<_> = newest.filter_map(|id| chat.message(id)).map(|message| self.tell_channel(message)).collect();
        self.stamp(&mut messages);
        let mut named = Named::default();
        named.chat(chat);
        messages.iter().for_each(|message| named.message(message));
        let (chats, users) = named.told(self);
        let top = messages.first().map_or(0, tl::enums::Message::id);
        let dialog = full::dialog(chat, chat.peer(), top);
        tl::types::updates::ChannelDifferenceTooLong { r#final: true, timeout, dialog, messages, chats, users }.into()
    }

    /// Looks into the account's own box.
    pub(super) fn mailbox<R>(&self, look: impl FnOnce(&Mailbox) -> R) -> R {
        self.datacentre.mailboxes.with(&self.datacentre.world, &self.account, look)
    }

    /// Private chats and basic groups that the account is in.
    pub(super) fn own_chats(&self) -> Vec<(&Chat, Sight)> {
        self.visible_chats().filter(|(chat, _)| !chat.kind.is_channel()).collect()
    }

    pub(super) fn tell_own(&self, mailbox: &Mailbox, chat: &Chat, message: tl::enums::Message) -> Option<tl::enums::Message> {
        mailbox.tell(&self.account, chat, self.datacentre.world.me, message)
    }

    /// A channel's message as this account sees it.
    pub(super) fn tell_channel(&self, mut message: tl::enums::Message) -> tl::enums::Message {
        let own = |from: &Option<tl::enums::Peer>| match from {
            Some(tl::enums::Peer::User(from)) => Some(from.user_id == self.account.user_id),
            _ => None,
        };
        match &mut message {
            tl::enums::Message::Message(message) => message.out = own(&message.from_id).unwrap_or(message.out),
            tl::enums::Message::Service(message) => message.out = own(&message.from_id).unwrap_or(message.out),
            tl::enums::Message::Empty(_) => {}
        }
        message
    }

    /// How this account calls a chat.
    pub(super) fn peer_of(&self, chat: &Chat) -> tl::enums::Peer {
        let me = self.datacentre.world.me;
        if chat.kind == ChatKind::Private && self.account.user_id == chat.id && chat.id != me {
            return tl::types::PeerUser { user_id: me }.into();
        }
        chat.peer()
    }
}

fn state(mailbox: &Mailbox, pts: i32) -> tl::types::updates::State {
    tl::types::updates::State { pts, qts: mailbox.qts, date: clock::unix_now(), seq: mailbox.seq, unread_count: 0 }
}
