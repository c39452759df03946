//! The `telegram_user` table: who speaks in watched chats. Phone numbers never reach it.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::avatar::Shown;
use super::entity::{Table, Told, merge_all};
use super::name::Bearer;
use super::outbox::Kind;
use super::{Error, Observation, Peer, User, avatar};

const USER: Table = Table {
    kind: Kind::User,
    bearer: Bearer::User,
    read: "select user_id, null::text, body from telegram_user where user_id = any($1)",
    lock: "insert into telegram_user as u (user_id, body, content_hash, account_id, via, job)
        select n.id, n.body, n.hash, $5, $6, $7
        from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::bytea[]) n (id, kind, body, hash) order by n.id
        on conflict (user_id) do update set user_id = excluded.user_id
        returning u.user_id, null::text, u.body, u.content_hash, xmax = 0",
    write: "update telegram_user u set body = n.body, content_hash = n.hash, revision = u.revision + 1,
            last_seen = greatest(u.last_seen, now()), account_id = $5, via = $6, job = $7
        from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::bytea[]) n (id, kind, body, hash) where u.user_id = n.id
        returning u.user_id, u.revision",
    touch: "update telegram_user set last_seen = now() where user_id in (
        select user_id from telegram_user where user_id = any($1) and last_seen < now() - interval '1 hour'
        order by user_id for update skip locked)",
};

/// Merges what was told of users. The caller has committed something of a watched chat that shows them.
pub async fn merge_users(conn: &mut PgConnection, users: &[User], seen: &Observation) -> Result<Vec<i64>, Error> {
    let mut told: BTreeMap<i64, Told> = BTreeMap::new();
    for user in users {
        let entry = told.entry(user.id).or_insert_with(|| Told { kind: None, min: true, body: serde_json::Map::new() });
        if user.min {
            for (key, value) in &user.body {
                entry.body.entry(key.clone()).or_insert_with(|| value.clone());
            }
        } else {
            entry.body.extend(user.body.clone());
            entry.min = false;
        }
    }
    let changed = merge_all(conn, &USER, told, seen).await?;
    let photos = users.iter().filter_map(|user| Some(Shown { peer: user.id, photo: user.avatar.clone()?, at: None }));
    avatar::observe(conn, photos.collect(), seen).await?;
    Ok(changed)
}

/// Those of these users that the record knows.
pub async fn known(conn: &mut PgConnection, users: &[User]) -> Result<Vec<User>, Error> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = users.iter().map(|user| user.id).collect();
    let known: Vec<i64> =
        sqlx::query_scalar("select user_id from telegram_user where user_id = any($1)").bind(ids).fetch_all(conn).await?;
    Ok(users.iter().filter(|user| known.contains(&user.id)).cloned().collect())
}

/// What the account that saw these users needs to address them; `min` hashes are not kept.
pub fn peers(users: &[User]) -> Vec<Peer> {
    users
        .iter()
        .filter(|user| !user.min)
        .map(|user| Peer {
            id: user.id,
            access_hash: user.access_hash,
            username: user.body.get("username").and_then(|name| name.as_str()).map(str::to_owned),
        })
        .collect()
}
