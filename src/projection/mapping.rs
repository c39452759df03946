//! Indices: one a kind, strict mappings, a concrete `{prefix}-{kind}-v{n}` behind the alias `{prefix}-{kind}`.
//!
//! To extend a mapping add a field here, with one line that says what it is; `telekeep migrate` puts it into the index. A field that
//! changes its type needs `telekeep reindex`.

use serde_json::{Map, Value, json};

use super::{Error, Settings, elasticsearch::Elasticsearch};
use crate::record::outbox::Kind;

const DATE_FORMAT: &str = "strict_date_optional_time||epoch_second";

fn keyword() -> Value {
    json!({ "type": "keyword" })
}

/// A keyword from outside that may be long: past the limit it is kept, not indexed.
fn told() -> Value {
    json!({ "type": "keyword", "ignore_above": 2048 })
}

fn username() -> Value {
    json!({ "type": "keyword", "normalizer": "lowercase" })
}

fn long() -> Value {
    json!({ "type": "long" })
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn date() -> Value {
    json!({ "type": "date", "format": DATE_FORMAT })
}

/// Kept in the document and given back, not searched.
fn kept() -> Value {
    json!({ "type": "object", "enabled": false })
}

/// Searched text; with a `.cjk` subfield of bigrams where the server has that analyser.
fn text(cjk: bool) -> Value {
    if cjk {
        json!({ "type": "text", "fields": { "cjk": { "type": "text", "analyzer": "cjk" } } })
    } else {
        json!({ "type": "text" })
    }
}

/// An object of which only the named fields are searched; others are kept.
fn open(properties: Value) -> Value {
    json!({ "type": "object", "dynamic": false, "properties": properties })
}

/// The fields of a kind's documents.
pub fn properties(kind: Kind, cjk: bool) -> Map<String, Value> {
    let mut fields = match kind {
        Kind::Message => message(cjk),
        Kind::Chat => chat(cjk),
        Kind::User => user(cjk),
        Kind::Link => link(),
        Kind::Media => media(cjk),
        Kind::Member => member(),
        Kind::Metric => metric(),
        Kind::Name => name(cjk),
        // As message, so that what searches one searches the other.
        Kind::Version => message(cjk),
    };
    // What the content's hash was when it was projected, in hex.
    fields.insert("content_hash".into(), keyword());
    // Provenance as of the last change.
    fields.insert(
        "seen".into(),
        json!({ "properties": {
            "first_at": date(), "last_at": date(), "account": keyword(), "via": keyword(), "job": long(),
            // the number of the record's row, by which an audit orders what has no numbers of its own
            "row": long(),
        } }),
    );
    fields
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn message(cjk: bool) -> Map<String, Value> {
    let mut fields = object(json!({
        // which message
        "chat_id": long(), "message_id": long(), "thread_id": long(), "media_group_id": keyword(),
        // when
        "date": date(), "edit_date": date(), "insert_date": date(), "deleted_at": date(),
        "deleted_between": { "type": "date_range", "format": DATE_FORMAT },
        // who
        "from_user_id": long(), "sender_chat_id": long(), "author_signature": told(), "via_bot_id": long(),
        // what
        "text": text(cjk), "text_language": keyword(), "entities": kept(),
        "links": told(), "mentions": told(), "hashtags": told(), "cashtags": told(), "buttons": kept(),
        // in answer to
        "reply_to_message_id": long(), "reply_to_chat_id": long(),
    }));
    fields.extend(object(json!({
        "forward_from_id": long(), "forward_from_chat_id": long(), "forward_from_message_id": long(), "forward_send_name": told(),
        "forward_signature": told(), "forward_date": date(),
        // attached
        "media": boolean(), "media_type": keyword(), "media_id": keyword(), "poll": kept(), "location": kept(), "contact": kept(),
        "game": kept(), "invoice": kept(), "dice": kept(), "story": kept(), "giveaway": kept(), "paid_media": kept(), "todo": kept(),
        "webpage": kept(), "service": open(json!({ "action": keyword() })),
        // counts
        "views": long(), "forwards": long(), "reply_count": long(),
        "reactions": open(json!({ "reaction": keyword(), "count": long() })),
        // flags; outgoing and mentioned only in account boxes
        "silent": boolean(), "post": boolean(), "pinned": boolean(), "noforwards": boolean(), "outgoing": boolean(), "mentioned": boolean(),
        "ttl": long(),
        // why only raw bytes are kept
        "raw_reason": told(),
        // who knew of a message that was gone before its content was read
        "lost_reason": told(),
    })));
    fields
}

fn chat(cjk: bool) -> Map<String, Value> {
    object(json!({
        "chat_id": long(), "type": keyword(), "title": text(cjk), "username": username(), "usernames": username(), "photo": keyword(),
        "description": text(cjk), "invite_link": told(), "pinned_message_id": long(), "members_count": long(), "online_count": long(),
        "is_verified": boolean(), "is_restricted": boolean(), "is_scam": boolean(), "is_fake": boolean(), "is_support": boolean(),
        "is_forum": boolean(), "noforwards": boolean(), "restriction_reason": kept(), "link_chat_id": long(),
        "migrate_to_chat_id": long(), "migrate_from_chat_id": long(), "created_date": date(), "slow_mode_seconds": long(),
        "update_time": date(),
    }))
}

fn user(cjk: bool) -> Map<String, Value> {
    object(json!({
        "user_id": long(), "is_deleted": boolean(), "is_bot": boolean(), "is_verified": boolean(), "is_restricted": boolean(),
        "is_scam": boolean(), "is_fake": boolean(), "is_support": boolean(), "is_premium": boolean(), "first_name": text(cjk),
        "last_name": text(cjk), "username": username(), "usernames": username(), "description": text(cjk), "photo": keyword(),
        "restriction_reason": kept(), "status": kept(), "language_code": keyword(), "first_seen": date(), "last_seen": date(),
        "update_time": date(),
        // only where configured
        "phone_number": keyword(),
    }))
}

fn link() -> Map<String, Value> {
    object(json!({
        "url": told(),
        // invite, public, mtproxy, onion, web
        "kind": keyword(),
        // in lower case
        "host": told(),
        // where it occurred, by whom and when
        "chat_id": long(), "message_id": long(), "user_id": long(), "date": date(),
    }))
}

fn media(cjk: bool) -> Map<String, Value> {
    object(json!({
        // as the messages name it
        "media_id": keyword(),
        // photo, avatar, video, video_note, animation, audio, voice, sticker, document
        "type": keyword(), "mime_type": told(),
        // as told: data, never a path
        "file_name": told(),
        // bytes; pixels; seconds
        "file_size": long(), "width": long(), "height": long(), "duration": { "type": "double" },
        // of an audio
        "performer": text(cjk), "title": text(cjk),
        // the emoji that it stands for, and its set
        "sticker": open(json!({ "alt": keyword(), "set": keyword() })),
        // what a video or a photo says beside
        "silent": boolean(), "has_stickers": boolean(), "video_codec": keyword(), "sizes": kept(), "video_sizes": kept(),
        // of its upload; when it was first stored
        "date": date(), "insert_date": date(),
        // the first hundred messages that carry it, and who sent the first
        "sources": open(json!({ "chat_id": long(), "message_id": long() })), "user_id": long(),
        // why metadata only, as all of its sources say
        "restricted": keyword(),
        // how far it is fetched, why it is not, what was fetched and where it lies
        "state": keyword(), "state_reason": told(), "sha256": keyword(), "location": keyword(),
    }))
}

fn member() -> Map<String, Value> {
    object(json!({
        "chat_id": long(), "user_id": long(),
        // creator, administrator, member, restricted, banned, left; absent: seen writing, and nobody told more
        "status": keyword(),
        // in the chat or not; both absent: not known
        "is_member": boolean(), "left": boolean(),
        // a rank, as told
        "title": told(),
        // what an administrator may; of a restricted or banned one what is denied
        "rights": keyword(),
        // until when that lasts; absent: for ever
        "until_date": date(),
        "joined_date": date(), "invited_by_id": long(), "promoted_by_id": long(), "restricted_by_id": long(), "is_anonymous": boolean(),
        // when somebody left, and who removed one who did not go alone; or between which moments, where a whole list showed it
        "left_at": date(), "removed_by_id": long(), "left_between": { "type": "date_range", "format": DATE_FORMAT },
        "first_seen": date(), "last_seen": date(),
        // the list that brought the last change, if one did
        "snapshot": long(),
        "update_time": date(),
    }))
}

fn metric() -> Map<String, Value> {
    object(json!({
        "chat_id": long(), "message_id": long(),
        // when the counts were told; the moment that they were wanted for is part of the _id
        "date": date(),
        "views": long(), "forwards": long(), "reply_count": long(),
        "reactions": open(json!({ "reaction": keyword(), "count": long() })),
    }))
}

fn name(cjk: bool) -> Map<String, Value> {
    object(json!({
        // a chat's or user's id, and which of both it is
        "id": long(), "kind": keyword(),
        "first_name": text(cjk), "last_name": text(cjk), "title": text(cjk), "username": username(),
        "first_seen": date(), "last_seen": date(),
    }))
}

/// The fields by which an audit orders documents, as the record orders their rows.
pub fn place(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Member => &["chat_id", "user_id"],
        Kind::Message => &["chat_id", "message_id"],
        Kind::Chat => &["chat_id"],
        Kind::User => &["user_id"],
        Kind::Link | Kind::Media | Kind::Metric | Kind::Name | Kind::Version => &["seen.row"],
    }
}

/// The alias that everything reads and writes.
pub fn alias(prefix: &str, kind: Kind) -> String {
    format!("{prefix}-{kind}")
}

/// Makes sure that every kind has its index behind its alias, with all fields of today. Does nothing where that is so. Gives the kinds
/// whose index is new, and so empty.
pub async fn prepare(client: &Elasticsearch, settings: &Settings) -> Result<Vec<Kind>, Error> {
    let cjk = has_cjk(client).await?;
    let mut created = Vec::new();
    for kind in Kind::ALL {
        let alias = alias(&settings.prefix, kind);
        if concrete(client, &alias).await?.is_empty() {
            let newest = versions(client, &alias).await?.into_iter().max();
            match newest {
                Some(version) => point(client, &alias, &format!("{alias}-v{version}")).await?,
                None => {
                    create(client, settings, kind, &format!("{alias}-v1"), &alias, cjk).await?;
                    created.push(kind);
                    continue;
                }
            }
        }
        let answer = client.put(&format!("/{alias}/_mapping"), &json!({ "properties": properties(kind, cjk) })).await?;
        if answer.is_ok() {
            continue;
        }
        // A server whose analysers changed since the index was made keeps the fields it has.
        let answer = client.put(&format!("/{alias}/_mapping"), &json!({ "properties": properties(kind, !cjk) })).await?;
        if !answer.is_ok() {
            return Err(Error::Mapping { alias, reason: answer.reason() });
        }
    }
    Ok(created)
}

/// Creates one concrete index behind an alias.
pub async fn create(
    client: &Elasticsearch,
    settings: &Settings,
    kind: Kind,
    index: &str,
    alias: &str,
    cjk: bool,
) -> Result<(), Error> {
    let body = json!({
        "settings": { "index": { "number_of_shards": settings.shards, "number_of_replicas": settings.replicas, "refresh_interval": settings.refresh_interval } },
        "mappings": { "dynamic": "strict", "properties": properties(kind, cjk) },
        "aliases": { alias: {} },
    });
    let answer = client.put(&format!("/{index}"), &body).await?;
    if answer.is_ok() {
        return Ok(());
    }
    // Another process was faster.
    if answer.error_type() == "resource_already_exists_exception"
        && concrete(client, alias).await?.iter().any(|found| found == index)
    {
        return Ok(());
    }
    if answer.error_type() == "invalid_alias_name_exception" {
        return Err(Error::NameTaken { alias: alias.to_owned() });
    }
    Err(client.refused("creating an index", &answer))
}

/// Whether the server has the `cjk` analyser.
pub async fn has_cjk(client: &Elasticsearch) -> Result<bool, Error> {
    let answer = client.post("/_analyze", &[], &json!({ "analyzer": "cjk", "text": "中文" })).await?;
    match answer.status {
        200 => Ok(true),
        400 => Ok(false),
        _ => Err(client.refused("asking for its analysers", &answer)),
    }
}

/// The indices behind an alias; none where there is no such alias.
pub async fn concrete(client: &Elasticsearch, alias: &str) -> Result<Vec<String>, Error> {
    let answer = client.get(&format!("/_alias/{alias}"), &[]).await?;
    match answer.status {
        200 => Ok(answer.body.as_object().map(|indices| indices.keys().cloned().collect()).unwrap_or_default()),
        404 => Ok(Vec::new()),
        _ => Err(client.refused("reading an alias", &answer)),
    }
}

/// The numbers of the concrete indices of an alias's name.
pub async fn versions(client: &Elasticsearch, alias: &str) -> Result<Vec<u32>, Error> {
    let answer = client.get(&format!("/{alias}-v*"), &[("filter_path", "*.aliases")]).await?;
    match answer.status {
        200 => Ok(answer
            .body
            .as_object()
            .map(|indices| indices.keys().filter_map(|name| name.strip_prefix(alias)?.strip_prefix("-v")?.parse().ok()).collect())
            .unwrap_or_default()),
        404 => Ok(Vec::new()),
        _ => Err(client.refused("listing indices", &answer)),
    }
}

async fn point(client: &Elasticsearch, alias: &str, index: &str) -> Result<(), Error> {
    let answer = client.post("/_aliases", &[], &json!({ "actions": [{ "add": { "index": index, "alias": alias } }] })).await?;
    match answer.is_ok() {
        true => Ok(()),
        false if answer.error_type() == "invalid_alias_name_exception" => Err(Error::NameTaken { alias: alias.to_owned() }),
        false => Err(client.refused("setting an alias", &answer)),
    }
}
