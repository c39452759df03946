//! chat_join: one account joins one chat, or looks whether its request to join was granted.
//!
//! May run twice: who is in the chat already has joined. What is joined stands in the record alone (an invite is a secret), and so
//! does what came of it; a job whose join is over, or has gone to another account, does nothing.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use telekeep_queue::{self as queue, NewJob};

use super::{Job, JobContext, PlanError, Progress, chat_refresh::ChatRefresh};
use crate::{
    account::{
        self,
        joining::{Choice, Taken},
    },
    error::{Action, JobError},
    normalize,
    record::{
        self, AccountId, ChatId, event,
        join::{self as table, Aim, Join, State, Terms},
        membership,
        watch::{self, NewWatch},
    },
    telegram::{
        self, Connection, InputChat, budget,
        joining::{InviteHash, Joined, Seen},
    },
};

/// A join of the record, by the account that has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChatJoin {
    pub join: i64,
    pub account: AccountId,
}

/// What an attempt came to.
enum Came {
    In(Box<Seen>),
    Requested,
    AccountFull,
    Refused(String),
}

/// Where a target leads, for an account that is not in it yet.
enum Way {
    Channel(InputChat),
    Invite(InviteHash),
}

/// What looking at a target told.
enum Look {
    Came(Came),
    Outside(Way),
}

impl Job for ChatJoin {
    const KIND: &'static str = "chat_join";

    /// It is known once it is joined.
    fn chat(&self) -> Option<ChatId> {
        None
    }

    fn unique_key(&self) -> String {
        format!("{}:{}", self.join, self.account.0)
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let join = table::get(&mut *cx.pool.acquire().await?, self.join).await?;
        let Some(join) = join.filter(|join| join.account_id == self.account.0 && join.state.is_open()) else {
            return Ok(Progress::Finished);
        };
        match self.attempt(cx, &join).await {
            Ok(Came::AccountFull) => self.full(cx, &join).await?,
            Ok(came) => self.settle(cx, &join, came).await?,
            Err(JobError::Telegram(telegram::Error::Inaccessible { name, .. })) => {
                self.settle(cx, &join, Came::Refused(name)).await?;
            }
            Err(error) if error.action() == Action::AccountStopped && !join.pinned => {
                if let JobError::Telegram(failed) | JobError::Account(account::Error::Telegram(failed)) = &error {
                    cx.accounts.learn(self.account, failed).await?;
                }
                if !self.hand_over(cx, &join, false).await? {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(Progress::Finished)
    }
}

impl ChatJoin {
    async fn attempt(&self, cx: &JobContext, join: &Join) -> Result<Came, JobError> {
        for method in budget::JOIN_METHODS {
            if let Some(wait) = cx.accounts.resting(self.account, method).await? {
                return Err(telegram::Error::Flood { method: (*method).into(), wait }.into());
            }
        }
        let connection = cx.accounts.open(self.account).await?;
        // What was done may not have been written down; a request may have been granted.
        if join.state == State::Requested || cx.job.crash > 0 {
            match self.look(cx, &connection, join).await? {
                Look::Came(came) => return Ok(came),
                Look::Outside(_) if join.state == State::Requested => return Ok(Came::Requested),
                Look::Outside(_) => {}
            }
        }
        self.learn_premium(cx, &connection).await?;
        cx.accounts.permit(self.account, budget::JOIN).await?;
        let looked = self.look(cx, &connection, join).await;
        if !matches!(looked, Ok(Look::Outside(_))) {
            cx.accounts.refund(self.account, budget::JOIN).await?;
        }
        let way = match looked? {
            Look::Outside(way) => way,
            Look::Came(came) => return Ok(came),
        };
        let answer = match &way {
            Way::Channel(chat) => connection.join_channel(chat).await,
            Way::Invite(invite) => connection.import_invite(invite).await,
        };
        // The pause counts from the answer: a call that was slow to leave shortens none.
        let jitter = rand::random_range(0.0..budget::JOIN_JITTER);
        cx.accounts.empty(self.account, budget::JOIN, jitter).await?;
        if let Err(telegram::Error::Flood { wait, .. }) = &answer {
            // The other way to join is no way around it.
            cx.accounts.learn(self.account, &telegram::Error::Flood { method: budget::JOIN.into(), wait: *wait }).await?;
        }
        Ok(match answer? {
            Joined::In(Some(seen)) => Came::In(seen),
            Joined::In(None) => match self.look(cx, &connection, join).await? {
                Look::Came(came) => came,
                Look::Outside(_) => {
                    return Err(
                        telegram::Error::Unexpected { method: "joining", found: "a chat that the account is not in" }.into()
                    );
                }
            },
            Joined::Requested => Came::Requested,
            Joined::AccountFull => Came::AccountFull,
            Joined::Refused(reason) => Came::Refused(reason),
        })
    }

    /// How many chats the account may be in depends on it; it is asked once.
    async fn learn_premium(&self, cx: &JobContext, connection: &Connection) -> Result<(), JobError> {
        if !membership::knows_room(&mut *cx.pool.acquire().await?, self.account).await? {
            cx.accounts.permit(self.account, "users.getUsers").await?;
            let premium = connection.me().await?.premium;
            membership::set_premium(&mut *cx.pool.acquire().await?, self.account, premium).await?;
        }
        Ok(())
    }

    /// Where the target leads, and whether the account is there already.
    async fn look(&self, cx: &JobContext, connection: &Connection, join: &Join) -> Result<Look, JobError> {
        let invite = match (&join.invite, join.chat_id) {
            (Some(sealed), _) => Some((sealed.clone(), join.digest.clone())),
            (None, Some(chat)) => table::invite_into(&mut *cx.pool.acquire().await?, ChatId(chat)).await?,
            (None, None) => None,
        };
        if let Some((sealed, digest)) = invite {
            let invite = cx.accounts.invite(&sealed, &digest).await?;
            cx.accounts.permit(self.account, "messages.checkChatInvite").await?;
            return match connection.check_invite(&invite).await {
                Ok(Some(seen)) if seen.member => Ok(Look::Came(Came::In(Box::new(seen)))),
                Ok(_) => Ok(Look::Outside(Way::Invite(invite))),
                Err(telegram::Error::Inaccessible { name, .. }) => Ok(Look::Came(Came::Refused(name))),
                Err(error) => Err(error.into()),
            };
        }
        match self.seen(cx, connection, join).await? {
            Some(seen) if seen.member => Ok(Look::Came(Came::In(Box::new(seen)))),
            Some(seen) => {
                let peers = normalize::peers(std::slice::from_ref(&seen.told), &[]);
                cx.accounts.note_peers(self.account, &peers).await?;
                let hash = peers.iter().find(|peer| peer.id == seen.chat.0).and_then(|peer| peer.access_hash);
                Ok(Look::Outside(Way::Channel(InputChat::new(seen.chat, hash))))
            }
            None => Ok(Look::Came(Came::Refused("it is a person's or a bot's name, or no chat at all".into()))),
        }
    }

    /// The chat of a name or id: as the account knows it, else by a resolution of the name.
    async fn seen(&self, cx: &JobContext, connection: &Connection, join: &Join) -> Result<Option<Seen>, JobError> {
        let mut conn = cx.pool.acquire().await?;
        let known = match (&join.name, join.chat_id) {
            (Some(name), _) => table::peer_named(&mut conn, self.account, name).await?,
            (None, Some(chat)) => record::account::peer(&mut conn, self.account, ChatId(chat)).await?,
            (None, None) => None,
        };
        drop(conn);
        if let Some(peer) = known {
            let chat = InputChat::new(ChatId(peer.id), peer.access_hash);
            cx.accounts.permit(self.account, "channels.getChannels").await?;
            match (connection.look_at(&chat).await, &join.name) {
                (Ok(Some(seen)), Some(name)) if has_name(&seen, name) => return Ok(Some(seen)),
                (Ok(seen), None) => return Ok(seen),
                // the name, or the access hash, belongs to another chat by now
                (Ok(_) | Err(telegram::Error::Inaccessible { .. }), Some(_)) => {}
                (Err(error), _) => return Err(error.into()),
            }
        }
        let Some(name) = &join.name else { return Ok(None) };
        cx.accounts.permit(self.account, budget::RESOLVE).await?;
        Ok(connection.resolve_chat(name).await?)
    }

    /// Writes down what came of it, and what follows from it.
    async fn settle(&self, cx: &JobContext, join: &Join, came: Came) -> Result<(), JobError> {
        let (state, chat, reason) = match &came {
            Came::In(seen) => (State::Joined, Some(seen.chat), None),
            Came::Requested => (State::Requested, None, None),
            Came::AccountFull => (State::Refused, None, Some("CHANNELS_TOO_MUCH")),
            Came::Refused(reason) => (State::Refused, None, Some(reason.as_str())),
        };
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        let open = table::settle(&mut tx, join.id, self.account, state, chat, reason).await?;
        let wake = match &came {
            Came::In(seen) if open => self.joined(&mut tx, join, seen, cx.job.id).await?,
            _ => None,
        };
        tx.commit().await?;
        if let Some(wake) = wake {
            wake.fire(&cx.pool).await;
        }
        tracing::info!(account.id = self.account.0, join.id = join.id, join.state = state.as_str(), reason, "a join was answered");
        Ok(())
    }

    /// The account can see the chat now: whoever waited for that is told, and what it sees is read.
    async fn joined(&self, tx: &mut PgConnection, join: &Join, seen: &Seen, job: i64) -> Result<Option<queue::Wake>, JobError> {
        let chat = seen.chat;
        let mut new = false;
        if join.watch {
            let (purpose, tags) = (join.purpose.clone(), join.tags.clone());
            let wish = NewWatch { purpose, tags, reader: reader(tx, chat, self.account).await?, ..NewWatch::new(chat) };
            new = watch::watch(tx, &wish).await?;
        }
        record::account::note_peers(tx, self.account, &normalize::peers(std::slice::from_ref(&seen.told), &[])).await?;
        membership::note_membership(tx, self.account, &[chat], true).await?;
        event::note(tx, chat, event::JOINED, Some(self.account)).await?;
        if new {
            event::note(tx, chat, event::WATCHED, Some(self.account)).await?;
        }
        if watch::show(tx, chat).await?.is_none() {
            return Ok(None);
        }
        let refresh = ChatRefresh { chat }.enqueueable(Some(self.account)).map_err(plan_failed)?;
        let refresh = NewJob { trigger: Some("chat_join".into()), parent: Some(job), ..refresh };
        Ok(Some(queue::enqueue(tx, &[refresh]).await?.1))
    }

    /// The account has no room: it is known to be full, and the next one joins in its place.
    async fn full(&self, cx: &JobContext, join: &Join) -> Result<(), JobError> {
        tracing::warn!(account.label = %join.account, "Telegram says that the account is in too many chats (CHANNELS_TOO_MUCH)");
        if join.pinned || !self.hand_over(cx, join, true).await? {
            membership::set_full(&mut *cx.pool.acquire().await?, self.account).await?;
            self.settle(cx, join, Came::AccountFull).await?;
        }
        Ok(())
    }

    /// Gives the join to the next account; false where there is none.
    async fn hand_over(&self, cx: &JobContext, join: &Join, full: bool) -> Result<bool, JobError> {
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        if full {
            membership::set_full(&mut tx, self.account).await?;
        }
        let handed = hand_over(&mut tx, join, cx.accounts.expected_pace()).await.map_err(plan_failed)?;
        let Some((taken, job)) = handed else {
            tx.commit().await?;
            return Ok(false);
        };
        let (_, wake) = queue::enqueue(&mut tx, &[job]).await?;
        tx.commit().await?;
        wake.fire(&cx.pool).await;
        tracing::info!(join.id = join.id, account.from = %join.account, account.to = %taken.label, "another account joins");
        Ok(true)
    }
}

/// Who reads the chat when it becomes watched: who read it before, else the account that joined.
async fn reader(conn: &mut PgConnection, chat: ChatId, account: AccountId) -> Result<Option<AccountId>, JobError> {
    let known = watch::show(conn, chat).await?.is_some_and(|watch| watch.reader_id.is_some());
    Ok((!known).then_some(account))
}

fn has_name(seen: &Seen, name: &str) -> bool {
    let peers = normalize::peers(std::slice::from_ref(&seen.told), &[]);
    peers.iter().any(|peer| peer.id == seen.chat.0 && peer.username.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(name)))
}

/// A job that could not be planned, as a failure of a job.
fn plan_failed(error: PlanError) -> JobError {
    match error {
        PlanError::Payload(error) => JobError::Payload(error),
        PlanError::Record(error) => JobError::Record(error),
        PlanError::UnknownKind { .. } => JobError::Payload(serde::de::Error::custom(error)),
    }
}

/// Another account takes an open join over: the account, and the job to enqueue in the same transaction. None: there is none with room.
pub async fn hand_over(conn: &mut PgConnection, join: &Join, pace: f64) -> Result<Option<(Taken, NewJob)>, PlanError> {
    let from = AccountId(join.account_id);
    let chat = join.chat_id.map(ChatId);
    let had = table::had(conn, &join.digest, chat).await?;
    let Some(taken) = Choice::open(conn, pace).await?.take(None, &had, Some(from)) else { return Ok(None) };
    if !table::move_to(conn, join.id, from, taken.account).await? {
        return Ok(None);
    }
    let job = new_job(join.id, taken.account, &join.asked_by)?;
    Ok(Some((taken, job)))
}

/// The row to enqueue for a join.
pub fn new_job(join: i64, account: AccountId, asked_by: &str) -> Result<NewJob, PlanError> {
    let job = ChatJoin { join, account }.enqueueable(Some(account))?;
    Ok(NewJob { trigger: Some(asked_by.to_owned()), ..job })
}

/// What asking for a join came to.
#[derive(Debug, Clone)]
pub enum Asked {
    /// An account takes it; with its id, unless nothing was to change.
    Taken { join: Option<i64>, taken: Taken },
    /// It was asked for before, and is still open.
    Open(Box<Join>),
    /// No account has room.
    NoRoom,
}

/// Asks for joins, each by the named account or by the one that suits best: the jobs to enqueue in the same transaction. With `dry`
/// nothing is written.
pub async fn ask(
    conn: &mut PgConnection,
    aims: &[Aim],
    named: Option<AccountId>,
    terms: &Terms,
    pace: f64,
    dry: bool,
) -> Result<(Vec<Asked>, Vec<NewJob>), PlanError> {
    let mut choice = Choice::open(conn, pace).await?;
    let (mut answers, mut jobs) = (Vec::with_capacity(aims.len()), Vec::new());
    for aim in aims {
        if let Some(open) = table::open(conn, &aim.digest, named).await? {
            answers.push(Asked::Open(Box::new(open)));
            continue;
        }
        let chat = table::chat_of(conn, aim).await?;
        let had = table::had(conn, &aim.digest, chat).await?;
        let Some(taken) = choice.take(named, &had, None) else {
            answers.push(Asked::NoRoom);
            continue;
        };
        let join = if dry { None } else { table::add(conn, aim, taken.account, named.is_some(), terms).await? };
        if let Some(join) = join {
            jobs.push(new_job(join, taken.account, &terms.asked_by)?);
        }
        answers.push(Asked::Taken { join, taken });
    }
    Ok((answers, jobs))
}

/// The job by which a workflow brings a chat back that no account can read any more: none where one can, or where the workflow's
/// allow-list does not name the chat.
pub async fn rejoin(
    conn: &mut PgConnection,
    chat: ChatId,
    is_allowed: impl Fn(&[String]) -> bool,
    workflow: &str,
) -> Result<Vec<NewJob>, PlanError> {
    let facts = record::chat::show(conn, chat).await?;
    let names = facts.map(|facts| usernames(&facts.body)).unwrap_or_default();
    if !is_allowed(&names)
        || record::reader::reader_of(conn, chat, None, crate::account::reader::reading())
            .await
            .map_err(record::Error::from)?
            .is_some()
    {
        return Ok(Vec::new());
    }
    let aim = match names.first() {
        Some(name) => Aim::name(name),
        None => Aim::chat(chat),
    };
    let terms = Terms { asked_by: format!("workflow {workflow}"), ..Terms::default() };
    Ok(ask(conn, &[aim], None, &terms, 1.0, false).await?.1)
}

/// The public names of a chat, as its facts tell.
fn usernames(body: &serde_json::Value) -> Vec<String> {
    let all = body.get("usernames").and_then(serde_json::Value::as_array).into_iter().flatten();
    all.chain(body.get("username")).filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}
