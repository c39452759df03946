//! `telekeep member`: who is in a watched chat, and the lists that tell it.

use std::process::ExitCode;

use clap::Subcommand;
use sqlx::PgPool;

use super::{chat, exit::mistake, job, open, output};
use crate::{
    account::find,
    config::Config,
    jobs::member_snapshot::MemberSnapshot,
    record::{
        ChatId,
        member::Status,
        member_list::{self, Member as Row},
        member_snapshot::{self, Snapshot},
    },
};

#[derive(Debug, Subcommand)]
pub enum Member {
    /// Members of a chat, as they were told last
    List {
        /// Link, @name or id
        #[arg(allow_negative_numbers = true)]
        chat: String,
        /// Those of one status
        #[arg(long, value_enum)]
        status: Option<Status>,
        /// At most so many; all with --json
        #[arg(long, default_value_t = 100)]
        limit: i64,
        /// One JSON object a line, all of them
        #[arg(long)]
        json: bool,
    },
    /// One member: status, rights, dates, who invited and who promoted
    Show {
        /// Link, @name or id
        #[arg(allow_negative_numbers = true)]
        chat: String,
        /// @name or id
        #[arg(allow_negative_numbers = true)]
        user: String,
        #[arg(long)]
        json: bool,
    },
    /// The lists that were read of a chat: complete, cut or hidden, and how many were seen of how many
    Snapshots {
        /// Link, @name or id
        #[arg(allow_negative_numbers = true)]
        chat: String,
        #[arg(long)]
        json: bool,
    },
    /// Enqueue a job that lists a chat's members
    Snapshot {
        /// Link, @name or id
        #[arg(allow_negative_numbers = true)]
        chat: String,
        /// Search a list that Telegram cuts by the beginnings of names as well, within [members] widen_calls
        #[arg(long)]
        widen: bool,
        /// Administrators alone: a call or two, which conclude nothing of who left
        #[arg(long, conflicts_with = "widen")]
        admins_only: bool,
    },
}

pub async fn run(command: Member, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    match command {
        Member::List { chat, status, limit, json } => list(&pool, chat::known(&pool, &chat).await?, status, limit, json).await?,
        Member::Show { chat, user, json } => show(&pool, chat::known(&pool, &chat).await?, &user, json).await?,
        Member::Snapshots { chat, json } => {
            let chat = chat::known(&pool, &chat).await?;
            let lists = member_snapshot::list(&mut *pool.acquire().await?, chat).await?;
            if json {
                output::json(&lists)?;
            } else {
                output::table(
                    &["id", "began", "state", "seen", "of", "left since", "account", "job", ""],
                    lists.into_iter().map(snapshot_row),
                    &format!("no list was read; `telekeep member snapshot {chat}` reads one"),
                );
            }
        }
        Member::Snapshot { chat, widen, admins_only } => {
            let chat = chat::known(&pool, &chat).await?;
            if chat.is_private() {
                return mistake(format!("{chat} is a private chat: it has no members to list"));
            }
            job::enqueue(&pool, job::Enqueue::MemberSnapshot(MemberSnapshot { chat, admins_only, widen })).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows that are read at once.
const PAGE: i64 = 1_000;

async fn list(pool: &PgPool, chat: ChatId, status: Option<Status>, limit: i64, json: bool) -> anyhow::Result<()> {
    let mut conn = pool.acquire().await?;
    if json {
        let mut after = i64::MIN;
        loop {
            let page = member_list::list(&mut conn, chat, status, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.user_id;
            page.iter().try_for_each(output::json)?;
        }
    }
    let members = member_list::list(&mut conn, chat, status, i64::MIN, limit).await?;
    let told = members.len();
    let empty = format!("no members are known; `telekeep member snapshot {chat}` lists them");
    output::table(&["user", "name", "username", "status", "title", "joined", "last seen"], members.into_iter().map(row), &empty);
    let counts = member_list::counts(&mut conn, chat).await?;
    let of_interest = counts.iter().filter(|(of, _)| status.is_none_or(|status| of.as_deref() == Some(status.as_str())));
    let all: i64 = of_interest.map(|(_, count)| count).sum();
    if usize::try_from(all).is_ok_and(|all| all > told) {
        output::line(&format!("{told} of {all}; --limit N shows more, --json all"));
    }
    let told: Vec<String> =
        counts.iter().map(|(status, count)| format!("{} {count}", status.as_deref().unwrap_or("seen writing"))).collect();
    if !told.is_empty() {
        output::line(&told.join(" · "));
    }
    Ok(())
}

fn text(member: &Row, field: &str) -> String {
    member.fields.get(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn row(member: Row) -> Vec<String> {
    let (title, joined) = (text(&member, "title"), text(&member, "joined_date"));
    vec![
        member.user_id.to_string(),
        member.name.unwrap_or_default(),
        member.username.map(|name| format!("@{name}")).unwrap_or_default(),
        member.status.unwrap_or_else(|| "seen writing".into()),
        title,
        joined,
        member.last_seen.format("%Y-%m-%d %H:%M").to_string(),
    ]
}

fn snapshot_row(list: Snapshot) -> Vec<String> {
    let notes = [
        list.admins_only.then(|| "administrators only".to_owned()),
        list.widened.then(|| "widened by names".to_owned()),
        list.reason,
    ];
    vec![
        list.id.to_string(),
        list.began_at.format("%Y-%m-%d %H:%M").to_string(),
        list.state,
        list.seen_count.to_string(),
        list.told_count.map(|count| count.to_string()).unwrap_or_default(),
        list.left_count.map(|count| count.to_string()).unwrap_or_default(),
        list.account,
        list.job.to_string(),
        notes.into_iter().flatten().collect::<Vec<_>>().join("; "),
    ]
}

async fn show(pool: &PgPool, chat: ChatId, user: &str, json: bool) -> anyhow::Result<()> {
    let mut conn = pool.acquire().await?;
    let id = match find::target(user) {
        Some(find::Target::Id(id)) => Some(id),
        Some(find::Target::Name(name)) => member_list::named(&mut conn, &name).await?,
        None => return mistake(format!("{user:?} is neither a user's id nor a name as @maren")),
    };
    let found = match id {
        Some(id) => member_list::show(&mut conn, chat, id).await?,
        None => None,
    };
    let Some(member) = found else {
        return mistake(format!("{user} is not known in {chat}; `telekeep member list {chat}` shows who is"));
    };
    if json {
        output::json(&member)?
    } else {
        output::line(&serde_json::to_string_pretty(&member)?)
    }
    Ok(())
}
