//! Events: what can happen in a world, as data that a test, the control port or a script tells.

mod apply;
mod compose;
mod moments;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use apply::Happened;
pub use apply::Record;
pub(crate) use apply::{Effect, Notice};
pub use moments::VersionLine;

use super::chat::ChatKind;
use super::live::{Restriction, Standing};

/// One thing that happens. Chats are named by their marked ids, users by theirs; messages of private chats and basic groups by the
/// number that they have for the world's own user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A chat that was not there before. Those named are in it; the first of them made it.
    Create {
        kind: ChatKind,
        /// Marked id; absent: the next free one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chat: Option<i64>,
        title: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        #[serde(default)]
        users: Vec<i64>,
    },
    /// A message.
    Post {
        chat: i64,
        post: Post,
    },
    /// Messages that belong together and share a `grouped_id`.
    Album {
        chat: i64,
        posts: Vec<Post>,
    },
    /// A message of another chat, told again.
    Forward {
        chat: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<i64>,
        source_chat: i64,
        source_id: i32,
    },
    /// An answer to a channel's post, in the group that is linked with the channel.
    Comment {
        chat: i64,
        id: i32,
        from: i64,
        text: String,
    },
    /// The next message of a channel's export, as it stands there, its id and date included.
    Publish {
        chat: i64,
    },
    /// New words for a message.
    Edit {
        chat: i64,
        id: i32,
        text: String,
    },
    /// Messages that their authors or administrators take away.
    Delete {
        chat: i64,
        ids: Vec<i32>,
    },
    /// A user comes, of their own will, or by a link or a request.
    Join {
        chat: i64,
        user: i64,
        #[serde(default)]
        by: Way,
    },
    /// A member brings others.
    Invite {
        chat: i64,
        users: Vec<i64>,
        by: i64,
    },
    /// A user goes.
    Leave {
        chat: i64,
        user: i64,
    },
    /// An administrator sends a user away, who may come back.
    Kick {
        chat: i64,
        user: i64,
        by: i64,
    },
    /// An administrator sends a user away, who may not even read until then (unix time; 0: for ever).
    Ban {
        chat: i64,
        user: i64,
        by: i64,
        #[serde(default)]
        until: i32,
    },
    /// A banned or restricted user may come back.
    Unban {
        chat: i64,
        user: i64,
        by: i64,
    },
    /// A member becomes what is told: an administrator, a restricted member, a plain member.
    Promote {
        chat: i64,
        user: i64,
        by: i64,
        standing: Standing,
    },
    Title {
        chat: i64,
        title: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<i64>,
    },
    /// A new picture, drawn from a number; without one the picture is removed.
    Photo {
        chat: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<i64>,
    },
    About {
        chat: i64,
        about: String,
    },
    /// A new username; without one the chat is private from now on.
    Username {
        chat: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
    },
    Pin {
        chat: i64,
        id: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<i64>,
        /// Without the service message that tells of it.
        #[serde(default)]
        silent: bool,
    },
    Unpin {
        chat: i64,
        id: i32,
    },
    /// A user's reaction, in place of the one that they gave before; without an emoji it is taken back.
    React {
        chat: i64,
        id: i32,
        user: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        emoji: Option<String>,
    },
    /// How often a post was seen and forwarded.
    Counts {
        chat: i64,
        id: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        views: Option<i32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forwards: Option<i32>,
    },
    /// Votes for one answer of a poll, counted from 0.
    Vote {
        chat: i64,
        id: i32,
        option: usize,
        #[serde(default = "one")]
        votes: i32,
    },
    /// A supergroup is divided into topics, or no longer.
    Forum {
        chat: i64,
        on: bool,
    },
    /// A new topic. Its number is that of the message which tells of it.
    Topic {
        chat: i64,
        title: String,
        by: i64,
    },
    TopicEdit {
        chat: i64,
        topic: i32,
        by: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed: Option<bool>,
    },
    /// A supergroup discusses a channel from now on.
    Link {
        chat: i64,
        group: i64,
    },
    /// A basic group becomes a supergroup.
    Migrate {
        chat: i64,
        /// The supergroup's marked id; absent: the next free one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<i64>,
    },
    /// An invite link, known by the part behind `+`, is good from now on, or no longer.
    InviteLink {
        chat: i64,
        hash: String,
        #[serde(default)]
        revoked: bool,
        /// Whoever comes by it only asks: an administrator lets them in (`join` by `request`), or not.
        #[serde(default)]
        approval: bool,
    },
    /// A user asks to be let in.
    Request {
        chat: i64,
        user: i64,
    },
    /// Whether those who join see what came before.
    HideHistory {
        chat: i64,
        on: bool,
    },
    /// Whether only administrators see the list of members.
    HideMembers {
        chat: i64,
        on: bool,
    },
    /// Whether messages may be neither forwarded nor saved.
    Protect {
        chat: i64,
        on: bool,
    },
    /// The chat is not shown to everyone, or, without a reason, shown again.
    Restrict {
        chat: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restriction: Option<Restriction>,
    },
    /// A user takes another name or username. An empty username removes it.
    Rename {
        user: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
    },
    /// A user's account is deleted.
    DeleteUser {
        user: i64,
    },
}

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// Who says it; a group's own id stands for an anonymous administrator. Needed in groups; in a private chat it is the other one
    /// by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    #[serde(default)]
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<i32>,
    /// The forum topic that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Attached>,
    /// Tells no sound to those who receive it.
    #[serde(default)]
    pub silent: bool,
}

/// What hangs on a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Attached {
    /// Drawn from a number.
    Photo {
        number: u64,
    },
    /// A text file.
    Document {
        name: String,
        text: String,
    },
    Poll {
        question: String,
        answers: Vec<String>,
    },
    Place {
        lat: f64,
        long: f64,
    },
}

/// How somebody came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    #[default]
    Own,
    Link,
    Request,
}

fn one() -> i32 {
    1
}

impl Post {
    /// Words that a user says.
    pub fn said(from: i64, text: &str) -> Self {
        Post { from: Some(from), text: text.to_owned(), ..Post::default() }
    }

    /// Words without an author, as a channel posts them.
    pub fn text(text: &str) -> Self {
        Post { text: text.to_owned(), ..Post::default() }
    }
}

/// An event and when it happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// Unix time; absent: now.
    pub date: Option<i32>,
    pub event: Event,
}

impl Timed {
    /// Reads an event as JSON, with an optional `date` beside its own fields. An error names what is wrong.
    pub fn read(mut value: Value) -> Result<Timed, EventError> {
        let malformed = |problem: String| EventError::Malformed { problem };
        let fields = value.as_object_mut().ok_or_else(|| malformed("an event is a JSON object".to_owned()))?;
        let date = match fields.remove("date") {
            None | Some(Value::Null) => None,
            Some(date) => {
                let date = date.as_i64().and_then(|date| i32::try_from(date).ok());
                Some(date.ok_or_else(|| malformed("`date` is unix time: a whole number".to_owned()))?)
            }
        };
        gather_post(fields);
        let event = Event::deserialize(value).map_err(|error| malformed(error.to_string()))?;
        Ok(Timed { date, event })
    }
}

impl From<Event> for Timed {
    fn from(event: Event) -> Self {
        Timed { date: None, event }
    }
}

/// A post may be told with its fields beside `chat`.
fn gather_post(fields: &mut serde_json::Map<String, Value>) {
    if fields.get("event").and_then(Value::as_str) != Some("post") || fields.contains_key("post") {
        return;
    }
    let names: Vec<String> = fields.keys().filter(|name| !["event", "chat"].contains(&name.as_str())).cloned().collect();
    let post = names.into_iter().filter_map(|name| fields.remove_entry(&name)).collect();
    fields.insert("post".to_owned(), Value::Object(post));
}

/// Why an event cannot happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("malformed event: {problem}")]
    Malformed { problem: String },
    #[error("`{field}`: no chat {chat} in this world; GET /chats lists them")]
    NoChat { field: &'static str, chat: i64 },
    #[error("`{field}`: no message {id} in chat {chat}")]
    NoMessage { field: &'static str, chat: i64, id: i32 },
    #[error("`{field}`: no user {user} in this world")]
    NoUser { field: &'static str, user: i64 },
    #[error("`{field}`: {problem}")]
    Impossible { field: &'static str, problem: String },
}

#[cfg(test)]
mod tests;
