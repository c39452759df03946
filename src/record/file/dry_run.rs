//! What the rules would do with every file that is known: nothing is fetched or changed by asking.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::PgPool;

use super::{State, deciding};
use crate::media::Rules;
use crate::record::{ChatId, Error};

/// Files that are read at once.
const PAGE: i64 = 2_000;

/// How many files, and how many bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = FileCount)]
pub struct Count {
    pub files: u64,
    pub bytes: u64,
    /// Of these nobody knows how large they are.
    pub unsized_files: u64,
}

impl Count {
    fn add(&mut self, size: Option<u64>) {
        self.files += 1;
        self.bytes += size.unwrap_or(0);
        self.unsized_files += u64::from(size.is_none());
    }
}

/// What would be done.
#[derive(Debug, Clone, Default)]
pub struct DryRun {
    /// By what would be done (fetch or skip), rule and type.
    pub rules: BTreeMap<(String, String, String), Count>,
    /// What would be fetched, by chat; a file that several carry is counted for each.
    pub chats: BTreeMap<i64, Count>,
    /// What would be fetched in all.
    pub fetched: Count,
}

/// Asks the rules of all files, or of those that a chat's messages carry.
pub async fn dry_run(pool: &PgPool, rules: &Rules, chat: Option<ChatId>) -> Result<DryRun, Error> {
    let mut told = DryRun::default();
    let mut last = 0;
    loop {
        let page = deciding::after(&mut *pool.acquire().await?, last, chat, PAGE).await?;
        let Some(end) = page.last() else { return Ok(told) };
        last = end.media.0;
        for file in &page {
            let (state, _, rule) = deciding::wanted(file, rules);
            let what = if state == State::Wanted { "fetch" } else { "skip" };
            let key = (what.to_owned(), rule.unwrap_or_else(|| "–".into()), file.facts.kind.clone());
            told.rules.entry(key).or_default().add(file.facts.size);
            if state == State::Wanted {
                told.fetched.add(file.facts.size);
                file.facts.chats.iter().for_each(|chat| told.chats.entry(*chat).or_default().add(file.facts.size));
            }
        }
    }
}
