//! Who is told: as the configuration says, checked before anything starts.

use std::collections::BTreeSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit};
use http::Uri;
use sha2::Sha256;

use super::message::Message;
use super::rules::Rule;
use super::{command, webhook};
use crate::config::alert::Alert;
use crate::outward::{self, Outward};

/// What is wrong with an `[[alert]]`: a user's mistake.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("two [[alert]] have the name {0}: the name says who was told, give each its own")]
    SameName(String),
    #[error("[[alert]] {name}: {what}")]
    Wrong { name: String, what: String },
    #[error(transparent)]
    Outward(#[from] outward::Error),
}

/// One of those who are told.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    /// Names of the rules that it is told of; none: all.
    pub rules: Option<Vec<String>>,
    timeout: Duration,
    way: Way,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a configuration has a few of them")]
enum Way {
    Webhook { client: Outward, address: Uri, key: Option<Key> },
    Command(Vec<String>),
}

/// What signs a webhook's messages.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    pub fn mac(&self) -> Hmac<Sha256> {
        self.0.clone()
    }

    /// From a secret of any length.
    pub fn new(secret: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(secret).ok().map(Self)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why a target did not take a message. Says nothing of addresses and arguments, which may carry secrets.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    #[error(transparent)]
    Outward(#[from] outward::Error),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("the program did not start")]
    NotStarted(#[source] std::io::Error),
    #[error("the program ended with {0}")]
    Ended(String),
    #[error("the program was ended after {} s", .0.as_secs())]
    Hung(Duration),
    #[error("the message cannot be written")]
    Message(#[from] serde_json::Error),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
}

/// The targets of a configuration.
pub fn targets(alerts: &[Alert]) -> Result<Vec<Target>, TargetError> {
    let mut names = BTreeSet::new();
    let client = Outward::new()?;
    alerts
        .iter()
        .map(|alert| {
            if !names.insert(&alert.name) {
                return Err(TargetError::SameName(alert.name.clone()));
            }
            target(alert, &client).map_err(|what| TargetError::Wrong { name: alert.name.clone(), what })
        })
        .collect()
}

fn target(alert: &Alert, client: &Outward) -> Result<Target, String> {
    if alert.name.trim().is_empty() {
        return Err("it has no name".into());
    }
    if let Some(unknown) = alert.rules.iter().flatten().find(|name| Rule::ALL.iter().all(|rule| rule.as_str() != name.as_str())) {
        let known = Rule::ALL.map(Rule::as_str).join(", ");
        return Err(format!("there is no rule {unknown}; there are {known}"));
    }
    let way = match (&alert.webhook, alert.command.is_empty()) {
        (Some(webhook), true) => {
            let address: Uri =
                webhook.reveal().parse().map_err(|_| "webhook is no address; write it as https://host/path".to_owned())?;
            if !matches!(address.scheme_str(), Some("http" | "https")) || address.host().is_none() {
                return Err("webhook is no address; write it as https://host/path".into());
            }
            Way::Webhook { client: client.clone(), address, key: key(alert)? }
        }
        (None, false) if alert.secret_file.is_some() || alert.secret_env.is_some() => {
            return Err("a secret signs what a webhook gets; a command needs none".into());
        }
        (None, false) => Way::Command(alert.command.clone()),
        _ => return Err("it needs either webhook = \"https://…\" or command = [\"/program\", \"argument\"]".into()),
    };
    Ok(Target { name: alert.name.clone(), rules: alert.rules.clone(), timeout: alert.timeout(), way })
}

fn key(alert: &Alert) -> Result<Option<Key>, String> {
    let secret = match (&alert.secret_file, &alert.secret_env) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err("secret_file and secret_env are both given; one is enough".into()),
        (Some(file), None) => {
            std::fs::read_to_string(file).map_err(|error| format!("secret_file {} cannot be read: {error}", file.display()))?
        }
        (None, Some(name)) => std::env::var(name).map_err(|_| format!("secret_env {name} is not set"))?,
    };
    let secret = secret.trim();
    if secret.len() < 16 {
        return Err("its secret is shorter than 16 characters: `openssl rand -hex 32` makes one".into());
    }
    Key::new(secret.as_bytes()).map(Some).ok_or_else(|| "its secret cannot be used".into())
}

impl Target {
    /// webhook or command
    pub fn kind(&self) -> &'static str {
        match self.way {
            Way::Webhook { .. } => "webhook",
            Way::Command(_) => "command",
        }
    }

    /// Whether its messages are signed.
    pub fn is_signed(&self) -> bool {
        matches!(self.way, Way::Webhook { key: Some(_), .. })
    }

    /// Tells it, within its time limit.
    pub async fn tell(&self, message: &Message) -> Result<(), NotTold> {
        let body = serde_json::to_vec(message)?;
        match &self.way {
            Way::Webhook { client, address, key } => webhook::post(client, address, key.as_ref(), body, self.timeout).await,
            Way::Command(argv) => command::run(argv, &body, self.timeout).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str) -> String {
        #[derive(serde::Deserialize)]
        struct File {
            alert: Vec<Alert>,
        }
        let file: File = toml::from_str(toml).unwrap();
        targets(&file.alert).map(|all| all.len()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_the_target_and_the_remedy_and_no_secret() {
        let cases = [
            refused("[[alert]]\nname = \"a\""),
            refused("[[alert]]\nname = \"a\"\nwebhook = \"not/an address?token=hush\""),
            refused("[[alert]]\nname = \"a\"\nwebhook = \"ftp://h/hush\""),
            refused("[[alert]]\nname = \"a\"\ncommand = [\"true\"]\nwebhook = \"https://h/hush\""),
            refused("[[alert]]\nname = \"a\"\ncommand = [\"true\"]\nrules = [\"nothing\"]"),
            refused("[[alert]]\nname = \"a\"\ncommand = [\"true\"]\nsecret_env = \"X\""),
            refused("[[alert]]\nname = \"a\"\nwebhook = \"https://h/hush\"\nsecret_file = \"/nowhere\""),
            refused("[[alert]]\nname = \"a\"\ncommand = [\"true\"]\n[[alert]]\nname = \"a\"\ncommand = [\"true\"]"),
        ];
        assert!(cases.iter().all(|case| !case.contains("hush")), "{cases:?}");
        let either = r#"[[alert]] a: it needs either webhook = "https://…" or command = ["/program", "argument"]"#;
        let address = "[[alert]] a: webhook is no address; write it as https://host/path";
        assert_eq!(
            cases,
            [
                either,
                address,
                address,
                either,
                "[[alert]] a: there is no rule nothing; there are account_lost, holes_stay, chat_silent, jobs_wait, elasticsearch_away, dead_letters, disk_low, leases_restless, schema_newer",
                "[[alert]] a: a secret signs what a webhook gets; a command needs none",
                "[[alert]] a: secret_file /nowhere cannot be read: No such file or directory (os error 2)",
                "two [[alert]] have the name a: the name says who was told, give each its own",
            ]
        );
    }
}
