//! The order of updates: <https://core.telegram.org/api/updates>. Pure: no clock, no network.
//!
//! What is pushed is compared with the positions that are known (pts of the account's own box and of each channel that is followed,
//! qts, seq). What fits becomes a [`Batch`]: indivisible, with the positions after it, to be committed together. What came too early
//! waits for half a second, then a difference is asked for; what came twice is dropped. Positions of channels that are not followed
//! are nobody's concern here.
//!
//! grammers' own message boxes are not used: they take a difference's final pts over before they look at its edits and deletions, and
//! so drop these as old.

mod ask;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use grammers_tl_types as tl;
use tl::enums::Update;

use place::{Place, place};

/// How long an update that came too early waits for those before it: <https://core.telegram.org/api/updates#recovering-gaps>.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// So many updates that came too early are kept for one box; more make a difference due at once.
const MOST_EARLY: usize = 1_000;

/// An order of updates of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sequence {
    /// The account's own box (pts), what only bots hear (qts), and what concerns no box (seq).
    Common,
    /// A channel or supergroup, by its bare id.
    Channel(i64),
}

/// Where the account's own sequences stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    pub pts: i32,
    pub qts: i32,
    /// Telegram's seconds.
    pub date: i32,
    pub seq: i32,
}

impl From<tl::types::updates::State> for Common {
    fn from(it: tl::types::updates::State) -> Self {
        Self { pts: it.pts, qts: it.qts, date: it.date, seq: it.seq }
    }
}

/// One update, with the pts that orders it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    pub update: Update,
    /// Of a message that a difference recovered, the pts after the difference: it is told as it was then.
    pub pts: Option<i32>,
}

/// How a batch was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Pushed,
    Difference,
}

/// Updates that belong together, and where the sequences stand after them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub source: Source,
    pub updates: Vec<Ordered>,
    pub chats: Vec<tl::enums::Chat>,
    pub users: Vec<tl::enums::User>,
    /// Set where the account's own sequences moved.
    pub common: Option<Common>,
    /// Channels that moved: bare id, pts before and after.
    pub channels: Vec<Moved>,
    /// What moved without being told between: the server keeps no difference that long.
    pub jumped: Option<Sequence>,
    /// Telegram said that nothing is missing after this batch.
    pub verified: Option<Sequence>,
}

/// A channel's pts, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub channel: i64,
    pub before: i32,
    pub after: i32,
}

impl Batch {
    fn new(source: Source) -> Self {
        let (updates, chats, users, channels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { source, updates, chats, users, common: None, channels, jumped: None, verified: None }
    }

    /// Nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.common.is_none() && self.channels.is_empty() && self.verified.is_none()
    }

    fn moves(&mut self, channel: i64, before: i32, after: i32) {
        match self.channels.iter_mut().find(|moved| moved.channel == channel) {
            Some(moved) => moved.after = after,
            None => self.channels.push(Moved { channel, before, after }),
        }
    }
}

/// What came too early, with its container's chats and users.
#[derive(Debug)]
struct Early {
    since: Instant,
    updates: Vec<(Place, Ordered)>,
    chats: Vec<tl::enums::Chat>,
    users: Vec<tl::enums::User>,
}

/// Where one account's sequences stand, and what is to be asked for.
#[derive(Debug)]
pub struct Sequencer {
    common: Common,
    channels: BTreeMap<i64, i32>,
    early: BTreeMap<Sequence, Early>,
    wanted: BTreeSet<Sequence>,
    /// The account's own user.
    me: i64,
}

impl Sequencer {
    /// Begins at a stored state.
    pub fn new(me: i64, common: Common) -> Self {
        Self { common, channels: BTreeMap::new(), early: BTreeMap::new(), wanted: BTreeSet::new(), me }
    }

    /// Follows a channel from a pts on. One that is followed already stays where it is. Gives whether it is new.
    pub fn follow(&mut self, channel: i64, pts: i32) -> bool {
        let new = !self.channels.contains_key(&channel);
        self.channels.entry(channel).or_insert(pts);
        new
    }

    /// Follows a channel no longer.
    pub fn unfollow(&mut self, channel: i64) {
        self.channels.remove(&channel);
        self.early.remove(&Sequence::Channel(channel));
        self.wanted.remove(&Sequence::Channel(channel));
    }

    /// Whether a channel is followed.
    pub fn follows(&self, channel: i64) -> bool {
        self.channels.contains_key(&channel)
    }

    /// The channels that are followed, by bare id.
    pub fn channels(&self) -> impl Iterator<Item = i64> {
        self.channels.keys().copied()
    }

    /// Asks for a difference: the sequence may have missed something. One that is not followed is none.
    pub fn doubt(&mut self, sequence: Sequence) {
        if !matches!(sequence, Sequence::Channel(channel) if !self.follows(channel)) {
            self.wanted.insert(sequence);
        }
    }

    /// Asks for all differences: after a reconnect, or when something was lost.
    pub fn doubt_all(&mut self) {
        self.wanted.insert(Sequence::Common);
        self.wanted.extend(self.channels.keys().map(|channel| Sequence::Channel(*channel)));
    }

    /// The differences to ask for.
    pub fn wanted(&self) -> impl Iterator<Item = Sequence> {
        self.wanted.iter().copied()
    }

    /// When what waits has waited enough, if no difference is wanted for it already.
    pub fn patience_ends(&self) -> Option<Instant> {
        let waiting = self.early.iter().filter(|(sequence, _)| !self.wanted.contains(sequence));
        waiting.map(|(_, early)| early.since + PATIENCE).min()
    }

    /// What has waited long enough becomes a difference to ask for.
    pub fn lose_patience(&mut self, now: Instant) {
        let due = self.early.iter().filter(|(_, early)| now >= early.since + PATIENCE);
        self.wanted.extend(due.map(|(sequence, _)| *sequence));
    }

    /// The call for the account's own difference.
    pub fn ask_common(&self) -> tl::functions::updates::GetDifference {
        tl::functions::updates::GetDifference {
            pts: self.common.pts,
            pts_limit: None,
            pts_total_limit: None,
            // 0 is refused.
            date: self.common.date.max(1),
            qts: self.common.qts,
            qts_limit: None,
        }
    }

    /// The pts to ask a channel's difference from.
    pub fn pts_of(&self, channel: i64) -> Option<i32> {
        self.channels.get(&channel).copied()
    }

    /// Takes what was pushed; gives what fits.
    pub fn push(&mut self, now: Instant, pushed: tl::enums::Updates) -> Batch {
        let mut batch = Batch::new(Source::Pushed);
        let Some(container) = self.container(pushed) else {
            self.doubt_all();
            return batch;
        };
        let tl::types::UpdatesCombined { mut updates, users, chats, date, seq_start, seq } = container;
        let before = self.common;
        if seq_start > self.common.seq + 1 {
            self.doubt(Sequence::Common);
        } else if seq_start != 0 {
            self.common.seq = self.common.seq.max(seq);
            self.common.date = self.common.date.max(date);
        }
        // They may come out of order in their container: a count of 0 belongs behind what moved the pts.
        updates.sort_by_key(|update| place(update).map_or(0, |it| it.before()));
        let mut kept = false;
        for update in updates {
            kept |= self.take(now, update, (&chats, &users), &mut batch);
        }
        if kept {
            batch.chats.extend(chats);
            batch.users.extend(users);
        }
        if self.common != before {
            batch.common = Some(self.common);
        }
        batch
    }

    /// Gives whether the update is in the batch now.
    fn take(
        &mut self,
        now: Instant,
        update: Update,
        told: (&Vec<tl::enums::Chat>, &Vec<tl::enums::User>),
        batch: &mut Batch,
    ) -> bool {
        if let Update::ChannelTooLong(it) = &update {
            self.doubt(Sequence::Channel(it.channel_id));
            return false;
        }
        let Some(place) = place(&update) else {
            batch.updates.push(Ordered { update, pts: None });
            return true;
        };
        if let Place::Qts(qts) = place {
            if qts > self.common.qts + 1 && self.common.qts > 0 {
                self.doubt(Sequence::Common);
            }
            self.common.qts = self.common.qts.max(qts);
            batch.updates.push(Ordered { update, pts: None });
            return true;
        }
        let Some(sequence) = place.sequence() else { return false };
        let Some(at) = self.position(sequence) else { return false };
        let ordered = Ordered { update, pts: Some(place.after()) };
        match at.cmp(&place.before()) {
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => {
                self.advance(sequence, place.after(), batch);
                batch.updates.push(ordered);
                self.release(sequence, batch);
                true
            }
            std::cmp::Ordering::Less => {
                let early = self.early.entry(sequence).or_insert_with(|| Early {
                    since: now,
                    updates: Vec::new(),
                    chats: Vec::new(),
                    users: Vec::new(),
                });
                if early.updates.len() >= MOST_EARLY {
                    self.wanted.insert(sequence);
                    return false;
                }
                early.updates.push((place, ordered));
                early.chats.extend(told.0.iter().cloned());
                early.users.extend(told.1.iter().cloned());
                false
            }
        }
    }

    fn position(&self, sequence: Sequence) -> Option<i32> {
        match sequence {
            Sequence::Common => Some(self.common.pts),
            Sequence::Channel(channel) => self.channels.get(&channel).copied(),
        }
    }

    fn advance(&mut self, sequence: Sequence, after: i32, batch: &mut Batch) {
        match sequence {
            Sequence::Common => self.common.pts = after,
            Sequence::Channel(channel) => {
                if let Some(pts) = self.channels.get_mut(&channel) {
                    if *pts != after {
                        batch.moves(channel, *pts, after);
                    }
                    *pts = after;
                }
            }
        }
    }

    /// What waited and fits now.
    fn release(&mut self, sequence: Sequence, batch: &mut Batch) {
        let Some(mut early) = self.early.remove(&sequence) else { return };
        early.updates.sort_by_key(|(place, _)| (place.before(), place.after()));
        let mut left = Vec::new();
        for (place, ordered) in early.updates {
            match self.position(sequence).map(|at| at.cmp(&place.before())) {
                Some(std::cmp::Ordering::Equal) => {
                    self.advance(sequence, place.after(), batch);
                    batch.updates.push(ordered);
                }
                Some(std::cmp::Ordering::Less) => left.push((place, ordered)),
                Some(std::cmp::Ordering::Greater) | None => {}
            }
        }
        batch.chats.extend(early.chats.iter().cloned());
        batch.users.extend(early.users.iter().cloned());
        if left.is_empty() {
            return;
        }
        early.updates = left;
        self.early.insert(sequence, early);
    }

    /// Takes the answer to [`Sequencer::ask_common`]. More is to be asked for while [`Sequencer::wanted`] says so.
    pub fn common_difference(&mut self, answer: tl::enums::updates::Difference) -> Batch {
        use tl::enums::updates::Difference as Answer;
        let mut batch = Batch::new(Source::Difference);
        let (whole, is_last) = match answer {
            Answer::Empty(it) => {
                self.common = Common { date: it.date, seq: it.seq, ..self.common };
                self.settle(Sequence::Common, &mut batch);
                batch.common = Some(self.common);
                return batch;
            }
            Answer::TooLong(it) => {
                self.common.pts = it.pts;
                self.early.remove(&Sequence::Common);
                batch.common = Some(self.common);
                batch.jumped = Some(Sequence::Common);
                // Asked again from there: for what the jump says nothing of, and for the channels that changed.
                return batch;
            }
            Answer::Difference(it) => (it, true),
            Answer::Slice(it) => {
                let tl::types::updates::DifferenceSlice {
                    new_messages, new_encrypted_messages, other_updates, chats, users, ..
                } = it;
                let state = it.intermediate_state;
                let whole =
                    tl::types::updates::Difference { new_messages, new_encrypted_messages, other_updates, chats, users, state };
                (whole, false)
            }
        };
        let tl::enums::updates::State::State(state) = whole.state;
        self.recover(Sequence::Common, whole.other_updates, whole.new_messages, state.pts, &mut batch);
        batch.chats = whole.chats;
        batch.users = whole.users;
        self.common = state.into();
        batch.common = Some(self.common);
        if is_last {
            self.settle(Sequence::Common, &mut batch);
        } else {
            self.release(Sequence::Common, &mut batch);
        }
        batch
    }

    /// Takes the answer to a channel's difference, asked for from its pts.
    pub fn channel_difference(&mut self, channel: i64, answer: tl::enums::updates::ChannelDifference) -> Batch {
        use tl::enums::updates::ChannelDifference as Answer;
        let mut batch = Batch::new(Source::Difference);
        let sequence = Sequence::Channel(channel);
        let (pts, is_last) = match answer {
            Answer::Empty(it) => (Some(it.pts), it.r#final),
            Answer::TooLong(it) => {
                let pts = match it.dialog {
                    tl::enums::Dialog::Dialog(dialog) => dialog.pts,
                    tl::enums::Dialog::Folder(_) | tl::enums::Dialog::Community(_) => None,
                };
                let at = pts.or(self.pts_of(channel)).unwrap_or(0);
                self.recover(sequence, Vec::new(), it.messages, at, &mut batch);
                (batch.chats, batch.users) = (it.chats, it.users);
                batch.jumped = Some(sequence);
                (pts, true)
            }
            Answer::Difference(it) => {
                self.recover(sequence, it.other_updates, it.new_messages, it.pts, &mut batch);
                (batch.chats, batch.users) = (it.chats, it.users);
                (Some(it.pts), it.r#final)
            }
        };
        if let Some(pts) = pts {
            self.advance(sequence, pts, &mut batch);
        }
        if is_last {
            self.settle(sequence, &mut batch);
        } else {
            self.release(sequence, &mut batch);
        }
        batch
    }

    /// Nothing is missing any more.
    fn settle(&mut self, sequence: Sequence, batch: &mut Batch) {
        self.wanted.remove(&sequence);
        batch.verified = Some(sequence);
        self.release(sequence, batch);
        if self.early.contains_key(&sequence) {
            // Still ahead of what the server told: it told before they happened.
            self.wanted.insert(sequence);
        }
    }

    /// Other updates come first, as Telegram asks for; messages are told as they are at the end of the difference.
    fn recover(&mut self, of: Sequence, other: Vec<Update>, messages: Vec<tl::enums::Message>, pts: i32, batch: &mut Batch) {
        for update in other {
            match (&update, place(&update)) {
                (Update::ChannelTooLong(it), _) => self.doubt(Sequence::Channel(it.channel_id)),
                // Its own difference tells them in order.
                (_, Some(Place::Channel { channel, .. })) if of != Sequence::Channel(channel) => {
                    self.doubt(Sequence::Channel(channel));
                }
                (_, place) => batch.updates.push(Ordered { update, pts: place.and_then(|it| it.pts()) }),
            }
        }
        batch.updates.extend(
            messages.into_iter().map(|message| Ordered {
                update: tl::types::UpdateNewMessage { message, pts, pts_count: 0 }.into(),
                pts: Some(pts),
            }),
        );
    }

    /// Every form of container as one; none: too much happened to be pushed.
    fn container(&self, pushed: tl::enums::Updates) -> Option<tl::types::UpdatesCombined> {
        use tl::enums::Updates as Form;
        let one = |update: Update, date: i32| tl::types::UpdatesCombined {
            updates: vec![update],
            users: Vec::new(),
            chats: Vec::new(),
            date,
            seq_start: 0,
            seq: 0,
        };
        Some(match pushed {
            Form::TooLong => return None,
            Form::UpdateShortMessage(it) => {
                let date = it.date;
                one(place::private(it, self.me), date)
            }
            Form::UpdateShortChatMessage(it) => {
                let date = it.date;
                one(place::grouped(it), date)
            }
            Form::UpdateShort(it) => one(it.update, it.date),
            Form::Combined(it) => it,
            Form::Updates(it) => tl::types::UpdatesCombined {
                updates: it.updates,
                users: it.users,
                chats: it.chats,
                date: it.date,
                seq_start: it.seq,
                seq: it.seq,
            },
            // The answer to what is sent: nothing is sent.
            Form::UpdateShortSentMessage(it) => {
                let empty = tl::types::MessageEmpty { id: it.id, peer_id: None }.into();
                one(tl::types::UpdateNewMessage { message: empty, pts: it.pts, pts_count: it.pts_count }.into(), it.date)
            }
        })
    }
}

#[cfg(test)]
mod tests;
