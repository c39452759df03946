//! Logins under way, step by step: for a terminal as for HTTP. Each step is kept sealed in Postgres, so that a login survives a
//! restart between code and password.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Account, Accounts, Error, LostKey, Result, table};
use crate::telegram::{self, CodeSent, Connection, Device, LoginRefusal, QrStep, SessionData, SignIn};

/// A QR code is good for half a minute: <https://core.telegram.org/api/qr-login>
const GOOD: Duration = Duration::from_secs(28);

/// How somebody signs in.
#[derive(Clone, PartialEq, Eq)]
pub enum How {
    /// A phone number in international form; then a code, and perhaps a password.
    Phone(String),
    /// A picture for an app that is signed in already; then perhaps a password.
    Qr,
    /// A bot's token.
    Bot(String),
}

impl fmt::Debug for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Phone(_) => "Phone(hidden)",
            How::Qr => "Qr",
            How::Bot(_) => "Bot(hidden)",
        })
    }
}

/// What a login waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// [`Accounts::give_code`], or [`Accounts::resend_code`]; it tells where the code went, in words.
    Code {
        delivery: String,
    },
    /// [`Accounts::give_password`], with the hint that the account's owner once wrote.
    Password {
        hint: Option<String>,
    },
    /// [`Accounts::look_for_scan`], again and again, until an app that is signed in has scanned this address.
    Scan(Qr),
    Done(Account),
}

/// An address to be shown as a QR code. Whoever shows it to an app signs in, so that it is no text for a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Qr(pub String);

impl fmt::Debug for Qr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Qr(hidden)")
    }
}

/// What is kept between two steps.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    session: SessionData,
    /// As Telegram was told at its beginning; a login that an earlier version began has none.
    #[serde(default)]
    device: Option<Device>,
    stage: Stage,
}

#[derive(Serialize, Deserialize)]
enum Stage {
    Code(CodeSent),
    Password { hint: Option<String> },
    Scan,
}

impl Accounts {
    /// Begins a login in place of one that may be under way under this label: from [`SessionData::empty`] at Telegram, or from a
    /// session without a user elsewhere. The keys are looked at first, so that no code is spent on a login that could not be kept.
    pub async fn begin_login(&self, label: &str, start: SessionData, how: How, lost: LostKey) -> Result<Step> {
        self.seal_key(&mut *self.pool.acquire().await?, lost).await?;
        if let Some(old) = self.logins.lock().await.remove(label) {
            old.close().await;
        }
        let gate = self.ungated(label, &start);
        let connection = Connection::through(&self.presenting(label).await?, start, gate);
        self.logins.lock().await.insert(label.to_owned(), connection.clone());
        match how {
            How::Phone(phone) => {
                let sent = connection.send_code(&phone).await?;
                self.keep(label, &connection, Stage::Code(sent)).await
            }
            How::Qr => self.scanned(label, connection).await,
            How::Bot(token) => {
                connection.sign_in_bot(&token).await?;
                self.done(label, connection).await
            }
        }
    }

    /// What a login under this label waits for; none where none is under way.
    pub async fn login_under_way(&self, label: &str) -> Result<Option<Step>> {
        match self.resume(label).await {
            Ok((_, Stage::Code(sent))) => Ok(Some(Step::Code { delivery: sent.delivery })),
            Ok((_, Stage::Password { hint })) => Ok(Some(Step::Password { hint })),
            // its picture is old: a new one is as good
            Ok((_, Stage::Scan)) | Err(Error::NoLogin { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the code; after [`LoginRefusal::CodeWrong`](crate::telegram::LoginRefusal::CodeWrong) it may be given again.
    pub async fn give_code(&self, label: &str, code: &str) -> Result<Step> {
        let (connection, Stage::Code(sent)) = self.resume(label).await? else { return Err(Error::OtherStep) };
        match connection.sign_in(&sent, code).await? {
            SignIn::Done(_) => self.done(label, connection).await,
            SignIn::PasswordNeeded { hint } => self.keep(label, &connection, Stage::Password { hint }).await,
        }
    }

    /// Asks for another code, by the next way that Telegram has: an SMS, a call. One that has expired is sent anew.
    pub async fn resend_code(&self, label: &str) -> Result<Step> {
        let (connection, Stage::Code(sent)) = self.resume(label).await? else { return Err(Error::OtherStep) };
        let sent = match connection.resend_code(&sent).await {
            Err(telegram::Error::Login(LoginRefusal::CodeExpired)) => connection.send_code_again(&sent).await?,
            sent => sent?,
        };
        self.keep(label, &connection, Stage::Code(sent)).await
    }

    /// Gives the password of two-step verification; a wrong one may be given again.
    pub async fn give_password(&self, label: &str, password: &str) -> Result<Step> {
        let (connection, Stage::Password { .. }) = self.resume(label).await? else { return Err(Error::OtherStep) };
        connection.check_password(password).await?;
        self.done(label, connection).await
    }

    /// Waits until the picture is scanned, or for as long as it is good; then the address that it answers is a new one.
    pub async fn look_for_scan(&self, label: &str) -> Result<Step> {
        let (connection, Stage::Scan) = self.resume(label).await? else { return Err(Error::OtherStep) };
        // asking sooner would spoil the picture that is shown
        tokio::select! {
            () = connection.scanned() => {}
            () = tokio::time::sleep(GOOD) => {}
        }
        self.scanned(label, connection).await
    }

    async fn scanned(&self, label: &str, connection: Connection) -> Result<Step> {
        match connection.qr_step().await? {
            QrStep::Scan { address } => {
                self.keep(label, &connection, Stage::Scan).await?;
                Ok(Step::Scan(Qr(address)))
            }
            QrStep::PasswordNeeded { hint } => self.keep(label, &connection, Stage::Password { hint }).await,
            QrStep::Done(_) => self.done(label, connection).await,
        }
    }

    /// The connection of a login and where it stands: the one of this process, or from what was kept.
    async fn resume(&self, label: &str) -> Result<(Connection, Stage)> {
        let mut conn = self.pool.acquire().await?;
        let sealed = table::login(&mut conn, label).await?.ok_or_else(|| Error::NoLogin { label: label.to_owned() })?;
        let key = self.seal_key(&mut conn, LostKey::Refuse).await?;
        let kept: UnderWay = serde_json::from_slice(&key.unseal(&bound(label), &sealed)?)
            .map_err(|_| Error::NotUnderstood { label: label.to_owned() })?;
        let mut config = self.presenting(label).await?;
        config.device = kept.device.unwrap_or(config.device);
        let mut logins = self.logins.lock().await;
        let connection = logins.entry(label.to_owned()).or_insert_with(|| {
            let gate = self.ungated(label, &kept.session);
            Connection::through(&config, kept.session, gate)
        });
        Ok((connection.clone(), kept.stage))
    }

    async fn keep(&self, label: &str, connection: &Connection, stage: Stage) -> Result<Step> {
        let step = match &stage {
            Stage::Code(sent) => Step::Code { delivery: sent.delivery.clone() },
            Stage::Password { hint } => Step::Password { hint: hint.clone() },
            Stage::Scan => Step::Scan(Qr(String::new())),
        };
        let kept = serde_json::to_vec(&UnderWay { session: connection.session(), device: Some(connection.device()), stage })
            .map_err(|_| Error::NotUnderstood { label: label.to_owned() })?;
        let mut conn = self.pool.acquire().await?;
        let key = self.seal_key(&mut conn, LostKey::Refuse).await?;
        table::keep_login(&mut conn, label, &key.seal(&bound(label), &kept)?).await?;
        Ok(step)
    }

    async fn done(&self, label: &str, connection: Connection) -> Result<Step> {
        let session = connection.session();
        if session.user_id.is_none() {
            return Err(Error::NotSignedIn);
        }
        let account = self.store(label, &session, &connection.device(), LostKey::Refuse).await?;
        self.logins.lock().await.remove(label);
        connection.close().await;
        table::forget_login(&mut *self.pool.acquire().await?, label).await?;
        Ok(Step::Done(account))
    }
}

/// A login's seal is no account's.
fn bound(label: &str) -> String {
    format!("login {label}")
}
