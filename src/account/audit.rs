//! The ledger against Telegram: a sample of what is settled is read again, by ids.
//!
//! What Telegram has and the record lacks comes back; what Telegram no longer has is deleted, in the interval since it was last seen;
//! what the record knew of and nobody can read any more is lost, never empty.

use std::collections::{BTreeMap, HashMap};

use rand::RngExt;
use serde::Serialize;
use sqlx::PgConnection;

use super::Accounts;
use crate::{
    error::JobError,
    normalize,
    record::{
        self, AccountId, ChatId, Message, Observation, Via,
        account::{self as table, Reader},
        boxes,
        coverage::{self, Coverage, Window},
        ledger::{self, PageRequest},
        lost::{self, Trace},
        spans,
        verify::{self, Held},
        watch,
    },
    telegram::{self, InputChat, history::PAGE},
};

/// Findings that a report names; all are counted.
const NAMED: usize = 50;

/// What is read again.
#[derive(Debug, Clone, Copy)]
pub struct TelegramAudit {
    /// So many ids of each ledger row, spread over what is settled; and at most so many that the record names without having them.
    pub sample: usize,
    /// Mends the record; else only looks.
    pub repair: bool,
}

/// What was wrong with one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Telegram has it, the record has no row of it, or none with content.
    Removed,
    /// The content is another.
    Differs,
    /// Telegram has it, the record says that it was deleted.
    Undeleted,
    /// Telegram no longer has it, the record did not know.
    Deleted,
    /// The record had it once; now neither Telegram nor the record has it.
    Lost,
    /// Only another message names it, which answers it: gone before anybody here could read it. Kept as lost, but no fault.
    Named,
}

/// One fault, and whether it is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub chat_id: i64,
    pub message_id: i64,
    pub what: Fault,
    pub repaired: bool,
}

/// What was found under one ledger row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChatReport {
    pub chat_id: i64,
    /// Ids that Telegram was asked for.
    pub asked: u64,
    pub removed: u64,
    pub differs: u64,
    pub undeleted: u64,
    pub deleted: u64,
    pub lost: u64,
    pub repaired: u64,
    /// Kept as lost because a message answers them: known now, and not counted as a fault.
    pub named: u64,
    /// Why nothing was asked.
    pub unread: Option<String>,
}

impl ChatReport {
    /// All faults.
    pub fn faults(&self) -> u64 {
        self.removed + self.differs + self.undeleted + self.deleted + self.lost
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub chats: Vec<ChatReport>,
    /// The first faults by name.
    pub findings: Vec<Finding>,
}

impl Report {
    /// All faults of all chats.
    pub fn faults(&self) -> u64 {
        self.chats.iter().map(ChatReport::faults).sum()
    }

    /// Whether all of them were mended.
    pub fn is_repaired(&self) -> bool {
        self.chats.iter().all(|chat| chat.repaired == chat.faults())
    }

    fn add(&mut self, chat: &mut ChatReport, fault: Finding) {
        match fault.what {
            Fault::Removed => chat.removed += 1,
            Fault::Differs => chat.differs += 1,
            Fault::Undeleted => chat.undeleted += 1,
            Fault::Deleted => chat.deleted += 1,
            Fault::Lost => chat.lost += 1,
            Fault::Named => chat.named += 1,
        }
        chat.repaired += u64::from(fault.repaired && fault.what != Fault::Named);
        if self.findings.len() < NAMED {
            self.findings.push(fault);
        }
    }
}

impl Accounts {
    /// Reads a sample of one chat, or of all watched ones, again. `told` hears of each answer how many ids it was for.
    ///
    /// Errors: an account is used by another process, Telegram asks for a rest, the database is away. Faults are no error, nor is a chat
    /// that no account reads.
    pub async fn audit(&self, chat: Option<ChatId>, audit: TelegramAudit, told: impl Fn(u64)) -> Result<Report, JobError> {
        let mut report = Report::default();
        let mut conn = self.pool().acquire().await?;
        let watched: Vec<i64> = watch::list(&mut conn).await?.into_iter().map(|watch| watch.chat_id).collect();
        let ledgers = coverage::list(&mut conn, chat).await?;
        drop(conn);
        for ledger in ledgers.into_iter().filter(|ledger| watched.contains(&ledger.chat.0)) {
            let mut of_chat = ChatReport { chat_id: ledger.chat.0, ..ChatReport::default() };
            let read = match self.reader_of_ledger(&ledger).await {
                Ok(reader) => self.audit_ledger(&ledger, reader, audit, &mut of_chat, &mut report, &told).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(()) => {}
                Err(
                    error @ (JobError::Account(super::Error::NoReader(_) | super::Error::NotActive { .. })
                    | JobError::Telegram(telegram::Error::Inaccessible { .. })),
                ) => of_chat.unread = Some(error.to_string()),
                Err(error) => return Err(error),
            }
            report.chats.push(of_chat);
        }
        Ok(report)
    }

    /// An account's own box is read by that account alone.
    async fn reader_of_ledger(&self, ledger: &Coverage) -> Result<Reader, JobError> {
        let Some(account) = ledger.account else { return Ok(self.reader_of(ledger.chat).await?) };
        let peer = table::peer(&mut *self.pool().acquire().await?, account, ledger.chat).await?;
        Ok(Reader { account, access_hash: peer.and_then(|peer| peer.access_hash) })
    }

    async fn audit_ledger(
        &self,
        ledger: &Coverage,
        reader: Reader,
        audit: TelegramAudit,
        of_chat: &mut ChatReport,
        report: &mut Report,
        told: impl Fn(u64),
    ) -> Result<(), JobError> {
        let mut conn = self.pool().acquire().await?;
        let visible = coverage::visible_from(&mut conn, ledger.chat, reader.account).await?;
        let ids = choose(&mut conn, ledger, visible, audit.sample).await?;
        let traces = lost::traces(&mut conn, ledger, visible, Some(&ids), i64::MAX).await?;
        drop(conn);
        if ids.is_empty() {
            return Ok(());
        }
        let connection = self.open(reader.account).await?;
        let chat = InputChat::new(ledger.chat, reader.access_hash);
        for asked in ids.chunks(PAGE as usize) {
            let mut conn = self.pool().acquire().await?;
            let before = coverage::get(&mut conn, ledger.id).await?;
            let pts = boxes::pts(&mut conn, before.held).await?;
            drop(conn);
            let by_id: Vec<i32> = asked.iter().filter_map(|id| i32::try_from(*id).ok()).collect();
            self.permitted(reader.account, chat.by_id_method()).await?;
            let answer = match connection.messages_by_id(&chat, &by_id).await {
                Ok(answer) => answer,
                Err(failed) => {
                    self.learn(reader.account, &failed).await?;
                    return Err(failed.into());
                }
            };
            let page = normalize::page(&answer);
            let seen = Observation { account: reader.account, via: Via::History, job: None, pts: page.pts.or(pts) };
            let found = self.judge(&before, asked, &traces, &page, &seen, audit.repair).await?;
            of_chat.asked += asked.len() as u64;
            for (message_id, (what, repaired)) in found {
                report.add(of_chat, Finding { chat_id: ledger.chat.0, message_id, what, repaired });
            }
            told(asked.len() as u64);
        }
        Ok(())
    }

    /// Waits for the account's own pace, however long; a rest that Telegram asked for is an error.
    async fn permitted(&self, account: AccountId, method: &str) -> Result<(), JobError> {
        loop {
            match self.permit(account, method).await {
                Err(super::Error::Telegram(telegram::Error::OverBudget { wait, .. })) => tokio::time::sleep(wait).await,
                answer => return Ok(answer?),
            }
        }
    }

    /// Compares an answer with the record under the box's lock, and mends what differs. `ledger` is the row as it was before the request.
    async fn judge(
        &self,
        ledger: &Coverage,
        asked: &[i64],
        traces: &[Trace],
        page: &normalize::Page,
        seen: &Observation,
        repair: bool,
    ) -> Result<BTreeMap<i64, (Fault, bool)>, JobError> {
        let told: HashMap<i64, &Message> =
            page.messages.iter().filter(|message| message.chat == ledger.chat).map(|message| (message.id, message)).collect();
        let mut tx = self.pool().begin().await?;
        watch::require(&mut tx, ledger.chat).await?;
        let held = boxes::lock(&mut tx, ledger.held).await?;
        let rows = verify::held(&mut tx, &held, ledger.chat, asked).await?;
        let unknown = |trace: &&Trace| asked.contains(&trace.message_id) && !told.contains_key(&trace.message_id);
        let traces: Vec<Trace> = traces.iter().filter(unknown).cloned().collect();
        let faults = faults(asked, &told, &rows, &traces);
        if !repair {
            return Ok(faults.into_iter().map(|(id, fault)| (id, (fault, false))).collect());
        }
        let altered: Vec<i64> = faults.iter().filter(|(_, fault)| **fault == Fault::Differs).map(|(id, _)| *id).collect();
        verify::forget_hashes(&mut tx, &held, &altered).await?;
        let request = PageRequest::new(ledger, 0, Window { from: 1, to: ledger.top });
        ledger::commit_by_id(&mut tx, &request, asked, &page.messages, seen).await?;
        lost::keep(&mut tx, &held, ledger, &traces, true, seen).await?;
        let rows = verify::held(&mut tx, &held, ledger.chat, asked).await?;
        let left = self::faults(asked, &told, &rows, &traces);
        record::commit_people(&mut tx, &page.chats, &page.users, seen).await?;
        tx.commit().await?;
        self.note_peers(seen.account, &page.peers()).await?;
        Ok(faults.into_iter().map(|(id, fault)| (id, (fault, !left.contains_key(&id)))).collect())
    }
}

/// What is wrong with these ids.
fn faults(asked: &[i64], told: &HashMap<i64, &Message>, rows: &HashMap<i64, Held>, traces: &[Trace]) -> BTreeMap<i64, Fault> {
    let fault = |id: &i64| -> Option<Fault> {
        Some(match (told.get(id), rows.get(id)) {
            (Some(_), None) => Fault::Removed,
            (Some(_), Some(row)) if row.is_deleted => Fault::Undeleted,
            (Some(_), Some(row)) if !row.has_content() => Fault::Removed,
            (Some(told), Some(row)) if !row.says(told) => Fault::Differs,
            (None, Some(row)) if row.is_deleted => return None,
            (None, Some(row)) if row.has_content() => Fault::Deleted,
            (None, Some(_)) => Fault::Lost,
            (None, None) => {
                let trace = traces.iter().find(|trace| trace.message_id == *id)?;
                if trace.ours { Fault::Lost } else { Fault::Named }
            }
            (Some(_), Some(_)) => return None,
        })
    };
    asked.iter().filter_map(|id| Some((*id, fault(id)?))).collect()
}

/// Ids of a ledger row that the account sees: some of each part of what is settled, and what the record names without having it.
async fn choose(conn: &mut PgConnection, ledger: &Coverage, visible: i64, sample: usize) -> Result<Vec<i64>, record::Error> {
    let of_ledger = spans::of(conn, ledger.chat).await?;
    let account = ledger.account.map(|account| account.0);
    let settled = of_ledger.into_iter().find(|spans| spans.account_id == account).map(|spans| spans.settled).unwrap_or_default();
    let settled: Vec<(i64, i64)> =
        settled.into_iter().filter(|(_, to)| *to >= visible).map(|(from, to)| (from.max(visible), to)).collect();
    let named = lost::traces(conn, ledger, visible, None, i64::try_from(sample).unwrap_or(i64::MAX)).await?;
    let mut ids = spread(&settled, sample);
    ids.extend(named.into_iter().map(|trace| trace.message_id));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// So many ids of these spans, one at random out of each of as many equal parts; all, where there are no more.
fn spread(spans: &[(i64, i64)], sample: usize) -> Vec<i64> {
    let total: i64 = spans.iter().map(|(from, to)| to - from + 1).sum();
    let sample = i64::try_from(sample).unwrap_or(i64::MAX);
    if total <= sample {
        return spans.iter().flat_map(|(from, to)| *from..=*to).collect();
    }
    let part = |at: i64| i64::try_from(i128::from(at) * i128::from(total) / i128::from(sample)).unwrap_or(total);
    let mut spans = spans.iter();
    let mut span = spans.next();
    let mut before = 0;
    let mut ids = Vec::new();
    for at in 0..sample {
        let place = rand::rng().random_range(part(at)..part(at + 1));
        while let Some((from, to)) = span {
            let length = to - from + 1;
            if place < before + length {
                ids.push(from + place - before);
                break;
            }
            before += length;
            span = spans.next();
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_all_spans() {
        assert_eq!(spread(&[(3, 4), (9, 9)], 5), [3, 4, 9]);
        assert_eq!(spread(&[], 5), Vec::<i64>::new());
        let spans = [(1, 100), (1_001, 1_100)];
        for _ in 0..20 {
            let ids = spread(&spans, 10);
            assert_eq!(ids.len(), 10);
            assert!(ids.is_sorted() && ids.iter().all(|id| spans.iter().any(|(from, to)| (from..=to).contains(&id))), "{ids:?}");
            assert_eq!(ids.iter().filter(|id| **id <= 100).count(), 5);
        }
    }
}
