//! Documents of one chat, one a line, from the record or from the index: what `telekeep export` writes, and what a comparison reads.

use std::collections::VecDeque;

use futures::{Stream, TryStreamExt, stream};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use super::{Error, Projector, audit::Pages, document, mapping};
use crate::record::{
    conversation::{self, Part, Thread},
    document::{self as rows, MessageRow},
    outbox::Kind,
};

const PAGE: i64 = 500;

/// Where documents are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Record,
    Index,
}

/// A chat's messages as documents from the record, by message id, with their `_id`. Needs no Elasticsearch.
pub fn documents_of_record(pool: &PgPool, chat: i64) -> impl Stream<Item = Result<Map<String, Value>, Error>> + Send + use<> {
    let pool = pool.clone();
    let pages = stream::try_unfold((pool, (i64::MIN, i64::MIN)), move |(pool, after)| async move {
        let page = rows::messages_of(&pool, chat, after, PAGE).await?;
        let Some(last) = page.last().map(|row| (row.message_id, row.box_id)) else { return Ok(None) };
        Ok::<_, Error>(Some((stream::iter(lines(page)), (pool, last))))
    });
    pages.try_flatten()
}

/// One history over the parts of a chain, in its order; the parts of an album stand beside each other.
pub fn documents_of_chain(pool: &PgPool, parts: Vec<Part>) -> impl Stream<Item = Result<Map<String, Value>, Error>> + Send + use<> {
    let begin = (pool.clone(), VecDeque::from(parts), conversation::START);
    let pages = stream::try_unfold(begin, move |(pool, mut parts, mut after)| async move {
        while let Some(part) = parts.front().copied() {
            let page = conversation::history(&pool, part, after, PAGE).await?;
            if let Some((place, _)) = page.last() {
                let place = *place;
                let lines = lines(page.into_iter().map(|(_, row)| row));
                return Ok(Some((stream::iter(lines), (pool, parts, place))));
            }
            parts.pop_front();
            after = conversation::START;
        }
        Ok::<_, Error>(None)
    });
    pages.try_flatten()
}

/// The messages of a thread, by id.
pub fn documents_of_thread(pool: &PgPool, thread: Thread) -> impl Stream<Item = Result<Map<String, Value>, Error>> + Send + use<> {
    let pages = stream::try_unfold((pool.clone(), thread, 0), move |(pool, thread, from)| async move {
        let to = thread.ids.len().min(from + PAGE as usize);
        if from == to {
            return Ok::<_, Error>(None);
        }
        let page = conversation::of_ids(&pool, thread.part, &thread.ids[from..to]).await?;
        Ok(Some((stream::iter(lines(page)), (pool, thread, to))))
    });
    pages.try_flatten()
}

fn lines(rows: impl IntoIterator<Item = MessageRow>) -> Vec<Result<Map<String, Value>, Error>> {
    rows.into_iter().filter_map(document::of_message).map(|found| Ok(with_id(found.id, found.body))).collect()
}

impl Projector {
    /// A chat's messages as documents from the index, by message id, with their `_id`, as of one moment.
    pub async fn documents_of_index(
        &self,
        chat: i64,
    ) -> Result<impl Stream<Item = Result<Map<String, Value>, Error>> + Send + use<>, Error> {
        let alias = mapping::alias(&self.settings.prefix, Kind::Message);
        self.client.refresh(&alias).await?;
        let pages = Pages::open(&self.client, &alias, Kind::Message, json!({ "term": { "chat_id": chat } }), true).await?;
        Ok(stream::try_unfold(pages, |mut pages| async move {
            match pages.next().await? {
                Some(hit) => Ok(Some((with_id(hit.id, hit.source), pages))),
                None => {
                    pages.close().await;
                    Ok(None)
                }
            }
        }))
    }

    /// A chat's messages as documents, from where one asks.
    pub async fn documents_of(
        &self,
        chat: i64,
        from: Source,
    ) -> Result<futures::stream::BoxStream<'static, Result<Map<String, Value>, Error>>, Error> {
        Ok(match from {
            Source::Record => Box::pin(documents_of_record(&self.pool, chat)),
            Source::Index => Box::pin(self.documents_of_index(chat).await?),
        })
    }
}

fn with_id(id: String, mut body: Map<String, Value>) -> Map<String, Value> {
    body.insert("_id".to_owned(), id.into());
    body
}
