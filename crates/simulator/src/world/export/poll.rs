//! Polls and checklists.

use grammers_tl_types as tl;
use serde_json::Value;

use super::fields::Fields;
use super::{Loading, words};
use crate::world::media;

/// Reads `poll`.
pub(super) fn read(loading: &mut Loading, poll: &mut Fields, date: i32) -> tl::enums::MessageMedia {
    let mut answers = Vec::new();
    for answer in poll.list("answers").unwrap_or_default() {
        match answer {
            Value::Object(answer) => {
                let mut answer = Fields(answer);
                let (text, entities) = words::read(&mut answer, &mut loading.notes).finish();
                if entities.is_some() {
                    loading.notes.add("marks in a poll's text");
                }
                answers.push(media::Answer {
                    text,
                    voters: answer.int("voters").unwrap_or_default(),
                    chosen: answer.flag("chosen"),
                });
                loading.left_over("poll answer's field", &answer);
            }
            _ => loading.notes.add("poll answer of unknown form"),
        }
    }
    let (question, entities) = words::of(poll.take("question"), &mut loading.notes).finish();
    if entities.is_some() {
        loading.notes.add("marks in a poll's text");
    }
    let id = words::named_file(&format!("poll {date} {question}"));
    let told = media::poll(id, question, poll.flag("closed"), poll.int("total_voters").unwrap_or_default(), answers);
    loading.left_over("poll field", poll);
    told
}

/// Reads `todo_list`.
pub(super) fn todo(loading: &mut Loading, list: &mut Fields) -> tl::enums::MessageMedia {
    let title = words::with_entities(list.take("title"), &mut loading.notes);
    let items = list.list("answers").or_else(|| list.list("items")).unwrap_or_default();
    let todo = tl::types::TodoList {
        others_can_append: list.flag("others_can_append"),
        others_can_complete: list.flag("others_can_complete"),
        title,
        list: todo_items(loading, items),
    };
    loading.left_over("checklist field", list);
    tl::types::MessageMediaToDo { todo: todo.into(), completions: None }.into()
}

/// Reads the entries of a checklist.
pub(super) fn todo_items(loading: &mut Loading, items: Vec<Value>) -> Vec<tl::enums::TodoItem> {
    let mut told = Vec::new();
    for item in items {
        match item {
            Value::Object(item) => {
                let mut item = Fields(item);
                let title = words::with_entities(item.take("text"), &mut loading.notes);
                told.push(tl::types::TodoItem { id: item.int("id").unwrap_or_default(), title }.into());
            }
            _ => loading.notes.add("checklist entry of unknown form"),
        }
    }
    told
}
