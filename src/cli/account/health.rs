//! `telekeep account list | show | hold | release`: how accounts fare.

use chrono::{DateTime, Utc};
use clap::Args;

use super::{changed, open, output};
use crate::{account::Shown, config::Config};

#[derive(Debug, Args)]
pub struct Show {
    pub label: String,
    #[arg(long)]
    pub json: bool,
    /// Tell the phone number of the account's owner, and nothing else
    #[arg(long)]
    pub phone: bool,
}

#[derive(Debug, Args)]
pub struct Hold {
    pub label: String,
    /// Why; shown wherever the account is
    #[arg(long, default_value = "held with `telekeep account hold`")]
    pub reason: String,
}

fn at(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

pub async fn list(config: &Config, json: bool) -> anyhow::Result<()> {
    let pool = open::record(config).await?;
    let accounts = open::accounts(config, &pool)?.health().await?;
    if json {
        return output::json(&accounts);
    }
    let rows = accounts.into_iter().map(|a| {
        let user = a.user_id.map_or(String::new(), |u| u.to_string());
        let until = a.until.map_or_else(String::new, at);
        let why = a.state_reason.unwrap_or_default();
        vec![a.label, user, a.state.as_str().into(), at(a.state_at), until, a.reads.to_string(), a.can_read.to_string(), why]
    });
    // Times in UTC.
    output::table(
        &["label", "user", "state", "since", "until", "reads", "can read", "why"],
        rows,
        "no accounts; `telekeep account login` or `telekeep account import FILE` adds one",
    );
    Ok(())
}

pub async fn show(config: &Config, wish: &Show) -> anyhow::Result<()> {
    let pool = open::record(config).await?;
    let accounts = open::accounts(config, &pool)?;
    let account = accounts.labelled(&wish.label).await?;
    if wish.phone {
        let phone = accounts.phone(account.id).await?;
        if wish.json {
            return output::json(&serde_json::json!({ "phone": phone }));
        }
        output::line(&phone.unwrap_or_else(|| "not known: Telegram tells it at a sign-in".into()));
        return Ok(());
    }
    let shown = accounts.show(&account).await?;
    if wish.json {
        return output::json(&shown);
    }
    tell(&shown);
    Ok(())
}

fn tell(shown: &Shown) {
    let health = &shown.health;
    let user = health.user_id.map_or(String::new(), |user| format!(", user {user}"));
    output::line(&format!("{}{user}: {} since {} UTC", health.label, health.state.as_str(), at(health.state_at)));
    if let Some(reason) = &health.state_reason {
        output::line(&format!("why: {reason}"));
    }
    if let Some(until) = health.until {
        output::line(&format!("until: {} UTC", at(until)));
    }
    let rests = health.rests.iter().map(|rest| vec![rest.method.clone(), at(rest.until), rest.reason.clone()]);
    output::table(&["method", "rests until", "why"], rests, "no method rests");
    let budgets = shown.budgets.iter().map(|budget| {
        vec![budget.method.clone(), format!("{:.1} of {:.0}", budget.left, budget.capacity), format!("{:.3}", budget.per_second)]
    });
    output::table(&["method", "calls left", "gains a second"], budgets, "no budget was used yet");
    let chats = shown.chats.iter().map(|chat| {
        let can = match chat.readable {
            Some(true) => format!("from id {}", chat.visible_from.unwrap_or(1)),
            Some(false) => "no".into(),
            None => "not asked yet".into(),
        };
        vec![
            chat.chat_id.to_string(),
            chat.title.clone().unwrap_or_default(),
            if chat.reads { "yes".into() } else { String::new() },
            can,
            chat.checked_at.map_or_else(String::new, at),
            chat.reason.clone().unwrap_or_default(),
        ]
    });
    output::table(&["chat", "title", "reads it", "can read", "as of", "why"], chats, "it knows no watched chat");
}

pub async fn hold(config: &Config, wish: &Hold) -> anyhow::Result<()> {
    let pool = open::record(config).await?;
    let accounts = open::accounts(config, &pool)?;
    accounts.hold(&accounts.labelled(&wish.label).await?, &wish.reason).await?;
    changed::note(&pool, "account.hold", &format!("account {}", wish.label), serde_json::json!({ "reason": wish.reason })).await?;
    output::line(&format!("account {} is held; `telekeep account release {}` lets it go on", wish.label, wish.label));
    Ok(())
}

pub async fn release(config: &Config, label: &str) -> anyhow::Result<()> {
    let pool = open::record(config).await?;
    let accounts = open::accounts(config, &pool)?;
    accounts.release(&accounts.labelled(label).await?).await?;
    changed::note(&pool, "account.release", &format!("account {label}"), serde_json::json!({})).await?;
    output::line(&format!("account {label} is active again"));
    Ok(())
}
