//! Compares collected documents with the truth: the same ids, and the same content for each.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::account::hex;
use crate::world::{Content, Truth};

/// How many ids a line names at most.
const NAMED: usize = 5;

/// Messages of one chat: id → content hash.
pub(crate) type Hashes = BTreeMap<i32, String>;

/// What is wrong with a line of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("line {line}: {problem}; one JSON message document a line is expected")]
    Malformed { line: usize, problem: String },
    #[error("line {line}: message {message} of chat {chat} was there before")]
    Twice { line: usize, chat: i64, message: i32 },
}

/// Documents by chat. A document may stand alone or inside `_source`, as Elasticsearch tells it.
pub(crate) fn documents(text: &str) -> Result<BTreeMap<i64, Hashes>, DocumentError> {
    let mut chats = BTreeMap::<i64, Hashes>::new();
    for (at, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line = at + 1;
        let malformed = |problem| DocumentError::Malformed { line, problem };
        let document: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let document = document.get("_source").unwrap_or(&document);
        // A message known only as deleted has no content; one deleted later is no more in the truth.
        if ["deleted_at", "deleted_between"].iter().any(|field| document.get(field).is_some_and(|value| !value.is_null())) {
            continue;
        }
        let content = Content::of_document(document).map_err(malformed)?;
        let (chat, message) = (content.chat_id, content.message_id);
        if chats.entry(chat).or_default().insert(message, Truth::hash_of(&content)).is_some() {
            return Err(DocumentError::Twice { line, chat, message });
        }
    }
    Ok(chats)
}

/// The truth of one chat, from NDJSON as the control port gives it.
pub(crate) fn truth(text: &str) -> Result<Hashes, DocumentError> {
    let lines = text.lines().enumerate().map(|(at, text)| {
        let truth: Truth =
            serde_json::from_str(text).map_err(|error| DocumentError::Malformed { line: at + 1, problem: error.to_string() })?;
        Ok((truth.content.message_id, truth.content_hash))
    });
    lines.collect()
}

/// How documents and truth differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) missing: Vec<i32>,
    pub(crate) surplus: Vec<i32>,
    pub(crate) changed: Vec<i32>,
}

impl Difference {
    pub(crate) fn between(documents: &Hashes, truth: &Hashes) -> Self {
        let absent = |from: &Hashes, of: &Hashes| of.keys().filter(|id| !from.contains_key(id)).copied().collect();
        Self {
            missing: absent(documents, truth),
            surplus: absent(truth, documents),
            changed: truth
                .iter()
                .filter(|(id, hash)| documents.get(id).is_some_and(|other| other != *hash))
                .map(|(id, _)| *id)
                .collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.changed.is_empty()
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [("missing", &self.missing), ("surplus", &self.surplus), ("different content", &self.changed)];
        let parts = parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(what, ids)| {
            let first: Vec<_> = ids.iter().take(NAMED).map(i32::to_string).collect();
            let more = if ids.len() > NAMED { ", …" } else { "" };
            format!("{} {what} ({}{more})", ids.len(), first.join(", "))
        });
        f.write_str(&parts.collect::<Vec<_>>().join("; "))
    }
}

/// One hash over ids and contents of a chat, in the order of ids.
pub(crate) fn digest(hashes: &Hashes) -> String {
    let mut digest = Sha256::new();
    for (id, hash) in hashes {
        digest.update(id.to_le_bytes());
        digest.update(hash);
    }
    hex(&digest.finalize()[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(messages: &[(i32, &str)]) -> Hashes {
        messages.iter().map(|(id, hash)| (*id, (*hash).to_owned())).collect()
    }

    #[test]
    fn each_kind_of_difference_is_named_with_its_first_ids() {
        let truth = hashes(&[(1, "a"), (2, "b"), (3, "c")]);
        assert!(Difference::between(&truth, &truth).is_empty());
        let difference = Difference::between(&hashes(&[(1, "a"), (2, "x"), (9, "y")]), &truth);
        assert_eq!(difference.to_string(), "1 missing (3); 1 surplus (9); 1 different content (2)");
        let many = (1..=7).map(|id| (id, String::new())).collect();
        let shown = Difference::between(&Hashes::new(), &many).to_string();
        assert_eq!(shown, "7 missing (1, 2, 3, 4, 5, …)");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = documents("\n{\"chat_id\": 1").unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
        let one = r#"{"chat_id":1,"message_id":2,"date":"2024-05-01T10:00:00Z","text":"a"}"#;
        let error = documents(&format!("{one}\n{one}")).unwrap_err();
        assert_eq!(error.to_string(), "line 2: message 2 of chat 1 was there before");
    }
}
