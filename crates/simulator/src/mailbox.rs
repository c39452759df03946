//! An account's own box: its private chats and basic groups, with message ids and a pts of their own
//! (<https://core.telegram.org/api/updates#message-related-event-sequences>).
//!
//! Two members of one basic group know the same message by different ids. The world numbers these messages once, as its own user
//! has them; every other account's box counts for itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use grammers_tl_types as tl;

use crate::access;
use crate::account::Account;
use crate::world::events::Effect;
use crate::world::live::{Change, Stood};
use crate::world::{Chat, ChatKind, Record, World};

/// Another account than the world's own user begins to count at least so much higher.
const SHIFT: i64 = 1_000;
const SHIFTS: i64 = 9_000;

/// One line of a box's log.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) date: i32,
    /// Number of the event.
    pub(crate) event: u64,
    pub(crate) order: Order,
}

/// By what a letter is ordered, and what it tells.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// The pts after it; ids are the world's.
    Pts {
        pts: i32,
        chat: i64,
        change: Change,
    },
    Seq {
        seq: i32,
        news: Seq,
    },
    /// For bots: <https://core.telegram.org/constructor/updateChannelParticipant>.
    Qts {
        qts: i32,
        chat: i64,
        before: Option<Box<Stood>>,
        now: Box<Stood>,
    },
}

/// What is ordered by seq.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seq {
    Renamed(i64),
    UserDeleted(i64),
    Participant { chat: i64, user: i64 },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Own ids of messages that were there when the world began lie so much above the world's.
    shift: i32,
    /// The newest id that the world gave when it began.
    born: i32,
    /// The newest own id.
    last: i32,
    pub(crate) pts: i32,
    pub(crate) qts: i32,
    pub(crate) seq: i32,
    /// The last event that is in.
    taken: u64,
    log: Vec<Letter>,
    /// Of messages that came later; empty where own ids are the world's.
    own: HashMap<i32, i32>,
    worlds: BTreeMap<i32, i32>,
    same: bool,
}

impl Mailbox {
    fn new(account: &Account, world: &World) -> Self {
        let same = account.user_id == world.me;
        let shift = if same { 0 } else { i32::try_from(SHIFT + account.user_id.rem_euclid(SHIFTS)).unwrap_or(0) };
        let born = world.chats().iter().filter(|chat| !chat.kind.is_channel()).map(Chat::born_last).max().unwrap_or(0);
        let last = born.saturating_add(shift);
        Mailbox {
            shift,
            born,
            last,
            pts: last.saturating_add(1),
            qts: 0,
            seq: 1,
            taken: 0,
            log: Vec::new(),
            own: HashMap::new(),
            worlds: BTreeMap::new(),
            same,
        }
    }

    /// The pts with which it began.
    pub(crate) fn born_pts(&self) -> i32 {
        self.born.saturating_add(self.shift).saturating_add(1)
    }

    /// The id by which this account knows a message; `None` where it has it not.
    pub(crate) fn own(&self, id: i32) -> Option<i32> {
        match id {
            id if self.same => Some(id),
            id if id <= self.born => Some(id.saturating_add(self.shift)),
            id => self.own.get(&id).copied(),
        }
    }

    /// The world's id of the first message that has this own id or a higher one.
    pub(crate) fn world_from(&self, own: i32) -> i32 {
        if self.same {
            return own;
        }
        if own <= self.born.saturating_add(self.shift) {
            return own.saturating_sub(self.shift).max(1);
        }
        self.worlds.range(own..).next().map_or(i32::MAX, |(_, id)| *id)
    }

    /// The world's id of the message with exactly this own id.
    pub(crate) fn world(&self, own: i32) -> Option<i32> {
        let id = self.world_from(own);
        (self.own(id) == Some(own)).then_some(id)
    }

    /// Letters ordered by pts after one, oldest first.
    pub(crate) fn after(&self, pts: i32) -> impl Iterator<Item = &Letter> {
        self.log.iter().filter(move |letter| matches!(letter.order, Order::Pts { pts: at, .. } if at > pts))
    }

    /// Letters that no pts orders: by seq, not older than a date; by qts, after one.
    pub(crate) fn others(&self, date: i32, qts: i32) -> impl Iterator<Item = &Letter> {
        self.log.iter().filter(move |letter| match letter.order {
            Order::Pts { .. } => false,
            Order::Seq { .. } => letter.date >= date,
            Order::Qts { qts: at, .. } => at > qts,
        })
    }

    /// A message of a private chat or basic group as this account has it; `None` where it has not.
    pub(crate) fn tell(
        &self,
        account: &Account,
        chat: &Chat,
        me: i64,
        mut message: tl::enums::Message,
    ) -> Option<tl::enums::Message> {
        let user = account.user_id;
        // The other one of a private chat talks with the world's own user.
        let mirrored = chat.kind == ChatKind::Private && user == chat.id && user != me;
        let peer = || -> tl::enums::Peer { tl::types::PeerUser { user_id: me }.into() };
        match &mut message {
            tl::enums::Message::Message(message) => {
                message.id = self.own(message.id)?;
                self.renumber(message.reply_to.as_mut());
                is_out(&mut message.out, message.from_id.as_ref(), user, chat, me);
                if mirrored {
                    message.peer_id = peer();
                }
            }
            tl::enums::Message::Service(message) => {
                message.id = self.own(message.id)?;
                self.renumber(message.reply_to.as_mut());
                is_out(&mut message.out, message.from_id.as_ref(), user, chat, me);
                if mirrored {
                    message.peer_id = peer();
                }
            }
            tl::enums::Message::Empty(_) => return None,
        }
        Some(message)
    }

    fn renumber(&self, reply: Option<&mut tl::enums::MessageReplyHeader>) {
        if let Some(tl::enums::MessageReplyHeader::Header(header)) = reply
            && header.reply_to_peer_id.is_none()
        {
            for id in [&mut header.reply_to_msg_id, &mut header.reply_to_top_id] {
                *id = id.and_then(|id| self.own(id));
            }
        }
    }

    /// Takes in an event; gives the letters that it brought.
    fn take_in(&mut self, record: &Record, account: &Account, world: &World) {
        for effect in &record.effects {
            let order = match effect {
                Effect::Change { chat, change, .. } => {
                    let Some(told) = world.chat(*chat).filter(|chat| !chat.kind.is_channel()) else {
                        continue;
                    };
                    if !access::was_in(account, told, world, record.number) {
                        continue;
                    }
                    let Some(change) = self.receive(change) else {
                        continue;
                    };
                    self.pts = self.pts.saturating_add(change.pts_count());
                    Order::Pts { pts: self.pts, chat: *chat, change }
                }
                Effect::Renamed { user } => self.next_seq(Seq::Renamed(*user)),
                Effect::UserDeleted { user } => self.next_seq(Seq::UserDeleted(*user)),
                Effect::Stands { chat, user, before } => {
                    let Some(told) = world.chat(*chat) else { continue };
                    if !access::was_in(account, told, world, record.number) {
                        continue;
                    }
                    let is_bot = world.person(account.user_id).is_some_and(|person| person.bot);
                    let now = told.stood_at(*user, record.number);
                    match now {
                        Some(now) if is_bot => {
                            self.qts += 1;
                            let before = before.clone().map(Box::new);
                            Order::Qts { qts: self.qts, chat: *chat, before, now: Box::new(now) }
                        }
                        _ if told.kind == ChatKind::Group => self.next_seq(Seq::Participant { chat: *chat, user: *user }),
                        _ => continue,
                    }
                }
                Effect::Notice { .. } => continue,
            };
            self.log.push(Letter { date: record.date, event: record.number, order });
        }
        self.taken = record.number;
    }

    fn next_seq(&mut self, news: Seq) -> Order {
        self.seq += 1;
        Order::Seq { seq: self.seq, news }
    }

    /// Gives a new message its own id; of a change to older ones, what this account has of them.
    fn receive(&mut self, change: &Change) -> Option<Change> {
        let known = |ids: &[i32]| ids.iter().copied().filter(|id| self.own(*id).is_some()).collect::<Vec<_>>();
        let change = match change {
            Change::New(id) => {
                if self.same {
                    self.last = *id;
                } else {
                    self.last = self.last.saturating_add(1);
                    self.own.insert(*id, self.last);
                    self.worlds.insert(self.last, *id);
                }
                Change::New(*id)
            }
            Change::Edited(id) => Change::Edited(self.own(*id).map(|_| *id)?),
            Change::Deleted(ids) => Change::Deleted(known(ids)),
            Change::Pinned { ids, pinned } => Change::Pinned { ids: known(ids), pinned: *pinned },
        };
        (change.pts_count() > 0).then_some(change)
    }
}

/// A message is one's own where one wrote it; a stranger to a private chat sees it with the eyes of the world's own user.
fn is_out(out: &mut bool, from: Option<&tl::enums::Peer>, user: i64, chat: &Chat, me: i64) {
    if let Some(tl::enums::Peer::User(from)) = from
        && (chat.kind != ChatKind::Private || user == chat.id || user == me)
    {
        *out = from.user_id == user;
    }
}

/// The boxes of all accounts, each made when it is first looked into.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes(Mutex<HashMap<i64, Mailbox>>);

impl Mailboxes {
    /// Looks into an account's box, with all events in it.
    pub(crate) fn with<R>(&self, world: &World, account: &Account, look: impl FnOnce(&Mailbox) -> R) -> R {
        let mut boxes = self.lock();
        let mailbox = boxes.entry(account.user_id).or_insert_with(|| Mailbox::new(account, world));
        let missing: Vec<Arc<Record>> = world.events_from(mailbox.taken + 1);
        missing.iter().for_each(|record| mailbox.take_in(record, account, world));
        look(mailbox)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Mailbox>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Mailbox {
    /// The letters of one event.
    pub(crate) fn of_event(&self, event: u64) -> &[Letter] {
        let from = self.log.partition_point(|letter| letter.event < event);
        let to = self.log.partition_point(|letter| letter.event <= event);
        &self.log[from..to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Event, GeneratedChat, Post};

    #[test]
    fn every_account_counts_ids_and_pts_for_itself() {
        let world = World::generated(
            7,
            [GeneratedChat::new(ChatKind::Private, "Maren", 20), GeneratedChat::new(ChatKind::Group, "crew", 20)],
        );
        let (maren, crew) = (world.chats()[0].id, world.chats()[1].id);
        let (me, other) = (Account::new("me", world.me), Account::new("other", 5_100_000_003));
        let post = |chat, post| world.play(Event::Post { chat, post }).expect("happens").posted().next().expect("a message").1;
        let private = post(maren, Post::text("a"));
        let shared = post(crew, Post::said(5_100_000_003, "b"));
        let boxes = Mailboxes::default();
        let look = |account: &Account| {
            boxes.with(&world, account, |mailbox| {
                let pts = mailbox.pts - mailbox.born_pts();
                (pts, mailbox.own(private), mailbox.own(shared), mailbox.own(1))
            })
        };
        assert_eq!(look(&me), (2, Some(private), Some(shared), Some(1)));
        let (pts, hidden, own, born) = look(&other);
        assert_eq!((pts, hidden), (1, None), "the private chat is none of theirs");
        let (own, born) = (own.expect("has it"), born.expect("has it"));
        assert_eq!(own - born, shared - 1 - 1, "no number is spent on what one has not");
        boxes.with(&world, &other, |mailbox| {
            assert_eq!(mailbox.world(own), Some(shared));
            assert_eq!(mailbox.world(born), Some(1));
            assert_eq!(mailbox.world_from(own + 1), i32::MAX);
            assert_eq!(mailbox.world(own + 1), None);
        });

        world.play(Event::Delete { chat: crew, ids: vec![shared, 2, 3] }).expect("happens");
        assert_eq!((look(&me).0, look(&other).0), (4, 3), "2 is of the crew, 3 of the private chat");
        world.play(Event::Rename { user: 5_100_000_003, first_name: None, last_name: None, username: None }).expect("happens");
        boxes.with(&world, &me, |mailbox| assert_eq!((mailbox.seq, mailbox.others(0, 0).count()), (2, 1)));
    }
}
