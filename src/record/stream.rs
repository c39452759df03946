//! What an account's stream of updates tells: facts, ledger, and the state that covers them, in one transaction.
//!
//! Only what the stream's account reads is stored, and only of watched chats; the state advances in any case.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::boxes::BoxRow;
use super::coverage::{self, Window};
use super::member::{self, Relation};
use super::message::{self, Counts, Deletion, Written};
use super::{AccountId, Chat, ChatId, Error, Message, Observation, User, Via, boxes, event, join, media, membership, watch};

/// So many of the newest ids may have changed where Telegram told no difference.
pub const STALE_AFTER_JUMP: i64 = 10_000;

/// What happened, in the order in which it was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Happened {
    /// New and edited ones, each with its own pts.
    pub messages: Vec<Message>,
    /// Counts that were told without content.
    pub counts: Vec<(ChatId, Counts)>,
    pub deletions: Vec<Gone>,
    pub events: Vec<(ChatId, Event)>,
    /// Who stands where, told apart from messages.
    pub relations: Vec<Relation>,
    /// A basic group, and the supergroup that it became.
    pub migrations: Vec<(ChatId, ChatId)>,
    pub chats: Vec<Chat>,
    pub users: Vec<User>,
    /// Users that took other names: of interest only where they are known.
    pub renamed: Vec<User>,
}

/// Messages that were deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// None: in the account's own box; Telegram names no chat.
    pub channel: Option<ChatId>,
    pub ids: Vec<i64>,
}

/// What may interest a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Joined,
    Left,
    Changed,
    Migrated,
}

impl Event {
    /// The name in workflow files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => event::JOINED,
            Self::Left => event::LEFT,
            Self::Changed => event::CHANGED,
            Self::Migrated => event::MIGRATED,
        }
    }
}

impl Happened {
    /// Nothing that the record keeps.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many facts there are.
    pub fn len(&self) -> usize {
        let gone: usize = self.deletions.iter().map(|gone| gone.ids.len()).sum();
        let told = self.messages.len() + self.counts.len() + self.events.len() + self.relations.len();
        told + self.migrations.len() + self.renamed.len() + gone
    }

    /// Adds what happened after it.
    pub fn extend(&mut self, later: Happened) {
        self.messages.extend(later.messages);
        self.counts.extend(later.counts);
        self.deletions.extend(later.deletions);
        self.events.extend(later.events);
        self.relations.extend(later.relations);
        self.migrations.extend(later.migrations);
        self.chats.extend(later.chats);
        self.users.extend(later.users);
        self.renamed.extend(later.renamed);
    }

    /// What belongs to a box, of watched chats; the account's own under no key.
    fn of_box(&self, key: Option<ChatId>, watched: &BTreeSet<ChatId>) -> OfBox {
        let here = |chat: ChatId| watched.contains(&chat) && (if chat.is_channel() { key == Some(chat) } else { key.is_none() });
        let gone = self.deletions.iter().filter(|gone| gone.channel == key);
        OfBox {
            messages: self.messages.iter().filter(|message| message.id > 0 && here(message.chat)).cloned().collect(),
            counts: self.counts.iter().filter(|(chat, _)| here(*chat)).map(|(_, counts)| counts.clone()).collect(),
            gone: gone.flat_map(|gone| &gone.ids).map(|id| Deletion { id: *id, after: None }).collect(),
        }
    }

    fn chats_named(&self) -> BTreeSet<i64> {
        let messages = self.messages.iter().map(|message| message.chat);
        let counts = self.counts.iter().map(|(chat, _)| *chat);
        let gone = self.deletions.iter().filter_map(|gone| gone.channel);
        let events = self.events.iter().map(|(chat, _)| *chat);
        let relations = self.relations.iter().map(|relation| relation.chat);
        let migrations = self.migrations.iter().map(|(from, _)| *from);
        messages.chain(counts).chain(gone).chain(events).chain(relations).chain(migrations).map(|chat| chat.0).collect()
    }
}

/// The account's own sequences; Telegram's numbers, `date` in its seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct State {
    pub pts: i32,
    pub qts: i32,
    pub date: i32,
    pub seq: i32,
}

/// How far the sequences came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advance {
    /// The own sequences: pts before, and the state after.
    pub common: Option<(i32, State)>,
    /// Channels: pts before and after.
    pub channels: BTreeMap<ChatId, (i32, i32)>,
    /// What moved without being told between; None: the account's own box.
    pub jumped: BTreeSet<Option<ChatId>>,
    /// Telegram said that nothing is missing; None: in the account's own box.
    pub verified: BTreeSet<Option<ChatId>>,
}

impl Advance {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The state to go on from; none: this stream was never heard.
pub async fn state(conn: &mut PgConnection, account: AccountId) -> Result<Option<State>, Error> {
    Ok(sqlx::query_as(
        "select b.pts, s.qts, s.date, s.seq from account_stream s join box b on b.account_id = s.account_id
        where s.account_id = $1 and b.pts is not null",
    )
    .bind(account.0)
    .fetch_optional(conn)
    .await?)
}

/// Begins a stream at a state, if it has none.
pub async fn begin(conn: &mut PgConnection, account: AccountId, state: State) -> Result<(), Error> {
    let held = boxes::box_of_account(conn, account).await?;
    sqlx::query("update box set pts = $2, mark = null where id = $1").bind(held.0).bind(state.pts).execute(&mut *conn).await?;
    save(conn, account, state).await
}

async fn save(conn: &mut PgConnection, account: AccountId, state: State) -> Result<(), Error> {
    sqlx::query(
        "insert into account_stream (account_id, qts, date, seq) values ($1, $2, $3, $4)
        on conflict (account_id) do update set qts = $2, date = $3, seq = $4, updated_at = now()",
    )
    .bind(account.0)
    .bind(state.qts)
    .bind(state.date)
    .bind(state.seq)
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether the account's dialogs were listed once.
pub async fn dialogs_listed(conn: &mut PgConnection, account: AccountId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("select exists (select from account_stream where account_id = $1 and dialogs_at is not null)")
        .bind(account.0)
        .fetch_one(conn)
        .await?)
}

/// Notes that the dialogs were listed.
pub async fn set_dialogs_listed(conn: &mut PgConnection, account: AccountId) -> Result<(), Error> {
    sqlx::query("update account_stream set dialogs_at = now() where account_id = $1").bind(account.0).execute(conn).await?;
    Ok(())
}

/// A watched chat that an account reads, as its stream needs it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Followed {
    pub chat_id: i64,
    pub access_hash: Option<i64>,
    /// Of a channel: where its box stands; none: nobody has described it yet.
    pub pts: Option<i32>,
}

/// The watched chats that this account reads.
pub async fn followed(conn: &mut PgConnection, account: AccountId) -> Result<Vec<Followed>, Error> {
    Ok(sqlx::query_as(
        "select w.chat_id, p.access_hash, b.pts
        from watch w
        cross join lateral (
            select a.id from account a
            left join coverage_access c on c.account_id = a.id and c.chat_id = w.chat_id
            left join account_peer k on k.account_id = a.id and k.peer_id = w.chat_id
            where a.state = 'active' and coalesce(c.readable, true) and (w.reader_id = a.id or c.readable or k.peer_id is not null)
                and (w.chat_id < -1000000000000 or w.reader_id is null or w.reader_id = a.id)
            order by w.reader_id is not distinct from a.id desc, coalesce(c.readable, false) desc, a.id limit 1
        ) reader
        left join account_peer p on p.account_id = reader.id and p.peer_id = w.chat_id
        left join box b on b.channel_id = w.chat_id
        where reader.id = $1 order by w.chat_id",
    )
    .bind(account.0)
    .fetch_all(conn)
    .await?)
}

/// Commits what a stream told, by the way it was heard, and how far it came. `follows`: the chats that this account reads.
///
/// Fails with [`Error::Moved`] where somebody else moved a box meanwhile: the stream then goes on from what is stored.
pub async fn commit(
    conn: &mut PgConnection,
    account: AccountId,
    follows: &BTreeSet<ChatId>,
    heard: &[(Via, Happened)],
    advance: &Advance,
) -> Result<Written, Error> {
    let named = heard.iter().flat_map(|(_, happened)| happened.chats_named()).chain(advance.channels.keys().map(|chat| chat.0));
    let named: Vec<i64> = named.collect::<BTreeSet<_>>().into_iter().collect();
    let watched = watch::watched(conn, &named).await?.into_iter().map(ChatId).filter(|chat| follows.contains(chat)).collect();
    let boxes = lock(conn, account, &watched, advance).await?;
    let mut written = Written::default();
    let mut tops: BTreeMap<ChatId, i64> = BTreeMap::new();
    let mut files = Vec::new();
    for (key, held) in &boxes {
        for (via, happened) in heard {
            let seen = Observation { account, via: *via, job: None, pts: None };
            let of_box = happened.of_box(*key, &watched);
            for message in &of_box.messages {
                let top = tops.entry(message.chat).or_default();
                *top = (*top).max(message.id);
            }
            // The ledger's rows stand before messages in the order of locks.
            open_ledgers(conn, account, held, of_box.messages.iter().map(|message| message.chat)).await?;
            written.extend(message::commit(conn, held, &of_box.messages, &seen).await?);
            files.extend(media::carried(held, &of_box.messages, &seen));
            written.extend(message::commit_counts(conn, held, &of_box.counts, &seen).await?);
            if !of_box.gone.is_empty() && (key.is_some() || any_watched(conn, held).await?) {
                written.extend(message::commit_deletions(conn, held, &of_box.gone, &seen).await?);
            }
        }
    }
    for (via, happened) in heard {
        let seen = Observation { account, via: *via, job: None, pts: None };
        let relations = happened.relations.iter().filter(|relation| watched.contains(&relation.chat)).cloned();
        member::merge(conn, &relations.collect::<Vec<_>>(), &seen).await?;
    }
    media::merge_all(conn, files).await?;
    raise_tops(conn, account, &tops).await?;
    // Every message of the own box counts, also those of chats that nobody watches.
    let own = heard.iter().flat_map(|(_, happened)| &happened.messages).filter(|message| !message.chat.is_channel());
    let newest = own.map(|message| message.id).max().unwrap_or(0);
    positions(conn, account, &boxes, follows, advance, newest).await?;
    for (via, happened) in heard {
        let seen = Observation { account, via: *via, job: None, pts: None };
        people(conn, happened, &watched, &seen).await?;
    }
    for (_, happened) in heard {
        events(conn, account, happened, &watched).await?;
    }
    Ok(written)
}

/// Notes what workflows may want to know.
async fn events(conn: &mut PgConnection, account: AccountId, happened: &Happened, watched: &BTreeSet<ChatId>) -> Result<(), Error> {
    for (from, to) in happened.migrations.iter().filter(|(from, _)| watched.contains(from)) {
        if watch::go_on(conn, *from, *to).await? {
            event::note(conn, *to, Event::Migrated.as_str(), Some(account)).await?;
        }
    }
    places(conn, account, happened).await?;
    let told: BTreeSet<(ChatId, Event)> = happened.events.iter().filter(|(chat, _)| watched.contains(chat)).copied().collect();
    for (chat, told) in told {
        let told = if told == Event::Changed && was_unreadable(conn, chat, account).await? { Event::Joined } else { told };
        event::note(conn, chat, told.as_str(), Some(account)).await?;
    }
    Ok(())
}

/// Where the account is now, also of chats that nobody watches: whoever is to join a chat must know, and that a request was granted is
/// told by nothing else.
async fn places(conn: &mut PgConnection, account: AccountId, happened: &Happened) -> Result<(), Error> {
    let of = |wanted: &[Event]| -> Vec<ChatId> {
        happened.events.iter().filter(|(_, event)| wanted.contains(event)).map(|(chat, _)| *chat).collect()
    };
    membership::note_membership(conn, account, &of(&[Event::Joined]), true).await?;
    membership::note_absence(conn, account, &of(&[Event::Left])).await?;
    if membership::any_unknown(conn, account, &of(&[Event::Joined, Event::Changed])).await? {
        join::look_soon(conn, account).await?;
    }
    Ok(())
}

/// What happened in one box.
struct OfBox {
    messages: Vec<Message>,
    counts: Vec<Counts>,
    gone: Vec<Deletion>,
}

/// The boxes that the commit touches, locked in order; the account's own under no key. Checks that nobody else moved them.
async fn lock(
    conn: &mut PgConnection,
    account: AccountId,
    watched: &BTreeSet<ChatId>,
    advance: &Advance,
) -> Result<Vec<(Option<ChatId>, BoxRow)>, Error> {
    let mut ids = vec![(boxes::box_of_account(conn, account).await?, None)];
    for channel in watched.iter().filter(|chat| chat.is_channel()) {
        ids.push((boxes::box_of_channel(conn, *channel).await?, Some(*channel)));
    }
    ids.sort_unstable();
    let mut held = Vec::with_capacity(ids.len());
    for (id, key) in ids {
        let row = boxes::lock(conn, id).await?;
        let expected = match key {
            None => advance.common.map(|(before, _)| before),
            Some(channel) => advance.channels.get(&channel).map(|(before, _)| *before),
        };
        if expected.is_some() && expected != row.pts {
            return Err(Error::Moved);
        }
        held.push((key, row));
    }
    Ok(held)
}

async fn open_ledgers(
    conn: &mut PgConnection,
    account: AccountId,
    held: &BoxRow,
    chats: impl Iterator<Item = ChatId>,
) -> Result<(), Error> {
    let chats: Vec<i64> = chats.map(|chat| chat.0).collect::<BTreeSet<_>>().into_iter().collect();
    if chats.is_empty() {
        return Ok(());
    }
    let known: Vec<i64> =
        sqlx::query_scalar("select chat_id from coverage where box_id = $1 and chat_id = any($2) order by id for update")
            .bind(held.id.0)
            .bind(&chats)
            .fetch_all(&mut *conn)
            .await?;
    for chat in chats.into_iter().filter(|chat| !known.contains(chat)) {
        coverage::open(conn, ChatId(chat), account).await?;
    }
    Ok(())
}

async fn raise_tops(conn: &mut PgConnection, account: AccountId, tops: &BTreeMap<ChatId, i64>) -> Result<(), Error> {
    if tops.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update coverage c set top = greatest(c.top, n.top) from unnest($1::bigint[], $2::bigint[]) n (chat, top)
        where c.chat_id = n.chat and coalesce(c.account_id, $3) = $3 and c.top < n.top",
    )
    .bind(tops.keys().map(|chat| chat.0).collect::<Vec<_>>())
    .bind(tops.values().copied().collect::<Vec<_>>())
    .bind(account.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Where the boxes stand now, and what follows from it for the ledger.
async fn positions(
    conn: &mut PgConnection,
    account: AccountId,
    boxes: &[(Option<ChatId>, BoxRow)],
    follows: &BTreeSet<ChatId>,
    advance: &Advance,
    newest: i64,
) -> Result<(), Error> {
    for (key, held) in boxes {
        let after = match key {
            None => advance.common.map(|(_, state)| state.pts),
            Some(channel) => advance.channels.get(channel).map(|(_, after)| *after),
        };
        let (jumped, verified) = (advance.jumped.contains(key), advance.verified.contains(key));
        if key.is_none() && newest > 0 {
            answer_for_all(conn, held, follows, newest, jumped).await?;
        }
        if jumped {
            for ledger in coverage::of_box(conn, held.id).await? {
                coverage::mark_newest_stale(conn, ledger, STALE_AFTER_JUMP).await?;
            }
        }
        if after.is_some() || verified || jumped {
            sqlx::query(
                "update box set pts = coalesce($2, pts), verified_at = case when $3 then now() else verified_at end,
                    mark = case when $4 then null else greatest(mark, nullif($5, 0)) end
                where id = $1",
            )
            .bind(held.id.0)
            .bind(after)
            .bind(verified)
            .bind(jumped)
            .bind(if key.is_none() { newest } else { 0 })
            .execute(&mut *conn)
            .await?;
        }
        if verified {
            coverage::confirm_tops(conn, held.id).await?;
        }
    }
    if let Some((_, state)) = advance.common {
        save(conn, account, state).await?;
    }
    Ok(())
}

/// The own box's ids are common to all of its chats: a sequence without a gap answers for each of them.
async fn answer_for_all(
    conn: &mut PgConnection,
    held: &BoxRow,
    follows: &BTreeSet<ChatId>,
    newest: i64,
    jumped: bool,
) -> Result<(), Error> {
    let (Some(mark), false) = (held.mark, jumped) else { return Ok(()) };
    let chats: Vec<i64> = follows.iter().filter(|chat| !chat.is_channel()).map(|chat| chat.0).collect();
    if newest <= mark || chats.is_empty() {
        return Ok(());
    }
    let span = Window { from: mark + 1, to: newest };
    sqlx::query(
        "update coverage c set settled = c.settled + int8multirange(int8range($3, $4 + 1))
        where c.id in (
            select c.id from coverage c join watch w using (chat_id) where c.box_id = $1 and c.chat_id = any($2) order by c.id for update of c)",
    )
    .bind(held.id.0)
    .bind(&chats)
    .bind(span.from)
    .bind(span.to)
    .execute(conn)
    .await?;
    Ok(())
}

/// Chats and users of what was stored; those of unwatched chats say nothing here.
async fn people(conn: &mut PgConnection, happened: &Happened, watched: &BTreeSet<ChatId>, seen: &Observation) -> Result<(), Error> {
    let mut named: BTreeSet<i64> = watched.iter().map(|chat| chat.0).collect();
    for message in happened.messages.iter().filter(|message| watched.contains(&message.chat)) {
        message.name(&mut named);
    }
    named.extend(happened.relations.iter().filter(|relation| watched.contains(&relation.chat)).map(|relation| relation.user));
    let chats: Vec<Chat> = happened.chats.iter().filter(|chat| named.contains(&chat.id.0)).cloned().collect();
    let mut users: Vec<User> = happened.users.iter().filter(|user| named.contains(&user.id)).cloned().collect();
    users.extend(super::user::known(conn, &happened.renamed).await?);
    super::commit_people(conn, &chats, &users, seen).await?;
    let mut peers = super::chat::peers(&happened.chats);
    peers.extend(super::user::peers(&users));
    Ok(super::account::note_peers(conn, seen.account, &peers).await?)
}

async fn any_watched(conn: &mut PgConnection, held: &BoxRow) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("select exists (select from coverage join watch using (chat_id) where box_id = $1)")
        .bind(held.id.0)
        .fetch_one(conn)
        .await?)
}

async fn was_unreadable(conn: &mut PgConnection, chat: ChatId, account: AccountId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("select exists (select from coverage_access where chat_id = $1 and account_id = $2 and not readable)")
        .bind(chat.0)
        .bind(account.0)
        .fetch_one(conn)
        .await?)
}
