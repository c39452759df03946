//! member_snapshot: who is in a chat, list by list and page by page, and who has left since the last whole list.
//!
//! May run twice: merging equal facts changes nothing, and a further start goes on at the page where the last one ended.

mod walk;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use telekeep_queue as queue;

use super::{Job, JobContext, Progress, Reading};
use crate::{
    error::JobError,
    normalize::{
        self,
        member::{self, MemberPage},
    },
    record::{
        self, ChatId, Observation, Via, boxes,
        member::{self as table, When},
        member_snapshot::{self as snapshot, Running, State, Step},
        watch,
    },
    telegram::{self, FullChat, budget, members::Listed},
};
use walk::{List, Walk};

/// The lists of one channel, supergroup or basic group; private chats have none.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
pub struct MemberSnapshot {
    /// The chat's marked id
    #[arg(long, allow_negative_numbers = true, value_parser = super::chat_arg)]
    pub chat: ChatId,
    /// Administrators alone: a call or two, which conclude nothing of who left
    #[arg(long)]
    #[serde(default)]
    pub admins_only: bool,
    /// Search a list that Telegram cuts by the beginnings of names as well, within [members] widen_calls
    #[arg(long, conflicts_with = "admins_only")]
    #[serde(default)]
    pub widen: bool,
}

impl Job for MemberSnapshot {
    const KIND: &'static str = "member_snapshot";

    fn chat(&self) -> Option<ChatId> {
        Some(self.chat)
    }

    /// A wish for more is not met by a job that does less.
    fn unique_key(&self) -> String {
        let what = match (self.admins_only, self.widen) {
            (true, _) => ":admins",
            (false, true) => ":widened",
            (false, false) => "",
        };
        format!("{}{what}", self.chat)
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        if self.chat.is_private() {
            return Ok(Progress::Finished);
        }
        let reader = cx.reader(self.chat, &[budget::PARTICIPANTS]).await?;
        match self.read(cx, &reader).await {
            Err(JobError::Telegram(telegram::Error::Inaccessible { method, name })) => {
                let mut tx = cx.pool.begin().await?;
                queue::fence(&mut tx, cx.job.token).await?;
                snapshot::fail(&mut tx, self.chat, cx.job.id, &name).await?;
                tx.commit().await?;
                Err(telegram::Error::Inaccessible { method, name }.into())
            }
            ended => ended,
        }
    }
}

impl MemberSnapshot {
    async fn read(&self, cx: &JobContext, reader: &Reading) -> Result<Progress, JobError> {
        let mut running = match self.resumed(cx, reader).await? {
            Some(running) => running,
            None => match self.begin(cx, reader).await? {
                Some(running) => running,
                None => return Ok(Progress::Finished),
            },
        };
        let mut walk: Walk = serde_json::from_value(running.position.clone()).map_err(JobError::Payload)?;
        loop {
            self.widen(cx, &mut walk).await?;
            if walk.ask().is_none() {
                return self.end(cx, reader, &running, &walk).await;
            }
            if cx.job.slice_is_over() {
                return Ok(Progress::MoreToDo);
            }
            self.page(cx, reader, &mut running, &mut walk).await?;
        }
    }

    async fn resumed(&self, cx: &JobContext, reader: &Reading) -> Result<Option<Running>, JobError> {
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        let running = snapshot::resume(&mut tx, self.chat, cx.job.id, reader.account).await?;
        tx.commit().await?;
        Ok(running)
    }

    /// The chat's own number comes first. A basic group's description is its list: that ends it.
    async fn begin(&self, cx: &JobContext, reader: &Reading) -> Result<Option<Running>, JobError> {
        let began = snapshot::moment(&mut *cx.pool.acquire().await?).await?;
        cx.accounts.permit(reader.account, reader.chat.describing_method()).await?;
        let told = reader.connection.full_chat(&reader.chat).await?;
        let full = normalize::full_chat(self.chat, &told);
        let seen = self.observation(cx, reader);

        let mut tx = cx.pool.begin().await?;
        self.hold(cx, reader, &mut tx).await?;
        let mut walk = Walk { calls: 1, ..Walk::new(self.admins_only) };
        let who = (reader.account, cx.job.id);
        let ended = match member::membership(&told) {
            Some(membership) => {
                if let Some(count) = membership.count.filter(|_| !self.admins_only) {
                    walk.counts(count);
                }
                if !membership.is_shown && !self.admins_only {
                    walk.hides();
                }
                let running = snapshot::begin(&mut tx, self.chat, who, self.admins_only, began, &position(&walk)?).await?;
                snapshot::advance(&mut tx, running.id, &step(&walk, 0, membership.count)?).await?;
                Some(running)
            }
            None => {
                walk.list = List::Over;
                let running = snapshot::begin(&mut tx, self.chat, who, self.admins_only, began, &position(&walk)?).await?;
                self.group(&mut tx, &running, &told, &walk, &seen).await?;
                None
            }
        };
        record::commit_people(&mut tx, &full.chats, &full.users, &seen).await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// A basic group tells all of its members at once, or none.
    async fn group(
        &self,
        tx: &mut sqlx::PgConnection,
        running: &Running,
        told: &FullChat,
        walk: &Walk,
        seen: &Observation,
    ) -> Result<(), JobError> {
        let when = When::Listed { asked: running.began_at, snapshot: running.id };
        let Some(relations) = member::participants(told).and_then(|all| member::group(self.chat, all, when)) else {
            snapshot::advance(tx, running.id, &step(walk, 0, None)?).await?;
            return Ok(snapshot::end(tx, running.id, State::Hidden, None, None).await?);
        };
        table::merge(tx, &relations, seen).await?;
        let count = i64::try_from(relations.len()).unwrap_or(i64::MAX);
        snapshot::advance(tx, running.id, &step(walk, count, Some(count))?).await?;
        let left = if self.admins_only { None } else { Some(snapshot::conclude(tx, self.chat, running, seen).await?) };
        Ok(snapshot::end(tx, running.id, State::Complete, None, left).await?)
    }

    /// Asks for one page and commits what it tells, with the position after it.
    async fn page(&self, cx: &JobContext, reader: &Reading, running: &mut Running, walk: &mut Walk) -> Result<(), JobError> {
        let asked = snapshot::moment(&mut *cx.pool.acquire().await?).await?;
        cx.accounts.permit(reader.account, budget::PARTICIPANTS).await?;
        let Some((list, offset)) = walk.ask() else { return Ok(()) };
        let answer = reader.connection.members(&reader.chat, list, offset).await?;
        let when = When::Listed { asked, snapshot: running.id };
        let page = match &answer {
            Listed::Page(told) => member::page(self.chat, told, when),
            Listed::Hidden => MemberPage::default(),
        };
        let seen = self.observation(cx, reader);
        let peers = peers(&page);
        cx.accounts.note_peers(reader.account, &peers).await?;

        let mut tx = cx.pool.begin().await?;
        self.hold(cx, reader, &mut tx).await?;
        table::merge(&mut tx, &page.relations, &seen).await?;
        record::commit_people(&mut tx, &page.chats, &page.users, &seen).await?;
        self.advance(&mut tx, (running, walk), &answer, &page, asked).await?;
        queue::progress(&mut tx, cx.job.token, running.seen_count, walk.most, None).await?;
        Ok(tx.commit().await?)
    }

    async fn advance(
        &self,
        tx: &mut sqlx::PgConnection,
        (running, walk): (&mut Running, &mut Walk),
        answer: &Listed,
        page: &MemberPage,
        asked: DateTime<Utc>,
    ) -> Result<(), JobError> {
        let everybody = matches!(walk.list, List::Recent | List::Search);
        match answer {
            Listed::Page(_) => {
                let users: Vec<i64> = page.relations.iter().map(|relation| relation.user).collect();
                walk.answered(&users, page.count);
            }
            Listed::Hidden => walk.denied(),
        }
        if walk.hidden || self.admins_only {
            running.seen_count = snapshot::told(tx, self.chat, running.began_at).await?;
        } else if everybody {
            running.seen_count = snapshot::seen(tx, self.chat, running.began_at, asked).await?;
            walk.saw(running.seen_count);
        }
        let told = match answer {
            Listed::Page(_) if self.admins_only => Some(page.count),
            _ => walk.most,
        };
        Ok(snapshot::advance(tx, running.id, &step(walk, running.seen_count, told)?).await?)
    }

    /// Where everything was read and somebody is missing, names are searched, within the configured number of calls.
    async fn widen(&self, cx: &JobContext, walk: &mut Walk) -> Result<(), JobError> {
        let is_wanted = self.widen && !walk.hidden && !walk.whole;
        if is_wanted && walk.list == List::Over && walk.queries.is_none() {
            let letters = snapshot::letters(&mut *cx.pool.acquire().await?, self.chat).await?;
            walk.widen(&letters);
        }
        if walk.list == List::Search && walk.search_calls >= cx.settings.members.widen_calls {
            walk.list = List::Over;
        }
        Ok(())
    }

    async fn end(&self, cx: &JobContext, reader: &Reading, running: &Running, walk: &Walk) -> Result<Progress, JobError> {
        let state = match walk {
            walk if walk.hidden => State::Hidden,
            walk if walk.whole || self.admins_only => State::Complete,
            _ => State::Cut,
        };
        let seen = self.observation(cx, reader);
        let mut tx = cx.pool.begin().await?;
        self.hold(cx, reader, &mut tx).await?;
        let left = match state {
            State::Complete if !self.admins_only => {
                let left = snapshot::conclude(&mut tx, self.chat, running, &seen).await?;
                if let Some(count) = walk.banned {
                    snapshot::conclude_bans(&mut tx, self.chat, running, count, &seen).await?;
                }
                Some(left)
            }
            _ => None,
        };
        snapshot::end(&mut tx, running.id, state, None, left).await?;
        tx.commit().await?;
        tracing::info!(
            chat.id = self.chat.0,
            snapshot.id = running.id,
            snapshot.state = state.as_str(),
            member.seen = running.seen_count,
            member.told = walk.most,
            member.left = left,
            "the members were listed"
        );
        Ok(Progress::Finished)
    }

    /// What each commit needs: the claim, the account's lease, the watch, and the box, under whose lock a chat's members are written.
    async fn hold(&self, cx: &JobContext, reader: &Reading, tx: &mut sqlx::PgConnection) -> Result<(), JobError> {
        queue::fence(tx, cx.job.token).await?;
        cx.accounts.fence(tx, reader.account).await?;
        watch::require(tx, self.chat).await?;
        let held = boxes::box_of(tx, self.chat, reader.account).await?;
        boxes::lock(tx, held).await?;
        Ok(())
    }

    fn observation(&self, cx: &JobContext, reader: &Reading) -> Observation {
        Observation { account: reader.account, via: Via::History, job: Some(cx.job.id), pts: None }
    }
}

fn position(walk: &Walk) -> Result<serde_json::Value, JobError> {
    serde_json::to_value(walk).map_err(JobError::Payload)
}

fn step(walk: &Walk, seen: i64, told: Option<i64>) -> Result<Step, JobError> {
    Ok(Step { position: position(walk)?, seen, told, widened: walk.queries.is_some(), calls: walk.calls })
}

/// What the account needs to address whom the page named.
fn peers(page: &MemberPage) -> Vec<record::Peer> {
    let mut peers = record::chat::peers(&page.chats);
    peers.extend(record::user::peers(&page.users));
    peers
}
