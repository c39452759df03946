//! file_download: one file that is wanted, from Telegram into the store.
//!
//! May run twice: a file that is there is not fetched again, and one that was begun goes on where it was.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telekeep_queue::{self as queue, NewJob, Policy};

use super::{
    Job, JobContext, PlanError, Progress,
    fetching::{self, Addressed},
};
use crate::{
    error::{Action, JobError},
    record::{
        AccountId, ChatId,
        file::{self, Carrier, progress},
        media::{self, MediaId},
    },
    telegram::{self, transfer},
};

/// A file that a message carries, by its number (`telekeep file list` shows it).
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
pub struct FileDownload {
    /// The file's number, as in `telekeep file list`
    #[arg(long, value_parser = file_arg)]
    pub media: MediaId,
}

fn file_arg(text: &str) -> Result<MediaId, String> {
    text.parse().map(MediaId).map_err(|_| format!("{text:?} is not a file's number; `telekeep file list` shows them"))
}

impl Job for FileDownload {
    const KIND: &'static str = "file_download";
    /// Short slices, so that large files do not keep an account from its other work.
    const POLICY: Policy = Policy { slice: Duration::from_secs(60), ..Policy::DEFAULT };

    fn chat(&self) -> Option<ChatId> {
        None
    }

    fn unique_key(&self) -> String {
        self.media.to_string()
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let mut conn = cx.pool.acquire().await?;
        let mut carriers = file::carriers(&mut conn, &[self.media]).await?;
        drop(conn);
        // Whose partition it is, this process has: others may be elsewhere.
        carriers.sort_by_key(|carrier| carrier.account.0 != cx.job.partition);
        let mut stopped = None;
        for carrier in carriers {
            match self.by(cx, carrier.account).await {
                Ok(progress) => return Ok(progress),
                Err(error) => match error.action() {
                    Action::AccountStopped | Action::Inaccessible { .. } => {
                        if let JobError::Telegram(failed) = &error {
                            cx.accounts.learn(carrier.account, failed).await?;
                        }
                        tracing::info!(
                            media.id = self.media.0,
                            account.id = carrier.account.0,
                            "this account does not get the file: {}",
                            error.chain()
                        );
                        stopped = stopped.or(matches!(error.action(), Action::AccountStopped).then_some(error));
                    }
                    _ => return Err(error),
                },
            }
        }
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        let asleep = stopped.is_some() || file::known_to_stopped(&mut tx, self.media).await?;
        let failed = JobError::NoAccount;
        if asleep {
            progress::hold(&mut tx, self.media, &failed.to_string(), &progress::Cost::default()).await?;
        } else {
            let reason = "no account sees a message that carries it";
            progress::unavailable(&mut tx, self.media, reason, &progress::Cost::default()).await?;
        }
        tx.commit().await?;
        if asleep { Err(stopped.unwrap_or(failed)) } else { Ok(Progress::Finished) }
    }
}

impl FileDownload {
    async fn by(&self, cx: &JobContext, account: AccountId) -> Result<Progress, JobError> {
        for method in transfer::METHODS {
            if let Some(wait) = cx.accounts.resting(account, method).await? {
                return Err(telegram::Error::Flood { method: (*method).into(), wait }.into());
            }
        }
        cx.asks(account);
        let connection = cx.accounts.open(account).await?;
        let known = media::reference_of(&mut *cx.pool.acquire().await?, self.media, account).await?;
        let reference = match known {
            Some(known) => known,
            None => fetching::read_again(cx, self.media, account).await?.ok_or_else(fetching::no_source)?,
        };
        let Some(location) = fetching::located(&reference) else {
            return Err(telegram::Error::NoFile { method: transfer::GET_FILE.into(), name: "a photo without sizes".into() }.into());
        };
        fetching::fetch(cx, self.media, Addressed { account, connection, location, dc: reference.dc }).await
    }
}

/// Jobs for these files, each in the partition of an account that can fetch it and has least to do. Files that no account can fetch
/// are in no partition: the job says so of them.
pub async fn jobs_for(conn: &mut sqlx::PgConnection, files: &[MediaId]) -> Result<Vec<NewJob>, PlanError> {
    let carriers = file::carriers(conn, files).await?;
    let mut given: std::collections::BTreeMap<AccountId, i64> = std::collections::BTreeMap::new();
    let mut jobs = Vec::new();
    for media in files {
        let all: Vec<&Carrier> = carriers.iter().filter(|carrier| carrier.media == *media).collect();
        let load = |carrier: &Carrier| carrier.load + given.get(&carrier.account).copied().unwrap_or(0);
        let chosen = all.iter().min_by_key(|carrier| (load(carrier), !carrier.referred, carrier.account)).map(|c| c.account);
        if let Some(account) = chosen {
            *given.entry(account).or_default() += 1;
        }
        jobs.push(FileDownload { media: *media }.enqueueable(chosen)?);
    }
    Ok(jobs)
}
