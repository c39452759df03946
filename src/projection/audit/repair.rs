//! Repairs: a row is raised above the version found and projected again; a document without a row is removed, once
//! the record has what it tells.

use tokio_util::sync::CancellationToken;

use super::{AuditOptions, Difference, Suspect};
use crate::{
    projection::{Error, Projector, SINK, bulk, bulk::Prepared},
    record::{
        audit as record,
        outbox::{self, Entry, Key, Kind},
    },
};

/// Looks after a repair: a deletion that Elasticsearch still remembers may need a second raise.
const ROUNDS: usize = 3;

impl Projector {
    /// Repairs what differs. Gives how many documents.
    pub(super) async fn repair(&self, kind: Kind, alias: &str, suspects: &[Suspect]) -> Result<u64, Error> {
        let taken = self.take_back(kind, alias, suspects).await?;
        let mut rows: Vec<(Key, i64)> = suspects.iter().filter_map(|suspect| Some((suspect.key?, suspect.version))).collect();
        rows.extend(taken.rows);
        let mut repaired = record::raise(&self.pool, &rows).await?;
        let extra: Vec<Prepared> = suspects
            .iter()
            .filter(|suspect| suspect.what == Difference::Extra && !taken.replaced.contains(&suspect.id))
            .map(|suspect| {
                let nobody = Key { kind: Kind::Message, key1: 0, key2: 0 };
                Prepared::delete(Entry { key: nobody, revision: suspect.version, gone: Some(suspect.id.clone()) }, &suspect.id)
            })
            .collect();
        for part in extra.chunks(self.settings.bulk_documents) {
            let outcome = bulk::send(&self.client, alias, part.to_vec(), &CancellationToken::new()).await;
            if let Some(detail) = outcome.waiting {
                return Err(Error::Stuck { detail });
            }
            repaired += outcome.done.len() as u64;
        }
        Ok(repaired)
    }

    /// Waits until repairs are written and looks again, a few times. Gives whether nothing differs.
    pub(super) async fn settles(&self, options: AuditOptions, cancel: &CancellationToken) -> Result<bool, Error> {
        for _ in 0..ROUNDS {
            let until = outbox::now(&self.pool).await?;
            self.drained(SINK, until, cancel, |_| {}).await?;
            if self.look(options, cancel).await?.differences() == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
