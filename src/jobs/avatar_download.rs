//! avatar_download: one photo of a chat or user that is wanted, from Telegram into the store.
//!
//! Once for each photo, however many show it. May run twice: a photo that is there is not fetched again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use telekeep_queue::{self as queue, NewJob, Policy};

use super::{
    Job, JobContext, PlanError, Progress,
    fetching::{self, Addressed},
};
use crate::{
    error::{Action, JobError},
    normalize,
    record::{
        AccountId, ChatId, Observation, Via,
        avatar::{self, fetching::Way},
        file::progress::{self, Cost},
        media::{self, MediaId, MediaType, Told},
    },
    telegram::{
        self, Connection, InputChat,
        portraits::{PHOTOS_PAGE, USER_PHOTOS},
        transfer::{self, Location},
    },
};

/// Answers of earlier photos that one job asks for.
const MOST_PAGES: i32 = 10;

/// A photo of a chat or user, by its number (`telekeep file list` shows it).
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
pub struct AvatarDownload {
    /// The file's number, as in `telekeep file list`
    #[arg(long, value_parser = file_arg)]
    pub media: MediaId,
    /// Also note the photos that a user had before, as far as Telegram tells them
    #[arg(long)]
    #[serde(default)]
    pub earlier: bool,
}

fn file_arg(text: &str) -> Result<MediaId, String> {
    text.parse().map(MediaId).map_err(|_| format!("{text:?} is not a file's number; `telekeep file list` shows them"))
}

impl Job for AvatarDownload {
    const KIND: &'static str = "avatar_download";
    const POLICY: Policy = Policy { slice: Duration::from_secs(60), ..Policy::DEFAULT };

    fn chat(&self) -> Option<ChatId> {
        None
    }

    fn unique_key(&self) -> String {
        self.media.to_string()
    }

    async fn run(&self, cx: &JobContext) -> Result<Progress, JobError> {
        let mut ways = avatar::fetching::ways(&mut *cx.pool.acquire().await?, &[self.media]).await?;
        // Whose partition it is, this process has: others may be elsewhere.
        ways.sort_by_key(|way| way.account_id != cx.job.partition);
        let mut stopped = None;
        for way in ways {
            let error = match self.by(cx, &way).await {
                Ok(progress) => return Ok(progress),
                Err(error) => error,
            };
            let gone = matches!(&error, JobError::Telegram(telegram::Error::NoFile { .. }));
            match error.action() {
                Action::AccountStopped | Action::Inaccessible { .. } => {}
                _ if gone => {}
                _ => return Err(error),
            }
            if let (JobError::Telegram(failed), false) = (&error, gone) {
                cx.accounts.learn(way.account(), failed).await?;
            }
            tracing::info!(
                media.id = self.media.0,
                account.id = way.account_id,
                "this account does not get the photo: {}",
                error.chain()
            );
            stopped = stopped.or(matches!(error.action(), Action::AccountStopped).then_some(error));
        }
        let mut tx = cx.pool.begin().await?;
        queue::fence(&mut tx, cx.job.token).await?;
        match &stopped {
            Some(error) => progress::hold(&mut tx, self.media, &error.chain(), &Cost::default()).await?,
            None => {
                let reason = "it is shown no more, and no message that an account sees carries it";
                progress::unavailable(&mut tx, self.media, reason, &Cost::default()).await?;
            }
        }
        tx.commit().await?;
        stopped.map_or(Ok(Progress::Finished), Err)
    }
}

impl AvatarDownload {
    async fn by(&self, cx: &JobContext, way: &Way) -> Result<Progress, JobError> {
        let account = way.account();
        for method in transfer::METHODS {
            if let Some(wait) = cx.accounts.resting(account, method).await? {
                return Err(telegram::Error::Flood { method: (*method).into(), wait }.into());
            }
        }
        let connection = cx.accounts.open(account).await?;
        let of = InputChat::new(ChatId(way.peer), way.access_hash);
        if self.earlier && way.present {
            note_earlier(cx, account, &connection, &of).await?;
        }
        let known = media::reference_of(&mut *cx.pool.acquire().await?, self.media, account).await?;
        let dc = known.as_ref().map(|known| known.dc).or(way.dc).unwrap_or_default();
        let told = known.as_ref().and_then(fetching::located);
        // What is shown now needs no reference, which might expire.
        let shown = way.present.then_some(Location::Portrait { of, photo_id: way.photo_id });
        for location in told.into_iter().chain(shown) {
            use telegram::Error::{FileReferenceExpired, Inaccessible, NoFile};
            match fetching::fetch(cx, self.media, Addressed { account, connection: connection.clone(), location, dc }).await {
                // Its reference expired and no message tells another one, or it is shown no more.
                Err(JobError::Telegram(Inaccessible { .. } | FileReferenceExpired { .. } | NoFile { .. })) => {}
                done => return done,
            }
        }
        let location = self.told_again(cx, account, &connection, &of).await?;
        fetching::fetch(cx, self.media, Addressed { account, connection, location, dc }).await
    }

    /// Asks for what is needed to address a photo that is shown no more: a message that tells of it, or the user's photos.
    async fn told_again(
        &self,
        cx: &JobContext,
        account: AccountId,
        connection: &Connection,
        of: &InputChat,
    ) -> Result<Location, JobError> {
        let mut fresh = fetching::read_again(cx, self.media, account).await?;
        if fresh.is_none() && of.id().is_private() {
            note_earlier(cx, account, connection, of).await?;
            fresh = media::reference_of(&mut *cx.pool.acquire().await?, self.media, account).await?;
        }
        fresh.as_ref().and_then(fetching::located).ok_or_else(|| fetching::no_source().into())
    }
}

/// Notes the photos that a user has and had: each is a file, of which the rules decide.
async fn note_earlier(cx: &JobContext, account: AccountId, connection: &Connection, of: &InputChat) -> Result<(), JobError> {
    if !of.id().is_private() {
        return Ok(());
    }
    let mut all: Vec<Told> = Vec::new();
    for page in 0..MOST_PAGES {
        cx.accounts.permit(account, USER_PHOTOS).await?;
        let (photos, users) = connection.user_photos(of, page * PHOTOS_PAGE).await?;
        cx.accounts.note_peers(account, &normalize::peers(&[], &users)).await?;
        all.extend(photos.iter().filter_map(|photo| normalize::file::photo(photo, MediaType::Avatar)));
        if photos.len() < PHOTOS_PAGE as usize {
            break;
        }
    }
    let seen = Observation { account, via: Via::History, job: Some(cx.job.id), pts: None };
    let mut tx = cx.pool.begin().await?;
    queue::fence(&mut tx, cx.job.token).await?;
    cx.accounts.fence(&mut tx, account).await?;
    avatar::note_earlier(&mut tx, of.id(), all, &seen).await?;
    tx.commit().await?;
    Ok(())
}

/// Jobs for these photos, each in the partition of an account that can fetch it and has least to do.
pub async fn jobs_for(conn: &mut PgConnection, photos: &[MediaId], earlier: bool) -> Result<Vec<NewJob>, PlanError> {
    let ways = avatar::fetching::ways(conn, photos).await?;
    let mut given: BTreeMap<i64, i64> = BTreeMap::new();
    let mut jobs = Vec::new();
    for media in photos {
        let load = |way: &&Way| (way.load + given.get(&way.account_id).copied().unwrap_or(0), !way.present, way.account_id);
        let chosen = ways.iter().filter(|way| way.media == media.0).min_by_key(load).map(Way::account);
        if let Some(account) = chosen {
            *given.entry(account.0).or_default() += 1;
        }
        jobs.push(AvatarDownload { media: *media, earlier }.enqueueable(chosen)?);
    }
    Ok(jobs)
}
