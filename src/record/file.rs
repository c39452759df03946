//! The `file` tables: what the rules decided of each file, how far it is fetched, and what the store holds.
//!
//! A file is skipped (by a rule, or because none covers it), wanted, fetching, held (waits for the operator), unavailable, or stored. What
//! Telegram tells of it is the `media` table's; its state stands there too, because the document shows it. Transitions of a running job
//! are made in its fenced transaction.

pub mod deciding;
pub mod dry_run;
pub mod listing;
pub mod progress;
pub mod removal;

use sqlx::PgConnection;

use super::media::{self, MediaId};
use super::{AccountId, ChatId, Error};

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Wanted,
    Fetching,
    Held,
    Skipped,
    Unavailable,
    Stored,
}

impl State {
    /// Every state.
    pub const ALL: [State; 6] = [Self::Wanted, Self::Fetching, Self::Held, Self::Skipped, Self::Unavailable, Self::Stored];

    /// The name in the record and in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Fetching => "fetching",
            Self::Held => "held",
            Self::Skipped => "skipped",
            Self::Unavailable => "unavailable",
            Self::Stored => "stored",
        }
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("there is no state {text:?}; there are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// Brings files into a state; those that are in it for the same reason stay untouched. Gives which changed.
async fn set_state(
    conn: &mut PgConnection,
    files: &[MediaId],
    from: &[State],
    state: State,
    reason: Option<&str>,
) -> Result<Vec<MediaId>, Error> {
    let ids: Vec<i64> = files.iter().map(|id| id.0).collect();
    let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
    let changed: Vec<i64> = sqlx::query_scalar(
        "with locked as materialized (select id from media where id = any($1) order by id for update)
        update media m set state = $2, state_reason = $3, state_at = now() from locked l
         where m.id = l.id and m.state = any($4) and (m.state, m.state_reason) is distinct from ($2, $3) returning m.id",
    )
    .bind(&ids)
    .bind(state.as_str())
    .bind(reason)
    .bind(&from)
    .fetch_all(&mut *conn)
    .await?;
    let changed: Vec<MediaId> = changed.into_iter().map(MediaId).collect();
    media::changed(conn, &changed).await?;
    Ok(changed)
}

/// An account that may be able to fetch a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carrier {
    pub media: MediaId,
    pub account: AccountId,
    /// It was told how to address it.
    pub referred: bool,
    /// Jobs and chats that it has to care for.
    pub load: i64,
}

/// Who may be able to fetch these files: active accounts that were told of one, or that see a chat which carries it.
pub async fn carriers(conn: &mut PgConnection, files: &[MediaId]) -> Result<Vec<Carrier>, Error> {
    let ids: Vec<i64> = files.iter().map(|id| id.0).collect();
    let rows: Vec<(i64, i64, bool, i64)> = sqlx::query_as(
        "with load as materialized (
            select a.id, (select count(*) from watch w where w.reader_id = a.id)
                + (select count(*) from job j where j.partition = a.id and j.state in ('scheduled', 'available', 'running')) as load
              from account a where a.state = 'active'
        )
        select f.media, l.id, exists (select from media_reference r where r.media = f.media and r.account_id = l.id) as referred, l.load
          from unnest($1::bigint[]) f (media) cross join load l
         where exists (select from media_reference r where r.media = f.media and r.account_id = l.id)
            or exists (
                select from media_source s
                  join box b on b.id = s.box_id
                  left join coverage_access c on c.account_id = l.id and c.chat_id = s.chat_id
                  left join account_peer p on p.account_id = l.id and p.peer_id = s.chat_id and p.access_hash is not null
                 where s.media = f.media and coalesce(c.readable, true)
                   and (b.account_id = l.id or b.account_id is null and (c.readable or p.peer_id is not null)))
         order by 1, 3 desc, 4, 2",
    )
    .bind(&ids)
    .fetch_all(conn)
    .await?;
    let carrier = |(media, account, referred, load)| Carrier { media: MediaId(media), account: AccountId(account), referred, load };
    Ok(rows.into_iter().map(carrier).collect())
}

/// Whether an account was told of the file that cannot be used now.
pub async fn known_to_stopped(conn: &mut PgConnection, file: MediaId) -> Result<bool, Error> {
    let query = "select exists (select from media_reference r join account a on a.id = r.account_id where r.media = $1 and a.state <> 'active')";
    Ok(sqlx::query_scalar(query).bind(file.0).fetch_one(conn).await?)
}

/// Messages of watched chats that carry a file and that this account may see, newest first.
pub async fn sources_for(
    conn: &mut PgConnection,
    file: MediaId,
    account: AccountId,
    limit: i64,
) -> Result<Vec<(ChatId, i64)>, Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select s.chat_id, s.message_id
           from media_source s
           join box b on b.id = s.box_id
           join watch w on w.chat_id = s.chat_id
           left join coverage_access c on c.account_id = $2 and c.chat_id = s.chat_id
           left join message m on m.box_id = s.box_id and m.message_id = s.message_id
          where s.media = $1 and coalesce(c.readable, true) and (b.account_id = $2 or b.account_id is null)
            and s.message_id >= coalesce(c.visible_from, 1)
          order by m.deleted_at is not null, s.message_id desc limit $3",
    )
    .bind(file.0)
    .bind(account.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(chat, message)| (ChatId(chat), message)).collect())
}
